"""The agent's tables. Only what every database has: the same statements have to work on SQLite and on PostgreSQL.

They are made and changed by `agent.ledger.migrations` alone; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from knowledge.database import UtcDateTime

VERSION_TABLE = "frontdesk_version"
"""Where the version of these tables stands in a database."""

metadata = MetaData()
"""Not the library's, which has migrations of its own."""

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("connector", Text, nullable=False),
    Column("space", Text, nullable=False),
    Column("room", Text, nullable=False),
    Column("thread", Text, nullable=False),
    Column("mode", String(16), nullable=False),
    # The person who began it, "slack:T1/U1".
    Column("customer", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("summary_until", Text, nullable=False),
    # Counts what came in: an answer is only kept when nothing did since its question was read.
    Column("revision", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("conversations_room", "connector", "space", "room", "updated_at"),
    Index("conversations_customer", "customer"),
    Index("conversations_updated_at", "updated_at"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation", Text, ForeignKey("conversations.id"), nullable=False),
    # The room, for the last message in it; where the author is known by, for erasing.
    Column("channel", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("author_space", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("attachments", JSON, nullable=False),
    Column("sent_at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("outcome", String(16)),
    Column("withheld", Boolean, nullable=False),
    Column("addressed", Boolean, nullable=False),
    Column("wants_person", Boolean, nullable=False),
    Column("to_others", Boolean, nullable=False),
    Column("outsiders", Boolean, nullable=False),
    Column("joins", Boolean, nullable=False),
    Column("private_reply", Text, nullable=False),
    Column("reply_in", Text, nullable=False),
    Column("internal", Boolean, nullable=False),
    Column("edited_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    # The turn that answered it, or stopped answering it.
    Column("answered_by", Text),
    Index("messages_conversation", "conversation", "sent_at", "id"),
    Index("messages_channel", "channel", "sent_at"),
    Index("messages_person", "person"),
    Index("messages_answered_by", "answered_by"),
)

turns = Table(
    "turns",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation", Text, ForeignKey("conversations.id"), nullable=False),
    Column("message", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("revision_seen", Integer, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("ticket", Integer),
    Column("error", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("decided_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Index("turns_state", "state", "created_at"),
    Index("turns_conversation", "conversation"),
    Index("turns_message", "message"),
)

posts = Table(
    "posts",
    metadata,
    Column("turn", Text, ForeignKey("turns.id"), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    # An id is only unique inside its channel.
    Column("channel", Text, nullable=False),
    Index("posts_id", "id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("turn", Text, primary_key=True),
    Column("author", Text, primary_key=True),
    Column("conversation", Text, nullable=False),
    Column("helpful", Boolean, nullable=False),
    Column("reason", Text),
    Column("given_at", UtcDateTime, nullable=False),
    Index("feedback_author", "author"),
    Index("feedback_conversation", "conversation"),
)

tickets = Table(
    "tickets",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("conversation", Text, ForeignKey("conversations.id"), nullable=False),
    Column("turn", Text, nullable=False, unique=True),
    Column("customer", Text, nullable=False),
    Column("reason", String(16), nullable=False),
    Column("question", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("staff_post", Text, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
    Column("resolved_by", Text, nullable=False),
    Index("tickets_status", "status", "opened_at"),
    Index("tickets_conversation", "conversation"),
    Index("tickets_customer", "customer"),
    # A number that staff know of is not given again when its ticket is erased.
    sqlite_autoincrement=True,
)

channel_settings = Table(
    "channel_settings",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
)

marks = Table(
    "marks",
    metadata,
    Column("connector", Text, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)

model_calls = Table(
    "model_calls",
    metadata,
    # SQLite numbers rows by itself only where the type is exactly INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("conversation", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("role", String(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("cache_write_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("cost_usd", Double),
    Column("seconds", Double, nullable=False),
    Column("first_token_seconds", Double),
    Column("error", String(32), nullable=False),
    Index("model_calls_at", "at"),
    Index("model_calls_conversation_at", "conversation", "at"),
    Index("model_calls_channel_at", "channel", "at"),
    Index("model_calls_person_at", "person", "at"),
)
