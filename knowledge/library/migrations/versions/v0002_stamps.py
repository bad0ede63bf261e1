"""What tells that a file has not changed without reading it: what was read before is read once more. What began is found fast."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column and an index."""
    op.add_column("files", sa.Column("stamp", sa.Text, nullable=False, server_default=""))
    op.create_index("passages_from_edition", "passages", ["from_edition"])
