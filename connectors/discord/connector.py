"""The connector for Discord: one bot, in any number of servers and direct messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import discord

from agent.errors import DeliveryError
from agent.ledger import Ticket
from agent.messages import Address, Attachment, Delivery, Inbound, Message
from connectors.connector import Posts, Receive
from connectors.discord.backfill import OpenConversations, read_message
from connectors.discord.budget import Budget
from connectors.discord.client import Pauses, unconnected
from connectors.discord.delivery import DiscordDelivery
from connectors.discord.desk import FAULTS, AskerOf, Desk, GetChannel, SetChannel, ThreadOf
from connectors.discord.errors import Doubtful, Limited, Refused
from connectors.discord.facts import heard
from connectors.discord.gateway import Gateway, refused_token
from connectors.discord.hearing import GetMark, Hearing, SetMark
from connectors.discord.ids import DIRECT, snowflake, snowflake_of
from connectors.discord.interactions import Interactions
from connectors.discord.lanes import Lanes
from connectors.discord.people import People
from connectors.discord.rest import Rest
from connectors.discord.rooms import Rooms
from connectors.discord.settings import DiscordSettings as DiscordSettings

_MOST_SAID = 20
"""Messages of a conversation that are caught up with."""
_SECONDS_TO_LEAVE = 4.0
SECONDS_BETWEEN_LOOKS = 60.0
"""How often it is looked whether a token that was refused is accepted again."""

_log = logging.getLogger(__name__)


class DiscordConnector:
    """A place where customers write and read. See `connectors.connector.Connector` and `Reaches`.

    `connected` and `problem` tell whether Discord is heard now, and why not. What it shows goes by the REST API alone, so that
    a process that does not listen can answer.
    """

    name = "discord"

    def __init__(
        self,
        settings: DiscordSettings,
        posts: Posts,
        *,
        get_channel: GetChannel | None = None,
        set_channel: SetChannel | None = None,
        asker_of: AskerOf | None = None,
        thread_of: ThreadOf | None = None,
        open_conversations: OpenConversations | None = None,
        get_mark: GetMark | None = None,
        set_mark: SetMark | None = None,
        answers_in_place: Callable[[Address], bool] | None = None,
        pauses: Pauses | None = None,
        mark_seconds: float = 15.0,
    ) -> None:
        settings.check()
        self._settings = settings
        self._get_channel, self._set_channel = get_channel, set_channel
        self._asker_of, self._thread_of = asker_of, thread_of
        self._answers_in_place = answers_in_place or (lambda _: False)
        self._open_conversations, self._get_mark, self._set_mark = open_conversations, get_mark, set_mark
        self._pauses, self._mark_seconds = pauses or Pauses(), mark_seconds
        self._budget = Budget(self._pauses.identify)
        self.rest = Rest(settings)
        self.rooms = Rooms(self.rest)
        self.people = People(self.rest, self.rooms, settings)
        self._delivery = DiscordDelivery(self.rest, self.rooms, self.people, posts, settings)
        self._asking = self._desk(_not_received)
        self._reader: discord.Client | None = None
        self._gateway: Gateway | None = None
        self._trouble = "not connected yet"
        self._refused = False
        self._watching: asyncio.Task[None] | None = None
        self._closed, self._left = asyncio.Event(), asyncio.Event()
        self._left.set()

    @property
    def connected(self) -> bool:
        """Whether Discord is heard now."""
        return self._gateway is not None and self._gateway.connected and not self._refused

    @property
    def problem(self) -> str:
        """Why Discord is not heard, for who runs this; empty when it is."""
        if self._refused:
            return "Discord refuses DISCORD_TOKEN: reset it at https://discord.com/developers/applications, and set the new one"
        return self._gateway.problem if self._gateway is not None else self._trouble

    @property
    def servers(self) -> int:
        """In how many servers it is, as far as the gateway has told."""
        client = self._gateway.client if self._gateway is not None else None
        return len(client.guilds) if client is not None else 0

    # Hearing.

    async def listen(self, receive: Receive, /) -> None:
        """Hear people until the connector is closed. Raises `SettingsError` for a token that Discord refuses."""
        self._left.clear()
        desk = self._desk(receive)
        lanes = Lanes()
        try:
            await self._open()
            if not self._closed.is_set():
                await self._until_closed(desk, lanes)
        finally:
            self._gateway, self._trouble = None, "not connected"
            await lanes.close()
            await desk.close()
            self._left.set()

    def _desk(self, receive: Receive) -> Desk:
        return Desk(
            self._settings,
            self.rest,
            self.rooms,
            self.people,
            receive,
            self._answers_in_place,
            self._get_channel,
            self._set_channel,
            self._asker_of,
            self._thread_of,
            self._delivery.solved,
        )

    async def _open(self) -> None:
        """Ask Discord who we are, as long as it takes to reach it."""
        pause, most = self._settings.backoff
        while not self._closed.is_set():
            try:
                await self.rest.open()
            except DeliveryError as error:
                if error.token:
                    raise refused_token() from None
                self._trouble = error.message
            except (Refused, Limited, Doubtful) as error:
                self._trouble = f"Discord cannot be reached: {error}"
            else:
                self._refused = False
                _log.info(
                    "Discord knows this bot as %s (application %d)", self.rest.user_name, self.rest.application_id
                )
                return
            _log.warning("%s", self._trouble)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), pause)
            pause = min(most, pause * 2)

    async def _until_closed(self, desk: Desk, lanes: Lanes) -> None:
        interactions = Interactions(desk)
        hearing = Hearing(
            desk,
            lanes,
            interactions,
            open_conversations=self._open_conversations,
            get_mark=self._get_mark,
            set_mark=self._set_mark,
            mark_seconds=self._mark_seconds,
        )
        gateway = self._gateway = Gateway(self._settings, self.rest, hearing, budget=self._budget, pauses=self._pauses)
        desk.later(self._sync_commands(interactions), "the commands could not be registered with Discord")
        tasks = [asyncio.ensure_future(work) for work in (gateway.run(), hearing.run(gateway), self._closed.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks[:2]:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sync_commands(self, interactions: Interactions) -> None:
        pause, most = self._settings.backoff
        while True:
            try:
                await interactions.sync_commands()
            except (Limited, Doubtful) as error:
                _log.warning("the commands could not be registered with Discord, which is tried again: %s", error)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(most, pause * 2)

    # Showing.

    async def deliver(self, delivery: Delivery, /) -> None:
        """Show a status, a draft or a reply. Raises `DeliveryError`."""
        with self._noting_a_lost_token():
            await self._delivery.deliver(delivery)

    @contextmanager
    def _noting_a_lost_token(self) -> Iterator[None]:
        """A token that is refused here is refused everywhere, until somebody mends it."""
        try:
            yield
        except DeliveryError as error:
            if error.token and not self._refused:
                _log.critical("Discord refuses DISCORD_TOKEN: %s", error)
                self._refused = True
                self._watching = asyncio.get_running_loop().create_task(self._until_accepted())
            raise

    async def _until_accepted(self) -> None:
        while self._refused:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            with suppress(Refused, Limited, Doubtful, DeliveryError):
                await self.rest.request("GET", "/users/@me")
                self._refused = False
                _log.warning("Discord accepts DISCORD_TOKEN again.")

    async def fetch(self, address: Address, attachment: Attachment, most_bytes: int, /) -> bytes:
        """The first bytes of a file. Raises `DeliveryError`."""
        return await self._delivery.fetch(address, attachment, most_bytes)

    async def outsiders(self, address: Address, /) -> bool:
        """Whether people from outside the company read at an address now."""
        return await self._delivery.outsiders(address)

    async def said_since(self, message: Message, /) -> Sequence[Message]:
        """What its author said after it in its thread, as far as Discord tells; it never fails."""
        address, after = message.address, snowflake_of(message.id)
        guild = None if address.space == DIRECT else snowflake(address.space)
        here = guild is None or message.reply_in == address.room
        channel = snowflake(address.room if here else address.thread)
        if not channel or not after or (guild is not None and not here and not self._may_be(channel)):
            return ()
        if self._reader is None:
            self._reader = unconnected()
        said: list[Message] = []
        try:
            await self.rest.open()
            params = {"after": str(after), "limit": _MOST_SAID}
            path = "/channels/{channel_id}/messages"
            page = await self.rest.request("GET", path, params=params, channel_id=channel)
            for data in sorted(page, key=lambda one: int(one["id"])):
                if data["author"]["id"] != message.author:
                    continue
                found = await heard(self._asking, read_message(self._reader, data, channel, guild), guild)
                if found is not None and (guild is None or found.address == address):
                    said.append(found)
        except FAULTS as error:
            _log.info("Discord does not tell what was said after %s: %s", message.id, error)
        return said

    def _may_be(self, thread: int) -> bool:
        """Whether there may be such a thread: while the gateway is heard, it knows those in which somebody may have spoken."""
        client = self._gateway.client if self._gateway is not None and self.connected else None
        return client is None or client.get_channel(thread) is not None

    async def notify(self, room: Address, ticket: Ticket, /) -> str:
        """Tell the staff of a ticket in their room, once. Returns the id of the post. Raises `DeliveryError`."""
        with self._noting_a_lost_token():
            return await self._delivery.notify(room, ticket)

    async def close(self) -> None:
        """Leave Discord: `listen` returns."""
        self._closed.set()
        if self._watching is not None:
            self._watching.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._left.wait(), _SECONDS_TO_LEAVE)
        await self._delivery.close()
        await self.rest.close()


async def _not_received(_: Inbound) -> None:
    """Only what was said is asked for."""
