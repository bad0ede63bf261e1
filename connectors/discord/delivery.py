"""Shows replies in Discord: typing, drafts as they grow, answers with their sources and buttons, and hand-offs, each once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import discord

from agent import wording
from agent.errors import DeliveryError
from agent.ledger import Ticket
from agent.messages import Address, Answer, Attachment, Delivery, Handoff, Message, Shown, Withdrawn
from connectors.connector import Posts
from connectors.discord.components import ticket_components, ticket_embed
from connectors.discord.desk import FAULTS
from connectors.discord.drafts import LOOK_SECONDS, LiveDraft, Pace, Place, Standing, Typing, place_of
from connectors.discord.errors import UNKNOWN_MESSAGE, Doubtful, Limited, Refused, delivery_error
from connectors.discord.ids import DIRECT, snowflake, snowflake_of
from connectors.discord.outgoing import escape, shortened
from connectors.discord.people import People
from connectors.discord.phrases import clean
from connectors.discord.replies import STYLES, Json, content_of, contents
from connectors.discord.rest import Rest
from connectors.discord.rooms import Rooms
from connectors.discord.settings import DiscordSettings
from connectors.discord.tags import State, Tags
from connectors.discord.whispers import Whispers
from connectors.files import first_bytes
from connectors.showing import FINAL_SECONDS, Clock, Patience, Showing, Turn

_LONGEST_TITLE = 80
"""Of a thread's name; Discord takes a hundred signs."""
_NO_EMBEDS_SECONDS = 3600.0
_MOST_NO_EMBEDS = 5_000
_WITHDRAWN = "Withdrawn question"
_FILE_SECONDS = 30.0
_FILE_HOSTS = ("cdn.discordapp.com", "media.discordapp.net")

_log = logging.getLogger(__name__)
_Turn = Turn[Standing, LiveDraft, Typing]


