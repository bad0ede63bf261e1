"""What the agent says: which turns there are, what each answers, what was decided, and where it was posted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, or_, select, update

from agent.ledger.database import Part
from agent.ledger.records import (
    AGENT,
    FINAL,
    Begun,
    Counts,
    Decided,
    Ended,
    TurnRow,
    UnfinishedTurn,
    address_of,
    conversation_of,
    message_of,
    message_row,
    result_json,
    result_of,
    storable,
)
from agent.ledger.tables import conversations, messages, posts, tickets, turns
from agent.ledger.transcript import ADD_MESSAGE, MESSAGE, history, locked, pending
from agent.messages import Address, Answer, Conversation, Handoff, Message, Post
from knowledge.documents import PUBLIC

_MOST_ERROR = 2_000
_MOST_QUESTION = 200


class Replies(Part):
    """The verbs of turns and posts."""

    async def begin(self, turn: str, *, again: bool = False) -> Begun | Ended | None:
        """Read what a turn has to answer. `again`: in the same run, so that it does not count as another attempt.

        `Ended` when it was stopped or withdrawn, or its question is answered with another; `None` when it is over
        otherwise, or not known. Raises `StoreError`.
        """
        return await self._database.write(_begin, storable(turn), again)

    async def decide(
        self,
        turn: str,
        revision: int,
        result: Answer | Handoff,
        *,
        filtered: bool = False,
        customer_question: str = "",
    ) -> Decided | None:
        """Keep a reply, and open a ticket where it is a hand-off. `None` when something came in since that revision.

        `filtered`: what was asked is not sent to a model again. Raises `StoreError`.
        """
        return await self._database.write(_decide, storable(turn), revision, result, filtered, customer_question)

    async def reopen(self, turn: str) -> None:
        """Forget a decided reply that was not shown yet, so that the turn prepares another. Raises `StoreError`."""
        await self._database.write(_reopen, storable(turn))

    async def finish(self, turn: str, state: str, error: str = "") -> None:
        """End a turn, unless it is over already. Raises `ValueError` for a state that is no end, `StoreError`."""
        if state not in FINAL:
            raise ValueError(f"{state!r} is not the end of a turn")
        await self._database.write(_finish, storable(turn), state, error)

    async def undelivered(self, turn: str, error: str, *, customer_question: str = "") -> Decided | None:
        """End a turn whose reply could not be shown: with a ticket, if there is none. Raises `StoreError`."""
        return await self._database.write(_undelivered, storable(turn), error, customer_question)

    async def withdraw(self, turn: str) -> Address | None:
        """End a turn whose question was deleted, and forget the reply. Where it stood, if the turn is known."""
        return await self._database.write(_withdraw, storable(turn))

    async def answer(self, turn: str) -> tuple[Answer, Message] | None:
        """The answer that was decided in a turn, and its question, while both stand. Raises `StoreError`."""
        return await self._database.read(_answer, storable(turn))

    async def asker_of(self, turn: str) -> str:
        """The id of the person whose question a turn answers; empty when the turn is not known. Raises `StoreError`."""
        return await self._database.read(_asker_of, storable(turn))

    async def ticket_of(self, turn: str) -> int | None:
        """The number of the ticket that a turn led to. Raises `StoreError`."""
        return await self._database.read(_ticket_of, storable(turn))

    async def unfinished(self, limit: int = 1_000) -> list[UnfinishedTurn]:
        """The turns that are not over, oldest first. Raises `StoreError`."""
        return await self._database.read(_unfinished, limit)

    async def turns(self, state: str | None = None, limit: int = 50) -> list[TurnRow]:
        """The turns, of one state or all, newest first. Raises `StoreError`."""
        return await self._database.read(_turns, state, limit)

    async def retry(self, turn: str) -> bool:
        """Queue a failed turn again. False when it is not a failed one. Raises `StoreError`."""
        return await self._database.write(_retry, storable(turn))

    async def counts(self) -> Counts:
        """How many turns wait, run and failed, and how many tickets are open. Raises `StoreError`."""
        return await self._database.read(_counts)

    async def posts(self, turn: str) -> Sequence[Post]:
        """What was posted for a turn, in the order of its parts. Raises `StoreError`."""
        return await self._database.read(_posts, storable(turn))

    async def keep_post(self, post: Post) -> None:
        """Remember a post, in the place of an earlier one of its turn and part. Raises `StoreError`."""
        await self._database.write(_keep_post, post)

    async def forget_posts(self, turn: str) -> None:
        """Forget what was posted for a turn. Raises `StoreError`."""
        await self._database.write(_forget_posts, storable(turn))

    async def turn_of_post(self, channel: str, post: str) -> str | None:
        """The turn that a post belongs to. `channel` is one, or the connector and space of one. Raises `StoreError`."""
        return await self._database.read(_turn_of_post, storable(channel), storable(post))


# What each turn needs is written once, as in `transcript`.
_TURN = select(turns).where(turns.c.id == bindparam("of"))
_CONVERSATION_OF = select(turns.c.conversation).where(turns.c.id == bindparam("of"))
_ANSWERED_BY = select(messages.c.answered_by).where(messages.c.id == bindparam("of"))
_REPLY_IN = select(messages.c.reply_in).where(messages.c.id == bindparam("of"), messages.c.deleted_at.is_(None))
_SET = update(turns).where(turns.c.id == bindparam("of"))
_SET_OPEN = _SET.where(turns.c.state.not_in(FINAL))
_SET_MESSAGES = update(messages).where(messages.c.id.in_(bindparam("of", expanding=True)))
_TOUCH = update(conversations).where(conversations.c.id == bindparam("of"))
_POSTS = select(posts).where(posts.c.turn == bindparam("of")).order_by(posts.c.part)
_DROP_POST = delete(posts).where(posts.c.turn == bindparam("of"), posts.c.part == bindparam("which"))
_ADD_POST = insert(posts)


def _locked_turn(connection: Connection, turn: str) -> tuple[Row[Any], Row[Any]] | None:
    """A turn and its conversation, which is locked first, as everywhere."""
    conversation = connection.execute(_CONVERSATION_OF, {"of": turn}).scalar()
    row = locked(connection, conversation) if conversation is not None else None
    found = connection.execute(_TURN, {"of": turn}).one_or_none()
    return (found, row) if found is not None and row is not None else None


def again_of(connection: Connection, turn: Row[Any]) -> str | None:
    """The turn whose answer this one makes anew."""
    if turn.id == turn.message:
        return None
    return connection.execute(_ANSWERED_BY, {"of": turn.message}).scalar() or str(turn.message)


def _set(connection: Connection, turn: str, **values: Any) -> None:
    connection.execute(_SET, {"of": turn, **values})


def _ended(connection: Connection, turn: Row[Any], row: Row[Any], state: str) -> Ended:
    if turn.state != state:
        _set(connection, turn.id, state=state, finished_at=datetime.now(UTC))
    return Ended(turn.id, state, turn.attempts, address_of(row))


def _begin(connection: Connection, turn: str, again: bool) -> Begun | Ended | None:
    locked_turn = _locked_turn(connection, turn)
    if locked_turn is None:
        return None
    found, row = locked_turn
    if found.state in FINAL:
        return (
            _ended(connection, found, row, found.state) if found.state in ("merged", "stopped", "withdrawn") else None
        )
    of = again_of(connection, found)
    if _merged(connection, found, of):
        return _ended(connection, found, row, "merged")
    asked = pending(connection, found, of, address_of(row))
    if not asked:
        return _ended(connection, found, row, "withdrawn")
    attempts = found.attempts + (not again)
    values: dict[str, Any] = {"attempts": attempts, "revision_seen": row.revision}
    if found.result is None:
        values["state"] = "running"
    if not again:
        values["started_at"] = datetime.now(UTC)
    _set(connection, found.id, **values)
    return Begun(
        turn=found.id,
        attempts=attempts,
        revision=row.revision,
        conversation=_as_asked(connection, row, asked, of),
        pending=asked,
        question=asked[-1],
        reply_in=_place(connection, found, asked),
        again_of=of,
        result=result_of(found.result),
        ticket=found.ticket,
    )


def _place(connection: Connection, turn: Row[Any], asked: tuple[Message, ...]) -> str:
    """Where the reply belongs: under the message that the turn is of, even if more was asked since."""
    own = connection.execute(_REPLY_IN, {"of": turn.message}).scalar()
    return str(own) if own is not None else asked[0].reply_in


def _merged(connection: Connection, turn: Row[Any], of: str | None) -> bool:
    """Whether the question was answered by another turn, or edited once more since this turn was made for it."""
    if of is None:
        by = connection.execute(_ANSWERED_BY, {"of": turn.message}).scalar()
        return by is not None and by != turn.id
    newer = select(turns.c.id).where(turns.c.message == turn.message, turns.c.id > turn.id, turns.c.state.not_in(FINAL))
    return turn.result is None and connection.execute(newer.limit(1)).scalar() is not None


def _as_asked(connection: Connection, row: Row[Any], asked: tuple[Message, ...], of: str | None) -> Conversation:
    """The conversation, ending with what is asked; for an answer that is made anew, without what came after it."""
    ids = {message.id for message in asked}
    said = history(connection, row) if of is None else _said_before(connection, row, asked[-1], of)
    # A reply may have been decided after these were sent and before they came in.
    conversation = conversation_of(row, (*(message for message in said if message.id not in ids), *asked))
    summary = conversation.summary
    if of is not None and summary is not None and all(message.id != summary.until for message in said):
        # It may tell of what came after.
        return replace(conversation, summary=None)
    return conversation


def _said_before(connection: Connection, row: Row[Any], last: Message, of: str) -> tuple[Message, ...]:
    key = (last.sent_at, last.id)
    said = history(connection, row)
    return tuple(message for message in said if (message.sent_at, message.id) <= key and message.id != _reply_id(of))


def _reply_id(turn: str) -> str:
    return f"{turn}/reply"


def _decide(
    connection: Connection, turn: str, revision: int, result: Answer | Handoff, filtered: bool, question: str
) -> Decided | None:
    locked_turn = _locked_turn(connection, turn)
    if locked_turn is None:
        return None
    found, row = locked_turn
    if row.revision != revision or found.state in FINAL:
        return None
    if found.result is not None:
        return Decided(found.ticket, False)
    of = again_of(connection, found)
    asked = () if _merged(connection, found, of) else pending(connection, found, of, address_of(row))
    if not asked:
        return None
    now = datetime.now(UTC)
    values: dict[str, Any] = {"withheld": True} if filtered else {}
    if of is None:
        values["answered_by"] = found.id
    if values:
        connection.execute(_SET_MESSAGES, {"of": [one.id for one in asked], **values})
    _keep_reply(connection, row, of or found.id, result, asked[-1], now)
    ticket, new = found.ticket, False
    if isinstance(result, Handoff):
        if ticket is None and of is not None:
            ticket = _ticket_of(connection, of)
        if ticket is None:
            ticket, new = _open_ticket(connection, row, found.id, result, asked[-1].person, question)
    _set(connection, found.id, state="decided", result=result_json(result), decided_at=now, ticket=ticket)
    connection.execute(_TOUCH, {"of": row.id, "updated_at": now})
    return Decided(ticket, new)


def _is_internal(result: Answer | Handoff) -> bool:
    return isinstance(result, Answer) and any(citation.audience != PUBLIC for citation in result.citations)


def _keep_reply(
    connection: Connection, row: Row[Any], turn: str, result: Answer | Handoff, question: Message, now: datetime
) -> None:
    text = storable(result.text)
    if connection.execute(MESSAGE, {"of": _reply_id(turn)}).one_or_none() is not None:
        values = {"outcome": result.outcome, "internal": _is_internal(result), "edited_at": now, "deleted_at": None}
        connection.execute(_SET_MESSAGES, {"of": [_reply_id(turn)], "text": text, **values})
        return
    reply = Message(
        id=_reply_id(turn),
        address=address_of(row),
        author=AGENT,
        role="agent",
        internal=_is_internal(result),
        text=text,
        # The platform's clock may be ahead, and a reply comes after its question.
        sent_at=max(now, question.sent_at + timedelta(microseconds=1)),
        outcome=result.outcome,
    )
    connection.execute(ADD_MESSAGE, message_row(reply, row.id))


def _open_ticket(
    connection: Connection, row: Row[Any], turn: str, handoff: Handoff, customer: str, question: str
) -> tuple[int, bool]:
    """The number of the conversation's open ticket, which is told of this too, or of a new one."""
    table, summary = tickets.c, storable(handoff.summary)
    query = select(tickets).where(table.conversation == row.id, table.status == "open").order_by(table.number).limit(1)
    known = connection.execute(query).one_or_none()
    if known is not None:
        if summary not in known.summary:
            told = update(tickets).where(table.number == known.number)
            connection.execute(told.values(summary=f"{known.summary}\n\n{summary}"))
        return known.number, False
    made = connection.execute(
        insert(tickets)
        .values(
            conversation=row.id,
            turn=turn,
            customer=customer,
            reason=handoff.reason,
            question=storable(question),
            summary=summary,
            status="open",
            staff_post="",
            opened_at=datetime.now(UTC),
            resolved_by="",
        )
        .returning(table.number)
    )
    return int(made.scalar_one()), True


