"""What was said while nobody listened, and the mark up to which all is stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from agent.messages import Address, Edited
from connectors.discord import connector as connector_module
from connectors.discord.ids import message_id
from connectors.discord.lanes import Lanes
from tests.connectors.discord.listening import Heard, Ledger, connector_for, listening, settings_for, until
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


def now() -> datetime:
    return datetime.now(UTC)


def asked_for(discord: DiscordServer, channel: str) -> int:
    """How often a channel's history was read."""
    path = f"/channels/{channel}/messages"
    return len([call for call in discord.calls if call.method == "GET" and call.path == path])


def lose_the_session(discord: DiscordServer) -> None:
    discord.gateway.deaf()
    discord.gateway.forget_sessions()
    discord.gateway.drop(1006)


async def test_what_was_said_before_the_start(discord: DiscordServer, ann: str) -> None:
    room, quiet = discord.add_channel("help"), discord.add_channel("quiet")
    discord.say(ann, quiet, discord.mention("Long ago"))
    ledger = Ledger(mark=now() + timedelta(milliseconds=2))
    await asyncio.sleep(0.01)
    asked = discord.say(ann, room, discord.mention("Where is my parcel?"))
    thread = discord.start_thread(ann, room, "parcel", asked)
    discord.say(ann, thread, "It is a red one")
    async with listening(discord, ledger=ledger) as (_, heard):
        await until(lambda: len(heard.texts) == 2)
        assert sorted(heard.texts) == ["It is a red one", "Where is my parcel?"]
        assert {message.address.thread for message in heard.messages} == {thread}
        assert {message.author for message in heard.messages} == {ann}
        assert asked_for(discord, quiet) == 0


async def test_at_the_very_first_start_only_open_conversations_are_read(discord: DiscordServer, ann: str) -> None:
    room, home = discord.add_channel("help"), discord.dm(ann)
    discord.say(ann, room, discord.mention("Before anybody listened"))
    first = discord.say(ann, home, "Hello")
    discord.say(ann, home, "Are you there?")
    conversation = Address("discord", "dm", home, first)
    ledger = Ledger(going_on=[(conversation, message_id(conversation, first))])
    async with listening(discord, ledger=ledger) as (_, heard):
        await until(lambda: "Are you there?" in heard.texts)
        await until(lambda: ledger.mark)
        assert asked_for(discord, room) == 0
        assert "Before anybody listened" not in heard.texts


async def test_a_conversation_in_a_thread_goes_on(discord: DiscordServer, ann: str) -> None:
    room = discord.add_channel("help")
    asked = discord.say(ann, room, discord.mention("Where is my parcel?"))
    thread = discord.start_thread(ann, room, "parcel", asked)
    discord.say(ann, thread, "It is a red one")
    going_on = Address("discord", discord.guild, room, thread)
    elsewhere = Address("discord", discord.guild, room, f"private-{ann}")
    gone = Address("discord", discord.guild, room, discord.snowflake())
    ledger = Ledger(going_on=[(one, message_id(one, asked)) for one in (going_on, elsewhere, gone)])
    async with listening(discord, ledger=ledger) as (_, heard):
        await until(lambda: heard.texts)
        assert heard.texts == ["It is a red one"]


async def test_what_was_said_while_a_session_was_lost(discord: DiscordServer, ann: str) -> None:
    room = discord.add_channel("help")
    async with listening(discord) as (connector, heard):
        discord.say(ann, room, discord.mention("One"))
        await until(lambda: heard.texts == ["One"])
        lose_the_session(discord)
        await until(lambda: not connector.connected)
        discord.say(ann, room, discord.mention("Two"))
        discord.say(ann, room, discord.mention("Three"))
        discord.gateway.hear()
        await until(lambda: connector.connected, 30)
        discord.say(ann, room, discord.mention("Four"))
        await until(lambda: len(heard.texts) == 4)
        assert [text for text in heard.texts if text != "Four"] == ["One", "Two", "Three"]


async def test_a_resumed_session_needs_no_histories(discord: DiscordServer, ann: str) -> None:
    room = discord.add_channel("help")
    ledger = Ledger()
    async with listening(discord, ledger=ledger) as (connector, heard):
        await until(lambda: ledger.mark)
        discord.gateway.drop(1006)
        discord.say(ann, room, discord.mention("Into the gap"))
        await until(lambda: discord.gateway.resumes and connector.connected and heard.texts)
        assert asked_for(discord, room) == 0
        assert heard.texts == ["Into the gap"]


