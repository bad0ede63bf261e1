"""What holds in a room, and whether something said there is for the agent. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agent.messages import Address, Message
from agent.messages import Mode as ConversationMode
from knowledge.documents import PUBLIC

Answering = Literal["mention", "every-question", "only-when-sure", "off"]
ANSWERING: tuple[Answering, ...] = ("mention", "every-question", "only-when-sure", "off")


@dataclass(frozen=True, slots=True)
class Room:
    """What is set for a room. `audiences`: who reads there, if no outsider does."""

    answering: Answering = "mention"
    audiences: frozenset[str] = frozenset({PUBLIC})
    handoff_message: str = ""
    staff: Address | None = None
    """Where the staff are told of hand-offs."""


Rooms = Callable[[Address], Room]


@dataclass(frozen=True, slots=True)
class Glance:
    """What is known of the conversation that a message belongs to, before the message is stored.

    `participants` are the customers who have addressed the agent in it.
    """

    address: Address
    mode: ConversationMode
    customer: str
    participants: frozenset[str]
    last_author: str
    last_role: str


Verdict = Literal["answer", "keep", "drop"]


_ASKS = re.compile(
    # A question mark in any script that does not end a link, or the first word of a question.
    r"[?\uff1f\u061f\u037e\u055e]\W*(?:$|\s)|\w[\uff1f\u061f]"
    r"|^\W*(?:how|what|why|where|when|which|who|whose|can|could|may|do|does|did|is|are|was|were|will|would|should|has|have|am"
    r"|anyone|anybody|wie|was|warum|wo|wann|welche[rsn]?|wer|kann|können|gibt|comment|pourquoi|quand|quel(?:le)?s?|est-ce|où"
    r"|cómo|como|qué|por qué|cuándo|cuánto|dónde|puedo|come|perché|quando|posso|как|что|почему|где|когда|можно)\b"
    # Or somebody says what does not work.
    r"|\b(?:help|problem|issue|error|fail(?:s|ed|ing)?|broken|stuck|unable|cannot|can't|doesn't|won't|isn't|not working"
    r"|hilfe|fehler|geht nicht|funktioniert nicht)\b",
    re.IGNORECASE | re.MULTILINE,
)


def looks_like_question(text: str) -> bool:
    """Whether a message into a room asks for something, rather than tells something."""
    return _ASKS.search(text[:2_000]) is not None


def may_concern(message: Message, room: Room) -> bool:
    """Whether the message can be for the agent at all, before anything is looked up. Most talk in a channel cannot."""
    if message.addressed:
        return room.answering != "off" or bool(message.private_reply)
    return room.answering in ("every-question", "only-when-sure") or not message.starts_thread


def verdict(message: Message, room: Room, known: Glance | None) -> Verdict:
    """Whether to answer a message, to keep it only (so that it is known what was said), or to leave it alone."""
    if message.role == "staff" and not message.addressed:
        return "keep" if known is not None else "drop"
    if message.addressed:
        return "answer"
    if message.to_others:
        return "drop"
    if known is None:
        listens = message.starts_thread and room.answering in ("every-question", "only-when-sure")
        return "answer" if listens and (message.asks or looks_like_question(message.text)) else "drop"
    if known.mode == "staff":
        return "keep"
    # Between the agent (or staff, before they gave it back) and who asked it; what others say to each other is theirs.
    if message.author not in known.participants or (
        known.last_role == "customer" and known.last_author != message.author
    ):
        return "drop"
    return "answer" if room.answering != "off" else "drop"
