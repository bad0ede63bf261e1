"""How Discord is told of the commands, and what happens to those that are not known."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import discord as discord_py
import pytest

from connectors.discord.commands import ASK_ABOUT, DESCRIPTION, Synced, normalised
from connectors.discord.desk import Desk
from connectors.discord.errors import Refused
from connectors.discord.interactions import Interactions
from connectors.discord.invocation import TRY_AGAIN
from connectors.discord.people import People
from connectors.discord.rest import Rest
from connectors.discord.rooms import Rooms
from tests.connectors.discord.interacting import supporting
from tests.connectors.discord.listening import Heard, listening, settings_for, until
from tests.servers.discord import DiscordServer, Fault, serving

WRITING = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as server:
        yield server
        assert server.violations == []


@pytest.fixture
async def rest(discord: DiscordServer) -> AsyncIterator[Rest]:
    rest = Rest(settings_for(discord))
    await rest.open()
    yield rest
    await rest.close()


def interactions_for(discord: DiscordServer, rest: Rest, **change: Any) -> Interactions:
    settings = settings_for(discord)
    for name, value in change.items():
        object.__setattr__(settings, name, value)
    rooms = Rooms(rest)
    return Interactions(Desk(settings, rest, rooms, People(rest, rooms, settings), Heard().receive, lambda _: False))


def written(discord: DiscordServer) -> list[tuple[str, str]]:
    """What was changed of the commands, by method and name."""
    found = [call for call in discord.calls if "/commands" in call.path and call.method in WRITING]
    return [(call.method, str((call.json or {}).get("name", ""))) for call in found]


async def test_commands_are_told_once(discord: DiscordServer, rest: Rest) -> None:
    synced = await interactions_for(discord, rest).sync_commands()
    assert synced == Synced(created=("support", ASK_ABOUT))
    assert written(discord) == [("POST", "support"), ("POST", ASK_ABOUT)]
    for _ in range(2):
        assert await interactions_for(discord, rest).sync_commands() == Synced()
    assert len(written(discord)) == 2
    support, about = sorted(discord.commands[""], key=lambda command: int(command["type"]))
    assert [option["name"] for option in support["options"]] == ["ask", "person", "settings", "help"]
    for command in (support, about):
        assert sorted(command["contexts"]) == [0, 1]
        assert command["integration_types"] == [0]


async def test_only_what_changed_is_told(discord: DiscordServer, rest: Rest) -> None:
    await interactions_for(discord, rest).sync_commands()
    support = next(command for command in discord.commands[""] if command["type"] == 1)
    support["options"][0]["description"] = "As it was before"
    synced = await interactions_for(discord, rest).sync_commands()
    assert synced == Synced(changed=("support",))
    assert written(discord)[2:] == [("PATCH", "support")]
    assert await interactions_for(discord, rest).sync_commands() == Synced()


async def test_a_new_name_takes_the_place_of_the_old_one(discord: DiscordServer, rest: Rest) -> None:
    await interactions_for(discord, rest).sync_commands()
    synced = await interactions_for(discord, rest, command="helpdesk").sync_commands()
    assert synced == Synced(created=("helpdesk",), deleted=("support",))
    assert {command["name"] for command in discord.commands[""]} == {"helpdesk", ASK_ABOUT}


async def test_what_else_the_application_has_is_left_alone(discord: DiscordServer, rest: Rest) -> None:
    path = "/applications/{application_id}/commands"
    for other in ({"name": "play", "description": DESCRIPTION}, {"name": ASK_ABOUT, "type": 2}):
        await rest.request("POST", path, json=other, application_id=rest.application_id)
    await interactions_for(discord, rest).sync_commands()
    assert [(command["name"], command["type"]) for command in discord.commands[""]][:2] == [("play", 1), (ASK_ABOUT, 2)]
    assert len(discord.commands[""]) == 4


async def test_commands_that_discord_does_not_take(discord: DiscordServer, rest: Rest) -> None:
    said = "Max number of daily application command creates has been reached (200)"
    discord.faults.append(Fault(method="POST", path=r"/applications/.*", status=400, code=30034, message=said))
    with pytest.raises(Refused, match="daily"):
        await interactions_for(discord, rest).sync_commands()
    assert (await interactions_for(discord, rest).sync_commands()).created == ("support", ASK_ABOUT)


async def test_a_refused_sync_ends_nothing(discord: DiscordServer) -> None:
    discord.faults.append(Fault(method="GET", path=r"/applications/\d+/commands", status=403, code=50001))
    async with listening(discord) as (connector, _):
        await until(lambda: [call for call in discord.calls if "/commands" in call.path and call.status == 403])
        await until(lambda: connector.connected)
    assert discord.commands[""] == []


@pytest.mark.parametrize(
    ("registered", "wanted"),
    [
        ({"id": "1", "version": "2", "name": "a", "type": 1, "options": None}, {"name": "a", "type": 1, "options": []}),
        ({"name": "a", "nsfw": None, "contexts": [1, 0]}, {"name": "a", "nsfw": False, "contexts": [0, 1], "type": 1}),
        (
            {"name": "a", "options": [{"name": "b", "type": 3, "description": "c"}]},
            {"name": "a", "options": [{"name": "b", "type": 3, "description": "c", "required": False}]},
        ),
    ],
)
def test_the_same_command_in_other_words(registered: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert normalised(registered) == normalised(wanted)


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Other"},
        {"contexts": [0]},
        {"default_member_permissions": "32"},
        {"options": [{"name": "b", "type": 3, "description": "c", "required": True}]},
    ],
)
def test_commands_that_differ(change: Mapping[str, Any]) -> None:
    command: dict[str, Any] = {
        "name": "a",
        "description": "b",
        "contexts": [0, 1],
        "options": [{"name": "b", "type": 3}],
    }
    assert normalised(command) != normalised({**command, **change})


async def test_several_clients_one_after_another(discord: DiscordServer, rest: Rest) -> None:
    interactions = interactions_for(discord, rest)
    for _ in range(2):
        tree = interactions.register(discord_py.Client(intents=discord_py.Intents.none()))
        assert len(tree.get_commands(type=None)) == 2


async def test_a_command_that_is_not_as_it_was(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        known = next(command for command in discord.commands[""] if command["type"] == 1)
        known["options"].append({"type": 1, "name": "older", "description": "Older"})
        asked = await support.slash(support.ann, support.channel, "support older")
        assert (await support.told(asked)).content == TRY_AGAIN


async def test_a_command_of_another_program_is_left_alone(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        discord.commands[""].append(
            copy.deepcopy(discord.commands[""][0]) | {"name": "play", "id": discord.snowflake()}
        )
        other = await asyncio.to_thread(discord.slash, support.ann, support.channel, "play help", {})
        await support.slash(support.ann, support.channel, "support help")
        assert other.acked is None


async def test_the_gateway_is_lost_and_commands_go_on(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        discord.gateway.drop(4000)
        await until(lambda: len(discord.gateway.resumes) + len(discord.gateway.identifies) > 1)
        await until(lambda: support.connector.connected)
        await support.slash(support.ann, support.channel, "support ask", question="How?")
        assert support.message.text == "How?"
