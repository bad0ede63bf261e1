"""Turns: what connectors hear is stored, then acknowledged, then answered, once and in order, whatever crashes.

    receive -> ledger.accept -> engine.submit -> (acknowledged) -> ... -> Turn.run -> ledger.decide -> deliver -> finish

The ledger says what was said and decided, the engine sees to it that each turn is run. Neither alone loses anything: what
was stored and not submitted, because the process died in between, is found by `_reconcile`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent import wording
from agent.desk import Places, StaffDesk
from agent.engine import Engine
from agent.errors import EngineError
from agent.graph import SupportAgent
from agent.ledger import Ledger
from agent.messages import Answer, Deleted, Edited, Feedback, Handoff, Inbound, Message, Shared, Solved, Stopped
from agent.metrics import Metrics
from agent.models.routing import Models
from agent.rooms import Rooms, may_concern, verdict
from agent.tracing import point
from agent.turn import SHARE, WITHDRAW, Limits, TurnRunner
from knowledge.errors import StoreError

_log = logging.getLogger(__name__)

RECONCILE_SECONDS = 15.0
COUNT_SECONDS = 2.0
LATE_SECONDS = 0.8
"""A message that is older than this when it comes was sent again, or waited for somebody to listen."""
CATCH_UP_SECONDS = 1.2
"""Well below the three seconds in which Slack wants an acknowledgement."""
_MOST_OVERHEARD = 500
_MOST_REFUSED = 200
EARLY_SECONDS = 600.0
"""Slack delivers what was not acknowledged a last time after about six minutes."""
_MOST_EARLY = 2_000
PRUNE_SECONDS, KEPT_DAYS = 6 * 3600.0, 7
"""How often the engine's records of turns that ended are removed, and after how many days. They hold ids only."""
_MOST_PEOPLE = 10_000
"""Of whom it is known how much they wrote in the last minute."""


