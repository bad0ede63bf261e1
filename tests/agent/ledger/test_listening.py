"""Where messages belong, which conversations go on, until when all was heard; and that one is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from agent.ledger import Ledger
from agent.messages import Address, Message, Post, Solved
from tests.agent.ledger.made import NOON, at, begun, handoff, replied, said

CHANNEL = Address("discord", "7", "8")


def written(number: int, *, thread: int = 0, room: Address = CHANNEL) -> Message:
    """A message as a connector names it whose platform counts messages."""
    return said(str(number).zfill(20), thread=str(thread or number), room=room)


async def test_a_message_and_a_post_tell_their_thread(ledger: Ledger) -> None:
    first, second = written(101), written(102, thread=101)
    for one in (first, second):
        await ledger.accept(one)
    await replied(ledger, first.id)
    await ledger.keep_post(Post(first.id, 0, "103"))
    for own in ("101", "102", "103"):
        assert await ledger.thread_of("discord:7/8", own) == "101"
    assert await ledger.thread_of("discord:7/8", "104") == ""
    assert await ledger.thread_of("discord:7/9", "101") == ""
    assert await ledger.thread_of("discord:7/8", "") == ""


async def test_a_thread_under_a_numbered_message_belongs_to_its_conversation(ledger: Ledger) -> None:
    await ledger.accept(written(101))
    await ledger.accept(written(102, thread=101))
    # Somebody made a thread from the second message.
    accepted = await ledger.accept(written(103, thread=102))
    assert str(accepted.conversation) == "discord:7/8/101"


async def test_the_conversations_that_go_on(ledger: Ledger) -> None:
    first, other = written(1), written(2, room=Address("discord", "dm", "9"))
    for one in (first, written(3, thread=1), other, written(4), said("5")):
        await ledger.accept(one)
    await replied(ledger, first.id)
    await ledger.solve(Solved(written(4).address, written(4).id, "U1", at(10)))
    found = await ledger.open_conversations("discord", NOON - timedelta(days=1))
    assert sorted((str(address), last) for address, last in found) == [
        ("discord:7/8/1", "discord:7/8#00000000000000000003"),
        ("discord:dm/9/2", "discord:dm/9#00000000000000000002"),
    ]
    assert len(await ledger.open_conversations("discord", NOON, limit=1)) == 1
    assert await ledger.open_conversations("discord", NOON + timedelta(days=10_000)) == []


async def test_a_mark_never_moves_back(ledger: Ledger) -> None:
    assert await ledger.mark("discord") is None
    await ledger.set_mark("discord", at(5))
    await asyncio.gather(*(ledger.set_mark("discord", at(number)) for number in (3, 9, 7)))
    assert await ledger.mark("discord") == at(9)
    assert await ledger.mark("slack") is None


async def test_what_is_solved_is_closed_with_its_ticket_and_ends_what_is_written(ledger: Ledger) -> None:
    first, second = said("1"), said("2", thread="1")
    await ledger.accept(first)
    number = await replied(ledger, first.id, handoff())
    assert number is not None
    await ledger.accept(second)
    running = await begun(ledger, second.id)
    solved = Solved(first.address, first.id, "U1", at(3))
    assert await ledger.solve(solved) == first.address
    states = {row.id: row.state for row in await ledger.turns()}
    assert states == {first.id: "handed_off", second.id: "stopped"}
    assert await ledger.decide(second.id, running.revision, handoff()) is None
    conversation = await ledger.conversation(first.address)
    assert conversation is not None
    assert conversation.mode == "closed"
    ticket = await ledger.ticket(number)
    assert ticket is not None
    assert (ticket.status, ticket.resolved_by, ticket.resolved_at) == ("resolved", "slack:T1/U1", at(3))

    # Once more changes nothing, not even the moment in which it was.
    revision = await ledger.revision(first.address)
    await ledger.solve(Solved(first.address, first.id, "U2", at(4)))
    assert await ledger.revision(first.address) == revision
    assert await ledger.ticket(number) == ticket

    # In a thread the conversation goes on, and a press that comes again late does not end what was asked since.
    later = await ledger.accept(said("5", thread="1", addressed=False))
    assert (later.turn, later.conversation) == ("slack:T1/C1#5", first.address)
    await ledger.solve(solved)
    assert {row.id: row.state for row in await ledger.turns()}["slack:T1/C1#5"] == "queued"
    conversation = await ledger.conversation(first.address)
    assert conversation is not None
    assert conversation.mode == "agent"


async def test_in_a_chat_of_two_a_new_conversation_begins(ledger: Ledger) -> None:
    room = Address("slack", "T1", "D1")
    first = said("1", room=room, joins=True)
    await ledger.accept(first)
    await replied(ledger, first.id)
    assert await ledger.solve(Solved(first.address, first.id, "U1", at(2))) == first.address
    accepted = await ledger.accept(said("3", room=room, joins=True))
    assert str(accepted.conversation) == "slack:T1/D1/3"


async def test_nothing_is_solved_that_is_not_known(ledger: Ledger) -> None:
    assert await ledger.solve(Solved(said("1").address, "unknown", "U1", at(2))) is None
    await ledger.accept(said("1"))
    # By its address, where the turn was erased.
    assert await ledger.solve(Solved(said("1").address, "unknown", "U1", at(2))) == said("1").address
