"""The gateway, the people and the interactions of the local Discord, as the real discord.py and plain clients meet them."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import discord
import pytest
import yarl
import zstandard
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from tests.servers.discord import Asked, DiscordServer, serving
from tests.servers.discord.state import Message

Json = dict[str, Any]
EVERYTHING = 37377
"""GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES and MESSAGE_CONTENT."""
NO_CONTENT = EVERYTHING & ~(1 << 15)
_DATA = {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}
AGENT = {"User-Agent": "DiscordBot (https://example.org, 1.0)"}
ASK: Json = {
    "name": "support",
    "description": "Support",
    "options": [
        {
            "type": 1,
            "name": "ask",
            "description": "Ask",
            "options": [
                {"type": 3, "name": "question", "description": "What?", "required": True, "max_length": 20},
                {
                    "type": 3,
                    "name": "about",
                    "description": "About?",
                    "choices": [{"name": "Parcel", "value": "parcel"}],
                },
                {"type": 11, "name": "file", "description": "A file"},
                {"type": 6, "name": "who", "description": "Who?"},
            ],
        },
        {"type": 1, "name": "status", "description": "Status"},
    ],
}


@pytest.fixture
def server() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as running:
        running.session_start["max_concurrency"] = 16
        before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = running.api_url, yarl.URL(running.gateway_url)
        yield running
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before


@pytest.fixture
def ana(server: DiscordServer) -> str:
    user = server.add_user("Ana")
    server.join(server.guild, user)
    return user


@pytest.fixture
def room(server: DiscordServer) -> str:
    return server.add_channel("help")


async def until(holds: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait until it holds; what it returned then."""
    ends = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < ends, f"not within {seconds} s"
        await asyncio.sleep(0.01)
    return found


# Plain clients.


class Raw:
    """A websocket that says only what a test tells it to."""

    def __init__(self, server: DiscordServer, socket: aiohttp.ClientWebSocketResponse, compress: str = "") -> None:
        self.server, self.socket, self.compress = server, socket, compress
        self.sequence: int | None = None
        self.session = ""
        self._zlib = zlib.decompressobj()
        self._zstd = zstandard.ZstdDecompressor().decompressobj()

    async def send(self, op: int, data: Any = None) -> None:
        await self.socket.send_str(json.dumps({"op": op, "d": data}))

    async def take(self) -> Json:
        """The next payload."""
        message = await self.socket.receive(timeout=10)
        assert message.type in _DATA, message
        text = message.data
        if self.compress == "zlib-stream":
            assert text.endswith(b"\x00\x00\xff\xff")
            text = self._zlib.decompress(text)
        elif self.compress == "zstd-stream":
            text = self._zstd.decompress(text)
        payload: Json = json.loads(text)
        if payload["s"] is not None:
            self.sequence = payload["s"]
        return payload

    async def event(self, name: str) -> Json:
        """The data of the next event of this name; others are left out."""
        while True:
            payload = await self.take()
            if payload["t"] == name:
                found: Json = payload["d"]
                return found

    async def op(self, op: int) -> Json:
        """The next payload with this opcode; others are left out."""
        while (payload := await self.take())["op"] != op:
            pass
        return payload

    async def events(self) -> list[str]:
        """The names of the events that are on their way; a heartbeat's acknowledgement comes after them."""
        await self.send(1, self.sequence)
        names: list[str] = []
        while (payload := await self.take())["op"] != 11:
            names.append(payload["t"])
        return names

    def identity(self, intents: int = EVERYTHING, **more: Any) -> Json:
        properties = {"os": "linux", "browser": "test", "device": "test"}
        return {"token": self.server.token, "properties": properties, "intents": intents, **more}

    async def ready(self, intents: int = EVERYTHING, **more: Any) -> Json:
        """Start a session; its READY. The guilds have come, too."""
        await self.send(2, self.identity(intents, **more))
        ready = await self.event("READY")
        self.session = ready["session_id"]
        if intents & 1:
            for _ in ready["guilds"]:
                await self.event("GUILD_CREATE")
        return ready

    async def resume(self, before: Raw, **more: Any) -> None:
        await self.send(6, {"token": self.server.token, "session_id": before.session, "seq": before.sequence} | more)

    async def closed(self) -> int | None:
        """The code with which the connection is closed; what comes before is left out."""
        while (await self.socket.receive(timeout=10)).type in _DATA:
            pass
        return self.socket.close_code


class Plain:
    """Opens websockets and calls the REST API."""

    def __init__(self, server: DiscordServer, session: aiohttp.ClientSession) -> None:
        self.server, self.session = server, session

    async def connect(self, compress: str = "", query: str = "v=10&encoding=json") -> Raw:
        more = f"&compress={compress}" if compress else ""
        raw = Raw(self.server, await self.session.ws_connect(f"{self.server.gateway_url}/?{query}{more}"), compress)
        assert (await raw.take())["op"] == 10
        return raw

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = AGENT | {"Authorization": f"Bot {self.server.token}"}
        url = self.server.api_url + path
        async with self.session.request(method, url, headers=headers, json=body) as response:
            return response.status, await response.json() if response.status != 204 else None

    async def respond(self, asked: Asked, kind: int, data: Any = None) -> tuple[int, int]:
        """Respond for the first time; the status and the error's code."""
        body = {"type": kind} | ({"data": data} if data is not None else {})
        status, answer = await self("POST", f"/interactions/{asked.id}/{asked.token}/callback", body)
        return status, (answer or {}).get("code", 0)

    async def hook(self, asked: Asked, method: str, rest: str = "", body: Any = None) -> tuple[int, Any]:
        return await self(method, f"/webhooks/{self.server.application_id}/{asked.token}{rest}", body)

    async def commands(self, *commands: Json) -> None:
        status, answer = await self("PUT", f"/applications/{self.server.application_id}/commands", list(commands))
        assert status == 200, answer

    async def buttons(self, channel: str, *components: Json) -> str:
        """A message of the app with these components; its id."""
        body = {"content": "So", "components": [{"type": 1, "components": list(components)}]}
        status, answer = await self("POST", f"/channels/{channel}/messages", body)
        assert status == 200, answer
        return str(answer["id"])


@pytest.fixture
async def plain(server: DiscordServer) -> AsyncIterator[Plain]:
    async with aiohttp.ClientSession() as session:
        yield Plain(server, session)


# discord.py.


