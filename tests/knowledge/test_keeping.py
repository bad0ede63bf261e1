"""Who keeps the index does it for all: edits of other processes are found within seconds, and what breaks is mended."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from knowledge.base import KnowledgeBase
from knowledge.embeddings import Embedder
from knowledge.errors import EmbedderError
from knowledge.index import generations, indexer, keeper, read_difference
from knowledge.search import Query, SearchResult
from knowledge.vectors.chroma import ChromaServer, EmbeddedChroma, Patience
from tests.knowledge.embedder import LetterEmbedder, Vectors
from tests.servers.chroma_server import RunningChroma

QUICK = Patience(query=1.0, hang=1.5, pauses=(0.05,))
BOUND_SECONDS = 60
"""Not how fast it is, but that it ends at all."""
ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(f"# {name.capitalize()}\n\n{text}\n", "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "documents", pets="Dogs are welcome.", refunds="A refund takes five days.")
    return tmp_path / "documents"


class Bases:
    """Knowledge bases over one data directory, as several processes have them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._made: list[KnowledgeBase] = []

    def __call__(self, embedder: Embedder | None = None, data: Path | None = None, **more: object) -> KnowledgeBase:
        more.setdefault("store", EmbeddedChroma(QUICK))
        self._made.append(KnowledgeBase(data or self.data, embedder or LetterEmbedder(), **more))  # type: ignore[arg-type]
        return self._made[-1]

    async def close(self) -> None:
        for base in self._made:
            await base.close()


@pytest.fixture
async def bases(tmp_path: Path) -> AsyncIterator[Bases]:
    made = Bases(tmp_path / "data")
    yield made
    await made.close()


@asynccontextmanager
async def kept(base: KnowledgeBase) -> AsyncIterator[None]:
    """Keep its index meanwhile, as `frontdesk run` does."""
    keeping = asyncio.create_task(base.keep_index())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})


async def until(base: KnowledgeBase, true: Callable[[SearchResult], bool], text: str = "dogs") -> SearchResult:
    async with asyncio.timeout(BOUND_SECONDS):
        while not true(found := await base.search(Query(text))):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


def best(found: SearchResult) -> str:
    return found.hits[0].passage.document if found.hits else ""


