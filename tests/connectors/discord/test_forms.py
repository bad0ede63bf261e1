"""The settings of a channel, by who may, and the forms in general."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.messages import Address
from connectors.discord.channel_settings import (
    NOT_HERE,
    NOT_SAVED,
    ONLY_CHANNELS,
    REFUSED,
    note_of,
    typed_of,
)
from connectors.discord.forms import EMPTY
from connectors.discord.invocation import TRY_AGAIN
from connectors.wording import SAVED
from tests.connectors.discord.interacting import MANAGE_SERVER, supporting
from tests.servers.discord import DiscordServer, serving

VALUES = {"mode": "every-question", "audience": "public", "language": "de", "model": "", "persona": ""}


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as server:
        yield server
        assert server.violations == []


@pytest.fixture
def boss(discord: DiscordServer) -> str:
    """Somebody who may manage the server."""
    role = discord.add_role(discord.guild, "boss", permissions=MANAGE_SERVER)
    boss = str(discord.add_user("boss"))
    discord.join(discord.guild, boss, roles=(role,))
    return boss


async def test_settings_by_who_may_manage_the_server(discord: DiscordServer, boss: str) -> None:
    async with supporting(discord) as support:
        form = await support.slash(boss, support.channel, "support settings")
        assert form.modal is not None
        assert "Friendly" in str(form.modal)
        sent = await support.submit(form, **VALUES)
        assert (await support.told(sent)).content == SAVED
        address = Address("discord", support.space, support.channel)
        assert support.channels.values[address]["mode"] == "every-question"
        assert support.channels.values[address]["language"] == "de"
        assert support.channels.by == [f"discord:{support.space}/{boss}"]
        again = await support.slash(boss, support.channel, "support settings")
        assert again.modal is not None
        options = again.modal["components"][0]["component"]["options"]
        assert [option["value"] for option in options if option.get("default")] == ["every-question"]


async def test_the_settings_of_a_thread_are_its_channels(discord: DiscordServer, boss: str) -> None:
    async with supporting(discord) as support:
        thread = discord.start_thread(support.ann, support.channel, "Talk")
        form = await support.slash(boss, thread, "support settings")
        await support.submit(form, **VALUES)
        assert set(support.channels.values) == {Address("discord", support.space, support.channel)}


async def test_settings_are_refused_to_others(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        asked = await support.slash(support.ann, support.channel, "support settings")
        assert asked.modal is None
        assert (await support.told(asked)).content == REFUSED


async def test_settings_by_who_is_named(discord: DiscordServer) -> None:
    ned = discord.add_user("ned")
    discord.join(discord.guild, ned)
    async with supporting(discord, change={"admins": (f"discord:{discord.guild}/{ned}",)}) as support:
        form = await support.slash(ned, support.channel, "support settings")
        await support.submit(form, **VALUES)
        assert len(support.channels.by) == 1


async def test_a_right_that_was_taken_away_meanwhile(discord: DiscordServer, boss: str) -> None:
    async with supporting(discord) as support:
        form = await support.slash(boss, support.channel, "support settings")
        discord.join(discord.guild, boss, roles=())
        sent = await support.submit(form, **VALUES)
        assert (await support.told(sent)).content == REFUSED
        assert support.channels.by == []


async def test_settings_need_a_channel(discord: DiscordServer, boss: str) -> None:
    async with supporting(discord) as support:
        asked = await support.slash(boss, discord.dm(boss), "support settings")
        assert (await support.told(asked)).content == ONLY_CHANNELS


async def test_settings_that_are_not_made_here(discord: DiscordServer, boss: str) -> None:
    async with supporting(discord, get_channel=None, set_channel=None) as support:
        asked = await support.slash(boss, support.channel, "support settings")
        assert (await support.told(asked)).content == NOT_HERE


async def test_a_mistake_is_told_and_nothing_is_typed_again(discord: DiscordServer, boss: str) -> None:
    async with supporting(discord) as support:
        form = await support.slash(boss, support.channel, "support settings")
        typed = VALUES | {"language": "klingon", "persona": "Short, and `kind`"}
        sent = await support.submit(form, **typed)
        note = await support.told(sent)
        assert note.content.startswith(f"{NOT_SAVED} the language klingon is not known")
        assert support.channels.by == []
        again = await support.do(discord.click, boss, support.channel, note.id, "fd:settings")
        assert again.modal is not None
        assert "klingon" in str(again.modal)
        assert "Short, and 'kind'" in str(again.modal)
        await support.submit(again, **VALUES)
        assert support.channels.by == [f"discord:{support.space}/{boss}"]


async def test_settings_that_cannot_be_stored(discord: DiscordServer, boss: str) -> None:
    async def broken(*_: object) -> None:
        raise OSError("the disk is full")

    async with supporting(discord, set_channel=broken) as support:
        form = await support.slash(boss, support.channel, "support settings")
        sent = await support.submit(form, **VALUES)
        assert (await support.told(sent)).content == TRY_AGAIN


async def test_a_form_that_says_nothing(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        form = await support.slash(support.ann, support.channel, "support ask")
        sent = await support.submit(form, question="   ")
        assert (await support.told(sent)).content == EMPTY
        assert support.heard.inbound == []


async def test_a_form_that_cannot_be_stored(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        form = await support.slash(support.ann, support.channel, "support ask")
        support.heard.fails = 1
        sent = await support.submit(form, question="How?")
        assert (await support.told(sent)).content == TRY_AGAIN


def test_what_was_typed_comes_out_of_the_note_again() -> None:
    typed = {"mode": "off", "audience": "public, partners", "language": "", "model": "a: b", "persona": "x\ny ``` z"}
    found = typed_of(note_of("It is wrong: really", typed))
    assert found == {"mode": "off", "audience": "public, partners", "model": "a: b", "persona": "x y ''' z"}


@pytest.mark.parametrize("note", ["", "So", "```\n```", "```\nmode: \nfoo: bar\n```", "mode: off"])
def test_a_note_that_says_nothing_of_settings(note: str) -> None:
    assert typed_of(note) == {}


def test_a_note_is_never_too_long() -> None:
    note = note_of("x" * 5_000, {"persona": "y" * 5_000})
    assert len(note) <= 2_000
    assert typed_of(note)["persona"].startswith("yyy")
