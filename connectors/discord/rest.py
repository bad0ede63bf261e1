"""Discord's REST API: requests that wait for their limits, and are sent again where that does no harm.

It needs no gateway. Nothing it raises or logs has a token in it: what was asked is named by its route.
"""

from __future__ import annotations

import asyncio
import json as json_text
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl

from agent.errors import DeliveryError
from connectors.discord.errors import Doubtful, Limited, Refused
from connectors.discord.ids import snowflake
from connectors.discord.limits import Limits
from connectors.discord.settings import DiscordSettings

PATIENCE = 5.0
"""Seconds for a request with all its waiting, unless told otherwise."""
_LONGEST_TRY, _LONGEST_CONNECT = 20.0, 5.0
_PAUSE, _LONGEST_PAUSE = 0.3, 5.0
_MOST_CONNECTIONS = 100
_OPEN = ("/interactions/", "/webhooks/")
"""Routes with a token of their own, which the limit of the bot does not concern."""
_MAJOR = ("channel_id", "guild_id", "webhook_id", "webhook_token")
"""Of these parts of a path each value has limits of its own."""
_MOST_DETAILS = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    method: str
    path: str
    names: Mapping[str, object]
    json: object
    params: Mapping[str, object] | None

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def major(self) -> str:
        return "/".join(str(self.names[name]) for name in _MAJOR if name in self.names)

    @property
    def is_open(self) -> bool:
        return self.path.startswith(_OPEN)

    def url(self, base: str) -> yarl.URL:
        parts = {name: quote(str(value), safe="@") for name, value in self.names.items()}
        return yarl.URL(base + self.path.format_map(parts), encoded=True)

    @property
    def is_repeatable(self) -> bool:
        """Whether it does no harm to send it twice; a message with a nonce is posted once (resources/message)."""
        return self.method != "POST" or (isinstance(self.json, Mapping) and bool(self.json.get("enforce_nonce")))


class _Broken(Exception):
    """No answer that says what happened. `sent`: it may have taken effect."""

    def __init__(self, why: str, *, sent: bool = True) -> None:
        super().__init__(why)
        self.sent = sent