def _reopen(connection: Connection, turn: str) -> None:
    locked_turn = _locked_turn(connection, turn)
    if locked_turn is None or locked_turn[0].state != "decided":
        return
    found, _ = locked_turn
    connection.execute(delete(messages).where(messages.c.id == _reply_id(again_of(connection, found) or found.id)))
    _set(connection, found.id, state="running", result=None, decided_at=None)


def _finish(connection: Connection, turn: str, state: str, error: str) -> None:
    error = storable(error)[:_MOST_ERROR]
    connection.execute(_SET_OPEN, {"of": turn, "state": state, "error": error, "finished_at": datetime.now(UTC)})


def _undelivered(connection: Connection, turn: str, error: str, question: str) -> Decided | None:
    locked_turn = _locked_turn(connection, turn)
    if locked_turn is None:
        return None
    found, row = locked_turn
    ticket, new = found.ticket or _ticket_of(connection, again_of(connection, found) or found.id), False
    if ticket is None:
        person = connection.execute(select(messages.c.person).where(messages.c.id == found.message)).scalar() or ""
        failed = Handoff("failed", "", f"The reply could not be delivered: {error}")
        ticket, new = _open_ticket(connection, row, found.id, failed, person, question)
    now = datetime.now(UTC)
    _set(connection, turn, state="failed", ticket=ticket, finished_at=now, error=storable(error)[:_MOST_ERROR])
    return Decided(ticket, new)


