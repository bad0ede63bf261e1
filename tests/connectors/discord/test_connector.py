"""The connector against a local Discord, with real discord.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.errors import DeliveryError, SettingsError
from agent.messages import Address, Answer, Deleted, Delivery, Edited, Message
from connectors.discord.connector import DiscordConnector, DiscordSettings
from tests.connectors.discord.listening import Heard, Kept, connector_for, listening, settings_for, until
from tests.servers.discord import DiscordServer, Fault, serving


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as server:
        server.session_start["max_concurrency"] = 16
        yield server
        assert server.violations == []


@pytest.fixture
def ann(discord: DiscordServer) -> str:
    ann = discord.add_user("ann")
    discord.join(discord.guild, ann)
    return ann


# --- hearing


async def test_a_mention_its_follow_up_and_a_direct_message(discord: DiscordServer, ann: str) -> None:
    room, home = discord.add_channel("help"), discord.dm(ann)
    async with listening(discord) as (connector, heard):
        assert connector.problem == ""
        asked = discord.say(ann, room, discord.mention("Where is my parcel?"))
        await until(lambda: len(heard.messages) == 1)
        mention = heard.messages[0]
        assert mention.address == Address("discord", discord.guild, room, asked)
        assert mention.id == f"discord:{discord.guild}/{room}#{asked.zfill(20)}"
        assert (mention.text, mention.addressed, mention.author) == ("Where is my parcel?", True, ann)
        assert mention.starts_thread
        assert mention.role == "customer"
        thread = discord.start_thread(ann, room, "parcel", asked)
        reply = discord.say(ann, thread, "And when?")
        await until(lambda: len(heard.messages) == 2)
        assert heard.messages[1].address == mention.address
        assert not heard.messages[1].addressed
        direct = discord.say(ann, home, "Hello")
        await until(lambda: len(heard.messages) == 3)
        assert heard.messages[2].address == Address("discord", "dm", home, direct)
        assert heard.messages[2].joins
        discord.edit(ann, thread, reply, "And on which day?")
        edited = (await until(lambda: heard.inbound[3:]))[0]
        assert isinstance(edited, Edited)
        assert (edited.id, edited.text) == (heard.messages[1].id, "And on which day?")
        discord.delete(ann, thread, reply)
        deleted = (await until(lambda: heard.inbound[4:]))[0]
        assert isinstance(deleted, Deleted)
        assert deleted.id == heard.messages[1].id


async def test_bots_are_not_heard(discord: DiscordServer, ann: str) -> None:
    home = discord.dm(ann)
    async with listening(discord) as (connector, heard):
        discord.say(ann, home, "Hello")
        await until(lambda: heard.messages)
        question = heard.messages[0]
        await connector.deliver(Delivery(question.address, question.id, Answer("Hello!"), question))
        await until(lambda: discord.ours(home))
        discord.say(ann, home, "Thanks")
        await until(lambda: len(heard.messages) == 2)
        assert heard.texts == ["Hello", "Thanks"]


async def test_what_cannot_be_stored_is_kept_and_stored_in_order(discord: DiscordServer, ann: str) -> None:
    home = discord.dm(ann)
    heard = Heard(fails=4)
    async with listening(discord, heard=heard):
        for text in ("one", "two", "three"):
            discord.say(ann, home, text)
        await until(lambda: len(heard.inbound) == 3)
        assert heard.texts == ["one", "two", "three"]
        assert set(heard.times().values()) == {1}


async def test_one_slow_channel_holds_up_no_other(discord: DiscordServer, ann: str) -> None:
    ben = discord.add_user("ben")
    slow, quick = discord.dm(ann), discord.dm(ben)
    held = asyncio.Event()

    class Slow(Heard):
        async def receive(self, inbound: object) -> None:
            if isinstance(inbound, Message) and inbound.author == ann:
                await held.wait()
            await super().receive(inbound)  # type: ignore[arg-type]

    async with listening(discord, heard=Slow()) as (_, heard):
        discord.say(ann, slow, "one")
        discord.say(ben, quick, "two")
        await until(lambda: heard.texts == ["two"])
        held.set()
        await until(lambda: heard.texts == ["two", "one"])


async def test_commands_are_told_to_discord(discord: DiscordServer) -> None:
    async with listening(discord):
        await until(lambda: {one["name"] for one in discord.commands[""]} >= {"support"})


async def test_commands_that_could_not_be_told_at_first(discord: DiscordServer) -> None:
    discord.faults.append(Fault(method="GET", path="/applications/.*/commands", status=503))
    discord.faults.append(Fault(method="POST", path="/applications/.*/commands", times=2, status=500))
    async with listening(discord):
        await until(lambda: {one["name"] for one in discord.commands[""]} >= {"support"}, 30)


# --- reaching Discord


async def test_discord_that_cannot_be_reached_at_first(discord: DiscordServer, ann: str) -> None:
    discord.faults.append(Fault(method="GET", path="/users/@me", status=503))
    discord.faults.append(Fault(method="GET", path="/users/@me", times=3, status=403))
    async with listening(discord) as (_, heard):
        discord.say(ann, discord.dm(ann), "Hello")
        await until(lambda: heard.messages)


async def test_leaving_while_discord_cannot_be_reached() -> None:
    settings = DiscordSettings(token="a.b.c", api_url="http://127.0.0.1:9/api/v10", backoff=(30, 60))
    connector = DiscordConnector(settings, Kept())
    task = asyncio.create_task(connector.listen(Heard().receive))
    await until(lambda: connector.problem not in ("", "not connected yet"), 30)
    assert not connector.connected
    began = time.monotonic()
    await connector.close()
    await asyncio.wait_for(task, 1)
    assert time.monotonic() - began < 5


async def test_a_refused_token_is_named(discord: DiscordServer) -> None:
    with pytest.raises(SettingsError, match="DISCORD_TOKEN"):
        async with listening(discord, replace(settings_for(discord), token="wrong.wrong.wrong")):
            pass


@pytest.mark.parametrize("token", ["", "Bot abc"])
def test_wrong_settings_are_named(token: str) -> None:
    with pytest.raises(SettingsError):
        DiscordConnector(DiscordSettings(token=token), Kept())


def test_settings_show_no_secrets() -> None:
    assert "secret-" not in repr(DiscordSettings(token="secret-token"))


async def test_leaving_while_nothing_answers(discord: DiscordServer, ann: str) -> None:
    connector = connector_for(discord)
    task = asyncio.create_task(connector.listen(Heard().receive))
    await until(lambda: connector.connected)
    discord.gateway.zombie()
    began = time.monotonic()
    await connector.close()
    await asyncio.wait_for(task, 1)
    assert time.monotonic() - began < 5
    assert not connector.connected
    assert connector.problem


# --- without listening


def question_in(home: str, ann: str, said: str) -> Message:
    address = Address("discord", "dm", home, said)
    return Message(
        f"discord:dm/{home}#{said.zfill(20)}", address, ann, "customer", "Hello", datetime.now(UTC), reply_in=home
    )


async def test_a_process_that_only_answers(discord: DiscordServer, ann: str) -> None:
    home = discord.dm(ann)
    question = question_in(home, ann, discord.say(ann, home, "Hello"))
    connector = connector_for(discord)
    try:
        await connector.deliver(Delivery(question.address, question.id, Answer("Hello, Ann!"), question))
        assert "Hello, Ann!" in "".join(seen.text for seen in discord.ours(home))
        assert await connector.outsiders(question.address)
        assert discord.gateway.identifies == []
    finally:
        await connector.close()


async def test_a_token_that_is_refused_is_told_until_it_is_accepted_again(
    discord: DiscordServer, ann: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("connectors.discord.connector.SECONDS_BETWEEN_LOOKS", 0.05)
    home = discord.dm(ann)
    async with listening(discord) as (connector, heard):
        discord.say(ann, home, "Hello")
        await until(lambda: heard.messages)
        question = heard.messages[0]
        discord.faults.append(Fault(method=".*", path=".*", times=5, status=401))
        for _ in range(2):
            with pytest.raises(DeliveryError):
                await connector.deliver(Delivery(question.address, question.id, Answer("Hello!"), question))
        assert not connector.connected
        assert "DISCORD_TOKEN" in connector.problem
        await until(lambda: connector.connected)
        assert caplog.text.count("refuses DISCORD_TOKEN") == 1


async def test_what_was_said_after_a_question(discord: DiscordServer, ann: str) -> None:
    room, ben = discord.add_channel("help"), discord.add_user("ben")
    discord.join(discord.guild, ben)
    async with listening(discord) as (connector, heard):
        asked = discord.say(ann, room, discord.mention("Where is my parcel?"))
        await until(lambda: heard.messages)
        question = heard.messages[0]
        assert list(await connector.said_since(question)) == []
        assert discord.called("GET", f"/channels/{asked}/messages") == [], "there is no thread to look into"
        thread = discord.start_thread(ann, room, "parcel", asked)
        discord.say(ann, thread, "It is a red one")
        discord.say(ben, thread, "Mine is blue")
        discord.say(ann, thread, "And heavy")
        # What the gateway has not told yet, it will tell.
        await until(lambda: len(heard.messages) == 4)
        assert [one.text for one in await connector.said_since(question)] == ["It is a red one", "And heavy"]
        discord.faults.append(Fault(method="GET", path=".*/messages", times=9, status=403))
        assert list(await connector.said_since(question)) == []


async def test_what_was_said_after_a_direct_message(discord: DiscordServer, ann: str) -> None:
    home = discord.dm(ann)
    question = question_in(home, ann, discord.say(ann, home, "Hello"))
    discord.say(ann, home, "Are you there?")
    connector = connector_for(discord)
    try:
        (after,) = await connector.said_since(question)
        assert after.text == "Are you there?"
        assert after.id > question.id
    finally:
        await connector.close()
