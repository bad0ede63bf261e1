"""Drafts in Discord: "is typing", edits that keep their distance, and how they end in the reply."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from agent.errors import DeliveryError
from agent.messages import Answer, Delivery, Draft, Handoff, Post, Status, Withdrawn
from connectors.discord.drafts import Pace, nonce_of
from tests.connectors.discord.delivering import ANSWER, BUTTONS, CITED, Desk, KeptPosts, delivery_for
from tests.servers.discord import DiscordServer, Fault


async def test_a_draft_grows_by_edits_until_the_reply_takes_its_place(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can return "))
    await desk.words(question, "You can return")
    assert desk.only(question).labels == ["Stop"]
    await desk.tell(question, Draft("You can return it within 30 days "))
    await desk.words(question, "30 days")
    await desk.tell(question, ANSWER)
    seen = desk.only(question)
    assert seen.content == ANSWER.text
    assert seen.labels == BUTTONS
    assert len(seen.embeds) == 1
    assert seen.nonce == nonce_of(question.id, 0, int(seen.channel))
    assert desk.posts.kept == {(question.id, 0): seen.id}


async def test_typing_is_shown_until_there_are_words(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Status("Searching"))
    # There is no thread before the first word.
    await desk.until(lambda: desk.discord.typed(desk.room))
    assert desk.discord.thread_from(question.address.thread) == ""
    await desk.tell(question, Status("Reading"), Withdrawn())
    assert desk.discord.typed(desk.room) == 1
    later = desk.ask_directly()
    await desk.tell(later, Status("Searching"))
    await desk.until(lambda: desk.discord.typed(later.reply_in))
    await desk.tell(later, ANSWER)
    assert desk.discord.typed(later.reply_in) == 1


async def test_typing_that_is_refused_hurts_nobody(desk: Desk) -> None:
    for fault in (Fault(path=".*/typing", status=403, code=50013), Fault(path=".*/typing", cut=True)):
        desk.discord.faults.append(fault)
        question = desk.ask()
        await desk.tell(question, Status("Searching"))
        await desk.until(lambda: not any(one.times for one in desk.discord.faults))
        await desk.tell(question, ANSWER)
        assert desk.only(question).content == ANSWER.text


async def test_what_comes_faster_than_it_may_be_shown_is_merged(desk: Desk) -> None:
    question = desk.ask()
    text = "Hello <@1> and @everyone, this takes its time. " * 4
    for end in range(1, len(text), 4):
        await desk.tell(question, Draft(text[:end]))
        await asyncio.sleep(0.01)
    await desk.tell(question, Answer(text))
    seen = desk.only(question)
    assert seen.content.count("takes its time") == 4
    assert seen.edits < len(text) // 8


def test_drafts_of_one_channel_keep_their_distance() -> None:
    now = [100.0]
    pace = Pace(1.2, lambda: now[0])
    assert [round(pace.book(1), 6) for _ in range(3)] == [0, 1.2, 2.4]
    assert pace.book(2) == 0
    now[0] += 10
    pace.limited(1)
    pace.limited(1)
    assert [round(pace.book(1), 6) for _ in range(2)] == [0, 4.8]
    now[0] += 10
    for _ in range(20):
        pace.taken(1)
    assert [round(pace.book(1), 6) for _ in range(2)] == [0, 1.2]


async def test_drafts_are_shown_more_seldom_when_they_are_too_many(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can "))
    await desk.words(question, "You can")
    desk.discord.faults.append(Fault(method="PATCH", status=429, retry_after=3.2))
    await desk.tell(question, Draft("You can return it "))
    await desk.until(lambda: not desk.discord.faults[0].times)
    await desk.tell(question, ANSWER)
    assert desk.only(question).content == ANSWER.text


@pytest.mark.parametrize("changed", [Draft("Indeed you can. "), Draft("No ")], ids=["other", "shorter"])
async def test_a_changed_draft_is_edited(desk: Desk, changed: Draft) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You cannot do that. "))
    await desk.words(question, "cannot")
    await desk.tell(question, changed)
    await desk.words(question, changed.text.strip())
    assert "cannot" not in desk.only(question).content
    await desk.tell(question, Handoff("unsure", "A person will answer you.", "Unsure."))
    assert desk.only(question).text == "A person will answer you.\nSolved"


async def test_a_draft_longer_than_a_message(desk: Desk) -> None:
    question = desk.ask()
    text = "\n\n".join(f"Nr. {number} " + "word " * 100 for number in range(12))
    await desk.tell(question, Draft(text[:3_000]))
    await desk.until(lambda: desk.seen(question))
    assert desk.only(question).content.endswith("…")
    for end in range(3_000, len(text), 500):
        await desk.tell(question, Draft(text[:end]))
        await asyncio.sleep(0.01)
    assert desk.only(question).edits == 0
    # What begins otherwise is shown.
    await desk.tell(question, Draft("First: " + text))
    await desk.words(question, "First: ")
    await desk.tell(question, Answer(text, CITED))
    whole = "".join(seen.content for seen in desk.seen(question))
    assert [whole.count(f"Nr. {number} ") for number in range(12)] == [1] * 12
    assert "…" not in whole


async def test_a_draft_of_nothing_to_see_is_not_begun(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft(""), Draft("<"))
    await asyncio.sleep(0.1)
    assert desk.calls("POST") == []
    await desk.tell(question, Handoff("asked", "A person will answer you.", "Asked."))
    assert desk.only(question).text == "A person will answer you.\nSolved"


async def test_an_answer_overtakes_its_draft(desk: Desk) -> None:
    question = desk.ask(in_place=True)
    desk.discord.faults.append(Fault(method="POST", path=".*/messages", slow=0.2))
    await desk.tell(question, Draft("You can "))
    await asyncio.sleep(0.05)
    await desk.tell(question, Draft("You can return "), ANSWER)
    assert desk.only(question).content == ANSWER.text
    assert len(desk.calls("POST")) == 1


async def test_a_stopped_answer_stays_as_it_is(desk: Desk) -> None:
    for question in (desk.ask(), desk.ask(in_place=True), desk.ask_directly()):
        await desk.tell(question, Status("Searching"), Draft("You can "))
        await desk.until(lambda: (question.id, 0) in desk.posts.kept)  # noqa: B023
        await desk.tell_of(question, Withdrawn(stopped=True))
        seen = desk.only(question)
        assert (seen.content, seen.labels) == ("You can", [])


async def test_another_process_takes_the_button_from_a_stopped_answer(desk: Desk) -> None:
    desk.discord.nonce_seconds = 0
    for question in (desk.ask(), desk.ask(in_place=True), desk.ask_directly()):
        await desk.tell(question, Draft("You can "))
        await desk.until(lambda: (question.id, 0) in desk.posts.kept)  # noqa: B023
        desk.posts.forget()
        async with desk.another_process() as other:
            await other.tell_of(question, Withdrawn(stopped=True), resumed=True)
            assert (other.only(question).content, other.only(question).labels) == ("You can", [])


async def test_a_draft_that_somebody_deleted_is_not_written_on(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can "))
    await desk.words(question, "You can")
    seen = desk.only(question)
    desk.discord.remove(desk.discord.channels[seen.channel].find(seen.id))  # type: ignore[arg-type]
    await desk.tell(question, Draft("You can return it "), ANSWER)
    assert desk.seen(question) == []


async def test_words_do_not_wait_for_what_keeps_posts(desk: Desk) -> None:
    keep = asyncio.Event()

    class SlowPosts(KeptPosts):
        async def keep_post(self, post: Post, /) -> None:
            await keep.wait()
            await super().keep_post(post)

    delivery = delivery_for(desk.rest, SlowPosts(), desk.settings)
    question = desk.ask()
    await delivery.deliver(Delivery(question.address, question.id, Draft("You can "), question))
    await desk.words(question, "You can")
    keep.set()
    await delivery.deliver(Delivery(question.address, question.id, ANSWER, question))
    await delivery.close()
    assert desk.only(question).content == ANSWER.text


async def test_closing_does_not_wait_for_a_draft(desk: Desk) -> None:
    question = desk.ask(in_place=True)
    desk.discord.faults.append(Fault(method="POST", path=".*", slow=8, times=3))
    await desk.tell(question, Draft("You can "))
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    await desk.delivery.close()
    assert time.monotonic() - begun < 6


# --- in doubt


async def test_a_post_of_unknown_fate_is_found_later(desk: Desk) -> None:
    desk.discord.nonce_seconds = 0
    question = desk.ask_directly()
    async with desk.another_process(final_seconds=1.0) as hasty:
        desk.discord.faults.append(Fault(method="POST", path=".*/messages", status=500, after=True))
        desk.discord.faults.append(Fault(method="POST", path=".*/messages", status=500, times=99))
        with pytest.raises(DeliveryError) as raised:
            await hasty.tell(question, ANSWER)
        assert not raised.value.gone
        assert len(desk.seen(question)) == 1
        desk.discord.faults.clear()
        await hasty.tell(question, Answer("No."))
        assert desk.only(question).content == "No."


async def test_nothing_is_posted_while_discord_does_not_tell_what_is_there(desk: Desk) -> None:
    question = desk.ask_directly()
    await desk.tell(question, ANSWER)
    desk.posts.forget()
    async with desk.another_process(final_seconds=0.5) as hasty:
        desk.discord.faults.append(Fault(method="GET", path=".*/messages", status=503, times=99))
        with pytest.raises(DeliveryError, match="does not tell"):
            await hasty.tell(question, Answer("No."), resumed=True)
        assert desk.only(question).content == ANSWER.text
        desk.discord.faults.clear()
        await hasty.tell(question, Answer("No."), resumed=True)
        assert desk.only(question).content == "No."


async def test_a_draft_of_unknown_fate_is_taken_over_by_the_reply(desk: Desk) -> None:
    question = desk.ask_directly()
    desk.discord.faults.append(Fault(method="POST", path=".*/messages", cut=True, after=True, times=3))
    await desk.tell(question, Draft("You can "))
    await desk.until(lambda: desk.seen(question))
    await desk.tell(question, ANSWER)
    assert desk.only(question).content == ANSWER.text


async def test_many_turns_at_once(desk: Desk) -> None:
    discord: DiscordServer = desk.discord
    people = [discord.add_user(f"person{number}") for number in range(60)]
    questions = []
    for person in people:
        questions.append(replace(desk, customer=person).ask_directly())

    async def told(number: int) -> None:
        question = questions[number]
        await desk.tell(question, Status("Searching"), Draft(f"{number}: "), Draft(f"{number}: You can "))
        await desk.tell(question, Answer(f"{number}: You can return it."))

    await asyncio.gather(*map(told, range(len(questions))))
    for number, question in enumerate(questions):
        assert desk.only(question).content == f"{number}: You can return it."
    assert [call.status for call in discord.calls if call.status == 429] == []
