"""The Web API's table of methods: arguments, scopes and rates; and how a call is read and checked."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.servers.slack.rooms import Rooms
from tests.servers.slack.state import Channel, Json, Message, SlackError, State, Team

# Calls per minute of each tier.
TIERS = {1: 1, 2: 20, 3: 50, 4: 100}
# Arguments whose values are JSON, also in forms.
_JSON_ARGUMENTS = {"blocks", "attachments", "metadata", "view", "chunks", "prompts", "files", "loading_messages"}
_JSON_ARGUMENTS |= {"unfurls", "channels_json"}
_MOST_POSTS_AT_ONCE = 5
READS = {
    *("conversations.history", "conversations.info", "conversations.list", "conversations.members"),
    *("conversations.replies", "bots.info", "chat.getPermalink", "files.info", "team.info", "users.info"),
}
"""The methods that Slack's reference gives as GET."""


@dataclass
class Args:
    """The arguments of a call."""

    values: Json

    def text(self, name: str, default: str = "") -> str:
        """A string argument; numbers and truth values come as strings in forms."""
        value = self.values.get(name)
        return default if value is None else str(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value in any of the forms that Slack takes."""
        value = self.values.get(name)
        return default if value is None else value in (True, 1, "1", "true", "True")

    def number(self, name: str, default: int) -> int:
        try:
            return int(self.values.get(name) or default)
        except ValueError:
            raise SlackError("invalid_arguments") from None

    def has(self, name: str) -> bool:
        return self.values.get(name) not in (None, "")

    def get(self, name: str) -> Any:
        return self.values.get(name)


Handler = Callable[[Rooms, Team, Args], Json]


@dataclass(frozen=True)
class Method:
    """What is known of a method."""

    handler: Handler
    required: tuple[str, ...]
    known: frozenset[str]
    # Any one of these scopes is enough; none is needed when empty.
    scopes: tuple[str, ...]
    tier: int
    # "bot", "app" or "none".
    token: str


METHODS: dict[str, Method] = {}


def method(
    name: str, required: str = "", optional: str = "", *, scopes: str = "", tier: int = 3, token: str = "bot"
) -> Callable[[Handler], Handler]:
    """Enter a handler into the table."""

    def enter(handler: Handler) -> Handler:
        known = frozenset((*required.split(), *optional.split()))
        METHODS[name] = Method(handler, tuple(required.split()), known, tuple(scopes.split()), tier, token)
        return handler

    return enter


async def read_arguments(request: web.Request) -> Json:
    """Arguments of the query, and of a form or JSON body."""
    values: Json = dict(request.query)
    if request.content_type == "application/json":
        body = await request.text()
        try:
            parsed = json.loads(body) if body else {}
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(parsed, dict):
            raise SlackError("json_not_object")
        values |= parsed
    elif request.can_read_body:
        values |= {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    for name in _JSON_ARGUMENTS & values.keys():
        if isinstance(values[name], str) and values[name]:
            try:
                values[name] = json.loads(values[name])
            except ValueError:
                errors = {"blocks": "invalid_blocks_format", "metadata": "invalid_metadata_format"}
                raise SlackError(errors.get(name, "invalid_arguments")) from None
    return values


def given_token(request: web.Request, values: Json) -> str:
    """The token of the header or of the argument."""
    header = request.headers.get("Authorization", "")
    return header.removeprefix("Bearer ") if header.startswith("Bearer ") else str(values.get("token", ""))


def team_of_token(state: State, token: str, kind: str) -> Team:
    """The workspace whose token it is; refused as Slack refuses it."""
    if kind == "none":
        return state.team
    if not token:
        raise SlackError("not_authed")
    if kind == "app":
        if token != state.app_token:
            raise SlackError("not_allowed_token_type" if token.startswith("xoxb-") else "invalid_auth")
        return state.team
    team = next((team for team in state.teams.values() if team.bot_token == token), None)
    if team is None:
        raise SlackError("not_allowed_token_type" if token == state.app_token else "invalid_auth")
    if team.refused or not team.installed:
        raise SlackError(team.refused or "account_inactive")
    if team.lasts and time.time() > team.ends:
        raise SlackError("token_expired")
    return team


def check_call(state: State, name: str, team: Team, args: Args) -> Method:
    """The method, if the call may be made: its scopes and its arguments' names."""
    known = METHODS[name]
    if known.scopes and not set(known.scopes) & set(team.scopes):
        needed, provided = ",".join(known.scopes), ",".join(team.scopes)
        raise SlackError("missing_scope", needed=needed, provided=provided)
    # Every method takes a team_id, for apps installed in a whole organisation; Bolt sends it along.
    unknown = sorted(args.values.keys() - known.known - {"token", "team_id"})
    if unknown:
        state.violations.append(f"{name}: unknown arguments {unknown}")
    missing = [required for required in known.required if args.values.get(required) is None]
    if missing:
        error = {"channel": "channel_not_found", "user": "user_not_found"}.get(missing[0], "invalid_arguments")
        if (
            name.startswith(("chat.", "assistant.", "agents.", "views.", "files.", "oauth."))
            and missing[0] != "channel"
        ):
            error = "invalid_arguments"
        details = [f"[ERROR] missing required field: {item}" for item in missing]
        raise SlackError(error, response_metadata={"messages": details})
    return known


class Rates:
    """Counts calls and refuses what is over the limits."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], deque[float]] = defaultdict(deque)

    def check(self, state: State, name: str, team: Team, args: Args) -> None:
        """Raise `ratelimited` when the call is one too many."""
        limits: list[tuple[tuple[str, ...], int, float]] = []
        if state.limited_history and name in {"conversations.history", "conversations.replies"}:
            limits.append(((team.id, name), 1, state.rate_window))
        elif state.enforce_rates:
            if name in {"chat.postMessage", "chat.postEphemeral"}:
                per_second = state.rate_window / 60
                per_channel = (team.id, name, args.text("channel"))
                limits.append((per_channel, _MOST_POSTS_AT_ONCE, _MOST_POSTS_AT_ONCE * per_second))
            else:
                limits.append(((team.id, name), TIERS[METHODS[name].tier], state.rate_window))
        for key, most, window in limits:
            seen, now = self._seen[key], time.monotonic()
            while seen and seen[0] <= now - window:
                seen.popleft()
            if len(seen) >= most:
                raise SlackError("ratelimited", status=429, retry_after=seen[0] + window - now)
            seen.append(now)


# What many methods look up.


def sees(state: State, team: Team, channel: Channel) -> bool:
    """Whether the app can know of the channel in this workspace."""
    if channel.team != team.id and not channel.shared:
        return False
    return channel.kind == "channel" or team.bot_user in channel.members


def channel_of(slack: State, team: Team, args: Args, name: str = "channel") -> Channel:
    """The channel that a call names, where the app can see it."""
    channel = slack.channels.get(args.text(name))
    if channel is None or not sees(slack, team, channel):
        raise SlackError("channel_not_found")
    return channel


def writable(slack: State, team: Team, args: Args, name: str = "channel") -> Channel:
    """The channel that a call names, where the app may write into it."""
    channel = channel_of(slack, team, args, name)
    if channel.archived:
        raise SlackError("is_archived")
    if team.bot_user not in channel.members and "chat:write.public" not in team.scopes:
        raise SlackError("not_in_channel")
    return channel


def history_scope(slack: State, team: Team, channel: Channel) -> None:
    """Refuse to read where the scope for this kind of channel is missing, or the bot is not a member."""
    kinds = {"channel": "channels", "group": "groups", "im": "im", "mpim": "mpim"}
    needed = f"{kinds[channel.kind]}:history"
    if needed not in team.scopes:
        raise SlackError("missing_scope", needed=needed, provided=",".join(team.scopes))
    if team.bot_user not in channel.members:
        raise SlackError("not_in_channel")


def own_message(slack: State, team: Team, channel: Channel, args: Args, refusal: str) -> Message:
    """The message of the app that a call names."""
    message = channel.find(args.text("ts"))
    if message is None:
        raise SlackError("message_not_found")
    if message.bot_id != team.bot_id:
        raise SlackError(refusal)
    return message