def _withdraw(connection: Connection, turn: str) -> Address | None:
    locked_turn = _locked_turn(connection, turn)
    if locked_turn is None:
        return None
    found, row = locked_turn
    now = datetime.now(UTC)
    if found.state != "withdrawn":
        _set(connection, turn, state="withdrawn", finished_at=now)
        connection.execute(update(messages).where(messages.c.id == _reply_id(turn)).values(text="", deleted_at=now))
    return address_of(row)


def _answer(connection: Connection, turn: str) -> tuple[Answer, Message] | None:
    found = connection.execute(select(turns).where(turns.c.id == turn)).one_or_none()
    if found is None or found.state in ("stopped", "withdrawn"):
        return None
    result = result_of(found.result)
    row = connection.execute(select(conversations).where(conversations.c.id == found.conversation)).one()
    standing = select(messages).where(messages.c.id == found.message, messages.c.deleted_at.is_(None))
    asked = connection.execute(standing).one_or_none()
    return (result, message_of(asked, address_of(row))) if isinstance(result, Answer) and asked is not None else None


def _asker_of(connection: Connection, turn: str) -> str:
    query = select(messages.c.person).join(turns, turns.c.message == messages.c.id).where(turns.c.id == turn)
    return connection.execute(query).scalar() or ""


def _ticket_of(connection: Connection, turn: str) -> int | None:
    return connection.execute(select(turns.c.ticket).where(turns.c.id == turn)).scalar()


