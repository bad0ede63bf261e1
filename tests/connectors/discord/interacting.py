"""A connector that is used by means of commands, buttons and forms on a local Discord."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from agent.errors import SettingsError
from agent.messages import Address, Deleted, Edited, Inbound, Message
from connectors.discord.connector import DiscordConnector
from connectors.discord.ids import padded
from tests.connectors.discord.listening import Heard, listening, settings_for, until
from tests.servers.discord import Asked, DiscordServer, Seen

BUTTONS = ("helpful", "unhelpful", "person", "solved", "stop", "share")
MANAGE_SERVER = 1 << 5


@dataclass
class Channels:
    """What is set for channels."""

    values: dict[Address, Mapping[str, str]] = field(default_factory=dict)
    by: list[str] = field(default_factory=list)

    async def get(self, channel: Address) -> Mapping[str, str]:
        return self.values.get(channel, {"mode": "mention", "persona": "Friendly"})

    async def set(self, channel: Address, values: Mapping[str, str], by: str) -> None:
        if values["language"] == "klingon":
            raise SettingsError("the language klingon is not known")
        self.values[channel] = values
        self.by.append(by)


@dataclass
class Used(Heard):
    """What was received by means of commands, buttons and forms; what was merely said is left out."""

    discord: DiscordServer | None = None

    async def receive(self, inbound: Inbound) -> None:
        assert self.discord is not None
        ids = {padded(interaction.id) for interaction in list(self.discord.interactions.values())}
        if not isinstance(inbound, Message | Edited | Deleted) or inbound.id.rpartition("#")[2] in ids:
            await super().receive(inbound)


@dataclass
class Support:
    """The connector, what it received, and what the store knows of turns."""

    discord: DiscordServer
    connector: DiscordConnector
    heard: Used
    channels: Channels
    askers: dict[str, str]
    threads: dict[str, str]
    ann: str
    ben: str
    channel: str

    @property
    def space(self) -> str:
        return str(self.discord.guild)

    def turn(self, snowflake: str, *, room: str = "", space: str = "", asker: str = "") -> str:
        """A turn that the store knows."""
        space = space or self.space
        turn = f"discord:{space}/{room or self.channel}#{padded(snowflake)}"
        self.askers[turn] = f"discord:{space}/{asker or self.ann}"
        return turn

    async def reply(self, channel: str, turn: str, names: Sequence[str] = BUTTONS) -> str:
        """The bot's answer with its buttons; the id of the message."""
        body = {"content": "So", "components": rows(turn, names), "allowed_mentions": {"parse": []}}
        posted = await self.connector.rest.request(
            "POST", "/channels/{channel_id}/messages", json=body, channel_id=channel
        )
        return str(posted["id"])

    async def reply_privately(self, private_reply: str, turn: str, names: Sequence[str] = BUTTONS) -> str:
        """The same as an answer that one person sees."""
        application, token = private_reply.removeprefix("interaction:").split("/")
        posted = await self.connector.rest.request(
            "POST",
            "/webhooks/{webhook_id}/{webhook_token}",
            json={"content": "So", "components": rows(turn, names), "flags": 64, "allowed_mentions": {"parse": []}},
            webhook_id=application,
            webhook_token=token,
        )
        return str(posted["id"])

    async def asked(self, *, channel: str = "", text: str = "How?") -> tuple[str, str]:
        """Ann asks in a channel and is answered there; the turn and the id of the answer."""
        room = channel or self.channel
        said = self.discord.say(self.ann, room, text)
        turn = self.turn(said, room=room)
        return turn, await self.reply(room, turn)

    async def in_thread(self) -> tuple[str, str, str]:
        """Ann asks and is answered in a thread; the turn, the thread, and the id of the answer."""
        said = self.discord.say(self.ann, self.channel, "How?")
        thread = self.discord.start_thread(self.ann, self.channel, "How?", said)
        turn = self.turn(said)
        return turn, thread, await self.reply(thread, turn)

    async def do(self, act: Callable[..., Asked], *details: Any, **more: Any) -> Asked:
        """Let somebody do something, until it is answered."""
        asked = await asyncio.to_thread(partial(act, *details, **more))
        await until(lambda: asked.acked is not None or asked.failed)
        assert not asked.failed
        return asked

    async def click(self, user: str, channel: str, message: str, action: str) -> Asked:
        return await self.do(self.discord.click, user, channel, message, f"fd:{action}")

    async def slash(self, user: str, channel: str, command: str, **options: Any) -> Asked:
        return await self.do(self.discord.slash, user, channel, command, options)

    async def submit(self, form: Asked, **values: str) -> Asked:
        return await self.do(self.discord.submit, form, values)

    async def told(self, asked: Asked) -> Seen:
        """What the person is told that did it, and nobody else."""
        note: Seen
        (note,) = await until(lambda: asked.messages)
        assert note.ephemeral
        return note

    @property
    def message(self) -> Message:
        """The last message that was received."""
        return self.heard.messages[-1]


def rows(turn: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Buttons, five in a row."""
    buttons = [{"type": 2, "style": 2, "label": name, "custom_id": f"fd:{name}:{turn}"} for name in names]
    return [{"type": 1, "components": buttons[start : start + 5]} for start in range(0, len(buttons), 5)]


@asynccontextmanager
async def supporting(
    discord: DiscordServer, *, change: Mapping[str, Any] | None = None, **more: Any
) -> AsyncIterator[Support]:
    """A connector whose commands Discord knows. `change` is for its settings."""
    ann, ben = discord.add_user("ann"), discord.add_user("ben")
    for user in (ann, ben):
        discord.join(discord.guild, user)
    channel = discord.add_channel("help")
    channels = Channels()
    askers: dict[str, str] = {}
    threads: dict[str, str] = {}

    async def asker_of(turn: str) -> str:
        return askers.get(turn, "")

    async def thread_of(channel: str, snowflake: str) -> str:
        return threads.get(f"{channel}#{snowflake}", "")

    hooks: dict[str, Any] = {
        "asker_of": asker_of,
        "thread_of": thread_of,
        "get_channel": channels.get,
        "set_channel": channels.set,
    }
    settings = replace(settings_for(discord), **(change or {}))
    heard = Used(discord=discord)
    async with listening(discord, settings, heard, **hooks | more) as (connector, _):
        await until(lambda: len(discord.commands[""]) >= 2)
        yield Support(discord, connector, heard, channels, askers, threads, ann, ben, channel)
