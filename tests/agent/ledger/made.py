"""Messages and hand-offs for the tests of the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from agent.ledger import Begun, Ledger
from agent.messages import Address, Answer, Citation, Deleted, Edited, Handoff, Message

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ROOM = Address("slack", "T1", "C1")
DIRECT = Address("slack", "T1", "D1")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def said(ts: str, text: str = "Where is my parcel?", *, thread: str = "", room: Address = ROOM, **more: Any) -> Message:
    """A message that was sent `ts` seconds after noon, into a thread of the room, or as the first of its own."""
    address = Address(room.connector, room.space, room.room, thread or ts)
    values = {"author": "U1", "role": "customer", "sent_at": at(float(ts)), **more}
    return Message(f"{room.channel}#{ts}", address, text=text, **values)


def edited(message: Message, text: str, seconds: float) -> Edited:
    return Edited(message.id, message.address, text, at(seconds))


def deleted(message: Message, seconds: float = 100.0) -> Deleted:
    return Deleted(message.id, message.address, at(seconds))


def answer(text: str = "It is on its way [1].") -> Answer:
    return Answer(text, (Citation(1, "d1", "Parcels", None, "Parcels take two days."),))


def handoff(summary: str = "A parcel is lost.") -> Handoff:
    return Handoff("unsure", "A person will look at it.", summary)


async def begun(ledger: Ledger, turn: str) -> Begun:
    found = await ledger.begin(turn)
    assert isinstance(found, Begun)
    return found


async def replied(ledger: Ledger, turn: str, result: Answer | Handoff | None = None, **more: Any) -> int | None:
    """Run a turn to its end; the number of its ticket."""
    found = await begun(ledger, turn)
    result = result or answer()
    decided = await ledger.decide(turn, found.revision, result, **more)
    assert decided is not None
    await ledger.finish(turn, "answered" if isinstance(result, Answer) else "handed_off")
    return decided.ticket
