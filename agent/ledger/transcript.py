"""What people say: where it belongs, that it is stored once, and what becomes of it when they change their mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from agent.ledger.database import Part
from agent.ledger.records import (
    FINAL,
    Accepted,
    Change,
    address_of,
    conversation_of,
    message_of,
    message_row,
    storable,
    storable_address,
    storable_all,
    storable_message,
)
from agent.ledger.tables import conversations, messages, posts, tickets, turns
from agent.messages import Address, Attachment, Conversation, Deleted, Edited, Message, Solved, Stopped, Summary
from agent.rooms import Glance

JOIN_SECONDS = 900
"""What is said in a chat of two so long after the last message belongs to the same conversation."""
MOST_MESSAGES = 200
"""Messages of a conversation that are read; a summary stands for those before."""


class Transcript(Part):
    """The verbs of what people say."""

    async def accept(self, message: Message) -> Accepted:
        """Store a message, in its conversation; a customer's gets a turn. Once: `new` is false for one that is known.

        What staff say makes the conversation theirs, with what is not answered yet, until a customer addresses the agent
        again. Raises `StoreError`.
        """
        return await self._database.write(_accept, storable_message(message))

    async def glance(self, message: Message) -> Glance | None:
        """What is known of the conversation that the message would belong to, if there is one. Raises `StoreError`."""
        return await self._database.read(_glance, storable_address(message.address))

    async def edit(self, edited: Edited) -> Change | None:
        """Keep the newest text; a message that was answered gets a new turn. `None`: nothing changes. Raises `StoreError`."""
        return await self._database.write(_edit, edited)

    async def delete(self, deleted: Deleted) -> Change | None:
        """Blank a message. `None` when it is not known, or was deleted before. Raises `StoreError`."""
        return await self._database.write(_delete, deleted)

    async def stop(self, stopped: Stopped) -> tuple[str, ...]:
        """End the turns of the conversation that are not decided yet; their ids. Raises `StoreError`."""
        return await self._database.write(_stop, storable_address(stopped.address))

    async def solve(self, solved: Solved) -> Address | None:
        """Close a conversation and its open ticket, and end its turns that are not decided yet. Raises `StoreError`.

        What was said after that moment stands. Its address; `None` when it is not known.
        """
        return await self._database.write(_solve, solved)

    async def read_attachments(self, message: str, attachments: Sequence[Attachment]) -> None:
        """Keep what was read of the files of a message, unless it was deleted meanwhile. Raises `StoreError`."""
        await self._database.write(_read_attachments, storable(message), attachments)

    async def conversation(self, conversation: Address | str) -> Conversation | None:
        """What was said in it, without what was deleted, the last 200 messages. Raises `StoreError`."""
        return await self._database.read(_conversation, storable(str(conversation)))

    async def revision(self, conversation: Address | str) -> int:
        """A number that changes with all that comes in; 0 when there is no such conversation. Raises `StoreError`."""
        return await self._database.read(_revision, storable(str(conversation)))

    async def summarised(self, conversation: Address | str, summary: Summary) -> None:
        """Keep the summary of a long conversation. Raises `StoreError`."""
        await self._database.write(_summarised, storable(str(conversation)), summary)


# What each turn needs is written once: to make a statement takes several times as long as to run it. `of` is whose row it is.
_CONVERSATION = select(conversations).where(conversations.c.id == bindparam("of"))
_CONVERSATION_LOCKED = _CONVERSATION.with_for_update(key_share=True)
_BUMP = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"))
    .values(revision=conversations.c.revision + 1, updated_at=bindparam("now"))
)
ADD_MESSAGE, _ADD_CONVERSATION, _ADD_TURN = insert(messages), insert(conversations), insert(turns)
MESSAGE = select(messages).where(messages.c.id == bindparam("of"))
_CONVERSATION_OF = select(messages.c.conversation).where(messages.c.id == bindparam("of"))
_HISTORY = (
    select(messages)
    .where(messages.c.conversation == bindparam("of"), messages.c.deleted_at.is_(None))
    .order_by(messages.c.sent_at.desc(), messages.c.id.desc())
    .limit(MOST_MESSAGES)
)
_WAITING = (
    select(func.count())
    .select_from(turns)
    .where(turns.c.conversation == bindparam("of"), turns.c.state.in_(("queued", "running")))
)
_BEGUN = select(messages.c.conversation).where(messages.c.id.in_(bindparam("beginnings", expanding=True))).limit(1)
_POSTED = (
    select(turns.c.conversation)
    .join(posts, posts.c.turn == turns.c.id)
    .where(posts.c.id == bindparam("thread"), posts.c.channel == bindparam("channel"))
    .limit(1)
)
_IN_THREAD = select(conversations).where(
    conversations.c.id.in_([bindparam("of"), _BEGUN.scalar_subquery(), _POSTED.scalar_subquery()])
)


def history(connection: Connection, conversation: Row[Any]) -> tuple[Message, ...]:
    """What was said last and not deleted, oldest first."""
    newest = connection.execute(_HISTORY, {"of": conversation.id}).all()
    address = address_of(conversation)
    return tuple(message_of(row, address) for row in reversed(newest))


def locked(connection: Connection, conversation: str) -> Row[Any] | None:
    """The row of a conversation, which nobody else changes until the end of the transaction."""
    return connection.execute(_CONVERSATION_LOCKED, {"of": conversation}).one_or_none()


def bump(connection: Connection, conversation: str, **values: Any) -> None:
    """Tell that something came in."""
    connection.execute(_BUMP, {"of": conversation, "now": datetime.now(UTC), **values})


def _accept(connection: Connection, message: Message) -> Accepted:
    # Two processes that are told of the first messages of one conversation make it one after the other.
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(sha256(message.address.channel.encode()).digest()[:8], "big", signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    known = connection.execute(_CONVERSATION_OF, {"of": message.id}).scalar()
    if known is not None:
        row = connection.execute(_CONVERSATION, {"of": known}).one()
        turn = connection.execute(select(turns.c.id).where(turns.c.id == message.id)).scalar()
        return Accepted(turn, address_of(row), False, _waiting(connection, known))

    found = conversation_at(connection, message.address) or _joined(connection, message)
    customer = message.person if message.role == "customer" else ""
    if found is None:
        conversation, mode = message.address, "agent"
        connection.execute(_ADD_CONVERSATION, _new(message, customer))
    else:
        row = locked(connection, found.id) or found
        conversation, mode, customer = address_of(row), row.mode, row.customer or customer
        if str(message.address) != row.id:
            message = replace(message, reply_in=message.reply_in or message.address.thread)
    message = replace(message, address=conversation)
    # One that was closed goes on.
    answered = message.role == "customer" and (mode != "staff" or message.addressed)
    mode = "agent" if answered else "staff" if message.role == "staff" else mode
    connection.execute(ADD_MESSAGE, message_row(message, str(conversation)))
    if message.role == "staff":
        # They have taken over: what the agent is writing, or has still to begin, is theirs to answer.
        _end_undecided(connection, str(conversation), "withdrawn", messages.c.sent_at <= message.sent_at)
    if answered:
        connection.execute(_ADD_TURN, new_turn(message.id, str(conversation), message.id))
    bump(connection, str(conversation), mode=mode, customer=customer)
    waiting = _waiting(connection, str(conversation))
    return Accepted(message.id if answered else None, conversation, True, waiting)


def new_turn(turn: str, conversation: str, message: str) -> dict[str, Any]:
    """The row of a turn that is to be made."""
    return {
        "id": turn,
        "conversation": conversation,
        "message": message,
        "state": "queued",
        "attempts": 0,
        "revision_seen": 0,
        "error": "",
        "created_at": datetime.now(UTC),
    }


def _new(message: Message, customer: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": str(message.address),
        **asdict(message.address),
        "mode": "agent",
        "customer": customer,
        "summary": "",
        "summary_until": "",
        "revision": 0,
        "created_at": now,
        "updated_at": now,
    }


def conversation_at(connection: Connection, address: Address) -> Row[Any] | None:
    """The conversation at an address: its own, or that of the message or post that the thread began with."""
    values: dict[str, Any] = {"of": str(address)}
    if address.thread:
        values |= {"beginnings": address.ids_of(address.thread)}
        values |= {"thread": address.thread, "channel": address.channel}
    found = connection.execute(_IN_THREAD if address.thread else _CONVERSATION, values).all()
    return min(found, key=lambda row: row.id != str(address), default=None)


def _joined(connection: Connection, message: Message) -> Row[Any] | None:
    """The conversation that a message in a chat of two goes on with."""
    if not message.joins or message.role != "customer":
        return None
    table = messages.c
    query = (
        select(table.person, table.joins, table.sent_at, table.conversation)
        .where(table.channel == message.address.channel, table.role == "customer")
        .order_by(table.sent_at.desc(), table.id.desc())
        .limit(1)
    )
    last = connection.execute(query).one_or_none()
    if last is None or not last.joins or last.person != message.person:
        return None
    # Either way: the messages of a burst need not come in the order in which they were sent.
    if abs(message.sent_at - last.sent_at) > timedelta(seconds=JOIN_SECONDS):
        return None
    row = connection.execute(select(conversations).where(conversations.c.id == last.conversation)).one()
    return None if row.mode == "closed" else row


def _waiting(connection: Connection, conversation: str) -> int:
    return int(connection.execute(_WAITING, {"of": conversation}).scalar_one())


def _glance(connection: Connection, address: Address) -> Glance | None:
    row = conversation_at(connection, address)
    if row is None:
        return None
    table = messages.c
    # Whom the agent answered without being addressed speaks with it, too.
    spoke = func.max(case((or_(table.addressed, table.answered_by.is_not(None)), 1), else_=0))
    query = (
        select(table.author, table.role, spoke.label("spoke"), func.max(table.sent_at).label("last"))
        .where(table.conversation == row.id, table.deleted_at.is_(None))
        .group_by(table.author, table.role)
    )
    found = connection.execute(query).all()
    participants = frozenset(one.author for one in found if one.role == "customer" and one.spoke)
    last = max(found, key=lambda one: (one.last, one.role == "agent"), default=None)
    author, role = (last.author, last.role) if last is not None else ("", "")
    return Glance(address_of(row), row.mode, row.customer, participants, author, role)


def _of_message(connection: Connection, message: str) -> tuple[Row[Any], Row[Any]] | None:
    """A message that stands, and its conversation, which is locked."""
    conversation = connection.execute(select(messages.c.conversation).where(messages.c.id == message)).scalar()
    row = locked(connection, conversation) if conversation is not None else None
    found = connection.execute(select(messages).where(messages.c.id == message)).one_or_none()
    return None if row is None or found is None or found.deleted_at is not None else (found, row)


def _change(connection: Connection, message: Row[Any], conversation: Row[Any]) -> Change:
    turn = message.answered_by or message.id
    made = connection.execute(select(turns.c.result, turns.c.state).where(turns.c.id == turn)).one_or_none()
    answered = made is not None and made.result is not None and made.state not in ("stopped", "withdrawn")
    return Change(address_of(conversation), turn, answered, bool(message.private_reply))


def _edit(connection: Connection, edited: Edited) -> Change | None:
    found = _of_message(connection, storable(edited.id))
    if found is None:
        return None
    message, conversation = found
    change = _change(connection, message, conversation)
    again = f"{message.id}!{edited.edited_at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
    if message.edited_at == edited.edited_at:
        # The same edit, told again: its turn may never have been run.
        waits = select(turns.c.id).where(turns.c.id == again, turns.c.state == "queued")
        return replace(change, again=again) if connection.execute(waits).scalar() is not None else None
    new = storable(edited.text)
    if new == message.text or (message.edited_at is not None and edited.edited_at < message.edited_at):
        return None
    connection.execute(update(messages).where(messages.c.id == message.id).values(text=new, edited_at=edited.edited_at))
    if not change.answered:
        bump(connection, conversation.id)
        return change
    connection.execute(insert(turns).values(new_turn(again, conversation.id, message.id)))
    return replace(change, again=again)


def _delete(connection: Connection, deleted: Deleted) -> Change | None:
    found = _of_message(connection, storable(deleted.id))
    if found is None:
        return None
    message, conversation = found
    change = _change(connection, message, conversation)
    table = messages.c
    connection.execute(
        update(messages).where(table.id == message.id).values(text="", attachments=[], deleted_at=deleted.deleted_at)
    )
    others = select(table.id).where(
        or_(table.answered_by == change.turn, and_(table.id == change.turn, table.answered_by.is_(None))),
        table.id != message.id,
        table.role == "customer",
        table.deleted_at.is_(None),
    )
    alone = connection.execute(others.limit(1)).scalar() is None
    # A summary may tell what was deleted; it is made anew when it is needed.
    until = select(table.sent_at).where(table.id == conversation.summary_until)
    told = connection.execute(until).scalar()
    forget = {"summary": "", "summary_until": ""} if told is not None and message.sent_at <= told else {}
    bump(connection, conversation.id, **forget)
    return replace(change, alone=alone)


def _stop(connection: Connection, address: Address) -> tuple[str, ...]:
    found = conversation_at(connection, address)
    row = locked(connection, found.id) if found is not None else None
    if row is None:
        return ()
    ids = _end_undecided(connection, row.id, "stopped")
    if ids:
        bump(connection, row.id)
    return ids


def _end_undecided(
    connection: Connection, conversation: str, state: str, *which: ColumnElement[bool]
) -> tuple[str, ...]:
    """End the turns of a conversation that are not decided yet; `which` are conditions on what they answer."""
    undecided = (
        select(turns.c.id)
        .join(messages, messages.c.id == turns.c.message)
        .where(turns.c.conversation == conversation, turns.c.state.in_(("queued", "running")), turns.c.result.is_(None))
    )
    found = connection.execute(undecided.where(*which).order_by(turns.c.created_at, turns.c.id))
    ids = tuple(found.scalars())
    for turn in ids:
        connection.execute(update(turns).where(turns.c.id == turn).values(state=state, finished_at=datetime.now(UTC)))
        of_it = update(messages).where(messages.c.id == turn, messages.c.answered_by.is_(None))
        connection.execute(of_it.values(answered_by=turn))
    return ids


def _solve(connection: Connection, solved: Solved) -> Address | None:
    turn = select(turns.c.conversation).where(turns.c.id == storable(solved.turn))
    conversation = connection.execute(turn).scalar()
    if conversation is None:
        found = conversation_at(connection, storable_address(solved.address))
        conversation = found.id if found is not None else None
    row = locked(connection, conversation) if conversation is not None else None
    if row is None:
        return None
    ended = _end_undecided(connection, row.id, "stopped", messages.c.sent_at <= solved.solved_at)
    mode = row.mode
    later = select(messages.c.id).where(
        messages.c.conversation == row.id, messages.c.role == "customer", messages.c.sent_at > solved.solved_at
    )
    if connection.execute(later.limit(1)).scalar() is None:
        by = f"{solved.address.connector}:{solved.address.space}/{solved.author}"
        opened = update(tickets).where(tickets.c.conversation == row.id, tickets.c.status == "open")
        connection.execute(opened.values(status="resolved", resolved_at=solved.solved_at, resolved_by=storable(by)))
        mode = "closed"
    if ended or mode != row.mode:
        bump(connection, row.id, mode=mode)
    return address_of(row)


def _read_attachments(connection: Connection, message: str, attachments: Sequence[Attachment]) -> None:
    stored = [storable_all(asdict(one)) for one in attachments]
    connection.execute(
        update(messages).where(messages.c.id == message, messages.c.deleted_at.is_(None)).values(attachments=stored)
    )


def _conversation(connection: Connection, conversation: str) -> Conversation | None:
    row = connection.execute(_CONVERSATION, {"of": conversation}).one_or_none()
    return conversation_of(row, history(connection, row)) if row is not None else None


def _revision(connection: Connection, conversation: str) -> int:
    query = select(conversations.c.revision).where(conversations.c.id == conversation)
    return connection.execute(query).scalar() or 0


def _summarised(connection: Connection, conversation: str, summary: Summary) -> None:
    # Not what was summed up before one of the messages was deleted: the last of them has to stand.
    connection.execute(
        update(conversations)
        .where(conversations.c.id == conversation)
        .values(summary=storable(summary.text), summary_until=storable(summary.until))
    )


def pending(connection: Connection, turn: Row[Any], again_of: str | None, address: Address) -> tuple[Message, ...]:
    """The messages that a turn answers: those that it took on, and until it is decided all that wait."""
    own = connection.execute(MESSAGE, {"of": turn.message}).one_or_none()
    # What only its author may read is answered by itself.
    private = own is not None and bool(own.private_reply)
    query = _pending(undecided=again_of is None and turn.result is None, private=private)
    values = {"of": turn.conversation, "by": again_of or turn.id} | ({"only": turn.message} if private else {})
    return tuple(message_of(row, address) for row in connection.execute(query, values))


@cache
def _pending(*, undecided: bool, private: bool) -> Select[Any]:
    table = messages.c
    covered = table.answered_by == bindparam("by")
    if undecided:
        # A message whose own turn is over (quiet, failed) waits for nothing.
        open_turn = select(turns.c.id).where(turns.c.id == table.id, turns.c.state.not_in(FINAL)).exists()
        covered = or_(covered, and_(table.answered_by.is_(None), open_turn))
    query = select(messages).where(
        table.conversation == bindparam("of"), table.role == "customer", table.deleted_at.is_(None), covered
    )
    query = query.where(table.id == bindparam("only") if private else table.private_reply == "")
    return query.order_by(table.sent_at, table.id)
