"""The REST API of the local Discord, as the real discord.py and a plain HTTP client meet it."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import discord
import pytest
from discord import app_commands
from discord.http import Route
from multidict import CIMultiDictProxy

from tests.servers.discord import DiscordServer, Fault, Notice, serving
from tests.servers.discord.shapes import COMPONENTS_V2, EPHEMERAL, LOADING, SUPPRESS_EMBEDS
from tests.servers.discord.state import Interaction, Message

Json = dict[str, Any]
QUIET: Json = {"parse": [], "replied_user": False}
AGENT = "DiscordBot (https://example.org, 1.0)"


@pytest.fixture
def server() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as running:
        before, Route.BASE = Route.BASE, running.api_url
        yield running
        Route.BASE = before


@pytest.fixture
async def client(server: DiscordServer) -> AsyncIterator[discord.Client]:
    client = discord.Client(intents=discord.Intents.none())
    await client.login(server.token)
    yield client
    await client.close()


@pytest.fixture
def ana(server: DiscordServer) -> str:
    user = server.add_user("Ana")
    server.join(server.guild, user)
    return user


@pytest.fixture
def room(server: DiscordServer) -> str:
    return server.add_channel("help")


class Raw:
    """A plain HTTP client, which neither waits nor tries again."""

    def __init__(self, server: DiscordServer, session: aiohttp.ClientSession) -> None:
        self.server, self.session = server, session
        self.headers = {"Authorization": f"Bot {server.token}", "User-Agent": AGENT}
        self.got: CIMultiDictProxy[str]

    async def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        options = {"headers": self.headers} | more
        if body is not None:
            options["json"] = body
        async with self.session.request(method, self.server.api_url + path, **options) as response:
            self.got = response.headers
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def code(self, method: str, path: str, body: Any = None) -> tuple[int, int]:
        """The HTTP status and the JSON error code."""
        status, answer = await self(method, path, body)
        return status, answer["code"] if isinstance(answer, dict) and "code" in answer else 0

    async def send(self, room: str, **body: Any) -> Json:
        """A message that is accepted."""
        status, answer = await self("POST", f"/channels/{room}/messages", body)
        assert status == 200, answer
        return dict(answer)

    async def wrong(self, room: str, **body: Any) -> Json:
        """What is wrong with a message."""
        status, answer = await self("POST", f"/channels/{room}/messages", body)
        assert (status, answer["code"], answer["message"]) == (400, 50035, "Invalid Form Body"), answer
        return dict(answer["errors"])


@pytest.fixture
async def raw(server: DiscordServer) -> AsyncIterator[Raw]:
    server.limits |= {"create": (100, 1.0), "edit": (100, 1.0)}
    async with aiohttp.ClientSession() as session:
        yield Raw(server, session)


async def channel_of(client: discord.Client, id_: str) -> discord.TextChannel:
    found = await client.fetch_channel(int(id_))
    assert isinstance(found, discord.TextChannel)
    return found


async def forum_of(client: discord.Client, id_: str) -> discord.ForumChannel:
    found = await client.fetch_channel(int(id_))
    assert isinstance(found, discord.ForumChannel)
    return found


def says(server: DiscordServer, user: str, channel: str, text: str, **more: Any) -> str:
    """A message of a person."""
    with server.lock:
        message = Message(server.snowflake(), channel, user, text, **more)
        server.publish(message)
        return message.id


def row(*buttons: Json) -> Json:
    return {"type": 1, "components": list(buttons)}


def button(custom_id: str, label: str = "Press", **more: Any) -> Json:
    return {"type": 2, "style": 2, "label": label, "custom_id": custom_id, **more}


# discord.py.


async def test_logs_in(server: DiscordServer, client: discord.Client) -> None:
    assert client.user is not None
    assert (str(client.user.id), client.user.bot, client.application_id) == (server.bot.id, True, int(server.bot.id))
    info = await client.application_info()
    assert info.flags.gateway_message_content_limited
    assert [guild.name async for guild in client.fetch_guilds()] == ["Acme"]
    assert server.violations == []


async def test_a_wrong_token_is_refused(server: DiscordServer, raw: Raw) -> None:
    client = discord.Client(intents=discord.Intents.none())
    with pytest.raises(discord.LoginFailure):
        await client.login("wrong")
    await client.close()
    raw.headers["Authorization"] = server.token
    assert await raw("GET", "/users/@me") == (401, {"message": "401: Unauthorized", "code": 0})


async def test_without_the_switch_the_application_has_no_flag(server: DiscordServer, client: discord.Client) -> None:
    server.message_content_allowed = False
    info = await client.application_info()
    assert not info.flags.gateway_message_content_limited


async def test_sends_edits_and_deletes(server: DiscordServer, client: discord.Client, room: str) -> None:
    channel = await channel_of(client, room)
    message = await channel.send("  hello  ")
    assert message.content == "hello"
    [seen] = server.ours(room)
    assert (seen.id, seen.content, seen.edits) == (str(message.id), "hello", 0)
    message = await message.edit(content="changed")
    assert message.edited_at is not None
    [seen] = server.ours(room)
    assert (seen.content, seen.edits, seen.before) == ("changed", 1, ("hello",))
    await message.delete()
    assert server.visible(room) == []
    assert server.violations == []


async def test_the_same_nonce_is_the_same_message(server: DiscordServer, client: discord.Client, room: str) -> None:
    channel = await channel_of(client, room)
    first = await channel.send("one", nonce="n1")
    again = await channel.send("one", nonce="n1")
    other = await channel.send("one", nonce="n2")
    assert first.id == again.id != other.id
    assert again.nonce == "n1"
    assert len(server.ours(room)) == 2


async def test_a_nonce_is_forgotten(server: DiscordServer, raw: Raw, room: str) -> None:
    server.nonce_seconds = 0
    first = await raw.send(room, content="one", nonce="n1", enforce_nonce=True)
    assert (await raw.send(room, content="one", nonce="n1", enforce_nonce=True))["id"] != first["id"]


async def test_a_nonce_counts_only_in_its_channel_and_when_enforced(server: DiscordServer, raw: Raw, room: str) -> None:
    other = server.add_channel("other")
    ids = [
        (await raw.send(room, content="one", nonce="n1", enforce_nonce=True))["id"],
        (await raw.send(other, content="one", nonce="n1", enforce_nonce=True))["id"],
        (await raw.send(room, content="one", nonce="n1"))["id"],
    ]
    assert len(set(ids)) == 3


async def test_history(server: DiscordServer, client: discord.Client, room: str, ana: str) -> None:
    ids = [int(says(server, ana, room, f"{number}")) for number in range(120)]
    channel = await channel_of(client, room)
    assert [message.id async for message in channel.history(limit=None)] == ids[::-1]
    newer = channel.history(after=discord.Object(ids[99]), oldest_first=True, limit=None)
    assert [message.id async for message in newer] == ids[100:]
    older = channel.history(before=discord.Object(ids[3]))
    assert [message.id async for message in older] == ids[2::-1]
    around = channel.history(around=discord.Object(ids[50]), limit=5)
    assert sorted([message.id async for message in around]) == ids[48:53]
    one = await channel.fetch_message(ids[7])
    assert (one.content, one.author.id) == ("7", int(ana))


async def test_history_of_an_app_without_message_content(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    server.message_content_allowed = False
    mentioning = says(server, ana, room, f"<@{server.bot.id}> hi", mentions=[server.bot.id])
    says(server, ana, room, "plain")
    _, (plain, mention) = await raw("GET", f"/channels/{room}/messages")
    assert (plain["content"], mention["content"]) == ("", f"<@{server.bot.id}> hi")
    assert mention["id"] == mentioning
    direct = server.dm(ana)
    says(server, ana, direct, "between us")
    assert (await raw("GET", f"/channels/{direct}/messages"))[1][0]["content"] == "between us"


async def test_threads(server: DiscordServer, client: discord.Client, room: str, ana: str) -> None:
    question = says(server, ana, room, "How?")
    channel = await channel_of(client, room)
    message = await channel.fetch_message(int(question))
    thread = await message.create_thread(name="How?", auto_archive_duration=1440)
    assert str(thread.id) == question == server.thread_from(question)
    await thread.send("So.")
    assert [seen.content for seen in server.visible(question)] == ["So."]
    kinds = [item.type.name async for item in thread.history(oldest_first=True)]
    assert kinds == ["thread_starter_message", "default"]
    again = await channel.fetch_message(int(question))
    assert again.flags.has_thread
    assert again.thread is not None
    with pytest.raises(discord.HTTPException) as refused:
        await message.create_thread(name="Again")
    assert refused.value.code == 160004
    fetched = await client.fetch_channel(thread.id)
    assert isinstance(fetched, discord.Thread)
    assert (fetched.parent_id, fetched.message_count, fetched.total_message_sent) == (int(room), 1, 1)
    assert server.violations == []


async def test_archived_threads(server: DiscordServer, client: discord.Client, room: str, ana: str) -> None:
    channel = await channel_of(client, room)
    thread = await channel.create_thread(name="A thread", type=discord.ChannelType.public_thread)
    message = await thread.send("one")
    server.archive(str(thread.id))
    assert [item.id async for item in channel.archived_threads()] == [thread.id]
    with pytest.raises(discord.HTTPException) as refused:
        await message.edit(content="two")
    assert refused.value.code == 50083
    with pytest.raises(discord.HTTPException) as refused:
        await thread.edit(name="Another")
    assert refused.value.code == 50083
    await thread.send("it is active again")
    fetched = await client.fetch_channel(thread.id)
    assert isinstance(fetched, discord.Thread)
    assert not fetched.archived
    await fetched.edit(archived=True, locked=True)
    again = await client.fetch_channel(thread.id)
    assert isinstance(again, discord.Thread)
    assert again.locked
    guild = await client.fetch_guild(int(server.guild))
    assert await guild.active_threads() == []
    assert server.violations == []


async def test_a_locked_thread_is_for_moderators(server: DiscordServer, raw: Raw, room: str) -> None:
    _, thread = await raw("POST", f"/channels/{room}/threads", {"name": "x", "type": 11})
    server.archive(thread["id"], locked=True)
    await raw.send(thread["id"], content="a moderator may")
    server.archive(thread["id"], locked=True)
    server.permit(room, manage_threads=False)
    assert await raw.code("POST", f"/channels/{thread['id']}/messages", {"content": "x"}) == (400, 160005)
    assert await raw.code("PATCH", f"/channels/{thread['id']}", {"archived": False}) == (403, 50013)


async def test_forum_posts(server: DiscordServer, client: discord.Client) -> None:
    id_ = server.add_forum("questions", tags=["Answered", "Resolved"])
    forum = await forum_of(client, id_)
    thread, message = await forum.create_thread(name="A post", content="text", applied_tags=forum.available_tags[:1])
    assert thread.id == message.id
    assert server.tags_of(str(thread.id)) == ["Answered"]
    assert thread.message_count == 0
    await thread.edit(applied_tags=forum.available_tags[1:])
    assert server.tags_of(str(thread.id)) == ["Resolved"]
    with pytest.raises(discord.HTTPException) as refused:
        await client.http.send_message(int(id_), params=discord.http.handle_message_parameters("x"))
    assert refused.value.code == 50008
    assert server.violations == []


async def test_tags_of_forums_are_checked(server: DiscordServer, raw: Raw) -> None:
    forum = server.add_forum("questions", tags=[f"t{number}" for number in range(6)], require_tag=True)
    post = {"name": "x", "message": {"content": "x"}}
    assert await raw.code("POST", f"/channels/{forum}/threads", post) == (400, 40067)
    tags = [tag["id"] for tag in server.channels[forum].available_tags]
    assert await raw.code("POST", f"/channels/{forum}/threads", post | {"applied_tags": tags}) == (400, 50035)
    assert await raw.code("POST", f"/channels/{forum}/threads", post | {"applied_tags": ["1" * 18]}) == (400, 50035)
    status, thread = await raw("POST", f"/channels/{forum}/threads", post | {"applied_tags": tags[:5]})
    assert (status, thread["applied_tags"], thread["message"]["id"]) == (201, tags[:5], thread["id"])


async def test_direct_messages(server: DiscordServer, client: discord.Client, ana: str) -> None:
    user = await client.fetch_user(int(ana))
    await user.send("hello")
    assert [seen.content for seen in server.ours(server.dm(ana))] == ["hello"]
    server.block_dms(ana)
    with pytest.raises(discord.Forbidden) as refused:
        await user.send("hello?")
    assert refused.value.code == 50007


async def test_files(server: DiscordServer, client: discord.Client, room: str) -> None:
    channel = await channel_of(client, room)
    files = [
        discord.File(io.BytesIO(b"a,b"), "a.csv", description="table"),
        discord.File(io.BytesIO(b"x" * 10), "b.png"),
    ]
    message = await channel.send("look", files=files)
    assert [item.filename for item in message.attachments] == ["a.csv", "b.png"]
    assert (message.attachments[0].content_type, message.attachments[0].description) == ("text/csv", "table")
    assert await message.attachments[0].read() == b"a,b"
    message = await message.edit(attachments=message.attachments[1:])
    assert [item.filename for item in message.attachments] == ["b.png"]
    server.attachment_seconds = -1
    [message] = [item async for item in channel.history()]
    with pytest.raises(discord.NotFound):
        await message.attachments[0].read()


async def test_typing_and_reactions(server: DiscordServer, client: discord.Client, room: str, ana: str) -> None:
    channel = await channel_of(client, room)
    async with channel.typing():
        pass
    assert server.typed(room) == 1
    message = await channel.fetch_message(int(says(server, ana, room, "hi")))
    await message.add_reaction("✅")
    message = await channel.fetch_message(message.id)
    assert [(item.emoji, item.count, item.me) for item in message.reactions] == [("✅", 1, True)]


async def test_slash_commands_are_synced(server: DiscordServer, client: discord.Client) -> None:
    tree = app_commands.CommandTree(client)
    group = app_commands.Group(name="support", description="Support")

    @group.command(name="ask", description="Ask")
    @app_commands.describe(question="What?")
    async def ask(interaction: discord.Interaction, question: str) -> None:
        """Never called."""

    @app_commands.context_menu(name="Ask support about this")
    async def about(interaction: discord.Interaction, message: discord.Message) -> None:
        """Never called."""

    tree.add_command(group)
    tree.add_command(about)
    first = await tree.sync()
    again = await tree.sync()
    assert [item.id for item in first] == [item.id for item in again]
    assert {command["name"] for command in server.commands[""]} == {"support", "Ask support about this"}
    assert server.violations == []


async def test_limits_are_waited_out(server: DiscordServer, client: discord.Client, room: str) -> None:
    server.limits |= {"create": (3, 0.5)}
    channel = await channel_of(client, room)
    await asyncio.gather(*(channel.send(f"{number}") for number in range(8)))
    assert len(server.ours(room)) == 8
    assert [call.status for call in server.called("POST", "/channels")] == [200] * 8
    assert server.violations == []


async def test_a_429_is_tried_again(server: DiscordServer, client: discord.Client, room: str) -> None:
    channel = await channel_of(client, room)
    server.faults.append(Fault("POST", r"/channels/\d+/messages", status=429, retry_after=0.2))
    server.faults.append(Fault("POST", r"/channels/\d+/messages", status=429, retry_after=0.2, is_global=True))
    await channel.send("hello")
    assert [call.status for call in server.called("POST", "/channels")] == [429, 429, 200]
    assert server.violations == []


async def test_cloudflare_is_not_waited_out(server: DiscordServer, client: discord.Client, room: str) -> None:
    channel = await channel_of(client, room)
    server.faults.append(Fault("POST", ".*", status=429, retry_after=3, via=False))
    with pytest.raises(discord.HTTPException) as refused:
        await channel.send("hello")
    assert refused.value.response.headers["Retry-After"] == "3"
    assert "Via" not in refused.value.response.headers
    assert server.visible(room) == []


async def test_a_500_after_the_effect_does_not_double(server: DiscordServer, client: discord.Client, room: str) -> None:
    channel = await channel_of(client, room)
    server.faults.append(Fault("POST", r"/channels/\d+/messages", status=500, after=True))
    await channel.send("hello")
    assert len(server.called("POST", "/channels")) == 2
    assert len(server.ours(room)) == 1


# Faults, limits and clients that do not behave.


async def test_connections_are_cut_before_and_after(server: DiscordServer, raw: Raw, room: str) -> None:
    path = rf"/channels/{room}/messages"
    server.faults.append(Fault("POST", path, cut=True))
    with pytest.raises(aiohttp.ClientError):
        await raw.send(room, content="one")
    assert server.visible(room) == []
    server.faults.append(Fault("POST", path, cut=True, after=True))
    with pytest.raises(aiohttp.ClientError):
        await raw.send(room, content="two")
    assert [seen.content for seen in server.visible(room)] == ["two"]


async def test_a_status_before_has_no_effect(server: DiscordServer, raw: Raw, room: str) -> None:
    server.faults.append(Fault("POST", ".*", times=2, status=503))
    for _ in range(2):
        assert (await raw("POST", f"/channels/{room}/messages", {"content": "one"}))[0] == 503
    assert server.visible(room) == []
    await raw.send(room, content="one")


async def test_headers_of_limits(server: DiscordServer, raw: Raw, room: str) -> None:
    server.limits["create"] = (2, 5.0)
    await raw.send(room, content="one")
    assert (raw.got["X-RateLimit-Limit"], raw.got["X-RateLimit-Remaining"]) == ("2", "1")
    assert 4 < float(raw.got["X-RateLimit-Reset-After"]) <= 5
    assert abs(float(raw.got["X-RateLimit-Reset"]) - time.time() - 5) < 1
    bucket = raw.got["X-RateLimit-Bucket"]
    other = server.add_channel("other")
    await raw.send(other, content="one")
    assert (raw.got["X-RateLimit-Remaining"], raw.got["X-RateLimit-Bucket"]) == ("1", bucket)
    assert raw.got["Content-Type"] == "application/json"


async def test_too_many_is_a_429_and_knowing_better_a_violation(server: DiscordServer, raw: Raw, room: str) -> None:
    server.limits["create"] = (1, 30.0)
    await raw.send(room, content="one")
    status, answer = await raw("POST", f"/channels/{room}/messages", {"content": "two"})
    assert (status, answer["global"]) == (429, False)
    assert 0 < answer["retry_after"] <= 30
    assert (raw.got["Via"], raw.got["X-RateLimit-Scope"]) == ("1.1 google", "user")
    assert int(raw.got["Retry-After"]) <= 30
    [violation] = server.violations
    assert "before its rate limit was over" in violation


async def test_another_process_does_not_know(server: DiscordServer, raw: Raw, room: str) -> None:
    server.limits["create"] = (1, 30.0)
    await raw.send(room, content="one")
    async with aiohttp.ClientSession() as session:
        status, _ = await Raw(server, session)("POST", f"/channels/{room}/messages", {"content": "two"})
    assert (status, server.violations) == (429, [])


async def test_the_global_limit(server: DiscordServer, raw: Raw, ana: str) -> None:
    server.rates.each_second = 3
    for _ in range(3):
        assert (await raw("GET", "/users/@me"))[0] == 200
    status, answer = await raw("GET", f"/users/{ana}")
    assert (status, answer["global"], raw.got["X-RateLimit-Global"]) == (429, True, "true")
    assert raw.got["X-RateLimit-Scope"] == "global"
    # Interactions are not bound to it.
    assert await raw.code("POST", f"/webhooks/{server.bot.id}/token", {"content": "x"}) == (404, 10015)


async def test_too_many_invalid_requests(server: DiscordServer, raw: Raw, room: str) -> None:
    server.rates.most_invalid = 3
    server.permit(room, view_channel=False)
    for _ in range(3):
        assert await raw.code("GET", f"/channels/{room}") == (403, 50001)
    assert server.violations == []
    server.faults.append(Fault(status=429, retry_after=0, scope="shared"))
    await raw("GET", f"/channels/{room}")
    assert server.violations == []
    await raw.code("GET", f"/channels/{room}")
    assert any("invalid requests" in violation for violation in server.violations)


async def test_user_agents_versions_and_unknown_endpoints_are_violations(server: DiscordServer, raw: Raw) -> None:
    raw.headers["User-Agent"] = "python"
    await raw("GET", "/users/@me")
    raw.headers["User-Agent"] = AGENT
    assert await raw("GET", "/nothing") == (404, {"message": "404: Not Found", "code": 0})
    assert await raw("PUT", "/users/@me") == (405, {"message": "405: Method Not Allowed", "code": 0})
    assert len(server.violations) == 3


async def test_calls_are_kept(server: DiscordServer, raw: Raw, room: str) -> None:
    await raw.send(room, content="one")
    await raw("GET", f"/channels/{room}/messages?limit=1")
    sent, read = server.calls
    assert (sent.method, sent.path, sent.json, sent.status) == (
        "POST",
        f"/channels/{room}/messages",
        {"content": "one"},
        200,
    )
    assert (read.path, read.query) == (f"/channels/{room}/messages", {"limit": "1"})


# What a message may be.


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"content": "x" * 2001}, ["content"]),
        ({"content": "x", "nonce": "x" * 26}, ["nonce"]),
        ({"embeds": [{"title": "x"}] * 11}, ["embeds"]),
        ({"embeds": [{"title": "x" * 257}]}, ["embeds", "0", "title"]),
        ({"embeds": [{"description": "x" * 4097}]}, ["embeds", "0", "description"]),
        ({"embeds": [{"color": 1}]}, ["embeds", "0", "description"]),
        ({"embeds": [{"fields": [{"name": "n", "value": "v"}] * 26}]}, ["embeds", "0", "fields"]),
        ({"embeds": [{"fields": [{"name": "n", "value": "x" * 1025}]}]}, ["embeds", "0", "fields", "0", "value"]),
        ({"embeds": [{"fields": [{"name": "", "value": "v"}]}]}, ["embeds", "0", "fields", "0", "name"]),
        ({"embeds": [{"title": "x", "footer": {"text": "x" * 2049}}]}, ["embeds", "0", "footer", "text"]),
        ({"embeds": [{"author": {"name": "x" * 257}}]}, ["embeds", "0", "author", "name"]),
        ({"embeds": [{"title": "x", "url": "javascript:x"}]}, ["embeds", "0", "url"]),
        ({"embeds": [{"description": "x" * 4000}, {"description": "x" * 2001}]}, ["embeds"]),
        ({"components": [row(button("a"))] * 6}, ["components"]),
        ({"components": [row(*(button(f"{number}") for number in range(6)))]}, ["components", "0", "components"]),
        ({"components": [row(button("a", "x" * 81))]}, ["components", "0", "components", "0", "label"]),
        ({"components": [row(button("x" * 101))]}, ["components", "0", "components", "0", "custom_id"]),
        ({"components": [row(button(""))]}, ["components", "0", "components", "0", "custom_id"]),
        ({"components": [row(button("a"), button("a"))]}, ["components"]),
        ({"components": [row(button("a", style=5))]}, ["components", "0", "components", "0", "url"]),
        ({"components": [row(button("a", style=7))]}, ["components", "0", "components", "0", "style"]),
        ({"components": [row(button("a", url="https://x.y"))]}, ["components", "0", "components", "0", "url"]),
        ({"components": [button("a")]}, ["components", "0", "type"]),
        ({"components": [{"type": 10, "content": "x"}]}, ["components", "0", "type"]),
        ({"content": "x", "flags": COMPONENTS_V2, "components": [{"type": 10, "content": "x"}]}, ["content"]),
        ({"flags": COMPONENTS_V2, "components": [{"type": 10, "content": "x"}] * 41}, ["components"]),
        ({"flags": COMPONENTS_V2, "components": [{"type": 10, "content": "x" * 2001}] * 2}, ["components"]),
        ({"content": "x", "allowed_mentions": {"parse": ["all"]}}, ["allowed_mentions", "parse", "0"]),
        ({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}}, ["allowed_mentions"]),
    ],
)
async def test_wrong_messages_are_refused(
    server: DiscordServer, raw: Raw, room: str, body: Json, place: list[str]
) -> None:
    errors: Any = await raw.wrong(room, **({"content": "x"} | body if "flags" not in body else body))
    for part in place:
        errors = errors[part]
    assert errors["_errors"][0]["code"]
    assert server.visible(room) == []


@pytest.mark.parametrize(
    "body",
    [
        {"content": "x" * 2000},
        {"content": "x", "nonce": "x" * 25},
        {"embeds": [{"title": "x" * 256, "description": "x" * 4096}]},
        {"components": [row(*(button(f"{place} {number}") for number in range(5))) for place in range(5)]},
        {"components": [row({"type": 2, "style": 5, "label": "x", "url": "https://x.y"})]},
        {"components": [row(button("a", emoji={"name": "✅"}))]},
        {"flags": COMPONENTS_V2, "components": [{"type": 17, "components": [{"type": 10, "content": "x" * 4000}]}]},
    ],
)
async def test_messages_up_to_the_limits_are_taken(server: DiscordServer, raw: Raw, room: str, body: Json) -> None:
    await raw.send(room, **body)
    assert len(server.ours(room)) == 1
    assert server.violations == []


async def test_empty_messages_are_refused(raw: Raw, room: str) -> None:
    bodies: list[Json] = [{}, {"content": ""}, {"content": " \n "}, {"embeds": []}]
    for body in bodies:
        assert await raw.code("POST", f"/channels/{room}/messages", body) == (400, 50006)


async def test_an_edit_may_not_empty_a_message(server: DiscordServer, raw: Raw, room: str) -> None:
    message = await raw.send(room, content="x", components=[row(button("a"))])
    path = f"/channels/{room}/messages/{message['id']}"
    status, _ = await raw("PATCH", path, {"content": ""})
    assert status == 200
    assert await raw.code("PATCH", path, {"components": []}) == (400, 50006)
    assert await raw.code("PATCH", path, {"content": "x" * 2001}) == (400, 50035)
    assert server.ours(room)[0].labels == ["Press"]


async def test_unknown_fields_and_flags_are_violations(server: DiscordServer, raw: Raw, room: str) -> None:
    answer = await raw.send(room, content="x", text="y", flags=EPHEMERAL | SUPPRESS_EMBEDS)
    assert answer["flags"] == SUPPRESS_EMBEDS
    assert len(server.violations) == 2


async def test_components_v2_stay(server: DiscordServer, raw: Raw, room: str) -> None:
    text = {"type": 10, "content": "hello"}
    message = await raw.send(room, flags=COMPONENTS_V2, components=[text, row(button("a"))])
    assert [item["id"] for item in message["components"]] == [1, 2]
    path = f"/channels/{room}/messages/{message['id']}"
    assert await raw.code("PATCH", path, {"flags": 0}) == (400, 50035)
    assert await raw.code("PATCH", path, {"content": "x"}) == (400, 50035)
    [seen] = server.ours(room)
    assert (seen.text, seen.custom_ids) == ("hello\nPress", ["a"])


async def test_a_body_that_is_no_json(server: DiscordServer, raw: Raw, room: str) -> None:
    path = f"/channels/{room}/messages"
    raw.headers["Content-Type"] = "application/json"
    assert (await raw("POST", path, data=b"{"))[1]["code"] == 50109
    assert await raw.code("GET", "/channels/12/messages") == (400, 50035)


# References.


async def test_replies(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    question = says(server, ana, room, "How?")
    answer = await raw.send(room, content="So.", message_reference={"message_id": question}, allowed_mentions=QUIET)
    assert (answer["type"], answer["referenced_message"]["id"]) == (19, question)
    assert server.ours(room)[0].reference == question
    other = server.add_channel("other")
    wrong = {"content": "x", "message_reference": {"message_id": question}}
    assert (await raw.wrong(other, **wrong))["message_reference"]["_errors"][0]["code"] == "REPLIES_UNKNOWN_MESSAGE"
    wrong["message_reference"] = {"message_id": question, "channel_id": room}
    await raw.wrong(other, **wrong)
    wrong["message_reference"] = {"message_id": question, "fail_if_not_exists": False}
    assert (await raw.send(other, **wrong))["type"] == 0
    server.permit(room, read_message_history=False)
    body = {"content": "x", "message_reference": {"message_id": question}}
    assert await raw.code("POST", f"/channels/{room}/messages", body) == (400, 160002)


async def test_a_deleted_question_cannot_be_replied_to(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    question = says(server, ana, room, "How?")
    answer = await raw.send(room, content="So.", message_reference={"message_id": question})
    with server.lock:
        server.remove(server.channels[room].messages[0])
    await raw.wrong(room, content="x", message_reference={"message_id": question})
    _, again = await raw("GET", f"/channels/{room}/messages/{answer['id']}")
    assert again["referenced_message"] is None


async def test_forwards(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    message = says(server, ana, room, "Look")
    other = server.add_channel("other")
    reference = {"type": 1, "message_id": message, "channel_id": room}
    answer = await raw.send(other, message_reference=reference)
    assert answer["message_snapshots"][0]["message"]["content"] == "Look"
    assert "author" not in answer["message_snapshots"][0]["message"]


# Who is pinged, and what unfurls.


async def test_who_is_pinged(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    role = server.add_role(server.guild, "crew", mentionable=True)
    text = f"<@{ana}> <@&{role}> @everyone `<@{server.bot.id}>`"
    question = says(server, ana, room, "How?")
    await raw.send(room, content=text, allowed_mentions=QUIET, message_reference={"message_id": question})
    assert server.notified == []
    loud = await raw.send(room, content=text)
    assert server.notified == [Notice(room, loud["id"], f"user:{ana}"), Notice(room, loud["id"], f"role:{role}")]
    assert (loud["mention_everyone"], loud["mention_roles"]) == (False, [role])
    server.notified.clear()
    server.permit(room, mention_everyone=True)
    loud = await raw.send(room, content="@everyone and @here", message_reference={"message_id": question})
    assert [notice.whom for notice in server.notified] == ["everyone", "here", f"reply:{ana}"]
    server.notified.clear()
    await raw.send(room, content=text, allowed_mentions={"parse": [], "users": [ana]})
    assert [notice.whom for notice in server.notified] == [f"user:{ana}"]


async def test_what_unfurls(server: DiscordServer, raw: Raw, room: str) -> None:
    quiet = ["<https://a.b/c>", "`https://a.b`", "[here](<https://a.b>)", "no link"]
    for text in quiet:
        await raw.send(room, content=text)
    await raw.send(room, content="https://a.b", flags=SUPPRESS_EMBEDS)
    assert server.unfurled == []
    loud = await raw.send(room, content="see https://a.b/c and [here](https://d.e)")
    assert [url for _, id_, url in server.unfurled if id_ == loud["id"]] == ["https://a.b/c", "https://d.e"]


# Permissions.


async def test_rooms_that_the_bot_does_not_see(server: DiscordServer, raw: Raw, room: str) -> None:
    server.permit(room, view_channel=False)
    assert await raw.code("GET", f"/channels/{room}") == (403, 50001)
    assert await raw.code("POST", f"/channels/{room}/messages", {"content": "x"}) == (403, 50001)
    assert await raw.code("GET", f"/channels/{'1' * 18}") == (404, 10003)
    _, channels = await raw("GET", f"/guilds/{server.guild}/channels")
    assert room in [channel["id"] for channel in channels]


async def test_rights_to_write(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    question = says(server, ana, room, "How?")
    server.permit(room, send_messages=False, create_public_threads=False)
    assert await raw.code("POST", f"/channels/{room}/messages", {"content": "x"}) == (403, 50013)
    assert await raw.code("POST", f"/channels/{room}/messages/{question}/threads", {"name": "x"}) == (403, 50013)
    server.permit(room, create_public_threads=True)
    status, thread = await raw("POST", f"/channels/{room}/messages/{question}/threads", {"name": "x"})
    assert status == 201
    await raw.send(thread["id"], content="SEND_MESSAGES has no effect in threads")
    server.permit(room, send_messages_in_threads=False)
    assert await raw.code("POST", f"/channels/{thread['id']}/messages", {"content": "x"}) == (403, 50013)


async def test_without_history_there_is_none(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    question = says(server, ana, room, "How?")
    server.permit(room, read_message_history=False)
    assert await raw("GET", f"/channels/{room}/messages") == (200, [])
    assert (await raw("GET", f"/channels/{room}/messages/{question}"))[0] == 403


async def test_without_embed_links_embeds_are_dropped(server: DiscordServer, raw: Raw, room: str) -> None:
    server.permit(room, embed_links=False)
    answer = await raw.send(room, content="x https://a.b", embeds=[{"title": "t"}])
    assert answer["embeds"] == []
    assert server.unfurled == []
    body = {"embeds": [{"title": "t"}]}
    assert await raw.code("POST", f"/channels/{room}/messages", body) == (403, 50013)


async def test_others_messages(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    path = f"/channels/{room}/messages/{says(server, ana, room, 'hi')}"
    assert await raw.code("PATCH", path, {"content": "x"}) == (403, 50005)
    assert await raw.code("DELETE", path) == (403, 50013)
    server.permit(room, manage_messages=True)
    assert (await raw("DELETE", path))[0] == 204
    assert await raw.code("DELETE", path) == (404, 10008)
    ids = [says(server, ana, room, f"{number}") for number in range(3)]
    assert await raw.code("POST", f"/channels/{room}/messages/bulk-delete", {"messages": ids[:1]}) == (400, 50016)
    assert (await raw("POST", f"/channels/{room}/messages/bulk-delete", {"messages": ids}))[0] == 204
    assert server.visible(room) == []


async def test_roles_and_overwrites(server: DiscordServer, raw: Raw, ana: str) -> None:
    crew = server.add_role(server.guild, "crew")
    staff = server.add_channel("staff", only_roles=[crew])
    _, channel = await raw("GET", f"/channels/{staff}")
    overwrites = {item["id"]: (item["allow"], item["deny"]) for item in channel["permission_overwrites"]}
    assert overwrites[server.guild] == ("0", "1024")
    assert overwrites[crew] == ("1024", "0")
    server.join(server.guild, ana, [crew])
    _, member = await raw("GET", f"/guilds/{server.guild}/members/{ana}")
    assert (member["roles"], member["user"]["id"]) == ([crew], ana)
    _, roles = await raw("GET", f"/guilds/{server.guild}/roles")
    assert {role["name"] for role in roles} == {"@everyone", "crew", "frontdesk"}
    stranger = server.add_user("Stranger")
    assert await raw.code("GET", f"/guilds/{server.guild}/members/{stranger}") == (404, 10007)
    assert await raw.code("GET", f"/guilds/{server.guild}/members/{'1' * 18}") == (404, 10013)


async def test_a_guild_without_the_bot(server: DiscordServer, raw: Raw) -> None:
    guild = server.add_guild("Other")
    room = server.add_channel("general", guild)
    server.kick_bot(guild)
    assert await raw.code("GET", f"/guilds/{guild}") == (404, 10004)
    assert await raw.code("GET", f"/channels/{room}") == (403, 50001)
    assert await raw.code("POST", f"/channels/{room}/messages", {"content": "x"}) == (403, 50001)
    assert [item["id"] for item in (await raw("GET", "/users/@me/guilds"))[1]] == [server.guild]
    server.invite_bot(guild)
    assert (await raw("GET", f"/guilds/{guild}"))[0] == 200


async def test_private_threads_are_for_members(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    with server.lock:
        thread = server.new_thread(server.channels[room], "secret", ana, type=12).id
    assert (await raw("GET", f"/channels/{thread}"))[0] == 200
    server.permit(room, manage_threads=False)
    assert await raw.code("GET", f"/channels/{thread}") == (403, 50001)
    status, own = await raw("POST", f"/channels/{room}/threads", {"name": "ours", "invitable": False})
    assert (status, own["type"], own["thread_metadata"]["invitable"]) == (201, 12, False)
    assert (await raw("PUT", f"/channels/{own['id']}/thread-members/{ana}"))[0] == 204
    _, members = await raw("GET", f"/channels/{own['id']}/thread-members")
    assert {member["user_id"] for member in members} == {ana, server.bot.id}


async def test_slow_mode(server: DiscordServer, raw: Raw) -> None:
    slow = server.add_channel("slow", slowmode=60)
    await raw.send(slow, content="one")
    status, answer = await raw("POST", f"/channels/{slow}/messages", {"content": "two"})
    assert (status, answer["code"]) == (429, 20016)
    server.permit(slow, bypass_slowmode=True)
    await raw.send(slow, content="two")


# Commands.


async def test_commands_are_checked(server: DiscordServer, raw: Raw) -> None:
    path = f"/applications/{server.bot.id}/commands"
    ask = {"name": "ask", "description": "Ask", "options": []}
    required = {"type": 3, "name": "q", "description": "d", "required": True}
    optional = {"type": 3, "name": "o", "description": "d"}
    long = [{"name": f"{number}" * 50, "value": "x" * 100} for number in range(9)]
    for wrong in (
        {"name": "Ask", "description": "d"},
        {"name": "x" * 33, "description": "d"},
        {"name": "ask", "description": ""},
        {"name": "ask", "description": "x" * 101},
        {"name": "Ask this", "type": 3, "description": "d"},
        ask | {"options": [optional, required]},
        ask | {"options": [required, required]},
        ask | {"options": [optional | {"choices": [{"name": "n", "value": "v"}] * 26}]},
        ask | {"options": [{"type": 1, "name": "s", "description": "d"}, required]},
        ask | {"options": [optional | {"name": f"o{number}", "choices": long} for number in range(9)]},
    ):
        assert await raw.code("POST", path, wrong) == (400, 50035), wrong
    status, made = await raw("POST", path, ask | {"options": [required, optional]})
    assert (status, made["name"], made["type"]) == (201, "ask", 1)
    assert await raw("POST", path, ask) != (201, made)
    many = [{"name": f"c{number}", "description": "d"} for number in range(101)]
    assert await raw.code("PUT", path, many) == (400, 30032)
    assert (await raw("PUT", path, many[:100]))[0] == 200
    guild = f"/applications/{server.bot.id}/guilds/{server.guild}/commands"
    assert (await raw("PUT", guild, [ask]))[1][0]["guild_id"] == server.guild
    [known] = (await raw("GET", guild))[1]
    assert (await raw("DELETE", f"{guild}/{known['id']}"))[0] == 204
    assert await raw.code("DELETE", f"{guild}/{known['id']}") == (404, 10063)
    assert server.violations == []


# Follow-ups of interactions.


def interaction(server: DiscordServer, user: str, channel: str, **more: Any) -> Interaction:
    """A command that was answered as `more` says."""
    with server.lock:
        made = Interaction(server.snowflake(), f"token-{server.snowflake()}", 2, user, channel, server.guild, **more)
        server.interactions[made.token] = made
        return made


async def test_the_first_follow_up_fills_a_deferred_answer(
    server: DiscordServer, raw: Raw, room: str, ana: str
) -> None:
    asked = interaction(server, ana, room, callback=5, ephemeral=True)
    path = f"/webhooks/{server.bot.id}/{asked.token}"
    # Whether it is ephemeral was fixed before.
    _, answer = await raw("POST", path, {"content": "for you", "allowed_mentions": QUIET})
    assert answer["flags"] & EPHEMERAL
    assert server.visible(room) == []
    assert [seen.content for seen in server.ephemeral(ana)] == ["for you"]
    _, changed = await raw("PATCH", f"{path}/messages/@original", {"content": "changed"})
    assert changed["id"] == answer["id"]
    _, more = await raw("POST", path, {"content": "more", "flags": EPHEMERAL})
    assert [seen.content for seen in server.ephemeral(ana)] == ["changed", "more"]
    assert (await raw("GET", f"{path}/messages/{more['id']}"))[1]["content"] == "more"
    assert (await raw("DELETE", f"{path}/messages/{more['id']}"))[0] == 204
    assert await raw.code("GET", f"{path}/messages/{more['id']}") == (404, 10008)
    # Ephemeral messages are in no channel.
    assert await raw.code("PATCH", f"/channels/{room}/messages/{answer['id']}", {"content": "x"}) == (404, 10008)


async def test_an_answer_that_shows_thinking_is_filled(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    with server.lock:
        thinking = Message(server.snowflake(), room, server.bot.id, type=20, flags=LOADING)
        server.publish(thinking)
    asked = interaction(server, ana, room, callback=5, original=thinking)
    path = f"/webhooks/{server.bot.id}/{asked.token}"
    assert server.visible(room) == []
    assert (await raw("GET", f"{path}/messages/@original"))[1]["flags"] == LOADING
    _, answer = await raw("PATCH", f"{path}/messages/@original", {"content": "done"})
    assert (answer["id"], answer["flags"]) == (thinking.id, 0)
    [seen] = server.ours(room)
    assert (seen.content, seen.edits) == ("done", 0)
    _, more = await raw("POST", path, {"content": "more"})
    assert more["message_reference"]["message_id"] == thinking.id


async def test_tokens_of_interactions(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    asked = interaction(server, ana, room)
    path = f"/webhooks/{server.bot.id}/{asked.token}"
    assert await raw.code("POST", path, {"content": "too early"}) == (404, 10015)
    for _ in range(4):
        assert server.violations == []
        assert await raw.code("POST", f"/webhooks/{server.bot.id}/unknown", {"content": "x"}) == (404, 10015)
    assert server.violations == ["a webhook that is not there was tried again and again"]
    asked.callback = 5
    assert await raw.code("POST", path, {"content": "x" * 2001}) == (400, 50035)
    server.token_seconds = 0
    assert await raw.code("POST", path, {"content": "too late"}) == (401, 50027)
    assert await raw.code("POST", f"/interactions/{'1' * 18}/unknown/callback", {"type": 5}) == (404, 10062)


async def test_the_message_of_a_button_is_its_original(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    await raw.send(room, content="press", components=[row(button("a"))])
    message = server.channels[room].messages[0]
    asked = interaction(server, ana, room, callback=6, message=message)
    path = f"/webhooks/{server.bot.id}/{asked.token}"
    status, _ = await raw("PATCH", f"{path}/messages/@original", {"components": []})
    assert (status, asked.updated, server.ours(room)[0].labels) == (200, True, [])


# What the gateway hears.


async def test_events(server: DiscordServer, raw: Raw, room: str) -> None:
    heard: list[tuple[str, Json, str | None]] = []
    server.listeners.append(lambda *event: heard.append(event))
    message = await raw.send(room, content="hi", nonce="n1", enforce_nonce=True)
    await raw("POST", f"/channels/{room}/messages/{message['id']}/threads", {"name": "t"})
    await raw("PATCH", f"/channels/{message['id']}", {"archived": True})
    await raw("DELETE", f"/channels/{room}/messages/{message['id']}")
    server.permit(room, view_channel=False)
    names = [event for event, _, _ in heard]
    assert names == [
        "MESSAGE_CREATE",
        "THREAD_CREATE",
        "MESSAGE_UPDATE",
        "MESSAGE_CREATE",
        "THREAD_UPDATE",
        "MESSAGE_DELETE",
        "CHANNEL_UPDATE",
    ]
    first, thread = heard[0][1], heard[1][1]
    assert (first["nonce"], first["guild_id"], first["channel_type"]) == ("n1", server.guild, 0)
    assert first["member"]["roles"] == [server.bot_role()]
    assert (thread["newly_created"], thread["id"], thread["parent_id"]) == (True, message["id"], room)
    assert {guild for _, _, guild in heard} == {server.guild}


async def test_fields_of_messages_and_threads(server: DiscordServer, raw: Raw, room: str, ana: str) -> None:
    """The fields of what Discord itself sent (recorded by others), and of the documentation."""
    heard: list[Json] = []
    server.listeners.append(lambda event, data, guild: heard.append(data))
    says(server, ana, room, f"<@{server.bot.id}> Test", mentions=[server.bot.id], nonce="1473118765716602880")
    [message] = heard
    recorded = {
        *(
            "type",
            "tts",
            "timestamp",
            "pinned",
            "nonce",
            "mentions",
            "mention_roles",
            "mention_everyone",
            "member",
            "id",
        ),
        *("flags", "embeds", "edited_timestamp", "content", "components", "channel_type", "channel_id", "author"),
        *("attachments", "guild_id"),
    }
    assert recorded <= message.keys()
    assert {"username", "public_flags", "id", "global_name", "discriminator", "avatar"} <= message["author"].keys()
    assert {"roles", "nick", "joined_at", "banner"} <= message["member"].keys()
    assert message["mentions"][0]["bot"]
    _, thread = await raw("POST", f"/channels/{room}/messages/{message['id']}/threads", {"name": "t"})
    assert thread["thread_metadata"].keys() == {
        *("archived", "archive_timestamp", "auto_archive_duration", "locked", "create_timestamp")
    }
    assert (thread["owner_id"], thread["member"]["user_id"]) == (server.bot.id, server.bot.id)
    assert len(message["id"]) >= 18
