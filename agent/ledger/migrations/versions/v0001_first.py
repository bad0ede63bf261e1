"""The first version: conversations, turns, tickets and what belongs to them. `model_calls` may be there already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make what is missing."""
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("connector", sa.Text, nullable=False),
        sa.Column("space", sa.Text, nullable=False),
        sa.Column("room", sa.Text, nullable=False),
        sa.Column("thread", sa.Text, nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("customer", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("summary_until", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "conversations_room", "conversations", ["connector", "space", "room", "updated_at"], if_not_exists=True
    )
    op.create_index("conversations_customer", "conversations", ["customer"], if_not_exists=True)
    op.create_index("conversations_updated_at", "conversations", ["updated_at"], if_not_exists=True)
    op.create_table(
        "messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("conversation", sa.Text, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("author_space", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("attachments", sa.JSON, nullable=False),
        sa.Column("sent_at", _MOMENT, nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("withheld", sa.Boolean, nullable=False),
        sa.Column("addressed", sa.Boolean, nullable=False),
        sa.Column("wants_person", sa.Boolean, nullable=False),
        sa.Column("to_others", sa.Boolean, nullable=False),
        sa.Column("outsiders", sa.Boolean, nullable=False),
        sa.Column("joins", sa.Boolean, nullable=False),
        sa.Column("private_reply", sa.Text, nullable=False),
        sa.Column("reply_in", sa.Text, nullable=False),
        sa.Column("internal", sa.Boolean, nullable=False),
        sa.Column("edited_at", _MOMENT),
        sa.Column("deleted_at", _MOMENT),
        sa.Column("answered_by", sa.Text),
        if_not_exists=True,
    )
    op.create_index("messages_conversation", "messages", ["conversation", "sent_at", "id"], if_not_exists=True)
    op.create_index("messages_channel", "messages", ["channel", "sent_at"], if_not_exists=True)
    op.create_index("messages_person", "messages", ["person"], if_not_exists=True)
    op.create_index("messages_answered_by", "messages", ["answered_by"], if_not_exists=True)
    op.create_table(
        "turns",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("conversation", sa.Text, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("revision_seen", sa.Integer, nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True)),
        sa.Column("ticket", sa.Integer),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("started_at", _MOMENT),
        sa.Column("decided_at", _MOMENT),
        sa.Column("finished_at", _MOMENT),
        if_not_exists=True,
    )
    op.create_index("turns_state", "turns", ["state", "created_at"], if_not_exists=True)
    op.create_index("turns_conversation", "turns", ["conversation"], if_not_exists=True)
    op.create_index("turns_message", "turns", ["message"], if_not_exists=True)
    op.create_table(
        "posts",
        sa.Column("turn", sa.Text, sa.ForeignKey("turns.id"), primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index("posts_id", "posts", ["id"], if_not_exists=True)
    op.create_table(
        "feedback",
        sa.Column("turn", sa.Text, primary_key=True),
        sa.Column("author", sa.Text, primary_key=True),
        sa.Column("conversation", sa.Text, nullable=False),
        sa.Column("helpful", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("given_at", _MOMENT, nullable=False),
        if_not_exists=True,
    )
    op.create_index("feedback_author", "feedback", ["author"], if_not_exists=True)
    op.create_index("feedback_conversation", "feedback", ["conversation"], if_not_exists=True)
    op.create_table(
        "tickets",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("conversation", sa.Text, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("turn", sa.Text, nullable=False, unique=True),
        sa.Column("customer", sa.Text, nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("staff_post", sa.Text, nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("resolved_at", _MOMENT),
        sa.Column("resolved_by", sa.Text, nullable=False),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_index("tickets_status", "tickets", ["status", "opened_at"], if_not_exists=True)
    op.create_index("tickets_conversation", "tickets", ["conversation"], if_not_exists=True)
    op.create_index("tickets_customer", "tickets", ["customer"], if_not_exists=True)
    op.create_table(
        "channel_settings",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("set_at", _MOMENT, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "model_calls",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("conversation", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("cached_tokens", sa.Integer, nullable=False),
        sa.Column("cache_write_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("reasoning_tokens", sa.Integer, nullable=False),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("cost_usd", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("first_token_seconds", sa.Double),
        sa.Column("error", sa.String(32), nullable=False),
        if_not_exists=True,
    )
    op.create_index("model_calls_at", "model_calls", ["at"], if_not_exists=True)
    op.create_index("model_calls_conversation_at", "model_calls", ["conversation", "at"], if_not_exists=True)
    op.create_index("model_calls_channel_at", "model_calls", ["channel", "at"], if_not_exists=True)
    op.create_index("model_calls_person_at", "model_calls", ["person", "at"], if_not_exists=True)
