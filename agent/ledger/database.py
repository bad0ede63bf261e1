"""The database of the ledger: opened when it is first used, and waited for in threads."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from agent.ledger.tables import VERSION_TABLE
from knowledge.database import (
    BUSY_SECONDS,
    POOL_SIZE,
    Schema,
    begin_writing,
    in_the_way,
    open_database,
    reason,
    told_as_ours,
    unusable,
    written_anew,
)
from knowledge.errors import StoreError

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = Schema(VERSION_TABLE, ("0001", "0002"), Path(__file__).parent / "migrations")
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
                    if not left or not in_the_way(error):
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
            raise unusable("the database is locked")
        try:
            yield
        finally:
            self._writing.release()

    def opened(self) -> Engine:
        """The engine, with its tables as this version knows them. Raises `StoreError`."""
        with self._opening:
            if self._engine is None:
                self._engine = open_database(self._source, SCHEMA, self._pool_size)
            return self._engine

    def forget_erased(self, *, wholly: bool) -> None:
        """Make sure that what was erased is nowhere in SQLite's file. `wholly`: also where a row was once, and moved.

        The rows are gone either way; when somebody else holds the file, the log tells the operator.
        """
        engine = self.opened()
        if engine.dialect.name != "sqlite":
            return
        try:
            with self._alone(engine):
                if wholly:
                    busy = written_anew(engine)
                else:
                    with engine.connect() as connection:
                        found = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
                    busy = "the file is in use" if found else ""
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
