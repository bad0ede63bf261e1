"""Where what the gateway tells goes: into the store, in order per channel, and what was missed as well.

The mark is the moment before which all that was said is stored. It moves while everything is heard, and never past something
that waits. What was said after it is read again when a session was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import discord

from connectors.discord.backfill import Backfill, OpenConversations
from connectors.discord.desk import FAULTS, Desk
from connectors.discord.facts import changed, gone, heard
from connectors.discord.lanes import Lanes

if TYPE_CHECKING:
    from connectors.discord.gateway import Gateway
    from connectors.discord.interactions import Interactions

GetMark = Callable[[], Awaitable[datetime | None]]
SetMark = Callable[[datetime], Awaitable[None]]

_MARGIN = timedelta(seconds=5)
"""Two clocks never agree."""

_log = logging.getLogger(__name__)


class Hearing:
    """What `Gateway` tells of. `run` keeps the mark, and looks up what was missed, until it is cancelled."""

    def __init__(
        self,
        desk: Desk,
        lanes: Lanes,
        interactions: Interactions,
        *,
        open_conversations: OpenConversations | None = None,
        get_mark: GetMark | None = None,
        set_mark: SetMark | None = None,
        mark_seconds: float = 15.0,
    ) -> None:
        self._desk, self._lanes, self._interactions = desk, lanes, interactions
        self._backfill = Backfill(
            desk.rest,
            lanes,
            self.message,
            self.edited,
            most_seconds=desk.settings.backfill_seconds,
            open_conversations=open_conversations,
        )
        self._get_mark, self._set_mark, self._mark_seconds = get_mark, set_mark, mark_seconds
        self._mark: datetime | None = None
        self._knows_mark = False
        self._began = datetime.now(UTC)
        self._looked: dict[int, datetime | None] = {}
        """Since when a shard's servers were looked up."""
        self._wanted: dict[int, bool] = {}
        """The shards to look up, and whether it is for a server that became known late."""
        self._asked = asyncio.Event()
        self._client: discord.AutoShardedClient | None = None

    # What the gateway tells.

    def attach(self, client: discord.Client) -> None:
        """A new client; what its sessions missed is told when they are open."""
        self._wanted.clear()
        self._client = None
        self._interactions.register(client)

    def knows(self, client: discord.Client | None) -> None:
        """What this client has in its cache holds now; `None`: what it had may hold no longer."""
        self._desk.rooms.use(client)

    def message(self, message: discord.Message) -> None:
        """Something was said."""
        if not message.author.bot and message.webhook_id is None:
            self._lanes.put(message.channel.id, message.id, partial(self._heard, message))

    def edited(self, message: discord.Message) -> None:
        """A message was changed by its author; Discord tells as well when a link was unfurled in it."""
        if not message.author.bot and message.webhook_id is None and message.edited_at is not None:
            self._lanes.put(message.channel.id, message.id, partial(self._changed, message))

    def deleted(self, guild: int | None, channel: int, messages: Iterable[int]) -> None:
        """Messages were deleted."""
        for message in messages:
            self._lanes.put(channel, message, partial(self._gone, guild, channel, message))

    async def interaction(self, interaction: discord.Interaction) -> None:
        """A command, a button or a form was used."""
        await self._interactions.received(interaction)

    def changed(self, channels: Iterable[int]) -> None:
        """What is known of these channels may no longer hold."""
        for channel in channels:
            self._desk.rooms.forget(channel)

    def missed(self, client: discord.AutoShardedClient, shard: int, *, late: bool = False) -> None:
        """A session began."""
        self._client = client
        self._wanted[shard] = late and self._wanted.get(shard, True)
        self._asked.set()

    # The mark, and what was missed.

    async def run(self, gateway: Gateway) -> None:
        """Look up what was missed whenever a session began, and move the mark."""
        wait = 0.0
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), wait)
            wait = self._mark_seconds
            self._asked.clear()
            try:
                if not self._knows_mark:
                    await self._recall_mark()
                await self._look_up()
                await self._move_mark(gateway)
            except FAULTS as error:
                _log.warning("What was said meanwhile could not be looked up, and is tried again: %s", error)
            except Exception:  # noqa: BLE001
                # To connect once more would cost a session, and meet the same.
                _log.exception("What was said meanwhile could not be looked up, and is tried again")

    async def _recall_mark(self) -> None:
        self._mark = await self._get_mark() if self._get_mark is not None else None
        if self._mark is None and self._set_mark is not None:
            # If this process is killed before its first session began, the next one looks up what was said since.
            await self._set_mark(self._began)
        self._knows_mark = True

    async def _look_up(self) -> None:
        client = self._client
        if client is not None and self._lanes.lost and self._lanes.has_room:
            self._wanted = {shard: False for shard in client.shards} | self._wanted
        if client is None or not self._wanted:
            return
        wanted, self._wanted = self._wanted, {}
        since = [self._looked.get(shard) if late else self._mark for shard, late in wanted.items()]
        known = [one for one in since if one is not None]
        mark = min(known) if len(known) == len(since) else None
        self._lanes.lost = 0
        try:
            await self._backfill.run(client, wanted, mark)
        except BaseException:
            if client is self._client:
                self._wanted = wanted | self._wanted
            raise
        self._looked |= dict.fromkeys(wanted, mark)
        if self._mark is None:
            # What was said before the very first start, outside conversations that went on, is nobody's.
            self._mark = self._began

    async def _move_mark(self, gateway: Gateway) -> None:
        until = gateway.heard_until
        if self._wanted or until is None or self._mark is None:
            return
        target = min(until, datetime.now(UTC) - _MARGIN)
        if self._lanes.oldest:
            oldest = discord.utils.snowflake_time(self._lanes.oldest)
            target = min(target, oldest - timedelta(milliseconds=1))
        if target > self._mark:
            await self._keep_mark(target)

    async def _keep_mark(self, mark: datetime) -> None:
        if self._set_mark is not None:
            await self._set_mark(mark)
        self._mark = mark

    # What is stored.

    async def _heard(self, message: discord.Message) -> None:
        inbound = await heard(self._desk, message, _guild_of(message))
        if inbound is not None:
            await self._desk.receive(inbound)

    async def _changed(self, message: discord.Message) -> None:
        inbound = await changed(self._desk, message, _guild_of(message))
        if inbound is not None:
            await self._desk.receive(inbound)

    async def _gone(self, guild: int | None, channel: int, message: int) -> None:
        inbound = await gone(self._desk, message, channel, guild)
        if inbound is not None:
            await self._desk.receive(inbound)


def _guild_of(message: discord.Message) -> int | None:
    if message.guild is not None:
        return message.guild.id
    # A server that the gateway has not told of yet.
    return message.channel.guild_id if isinstance(message.channel, discord.PartialMessageable) else None
