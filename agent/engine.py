"""Durable execution: what was submitted is run, also when this process dies, one at a time in each conversation.

DBOS Transact behind four verbs. It keeps ids only, never what people said: that stands in the ledger, where it can be erased.
One process with SQLite recovers its own runs when it starts. Processes on one Postgres take over from those that died: each
holds an advisory lock on its executor id for as long as it lives, and whoever finds a lock free recovers what that one ran.

DBOS keeps one instance in a process, so there is one `Engine` at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnClause,
    Connection,
    TableClause,
    column,
    create_engine,
    delete,
    event,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from agent.errors import EngineError
from agent.takeover import Takeover
from knowledge.database import postgres_url

if TYPE_CHECKING:
    from dbos import DBOSConfig
    from sqlalchemy import Engine as Database

_log = logging.getLogger(__name__)

QUEUE = "turns"
VERSION = "frontdesk-1"
"""Of the runs' inputs. Pinned, because the default is a hash of the code: a deploy would strand what is queued."""
POLL_SECONDS = 0.2
"""How often the queue is looked into. What is submitted here is claimed at once; the poll finds what is left."""
HEAL_AFTER_SECONDS = 10.0
AGAIN = "~"
"""In the id of a run, between what is run and what tells this run of it from others."""
_OPEN = ("PENDING", "ENQUEUED", "DELAYED")


