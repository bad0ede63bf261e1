"""A file that takes long to read holds nobody up: the others of its folder are found meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from knowledge.base import KnowledgeBase
from knowledge.database import open_database
from knowledge.errors import KnowledgeError
from knowledge.folders.reading import Refused, Round, Wish
from knowledge.folders.sync import Plan, plan
from knowledge.library import Library
from knowledge.library.tables import SCHEMA
from knowledge.readers import Reader, load_readers
from knowledge.readers.jail import Limits
from knowledge.search import Query
from tests.knowledge.test_jail import ODD

LONG = "# Manual\n\n" + "The pump has to be primed before use.\n\n" * 30_000
READERS: dict[str, Reader] = {**load_readers(), ".odd": ODD}
BRIEF = Limits(seconds=0.5, hurry=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "pets.md").write_text("# Pets\n\nDogs are welcome.\n")
    return made


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    engine = open_database(tmp_path / "data", SCHEMA)
    yield Library(engine)
    engine.dispose()


def planned(folder: Path, library: Library, how: Round, *, publish: bool = True) -> Plan:
    found = plan(folder, library, READERS, lambda what, done, total: None, Wish(), how)
    if publish:
        library.publish(found.changes)
    return found


def told(found: Plan) -> dict[str, str]:
    return {one.file: one.reason for one in found.failed}


async def test_a_long_file_follows_when_the_others_can_be_found(folder: Path, tmp_path: Path) -> None:
    base, other = KnowledgeBase(tmp_path / "data", None), KnowledgeBase(tmp_path / "data", None)
    seen: list[str] = []

    async def search(text: str, base: KnowledgeBase) -> list[str]:
        return [hit.passage.document for hit in (await base.search(Query(text))).hits]

    def say(line: str) -> None:
        # What another process finds at this moment.
        found = asyncio.run_coroutine_threadsafe(search("dogs pump", other), asyncio.get_running_loop())
        found.add_done_callback(lambda done: seen.extend([line, *done.result()]))

    (folder / "manual.md").write_text(LONG)
    report = await base.sync(folder, say=say)
    assert (report.added, report.unchanged, report.failed) == (2, 0, ())
    assert seen == ["Reading a file that may take long; all others are published already.", "pets"]
    assert set(await search("pump", base)) == {"manual"}
    # What is gone may be in a file that was put off: it is the same document under its new name.
    (folder / "manual.md").rename(folder / "handbook.md")
    (folder / "pets.md").unlink()
    report = await base.sync(folder)
    assert (report.added, report.changed, report.removed, report.unchanged) == (0, 0, 1, 1)
    stored = await base.newest("manual")
    assert stored is not None
    assert (stored.document.source, stored.revision) == ("handbook.md", 1)
    await base.close()
    await other.close()


def test_a_bomb_is_left_for_last_and_is_not_tried_over_and_over(folder: Path, library: Library) -> None:
    (folder / "bomb.odd").write_text("time")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\n%%EOF")
    quickly = Round(in_a_hurry=True, refused=Refused(), limits=BRIEF)
    first = planned(folder, library, quickly)
    assert (first.added, first.later) == (1, 1)
    assert set(told(first)) == {"broken.pdf"}
    then = planned(folder, library, replace(quickly, in_a_hurry=False))
    both = first.followed_by(then)
    assert (both.added, both.unchanged, both.later) == (1, 0, 0)
    assert told(both)["bomb.odd"] == "Reading it takes too long; split it, or save it in a simpler form."
    # No child can be started with so little memory, and none has to be.
    without = replace(quickly, limits=replace(BRIEF, memory=1024))
    again = planned(folder, library, without)
    assert (told(again), again.later, again.unchanged) == (told(both), 0, 1)
    # Another process tries, and so does this one when there is something else in it.
    with pytest.raises(KnowledgeError, match="does not start"):
        planned(folder, library, replace(without, refused=Refused()), publish=False)
    (folder / "bomb.odd").write_text("No bomb any more.")
    with pytest.raises(KnowledgeError, match="does not start"):
        planned(folder, library, without, publish=False)
    assert planned(folder, library, quickly).added == 1


def test_a_file_that_is_put_off_keeps_what_it_had(folder: Path, library: Library) -> None:
    (folder / "manual.odd").write_text("The pump has to be primed.")
    quickly = Round(in_a_hurry=True, limits=BRIEF)
    assert planned(folder, library, quickly).added == 2
    (folder / "manual.odd").write_text("time")
    found = planned(folder, library, quickly)
    assert (found.unchanged, found.later, told(found), found.changes.retire) == (2, 1, {}, frozenset())
    (folder / "pets.md").unlink()
    found = planned(folder, library, quickly)
    assert found.changes.retire == {"pets"}, "it cannot be in a file that was there before"
