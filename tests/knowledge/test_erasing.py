"""What was erased is nowhere: not in an answer, a table, an index or a file; and it does not come back unasked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from knowledge.base import KnowledgeBase
from knowledge.database import Source
from knowledge.documents import Document, Origin
from knowledge.editing import Act
from knowledge.errors import ConflictError, KnowledgeError
from knowledge.folders.reading import Wish
from knowledge.library.tables import metadata
from knowledge.search import Query
from knowledge.vectors.chroma import ChromaServer
from tests.knowledge.embedder import LetterEmbedder
from tests.servers.chroma_server import RunningChroma

ANNA = Act("anna", "a customer asked for it")
WORDS = ("Quexalotl", "zibberwock")
"""Words that stand nowhere else."""
SECRET = f"The back door opens with {WORDS[0]} and {WORDS[1]}."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "doors.md").write_text(f"# Doors\n\n{SECRET}\n\n## Front\n\nThe front door is never locked.\n")
    (folder / "pets.md").write_text("# Pets\n\nDogs are welcome in every room.\n")
    return folder


@pytest.fixture
async def base(tmp_path: Path, database: Source) -> AsyncIterator[KnowledgeBase]:
    made = KnowledgeBase(tmp_path / "data", None, database=database)
    yield made
    await made.close()


@pytest.fixture
async def with_vectors(tmp_path: Path, database: Source) -> AsyncIterator[KnowledgeBase]:
    made = KnowledgeBase(tmp_path / "data", LetterEmbedder(), database=database)
    yield made
    await made.close()


def found_in(data: Path) -> list[str]:
    """The files that hold one of the words, in upper or lower case."""
    wanted = [word.lower().encode() for word in WORDS]
    return sorted(
        str(file.relative_to(data))
        for file in data.rglob("*")
        if file.is_file() and any(word in file.read_bytes().lower() for word in wanted)
    )


def found_in_tables(database: Source) -> list[str]:
    """The tables of PostgreSQL that hold one of the words."""
    if not isinstance(database, str):
        return []
    found = []
    with psycopg.connect(database, autocommit=True) as connection:
        for name in metadata.tables:
            rows = connection.execute(f"SELECT t::text FROM {name} t".encode()).fetchall()
            found += [name for (row,) in rows if any(word.lower() in row.lower() for word in WORDS)]
    return found


async def texts(base: KnowledgeBase, words: str = f"door {WORDS[0]}") -> list[str]:
    return [hit.passage.text for hit in (await base.search(Query(words, 10))).hits]


async def test_nothing_of_it_is_left_in_any_file(
    with_vectors: KnowledgeBase, folder: Path, tmp_path: Path, database: Source
) -> None:
    base, data = with_vectors, tmp_path / "data"
    await base.sync(folder)
    # Texts of all kinds: superseded, a draft, and a change that is kept beside the index.
    old = await base.newest("doors")
    assert old is not None
    await base.edit(replace(old.document, text=f"{SECRET} Really."), 1, replace(ANNA, publish=True))
    await base.edit(replace(old.document, text=f"A draft: {SECRET}"), 2, ANNA)
    await base.bring_up()
    assert SECRET in (await texts(base))[0]
    assert found_in(data) or found_in_tables(database)
    done, left = await base.erase(["doors"], ANNA)
    assert left == ""
    assert [(one.document, one.revisions, one.source) for one in done] == [("doors", 3, "doors.md")]
    assert not any(WORDS[0] in text for text in await texts(base)), "it is out of answers before an index is made"
    assert (await base.bring_up()).done
    assert (found_in(data), found_in_tables(database)) == ([], [])
    assert (await texts(base, "dogs"))[0] == "Dogs are welcome in every room."
    assert all(part.ok for part in await base.verify())
    # Whoever was interrupted does it once more.
    (again,), left = await base.erase(["doors"], ANNA)
    assert (again.document, again.revisions, again.source, left) == ("doors", 0, "doors.md", "")
    # What is known of it still.
    assert await base.newest("doors") is None
    (gone,) = await base.erasures()
    assert (gone.document, gone.author, gone.why) == ("doors", "anna", "a customer asked for it")
    assert [(event.what, event.author) for event in await base.history("doors")] == [("erased", "anna")]


async def test_a_sync_does_not_bring_it_back_and_says_so_until_the_file_is_gone(
    base: KnowledgeBase, folder: Path
) -> None:
    await base.sync(folder)
    await base.erase(["doors"], ANNA)
    for _ in range(2):
        report = await base.sync(folder)
        assert (report.added, report.unchanged) == (0, 1)
        (kept,) = report.kept
        assert kept.document == "doors"
        assert kept.reason.startswith("The document 'doors' was erased by anna on ")
        assert f"frontdesk knowledge sync {folder} --take doors" in kept.reason
    # Neither under another name, nor by another way.
    (folder / "doors.md").rename(folder / "entrances.md")
    report = await base.sync(folder)
    assert [one.document for one in report.kept] == ["entrances"]
    copy = Document("new", "Doors", (folder / "entrances.md").read_text().removeprefix("# Doors\n\n"), "new.md")
    with pytest.raises(KnowledgeError, match="was erased by anna") as told:
        await base.add([copy], ANNA, Origin("upload", "new.md"))
    assert "--anyway" in told.value.hint
    # An edited file at its old place is still that file.
    (folder / "entrances.md").unlink()
    (folder / "doors.md").write_text("# Doors\n\nThe front door is never locked.\n")
    assert len((await base.sync(folder)).kept) == 1
    taken = await base.sync(folder, Wish(take=frozenset({"doors"})))
    assert (taken.added, taken.kept) == (1, ())
    again = await base.sync(folder)
    assert (again.added, again.unchanged, again.kept) == (0, 2, ())
    assert [event.what for event in await base.history("doors")] == ["erased", "written"]


async def test_what_was_said_before_goes_alone(
    base: KnowledgeBase, folder: Path, tmp_path: Path, database: Source
) -> None:
    await base.sync(folder)
    old = await base.newest("doors")
    assert old is not None
    await base.edit(replace(old.document, text="Ask at the desk."), 1, ANNA)
    with pytest.raises(ConflictError, match="customers see revision 1"):
        await base.erase(["doors"], ANNA, before_newest=True)
    await base.publish(["doors"], ANNA)
    done, _ = await base.erase(["doors", "pets"], ANNA, before_newest=True)
    assert [(one.document, one.revisions) for one in done] == [("doors", 1), ("pets", 0)]
    await base.bring_up()
    assert (found_in(tmp_path / "data"), found_in_tables(database)) == ([], [])
    assert (await texts(base, "desk"))[0] == "Ask at the desk."
    assert [event.what for event in await base.history("doors")] == ["written", "published", "erased"]
    edition = base._open_library().edition()
    assert [one.revisions for one in (await base.erase(["doors"], ANNA, before_newest=True))[0]] == [0]
    assert base._open_library().edition() == edition
    with pytest.raises(KnowledgeError, match="no revision 1"):
        await base.edit(replace(old.document, text="Late."), 1, ANNA)


async def test_an_id_that_is_not_there_erases_nothing(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    with pytest.raises(KnowledgeError, match="There is no document 'windows'"):
        await base.erase(["doors", "windows"], ANNA)
    assert await base.newest("doors") is not None
    assert await base.erasures() == []


async def test_the_last_document_can_go(base: KnowledgeBase, folder: Path, tmp_path: Path, database: Source) -> None:
    await base.sync(folder)
    await base.erase(["doors", "pets"], ANNA)
    outcome = await base.bring_up()
    assert outcome.done
    assert (found_in(tmp_path / "data"), found_in_tables(database), await texts(base)) == ([], [], [])


@pytest.fixture
async def machines(
    tmp_path: Path, postgres_library: str, chroma_server: RunningChroma
) -> AsyncIterator[list[KnowledgeBase]]:
    made = [
        KnowledgeBase(
            tmp_path / name, LetterEmbedder(), database=postgres_library, store=ChromaServer(chroma_server.url)
        )
        for name in ("one", "two")
    ]
    yield made
    for one in made:
        await one.close()


async def test_other_machines_drop_it_from_their_indexes_too(
    machines: list[KnowledgeBase], folder: Path, tmp_path: Path
) -> None:
    one, two = machines
    await one.sync(folder)
    await two.bring_up()
    assert found_in(tmp_path / "two")
    await one.erase(["doors"], ANNA)
    await one.bring_up()
    await two.bring_up()
    assert (found_in(tmp_path / "one"), found_in(tmp_path / "two")) == ([], [])
    for base in machines:
        assert (await base.search(Query("dogs"))).mode == "hybrid"
