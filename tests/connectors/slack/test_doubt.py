"""What is done when nobody knows whether Slack took something: nothing is shown twice, and nothing that was stopped."""

from __future__ import annotations

import asyncio

import pytest

from agent.errors import DeliveryError
from agent.messages import Address, Draft
from connectors.slack.clients import Clients
from connectors.slack.pace import Pace
from tests.connectors.slack.delivering import ANSWER, Desk


async def test_a_post_of_unknown_fate_is_not_made_again_while_slack_does_not_tell(desk: Desk) -> None:
    # It looks for more than a minute, which is short here.
    hasty = await desk.another_process(final_seconds=5, pace=Pace(minute=2.0))
    question = desk.ask()
    desk.slack.fail("chat.postMessage", "500_after")
    desk.slack.fail("conversations.replies", "429", times=50, retry_after=1)
    with pytest.raises(DeliveryError, match="tried again later"):
        await hasty.tell(question, ANSWER)
    assert len(desk.seen(question)) == 1
    desk.slack.faults.clear()
    await asyncio.sleep(1.1)
    await hasty.tell(question, ANSWER)
    assert "within 30 days" in desk.only(question).text
    await hasty.slack_delivery.close()


async def test_a_stream_that_was_stopped_is_not_written_on(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can return"))
    await desk.words(question, "You can")
    desk.slack.fail("chat.stopStream", "stopped_by_user", times=5)
    desk.slack.fail("chat.appendStream", "stopped_by_user", times=5)
    await desk.tell(question, ANSWER)
    assert "30 days" not in desk.only(question).text


async def test_who_the_app_is_is_asked_once_however_many_want_to_know(desk: Desk) -> None:
    async def token_for(team: str) -> str:
        return desk.slack.bot_token

    fresh = Clients(token_for, base_url=desk.slack.api_url)
    try:
        before = len(desk.slack.called("auth.test"))
        found = await asyncio.gather(*(fresh.bot_user(desk.slack.team.id) for _ in range(20)))
        assert set(found) == {desk.slack.bot_user}
        assert len(desk.slack.called("auth.test")) == before + 1
        fresh.know("T9", "U9", "B9")
        assert await fresh.bot_id("T9") == "B9"
    finally:
        await fresh.close()


async def test_a_guest_in_an_ordinary_channel_is_an_outsider(desk: Desk) -> None:
    slack, delivery = desk.slack, desk.slack_delivery
    guest = slack.add_user("gus", guest=True)
    colleague = slack.add_user("cora")

    def at(room: str) -> Address:
        return Address("slack", slack.team.id, room)

    inside = slack.add_channel("inside", [desk.customer, colleague])
    assert await delivery.outsiders(at(slack.add_channel("mixed", [desk.customer, guest])))
    assert not await delivery.outsiders(at(inside))
    known = len(slack.called("users.info"))
    assert not await delivery.outsiders(at(inside))
    assert len(slack.called("users.info")) == known
    slack.fail("users.info", "429", times=5)
    assert await delivery.outsiders(at(slack.add_channel("unknown", [slack.add_user("nora")])))
