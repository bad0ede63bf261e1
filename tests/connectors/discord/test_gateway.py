"""Keeping a client of the gateway: real discord.py against a local Discord."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import discord as discord_py
import pytest

from agent.errors import SettingsError
from connectors.discord.budget import Budget
from connectors.discord.gateway import Gateway
from connectors.discord.rest import Rest
from connectors.discord.settings import DiscordSettings
from tests.connectors.discord.waiting import QUICK, settings_for, until
from tests.servers.discord import DiscordServer, Fault, serving

WITHOUT_CONTENT, WITH_CONTENT = 4609, 37377


@dataclass
class Told:
    """What the gateway told. `fails` makes every handler raise."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    clients: int = 0
    fails: bool = False

    def attach(self, client: discord_py.Client) -> None:
        self.clients += 1

    def knows(self, client: discord_py.Client | None) -> None:
        self.events.append(("knows", client is not None))

    def message(self, message: discord_py.Message) -> None:
        self._note("message", message.content)

    def edited(self, message: discord_py.Message) -> None:
        self._note("edited", message.content)

    def deleted(self, guild: int | None, channel: int, messages: Iterable[int]) -> None:
        self._note("deleted", [str(one) for one in messages])

    async def interaction(self, interaction: discord_py.Interaction) -> None:
        self._note("interaction", interaction.type)

    def changed(self, channels: Iterable[int]) -> None:
        self._note("changed", {str(one) for one in channels})

    def missed(self, client: discord_py.AutoShardedClient, shard: int, *, late: bool = False) -> None:
        self.events.append(("missed", shard))

    def of(self, kind: str) -> list[Any]:
        return [what for told, what in self.events if told == kind]

    def _note(self, kind: str, what: Any) -> None:
        if self.fails:
            raise RuntimeError("a handler broke")
        self.events.append((kind, what))


@dataclass
class Hearing:
    """A gateway that runs."""

    gateway: Gateway
    told: Told
    running: asyncio.Task[None]

    async def connected(self) -> None:
        await until(lambda: self.gateway.connected and self.told.of("missed"))


@asynccontextmanager
async def hearing(
    server: DiscordServer, settings: DiscordSettings | None = None, **more: Any
) -> AsyncIterator[Hearing]:
    used = settings or settings_for(server)
    rest = Rest(used)
    await rest.open()
    told = Told()
    gateway = Gateway(used, rest, told, **{"pauses": QUICK} | more)
    running = asyncio.ensure_future(gateway.run())
    try:
        yield Hearing(gateway, told, running)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await rest.close()
        await until(lambda: not any(thread.name.startswith("keep-alive") for thread in threading.enumerate()))


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as server:
        server.session_start["max_concurrency"] = 16
        yield server
        assert server.violations == []


async def test_what_happens_in_channels_and_direct_messages(discord: DiscordServer) -> None:
    ann = discord.add_user("ann")
    discord.join(discord.guild, ann)
    room, home = discord.add_channel("help"), discord.dm(ann)
    async with hearing(discord) as heard:
        gateway, told = heard.gateway, heard.told
        assert not gateway.connected
        assert gateway.problem == "not connected yet"
        await heard.connected()
        assert gateway.problem == ""
        assert [one.intents for one in discord.gateway.identifies] == [WITH_CONTENT]
        first = discord.say(ann, room, "one")
        second = discord.say(ann, room, "two")
        discord.say(ann, home, "three")
        await until(lambda: told.of("message") == ["one", "two", "three"])
        discord.edit(ann, room, first, "one and a half")
        await until(lambda: told.of("edited") == ["one and a half"])
        discord.delete(ann, room, second)
        await until(lambda: told.of("deleted") == [[second]])


async def test_a_change_of_a_channel_or_thread_is_told(discord: DiscordServer) -> None:
    ann = discord.add_user("ann")
    discord.join(discord.guild, ann)
    room = discord.add_channel("help")
    thread = discord.start_thread(ann, room, "mine", discord.say(ann, room, "hello"))
    async with hearing(discord) as heard:
        await heard.connected()
        discord.archive(thread)
        await until(lambda: {thread} in heard.told.of("changed"))
        discord.permit(room, embed_links=False)
        await until(lambda: any(room in one for one in heard.told.of("changed")))


async def test_a_server_that_the_app_is_thrown_out_of(discord: DiscordServer, caplog: pytest.LogCaptureFixture) -> None:
    room = discord.add_channel("help")
    async with hearing(discord) as heard:
        await heard.connected()
        discord.kick_bot(discord.guild)
        await until(lambda: any(room in one for one in heard.told.of("changed")))
        assert "removed from the server" in caplog.text
        assert heard.gateway.connected


async def test_a_handler_that_breaks_ends_nothing(discord: DiscordServer, caplog: pytest.LogCaptureFixture) -> None:
    home = discord.dm(ann := discord.add_user("ann"))
    async with hearing(discord) as heard:
        await heard.connected()
        heard.told.fails = True
        discord.say(ann, home, "lost")
        await until(lambda: "a handler broke" in caplog.text)
        heard.told.fails = False
        discord.say(ann, home, "heard")
        await until(lambda: heard.told.of("message") == ["heard"])
        assert len(discord.gateway.identifies) == 1