class Bot(discord.Client):
    """Keeps what it hears."""

    def __init__(self, intents: int = EVERYTHING, **options: Any) -> None:
        wanted = discord.Intents.none()
        wanted.value = intents
        super().__init__(intents=wanted, guild_ready_timeout=0.02, **options)
        self.heard: list[tuple[str, Any]] = []
        self.tree = app_commands.CommandTree(self)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        pass

    def of(self, kind: str) -> list[Any]:
        return [what for name, what in self.heard if name == kind]

    async def on_message(self, message: discord.Message) -> None:
        self.heard.append(("message", message))

    async def on_message_edit(self, before: discord.Message, after: discord.Message) -> None:
        self.heard.append(("edit", after))

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        self.heard.append(("delete", str(event.message_id)))

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        self.heard.append(("deletes", {str(one) for one in event.message_ids}))

    async def on_thread_create(self, thread: discord.Thread) -> None:
        self.heard.append(("thread", thread))

    async def on_thread_update(self, before: discord.Thread, after: discord.Thread) -> None:
        self.heard.append(("thread update", after))

    async def on_guild_join(self, guild: discord.Guild) -> None:
        self.heard.append(("join", str(guild.id)))

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        self.heard.append(("remove", str(guild.id)))

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        self.heard.append(("channel delete", str(channel.id)))

    async def on_resumed(self) -> None:
        self.heard.append(("resumed", None))

    def texts(self) -> list[str]:
        return [message.content for message in self.of("message")]


class Sharded(Bot, discord.AutoShardedClient):
    """The same with shards."""


@asynccontextmanager
async def running(server: DiscordServer, kind: type[Bot] = Bot, **options: Any) -> AsyncIterator[Bot]:
    """A client that is ready."""
    client = kind(**options)
    task = asyncio.create_task(client.start(server.token))
    try:
        await until(lambda: client.is_ready() or task.done())
        if task.done():
            task.result()
        yield client
    finally:
        await client.close()
        await asyncio.gather(task, return_exceptions=True)


async def resumed(client: Bot, times: int) -> None:
    await until(lambda: len(client.of("resumed")) == times)


# Connecting.


@pytest.mark.parametrize("compress", ["", "zlib-stream", "zstd-stream"])
async def test_a_session_begins_with_ready_and_its_guilds(
    server: DiscordServer, plain: Plain, ana: str, room: str, compress: str
) -> None:
    thread = server.start_thread(ana, room, "Talk")
    old = server.start_thread(ana, room, "Old")
    server.archive(old)
    raw = await plain.connect(compress)
    await raw.send(2, raw.identity())
    ready = await raw.event("READY")
    assert (ready["v"], ready["user"]["id"], ready["resume_gateway_url"]) == (10, server.bot.id, server.gateway_url)
    assert ready["guilds"] == [{"id": server.guild, "unavailable": True}]
    assert ready["application"] == {"id": server.application_id, "flags": 1 << 19}
    guild = await raw.event("GUILD_CREATE")
    assert (guild["id"], guild["unavailable"], guild["member_count"]) == (server.guild, False, 3)
    assert [channel["id"] for channel in guild["channels"]] == [room]
    assert [channel["id"] for channel in guild["threads"]] == [thread]
    assert [member["user"]["id"] for member in guild["members"]] == [server.bot.id]
    assert server.gateway.identifies[0].accepted
    assert server.violations == []


async def test_heartbeats_are_acknowledged_and_asked_for(server: DiscordServer, plain: Plain) -> None:
    raw = await plain.connect()
    await raw.send(1)
    assert (await raw.take())["op"] == 11
    await raw.ready()
    server.gateway.ask_heartbeat()
    assert (await raw.take())["op"] == 1
    await raw.send(1, raw.sequence)
    assert (await raw.take())["op"] == 11
    assert server.gateway.connections[0].heartbeats == 2


async def test_heartbeats_that_do_not_come(server: DiscordServer, plain: Plain) -> None:
    server.gateway.heartbeat_interval, server.gateway.heartbeat_grace = 50, 0.1
    raw = await plain.connect()
    assert await raw.closed() == 4000
    assert "heartbeat" in server.violations[0]


async def test_discord_py_keeps_a_connection_alive(server: DiscordServer) -> None:
    server.gateway.heartbeat_interval, server.gateway.heartbeat_grace = 50, 5
    async with running(server):
        await until(lambda: server.gateway.connections[0].heartbeats > 5)
    assert server.violations == []


@pytest.mark.parametrize("query", ["v=9&encoding=json", "encoding=json"])
async def test_a_version_that_is_not_10(server: DiscordServer, plain: Plain, query: str) -> None:
    raw = await plain.connect(query=query)
    assert await raw.closed() == 4012
    assert len(server.violations) == 1


@pytest.mark.parametrize("query", ["v=10&encoding=etf", "v=10&encoding=json&compress=gzip"])
async def test_an_encoding_that_is_not_taken(plain: Plain, query: str) -> None:
    raw = await plain.connect(query=query)
    assert await raw.closed() == 4002


async def test_a_wrong_token(server: DiscordServer, plain: Plain) -> None:
    for wrong in ("nonsense", f"Bot {server.token}"):
        raw = await plain.connect()
        await raw.send(2, raw.identity(token=wrong))
        assert await raw.closed() == 4004
    assert [one.accepted for one in server.gateway.identifies] == [False, False]
    assert server.violations == []


@pytest.mark.parametrize("intent", [1 << 15, 1 << 1, 1 << 8])
async def test_a_privileged_intent_that_is_not_switched_on(server: DiscordServer, plain: Plain, intent: int) -> None:
    server.message_content_allowed = False
    raw = await plain.connect()
    await raw.send(2, raw.identity(1 | intent))
    assert await raw.closed() == 4014
    server.message_content_allowed = server.gateway.members_allowed = server.gateway.presences_allowed = True
    raw = await plain.connect()
    await raw.ready(1 | intent)


async def test_discord_py_tells_of_a_privileged_intent(server: DiscordServer) -> None:
    server.message_content_allowed = False
    with pytest.raises(discord.PrivilegedIntentsRequired):
        async with running(server):
            pass
    async with running(server, intents=NO_CONTENT):
        pass


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"intents": 1 << 17}, 4013),
        ({"intents": -1}, 4013),
        ({"shard": [2, 2]}, 4010),
        ({"shard": [0]}, 4010),
        ({"intents": "513"}, 4002),
        ({"token": 5}, 4002),
        ({"properties": {"os": "linux"}}, 4002),
        ({"large_threshold": 5}, 4002),
    ],
)
async def test_a_wrong_identify(server: DiscordServer, plain: Plain, more: Json, code: int) -> None:
    raw = await plain.connect()
    await raw.send(2, raw.identity() | more)
    assert await raw.closed() == code
    assert len(server.violations) == 1


