"""What the local Discord holds: guilds, people, channels, messages, and what the app under test called."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
Listener = Callable[[str, Json, str | None], None]

EPOCH = 1_420_070_400_000
"""The first millisecond of 2015, from which snowflakes count."""

# Types of channels.
TEXT, DM, NEWS, NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD, FORUM = 0, 1, 5, 10, 11, 12, 15
THREADS = (NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD)

INVITED = 395_137_109_056
"""The permissions of the bot's own role: those of the invite in the docs."""


class DiscordError(Exception):
    """An answer of the form {"code": ..., "message": ...}."""

    def __init__(self, status: int, code: int, message: str, *, errors: Json | None = None, **more: Any) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.errors, self.more = status, code, message, errors, more


@dataclass
class User:
    """A person or a bot."""

    id: str
    name: str
    bot: bool = False
    global_name: str | None = None
    discriminator: str = "0"
    # Direct messages from the app are refused with 50007.
    blocks_dms: bool = False


@dataclass
class Role:
    id: str
    name: str
    permissions: int
    position: int = 0
    managed: bool = False
    mentionable: bool = False
    bot_id: str = ""


@dataclass
class Member:
    """A user in a guild."""

    user: str
    roles: list[str]
    joined_at: str
    nick: str | None = None


@dataclass
class Overwrite:
    """What a role (type 0) or a member (type 1) may or may not do in one channel."""

    id: str
    type: int
    allow: int = 0
    deny: int = 0


@dataclass
class Message:
    """A message as Discord keeps it. Ephemeral ones are kept apart, in their channel's `ephemerals`."""

    id: str
    channel: str
    author: str
    content: str = ""
    type: int = 0
    flags: int = 0
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    # Without urls: these are signed anew each time that the message is shown.
    attachments: list[Json] = field(default_factory=list)
    mentions: list[str] = field(default_factory=list)
    mention_roles: list[str] = field(default_factory=list)
    mention_everyone: bool = False
    nonce: str | int | None = None
    tts: bool = False
    reference: Json | None = None
    snapshots: list[Json] = field(default_factory=list)
    sticker_items: list[Json] = field(default_factory=list)
    poll: Json | None = None
    edited_at: str | None = None
    webhook_id: str = ""
    application_id: str = ""
    # What a message shows of the interaction it answers: message.interaction_metadata.
    interaction: Json | None = None
    # The thread made from it.
    thread: str = ""
    reactions: dict[str, list[str]] = field(default_factory=dict)
    deleted: bool = False
    # For whom, when it is ephemeral.
    only_for: str = ""
    # Monotonic times: when it came, and each later change.
    at: float = field(default_factory=time.monotonic)
    changed_at: list[float] = field(default_factory=list)
    # The contents it had before its edits, oldest first.
    before: list[str] = field(default_factory=list)


@dataclass
class Thread:
    """What a channel has besides when it is a thread."""

    parent: str
    owner: str
    created: str
    archived: bool = False
    locked: bool = False
    invitable: bool = True
    auto_archive: int = 1440
    archived_at: str = ""
    members: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    # All messages ever sent except the first one, also deleted ones.
    total: int = 0


@dataclass
class Channel:
    """A channel, forum, thread (then `thread` is set) or direct message (then `recipient` is) with its messages in order."""

    id: str
    type: int
    name: str = ""
    guild: str = ""
    recipient: str = ""
    parent: str = ""
    overwrites: dict[str, Overwrite] = field(default_factory=dict)
    topic: str | None = None
    slowmode: int = 0
    position: int = 0
    flags: int = 0
    # The tags that posts of a forum can have: {"id", "name", "moderated", "emoji_id", "emoji_name"}.
    available_tags: list[Json] = field(default_factory=list)
    thread: Thread | None = None
    messages: list[Message] = field(default_factory=list)
    ephemerals: list[Message] = field(default_factory=list)
    deleted: bool = False

    def find(self, id_: str) -> Message | None:
        """The message with this id, unless it is deleted."""
        return next((item for item in self.messages if item.id == id_ and not item.deleted), None)

    @property
    def standing(self) -> list[Message]:
        """The messages that are not deleted, oldest first."""
        return [message for message in self.messages if not message.deleted]


@dataclass
class Guild:
    id: str
    name: str
    owner: str
    roles: dict[str, Role] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    # The bot is not in it any more (or not yet).
    left: bool = False


