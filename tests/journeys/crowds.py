"""Where customers write while `frontdesk run` is killed: the local Slack, the local Discord, and what they see in each."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from agent.tracing import POINTS
from tests.journeys.running import discord_token, tokens
from tests.servers.discord import DiscordServer
from tests.servers.running import serving
from tests.servers.slack import SlackServer

CODE = re.compile(r"\(([a-z]{6})\)")
"""What stands for a question: it is said by the customer, and repeated by the model."""
_FINAL = "Talk to a person"
"""The button below what is no draft any more."""


@dataclass(frozen=True)
class Reply:
    """What a customer reads. `final`: it is no draft."""

    text: str
    final: bool


@dataclass
class Thread:
    """One conversation, in a thread of a channel. `root` is the message that it began with."""

    channel: str
    person: str
    codes: list[str] = field(default_factory=list)
    root: str = ""


class Crowd(Protocol):
    """A platform full of customers."""

    points: tuple[str, ...]
    """Where a process may be killed."""

    @property
    def tokens(self) -> dict[str, str]:
        """What a `.env` would hold."""
        ...

    def settle(self, people: int, channels: int) -> tuple[list[str], list[str]]:
        """Let so many people into so many channels; the ids of both."""
        ...

    def say(self, thread: Thread, text: str) -> None:
        """Let its person begin a thread, with a mention, or go on in it, without."""
        ...

    def replies(self, thread: Thread) -> list[Reply]:
        """What the agent shows there, in the order in which it stands."""
        ...

    def listens(self) -> bool:
        """Whether the agent is there, so that customers write. Called again and again."""
        ...

    def heard(self, said: Mapping[str, float]) -> Mapping[str, float]:
        """When it was certain of each question, by its code, that it is not lost; `said`: when each was asked."""
        ...

    @property
    def wrong(self) -> list[str]:
        """What the platform did not like, or somebody was pinged by."""
        ...

    @property
    def lost(self) -> list[str]:
        """What was never taken in, as far as the platform knows."""
        ...


class SlackCrowd:
    """Slack sends what was not acknowledged again after a minute and after five; here, as soon as somebody listens."""

    points: tuple[str, ...] = POINTS

    def __init__(self, slack: SlackServer) -> None:
        self.slack = slack
        self._connected = 0
        slack.ack_seconds, slack.retry_after = 1.0, (2.0, 20.0)

    @property
    def tokens(self) -> dict[str, str]:
        return tokens(self.slack)

    def settle(self, people: int, channels: int) -> tuple[list[str], list[str]]:
        crowd = [self.slack.add_user(f"person{number}") for number in range(people)]
        return crowd, [self.slack.add_channel(f"help{number}", crowd) for number in range(channels)]

    def say(self, thread: Thread, text: str) -> None:
        if thread.root:
            self.slack.say(thread.person, thread.channel, text, thread_ts=thread.root)
        else:
            thread.root = self.slack.say(thread.person, thread.channel, f"{self.slack.mention()} {text}")

    def replies(self, thread: Thread) -> list[Reply]:
        seen = self.slack.replies_to(thread.channel, thread.root)
        return [
            Reply(one.text, one.metadata is not None and one.streaming != "streaming" and _FINAL in one.text)
            for one in seen
        ]

    def listens(self) -> bool:
        connected = len(self.slack.connections)
        if connected > self._connected:
            self.slack.redeliver_unacknowledged()
        self._connected = connected
        return connected > 0

    def heard(self, said: Mapping[str, float]) -> Mapping[str, float]:
        """When each question was first acknowledged: what a dying process had not stored comes again later."""
        heard: dict[str, float] = {}
        for delivery in self.slack.deliveries:
            code = CODE.search(str(delivery.event.get("text", "")))
            if code and delivery.acked_at is not None and not delivery.event.get("bot_id"):
                heard[code[1]] = min(heard.get(code[1], delivery.acked_at), delivery.acked_at)
        return heard

    @property
    def wrong(self) -> list[str]:
        return [*self.slack.violations, *map(str, self.slack.notified)]

    @property
    def lost(self) -> list[str]:
        return [str(one.payload)[:300] for one in self.slack.unacknowledged]


class DiscordCrowd:
    """Discord sends nothing again: what nobody heard is in its history. So customers write on when nobody listens."""

    points: tuple[str, ...] = ("heard", "shown", "posted", "kept", "delivered")
    """Those at which Discord differs from Slack, where a process is killed at all; `benchmarks.crashes` does so here, too."""

    def __init__(self, discord: DiscordServer) -> None:
        self.discord = discord
        self._since = 0.0

    @property
    def tokens(self) -> dict[str, str]:
        return discord_token(self.discord)

    def settle(self, people: int, channels: int) -> tuple[list[str], list[str]]:
        crowd = [self.discord.add_user(f"person{number}") for number in range(people)]
        for person in crowd:
            self.discord.join(self.discord.guild, person)
        return crowd, [self.discord.add_channel(f"help{number}") for number in range(channels)]

    def say(self, thread: Thread, text: str) -> None:
        if thread.root:
            # As long as there is no thread, whoever goes on replies to what they said.
            there = self.discord.thread_from(thread.root)
            if there:
                self.discord.say(thread.person, there, text)
            else:
                self.discord.say(thread.person, thread.channel, text, reply_to=thread.root)
        else:
            thread.root = self.discord.say(thread.person, thread.channel, self.discord.mention(text))

    def replies(self, thread: Thread) -> list[Reply]:
        there = self.discord.thread_from(thread.root)
        seen = [*self.discord.ours(there)] if there else []
        seen += [one for one in self.discord.ours(thread.channel) if set(CODE.findall(one.text)) & set(thread.codes)]
        return [Reply(one.text, _FINAL in one.labels) for one in sorted(seen, key=lambda one: int(one.id))]

    def listens(self) -> bool:
        """Before it was there for a moment, nobody knows of it."""
        if not self._since and any(one.session is not None for one in self.discord.gateway.connections):
            self._since = time.monotonic()
        return bool(self._since) and time.monotonic() - self._since > 1.0

    def heard(self, said: Mapping[str, float]) -> Mapping[str, float]:
        """At once, for it stands in the channel."""
        return said

    @property
    def wrong(self) -> list[str]:
        # What a process that is dead, or another one, has spent of a limit, nobody can know before Discord says so.
        found = [one for one in self.discord.violations if not one.endswith("sent before its rate limit was over")]
        return [*found, *map(str, self.discord.notified), *map(str, self.discord.unfurled)]

    @property
    def lost(self) -> list[str]:
        return []


@contextmanager
def crowd_on(platform: str, doubled: float) -> Iterator[Crowd]:
    """A crowd on "slack" or "discord". `doubled` is the share of what is delivered twice."""
    if platform == "slack":
        with serving(SlackServer()) as slack:
            slack.double_deliveries = doubled
            yield SlackCrowd(slack)
        return
    with serving(DiscordServer()) as discord:
        discord.gateway.duplicate = doubled
        yield DiscordCrowd(discord)
