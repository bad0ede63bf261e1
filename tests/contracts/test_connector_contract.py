"""What every connector must do: the terminal, the shipped fake, and Slack and Discord against local ones."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from rich.console import Console

from agent.errors import DeliveryError
from agent.ledger import Ticket
from agent.messages import (
    Address,
    Answer,
    Attachment,
    Citation,
    Delivery,
    Draft,
    Handoff,
    Inbound,
    Message,
    Post,
    Shown,
    Status,
    Withdrawn,
)
from agent.testing import MemoryConnector
from connectors.connector import Connector, Posts, Reaches
from connectors.slack.connector import SlackConnector, SlackSettings
from connectors.terminal import Terminal
from tests.servers.discord import DiscordServer
from tests.servers.slack import SlackServer, serving

LINES = [
    "Are dogs welcome?",
    "And cats? \U0001f408",
    'In two lines:\nis `a < b && c > d` "right", as in\n> what I read & was told?',
]
CITED = (Citation(1, "pets", "Pets", "https://help.example/pets", "Dogs are welcome.", "2026-01-01"),)
ANSWER = Answer("Dogs are welcome. [1]", CITED)
HANDOFF = Handoff("unsure", "I don't know. A person will answer.", "summary for staff")


class Place:
    """Where a customer wrote `LINES`, and what they see there."""

    connector: Connector

    async def heard(self) -> list[Message]:
        """What the connector made of `LINES`."""
        got: list[Inbound] = []

        async def receive(inbound: Inbound) -> None:
            got.append(inbound)

        await self.connector.listen(receive)
        return [one for one in got if isinstance(one, Message)]

    def seen(self) -> str:
        """What stands there now."""
        raise NotImplementedError

    async def tell(self, question: Message, *events: Shown, resumed: bool = False) -> None:
        for event in events:
            await self.connector.deliver(Delivery(question.address, question.id, event, question, resumed))

    async def close(self) -> None:
        """Leave it."""


class InTerminal(Place):
    def __init__(self, *, live: bool) -> None:
        self._out = io.StringIO()
        typed = iter([*LINES, None])
        self.terminal = Terminal(Console(file=self._out, force_terminal=live, width=100), lambda: next(typed))
        self.connector = self.terminal

    def seen(self) -> str:
        return self._out.getvalue()


class Shared(Place):
    """A place on which others read along, with staff and files, where a process may be started anew."""

    staff: Address

    @property
    def reaches(self) -> Reaches:
        raise NotImplementedError

    async def restart(self) -> None:
        """Another process goes on."""

    def file(self, content: bytes) -> Attachment:
        """A file that the customer sent."""
        raise NotImplementedError

    def let_strangers_in(self) -> None:
        raise NotImplementedError

    def told(self) -> list[str]:
        """The posts in the staff's room, by their ids."""
        raise NotImplementedError


class InMemory(Shared):
    staff = Address("memory", "here", "staff")

    def __init__(self) -> None:
        here = Address("memory", "here", "help")
        now = datetime.now(UTC)
        said = [Message(f"{here}#{n}", here, "ann", "customer", line, now) for n, line in enumerate(LINES)]
        self.memory = MemoryConnector(said)
        self.connector = self.memory

    @property
    def reaches(self) -> Reaches:
        return self.memory

    def seen(self) -> str:
        events = [delivery.event for delivery in self.memory.shown.values()]
        return "\n".join(event.text for event in events if not isinstance(event, Withdrawn))

    def file(self, content: bytes) -> Attachment:
        self.memory.files["log.txt"] = content
        return Attachment("log.txt", "text/plain", len(content), source="log.txt")

    def let_strangers_in(self) -> None:
        self.memory.strangers = True

    def told(self) -> list[str]:
        return sorted({f"post-{ticket.number}" for ticket in self.memory.told})


