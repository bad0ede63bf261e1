"""What a test can see: what people read now, and how it came to be."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.servers.discord.messages import Messages
from tests.servers.discord.shapes import LOADING, NAME_CHANGE, STARTER, SUPPRESS_EMBEDS, THREAD_CREATED
from tests.servers.discord.state import Call, Json, Message


@dataclass(frozen=True)
class Seen:
    """A message as a person sees it. `before` are the contents it had before its edits."""

    id: str
    channel: str
    author: str
    content: str
    embeds: list[Json]
    components: list[Json]
    flags: int
    edits: int
    before: tuple[str, ...]
    ours: bool
    reference: str
    nonce: str
    ephemeral: bool
    attachments: list[Json]
    at: float
    changed_at: tuple[float, ...]

    @property
    def buttons(self) -> list[Json]:
        """Buttons and menus, in order."""
        return [item for item in _all(self.components) if item.get("type") in {2, 3, 5, 6, 7, 8}]

    @property
    def labels(self) -> list[str]:
        """What stands on the buttons."""
        return [item["label"] for item in self.buttons if item.get("label")]

    @property
    def custom_ids(self) -> list[str]:
        """The custom ids of buttons and menus."""
        return [item["custom_id"] for item in self.buttons if item.get("custom_id")]

    @property
    def text(self) -> str:
        """All that can be read: content, text displays, embeds, labels; a part per line."""
        parts = [self.content]
        parts += [item["content"] for item in _all(self.components) if item.get("type") == 10]
        for embed in self.embeds:
            parts += [embed.get("author", {}).get("name", ""), embed.get("title", ""), embed.get("description", "")]
            for field in embed.get("fields", ()):
                parts += [field["name"], field["value"]]
            parts.append(embed.get("footer", {}).get("text", ""))
        return "\n".join(part for part in [*parts, *self.labels] if part)


class Watching(Messages):
    """Reads the state. Every method can be called from the test's thread."""

    def seen(self, message: Message) -> Seen:
        """A message as it stands now."""
        with self.lock:
            return Seen(
                message.id,
                message.channel,
                message.author,
                message.content,
                [] if message.flags & SUPPRESS_EMBEDS else copy.deepcopy(message.embeds),
                copy.deepcopy(message.components),
                message.flags,
                len(message.changed_at),
                tuple(message.before),
                message.author == self.bot.id,
                (message.reference or {}).get("message_id", ""),
                str(message.nonce or ""),
                bool(message.only_for),
                [self.attachment_json(message, item) for item in message.attachments],
                message.at,
                tuple(message.changed_at),
            )

    def visible(self, channel: str) -> list[Seen]:
        """The messages of a channel or thread that stand, oldest first; neither Discord's own about threads nor "thinking"."""
        with self.lock:
            return [self.seen(item) for item in self.channels[channel].standing if _readable(item)]

    def ours(self, channel: str) -> list[Seen]:
        """The bot's messages there."""
        return [seen for seen in self.visible(channel) if seen.ours]

    def ephemeral(self, user: str, channel: str | None = None) -> list[Seen]:
        """What only this person sees, as long as it stands."""
        with self.lock:
            rooms = [room for room in self.channels.values() if channel in (None, room.id)]
            found = [item for room in rooms for item in room.ephemerals if item.only_for == user and not item.deleted]
            found = [item for item in found if _readable(item)]
            return [self.seen(item) for item in sorted(found, key=lambda item: int(item.id))]

    def message(self, channel: str, id_: str) -> Seen | None:
        """One message, or None when it does not stand."""
        with self.lock:
            found = self.channels[channel].find(id_)
            return self.seen(found) if found else None

    def thread_from(self, message: str) -> str:
        """The id of the thread that was made from a message, or ""."""
        with self.lock:
            channel = self.channels.get(message)
            return message if channel is not None and channel.thread is not None and not channel.deleted else ""

    def tags_of(self, thread: str) -> list[str]:
        """The names of the tags of a forum's post."""
        with self.lock:
            room = self.channels[thread]
            assert room.thread is not None
            names = {tag["id"]: tag["name"] for tag in self.channels[room.parent].available_tags}
            return [names[tag] for tag in room.thread.tags]

    def typed(self, channel: str) -> int:
        """How often the bot was shown as typing there."""
        with self.lock:
            return sum(where == channel for where, _ in self.typings)

    def called(self, method: str, path: str) -> list[Call]:
        """The requests of a method whose path starts like this."""
        with self.lock:
            return [call for call in self.calls if call.method == method and call.path.startswith(path)]


def _readable(message: Message) -> bool:
    return message.type not in {STARTER, THREAD_CREATED, NAME_CHANGE} and not message.flags & LOADING


def _all(components: Any) -> Iterator[Json]:
    for item in components:
        yield item
        yield from _all(item.get("components", ()))
        if isinstance(item.get("accessory"), dict):
            yield from _all([item["accessory"]])
