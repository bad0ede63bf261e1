"""What the verbs hand out, and how the nouns are written into rows and read from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row

from agent.messages import Address, Answer, Attachment, Conversation, Handoff, Message, Summary

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FINAL = ("answered", "handed_off", "merged", "stopped", "withdrawn", "failed", "quiet")
"""States of a turn that is over; before: queued, running, decided."""
AGENT = "frontdesk"
"""The author of what the agent says."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message was stored. `turn` answers it, `None` when nothing is to be answered; `new`: it was not seen before.

    `waiting` counts the turns of the conversation that are queued or running, this one too.
    """

    turn: str | None
    conversation: Address
    new: bool
    waiting: int


@dataclass(frozen=True, slots=True)
class Change:
    """A message was edited or deleted. `turn` answered it or will; `answered`: its result is decided.

    `again` is the turn that makes the answer anew. `alone`: no other message of customers that stands is covered by `turn`.
    """

    conversation: Address
    turn: str
    answered: bool
    private: bool
    again: str | None = None
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn that is being made. `pending` are the messages that it answers, `question` is the last of them.

    The conversation ends with them. `result` and `ticket` are set when it was decided before. `again_of`: the answer of
    that turn is made anew, because its question was edited, and the posts of that turn are to show it.
    """

    turn: str
    attempts: int
    revision: int
    conversation: Conversation
    pending: tuple[Message, ...]
    question: Message
    reply_in: str = ""
    """The platform's thread that the reply belongs into, if it is not the conversation's: the same in every run of the turn."""
    again_of: str | None = None
    result: Answer | Handoff | None = None
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn that is over without a reply of its own: merged, stopped or withdrawn. `ran`: it was begun before that."""

    turn: str
    state: str
    attempts: int
    conversation: Address

    @property
    def ran(self) -> bool:
        """Whether something of it may have been shown."""
        return self.attempts > 0


@dataclass(frozen=True, slots=True)
class Decided:
    """A result was kept. `new_ticket`: the ticket was opened by it."""

    ticket: int | None
    new_ticket: bool


@dataclass(frozen=True, slots=True)
class UnfinishedTurn:
    """A turn that is not over."""

    id: str
    conversation: str
    created_at: datetime
    state: str


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A turn, as staff see it. `question` is the beginning of the message."""

    id: str
    conversation: str
    state: str
    attempts: int
    error: str
    created_at: datetime
    finished_at: datetime | None
    question: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many turns and tickets there are."""

    queued: int
    running: int
    failed: int
    open_tickets: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """A conversation that was handed to staff, by `turn`. `staff_post` is the id of the post in the staff's room."""

    number: int
    conversation: Address
    turn: str
    customer: str
    reason: str
    question: str
    summary: str
    status: str
    staff_post: str
    opened_at: datetime
    resolved_at: datetime | None
    resolved_by: str


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows went; of `model_calls`, how many were made nameless. `erasable_turns`: what others may still hold."""

    conversations: int = 0
    messages: int = 0
    turns: int = 0
    feedback: int = 0
    tickets: int = 0
    model_calls: int = 0
    erasable_turns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ErasedAnswers:
    """Whose words were forgotten: ids of turns, and of the conversations that they are in."""

    turns: tuple[str, ...]
    conversations: tuple[str, ...]


def storable(text: str) -> str:
    """Without what some database refuses: a NUL, half a character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def storable_all(value: Any) -> Any:
    """The same of everything in a JSON value; a number that JSON does not know is `None`."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): storable_all(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [storable_all(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def storable_message(message: Message) -> Message:
    """The message as it can be stored: its id, too, is the one that it is found by later."""
    changed: dict[str, Any] = {
        one.name: storable(getattr(message, one.name)) for one in fields(message) if one.type == "str"
    }
    attachments = tuple(Attachment(**storable_all(asdict(one))) for one in message.attachments)
    return replace(message, **changed, attachments=attachments, address=storable_address(message.address))


def storable_address(address: Address) -> Address:
    """The address as it can be stored."""
    return Address(**storable_all(asdict(address)))


def address_of(conversation: Row[Any]) -> Address:
    """The address of a row of `conversations`."""
    return Address(conversation.connector, conversation.space, conversation.room, conversation.thread)


def message_row(message: Message, conversation: str) -> dict[str, Any]:
    """A message that can be stored, as a row."""
    return {
        "id": message.id,
        "conversation": conversation,
        "channel": message.address.channel,
        "person": "" if message.role == "agent" else message.person,
        "attachments": [asdict(one) for one in message.attachments],
        "received_at": datetime.now(UTC),
        **{name: getattr(message, name) for name in _COPIED},
    }


_COPIED = (
    *("author", "author_space", "role", "text", "sent_at", "outcome", "withheld", "addressed", "wants_person"),
    *("to_others", "outsiders", "joins", "private_reply", "reply_in", "internal"),
)


def message_of(row: Row[Any], address: Address) -> Message:
    """A message, from its row."""
    known = {one.name for one in fields(Attachment)}
    attachments = tuple(
        Attachment(**{name: value for name, value in one.items() if name in known}) for one in row.attachments
    )
    return Message(
        id=row.id, address=address, attachments=attachments, **{name: getattr(row, name) for name in _COPIED}
    )


def conversation_of(row: Row[Any], messages: tuple[Message, ...]) -> Conversation:
    """A conversation, from its row."""
    summary = Summary(row.summary, row.summary_until) if row.summary else None
    return Conversation(address_of(row), messages, row.mode, summary=summary)


def result_json(result: Answer | Handoff) -> dict[str, Any]:
    """A result as JSON that every database takes."""
    kind = "answer" if isinstance(result, Answer) else "handoff"
    return {"kind": kind, **storable_all(asdict(result))}


def result_of(stored: Mapping[str, Any] | None) -> Answer | Handoff | None:
    """A result, from its JSON."""
    if stored is None:
        return None
    return _adapter("kind" in stored and stored["kind"] == "handoff").validate_python(
        {name: value for name, value in stored.items() if name != "kind"}
    )


@cache
def _adapter(handoff: bool) -> TypeAdapter[Answer | Handoff]:
    # Here and not above: it takes a while to import, and is needed only where a turn goes on after a restart.
    from pydantic import TypeAdapter

    return TypeAdapter(Handoff if handoff else Answer)
