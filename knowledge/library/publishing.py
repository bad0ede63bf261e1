"""Changing what the library holds: in one transaction all of it, or nothing. A reader sees one edition or the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, delete, insert, select, update

from knowledge.documents import Document, Origin, Passage, Way
from knowledge.errors import ConflictError, KnowledgeError
from knowledge.library.tables import acts, documents, editions, files, passages, revisions, state
from knowledge.passages import split

AT_ONCE = 500
"""Values in one IN (...) list, well below every database's limit."""


@dataclass(frozen=True, slots=True)
class NewRevision:
    """A text to keep. `base` is the newest revision that its writer knew, 0 for a new document.

    `live` are its passages when customers are to see it, `None` for a draft. `origin`, if given, is where the document comes
    from now; `taken` says that this is the text of the origin, rather than what a person made of it.
    """

    document: Document
    base: int
    way: Way
    live: Sequence[Passage] | None = None
    origin: Origin | None = None
    taken: bool = False


@dataclass(frozen=True, slots=True)
class ToPublish:
    """A revision that is there already, and that customers are to see."""

    document: str
    revision: int
    live: Sequence[Passage]


@dataclass(frozen=True, slots=True)
class Move:
    """A document whose place has changed and whose text has not.

    `taken_hash`, if given, is that of the text in its place, which the document then has.
    """

    document: str
    origin: Origin
    source: str
    taken_hash: str | None = None


class FileNote(NamedTuple):
    """A file as a sync read it: the hash of its bytes, the stem of its documents' ids, and its stamp (see `folder.Entry`)."""

    digest: str
    stem: str
    stamp: str


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a folder that were read and are not as they were noted, by path, and the paths that are gone."""

    folder: str
    read: Mapping[str, FileNote]
    gone: frozenset[str]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one publication does, who did it and why. `by_hand`: a person, whose retiring a sync does not overrule."""

    author: str
    why: str = ""
    write: Sequence[NewRevision] = ()
    publish: Sequence[ToPublish] = ()
    retire: frozenset[str] = frozenset()
    move: Sequence[Move] = ()
    files: FolderFiles | None = field(default=None)
    by_hand: bool = False

    @property
    def visible(self) -> bool:
        """Whether customers would notice: whether it makes a new edition."""
        return bool(self.publish or self.retire or any(one.live is not None for one in self.write))


def content_hash(document: Document) -> str:
    """Hash of all that a reader could see of a document; the file it came from does not count."""
    parts = {name: str(getattr(document, name)) for name in Document.__dataclass_fields__ if name != "source"}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def text_hash(text: str) -> str:
    """Hash of a document's words: two that say the same have the same, whatever their ids, titles and line breaks."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def vector_key(passage: Passage) -> str:
    """Names a passage's vector: equal text has one vector, whatever document it is in."""
    return hashlib.sha256(passage.searchable.encode()).hexdigest()


def cut(document: Document) -> list[Passage]:
    """Its passages. Raises `KnowledgeError` when there is no text to show."""
    found = split(document)
    if not found:
        raise KnowledgeError(f"The document {document.id!r} has no text.", "Give it some, or retire it.")
    return found


def newest_edition(connection: Connection) -> int:
    """The number of the newest edition, for a transaction that may make the next one.

    Whoever publishes waits here for the one before, on PostgreSQL; SQLite has one writer anyway.
    """
    return int(connection.execute(select(state.c.value).where(state.c.key == "edition").with_for_update()).scalar_one())


def make_edition(connection: Connection, number: int, now: datetime) -> None:
    """Make an edition, the one after the newest."""
    connection.execute(insert(editions), {"number": number, "at": now})
    connection.execute(update(state).where(state.c.key == "edition").values(value=str(number)))


