from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from agent.errors import DeliveryError
from agent.messages import Address, Answer, Delivery, Draft, Message, Post
from connectors.showing import Patience
from connectors.slack.clients import Clients
from connectors.slack.delivery import SlackDelivery
from connectors.slack.pace import BETWEEN_EDITS, Pace, Refusals, Steady, Window
from tests.servers.slack import SlackServer, serving

TURNS = 30
MINUTE = 4.0
"""Seconds that stand for a minute."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_window_takes_so_many_and_then_one_for_each_that_leaves_it() -> None:
    clock = Clock()
    window = Window(3, 10, clock)
    assert [window.book() for _ in range(7)] == [0, 0, 0, 10, 10, 10, 20]
    assert window.wait() == 20
    clock.now += 40
    assert window.wait() == 0


def test_steady_calls_come_at_once_and_then_in_steps() -> None:
    clock = Clock()
    steady = Steady(2, 60, 60, clock)
    assert [steady.book() for _ in range(5)] == [0, 0, 1, 2, 3]
    steady.give_back()
    assert steady.book() == 3
    clock.now += 60
    assert [steady.book() for _ in range(3)] == [0, 0, 1]


def test_a_pause_that_slack_asks_for_counts_for_all_who_use_the_method() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.hold("T1", "chat.update", 5)
    assert pace.wait("T1", "chat.update") == 5
    assert pace.wait("T2", "chat.update") == 0
    assert pace.wait("T1", "chat.delete") == 0
    # Who waited does not come all at once.
    assert [round(pace.book("T1", "chat.update"), 6) for _ in range(3)] == [5, 6.2, 7.4]
    clock.now += 30
    assert pace.book("T1", "chat.update") == 0


def test_edits_of_one_channel_keep_their_distance() -> None:
    pace = Pace(Clock())
    assert [round(pace.book_edit("T1", "C1"), 6) for _ in range(3)] == [0, BETWEEN_EDITS, 2 * BETWEEN_EDITS]
    assert pace.book_edit("T1", "C2") == 0


def test_posts_into_one_channel_are_about_one_a_second() -> None:
    pace = Pace(Clock())
    waits = [pace.book("T1", "chat.postMessage", "C1") for _ in range(11)]
    assert waits[4] == 0
    assert 1 <= waits[5] <= 6
    assert 10 <= waits[10] <= 12
    assert pace.book("T1", "chat.postMessage", "C2") == 0


async def test_patience_ends_before_it_would_wait_in_vain() -> None:
    patience = Patience(5, "show a reply")
    begun = time.monotonic()
    with pytest.raises(DeliveryError, match="show a reply"):
        await patience.wait(6)
    assert time.monotonic() - begun < 0.1


def test_refusals_are_remembered_where_they_were_made() -> None:
    refusals = Refusals()
    refusals.remember("stream", "T1", "C1")
    assert refusals.has("stream", "T1", "C1")
    assert not refusals.has("stream", "T1")
    assert not refusals.has("stream", "T1", "C2")


class KeptPosts:
    async def posts(self, turn: str) -> Sequence[Post]:
        return ()

    async def keep_post(self, post: Post) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("rooms", [1, 10])
async def test_many_turns_at_once_keep_to_slacks_rates(rooms: int) -> None:
    with serving(SlackServer()) as slack:
        slack.enforce_rates, slack.rate_window = True, MINUTE

        async def token_for(team: str) -> str | None:
            return slack.bot_token

        customer = slack.add_user("ana")
        channels = [slack.add_channel(f"help{number}", [customer]) for number in range(rooms)]
        clients = Clients(token_for, base_url=slack.api_url)
        delivery = SlackDelivery(clients, KeptPosts(), pace=Pace(minute=MINUTE), agent_view=False)

        async def turn(number: int) -> tuple[str, str]:
            channel = channels[number % rooms]
            ts = slack.say(customer, channel, f"Question {number}", announce=False)
            address = Address("slack", slack.team.id, channel, ts)
            message = Message(f"{address.channel}#{ts}", address, customer, "customer", "?", datetime.now(UTC))
            text = f"Answer {number}: "
            for word in range(30):
                text += f"word{word} "
                await delivery.deliver(Delivery(address, message.id, Draft(text), message))
                await asyncio.sleep(0.03)
            await delivery.deliver(Delivery(address, message.id, Answer(text.strip()), message))
            return channel, ts

        begun = time.monotonic()
        told = await asyncio.gather(*map(turn, range(TURNS)))
        took = time.monotonic() - begun
        for number, (channel, ts) in enumerate(told):
            (seen,) = slack.replies_to(channel, ts)
            assert seen.text.count(f"Answer {number}: word0 ") == 1
            assert "word29" in seen.text
            assert seen.action_ids
        limited = [call.method for call in slack.calls if call.error == "ratelimited"]
        assert len(limited) <= 3, limited
        # 30 streams cannot begin and end within a minute; more than two minutes are not needed.
        assert took < 2.5 * MINUTE
        assert slack.violations == []
        await delivery.close()
        await clients.close()
