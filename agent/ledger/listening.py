"""What connectors ask that listen: where a message belongs, which conversations go on, and until when all was heard."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from agent.ledger.database import Part
from agent.ledger.records import address_of, storable
from agent.ledger.tables import conversations, marks, messages
from agent.ledger.transcript import conversation_at
from agent.messages import Address


class Listening(Part):
    """The verbs of listening."""

    async def thread_of(self, channel: str, own: str) -> str:
        """The thread of the conversation that a message or a post in a channel belongs to, by the platform's id of it.

        Empty when it is not known. Raises `StoreError`.
        """
        return await self._database.read(_thread_of, storable(channel), storable(own))

    async def open_conversations(
        self, connector: str, since: datetime, limit: int = 1_000
    ) -> list[tuple[Address, str]]:
        """The conversations on a platform that go on, each with the id of the last message of people in it.

        Those in which something came since then and which are not closed, the newest first. Raises `StoreError`.
        """
        return await self._database.read(_open_conversations, storable(connector), since, limit)

    async def mark(self, connector: str) -> datetime | None:
        """The moment before which all that was said on a platform is stored. Raises `StoreError`."""
        return await self._database.read(_mark, storable(connector))

    async def set_mark(self, connector: str, at: datetime) -> None:
        """Keep that moment; it never moves back. Raises `StoreError`."""
        await self._database.write(_set_mark, storable(connector), at)


def _thread_of(connection: Connection, channel: str, own: str) -> str:
    name, _, rest = channel.partition(":")
    space, _, room = rest.partition("/")
    if not own:
        return ""
    found = conversation_at(connection, Address(name, space, room, own))
    return found.thread if found is not None else ""


def _open_conversations(
    connection: Connection, connector: str, since: datetime, limit: int
) -> list[tuple[Address, str]]:
    table = conversations.c
    last = (
        select(messages.c.id)
        .where(messages.c.conversation == table.id, messages.c.role != "agent")
        .order_by(messages.c.sent_at.desc(), messages.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(conversations, last.label("last"))
        .where(table.connector == connector, table.mode != "closed", table.updated_at >= since)
        .order_by(table.updated_at.desc())
        .limit(limit)
    )
    return [(address_of(row), row.last or "") for row in connection.execute(query)]


def _mark(connection: Connection, connector: str) -> datetime | None:
    return connection.execute(select(marks.c.at).where(marks.c.connector == connector)).scalar()


def _set_mark(connection: Connection, connector: str, at: datetime) -> None:
    known = _mark(connection, connector)
    if known is None:
        connection.execute(insert(marks).values(connector=connector, at=at))
    elif known < at:
        connection.execute(update(marks).where(marks.c.connector == connector, marks.c.at < at).values(at=at))