def apply(connection: Connection, changes: Changes) -> int:
    """Do it, in the transaction that `connection` is in. Returns the number of the newest edition.

    Raises `ConflictError` when a document has a newer revision than the writer knew.
    """
    now = datetime.now(UTC)
    edition = newest_edition(connection)
    if changes.visible:
        edition += 1
        make_edition(connection, edition, now)
    _write(connection, changes, edition, now)
    _publish(connection, changes, edition, now)
    _retire(connection, changes, edition, now)
    for move in changes.move:
        values: dict[str, Any] = {"origin": move.origin.kind, "place": move.origin.place, "source": move.source}
        if move.taken_hash is not None:
            values |= {"taken_hash": move.taken_hash, "by_hand": False}
        connection.execute(update(documents).where(documents.c.id == move.document).values(values))
    if changes.files is not None:
        _note_files(connection, changes.files)
    return edition


def _write(connection: Connection, changes: Changes, edition: int, now: datetime) -> None:
    """New revisions, and the documents they are of."""
    new: list[NewRevision] = []
    changed: list[NewRevision] = []
    texts: list[dict[str, Any]] = []
    for one in changes.write:
        texts.append(_revision_values(one, changes, edition, now))
        (changed if one.base else new).append(one)
    _refuse_conflicts(connection, changes.write)
    if new:
        connection.execute(insert(documents), [_document_values(one, changes, now) for one in new])
    for one in changed:
        values = _document_values(one, changes, now)
        if one.origin is None:
            del values["origin"], values["place"], values["source"]
        if not one.taken:
            del values["taken_hash"]
            # Who goes back to what the origin says has no word of their own any more.
            values["by_hand"] = case((documents.c.taken_hash == content_hash(one.document), False), else_=True)
        if one.live is None:
            del values["state"], values["published"]
        del values["hidden_before"]
        connection.execute(update(documents).where(documents.c.id == one.document.id).values(values))
    if texts:
        connection.execute(insert(revisions), texts)
    live = [one for one in changes.write if one.live is not None]
    _show(connection, ((one.document.id, one.base + 1, one.live or ()) for one in live), edition)


def _publish(connection: Connection, changes: Changes, edition: int, now: datetime) -> None:
    """Revisions that were written before."""
    for one in changes.publish:
        its = revisions.c.document == one.document, revisions.c.number == one.revision
        digest = connection.execute(select(revisions.c.content_hash).where(*its)).scalar()
        if digest is None:
            raise KnowledgeError(f"The document {one.document!r} has no revision {one.revision}.")
        connection.execute(update(revisions).where(*its, revisions.c.edition.is_(None)).values(edition=edition))
        as_taken = (documents.c.taken_hash == digest) & (documents.c.latest == one.revision)
        connection.execute(
            update(documents)
            .where(documents.c.id == one.document)
            .values(
                state="published",
                published=one.revision,
                by_hand=case((as_taken, False), else_=True),
                changed_by=changes.author,
                changed_at=now,
            )
        )
    _show(connection, ((one.document, one.revision, one.live) for one in changes.publish), edition)
    _note_acts(connection, "published", {one.document: one.revision for one in changes.publish}, changes, edition, now)


def _retire(connection: Connection, changes: Changes, edition: int, now: datetime) -> None:
    gone = sorted(changes.retire)
    for some in slices(gone):
        connection.execute(
            update(documents)
            .where(documents.c.id.in_(some))
            .values(
                state="retired",
                by_hand=changes.by_hand,
                hidden_before=edition,
                changed_by=changes.author,
                changed_at=now,
            )
        )
    _close(connection, gone, edition)
    _note_acts(connection, "retired", dict.fromkeys(gone), changes, edition, now)


def _show(connection: Connection, live: Iterable[tuple[str, int, Sequence[Passage]]], edition: int) -> None:
    """Let these passages be current from this edition on, and those before them until it."""
    shown = list(live)
    _close(connection, [document for document, _, _ in shown], edition)
    rows = [
        {
            "id": piece.id,
            "from_edition": edition,
            "document": document,
            "revision": revision,
            "position": piece.position,
            "heading": list(piece.heading),
            "text": piece.text,
            "vector_key": vector_key(piece),
        }
        for document, revision, pieces in shown
        for piece in pieces
    ]
    if rows:
        connection.execute(insert(passages), rows)


