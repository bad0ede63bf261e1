"""What staff work with: tickets, what people said of replies, and what is set for channels."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from agent.ledger.database import Part
from agent.ledger.records import Ticket, address_of, storable
from agent.ledger.tables import channel_settings, conversations, feedback, tickets, turns
from agent.ledger.transcript import locked
from agent.messages import Feedback

_ADDRESS = (conversations.c.connector, conversations.c.space, conversations.c.room, conversations.c.thread)


class Desk(Part):
    """The verbs of tickets, feedback and channel settings."""

    async def tickets(self, status: str | None = "open", limit: int = 100) -> list[Ticket]:
        """Tickets that are "open" or "resolved", or all; newest first. Raises `StoreError`."""
        return await self._database.read(_tickets, status, limit)

    async def ticket(self, number: int) -> Ticket | None:
        """One ticket. Raises `StoreError`."""
        return await self._database.read(_ticket, number)

    async def resolve(self, number: int, by: str) -> bool:
        """Close a ticket and give the conversation back to the agent. False when it is not open. Raises `StoreError`."""
        return await self._database.write(_resolve, number, storable(by))

    async def ticket_posted(self, number: int, post: str) -> None:
        """Remember where staff were told of a ticket. Raises `StoreError`."""
        await self._database.write(_ticket_posted, number, storable(post))

    async def give_feedback(self, given: Feedback) -> bool:
        """Keep a person's word on a reply, in the place of an earlier one; a reason stays until another is given.

        False when the turn is not known, or a later word is. Raises `StoreError`.
        """
        return await self._database.write(_give_feedback, given)

    async def feedback(self, limit: int = 100) -> list[Feedback]:
        """What people said of replies, newest first. Raises `StoreError`."""
        return await self._database.read(_feedback, limit)

    async def set_channel(self, channel: str, name: str, value: str | None, by: str) -> None:
        """Set something for a channel; `None` unsets it. Raises `StoreError`."""
        await self._database.write(_set_channel, storable(channel), storable(name), value, storable(by))

    async def channel_settings(self) -> dict[str, dict[str, str]]:
        """What is set, by channel and name. Raises `StoreError`."""
        return await self._database.read(_channel_settings)


def _tickets(connection: Connection, status: str | None, limit: int) -> list[Ticket]:
    query = _with_address().order_by(tickets.c.number.desc()).limit(limit)
    if status is not None:
        query = query.where(tickets.c.status == status)
    return [_ticket_of(row) for row in connection.execute(query)]


def _ticket(connection: Connection, number: int) -> Ticket | None:
    row = connection.execute(_with_address().where(tickets.c.number == number)).one_or_none()
    return None if row is None else _ticket_of(row)


def _with_address() -> Select[*tuple[Any, ...]]:
    return select(tickets, *_ADDRESS).join(conversations, conversations.c.id == tickets.c.conversation)


def _ticket_of(row: Row[Any]) -> Ticket:
    values = {column.name: getattr(row, column.name) for column in tickets.c if column.name != "conversation"}
    return Ticket(conversation=address_of(row), **values)


def _resolve(connection: Connection, number: int, by: str) -> bool:
    conversation = connection.execute(select(tickets.c.conversation).where(tickets.c.number == number)).scalar()
    if conversation is None or locked(connection, conversation) is None:
        return False
    one = update(tickets).where(tickets.c.number == number, tickets.c.status == "open")
    done = connection.execute(one.values(status="resolved", resolved_at=datetime.now(UTC), resolved_by=by))
    if not done.rowcount:
        return False
    connection.execute(update(conversations).where(conversations.c.id == conversation).values(mode="agent"))
    return True


def _ticket_posted(connection: Connection, number: int, post: str) -> None:
    connection.execute(update(tickets).where(tickets.c.number == number).values(staff_post=post))


def _give_feedback(connection: Connection, given: Feedback) -> bool:
    turn, author = storable(given.turn), storable(given.author)
    conversation = connection.execute(select(turns.c.conversation).where(turns.c.id == turn)).scalar()
    if conversation is None or locked(connection, conversation) is None:
        return False
    same = (feedback.c.turn == turn) & (feedback.c.author == author)
    before = connection.execute(select(feedback).where(same)).one_or_none()
    if before is not None and given.given_at < before.given_at:
        return False
    reason = storable(given.reason) if given.reason is not None else None
    if reason is None and before is not None and before.helpful == given.helpful:
        reason = before.reason
    values = {"helpful": given.helpful, "reason": reason, "given_at": given.given_at}
    if before is not None:
        connection.execute(update(feedback).where(same).values(**values))
    else:
        connection.execute(insert(feedback).values(turn=turn, author=author, conversation=conversation, **values))
    return True


def _feedback(connection: Connection, limit: int) -> list[Feedback]:
    query = select(feedback, *_ADDRESS).join(conversations, conversations.c.id == feedback.c.conversation)
    found = connection.execute(query.order_by(feedback.c.given_at.desc()).limit(limit))
    return [Feedback(address_of(row), row.turn, row.author, row.helpful, row.given_at, row.reason) for row in found]


def _set_channel(connection: Connection, channel: str, name: str, value: str | None, by: str) -> None:
    table = channel_settings.c
    same = (table.channel == channel) & (table.name == name)
    if value is None:
        connection.execute(delete(channel_settings).where(same))
        return
    values = {"value": storable(value), "set_by": by, "set_at": datetime.now(UTC)}
    if not connection.execute(update(channel_settings).where(same).values(**values)).rowcount:
        connection.execute(insert(channel_settings).values(channel=channel, name=name, **values))


def _channel_settings(connection: Connection) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in connection.execute(select(channel_settings)):
        found.setdefault(row.channel, {})[row.name] = row.value
    return found
