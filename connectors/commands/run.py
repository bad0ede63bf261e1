"""`frontdesk run` and `frontdesk worker`: everything that is up while customers are answered, and its orderly end."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.errors import DeliveryError, EngineError, SettingsError
from agent.metrics import Metrics
from agent.models.routing import Models
from agent.settings import Settings
from agent.turn import Limits
from agent.turns import Turns
from connectors import logs
from connectors.commands.knowledge.paging import recheck_always
from connectors.commands.options import Options
from connectors.composition import Desk, database_of, read_settings
from connectors.health import Health
from connectors.places import Place, build_connectors, described, load_libraries, whereabouts
from knowledge.database import RESTORE, damage
from knowledge.errors import BusyError, FrontdeskError, StoreError
from knowledge.search import Query

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 10.0
STOP_SECONDS = 20.0
"""How long running turns may take to end; what is left goes on after the next start."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""Between the tries to listen to a platform."""
DAY_SECONDS = 86_400.0
_LOOK_SECONDS = 0.1
_PROCESS = "process"
"""The part of readiness that is this process itself."""
GARBAGE = (20_000, 20, 20)
"""After how many more objects garbage is looked for among the newest, and after how many such looks among older ones."""
LOOKED_THROUGH = 256 * 1024 * 1024
"""Up to this size the file of the database is looked through for damage before anything is written to it."""
_WELL_SECONDS = 60.0
"""After that long a connection counts as one that worked."""


def run(options: Options, *, listening: bool = True) -> int:
    """Answer customers until told to stop. `listening`: false for `worker`, which only works on what others took in."""
    settings = read_settings(options.config, options.data)
    logs.set_up(settings["log_format"], settings.secrets())
    return asyncio.run(_until_stopped(settings, listening=listening))


async def _until_stopped(settings: Settings, *, listening: bool) -> int:
    stop = asyncio.Event()
    _on_signals(stop)
    async with AsyncExitStack() as stack:
        service = _Service(settings, stack, listening=listening)
        work, stopped = asyncio.create_task(service.work()), asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            service.stopping()
            _say("Stopping: running answers are given up to 20 s. Once more to stop at once.")
        stopped.cancel()
        work.cancel()
        # Raises what ended the work, if it was not us.
        with suppress(asyncio.CancelledError):
            await work
    _say("Stopped.")
    return 0


def _on_signals(stop: asyncio.Event) -> None:
    """The first signal stops in order, the second at once: what runs is stored, and goes on after the next start."""

    def received() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for one in (signal.SIGTERM, signal.SIGINT):
        # Windows has none of it: there Ctrl-C ends the process at once.
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(one, received)