def _close(connection: Connection, ids: Sequence[str], edition: int) -> None:
    for some in slices(ids):
        connection.execute(
            update(passages)
            .where(passages.c.document.in_(some), passages.c.until_edition.is_(None))
            .values(until_edition=edition)
        )


def _note_acts(
    connection: Connection, act: str, done: Mapping[str, int | None], changes: Changes, edition: int, now: datetime
) -> None:
    if done:
        shared = {"act": act, "author": changes.author, "at": now, "why": changes.why, "edition": edition}
        connection.execute(
            insert(acts), [{"document": one, "revision": number, **shared} for one, number in done.items()]
        )


def _refuse_conflicts(connection: Connection, write: Sequence[NewRevision]) -> None:
    known = {one.document.id: one.base for one in write}
    newest: dict[str, int] = {}
    for some in slices(sorted(known)):
        rows = connection.execute(select(documents.c.id, documents.c.latest).where(documents.c.id.in_(some)))
        newest |= {row.id: row.latest for row in rows}
    for document, base in known.items():
        if newest.get(document, 0) != base:
            raise _conflict(connection, document, base)


def _conflict(connection: Connection, document: str, base: int) -> ConflictError:
    """Who changed what, and when."""
    query = select(revisions.c.number, revisions.c.author, revisions.c.at, revisions.c.why)
    rows = connection.execute(
        query.where(revisions.c.document == document, revisions.c.number > base).order_by(revisions.c.number)
    ).all()
    if not rows:
        return ConflictError(f"The document {document!r} has no revision {base}.")
    said = ", ".join(
        f"revision {row.number} by {row.author} at {row.at:%Y-%m-%d %H:%M} UTC" + (f" ({row.why})" if row.why else "")
        for row in rows
    )
    if not base:
        return ConflictError(f"There is a document {document!r} already: {said}.")
    return ConflictError(
        f"The document {document!r} was changed since revision {base}: {said}. Your text was not written.",
        f"See what changed: frontdesk knowledge diff {document} {base} {rows[-1].number}",
    )


def _document_values(new: NewRevision, changes: Changes, now: datetime) -> dict[str, Any]:
    number = new.base + 1
    origin = new.origin or Origin("upload", "")
    return {
        "id": new.document.id,
        "state": "draft" if new.live is None else "published",
        "published": None if new.live is None else number,
        "latest": number,
        "origin": origin.kind,
        "place": origin.place,
        "source": new.document.source,
        "taken_hash": content_hash(new.document) if new.taken else None,
        "by_hand": not new.taken,
        "hidden_before": 0,
        "changed_by": changes.author,
        "changed_at": now,
    }


def _revision_values(new: NewRevision, changes: Changes, edition: int, now: datetime) -> dict[str, Any]:
    document = new.document
    return {
        "document": document.id,
        "number": new.base + 1,
        "title": document.title,
        "text": document.text,
        "url": document.url,
        "audience": document.audience,
        "language": document.language,
        "updated": document.updated,
        "review_by": document.review_by,
        "tags": list(document.tags),
        "content_hash": content_hash(document),
        "text_hash": text_hash(document.text),
        "author": changes.author,
        "at": now,
        "why": changes.why,
        "way": new.way,
        "base": new.base or None,
        "edition": None if new.live is None else edition,
    }


def _note_files(connection: Connection, noted: FolderFiles) -> None:
    for some in slices(sorted(noted.gone | noted.read.keys())):
        connection.execute(delete(files).where(files.c.folder == noted.folder, files.c.path.in_(some)))
    if noted.read:
        rows = [
            {"folder": noted.folder, "path": path, "content_hash": one.digest, "stem": one.stem, "stamp": one.stamp}
            for path, one in noted.read.items()
        ]
        connection.execute(insert(files), rows)


def slices(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """A few at a time, as many as fit into one statement."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]