class KeptPosts:
    """What was posted, as the ledger keeps it over restarts."""

    def __init__(self) -> None:
        self._posts: dict[tuple[str, int], Post] = {}

    async def posts(self, turn: str, /) -> Sequence[Post]:
        return [post for (of, _), post in sorted(self._posts.items()) if of == turn]

    async def keep_post(self, post: Post, /) -> None:
        self._posts[post.turn, post.part] = post


class InSlack(Shared):
    def __init__(self, slack: SlackServer) -> None:
        self.slack = slack
        self._posts: Posts = KeptPosts()
        self._ann = slack.add_user("ann")
        self._room = slack.add_channel("help", [self._ann])
        self._staff = slack.add_channel("staff", [slack.add_user("eve")])
        self.staff = Address("slack", slack.team.id, self._staff)
        self._root = ""
        self._start()

    def _start(self) -> None:
        slack = self.slack
        settings = SlackSettings(bot_token=slack.bot_token, app_token=slack.app_token, api_url=slack.api_url)
        self._slack_connector = SlackConnector(settings, self._posts)
        self.connector = self._slack_connector
        self._got: asyncio.Queue[Message] = asyncio.Queue()
        self._listening = asyncio.create_task(self._slack_connector.listen(self._receive))

    async def _receive(self, inbound: Inbound) -> None:
        if isinstance(inbound, Message):
            self._got.put_nowait(inbound)

    @property
    def reaches(self) -> Reaches:
        return self._slack_connector

    async def heard(self) -> list[Message]:
        await self._connected()
        got: list[Message] = []
        for line in LINES:
            ts = self.slack.say(self._ann, self._room, self.slack.mention(line), thread_ts=self._root or None)
            self._root = self._root or ts
            # A mention is delivered twice over.
            both = [await asyncio.wait_for(self._got.get(), 10) for _ in range(2)]
            assert both[0].id == both[1].id
            got.append(both[0])
        return got

    async def _connected(self) -> None:
        ends = time.monotonic() + 10
        while not self._slack_connector.connected:
            assert time.monotonic() < ends, self._slack_connector.problem
            await asyncio.sleep(0.01)

    def seen(self) -> str:
        return "\n".join(seen.text for seen in self.slack.replies_to(self._room, self._root))

    async def restart(self) -> None:
        await self.close()
        self._start()
        await self._connected()

    async def close(self) -> None:
        await self._slack_connector.close()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(self._listening, 10)

    def file(self, content: bytes) -> Attachment:
        ts = self.slack.share_file(self._ann, self._room, "log.txt", content)
        (shared,) = next(seen for seen in self.slack.visible(self._room) if seen.ts == ts).files
        return Attachment("log.txt", "text/plain", len(content), source=shared["url_private_download"])

    def let_strangers_in(self) -> None:
        self.slack.join(self.slack.add_user("zoe", team=self.slack.add_foreign_team()), self._room)
        self.slack.channels[self._room].shared = True

    def told(self) -> list[str]:
        return [seen.ts for seen in self.slack.visible(self._staff) if seen.ours]