async def test_many_pages_in_order(discord: DiscordServer, ann: str) -> None:
    home = discord.dm(ann)
    said = [f"Number {number}" for number in range(230)]
    mark = now()
    await asyncio.sleep(0.01)
    first, *_ = [discord.say(ann, home, text) for text in said]
    conversation = Address("discord", "dm", home, first)
    ledger = Ledger(mark, going_on=[(conversation, message_id(conversation, first))])
    async with listening(discord, ledger=ledger) as (_, heard):
        await until(lambda: len(heard.texts) == 230, 20)
        assert heard.texts == said
        assert asked_for(discord, home) == 3
        assert set(heard.times().values()) == {1}


async def test_what_was_changed_meanwhile(discord: DiscordServer, ann: str) -> None:
    home = discord.dm(ann)
    ledger = Ledger(mark=now())
    first = discord.say(ann, home, "Where is my parcle?")
    discord.edit(ann, home, first, "Where is my parcel?")
    conversation = Address("discord", "dm", home, first)
    ledger.going_on = [(conversation, message_id(conversation, first))]
    async with listening(discord, ledger=ledger) as (_, heard):
        await until(lambda: len(heard.inbound) == 2)
        message, edited = heard.inbound
        assert isinstance(edited, Edited)
        assert edited.id == message.id  # type: ignore[union-attr]
        assert edited.text == "Where is my parcel?"


async def test_where_the_app_may_not_read(discord: DiscordServer, ann: str) -> None:
    hidden, room = discord.add_channel("hidden"), discord.add_channel("help")
    discord.permit(hidden, read_message_history=False)
    mark = now()
    await asyncio.sleep(0.01)
    discord.say(ann, hidden, discord.mention("Unheard"))
    discord.say(ann, room, discord.mention("Heard"))
    async with listening(discord, ledger=Ledger(mark)) as (_, heard):
        await until(lambda: heard.texts == ["Heard"])
        assert asked_for(discord, hidden) == 0


