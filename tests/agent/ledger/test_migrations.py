"""The tables: made where there are none, kept where some are, refused when they are newer, all or nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from agent.ledger import Ledger
from agent.ledger.database import SCHEMA
from agent.ledger.tables import VERSION_TABLE, metadata, model_calls
from agent.ledger.transcript import _accept
from agent.models.base import Payer
from knowledge.database import begin_writing, open_database, postgres_url
from knowledge.errors import StoreError
from knowledge.library import tables as library_tables
from tests.agent.ledger.made import at, said
from tests.agent.test_ledger import CALL

ROOT = Path(__file__).resolve().parents[3]
OPEN = """
import asyncio, sys
from pathlib import Path
from agent.ledger import Ledger

async def main():
    assert "alembic" not in sys.modules
    sys.stdin.readline()
    ledger = Ledger(sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]))
    print((await ledger.counts()).queued, "alembic" in sys.modules)
    await ledger.close()

asyncio.run(main())
"""


def engine_of(source: Path | str) -> Engine:
    if isinstance(source, str):
        return create_engine(postgres_url(source))
    source.mkdir(exist_ok=True)
    return create_engine(f"sqlite:///{source / 'frontdesk.sqlite3'}")


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database without tables."""
    if request.param == "sqlite":
        return tmp_path / "data"
    url: str = request.getfixturevalue("postgres_url")
    return url


async def opened(source: Path | str | Engine) -> None:
    ledger = Ledger(source)
    try:
        await ledger.counts()
    finally:
        await ledger.close()


async def test_the_tables_are_those_that_the_code_knows(empty: Path | str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    await opened(empty)
    engine = engine_of(empty)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA.versions[-1]
    engine.dispose()


def test_every_version_is_known_to_the_cheap_check() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(ROOT / "agent" / "ledger" / "migrations"))
    assert [one.revision for one in script.walk_revisions()][::-1] == list(SCHEMA.versions)


def test_the_library_makes_its_own_tables_only() -> None:
    assert not set(library_tables.metadata.tables) & set(metadata.tables)


async def test_a_file_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    # Both were made by `create_all`, and the calls in it are those of customers.
    open_database(tmp_path, library_tables.SCHEMA).dispose()
    engine = engine_of(tmp_path)
    metadata.create_all(engine, tables=[model_calls])
    engine.dispose()
    ledger = Ledger(tmp_path)
    await ledger.record(CALL)
    await ledger.close()
    engine = engine_of(tmp_path)
    with engine.begin() as connection:
        ours = [table.name for table in reversed(metadata.sorted_tables) if table is not model_calls]
        for name in (*ours, VERSION_TABLE):
            connection.execute(text(f"DROP TABLE {name}"))
    engine.dispose()

    ledger = Ledger(tmp_path)
    assert (await ledger.spent("day", Payer(), None)).prompt_tokens == 1_000
    assert (await ledger.accept(said("1"))).new
    await ledger.close()
    open_database(tmp_path, library_tables.SCHEMA).dispose()


async def test_what_was_said_before_an_upgrade_is_there_after_it(empty: Path | str) -> None:
    engine = engine_of(empty)
    with engine.begin() as connection:
        begin_writing(connection)
        SCHEMA.upgrade(connection, SCHEMA.versions[0])
    known = set(inspect(engine).get_table_names()) - {VERSION_TABLE}
    assert known == set(metadata.tables) - {"marks"}
    # Written by the first version itself.
    with engine.begin() as connection:
        begin_writing(connection)
        _accept(connection, said("1"))
    engine.dispose()

    ledger = Ledger(empty)
    assert await ledger.mark("discord") is None
    await ledger.set_mark("discord", at(5))
    assert await ledger.mark("discord") == at(5)
    assert not (await ledger.accept(said("1"))).new
    assert [one.id for one in await ledger.unfinished()] == [said("1").id]
    await ledger.close()


async def test_a_newer_database_is_refused(empty: Path | str) -> None:
    await opened(empty)
    engine = engine_of(empty)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer version") as caught:
        await opened(empty)
    assert "9999" in caught.value.message
    assert "upgrade" in caught.value.hint
    with pytest.raises(StoreError, match="newer version"):
        await opened(engine)
    engine.dispose()


async def test_half_a_migration_leaves_nothing(empty: Path | str) -> None:
    engine = engine_of(empty)
    with engine.begin() as connection:
        # Something is in the way of a table in the middle.
        connection.execute(text("CREATE VIEW tickets AS SELECT 1 AS number"))
    with pytest.raises(StoreError, match="cannot be used"):
        await opened(empty)
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW tickets"))
    await opened(empty)
    assert set(metadata.tables) <= set(inspect(engine).get_table_names())
    engine.dispose()


async def test_an_engine_is_used_as_it_is(empty: Path | str) -> None:
    engine = engine_of(empty)
    ledger = Ledger(engine)
    assert (await ledger.accept(said("1"))).new
    await ledger.close()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM messages")).scalar() == 1
    engine.dispose()


async def test_several_processes_open_a_new_database_at_once(empty: Path | str) -> None:
    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OPEN, str(empty)]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(count: int) -> list[tuple[str, int]]:
        started = [start() for _ in range(count)]
        return [(one.communicate("\n", timeout=60)[0].strip(), one.returncode) for one in started]

    done = await asyncio.to_thread(run, 4)
    assert {(out.split()[0], code) for out, code in done} == {("0", 0)}
    # One that finds the tables does not load what makes them.
    assert (await asyncio.to_thread(run, 1)) == [("0 False", 0)]
