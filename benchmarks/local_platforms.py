"""The servers of `benchmarks.platform_path`, each in a process of its own: a local Slack, a local Discord, and a paced model."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.journeys.running import discord_token, tokens
from tests.servers.discord import DiscordServer
from tests.servers.model_server import Call, ModelServer, Play, chunk
from tests.servers.running import serving
from tests.servers.slack import SlackServer

FIRST_SECONDS, PIECE_SECONDS = 0.2, 0.02
ANSWER = (
    "Yes, that can be done under Trips, where you choose the booking and then what you want to change [1]. A confirmation "
    "comes by e-mail within a few minutes, and until it is there nothing is final. If it has not come after an hour, look "
    "into the folder for spam first, and write to us again if it is not there either [1]. That was all"
)
PIECES = [ANSWER[start : start + 8] for start in range(0, len(ANSWER), 8)]
WHOLE_SECONDS = FIRST_SECONDS + PIECE_SECONDS * (len(PIECES) - 1)
LONGEST_SECONDS = 120.0


def paced(_: Call) -> Play:
    """An answer by the clock: what comes late does not make late what comes behind it."""
    lines = [json.dumps(chunk({"content": piece})) for piece in PIECES]
    usage = {"prompt_tokens": 900, "completion_tokens": len(PIECES), "total_tokens": 900 + len(PIECES)}
    ending = [json.dumps(chunk({}, "stop")), json.dumps({**chunk({}), "choices": [], "usage": usage}), "[DONE]"]

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        began = loop.time()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, line in enumerate(lines):
            await asyncio.sleep(began + FIRST_SECONDS + number * PIECE_SECONDS - loop.time())
            await response.write(f"data: {line}\n\n".encode())
        await response.write("".join(f"data: {line}\n\n" for line in ending).encode())
        await response.write_eof()
        return response

    return play


@dataclass(frozen=True)
class Said:
    """A question: the message, where, and when it was said."""

    room: str
    message: str
    at: float


class Local(ABC):
    """A local platform that people ask on."""

    @property
    @abstractmethod
    def tokens(self) -> dict[str, str]:
        """What a `.env` would hold."""

    @abstractmethod
    def rooms(self, number: int) -> list[tuple[str, str]]:
        """So many people, each in a channel of their own."""

    @abstractmethod
    def say(self, person: str, room: str, question: str) -> str:
        """Mention the agent; the message's id."""

    @abstractmethod
    def answer(self, said: Said) -> dict[str, Any] | None:
        """The whole answer: it has its buttons. None while it has not."""

    @abstractmethod
    def since(self) -> dict[str, Any]:
        """What was called, and how long acknowledgements took, since this was asked last."""

    @property
    @abstractmethod
    def violations(self) -> list[str]:
        """What the platform did not like."""

    @abstractmethod
    def statuses(self) -> dict[str, float]:
        """When it was first shown that a question is worked on, by the question's message, since `since` was asked last."""

    def asked(self, questions: list[str], moments: list[float]) -> dict[str, Any]:
        """Say these questions at these moments, and wait until each has its whole answer.

        The seconds of each, from when it was said.
        """
        rooms = self.rooms(len(questions))
        self.since()
        began = time.monotonic()
        said: list[Said] = []
        for (person, room), question, moment in zip(rooms, questions, moments, strict=True):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            now = time.monotonic()
            said.append(Said(room, self.say(person, room, question), now))
        done = self._answers(said)
        last = max((one.at + told["last"] for one, told in zip(said, done, strict=True) if told), default=0.0)
        shown = self.statuses()
        status = [shown[one.message] - one.at for one in said if one.message in shown]
        return {"answers": done, "seconds": last - began, "status": status, **self.since()}

    def _answers(self, said: Sequence[Said]) -> list[dict[str, Any] | None]:
        found: dict[int, dict[str, Any]] = {}
        ends = time.monotonic() + LONGEST_SECONDS
        while len(found) < len(said) and time.monotonic() < ends:
            time.sleep(0.25)
            for number, one in enumerate(said):
                if number not in found and (answer := self.answer(one)) is not None:
                    found[number] = answer
        return [found.get(number) for number in range(len(said))]


