"""Opening the database of the ledger, a file of SQLite or PostgreSQL, and waiting for it in threads."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from agent.ledger.tables import VERSION_TABLE
from knowledge.database import BUSY_SECONDS, database_file
from knowledge.errors import StoreError

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

VERSIONS = ("0001", "0002")
"""Of the tables, oldest first, as in `agent.ledger.migrations.versions`."""
POOL_SIZE = 5
_MIGRATION_LOCK = 0x66726F6E74  # "front"
_MIGRATION_SECONDS = 60.0
_SCHEMES = ("postgresql+psycopg://", "postgresql://", "postgres://")
# A connection that a firewall dropped is noticed in a minute rather than in hours.
_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_CONNECT_SECONDS = 10
_DEADLOCKS = ("40P01", "40001")
_TRIES = 3


class Database:
    """An engine that is opened, and its tables made, when it is first used; and the threads that wait for it.

    `source` is the data directory, the URL of a PostgreSQL database, or an engine, which is the caller's to dispose of.
    """

    def __init__(self, source: Engine | Path | str, pool_size: int = POOL_SIZE) -> None:
        self._source = source
        self._pool_size = pool_size
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        # SQLite lets one write at a time, and who waits inside it is not served in order.
        self._writing = threading.Lock()
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="ledger-verbs")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it in one of the threads, where it goes on when the caller is cancelled. Raises `StoreError` after `close`."""
        return await self.run_in(self._threads, function, *args, **kwargs)

    async def run_in(self, threads: Executor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it in one of these threads."""
        try:
            future = threads.submit(function, *args, **kwargs)
        except RuntimeError:
            raise StoreError("The ledger is closed.") from None
        return await asyncio.wrap_future(future)

    async def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What it finds. Raises `StoreError`."""

        def reading() -> T:
            with self.reading() as connection:
                return function(connection, *args, **kwargs)

        return await self.run(reading)

    async def write(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What it returns, in one transaction. Where transactions got into each other's way, once more. Raises `StoreError`."""

        def writing() -> T:
            for left in reversed(range(_TRIES)):
                try:
                    with self.writing() as connection:
                        return function(connection, *args, **kwargs)
                except StoreError as error:
                    if not left or _sqlstate(error.__cause__) not in _DEADLOCKS:
                        raise
            raise AssertionError("unreachable")

        return await self.run(writing)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read by. What goes wrong is a `StoreError`."""
        with told_as_ours(), self.opened().connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that is written at the end. What goes wrong is a `StoreError`."""
        with told_as_ours():
            engine = self.opened()
            with self._alone(engine), engine.begin() as connection:
                begin_writing(connection)
                yield connection

    @contextmanager
    def _alone(self, engine: Engine) -> Iterator[None]:
        if engine.dialect.name != "sqlite":
            yield
            return
        if not self._writing.acquire(timeout=BUSY_SECONDS):
            raise StoreError(*_said("the database is locked"))
        try:
            yield
        finally:
            self._writing.release()

    def opened(self) -> Engine:
        """The engine, with its tables as this version knows them. Raises `StoreError`."""
        with self._opening:
            if self._engine is None:
                self._engine = _open(self._source, self._pool_size)
            return self._engine

    def forget_erased(self, *, wholly: bool) -> None:
        """Make sure that what was erased is nowhere in SQLite's file. `wholly`: also where a row was once, and moved.

        The rows are gone either way; when somebody else holds the file, the log tells the operator.
        """
        engine = self.opened()
        if engine.dialect.name != "sqlite":
            return
        try:
            with self._alone(engine), engine.connect() as connection:
                if wholly:
                    # `secure_delete` overwrites rows that go, and not the copies that are left where pages were split.
                    connection.exec_driver_sql("VACUUM")
                busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        except (SQLAlchemyError, StoreError) as error:
            busy = reason(error)
        if busy:
            _log.warning(
                "What was erased may still be in the free space of %s, because the file is in use. Run: sqlite3 %s VACUUM",
                *(engine.url.database,) * 2,
            )

    async def close(self, writer: Executor, last: Callable[[], None]) -> None:
        """End `writer` after `last` was done in it, and close the database."""

        def closing() -> None:
            writer.submit(last)
            writer.shutdown()
            self._threads.shutdown()
            if self._engine is not None and self._engine is not self._source:
                self._engine.dispose()

        # Nothing of it waits in the caller's thread; the pool of asyncio may be full of what waits for this database.
        closer = ThreadPoolExecutor(1, thread_name_prefix="ledger-close")
        done = closer.submit(closing)
        try:
            await asyncio.wrap_future(done)
        except RuntimeError:  # it was closed before
            return
        finally:
            closer.shutdown(wait=done.done())


class Part:
    """What the parts of the ledger have in common: the database."""

    _database: Database


@contextmanager
def told_as_ours() -> Iterator[None]:
    """What goes wrong inside is a `StoreError`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(*_said(reason(error))) from error


def reason(error: BaseException) -> str:
    """What went wrong, without the statement and its values."""
    if isinstance(error, StoreError):
        return error.message.rstrip(".")
    return str(getattr(error, "orig", None) or error).strip()


def begin_writing(connection: Connection) -> None:
    """Begin to write at once: on SQLite a transaction that reads first may fail at its first write."""
    # The driver begins nothing by itself before the first change. An engine of the caller's may have begun already.
    begun = getattr(connection.connection.dbapi_connection, "in_transaction", False)
    if connection.dialect.name == "sqlite" and not begun:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def postgres_url(url: str) -> str:
    """The URL as SQLAlchemy takes it. Raises `StoreError` for one that is not PostgreSQL's."""
    for scheme in _SCHEMES:
        if url.startswith(scheme):
            return _SCHEMES[0] + url.removeprefix(scheme)
    raise StoreError(
        f"The database URL begins with {url.split('://')[0][:40]!r}, which is not a database that frontdesk knows.",
        "Set DATABASE_URL=postgresql://user:password@host/name, or leave it out to use the data directory.",
    )


def _open(source: Engine | Path | str, pool_size: int) -> Engine:
    if isinstance(source, Engine):
        with told_as_ours():
            _migrate(source)
        return source
    if isinstance(source, str):
        return _open_postgres(source, pool_size)
    return _open_file(database_file(source), pool_size)


def _open_postgres(url: str, pool_size: int) -> Engine:
    try:
        engine = create_engine(
            postgres_url(url),
            pool_size=pool_size,
            pool_pre_ping=True,
            connect_args={**_KEEPALIVE, "connect_timeout": _CONNECT_SECONDS},
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            "PostgreSQL needs a driver that is not installed.", "Install it: pip install 'psycopg[binary]'"
        ) from error
    except (ArgumentError, ValueError) as error:
        # Without the URL: there is a password in it.
        raise StoreError(
            "The database URL cannot be read.", "Set DATABASE_URL=postgresql://user:password@host/name"
        ) from error
    try:
        _migrate(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise StoreError(
            f"The database {engine.url.render_as_string(hide_password=True)} cannot be used: {reason(error)}.",
            "Look at DATABASE_URL, and whether the server is up.",
        ) from error
    except StoreError:
        engine.dispose()
        raise
    return engine


def _open_file(file: Path, pool_size: int) -> Engine:
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_SECONDS}, pool_size=pool_size)
    event.listen(engine, "connect", _set_up_file)
    try:
        _migrate(engine)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        engine.dispose()
        raise StoreError(
            f"The database {file} cannot be used: {reason(error)}.",
            "If it is damaged, move the data directory away and sync your documents again; if it is read-only, choose "
            "another with --data DIR.",
        ) from error
    except StoreError:
        engine.dispose()
        raise
    return engine


def _set_up_file(connection: Any, _: ConnectionPoolEntry) -> None:
    # FULL: what was accepted has to outlive a power cut, its platform will not send it again.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _migrate(engine: Engine) -> None:
    """Bring the tables to the newest version, if they are not. Raises `StoreError` when they are of a newer one."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    # The library's own lock: it makes its tables in the same file.
    lock = FileLock(f"{file}.lock", timeout=_MIGRATION_SECONDS) if file and file != ":memory:" else nullcontext()
    try:
        with lock:
            with engine.connect() as connection:
                if _version(connection) == VERSIONS[-1]:
                    return
            with engine.begin() as connection:
                begin_writing(connection)
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                if _version(connection) != VERSIONS[-1]:
                    from agent.ledger.migrations import upgrade

                    upgrade(connection)
    except Timeout:
        raise StoreError(
            f"Another process has been making the tables in {file} for {_MIGRATION_SECONDS:.0f} seconds.",
            "Wait until it is done, or end it.",
        ) from None


def _version(connection: Connection) -> str | None:
    """The version of the tables, `None` before the first. Raises `StoreError` for one that is not known."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if found is not None and found not in VERSIONS:
        raise StoreError(
            f"The database was written by a newer version of frontdesk (tables {found}, this one knows {VERSIONS[-1]}).",
            "Use the version that wrote it: pip install --upgrade frontdesk",
        )
    return None if found is None else str(found)


def _sqlstate(error: BaseException | None) -> str:
    return str(getattr(error.orig, "sqlstate", "")) if isinstance(error, DBAPIError) else ""


def _said(what: str) -> tuple[str, str]:
    return f"The database cannot be used: {what}.", "Look at the database: frontdesk doctor"