class _Service:
    """What is up. Everything is closed by `stack` in the opposite order: listening ends first."""

    def __init__(self, settings: Settings, stack: AsyncExitStack, *, listening: bool) -> None:
        self._settings = settings
        self._stack = stack
        self._listening = listening
        self._metrics = Metrics()
        self._problems: dict[str, str] = {_PROCESS: "is still starting"}
        self._heard: set[str] = set()

    async def work(self) -> None:
        """Start everything, in the order that what is wrong is told at once, and go on until cancelled."""
        settings, enter = self._settings, self._stack
        database = database_of(settings)
        if isinstance(database, Path):
            if not self._listening:
                raise SettingsError(
                    "`frontdesk worker` shares a Postgres database with `frontdesk run`, and none is set.",
                    "Set DATABASE_URL=postgresql://USER:PASSWORD@HOST:5432/DATABASE for both, or use `frontdesk run` alone: "
                    "it answers, too (docs/running.md).",
                )
            enter.enter_context(alone_in(database))
            if found := await asyncio.to_thread(damage, database, LOOKED_THROUGH):
                raise StoreError(f"The database in {database} is damaged: {found}.", RESTORE)
        desk = Desk.open(settings)
        health = Health(settings["health_address"], self._metrics, lambda: _counts(desk))
        health.checks[_PROCESS] = self._problem(_PROCESS)
        enter.push_async_callback(health.close)
        await health.start()
        await enter.enter_async_context(desk)
        health.checks["database"] = lambda: _reachable(desk)
        await asyncio.to_thread(load_libraries, settings)
        connectors = build_connectors(desk)
        await desk.require_documents()
        await desk.refresh()
        turns = Turns(
            desk.ledger,
            desk.agent,
            connectors,
            desk.rooms,
            database=desk.database,
            limits=limits_of(settings),
            models=Models(desk.models.choose),
            metrics=self._metrics,
        )
        for name, connector in connectors.items():
            enter.push_async_callback(connector.close)
            health.checks[name] = self._connected(name, connector)
        await _warm_up(desk)
        enter.push_async_callback(turns.stop, STOP_SECONDS)
        await turns.start()
        for name in connectors:
            _say(f"{name.capitalize()}: {described(name, settings) if self._listening else 'answers only'}")
        if health.url:
            _say(f"Health: {health.url}/healthz")
        _say(desk.how_answers_are_made)
        del self._problems[_PROCESS]
        health.begin_anew()
        tasks = [self._refresh(desk), desk.knowledge.keep_index()]
        if self._listening:
            tasks.append(self._prune_daily(desk, turns))
            tasks.append(recheck_always(desk.knowledge, settings))
            alone = len(connectors) == 1
            tasks += [self._listen(name, one, turns, alone=alone) for name, one in connectors.items()]
            tasks += [self._announce(name, one) for name, one in connectors.items()]
        _say("Running. Ctrl-C stops it." if self._listening else "Working on what is in the queue. Ctrl-C stops it.")
        await asyncio.gather(*tasks)

    def stopping(self) -> None:
        """Nothing more is to be sent here."""
        self._problems[_PROCESS] = "is stopping"

    def _problem(self, name: str) -> Callable[[], Awaitable[str]]:
        async def check() -> str:
            return self._problems.get(name, "")

        return check

    def _connected(self, name: str, connector: Place) -> Callable[[], Awaitable[str]]:
        async def check() -> str:
            told = self._problems.get(name, "")
            return told or (
                "" if connector.connected or not self._listening else connector.problem or "not connected yet"
            )

        return check

    async def _listen(self, name: str, connector: Place, turns: Turns, *, alone: bool) -> None:
        """Listen to a platform; what breaks is told and tried again, except for a key that is not accepted."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            self._problems.pop(name, None)
            error = await _outcome(connector.listen(turns.receive))
            if isinstance(error, SettingsError) or (isinstance(error, DeliveryError) and error.token):
                if alone and name not in self._heard:
                    # Nothing works, and it never did: whoever started this is still there to be told.
                    raise error
                self._problems[name] = error.message
                _log.critical(
                    "%s is not listened to any more. %s Then start frontdesk again.", name.capitalize(), error
                )
                return
            if time.monotonic() - began > _WELL_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            reason = "it ended" if error is None else f"{type(error).__name__}: {error}"
            self._problems[name] = f"the connection is lost ({reason}) and tried again"
            _log.error(
                "The connection to %s is lost, and tried again in %.0f s: %s", name, pause, reason, exc_info=error
            )
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)

    async def _announce(self, name: str, connector: Place) -> None:
        """Say once that a platform is heard."""
        while not connector.connected:  # noqa: ASYNC110 (a platform tells it by a property)
            await asyncio.sleep(_LOOK_SECONDS)
        self._heard.add(name)
        where = await whereabouts(name, connector, self._settings)
        _say(f"{name.capitalize()}: connected" + (f", {where}" if where else ""))

    async def _refresh(self, desk: Desk) -> None:
        """See what other processes changed for channels."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await desk.refresh()
            except StoreError as error:
                _log.warning("The settings of channels could not be read: %s", error)

    async def _prune_daily(self, desk: Desk, turns: Turns) -> None:
        """Remove what is older than `retention_days`."""
        days = self._settings["retention_days"]
        while days:
            before = datetime.now(UTC) - timedelta(days=days)
            try:
                removed = await desk.ledger.prune(before)
                await turns.prune(before)
                _log.info("Removed %d conversations that ended more than %d days ago.", removed.conversations, days)
            except (StoreError, EngineError) as error:
                _log.warning("Old conversations could not be removed: %s", error)
            await asyncio.sleep(DAY_SECONDS)


async def _warm_up(desk: Desk) -> None:
    """Load what the first question would otherwise wait for, and what would hold up the event loop then."""

    def load() -> None:
        importlib.import_module("langgraph.graph")
        if desk.model.generative:
            importlib.import_module("openai")

    await asyncio.gather(asyncio.to_thread(load), desk.knowledge.search(Query("Is anybody there?", limit=1)))
    gc.collect()
    gc.freeze()
    # A turn makes thousands of objects that live as long as it does; to look through them so often took 2 ms of each turn.
    gc.set_threshold(*GARBAGE)


async def _outcome(work: Awaitable[None]) -> BaseException | None:
    """Wait for it, and tell how it ended."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def _reachable(desk: Desk) -> str:
    try:
        await desk.ledger.counts()
    except StoreError as error:
        return error.message
    return ""


async def _counts(desk: Desk) -> Mapping[str, float]:
    try:
        counts = await desk.ledger.counts()
    except FrontdeskError as error:
        _log.warning("Turns could not be counted: %s", error.message)
        return {}
    return {
        "turns_waiting": counts.queued,
        "turns_running": counts.running,
        "turns_failed": counts.failed,
        "open_tickets": counts.open_tickets,
    }


def limits_of(settings: Settings) -> Limits:
    """How much is taken on."""
    return Limits(
        at_once=settings["turns_at_once"],
        queue=settings["queue_limit"],
        person_per_minute=settings["person_messages_per_minute"],
        conversation_per_half_minute=settings["conversation_messages_per_half_minute"],
        late=timedelta(minutes=settings["answer_within_minutes"]),
    )


@contextmanager
def alone_in(data: Path) -> Iterator[None]:
    """Be the only one that runs on this data directory. Raises `BusyError`, which names the other, and `StoreError`.

    The lock is the system's: it is free as soon as its process is gone, even killed.
    """
    from filelock import FileLock, Timeout

    # The lock file itself is emptied by whoever tries to take it.
    holder = data / "running.holder"
    lock = FileLock(data / "running.lock")
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0.5)
    except Timeout:
        raise BusyError(
            f"{data} is in use by {_holder(holder)}.",
            "Stop that one first, or give this one a directory of its own with --data DIR. Several processes can work "
            "together on Postgres: DATABASE_URL (docs/running.md).",
        ) from None
    except OSError as error:
        raise StoreError(
            f"The data directory {data} cannot be used: {error.strerror or error}.",
            "Choose another with --data DIR or FRONTDESK_DATA.",
        ) from error
    try:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {now}\n", "utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip() or "another process"
    except OSError:
        return "another process"


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
