"""Replies that only who asked sees."""

from __future__ import annotations

import asyncio

import pytest

from agent.errors import DeliveryError
from agent.messages import Answer, Draft, Handoff, Status, Withdrawn
from tests.connectors.discord.delivering import ANSWER, Desk
from tests.servers.discord import Fault

PRIVATE = ["Share with the channel", "Talk to a person", "Helpful", "Not helpful"]
TOO_OLD = 15 * 60.0


async def test_a_private_reply_takes_the_place_of_thinking(desk: Desk) -> None:
    question, asked = await desk.ask_privately()
    await desk.tell(question, Status("Searching"), Draft("You can"), ANSWER)
    (seen,) = asked.messages
    assert (seen.content, seen.labels, len(seen.embeds)) == (ANSWER.text, PRIVATE, 1)
    assert desk.discord.ephemeral(desk.customer) == [seen]
    assert desk.discord.ours(desk.room) == []
    assert desk.calls("POST", "/channels") == []


async def test_it_is_changed_in_its_place(desk: Desk) -> None:
    question, asked = await desk.ask_privately()
    await desk.tell(question, ANSWER)
    async with desk.another_process() as other:
        await other.tell(question, Handoff("unsure", "A person will answer you.", "Unsure."), resumed=True)
    (seen,) = asked.messages
    assert seen.text == "A person will answer you.\nSolved"


async def test_a_long_one_takes_several_messages(desk: Desk) -> None:
    question, asked = await desk.ask_privately()
    text = "\n\n".join(f"Nr. {number} " + "word " * 100 for number in range(12))
    for _ in range(2):
        await desk.tell(question, Answer(text))
        whole = "".join(seen.content for seen in asked.messages)
        assert [whole.count(f"Nr. {number} ") for number in range(12)] == [1] * 12
        assert all(seen.ephemeral for seen in asked.messages)
        assert [bool(seen.labels) for seen in asked.messages] == [False] * (len(asked.messages) - 1) + [True]
    await desk.tell(question, ANSWER)
    assert [seen.content for seen in asked.messages] == [ANSWER.text]


async def test_an_answer_that_is_faster_than_thinking(desk: Desk) -> None:
    question, asked = await desk.ask_privately(acknowledged=False)
    telling = asyncio.create_task(desk.tell(question, ANSWER))
    await desk.until(lambda: desk.calls("PATCH", "/webhooks"))
    await desk.acknowledge(asked)
    await telling
    assert [seen.content for seen in asked.messages] == [ANSWER.text]
    assert desk.discord.ours(desk.discord.dm(desk.customer)) == []


@pytest.mark.parametrize("why", ["too old", "unknown"])
async def test_without_its_token_it_is_a_direct_message(desk: Desk, why: str) -> None:
    question, asked = await desk.ask_privately(acknowledged=why != "unknown", age=TOO_OLD if why == "too old" else 0)
    home = desk.discord.dm(desk.customer)
    for _ in range(2):
        await desk.tell(question, ANSWER)
        (seen,) = desk.discord.ours(home)
        assert (seen.content, seen.labels) == (ANSWER.text, PRIVATE)
    assert asked.messages == []
    # Another process, which was not told of the post, finds it.
    desk.discord.nonce_seconds = 0
    desk.posts.forget()
    async with desk.another_process() as other:
        await other.tell(question, Answer("No."), resumed=True)
    assert [seen.content for seen in desk.discord.ours(home)] == ["No."]


async def test_what_was_shown_cannot_be_changed_once_the_token_is_too_old(desk: Desk) -> None:
    question, asked = await desk.ask_privately()
    await desk.tell(question, ANSWER)
    desk.discord.token_seconds = 0
    async with desk.another_process() as other:
        await other.tell(question, ANSWER, resumed=True)
    assert [seen.content for seen in asked.messages] == [ANSWER.text]
    assert desk.discord.ours(desk.discord.dm(desk.customer)) == []


async def test_who_takes_no_direct_messages_is_for_the_staff(desk: Desk) -> None:
    question, _ = await desk.ask_privately(age=TOO_OLD)
    desk.discord.block_dms(desk.customer)
    with pytest.raises(DeliveryError) as raised:
        await desk.tell(question, ANSWER)
    assert raised.value.gone
    assert question.private_reply.rpartition("/")[2] not in str(raised.value)


async def test_a_private_reply_that_is_withdrawn(desk: Desk) -> None:
    question, asked = await desk.ask_privately()
    await desk.tell(question, Answer("\n\n".join("word " * 300 for _ in range(3))), Withdrawn())
    assert asked.messages == []
    thinking, _ = await desk.ask_privately()
    await desk.tell(thinking, Withdrawn())
    room = desk.discord.channels[desk.room]
    assert [one.deleted for one in room.ephemerals] == [True] * len(room.ephemerals)
    # As a turn does that knows its question no longer.
    shown, asked = await desk.ask_privately()
    await desk.tell(shown, ANSWER)
    await desk.tell_of(shown, Withdrawn())
    assert [seen.content for seen in asked.messages] == [ANSWER.text]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_private_reply_is_shown_once_when_discord_breaks(desk: Desk, after: bool) -> None:
    question, asked = await desk.ask_privately()
    desk.discord.faults.append(Fault(method="PATCH", status=500, after=after))
    desk.discord.faults.append(Fault(method="PATCH", cut=True, after=after))
    await desk.tell(question, ANSWER)
    assert [seen.content for seen in asked.messages] == [ANSWER.text]


async def test_refused_buttons_are_left_out(desk: Desk) -> None:
    question, asked = await desk.ask_privately()
    desk.discord.faults.append(Fault(method="PATCH", status=400, code=50035, times=2))
    await desk.tell(question, ANSWER)
    (seen,) = asked.messages
    assert seen.labels == []
    assert "-# [1] [Returns](<https://example.com/returns>)" in seen.content


async def test_a_long_one_with_a_refused_part_stays_where_it_was(desk: Desk) -> None:
    question, asked = await desk.ask_privately()
    desk.discord.faults.append(Fault(method="POST", path="/webhooks/.*", status=400, code=50035))
    await desk.tell(question, Answer("\n\n".join("word " * 300 for _ in range(2))))
    assert len(asked.messages) == 2
    assert desk.discord.ours(desk.discord.dm(desk.customer)) == []


async def test_a_private_reply_that_cannot_be_shown_now(desk: Desk) -> None:
    question, _ = await desk.ask_privately()
    desk.discord.faults.append(Fault(method="PATCH", status=503, times=99))
    async with desk.another_process(final_seconds=0.5) as hasty:
        with pytest.raises(DeliveryError, match="private reply") as raised:
            await hasty.tell(question, ANSWER)
    assert not raised.value.gone