async def test_sharding_that_is_required(server: DiscordServer, plain: Plain) -> None:
    server.gateway.sharding_required = True
    raw = await plain.connect()
    await raw.send(2, raw.identity())
    assert await raw.closed() == 4011
    raw = await plain.connect()
    assert (await raw.ready(shard=[1, 2]))["shard"] == [1, 2]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 4002),
        ("[]", 4002),
        ('{"d": 1}', 4002),
        ('{"op": 1, "d": "5"}', 4002),
        ('{"op": 2}', 4002),
        ('{"op": 5}', 4001),
        ('{"op": 3, "d": {}}', 4003),
        ('{"op": 8, "d": {}}', 4003),
        ('{"op": 1, "d": null, "x": "' + "x" * 4096 + '"}', 4002),
    ],
)
async def test_payloads_that_are_wrong(server: DiscordServer, plain: Plain, text: str, code: int) -> None:
    raw = await plain.connect()
    await raw.socket.send_str(text)
    assert await raw.closed() == code
    assert len(server.violations) == 1


async def test_a_second_identify(server: DiscordServer, plain: Plain) -> None:
    raw = await plain.connect()
    await raw.ready()
    await raw.send(2, raw.identity())
    assert await raw.closed() == 4005


async def test_more_payloads_than_a_minute_allows(server: DiscordServer, plain: Plain) -> None:
    raw = await plain.connect()
    for _ in range(121):
        await raw.send(1)
    assert await raw.closed() == 4008
    assert "120" in server.violations[0]


async def test_more_sessions_than_a_day_allows(server: DiscordServer, plain: Plain) -> None:
    server.gateway.session_limit(1000, 1)
    first, second = await plain.connect(), await plain.connect()
    await first.ready()
    assert (await plain("GET", "/gateway/bot"))[1]["session_start_limit"]["remaining"] == 0
    await second.send(2, second.identity())
    assert await second.closed() == 4004
    assert await first.closed() == 4004
    assert "the token would be reset" in server.violations[0]


async def test_sessions_that_start_too_soon_after_each_other(server: DiscordServer, plain: Plain) -> None:
    server.gateway.identify_seconds = 5
    server.session_start["max_concurrency"] = 2
    raws = [await plain.connect() for _ in range(3)]
    await raws[0].ready(shard=[0, 3])
    await raws[1].ready(shard=[1, 3])
    await raws[2].send(2, raws[2].identity(shard=[2, 3]))
    assert (await raws[2].take()) == {"op": 9, "d": False, "s": None, "t": None}
    assert len(server.violations) == 1


async def test_a_connection_that_is_refused(server: DiscordServer, plain: Plain) -> None:
    open_one = await plain.connect()
    await open_one.ready()
    server.gateway.deaf()
    with pytest.raises(aiohttp.ClientError):
        await plain.connect()
    assert await open_one.events() == []
    server.gateway.hear()
    await (await plain.connect()).ready()


async def test_a_session_that_is_refused(server: DiscordServer, plain: Plain) -> None:
    before = await plain.connect()
    await before.ready()
    server.gateway.refuse(4008)
    for op, data in (
        (2, before.identity()),
        (6, {"token": server.token, "session_id": before.session, "seq": before.sequence}),
    ):
        raw = await plain.connect()
        await raw.send(op, data)
        assert await raw.closed() == 4008
    assert not server.gateway.resumes[0].accepted
    server.gateway.refuse()
    await (await plain.connect()).ready()


# Resuming.


async def test_what_was_missed_comes_when_a_session_is_resumed(
    server: DiscordServer, plain: Plain, ana: str, room: str
) -> None:
    before = await plain.connect()
    await before.ready()
    server.say(ana, room, "one")
    assert (await before.event("MESSAGE_CREATE"))["content"] == "one"
    assert server.gateway.drop() == 1
    assert server.gateway.connections == []
    server.say(ana, room, "two")
    server.say(ana, server.dm(ana), "three")
    after = await plain.connect()
    await after.resume(before)
    assert [(await after.event("MESSAGE_CREATE"))["content"] for _ in range(2)] == ["two", "three"]
    assert (await after.take())["t"] == "RESUMED"
    server.say(ana, room, "four")
    assert (await after.event("MESSAGE_CREATE"))["content"] == "four"
    assert server.gateway.resumes[0].accepted
    assert len(server.gateway.identifies) == 1


async def test_discord_py_resumes(server: DiscordServer, ana: str, room: str) -> None:
    async with running(server) as client:
        for number, code in enumerate((1006, 4000, 1001, 1000)):
            server.gateway.drop(code)
            server.say(ana, room, f"missed {number}")
            await resumed(client, number + 1)
        server.say(ana, room, "after")
        await until(lambda: len(client.texts()) == 5)
        assert client.texts() == ["missed 0", "missed 1", "missed 2", "missed 3", "after"]
    assert len(server.gateway.identifies) == 1
    assert server.violations == []


async def test_a_session_that_is_not_known(server: DiscordServer, plain: Plain) -> None:
    raw = await plain.connect()
    await raw.send(6, {"token": server.token, "session_id": "nonsense", "seq": 1})
    assert (await raw.take()) == {"op": 9, "d": False, "s": None, "t": None}
    await raw.ready()


async def test_a_sequence_that_was_never_sent(server: DiscordServer, plain: Plain) -> None:
    before = await plain.connect()
    await before.ready()
    after = await plain.connect()
    await after.resume(before, seq=99)
    assert await after.closed() == 4007
    assert len(server.violations) == 1


