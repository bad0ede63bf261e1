"""Buttons, forms, shortcuts and commands, with real Bolt against a local Slack."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from agent.errors import SettingsError
from agent.messages import Address, Feedback, Message, Shared, Solved
from connectors.slack.blocks import answer_blocks, handoff_blocks, private_blocks
from connectors.slack.connector import SlackConnector
from connectors.wording import ASK_YOURSELF, GLAD, NOT_YOURS
from tests.connectors.slack.test_listening import Heard, listening, settings_for, until
from tests.servers.slack import Delivery, SlackServer, serving


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server
        assert server.violations == []
        assert server.bad_acks == []


@dataclass
class Channels:
    """What is set for channels."""

    values: dict[str, Mapping[str, str]] = field(default_factory=dict)
    by: list[str] = field(default_factory=list)

    async def get(self, channel: str) -> Mapping[str, str]:
        return self.values.get(channel, {"mode": "mention"})

    async def set(self, channel: str, values: Mapping[str, str], by: str) -> None:
        if values["language"] == "klingon":
            raise SettingsError("the language klingon is not known")
        self.values[channel] = values
        self.by.append(by)


@dataclass
class Room:
    """A channel where the app answered a question."""

    slack: SlackServer
    connector: SlackConnector
    heard: Heard
    ann: str
    channel: str
    asked: str
    turn: str
    answer: str

    @property
    def team(self) -> str:
        return self.slack.team.id

    def click(self, action: str, value: str | None = None, user: str = "") -> Delivery:
        return self.slack.click(user or self.ann, self.channel, self.answer, action, value)


@asynccontextmanager
async def answered(
    slack: SlackServer, mode: str = "socket", *, direct: bool = False, **more: Any
) -> AsyncIterator[Room]:
    ann = slack.add_user("ann")
    channel = slack.dm(ann) if direct else slack.add_channel("help", [ann])
    settings = replace(settings_for(slack, mode), **more.pop("change", {}))
    async with listening(slack, settings, **more) as (connector, heard):
        asked = slack.say(ann, channel, "How?" if direct else slack.mention("How?"), announce=False)
        turn = f"slack:{slack.team.id}/{channel}#{asked}"
        client = await connector.clients.for_space(slack.team.id)
        posted = await client.chat_postMessage(
            channel=channel,
            thread_ts=asked,
            text="So",
            blocks=answer_blocks("So", (), turn),
            unfurl_links=False,
            unfurl_media=False,
        )
        yield Room(slack, connector, heard, ann, channel, asked, turn, posted["ts"])


def private(turn: str) -> list[dict[str, Any]]:
    """A private answer, with the block ids that Slack gives."""
    return [{**block, "block_id": f"b{place}"} for place, block in enumerate(private_blocks("So", (), turn))]


async def acknowledged(delivery: Delivery) -> Any:
    await until(delivery.settled.is_set)
    assert delivery.acked_at is not None
    assert delivery.acked_at - delivery.sent_at[0] < 3
    return delivery.response


@pytest.mark.parametrize("mode", ["socket", "http"])
async def test_feedback_and_its_reason(slack: SlackServer, mode: str) -> None:
    async with answered(slack, mode) as room:
        await acknowledged(room.click("frontdesk_feedback", f"helpful|{room.turn}"))
        (helpful,) = await room.heard.count(1)
        assert isinstance(helpful, Feedback)
        assert (helpful.turn, helpful.author, helpful.helpful) == (room.turn, room.ann, True)
        assert helpful.address == Address("slack", room.team, room.channel, room.asked)
        assert slack.views == []

        ben = slack.add_user("ben")
        await acknowledged(room.click("frontdesk_feedback", f"unhelpful|{room.turn}", ben))
        (view,) = await until(lambda: slack.views)
        await asyncio.to_thread(slack.submit, ben, view.id, {"reason": "It is wrong"})
        unhelpful, reason = (await room.heard.count(3))[1:]
        assert isinstance(unhelpful, Feedback)
        assert isinstance(reason, Feedback)
        assert (unhelpful.helpful, unhelpful.reason) == (False, None)
        assert (reason.author, reason.reason, reason.turn) == (ben, "It is wrong", room.turn)
        assert reason.address == helpful.address
        assert slack.views == []


async def test_talk_to_a_person(slack: SlackServer) -> None:
    async with answered(slack, change={"staff": ("U1",)}) as room:
        delivery = room.click("frontdesk_person")
        await acknowledged(delivery)
        (message,) = room.heard.messages
        assert message.wants_person
        assert message.addressed
        assert message.address == Address("slack", room.team, room.channel, room.asked)
        assert message.id > room.turn
        assert (message.role, message.private_reply, message.joins) == ("customer", "", False)
        assert not message.outsiders


async def test_talk_to_a_person_in_a_direct_message(slack: SlackServer) -> None:
    async with answered(slack, direct=True) as room:
        await acknowledged(room.click("frontdesk_person"))
        (message,) = room.heard.messages
        assert message.address == Address("slack", room.team, room.channel, room.asked)
        assert not message.joins
        client = await room.connector.clients.for_space(room.team)
        top = await client.chat_postMessage(
            channel=room.channel, text="So", blocks=answer_blocks("So", (), room.turn), unfurl_links=False
        )
        await acknowledged(slack.click(room.ann, room.channel, top["ts"], "frontdesk_person"))
        assert room.heard.messages[1].joins


@pytest.mark.parametrize("mode", ["socket", "http"])
async def test_solved(slack: SlackServer, mode: str) -> None:
    async with answered(slack, mode) as room:
        await acknowledged(room.click("frontdesk_solved"))
        (solved,) = await room.heard.count(1)
        assert isinstance(solved, Solved)
        assert solved.address == Address("slack", room.team, room.channel, room.asked)
        assert (solved.turn, solved.author) == (room.turn, room.ann)
        assert solved.solved_at.tzinfo is not None
        await until(lambda: slack.ephemeral(room.ann))
        assert [seen.text for seen in slack.ephemeral(room.ann)] == [GLAD]


async def test_a_handoff_is_solved(slack: SlackServer) -> None:
    async with answered(slack) as room:
        client = await room.connector.clients.for_space(room.team)
        blocks = handoff_blocks("A person comes", room.turn)
        posted = await client.chat_postMessage(
            channel=room.channel, thread_ts=room.asked, text="So", blocks=blocks, unfurl_links=False
        )
        await acknowledged(slack.click(room.ann, room.channel, posted["ts"], "frontdesk_solved"))
        (solved,) = await room.heard.count(1)
        assert isinstance(solved, Solved)
        assert (solved.turn, solved.address.thread) == (room.turn, room.asked)


@pytest.mark.parametrize(("action", "refusal"), [("frontdesk_person", ASK_YOURSELF), ("frontdesk_solved", NOT_YOURS)])
async def test_what_only_the_asker_or_the_staff_can_do(slack: SlackServer, action: str, refusal: str) -> None:
    ben, sue = slack.add_user("ben"), slack.add_user("sue")

    async def asker_of(turn: str) -> str:
        return f"{turn.partition('/')[0]}/{ann}"

    async with answered(slack, change={"staff": (sue,)}, asker_of=asker_of) as room:
        ann = room.ann
        await acknowledged(room.click(action, user=ben))
        await until(lambda: slack.ephemeral(ben))
        assert [seen.text for seen in slack.ephemeral(ben)] == [refusal]
        assert room.heard.inbound == []
        await acknowledged(room.click(action, user=sue))
        await acknowledged(room.click(action))
        assert len(await room.heard.count(2)) == 2


async def test_clicks_of_other_workspaces(slack: SlackServer) -> None:
    foreign = slack.add_foreign_team()
    fay = slack.add_user("fay", team=foreign)
    async with answered(slack) as room:
        payload = copy.deepcopy(room.click("frontdesk_person", user=fay).payload)
        await room.heard.count(1)
        # As in a channel that is shared: the team is that of who clicked, the message is of where the app is.
        payload["team"] = {"id": foreign, "domain": "foreign"}
        await acknowledged(slack.interact(payload))
        first, second = room.heard.messages
        assert first == second
        assert (second.address.space, second.author_space) == (room.team, foreign)
        assert (second.role, second.outsiders) == ("customer", True)
        payload["message"] = {}
        await acknowledged(slack.interact(payload))
        assert len(room.heard.messages) == 2


async def test_a_guest_who_wants_a_person_is_outside(slack: SlackServer) -> None:
    async with answered(slack) as room:
        guest = slack.add_user("gus", guest=True)
        await acknowledged(room.click("frontdesk_person", user=guest))
        assert room.heard.messages[0].outsiders


async def test_expired_and_foreign_buttons(slack: SlackServer) -> None:
    async with answered(slack) as room:
        client = await room.connector.clients.for_space(room.team)
        names = {"frontdesk_feedback": "helpful|nonsense", "frontdesk_old": "1", "other": "1"}
        names |= {"frontdesk_person": "x", "frontdesk_solved": "x"}
        buttons = [
            {"type": "button", "action_id": name, "value": value, "text": {"type": "plain_text", "text": name}}
            for name, value in names.items()
        ]
        posted = await client.chat_postMessage(
            channel=room.channel, text="Old", blocks=[{"type": "actions", "elements": buttons}]
        )
        for name in names:
            await acknowledged(slack.click(room.ann, room.channel, posted["ts"], name))
        await until(lambda: len(slack.ephemeral(room.ann)) == 4)
        assert {seen.text for seen in slack.ephemeral(room.ann)} == {"This button has expired."}
        assert room.heard.inbound == []


@pytest.mark.parametrize("mode", ["socket", "http"])
async def test_a_private_question_and_sharing_its_answer(slack: SlackServer, mode: str) -> None:
    async with answered(slack, mode) as room:
        delivery = slack.slash(room.ann, room.channel, "/support", f"Is <@{room.ann}> &lt;here&gt;?")
        await acknowledged(delivery)
        (message,) = room.heard.messages
        assert message.text == f"Is @{room.ann} <here>?"
        assert message.address == Address("slack", room.team, room.channel, f"private-{room.ann}")
        assert message.private_reply == delivery.payload["response_url"]
        assert message.addressed
        assert not message.outsiders
        assert message.id.startswith(f"slack:{room.team}/{room.channel}#")
        assert message.id > room.turn
        slack.redeliver(delivery)
        await room.heard.count(2)
        assert room.heard.messages[1].id == message.id

        await room.connector.clients.session.post(
            message.private_reply,
            json={"response_type": "ephemeral", "text": "So", "blocks": private(message.id)},
        )
        await acknowledged(slack.click_ephemeral(room.ann, room.channel, "frontdesk_share"))
        shared = room.heard.inbound[-1]
        assert isinstance(shared, Shared)
        assert (shared.turn, shared.author) == (message.id, room.ann)
        assert shared.address == Address("slack", room.team, room.channel)
        await until(lambda: not slack.ephemeral(room.ann))


async def test_an_answer_is_not_taken_away_where_it_cannot_be_shared(slack: SlackServer) -> None:
    async with answered(slack) as room:
        elsewhere = slack.add_channel("elsewhere", [room.ann], bot_in=False)
        for where, shared in ((elsewhere, False), (slack.dm(room.ann), True)):
            room.heard.inbound.clear()
            await acknowledged(slack.slash(room.ann, where, "/support", "How?"))
            (message,) = room.heard.messages
            await room.connector.clients.session.post(
                message.private_reply, json={"text": "So", "blocks": private(message.id)}
            )
            await acknowledged(slack.click_ephemeral(room.ann, where, "frontdesk_share"))
            if shared:
                assert isinstance(room.heard.inbound[-1], Shared)
            else:
                await until(lambda: len(slack.ephemeral(room.ann)) == 2)
                assert "/invite" in slack.ephemeral(room.ann)[1].text
                assert len(room.heard.inbound) == 1


async def test_a_private_answer_keeps_its_conversation(slack: SlackServer) -> None:
    async with answered(slack) as room:
        await acknowledged(slack.slash(room.ann, room.channel, "/support", "How?"))
        (message,) = room.heard.messages
        await room.connector.clients.session.post(
            message.private_reply, json={"text": "So", "blocks": private(message.id)}
        )
        click = slack.click_ephemeral(room.ann, room.channel, "frontdesk_person")
        await acknowledged(click)
        wanted = room.heard.messages[1]
        assert wanted.wants_person
        assert wanted.address == message.address
        assert wanted.private_reply == click.payload["response_url"]


async def test_commands_for_a_person_and_help(slack: SlackServer) -> None:
    async with answered(slack) as room:
        await acknowledged(slack.slash(room.ann, room.channel, "/support", "person"))
        await acknowledged(slack.slash(room.ann, room.channel, "/handoff", "It burns"))
        await acknowledged(slack.slash(room.ann, room.channel, "/handoff"))
        assert [message.text for message in room.heard.messages] == [
            "I would like to talk to a person.",
            "It burns",
            "I would like to talk to a person.",
        ]
        assert all(message.wants_person and message.private_reply for message in room.heard.messages)
        await acknowledged(slack.slash(room.ann, room.channel, "/support", "help"))
        await until(lambda: any("/handoff" in seen.text for seen in slack.ephemeral(room.ann)))


async def test_a_form_for_a_question(slack: SlackServer) -> None:
    async with answered(slack) as room:
        await acknowledged(slack.slash(room.ann, room.channel, "/support"))
        (view,) = await until(lambda: slack.views)
        await asyncio.to_thread(slack.submit, room.ann, view.id, {"question": "How so?"})
        (message,) = room.heard.messages
        assert message.private_reply == slack.sent("slash_commands")[0].payload["response_url"]
        assert (message.text, message.address.thread) == ("How so?", f"private-{room.ann}")


async def test_a_form_whose_question_cannot_be_stored_stays(slack: SlackServer) -> None:
    async with answered(slack) as room:
        await acknowledged(slack.global_shortcut(room.ann, "new_request"))
        (view,) = await until(lambda: slack.views)
        for broken in ("conversations.open", "chat.postMessage"):
            slack.fail(broken, "429", retry_after=30)
            told = await asyncio.to_thread(slack.submit, room.ann, view.id, {"question": "How so?"})
            assert told["response_action"] == "errors"
            assert "once more" in told["errors"]["question"]
        assert room.heard.messages == []
        room.heard.open.clear()
        sending = asyncio.create_task(asyncio.to_thread(slack.submit, room.ann, view.id, {"question": "How so?"}))
        await until(lambda: len(slack.visible(slack.dm(room.ann))) == 1)
        await asyncio.sleep(0.2)
        assert not sending.done(), "it is acknowledged when it is stored"
        room.heard.open.set()
        assert await sending is None
        assert [message.text for message in room.heard.messages] == ["How so?"]


async def test_shortcuts(slack: SlackServer) -> None:
    async with answered(slack) as room:
        ben = slack.add_user("ben")
        said = slack.say(room.ann, room.channel, "Something is odd", announce=False)
        await acknowledged(slack.message_shortcut(ben, room.channel, said, "ask_about_message"))
        (public,) = room.heard.messages
        assert (public.text, public.author, public.private_reply) == ("Something is odd", ben, "")
        assert public.address == Address("slack", room.team, room.channel, said)
        assert public.id > f"{public.address.channel}#{said}"

        elsewhere = slack.add_channel("elsewhere", [ben], bot_in=False)
        said = slack.say(ben, elsewhere, "Odd here as well", announce=False)
        delivery = slack.message_shortcut(ben, elsewhere, said, "ask_about_message")
        await acknowledged(delivery)
        private = room.heard.messages[1]
        assert private.private_reply == delivery.payload["response_url"]
        assert private.address.thread == f"private-{ben}"

        await acknowledged(slack.global_shortcut(ben, "new_request"))
        (view,) = await until(lambda: slack.views)
        await asyncio.to_thread(slack.submit, ben, view.id, {"question": "From <!channel> anywhere"})
        direct = (await room.heard.count(3))[2]
        assert isinstance(direct, Message)
        assert direct.address.room == slack.dm(ben)
        assert direct.starts_thread
        assert direct.text == "From <!channel> anywhere"
        assert slack.visible(slack.dm(ben))[0].ts == direct.address.thread


async def test_a_prompt_of_the_home(slack: SlackServer) -> None:
    async with answered(slack) as room:
        slack.open_home_tab(room.ann)
        view = await until(lambda: slack.home_view(room.ann))
        await acknowledged(slack.click_view(room.ann, view.id, "frontdesk_prompt_0"))
        (message,) = room.heard.messages
        assert message.text == "Where is my order?"
        assert message.address.room == slack.dm(room.ann)
        assert message.starts_thread


async def test_settings_by_an_admin(slack: SlackServer) -> None:
    channels = Channels()
    async with answered(slack, get_channel=channels.get, set_channel=channels.set) as room:
        boss = slack.add_user("boss", admin=True)
        await acknowledged(slack.slash(boss, room.channel, "/support", "settings"))
        (view,) = await until(lambda: slack.views)
        values = {"mode": "every-question", "audience": "public", "language": "klingon"}
        wrong = await asyncio.to_thread(slack.submit, boss, view.id, values)
        assert wrong == {
            "response_action": "errors",
            "errors": {"language": "the language klingon is not known"},
        }
        assert await asyncio.to_thread(slack.submit, boss, view.id, values | {"language": "de"}) is None
        address = f"slack:{room.team}/{room.channel}"
        assert channels.values[address]["mode"] == "every-question"
        assert channels.by == [f"slack:{room.team}/{boss}"]
        await until(lambda: any("Saved" in seen.text for seen in slack.ephemeral(boss)))

        await acknowledged(slack.slash(boss, room.channel, "/support", "settings"))
        (view,) = await until(lambda: slack.views)
        assert "every-question" in json.dumps(view.body["blocks"][1]["element"]["initial_option"])
        slack.users[boss].admin = False
        refused = await asyncio.to_thread(slack.submit, boss, view.id, values | {"language": "de"})
        assert refused["response_action"] == "errors"
        assert len(channels.by) == 1


async def test_settings_are_refused_to_others(slack: SlackServer) -> None:
    channels = Channels()
    foreigner = slack.add_user("fay", team=slack.add_foreign_team(), admin=True)
    guest = slack.add_user("gus", guest=True, admin=True)
    named = slack.add_user("ned")
    change = {"admins": (foreigner, guest, named)}
    async with answered(slack, get_channel=channels.get, set_channel=channels.set, change=change) as room:
        for user in (room.ann, foreigner, guest):
            await acknowledged(slack.slash(user, room.channel, "/support", "settings"))
            await until(partial(slack.ephemeral, user))
            assert "admins" in slack.ephemeral(user)[0].text
        assert slack.views == []
        await acknowledged(slack.slash(named, room.channel, "/support", "settings"))
        await until(lambda: slack.views)


async def test_a_click_that_cannot_be_stored_is_not_acknowledged(slack: SlackServer) -> None:
    slack.ack_seconds = 0.3
    async with answered(slack) as room:
        room.heard.fails = 1
        delivery = room.click("frontdesk_feedback", f"helpful|{room.turn}")
        await until(delivery.settled.is_set)
        assert delivery.acked_at is None
