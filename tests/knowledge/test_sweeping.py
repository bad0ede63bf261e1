"""What is built and not needed any more does not pile up: neither in the data directory nor on a Chroma server."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine, update

from knowledge.base import KnowledgeBase
from knowledge.database import Source, open_database, postgres_url, written_anew
from knowledge.index import indexer
from knowledge.library import Library
from knowledge.library.tables import SCHEMA, editions, state
from knowledge.search import Query
from knowledge.vectors.chroma import ChromaServer
from tests.knowledge.embedder import LetterEmbedder
from tests.servers.chroma_server import RunningChroma

ROUNDS, KILLED = 2, 1


class OtherEmbedder(LetterEmbedder):
    name = "other letters"


def write(folder: Path, number: int) -> None:
    """Two documents that change each time, one that stays, and an audience that comes and goes."""
    folder.mkdir(exist_ok=True)
    (folder / "pets.md").write_text("# Pets\n\nDogs are welcome.\n")
    (folder / "news.md").write_text(f"# News\n\nThis is the news of day {number}.\n")
    (folder / "staff.md").write_text(f"---\naudience: team {number % 2}\n---\n# Desk\n\nThe code is {number}.\n")


def collections(server: RunningChroma) -> dict[str, set[str]]:
    """Ids on the server by collection."""
    import chromadb

    client = chromadb.HttpClient(host="127.0.0.1", port=urlsplit(server.url).port or 0)
    found = {}
    for one in client.list_collections(limit=1000):
        rows = client.get_collection(one.name, embedding_function=None).get(include=[])
        found[one.name] = set(rows["ids"])
    return found


async def killed(base: KnowledgeBase, folder: Path, data: Path) -> None:
    """Begin to build, and die in the middle of it."""
    before = set(data.joinpath("index").iterdir())
    building = asyncio.create_task(base.rebuild(wait=0))
    async with asyncio.timeout(60):
        while not any((one / "keywords").exists() for one in set(data.joinpath("index").iterdir()) - before):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    building.cancel()
    await asyncio.wait({building})
    # What a kill leaves, and an orderly end does not.
    (data / "index" / f"{len(before):032x}" / "keywords").mkdir(parents=True)


def hours_pass(url: str) -> None:
    """Superseded passages are kept for an hour, for questions that still see them."""
    engine = create_engine(postgres_url(url))
    with engine.begin() as connection:
        connection.execute(update(editions).values(at=datetime.now(UTC) - timedelta(hours=2)))
    engine.dispose()


@pytest.fixture(autouse=True)
def every_change_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "FEW", 0)
    monkeypatch.setattr(indexer, "FEW_SHARE", 0)


async def test_a_data_directory_does_not_grow_with_builds(tmp_path: Path) -> None:
    folder, data = tmp_path / "documents", tmp_path / "data"
    base = KnowledgeBase(data, LetterEmbedder())
    try:
        write(folder, 0)
        await base.sync(folder)
        size = used(data / "index")
        for number in range(1, ROUNDS):
            write(folder, number)
            await base.sync(folder)
            assert (await base.rebuild(wait=0)).done
            if number <= KILLED:
                await killed(base, folder, data)
        assert (await base.rebuild(wait=0)).done
        assert (await base.search(Query("dogs"))).mode == "hybrid"
    finally:
        await base.close()
    assert sum(1 for one in (data / "index").iterdir() if one.is_dir()) <= 2, "the one in use, and the one before"
    assert used(data / "index") < 3 * size


def used(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


async def test_a_server_keeps_what_is_needed_and_no_more(
    tmp_path: Path, postgres_library: str, chroma_server: RunningChroma
) -> None:
    folder, data = tmp_path / "documents", tmp_path / "data"
    others = collections(chroma_server)

    def made(embedder: LetterEmbedder, data: Path) -> KnowledgeBase:
        return KnowledgeBase(data, embedder, database=postgres_library, store=ChromaServer(chroma_server.url))

    base, elsewhere = made(LetterEmbedder(), data), made(OtherEmbedder(), tmp_path / "elsewhere")
    try:
        for number in range(ROUNDS):
            write(folder, number)
            await base.sync(folder)
            if number < KILLED:
                await killed(base, folder, data)
        await elsewhere.bring_up()
        write(folder, 100)
        await base.sync(folder)
        hours_pass(postgres_library)
        assert (await base.rebuild(wait=0)).done
        ours = {name: ids for name, ids in collections(chroma_server).items() if name not in others}
        # Two audiences, by each of two embedders.
        assert sorted(len(ids) for ids in ours.values()) == [1, 1, 2, 2]
        # A machine that has another embedder is not to lose its vectors, until it is not heard of any more.
        assert (await elsewhere.search(Query("dogs"))).mode == "hybrid"
        library = base._open_library()
        with library._engine.begin() as connection:
            noted = state.c.key.startswith("space ") & state.c.value.endswith(OtherEmbedder.name)
            connection.execute(
                update(state).where(noted).values(value=f"2026-01-01T00:00:00+00:00 {OtherEmbedder.name}")
            )
        assert (await base.rebuild(wait=0)).done
        ours = {name: ids for name, ids in collections(chroma_server).items() if name not in others}
        assert sorted(len(ids) for ids in ours.values()) == [1, 2]
        assert {one for ids in ours.values() for one in ids} == {
            one for ids in library.kept_ids().values() for one in ids
        }
        assert all(part.ok for part in await base.verify())
        assert collections(chroma_server).keys() >= others.keys(), "those of other libraries stay"
        # It comes back, and finds its own again.
        await elsewhere.bring_up()
        await elsewhere.rebuild(wait=0)
        assert (await elsewhere.search(Query("dogs"))).mode == "hybrid"
    finally:
        await base.close()
        await elsewhere.close()


def test_a_copy_of_a_library_is_another_one_on_the_server(tmp_path: Path, database: Source) -> None:
    """Or the copy, a trial of something, would remove there what the original needs."""
    first = Library(open_database(database, SCHEMA))
    name = first.identity()
    again = Library(open_database(database, SCHEMA))
    assert again.identity() == name == first.identity()
    if isinstance(database, Path):
        written_anew(first._engine)
        assert first.identity() == name
        shutil.copytree(database, tmp_path / "copy")
        copy = Library(open_database(tmp_path / "copy", SCHEMA))
        assert copy.identity() not in ("", name)
        assert copy.identity() == copy.identity()
        copy._engine.dispose()
    assert first.identity() == name
    first._engine.dispose()
    again._engine.dispose()