class InDiscord(Shared):
    def __init__(self, discord: DiscordServer) -> None:
        self.discord = discord
        self._posts: Posts = KeptPosts()
        self._ann, eve = discord.add_user("ann"), discord.add_user("eve")
        customers, staff = (discord.add_role(discord.guild, name) for name in ("customers", "staff"))
        discord.join(discord.guild, self._ann, [customers])
        discord.join(discord.guild, eve, [staff])
        self._room = discord.add_channel("help", only_roles=[customers])
        self._staff = discord.add_channel("staff", only_roles=[staff])
        self.staff = Address("discord", discord.guild, self._staff)
        self._thread = ""
        self._start()

    def _start(self) -> None:
        from connectors.discord.connector import DiscordConnector, DiscordSettings

        discord = self.discord
        settings = DiscordSettings(
            token=discord.token, api_url=discord.api_url, gateway_url=discord.gateway_url, edit_seconds=0.05
        )
        self._discord_connector = DiscordConnector(settings, self._posts)
        self.connector = self._discord_connector
        self._got: asyncio.Queue[Message] = asyncio.Queue()
        self._listening = asyncio.create_task(self._discord_connector.listen(self._receive))

    async def _receive(self, inbound: Inbound) -> None:
        if isinstance(inbound, Message):
            self._got.put_nowait(inbound)

    @property
    def reaches(self) -> Reaches:
        return self._discord_connector

    async def heard(self) -> list[Message]:
        await self._connected()
        got: list[Message] = []
        for line in LINES:
            said = self.discord.say(self._ann, self._thread or self._room, self.discord.mention(line))
            self._thread = self._thread or self.discord.start_thread(self._ann, self._room, "pets", said)
            got.append(await asyncio.wait_for(self._got.get(), 10))
        return got

    async def _connected(self) -> None:
        ends = time.monotonic() + 10
        while not self._discord_connector.connected:
            assert time.monotonic() < ends, self._discord_connector.problem
            await asyncio.sleep(0.01)

    def seen(self) -> str:
        rooms = (self._room, self._thread)
        return "\n".join(seen.text for room in rooms for seen in self.discord.ours(room))

    async def restart(self) -> None:
        await self.close()
        self._start()
        await self._connected()

    async def close(self) -> None:
        await self._discord_connector.close()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(self._listening, 10)

    def file(self, content: bytes) -> Attachment:
        said = self.discord.say(self._ann, self._thread, "", files=[("log.txt", content)])
        (file,) = next(seen for seen in self.discord.visible(self._thread) if seen.id == said).attachments
        return Attachment("log.txt", "text/plain", len(content), source=file["url"])

    def let_strangers_in(self) -> None:
        self.discord.overwrite(self._room, self.discord.guild, view_channel=True)

    def told(self) -> list[str]:
        return [seen.id for seen in self.discord.ours(self._staff)]


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as server:
        yield server
        assert (server.violations, server.notified, server.unfurled) == ([], [], [])


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with serving(SlackServer()) as slack:
        yield slack
        assert (slack.violations, slack.bad_acks, slack.notified, slack.unfurled) == ([], [], [], [])


def _made(name: str, request: pytest.FixtureRequest) -> Shared:
    if name == "slack":
        return InSlack(request.getfixturevalue("server"))
    return InDiscord(request.getfixturevalue("discord")) if name == "discord" else InMemory()


