"""Keeps a client of Discord's gateway: a new one when one ends, with pauses that grow and a budget of sessions.

The gateway acknowledges nothing. What was said while nobody listened is looked up by `backfill`, when `Handlers.missed` says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import yarl

from agent.errors import DeliveryError, SettingsError
from connectors.discord.budget import Budget, Spent
from connectors.discord.client import Client, Handlers, Pauses
from connectors.discord.errors import Doubtful, Limited, Refused
from connectors.discord.rest import Rest
from connectors.discord.settings import DiscordSettings

_CONTENT_FLAGS = 1 << 18 | 1 << 19
"""GATEWAY_MESSAGE_CONTENT, and its form for applications in few servers (resources/application, Application Flags)."""
_REFUSED_TOKEN, _REFUSED_INTENT = 4004, 4014
_CLOSED = {
    4010: "the shard is not valid",
    4011: "more shards are required",
    4012: "the version of its API is not valid",
    4013: "an intent is not valid",
}
_WELL_SECONDS = 60.0
_LONGEST_LOOK = 3600.0

_log = logging.getLogger(__name__)


class Gateway:
    """Hears Discord until it is cancelled. `connected` and `problem` tell whether it does now, and why not."""

    def __init__(
        self,
        settings: DiscordSettings,
        rest: Rest,
        handlers: Handlers,
        *,
        budget: Budget | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self._settings, self._rest, self._handlers = settings, rest, handlers
        self._pauses = pauses or Pauses()
        self._budget = budget or Budget(self._pauses.identify)
        self.only = bool(settings.gateway_url)
        self._content: bool | None = None
        self._trouble = "not connected yet"
        self._shards = 0
        self._up: set[int] = set()
        self._down: dict[int, datetime] = {}
        self._well_since = 0.0
        self.client: Client | None = None

    @property
    def connected(self) -> bool:
        """Whether every shard hears its servers."""
        return self._shards > 0 and len(self._up) == self._shards

    @property
    def problem(self) -> str:
        """Why not, in words; empty when they do."""
        if self.connected:
            return ""
        if self._trouble or not self._down:
            return self._trouble or "not connected yet"
        shard, since = min(self._down.items(), key=lambda one: one[1])
        which = f"shard {shard} of {self._shards} is" if self._shards > 1 else "the connection to Discord is"
        return f"{which} down since {since:%H:%M:%S} UTC, and tried again"

    @property
    def heard_until(self) -> datetime | None:
        """All that was said before has come. `None` while a shard is down."""
        client = self.client
        if client is None or not self.connected:
            return None
        silences = [client.silence(shard) for shard in self._up]
        known = [silence for silence in silences if silence is not None]
        return datetime.now(UTC) - timedelta(seconds=max(known)) if len(known) == len(silences) else None

    # Staying connected.

    async def run(self) -> None:
        """Keep a client. Raises `SettingsError` for a token that Discord refuses."""
        first, most = self._settings.backoff
        pause = first
        while True:
            self._well_since = 0.0
            try:
                await self._session()
            except Spent as spent:
                at_least = min(spent.seconds, _LONGEST_LOOK)
                again = datetime.now(UTC) + timedelta(seconds=spent.seconds)
                self._trouble = (
                    f"Discord allows hardly any new session until {again:%H:%M} UTC, so none is started before"
                )
                _log.warning("%s", self._trouble)
                await asyncio.sleep(at_least)
                continue
            except _Again:
                continue
            if self._well_since and time.monotonic() - self._well_since >= min(most, _WELL_SECONDS):
                pause = first
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(most, pause * 2)

    async def _session(self) -> None:
        """One client, from its start to its end."""
        self._shards = 0
        self._up.clear()
        self._down.clear()
        try:
            told = await self._rest.request("GET", "/gateway/bot")
        except (Refused, Limited, Doubtful, DeliveryError) as error:
            if isinstance(error, DeliveryError) and error.token:
                raise refused_token() from None
            self._lost(f"Discord does not tell where its gateway is: {error}")
            return
        shards = max(1, int(told["shards"]))
        self._budget.told(told["session_start_limit"], shards)
        address = yarl.URL(self._settings.gateway_url or str(told["url"]))
        api_url = self._settings.api_url
        client = self.client = Client(
            self, self._handlers, self._intents(), shards, address, self._pauses, api_url=api_url
        )
        self._shards = shards
        starting = asyncio.get_running_loop().create_task(client.start(self._settings.token))
        try:
            self._handlers.attach(client)
            ends: list[asyncio.Future[Any]] = [starting, client.given_up]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._shards = 0
            self._handlers.knows(None)
            # In this order: while it connects a shard anew, the library takes no notice of being cancelled.
            await client.leave()
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        if client.given_up.done():
            self._lost(client.given_up.result())
        else:
            self._ended(None if starting.cancelled() else starting.exception())

    def _intents(self) -> discord.Intents:
        wanted = self._settings.message_content
        if self._content is None:
            switched_on = bool(self._rest.flags & _CONTENT_FLAGS)
            self._content = wanted == "on" or (wanted == "auto" and switched_on)
            if wanted == "auto" and not switched_on:
                _log.warning("%s", self._without_content())
        return discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=self._content)

    def _without_content(self) -> str:
        return (
            "The Message Content Intent is not switched on for the app: mentions, direct messages and commands are read, but no "
            "follow-ups without a mention, no forum posts, and no channels in which every question is answered. To read "
            f"them, switch it on at https://discord.com/developers/applications/{self._rest.application_id}/bot "
            "(Privileged Gateway Intents), and start frontdesk again."
        )

    def _ended(self, error: BaseException | None) -> None:
        """Note why a client ended. Raises `SettingsError`, `Spent`, or `_Again` when the next may start at once."""
        if isinstance(error, Spent):
            raise error
        if isinstance(error, discord.LoginFailure) or _code_of(error) == _REFUSED_TOKEN:
            raise refused_token()
        if isinstance(error, discord.PrivilegedIntentsRequired) and self._content:
            self._content = False
            _log.critical("%s", self._without_content())
            raise _Again
        if error is None:
            self._lost("the connection to Discord ended")
        elif isinstance(error, discord.ConnectionClosed):
            self._lost(f"Discord closed the connection: {_CLOSED.get(error.code) or error.reason or error.code}")
        elif isinstance(error, discord.HTTPException | discord.GatewayNotFound | OSError | TimeoutError):
            self._lost(f"Discord cannot be reached: {error or type(error).__name__}")
        else:
            self._lost(f"the connection to Discord broke: {type(error).__name__}: {error}", error)

    def _lost(self, why: str, error: BaseException | None = None) -> None:
        self._trouble = why
        _log.error("%s", why, exc_info=error)

    # What the client tells.

    def up(self, shard: int, *, resumed: bool = False) -> None:
        """A shard hears its servers."""
        self._up.add(shard)
        self._trouble = ""
        since = self._down.pop(shard, None)
        if self.connected:
            self._well_since = self._well_since or time.monotonic()
            self._handlers.knows(self.client)
        if since is not None or not resumed:
            _log.info("shard %d of %d %s", shard, self._shards, "resumed its session" if resumed else "is connected")

    def down(self, shard: int) -> None:
        """A shard lost its connection."""
        if shard in self._up:
            self._handlers.knows(None)
            self._up.discard(shard)
            self._down[shard] = datetime.now(UTC)
            _log.warning("shard %d of %d lost its connection", shard, self._shards)

    def identify(self, shard: int) -> float:
        """A session is about to start. Returns the seconds to wait before; raises `Spent`."""
        pause = self._budget.spend(shard)
        if shard in self._down:
            # Discord asks for a random pause before the session after one that was lost.
            pause = max(pause, self._pauses.identify * random.uniform(0.2, 1.0))
        return pause


class _Again(Exception):
    """The next client may start without a pause."""


def refused_token() -> SettingsError:
    """What is raised for a token that Discord does not take."""
    return SettingsError(
        "DISCORD_TOKEN is refused by Discord.",
        "Open https://discord.com/developers/applications, the app, Bot, Reset Token, and set DISCORD_TOKEN to the new one.",
    )


def _code_of(error: BaseException | None) -> int:
    return error.code if isinstance(error, discord.ConnectionClosed) else 0
