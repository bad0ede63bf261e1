"""What is around a message: the agent's own view, the thread, names, and the organisation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest

from tests.connectors.slack.test_listening import listening, settings_for, until
from tests.servers.slack import SlackServer, serving


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server
        assert server.violations == []
        assert server.bad_acks == []


@pytest.fixture(params=["socket", "http"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_an_app_that_is_installed_in_a_whole_organisation(slack: SlackServer, mode: str) -> None:
    slack.team.organisation = "E0LOCAL001"
    ann = slack.add_user("ann")
    room = slack.add_channel("help", [ann])
    async with listening(slack, settings_for(slack, mode)) as (connector, heard):
        slack.say(ann, room, slack.mention("Hello"))
        slack.open_home_tab(ann)
        await heard.count(2)
        assert {message.address.space for message in heard.messages} == {slack.team.id}
        assert not any(message.outsiders for message in heard.messages)
        await until(lambda: slack.home(ann))
        assert connector.connected


async def test_a_mention_and_no_more_asks_what_its_thread_asks(slack: SlackServer) -> None:
    ann, bob = slack.add_user("ann"), slack.add_user("bob")
    robot = slack.add_user("robot", bot=True)
    room = slack.add_channel("help", [ann, bob, robot])
    async with listening(slack) as (connector, heard):
        asked = slack.say(ann, room, "How do I return a parcel?", announce=False)
        slack.bot_says(robot, room, "I am a robot", thread_ts=asked)
        slack.share_file(ann, room, "order.txt", b"4711", text="It is broken.", thread_ts=asked)
        await heard.count(1)
        heard.inbound.clear()
        slack.say(bob, room, slack.mention(), thread_ts=asked)
        await heard.count(2)
        assert {message.text for message in heard.messages} == {"How do I return a parcel?\nIt is broken."}
        assert {message.author for message in heard.messages} == {bob}
        assert [one.name for one in heard.messages[0].attachments] == ["order.txt"]
        assert len(slack.called("conversations.replies")) == 1

        client = await connector.clients.for_space(slack.team.id)
        await client.chat_postMessage(
            channel=room, thread_ts=asked, text="By post.", unfurl_links=False, unfurl_media=False
        )
        for text, expected in (("", ""), ("And where?", "And where?"), ("", "And where?")):
            heard.inbound.clear()
            slack.say(ann, room, slack.mention(text), thread_ts=asked)
            await heard.count(2)
            assert {message.text for message in heard.messages} == {expected}, "what was answered is not asked again"
        slack.fail("conversations.replies", "429", times=2)
        heard.inbound.clear()
        slack.say(ann, room, slack.mention(), thread_ts=asked)
        await heard.count(2)
        assert heard.messages[0].text == ""


async def test_people_and_channels_are_called_by_their_names(slack: SlackServer) -> None:
    ann, ben = slack.add_user("ann"), slack.add_user("ben")
    room, other = slack.add_channel("help", [ann]), slack.add_channel("deliveries", [ben], bot_in=False)
    hidden = slack.add_channel("hidden", [ann], private=True, bot_in=False)
    async with listening(slack) as (_, heard):
        for _ in range(2):
            heard.inbound.clear()
            slack.say(ann, room, slack.mention(f"Is <@{ben}> in <#{other}> or <#{hidden}>?"))
            await heard.count(2)
            assert {message.text for message in heard.messages} == {f"Is @ben in #deliveries or #{hidden}?"}
        assert len(slack.called("conversations.info")) == 2


async def test_the_home_and_suggested_questions(slack: SlackServer) -> None:
    ann = slack.add_user("ann")

    async def tickets(person: str) -> Sequence[tuple[str, str]]:
        return [(f"Parcel of {person}", "https://example.com/1")]

    async with listening(slack, open_tickets=tickets) as (_, heard):
        slack.open_home_tab(ann)
        await until(lambda: "Parcel of slack:" in json.dumps(slack.home(ann)))
        slack.open_messages_tab(ann)
        slack.open_messages_tab(ann)
        await until(lambda: slack.suggested_prompts and not slack.unacknowledged)
        (call,) = slack.called("assistant.threads.setSuggestedPrompts")
        assert "thread_ts" not in call.args
        assert heard.inbound == []


async def test_a_legacy_assistant(slack: SlackServer) -> None:
    slack.agent_view = False
    ann = slack.add_user("ann")
    async with listening(slack) as (_, heard):
        thread = slack.start_assistant_thread(ann)
        await until(lambda: slack.suggested_prompts)
        assert slack.called("assistant.threads.setSuggestedPrompts")[0].args["thread_ts"] == thread
        slack.change_thread_context(ann, thread)
        slack.say(ann, slack.dm(ann), "Where is\nmy parcel?", thread_ts=thread)
        await heard.count(1)
        assert heard.messages[0].address.thread == thread
        assert heard.messages[0].addressed
        await until(lambda: slack.titles == {(slack.dm(ann), thread): "Where is my parcel?"})
        slack.say(ann, slack.dm(ann), "And when?", thread_ts=thread)
        await heard.count(2)
        await until(lambda: not slack.unacknowledged)
        assert len(slack.called("assistant.threads.setTitle")) == 1, "its first question is its name"
