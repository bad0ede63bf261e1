"""Who talks to Slack: a client for each workspace, what its answers mean, and what is read rather than written."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from agent.errors import DeliveryError
from agent.messages import Address, Attachment
from connectors.files import first_bytes

_log = logging.getLogger(__name__)

Json = dict[str, Any]
TokenFor = Callable[[str], Awaitable[str | None]]

API_URL = "https://slack.com/api/"
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5, sock_read=15)
"""Slack answers within a second or so; what takes longer than this is asked for again."""
MOST_MEMBERS = 200
"""Of a channel whose members are looked at, one by one, before an internal document is shown there."""
_MOST_AT_ONCE = 10
KNOWN_SECONDS = 600.0
"""How long it is known whether somebody is a guest."""
_MOST_CONNECTIONS = 200
_MOST_REDIRECTS = 3
_READS = frozenset(
    [
        *("conversations.info", "conversations.members", "conversations.replies", "conversations.history"),
        *("users.info", "chat.getPermalink"),
    ]
)
"""Methods that take their arguments from the query only (docs.slack.dev/apis/web-api); all others are posted JSON."""
_SLACK = ("slack.com", "slack-gov.com")
"""Slack's own domains: files and response_urls are on other hosts there than the API."""

_PASSING = frozenset(["internal_error", "fatal_error", "request_timeout", "service_unavailable", "team_added_to_org"])
"""Slack's own trouble: "some aspect of the operation" may have succeeded (docs.slack.dev, errors of each method)."""
_TOKEN = (
    "token_revoked invalid_auth account_inactive token_expired not_authed not_allowed_token_type org_login_required"
)
_GONE = """
not_in_channel channel_not_found is_archived is_inactive channel_is_archived restricted_action team_not_found access_denied
restricted_action_read_only_channel restricted_action_thread_only_channel restricted_action_non_threadable_channel
restricted_action_thread_locked cannot_dm_bot user_not_found user_disabled user_not_visible user_not_in_channel
thread_not_found message_not_found messages_tab_disabled invalid_thread_ts cannot_reply_to_message ekm_access_denied
"""
_NO_TOKEN, _GONE_FOR_GOOD = frozenset(_TOKEN.split()), frozenset(_GONE.split())
"""Errors that say that the key is refused, and that the place takes no posts (docs.slack.dev, errors of chat.postMessage)."""
_EVERYWHERE = frozenset(["unknown_method", "missing_scope", "not_an_agent", "method_deprecated", "feature_not_enabled"])
_OF_THIS_CALL = frozenset(["user_not_found", "user_not_visible", "invalid_arguments", "msg_too_long"])
"""What a refusal is about that does not stand in `_GONE`: the whole workspace, or this call alone. Else it is the channel."""
_CLOSED = frozenset(["cant_update_message", "edit_window_closed", "cant_edit_message", "message_not_owned_by_app"])
"""A post that may not be changed any more."""

METADATA = "frontdesk_turn"


def metadata_of(turn: str, part: int) -> Json:
    """What marks a post as part of a turn."""
    return {"event_type": METADATA, "event_payload": {"turn": turn, "part": part}}


def part_of(message: Mapping[str, Any], turn: str) -> int | None:
    """Which part of a turn a message is marked as, if it is."""
    metadata = message.get("metadata")
    payload = metadata.get("event_payload") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or not isinstance(payload, Mapping):
        return None
    if metadata.get("event_type") != METADATA or payload.get("turn") != turn:
        return None
    part = payload.get("part")
    return part if isinstance(part, int) else 0


def number(ts: str) -> float:
    """A ts as seconds, 0 if it is none."""
    try:
        return float(ts)
    except ValueError:
        return 0.0


