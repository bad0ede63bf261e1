"""One turn: read what was asked, prepare a reply while showing it, decide, deliver, finish.

Every step may be the last before the process dies; the next run of the same turn begins with what the ledger has:

    queued --begin--> running --decide--> decided --deliver, finish--> answered | handed_off
       |                  |                                            failed (with a ticket, seen by `frontdesk turns`)
       |                  +--> merged (answered with another), stopped, withdrawn, quiet
       +-- what comes in meanwhile (more, an edit, a deletion) makes the reply be prepared anew: one reply for all

`decide` is the commit point: it holds only if nothing came in since the turn was begun.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent import wording
from agent.attachments import read
from agent.delivery import ReplyDelivery, customer_question
from agent.desk import Places
from agent.graph import SupportAgent
from agent.ledger import Begun, Ended, Ledger
from agent.messages import (
    Address,
    Answer,
    Attachment,
    Conversation,
    Delta,
    Draft,
    Handoff,
    Withdrawn,
)
from agent.metrics import Metrics
from agent.models.base import Payer
from agent.models.routing import Models
from agent.prompting import HISTORY_MESSAGES
from agent.rooms import Room, Rooms
from agent.tracing import point
from knowledge.documents import PUBLIC
from knowledge.errors import FrontdeskError

_log = logging.getLogger(__name__)

WITHDRAW = "!withdraw"
SHARE = "!share:"
MOST_ATTEMPTS = 25
"""A turn that has been begun so often and never ended kills its process, it seems: it is given up.

Not few: a process that dies takes every turn with it that runs beside the one that killed it."""
RETRY_SECONDS = (0.5, 2.0)
"""Pauses between the tries of a turn in which something unforeseen happened; then it is given up."""
LOOK_SECONDS = 1.0
"""How often it is looked whether another process took something in for a running turn."""
QUIET_SECONDS = 0.4
"""When more came while a reply was prepared, this long nothing may come before it is prepared anew."""
_MOST_RESTARTS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on. `at_once`, `queue`: turns in this process, and waiting in all; `late`: older goes to staff."""

    at_once: int = 100
    queue: int = 2_000
    person_per_minute: int = 300
    conversation_per_half_minute: int = 20
    late: timedelta = timedelta(minutes=30)


