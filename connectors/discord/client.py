"""The library's client, so that a gateway can keep it: it caches little, closes all it opened, and tells how it fares."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import Route

from connectors.discord.budget import Spent

_SECONDS_TO_LEAVE = 3.0
_MOST_LAUNCHES = 20
_MOST_LOSSES, _LOSSES_SECONDS = 10, 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds between two sessions of a shard, until a silent connection is given up, and between two servers of a session."""

    identify: float = 5.0
    heartbeat: float = 60.0
    guilds: float = 2.0


class Handlers(Protocol):
    """Who is told what comes. Whatever one of these raises does not end the connection."""

    def attach(self, client: discord.Client) -> None:
        """There is a new client, which has not connected yet."""
        ...

    def knows(self, client: discord.Client | None) -> None:
        """What this client has in its cache holds now; `None`: what it had may hold no longer."""
        ...

    def message(self, message: discord.Message) -> None:
        """Something was said."""
        ...

    def edited(self, message: discord.Message) -> None:
        """A message was changed."""
        ...

    def deleted(self, guild: int | None, channel: int, messages: Iterable[int]) -> None:
        """Messages were deleted."""
        ...

    async def interaction(self, interaction: discord.Interaction) -> None:
        """A command, a button or a form was used."""
        ...

    def changed(self, channels: Iterable[int]) -> None:
        """What is known of these channels may no longer hold."""
        ...

    def missed(self, client: discord.AutoShardedClient, shard: int, *, late: bool = False) -> None:
        """A session began, and its servers are known. `late`: one of them became known later than the others."""
        ...


class Keeper(Protocol):
    """Who keeps a client, and is told how its shards fare. `only`: its address is used for resuming, too."""

    only: bool

    def up(self, shard: int, *, resumed: bool = False) -> None:
        """A shard hears its servers."""
        ...

    def down(self, shard: int) -> None:
        """A shard lost its connection."""
        ...

    def identify(self, shard: int) -> float:
        """A session is about to start. Returns the seconds to wait before; raises `Spent`."""
        ...


class NotReachedError(ConnectionError):
    """The gateway cannot be reached at all."""


def _without_voice() -> None:
    """Nobody is to be told of libraries for voice, which is not used."""
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


def unconnected() -> discord.Client:
    """A client that never connects: the library makes messages and commands for one."""
    _without_voice()
    return discord.Client(intents=discord.Intents(guilds=True))