class Turns:
    """Answers what connectors hear. `database` is the data directory, or the URL of a Postgres database.

    `listening`: false for a process that takes messages in and leaves the answering to others.
    """

    def __init__(
        self,
        ledger: Ledger,
        agent: SupportAgent,
        connectors: Mapping[str, Places],
        rooms: Rooms,
        *,
        database: Path | str,
        limits: Limits | None = None,
        models: Models | None = None,
        metrics: Metrics | None = None,
        listening: bool = True,
    ) -> None:
        self._ledger = ledger
        self._rooms = rooms
        self._limits = limits or Limits()
        self._metrics = metrics
        shared = isinstance(database, str)
        self._runner = TurnRunner(ledger, agent, connectors, rooms, self._limits, models, metrics, shared=shared)
        self._engine = Engine(database, self._run, at_once=self._limits.at_once, listening=listening)
        self._desk = StaffDesk(ledger, connectors, rooms)
        self._flood = _Flood(self._limits)
        self._refused: deque[str] = deque(maxlen=_MOST_REFUSED)
        self._waiting = 0
        self._counted = 0.0
        self._background: set[asyncio.Task[None]] = set()
        self._connectors = connectors
        self._overheard = _Overheard()
        self._early = _Early()
        self._taken_in: dict[str, tuple[Message, asyncio.Task[None]]] = {}
        self._accepting = False

    @property
    def running(self) -> int:
        """How many turns this process works on."""
        return len(self._engine.running)

    async def start(self) -> None:
        """Open the queue and go on with what waits there. Raises `EngineError`, `StoreError`."""
        await self._engine.start()
        self._accepting = True
        await self._submit_forgotten(timedelta(0))
        self._in_background(self._reconcile())

    async def stop(self, seconds: float = 20.0) -> None:
        """Take nothing more, let running turns end for this long; what is left is resumed by the next process."""
        self._accepting = False
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._engine.stop(seconds)
        await self._runner.settle()

    async def prune(self, before: datetime) -> None:
        """Remove the engine's records of turns that ended before that."""
        await self._engine.prune(before)

    async def receive(self, inbound: Inbound) -> None:
        """Store what was heard. When this returns it may be acknowledged; when it raises it must not be.

        Raises `StoreError` or `EngineError` when it could not be stored.
        """
        if not self._accepting:
            raise EngineError("This process is stopping and takes nothing more.")
        match inbound:
            case Message():
                await self._once(inbound)
            case Edited():
                await self._edited(inbound)
            case Deleted():
                await self._deleted(inbound)
            case Stopped():
                for _ in await self._ledger.stop(inbound):
                    self._runner.changed(str(inbound.address))
            case Solved():
                closed = await self._ledger.solve(inbound)
                if closed is not None:
                    self._runner.changed(str(closed))
            case Shared():
                await self._engine.submit(f"{inbound.turn}{SHARE}{inbound.address}", f"share {inbound.turn}")
            case Feedback():
                await self._ledger.give_feedback(inbound)

    # ---------------------------------------------------------------------------------------------------------------

    async def _once(self, message: Message) -> None:
        """Store a message. Slack tells of a mention twice in the same moment: the second waits until the first is stored."""
        known = self._taken_in.get(message.id)
        if known is not None and known[0] == message:
            await asyncio.shield(known[1])
            return
        task = asyncio.create_task(self._message(message))
        self._taken_in[message.id] = message, task
        try:
            await asyncio.shield(task)
        finally:
            if self._taken_in.get(message.id, (None, None))[1] is task:
                task.add_done_callback(lambda _: self._taken_in.pop(message.id, None))

    async def _message(self, message: Message) -> None:
        room = self._rooms(message.address)
        early = self._early.of(message)
        if early is None or not may_concern(early, room):
            return
        message = early
        point("heard", message.id)
        if not message.addressed and not message.starts_thread:
            await self._overheard.root_of(message, self._taken_in)
        known = None if message.addressed else await self._ledger.glance(message)
        decision = verdict(message, room, known)
        if decision == "drop":
            if known is None:
                self._overheard.keep(message)
            return
        if decision == "answer":
            # Who is asked by staff answers staff, like anyone who asks.
            message = replace(message, role="customer")
        flooded = self._flood.of(message) if decision == "answer" else ""
        if flooded == "more":
            return
        accepted = await self._ledger.accept(message)
        point("stored", message.id)
        if accepted.new and self._metrics is not None:
            self._metrics.message(message.address.connector)
        if accepted.turn is None:
            self._runner.changed(str(accepted.conversation))
            return
        if accepted.new and (flooded or await self._too_many_wait()):
            apology = Answer(wording.SLOW_DOWN) if flooded else self._busy(message)
            self._refused.append(accepted.turn)
            self._in_background(self._runner.refuse(accepted.turn, apology))
            return
        if accepted.turn in self._refused:
            return
        await self._engine.submit(accepted.turn, str(accepted.conversation))
        point("queued", message.id)
        if accepted.new:
            self._runner.changed(str(accepted.conversation))
            await self._catch_up(message)

    async def _catch_up(self, message: Message) -> None:
        """What was said in a thread before its beginning was stored did not seem to be for the agent; now it is."""
        if not message.starts_thread or message.joins or message.private_reply:
            return
        missed = self._overheard.since(message)
        if (datetime.now(UTC) - message.sent_at).total_seconds() > LATE_SECONDS:
            # It comes a second time, perhaps: what came behind it may have been heard by a process that is gone.
            connector = self._connectors[message.address.connector]
            with suppress(TimeoutError):
                async with asyncio.timeout(CATCH_UP_SECONDS):
                    missed = [*missed, *await connector.said_since(message)]
        for one in {one.id: one for one in missed}.values():
            await self._message(one)

    def _busy(self, message: Message) -> Handoff:
        text = wording.BUSY.format(next=self._rooms(message.address).handoff_message)
        return Handoff("failed", text, "Too many messages waited when this one came.")

    async def _too_many_wait(self) -> bool:
        if time.monotonic() - self._counted > COUNT_SECONDS:
            self._counted = time.monotonic()
            # The one that was just accepted is among them.
            self._waiting = (await self._ledger.counts()).queued
        else:
            self._waiting += 1
        return self._waiting > self._limits.queue

    async def _edited(self, edited: Edited) -> None:
        self._early.keep(edited)
        change = await self._ledger.edit(edited)
        if change is None:
            return
        if change.again is not None:
            await self._engine.submit(change.again, str(change.conversation))
        self._runner.changed(str(change.conversation))

    async def _deleted(self, deleted: Deleted) -> None:
        self._early.keep(deleted)
        change = await self._ledger.delete(deleted)
        if change is None:
            return
        if change.alone:
            await self._engine.submit(change.turn + WITHDRAW, str(change.conversation))
        self._runner.changed(str(change.conversation))

    async def _run(self, run: str) -> None:
        await self._runner.run(run)

    async def _reconcile(self) -> None:
        """Find turns that were stored and never submitted, or that staff want run again."""
        pruned = 0.0
        while True:
            await asyncio.sleep(RECONCILE_SECONDS)
            try:
                if time.monotonic() - pruned > PRUNE_SECONDS:
                    await self._engine.prune(datetime.now(UTC) - timedelta(days=KEPT_DAYS))
                    pruned = time.monotonic()
                await self._engine.heal()
                await self._submit_forgotten(timedelta(seconds=10))
                await self._desk.tell_all()
            except (StoreError, EngineError) as error:
                _log.warning("Unfinished turns could not be looked for: %s", error)

    async def _submit_forgotten(self, age: timedelta) -> None:
        unfinished = await self._ledger.unfinished(1_000)
        before = datetime.now(UTC) - age
        waiting = {one.id: str(one.conversation) for one in unfinished if one.created_at <= before}
        if not waiting:
            return
        for turn in await self._engine.unknown(list(waiting)):
            # Several processes that find it in the same minute make one run of it.
            await self._engine.submit(turn, waiting[turn], again=str(int(time.time() // 60)))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class _Early:
    """Edits and deletions of the last minutes: Slack may tell of them before it tells of the message. In memory only."""

    def __init__(self) -> None:
        self._changes: OrderedDict[str, tuple[float, Edited | Deleted]] = OrderedDict()

    def keep(self, change: Edited | Deleted) -> None:
        """Remember it, if it is the newest."""
        known = self._changes.get(change.id, (0.0, None))[1]
        if isinstance(known, Deleted) or (
            isinstance(known, Edited) and isinstance(change, Edited) and known.edited_at > change.edited_at
        ):
            return
        self._changes[change.id] = time.monotonic(), change
        self._changes.move_to_end(change.id)
        oldest = next(iter(self._changes.values()))[0]
        while len(self._changes) > _MOST_EARLY or time.monotonic() - oldest > EARLY_SECONDS:
            self._changes.popitem(last=False)
            oldest = next(iter(self._changes.values()))[0]

    def of(self, message: Message) -> Message | None:
        """The message as it is now, `None` when it was deleted."""
        change = self._changes.get(message.id, (0.0, None))[1]
        if isinstance(change, Deleted):
            return None
        return replace(message, text=change.text) if isinstance(change, Edited) else message


class _Overheard:
    """What was said in threads that the agent is not in, for a minute: it may be in them, and not know yet."""

    def __init__(self) -> None:
        self._said: deque[tuple[float, Message]] = deque(maxlen=_MOST_OVERHEARD)

    def keep(self, message: Message) -> None:
        """Remember it; only in memory."""
        if not message.starts_thread and not message.to_others:
            self._said.append((time.monotonic(), message))

    def since(self, first: Message) -> list[Message]:
        """What the author of the message said in the thread that begins with it."""
        while self._said and time.monotonic() - self._said[0][0] > 60.0:
            self._said.popleft()
        return [one for _, one in self._said if (one.address, one.author) == (first.address, first.author)]

    async def root_of(self, message: Message, taken_in: Mapping[str, tuple[Message, asyncio.Task[None]]]) -> None:
        """Wait until the message that its thread begins with is stored, if that is under way."""
        found = [taken_in[one] for one in message.address.ids_of(message.address.thread) if one in taken_in]
        roots = {task for _, task in found} - {asyncio.current_task()}
        if roots:
            await asyncio.wait(roots)


class _Flood:
    """Who writes more than a person does. Bounded in memory; each process counts for itself."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._times: dict[str, deque[float]] = {}
        self._told: OrderedDict[str, str] = OrderedDict()

    def of(self, message: Message) -> str:
        """Empty for what is answered; "first" for the first message over a limit, "more" for those after it.

        A message that comes again counts once.
        """
        if message.id not in self._told:
            self._told[message.id] = self._counted(message)
            if len(self._told) > _MOST_PEOPLE:
                self._told.popitem(last=False)
        return self._told[message.id]

    def _counted(self, message: Message) -> str:
        # When it was said, not when it came: what was said in hours may come at once, when nobody listened meanwhile.
        at = message.sent_at.timestamp()
        return max(
            self._over(f"{message.person}", at, 60.0, self._limits.person_per_minute),
            self._over(
                f"{message.person} {message.address.channel if message.joins else message.address}",
                at,
                30.0,
                self._limits.conversation_per_half_minute,
            ),
        )

    def _over(self, key: str, at: float, seconds: float, most: int) -> str:
        if len(self._times) > _MOST_PEOPLE:
            self._times = {key: times for key, times in self._times.items() if times and abs(at - times[-1]) < 60.0}
        times = self._times.setdefault(key, deque(maxlen=most + 1))
        while times and abs(at - times[0]) > seconds:
            times.popleft()
        full = len(times) > most
        times.append(at)
        if full:
            return "more"
        return "first" if len(times) > most else ""
