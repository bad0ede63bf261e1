"""The library: documents, their passages and vectors in SQL. It is the truth; the index is a cache made from it.

Everything here blocks; `knowledge.base` calls it from threads. A publication is one transaction: a reader sees the
edition before it or the one after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Date,
    DateTime,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    Row,
    Select,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from knowledge.database import metadata, state
from knowledge.documents import Document, Passage

if TYPE_CHECKING:
    from knowledge.embeddings import Vectors

_AT_ONCE = 500
"""Values in one IN (...) list, well below every database's limit."""

documents = Table(
    "documents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("folder", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("url", Text),
    Column("audience", Text, nullable=False),
    Column("language", Text),
    Column("updated", Date),
    Column("review_by", Date),
    Column("tags", JSON, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("synced_at", DateTime(timezone=True), nullable=False),
)
passages = Table(
    "passages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("heading", JSON, nullable=False),
    Column("text", Text, nullable=False),
    Column("vector_key", String(64), nullable=False, index=True),
)
vectors = Table(
    "vectors",
    metadata,
    Column("embedder", Text, primary_key=True),
    Column("vector_key", String(64), primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)
files = Table(
    "files",
    metadata,
    Column("folder", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("content_hash", String(64), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as the library holds it, and where it came from."""

    document: Document
    folder: str
    content_hash: str
    synced_at: datetime


@dataclass(frozen=True, slots=True)
class PassageRecord:
    """A passage with what search needs to know of its document."""

    passage: Passage
    audience: str
    url: str | None
    updated: str | None
    vector_key: str


@dataclass(frozen=True, slots=True)
class Edition:
    """Which state of the library is current, and the index that was made for it."""

    number: int = 0
    generation: str = ""
    """Name of the index's folder; empty when there is none."""
    embedder: str = ""
    """Name of the embedder whose vectors the index holds; empty when it holds none."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one publication does: documents to remove and to write (with their passages), and the folder's files."""

    remove: frozenset[str] = frozenset()
    write: Sequence[tuple[Stored, Sequence[Passage]]] = ()
    folder: str = ""
    files: Mapping[str, str] | None = field(default=None)
    """Path -> content hash of every file of `folder` that was read; `None` leaves them as they are."""


def content_hash(document: Document) -> str:
    """Hash of all that a reader could see of a document; the file it came from does not count."""
    parts = {name: str(getattr(document, name)) for name in Document.__dataclass_fields__ if name != "source"}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def vector_key(passage: Passage) -> str:
    """Names a passage's vector: equal text has one vector, whatever document it is in."""
    return hashlib.sha256(passage.searchable.encode()).hexdigest()


class Library:
    """The verbs over the tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def edition(self) -> Edition:
        """The current edition."""
        with self._engine.connect() as connection:
            return _edition(connection)

    def stored(self) -> dict[str, Stored]:
        """Every document by id, without its text (`text` is empty): what a sync compares with."""
        columns = [column for column in documents.c if column.name != "text"]
        with self._engine.connect() as connection:
            rows = connection.execute(select(*columns).order_by(documents.c.id)).all()
        return {row.id: _stored(row, text="") for row in rows}

    def document(self, document_id: str) -> Stored | None:
        """One document with its text."""
        with self._engine.connect() as connection:
            row = connection.execute(select(documents).where(documents.c.id == document_id)).one_or_none()
        return _stored(row, text=row.text) if row else None

    def passages_of(self, document_id: str) -> list[Passage]:
        """The passages of one document, in order."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                _passages_with_documents().where(passages.c.document_id == document_id).order_by(passages.c.position)
            ).all()
        return [_record(row).passage for row in rows]

    def files_of(self, folder: str) -> dict[str, str]:
        """Path -> content hash of the files that the last sync of `folder` read."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(files.c.path, files.c.content_hash).where(files.c.folder == folder))
            return {row.path: row.content_hash for row in rows}

    def records(self, ids: Sequence[str] | None = None) -> dict[str, PassageRecord]:
        """Passages by id: those of `ids` that are in the current edition, or all."""
        found: dict[str, PassageRecord] = {}
        with self._engine.connect() as connection:
            query = _passages_with_documents()
            if ids is None:
                return {row.id: _record(row) for row in connection.execute(query.order_by(passages.c.id))}
            for some in _slices(ids):
                found |= {row.id: _record(row) for row in connection.execute(query.where(passages.c.id.in_(some)))}
        return found

    def count(self) -> tuple[int, int]:
        """How many documents and passages there are."""
        with self._engine.connect() as connection:
            return (
                connection.execute(select(func.count()).select_from(documents)).scalar_one(),
                connection.execute(select(func.count()).select_from(passages)).scalar_one(),
            )

    def known_vectors(self, embedder: str) -> set[str]:
        """Keys of the vectors kept for `embedder`."""
        with self._engine.connect() as connection:
            return set(connection.execute(select(vectors.c.vector_key).where(vectors.c.embedder == embedder)).scalars())

    def keep_vectors(self, embedder: str, keys: Sequence[str], rows: Vectors) -> None:
        """Keep vectors as they are made, before the edition that needs them: an interrupted sync goes on from there."""
        values = [
            {"embedder": embedder, "vector_key": key, "vector": row.tobytes()}
            for key, row in zip(keys, rows, strict=True)
        ]
        if values:
            with self._engine.begin() as connection:
                for some in _slices(keys):
                    connection.execute(
                        delete(vectors).where(vectors.c.embedder == embedder, vectors.c.vector_key.in_(some))
                    )
                connection.execute(insert(vectors), values)

    def vectors(self, embedder: str, keys: Sequence[str]) -> dict[str, Vectors]:
        """The kept vectors of `keys`, each of shape (dimension,)."""
        import numpy as np

        found: dict[str, Vectors] = {}
        with self._engine.connect() as connection:
            query = select(vectors.c.vector_key, vectors.c.vector).where(vectors.c.embedder == embedder)
            for some in _slices(keys):
                for row in connection.execute(query.where(vectors.c.vector_key.in_(some))):
                    found[row.vector_key] = np.frombuffer(row.vector, np.float32)
        return found

    def publish(self, changes: Changes, *, generation: str | None = None, embedder: str = "") -> Edition:
        """Make a new edition in one transaction. `generation` names the index made for it; `None` keeps the one in use."""
        with self._engine.begin() as connection:
            old = _edition(connection)
            new = replace(old, number=old.number + 1)
            if generation is not None:
                new = replace(new, generation=generation, embedder=embedder)
            gone = changes.remove | {stored.document.id for stored, _ in changes.write}
            for some in _slices(sorted(gone)):
                connection.execute(delete(passages).where(passages.c.document_id.in_(some)))
                connection.execute(delete(documents).where(documents.c.id.in_(some)))
            if changes.write:
                connection.execute(insert(documents), [_document_values(stored) for stored, _ in changes.write])
                rows = [_passage_values(passage) for _, pieces in changes.write for passage in pieces]
                if rows:
                    connection.execute(insert(passages), rows)
            if changes.files is not None:
                _write_files(connection, changes.folder, changes.files)
            _write_edition(connection, new)
        return new

    def note_files(self, folder: str, hashes: Mapping[str, str]) -> None:
        """Note which files of `folder` were read, when nothing in them has changed the library."""
        with self._engine.begin() as connection:
            _write_files(connection, folder, hashes)

    def adopt(self, document_ids: Iterable[str], folder: str) -> None:
        """Note that unchanged documents now come from `folder` (their earlier folder is gone)."""
        with self._engine.begin() as connection:
            for some in _slices(sorted(document_ids)):
                connection.execute(update(documents).where(documents.c.id.in_(some)).values(folder=folder))

    def forget_unused_vectors(self) -> None:
        """Drop vectors that no passage of the current edition needs."""
        with self._engine.begin() as connection:
            connection.execute(delete(vectors).where(vectors.c.vector_key.not_in(select(passages.c.vector_key))))


def _edition(connection: Connection) -> Edition:
    rows = {row.key: row.value for row in connection.execute(select(state.c.key, state.c.value))}
    return Edition(int(rows.get("edition", "0")), rows.get("generation", ""), rows.get("embedder", ""))


def _write_edition(connection: Connection, edition: Edition) -> None:
    values = {"edition": str(edition.number), "generation": edition.generation, "embedder": edition.embedder}
    connection.execute(delete(state).where(state.c.key.in_(list(values))))
    connection.execute(insert(state), [{"key": key, "value": value} for key, value in values.items()])


def _write_files(connection: Connection, folder: str, hashes: Mapping[str, str]) -> None:
    connection.execute(delete(files).where(files.c.folder == folder))
    if hashes:
        rows = [{"folder": folder, "path": path, "content_hash": digest} for path, digest in hashes.items()]
        connection.execute(insert(files), rows)


def _slices(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _passages_with_documents() -> Select[Any]:
    return select(
        passages,
        documents.c.title,
        documents.c.audience,
        documents.c.url,
        documents.c.updated,
    ).join(documents, passages.c.document_id == documents.c.id)


def _record(row: Row[Any]) -> PassageRecord:
    return PassageRecord(
        passage=Passage(
            id=row.id,
            document=row.document_id,
            title=row.title,
            heading=tuple(row.heading),
            text=row.text,
            position=row.position,
        ),
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
        folder=row.folder,
        content_hash=row.content_hash,
        synced_at=row.synced_at.replace(tzinfo=UTC),
    )


def _document_values(stored: Stored) -> dict[str, object]:
    document = stored.document
    return {
        "id": document.id,
        "folder": stored.folder,
        "source": document.source,
        "title": document.title,
        "text": document.text,
        "url": document.url,
        "audience": document.audience,
        "language": document.language,
        "updated": document.updated,
        "review_by": document.review_by,
        "tags": list(document.tags),
        "content_hash": stored.content_hash,
        "synced_at": stored.synced_at,
    }


def _passage_values(passage: Passage) -> dict[str, object]:
    return {
        "id": passage.id,
        "document_id": passage.document,
        "position": passage.position,
        "heading": list(passage.heading),
        "text": passage.text,
        "vector_key": vector_key(passage),
    }