class Refused(Exception):
    """Slack says no. `after_doubt`: an earlier try of the same call may have taken place."""

    def __init__(self, error: str, needed: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.needed = needed
        self.after_doubt = False

    @property
    def final(self) -> bool:
        """Nothing can be shown in this place, or with this key."""
        return self.error in _GONE_FOR_GOOD or self.error in _NO_TOKEN

    @property
    def closed(self) -> bool:
        """The post may not be changed any more."""
        return self.error in _CLOSED

    @property
    def about(self) -> Literal["workspace", "channel", "call"]:
        """Where the same would be refused again."""
        if self.error in _EVERYWHERE or self.error.startswith("missing_"):
            return "workspace"
        return "call" if self.error in _OF_THIS_CALL else "channel"


class Limited(Exception):
    """Too many calls of a method: not before `seconds` are over."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"rate limited for {seconds} s")
        self.seconds = seconds


class Doubtful(Exception):
    """No answer, or none that says what happened. Unless `sent` is false the call may have taken place."""

    def __init__(self, what: str, *, sent: bool = True) -> None:
        super().__init__(what)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the app is in a workspace."""

    user: str
    bot: str


class Clients:
    """A client for each workspace over one session. Retries are not the SDK's: `Calls` knows what may be repeated.

    `token_for` gives the bot token of a workspace, `None` where the app is not installed.
    """

    def __init__(self, token_for: TokenFor, *, base_url: str | None = None) -> None:
        self.outside: dict[tuple[str, str], tuple[bool, float]] = {}
        self._token_for = token_for
        self.base_url = (base_url or os.environ.get("SLACK_API_URL") or API_URL).rstrip("/") + "/"
        self._session: aiohttp.ClientSession | None = None
        self._clients: dict[str, AsyncWebClient] = {}
        self._identities: dict[str, Identity] = {}
        self._asking: dict[str, asyncio.Task[Identity]] = {}

    @property
    def session(self) -> aiohttp.ClientSession:
        """The one session, opened when it is first needed."""
        if self._session is None or self._session.closed:
            connector = aiohttp.TCPConnector(limit=_MOST_CONNECTIONS)
            self._session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, trust_env=False)
            self._clients.clear()
        return self._session

    async def for_space(self, team_id: str) -> AsyncWebClient:
        """The client of a workspace. Raises `DeliveryError` where the app is not installed."""
        token = await self._token_for(team_id)
        if not token:
            raise DeliveryError(
                f"The app is not installed in the Slack workspace {team_id}.", "Install it there again.", gone=True
            )
        session = self.session
        client = self._clients.get(team_id)
        if client is None or client.token != token:
            client = AsyncWebClient(token, self.base_url, session=session, retry_handlers=[])
            client.proxy = None
            self._clients[team_id] = client
        return client

    async def request(self, team_id: str, method: str, args: Mapping[str, object]) -> Json:
        """One call, one try. Raises `Refused`, `Limited` or `Doubtful`."""
        client = await self.for_space(team_id)
        given = {name: value for name, value in args.items() if value is not None}
        try:
            if method in _READS:
                response = await client.api_call(method, http_verb="GET", params=given)
            else:
                response = await client.api_call(method, json=given)
        except SlackApiError as error:
            raise _meaning(error.response) from None
        except aiohttp.ClientConnectorError as error:
            raise Doubtful(f"no connection ({type(error).__name__})", sent=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError, AttributeError) as error:
            # The SDK reads `.get` of a body of text, which is an AttributeError.
            raise Doubtful(f"no answer ({type(error).__name__})") from None
        return response.data if isinstance(response.data, dict) else {}

    async def identity(self, team_id: str) -> Identity:
        """Who the app is in a workspace, asked once."""
        known = self._identities.get(team_id)
        if known is not None:
            return known
        asking = self._asking.get(team_id)
        if asking is None or asking.done():
            asking = self._asking[team_id] = asyncio.create_task(self._identify(team_id))
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(asking)

    async def _identify(self, team_id: str) -> Identity:
        told = await self.request(team_id, "auth.test", {})
        self.know(team_id, str(told.get("user_id", "")), str(told.get("bot_id", "")))
        return self._identities[team_id]

    def know(self, team: str, user: str, bot: str) -> None:
        """Who the app is in a workspace, for who has been told already."""
        self._identities[team] = Identity(user, bot)

    async def bot_user(self, team: str) -> str:
        """The id of the app's user in a workspace."""
        return (await self.identity(team)).user

    async def bot_id(self, team: str) -> str:
        """The id of the app's bot in a workspace."""
        return (await self.identity(team)).bot

    def trusts(self, url: str) -> bool:
        """Whether an address is Slack's, or of the API's own host: only there go tokens and replies."""
        own = urlsplit(self.base_url)
        try:
            asked = urlsplit(url)
            usual_port = asked.port in (None, 443)
        except ValueError:
            return False
        if "@" in asked.netloc or "\\" in url:
            return False
        if (asked.scheme, asked.netloc) == (own.scheme, own.netloc):
            return True
        host = asked.hostname or ""
        if _is_this_machine(own.hostname or "") and _is_this_machine(host):
            # A Slack for tests, by another of this machine's names.
            return (asked.scheme, asked.port) == (own.scheme, own.port)
        return asked.scheme == "https" and usual_port and f".{host}".endswith(tuple(f".{one}" for one in _SLACK))

    async def close(self) -> None:
        """End the session; it is opened again when it is needed."""
        session, self._session = self._session, None
        if session is not None and not session.closed:
            await session.close()


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def _meaning(response: Any) -> Refused | Limited | Doubtful:
    """What an answer that is not ok means. The SDK gives its own response, or aiohttp's when the body was no JSON."""
    status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
    data = getattr(response, "data", None)
    told = data if isinstance(data, dict) else {}
    error = str(told.get("error") or "")
    if status == 429 or error in ("ratelimited", "rate_limited"):
        return Limited(_seconds(getattr(response, "headers", None) or {}))
    if status >= 500 or not error or error in _PASSING:
        return Doubtful(error or f"HTTP {status}")
    return Refused(error, str(told.get("needed") or ""))