async def test_more_was_missed_than_is_kept(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    server.gateway.most_kept = 2
    before = await plain.connect()
    await before.ready()
    server.gateway.drop()
    for number in range(3):
        server.say(ana, room, f"{number}")
    after = await plain.connect()
    await after.resume(before)
    assert (await after.take())["d"] is False


async def test_a_session_lives_for_a_while(server: DiscordServer, plain: Plain) -> None:
    server.gateway.session_seconds = 0
    before = await plain.connect()
    await before.ready()
    assert len(server.gateway.sessions) == 1
    server.gateway.drop()
    await until(lambda: not server.gateway.sessions)
    after = await plain.connect()
    await after.resume(before)
    assert (await after.take())["d"] is False


@pytest.mark.parametrize(("code", "resumable"), [(1000, False), (1001, False), (4000, True), (3000, True)])
async def test_how_the_app_closes_decides_whether_it_can_resume(
    server: DiscordServer, plain: Plain, code: int, resumable: bool
) -> None:
    before = await plain.connect()
    await before.ready()
    await before.socket.close(code=code)
    await until(lambda: server.gateway.closes == [code])
    after = await plain.connect()
    await after.resume(before)
    assert (await after.take())["op"] == (0 if resumable else 9)


@pytest.mark.parametrize(("code", "resumable"), [(4009, False), (4008, True), (4001, True)])
async def test_how_discord_closes_decides_whether_the_app_can_resume(
    server: DiscordServer, plain: Plain, code: int, resumable: bool
) -> None:
    before = await plain.connect()
    await before.ready()
    server.gateway.drop(code)
    assert await before.closed() == code
    after = await plain.connect()
    await after.resume(before)
    assert (await after.take())["op"] == (0 if resumable else 9)


async def test_sessions_that_are_forgotten(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    before = await plain.connect()
    await before.ready()
    server.gateway.forget_sessions()
    server.say(ana, room, "still heard")
    await before.event("MESSAGE_CREATE")
    server.gateway.drop()
    after = await plain.connect()
    await after.resume(before)
    assert (await after.take())["op"] == 9


async def test_a_session_that_becomes_invalid(server: DiscordServer, plain: Plain) -> None:
    raw = await plain.connect()
    await raw.ready()
    server.gateway.invalidate(resumable=True)
    assert (await raw.op(9))["d"] is True
    again = await plain.connect()
    await again.resume(raw)
    assert (await again.take())["t"] == "RESUMED"
    again.session = raw.session
    server.gateway.invalidate()
    assert (await again.op(9))["d"] is False
    last = await plain.connect()
    await last.resume(again)
    assert (await last.take())["op"] == 9


async def test_discord_py_starts_anew_or_resumes(server: DiscordServer, ana: str, room: str) -> None:
    async with running(server) as client:
        server.gateway.invalidate()
        server.say(ana, room, "lost")
        await until(lambda: len(server.gateway.identifies) == 2 and server.gateway.connections)
        server.gateway.reconnect()
        await until(lambda: client.of("resumed"))
        server.gateway.invalidate(resumable=True)
        await until(lambda: len(client.of("resumed")) == 2)
        server.say(ana, room, "heard")
        await until(lambda: client.texts() == ["heard"])
    assert server.gateway.closes[0] == 1000
    assert len(server.gateway.identifies) == 2
    assert server.violations == []


async def test_a_connection_without_a_sign_of_life(server: DiscordServer, ana: str, room: str) -> None:
    server.gateway.heartbeat_interval = 50
    async with running(server, heartbeat_timeout=0.5) as client:
        assert server.gateway.zombie() == 1
        server.say(ana, room, "into the void")
        await until(lambda: client.texts() == ["into the void"])
        assert client.of("resumed")
    assert server.violations == []


# Who hears what.


async def test_intents_decide_which_events_come(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    server.gateway.members_allowed = True
    raws = {}
    for name, intents in (("guild", 1 << 9), ("dm", 1 << 12), ("guilds", 1), ("members", 1 << 1), ("none", 0)):
        raws[name] = await plain.connect()
        await raws[name].ready(intents)
    message = server.say(ana, room, "Hello")
    server.edit(ana, room, message, "Hello!")
    server.use_emoji(ana, room, message, "👍")
    server.say(ana, server.dm(ana), "Hello")
    server.start_thread(ana, room, "Talk", message)
    server.join(server.guild, server.add_user("Ben"))
    assert {name: await raw.events() for name, raw in raws.items()} == {
        "guild": ["MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_UPDATE", "MESSAGE_CREATE"],
        "dm": ["MESSAGE_CREATE"],
        "guilds": ["THREAD_CREATE"],
        "members": ["GUILD_MEMBER_ADD"],
        "none": [],
    }


async def test_content_without_the_intent(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    raw = await plain.connect()
    await raw.ready(NO_CONTENT)

    async def heard() -> Json:
        found = await raw.event("MESSAGE_CREATE")
        return {name: found[name] for name in ("content", "attachments", "embeds", "components")}

    server.say(ana, room, "secret", files=[("a.txt", b"a")], poll=("Which?", ["a", "b"]))
    data = await raw.event("MESSAGE_CREATE")
    assert (data["content"], data["attachments"], "poll" in data) == ("", [], False)
    server.say(ana, room, server.mention("Hello"))
    assert (await heard())["content"] == server.mention("Hello")
    server.say(ana, server.dm(ana), "Hello", files=[("a.txt", b"a")])
    direct = await heard()
    assert (direct["content"], len(direct["attachments"])) == ("Hello", 1)
    own = await plain.buttons(room, {"type": 2, "style": 2, "label": "A", "custom_id": "a"})
    mine = await heard()
    assert (mine["content"], len(mine["components"])) == ("So", 1)
    server.say(ana, room, "that pings", reply_to=own)
    assert (await heard())["content"] == "that pings"
    server.say(ana, room, "that does not", reply_to=own, ping=False)
    quiet = await raw.event("MESSAGE_CREATE")
    assert (quiet["content"], quiet["referenced_message"]["content"]) == ("", "So")
    secret = server.say(ana, room, "secret")
    await raw.event("MESSAGE_CREATE")
    server.edit(ana, room, secret, "another secret")
    assert (await raw.event("MESSAGE_UPDATE"))["content"] == ""
    server.forward(ana, room, room, secret)
    forwarded = await raw.event("MESSAGE_CREATE")
    assert forwarded["message_snapshots"][0]["message"]["content"] == ""


async def test_content_with_the_intent_that_was_switched_off(
    server: DiscordServer, plain: Plain, ana: str, room: str
) -> None:
    raw = await plain.connect()
    await raw.ready()
    server.say(ana, room, "heard")
    assert (await raw.event("MESSAGE_CREATE"))["content"] == "heard"
    server.message_content_allowed = False
    server.say(ana, room, "not any more")
    assert (await raw.event("MESSAGE_CREATE"))["content"] == ""


async def test_a_channel_that_the_bot_does_not_see(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    raw = await plain.connect()
    await raw.ready()
    server.permit(room, view_channel=False)
    server.say(ana, room, "unheard")
    assert await raw.events() == ["CHANNEL_UPDATE"]


async def test_shards_share_the_guilds(server: DiscordServer, plain: Plain, ana: str) -> None:
    guilds = [server.guild, *(server.add_guild(f"Guild {number}") for number in range(6))]
    raws = [await plain.connect() for _ in range(2)]
    for number, raw in enumerate(raws):
        ready = await raw.ready(shard=[number, 2])
        assert {guild["id"] for guild in ready["guilds"]} == {id_ for id_ in guilds if (int(id_) >> 22) % 2 == number}
    server.say(ana, server.dm(ana), "only the first")
    assert [await raw.events() for raw in raws] == [["MESSAGE_CREATE"], []]
    for guild in guilds:
        server.join(guild, ana)
        server.say(ana, server.add_channel("help", guild), "one of them")
        heard = [await raw.events() for raw in raws]
        assert heard[(int(guild) >> 22) % 2] == ["CHANNEL_CREATE", "MESSAGE_CREATE"]
        assert heard[1 - (int(guild) >> 22) % 2] == []
    assert server.gateway.drop(4000, shard=1) == 1
    assert len(server.gateway.connections) == 1


async def test_discord_py_with_shards(server: DiscordServer, ana: str) -> None:
    server.shards = 2
    guilds = [server.guild, *(server.add_guild(f"Guild {number}") for number in range(4))]
    for guild in guilds:
        server.join(guild, ana)
    rooms = [server.add_channel("help", guild) for guild in guilds]
    async with running(server, Sharded) as client:
        assert sorted(one.shard for one in server.gateway.identifies) == [(0, 2), (1, 2)]
        assert {str(guild.id) for guild in client.guilds} == set(guilds)
        for number, channel in enumerate(rooms):
            server.say(ana, channel, f"{number}")
        await until(lambda: len(client.of("message")) == 5)
        server.gateway.drop(4000)
        server.say(ana, server.dm(ana), "direct")
        await until(lambda: len(client.of("message")) == 6)
        await until(lambda: len(server.gateway.connections) == 2)
    assert len(server.gateway.resumes) == 2
    assert server.violations == []


async def test_every_session_of_a_shard_hears_everything(server: DiscordServer, ana: str, room: str) -> None:
    async with running(server) as one, running(server) as two, running(server) as three:
        server.say(ana, room, "Hello")
        await until(lambda: [bot.texts() for bot in (one, two, three)] == [["Hello"]] * 3)
    assert server.violations == []


async def test_events_that_come_twice(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    raw = await plain.connect()
    await raw.ready()
    server.gateway.duplicate = 1.0
    server.say(ana, room, "Hello")
    first, second = await raw.take(), await raw.take()
    assert first["d"] == second["d"]
    assert second["s"] == first["s"] + 1


async def test_the_bot_joins_and_leaves_guilds(server: DiscordServer) -> None:
    async with running(server) as client:
        other = server.add_guild("Other")
        await until(lambda: client.of("join") == [other])
        server.kick_bot(other)
        await until(lambda: client.of("remove") == [other])
        server.invite_bot(other)
        await until(lambda: client.of("join") == [other, other])


async def test_members_that_are_asked_for(server: DiscordServer, plain: Plain, ana: str) -> None:
    raw = await plain.connect()
    await raw.ready()
    await raw.send(8, {"guild_id": server.guild, "query": "an", "limit": 5, "nonce": "n"})
    chunk = await raw.event("GUILD_MEMBERS_CHUNK")
    assert [member["user"]["id"] for member in chunk["members"]] == [ana]
    assert chunk["nonce"] == "n"
    await raw.send(8, {"guild_id": server.guild, "user_ids": [ana, "123456789012345678"], "limit": 0})
    chunk = await raw.event("GUILD_MEMBERS_CHUNK")
    assert (len(chunk["members"]), chunk["not_found"]) == (1, ["123456789012345678"])
    await raw.send(8, {"guild_id": server.guild, "query": "", "limit": 0})
    assert await raw.events() == []
    assert "GUILD_MEMBERS" in server.violations[0]


async def test_a_presence(server: DiscordServer, plain: Plain) -> None:
    async with running(server) as client:
        await client.change_presence(status=discord.Status.idle, activity=discord.Game("chess"))
        await until(lambda: server.gateway.presences)
    assert server.gateway.presences[0]["status"] == "idle"
    raw = await plain.connect()
    await raw.ready()
    await raw.send(3, {"since": None, "activities": [], "status": "asleep", "afk": False})
    assert await raw.closed() == 4002


async def test_threads_that_the_bot_is_added_to(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    server.permit(room, manage_threads=False)
    server.change_role(server.guild, server.bot_role(), 3072)
    raw = await plain.connect()
    await raw.ready()
    thread = server.start_thread(ana, room, "Secret", private=True)
    server.say(ana, thread, "unseen")
    assert await raw.events() == []
    server.add_to_thread(thread, server.bot.id)
    data = await raw.event("THREAD_CREATE")
    assert (data["id"], data["member"]["user_id"], "newly_created" in data) == (thread, server.bot.id, False)
    public = server.start_thread(ana, room, "Talk")
    await raw.events()
    server.say(ana, public, server.mention("Hello"))
    assert await raw.events() == ["MESSAGE_CREATE", "THREAD_MEMBERS_UPDATE"]


# What people do, as discord.py hears it.


async def test_messages_in_channels_and_direct_messages(server: DiscordServer, ana: str, room: str) -> None:
    async with running(server) as client:
        first = server.say(ana, room, server.mention("Hello"), files=[("a.txt", b"text")])
        reply = server.say(ana, room, "And", reply_to=first)
        direct = server.say(ana, server.dm(ana), "Direct")
        await until(lambda: len(client.of("message")) == 3)
        one, two, three = client.of("message")
        assert [str(message.id) for message in (one, two, three)] == [first, reply, direct]
        assert one.mentions == [client.user]
        assert isinstance(one.author, discord.Member)
        assert await one.attachments[0].read() == b"text"
        assert (two.type, two.reference.resolved.id) == (discord.MessageType.reply, one.id)
        assert isinstance(three.channel, discord.DMChannel)
        assert three.guild is None
        server.edit(ana, room, first, "Hello!")
        await until(lambda: [message.content for message in client.of("edit")] == ["Hello!"])
        server.delete(ana, room, reply)
        await until(lambda: client.of("delete") == [reply])
        server.delete_many(room, [first])
        await until(lambda: client.of("deletes") == [{first}])
        link = server.say(ana, room, "https://example.org")
        server.unfurl(room, link, "https://example.org")
        shown = await until(lambda: [item for item in client.of("edit") if item.embeds])
        assert shown[0].edited_at is None


async def test_threads_and_posts(server: DiscordServer, ana: str, room: str) -> None:
    forum = server.add_forum("questions", tags=["answered", "open"], require_tag=True)
    async with running(server) as client:
        asked = server.say(ana, room, "How?")
        thread = server.start_thread(ana, room, "How?", asked)
        assert thread == asked == server.thread_from(asked)
        post = server.post(ana, forum, "Odd", "Why?", ["open"], files=[("a.txt", b"a")])
        await until(lambda: len(client.of("message")) >= 3)
        created = client.of("thread")
        assert [str(item.id) for item in created] == [thread, post]
        assert [tag.name for tag in created[1].applied_tags] == ["open"]
        starter = client.of("message")[-1]
        assert (str(starter.id), starter.content, starter.channel.id) == (post, "Why?", created[1].id)
        server.archive(post, locked=True)
        await until(lambda: client.of("thread update"))
        with pytest.raises(AssertionError, match="locked"):
            server.say(ana, post, "More")
        with pytest.raises(AssertionError, match="requires a tag"):
            server.post(ana, forum, "Odd", "Why?")
        server.delete_channel(room)
        await until(lambda: client.of("channel delete") == [room])
    assert server.tags_of(post) == ["open"]


async def test_what_others_than_people_write(server: DiscordServer, ana: str, room: str) -> None:
    other = server.add_user("Other", bot=True)
    server.join(server.guild, other)
    async with running(server) as client:
        server.say_as_bot(other, room, "I am a bot")
        server.say_by_webhook(room, "I am a hook", "Hook")
        server.system_message(room, ana)
        server.say(ana, room, "", stickers=["wave"])
        server.say(ana, room, "", poll=("Which?", ["a", "b"]))
        await until(lambda: len(client.of("message")) == 5)
        bot, hook, joined, sticker, poll = client.of("message")
        assert bot.author.bot
        assert (hook.webhook_id, hook.author.name) == (hook.author.id, "Hook")
        assert joined.is_system()
        assert sticker.stickers[0].name == "wave"
        assert [answer.text for answer in poll.poll.answers] == ["a", "b"]
        source = server.say(ana, room, "to be forwarded")
        server.forward(ana, server.dm(ana), room, source)
        forwarded = await until(lambda: [item for item in client.of("message") if item.message_snapshots])
        assert forwarded[0].message_snapshots[0].content == "to be forwarded"


async def test_people_cannot_do_what_they_may_not(server: DiscordServer, ana: str, room: str) -> None:
    ben, inside = server.add_user("Ben"), server.add_channel("inside", only_roles=())
    asked = server.say(ana, room, "Hello")
    with pytest.raises(AssertionError, match="does not see"):
        server.say(ana, inside, "Hello")
    with pytest.raises(AssertionError, match="does not see"):
        server.say(ben, room, "Hello")
    with pytest.raises(AssertionError, match="does not see"):
        server.say(ben, server.dm(ana), "Hello")
    server.join(server.guild, ben)
    with pytest.raises(AssertionError, match="not by"):
        server.edit(ben, room, asked, "Ha")
    with pytest.raises(AssertionError, match="may not delete"):
        server.delete(ben, room, asked)
    server.overwrite(room, server.guild, send_messages=False, create_public_threads=False)
    with pytest.raises(AssertionError, match="may not write"):
        server.say(ana, room, "Hello")
    with pytest.raises(AssertionError, match="may not start threads"):
        server.start_thread(ana, room, "Talk")
    with pytest.raises(AssertionError, match="empty"):
        server.say(ana, server.dm(ana), " ")


# Interactions with discord.py.


async def test_a_slash_command(server: DiscordServer, ana: str, room: str) -> None:
    async with running(server) as client:
        group = app_commands.Group(name="support", description="Support")

        @group.command(name="ask", description="Ask")
        async def ask(interaction: discord.Interaction, question: str, file: discord.Attachment | None = None) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            text = (await file.read()).decode() if file else ""
            await interaction.followup.send(f"{interaction.user.name} asks {question}{text}", ephemeral=True)

        client.tree.add_command(group)
        await client.tree.sync()
        options = {"question": "How?", "file": ("a.txt", b" and why?")}
        asked = server.slash(ana, room, "support ask", options)
        note = (await until(lambda: asked.messages))[0]
        assert (note.content, note.ephemeral, asked.deferred) == ("ana asks How? and why?", True, True)
        assert asked.acked is not None
        assert asked.ephemeral
        assert server.visible(room) == []
        assert [seen.id for seen in server.ephemeral(ana, room)] == [note.id]
        direct = server.slash(ana, server.dm(ana), "/support ask", {"question": "How?"})
        assert (await until(lambda: direct.messages))[0].content == "ana asks How?"
    assert server.violations == []


async def test_buttons_menus_and_modals(server: DiscordServer, ana: str, room: str) -> None:
    class Why(discord.ui.Modal, title="Why?"):
        reason: Any = discord.ui.TextInput(label="Reason", max_length=20)

        async def on_submit(self, interaction: discord.Interaction) -> None:
            await interaction.response.send_message(f"Because {self.reason.value}", ephemeral=True)

    class Buttons(discord.ui.View):
        @discord.ui.button(label="Why", custom_id="why:1")
        async def why(self, interaction: discord.Interaction, button: Any) -> None:
            await interaction.response.send_modal(Why())

        @discord.ui.button(label="Done", custom_id="done:1")
        async def done(self, interaction: discord.Interaction, button: Any) -> None:
            await interaction.response.edit_message(content="Done", view=None)

        @discord.ui.select(
            custom_id="menu",
            options=[discord.SelectOption(label="A", value="a"), discord.SelectOption(label="B", value="b")],
        )
        async def menu(self, interaction: discord.Interaction, select: Any) -> None:
            await interaction.response.defer()
            await interaction.edit_original_response(content=f"Chose {select.values[0]}")

    async with running(server) as client:
        channel = client.get_channel(int(room))
        assert isinstance(channel, discord.TextChannel)
        sent = await channel.send("So", view=Buttons(timeout=None))
        message = str(sent.id)
        chosen = server.click(ana, room, message, "menu", "b")
        await until(lambda: chosen.updated and server.visible(room)[0].content == "Chose b")
        opened = server.click(ana, room, message, "why")
        modal = await until(lambda: opened.modal)
        assert modal["title"] == "Why?"
        submitted = server.submit(opened, {"Reason": "it rains"})
        note = (await until(lambda: submitted.messages))[0]
        assert (note.content, note.ephemeral, note.reference) == ("Because it rains", True, message)
        done = server.click(ana, room, message, "Done")
        await until(lambda: done.updated)
        assert (server.visible(room)[0].content, server.visible(room)[0].labels) == ("Done", [])
    assert server.violations == []


async def test_a_message_command_shows_the_message(server: DiscordServer, ana: str, room: str) -> None:
    async with running(server, intents=NO_CONTENT) as client:

        async def ask(interaction: discord.Interaction, message: discord.Message) -> None:
            await interaction.response.send_message(f"It says {message.content}")

        client.tree.add_command(app_commands.ContextMenu(name="Ask about this", callback=ask))
        await client.tree.sync()
        asked = server.context_menu(ana, room, "Ask about this", server.say(ana, room, "secret"))
        seen = (await until(lambda: asked.messages))[0]
        assert (seen.content, seen.ephemeral, asked.ephemeral) == ("It says secret", False, False)
        assert server.ours(room) == [seen]


async def test_an_option_that_is_completed(server: DiscordServer, ana: str, room: str) -> None:
    async with running(server) as client:

        @client.tree.command(name="find", description="Find")
        async def find(interaction: discord.Interaction, what: str) -> None:
            await interaction.response.send_message(what)

        @find.autocomplete("what")
        async def complete(interaction: discord.Interaction, begun: str) -> list[app_commands.Choice[str]]:
            return [app_commands.Choice(name=f"{begun}cel", value="parcel")]

        await client.tree.sync()
        asked = server.autocomplete(ana, room, "find", {"what": "par"}, "what")
        assert await until(lambda: asked.choices) == [{"name": "parcel", "value": "parcel"}]


async def test_one_of_several_processes_answers(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    raws = [await plain.connect() for _ in range(3)]
    for raw in raws:
        await raw.ready()
    await plain.commands(ASK)
    asked = server.slash(ana, room, "support status")
    assert len({(await raw.event("INTERACTION_CREATE"))["token"] for raw in raws}) == 1
    answers = [await plain.respond(asked, 4, {"content": f"{number}"}) for number in range(3)]
    assert answers == [(204, 0), (400, 40060), (400, 40060)]
    assert [seen.content for seen in asked.messages] == ["0"]
    assert server.violations == []


# Interactions in detail.


async def test_what_an_interaction_tells(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    raw = await plain.connect()
    await raw.ready(0)
    await plain.commands(ASK)
    asked = server.slash(ana, room, "support ask", {"question": "How?", "who": ana})
    data = await raw.event("INTERACTION_CREATE")
    assert (data["id"], data["token"], data["type"], data["version"]) == (asked.id, asked.token, 2, 1)
    assert (data["guild_id"], data["channel_id"], data["channel"]["id"]) == (server.guild, room, room)
    assert (data["context"], data["authorizing_integration_owners"]) == (0, {"0": server.guild})
    assert data["member"]["user"]["id"] == ana
    assert int(data["member"]["permissions"])
    assert int(data["app_permissions"]) & 1 << 34
    assert "user" not in data
    (option,) = data["data"]["options"]
    assert (option["name"], option["type"]) == ("ask", 1)
    assert option["options"][0] == {"name": "question", "type": 3, "value": "How?"}
    assert data["data"]["resolved"]["members"].keys() == data["data"]["resolved"]["users"].keys() == {ana}
    server.slash(ana, server.dm(ana), "support status")
    data = await raw.event("INTERACTION_CREATE")
    assert (data["user"]["id"], data["context"], data["authorizing_integration_owners"]) == (ana, 1, {"0": "0"})
    assert "member" not in data
    message = await plain.buttons(room, {"type": 2, "style": 2, "label": "A", "custom_id": "a:1"})
    server.click(ana, room, message, "a:")
    data = await raw.event("INTERACTION_CREATE")
    assert (data["type"], data["data"]["custom_id"], data["message"]["content"]) == (3, "a:1", "So")


async def test_an_answer_that_comes_too_late(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    await plain.commands(ASK)
    server.response_seconds = 0.05
    asked = server.slash(ana, room, "support status")
    assert not asked.failed
    await until(lambda: asked.failed)
    assert await plain.respond(asked, 4, {"content": "Late"}) == (404, 10062)
    assert (await plain.hook(asked, "POST", body={"content": "Later"}))[0] == 404
    assert asked.acked is None
    assert await plain.respond(Asked(server, _unknown(asked)), 4, {"content": "x"}) == (404, 10062)


def _unknown(asked: Asked) -> Any:
    """An interaction whose token nobody knows."""
    return type(asked.interaction)(
        "123456789012345678", "nonsense", 2, asked.interaction.user, asked.interaction.channel
    )


@pytest.mark.parametrize(
    ("how", "taken"),
    [("slash", {4, 5, 9}), ("click", {4, 5, 6, 7, 9}), ("submit", {4, 5, 6, 7}), ("complete", {8})],
)
async def test_which_first_responses_are_taken(
    server: DiscordServer, plain: Plain, ana: str, room: str, how: str, taken: set[int]
) -> None:
    option = {"type": 3, "name": "what", "description": "What?", "autocomplete": True}
    await plain.commands(ASK, {"name": "find", "description": "Find", "options": [option]})
    message = await plain.buttons(room, {"type": 2, "style": 2, "label": "A", "custom_id": "a"})
    data: dict[int, Any] = {
        4: {"content": "So"},
        7: {"content": "So"},
        8: {"choices": []},
        9: {"custom_id": "m", "title": "T", "components": [_row()]},
    }
    found = set()
    for kind in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12):
        if how == "slash":
            asked = server.slash(ana, room, "support status")
        elif how == "complete":
            asked = server.autocomplete(ana, room, "find", {"what": "a"}, "what")
        else:
            asked = server.click(ana, room, message, "a")
            if how == "submit":
                assert await plain.respond(asked, 9, data[9]) == (204, 0)
                asked = server.submit(asked, {"a": "x"})
        status, code = await plain.respond(asked, kind, data.get(kind))
        assert (status, code) in {(204, 0), (400, 50035)}
        if status == 204:
            found.add(kind)
    assert found == taken


def _row(**more: Any) -> Json:
    return {"type": 1, "components": [{"type": 4, "custom_id": "a", "label": "A", "style": 1, **more}]}


def _label(**more: Any) -> Json:
    return {"type": 18, "label": "A", "component": {"type": 4, "custom_id": "a", "style": 2, **more}}


@pytest.mark.parametrize(
    "change",
    [
        {"title": "T" * 46},
        {"title": ""},
        {"custom_id": "c" * 101},
        {"custom_id": ""},
        {"components": []},
        {"components": [_row()] * 2},
        {"components": [{**_row(), "components": []}]},
        {"components": [_row(custom_id=f"{number}") for number in range(6)]},
        {"components": [{"type": 4, "custom_id": "a", "label": "A", "style": 1}]},
        {"components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "A", "custom_id": "a"}]}]},
        {"components": [_row(label="A" * 46)]},
        {"components": [_row(style=3)]},
        {"components": [_row(max_length=4001)]},
        {"components": [_row(value="x" * 4001)]},
        {"components": [_row(placeholder="x" * 101)]},
        {"components": [_label(label="A")]},
        {"components": [{**_label(), "label": "A" * 46}]},
        {"components": [{"type": 18, "label": "A"}]},
        {"components": [{"type": 18, "label": "A", "component": {"type": 3, "custom_id": "a", "options": []}}]},
    ],
)
async def test_modals_that_are_wrong(server: DiscordServer, plain: Plain, ana: str, room: str, change: Json) -> None:
    await plain.commands(ASK)
    asked = server.slash(ana, room, "support status")
    modal = {"custom_id": "m", "title": "T", "components": [_row()]} | change
    assert await plain.respond(asked, 9, modal) == (400, 50035)
    assert asked.modal is None
    assert asked.acked is None


async def test_what_can_be_filled_into_a_modal(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    raw = await plain.connect()
    await raw.ready()
    await plain.commands(ASK)
    asked = server.slash(ana, room, "support status")
    with pytest.raises(AssertionError, match="no modal"):
        server.submit(asked, {})
    menu = {"type": 3, "custom_id": "m", "required": False, "options": [{"label": "X", "value": "x"}]}
    components = [
        _row(min_length=2, max_length=3),
        {"type": 10, "content": "Words"},
        {"type": 18, "label": "Long", "component": {"type": 4, "custom_id": "b", "style": 2, "value": "before"}},
        {"type": 18, "label": "Menu", "component": menu},
    ]
    assert await plain.respond(asked, 9, {"custom_id": "m:1", "title": "T", "components": components}) == (204, 0)
    for wrong in ({}, {"a": "x"}, {"a": "xxxx"}, {"a": "x\ny"}, {"a": "xx", "z": ""}, {"a": "xx", "m": ["y"]}):
        with pytest.raises(AssertionError):
            server.submit(asked, wrong)
    server.submit(asked, {"A": "xx", "Menu": "x"})
    await raw.event("INTERACTION_CREATE")
    data = await raw.event("INTERACTION_CREATE")
    assert (data["type"], data["data"]["custom_id"]) == (5, "m:1")
    row, words, long, chosen = data["data"]["components"]
    assert (row["components"][0]["custom_id"], row["components"][0]["value"]) == ("a", "xx")
    assert words["type"] == 10
    assert long["component"]["value"] == "before"
    assert chosen["component"]["values"] == ["x"]
    assert "message" not in data


async def test_an_answer_that_is_deferred(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    await plain.commands(ASK)
    asked = server.slash(ana, room, "support status")
    assert await plain.respond(asked, 5, {"flags": 64}) == (204, 0)
    assert asked.deferred
    assert asked.messages == []
    status, first = await plain.hook(asked, "POST", body={"content": "So"})
    assert (status, first["flags"] & 64) == (200, 64)
    status, second = await plain.hook(asked, "POST", body={"content": "And"})
    assert second["id"] != first["id"]
    assert [(seen.content, seen.ephemeral) for seen in asked.messages] == [("So", True), ("And", False)]
    await plain.hook(asked, "PATCH", "/messages/@original", {"content": "So!"})
    await plain.hook(asked, "DELETE", f"/messages/{second['id']}")
    assert [seen.content for seen in asked.messages] == ["So!"]
    assert server.violations == []


async def test_a_deferred_answer_can_only_be_ephemeral(
    server: DiscordServer, plain: Plain, ana: str, room: str
) -> None:
    await plain.commands(ASK)
    await plain.respond(server.slash(ana, room, "support status"), 5, {"flags": 4})
    await plain.respond(server.slash(ana, room, "support status"), 5, {"content": "So"})
    assert len(server.violations) == 2


async def test_a_token_that_has_expired(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    await plain.commands(ASK)
    asked = server.slash(ana, room, "support status")
    await plain.respond(asked, 4, {"content": "So"})
    server.token_seconds = 0
    status, answer = await plain.hook(asked, "PATCH", "/messages/@original", {"content": "So!"})
    assert (status, answer["code"]) == (401, 50027)


async def test_what_the_first_response_returns(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    await plain.commands(ASK)
    asked = server.slash(ana, room, "support status")
    path = f"/interactions/{asked.id}/{asked.token}/callback?with_response=true"
    status, answer = await plain("POST", path, {"type": 4, "data": {"content": "So", "flags": 64}})
    assert status == 200
    assert answer["interaction"]["response_message_ephemeral"]
    assert answer["resource"]["message"]["content"] == "So"
    assert answer["resource"]["message"]["interaction_metadata"]["name"] == "support status"
    wrong = server.slash(ana, room, "support status")
    assert await plain.respond(wrong, 4, {"content": "x" * 2001}) == (400, 50035)
    assert await plain.respond(wrong, 4, {}) == (400, 50006)
    assert await plain.respond(wrong, 4, {"content": "So"}) == (204, 0)


async def test_commands_as_they_are_registered(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    hidden = {"name": "setup", "description": "Setup", "default_member_permissions": "32"}
    admins = {"name": "admin", "description": "Admin", "default_member_permissions": "0"}
    guilds = {"name": "here", "description": "Here", "contexts": [0]}
    await plain.commands(ASK, hidden, admins, guilds)
    for command, options, problem in (
        ("nothing", {}, "no command"),
        ("support", {}, "needs one of"),
        ("support nothing", {}, "has no"),
        ("support ask", {}, "required"),
        ("support ask", {"question": "x" * 21}, "at most"),
        ("support ask", {"question": 5}, "takes no int"),
        ("support ask", {"question": "x", "about": "y"}, "takes one of"),
        ("support ask", {"question": "x", "other": "y"}, "has no option"),
        ("setup", {}, "does not see"),
        ("admin", {}, "administrators"),
    ):
        with pytest.raises(AssertionError, match=problem):
            server.slash(ana, room, command, options)
    with pytest.raises(AssertionError, match="direct messages"):
        server.slash(ana, server.dm(ana), "here")
    server.slash(ana, room, "here")
    server.join(server.guild, ana, roles=[server.add_role(server.guild, "boss", 1 << 5)])
    server.slash(ana, room, "setup")
    server.overwrite(room, server.guild, use_application_commands=False)
    with pytest.raises(AssertionError, match="may not use commands"):
        server.slash(ana, room, "here")
    server.kick_bot(server.guild)
    with pytest.raises(AssertionError, match="not in this server"):
        server.slash(ana, room, "here")


async def test_buttons_that_cannot_be_used(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    await plain.commands(ASK)
    ben = server.add_user("Ben")
    server.join(server.guild, ben)
    message = await plain.buttons(
        room,
        {"type": 2, "style": 5, "label": "Link", "url": "https://example.org"},
        {"type": 2, "style": 1, "label": "Off", "custom_id": "off", "disabled": True},
        {"type": 2, "style": 1, "label": "On", "custom_id": "on"},
    )
    for what, problem in (("Link", "a link"), ("Off", "disabled"), ("Other", "no button")):
        with pytest.raises(AssertionError, match=problem):
            server.click(ana, room, message, what)
    with pytest.raises(AssertionError, match="not the app's"):
        server.click(ana, room, server.say(ana, room, "Hello"), "On")
    asked = server.slash(ana, room, "support status")
    row = {"type": 1, "components": [{"type": 2, "style": 1, "label": "Mine", "custom_id": "mine"}]}
    await plain.respond(asked, 4, {"content": "So", "flags": 64, "components": [row]})
    (note,) = asked.messages
    with pytest.raises(AssertionError, match="sees no message"):
        server.click(ben, room, note.id, "Mine")
    clicked = server.click(ana, room, note.id, "Mine")
    assert await plain.respond(clicked, 7, {"content": "Shared", "components": []}) == (204, 0)
    assert (asked.messages[0].content, asked.messages[0].labels, clicked.updated) == ("Shared", [], True)


async def test_an_update_of_a_message_that_is_gone(server: DiscordServer, plain: Plain, ana: str, room: str) -> None:
    message = await plain.buttons(room, {"type": 2, "style": 1, "label": "On", "custom_id": "on"})
    asked = server.click(ana, room, message, "On")
    await plain("DELETE", f"/channels/{room}/messages/{message}")
    assert await plain.respond(asked, 7, {"content": "So"}) == (404, 10008)
    assert await plain.respond(asked, 6) == (204, 0)


async def test_what_was_said_before_the_server_runs_is_kept(ana: str, server: DiscordServer, room: str) -> None:
    with server.lock:
        server.publish(Message(server.snowflake(), room, ana, "Hello"))
    assert [seen.content for seen in server.visible(room)] == ["Hello"]
    assert server.gateway.sessions == []
