"""What a thread asks, for somebody who mentions the agent in it and says no more."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.messages import Attachment, Message
from connectors.slack.desk import Desk
from connectors.slack.events import RoomFacts, files_of, is_said_by_person
from connectors.slack.incoming import text_of
from connectors.slack.people import FAULTS

_MOST_MESSAGES = 15
"""More are not told at once to some apps (docs.slack.dev/changelog, 2025-05-29)."""
_LONGEST = 4_000
_MOST_REMEMBERED = 200

_Said = tuple[str, tuple[Attachment, ...]]


class Threads:
    """Reads threads, with the patience of the settings. Slack tells of a mention twice: it is read once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._read: OrderedDict[str, asyncio.Task[_Said]] = OrderedDict()

    async def asked(self, message: Message) -> Message:
        """The message with the words of the thread, where it is only a mention there; else as it is."""
        address = message.address
        bare = message.addressed and not (message.text or message.attachments or message.starts_thread)
        if not bare or message.private_reply or address.room.startswith("D"):
            return message
        reading = self._read.get(message.id)
        if reading is None:
            reading = self._read[message.id] = self._desk.start(self._said_before(message))
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            while len(self._read) > _MOST_REMEMBERED:
                self._read.popitem(last=False)
        try:
            text, attachments = await asyncio.wait_for(asyncio.shield(reading), self._desk.settings.patience)
        except FAULTS:
            return message
        return replace(message, text=text, attachments=attachments)

    async def _said_before(self, message: Message) -> _Said:
        team = message.address.space
        clients = self._desk.clients
        own = await clients.identity(team)
        args = {"channel": message.address.room, "ts": message.address.thread, "limit": _MOST_MESSAGES}
        told = await clients.request(team, "conversations.replies", args | {"latest": message.id.rpartition("#")[2]})
        facts = RoomFacts(team, own.user, own.bot)
        said: list[Mapping[str, Any]] = []
        for one in told.get("messages") or ():
            if not isinstance(one, Mapping):
                continue
            if own.user == one.get("user") or own.bot == one.get("bot_id"):
                # What was said until then is answered.
                said.clear()
            elif is_said_by_person(one, facts) and str(one.get("ts")) < message.id.rpartition("#")[2]:
                said.append(one)
        return _words(said, own.user), tuple(file for one in said for file in files_of(one))


def _words(said: Sequence[Mapping[str, Any]], bot_user: str) -> str:
    """The first message, for it mostly is the question, and the last ones, as far as they are short enough."""
    texts = [text for text in (text_of(one, bot_user=bot_user) for one in said) if text]
    kept, room = texts[:1], _LONGEST - sum(map(len, texts[:1]))
    for text in reversed(texts[1:]):
        room -= len(text)
        if room < 0:
            break
        kept.insert(1, text)
    return "\n".join(kept)