class TurnRunner:
    """Runs turns by their ids. `shared`: other processes take messages in, too."""

    def __init__(
        self,
        ledger: Ledger,
        agent: SupportAgent,
        connectors: Mapping[str, Places],
        rooms: Rooms,
        limits: Limits,
        models: Models | None,
        metrics: Metrics | None,
        *,
        shared: bool,
    ) -> None:
        self._ledger = ledger
        self._agent = agent
        self._connectors = connectors
        self._rooms = rooms
        self._limits = limits
        self._models = models
        self._metrics = metrics
        self._shared = shared
        self._delivery = ReplyDelivery(ledger, agent, connectors, rooms, metrics)
        self._changes: dict[str, asyncio.Event] = {}
        self._refusing = asyncio.Semaphore(20)
        self._background: set[asyncio.Task[None]] = set()

    def changed(self, conversation: str) -> None:
        """Something came in for this conversation: what is being prepared there is prepared anew."""
        if conversation in self._changes:
            self._changes[conversation].set()

    async def settle(self) -> None:
        """Wait for what is done behind the turns."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def run(self, run: str) -> None:
        """Run a turn to its end. Cancelled, it is left as it is, for the next process."""
        began = time.monotonic()
        pauses = [*RETRY_SECONDS]
        while True:
            try:
                return await self._run(run)
            # Whatever it is, the customer gets an answer, and staff find the error in the log and in `frontdesk turns`.
            except Exception as error:  # noqa: BLE001
                if not pauses or time.monotonic() - began > 10.0:
                    _log.exception("The turn %s failed.", run)
                    return await self._give_up(run, error)
                _log.warning("The turn %s is tried again: %s", run, error)
                await asyncio.sleep(pauses.pop(0))

    async def refuse(self, turn: str, result: Answer | Handoff) -> None:
        """End a turn with this reply, without asking the agent."""
        async with self._refusing:
            found = await self._insisted(await self._ledger.begin(turn), result)
            if isinstance(found, Begun):
                await self._deliver(found)

    # What a run is ---------------------------------------------------------------------------------------------------

    async def _run(self, run: str) -> None:
        if run.endswith(WITHDRAW):
            return await self._delivery.withdraw(run.removesuffix(WITHDRAW))
        if SHARE in run:
            turn, _, where = run.partition(SHARE)
            return await self._delivery.share(run, turn, where)
        begun = await self._ledger.begin(run)
        point("begun", run)
        if isinstance(begun, Begun):
            if begun.attempts > MOST_ATTEMPTS and begun.result is None:
                return await self._give_up(run, None)
            begun = await self._watched(begun)
        while isinstance(begun, Begun):
            if await self._deliver(begun):
                return
            # What it rests on was retired while the platform could not be reached.
            begun = await self._watched(begun)
        if begun is not None and begun.ran:
            # It ended while it was prepared, or before a crash: nothing of its draft may be left.
            event = Withdrawn(stopped=begun.state == "stopped")
            await self._delivery.ended(begun.conversation, begun.turn, event, resumed=begun.attempts > 1)

    async def _watched(self, begun: Begun) -> Begun | Ended | None:
        """Prepared, while `changed` is heeded."""
        conversation = str(begun.conversation.address)
        self._changes[conversation] = asyncio.Event()
        try:
            return await self._prepare(begun)
        finally:
            self._changes.pop(conversation, None)

    async def _prepare(self, begun: Begun) -> Begun | Ended | None:
        """Prepare a reply until one holds. What is returned has it, or has ended otherwise."""
        address = begun.conversation.address
        if begun.result is not None:
            reopened = await self._resumed(begun, begun.result)
            if not isinstance(reopened, Begun) or reopened.result is not None:
                return reopened
            begun = reopened
        # Before the first word, for what was shown once cannot be taken back from who read it.
        public_only = await self._outsiders_read(begun, self._rooms(address))
        for restart in range(_MOST_RESTARTS):
            if begun.result is not None:
                return begun
            room = self._rooms(address)
            if restart:
                await self._let_it_pass(begun)
            result = await self._drafted(begun, room, public_only=public_only)
            if result is not None and not public_only and await self._delivery.shows_too_much(address, result):
                public_only = True
                continue
            if result is not None and not await self._delivery.stands(
                result, self._delivery.audiences(begun, public_only)
            ):
                continue
            if result is not None and _only_when_sure(begun, room) and not _is_sure(result):
                await self._ledger.finish(begun.turn, "quiet")
                return None
            if result is not None:
                point("written", begun.turn)
                if (decided := await self._decided(begun, result)) is not None:
                    point("decided", begun.turn)
                    return decided
            again = await self._ledger.begin(begun.turn, again=True)
            if not isinstance(again, Begun):
                return again
            begun = again
        return begun if begun.result is not None else await self._forced(begun)

    async def _resumed(self, begun: Begun, result: Answer | Handoff) -> Begun | Ended | None:
        """A turn that was decided before a crash: as it was, or without its reply if what that rests on was retired since."""
        if await self._delivery.stands(result, self._delivery.audiences(begun)):
            return begun
        await self._ledger.reopen(begun.turn)
        return await self._ledger.begin(begun.turn, again=True)

    async def _forced(self, begun: Begun) -> Begun | Ended | None:
        """Somebody writes faster than can be answered: what is known now is what is answered."""
        result = await self._written(begun, self._rooms(begun.conversation.address), public_only=True)
        return await self._insisted(begun, result)

    async def _insisted(self, found: Begun | Ended | None, result: Answer | Handoff) -> Begun | Ended | None:
        """Decide on this result, whatever came in meanwhile."""
        while isinstance(found, Begun) and found.result is None:
            decided = await self._decided(found, result)
            found = decided or await self._ledger.begin(found.turn, again=True)
        return found

    async def _decided(self, begun: Begun, result: Answer | Handoff) -> Begun | None:
        """The turn with its result, unless something came in meanwhile."""
        filtered = result.provenance.filtered
        decided = await self._ledger.decide(
            begun.turn, begun.revision, result, filtered=filtered, customer_question=customer_question(begun)
        )
        return replace(begun, result=result, ticket=decided.ticket) if decided is not None else None

    async def _let_it_pass(self, begun: Begun) -> None:
        changed = self._changes[str(begun.conversation.address)]
        for _ in range(5):
            changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), QUIET_SECONDS)
                continue
            return

    async def _drafted(self, begun: Begun, room: Room, *, public_only: bool) -> Answer | Handoff | None:
        """The reply, or `None` when something came in before it was there."""
        changed = self._changes[str(begun.conversation.address)]
        changed.clear()
        writing = asyncio.create_task(self._written(begun, room, public_only=public_only))
        watching = asyncio.create_task(self._until_changed(begun, changed))
        try:
            await asyncio.wait((writing, watching), return_when=asyncio.FIRST_COMPLETED)
            return await writing if writing.done() else None
        finally:
            for task in (writing, watching):
                task.cancel()
            await asyncio.gather(writing, watching, return_exceptions=True)

    async def _until_changed(self, begun: Begun, changed: asyncio.Event) -> None:
        if not self._shared:
            await changed.wait()
            return
        conversation = str(begun.conversation.address)
        while await self._ledger.revision(conversation) == begun.revision:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK_SECONDS)
                return

    async def _written(self, begun: Begun, room: Room, *, public_only: bool) -> Answer | Handoff:
        question = begun.question
        if datetime.now(UTC) - question.sent_at > self._limits.late and begun.again_of is None:
            text = wording.LATE.format(next=room.handoff_message)
            return Handoff(
                "failed", text, "This question came in while nothing ran, and was too old when it was found."
            )
        conversation = await self._with_attachments(begun)
        if public_only:
            conversation = _without_internal(conversation)
        silent = _only_when_sure(begun, room) or bool(question.private_reply)
        text = ""
        pending = frozenset(message.id for message in begun.pending)
        audiences = self._delivery.audiences(begun, public_only)
        conversation = replace(conversation, audiences=audiences, pending=pending)
        async with aclosing(self._agent.reply(conversation)) as events:
            async for event in events:
                if isinstance(event, Answer | Handoff):
                    return event
                if silent:
                    continue
                if isinstance(event, Delta):
                    if not text:
                        point("drafting", begun.turn)
                        self._first_text(begun)
                    text = event.after(text)
                    await self._delivery.show(begun, Draft(text))
                    if text == event.text:
                        point("shown", begun.turn)
                else:
                    await self._delivery.show(begun, event)
        raise AssertionError("a reply ends with an Answer or a Handoff")

    async def _with_attachments(self, begun: Begun) -> Conversation:
        """The conversation, with what can be read of the files in it."""
        conversation = begun.conversation
        for message in begun.pending:
            if not any(one.source and one.text is None and not one.unread for one in message.attachments):
                continue
            vision = self._models.choose("vision", conversation.address) if self._models is not None else None
            connector = self._connectors[conversation.address.connector]

            def fetch(
                one: Attachment, most: int, connector: Places = connector, where: Address = message.address
            ) -> Awaitable[bytes]:
                return connector.fetch(where, one, most)

            payer = Payer(str(conversation.address), conversation.address.channel, message.person)
            done = await read(message.attachments, fetch, vision=vision, payer=payer, question=message.text)
            await self._ledger.read_attachments(message.id, done.attachments)
            messages = tuple(
                replace(one, attachments=done.attachments) if one.id == message.id else one
                for one in conversation.messages
            )
            conversation = replace(conversation, messages=messages)
        return conversation

    async def _outsiders_read(self, begun: Begun, room: Room) -> bool:
        """Whether somebody reads along to whom only public documents may be shown; asked where others are set at all."""
        if any(message.outsiders for message in begun.pending):
            return True
        address = begun.conversation.address
        wider = room.audiences != frozenset({PUBLIC}) or any(one.internal for one in begun.conversation.messages)
        return wider and await self._connectors[address.connector].outsiders(address)

    async def _deliver(self, begun: Begun) -> bool:
        """Show the decided reply and end the turn; False when it has to be prepared anew."""
        if not await self._delivery.deliver(begun):
            return False
        # With the reply, and what may have come meanwhile is counted by the next turn.
        if len(begun.conversation.messages) + 1 >= HISTORY_MESSAGES:
            self._in_background(self._summarise(begun.conversation.address))
        return True

    # When nothing helps ----------------------------------------------------------------------------------------------

    async def _give_up(self, run: str, error: Exception | None) -> None:
        """Apologise, open a ticket, and leave a row that staff can see and run again."""
        reason = "The process ended again and again." if error is None else f"{type(error).__name__}: {error}"
        try:
            found = await self._ledger.begin(run, again=True)
            if isinstance(found, Begun):
                text = wording.FAILED.format(next=self._rooms(found.conversation.address).handoff_message)
                found = await self._insisted(found, Handoff("failed", text, reason))
            if isinstance(found, Begun):
                await self._deliver(found)
        # It stays unfinished in the ledger, and is found there when the database is well again.
        except FrontdeskError as worse:
            _log.critical("The turn %s could not be ended: %s", run, worse)

    # Behind a turn ---------------------------------------------------------------------------------------------------

    def _first_text(self, begun: Begun) -> None:
        if self._metrics is not None:
            self._metrics.first_text((datetime.now(UTC) - begun.question.sent_at).total_seconds())

    async def _summarise(self, address: Address) -> None:
        conversation = await self._ledger.conversation(str(address))
        if conversation is None:
            return
        summary = await self._agent.summarise(conversation)
        if summary is not None:
            await self._ledger.summarised(str(address), summary)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _without_internal(conversation: Conversation) -> Conversation:
    """The conversation without what outsiders may not read: replies from internal documents, and what sums them up."""
    if not any(message.internal for message in conversation.messages):
        return conversation
    messages = tuple(message for message in conversation.messages if not message.internal)
    return replace(conversation, messages=messages, summary=None)


def _only_when_sure(begun: Begun, room: Room) -> bool:
    """Nobody asked the agent by name, in a room where it speaks up only with an answer."""
    return room.answering == "only-when-sure" and not any(message.addressed for message in begun.pending)


def _is_sure(result: Answer | Handoff) -> bool:
    return isinstance(result, Answer) and not result.asks_back and bool(result.citations)
