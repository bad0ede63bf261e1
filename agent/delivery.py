"""A turn's reply on its way to who asked: what of it may still be shown, the tries, the end of the turn, sharing, withdrawal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from agent import wording
from agent.desk import Places, StaffDesk
from agent.errors import DeliveryError
from agent.graph import SupportAgent
from agent.ledger import Begun, Ledger
from agent.messages import Address, Answer, Delivery, Handoff, Shown, Withdrawn
from agent.metrics import Metrics
from agent.policy import wants_person
from agent.rooms import Rooms
from agent.tracing import point
from knowledge.documents import PUBLIC

_log = logging.getLogger(__name__)

DELIVERY_SECONDS = (2.0, 10.0)
"""Pauses between the tries to show a reply."""


class ReplyDelivery:
    """Shows drafts and replies through `connectors`, and ends turns in `ledger` once theirs is shown."""

    def __init__(
        self,
        ledger: Ledger,
        agent: SupportAgent,
        connectors: Mapping[str, Places],
        rooms: Rooms,
        metrics: Metrics | None,
    ) -> None:
        self._ledger = ledger
        self._agent = agent
        self._connectors = connectors
        self._rooms = rooms
        self._metrics = metrics
        self._desk = StaffDesk(ledger, connectors, rooms)

    def audiences(self, begun: Begun, public_only: bool = False) -> frozenset[str]:
        """Whose documents a reply may rest on."""
        return frozenset({PUBLIC}) if public_only else self._rooms(begun.conversation.address).audiences

    async def stands(self, result: Answer | Handoff, audiences: frozenset[str]) -> bool:
        """Whether what it rests on is still published, and for `audiences`. Raises `StoreError`."""
        return not isinstance(result, Answer) or await self._agent.stands(result, audiences)

    async def shows_too_much(self, address: Address, result: Answer | Handoff) -> bool:
        """Whether it rests on documents that not everyone may see, where by now someone reads who may not."""
        if not isinstance(result, Answer) or all(one.audience == PUBLIC for one in result.citations):
            return False
        return await self._connectors[address.connector].outsiders(address)

    async def show(self, begun: Begun, event: Shown) -> None:
        """Show the turn with this event. Raises `DeliveryError`."""
        question = replace(begun.question, reply_in=begun.reply_in)
        resumed = begun.attempts > 1 or begun.again_of is not None
        address = begun.conversation.address
        await self._send(Delivery(address, _posted_as(begun), event, question, resumed, begun.ticket))

    async def _send(self, delivery: Delivery) -> None:
        await self._connectors[delivery.address.connector].deliver(delivery)

    async def deliver(self, begun: Begun) -> bool:
        """Show the decided reply, tell staff where that is due, and end the turn.

        False when the turn has to be prepared anew: what the reply rests on was retired while it could not be shown.
        """
        assert begun.result is not None
        address, result = begun.conversation.address, begun.result
        try:
            if await self.shows_too_much(address, result):
                text = wording.REFUSED.format(next=self._rooms(address).handoff_message)
                result = Handoff("policy", text, "An outsider reads along.")
            if not await self._shown(begun, result):
                return False
        except DeliveryError as error:
            _log.error("The reply of the turn %s could not be shown: %s", begun.turn, error)
            if self._metrics is not None:
                self._metrics.delivery_failed(address.connector)
            await self._ledger.undelivered(begun.turn, str(error), customer_question=customer_question(begun))
            await self._desk.tell_of(begun.turn)
            return True
        point("delivered", begun.turn)
        if begun.ticket is not None:
            await self._desk.tell(begun.ticket)
        failed = isinstance(result, Handoff) and result.reason == "failed"
        state = "failed" if failed else "handed_off" if isinstance(result, Handoff) else "answered"
        await self._ledger.finish(begun.turn, state, result.summary if isinstance(result, Handoff) and failed else "")
        point("finished", begun.turn)
        if self._metrics is not None:
            seconds = (datetime.now(UTC) - begun.question.sent_at).total_seconds()
            self._metrics.turn(state, seconds, result.provenance)
        return True

    async def _shown(self, begun: Begun, result: Answer | Handoff) -> bool:
        """Show it, trying again while the platform cannot be reached. False: it does not stand any more."""
        pauses = list(DELIVERY_SECONDS)
        while True:
            try:
                await self.show(begun, result)
                return True
            except DeliveryError as error:
                if error.gone or error.token or not pauses:
                    raise
                _log.warning("A reply is shown later: %s", error)
            await asyncio.sleep(pauses.pop(0))
            if not await self.stands(result, self.audiences(begun)):
                return False

    async def ended(self, address: Address, turn: str, event: Withdrawn, *, resumed: bool = False) -> None:
        """Nothing is left of what was shown of the turn."""
        await self._send(Delivery(address, turn, event, resumed=resumed))

    async def withdraw(self, turn: str) -> None:
        """The question was deleted: nothing of its answer is left."""
        address = await self._ledger.withdraw(turn)
        if address is not None:
            await self.ended(address, turn, Withdrawn())

    async def share(self, run: str, turn: str, where: str) -> None:
        """An answer that one person got is shown to all in the room, or in a thread of it, once.

        Where what it rests on was retired since, a sentence says so in its place.
        """
        found = await self._ledger.answer(turn)
        if found is None:
            return
        answer, question = found
        channel, _, thread = where.removeprefix(question.address.channel).partition("/")
        if channel:
            return
        address = replace(question.address, thread=thread)
        if await self.shows_too_much(address, answer):
            return
        if not await self.stands(answer, self._rooms(address).audiences):
            answer = Answer(wording.OUTDATED)
        open_question = replace(question, private_reply="", reply_in="", address=address)
        # A second run looks for the post of the first.
        await self._send(Delivery(address, run, answer, open_question, resumed=True))


def _posted_as(begun: Begun) -> str:
    """The turn whose posts show the reply: an edited question's are those of the first answer."""
    return begun.again_of or begun.turn


def customer_question(begun: Begun) -> str:
    """What the customer asked, for the staff's ticket. Who only asks for a person asked something before."""
    texts = list(dict.fromkeys(message.text for message in begun.pending))
    if all(message.wants_person or wants_person(message.text) for message in begun.pending):
        pending = {message.id for message in begun.pending}
        before = [one for one in begun.conversation.messages if one.role == "customer" and one.id not in pending]
        texts = [one.text for one in before[-1:]] + texts
    return "\n".join(texts)
