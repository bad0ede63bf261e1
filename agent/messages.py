"""The nouns: what is said, where, by whom, and what the agent replies. Frozen, JSON-safe, no I/O.

    Address -> Message -> Conversation          what came in, and the way back
    Status | Delta | Answer | Handoff           what the agent replies: any number of Status and Delta,
                                                then exactly one Answer or Handoff

A message never carries its own way to answer (no client, no event object): the way back is its `Address`. That is
what lets it be stored, replayed, and answered by another process.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from knowledge.documents import PUBLIC

Role = Literal["customer", "agent", "staff"]
Mode = Literal["agent", "staff", "closed"]
Outcome = Literal["answered", "asked_back", "handoff"]
HandoffReason = Literal["asked", "unsure", "policy", "failed"]
_DIGITS = 20
"""Of the largest number that a platform numbers messages by, 2**64 - 1."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a conversation takes place; `str()` is the conversation's id, `slack:T1/C1/1699.01`.

    `space` is the workspace, guild or machine; `room` the channel or direct message; `thread` is empty outside threads.
    """

    connector: str
    space: str
    room: str
    thread: str = ""

    def __str__(self) -> str:
        return self.channel + (f"/{self.thread}" if self.thread else "")

    @property
    def channel(self) -> str:
        """The id of the channel that the conversation takes place in: the address without the thread."""
        return f"{self.connector}:{self.space}/{self.room}"

    def ids_of(self, own: str) -> tuple[str, ...]:
        """The ids that a message in this channel may have whose platform calls it `own`.

        Some platforms write ids with zeros before them, so that they sort as text.
        """
        return f"{self.channel}#{own}", f"{self.channel}#{own.zfill(_DIGITS)}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message. `text` is what could be read of it, `None` when nothing could, or not yet.

    `source` is where its connector gets the bytes from, `size` is in bytes. `unread` says in words why nothing was read.
    """

    name: str
    media_type: str
    size: int
    text: str | None = None
    source: str = ""
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing said. `id` is the platform's own identity of it, so that a redelivery is the same message.

    Ids of one conversation sort by time as text: `slack:T1/C1#1699000000.000100`. It is also the id of the turn that answers.
    `outcome` is set on the agent's messages only: what kind of reply it was. `withheld`: a provider's content filter
    stopped at it, so it is not sent to a model again, lest every later turn fails as well.
    """

    id: str
    address: Address
    author: str
    role: Role
    text: str
    sent_at: datetime
    attachments: tuple[Attachment, ...] = ()
    outcome: Outcome | None = None
    withheld: bool = False
    addressed: bool = True
    """It is said to the agent: a direct message, a mention, a command, a button. Else it is only heard."""
    wants_person: bool = False
    """The customer pressed "Talk to a person"."""
    to_others: bool = False
    """It mentions other people, and not the agent."""
    outsiders: bool = False
    """Someone from outside reads along: a guest, another company. Only public documents may be shown."""
    joins: bool = False
    """It may go on with the last conversation in its room, as messages in a chat of two do."""
    reply_in: str = ""
    """The platform's thread that the reply belongs into, if it is not the address's."""
    private_reply: str = ""
    """Where a reply goes that only the author may see, as the platform named it; empty for a reply that all may see."""
    author_space: str = ""
    """The author's own workspace, if it is not the address's."""
    asks: bool = False
    """It was put where questions are asked, a post in a forum: a question, whatever its words look like."""
    internal: bool = False
    """A reply of the agent that rests on documents that not everyone may read."""

    @property
    def starts_thread(self) -> bool:
        """It is said into its room, and the thread of its address begins with it."""
        return bool(self.address.thread) and self.id in self.address.ids_of(self.address.thread)

    @property
    def person(self) -> str:
        """Who wrote it, over all rooms: `slack:T1/U1`."""
        return f"{self.address.connector}:{self.author_space or self.address.space}/{self.author}"


@dataclass(frozen=True, slots=True)
class Edited:
    """A message was changed. `id` is the message's, `address` its channel's or its own."""

    id: str
    address: Address
    text: str
    edited_at: datetime


@dataclass(frozen=True, slots=True)
class Deleted:
    """A message was deleted by its author, or by who may."""

    id: str
    address: Address
    deleted_at: datetime


@dataclass(frozen=True, slots=True)
class Stopped:
    """The customer pressed Stop: no answer to what was asked so far at this address."""

    address: Address
    author: str
    stopped_at: datetime


@dataclass(frozen=True, slots=True)
class Solved:
    """The customer says that it is solved, or staff do. `turn` is the id of the turn whose conversation is over."""

    address: Address
    turn: str
    author: str
    solved_at: datetime


@dataclass(frozen=True, slots=True)
class Shared:
    """Who asked privately wants all at `address` to see the answer of this turn."""

    turn: str
    address: Address
    author: str
    shared_at: datetime


@dataclass(frozen=True, slots=True)
class Feedback:
    """A person's word on one of the agent's replies. `turn` is the id of the message that was answered."""

    address: Address
    turn: str
    author: str
    helpful: bool
    given_at: datetime
    reason: str | None = None


Inbound = Message | Edited | Deleted | Stopped | Solved | Shared | Feedback
"""What a connector hears from people."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was said in a long conversation, up to and with the message whose id is `until`."""

    text: str
    until: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """All that was said at one address, oldest first. `audiences` follows the room: only such documents are searched.

    `summary` stands for the oldest messages when a model is told what was said.
    """

    address: Address
    messages: tuple[Message, ...] = ()
    mode: Mode = "agent"
    audiences: frozenset[str] = frozenset({PUBLIC})
    summary: Summary | None = None
    pending: frozenset[str] = frozenset()
    """The ids of the messages to reply to; none: all that customers said since the last reply."""

    def with_message(self, message: Message) -> Conversation:
        """The same conversation with one more message at its end."""
        return replace(self, messages=(*self.messages, message))


