"""What tells that a file has not changed without reading it. What the last sync read before is read once more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("files", sa.Column("stamp", sa.Text, nullable=False, server_default=""))