async def test_a_history_that_cannot_be_read(
    discord: DiscordServer, ann: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broken, limited, room = (discord.add_channel(name) for name in ("broken", "limited", "help"))
    mark = now()
    await asyncio.sleep(0.01)
    for channel in (room, limited, broken):
        discord.say(ann, channel, discord.mention(f"In {channel}"))
    history = "/channels/{}/messages"
    discord.faults.append(Fault(method="GET", path=history.format(broken), times=1, status=403, code=50001))
    discord.faults.append(
        Fault(method="GET", path=history.format(limited), times=1, status=429, retry_after=0.1, via=False)
    )
    ledger = Ledger(mark)
    async with listening(discord, ledger=ledger) as (_, heard):
        await until(lambda: len(heard.texts) == 2, 20)
        assert sorted(heard.texts) == sorted([f"In {room}", f"In {limited}"])
        assert f"what was said in the channel {broken}" in caplog.text


async def test_what_is_too_old_is_not_looked_for(discord: DiscordServer, ann: str) -> None:
    room, home = discord.add_channel("help"), discord.dm(ann)
    mark = now()
    await asyncio.sleep(0.01)
    discord.say(ann, room, discord.mention("Too old"))
    first = discord.say(ann, home, "Going on")
    conversation = Address("discord", "dm", home, first)
    ledger = Ledger(mark, going_on=[(conversation, message_id(conversation, first))])
    settings = replace(settings_for(discord), backfill_seconds=0)
    async with listening(discord, settings, ledger=ledger) as (_, heard):
        await until(lambda: heard.texts)
        assert heard.texts == ["Going on"]
        assert asked_for(discord, room) == 0


# --- the mark


async def test_the_mark_follows_while_all_is_heard_and_stored(discord: DiscordServer, ann: str) -> None:
    room = discord.add_channel("help")
    ledger, heard = Ledger(), Heard()
    async with listening(discord, heard=heard, ledger=ledger) as (connector, _):
        await until(lambda: len(ledger.marks) > 1)
        assert ledger.marks == sorted(ledger.marks)
        assert ledger.marks[-1] <= now() - timedelta(seconds=5)

        heard.open.clear()
        said = discord.say(ann, room, discord.mention("Waiting"))
        await until(lambda: heard.tries)
        before = message_time(said)
        # It moves on, but not past what waits: the margin is what it lags behind.
        assert ledger.mark is not None
        assert ledger.mark < before
        heard.open.set()
        await until(lambda: heard.texts)

        discord.gateway.deaf()
        discord.gateway.drop(1006)
        await until(lambda: not connector.connected)
        known = len(ledger.marks)
        await asyncio.sleep(0.2)
        assert len(ledger.marks) == known
        discord.gateway.hear()
        await until(lambda: connector.connected and len(ledger.marks) > known, 30)


def message_time(snowflake: str) -> datetime:
    return datetime.fromtimestamp(((int(snowflake) >> 22) + 1_420_070_400_000) / 1000, UTC)


async def test_a_mark_that_cannot_be_read_at_first(discord: DiscordServer, ann: str) -> None:
    room = discord.add_channel("help")
    ledger = Ledger(mark=now(), fails=3)
    await asyncio.sleep(0.01)
    discord.say(ann, room, discord.mention("Meanwhile"))
    async with listening(discord, ledger=ledger) as (_, heard):
        await until(lambda: heard.texts == ["Meanwhile"])


async def test_what_there_was_no_room_for_is_looked_up(
    discord: DiscordServer, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_module, "Lanes", partial(Lanes, most=3, pause=(0.01, 0.02)))
    rooms = [discord.add_channel(f"help-{number}") for number in range(6)]
    heard = Heard()
    ledger = Ledger(mark=now())
    async with listening(discord, heard=heard, ledger=ledger):
        heard.open.clear()
        for room in rooms:
            discord.say(ann, room, discord.mention(f"In {room}"))
        await until(lambda: heard.tries == 3)
        await asyncio.sleep(0.2)
        heard.open.set()
        await until(lambda: len(heard.texts) == 6)


# --- all together


async def test_twenty_conversations_over_every_kind_of_lost_connection(discord: DiscordServer) -> None:
    people = [discord.add_user(f"person{number}") for number in range(20)]
    homes = [discord.dm(person) for person in people]
    said: list[str] = []
    ledger = Ledger()
    async with listening(discord, ledger=ledger) as (connector, heard):
        await until(lambda: ledger.mark)

        def all_say(number: int) -> None:
            for person, home in zip(people, homes, strict=True):
                text = f"{person} {number}"
                said.append(text)
                one = discord.say(person, home, text)
                if number == 0:
                    address = Address("discord", "dm", home, one)
                    ledger.going_on.append((address, message_id(address, one)))

        all_say(0)
        await until(lambda: len(heard.texts) == 20)
        discord.gateway.drop(1006)
        all_say(1)
        await until(lambda: discord.gateway.resumes)
        discord.gateway.invalidate(resumable=False)
        all_say(2)
        await until(lambda: connector.connected and len(discord.gateway.identifies) == 2, 30)
        lose_the_session(discord)
        all_say(3)
        discord.gateway.hear()
        all_say(4)
        await until(lambda: connector.connected and len(discord.gateway.identifies) == 3, 30)
        discord.gateway.duplicate = 0.5
        all_say(5)
        await until(lambda: len(heard.texts) == len(said), 30)
        assert sorted(heard.texts) == sorted(said)
        for home in homes:
            ids = list(dict.fromkeys(one.id for one in heard.messages if one.address.room == home))
            assert len(ids) == 6


async def test_leaving_while_histories_are_read(discord: DiscordServer, ann: str) -> None:
    room = discord.add_channel("help")
    mark = now()
    await asyncio.sleep(0.01)
    discord.say(ann, room, discord.mention("Hello"))
    discord.faults.append(Fault(method="GET", path=f"/channels/{room}/messages", times=1, slow=3))
    connector = connector_for(discord, ledger=Ledger(mark))
    task = asyncio.create_task(connector.listen(Heard().receive))
    await until(lambda: asked_for(discord, room) or connector.connected)
    await connector.close()
    await asyncio.wait_for(task, 1)
