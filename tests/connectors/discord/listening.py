"""A connector that listens to a local Discord, and what it received."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agent.messages import Address, Inbound, Message, Post
from connectors.discord.connector import DiscordConnector
from connectors.discord.settings import DiscordSettings
from tests.connectors.discord.waiting import QUICK as QUICK
from tests.connectors.discord.waiting import settings_for as settings_for
from tests.connectors.discord.waiting import until as until
from tests.servers.discord import DiscordServer


class Kept:
    """Posts in memory."""

    def __init__(self) -> None:
        self._posts: dict[tuple[str, int], Post] = {}

    async def posts(self, turn: str, /) -> Sequence[Post]:
        return [post for (of, _), post in sorted(self._posts.items()) if of == turn]

    async def keep_post(self, post: Post, /) -> None:
        self._posts[post.turn, post.part] = post


@dataclass
class Heard:
    """What was received. `fails` makes it raise that often; while `open` is not set it waits."""

    inbound: list[Inbound] = field(default_factory=list)
    fails: int = 0
    tries: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def receive(self, inbound: Inbound) -> None:
        self.tries += 1
        await self.open.wait()
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the store is down")
        self.inbound.append(inbound)

    @property
    def messages(self) -> list[Message]:
        return [item for item in self.inbound if isinstance(item, Message)]

    @property
    def texts(self) -> list[str]:
        """What was said; a message that was received again counts once, as in the store."""
        return list({message.id: message.text for message in self.messages}.values())

    def times(self) -> Counter[str]:
        return Counter(message.id for message in self.messages)


@dataclass
class Ledger:
    """What a connector asks of the store about what it heard before."""

    mark: datetime | None = None
    marks: list[datetime] = field(default_factory=list)
    going_on: list[tuple[Address, str]] = field(default_factory=list)
    fails: int = 0

    async def get_mark(self) -> datetime | None:
        if self.fails:
            self.fails -= 1
            raise OSError("the store is down")
        return self.mark

    async def set_mark(self, mark: datetime) -> None:
        self.mark = mark
        self.marks.append(mark)

    async def open_conversations(self) -> Sequence[tuple[Address, str]]:
        return self.going_on


def connector_for(
    discord: DiscordServer, settings: DiscordSettings | None = None, ledger: Ledger | None = None, **more: Any
) -> DiscordConnector:
    """A connector that does not listen yet."""
    ledger = ledger or Ledger()
    options: dict[str, Any] = {
        "open_conversations": ledger.open_conversations,
        "get_mark": ledger.get_mark,
        "set_mark": ledger.set_mark,
        "pauses": QUICK,
        "mark_seconds": 0.05,
    }
    return DiscordConnector(settings or settings_for(discord), Kept(), **options | more)


@asynccontextmanager
async def listening(
    discord: DiscordServer,
    settings: DiscordSettings | None = None,
    heard: Heard | None = None,
    ledger: Ledger | None = None,
    **more: Any,
) -> AsyncIterator[tuple[DiscordConnector, Heard]]:
    """A connector that is connected."""
    heard = heard or Heard()
    connector = connector_for(discord, settings, ledger, **more)
    task = asyncio.create_task(connector.listen(heard.receive))
    try:
        await until(lambda: connector.connected or task.done(), 30)
        if task.done():
            task.result()
        yield connector, heard
    finally:
        await connector.close()
        await asyncio.wait_for(task, 5)