@dataclass(eq=False)
class Interaction:
    """What a person asked of the app with a command, a button or a modal, and how the app has answered so far."""

    id: str
    token: str
    type: int
    user: str
    channel: str
    guild: str = ""
    data: Json = field(default_factory=dict)
    # The message whose button it was.
    message: Message | None = None
    created: float = field(default_factory=time.monotonic)
    # The type of the first response (4 to 9); 0 before.
    callback: int = 0
    acked_at: float | None = None
    failed: bool = False
    # Fixed by the first response: whether what is shown is for this person alone.
    ephemeral: bool = False
    # What "@original" means; with a deferred response (5) nothing until its first follow-up or edit.
    original: Message | None = None
    followups: list[Message] = field(default_factory=list)
    modal: Json | None = None
    # The message with the button was changed by the response (7), or by an edit of "@original" after 6.
    updated: bool = False


@dataclass
class Call:
    """One REST request as it arrived, and how it was answered. `path` is what follows /api/v10."""

    at: float
    method: str
    path: str
    json: Any
    status: int = 0
    query: dict[str, str] = field(default_factory=dict)
    answer: Any = None


@dataclass
class Fault:
    """Let the next requests fail whose path (after /api/v10) matches as a whole.

    `after`: after it took effect. `retry_after` goes with status 429; without `via` it comes from Cloudflare, as text. `cut`: the
    connection is cut instead of an answer. `slow`: seconds before anything happens. `code` and `message`: of the JSON error.
    """

    method: str = ".*"
    path: str = ".*"
    times: int = 1
    status: int = 0
    after: bool = False
    retry_after: float | None = None
    is_global: bool = False
    via: bool = True
    cut: bool = False
    slow: float = 0
    code: int = 0
    message: str = ""
    scope: str = "user"


@dataclass(frozen=True)
class Notice:
    """Somebody whom a message of the app would have notified: `everyone`, `here`, `user:ID`, `role:ID` or `reply:ID`."""

    channel: str
    message: str
    whom: str


class State:
    """Everything there is, behind one lock: handlers run in the server's thread, tests in theirs."""

    def __init__(self) -> None:
        self.port = 0
        self.lock = threading.RLock()
        self._last_snowflake = 0
        self.users: dict[str, User] = {}
        self.guilds: dict[str, Guild] = {}
        # Channels, forums, direct messages and threads.
        self.channels: dict[str, Channel] = {}
        # The bytes of attachments.
        self.contents: dict[str, bytes] = {}
        # By token.
        self.interactions: dict[str, Interaction] = {}
        # Commands of the application: "" the global ones, otherwise a guild's.
        self.commands: dict[str, list[Json]] = {"": []}
        self.application_id = self.snowflake()
        # The user id of a bot is its application's.
        self.bot = User(self.application_id, "frontdesk", bot=True, discriminator="4821")
        self.users[self.bot.id] = self.bot
        self.token = f"MTQ1NzQ2OTQ4MzcyNjY2ODA0OA.local.{self.application_id}"
        # The switch for the privileged intent in the developer portal.
        self.message_content_allowed = True
        # How long things live.
        self.nonce_seconds: float = 300
        self.token_seconds: float = 900
        self.attachment_seconds: float = 86400
        # What GET /gateway/bot says.
        self.shards = 1
        self.session_start: Json = {"total": 1000, "remaining": 1000, "reset_after": 86_400_000, "max_concurrency": 1}
        # Who hears of events: the gateway.
        self.listeners: list[Listener] = []
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.notified: list[Notice] = []
        # (channel, message, url) of links whose pages Discord would have shown.
        self.unfurled: list[tuple[str, str, str]] = []
        # Channel and monotonic time of each typing indicator of the bot.
        self.typings: list[tuple[str, float]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        """For `discord.http.Route.BASE`."""
        return f"{self.url}/api/v10"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/gateway"

    def snowflake(self) -> str:
        """A new id: of this moment, unique and growing."""
        with self.lock:
            now = (time.time_ns() // 1_000_000 - EPOCH) << 22
            self._last_snowflake = max(self._last_snowflake + 1, now)
            return str(self._last_snowflake)

    def dispatch(self, event: str, data: Json, guild: str | None) -> None:
        """Tell the gateway of an event. `guild` is None for direct messages. Called with the lock held."""
        for listener in self.listeners:
            listener(event, data, guild)

    def violated(self, what: str) -> None:
        """Keep what Discord's documentation forbids."""
        self.violations.append(what)

    def wait_for(self, function: Callable[[], Any], seconds: float = 10) -> Any:
        """What the function says once it is truthy. AssertionError when the time is over."""
        ends = time.monotonic() + seconds
        while True:
            with self.lock:
                found = function()
            if found:
                return found
            assert time.monotonic() < ends, f"not within {seconds} s"
            time.sleep(0.01)


def snowflake_time(id_: str) -> float:
    """The Unix time in a snowflake."""
    return ((int(id_) >> 22) + EPOCH) / 1000


def iso(at: float | None = None) -> str:
    """A time as Discord writes it; now without an argument."""
    moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="microseconds")
