"""Drafts: streams and edits, and how they end in the reply."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from agent.messages import (
    Answer,
    Delivery,
    Draft,
    Handoff,
    Post,
    Status,
    Withdrawn,
)
from connectors.slack.delivery import SlackDelivery
from tests.connectors.slack.delivering import ANSWER, CITED, Desk, KeptPosts


async def test_streams_a_draft_and_closes_it_with_sources_and_buttons(desk: Desk) -> None:
    question = desk.ask()
    begun = time.monotonic()
    await desk.tell(question, Status("Searching"), Draft("You can return "))
    await desk.until(lambda: desk.seen(question))
    assert time.monotonic() - begun < 0.5
    await desk.tell(question, Draft("You can return it within 30 days "))
    await desk.words(question, "30 days")
    await desk.tell(question, ANSWER)
    seen = desk.only(question)
    assert seen.text.startswith("You can return it within 30 days [1].")
    assert "Returns" in seen.text
    assert len(seen.action_ids) == 3
    assert seen.metadata == {"event_type": "frontdesk_turn", "event_payload": {"turn": question.id, "part": 0}}
    assert not seen.edited
    assert desk.methods() == ["startStream", "appendStream", "stopStream"]
    assert desk.posts.kept == {(question.id, 0): seen.ts}
    started = desk.slack.called("chat.startStream")[0].args
    assert started["recipient_user_id"] == desk.customer
    assert started["recipient_team_id"] == desk.slack.team.id
    key = (desk.channel, question.address.thread)
    assert desk.slack.sessions[key]["status"] == "active"


async def test_status_is_shown_and_cleared_when_nothing_is_posted(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Status("Searching"))
    key = (desk.channel, question.address.thread)
    await desk.until(lambda: key in desk.slack.sessions)
    assert desk.slack.statuses[key]["status"] == "Searching"
    assert desk.slack.sessions[key]["title"] == "Can I return it?"
    await desk.tell(question, Withdrawn())
    await desk.until(lambda: key not in desk.slack.statuses and desk.slack.sessions[key]["status"] == "active")
    assert desk.seen(question) == []


async def test_what_an_app_that_is_no_agent_may_not_is_tried_once(desk: Desk) -> None:
    desk.slack.agent_view = False
    for _ in range(2):
        question = desk.ask()
        await desk.tell(question, Status("Searching"))
        await desk.until(lambda: desk.slack.called("agents.sessions.setStatus"))
        await desk.tell(question, ANSWER)
        await asyncio.sleep(0.05)
    assert len(desk.slack.called("agents.sessions.setStatus")) == 1


async def test_falls_back_to_edits_and_remembers_it(desk: Desk) -> None:
    desk.slack.no_streams["*"] = "unknown_method"
    for turn in range(2):
        question = desk.ask()
        await desk.tell(question, Draft("You can"))
        await desk.words(question, "You can")
        await desk.tell(question, Draft("You can return it"))
        if not turn:
            await desk.words(question, "You can return it")
        await desk.tell(question, ANSWER)
        assert "30 days [1]" in desk.only(question).text
        assert len(desk.only(question).action_ids) == 3
    assert desk.methods().count("startStream") == 1
    assert desk.methods().count("postMessage") == 2


async def test_without_a_thread_it_posts_and_edits(desk: Desk) -> None:
    question = desk.ask(reply_in="")
    await desk.tell(question, Status("Searching"), Draft("You can"))
    await desk.until(lambda: desk.posts.kept)
    await desk.tell(question, ANSWER)
    (seen,) = [seen for seen in desk.slack.visible(desk.channel) if seen.ours]
    assert "30 days [1]" in seen.text
    assert desk.methods() == ["postMessage", "update"]


async def test_rolls_over_before_slack_ends_the_stream(desk: Desk) -> None:
    other = await desk.another_process(stream_seconds=0.2)
    question = desk.ask()
    await other.tell(question, Draft("You can "))
    await other.words(question, "You can")
    await asyncio.sleep(0.25)
    await other.tell(question, Draft("You can return it "))
    await other.words(question, "return it")
    await other.tell(question, ANSWER)
    seen = other.only(question)
    assert seen.text.count("You can") == 1
    assert "30 days [1]" in seen.text
    await other.slack_delivery.close()


async def test_a_stream_that_slack_ended_goes_on_as_edits(desk: Desk) -> None:
    desk.slack.stream_seconds = 0.1
    question = desk.ask()
    await desk.tell(question, Draft("You can "))
    await desk.words(question, "You can")
    await asyncio.sleep(0.15)
    await desk.tell(question, ANSWER)
    assert desk.only(question).text.count("You can") == 1
    assert "30 days [1]" in desk.only(question).text


async def test_a_changed_draft_is_edited(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You cannot do that. "))
    await desk.words(question, "cannot")
    await desk.tell(question, Draft("Indeed you can. "))
    await desk.words(question, "Indeed")
    assert "cannot" not in desk.only(question).text
    await desk.tell(question, ANSWER)
    assert desk.only(question).text.startswith("You can return it within")


async def test_an_answer_that_is_not_its_draft_replaces_it(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You cannot. "))
    await desk.words(question, "cannot")
    await desk.tell(question, Handoff("unsure", "A person will answer you.", "Unsure."))
    assert desk.only(question).text == "A person will answer you.\nSolved"


async def test_a_limited_start_shows_words_at_once(desk: Desk) -> None:
    question = desk.ask()
    desk.slack.fail("chat.startStream", "429", retry_after=30)
    await desk.tell(question, Draft("You can "))
    await desk.words(question, "You can")
    await desk.tell(question, ANSWER)
    assert desk.methods() == ["startStream", "postMessage", "update"]


async def test_all_words_are_there_before_the_end_of_a_stream_may_be_told(desk: Desk) -> None:
    question = desk.ask()
    desk.slack.fail("chat.stopStream", "429", retry_after=1)
    await desk.tell(question, Draft("You can "))
    await desk.words(question, "You can")
    final = asyncio.create_task(desk.tell(question, ANSWER))
    await desk.words(question, "30 days [1]")
    assert not final.done()
    await final
    assert desk.only(question).text.count("30 days") == 1
    assert len(desk.only(question).action_ids) == 3


async def test_words_that_could_not_be_appended_yet_come_with_the_end(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can "))
    await desk.words(question, "You can")
    desk.slack.fail("chat.appendStream", "429", retry_after=30)
    await desk.tell(question, Draft("You can return it "))
    await desk.until(lambda: "appendStream" in desk.methods())
    await desk.tell(question, ANSWER)
    assert desk.only(question).text.startswith("You can return it within 30 days [1].")
    assert desk.methods() == ["startStream", "appendStream", "stopStream"]


@pytest.mark.parametrize("by_slack", [True, False])
async def test_a_stopped_answer_stays_as_it_is(desk: Desk, by_slack: bool) -> None:
    question = desk.ask()
    await desk.tell(question, Status("Searching"), Draft("You can "))
    await desk.until(lambda: desk.posts.kept)
    if by_slack:
        desk.slack.stop_session(desk.customer, desk.channel, question.address.thread)
    await desk.tell(question, Withdrawn(stopped=True))
    seen = desk.only(question)
    assert seen.text.strip() == "You can"
    assert seen.streaming != "streaming"
    assert seen.action_ids == []
    key = (desk.channel, question.address.thread)
    await desk.until(lambda: desk.slack.sessions.get(key, {"status": "active"})["status"] == "active")


async def test_nothing_that_is_appended_notifies(desk: Desk) -> None:
    question = desk.ask()
    text = "Hello <!channel> and <@U0123456789> and <!subteam^S1>. " * 3
    for end in range(1, len(text), 4):
        await desk.tell(question, Draft(text[:end]))
        await asyncio.sleep(0.01)
    await desk.tell(question, Answer(text))
    assert desk.slack.notified == []
    assert desk.only(question).text.count("channel>") == 3
    # What comes faster than it may be written is merged.
    assert desk.methods().count("appendStream") <= 3


async def test_a_direct_message_takes_a_stream_in_its_thread(desk: Desk) -> None:
    room = desk.slack.dm(desk.customer)
    question = desk.ask(channel=room)
    question = replace(question, address=replace(question.address, thread=""), reply_in=question.address.thread)
    await desk.tell(question, Draft("You can "))
    await desk.until(lambda: desk.posts.kept)
    await desk.tell(question, ANSWER)
    (seen,) = desk.slack.replies_to(room, question.reply_in)
    assert "30 days [1]" in seen.text


async def test_a_stream_of_another_turn_is_not_taken_over(desk: Desk) -> None:
    first = desk.ask()
    thread = first.address.thread
    await desk.tell(first, Draft("The first "))
    await desk.until(lambda: desk.posts.kept)
    second = desk.ask("And that?", reply_in="")
    second = replace(second, address=replace(second.address, thread=thread))
    await desk.tell(second, Answer("The second."), resumed=True)
    third = replace(second, id=f"{first.address.channel}#{float(thread) - 5:.6f}")
    await desk.tell(third, Answer("The third."), resumed=True)
    await desk.tell(first, Answer("The first one."))
    texts = [seen.text for seen in desk.seen(first)]
    assert [text.split("\n")[0] for text in texts] == ["The first one.", "The second.", "The third."]


async def test_an_answer_overtakes_its_draft(desk: Desk) -> None:
    question = desk.ask()
    desk.slack.fail("chat.startStream", "slow:0.2")
    await desk.tell(question, Draft("You can "))
    await asyncio.sleep(0.02)
    await desk.tell(question, Draft("You can return "), ANSWER)
    assert desk.only(question).text.count("You can") == 1
    assert desk.methods() == ["startStream", "stopStream"]


async def test_a_draft_longer_than_a_message(desk: Desk) -> None:
    question = desk.ask()
    text = "\n\n".join(f"Nr. {number} " + "word " * 200 for number in range(20))
    for end in range(1_000, 18_000, 4_000):
        await desk.tell(question, Draft(text[:end]))
        await asyncio.sleep(0.4)
    await desk.tell(question, Answer(text, CITED))
    whole = "".join(seen.text for seen in desk.seen(question))
    assert [whole.count(f"Nr. {number} ") for number in range(20)] == [1] * 20


async def test_a_draft_of_nothing_to_see_is_not_begun(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft(""), Draft("<"))
    await asyncio.sleep(0.05)
    assert desk.methods() == []
    await desk.tell(question, Handoff("asked", "A person will answer you.", "Asked."))
    assert desk.only(question).text == "A person will answer you.\nSolved"
    assert "handoff|" in str(desk.only(question).blocks)


async def test_words_do_not_wait_for_what_keeps_posts(desk: Desk) -> None:
    keep = asyncio.Event()

    class SlowPosts(KeptPosts):
        async def keep_post(self, post: Post) -> None:
            await keep.wait()
            await super().keep_post(post)

    delivery = SlackDelivery(desk.clients, SlowPosts())
    question = desk.ask()
    await delivery.deliver(Delivery(question.address, question.id, Draft("You can "), question))
    await desk.words(question, "You can")
    keep.set()
    await delivery.deliver(Delivery(question.address, question.id, ANSWER, question))
    await delivery.close()
