"""What the local Slack holds: workspaces, people, rooms, messages, and what the app under test called."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SCOPES = (
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "im:write",
    "mpim:history",
    "mpim:read",
    "reactions:read",
    "reactions:write",
    "team:read",
    "users:read",
)
EVENTS = (
    "agent_session_stopped",
    "app_context_changed",
    "app_home_opened",
    "app_mention",
    "app_uninstalled",
    "channel_archive",
    "channel_deleted",
    "member_joined_channel",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
    "reaction_added",
    "tokens_revoked",
)


class SlackError(Exception):
    """An answer of the form {"ok": false, "error": ...}."""

    def __init__(self, error: str, *, status: int = 200, retry_after: float | None = None, **more: Any) -> None:
        super().__init__(error)
        self.error, self.status, self.retry_after, self.more = error, status, retry_after, more


@dataclass
class Team:
    """A workspace, and the app's bot in it."""

    id: str
    name: str
    domain: str
    bot_user: str
    bot_id: str
    bot_token: str
    scopes: list[str]
    installed: bool = True
    # Why the token is refused: "token_revoked" or "account_inactive".
    refused: str = ""
    # Of an app that is installed in the whole organisation, whose token is good in each of its workspaces.
    organisation: str = ""
    # With token rotation: how long a token lasts, when the one in use ends, and what fetches the next one, once.
    lasts: float = 0
    ends: float = 0
    refresh_token: str = ""


@dataclass
class User:
    """A person or a bot."""

    id: str
    name: str
    team: str
    admin: bool = False
    guest: bool = False
    bot: bool = False
    bot_id: str = ""
    # Of another workspace than the app's: seen through Slack Connect.
    stranger: bool = False
    deleted: bool = False
    # Of an organisation (Enterprise Grid): its workspaces that they are full members of.
    workspaces: list[str] = field(default_factory=list)


@dataclass
class Message:
    """A message as Slack keeps it. Ephemeral ones are kept apart."""

    ts: str
    user: str
    text: str
    team: str
    thread_ts: str = ""
    bot_id: str = ""
    subtype: str = ""
    blocks: list[Json] | None = None
    attachments: list[Json] = field(default_factory=list)
    files: list[Json] = field(default_factory=list)
    metadata: Json | None = None
    edited: Json | None = None
    client_msg_id: str = ""
    reactions: dict[str, list[str]] = field(default_factory=dict)
    deleted: bool = False
    # The state of a streamed message: "", "streaming", "stopped", "expired" or "stopped_by_user".
    streaming: str = ""
    stream_ends: float = 0
    # Whether it takes "markdown_text" or "chunks": what it was opened with.
    stream_takes: str = ""
    tasks: dict[str, Json] = field(default_factory=dict)
    plan: str = ""
    # Monotonic times: of its first visible text and of each later change.
    first_visible_at: float | None = None
    changed_at: list[float] = field(default_factory=list)
    # For whom, when it is ephemeral.
    only_for: str = ""


@dataclass
class Channel:
    """A channel or a direct message with its messages in order."""

    id: str
    name: str
    team: str
    members: list[str]
    kind: str = "channel"
    shared: bool = False
    archived: bool = False
    messages: list[Message] = field(default_factory=list)
    ephemerals: list[Message] = field(default_factory=list)

    def find(self, ts: str) -> Message | None:
        """The message with this ts, unless it is deleted."""
        return next((message for message in self.messages if message.ts == ts and not message.deleted), None)

    def thread(self, ts: str) -> list[Message]:
        """The root and the replies of a thread, as far as they stand."""
        return [message for message in self.messages if ts in (message.ts, message.thread_ts) and not message.deleted]


@dataclass
class Call:
    """One call of the Web API as it arrived, and how it was answered."""

    method: str
    args: Json
    at: float
    token: str
    error: str = ""
    answer: Json = field(default_factory=dict)


@dataclass
class View:
    """A modal or a home tab."""

    id: str
    user: str
    team: str
    body: Json
    hash: str
    root: str
    previous: str = ""
    opened_at: float = 0
    open: bool = True


@dataclass
class Notice:
    """Somebody whom a message of the app would have pinged."""

    channel: str
    ts: str
    mention: str