class LocalSlack(Local):
    """`rates`: the documented ones are enforced."""

    def __init__(self, slack: SlackServer, *, rates: bool) -> None:
        self._slack = slack
        slack.enforce_rates = rates
        self._calls = self._deliveries = 0

    @property
    def tokens(self) -> dict[str, str]:
        return tokens(self._slack)

    def rooms(self, number: int) -> list[tuple[str, str]]:
        people = [self._slack.add_user(f"person-{one}") for one in range(number)]
        return [(person, self._slack.add_channel(f"room-{one}", [person])) for one, person in enumerate(people)]

    def say(self, person: str, room: str, question: str) -> str:
        return self._slack.say(person, room, self._slack.mention(question))

    def answer(self, said: Said) -> dict[str, Any] | None:
        slack = self._slack
        with slack.lock:
            messages = slack.channels[said.room].messages
            posts = [
                one
                for one in messages
                if one.thread_ts == said.message and one.ts != said.message and slack.is_ours(one)
            ]
            if not posts or "action_id" not in json.dumps(posts[-1].blocks) or posts[-1].streaming == "streaming":
                return None
            return {
                "first": (posts[0].first_visible_at or 0.0) - said.at,
                "last": max(one.changed_at[-1] for one in posts if one.changed_at) - said.at,
                "streamed": bool(posts[0].streaming),
                "looks": len(posts[0].changed_at),
                "text": posts[0].text + json.dumps(posts[0].blocks),
            }

    def since(self) -> dict[str, Any]:
        slack = self._slack
        with slack.lock:
            deliveries, calls = slack.deliveries[self._deliveries :], slack.calls[self._calls :]
            self._deliveries, self._calls = len(slack.deliveries), len(slack.calls)
            acknowledged = [one.acked_at - one.sent_at[0] for one in deliveries if one.acked_at]
        counted = Counter(call.method + (f" ({call.error})" if call.error else "") for call in calls)
        return {"acknowledged": acknowledged, "calls": counted}

    def statuses(self) -> dict[str, float]:
        found: dict[str, float] = {}
        with self._slack.lock:
            for call in self._slack.calls[self._calls :]:
                if call.method == "assistant.threads.setStatus" and call.args.get("status"):
                    found.setdefault(str(call.args["thread_ts"]), call.at)
        return found

    @property
    def violations(self) -> list[str]:
        return self._slack.violations


class LocalDiscord(Local):
    """The bot is in so many `guilds`, over which people are spread. There is nothing to acknowledge."""

    def __init__(self, discord: DiscordServer, *, rates: bool, guilds: int) -> None:
        self._discord = discord
        self._guilds = [discord.guild, *(discord.add_guild(f"guild-{number}") for number in range(1, guilds))]
        for guild in self._guilds[1:]:
            for name in ("general", "help", "off-topic", "announcements"):
                discord.add_channel(name, guild)
        if not rates:
            discord.rates.each_second, discord.rates.others = 1_000_000, (1_000_000, 1.0)
        self._calls = 0

    @property
    def tokens(self) -> dict[str, str]:
        return discord_token(self._discord)

    def rooms(self, number: int) -> list[tuple[str, str]]:
        found = []
        for one in range(number):
            guild = self._guilds[one % len(self._guilds)]
            person = self._discord.add_user(f"person-{one}")
            self._discord.join(guild, person)
            found.append((person, self._discord.add_channel(f"room-{one}", guild)))
        return found

    def say(self, person: str, room: str, question: str) -> str:
        return self._discord.say(person, room, self._discord.mention(question))

    def answer(self, said: Said) -> dict[str, Any] | None:
        posts = self._discord.ours(said.message) if self._discord.thread_from(said.message) else []
        if not posts or "Solved" not in posts[-1].labels:
            return None
        return {
            "first": posts[0].at - said.at,
            "last": max(max(one.changed_at, default=one.at) for one in posts) - said.at,
            "streamed": posts[0].edits > 0,
            "looks": 1 + posts[0].edits,
            "text": posts[0].text,
        }

    def since(self) -> dict[str, Any]:
        with self._discord.lock:
            calls = self._discord.calls[self._calls :]
            self._calls = len(self._discord.calls)
        counted = Counter(f"{call.method} {_route(call.path)}" + _refused(call.status) for call in calls)
        return {"acknowledged": [], "calls": counted}

    def statuses(self) -> dict[str, float]:
        # A question in a channel is answered in the thread of the same id.
        found: dict[str, float] = {}
        with self._discord.lock:
            for call in self._discord.calls[self._calls :]:
                if call.method == "POST" and call.path.endswith("/typing"):
                    found.setdefault(call.path.split("/")[2], call.at)
        return found

    @property
    def violations(self) -> list[str]:
        return self._discord.violations


def _route(path: str) -> str:
    """A path without its ids."""
    return "/".join("*" if part.isdigit() else part for part in path.split("/"))


def _refused(status: int) -> str:
    return f" ({status})" if status >= 400 else ""


def serve(name: str, *, rates: bool, guilds: int) -> None:
    """Print the address; ask what each line of the input says, and print what became of it."""
    if name == "model":
        with serving(ModelServer(by_prompt=paced)) as model:
            print(json.dumps({"FRONTDESK_MODEL": model.choice, "FRONTDESK_MODEL_API_KEY": "none"}), flush=True)
            sys.stdin.read()
    elif name == "slack":
        with serving(SlackServer()) as slack:
            _serve(LocalSlack(slack, rates=rates))
    else:
        with serving(DiscordServer()) as discord:
            _serve(LocalDiscord(discord, rates=rates, guilds=guilds))


def _serve(local: Local) -> None:
    print(json.dumps(local.tokens), flush=True)
    for line in sys.stdin:
        print(json.dumps(local.asked(**json.loads(line))), flush=True)
    assert local.violations == [], local.violations[:3]