@dataclass(frozen=True, slots=True)
class Citation:
    """What `[n]` in an answer stands on: a passage, word for word, and the document it is from (ids as in the knowledge base)."""

    n: int
    document: str
    title: str
    url: str | None
    passage: str
    updated: str | None = None
    """ISO date of the document's last change, as its author wrote it."""
    audience: str = PUBLIC
    """Who the document is for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money of model calls. `cost_usd` is `None` when a price is unknown, 0 when it is free.

    `cached_tokens` and `cache_write_tokens` are part of `prompt_tokens`, `reasoning_tokens` of `completion_tokens`.
    `estimated` says that a server reported no usage and the tokens were counted from the text.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    estimated: bool = False
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        unknown = self.cost_usd is None or other.cost_usd is None
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            None if unknown else (self.cost_usd or 0.0) + (other.cost_usd or 0.0),
            self.estimated or other.estimated,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a reply came about: which model wrote it, from which version of the prompt, at what cost.

    `prompt` is the content hash of the prompt's file; empty when no prompt was sent. `notes` are sentences for the
    operator (a model that failed, search without vectors), never for the customer. `filtered`: a provider's content
    filter stopped at the customer's message.
    """

    model: str | None = None
    prompt: str = ""
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """What the agent is doing, to be shown until the first words come."""

    text: str


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of a draft. The draft is replaced by the Answer or Handoff that ends the reply.

    `anew`: what was drafted so far is not to be seen any more; this is the beginning of another draft.
    """

    text: str
    anew: bool = False

    def after(self, draft: str) -> str:
        """The whole draft with this piece."""
        return self.text if self.anew else draft + self.text


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply, in Markdown, with `[n]` marks that stand for `citations`. `asks_back`: it is a question to the customer."""

    text: str
    citations: tuple[Citation, ...] = ()
    asks_back: bool = False
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def outcome(self) -> Outcome:
        """`asked_back` for a question to the customer, else `answered`."""
        return "asked_back" if self.asks_back else "answered"


@dataclass(frozen=True, slots=True)
class Handoff:
    """The agent passes the conversation to a person. `text` is for the customer, `summary` for the staff."""

    reason: HandoffReason
    text: str
    summary: str
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def outcome(self) -> Outcome:
        """Always `handoff`."""
        return "handoff"


ReplyEvent = Status | Delta | Answer | Handoff
"""What `SupportAgent.reply` streams."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The whole of a draft so far. It is replaced by the next draft, and at the end by the Answer or Handoff."""

    text: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Nothing stands at this turn any longer: its question was deleted, or it is not to be answered after all.

    `stopped`: the customer stopped the answer; what is shown of it stays, and is no longer written on.
    """

    stopped: bool = False


Shown = Status | Draft | Answer | Handoff | Withdrawn


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a connector has to show at `address`. All deliveries of one `turn` are the same post, shown anew each time.

    `turn` is the id of the message that is answered: a connector that finds its own post of this turn edits it. `question`
    is that message, where one is at hand. `resumed`: an earlier run of this turn was broken off, or its answer changes, so
    something may have been posted that this process does not know of. `ticket` is the number of the hand-off's ticket.
    """

    address: Address
    turn: str
    event: Shown
    question: Message | None = None
    resumed: bool = False
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """What a connector posted for a turn: the platform's id of it. `part` counts from 0 where an answer takes several."""

    turn: str
    part: int
    id: str
