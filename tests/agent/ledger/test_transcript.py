"""What people say: stored once, in the right conversation, and changed as they change it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.ledger import JOIN_SECONDS, Begun, Ended, Ledger
from agent.messages import Address, Attachment, Message, Post, Stopped, Summary
from tests.agent.ledger.made import DIRECT, ROOM, answer, at, begun, deleted, edited, replied, said


async def texts(ledger: Ledger, conversation: Address) -> list[str]:
    found = await ledger.conversation(conversation)
    assert found is not None
    return [message.text for message in found.messages]


async def test_a_message_is_stored_once_and_all_of_it(ledger: Ledger) -> None:
    files = (
        Attachment("bill.pdf", "application/pdf", 9, source="https://files/1"),
        Attachment("a.txt", "text/plain", 1, "a"),
    )
    message = said(
        "1", "Grüße 🚚 \U0001f9d1‍🔧", attachments=files, wants_person=True, outsiders=True, author_space="T2"
    )
    accepted = await ledger.accept(message)
    assert (accepted.turn, accepted.conversation, accepted.new, accepted.waiting) == (
        message.id,
        message.address,
        True,
        1,
    )
    again = await ledger.accept(message)
    assert (again.turn, again.new, again.waiting) == (message.id, False, 1)
    found = await ledger.conversation(str(message.address))
    assert found is not None
    assert found.messages == (message,)
    assert found.mode == "agent"
    assert await ledger.revision(message.address) == 1
    assert await ledger.revision("nowhere") == 0
    assert await ledger.conversation("nowhere") is None
    glance = await ledger.glance(message)
    assert glance is not None
    assert glance.customer == "slack:T2/U1"


async def test_what_no_database_takes_is_made_to_fit(ledger: Ledger) -> None:
    odd = said("1", "a\0b\ud800c", attachments=(Attachment("n\0", "x", 1, "\udfff"),), author="U\0", reply_in="\0")
    odd = replace(odd, id=odd.id + "\0", address=replace(odd.address, thread="\ud83d1"))
    accepted = await ledger.accept(odd)
    assert not (await ledger.accept(odd)).new
    assert await texts(ledger, accepted.conversation) == ["ab?c"]
    assert accepted.turn is not None
    bad = replace(answer("x\0y\ud800"), asks_back=True)
    found = await begun(ledger, accepted.turn)
    assert await ledger.decide(accepted.turn, found.revision, bad) is not None
    assert (await begun(ledger, accepted.turn)).result == replace(bad, text="xy?")
    assert await texts(ledger, accepted.conversation) == ["ab?c", "xy?"]
    change = await ledger.edit(edited(odd, "\0new", 9))
    assert change is not None
    await ledger.summarised(accepted.conversation, Summary("\0s", "u\0"))
    assert (await ledger.conversation(accepted.conversation)).summary == Summary("s", "u")  # type: ignore[union-attr]


async def test_a_thread_belongs_to_the_message_it_began_with(ledger: Ledger) -> None:
    first = said("1", joins=True, room=DIRECT)
    second = said("2", joins=True, room=DIRECT)
    conversation = (await ledger.accept(first)).conversation
    assert (await ledger.accept(second)).conversation == conversation
    # A thread under the second message, which itself went on with the conversation of the first.
    third = said("3", thread="2", room=DIRECT)
    accepted = await ledger.accept(third)
    assert (accepted.conversation, accepted.waiting) == (conversation, 3)
    fourth = said("4", thread="2", room=DIRECT, reply_in="own")
    await ledger.accept(fourth)
    found = await ledger.conversation(conversation)
    assert found is not None
    assert [message.reply_in for message in found.messages] == ["", "2", "2", "own"]
    assert {message.address for message in found.messages} == {conversation}


async def test_a_thread_under_a_post_belongs_to_its_conversation(ledger: Ledger) -> None:
    first = said("1")
    conversation = (await ledger.accept(first)).conversation
    await ledger.keep_post(Post(first.id, 0, "77"))
    assert (await ledger.accept(said("2", thread="77"))).conversation == conversation
    assert (await ledger.glance(said("3", thread="77"))) is not None
    # The same id in another channel is another post.
    other = said("3", thread="77", room=replace(ROOM, room="C2"))
    assert await ledger.glance(other) is None
    assert (await ledger.accept(other)).conversation == other.address


@pytest.mark.parametrize(
    ("second", "joined"),
    [
        (said("2", joins=True, room=DIRECT), True),
        (said(str(JOIN_SECONDS + 1), joins=True, room=DIRECT), True),
        (said(str(JOIN_SECONDS + 2), joins=True, room=DIRECT), False),
        (said("0.5", joins=True, room=DIRECT), True),
        (said("2", room=DIRECT), False),
        (said("2", joins=True, room=DIRECT, author="U2"), False),
        (said("2", joins=True, room=DIRECT, author_space="T2"), False),
        (said("2", joins=True, room=replace(DIRECT, room="D2")), False),
    ],
)
async def test_messages_in_a_chat_of_two_go_on(ledger: Ledger, second: Message, joined: bool) -> None:
    first = said("1", joins=True, room=DIRECT)
    conversation = (await ledger.accept(first)).conversation
    accepted = await ledger.accept(second)
    assert accepted.conversation == (conversation if joined else second.address)


async def test_nothing_goes_on_with_a_message_that_did_not_join(ledger: Ledger) -> None:
    await ledger.accept(said("1", room=DIRECT))
    second = said("2", joins=True, room=DIRECT)
    assert (await ledger.accept(second)).conversation == second.address


async def test_staff_take_over_until_the_agent_is_asked(ledger: Ledger) -> None:
    first = said("1")
    conversation = (await ledger.accept(first)).conversation
    revision = await ledger.revision(conversation)
    staff = said("2", "I'll look.", thread="1", author="S1", role="staff", addressed=False)
    accepted = await ledger.accept(staff)
    assert (accepted.turn, accepted.new, accepted.conversation) == (None, True, conversation)
    assert await ledger.revision(conversation) == revision + 1
    glance = await ledger.glance(said("3", thread="1"))
    assert glance is not None
    assert (glance.mode, glance.last_role, glance.last_author) == ("staff", "staff", "S1")
    thanks = said("3", "thanks", thread="1", addressed=False)
    assert (await ledger.accept(thanks)).turn is None
    assert (await ledger.accept(thanks)).turn is None
    asked = said("4", "and this?", thread="1")
    assert (await ledger.accept(asked)).turn == asked.id
    glance = await ledger.glance(asked)
    assert glance is not None
    assert glance.mode == "agent"
    # What was only heard is in the conversation and is not answered.
    found = await begun(ledger, asked.id)
    assert [one.text for one in found.pending] == ["and this?"]
    assert [one.text for one in found.conversation.messages] == [first.text, "I'll look.", "thanks", "and this?"]


async def test_staff_take_over_what_is_not_answered_yet(ledger: Ledger) -> None:
    earlier, later = said("1"), said("3", "and when?", thread="1")
    await ledger.accept(earlier)
    assert isinstance(await ledger.begin(earlier.id), Begun)
    await ledger.accept(later)
    await ledger.accept(said("2", "I'll look.", thread="1", author="S1", role="staff", addressed=False))
    ended = await ledger.begin(earlier.id, again=True)
    assert isinstance(ended, Ended)
    assert (ended.state, ended.ran) == ("withdrawn", True)
    found = await begun(ledger, later.id)
    assert [one.text for one in found.pending] == ["and when?"], "it was asked after they had spoken"


async def test_who_takes_part(ledger: Ledger) -> None:
    assert await ledger.glance(said("1")) is None
    first = said("1")
    await ledger.accept(first)
    await ledger.accept(said("2", "me too", thread="1", author="U2", addressed=False))
    glance = await ledger.glance(said("3", thread="1"))
    assert glance is not None
    assert (glance.address, glance.customer, glance.participants) == (first.address, "slack:T1/U1", frozenset({"U1"}))
    assert (glance.last_author, glance.last_role) == ("U2", "customer")
    await replied(ledger, first.id)
    glance = await ledger.glance(said("3", thread="1"))
    assert glance is not None
    # The agent has answered the second as well.
    assert glance.participants == {"U1", "U2"}
    assert (glance.last_author, glance.last_role) == ("frontdesk", "agent")


async def test_an_edit_before_the_answer_is_what_is_answered(ledger: Ledger) -> None:
    first = said("1")
    await ledger.accept(first)
    started = await begun(ledger, first.id)
    change = await ledger.edit(edited(first, "Where is my letter?", 5))
    assert change is not None
    assert (change.conversation, change.turn) == (first.address, first.id)
    assert (change.answered, change.again, change.private) == (False, None, False)
    assert await ledger.decide(first.id, started.revision, answer()) is None
    assert (await begun(ledger, first.id)).question.text == "Where is my letter?"
    # Late, told again, of nothing, of something unknown.
    assert await ledger.edit(edited(first, "older", 4)) is None
    assert await ledger.edit(edited(first, "Where is my letter?", 5)) is None
    assert await ledger.edit(edited(first, "Where is my letter?", 6)) is None
    assert await ledger.edit(edited(said("9"), "?", 6)) is None
    assert await ledger.delete(deleted(first)) is not None
    assert await ledger.edit(edited(first, "new", 200)) is None


async def test_an_edit_after_the_answer_is_answered_again(ledger: Ledger) -> None:
    first, second = said("1", "first"), said("2", "second", thread="1")
    await ledger.accept(first)
    await ledger.accept(second)
    await replied(ledger, first.id, answer("old"))
    assert isinstance(await ledger.begin(second.id), Ended)
    later = said("3", "later", thread="1")
    await ledger.accept(later)
    await replied(ledger, later.id, answer("reply to later"))

    change = await ledger.edit(edited(second, "second, better", 10))
    assert change is not None
    assert change.answered
    assert (change.turn, change.again) == (first.id, f"{second.id}!20260304T120010000000Z")
    assert change.again is not None
    # Told again before its turn was run: it has to be submitted again.
    assert await ledger.edit(edited(second, "second, better", 10)) == change
    found = await begun(ledger, change.again)
    assert found.again_of == first.id
    assert [one.text for one in found.pending] == ["first", "second, better"]
    assert [one.text for one in found.conversation.messages] == ["first", "second, better"]
    assert await ledger.decide(change.again, found.revision, answer("new")) is not None
    await ledger.finish(change.again, "answered")
    assert await texts(ledger, first.address) == ["first", "second, better", "later", "new", "reply to later"]
    assert await ledger.begin(change.again) is None


async def test_of_several_edits_the_last_is_answered(ledger: Ledger) -> None:
    first = said("1")
    await ledger.accept(first)
    await replied(ledger, first.id)
    one = await ledger.edit(edited(first, "one", 10))
    two = await ledger.edit(edited(first, "two", 11))
    assert one is not None
    assert one.again is not None
    assert two is not None
    assert two.again is not None
    ended = await ledger.begin(one.again)
    assert isinstance(ended, Ended)
    assert (ended.state, ended.ran) == ("merged", False)
    assert (await begun(ledger, two.again)).question.text == "two"
    # The last edit is deleted with its message.
    assert await ledger.delete(deleted(first)) is not None
    ended = await ledger.begin(two.again, again=True)
    assert isinstance(ended, Ended)
    assert (ended.state, ended.ran) == ("withdrawn", True)


async def test_what_is_deleted_is_gone(ledger: Ledger) -> None:
    first, second = said("1", "first"), said("2", "second", thread="1", attachments=(Attachment("a", "b", 1),))
    await ledger.accept(first)
    await ledger.accept(second)
    await ledger.summarised(first.address, Summary("They said second.", second.id))
    revision = await ledger.revision(first.address)
    change = await ledger.delete(deleted(second))
    assert change is not None
    assert (change.turn, change.answered, change.alone, change.again) == (second.id, False, True, None)
    assert await ledger.delete(deleted(second)) is None
    assert await ledger.delete(deleted(said("9"))) is None
    assert await ledger.revision(first.address) == revision + 1
    conversation = await ledger.conversation(first.address)
    assert conversation is not None
    assert [one.text for one in conversation.messages] == ["first"]
    assert conversation.summary is None
    ended = await ledger.begin(second.id)
    # Its turn goes on with what else waits.
    assert isinstance(ended, Begun)
    assert ended.question.text == "first"
    await ledger.delete(deleted(first))
    gone = await ledger.begin(first.id)
    assert isinstance(gone, Ended)
    assert gone.state == "withdrawn"
    await ledger.read_attachments(second.id, [Attachment("a", "b", 1, "read")])
    assert (await ledger.accept(second)).new is False


async def test_a_question_that_was_answered_with_others_is_not_alone(ledger: Ledger) -> None:
    first, second = said("1", "first"), said("2", "second", thread="1")
    await ledger.accept(first)
    await ledger.accept(second)
    await replied(ledger, first.id)
    change = await ledger.delete(deleted(first))
    assert change is not None
    assert (change.turn, change.answered, change.alone) == (first.id, True, False)
    change = await ledger.delete(deleted(second))
    assert change is not None
    assert (change.turn, change.answered, change.alone) == (first.id, True, True)
    assert await ledger.withdraw(first.id) == first.address
    assert await ledger.withdraw(first.id) == first.address
    assert await ledger.withdraw("unknown") is None
    assert await texts(ledger, first.address) == []


async def test_stop_ends_what_is_not_decided(ledger: Ledger) -> None:
    first, second, third = said("1"), said("2", thread="1"), said("3", thread="1")
    await ledger.accept(first)
    found = await begun(ledger, first.id)
    assert await ledger.decide(first.id, found.revision, answer()) is not None
    await ledger.accept(second)
    await ledger.accept(third)
    found = await begun(ledger, second.id)
    stop = Stopped(first.address, "U1", at(9))
    assert await ledger.stop(stop) == (second.id, third.id)
    assert await ledger.stop(stop) == ()
    assert await ledger.stop(replace(stop, address=replace(ROOM, thread="none"))) == ()
    assert await ledger.decide(second.id, found.revision, answer()) is None
    ended = await ledger.begin(second.id, again=True)
    assert isinstance(ended, Ended)
    assert (ended.state, ended.ran, ended.conversation) == ("stopped", True, first.address)
    # What was decided is delivered, and what comes later does not answer what was stopped.
    assert (await begun(ledger, first.id)).result == answer()
    fourth = said("4", thread="1")
    await ledger.accept(fourth)
    assert [one.id for one in (await begun(ledger, fourth.id)).pending] == [fourth.id]


async def test_what_was_read_of_files_is_kept(ledger: Ledger) -> None:
    first = said("1", attachments=(Attachment("a", "b", 1),))
    await ledger.accept(first)
    read = (Attachment("a", "b", 1, "contents\0"),)
    await ledger.read_attachments(first.id, read)
    assert (await begun(ledger, first.id)).question.attachments == (Attachment("a", "b", 1, "contents"),)


async def test_a_long_conversation_is_read_from_its_end(ledger: Ledger) -> None:
    for number in range(205):
        await ledger.accept(said(f"{number}", f"{number}", thread="0"))
    found = await ledger.conversation(said("0").address)
    assert found is not None
    assert [one.text for one in found.messages] == [str(number) for number in range(5, 205)]
    assert found.messages[0].sent_at == at(5)
