"""The library: documents, their revisions, passages and vectors in SQL. It is the truth; an index is a cache made from it.

Everything here blocks; `knowledge.base` calls it from threads. What is published is counted in editions: each publication
is one transaction that makes the next, and passages say from which edition until which they are valid. So an index that was
made of one edition is searched, whole, until that of the next one is ready.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Row,
    Select,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)

from knowledge.database import reading, whereabouts, writing, written_anew
from knowledge.documents import Document, Erasure, Event, IndexEntry, Origin, Passage, Stored
from knowledge.library import erasing
from knowledge.library.erasing import Erased
from knowledge.library.kept_folders import KeptFolders
from knowledge.library.kept_pages import KeptPages
from knowledge.library.kept_vectors import KeptVectors
from knowledge.library.publishing import Changes, apply, slices
from knowledge.library.tables import acts, documents, editions, erasures, metadata, passages, revisions, state, vectors

if TYPE_CHECKING:
    from knowledge.embeddings import Vectors

KEPT_FOR = timedelta(hours=1)
"""How long passages of earlier editions are kept for questions that still see one."""
_SHARED_LOCK = 0x696E646578  # "index"
_PUBLISHED = documents.c.state == "published"
_now = revisions.alias("now")


@dataclass(frozen=True, slots=True)
class PassageRecord:
    """A passage with what search needs to know of its document. `audience` is the one that the document has now."""

    passage: Passage
    audience: str
    url: str | None
    updated: str | None
    vector_key: str


@dataclass(frozen=True, slots=True)
class ShownText:
    """A text that a search may show, to those who belong to all of `audiences`."""

    text: str
    audiences: frozenset[str]


class Library(KeptVectors, KeptPages, KeptFolders):
    """The verbs over the tables. Every one raises `StoreError` when the database cannot be used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # Changing --------------------------------------------------------------------------------------------------------

    def publish(self, changes: Changes) -> int:
        """Make these changes, all or none, in one transaction.

        Returns the number of the newest edition, which is a new one if they are visible.
        Raises `ConflictError` when a document has a newer revision than the writer knew.
        """
        with writing(self._engine) as connection:
            return apply(connection, changes)

    def erase(self, ids: Sequence[str], author: str, why: str, *, before_newest: bool) -> tuple[list[Erased], str]:
        """Erase documents, or all but their newest revisions, for good. It makes a new edition.

        Returns what was erased, and why the database's files could not be written anew just now, if so.
        Raises `KnowledgeError` when one is not there, and then erases nothing.
        """
        with writing(self._engine) as connection:
            done = erasing.erase(connection, ids, author, why, before_newest=before_newest)
        return done, written_anew(self._engine, [one.name for one in metadata.sorted_tables]) if done else ""

    def collect_passages(self, in_use: int, older_than: timedelta = KEPT_FOR) -> None:
        """Remove passages that were superseded before then, except those of the edition `in_use` and later ones."""
        before = datetime.now(UTC) - older_than
        with writing(self._engine) as connection:
            last = min(_newest_before(connection, before), in_use)
            connection.execute(delete(passages).where(passages.c.until_edition <= last))

    # Looking ---------------------------------------------------------------------------------------------------------

    def edition(self) -> int:
        """The number of the newest edition; 0 before anything was published."""
        with reading(self._engine) as connection:
            return int(connection.execute(select(state.c.value).where(state.c.key == "edition")).scalar_one())

    def erased_at(self) -> int:
        """The edition that the last erasure made: an index of an earlier one holds what was erased. 0 when nothing was."""
        with reading(self._engine) as connection:
            return erasing.erased_at(connection)

    def erasures(self) -> list[Erasure]:
        """Which documents were erased, oldest first."""
        with reading(self._engine) as connection:
            return erasing.erasures_of(connection)

    def entries(self, edition: int) -> list[IndexEntry]:
        """Every passage that is valid at `edition`, by id: what its index holds, whatever happened to the documents since."""
        with reading(self._engine) as connection:
            found = [_entry(row) for row in connection.execute(_entries().where(*_valid_at(edition)))]
        return sorted(found, key=lambda entry: entry.id)

    def changes(self, before: int, after: int) -> tuple[set[str], list[IndexEntry]]:
        """What became of the passages between two editions: ids that were valid at `before` and ended, and what began.

        A passage whose document was written anew may be in both, as it was. Ask `remembers` first.
        """
        until = passages.c.until_edition
        ended = select(passages.c.id).where(passages.c.from_edition <= before, until > before, until <= after)
        with reading(self._engine) as connection:
            gone = set(connection.execute(ended).scalars())
            began = _entries().where(*_valid_at(after), passages.c.from_edition > before)
            return gone, [_entry(row) for row in connection.execute(began)]

    def remembers(self, edition: int) -> bool:
        """Whether all passages are still there that ended after an edition."""
        with reading(self._engine) as connection:
            return edition >= _newest_before(connection, datetime.now(UTC) - KEPT_FOR)

    def identity(self) -> str:
        """What names this library among others that share a server.

        A copy of the database is a library of its own, or it would remove from the server what the original needs.
        """
        here = whereabouts(self._engine)
        while True:
            noted = self._noted("library", lambda: f"{uuid.uuid4().hex} {here}")
            name, _, place = noted.partition(" ")
            if place == here:
                return name
            new = f"{uuid.uuid4().hex if place else name} {here}"
            with writing(self._engine) as connection:
                # Whoever comes second finds it done.
                its = state.c.key == "library", state.c.value == noted
                connection.execute(update(state).where(*its).values(value=new))

    def kept_ids(self) -> dict[str, list[str]]:
        """The passages that some index may still hold, by the audience that they had; also those of earlier editions."""
        query = select(passages.c.id, revisions.c.audience).distinct().join_from(passages, revisions, _its_revision())
        found: dict[str, list[str]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                found.setdefault(row.audience, []).append(row.id)
        return found

    def one_with_vector(self, space: str) -> tuple[str, Vectors] | None:
        """The text of some current passage that has a vector, and that vector."""
        import numpy as np

        query = (
            _entries()
            .add_columns(vectors.c.vector)
            .join(vectors, (vectors.c.vector_key == passages.c.vector_key) & (vectors.c.embedder == space))
            .where(passages.c.until_edition.is_(None))
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return (_entry(row).text, np.frombuffer(row.vector, np.float32)) if row is not None else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one, on all machines, that changes what they share besides the database."""
        with ExitStack() as stack:
            if self._engine.dialect.name == "postgresql":
                # On SQLite the lock of the data directory does it.
                connection = stack.enter_context(writing(self._engine))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SHARED_LOCK})
            yield

    def records(self, ids: Sequence[str], edition: int) -> dict[str, PassageRecord]:
        """Those of these passages that are valid at `edition` and may still be shown: their documents are not retired since.

        Their audience is that of the document now, so that what has become internal is not shown to the public.
        """
        found: dict[str, PassageRecord] = {}
        with reading(self._engine) as connection:
            for some in slices(ids):
                rows = connection.execute(_records(), {"ids": some, "edition": edition})
                found |= {row.id: _record(row) for row in rows}
        return found

    def stored(self, *, newest: bool = False, text: bool = False) -> dict[str, Stored]:
        """The published documents by id; their `text` is empty unless it is asked for.

        `newest`: every document, also drafts and retired ones, each as its newest revision.
        """
        query = _documents(documents.c.latest if newest else documents.c.published, text=text)
        with reading(self._engine) as connection:
            rows = connection.execute(query if newest else query.where(_PUBLISHED)).all()
        ordered = sorted(rows, key=lambda row: str(row.id))
        return {row.id: _stored(row, text=row.text if text else "") for row in ordered}

    def newest_of(self, ids: Collection[str]) -> dict[str, Stored]:
        """Those of these documents that there are, by id, each as its newest revision, without its text."""
        query = _documents(documents.c.latest, text=False)
        found: dict[str, Stored] = {}
        with reading(self._engine) as connection:
            for some in slices(sorted(ids)):
                rows = connection.execute(query.where(documents.c.id.in_(some)))
                found |= {row.id: _stored(row, text="") for row in rows}
        return found

    def document(self, document_id: str, revision: int | None = None) -> Stored | None:
        """One document with its text: as this revision, else as the published one, else as the newest."""
        number = func.coalesce(documents.c.published, documents.c.latest) if revision is None else revision
        with reading(self._engine) as connection:
            query = _documents(number, text=True).where(documents.c.id == document_id)
            row = connection.execute(query).one_or_none()
        return _stored(row, text=row.text) if row else None

    def newest(self, document_id: str) -> Stored | None:
        """One document as its newest revision, with its text."""
        with reading(self._engine) as connection:
            query = _documents(documents.c.latest, text=True).where(documents.c.id == document_id)
            row = connection.execute(query).one_or_none()
        return _stored(row, text=row.text) if row else None

    def history(self, document_id: str) -> list[Event]:
        """What happened to a document, oldest first; nothing when there never was one. An erased one has that alone."""
        written = select(revisions).where(revisions.c.document == document_id)
        done = select(acts).where(acts.c.document == document_id).order_by(acts.c.id)
        with reading(self._engine) as connection:
            found = [
                Event("written", row.number, row.author, row.at, row.why, row.edition, row.way, row.base)
                for row in connection.execute(written.order_by(revisions.c.number))
            ]
            found += [
                Event(row.act, row.revision, row.author, row.at, row.why, row.edition)
                for row in connection.execute(done)
            ]
            gone = select(erasures).where(erasures.c.document == document_id)
            found += [Event("erased", None, row.author, row.at, row.why, None) for row in connection.execute(gone)]
        return sorted(found, key=lambda event: event.at)

    def due(self, day: date) -> list[Stored]:
        """The published documents that were to be looked at again by then, the longest overdue first, without their text."""
        query = _documents(documents.c.published, text=False).where(_PUBLISHED, revisions.c.review_by <= day)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [_stored(row, text="") for row in sorted(rows, key=lambda row: (row.review_by, row.id))]

    def saying(self, said: str, audience: str) -> list[str]:
        """Ids of the documents that say these words, by their hash, to this audience, and are not retired."""
        return sorted(
            one.id for one in self._saying([said], documents.c.state != "retired") if one.audience == audience
        )

    def said(self, hashes: Collection[str]) -> list[tuple[str, tuple[str, str]]]:
        """The published documents that say any of these words: their ids, in order, with the words' hash and the audience."""
        return sorted((row.id, (row.text_hash, row.audience)) for row in self._saying(sorted(hashes), _PUBLISHED))

    def _saying(self, hashes: Sequence[str], which: ColumnElement[bool]) -> list[Any]:
        query = (
            select(documents.c.id, revisions.c.text_hash, revisions.c.audience)
            .join(revisions, (revisions.c.document == documents.c.id) & (revisions.c.number == documents.c.latest))
            .where(which)
        )
        with reading(self._engine) as connection:
            return [
                row
                for some in slices(hashes)
                for row in connection.execute(query.where(revisions.c.text_hash.in_(some)))
            ]

    def shown_at(
        self, document_ids: Collection[str], edition: int, *, whole: bool = False
    ) -> dict[str, list[ShownText]]:
        """What a search of `edition` may still show of these documents, by id: passages, or the `whole` texts they are from.

        Nothing of those that were retired since.
        """
        text = revisions.c.text if whole else passages.c.text
        query = (
            select(passages.c.document, text.label("said"), revisions.c.audience.label("then"), _now.c.audience)
            .select_from(passages)
            .join(revisions, _its_revision())
            .join(documents, documents.c.id == passages.c.document)
            .join(_now, (_now.c.document == documents.c.id) & (_now.c.number == documents.c.published))
            .where(*_valid_at(edition), passages.c.from_edition >= documents.c.hidden_before)
        )
        # Every document has a first passage.
        query = query.where(passages.c.position == 0) if whole else query
        found: dict[str, list[ShownText]] = {}
        with reading(self._engine) as connection:
            for some in slices(sorted(document_ids)):
                for row in connection.execute(query.where(passages.c.document.in_(some))):
                    shown = ShownText(row.said, frozenset({row.audience, row.then}))
                    found.setdefault(row.document, []).append(shown)
        return found

    def passages_of(self, document_id: str) -> list[Passage]:
        """The passages of one published document, in order; none of another."""
        query = _with_titles(passages).where(passages.c.document == document_id, passages.c.until_edition.is_(None))
        with reading(self._engine) as connection:
            return [_passage(row) for row in connection.execute(query.order_by(passages.c.position))]

    def from_place(self, origin: Origin) -> list[Stored]:
        """The documents that come from there, each as its newest revision, without its text."""
        query = _documents(documents.c.latest, text=False)
        with reading(self._engine) as connection:
            rows = connection.execute(query.where(documents.c.origin == origin.kind, documents.c.place == origin.place))
            return [_stored(row, text="") for row in rows]

    def count(self) -> tuple[int, int]:
        """How many documents are published, and how many passages they have."""
        with reading(self._engine) as connection:
            return (
                connection.execute(select(func.count()).select_from(documents).where(_PUBLISHED)).scalar_one(),
                connection.execute(
                    select(func.count()).select_from(passages).where(passages.c.until_edition.is_(None))
                ).scalar_one(),
            )


def _newest_before(connection: Connection, moment: datetime) -> int:
    return connection.execute(select(func.max(editions.c.number)).where(editions.c.at <= moment)).scalar() or 0


@cache
def _records() -> Select[Any]:
    """What every search asks for: made once, because to make it takes longer than to run it."""
    return (
        _with_titles(passages, revisions.c.url, revisions.c.updated, _now.c.audience)
        .join(documents, documents.c.id == passages.c.document)
        .join(_now, (_now.c.document == documents.c.id) & (_now.c.number == documents.c.published))
        .where(*_valid_at(bindparam("edition", type_=Integer)), passages.c.from_edition >= documents.c.hidden_before)
        .where(passages.c.id.in_(bindparam("ids", expanding=True)))
    )


def _entries() -> Select[Any]:
    return _with_titles(passages.c.id, passages.c.heading, passages.c.text, passages.c.vector_key, revisions.c.audience)


def _entry(row: Row[Any]) -> IndexEntry:
    searchable = Passage(row.id, "", row.title, tuple(row.heading), row.text, 0).searchable
    return IndexEntry(row.id, searchable, row.audience, row.vector_key)


def _valid_at(edition: int | ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
    until = passages.c.until_edition
    return passages.c.from_edition <= edition, until.is_(None) | (until > edition)


def _its_revision() -> ColumnElement[bool]:
    return (revisions.c.document == passages.c.document) & (revisions.c.number == passages.c.revision)


def _with_titles(*columns: Any) -> Select[Any]:
    return select(*columns, revisions.c.title).select_from(passages).join(revisions, _its_revision())


def _documents(number: Any, *, text: bool) -> Select[Any]:
    """Documents, each with the revision of this number."""
    left_out = {"document", "number"} if text else {"document", "number", "text"}
    columns = [column for column in revisions.c if column.name not in left_out]
    return (
        select(documents, revisions.c.number.label("revision"), *columns)
        .select_from(documents)
        .join(revisions, (revisions.c.document == documents.c.id) & (revisions.c.number == number))
    )


def _passage(row: Row[Any]) -> Passage:
    return Passage(
        id=row.id,
        document=row.document,
        title=row.title,
        heading=tuple(row.heading),
        text=row.text,
        position=row.position,
    )


def _record(row: Row[Any]) -> PassageRecord:
    return PassageRecord(
        passage=_passage(row),
        audience=row.audience,
        url=row.url,
        updated=row.updated.isoformat() if row.updated else None,
        vector_key=row.vector_key,
    )


def _stored(row: Row[Any], *, text: str) -> Stored:
    return Stored(
        document=Document(
            id=row.id,
            title=row.title,
            text=text,
            source=row.source,
            url=row.url,
            audience=row.audience,
            language=row.language,
            updated=row.updated,
            review_by=row.review_by,
            tags=tuple(row.tags),
        ),
        state=row.state,
        revision=row.revision,
        published=row.published,
        latest=row.latest,
        origin=Origin(row.origin, row.place),
        content_hash=row.content_hash,
        text_hash=row.text_hash,
        taken_hash=row.taken_hash,
        by_hand=row.by_hand,
        author=row.author,
        at=row.at,
        why=row.why,
        changed_by=row.changed_by,
        changed_at=row.changed_at,
        edition=row.edition,
    )
