"""Forgetting: everything of one person, what quotes a document that was erased, and conversations that are over for long."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, Text, and_, cast, delete, or_, select, update

from agent.ledger.database import Part
from agent.ledger.records import Erased, ErasedAnswers, storable
from agent.ledger.replies import again_of
from agent.ledger.tables import (
    channel_settings,
    conversations,
    feedback,
    messages,
    model_calls,
    posts,
    tickets,
    turns,
)

_AT_ONCE = 500
"""Ids in one statement."""


class Erasure(Part):
    """The verbs of forgetting."""

    async def erase(self, person: str) -> Erased:
        """Forget a person, "slack:T1/U1": the conversations they began, and in others what they said and the replies to it.

        What model calls cost stays, without names. A file of SQLite is written anew. Raises `StoreError`.
        """
        erased = await self._database.write(_erase, storable(person))
        await self._database.run(self._database.forget_erased, wholly=True)
        return erased

    async def erase_answers(self, allowed: Mapping[str, str]) -> ErasedAnswers:
        """Forget the answers that quote these documents, by id, except for passages of them that stand in the text given.

        The words go, and the summaries of their conversations; that there was an answer, when and where, stays. One that is
        not shown yet is made anew. Raises `StoreError`.
        """
        erased = await self._database.write(_erase_answers, {storable(one): text for one, text in allowed.items()})
        if erased.turns:
            await self._database.run(self._database.forget_erased, wholly=True)
        return erased

    async def known_as(self, connector: str, author: str) -> list[str]:
        """The persons, such as "discord:1/5", that are one account of a platform on which it is the same everywhere.

        Raises `StoreError`.
        """
        return await self._database.read(_known_as, storable(connector), storable(author))

    async def prune(self, older_than: datetime) -> Erased:
        """Forget the conversations in which nothing came since then and no ticket is open. Raises `StoreError`."""
        erased = await self._database.write(_prune, older_than)
        await self._database.run(self._database.forget_erased, wholly=False)
        return erased


class _Count:
    """What went so far."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rows: dict[str, int] = {}
        self.turns: set[str] = set()

    def delete(self, table: Table, condition: ColumnElement[bool]) -> None:
        done = self.connection.execute(delete(table).where(condition))
        self.rows[table.name] = self.rows.get(table.name, 0) + done.rowcount

    def nameless(self, condition: ColumnElement[bool]) -> None:
        named = or_(model_calls.c.person != "", model_calls.c.conversation != "")
        # A channel may be a direct message, which is one person's.
        blank = update(model_calls).where(condition, named).values(person="", conversation="", channel="")
        self.rows["model_calls"] = self.rows.get("model_calls", 0) + self.connection.execute(blank).rowcount

    def erased(self) -> Erased:
        counted = {one.name: self.rows.get(one.name, 0) for one in fields(Erased) if one.name != "erasable_turns"}
        return Erased(**counted, erasable_turns=tuple(sorted(self.turns)))


def _erase(connection: Connection, person: str) -> Erased:
    count = _Count(connection)
    own = select(conversations.c.id).where(conversations.c.customer == person).order_by(conversations.c.id)
    _drop_conversations(count, connection.execute(own.with_for_update()).scalars().all())
    _drop_words(count, person)
    connector, author = person.partition(":")[0], person.rpartition("/")[2]
    # A word on a reply does not tell the author's workspace; one too many is forgotten rather than one too few.
    theirs = feedback.c.conversation.startswith(f"{connector}:", autoescape=True)
    count.delete(feedback, and_(feedback.c.author == author, theirs))
    count.delete(tickets, tickets.c.customer == person)
    known_as = (person, author)
    connection.execute(update(tickets).where(tickets.c.resolved_by.in_(known_as)).values(resolved_by=""))
    connection.execute(update(channel_settings).where(channel_settings.c.set_by.in_(known_as)).values(set_by=""))
    count.nameless(model_calls.c.person == person)
    return count.erased()


def _erase_answers(connection: Connection, allowed: Mapping[str, str]) -> ErasedAnswers:
    found: dict[str, str] = {}
    for document in allowed:
        # As JSON has it: only a few are looked at more closely.
        named = cast(turns.c.result, Text).contains(json.dumps(document), autoescape=True)
        for row in connection.execute(select(turns.c.id, turns.c.conversation, turns.c.result).where(named)):
            result = row.result if isinstance(row.result, Mapping) else {}
            if any(_quotes(one, allowed) for one in result.get("citations") or ()):
                found[row.id] = row.conversation
    touched = sorted(set(found.values()))
    for some in _slices(touched):
        # Locked first, as everywhere.
        connection.execute(select(conversations.c.id).where(conversations.c.id.in_(some)).with_for_update()).all()
    now = datetime.now(UTC)
    for turn in sorted(found):
        its = connection.execute(select(turns).where(turns.c.id == turn)).one_or_none()
        if its is None:
            continue
        reply = messages.c.id.in_({f"{turn}/reply", f"{again_of(connection, its) or turn}/reply"})
        if its.state == "decided":
            connection.execute(delete(messages).where(reply))
            again = {"state": "running", "result": None, "decided_at": None}
            connection.execute(update(turns).where(turns.c.id == turn).values(again))
            continue
        connection.execute(update(messages).where(reply).values(text="", deleted_at=now))
        connection.execute(update(turns).where(turns.c.id == turn).values(result=None))
    for some in _slices(touched):
        blank = {"summary": "", "summary_until": "", "revision": conversations.c.revision + 1}
        connection.execute(update(conversations).where(conversations.c.id.in_(some)).values(blank))
    return ErasedAnswers(tuple(sorted(found)), tuple(touched))


