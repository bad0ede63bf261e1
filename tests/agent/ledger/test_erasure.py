"""Forgetting: nothing of a person is left, and nothing of others goes with it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.ledger import Erased, Ledger
from agent.messages import Address, Answer, Citation, Deleted, Feedback, Post, Summary
from agent.models.base import Payer
from knowledge.errors import StoreError
from tests.agent.ledger.made import NOON, ROOM, answer, at, begun, edited, handoff, replied, said
from tests.agent.test_ledger import CALL

WORDS = "xylophone-secret"


async def test_everything_of_a_person_goes(ledger: Ledger) -> None:
    own, others = said("1", WORDS), said("2", "A question of mine", author="U2")
    await ledger.accept(own)
    await ledger.accept(others)
    # In a conversation of another: answered together with the question there.
    theirs = said("3", WORDS, thread="2")
    await ledger.accept(theirs)
    foreign = said("4", "I have the same name elsewhere", thread="2", author_space="T2")
    await replied(ledger, own.id, handoff(WORDS), customer_question=WORDS)
    await replied(ledger, others.id, answer(f"You said {WORDS}"))
    await ledger.accept(foreign)
    await replied(ledger, foreign.id, handoff("kept"))
    for message in (own, others, foreign):
        await ledger.keep_post(Post(message.id, 0, "77"))
    await ledger.give_feedback(Feedback(own.address, own.id, "U2", True, at(1), WORDS))
    await ledger.give_feedback(Feedback(foreign.address, foreign.id, "U1", True, at(1), WORDS))
    await ledger.give_feedback(Feedback(foreign.address, foreign.id, "U2", True, at(1), "fine"))
    await ledger.summarised(others.address, Summary(WORDS, theirs.id))
    await ledger.set_channel(ROOM.channel, "answering", "off", "slack:T1/U1")
    payers = (Payer("x", "y", "slack:T1/U1"), Payer(str(own.address), "y", ""), Payer("x", "y", "slack:T1/U2"))
    for payer in payers:
        await ledger.record(replace(CALL, payer=payer))

    erased = await ledger.erase("slack:T1/U1")
    # The agent's words in both are among the messages.
    assert erased == Erased(1, 4, 3, 2, 1, 2, tuple(sorted((own.id, others.id, theirs.id))))
    assert await ledger.conversation(own.address) is None
    left = await ledger.conversation(others.address)
    assert left is not None
    assert [one.author for one in left.messages] == ["U2", "U1", "frontdesk"]
    assert left.summary is None
    assert [ticket.summary for ticket in await ledger.tickets(None)] == ["kept"]
    assert [word.author for word in await ledger.feedback()] == ["U2"]
    assert list(await ledger.posts(own.id)) == []
    assert list(await ledger.posts(foreign.id)) == [Post(foreign.id, 0, "77")]
    # What it cost is known still.
    assert (await ledger.spent("day", Payer(), None)).prompt_tokens == 3_000
    assert (await ledger.spent("person", payers[0], None)).prompt_tokens == 0
    assert (await ledger.spent("person", payers[2], None)).prompt_tokens == 1_000
    assert await ledger.erase("slack:T1/U1") == Erased()
    # What was delivered late finds nothing, and does no harm.
    await ledger.keep_post(Post(own.id, 1, "78"))
    await ledger.finish(own.id, "answered")
    assert await ledger.begin(own.id) is None


async def test_a_ticket_that_tells_of_a_person_too_is_blanked(ledger: Ledger) -> None:
    first = said("1", "Mine", author="U2")
    await ledger.accept(first)
    number = await replied(ledger, first.id, handoff("Of U2."))
    second = said("2", WORDS, thread="1")
    await ledger.accept(second)
    assert await replied(ledger, second.id, handoff(WORDS)) == number
    change = await ledger.edit(edited(second, WORDS * 2, 9))
    assert change is not None
    assert change.again is not None
    await replied(ledger, change.again, answer(WORDS))
    erased = await ledger.erase("slack:T1/U1")
    assert (erased.messages, erased.tickets) == (2, 0)
    assert erased.erasable_turns == (second.id, change.again)
    assert number is not None
    ticket = await ledger.ticket(number)
    assert ticket is not None
    assert (ticket.summary, ticket.question, ticket.turn) == ("", "", first.id)


async def test_old_conversations_go_unless_a_ticket_is_open(ledger: Ledger) -> None:
    old, opened, resolved = said("1"), said("2"), said("3")
    for message in (old, opened, resolved):
        await ledger.accept(message)
    await replied(ledger, old.id)
    await replied(ledger, opened.id, handoff())
    number = await replied(ledger, resolved.id, handoff())
    assert number is not None
    await ledger.resolve(number, "S1")
    await ledger.record(CALL)
    assert await ledger.prune(NOON) == Erased()
    now = datetime.now(UTC) + timedelta(minutes=1)
    erased = await ledger.prune(now)
    assert erased == Erased(2, 4, 2, 0, 1, 1, (old.id, resolved.id))
    assert await ledger.conversation(old.address) is None
    assert await ledger.conversation(opened.address) is not None
    assert (await ledger.spent("day", Payer(), None)).prompt_tokens == 1_000
    assert await ledger.prune(now) == Erased()
    # A number that staff know of is not given again.
    await ledger.accept(again := said("9"))
    assert await replied(ledger, again.id, handoff()) == number + 1


async def test_many_are_forgotten_at_once(ledger: Ledger) -> None:
    for number in range(3):
        message = said(str(number))
        await ledger.accept(message)
        await ledger.accept(said(f"{number}.5", thread="0", author="U2"))
    found = await begun(ledger, said("0").id)
    assert len(found.pending) == 4
    assert (await ledger.erase("slack:T1/U2")).messages == 3
    assert [one.id for one in (await begun(ledger, said("0").id)).pending] == [said("0").id]


def bytes_of(data: Path) -> bytes:
    return b"".join(file.read_bytes() for file in data.iterdir() if file.is_file())


async def test_the_file_does_not_hold_what_was_erased(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    secret = "quokka" * 20
    # Enough of it that pages are split, moved and freed.
    for number in range(150):
        mine = number % 2
        text = f"{secret} {number} " * (1 + number % 40) if mine else f"Something else {number} " * (1 + number % 17)
        message = said(str(number), text, author="U1" if mine else "U2")
        await ledger.accept(message)
        if number % 3 == 0:
            await replied(ledger, message.id, answer(text))
        if number % 5 == 0:
            await ledger.edit(edited(message, text + "!", 500))
        if number % 7 == 0:
            await ledger.delete(Deleted(message.id, message.address, at(600)))
    assert secret.encode() in bytes_of(tmp_path)
    erased = await ledger.erase("slack:T1/U1")
    assert erased.conversations == 75
    assert secret.encode() not in bytes_of(tmp_path)
    assert b"quokka" not in bytes_of(tmp_path)
    await ledger.close()


async def test_after_the_end_it_says_so(source: Path | str) -> None:
    ledger = Ledger(source)
    await ledger.close()
    await ledger.close()
    with pytest.raises(StoreError, match="closed"):
        await ledger.counts()


async def test_a_file_in_use_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ledger.database.BUSY_SECONDS", 0.1)
    ledger = Ledger(tmp_path)
    await ledger.accept(said("1"))
    with closing(sqlite3.connect(tmp_path / "frontdesk.sqlite3")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchall()
        assert (await ledger.erase("slack:T1/U1")).messages == 1
    assert "VACUUM" in caplog.text
    await ledger.close()


async def test_an_account_is_known_in_several_places(ledger: Ledger) -> None:
    for room in (Address("discord", "1", "2"), Address("discord", "dm", "3"), Address("slack", "1", "2")):
        await ledger.accept(said("1", room=room, author="5"))
        await ledger.accept(said("2", room=room, author="15"))
    await ledger.record(replace(CALL, payer=Payer("x", "y", "discord:9/5")))
    assert await ledger.known_as("discord", "5") == ["discord:1/5", "discord:9/5", "discord:dm/5"]
    assert await ledger.known_as("discord", "%") == []


async def test_answers_that_quote_an_erased_document_lose_their_words(ledger: Ledger, source: Path | str) -> None:
    quoting, other, kept = said("1"), said("2"), said("3")
    for message in (quoting, other, kept):
        await ledger.accept(message)
    cited = Citation(1, 'dé"1', "Doors", None, WORDS)
    await replied(ledger, quoting.id, Answer(f"It is {WORDS} [1].", (cited,)))
    await ledger.summarised(quoting.address, Summary(WORDS, quoting.id))
    await replied(ledger, other.id, Answer("Another.", (replace(cited, document='dé"12', passage="Dogs."),)))
    await replied(ledger, kept.id, Answer("The new text [1].", (replace(cited, passage="Ask at the desk."),)))
    edit = await ledger.edit(edited(quoting, "Where?", 9))
    assert edit is not None
    assert edit.again is not None
    await replied(ledger, edit.again, Answer(f"Again {WORDS} [1].", (cited,)))

    erased = await ledger.erase_answers({'dé"1': "Now it says: Ask at the desk."})
    assert erased.turns == tuple(sorted((quoting.id, edit.again)))
    assert erased.conversations == (str(quoting.address),)
    left = await ledger.conversation(quoting.address)
    assert left is not None
    assert (left.summary, [one.text for one in left.messages]) == (None, ["Where?"])
    assert await ledger.answer(quoting.id) is None
    assert await ledger.answer(other.id) is not None
    assert await ledger.answer(kept.id) is not None
    assert (await ledger.erase_answers({'dé"1': ""})).turns == (kept.id,)
    if isinstance(source, Path):
        assert not any(WORDS.encode() in file.read_bytes() for file in source.iterdir())


async def test_an_answer_that_is_not_shown_yet_is_made_anew_without_an_erased_document(ledger: Ledger) -> None:
    message = said("1")
    await ledger.accept(message)
    found = await begun(ledger, message.id)
    assert await ledger.decide(message.id, found.revision, answer()) is not None
    assert (await ledger.erase_answers({"d1": ""})).turns == (message.id,)
    again = await begun(ledger, message.id)
    assert again.result is None
    assert await ledger.decide(message.id, again.revision, handoff()) is not None