def _unfinished(connection: Connection, limit: int) -> list[UnfinishedTurn]:
    table = turns.c
    query = select(table.id, table.conversation, table.created_at, table.state).where(table.state.not_in(FINAL))
    found = connection.execute(query.order_by(table.created_at, table.id).limit(limit))
    return [UnfinishedTurn(*row) for row in found]


def _turns(connection: Connection, state: str | None, limit: int) -> list[TurnRow]:
    table = turns.c
    query = select(
        *(table.id, table.conversation, table.state, table.attempts, table.error, table.created_at, table.finished_at),
        func.substr(func.coalesce(messages.c.text, ""), 1, _MOST_QUESTION),
    ).outerjoin_from(turns, messages, messages.c.id == table.message)
    if state is not None:
        query = query.where(table.state == state)
    found = connection.execute(query.order_by(table.created_at.desc(), table.id.desc()).limit(limit))
    return [TurnRow(*row) for row in found]


def _retry(connection: Connection, turn: str) -> bool:
    locked_turn = _locked_turn(connection, turn)
    if locked_turn is None or locked_turn[0].state != "failed":
        return False
    found, _ = locked_turn
    # Not 0: it has been begun before, so that its posts are looked for. What it took on stays its own: the turns of those
    # messages were merged into it, and are over.
    values = {"result": None, "decided_at": None, "started_at": None, "finished_at": None}
    _set(connection, turn, state="queued", attempts=1, error="", **values)
    if found.id == found.message:
        connection.execute(delete(messages).where(messages.c.id == _reply_id(turn)))
    return True