def _quotes(citation: Mapping[str, Any], allowed: Mapping[str, str]) -> bool:
    text = allowed.get(str(citation.get("document")))
    return text is not None and not (text and str(citation.get("passage")) in text)


def _known_as(connection: Connection, connector: str, author: str) -> list[str]:
    found: set[str] = set()
    for column in (messages.c.person, conversations.c.customer, tickets.c.customer, model_calls.c.person):
        named = and_(
            column.startswith(f"{connector}:", autoescape=True), column.endswith(f"/{author}", autoescape=True)
        )
        found.update(connection.execute(select(column).where(named).distinct()).scalars())
    return sorted(found)


def _prune(connection: Connection, older_than: datetime) -> Erased:
    count = _Count(connection)
    table = conversations.c
    opened = select(tickets.c.number).where(tickets.c.conversation == table.id, tickets.c.status == "open").exists()
    # Locked: one that somebody writes into just now stays.
    query = select(table.id).where(table.updated_at < older_than, ~opened).order_by(table.id)
    _drop_conversations(count, connection.execute(query.with_for_update()).scalars().all())
    count.nameless(model_calls.c.at < older_than)
    return count.erased()


def _drop_conversations(count: _Count, ids: Sequence[str]) -> None:
    for some in _slices(ids):
        inside = turns.c.conversation.in_(some)
        count.turns.update(count.connection.execute(select(turns.c.id).where(inside)).scalars())
        count.delete(posts, posts.c.turn.in_(select(turns.c.id).where(inside)))
        for table in (feedback, tickets, turns, messages):
            count.delete(table, table.c.conversation.in_(some))
        count.nameless(model_calls.c.conversation.in_(some))
        count.delete(conversations, conversations.c.id.in_(some))


def _drop_words(count: _Count, person: str) -> None:
    """What a person said in the conversations of others, and the replies to it, which may repeat it."""
    connection, table = count.connection, messages.c
    said = connection.execute(
        select(table.id, table.answered_by, table.conversation).where(table.person == person)
    ).all()
    own = {row.id for row in said}
    answering = own | {row.answered_by for row in said if row.answered_by}
    touched = {row.conversation for row in said}
    found = _rows(connection, turns.c.message, own) | _rows(connection, turns.c.id, answering)
    # An edit of another question that the same reply answers.
    beside = _ids(connection, table.id, table.answered_by, answering)
    found |= {one for one in _rows(connection, turns.c.message, beside) if one not in beside}
    numbers = {ticket for one in _slices(found) for ticket in _tickets_of(connection, one)}
    for some in _slices(found):
        count.delete(posts, posts.c.turn.in_(some))
        count.delete(feedback, feedback.c.turn.in_(some))
        count.delete(turns, turns.c.id.in_(some))
    for some in _slices({f"{turn}/reply" for turn in found} | own):
        count.delete(messages, table.id.in_(some))
    for some in _slices(found):
        count.delete(tickets, tickets.c.turn.in_(some))
    for some in _slices(numbers):
        # A ticket of somebody else's that tells of this person, too.
        connection.execute(update(tickets).where(tickets.c.number.in_(some)).values(summary="", question=""))
    for some in _slices(touched):
        blank = {"summary": "", "summary_until": "", "revision": conversations.c.revision + 1}
        connection.execute(update(conversations).where(conversations.c.id.in_(some)).values(blank))
    count.turns |= found


def _tickets_of(connection: Connection, some: list[Any]) -> set[int]:
    found = connection.execute(select(turns.c.ticket).where(turns.c.id.in_(some), turns.c.ticket.is_not(None)))
    return set(found.scalars())


def _rows(connection: Connection, column: Column[Any], values: Collection[Any]) -> set[str]:
    """The ids of the turns in which the column has one of the values."""
    return _ids(connection, turns.c.id, column, values)


def _ids(connection: Connection, wanted: Column[Any], column: Column[Any], values: Collection[Any]) -> set[str]:
    return {
        found
        for some in _slices(values)
        for found in connection.execute(select(wanted).where(column.in_(some))).scalars()
    }


def _slices(values: Collection[Any]) -> Iterator[list[Any]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]