class Client(discord.AutoShardedClient):
    """The library's client, which caches nothing but channels, and tells its keeper how it fares."""

    def __init__(
        self,
        keeper: Keeper,
        told: Handlers,
        intents: discord.Intents,
        shards: int,
        address: yarl.URL,
        pauses: Pauses,
        *,
        api_url: str,
    ) -> None:
        _without_voice()
        super().__init__(
            intents=intents,
            shard_count=shards,
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            allowed_mentions=discord.AllowedMentions.none(),
            status=discord.Status.online,
            heartbeat_timeout=pauses.heartbeat,
            guild_ready_timeout=pauses.guilds,
        )
        # There is no other way to choose the address, and to know of a connection that is cut off while it begins.
        self._connect, self._address = self.http.ws_connect, address
        self.http.ws_connect = self._ws_connect  # type: ignore[method-assign]
        self._request, self._api_url = self.http.request, api_url.rstrip("/")
        self.http.request = self._request_there  # type: ignore[method-assign]
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        self._keeper, self._told = keeper, told
        self._launches: dict[int, int] = {}
        self._known: set[int] = set()
        self._losses: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=_MOST_LOSSES))
        self.given_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def silence(self, shard: int) -> float | None:
        """The seconds since a shard's connection last said anything; `None` when it has none, or what it missed is not told."""
        if shard not in self._known:
            return None
        alive = self._get_websocket(shard_id=shard)._keep_alive
        return None if alive is None else time.perf_counter() - alive._last_recv

    async def leave(self) -> None:
        """Close everything, also when the other side does not answer."""
        closing: list[Callable[[], Coroutine[Any, Any, object]]] = [self.close, self.http.close]
        for close in (*closing, *(socket.close for socket in self._sockets)):
            task = asyncio.get_running_loop().create_task(close())
            await asyncio.wait({task}, timeout=_SECONDS_TO_LEAVE)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for thread in threading.enumerate():
            # The library forgets the one of a connection that was cut off while it began.
            if isinstance(thread, KeepAliveHandler) and thread.ws._connection is self._connection:
                thread.stop()

    # Connecting.

    async def _ws_connect(self, url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        """Connect where Discord says that its gateway is; behind an address of one's own, a session is resumed there, too."""
        if self.given_up.done():
            raise NotReachedError(self.given_up.result())
        given = yarl.URL(url)
        usual = given.host == DiscordWebSocket.DEFAULT_GATEWAY.host
        address = (self._address if usual or self._keeper.only else given).with_query(given.query)
        socket = await self._connect(str(address), compress=compress)
        self._sockets = [*(one for one in self._sockets if not one.closed), socket]
        return socket

    async def _request_there(self, route: Route, **more: Any) -> Any:
        """What the library asks by itself, when it logs in, goes to the address that is set."""
        route.url = self._api_url + route.url.removeprefix(Route.BASE)
        return await self._request(route, **more)

    async def launch_shard(self, gateway: yarl.URL, shard_id: int, *, initial: bool = False) -> None:
        """Connect a shard. The library tries for ever, by calling this again; when no shard is reached, it ends instead."""
        tries = self._launches[shard_id] = self._launches.get(shard_id, 0) + 1
        cause = sys.exception()
        if isinstance(cause, Spent):
            raise cause
        if tries > (_MOST_LAUNCHES if self.shards else 1):
            raise NotReachedError(str(cause) or "the gateway is not reached") from cause
        await super().launch_shard(gateway, shard_id, initial=initial)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Wait until a session may be started."""
        await asyncio.sleep(self._keeper.identify(shard_id or 0))

    async def on_shard_connect(self, shard_id: int) -> None:
        """READY: a new session."""
        self._known.discard(shard_id)
        self._keeper.up(shard_id)

    async def on_shard_ready(self, shard_id: int) -> None:
        """The servers of a new session are known."""
        self._told.missed(self, shard_id)
        self._known.add(shard_id)

    async def on_shard_resumed(self, shard_id: int) -> None:
        """RESUMED: all that was missed has come."""
        self._keeper.up(shard_id, resumed=True)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """A connection is gone, and the library connects again at once, and as often as it takes.

        It also resumes sessions that it never got, which Discord never takes: then a new client begins with a pause.
        """
        self._keeper.down(shard_id)
        losses = self._losses[shard_id]
        losses.append(time.monotonic())
        lost = self._get_websocket(shard_id=shard_id)
        # Not so for a session that Discord declared invalid, nor for a reason that ends the client anyway.
        if lost.session_id is None and lost._can_handle_close():
            self._give_up("Discord closed the connection before the session began")
        elif len(losses) == _MOST_LOSSES and losses[-1] - losses[0] < _LOSSES_SECONDS:
            self._give_up("the connection to Discord is lost again and again")

    def _give_up(self, why: str) -> None:
        if not self.given_up.done():
            self.given_up.set_result(why)

    # What comes.

    async def on_message(self, message: discord.Message) -> None:
        """Something was said."""
        self._told.message(message)

    async def on_raw_message_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        """A message was changed."""
        self._told.edited(event.message)

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """A message was deleted."""
        self._told.deleted(event.guild_id, event.channel_id, (event.message_id,))

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Many messages were deleted."""
        self._told.deleted(event.guild_id, event.channel_id, sorted(event.message_ids))

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """A command, a button or a form was used."""
        await self._told.interaction(interaction)

    async def on_raw_thread_update(self, event: discord.RawThreadUpdateEvent) -> None:
        """A thread was renamed, tagged, archived, locked, or opened again."""
        self._told.changed((event.thread_id,))

    async def on_raw_thread_delete(self, event: discord.RawThreadDeleteEvent) -> None:
        """A thread is gone."""
        self._told.changed((event.thread_id,))

    async def on_guild_channel_update(self, _: discord.abc.GuildChannel, after: discord.abc.GuildChannel) -> None:
        """A channel was changed, perhaps who sees it; its threads with it."""
        self._told.changed((after.id, *(one.id for one in after.guild.threads if one.parent_id == after.id)))

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """A channel is gone."""
        self._told.changed((channel.id,))

    async def on_guild_role_update(self, _: discord.Role, after: discord.Role) -> None:
        """What everybody may do was changed, perhaps."""
        if after.is_default():
            self._told.changed([*(one.id for one in after.guild.channels), *(one.id for one in after.guild.threads)])

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """A server became known; after its shard was ready this may be later than what was said in it."""
        if guild.shard_id in self._known:
            self._told.missed(self, guild.shard_id, late=True)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """The app was invited."""
        _log.info("added to the server %s (%d)", guild.name, guild.id)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """The app was thrown out, or the server is gone."""
        _log.warning("removed from the server %s (%d): nothing more is heard or shown there", guild.name, guild.id)
        self._told.changed([*(one.id for one in guild.channels), *(one.id for one in guild.threads)])