# --- lost connections


async def test_a_cut_connection_is_resumed(discord: DiscordServer) -> None:
    home = discord.dm(ann := discord.add_user("ann"))
    async with hearing(discord) as heard:
        await heard.connected()
        discord.gateway.drop(1006)
        discord.say(ann, home, "into the gap")
        await until(lambda: discord.gateway.resumes and heard.gateway.connected)
        await until(lambda: heard.told.of("message") == ["into the gap"])
        assert len(discord.gateway.identifies) == 1
        assert heard.told.of("missed") == [0]


@pytest.mark.parametrize("code", [1000, 1001, 4000, 4002, 4007, 4008, 4009, 4013])
async def test_a_connection_that_discord_closes(discord: DiscordServer, code: int) -> None:
    home = discord.dm(ann := discord.add_user("ann"))
    async with hearing(discord) as heard:
        await heard.connected()
        discord.gateway.drop(code)
        await until(lambda: len(discord.gateway.identifies) + len(discord.gateway.resumes) > 1)
        await until(lambda: heard.gateway.connected)
        discord.say(ann, home, "afterwards")
        await until(lambda: "afterwards" in heard.told.of("message"))


async def test_a_lost_session_is_told(discord: DiscordServer) -> None:
    async with hearing(discord) as heard:
        await heard.connected()
        discord.gateway.invalidate(resumable=False)
        await until(lambda: heard.told.of("missed") == [0, 0] and heard.gateway.connected)
        assert len(discord.gateway.identifies) == 2
        discord.gateway.forget_sessions()
        discord.gateway.drop(1006)
        await until(lambda: heard.told.of("missed") == [0, 0, 0] and heard.gateway.connected)
        assert heard.told.clients == 1


async def test_a_connection_on_which_nothing_comes(discord: DiscordServer) -> None:
    home = discord.dm(ann := discord.add_user("ann"))
    async with hearing(discord, pauses=replace(QUICK, heartbeat=1.0)) as heard:
        await heard.connected()
        discord.gateway.zombie()
        discord.say(ann, home, "into the void")
        await until(lambda: "into the void" in heard.told.of("message"), 20)


async def test_a_gateway_that_cannot_be_reached(discord: DiscordServer) -> None:
    home = discord.dm(ann := discord.add_user("ann"))
    discord.gateway.deaf()
    async with hearing(discord) as heard:
        await until(lambda: heard.told.clients > 1, 30)
        assert not heard.gateway.connected
        assert "cannot be reached" in heard.gateway.problem
        discord.gateway.hear()
        await until(lambda: heard.gateway.connected, 30)
        discord.gateway.deaf()
        discord.gateway.drop(1006)
        await until(lambda: not heard.gateway.connected)
        assert "down since" in heard.gateway.problem
        discord.gateway.hear()
        await until(lambda: heard.gateway.connected, 30)
        discord.say(ann, home, "afterwards")
        await until(lambda: "afterwards" in heard.told.of("message"))


@pytest.mark.parametrize("code", [1006, 4000])
async def test_a_session_that_does_not_begin_is_not_resumed(discord: DiscordServer, code: int) -> None:
    discord.gateway.refuse(code)
    async with hearing(discord) as heard:
        await until(lambda: heard.told.clients > 2)
        assert "before the session began" in heard.gateway.problem
        discord.gateway.refuse(0)
        await heard.connected()
        assert discord.gateway.resumes == []


async def test_a_connection_that_is_lost_again_and_again(discord: DiscordServer) -> None:
    async with hearing(discord) as heard:
        await heard.connected()
        for number in range(1, 11):
            discord.gateway.drop(1006)
            await until(lambda: len(discord.gateway.resumes) >= number or heard.told.clients == 2)  # noqa: B023
        await until(lambda: heard.told.clients == 2 and heard.gateway.connected)


async def test_a_server_that_becomes_known_late(discord: DiscordServer) -> None:
    async with hearing(discord) as heard:
        await heard.connected()
        with discord.lock:
            whole = discord.guild_create_json(discord.guilds[discord.guild])
            (session,) = discord.gateway.sessions
            discord.gateway._tell(session, "GUILD_DELETE", {"id": discord.guild, "unavailable": True})
            discord.gateway._tell(session, "GUILD_CREATE", whole | {"unavailable": False})
        await until(lambda: heard.told.of("missed") == [0, 0])
        assert len(discord.gateway.identifies) == 1


async def test_an_answer_instead_of_the_address_of_the_gateway(discord: DiscordServer) -> None:
    discord.faults.append(Fault(method="GET", path="/gateway/bot", times=2, status=502))
    async with hearing(discord) as heard:
        await heard.connected()


