"""Erasing documents, or what they said before, for good: a request for privacy, a secret that was written down.

Retiring keeps the text, for it may come back; here nothing is left but who erased it, when and why. The index of the edition
that this makes is built anew from nothing (`Library.erased_at`), on every machine, so that no older one keeps words of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from knowledge.database import put
from knowledge.documents import Document, Erasure, Origin
from knowledge.errors import ConflictError, unknown_document
from knowledge.library.publishing import make_edition, newest_edition, slices, text_hash
from knowledge.library.tables import (
    acts,
    documents,
    erasures,
    files,
    pages,
    passages,
    revisions,
    state,
    vectors,
)

ERASED_AT = "erased"
"""The key of the edition before which no index may be kept."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased of a document: how many revisions, up to the `newest`, and where it came from."""

    document: str
    revisions: int
    newest: int
    origin: Origin
    source: str


def erase(connection: Connection, ids: Sequence[str], author: str, why: str, *, before_newest: bool) -> list[Erased]:
    """Do it, in the transaction that `connection` is in; with `before_newest` all but the newest revision of each.

    What is erased already is in the result with no revisions: whoever was interrupted does it again.
    Raises `KnowledgeError` for a document that never was there, and for one whose newest revision is not what customers see.
    """
    now = datetime.now(UTC)
    edition = newest_edition(connection) + 1
    done: list[Erased] = []
    for one in ids:
        row = connection.execute(select(documents).where(documents.c.id == one)).one_or_none()
        if row is not None:
            done.append(
                _before_newest(connection, row) if before_newest else _wholly(connection, row, author, why, now)
            )
            continue
        before = [erasure for erasure in erasures_of(connection) if erasure.document == one]
        if before_newest or not before:
            raise unknown_document(one)
        done.append(Erased(one, 0, 0, before[-1].origin, before[-1].source))
    if not any(one.revisions for one in done):
        return done
    make_edition(connection, edition, now)
    put(connection, state, [{"key": ERASED_AT, "value": str(edition)}])
    if before_newest:
        noted = {"act": "erased", "author": author, "at": now, "why": why, "edition": edition}
        connection.execute(
            insert(acts), [{"document": one.document, "revision": None, **noted} for one in done if one.revisions]
        )
    return done


def _before_newest(connection: Connection, row: Row[Any]) -> Erased:
    if row.state == "published" and row.published != row.latest:
        raise ConflictError(
            f"The newest revision of {row.id!r} is {row.latest}, a draft; customers see revision {row.published}.",
            f"Publish it first: frontdesk knowledge publish {row.id}",
        )
    older = revisions.c.number < row.latest
    count = _drop(connection, row.id, older, passages.c.revision < row.latest)
    if row.published is not None and row.published < row.latest:
        # It was retired since, and goes on as a draft that was never shown.
        connection.execute(update(documents).where(documents.c.id == row.id).values(published=None))
    connection.execute(update(revisions).where(revisions.c.document == row.id).values(base=None))
    if count:
        # They name revisions that are gone, and say why in words that may repeat what is to be forgotten.
        connection.execute(delete(acts).where(acts.c.document == row.id, acts.c.revision < row.latest))
    return Erased(row.id, count, row.latest, Origin(row.origin, row.place), row.source)


def _wholly(connection: Connection, row: Row[Any], author: str, why: str, now: datetime) -> Erased:
    said = connection.execute(select(revisions.c.text_hash).where(revisions.c.document == row.id).distinct())
    hashes = sorted(said.scalars())
    connection.execute(delete(acts).where(acts.c.document == row.id))
    count = _drop(connection, row.id, revisions.c.number > 0, passages.c.revision > 0)
    connection.execute(delete(documents).where(documents.c.id == row.id))
    # What it was read from is read again, and then told.
    if row.origin == "folder":
        connection.execute(delete(files).where(files.c.folder == row.place, files.c.path == row.source))
    from_there = select(documents.c.id).where(documents.c.origin == "page", documents.c.place == row.place)
    if row.origin == "page" and connection.execute(from_there.limit(1)).first() is None:
        connection.execute(delete(pages).where(pages.c.url == row.place))
    values = {"document": row.id, "origin": row.origin, "place": row.place, "source": row.source, "hashes": hashes}
    connection.execute(insert(erasures), {**values, "author": author, "at": now, "why": why})
    return Erased(row.id, count, row.latest, Origin(row.origin, row.place), row.source)


def _drop(connection: Connection, document: str, which: ColumnElement[bool], whose: ColumnElement[bool]) -> int:
    """Drop revisions of a document with their passages, and vectors that no other passage needs. Returns how many."""
    theirs = passages.c.document == document, whose
    keys = list(connection.execute(select(passages.c.vector_key).where(*theirs).distinct()).scalars())
    connection.execute(delete(passages).where(*theirs))
    for some in slices(keys):
        needed = select(passages.c.vector_key).where(passages.c.vector_key.in_(some))
        connection.execute(delete(vectors).where(vectors.c.vector_key.in_(some), vectors.c.vector_key.not_in(needed)))
    return connection.execute(delete(revisions).where(revisions.c.document == document, which)).rowcount


def erased_at(connection: Connection) -> int:
    """The edition that the last erasure made; 0 when nothing was erased."""
    return int(connection.execute(select(state.c.value).where(state.c.key == ERASED_AT)).scalar() or 0)


def erasures_of(connection: Connection) -> list[Erasure]:
    """All that was erased wholly, oldest first."""
    return [
        Erasure(
            row.document, Origin(row.origin, row.place), row.source, frozenset(row.hashes), row.author, row.at, row.why
        )
        for row in connection.execute(select(erasures).order_by(erasures.c.id))
    ]


class Forbidden:
    """What must not come back unasked: documents that were erased, by their ids, their places and their words."""

    def __init__(self, erased: Collection[Erasure], known: Collection[str] = ()) -> None:
        """`known` are ids of documents that are there: one that was let in again is a document like any other."""
        self._known = known
        self._by_id = {one.document: one for one in erased}
        self._by_place = {(one.origin, one.source): one for one in erased if one.origin.kind != "upload"}
        self._by_text = {said: one for one in erased for said in one.hashes}

    def reason(self, document: Document, origin: Origin) -> str:
        """Why this document does not go in, a sentence; empty when it may."""
        if document.id in self._known:
            return ""
        found = (
            self._by_id.get(document.id)
            or self._by_place.get((origin, document.source))
            or self._by_text.get(text_hash(document.text))
        )
        return told(found) if found is not None else ""


def told(erasure: Erasure) -> str:
    """By whom and when, in a sentence."""
    why = f" ({erasure.why})" if erasure.why else ""
    return f"The document {erasure.document!r} was erased by {erasure.author} on {erasure.at:%Y-%m-%d}{why}"
