"""A workspace with a customer, and the delivery that is tested there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agent.messages import (
    Address,
    Answer,
    Citation,
    Delivery,
    Message,
    Post,
    Shown,
)
from connectors.slack.clients import Clients
from connectors.slack.delivery import SlackDelivery
from tests.servers.slack import Seen, SlackServer

CITED = (Citation(1, "returns.md", "Returns", "https://example.com/returns", "Within 30 days."),)
ANSWER = Answer("You can return it within 30 days [1].", CITED)


class KeptPosts:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], str] = {}

    async def posts(self, turn: str) -> Sequence[Post]:
        await asyncio.sleep(0)
        return [Post(turn, part, id_) for (of, part), id_ in sorted(self.kept.items()) if of == turn]

    async def keep_post(self, post: Post) -> None:
        await asyncio.sleep(0)
        self.kept[post.turn, post.part] = post.id


@dataclass
class Desk:
    """A workspace with a channel, a customer and our delivery."""

    slack: SlackServer
    posts: KeptPosts
    clients: Clients
    slack_delivery: SlackDelivery
    customer: str
    channel: str

    def ask(self, text: str = "Can I return it?", channel: str = "", reply_in: str | None = None) -> Message:
        room = channel or self.channel
        ts = self.slack.say(self.customer, room, text, announce=False)
        address = Address("slack", self.slack.team.id, room, ts if reply_in is None else reply_in)
        return Message(f"{address.channel}#{ts}", address, self.customer, "customer", text, datetime.now(UTC))

    async def tell(self, question: Message, *events: Shown, resumed: bool = False) -> None:
        for event in events:
            await self.slack_delivery.deliver(Delivery(question.address, question.id, event, question, resumed))

    async def words(self, question: Message, text: str) -> None:
        """Wait until a text can be read."""
        await self.until(lambda: any(text in seen.text for seen in self.seen(question)))

    async def until(self, condition: Callable[[], object], seconds: float = 5) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, (self.slack.calls[-3:], self.slack.visible(self.channel))
            await asyncio.sleep(0.005)

    def seen(self, question: Message) -> list[Seen]:
        return self.slack.replies_to(question.address.room, question.address.thread)

    def only(self, question: Message) -> Seen:
        (seen,) = self.seen(question)
        return seen

    def methods(self, prefix: str = "chat.") -> list[str]:
        return [call.method.removeprefix("chat.") for call in self.slack.calls if call.method.startswith(prefix)]

    async def another_process(self, **settings: object) -> Desk:
        """The same workspace and posts, told by a process that knows nothing else."""
        await self.slack_delivery.close()
        return replace(self, slack_delivery=SlackDelivery(self.clients, self.posts, **settings))  # type: ignore[arg-type]
