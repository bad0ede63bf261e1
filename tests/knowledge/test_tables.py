"""The library's tables: made where there are none, brought over from before, refused when they are newer, all or nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from knowledge.base import KnowledgeBase
from knowledge.database import Source, open_database, postgres_url
from knowledge.errors import StoreError
from knowledge.library import Library
from knowledge.library.tables import SCHEMA, metadata
from knowledge.search import Query
from tests.knowledge.embedder import LetterEmbedder

ROOT = Path(__file__).resolve().parents[2]
OPEN = """
import sys
from pathlib import Path
from knowledge.database import open_database
from knowledge.library import Library
from knowledge.library.tables import SCHEMA

sys.stdin.readline()
source = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1])
print(Library(open_database(source, SCHEMA)).edition(), "alembic" in sys.modules)
"""
# As a frontdesk without editions wrote it.
BEFORE = """
CREATE TABLE state ("key" VARCHAR(64) NOT NULL, value TEXT NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE documents (id TEXT NOT NULL, folder TEXT NOT NULL, source TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
  url TEXT, audience TEXT NOT NULL, language TEXT, updated DATE, review_by DATE, tags JSON NOT NULL,
  content_hash VARCHAR(64) NOT NULL, synced_at DATETIME NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_documents_folder ON documents (folder);
CREATE TABLE vectors (embedder TEXT NOT NULL, vector_key VARCHAR(64) NOT NULL, vector BLOB NOT NULL,
  PRIMARY KEY (embedder, vector_key));
CREATE TABLE files (folder TEXT NOT NULL, path TEXT NOT NULL, content_hash VARCHAR(64) NOT NULL, PRIMARY KEY (folder, path));
CREATE TABLE passages (id TEXT NOT NULL, document_id TEXT NOT NULL, position INTEGER NOT NULL, heading JSON NOT NULL,
  text TEXT NOT NULL, vector_key VARCHAR(64) NOT NULL, PRIMARY KEY (id),
  FOREIGN KEY(document_id) REFERENCES documents (id) ON DELETE CASCADE);
CREATE INDEX ix_passages_document_id ON passages (document_id);
CREATE INDEX ix_passages_vector_key ON passages (vector_key);
INSERT INTO state VALUES ('schema', '1'), ('edition', '7'), ('generation', 'abc'), ('embedder', 'letters');
INSERT INTO documents VALUES ('pets', '/kb', 'pets.md', 'Pets', 'Dogs are welcome.', NULL, 'public', NULL, '2026-01-31', NULL,
  '["dogs", "été"]', 'hash-of-pets', '2026-02-01 08:00:00.000000'),
 ('staff', '/kb', 'staff.md', 'Goodwill', 'Up to 90 euros.', 'https://x.example/s', 'internal', 'en', NULL, '2027-01-01',
  '[]', 'hash-of-staff', '2026-02-01 08:00:00.000000');
INSERT INTO passages VALUES ('p1', 'pets', 0, '["Rules"]', 'Dogs are welcome.', 'k1'),
 ('s1', 'staff', 0, '[]', 'Up to 90 euros.', 'k2');
INSERT INTO files VALUES ('/kb', 'pets.md', 'bytes');
"""


def engine_of(source: Source) -> Engine:
    if isinstance(source, str):
        return create_engine(postgres_url(source))
    source.mkdir(exist_ok=True)
    return create_engine(f"sqlite:///{source / 'frontdesk.sqlite3'}")


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """A database without tables."""
    if request.param == "sqlite":
        return tmp_path / "data"
    url: str = request.getfixturevalue("postgres_url")
    return url


def test_the_tables_are_those_that_the_code_knows(empty: Source) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    open_database(empty, SCHEMA).dispose()
    engine = engine_of(empty)
    with engine.connect() as connection:
        options = {"version_table": SCHEMA.version_table, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA.versions[-1]
    engine.dispose()


def test_every_version_is_known_to_the_cheap_check() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(SCHEMA.scripts))
    assert [one.revision for one in script.walk_revisions()][::-1] == list(SCHEMA.versions)


def before(tmp_path: Path, script: str = BEFORE) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    with closing(sqlite3.connect(data / "frontdesk.sqlite3")) as connection:
        connection.executescript(script)
    return data


async def test_a_library_from_before_editions_goes_on(tmp_path: Path) -> None:
    data = before(tmp_path)
    base = KnowledgeBase(data, LetterEmbedder())
    stored = await base.document("pets")
    assert stored is not None
    assert (stored.state, stored.revision, stored.published, stored.latest) == ("published", 1, 1, 1)
    assert (stored.origin.kind, stored.origin.place, stored.document.source) == ("folder", "/kb", "pets.md")
    assert stored.document.tags == ("dogs", "été")
    assert stored.at.isoformat() == "2026-02-01T08:00:00+00:00"
    assert [one.document.id for one in await base.documents()] == ["pets", "staff"]
    found = await base.search(Query("dogs welcome"))
    assert [(hit.passage.id, hit.passage.heading, hit.updated) for hit in found.hits] == [
        ("p1", ("Rules",), "2026-01-31")
    ]
    assert "frontdesk knowledge rebuild" in found.note, "its index is to be made"
    await base.close()
    with closing(sqlite3.connect(data / "frontdesk.sqlite3")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        kept = dict(connection.execute("SELECT key, value FROM state").fetchall())
    assert tables == {*metadata.tables, SCHEMA.version_table}
    # What a frontdesk from before finds, and refuses.
    assert kept == {"schema": "2", "edition": "7"}


async def test_a_library_from_before_is_the_same_after_a_sync(tmp_path: Path) -> None:
    data, folder = before(tmp_path, BEFORE.replace("/kb", str(tmp_path / "kb"))), tmp_path / "kb"
    folder.mkdir()
    (folder / "pets.md").write_text("# Pets\n\nDogs and cats are welcome.\n")
    base = KnowledgeBase(data, LetterEmbedder())
    report = await base.sync(folder)
    assert (report.added, report.changed, report.removed) == (0, 1, 1)
    stored = await base.document("pets")
    assert stored is not None
    assert (stored.revision, stored.document.text) == (2, "Dogs and cats are welcome.")
    await base.close()


def test_a_library_from_before_of_another_schema_is_refused_and_left(tmp_path: Path) -> None:
    data = before(tmp_path, BEFORE.replace("('schema', '1')", "('schema', '0')"))
    with pytest.raises(StoreError, match=r"another version.*schema 0"):
        open_database(data, SCHEMA)
    with closing(sqlite3.connect(data / "frontdesk.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (2,)


def test_a_newer_database_is_refused(empty: Source) -> None:
    open_database(empty, SCHEMA).dispose()
    engine = engine_of(empty)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {SCHEMA.version_table} SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer version") as caught:
        open_database(empty, SCHEMA)
    assert "9999" in caught.value.message
    assert "upgrade" in caught.value.hint
    engine.dispose()


def test_half_a_migration_leaves_nothing(empty: Source) -> None:
    engine = engine_of(empty)
    with engine.begin() as connection:
        # Something is in the way of a table in the middle.
        connection.execute(text("CREATE VIEW acts AS SELECT 1 AS id"))
    with pytest.raises(StoreError, match="cannot be used"):
        open_database(empty, SCHEMA)
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW acts"))
    open_database(empty, SCHEMA).dispose()
    assert set(metadata.tables) <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_half_a_migration_from_before_leaves_what_was_there(tmp_path: Path) -> None:
    data = before(tmp_path)
    engine = engine_of(data)
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW acts AS SELECT 1 AS id"))
    with pytest.raises(StoreError, match="cannot be used"):
        open_database(data, SCHEMA)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM documents")).scalar() == 2
        assert connection.execute(text("SELECT value FROM state WHERE key = 'edition'")).scalar() == "7"
        connection.execute(text("DROP VIEW acts"))
    engine.dispose()
    opened = open_database(data, SCHEMA)
    assert Library(opened).edition() == 7
    opened.dispose()


async def test_several_processes_open_a_new_database_at_once(empty: Source) -> None:
    def run(count: int) -> list[tuple[str, int]]:
        command = [sys.executable, "-c", OPEN, str(empty)]
        started = [
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        return [(one.communicate("\n", timeout=60)[0].strip(), one.returncode) for one in started]

    done = await asyncio.to_thread(run, 3)
    assert {(out.split()[0], code) for out, code in done} == {("0", 0)}
    # One that finds the tables does not load what makes them.
    assert (await asyncio.to_thread(run, 1)) == [("0 False", 0)]
