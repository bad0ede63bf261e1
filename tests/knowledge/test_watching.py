"""Following a folder: what changes is brought in, half a file is not, errors pass, and it ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from knowledge.base import KnowledgeBase
from knowledge.errors import FolderError, FrontdeskError
from knowledge.folders.reading import Wish
from knowledge.folders.sync import SyncReport
from knowledge.folders.watching import Pace, watch

QUICK = Pace(settled=0.3, again=0.2, same=0.3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "pets.md").write_text("# Pets\n\nDogs are welcome.\n")
    return made


class Watching:
    def __init__(self, base: KnowledgeBase) -> None:
        self.base = base
        self.told: list[SyncReport | FrontdeskError] = []

    async def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, self.told
            await asyncio.sleep(0.05)

    async def texts(self) -> dict[str, str]:
        found = {}
        for one in await self.base.documents():
            stored = await self.base.document(one.document.id)
            assert stored is not None
            found[one.document.id] = stored.document.text
        return found


@asynccontextmanager
async def watching(folder: Path, tmp_path: Path, pace: Pace = QUICK) -> AsyncIterator[Watching]:
    here = Watching(KnowledgeBase(tmp_path / "data", None))
    task = asyncio.create_task(watch(here.base, folder, Wish(), here.told.append, pace=pace))
    try:
        yield here
        assert not task.done()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await here.base.close()


async def test_what_changes_is_brought_in(folder: Path, tmp_path: Path) -> None:
    async with watching(folder, tmp_path) as here:
        await here.until(lambda: len(here.told) == 1)
        (folder / "wifi.md").write_text("# Wifi\n\nThe password is on the router.\n")
        (folder / "pets.md").write_text("# Pets\n\nCats are welcome.\n")
        await here.until(lambda: len(here.told) >= 2)
        assert await here.texts() == {"pets": "Cats are welcome.", "wifi": "The password is on the router."}
        (folder / "wifi.md").unlink()
        await here.until(lambda: any(isinstance(one, SyncReport) and one.removed for one in here.told))
        assert await here.texts() == {"pets": "Cats are welcome."}
        # What nobody reads is not heard.
        told = len(here.told)
        (folder / ".pets.md.swp").write_text("half a thought")
        await asyncio.sleep(1.0)
        assert len(here.told) == told


async def test_fault_090_half_a_file_is_waited_for(folder: Path, tmp_path: Path) -> None:
    # Long beside the pauses of the writer, also on a machine that is busy.
    async with watching(folder, tmp_path, Pace(settled=2.0)) as here:
        await here.until(lambda: len(here.told) == 1)
        text = "# Long\n"
        for n in range(15):
            text += f"\nSentence {n}."
            (folder / "long.md").write_text(text)
            await asyncio.sleep(0.1)
            assert "long" not in await here.texts()
        await here.until(lambda: len(here.told) >= 2)
        assert "Sentence 14." in (await here.texts())["long"]
        assert len(await here.base.history("long")) == 1


async def test_a_folder_that_goes_and_comes_back_is_followed_on(folder: Path, tmp_path: Path) -> None:
    async with watching(folder, tmp_path) as here:
        await here.until(lambda: len(here.told) == 1)
        shutil.move(folder, tmp_path / "away")
        await here.until(lambda: any(isinstance(one, FrontdeskError) for one in here.told))
        assert await here.texts() == {"pets": "Dogs are welcome."}, "nothing was removed"
        shutil.move(tmp_path / "away", folder)
        (folder / "wifi.md").write_text("# Wifi\n\nOn the router.\n")
        await here.until(lambda: isinstance(here.told[-1], SyncReport))
        assert set(await here.texts()) == {"pets", "wifi"}
        errors = [str(one) for one in here.told if isinstance(one, FrontdeskError)]
        assert len(errors) == len(set(errors)), "each error is told once"


async def test_another_folder_in_its_place_is_followed_from_then_on(folder: Path, tmp_path: Path) -> None:
    def put(name: str, text: str) -> None:
        new = tmp_path / name
        new.mkdir()
        (new / "pets.md").write_text(f"# Pets\n\n{text}\n")
        shutil.move(folder, tmp_path / f"before {name}")
        shutil.move(new, folder)

    async def until(here: Watching, text: str) -> None:
        end = time.monotonic() + 20
        while await here.texts() != {"pets": text}:
            assert time.monotonic() < end, here.told
            await asyncio.sleep(0.05)

    async with watching(folder, tmp_path) as here:
        await here.until(lambda: len(here.told) == 1)
        for number in range(2):
            put(f"checkout {number}", f"Cats are welcome, {number}.")
            await until(here, f"Cats are welcome, {number}.")
        (folder / "pets.md").write_text("# Pets\n\nNone are welcome.\n")
        await until(here, "None are welcome.")


async def test_a_mounted_folder_whose_files_are_swapped_behind_links_is_heard(folder: Path, tmp_path: Path) -> None:
    def put(name: str, text: str) -> None:
        """As Kubernetes changes what it mounts: a hidden link to a hidden folder is replaced."""
        (folder / name).mkdir()
        (folder / name / "pets.md").write_text(f"# Pets\n\n{text}\n")
        (folder / "..new").symlink_to(name)
        os.replace(folder / "..new", folder / "..data")

    (folder / "pets.md").unlink()
    put("..1", "Cats are welcome.")
    (folder / "pets.md").symlink_to("..data/pets.md")
    async with watching(folder, tmp_path) as here:
        await here.until(lambda: len(here.told) == 1)
        assert await here.texts() == {"pets": "Cats are welcome."}
        put("..2", "None are welcome.")
        await here.until(lambda: len(here.told) == 2)
        assert await here.texts() == {"pets": "None are welcome."}


async def test_what_goes_wrong_is_told_once_as_long_as_nothing_happens(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"no PDF")
    async with watching(folder, tmp_path) as here:
        await here.until(lambda: len(here.told) == 1)
        os.utime(folder / "pets.md")
        await asyncio.sleep(1.5)
        assert len(here.told) == 1
        (folder / "other.pdf").write_bytes(b"no PDF either")
        await here.until(lambda: len(here.told) == 2)
        told = here.told[1]
        assert isinstance(told, SyncReport)
        assert len(told.failed) == 2


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    base = KnowledgeBase(tmp_path / "data", None)
    with pytest.raises(FolderError, match="no folder"):
        await watch(base, tmp_path / "nowhere", Wish(), lambda report: None)


def test_ctrl_c_ends_it_cleanly(folder: Path, tmp_path: Path) -> None:
    frontdesk = Path(sys.executable).with_name("frontdesk")
    leader, follower = pty.openpty()
    environment = {**os.environ, "FRONTDESK_DATA": str(tmp_path / "data"), "FRONTDESK_EMBEDDER": "none"}
    process = subprocess.Popen(
        [frontdesk, "knowledge", "sync", str(folder), "--watch"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    assert lines[0].startswith(f"Following {folder}")
    assert "Added 1," in lines[1]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    os.close(leader)
    os.close(follower)
    assert (process.returncode, errors.strip()) == (130, "Stopped.")
