"""A local Discord with a customer, and the delivery that is tested there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.messages import Address, Answer, Citation, Delivery, Message, Post, Shown
from connectors.discord.delivery import DiscordDelivery
from connectors.discord.ids import message_id, private_thread
from connectors.discord.people import People
from connectors.discord.rest import Rest
from connectors.discord.rooms import Rooms
from connectors.discord.settings import DiscordSettings
from tests.connectors.discord.listening import Kept
from tests.connectors.discord.waiting import settings_for
from tests.servers.discord import Asked, DiscordServer, Seen

CITED = (Citation(1, "returns.md", "Returns", "https://example.com/returns", "Within 30 days.", "2026-03-03"),)
ANSWER = Answer("You can return it within 30 days [1].", CITED)
BUTTONS = ["Helpful", "Not helpful", "Talk to a person", "Solved"]
QUICK = 0.05


class KeptPosts(Kept):
    """What was posted, as the ledger keeps it over restarts."""

    @property
    def kept(self) -> dict[tuple[str, int], str]:
        return {key: post.id for key, post in self._posts.items()}

    def forget(self, *parts: int) -> None:
        """As if the process had died before it could keep them; all of them without an argument."""
        for key in [key for key in self._posts if not parts or key[1] in parts]:
            del self._posts[key]


@dataclass
class Desk:
    """A channel, a customer and our delivery."""

    discord: DiscordServer
    posts: KeptPosts
    settings: DiscordSettings
    rest: Rest
    delivery: DiscordDelivery
    customer: str
    room: str

    # Questions.

    def ask(self, text: str = "Can I return it?", *, room: str = "", in_place: bool = False) -> Message:
        """In a channel: answered in a thread that is made from it, or in the channel itself."""
        room = room or self.room
        said = self.discord.say(self.customer, room, text)
        return self._message(self.discord.guild, room, said, said, text, reply_in=room if in_place else "")

    def ask_on(self, first: Message, text: str = "And when?") -> Message:
        """In the thread of an earlier question."""
        said = self.discord.say(self.customer, first.address.thread, text)
        return self._message(self.discord.guild, first.address.room, first.address.thread, said, text)

    def ask_directly(self, text: str = "Can I return it?") -> Message:
        room = self.discord.dm(self.customer)
        said = self.discord.say(self.customer, room, text)
        return self._message("dm", room, said, said, text, reply_in=room)

    def post(self, forum: str, text: str = "Can I return it?", tags: tuple[str, ...] = ()) -> Message:
        """In a forum."""
        thread = self.discord.post(self.customer, forum, "Returns", text, tags)
        return self._message(self.discord.guild, forum, thread, thread, text)

    async def ask_privately(self, *, acknowledged: bool = True, age: float = 0.0) -> tuple[Message, Asked]:
        """With a command whose answer only the customer sees."""
        await self.rest.open()
        if not self.discord.commands[""]:
            about = {"name": "support", "description": "Ask support", "type": 1}
            await self.rest.request("POST", "/applications/{id}/commands", json=about, id=self.rest.application_id)
        asked = await asyncio.to_thread(self.discord.slash, self.customer, self.room, "support", {})
        if acknowledged:
            await self.acknowledge(asked)
        question = self._message(self.discord.guild, self.room, private_thread(self.customer), asked.id, "Can I?")
        token = f"interaction:{self.rest.application_id}/{asked.token}"
        return replace(question, private_reply=token, sent_at=datetime.now(UTC) - timedelta(seconds=age)), asked

    async def acknowledge(self, asked: Asked) -> None:
        """Show the customer that an answer comes."""
        names: dict[str, Any] = {"webhook_id": asked.id, "webhook_token": asked.token}
        path = "/interactions/{webhook_id}/{webhook_token}/callback"
        await self.rest.request("POST", path, json={"type": 5, "data": {"flags": 64}}, **names)

    def _message(self, space: str, room: str, thread: str, said: str, text: str, reply_in: str = "") -> Message:
        address = Address("discord", space, room, thread)
        return Message(
            message_id(address, said), address, self.customer, "customer", text, datetime.now(UTC), reply_in=reply_in
        )

    # Answers.

    async def tell(self, question: Message, *events: Shown, resumed: bool = False) -> None:
        for event in events:
            await self.delivery.deliver(Delivery(question.address, question.id, event, question, resumed))

    async def tell_of(self, question: Message, event: Shown, *, resumed: bool = False) -> None:
        """As a turn does that knows its question no longer."""
        await self.delivery.deliver(Delivery(question.address, question.id, event, None, resumed))

    def seen(self, question: Message) -> list[Seen]:
        """What of ours can be read where the reply belongs."""
        where = question.reply_in or question.address.thread
        return self.discord.ours(where) if where in self.discord.channels else []

    def only(self, question: Message) -> Seen:
        (seen,) = self.seen(question)
        return seen

    async def words(self, question: Message, text: str) -> None:
        """Wait until a text can be read."""
        await self.until(lambda: any(text in seen.text for seen in self.seen(question)))

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, [(call.method, call.path, call.status) for call in self.discord.calls[-4:]]
            await asyncio.sleep(0.005)

    def calls(self, method: str, path: str = "/channels/") -> list[str]:
        return [call.path for call in self.discord.called(method, path)]

    @asynccontextmanager
    async def another_process(self, **more: float) -> AsyncIterator[Desk]:
        """The same Discord and posts, told by a process that knows nothing else."""
        await self.delivery.close()
        rest = Rest(self.settings)
        other = replace(self, rest=rest, delivery=delivery_for(rest, self.posts, self.settings, **more))
        yield other
        await other.delivery.close()
        await rest.close()


def delivery_for(rest: Rest, posts: Kept, settings: DiscordSettings, **more: float) -> DiscordDelivery:
    rooms = Rooms(rest)
    return DiscordDelivery(rest, rooms, People(rest, rooms, settings), posts, settings, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def delivering(discord: DiscordServer, **more: float) -> AsyncIterator[Desk]:
    """A delivery whose drafts no test has to wait for."""
    discord.limits["create"] = discord.limits["edit"] = (50, 1.0)
    customer = discord.add_user("ana")
    discord.join(discord.guild, customer)
    settings = replace(settings_for(discord), edit_seconds=QUICK)
    rest, posts = Rest(settings), KeptPosts()
    delivery = delivery_for(rest, posts, settings, **{"final_seconds": 12.0} | more)
    yield Desk(discord, posts, settings, rest, delivery, customer, discord.add_channel("help"))
    await delivery.close()
    await rest.close()


def posted_for(desk: Desk, question: Message) -> list[Post]:
    """What was kept for a turn."""
    return [Post(turn, part, id_) for (turn, part), id_ in sorted(desk.posts.kept.items()) if turn == question.id]
