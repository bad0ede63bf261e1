"""What the agent says: what a turn answers, that it is decided once, and where it was posted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.ledger import Counts, Ended, Ledger
from agent.messages import Answer, Handoff, Post, Provenance, Summary, Usage
from tests.agent.ledger.made import DIRECT, ROOM, answer, begun, deleted, edited, handoff, replied, said


async def test_a_turn_from_its_question_to_its_end(ledger: Ledger) -> None:
    first = said("1")
    await ledger.accept(first)
    assert await ledger.counts() == Counts(1, 0, 0, 0)
    found = await begun(ledger, first.id)
    assert (found.turn, found.attempts, found.revision, found.again_of) == (first.id, 1, 1, None)
    assert (found.pending, found.question, found.result, found.ticket) == ((first,), first, None, None)
    assert found.conversation.messages == (first,)
    assert (await ledger.begin(first.id, again=True)) == found
    assert (await begun(ledger, first.id)).attempts == 2
    assert await ledger.counts() == Counts(0, 1, 0, 0)

    usage = Usage(10, 5, float("nan"))
    result = replace(answer(), provenance=Provenance("qwen", "p1", usage, ("a note",), True))
    decided = await ledger.decide(first.id, 1, result, filtered=True)
    assert decided is not None
    assert (decided.ticket, decided.new_ticket) == (None, False)
    # Decided once, whatever is decided then.
    assert await ledger.decide(first.id, 1, handoff()) == decided
    again = await begun(ledger, first.id)
    assert again.result == replace(result, provenance=replace(result.provenance, usage=replace(usage, cost_usd=None)))
    assert again.pending == (replace(first, withheld=True),)
    assert [one.state for one in await ledger.unfinished()] == ["decided"]
    await ledger.finish(first.id, "answered")
    await ledger.finish(first.id, "failed", "too late")
    assert await ledger.begin(first.id) is None
    assert await ledger.unfinished() == []
    conversation = await ledger.conversation(first.address)
    assert conversation is not None
    question, reply = conversation.messages
    assert question.withheld
    assert (reply.id, reply.role, reply.author, reply.outcome) == (
        f"{first.id}/reply",
        "agent",
        "frontdesk",
        "answered",
    )
    assert reply.text == answer().text
    assert reply.sent_at > question.sent_at
    assert await ledger.begin("unknown") is None
    assert await ledger.decide("unknown", 1, answer()) is None
    with pytest.raises(ValueError, match="running"):
        await ledger.finish(first.id, "running")


async def test_what_comes_in_meanwhile_is_answered_with_it(ledger: Ledger) -> None:
    first, second = said("1", "first"), said("2", "second", thread="1")
    await ledger.accept(first)
    found = await begun(ledger, first.id)
    await ledger.accept(second)
    assert await ledger.decide(first.id, found.revision, answer()) is None
    found = await begun(ledger, first.id)
    assert [one.text for one in found.pending] == ["first", "second"]
    assert found.question.text == "second"
    assert await ledger.decide(first.id, found.revision, answer()) is not None
    ended = await ledger.begin(second.id)
    assert isinstance(ended, Ended)
    assert (ended.turn, ended.state, ended.ran) == (second.id, "merged", False)
    assert await ledger.decide(second.id, found.revision, answer()) is None
    assert [one.state for one in await ledger.turns("merged")] == ["merged"]


async def test_a_private_question_is_answered_by_itself(ledger: Ledger) -> None:
    one, private, two = said("1"), said("2", thread="1", private_reply="https://respond"), said("3", thread="1")
    for message in (one, private, two):
        await ledger.accept(message)
    assert [message.id for message in (await begun(ledger, private.id)).pending] == [private.id]
    assert [message.id for message in (await begun(ledger, one.id)).pending] == [one.id, two.id]


async def test_what_was_left_unanswered_is_not_answered_later(ledger: Ledger) -> None:
    quiet, failed, later = said("1"), said("2", thread="1"), said("3", thread="1")
    await ledger.accept(quiet)
    await begun(ledger, quiet.id)
    await ledger.finish(quiet.id, "quiet")
    await ledger.accept(failed)
    await ledger.finish(failed.id, "failed", "no model")
    await ledger.accept(later)
    found = await begun(ledger, later.id)
    assert [one.id for one in found.pending] == [later.id]
    assert len(found.conversation.messages) == 3


async def test_a_handoff_opens_one_ticket_for_a_conversation(ledger: Ledger) -> None:
    first = said("1")
    await ledger.accept(first)
    found = await begun(ledger, first.id)
    decided = await ledger.decide(first.id, found.revision, handoff(), customer_question="Where?\0")
    assert decided is not None
    assert decided.new_ticket
    number = decided.ticket
    assert number is not None
    assert (await begun(ledger, first.id)).ticket == number
    assert isinstance((await begun(ledger, first.id)).result, Handoff)
    await ledger.finish(first.id, "handed_off")
    ticket = await ledger.ticket(number)
    assert ticket is not None
    assert (ticket.conversation, ticket.turn, ticket.customer) == (first.address, first.id, "slack:T1/U1")
    assert (ticket.reason, ticket.question, ticket.summary) == ("unsure", "Where?", "A parcel is lost.")

    # What is handed off while it is open is told there.
    second = said("2", thread="1")
    await ledger.accept(second)
    found = await begun(ledger, second.id)
    decided = await ledger.decide(second.id, found.revision, handoff("A second one is lost."))
    assert decided is not None
    assert (decided.ticket, decided.new_ticket) == (number, False)
    ticket = await ledger.ticket(number)
    assert ticket is not None
    assert ticket.summary == "A parcel is lost.\n\nA second one is lost."
    await ledger.finish(second.id, "handed_off")

    assert await ledger.resolve(number, "slack:T1/S1")
    # An answer that becomes another hand-off has its ticket already.
    change = await ledger.edit(edited(first, "Where is it now?", 10))
    assert change is not None
    assert change.again is not None
    assert await replied(ledger, change.again, handoff("again")) == number
    third = said("3", thread="1")
    await ledger.accept(third)
    assert await replied(ledger, third.id, handoff("third")) == number + 1
    assert await ledger.ticket_of(third.id) == number + 1
    assert await ledger.ticket_of("unknown") is None


async def test_a_failed_turn_is_run_again(ledger: Ledger) -> None:
    first, second = said("1"), said("2", thread="1")
    await ledger.accept(first)
    await ledger.accept(second)
    found = await begun(ledger, first.id)
    assert await ledger.decide(first.id, found.revision, Handoff("failed", "Sorry.", "TimeoutError")) is not None
    await ledger.finish(first.id, "failed", "x" * 3_000)
    assert isinstance(await ledger.begin(second.id), Ended)
    (row,) = await ledger.turns("failed")
    assert (row.id, row.conversation, row.attempts, len(row.error)) == (first.id, str(first.address), 1, 2_000)
    assert row.question == first.text
    assert row.finished_at is not None
    assert (await ledger.counts()).failed == 1

    assert await ledger.retry(first.id)
    assert not await ledger.retry(first.id)
    assert not await ledger.retry(second.id)
    assert not await ledger.retry("unknown")
    assert [(one.id, one.state) for one in await ledger.unfinished()] == [(first.id, "queued")]
    found = await begun(ledger, first.id)
    # All that it had taken on, and without its apology.
    assert [one.id for one in found.pending] == [first.id, second.id]
    assert found.conversation.messages == (first, second)
    assert (found.attempts, found.result) == (2, None)
    assert await ledger.decide(first.id, found.revision, answer()) is not None


async def test_a_reply_that_could_not_be_shown_becomes_a_ticket(ledger: Ledger) -> None:
    first, second = said("1"), said("2", thread="1")
    await ledger.accept(first)
    found = await begun(ledger, first.id)
    assert await ledger.decide(first.id, found.revision, answer()) is not None
    decided = await ledger.undelivered(first.id, "the channel is gone", customer_question="Where?")
    assert decided is not None
    assert decided.new_ticket
    assert await ledger.undelivered("unknown", "") is None
    (ticket,) = await ledger.tickets()
    assert (ticket.number, ticket.reason, ticket.question) == (decided.ticket, "failed", "Where?")
    assert "the channel is gone" in ticket.summary
    assert [one.error for one in await ledger.turns("failed")] == ["the channel is gone"]
    # A hand-off has its ticket.
    await ledger.accept(second)
    found = await begun(ledger, second.id)
    await ledger.decide(second.id, found.revision, handoff())
    decided = await ledger.undelivered(second.id, "gone")
    assert decided is not None
    assert (decided.ticket, decided.new_ticket) == (ticket.number, False)


async def test_the_answer_of_a_turn(ledger: Ledger) -> None:
    first, second = said("1"), said("2", thread="1")
    await ledger.accept(first)
    assert await ledger.answer(first.id) is None
    await replied(ledger, first.id)
    assert await ledger.answer(first.id) == (answer(), first)
    await ledger.accept(second)
    await replied(ledger, second.id, handoff())
    assert await ledger.answer(second.id) is None
    await ledger.delete(deleted(first))
    assert await ledger.answer(first.id) is None
    await ledger.withdraw(first.id)
    assert await ledger.answer(first.id) is None
    assert await ledger.answer("unknown") is None


async def test_posts_are_found_by_turn_and_by_id(ledger: Ledger) -> None:
    first, other = said("1"), said("1", room=DIRECT)
    await ledger.accept(first)
    await ledger.accept(other)
    for post in (Post(first.id, 1, "78"), Post(first.id, 0, "76"), Post(first.id, 0, "77"), Post(other.id, 0, "77")):
        await ledger.keep_post(post)
    await ledger.keep_post(Post("unknown", 0, "1"))
    assert list(await ledger.posts(first.id)) == [Post(first.id, 0, "77"), Post(first.id, 1, "78")]
    assert list(await ledger.posts("unknown")) == []
    assert await ledger.turn_of_post(ROOM.channel, "77") == first.id
    assert await ledger.turn_of_post(DIRECT.channel, "77") == other.id
    assert await ledger.turn_of_post("slack:T1", "78") == first.id
    assert await ledger.turn_of_post("slack:T", "78") is None
    assert await ledger.turn_of_post("slack:T_", "78") is None
    assert await ledger.turn_of_post(ROOM.channel, "76") is None
    await ledger.forget_posts(first.id)
    assert list(await ledger.posts(first.id)) == []
    assert await ledger.turn_of_post(DIRECT.channel, "77") == other.id


async def test_the_turns_as_staff_see_them(ledger: Ledger) -> None:
    for number in range(3):
        await ledger.accept(said(str(number), f"{number}" * 300))
    found = await ledger.turns(limit=2)
    assert [one.question for one in found] == ["2" * 200, "1" * 200]
    assert [one.id for one in await ledger.unfinished(2)] == [said("0").id, said("1").id]
    assert await ledger.turns("failed") == []


async def test_a_summary_of_what_came_later_is_not_told_to_an_older_question(ledger: Ledger) -> None:
    first, second = said("1"), said("2", thread="1")
    await ledger.accept(first)
    await replied(ledger, first.id)
    await ledger.accept(second)
    await ledger.summarised(str(first.address), Summary("all", second.id))
    assert (await begun(ledger, second.id)).conversation.summary == Summary("all", second.id)
    change = await ledger.edit(edited(first, "new", 9))
    assert change is not None
    assert change.again is not None
    assert (await begun(ledger, change.again)).conversation.summary is None


async def test_an_answer_is_an_answer_still(ledger: Ledger) -> None:
    """What asks back is stored as such."""
    first = said("1")
    await ledger.accept(first)
    result = Answer("Which parcel?", asks_back=True)
    await replied(ledger, first.id, result)
    found = await ledger.conversation(first.address)
    assert found is not None
    assert found.messages[-1].outcome == "asked_back"
    assert await ledger.answer(first.id) == (result, first)
