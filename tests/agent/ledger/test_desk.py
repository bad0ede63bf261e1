"""Tickets, feedback, and what is set for channels."""

from __future__ import annotations

from agent.ledger import Ledger
from agent.messages import Feedback
from tests.agent.ledger.made import at, handoff, replied, said


async def test_a_ticket_is_told_of_and_resolved(ledger: Ledger) -> None:
    numbers = []
    for ts in ("1", "2"):
        message = said(ts)
        await ledger.accept(message)
        numbers.append(await replied(ledger, message.id, handoff()))
    one, two = numbers
    assert one is not None
    assert two is not None
    assert [ticket.number for ticket in await ledger.tickets()] == [two, one]
    assert [ticket.number for ticket in await ledger.tickets(limit=1)] == [two]
    await ledger.ticket_posted(one, "1234.5")
    await ledger.accept(said("3", thread="1", role="staff", author="S1"))

    assert await ledger.resolve(one, "slack:T1/S1")
    assert not await ledger.resolve(one, "slack:T1/S2")
    assert not await ledger.resolve(999, "slack:T1/S1")
    ticket = await ledger.ticket(one)
    assert ticket is not None
    assert (ticket.status, ticket.resolved_by, ticket.staff_post) == ("resolved", "slack:T1/S1", "1234.5")
    assert ticket.resolved_at is not None
    conversation = await ledger.conversation(said("1").address)
    assert conversation is not None
    assert conversation.mode == "agent"
    assert [ticket.number for ticket in await ledger.tickets("resolved")] == [one]
    assert [ticket.number for ticket in await ledger.tickets(None)] == [two, one]
    assert (await ledger.counts()).open_tickets == 1
    assert await ledger.ticket(999) is None


async def test_the_last_word_on_a_reply_counts(ledger: Ledger) -> None:
    message = said("1")
    await ledger.accept(message)
    await replied(ledger, message.id)

    def word(seconds: int, helpful: bool, reason: str | None = None, author: str = "U1") -> Feedback:
        return Feedback(message.address, message.id, author, helpful, at(seconds), reason)

    assert await ledger.give_feedback(word(1, True))
    assert await ledger.give_feedback(word(2, False))
    assert not await ledger.give_feedback(word(1, True))
    # The reason comes later, and stays when the button is pressed once more.
    assert await ledger.give_feedback(word(3, False, "Not what I asked.\0"))
    assert await ledger.give_feedback(word(4, False))
    assert await ledger.feedback() == [word(4, False, "Not what I asked.")]
    assert await ledger.give_feedback(word(5, True))
    assert await ledger.give_feedback(word(9, False, author="U2"))
    assert await ledger.feedback() == [word(9, False, author="U2"), word(5, True)]
    assert len(await ledger.feedback(limit=1)) == 1
    unknown = Feedback(message.address, "unknown", "U1", True, at(1))
    assert not await ledger.give_feedback(unknown)


async def test_what_is_set_for_a_channel(ledger: Ledger) -> None:
    assert await ledger.channel_settings() == {}
    await ledger.set_channel("slack:T1/C1", "answering", "off", "S1")
    await ledger.set_channel("slack:T1/C1", "answering", "mention", "S1")
    await ledger.set_channel("slack:T1/C1", "audiences", "", "S1")
    await ledger.set_channel("slack:T1/C2", "answering", "off", "S1")
    await ledger.set_channel("slack:T1/C2", "answering", None, "S1")
    await ledger.set_channel("slack:T1/C3", "answering", None, "S1")
    assert await ledger.channel_settings() == {"slack:T1/C1": {"answering": "mention", "audiences": ""}}
