"""Finished replies in Discord: where they go, and that they are shown once, whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.errors import DeliveryError
from agent.messages import Answer, Delivery, Draft, Handoff, Message, Status, Withdrawn
from tests.connectors.discord.delivering import ANSWER, BUTTONS, CITED, Desk
from tests.servers.discord import Fault
from tests.servers.discord.shapes import SUPPRESS_EMBEDS

HANDOFF = Handoff("unsure", "A person will answer you.", "Unsure.")
LONG = [f"Paragraph {number}: " + "words and more words " * 20 for number in range(12)]


# --- where it goes


async def test_a_question_is_answered_in_a_thread_made_from_it(desk: Desk) -> None:
    question = desk.ask("Can I return\nthe red one?")
    await desk.tell(question, ANSWER)
    seen = desk.only(question)
    assert seen.content == "You can return it within 30 days [1]."
    assert [embed["description"] for embed in seen.embeds] == [
        "[1] [Returns](<https://example.com/returns>) · 3 Mar 2026"
    ]
    assert seen.labels == BUTTONS
    assert seen.channel == question.address.thread
    thread = desk.discord.channels[seen.channel]
    assert (thread.name, thread.parent) == ("Can I return the red one?", desk.room)
    assert desk.posts.kept == {(question.id, 0): seen.id}
    assert desk.calls("POST") == [
        f"/channels/{desk.room}/messages/{question.address.thread}/threads",
        f"/channels/{seen.channel}/messages",
    ]


async def test_a_thread_that_is_there_is_used(desk: Desk) -> None:
    question = desk.ask()
    desk.discord.start_thread(desk.customer, desk.room, "mine", question.address.thread)
    await desk.tell(question, ANSWER)
    assert "30 days" in desk.only(question).content
    later = desk.ask_on(question)
    await desk.tell(later, Answer("Until May."))
    assert [seen.content for seen in desk.seen(later)] == [ANSWER.text, "Until May."]


async def test_a_thread_is_made_from_the_first_message_when_a_later_one_is_answered(desk: Desk) -> None:
    first = desk.ask()
    said = desk.discord.say(desk.customer, desk.room, "In red")
    later = replace(first, id=f"{first.address.channel}#{said.zfill(20)}")
    await desk.tell(later, ANSWER)
    assert "30 days" in desk.only(first).content


async def test_in_place_it_replies_to_the_question(desk: Desk) -> None:
    question = desk.ask(in_place=True)
    await desk.tell(question, Answer("\n\n".join(LONG)))
    seen = desk.seen(question)
    assert len(seen) >= 3
    assert [one.reference for one in seen] == [question.address.thread] + [""] * (len(seen) - 1)
    assert desk.discord.thread_from(question.address.thread) == ""


async def test_without_the_history_it_replies_to_nothing(desk: Desk) -> None:
    desk.discord.permit(desk.room, read_message_history=False)
    question = desk.ask(in_place=True)
    await desk.tell(question, ANSWER)
    assert desk.only(question).reference == ""


@pytest.mark.parametrize("code", [50013, 160006])
async def test_where_no_thread_can_be_made_it_is_answered_in_place(desk: Desk, code: int) -> None:
    question = desk.ask()
    desk.discord.faults.append(Fault(method="POST", path=".*/threads", status=403, code=code, times=9))
    await desk.tell(question, Draft("You can"))
    await desk.until(lambda: desk.posts.kept)
    await desk.tell(question, ANSWER)
    (seen,) = desk.discord.ours(desk.room)
    assert (seen.content, seen.reference) == (ANSWER.text, question.address.thread)
    async with desk.another_process() as other:
        await other.tell(question, Answer("No."), resumed=True)
        assert [seen.content for seen in desk.discord.ours(desk.room)] == ["No."]
        await other.tell_of(question, Withdrawn())
    assert desk.discord.ours(desk.room) == []


async def test_a_direct_message_is_answered_in_place(desk: Desk) -> None:
    question = desk.ask_directly()
    await desk.tell(question, Status("Searching"), ANSWER)
    seen = desk.only(question)
    assert (seen.content, seen.reference, seen.labels) == (ANSWER.text, "", BUTTONS)


async def test_a_post_in_a_forum_is_answered_and_tagged(desk: Desk) -> None:
    names = ("Answered", "needs a person", "resolved", "returns", "shipping")
    forum = desk.discord.add_forum("questions", tags=names)
    question = desk.post(forum, tags=("returns",))
    await desk.tell(question, Status("Searching"), Draft("You can"))
    await desk.until(lambda: desk.discord.typed(question.address.thread) or desk.posts.kept)
    await desk.tell(question, ANSWER)
    assert "30 days" in desk.only(question).content
    await desk.until(lambda: desk.discord.tags_of(question.address.thread) == ["returns", "Answered"])
    later = desk.ask_on(question, "I want to talk to a person")
    await desk.tell(later, HANDOFF)
    await desk.until(lambda: desk.discord.tags_of(question.address.thread) == ["returns", "needs a person"])
    await desk.delivery.solved(question.address)
    assert desk.discord.tags_of(question.address.thread) == ["returns", "resolved"]
    assert not [path for path in desk.calls("POST") if path.endswith("/threads")]


async def test_a_post_keeps_the_tags_of_its_author(desk: Desk) -> None:
    topics = ("one", "two", "three", "four", "five")
    forum = desk.discord.add_forum("questions", tags=("answered", *topics))
    full, other = (
        desk.post(forum, tags=topics),
        desk.post(desk.discord.add_forum("plain", tags=("one",)), tags=("one",)),
    )
    for question in (full, other):
        await desk.tell(question, ANSWER)
        await desk.delivery.solved(question.address)
    assert desk.discord.tags_of(full.address.thread) == list(topics)
    assert desk.discord.tags_of(other.address.thread) == ["one"]
    assert desk.calls("PATCH") == []


async def test_what_is_shared_is_shown_to_all(desk: Desk) -> None:
    question, _ = await desk.ask_privately()
    await desk.tell(question, ANSWER)
    shared = replace(question, private_reply="", address=replace(question.address, thread=""))
    run = replace(shared, id=f"{question.id}!share:{question.address.channel}")
    for _ in range(2):
        await desk.delivery.deliver(Delivery(shared.address, run.id, ANSWER, shared, resumed=True))
        desk.posts.forget()
    (seen,) = desk.discord.ours(desk.room)
    assert seen.content == ANSWER.text
    assert {one.partition(":discord:")[2] for one in seen.custom_ids} == {question.id.removeprefix("discord:")}


# --- how it looks


async def test_nothing_is_pinged_or_unfurled(desk: Desk) -> None:
    text = f"<@{desk.customer}> @everyone see https://example.com/a and [this](https://example.com/b)."
    question = desk.ask(in_place=True)
    await desk.tell(question, Draft(text))
    await desk.until(lambda: desk.posts.kept)
    await desk.tell(question, Answer(text, CITED))
    await desk.tell(desk.ask(in_place=True), Answer(text))
    cited, plain = desk.discord.ours(desk.room)
    assert (cited.flags & SUPPRESS_EMBEDS, plain.flags & SUPPRESS_EMBEDS) == (0, SUPPRESS_EMBEDS)
    assert len(cited.embeds) == 1
    for call in desk.discord.calls:
        if call.path.endswith("/messages") and call.method == "POST":
            assert call.json["enforce_nonce"] is True
            assert 0 < len(call.json["nonce"]) <= 25
            assert call.json["allowed_mentions"]["parse"] == []


async def test_a_long_answer_takes_several_messages(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("\n\n".join(LONG[:2])))
    await desk.until(lambda: desk.seen(question))
    await desk.tell(question, Answer("\n\n".join(LONG), CITED))
    parts = desk.seen(question)
    assert len(parts) >= 3
    assert [bool(part.labels) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert [bool(part.embeds) for part in parts] == [False] * (len(parts) - 1) + [True]
    whole = "\n\n".join(part.content for part in parts)
    positions = [whole.index(f"Paragraph {number}:") for number in range(12)]
    assert positions == sorted(positions)
    assert len({part.nonce for part in parts}) == len(parts)
    # Told again and shorter: in place, and what is left over goes.
    await desk.tell(question, ANSWER, resumed=True)
    assert desk.only(question).id == parts[0].id
    assert desk.only(question).content.startswith("You can return it")


async def test_without_the_right_to_embeds_sources_are_words(desk: Desk) -> None:
    desk.discord.permit(desk.room, embed_links=False)
    for text in (ANSWER.text, "word " * 395):
        question = desk.ask(in_place=True)
        await desk.tell(question, Answer(text, CITED))
        whole = "\n".join(seen.content for seen in desk.seen(question))
        assert "-# [1] [Returns](<https://example.com/returns>)" in whole
    first, second, third = desk.discord.ours(desk.room)
    assert (first.labels, second.labels, third.labels) == (BUTTONS, [], BUTTONS)
    # It is known the second time.
    assert [bool(call.json.get("embeds")) for call in desk.discord.called("POST", f"/channels/{desk.room}/mess")] == [
        True,
        False,
        False,
    ]


async def test_refused_buttons_are_left_out(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can"))
    await desk.until(lambda: desk.posts.kept)
    desk.discord.faults.append(Fault(method="PATCH", status=400, code=50035, times=2))
    await desk.tell(question, ANSWER)
    seen = desk.only(question)
    assert "30 days [1]" in seen.content
    assert "example.com/returns" in seen.content
    assert (seen.labels, seen.embeds) == ([], [])


# --- once


@pytest.mark.parametrize("how", [{"status": 500}, {"cut": True}], ids=["500", "cut"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_nothing_is_shown_twice_when_discord_breaks(desk: Desk, how: Mapping[str, Any], after: bool) -> None:
    async def drafted() -> Message:
        question = desk.ask()
        await desk.tell(question, Draft("You can "))
        await desk.until(lambda: desk.seen(question))
        await desk.tell(question, Draft("You can return it "))
        await desk.words(question, "return it")
        await desk.tell(question, ANSWER)
        return question

    async def posted() -> Message:
        question = desk.ask()
        await desk.tell(question, ANSWER)
        return question

    for method, path in (("POST", ".*/threads"), ("POST", ".*/messages"), ("PATCH", ".*")):
        desk.discord.faults.append(Fault(method=method, path=path, after=after, times=2, **how))
    for question in await asyncio.gather(posted(), drafted()):
        seen = desk.only(question)
        assert seen.content == ANSWER.text
        assert seen.labels == BUTTONS


async def test_waits_as_long_as_discord_asks(desk: Desk) -> None:
    question = desk.ask()
    desk.discord.faults.append(Fault(method="POST", path=".*/messages", status=429, retry_after=0.4))
    await desk.tell(question, ANSWER)
    assert desk.only(question).content == ANSWER.text


async def test_a_known_post_is_edited_by_another_process(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can "))
    await desk.until(lambda: desk.posts.kept)
    async with desk.another_process() as other:
        await other.tell(question, Draft("You may "), resumed=True)
        await other.words(question, "You may")
        await other.tell(question, ANSWER, resumed=True)
        await other.tell(question, ANSWER)
        assert other.only(question).content == ANSWER.text


@pytest.mark.parametrize("drafted", [True, False])
@pytest.mark.parametrize("where", ["thread", "place", "direct"])
async def test_an_unknown_post_is_found_and_taken_over(desk: Desk, drafted: bool, where: str) -> None:
    desk.discord.nonce_seconds = 0

    def ask() -> Message:
        return desk.ask_directly() if where == "direct" else desk.ask(in_place=where == "place")

    earlier = ask()
    await desk.tell(earlier, ANSWER)
    question = ask()
    await desk.tell(question, Draft("You can ") if drafted else ANSWER)
    await desk.until(lambda: (question.id, 0) in desk.posts.kept)
    await desk.tell(ask(), ANSWER)
    desk.posts.forget()
    async with desk.another_process() as other:
        await other.tell(question, Answer("No, that cannot be returned."), resumed=True)
        texts = [seen.content for seen in other.seen(question)]
        changed = "No, that cannot be returned."
        assert texts == ([changed] if where == "thread" else [ANSWER.text, changed, ANSWER.text])


async def test_unknown_parts_are_found_and_taken_over(desk: Desk) -> None:
    desk.discord.nonce_seconds = 0
    question, long = desk.ask(), Answer("\n\n".join(LONG), CITED)
    await desk.tell(question, long)
    posted = [seen.id for seen in desk.seen(question)]
    for part in range(len(posted)):
        desk.posts.forget(part)
        async with desk.another_process() as other:
            await other.tell(question, long, resumed=True)
            assert [seen.id for seen in other.seen(question)] == posted
            assert other.posts.kept[question.id, part] == posted[part]


async def test_a_post_that_cannot_be_looked_for_has_its_nonce(desk: Desk) -> None:
    desk.discord.permit(desk.room, read_message_history=False)
    question = desk.ask(in_place=True)
    await desk.tell(question, ANSWER)
    desk.posts.forget()
    async with desk.another_process() as other:
        await other.tell(question, Answer("No."), resumed=True)
        assert len(other.seen(question)) == 1


async def test_a_reply_that_somebody_deleted_is_not_posted_again(desk: Desk) -> None:
    for question in (desk.ask(), desk.ask(in_place=True), desk.ask_directly()):
        await desk.tell(question, ANSWER)
        seen = desk.only(question)
        desk.discord.remove(desk.discord.channels[seen.channel].find(seen.id))  # type: ignore[arg-type]
        await desk.tell(question, ANSWER, resumed=True)
        assert desk.seen(question) == []


async def test_a_withdrawn_turn_leaves_nothing(desk: Desk) -> None:
    for question in (desk.ask(), desk.ask(in_place=True), desk.ask_directly()):
        await desk.tell(question, Draft("You can "))
        await desk.until(lambda: (question.id, 0) in desk.posts.kept)  # noqa: B023
        await desk.tell_of(question, Withdrawn())
        assert desk.seen(question) == []
        # It may be answered after all.
        await desk.tell(question, ANSWER, resumed=True)
        assert desk.only(question).content == ANSWER.text


async def test_of_a_deleted_question_no_thread_shows_a_word(desk: Desk) -> None:
    alone, talked_about = desk.ask("My secret"), desk.ask("My other secret")
    for question in (alone, talked_about):
        await desk.tell(question, ANSWER)
    desk.ask_on(talked_about, "Thanks!")
    for question in (alone, talked_about):
        desk.discord.delete(desk.customer, desk.room, question.address.thread)
        await desk.tell_of(question, Withdrawn())
    assert desk.discord.channels[alone.address.thread].deleted
    assert desk.discord.channels[talked_about.address.thread].name == "Withdrawn question"
    assert desk.seen(talked_about) == []


async def test_a_question_that_is_deleted_meanwhile_is_not_answered(desk: Desk) -> None:
    question = desk.ask()
    desk.discord.delete(desk.customer, desk.room, question.address.thread)
    await desk.tell(question, Draft("You can "), ANSWER)
    assert desk.discord.ours(desk.room) == []


# --- places that take nothing any more


async def test_an_archived_thread_is_opened_again(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, ANSWER)
    thread = question.address.thread
    desk.discord.archive(thread)
    await desk.tell(question, Answer("No."))
    assert desk.only(question).content == "No."
    desk.discord.archive(thread)
    later = desk.ask_on(question)
    desk.discord.archive(thread)
    await desk.tell(later, ANSWER)
    assert len(desk.seen(question)) == 2


async def test_nothing_is_written_into_a_locked_thread(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Answer("Wait."))
    later = desk.ask_on(question)
    desk.discord.archive(question.address.thread, locked=True)
    with pytest.raises(DeliveryError) as raised:
        await desk.tell(later, ANSWER)
    assert raised.value.gone
    assert len(desk.seen(question)) == 1


@pytest.mark.parametrize("what", ["kicked", "hidden", "silenced", "channel gone", "thread gone", "blocked"])
async def test_a_place_that_is_gone(desk: Desk, what: str) -> None:
    question = desk.ask_directly() if what == "blocked" else desk.ask()
    if what == "thread gone":
        await desk.tell(question, Answer("Wait."))
        question = desk.ask_on(question)
        desk.discord.delete_channel(question.address.thread)
    elif what == "channel gone":
        desk.discord.delete_channel(desk.room)
    elif what == "kicked":
        desk.discord.kick_bot(desk.discord.guild)
    elif what == "blocked":
        desk.discord.block_dms(desk.customer)
    elif what == "hidden":
        desk.discord.permit(desk.room, view_channel=False)
    else:
        desk.discord.permit(desk.room, send_messages=False, send_messages_in_threads=False)
    await desk.tell(question, Status("Searching"), Draft("You can "))
    with pytest.raises(DeliveryError) as raised:
        await desk.tell(question, ANSWER)
    assert raised.value.gone
    assert not raised.value.token


async def test_a_refused_token(desk: Desk) -> None:
    question = desk.ask()
    desk.discord.faults.append(Fault(status=401, times=99))
    with pytest.raises(DeliveryError) as raised:
        await desk.tell(question, Status("Searching"), Draft("You can "), ANSWER)
    assert raised.value.token
    assert not raised.value.gone
    assert desk.discord.token not in str(raised.value)
