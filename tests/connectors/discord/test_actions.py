"""The buttons under replies, with real discord.py against a local Discord."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agent.messages import Address, Feedback, Shared, Solved, Stopped
from connectors.discord.actions import NOT_SHOWN_HERE, THANKS
from connectors.discord.ids import snowflake_of
from connectors.discord.invocation import TRY_AGAIN
from connectors.wording import ASK_YOURSELF, EXPIRED, GLAD, NOT_YOURS, PERSON_TEXT
from tests.connectors.discord.interacting import supporting
from tests.connectors.discord.listening import until
from tests.servers.discord import DiscordServer, Fault, serving


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as server:
        yield server
        assert server.violations == []


async def test_an_answer_helped(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, thread, answer = await support.in_thread()
        click = await support.click(support.ben, thread, answer, "helpful")
        (helped,) = support.heard.inbound
        assert isinstance(helped, Feedback)
        assert (helped.turn, helped.author, helped.helpful, helped.reason) == (turn, support.ben, True, None)
        assert helped.address == Address("discord", support.space, support.channel, thread)
        assert (await support.told(click)).content == THANKS
        assert click.acked is not None
        assert click.acked < 3


async def test_an_answer_did_not_help_and_why(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, thread, answer = await support.in_thread()
        click = await support.click(support.ann, thread, answer, "unhelpful")
        assert click.modal is not None
        (first,) = support.heard.inbound
        assert isinstance(first, Feedback)
        assert (first.helpful, first.reason) == (False, None)
        sent = await support.submit(click, reason="It is wrong")
        reason = support.heard.inbound[1]
        assert isinstance(reason, Feedback)
        assert (reason.turn, reason.author, reason.helpful, reason.reason) == (turn, support.ann, False, "It is wrong")
        assert reason.address == first.address
        assert (await support.told(sent)).content == THANKS


async def test_a_reason_that_comes_to_another_process(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, thread, answer = await support.in_thread()
        click = await support.click(support.ann, thread, answer, "unhelpful")
    async with supporting(discord) as other:
        other.askers[turn] = f"discord:{other.space}/{support.ann}"
        await other.submit(click, reason="Too short")
        (reason,) = other.heard.inbound
        assert isinstance(reason, Feedback)
        assert reason.reason == "Too short"


async def test_buttons_outlive_the_process_that_showed_them(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, thread, answer = await support.in_thread()
    async with supporting(discord) as later:
        later.askers[turn] = f"discord:{later.space}/{support.ann}"
        await later.click(support.ann, thread, answer, "helpful")
        assert isinstance(later.heard.inbound[0], Feedback)


async def test_talk_to_a_person(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, thread, answer = await support.in_thread()
        click = await support.click(support.ann, thread, answer, "person")
        message = support.message
        assert message.wants_person
        assert message.addressed
        assert (message.role, message.text, message.author) == ("customer", PERSON_TEXT, support.ann)
        assert message.address == Address("discord", support.space, support.channel, thread)
        assert message.id > turn
        assert message.id.startswith(f"discord:{support.space}/{support.channel}#")
        assert (message.private_reply, message.reply_in, message.joins) == ("", "", False)
        assert message.outsiders
        assert click.messages == []
        assert not click.updated


async def test_talk_to_a_person_where_only_some_may_read(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        role = discord.add_role(discord.guild, "inside")
        for user in (support.ann, discord.application_id):
            discord.join(discord.guild, user, roles=(role,))
        room = discord.add_channel("inside", only_roles=(role,))
        turn = support.turn(discord.say(support.ann, room, "How?"), room=room)
        answer = await support.reply(room, turn)
        await support.click(support.ann, room, answer, "person")
        assert not support.message.outsiders


async def test_a_person_is_wanted_once_when_it_is_pressed_twice(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        _, thread, answer = await support.in_thread()
        for _ in range(2):
            await support.click(support.ann, thread, answer, "person")
        first, second = support.heard.messages
        assert first.id == second.id


async def test_a_click_that_is_told_twice(discord: DiscordServer) -> None:
    discord.gateway.duplicate = 1.0
    async with supporting(discord) as support:
        _, thread, answer = await support.in_thread()
        support.heard.inbound.clear()
        click = await support.click(support.ann, thread, answer, "person")
        await until(lambda: len(support.heard.inbound) == 2)
        assert len({message.id for message in support.heard.messages}) == 1
        await support.click(support.ann, thread, answer, "solved")
        assert not click.failed


async def test_two_processes_hear_the_same_click(discord: DiscordServer) -> None:
    async with supporting(discord) as support, supporting(discord) as other:
        turn, thread, answer = await support.in_thread()
        other.askers[turn] = support.askers[turn]
        click = await support.click(support.ann, thread, answer, "helpful")
        await until(lambda: support.heard.inbound and other.heard.inbound)
        callbacks = await until(
            lambda: [call for call in discord.called("POST", "/interactions/") if call.status >= 400]
        )
        assert len(callbacks) == 1
        assert len(click.messages) == 1


@pytest.mark.parametrize(("action", "refusal"), [("person", ASK_YOURSELF), ("stop", NOT_YOURS), ("solved", NOT_YOURS)])
async def test_only_who_asked_may(discord: DiscordServer, action: str, refusal: str) -> None:
    async with supporting(discord) as support:
        _, thread, answer = await support.in_thread()
        click = await support.click(support.ben, thread, answer, action)
        assert (await support.told(click)).content == refusal
        assert support.heard.inbound == []


@pytest.mark.parametrize("action", ["person", "stop", "solved"])
async def test_staff_may_as_well(discord: DiscordServer, action: str) -> None:
    sam = discord.add_user("sam")
    discord.join(discord.guild, sam)
    async with supporting(discord, change={"staff": (sam,)}) as support:
        _, thread, answer = await support.in_thread()
        await support.click(sam, thread, answer, action)
        assert len(support.heard.inbound) == 1


async def test_staff_by_their_role(discord: DiscordServer) -> None:
    role = discord.add_role(discord.guild, "support team")
    sam = discord.add_user("sam")
    discord.join(discord.guild, sam, roles=(role,))
    async with supporting(discord, change={"staff_roles": (role,)}) as support:
        _, thread, answer = await support.in_thread()
        await support.click(sam, thread, answer, "stop")
        (stopped,) = support.heard.inbound
        assert isinstance(stopped, Stopped)
        assert stopped.author == sam


async def test_stop(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        _, thread, answer = await support.in_thread()
        for _ in range(2):
            await support.click(support.ann, thread, answer, "stop")
        stopped = support.heard.inbound[0]
        assert isinstance(stopped, Stopped)
        assert stopped.address == Address("discord", support.space, support.channel, thread)
        assert stopped.author == support.ann


async def test_solved(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, thread, answer = await support.in_thread()
        click = await support.click(support.ann, thread, answer, "solved")
        (solved,) = support.heard.inbound
        assert isinstance(solved, Solved)
        assert (solved.turn, solved.author) == (turn, support.ann)
        assert solved.address == Address("discord", support.space, support.channel, thread)
        assert (await support.told(click)).content == GLAD


async def test_a_post_of_a_forum(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        forum = discord.add_forum("questions")
        post = discord.post(support.ann, forum, "It is odd", "How?")
        turn = support.turn(post, room=forum)
        answer = await support.reply(post, turn)
        await support.click(support.ann, post, answer, "solved")
        solved = support.heard.inbound[-1]
        assert isinstance(solved, Solved)
        assert solved.address == Address("discord", support.space, forum, post)


async def test_answered_in_the_channel_itself(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, answer = await support.asked()
        await support.click(support.ann, support.channel, answer, "person")
        own = support.message
        assert own.address == Address("discord", support.space, support.channel, str(snowflake_of(turn)))
        assert own.reply_in == support.channel
        support.threads[f"discord:{support.space}/{support.channel}#{answer}"] = "4711"
        await support.click(support.ann, support.channel, answer, "stop")
        stopped = support.heard.inbound[-1]
        assert isinstance(stopped, Stopped)
        assert stopped.address.thread == "4711"


async def test_in_a_direct_message(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        home = discord.dm(support.ann)
        said = discord.say(support.ann, home, "How?")
        turn = support.turn(said, room=home, space="dm")
        answer = await support.reply(home, turn)
        await support.click(support.ann, home, answer, "person")
        guessed = support.message
        assert guessed.address == Address("discord", "dm", home, said)
        assert (guessed.joins, guessed.reply_in, guessed.outsiders) == (True, home, True)
        support.threads[f"discord:dm/{home}#{said}"] = "4711"
        await support.click(support.ann, home, answer, "solved")
        solved = support.heard.inbound[-1]
        assert isinstance(solved, Solved)
        assert solved.address == Address("discord", "dm", home, "4711")


@pytest.mark.parametrize(
    "custom_id",
    [
        "fd:helpful:nonsense",
        "fd:helpful:",
        "fd:helpful",
        "fd:",
        "fd:old:1",
        "fd:person:slack:T1/C1#1",
        "fd:solved:discord:1/2#3",
    ],
)
async def test_buttons_that_mean_nothing_any_more(discord: DiscordServer, custom_id: str) -> None:
    async with supporting(discord) as support:
        button = {"type": 2, "style": 2, "label": "Old", "custom_id": custom_id}
        body = {"content": "Old", "components": [{"type": 1, "components": [button]}]}
        path = "/channels/{channel_id}/messages"
        posted = await support.connector.rest.request("POST", path, json=body, channel_id=support.channel)
        click = await support.do(discord.click, support.ann, support.channel, posted["id"], "Old")
        assert (await support.told(click)).content == EXPIRED
        assert support.heard.inbound == []


@pytest.mark.parametrize("action", ["helpful", "unhelpful", "person", "stop", "solved", "share"])
async def test_a_turn_that_is_not_known_any_more(discord: DiscordServer, action: str) -> None:
    async with supporting(discord) as support:
        _, thread, answer = await support.in_thread()
        support.askers.clear()
        click = await support.click(support.ann, thread, answer, action)
        assert (await support.told(click)).content == EXPIRED
        assert support.heard.inbound == []


async def test_a_turn_of_another_channel(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, _ = await support.asked()
        other = discord.add_channel("other")
        answer = await support.reply(other, turn)
        click = await support.click(support.ann, other, answer, "helpful")
        assert (await support.told(click)).content == EXPIRED


async def test_buttons_of_another_program_are_left_alone(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        turn, answer = await support.asked()
        button = {"type": 2, "style": 2, "label": "Other", "custom_id": "other:helpful:1"}
        body = {"content": "Other", "components": [{"type": 1, "components": [button]}]}
        path = "/channels/{channel_id}/messages"
        posted = await support.connector.rest.request("POST", path, json=body, channel_id=support.channel)
        other = await asyncio.to_thread(discord.click, support.ann, support.channel, posted["id"], "Other")
        await support.click(support.ann, support.channel, answer, "helpful")
        # Interactions are heard in order: the other one was heard before.
        assert other.acked is None
        assert [item.turn for item in support.heard.inbound if isinstance(item, Feedback)] == [turn]


@pytest.mark.parametrize("action", ["helpful", "unhelpful", "person", "stop", "solved"])
async def test_what_cannot_be_stored_is_to_be_tried_again(discord: DiscordServer, action: str) -> None:
    async with supporting(discord) as support:
        _, thread, answer = await support.in_thread()
        support.heard.fails = 1
        click = await support.click(support.ann, thread, answer, action)
        assert (await support.told(click)).content == TRY_AGAIN
        assert support.heard.inbound == []
        await support.click(support.ann, thread, answer, action)
        assert len(support.heard.inbound) == 1


async def test_a_click_is_received_before_it_is_acknowledged(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        heard = support.heard
        _, thread, answer = await support.in_thread()
        heard.open.clear()
        click = await asyncio.to_thread(discord.click, support.ann, thread, answer, "fd:stop")
        await until(lambda: heard.tries)
        assert click.acked is None
        heard.open.set()
        await until(lambda: click.acked is not None)
        assert len(heard.inbound) == 1


async def test_a_store_that_takes_long_fails_no_click(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        heard = support.heard
        _, thread, answer = await support.in_thread()
        heard.open.clear()
        heard.fails = 1
        click = await support.click(support.ann, thread, answer, "helpful")
        assert heard.inbound == []
        assert click.messages == []
        heard.open.set()
        assert (await support.told(click)).content == TRY_AGAIN
        heard.open.clear()
        slow = await support.click(support.ann, thread, answer, "unhelpful")
        assert slow.modal is None
        heard.open.set()
        assert "once more" in (await support.told(slow)).content
        assert len(heard.inbound) == 1


async def test_a_private_answer_is_shared(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        asked = await support.slash(support.ann, support.channel, "support ask", question="How?")
        private = support.message
        support.askers[private.id] = private.person
        answer = await support.reply_privately(private.private_reply, private.id)
        await support.click(support.ann, support.channel, answer, "share")
        shared = support.heard.inbound[-1]
        assert isinstance(shared, Shared)
        assert (shared.turn, shared.author) == (private.id, support.ann)
        assert shared.address == Address("discord", support.space, support.channel)
        await until(lambda: not discord.ephemeral(support.ann))
        assert not asked.failed


async def test_a_private_answer_is_not_shared_where_the_app_may_not_write(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        discord.permit(support.channel, send_messages=False)
        await support.slash(support.ann, support.channel, "support ask", question="How?")
        private = support.message
        support.askers[private.id] = private.person
        answer = await support.reply_privately(private.private_reply, private.id)
        click = await support.click(support.ann, support.channel, answer, "share")
        assert (await support.told(click)).content == NOT_SHOWN_HERE
        assert support.heard.messages == [private]
        assert len(support.heard.inbound) == 1


async def test_a_private_answer_is_shared_in_the_thread_where_it_was_asked(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        thread = discord.start_thread(support.ann, support.channel, "ours", private=True)
        discord.add_to_thread(thread, discord.bot.id)
        await support.slash(support.ann, thread, "support ask", question="How?")
        private = support.message
        support.askers[private.id] = private.person
        answer = await support.reply_privately(private.private_reply, private.id)
        await support.click(support.ann, thread, answer, "share")
        shared = support.heard.inbound[-1]
        assert isinstance(shared, Shared)
        assert shared.address == Address("discord", support.space, support.channel, thread)
        await until(lambda: not discord.ephemeral(support.ann))


async def test_what_all_see_is_not_shared(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        _, thread, answer = await support.in_thread()
        click = await support.click(support.ann, thread, answer, "share")
        assert (await support.told(click)).content == NOT_YOURS


async def test_a_private_answer_keeps_its_conversation(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        await support.slash(support.ann, support.channel, "support ask", question="How?")
        private = support.message
        support.askers[private.id] = private.person
        answer = await support.reply_privately(private.private_reply, private.id)
        click = await support.click(support.ann, support.channel, answer, "person")
        wanted = support.message
        assert wanted.wants_person
        assert wanted.address == private.address
        assert wanted.private_reply.startswith(f"interaction:{discord.application_id}/")
        assert wanted.private_reply != private.private_reply
        assert click.deferred
        assert click.ephemeral
        # What is shown next is a message of its own, below the answer.
        await support.reply_privately(wanted.private_reply, private.id, ())
        assert len(discord.ephemeral(support.ann)) == 2


async def test_a_private_answer_that_came_as_a_direct_message(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        await support.slash(support.ann, support.channel, "support ask", question="How?")
        private = support.message
        support.askers[private.id] = private.person
        home = discord.dm(support.ann)
        answer = await support.reply(home, private.id)
        await support.click(support.ann, home, answer, "person")
        assert support.message.address == private.address
        await support.click(support.ann, home, answer, "share")
        shared = support.heard.inbound[-1]
        assert isinstance(shared, Shared)
        assert shared.address == Address("discord", support.space, support.channel)


async def test_an_answer_that_does_not_reach_discord(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        _, thread, answer = await support.in_thread()
        discord.faults.append(Fault(method="POST", path=r"/interactions/.*", status=404, code=10062))
        asked = await asyncio.to_thread(discord.click, support.ann, thread, answer, "fd:helpful")
        await until(lambda: support.heard.inbound)
        assert asked.messages == []
        await support.click(support.ann, thread, answer, "solved")
        assert len(support.heard.inbound) == 2