async def test_edits_of_another_process_are_found_and_an_index_that_is_lost_is_mended(
    bases: Bases, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service, command = bases(), bases()
    await command.sync(folder)
    async with kept(service):
        await until(service, lambda found: found.mode == "hybrid")
        assert (await service.health()).keeper.startswith(f"process {os.getpid()}")
        write(folder, wifi="The password of the wifi is on the router.")
        report = await command.sync(folder)
        assert report.notes == (), "the one who keeps it has indexed it already"
        assert best(await service.search(Query("wifi password"))) == "wifi"
        outcome = await command.bring_up()
        assert "indexed by process" in outcome.words
        # A crash while it is asked: keywords, said so, and vectors again.
        whole = (await service._in_use.current(service._open_library())).whole
        assert whole is not None
        assert whole.vectors is not None
        assert whole.vectors.pid
        os.kill(whole.vectors.pid, signal.SIGSEGV)
        crashed = await until(service, lambda found: found.mode == "keyword")
        assert best(crashed) == "pets"
        assert "SIGSEGV" in crashed.note
        assert (await until(service, lambda found: found.mode == "hybrid")).note == ""
        # Gone for good: built anew, without a restart, and nobody asked for it.
        before = generations.current(bases.data)
        assert before is not None
        shutil.rmtree(generations.folder_of(bases.data, whole.name) / "chroma")
        os.kill(whole.vectors.pid, signal.SIGKILL)
        await until(service, lambda found: found.mode == "keyword")
        assert (await until(service, lambda found: found.mode == "hybrid")).note == ""
        assert generations.current(bases.data) != before
        rebuilt = await command.rebuild(wait=BOUND_SECONDS)
        assert rebuilt.done
        assert rebuilt.by.startswith(f"process {os.getpid()}")
        assert all(part.ok for part in await command.verify())
    assert (await service.health()).keeper == ""


async def test_machines_on_one_database_and_one_chroma_server(
    bases: Bases, folder: Path, tmp_path: Path, postgres_library: str, chroma_server: RunningChroma
) -> None:
    def machine(name: str) -> KnowledgeBase:
        return bases(
            data=tmp_path / name, database=postgres_library, store=ChromaServer(chroma_server.url, patience=QUICK)
        )

    one, two = machine("one"), machine("two")
    async with kept(one), kept(two):
        await one.sync(folder)
        for base in (one, two):
            await until(base, lambda found: found.mode == "hybrid" and best(found) == "pets")
        write(folder, pets="Cats alone are welcome.")
        await two.sync(folder)
        await until(one, lambda found: best(found) == "pets" and "Cats" in found.hits[0].passage.text, "cats")
    assert all(part.ok for part in await one.verify())


class Moody(LetterEmbedder):
    """An embedder that fails after so many texts, until it is told to work, or makes other vectors."""

    may_change = True

    def __init__(self, after: int = 1_000_000) -> None:
        self.left = after
        self.other = False

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        if self.left < len(texts):
            raise EmbedderError("The embedder is tired.")
        self.left -= len(texts)
        return np.array([await self.embed_query(text) for text in texts], np.float32)

    async def embed_query(self, text: str) -> Vectors:
        row = await super().embed_query(text)
        return row[:48] / np.linalg.norm(row[:48]) if self.other else row


async def test_096_a_part_is_never_published_and_vectors_return_when_they_can_be_made(
    bases: Bases, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(indexer, "EMBED_AT_ONCE", 2)
    embedder = Moody(3)
    base = bases(embedder)
    async with kept(base):
        write(folder, **{f"page{number}": f"This is number{number} of many." for number in range(8)})
        report = await base.sync(folder)
        assert report.added == 10
        partly = await until(base, lambda found: best(found) == "page7" and "tired" in found.note, "number7")
        assert partly.mode == "keyword"
        embedder.left = 1_000
        assert best(await until(base, lambda found: found.mode == "hybrid", "number7")) == "page7"


async def test_021_another_length_of_vectors_is_noticed_and_all_are_made_anew(bases: Bases, folder: Path) -> None:
    embedder = Moody()
    base = bases(embedder)
    await base.sync(folder)
    assert (await base.search(Query("dogs"))).mode == "hybrid"
    embedder.other = True
    changed = await base.search(Query("dogs"))
    assert (changed.mode, best(changed)) == ("keyword", "pets")
    async with kept(base):
        await until(base, lambda found: found.mode == "hybrid")


async def test_a_small_change_is_kept_beside_and_many_are_built_in(
    bases: Bases, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "FEW", 3)
    base = bases()
    await base.sync(folder)
    first = generations.current(bases.data)
    assert first is not None
    folder.joinpath("pets.md").unlink()
    write(folder, refunds="A refund takes nine days.")
    await base.sync(folder)
    second = generations.current(bases.data)
    assert second is not None
    beside = read_difference(generations.folder_of(bases.data, second.name))
    assert beside is not None
    assert (beside.base, len(beside.gone), len(beside.added)) == (first.name, 2, 1)
    found = await base.search(Query("how many days does a refund take, are dogs welcome"))
    assert [hit.passage.text for hit in found.hits] == ["A refund takes nine days."]
    assert found.hits[0].why.dense is not None
    # What comes back as it was is neither gone nor added.
    write(folder, refunds="A refund takes five days.", pets="Dogs are welcome.")
    await base.sync(folder)
    third = generations.current(bases.data)
    assert third is not None
    same = read_difference(generations.folder_of(bases.data, third.name))
    assert same is not None
    assert (same.gone, same.added) == (frozenset(), ())
    write(folder, **{f"page{number}": f"This is number{number} of many." for number in range(4)})
    await base.sync(folder)
    fourth = generations.current(bases.data)
    assert fourth is not None
    assert read_difference(generations.folder_of(bases.data, fourth.name)) is None
    assert best(await base.search(Query("number3"))) == "page3"
    assert all(part.ok for part in await base.verify())


def test_028_a_full_disk_leaves_the_index_before_and_says_so(folder: Path, tmp_path: Path) -> None:
    code = (
        "import asyncio, resource, sys\nfrom pathlib import Path\nfrom knowledge.base import KnowledgeBase\n"
        "from knowledge.keywords.bm25 import Leg\n"
        "from knowledge.search import Query\nfrom tests.knowledge.embedder import LetterEmbedder\n"
        "save = Leg.save\n"
        "def full(leg, directory):\n"
        # An index is smaller than the database, which must go on being written.
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, -1))\n"
        "    try:\n"
        "        save(leg, directory)\n"
        "    finally:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "async def main():\n"
        "    folder, data = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "    base = KnowledgeBase(data, LetterEmbedder())\n"
        "    await base.sync(folder)\n"
        "    for number in range(300):\n"
        "        (folder / f'page{number}.md').write_text(f'# Page\\n\\nThis is number{number} of many.\\n')\n"
        "    Leg.save = full\n"
        "    report = await base.sync(folder)\n"
        "    found = await base.search(Query('dogs'))\n"
        "    print(found.mode, found.hits[0].passage.document, '|', *report.notes)\n"
        "    await base.close()\n"
        "asyncio.run(main())\n"
    )
    arguments = [sys.executable, "-c", code, str(folder), str(tmp_path / "data")]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hybrid pets | The index cannot be written: "), done.stdout
    assert "Customers see the version before." in done.stdout
