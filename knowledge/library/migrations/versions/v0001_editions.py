"""The first version with revisions and editions. A database from before it, which had neither, is brought over."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from knowledge.errors import StoreError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_BEFORE = "1"
"""The schema that was made without migrations."""


def upgrade() -> None:
    """Make the tables, and fill them from those of before."""
    connection = op.get_bind()
    before = _is_from_before(connection)
    if before:
        op.rename_table("documents", "documents_before")
        op.rename_table("passages", "passages_before")
        # It only spares reading files again.
        op.drop_table("files")
    _make_tables(with_shared=not before)
    if before:
        _bring_over(connection)
        op.drop_table("passages_before")
        op.drop_table("documents_before")


def _is_from_before(connection: sa.Connection) -> bool:
    if not sa.inspect(connection).has_table("documents"):
        return False
    found = connection.execute(sa.text("SELECT value FROM state WHERE key = 'schema'")).scalar()
    if found != _BEFORE:
        raise StoreError(
            f"The database was written by another version of frontdesk (schema {found}, this one knows {_BEFORE}).",
            "Use the version that wrote it, or choose another data directory with --data DIR.",
        )
    return True


def _make_tables(*, with_shared: bool) -> None:
    op.create_table(
        "editions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", _MOMENT, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("published", sa.Integer),
        sa.Column("latest", sa.Integer, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("taken_hash", sa.String(64)),
        sa.Column("by_hand", sa.Boolean, nullable=False),
        sa.Column("hidden_before", sa.Integer, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("changed_at", _MOMENT, nullable=False),
    )
    op.create_index("documents_place", "documents", ["origin", "place"])
    op.create_index("documents_state", "documents", ["state"])
    op.create_table(
        "revisions",
        sa.Column("document", sa.Text, sa.ForeignKey("documents.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("language", sa.Text),
        sa.Column("updated", sa.Date),
        sa.Column("review_by", sa.Date),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("text_hash", sa.String(64), nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("way", sa.String(16), nullable=False),
        sa.Column("base", sa.Integer),
        sa.Column("edition", sa.Integer),
    )
    op.create_index("revisions_text_hash", "revisions", ["text_hash"])
    op.create_table(
        "passages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("from_edition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("until_edition", sa.Integer),
        sa.Column("document", sa.Text, sa.ForeignKey("documents.id"), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("heading", sa.JSON, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("vector_key", sa.String(64), nullable=False),
    )
    op.create_index("passages_document", "passages", ["document"])
    op.create_index("passages_until_edition", "passages", ["until_edition"])
    op.create_index("passages_vector_key", "passages", ["vector_key"])
    op.create_table(
        "acts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("document", sa.Text, sa.ForeignKey("documents.id"), nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("revision", sa.Integer),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("edition", sa.Integer, nullable=False),
    )
    op.create_index("acts_document", "acts", ["document"])
    op.create_table(
        "files",
        sa.Column("folder", sa.Text, primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("stem", sa.Text, nullable=False),
    )
    op.create_table(
        "pages",
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("last_modified", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("checked_at", _MOMENT, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("failing_since", _MOMENT),
    )
    if with_shared:
        op.create_table(
            "state",
            sa.Column("key", sa.String(64), primary_key=True),
            sa.Column("value", sa.Text, nullable=False),
        )
        # What refuses the file in a frontdesk from before.
        op.execute("INSERT INTO state (key, value) VALUES ('schema', '2'), ('edition', '0')")
        op.create_table(
            "vectors",
            sa.Column("embedder", sa.Text, primary_key=True),
            sa.Column("vector_key", sa.String(64), primary_key=True),
            sa.Column("vector", sa.LargeBinary, nullable=False),
        )


def _bring_over(connection: sa.Connection) -> None:
    """Each document becomes its own first revision, published. The index is made anew, from the vectors that were kept."""
    edition = int(connection.execute(sa.text("SELECT value FROM state WHERE key = 'edition'")).scalar() or 0)
    connection.execute(sa.text("DELETE FROM state"))
    connection.execute(
        sa.text("INSERT INTO state (key, value) VALUES ('schema', '2'), ('edition', :edition)"),
        {"edition": str(edition)},
    )
    connection.execute(
        sa.text("INSERT INTO editions (number, at) VALUES (:number, :at)").bindparams(
            sa.bindparam("at", type_=_MOMENT)
        ),
        {"number": edition, "at": datetime.now(UTC)},
    )
    connection.execute(
        sa.text(
            "INSERT INTO documents (id, state, published, latest, origin, place, source, taken_hash, by_hand, "
            "hidden_before, changed_by, changed_at) SELECT id, 'published', 1, 1, 'folder', folder, source, content_hash, "
            "false, 0, 'sync', synced_at FROM documents_before"
        )
    )
    connection.execute(
        sa.text(
            "INSERT INTO revisions (document, number, title, text, url, audience, language, updated, review_by, tags, "
            "content_hash, text_hash, author, at, why, way, edition) "
            "SELECT id, 1, title, text, url, audience, language, updated, review_by, tags, content_hash, '', 'sync', "
            "synced_at, '', 'folder', :edition FROM documents_before"
        ),
        {"edition": edition},
    )
    for row in connection.execute(sa.text("SELECT id, text FROM documents_before")).all():
        connection.execute(
            sa.text("UPDATE revisions SET text_hash = :text_hash WHERE document = :id"),
            {"id": row.id, "text_hash": hashlib.sha256(" ".join(row.text.split()).encode()).hexdigest()},
        )
    connection.execute(
        sa.text(
            "INSERT INTO passages (id, from_edition, document, revision, position, heading, text, vector_key) "
            "SELECT id, :edition, document_id, 1, position, heading, text, vector_key FROM passages_before"
        ),
        {"edition": edition},
    )
    connection.execute(sa.text("DROP INDEX IF EXISTS ix_vectors_vector_key"))