async def test_what_the_library_cannot_read_ends_only_a_client(discord: DiscordServer) -> None:
    home = discord.dm(ann := discord.add_user("ann"))
    async with hearing(discord) as heard:
        await heard.connected()
        discord.dispatch("MESSAGE_CREATE", {"id": "no number", "channel_id": home}, None)
        await until(lambda: heard.told.clients == 2 and heard.gateway.connected)
        discord.say(ann, home, "afterwards")
        await until(lambda: "afterwards" in heard.told.of("message"))


@pytest.mark.parametrize(("only", "host"), [("", "127.0.0.1"), ("localhost", "localhost")])
async def test_a_session_is_resumed_where_one_s_own_gateway_is(discord: DiscordServer, only: str, host: str) -> None:
    # Discord names 127.0.0.1 in READY.
    address = discord.gateway_url.replace("127.0.0.1", only) if only else ""
    async with hearing(discord, replace(settings_for(discord), gateway_url=address)) as heard:
        await heard.connected()
        discord.gateway.drop(1006)
        await until(lambda: discord.gateway.resumes and heard.gateway.connected)
        discord.gateway.invalidate(resumable=False)
        await until(lambda: len(discord.gateway.identifies) == 2 and heard.gateway.connected)
        (connection,) = discord.gateway.connections
        assert connection.request.url.host == host


# --- what is not allowed


async def test_a_token_that_is_refused(discord: DiscordServer) -> None:
    async with hearing(discord) as heard:
        await heard.connected()
        discord.gateway.refuse(4004)
        discord.gateway.invalidate(resumable=False)
        with pytest.raises(SettingsError, match="DISCORD_TOKEN"):
            await asyncio.wait_for(asyncio.shield(heard.running), 10)


@pytest.mark.parametrize("wanted", ["on", "auto"])
async def test_message_content_that_is_switched_off_meanwhile(
    discord: DiscordServer, wanted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with hearing(discord, replace(settings_for(discord), message_content=wanted)) as heard:
        # The flags were read before.
        discord.message_content_allowed = False
        await heard.connected()
        assert discord.gateway.identifies[0].intents == WITH_CONTENT
        assert [one.intents for one in discord.gateway.identifies if one.accepted] == [WITHOUT_CONTENT]
        (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
        assert f"https://discord.com/developers/applications/{discord.application_id}/bot" in told


@pytest.mark.parametrize(
    ("wanted", "allowed", "intents"),
    [("auto", False, WITHOUT_CONTENT), ("off", True, WITHOUT_CONTENT), ("on", True, WITH_CONTENT)],
)
async def test_message_content_as_it_is_set(discord: DiscordServer, wanted: Any, allowed: bool, intents: int) -> None:
    discord.message_content_allowed = allowed
    async with hearing(discord, replace(settings_for(discord), message_content=wanted)) as heard:
        await heard.connected()
        assert [one.intents for one in discord.gateway.identifies] == [intents]


# --- sessions


async def test_many_shards(discord: DiscordServer) -> None:
    home = discord.dm(ann := discord.add_user("ann"))
    discord.shards = 3
    async with hearing(discord) as heard:
        await until(lambda: heard.gateway.connected and sorted(heard.told.of("missed")) == [0, 1, 2])
        assert sorted(one.shard for one in discord.gateway.identifies) == [(0, 3), (1, 3), (2, 3)]
        discord.gateway.drop(1006)
        await until(lambda: discord.gateway.resumes and heard.gateway.connected)
        discord.say(ann, home, "hello")
        await until(lambda: heard.told.of("message") == ["hello"])


async def test_no_session_is_started_when_few_are_left(
    discord: DiscordServer, caplog: pytest.LogCaptureFixture
) -> None:
    discord.session_start |= {"remaining": 49, "reset_after": 1_500}
    async with hearing(discord) as heard:
        await until(lambda: "hardly any new session" in heard.gateway.problem)
        assert discord.gateway.identifies == []
        discord.session_start |= {"remaining": 1_000}
        await heard.connected()
        assert "hardly any new session" in caplog.text


async def test_lost_sessions_in_a_row_are_slowed_down(discord: DiscordServer) -> None:
    budget = Budget(0)
    async with hearing(discord, budget=budget) as heard:
        await heard.connected()
        for _ in range(499):
            budget.spend(0)
        discord.gateway.invalidate(resumable=False)
        await until(lambda: "hardly any new session" in heard.gateway.problem)
        assert len(discord.gateway.identifies) == 1


async def test_until_when_everything_was_heard(discord: DiscordServer) -> None:
    async with hearing(discord) as heard:
        await until(lambda: heard.gateway.heard_until is None)
        await heard.connected()
        first = heard.gateway.heard_until
        assert first is not None
        home = discord.dm(ann := discord.add_user("ann"))
        discord.say(ann, home, "hello")
        await until(lambda: (heard.gateway.heard_until or first) > first)
        discord.gateway.deaf()
        discord.gateway.drop(1006)
        await until(lambda: heard.gateway.heard_until is None)


async def test_leaving_while_it_connects(discord: DiscordServer) -> None:
    for code in (4000, 1006):
        async with hearing(discord) as heard:
            discord.gateway.refuse(code)
            await until(lambda: heard.told.clients)