@pytest.fixture(params=["terminal", "piped", "memory", "slack", "discord"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param in ("terminal", "piped"):
        yield InTerminal(live=request.param == "terminal")
        return
    one = _made(request.param, request)
    yield one
    await one.close()


@pytest.fixture(params=["memory", "slack", "discord"])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Shared]:
    one = _made(request.param, request)
    yield one
    await one.close()


# --- what people say


async def test_what_people_say_arrives_as_they_said_it(place: Place) -> None:
    messages = await place.heard()
    assert [message.text for message in messages] == LINES
    assert {message.role for message in messages} == {"customer"}
    assert all(message.addressed for message in messages)
    assert len({message.id for message in messages}) == len(LINES)
    assert [message.id for message in messages] == sorted(message.id for message in messages)
    assert len({str(message.address) for message in messages}) == 1
    assert {message.address.connector for message in messages} == {place.connector.name}
    assert all(message.sent_at.tzinfo is not None for message in messages)


async def test_a_message_is_pure_data(place: Place) -> None:
    (message, *_) = await place.heard()
    as_data = json.loads(json.dumps(dataclasses.asdict(message), default=lambda value: value.isoformat()))
    assert as_data["text"] == LINES[0]
    assert datetime.fromisoformat(as_data["sent_at"]).tzinfo == UTC


# --- what people see


async def test_the_answer_replaces_its_drafts(place: Place) -> None:
    (first, *_) = await place.heard()
    await place.tell(first, Status("Looking ..."), Draft("Dogs are"), Draft("Dogs are welcome. [1]"), ANSWER)
    assert place.seen().rstrip().count("Dogs are welcome. [1]") >= 1


async def test_a_handoff_replaces_the_draft(place: Place) -> None:
    (first, *_) = await place.heard()
    await place.tell(first, Draft("Dogs may be"), HANDOFF)
    assert "A person will answer." in place.seen()
    assert "summary for staff" not in place.seen()


async def test_nothing_but_the_answer_is_left(shared: Shared) -> None:
    (first, *_) = await shared.heard()
    await shared.tell(first, Status("Looking ..."), Draft("Cats and"), Draft("Cats and dogs"), ANSWER)
    assert "Cats" not in shared.seen()
    assert "Looking" not in shared.seen()
    assert shared.seen().count("Dogs are welcome. [1]") == 1


@pytest.mark.parametrize("event", [ANSWER, HANDOFF], ids=["answer", "hand-off"])
async def test_what_is_told_again_is_shown_once(shared: Shared, event: Answer | Handoff) -> None:
    (first, *_) = await shared.heard()
    await shared.tell(first, Draft("Dogs are"), event, event)
    assert shared.seen().count(event.text) == 1


@pytest.mark.parametrize("before", [Draft("Dogs are"), ANSWER], ids=["draft", "answer"])
async def test_after_a_restart_it_is_shown_once(shared: Shared, before: Draft | Answer) -> None:
    (first, *_) = await shared.heard()
    await shared.tell(first, before)
    await shared.restart()
    await shared.tell(first, ANSWER, resumed=True)
    assert shared.seen().count("Dogs are") == 1
    assert shared.seen().count("Dogs are welcome. [1]") == 1


@pytest.mark.parametrize("before", [Draft("Dogs are"), ANSWER], ids=["draft", "answer"])
async def test_a_withdrawn_turn_leaves_nothing(shared: Shared, before: Draft | Answer) -> None:
    (first, *_) = await shared.heard()
    await shared.tell(first, Status("Looking ..."), before, Withdrawn())
    assert shared.seen() == ""


async def test_sources_are_shown() -> None:
    place = InTerminal(live=False)
    (first, *_) = await place.heard()
    await place.tell(first, Answer("Dogs are **welcome**. [1]", CITED))
    assert place.seen().splitlines()[:3] == [
        "Dogs are welcome. [1]",
        "",
        "[1] Pets - https://help.example/pets (updated 2026-01-01)",
    ]


# --- files, strangers and staff


async def test_the_first_bytes_of_a_file_are_fetched(shared: Shared) -> None:
    (first, *_) = await shared.heard()
    file = shared.file(b"error 1\nerror 2\n")
    assert await shared.reaches.fetch(first.address, file, 1_000) == b"error 1\nerror 2\n"
    assert await shared.reaches.fetch(first.address, file, 7) == b"error 1"


@pytest.mark.parametrize("source", ["", "https://elsewhere.example/log.txt"])
async def test_a_file_that_is_not_there_is_an_error(shared: Shared, source: str) -> None:
    (first, *_) = await shared.heard()
    with pytest.raises(DeliveryError):
        await shared.reaches.fetch(first.address, Attachment("log.txt", "text/plain", 7, source=source), 1_000)


async def test_strangers_are_seen_when_they_come(shared: Shared) -> None:
    (first, *_) = await shared.heard()
    assert await shared.reaches.outsiders(first.address) is False
    shared.let_strangers_in()
    assert await shared.reaches.outsiders(first.address) is True


async def test_staff_are_told_once(shared: Shared) -> None:
    (first, *_) = await shared.heard()
    about = {"reason": "asked", "question": first.text, "summary": "They asked.", "status": "open", "staff_post": ""}
    opened = {"opened_at": datetime.now(UTC), "resolved_at": None, "resolved_by": ""}
    ticket = Ticket(7, first.address, first.id, first.person, **about, **opened)  # type: ignore[arg-type]
    post = await shared.reaches.notify(shared.staff, ticket)
    assert shared.told() == [post]
    await shared.restart()
    assert await shared.reaches.notify(shared.staff, ticket) == post
    assert shared.told() == [post]
