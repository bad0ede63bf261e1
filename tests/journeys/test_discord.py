"""Whole journeys in Discord: real processes, the local Discord, and what customers and staff see in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.journeys.discord_house import DiscordHouse, discord_housing, is_final
from tests.journeys.house import PERSON, PETS, QUESTION, TAKEN_OVER, sync
from tests.journeys.running import running
from tests.servers.discord import DiscordServer, Seen

README = Path(__file__).resolve().parents[2] / "README.md"
INTERNAL = "How much goodwill credit may a team lead give?"
ROOMS = {
    "every": 'mode = "every-question"',
    "sure": 'mode = "only-when-sure"',
    "off": 'mode = "off"',
    "in-place": 'discord_answer_in = "channel"',
    "open": 'audience = "public, internal"',
}


def configure(discord: DiscordServer) -> str:
    """The channels of `ROOMS`, a forum, and a channel that only a team sees, as somebody would set them."""
    team = discord.add_role(discord.guild, "team")
    rooms = {discord.add_channel(name): setting for name, setting in ROOMS.items()}
    rooms[discord.add_channel("team", only_roles=[team])] = 'audience = "public, internal"'
    rooms[discord.add_forum("questions", tags=["billing", "answered", "resolved"])] = 'mode = "every-question"'
    return "\n".join(f'[channels."discord:{discord.guild}/{room}"]\n{setting}' for room, setting in rooms.items())


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sync(tmp_path_factory.mktemp("synced"))


@pytest.fixture(scope="module")
def settled(synced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiscordHouse]:
    with discord_housing(synced, tmp_path_factory.mktemp("house"), configure=configure) as one:
        yield one
        assert one.desk.stop() == 0


@pytest.fixture
def house(settled: DiscordHouse) -> Iterator[DiscordHouse]:
    """One frontdesk for all who only ask."""
    assert settled.desk
    yield settled
    settled.unharmed()


@pytest.fixture
def alone(synced: Path, tmp_path: Path) -> Iterator[DiscordHouse]:
    """A house that is not shared, and where nothing runs yet."""
    with discord_housing(synced, tmp_path) as one:
        yield one
        one.unharmed()


def room_of(house: DiscordHouse, name: str) -> str:
    (room,) = [one.id for one in house.discord.channels.values() if one.name == name]
    return room


def answered_here(house: DiscordHouse, room: str, number: int = 1) -> list[Seen]:
    """What the agent said in a channel or direct message, once it is so many finished answers."""
    return house.final(room, number=number)


# --- from nothing to the first answer


def test_the_readme_leads_to_the_first_answer(alone: DiscordHouse) -> None:
    discord = alone.discord
    discord.kick_bot(discord.guild)
    section = README.read_text("utf-8").partition("\n## Discord\n")[2].partition("\n## ")[0]
    steps = section.partition("\n```\n")[2].partition("\n```\n")[0].split("\n")
    assert steps[-1] == "frontdesk run"
    own = [name for name in alone.settings if name.startswith("DISCORD_")]
    (alone.data / ".env").write_text("".join(f"{name}={alone.settings.pop(name)}\n" for name in own))
    alone.settings.pop("FRONTDESK_STAFF_CHANNEL")
    for step in steps[:-1]:
        told = alone.frontdesk(*step.split()[1:])
        if step.endswith("invite"):
            link = urlsplit(told.split("\n")[0])
            asked_for = parse_qs(link.query)
            assert asked_for["client_id"] == [discord.application_id]
            assert asked_for["scope"] == ["bot applications.commands"]
            discord.invite_bot(discord.guild)
            discord.change_role(discord.guild, discord.bot_role(), int(asked_for["permissions"][0]))
    assert "in 1 server" in alone.desk.said("Discord: connected, as @frontdesk")
    _, _, asked = alone.ask()
    assert "14 days" in alone.final(asked)[0].text
    assert alone.desk.stop() == 0


# --- where people ask


def test_a_mention_is_answered_in_a_thread_with_its_source_and_followed(house: DiscordHouse) -> None:
    discord = house.discord
    with house.talking.held(pieces=4):
        ann, room, asked = house.ask()
        (draft,) = discord.wait_for(lambda: [one for one in house.replies(asked) if one.content.startswith("You have")])
        assert draft.labels == ["Stop"]
    reply = house.once(asked)
    assert reply.id == draft.id
    assert "14 days" in reply.content
    assert "Reviews: writing, reading and removing them" in reply.text
    assert reply.labels == ["Helpful", "Not helpful", "Talk to a person", "Solved"]
    assert discord.ours(room) == [], "the channel stays clean"
    bob = house.person()
    discord.say(bob, asked, "Is that so?")
    discord.say(ann, asked, PETS)
    house.final(asked, "Pets allowed", number=2)
    assert len(house.replies(asked)) == 2, "bob did not ask the agent"


def test_a_direct_message_goes_on(house: DiscordHouse) -> None:
    ann = house.person()
    direct = house.discord.dm(ann)
    house.discord.say(ann, direct, QUESTION)
    (first,) = answered_here(house, direct)
    assert "14 days" in first.text
    house.discord.say(ann, direct, "And can I change it after that?")
    answered_here(house, direct, 2)
    followed = next(call.said for call in reversed(house.model.calls) if "change it after that" in call.said)
    assert "14 days after check-out" in followed, "it knows what it said"


def test_channels_hear_as_they_are_set(house: DiscordHouse) -> None:
    discord, ann = house.discord, house.person()
    every, sure, off, in_place = (room_of(house, name) for name in ("every", "sure", "off", "in-place"))
    asked = discord.say(ann, every, QUESTION)
    told = discord.say(ann, every, "Thanks everybody, see you tomorrow.")
    unsure = discord.say(ann, sure, "What is the capital of Peru?")
    surely = discord.say(ann, sure, QUESTION)
    unheard = discord.say(ann, off, discord.mention(QUESTION))
    here = discord.say(ann, in_place, discord.mention(QUESTION))
    for message in (asked, surely):
        assert "14 days" in house.final(message)[0].text
    (reply,) = answered_here(house, in_place)
    assert (reply.reference, discord.thread_from(here)) == (here, "")
    house.settle()
    for message in (told, unsure, unheard):
        assert discord.thread_from(message) == ""
    assert discord.ours(off) == []


def test_a_post_of_a_forum_is_a_question_and_gets_its_tags(house: DiscordHouse) -> None:
    discord, ann = house.discord, house.person()
    forum = room_of(house, "questions")
    post = discord.post(ann, forum, "Writing a review", "My stay is over. I would like to write one.", ["billing"])
    reply = house.once(post)
    assert "14 days" in reply.text
    asked = next(call.said for call in reversed(house.model.calls) if "I would like to write one" in call.said)
    assert "Writing a review" in asked
    assert "billing" in asked
    discord.wait_for(lambda: sorted(discord.tags_of(post)) == ["answered", "billing"])
    discord.click(ann, post, reply.id, "Solved")
    discord.wait_for(lambda: sorted(discord.tags_of(post)) == ["billing", "resolved"])


def test_a_command_is_answered_privately_and_shared(house: DiscordHouse) -> None:
    discord, ann, bob = house.discord, house.person(), house.person()
    room = discord.add_channel("help")
    discord.wait_for(lambda: len(discord.commands[""]) == 2)
    asked = discord.slash(ann, room, "support ask", {"question": QUESTION})
    (private,) = discord.wait_for(lambda: [one for one in discord.ephemeral(ann, room) if one.labels])
    assert asked.ephemeral
    assert "14 days" in private.text
    assert "Reviews: writing" in private.text
    assert (discord.ours(room), discord.ephemeral(bob, room)) == ([], [])
    discord.click(ann, room, private.id, "Share with the channel")
    discord.wait_for(lambda: discord.ours(room) and not discord.ephemeral(ann, room))
    (shared,) = discord.ours(room)
    assert "14 days" in shared.text


def test_internal_documents_stay_inside(house: DiscordHouse) -> None:
    discord, guild = house.discord, house.discord.guild
    (team,) = [one.id for one in discord.guilds[guild].roles.values() if one.name == "team"]
    ann = discord.add_user("ann")
    discord.join(guild, ann, [team])
    inside = discord.say(ann, room_of(house, "team"), discord.mention(INTERNAL))
    house.final(inside)
    assert any("Duty manager" in call.said for call in house.model.calls)
    house.model.calls.clear()
    outside = discord.say(ann, room_of(house, "open"), discord.mention(INTERNAL))
    house.final(outside)
    assert not any("Duty manager" in call.said for call in house.model.calls)


# --- people


def test_who_wants_a_person_gets_one_until_it_is_solved(house: DiscordHouse) -> None:
    discord = house.discord
    ann, _, asked = house.ask()
    reply = house.once(asked)
    discord.click(ann, asked, reply.id, "Talk to a person")
    house.final(asked, TAKEN_OVER, number=2)
    number = json.loads(house.frontdesk("tickets", "--json"))["tickets"][0]["number"]
    (post,) = house.told(f"{number}")
    assert "the customer asked for one" in post.text
    discord.say(house.eve, asked, "Hi, I am Eve. What is it about?")
    discord.say(ann, asked, PETS)
    house.settle()
    assert len(house.replies(asked)) == 2, "staff have spoken"
    solved = discord.click(ann, asked, reply.id, "Solved")
    assert discord.wait_for(lambda: solved.messages)[0].text.startswith("Glad it helped.")
    assert json.loads(house.frontdesk("tickets", "--json"))["tickets"] == []
    discord.say(ann, asked, PETS)
    house.final(asked, "Pets allowed", number=3)


def test_feedback_is_kept_with_its_reason(house: DiscordHouse) -> None:
    discord = house.discord
    ann, _, asked = house.ask()
    reply = house.once(asked)
    pressed = discord.click(ann, asked, reply.id, "Not helpful")
    discord.wait_for(lambda: pressed.modal)
    thanked = discord.submit(pressed, {"reason": "I asked about hosts."})
    discord.wait_for(lambda: thanked.messages)


def test_admins_set_a_channel_and_nobody_else(house: DiscordHouse) -> None:
    discord, ann, boss = house.discord, house.person(), house.discord.guilds[house.discord.guild].owner
    room = discord.add_channel("help")
    discord.wait_for(lambda: len(discord.commands[""]) == 2)
    refused = discord.slash(ann, room, "support settings")
    (refusal,) = discord.wait_for(lambda: refused.messages)
    assert refusal.text.startswith("Only people who may manage this server")
    opened = discord.slash(boss, room, "support settings")
    discord.wait_for(lambda: opened.modal)
    saved = discord.submit(opened, {"mode": "every-question"})
    (note,) = discord.wait_for(lambda: saved.messages)
    assert note.text.startswith("Saved.")
    asked = discord.say(ann, room, QUESTION)
    house.once(asked)


# --- being away


def test_what_was_said_while_nobody_listened_is_answered_once(alone: DiscordHouse) -> None:
    discord = alone.discord
    ann, room, first = alone.ask()
    alone.final(first)
    assert alone.desk.stop() == 0
    direct = discord.dm(ann)
    asked = discord.say(ann, room, discord.mention(QUESTION))
    discord.say(ann, first, PETS)
    assert alone.desk
    alone.final(asked)
    alone.final(first, "Pets allowed", number=2)
    alone.settle()
    assert [len(alone.replies(one)) for one in (asked, first)] == [1, 2]
    assert discord.ours(direct) == []


def test_a_lost_gateway_in_twenty_conversations_is_not_noticed(alone: DiscordHouse) -> None:
    discord = alone.discord
    discord.gateway.duplicate = 0.3
    assert alone.desk
    rooms = [discord.add_channel(f"room{number}") for number in range(4)]
    people = [alone.person() for _ in range(20)]
    with alone.talking.held(pieces=3):
        asked = [discord.say(one, rooms[n % 4], discord.mention(QUESTION)) for n, one in enumerate(people)]
        discord.wait_for(lambda: sum(bool(alone.replies(one)) for one in asked) > 5, 20)
        # The session cannot be resumed, and nothing is told of what is said meanwhile.
        discord.gateway.deaf()
        discord.gateway.forget_sessions()
        discord.gateway.drop()
        asked += [discord.say(one, rooms[n % 4], discord.mention(PETS)) for n, one in enumerate(people)]
    discord.gateway.hear()
    for one in asked:
        alone.final(one, seconds=40)
    alone.settle()
    assert {len(alone.replies(one)) for one in asked} == {1}
    assert all(is_final(alone.replies(one)[0]) for one in asked)
    assert alone.desk.stop() == 0


# --- several processes


def test_a_worker_answers_without_a_gateway_where_another_process_died(alone: DiscordHouse, postgres_url: str) -> None:
    alone.keep_in(postgres_url)
    with ExitStack() as stack:
        assert alone.desk
        worker = stack.enter_context(running("worker", **alone.settings))
        worker.said("Working on what is in the queue.")
        worker.ready()
        with alone.talking.held(pieces=4):
            _, _, asked = alone.ask()
            alone.discord.wait_for(lambda: alone.replies(asked), 20)
            alone.kill()
        assert len(alone.final(asked)) == 1
        assert len(alone.discord.gateway.identifies) == 1, "the worker has not connected"
        assert worker.stop() == 0


def test_a_person_is_wanted_in_words(house: DiscordHouse) -> None:
    _, _, asked = house.ask(PERSON)
    (reply,) = house.final(asked)
    assert TAKEN_OVER in reply.text
    assert reply.labels == ["Solved"]