class Engine:
    """Runs what is submitted. `database` is a data directory, or the URL of a Postgres database.

    `run` is awaited with the id that was submitted, in the event loop that `start` was awaited in. It may be awaited again for
    the same id after a crash. `at_once` bounds the runs of this process. `listening`: false for a process that submits only.
    """

    def __init__(
        self,
        database: Path | str,
        run: Callable[[str], Awaitable[None]],
        *,
        at_once: int = 200,
        listening: bool = True,
    ) -> None:
        self._database = database
        self._run = run
        self._at_once = at_once
        self._listening = listening
        self._executor = "local" if isinstance(database, Path) else uuid.uuid4().hex
        self._running: dict[str, asyncio.Task[Any] | None] = {}
        self._sweeping: Takeover | None = None
        self._dbos: Any = None
        self._queue: Any = None
        self._workflow: Any = None
        self._stopping = False
        self._waiting = False
        self._claiming: asyncio.Task[None] | None = None

    @property
    def running(self) -> frozenset[str]:
        """What is being run in this process."""
        return frozenset(self._running)

    async def start(self) -> None:
        """Open the database and begin to run what waits there. Raises `EngineError`."""
        _no_cloud()
        from dbos import DBOS

        # It tells of an error at launch with a traceback; `EngineError` tells it in words.
        logging.getLogger("dbos").addFilter(lambda record: not record.getMessage().startswith("DBOS failed to launch"))
        try:
            config = self._config(self._executor)
            if isinstance(self._database, str):
                self._sweeping = Takeover(self._database, self._executor, self._recover)
                await asyncio.to_thread(self._sweeping.hold)
            self._dbos = DBOS(config=config)
            self._workflow = DBOS.workflow(name="turn", max_recovery_attempts=1_000)(_workflow(self._enter))
            DBOS.listen_queues([QUEUE] if self._listening else [])
            # In this thread, so that runs take place in this event loop.
            DBOS.launch()
            _one_claim_at_a_time(self._dbos._sys_db)
            self._queue = await DBOS.register_queue_async(
                QUEUE,
                partition_concurrency=1,
                worker_concurrency=self._at_once,
                polling_interval_sec=POLL_SECONDS,
                on_conflict="always_update",
            )
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            await self.stop(0)
            reason = getattr(error, "orig", None) or error
            file = self._database / FILE if isinstance(self._database, Path) else None
            raise EngineError(
                f"The queue of turns cannot be opened{f' ({file})' if file else ''}: {reason}.",
                f"If the file is damaged, move {FILE}* away and start again: what waits is found in the ledger."
                if file
                else "Look at DATABASE_URL, and at the database: frontdesk doctor",
            ) from error
        if self._sweeping is not None and self._listening:
            self._sweeping.start()

    async def submit(self, run: str, partition: str, *, again: str = "") -> None:
        """Store a run; when this returns it will take place, however this process ends. Once for each id.

        Runs of one partition take place one after the other. `again` tells another run of the same id from the first.
        Raises `EngineError`.
        """
        from dbos import DBOS, SetEnqueueOptions, SetWorkflowID

        try:
            name = f"{run}{AGAIN}{again}" if again else run
            with SetWorkflowID(name), SetEnqueueOptions(queue_partition_key=partition, app_version=VERSION):
                await DBOS.enqueue_workflow_async(QUEUE, self._workflow, run)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise EngineError(
                f"A turn could not be stored: {error}.", "Look at the database: frontdesk doctor"
            ) from error
        self._waiting = True
        if self._listening and (self._claiming is None or self._claiming.done()):
            self._claiming = asyncio.create_task(self._claim_at_once())

    async def _claim_at_once(self) -> None:
        """Claim what waits now, rather than at the next look into the queue: what comes during one claim, by the next."""
        while self._waiting and not self._stopping:
            self._waiting = False
            await asyncio.to_thread(self._claim)

    async def unknown(self, runs: Sequence[str]) -> list[str]:
        """Those of `runs` that will not take place by themselves: they were never stored, or have ended."""
        open_ones = await asyncio.to_thread(self._open)
        return [run for run in runs if run not in open_ones]

    async def heal(self) -> None:
        """Run what this process claimed and does not run. To be called now and then."""
        healed = await asyncio.to_thread(self._heal)
        if healed:
            _log.warning("%d turns were claimed and not begun; they are run now.", healed)

    async def prune(self, before: datetime) -> int:
        """Remove the records of runs that ended before that. Returns how many."""
        return await asyncio.to_thread(self._prune, int(before.timestamp() * 1000))

    async def stop(self, seconds: float = 20.0) -> None:
        """Begin nothing more, give what runs this long to end, and leave the rest to the next process."""
        from dbos import DBOS

        self._stopping = True
        if self._dbos is None:
            return
        for stop in self._dbos.background_thread_stop_events:
            stop.set()
        if self._claiming is not None:
            await asyncio.gather(self._claiming, return_exceptions=True)
        tasks = [task for task in self._running.values() if task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            # The outcome of what has ended is written behind it.
            await asyncio.sleep(0.1)
        if self._sweeping is not None:
            await asyncio.to_thread(self._sweeping.stop)
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        # DBOS made its own pool of threads this loop's, and has just shut it down.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        self._dbos = None

    # ---------------------------------------------------------------------------------------------------------------

    async def _enter(self, run: str) -> None:
        """A run. What it does is made safe to repeat by the ledger, so that nothing of it is recorded by DBOS."""
        if self._stopping:
            # Claimed in the last moment: never ending leaves it to the next process.
            await asyncio.Event().wait()
        self._running[run] = asyncio.current_task()
        try:
            await self._run(run)
        finally:
            del self._running[run]

    def _claim(self) -> None:
        """What DBOS does at each poll, at once. Internal to DBOS, hence the pin of its minor version."""
        from dbos._core import execute_dequeued_workflow
        from dbos._utils import GlobalParams

        database = self._dbos._sys_db
        room = self._at_once - self._dbos._active_workflows_set.count_for_queue(QUEUE)
        if room <= 0:
            return
        owner = uuid.uuid4().hex
        try:
            # All that is submitted has a version; that others are wanted, too, would have to be asked of the database.
            claimed = database.start_queued_partitioned_workflows(
                *(self._queue, GlobalParams.executor_id, GlobalParams.app_version, room),
                owner_xid=owner,
                is_latest_version=False,
            )
            for status in database.get_workflow_statuses(claimed) if claimed else ():
                execute_dequeued_workflow(self._dbos, status, owner)
        except SQLAlchemyError as error:
            # Another process claims at the same time, or the database is away: the poll comes by.
            _log.debug("The queue was not claimed at once: %s", error)

    def _heal(self) -> int:
        """What is claimed by this process, and not run in it, because something broke in between, is queued again."""
        statuses = self._dbos._sys_db.tables.workflow_status
        old = int((time.time() - HEAL_AFTER_SECONDS) * 1000)
        with self._dbos._sys_db.engine.connect() as connection:
            mine = (statuses.c.status == "PENDING") & (statuses.c.executor_id == self._executor)
            query = select(statuses.c.workflow_uuid).where(mine, statuses.c.started_at_epoch_ms < old)
            found = set(connection.execute(query).scalars()) - set(self._dbos._active_workflows_set.activeList())
        for workflow in found:
            self._dbos._sys_db.reenqueue_for_recovery(workflow, [self._executor], QUEUE)
        return len(found)

    def _config(self, executor: str) -> DBOSConfig:
        from dbos._serialization import DBOSPortableJSON

        config: DBOSConfig = {
            "name": "frontdesk",
            "executor_id": executor,
            "application_version": VERSION,
            "serializer": DBOSPortableJSON,
            "enable_otlp": False,
            "log_level": "ERROR",
            "scheduler_polling_interval_sec": 3600.0,
            "notification_listener_polling_interval_sec": 1.0,
        }
        if isinstance(self._database, Path):
            config["system_database_url"] = f"sqlite:///{self._database / FILE}"
            config["system_database_engine"] = sqlite_engine(self._database / FILE)
        else:
            config["system_database_url"] = postgres_url(self._database)
            config["sys_db_pool_size"] = 8
            config["use_listen_notify"] = False
        return config

    def _open(self) -> set[str]:
        statuses = self._dbos._sys_db.tables.workflow_status
        with self._dbos._sys_db.engine.connect() as connection:
            found = connection.execute(select(statuses.c.workflow_uuid).where(statuses.c.status.in_(_OPEN))).scalars()
            return {one.partition(AGAIN)[0] for one in found}

    def _recover(self, executor: str) -> None:
        from dbos import DBOS

        found = DBOS._recover_pending_workflows([executor])
        if found:
            _log.warning("Took over %d turns of a process that died.", len(found))

    def _prune(self, before: int) -> int:
        statuses = self._dbos._sys_db.tables.workflow_status
        ended = select(statuses.c.workflow_uuid).where(statuses.c.status.notin_(_OPEN), statuses.c.updated_at < before)
        engine, count = self._dbos._sys_db.engine, 0
        while True:
            with engine.begin() as connection:
                some = list(connection.execute(ended.limit(_AT_ONCE)).scalars())
                for table in _tables_of_runs(connection, self._database):
                    connection.execute(delete(table).where(_RUN.in_(some)))
            count += len(some)
            if len(some) < _AT_ONCE:
                return count


FILE = "turns.sqlite3"


_RUN: ColumnClause[str] = column("workflow_uuid")
_AT_ONCE = 500


def _tables_of_runs(connection: Connection, database: Path | str) -> list[TableClause]:
    """DBOS's tables that hold something of a run; the one that the others refer to is the last."""
    schema = None if isinstance(database, Path) else "dbos"
    inspector = inspect(connection)
    names = [
        name
        for name in inspector.get_table_names(schema)
        if any(one["name"] == _RUN.name for one in inspector.get_columns(name, schema))
    ]
    return [table(name, schema=schema) for name in sorted(names, key=lambda name: name == "workflow_status")]


def forget(database: Path | str, runs: Sequence[str]) -> None:
    """Remove every trace of these runs, also while an engine runs on the database. It waits for the database.

    Raises `EngineError`.
    """
    if isinstance(database, Path) and not (database / FILE).exists():
        return
    engine = sqlite_engine(database / FILE) if isinstance(database, Path) else create_engine(postgres_url(database))
    try:
        with engine.begin() as connection:
            for table in _tables_of_runs(connection, database):
                for run in runs:
                    # Also the later runs of it: ids that go on behind its own.
                    connection.execute(delete(table).where(_RUN.startswith(run, autoescape=True)))
        if isinstance(database, Path) and runs:
            # What is deleted stays readable in the files until they are written anew.
            try:
                with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    connection.execute(text("VACUUM"))
                    connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
            except OperationalError as error:
                _log.warning("Erased ids may stay readable in %s for a while: %s", database / FILE, error.orig)
    except SQLAlchemyError as error:
        raise EngineError(f"The queue of turns cannot be cleaned: {error}.", "Try again: frontdesk erase") from error
    finally:
        engine.dispose()


def _one_claim_at_a_time(database: Any) -> None:
    """DBOS claims in one thread, and looks for who may run before it claims; on SQLite nothing else keeps two apart."""
    lock, claim = threading.Lock(), database.start_queued_partitioned_workflows

    def claimed(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return claim(*args, **kwargs)

    database.start_queued_partitioned_workflows = claimed


def _workflow(enter: Callable[[str], Awaitable[None]]) -> Callable[[str], Coroutine[Any, Any, None]]:
    # DBOS takes functions, not methods.
    async def turn(run: str) -> None:
        await enter(run)

    return turn


def sqlite_engine(file: Path) -> Database:
    """The database of the queue on SQLite: WAL before anything else, few connections, writers one after the other.

    In rollback-journal mode and with twenty connections DBOS's own engine gets a third of the throughput.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        f"sqlite:///{file}",
        module=sqlite_module(),
        pool_size=4,
        max_overflow=2,
        pool_timeout=30,
        connect_args={"check_same_thread": False},
    )

    def set_up(connection: Any, _: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", set_up)
    return engine


def sqlite_module() -> Any:
    """The SQLite to use. On Python 3.12 and later DBOS needs 3.42, which some systems' Python lacks: then a bundled one.

    Raises `EngineError` when there is none.
    """
    recent_python = tuple(sys.version_info) >= (3, 12)
    if not recent_python or sqlite3.sqlite_version_info >= (3, 42):
        return sqlite3
    try:
        import pysqlite3  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise EngineError(
            f"This Python's SQLite is {sqlite3.sqlite_version}; with Python 3.12 and later the queue of turns needs 3.42.",
            "Type: pip install pysqlite3-binary   (or use Python 3.11, or Postgres by DATABASE_URL)",
        ) from None
    return pysqlite3


def _no_cloud() -> None:
    """DBOS looks for its cloud, and for its makers' services, in the environment. It finds nothing there."""
    from dbos._utils import GlobalParams

    for name in [name for name in os.environ if name.startswith(("DBOS_", "DBOS__"))]:
        del os.environ[name]
    GlobalParams.dbos_cloud = False