class DiscordDelivery(Showing[Standing, LiveDraft, Typing]):
    """Delivers by the REST API alone. `final_seconds` is how long a final reply is tried."""

    def __init__(
        self,
        rest: Rest,
        rooms: Rooms,
        people: People,
        posts: Posts,
        settings: DiscordSettings,
        *,
        clock: Clock = time.monotonic,
        final_seconds: float = FINAL_SECONDS,
    ) -> None:
        super().__init__(clock=clock, final_seconds=final_seconds)
        self._rest, self._rooms, self._people = rest, rooms, people
        self._posts, self._settings = posts, settings
        self._look_seconds = min(LOOK_SECONDS, final_seconds)
        self._pace = Pace(settings.edit_seconds, clock)
        self._whispers = Whispers(rest, posts, self._claimed)
        self._tags = Tags(rest, rooms, settings.tags)
        self._no_embeds: OrderedDict[int, float] = OrderedDict()
        """The channels in which the app may show no embeds, and until when that is believed."""

    async def solved(self, address: Address) -> None:
        """What was asked at an address is solved: if it is a forum's post, it is tagged so."""
        guild, thread = snowflake(address.space), snowflake(address.thread)
        if guild and thread:
            await self._tags.show(guild, thread, "resolved")

    async def notify(self, room: Address, ticket: Ticket) -> str:
        """Post a ticket in the staff's room, once, with a link to the conversation. Raises `DeliveryError`."""
        channel = snowflake(room.thread) or snowflake(room.room)
        place = Place(snowflake(room.space), channel, channel)
        name = f"Ticket #{ticket.number}:"
        standing = Standing(
            self._rest,
            self._posts,
            f"ticket-{ticket.number}",
            place,
            self._claimed,
            asked=discord.utils.time_snowflake(ticket.opened_at - timedelta(minutes=1)),
            recognised=lambda message: _begins_with(message, name),
        )
        patience = self._patience("post a ticket for the staff")
        try:
            await standing.recall()
            if 0 not in standing.parts:
                standing.doubt = True
                await self._post_ticket(standing, ticket, patience)
        except (Refused, Limited, Doubtful) as error:
            raise delivery_error("post a ticket for the staff", error) from None
        if 0 not in standing.parts:
            raise DeliveryError("The ticket's post was deleted.", gone=True)
        return standing.parts[0]

    async def outsiders(self, address: Address) -> bool:
        """Whether people from outside the company read at an address now; asked of Discord, and true when it does not tell."""
        room = snowflake(address.room)
        person = address.thread.removeprefix("private-") if address.thread.startswith("private-") else ""
        if address.space == DIRECT:
            try:
                told = await self._rest.request("GET", "/channels/{channel_id}", channel_id=room)
                person = str(told["recipients"][0]["id"])
            except (*FAULTS, KeyError, IndexError, TypeError):
                return True
            return await self._people.is_outside(DIRECT, int(person))
        if not await self._rooms.everyone_sees(snowflake(address.space), room):
            return False
        return not (person and not await self._people.is_outside(address.space, int(person)))

    async def fetch(self, address: Address, attachment: Attachment, most_bytes: int) -> bytes:
        """The first bytes of a file. Raises `DeliveryError`."""
        name = attachment.name
        if not self._trusts(attachment.source):
            raise DeliveryError(f"The file {name!r} is not on a host of Discord: it was not fetched.", gone=True)
        try:
            timeout = aiohttp.ClientTimeout(total=_FILE_SECONDS)
            async with self._rest.session.get(attachment.source, timeout=timeout, allow_redirects=False) as response:
                return await first_bytes(response, attachment, most_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise DeliveryError(f"The file {name!r} could not be fetched: {type(error).__name__}.") from None

    def _trusts(self, url: str) -> bool:
        """Whether a file is where Discord keeps files, or at the API's own address where that is another one."""
        try:
            asked, own = urlsplit(url), urlsplit(self._settings.api_url)
            port = asked.port
        except ValueError:
            return False
        if "@" in asked.netloc or "\\" in url:
            return False
        if asked.scheme == "https" and port in (None, 443) and asked.hostname in _FILE_HOSTS:
            return True
        return bool(own.netloc) and (asked.scheme, asked.netloc) == (own.scheme, own.netloc)

    # Turns.

    def _begin(self, delivery: Delivery) -> _Turn:
        question = delivery.question
        asked = snowflake_of(delivery.turn) or (snowflake_of(question.id) if question is not None else 0)
        standing = Standing(
            self._rest,
            self._posts,
            delivery.turn,
            place_of(delivery.address, question, delivery.turn),
            self._claimed,
            asked=asked,
            marked=question.id if question is not None and not snowflake_of(delivery.turn) else delivery.turn,
            title=_title(question),
            rooms=self._rooms,
        )
        return Turn(standing, LiveDraft(standing, self._pace), Typing(standing))

    async def _conclude(self, turn: _Turn, delivery: Delivery, event: Answer | Handoff | Withdrawn) -> None:
        standing, patience = turn.standing, self._patience("show a reply")
        try:
            if isinstance(event, Withdrawn):
                await self._withdraw(turn, event, patience)
            elif not standing.deleted:
                await self._stop_at_locks(standing.place, delivery)
                await self._reply(standing, event, patience)
                self._leave(self._tagged(standing.place, event))
        except (Refused, Limited, Doubtful) as error:
            raise delivery_error("show a reply", error) from None

    async def _stop_at_locks(self, place: Place, delivery: Delivery) -> None:
        """Nothing is written into a thread that was locked, also by an app that may."""
        just_made = place.in_room_perhaps and not delivery.resumed
        if not place.guild or place.begins or just_made or place.channel == place.room:
            return
        try:
            async with asyncio.timeout(self._look_seconds):
                facts = await self._rooms.facts(place.channel, place.guild)
        except FAULTS as error:
            _log.info("Discord does not tell whether a thread is locked: %s", error)
            return
        if facts.locked:
            raise DeliveryError(
                "The thread is locked.", "Unlock it in Discord, or write to the customer elsewhere.", gone=True
            )

    async def _reply(self, standing: Standing, event: Answer | Handoff, patience: Patience) -> None:
        for style in STYLES:
            if style.embeds and self._no_embeds.get(standing.place.channel, 0.0) > self._clock():
                continue
            parts = contents(event, standing.marked, style)
            try:
                if await self._show(standing, parts, patience):
                    return
            except Refused as refused:
                if refused.gone or style is STYLES[-1] or standing.deleted:
                    raise
                _log.warning("Discord refused a reply as it was: %s", refused)

    async def _show(self, standing: Standing, parts: list[Json], patience: Patience) -> bool:
        """All parts in order, each in its old place if it has one; parts that are no longer needed are deleted.

        False when Discord left out the sources, because the app may show no embeds in the channel.
        """
        for part, content in enumerate(parts):
            message = await standing.put(part, content, patience)
            if message is None:
                return True
            if content["embeds"] and not message.get("embeds"):
                self._no_embeds[standing.place.channel] = self._clock() + _NO_EMBEDS_SECONDS
                while len(self._no_embeds) > _MOST_NO_EMBEDS:
                    self._no_embeds.popitem(last=False)
                return False
        for part in sorted(part for part in standing.parts if part >= len(parts)):
            await standing.remove(part, patience)
        return True

    def _tagged(self, place: Place, event: Answer | Handoff) -> asyncio.Task[None] | None:
        if not place.guild or place.channel == place.room or (isinstance(event, Answer) and event.asks_back):
            return None
        state: State = "answered" if isinstance(event, Answer) else "needs a person"
        return asyncio.create_task(self._tags.show(place.guild, place.channel, state))

    async def _withdraw(self, turn: _Turn, event: Withdrawn, patience: Patience) -> None:
        standing = turn.standing
        if standing.doubt and not standing.parts:
            await standing.find(patience)
        if event.stopped:
            if 0 in standing.parts:
                try:
                    await standing.change(0, {"components": []}, patience)
                except Refused as refused:
                    _log.info("the button below a stopped answer stays: %s", refused)
            return
        for part in sorted(standing.parts, reverse=True):
            await standing.remove(part, patience)
        try:
            await self._clear_thread(standing.place, snowflake_of(standing.turn), patience)
        except (Refused, Limited, Doubtful) as error:
            _log.info("the thread of a question that was deleted is left as it is: %s", error)

    async def _clear_thread(self, place: Place, asked: int, patience: Patience) -> None:
        """Of a question that was deleted, a thread that we made from it shows no word: it goes, or loses its name."""
        if not place.guild or place.channel != asked or place.channel == place.room:
            return
        names: Json = {"channel_id": place.room, "message_id": asked}
        try:
            await self._rest.request(
                "GET", "/channels/{channel_id}/messages/{message_id}", patience=patience.left, **names
            )
            return
        except Refused as refused:
            if refused.code != UNKNOWN_MESSAGE:
                raise
        await self._rest.open(patience.left)
        path, names = "/channels/{channel_id}", {"channel_id": place.channel}
        thread = await self._rest.request("GET", path, patience=patience.left, **names)
        if snowflake(thread.get("owner_id")) != self._rest.user_id:
            return
        if thread.get("message_count"):
            await self._rest.request("PATCH", path, json={"name": _WITHDRAWN}, patience=patience.left, **names)
        else:
            await self._rest.request("DELETE", path, patience=patience.left, **names)

    async def _whisper(self, delivery: Delivery, question: Message, event: Shown) -> None:
        try:
            await self._whispers.show(delivery, question, event, self._patience("show a private reply"))
        except (Refused, Limited, Doubtful) as error:
            raise delivery_error("show a private reply", error) from None

    # Tickets.

    async def _post_ticket(self, standing: Standing, ticket: Ticket, patience: Patience) -> None:
        link = await self._link(ticket.conversation)
        embed = ticket_embed(
            number=ticket.number,
            customer=await self._named(ticket),
            reason=wording.REASONS.get(ticket.reason, ticket.reason),
            question=ticket.question,
            summary=ticket.summary,
            link=link or None,
            status=ticket.status,
        )
        words = shortened(" ".join(clean(ticket.question).split()) or ticket.reason, 300)
        plain = content_of(f"Ticket #{ticket.number}: {escape(words)}" + (f"\n<{link}>" if link else ""))
        whole = content_of("", embed=embed, components=ticket_components(link or None))
        try:
            message = await standing.put(0, whole, patience)
            if message is not None and not message.get("embeds"):
                await standing.put(0, plain, patience)
        except Refused:
            # Without the right to embeds nothing would be left of it.
            await standing.put(0, plain, patience)

    async def _link(self, about: Address) -> str:
        """Where the conversation is, for who may see it; nothing for one that takes place between two."""
        guild, thread = snowflake(about.space), snowflake(about.thread)
        if about.connector != "discord" or not guild:
            return ""
        link = f"https://discord.com/channels/{guild}"
        if not thread:
            return f"{link}/{about.room}"
        try:
            # Its thread, if one was made; else its message in the channel.
            async with asyncio.timeout(self._look_seconds):
                await self._rooms.facts(thread, guild)
        except FAULTS:
            return f"{link}/{about.room}/{thread}"
        return f"{link}/{thread}"

    async def _named(self, ticket: Ticket) -> str:
        """The customer's name and id, the id alone where the name cannot be had."""
        person, guild = ticket.customer.rpartition("/")[2], snowflake(ticket.conversation.space)
        names: Json = {"user_id": person, **({"guild_id": guild} if guild else {})}
        try:
            path = "/guilds/{guild_id}/members/{user_id}" if guild else "/users/{user_id}"
            told = await self._rest.request("GET", path, patience=self._look_seconds, **names)
        except FAULTS:
            return person
        user = told.get("user") or told
        name = str(told.get("nick") or user.get("global_name") or user.get("username") or "")
        return f"{name} ({person})" if name else person


def _title(question: Message | None) -> str:
    """What a thread is called that is made from a question."""
    words = " ".join(clean(question.text).split()) if question is not None else ""
    return shortened(words, _LONGEST_TITLE) or "Question"


def _begins_with(message: Any, name: str) -> bool:
    titles = [str(embed.get("title") or "") for embed in message.get("embeds") or ()]
    return any(text.startswith(name) for text in [*titles, str(message.get("content") or "")])
