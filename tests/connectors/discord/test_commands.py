"""Slash commands and the menu of a message, with real discord.py against a local Discord."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agent.messages import Address
from connectors.discord.commands import ANSWER_FOLLOWS, ASK_ABOUT, help_text
from connectors.discord.ids import message_id, private_thread
from connectors.discord.invocation import TRY_AGAIN, UNKNOWN_PLACE
from connectors.wording import NOTHING_TO_READ, PERSON_TEXT
from tests.connectors.discord.interacting import supporting
from tests.connectors.discord.listening import until
from tests.servers.discord import DiscordServer, Fault, serving


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as server:
        yield server
        assert server.violations == []


async def test_a_question_that_only_one_person_sees(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        asked = await support.slash(support.ann, support.channel, "support ask", question=" Where is my parcel? ")
        message = support.message
        assert message.text == "Where is my parcel?"
        assert message.address == Address("discord", support.space, support.channel, private_thread(support.ann))
        assert message.id == message_id(message.address, message.id.rpartition("#")[2])
        assert (message.author, message.role) == (support.ann, "customer")
        assert (message.addressed, message.joins, message.wants_person) == (True, False, False)
        assert not message.starts_thread
        assert asked.deferred
        assert asked.ephemeral
        await support.reply_privately(message.private_reply, message.id)
        assert (await support.told(asked)).content == "So"
        assert discord.visible(support.channel) == []


async def test_the_time_of_a_question_is_that_of_its_id(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        before = discord.say(support.ben, support.channel, "Hello")
        await support.slash(support.ann, support.channel, "support ask", question="How?")
        after = discord.say(support.ben, support.channel, "Hello again")
        ids = [f"discord:{support.space}/{support.channel}#{one.zfill(20)}" for one in (before, after)]
        assert ids[0] < support.message.id < ids[1]
        assert abs(support.message.sent_at.timestamp() - (int(after) >> 22) / 1000 - 1_420_070_400) < 60


async def test_a_question_in_a_thread_belongs_to_its_channel(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        thread = discord.start_thread(support.ann, support.channel, "Talk")
        forum = discord.add_forum("questions")
        post = discord.post(support.ann, forum, "It is odd", "How?")
        for place, room in ((thread, support.channel), (post, forum)):
            await support.slash(support.ann, place, "support ask", question="How?")
            assert support.message.address == Address("discord", support.space, room, private_thread(support.ann))


async def test_a_question_in_a_direct_message(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        home = discord.dm(support.ann)
        asked = await support.slash(support.ann, home, "support ask", question="How?")
        assert support.message.address == Address("discord", "dm", home, private_thread(support.ann))
        assert support.message.outsiders
        assert asked.ephemeral


async def test_who_reads_an_answer_that_one_person_sees(discord: DiscordServer) -> None:
    inside, sam = discord.add_role(discord.guild, "inside"), discord.add_user("sam")
    discord.join(discord.guild, discord.application_id, roles=(inside,))
    async with supporting(discord, change={"staff": (sam,)}) as support:
        for user in (sam, support.ann):
            discord.join(discord.guild, user, roles=(inside,))
        closed = discord.add_channel("inside", only_roles=(inside,))
        for user, room, outside in (
            (support.ann, support.channel, True),
            (support.ann, closed, False),
            (sam, support.channel, False),
            (sam, discord.dm(sam), False),
        ):
            await support.slash(user, room, "support ask", question="How?")
            assert support.message.outsiders is outside


async def test_a_question_is_received_before_it_is_acknowledged(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        heard = support.heard
        heard.open.clear()
        asked = await asyncio.to_thread(
            discord.slash, support.ann, support.channel, "support ask", {"question": "How?"}
        )
        await until(lambda: heard.tries)
        assert asked.acked is None
        heard.open.set()
        await until(lambda: asked.deferred)
        assert len(heard.messages) == 1


async def test_a_question_that_cannot_be_stored(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        support.heard.fails = 1
        asked = await support.slash(support.ann, support.channel, "support ask", question="How?")
        assert (await support.told(asked)).content == TRY_AGAIN
        assert not asked.deferred
        await support.slash(support.ann, support.channel, "support ask", question="How?")
        assert len(support.heard.messages) == 1


async def test_a_question_that_is_stored_slowly_or_not_at_all(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        heard = support.heard
        heard.open.clear()
        heard.fails = 1
        asked = await support.slash(support.ann, support.channel, "support ask", question="How?")
        assert asked.deferred
        assert asked.messages == []
        heard.open.set()
        assert (await support.told(asked)).content == TRY_AGAIN


async def test_a_question_that_discord_tells_of_twice(discord: DiscordServer) -> None:
    discord.gateway.duplicate = 1.0
    async with supporting(discord) as support:
        await support.slash(support.ann, support.channel, "support ask", question="How?")
        await until(lambda: len(support.heard.messages) == 2)
        assert len({message.id for message in support.heard.messages}) == 1


async def test_an_acknowledgement_that_discord_loses(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        discord.faults.append(Fault(method="POST", path=r"/interactions/.*", status=503, after=True))
        asked = await support.slash(support.ann, support.channel, "support ask", question="How?")
        assert asked.deferred
        assert len(support.heard.messages) == 1


async def test_a_form_for_a_longer_question(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        form = await support.slash(support.ann, support.channel, "support ask")
        assert form.modal is not None
        assert support.heard.inbound == []
        sent = await support.submit(form, question="It began\n\nyesterday")
        message = support.message
        assert message.text == "It began\n\nyesterday"
        assert message.address == Address("discord", support.space, support.channel, private_thread(support.ann))
        assert sent.deferred
        assert sent.ephemeral
        await support.reply_privately(message.private_reply, message.id)
        assert (await support.told(sent)).content == "So"


async def test_a_file_comes_with_a_question(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        file = ("receipt.txt", b"Paid")
        await support.slash(support.ann, support.channel, "support ask", question="Why?", attachment=file)
        await support.slash(support.ann, support.channel, "support ask", attachment=file)
        for message, text in zip(support.heard.messages, ("Why?", ""), strict=True):
            assert message.text == text
            (found,) = message.attachments
            assert (found.name, found.size) == ("receipt.txt", 4)
            assert found.source


async def test_talk_to_a_person(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        for options in ({"reason": "It burns"}, {}):
            asked = await support.slash(support.ann, support.channel, "support person", **options)
            assert asked.deferred
        assert [message.text for message in support.heard.messages] == ["It burns", PERSON_TEXT]
        assert all(message.wants_person and message.private_reply for message in support.heard.messages)


async def test_help(discord: DiscordServer) -> None:
    async with supporting(discord, change={"command": "helpdesk"}) as support:
        asked = await support.slash(support.ann, support.channel, "helpdesk help")
        assert (await support.told(asked)).content == help_text("helpdesk")
        assert support.heard.inbound == []


# The menu of a message.


async def test_about_a_message_in_a_channel(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        said = discord.say(support.ann, support.channel, "Something is odd")
        asked = await support.do(discord.context_menu, support.ben, support.channel, ASK_ABOUT, said)
        message = support.message
        assert (message.text, message.author, message.role) == ("Something is odd", support.ben, "customer")
        assert message.address == Address("discord", support.space, support.channel, said)
        assert message.id > f"{message.address.channel}#{said.zfill(20)}"
        assert (message.private_reply, message.reply_in, message.outsiders) == ("", "", True)
        assert not message.starts_thread
        assert (await support.told(asked)).content == ANSWER_FOLLOWS


async def test_about_a_message_without_the_intent(discord: DiscordServer) -> None:
    discord.message_content_allowed = False
    async with supporting(discord) as support:
        said = discord.say(support.ann, support.channel, "Something is odd", files=(("a.txt", b"text"),))
        await support.do(discord.context_menu, support.ben, support.channel, ASK_ABOUT, said)
        assert support.message.text == "Something is odd"
        assert [file.name for file in support.message.attachments] == ["a.txt"]


async def test_about_a_message_in_a_thread_and_in_a_post(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        thread = discord.start_thread(support.ann, support.channel, "Talk")
        forum = discord.add_forum("questions")
        post = discord.post(support.ann, forum, "It is odd", "How?")
        for place, room in ((thread, support.channel), (post, forum)):
            said = discord.say(support.ann, place, "Really odd")
            await support.do(discord.context_menu, support.ben, place, ASK_ABOUT, said)
            assert support.message.address == Address("discord", support.space, room, place)
            assert (support.message.private_reply, support.message.text) == ("", "Really odd")
        await support.do(discord.context_menu, support.ben, post, ASK_ABOUT, post)
        assert support.message.text == "It is odd\n\nHow?"


async def test_about_a_message_where_answers_stand_in_the_channel(discord: DiscordServer) -> None:
    async with supporting(discord, answers_in_place=lambda _: True) as support:
        said = discord.say(support.ann, support.channel, "Something is odd")
        await support.do(discord.context_menu, support.ben, support.channel, ASK_ABOUT, said)
        assert support.message.address.thread == said
        assert support.message.reply_in == support.channel
        support.threads[f"discord:{support.space}/{support.channel}#{said}"] = "4711"
        await support.do(discord.context_menu, support.ben, support.channel, ASK_ABOUT, said)
        assert support.message.address.thread == "4711"


async def test_about_a_message_where_no_thread_may_be_made(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        discord.permit(support.channel, create_public_threads=False)
        said = discord.say(support.ann, support.channel, "Something is odd")
        await support.do(discord.context_menu, support.ben, support.channel, ASK_ABOUT, said)
        assert support.message.reply_in == support.channel
        assert support.message.private_reply == ""


async def test_about_a_message_where_the_app_may_not_write(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        discord.permit(support.channel, send_messages=False, send_messages_in_threads=False)
        said = discord.say(support.ann, support.channel, "Something is odd")
        asked = await support.do(discord.context_menu, support.ben, support.channel, ASK_ABOUT, said)
        assert support.message.private_reply
        assert support.message.address.thread == private_thread(support.ben)
        assert asked.deferred
        assert asked.ephemeral


async def test_about_a_message_in_a_locked_thread(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        discord.permit(support.channel, manage_threads=False)
        thread = discord.start_thread(support.ann, support.channel, "Talk")
        said = discord.say(support.ann, thread, "Really odd")
        discord.archive(thread, locked=True)
        await support.do(discord.context_menu, support.ben, thread, ASK_ABOUT, said)
        assert support.message.address.thread == private_thread(support.ben)


async def test_about_a_direct_message(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        home = discord.dm(support.ann)
        said = discord.say(support.ann, home, "Something is odd")
        await support.do(discord.context_menu, support.ann, home, ASK_ABOUT, said)
        assert support.message.address == Address("discord", "dm", home, private_thread(support.ann))


async def test_about_a_message_that_says_nothing(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        said = discord.system_message(support.channel, support.ann)
        asked = await support.do(discord.context_menu, support.ben, support.channel, ASK_ABOUT, said)
        assert (await support.told(asked)).content == NOTHING_TO_READ
        assert support.heard.inbound == []


async def test_in_a_place_that_is_not_known(discord: DiscordServer) -> None:
    async with supporting(discord) as support:
        directory = discord.add_channel("directory", type=14)
        for command, options in (("support ask", {"question": "How?"}), ("support person", {})):
            asked = await support.slash(support.ann, directory, command, **options)
            assert (await support.told(asked)).content == UNKNOWN_PLACE
        assert support.heard.inbound == []