@dataclass
class Fault:
    """A fault that `fail` asked for."""

    kind: str
    times: int
    retry_after: float


class State:
    """Everything there is, behind one lock: handlers run in the server's thread, tests in theirs."""

    def __init__(self) -> None:
        self.port = 0
        self.lock = threading.RLock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.app_id, self.app_token = "A00LOCAL001", "xapp-1-A00LOCAL001-1-local"
        self.client_id, self.client_secret = "1000000000001.2000000000002", "local-client-secret"
        self.signing_secret, self.verification_token = "local-signing-secret", "local-verification-token"
        # What the app's manifest says.
        self.events: set[str] = set(EVENTS)
        self.agent_view = True
        # How long things live, and what Slack refuses. `no_streams`: a channel, a workspace or "*" to an error.
        self.stream_seconds: float = 306
        self.status_seconds: float = 120
        self.trigger_seconds: float = 3
        self.no_streams: dict[str, str] = {}
        # A channel, and the error with which posts are refused there.
        self.no_posts: dict[str, str] = {}
        # Channels in which blocks are refused.
        self.no_blocks: set[str] = set()
        # The error for a thread whose root never was or is gone; with "" the message lands outside of threads.
        self.lost_threads = "thread_not_found"
        self.enforce_rates = False
        self.limited_history = False
        self.rate_window: float = 60
        self.teams: dict[str, Team] = {}
        self.users: dict[str, User] = {}
        self.channels: dict[str, Channel] = {}
        self.files: dict[str, Json] = {}
        self.contents: dict[str, bytes] = {}
        self.view_table: dict[str, View] = {}
        self.triggers: dict[str, tuple[str, str, float]] = {}
        self.codes: dict[str, str] = {}
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.notified: list[Notice] = []
        self.unfurled: list[Call] = []
        self.status_log: list[tuple[str, str, str, float]] = []
        self.statuses: dict[tuple[str, str], Json] = {}
        self.sessions: dict[tuple[str, str], Json] = {}
        self.titles: dict[tuple[str, str], str] = {}
        self.suggested_prompts: dict[str, Json] = {}
        self.response_urls: dict[str, Json] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.chaos_share, self.chaos_kinds, self.chaos_seed = 0.0, [""], 7
        self._numbers = itertools.count(1)
        self._last_ts = 0
        self.team = self._new_team("Acme", list(SCOPES))
        self.bot_token = self.team.bot_token

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        """The base_url for slack_sdk's clients."""
        return f"{self.url}/api/"

    @property
    def bot_user(self) -> str:
        """The user id of the app's bot in the first workspace."""
        return self.team.bot_user

    def new_id(self, letter: str) -> str:
        """An id that looks like Slack's, and is its own."""
        return f"{letter}0{next(self._numbers):09d}"

    def now_ts(self) -> str:
        """A message's timestamp: unique and growing."""
        with self.lock:
            self._last_ts = max(self._last_ts + 1, int(time.time() * 1_000_000))
            return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def _new_team(self, name: str, scopes: list[str], installed: bool = True) -> Team:
        id_, user, bot_id = self.new_id("T"), self.new_id("U"), self.new_id("B")
        token = f"xoxb-{id_}-{user}-local"
        team = Team(id_, name, name.lower().replace(" ", "-"), user, bot_id, token, list(scopes), installed)
        self.teams[id_] = team
        self.users[user] = User(user, "support-agent", id_, bot=True, bot_id=bot_id)
        return team

    def is_ours(self, message: Message) -> bool:
        """Whether the app under test wrote the message."""
        return any(team.bot_id == message.bot_id for team in self.teams.values())

    def touched(self, channel: Channel, message: Message, text: str) -> None:
        """Keep when a message's visible text came or changed."""
        now = time.monotonic()
        if message.first_visible_at is None:
            if text.strip():
                message.first_visible_at = now
                message.changed_at.append(now)
        else:
            message.changed_at.append(now)

    def wait_for(self, predicate: Callable[[], Any], seconds: float = 10) -> Any:
        """What the predicate says once it is true. AssertionError when the time is over."""
        ends = time.monotonic() + seconds
        while True:
            with self.lock:
                found = predicate()
            if found:
                return found
            assert time.monotonic() < ends, f"not within {seconds} s"
            time.sleep(0.01)
