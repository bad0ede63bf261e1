"""Opening the database in which the library is kept: one SQLite file in the data directory, in WAL mode."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import Column, Engine, MetaData, String, Table, Text, create_engine, event, insert, select
from sqlalchemy.exc import DatabaseError

from knowledge.errors import StoreError

SCHEMA = "1"
"""Version of the tables. A database of another version is refused rather than guessed at."""
BUSY_SECONDS = 5.0

metadata = MetaData()
state = Table("state", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False))
"""Facts about the whole: the schema's version, the edition, which index belongs to it."""


def database_file(data: Path) -> Path:
    """The database's file; the directory is made. Raises `StoreError` when it cannot be."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        if not data.is_dir():
            raise NotADirectoryError(f"{data} is not a directory")
    except OSError as error:
        raise StoreError(
            f"The data directory {data} cannot be used: {error.strerror or error}.",
            "Choose another with --data DIR or FRONTDESK_DATA.",
        ) from error
    return data / "frontdesk.sqlite3"


def open_database(data: Path) -> Engine:
    """Open (and on first use create) the database in `data`. Raises `StoreError` when that is not possible."""
    file = database_file(data)
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set_up_connection)
    try:
        _check_schema(engine, file)
    except (DatabaseError, sqlite3.DatabaseError, OSError) as error:
        engine.dispose()
        reason = str(getattr(error, "orig", None) or error)
        raise StoreError(
            f"The database {file} cannot be used: {reason}.",
            "If it is damaged, move the data directory away and sync your documents again; if it is read-only, choose "
            "another with --data DIR.",
        ) from error
    return engine


def _set_up_connection(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _check_schema(engine: Engine, file: Path) -> None:
    # Several processes that make a new database at once would stumble over each other's tables.
    with FileLock(f"{file}.lock", timeout=BUSY_SECONDS), engine.begin() as connection:
        metadata.create_all(connection, checkfirst=True)
        found = connection.execute(select(state.c.value).where(state.c.key == "schema")).scalar()
        if found is None:
            connection.execute(insert(state).values(key="schema", value=SCHEMA))
    if found not in (None, SCHEMA):
        engine.dispose()
        raise StoreError(
            f"The database {file} was written by another version of frontdesk (schema {found}, this one is {SCHEMA}).",
            "Use the version that wrote it, or choose another data directory with --data DIR.",
        )
