"""What was said while no session was open: read from the history, and heard like anything else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import discord

from agent.messages import Address
from connectors.discord.errors import Doubtful, Limited, Refused
from connectors.discord.ids import DIRECT, snowflake, snowflake_of
from connectors.discord.lanes import Lanes
from connectors.discord.rest import Rest

OpenConversations = Callable[[], Awaitable[Sequence[tuple[Address, str]]]]
"""The conversations that go on, each with the id of the last message that was stored."""

_Place = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread

_PAGE = 100
_MOST = 500
"""Messages of one channel that are read."""
_AT_ONCE = 3
_PAUSE = 0.1
"""After each request of one of those: hearing and answering need Discord's budget of requests more."""
_TRIES = 4
_LONGEST_LIMIT = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _History:
    """A channel to read, after a message. `newest` is the last one said there, 0 if that is not known."""

    channel: int
    guild: int | None
    after: int
    newest: int


class Backfill:
    """Reads histories. `heard` is given each message, `edited` those that were changed since as well."""

    def __init__(
        self,
        rest: Rest,
        lanes: Lanes,
        heard: Callable[[discord.Message], None],
        edited: Callable[[discord.Message], None],
        *,
        most_seconds: float,
        open_conversations: OpenConversations | None = None,
    ) -> None:
        self._rest, self._lanes, self._heard, self._edited = rest, lanes, heard, edited
        self._most = timedelta(seconds=most_seconds)
        self._open_conversations = open_conversations

    async def run(self, client: discord.AutoShardedClient, shards: Collection[int], mark: datetime | None) -> None:
        """Hear what was said after `mark` in the servers of some shards, and in the conversations that go on.

        Without a mark, nothing was ever heard, and only these conversations are read. Raises what `open_conversations` raises.
        """
        earliest = datetime.now(UTC) - self._most
        since = max(mark, earliest) if mark is not None else None
        found = {} if since is None else {one.channel: one for one in _said_in(client, shards, since)}
        going_on = await self._open_conversations() if self._open_conversations is not None else ()
        for address, last in going_on:
            one = _of(client, shards, address, snowflake_of(last) or discord.utils.time_snowflake(since or earliest))
            if one is not None:
                known = found.get(one.channel)
                after = min(one.after, known.after) if known is not None else one.after
                found[one.channel] = _History(one.channel, one.guild, after, max(one.newest, one.after))
        if not found:
            return
        _log.info("looking up what was said meanwhile in %d channels and conversations", len(found))
        waiting = iter(sorted(found.values(), key=lambda history: history.newest, reverse=True))

        async def some() -> None:
            for history in waiting:
                await self._read(client, history, mark)

        reading = [asyncio.ensure_future(some()) for _ in range(_AT_ONCE)]
        try:
            await asyncio.gather(*reading)
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    async def _read(self, client: discord.Client, history: _History, mark: datetime | None) -> None:
        """One channel. What is said there meanwhile is heard after it."""
        try:
            async with self._lanes.hold(history.channel):
                await self._pages(client, history, mark)
        except Refused as error:
            # A conversation in a channel itself has no thread.
            _log.info("what was said in the channel %d cannot be looked up: %s", history.channel, error)
        except (Limited, Doubtful) as error:
            _log.warning("what was said in the channel %d could not be looked up: %s", history.channel, error)
        except (LookupError, TypeError, ValueError, AttributeError):
            # A kind of message that the library cannot read; the other channels are read all the same.
            _log.exception("what was said in the channel %d could not be understood", history.channel)

    async def _pages(self, client: discord.Client, history: _History, mark: datetime | None) -> None:
        after, read = history.after, 0
        while read < _MOST:
            page = await self._page(history.channel, after)
            for data in sorted(page, key=lambda one: int(one["id"])):
                message = read_message(client, data, history.channel, history.guild)
                self._heard(message)
                if message.edited_at is not None and (mark is None or message.edited_at > mark):
                    self._edited(message)
                after = message.id
            read += len(page)
            await asyncio.sleep(_PAUSE)
            if len(page) < _PAGE:
                return
        _log.warning(
            "more than %d messages were said in the channel %d: the later are left out", _MOST, history.channel
        )

    async def _page(self, channel: int, after: int) -> list[dict[str, Any]]:
        params = {"after": str(after), "limit": _PAGE}
        for tries in range(1, _TRIES + 1):
            try:
                page = await self._rest.request(
                    "GET", "/channels/{channel_id}/messages", params=params, channel_id=channel
                )
            except Limited as error:
                if tries == _TRIES or error.retry_after > _LONGEST_LIMIT:
                    raise
                await asyncio.sleep(error.retry_after)
            except Doubtful:
                if tries == _TRIES:
                    raise
                await asyncio.sleep(tries)
            else:
                return [one for one in page if isinstance(one, dict)] if isinstance(page, list) else []
        return []


def read_message(client: discord.Client, data: Any, channel: int, guild: int | None) -> discord.Message:
    """A message as the REST API tells it, in a form that is heard like one of the gateway."""
    place = client.get_channel(channel) or client.get_partial_messageable(channel, guild_id=guild)
    return discord.Message(state=client._connection, channel=place, data=data)  # type: ignore[arg-type]


def _said_in(client: discord.AutoShardedClient, shards: Collection[int], since: datetime) -> list[_History]:
    """The channels and threads in which something was said since, and in which the app may read."""
    after = discord.utils.time_snowflake(since)
    found: list[_History] = []
    for guild in client.guilds:
        if guild.shard_id not in shards or guild.unavailable:
            continue
        places: list[_Place] = [*guild.text_channels, *guild.voice_channels, *guild.stage_channels, *guild.threads]
        for place in places:
            newest = place.last_message_id or 0
            if newest > after and _may_read(guild, place):
                found.append(_History(place.id, guild.id, after, newest))
    return found


def _may_read(guild: discord.Guild, place: _Place) -> bool:
    try:
        may = place.permissions_for(guild.me)
    except (discord.ClientException, AttributeError):
        # The thread's channel, or the app's own membership, is not known: Discord says whether it may.
        return True
    return may.view_channel and may.read_message_history


def _of(client: discord.AutoShardedClient, shards: Collection[int], address: Address, last: int) -> _History | None:
    """Where a conversation goes on, from its last message on, which may have been changed; `None` where nothing was said."""
    if address.space == DIRECT:
        room = snowflake(address.room)
        return _History(room, None, last - 1, 0) if room and 0 in shards else None
    guild, thread = snowflake(address.space), snowflake(address.thread)
    if not guild or not thread or (guild >> 22) % (client.shard_count or 1) not in shards:
        return None
    known = client.get_guild(guild)
    place = known.get_thread(thread) if known is not None else None
    if known is None or (place is not None and (place.last_message_id or 0) < last):
        return None
    return _History(thread, guild, last - 1, (place.last_message_id or 0) if place is not None else 0)