def _seconds(headers: Mapping[str, str]) -> float:
    try:
        return max(0.1, float(headers.get("Retry-After") or 1))
    except ValueError:
        return 1.0


def delivery_error(doing: str, refused: Refused) -> DeliveryError:
    """What an operator is told when Slack says no. `doing` completes "Slack did not let us ...": words only, no addresses."""
    message = f"Slack did not let us {doing}: {refused.error}."
    if refused.error in _NO_TOKEN:
        return DeliveryError(message, "Install the app again and set its new bot token.", token=True)
    if refused.error == "missing_scope":
        needed = refused.needed or "chat:write"
        return DeliveryError(
            message, f"Add the scope {needed} to the app and install it again.", token="chat:write" in needed
        )
    if refused.error in _GONE_FOR_GOOD:
        return DeliveryError(message, "Invite the app to the channel, or see whether it still exists.", gone=True)
    return DeliveryError(message, "Look the error up at docs.slack.dev/reference/methods.")


async def outsiders_read(clients: Clients, address: Address) -> bool:
    """Whether guests or people of other companies read in a channel. Whatever goes wrong: they do."""
    try:
        channel = (await clients.request(address.space, "conversations.info", {"channel": address.room}))["channel"]
        if channel.get("is_im"):
            return await _is_outside(clients, address.space, channel["user"])
        if any(channel.get(flag) for flag in ("is_ext_shared", "is_pending_ext_shared", "is_shared")):
            # A channel that only workspaces of the same organisation share is not shared with others.
            return bool(
                channel.get("is_ext_shared") or channel.get("is_pending_ext_shared") or not channel.get("is_org_shared")
            )
        connected = {*_list(channel.get("shared_team_ids")), *_list(channel.get("connected_team_ids"))}
        if connected - {address.space, str(channel.get("context_team_id") or address.space)}:
            return True
        if _list(channel.get("pending_connected_team_ids")) or _list(channel.get("pending_shared")):
            return True
        told = await clients.request(
            address.space, "conversations.members", {"channel": address.room, "limit": MOST_MEMBERS}
        )
        if (told.get("response_metadata") or {}).get("next_cursor"):
            _log.warning("Slack: %s has too many members to tell that none is a guest: public only.", address.channel)
            return True
        ours = await clients.bot_user(address.space)
        members = [member for member in _list(told["members"]) if member != ours]
        few = asyncio.Semaphore(_MOST_AT_ONCE)

        async def outside(member: str) -> bool:
            async with few:
                return await _is_outside(clients, address.space, member)

        return any(await asyncio.gather(*(outside(member) for member in members)))
    except (Refused, Limited, Doubtful, DeliveryError, KeyError, TypeError, AttributeError):
        return True


async def _is_outside(clients: Clients, team: str, person: str) -> bool:
    known = clients.outside.get((team, person))
    if known is None or known[1] < time.monotonic():
        known = await _asked_outside(clients, team, person), time.monotonic() + KNOWN_SECONDS
        clients.outside[team, person] = known
    return known[0]


async def _asked_outside(clients: Clients, team: str, person: str) -> bool:
    user = (await clients.request(team, "users.info", {"user": person}))["user"]
    if any(user.get(flag) for flag in ("is_restricted", "is_ultra_restricted", "is_stranger")):
        return True
    organisation = user.get("enterprise_user") or {}
    # In an organisation of several workspaces somebody may be of another one first, and a full member of this one.
    return team not in (str(user.get("team_id") or ""), *_list(organisation.get("teams")))


def _list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


async def download(clients: Clients, address: Address, attachment: Attachment, most_bytes: int) -> bytes:
    """The first bytes of a file. The token goes to Slack's hosts only, and a page to sign in is not taken for the file."""
    token = (await clients.for_space(address.space)).token
    url = attachment.source
    try:
        for _ in range(_MOST_REDIRECTS):
            if not clients.trusts(url):
                raise DeliveryError(
                    f"The file {attachment.name!r} is not on a host of Slack: it was not fetched.", gone=True
                )
            headers = {"Authorization": f"Bearer {token}"}
            async with clients.session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, response.headers.get("Location", ""))
                    continue
                return await _content(response, attachment, most_bytes)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise DeliveryError(f"The file {attachment.name!r} could not be fetched: {type(error).__name__}.") from None
    raise DeliveryError(f"The file {attachment.name!r} could not be fetched: too many redirections.")


async def _content(response: aiohttp.ClientResponse, attachment: Attachment, most_bytes: int) -> bytes:
    page = response.status == 200 and response.content_type == "text/html"
    if page and "html" not in attachment.media_type.lower():
        raise DeliveryError(
            f"Slack gave the page to sign in instead of the file {attachment.name!r}: no files:read scope.",
            "Add the scope files:read to the app and install it again.",
        )
    return await first_bytes(response, attachment, most_bytes)
