"""The library's tables. Only what every database has: the same statements have to work on SQLite and on PostgreSQL.

They are made and changed by `knowledge.library.migrations` alone; a test compares the two.

    documents   one row for each document: its state, where it comes from, which revision customers see
    revisions   what it said and says, by number from 1; never changed, except to note when it was published
    passages    what published revisions were cut into, each valid from one edition to another
    acts        what people did that left no revision: published a draft, retired a document
    editions    when each state of what is published began
    vectors     of passages, by embedder and text
    files       what the last sync of a folder read
    pages       web pages that documents come from, and what was noted when they were last fetched
    sitemaps    whose new pages are taken in, too, and how
    erasures    documents that were erased: no text, but by whom, when and why
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from knowledge.database import Schema, UtcDateTime

SCHEMA = Schema("knowledge_version", ("0001", "0002", "0003"), Path(__file__).parent / "migrations")

metadata = MetaData()

state = Table(
    "state",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Facts about the whole: `edition`, the number of the newest."""

editions = Table(
    "editions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", String(16), nullable=False),
    # The revision that customers see, or saw last; and the newest.
    Column("published", Integer),
    Column("latest", Integer, nullable=False),
    # Where it comes from: `origin` is the kind, `place` the folder, address or file, `source` the path in a folder.
    Column("origin", String(16), nullable=False),
    Column("place", Text, nullable=False),
    Column("source", Text, nullable=False),
    # The hash of what was last taken from there, and whether a person has had the last word since.
    Column("taken_hash", String(64)),
    Column("by_hand", Boolean, nullable=False),
    # Passages from before this edition are never shown: what was retired stays gone, also when the document comes back.
    Column("hidden_before", Integer, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("documents_place", "origin", "place"),
    Index("documents_state", "state"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("document", Text, ForeignKey("documents.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("url", Text),
    Column("audience", Text, nullable=False),
    Column("language", Text),
    Column("updated", Date),
    Column("review_by", Date),
    Column("tags", JSON, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("text_hash", String(64), nullable=False),
    # Who made it, when, why, out of what (see `documents.Way`), and from which revision.
    Column("author", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("why", Text, nullable=False),
    Column("way", String(16), nullable=False),
    Column("base", Integer),
    # The first edition that showed it; `None` for a draft.
    Column("edition", Integer),
    Index("revisions_text_hash", "text_hash"),
)

passages = Table(
    "passages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("from_edition", Integer, primary_key=True, autoincrement=False),
    # The first edition that does not have it any more; `None` while it is current.
    Column("until_edition", Integer),
    Column("document", Text, ForeignKey("documents.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("heading", JSON, nullable=False),
    Column("text", Text, nullable=False),
    Column("vector_key", String(64), nullable=False),
    Index("passages_document", "document"),
    Index("passages_from_edition", "from_edition"),
    Index("passages_until_edition", "until_edition"),
    Index("passages_vector_key", "vector_key"),
)

acts = Table(
    "acts",
    metadata,
    # SQLite numbers rows by itself only where the type is exactly INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("document", Text, ForeignKey("documents.id"), nullable=False),
    Column("act", String(16), nullable=False),
    Column("revision", Integer),
    Column("author", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("why", Text, nullable=False),
    Column("edition", Integer, nullable=False),
    Index("acts_document", "document"),
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
    # What the ids of its documents begin with: its path's when it was first seen, so that a renamed file keeps them.
    Column("stem", Text, nullable=False),
    # What changes whenever its bytes may have (see `folder.Entry`); empty when that is not known, and it has to be read.
    Column("stamp", Text, nullable=False, server_default=""),
)

pages = Table(
    "pages",
    metadata,
    # As it was given, or as a sitemap lists it; `place` of its documents.
    Column("url", Text, primary_key=True),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("checked_at", UtcDateTime, nullable=False),
    # Why it could not be had the last time, and since when; empty when it could.
    Column("problem", Text, nullable=False),
    Column("failing_since", UtcDateTime),
)

sitemaps = Table(
    "sitemaps",
    metadata,
    Column("url", Text, primary_key=True),
    # Who wants its pages, and what is said of each.
    Column("author", Text, nullable=False),
    Column("publish", Boolean, nullable=False),
    Column("audience", Text),
    Column("tags", JSON, nullable=False),
    Column("review_by", Date),
    Column("checked_at", UtcDateTime, nullable=False),
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    # Not a foreign key: there is no such document any more.
    Column("document", Text, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("place", Text, nullable=False),
    Column("source", Text, nullable=False),
    # `text_hash` of each of its revisions: a copy of the file is known by it under any name.
    Column("hashes", JSON, nullable=False),
    Column("author", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("why", Text, nullable=False),
)