def _counts(connection: Connection) -> Counts:
    query = select(turns.c.state, func.count()).where(turns.c.state.in_(("queued", "running", "decided", "failed")))
    by = {state: count for state, count in connection.execute(query.group_by(turns.c.state))}
    opened = select(func.count()).select_from(tickets).where(tickets.c.status == "open")
    running = by.get("running", 0) + by.get("decided", 0)
    return Counts(by.get("queued", 0), running, by.get("failed", 0), connection.execute(opened).scalar_one())


def _posts(connection: Connection, turn: str) -> list[Post]:
    found = connection.execute(_POSTS, {"of": turn})
    return [Post(row.turn, row.part, row.id) for row in found]


def _keep_post(connection: Connection, post: Post) -> None:
    locked_turn = _locked_turn(connection, storable(post.turn))
    # The turn may have been erased meanwhile.
    if locked_turn is None:
        return
    found, row = locked_turn
    connection.execute(_DROP_POST, {"of": found.id, "which": post.part})
    values = {"turn": found.id, "part": post.part, "id": storable(post.id), "channel": address_of(row).channel}
    connection.execute(_ADD_POST, values)


def _forget_posts(connection: Connection, turn: str) -> None:
    connection.execute(delete(posts).where(posts.c.turn == turn))


def _turn_of_post(connection: Connection, channel: str, post: str) -> str | None:
    table = posts.c
    inside = table.channel.startswith(channel.rstrip("/") + "/", autoescape=True)
    query = select(table.turn).where(table.id == post, or_(table.channel == channel, inside)).limit(1)
    return connection.execute(query).scalar()