class _TooMany(Exception):
    """429: not for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Rest:
    """One bot's way to Discord. After `open` it is known who it is: `user_id`, `user_name`, `application_id`, `flags`."""

    def __init__(self, settings: DiscordSettings, *, limits: Limits | None = None) -> None:
        self.user_id = self.application_id = self.flags = 0
        self.user_name = ""
        self._base = settings.api_url.rstrip("/")
        self._token = settings.token
        self._limits = limits or Limits()
        self._agent = f"DiscordBot (https://discord.com/developers, {version('frontdesk')})"
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The one session, without any token in it; opened when it is first needed."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MOST_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": self._agent},
                trust_env=False,
            )
        return self._session

    async def open(self, patience: float = PATIENCE) -> None:
        """Ask who we are, once. Raises like `request`."""
        if not self.user_id:
            async with self._opening:
                await self._introduce(patience)

    async def _introduce(self, patience: float) -> None:
        if self.user_id:
            return
        me = await self.request("GET", "/users/@me", patience=patience)
        app = await self.request("GET", "/applications/@me", patience=patience)
        self.user_name, self.application_id = str(me["username"]), snowflake(app["id"])
        self.flags = int(app.get("flags_new") or app.get("flags") or 0)
        self.user_id = snowflake(me["id"])

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, object] | None = None,
        patience: float = PATIENCE,
        repeat: bool | None = None,
        **names: object,
    ) -> Any:
        """What Discord answers: `request("GET", "/channels/{channel_id}", channel_id=7)`.

        It waits for limits, and tries again after a 5xx or a cut connection, until `patience` ends. `repeat`: it does no
        harm to send it twice, also if that is not seen from the request. Raises `Refused`, `Limited`, `Doubtful` when
        nobody knows whether it took effect, and `DeliveryError` with `token` when the bot's token is refused.
        """
        asked = _Asked(method, path, names, json, params)
        ends, pause = time.monotonic() + patience, _PAUSE
        repeats = asked.is_repeatable if repeat is None else repeat
        while True:
            try:
                return await self._once(asked, ends)
            except _TooMany as too_many:
                wait, why = too_many.seconds, None
            except _Broken as broken:
                wait, why = pause * random.uniform(0.75, 1.25), str(broken)
                pause = min(_LONGEST_PAUSE, pause * 2)
                if broken.sent and not repeats:
                    raise Doubtful(f"{asked.route}: {why}") from None
            if time.monotonic() + wait >= ends:
                raise Limited(wait) if why is None else Doubtful(f"{asked.route}: {why}")
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """End the session; it is opened again when it is needed."""
        session, self._session = self._session, None
        if session is not None and not session.closed:
            await session.close()

    # One try.

    async def _once(self, asked: _Asked, ends: float) -> Any:
        bucket = await self._limits.enter(asked.route, asked.major, free=asked.is_open, ends=ends)
        answered = False
        try:
            status, headers, text = await self._send(asked, ends)
            answered = True
            self._limits.answered(asked.route, asked.major, bucket, status, headers)
            body = _parsed(text)
            _log.debug("%s: %d", asked.route, status)
            if status == 429:
                raise _TooMany(self._limits.refused(bucket, headers, body))
            return self._meaning(asked, status, text, body)
        finally:
            if not answered:
                bucket.spend()
            self._limits.leave(bucket, free=asked.is_open)

    async def _send(self, asked: _Asked, ends: float) -> tuple[int, Mapping[str, str], bytes]:
        left = max(0.05, min(_LONGEST_TRY, ends - time.monotonic()))
        more: dict[str, Any] = {"headers": {}}
        if not asked.is_open:
            more["headers"]["Authorization"] = f"Bot {self._token}"
        if asked.json is not None:
            more["data"] = json_text.dumps(asked.json).encode()
            more["headers"]["Content-Type"] = "application/json"
        if asked.params:
            more["params"] = {name: str(value) for name, value in asked.params.items()}
        timeout = aiohttp.ClientTimeout(total=left, sock_connect=_LONGEST_CONNECT)
        url = asked.url(self._base)
        try:
            async with self.session.request(
                asked.method, url, timeout=timeout, allow_redirects=False, **more
            ) as response:
                return response.status, response.headers, await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _Broken(f"no connection ({type(error).__name__})", sent=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Broken(f"no answer ({type(error).__name__})") from None

    def _meaning(self, asked: _Asked, status: int, text: bytes, body: Any) -> Any:
        if status < 300:
            if text and body is None:
                raise _Broken(f"HTTP {status} with something else than JSON")
            return body
        if status >= 500 or status == 408:
            raise _Broken(f"HTTP {status}")
        if status == 401 and not asked.is_open:
            raise DeliveryError(
                "Discord does not accept the bot's token.",
                "Reset it at https://discord.com/developers/applications, and set DISCORD_TOKEN to the new one.",
                token=True,
            )
        told = body if isinstance(body, Mapping) else {}
        code = told.get("code")
        message = str(told.get("message") or f"HTTP {status}")
        details = _details(told.get("errors"), "")[:_MOST_DETAILS]
        raise Refused(status, code if isinstance(code, int) else 0, "; ".join([message, *details]))


def _parsed(text: bytes) -> Any:
    try:
        return json_text.loads(text) if text else None
    except ValueError:
        return None


def _details(errors: object, where: str) -> list[str]:
    """What is wrong with a form, each with its place, such as `components.0.label: Must be 80 or fewer in length`."""
    if not isinstance(errors, Mapping):
        return []
    found = [f"{where}: {one.get('message')}" for one in errors.get("_errors") or () if isinstance(one, Mapping)]
    for name, inner in errors.items():
        if name != "_errors":
            found += _details(inner, f"{where}.{name}" if where else str(name))
    return found
