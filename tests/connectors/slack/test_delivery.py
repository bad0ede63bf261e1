"""Finished replies: shown once, whatever breaks."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import DeliveryError
from agent.ledger import Ticket
from agent.messages import (
    Address,
    Answer,
    Attachment,
    Draft,
    Message,
    Status,
    Withdrawn,
)
from connectors.slack.clients import Clients
from tests.connectors.slack.delivering import ANSWER, CITED, Desk
from tests.servers.slack import SlackServer, serving


async def test_answers_without_a_draft(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, ANSWER)
    assert "30 days" in desk.only(question).text
    assert desk.methods() == ["postMessage"]
    posted = desk.slack.called("chat.postMessage")[0].args
    assert posted["unfurl_links"] is False
    assert posted["unfurl_media"] is False


async def test_a_long_answer_takes_several_posts(desk: Desk) -> None:
    paragraphs = [f"Paragraph {number}: " + "words and more words " * 40 for number in range(30)]
    question = desk.ask()
    await desk.tell(question, Draft("\n\n".join(paragraphs[:3])))
    await desk.until(lambda: desk.seen(question))
    await desk.tell(question, Answer("\n\n".join(paragraphs), CITED))
    parts = desk.seen(question)
    assert len(parts) >= 3
    assert [bool(part.action_ids) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert [part.metadata and part.metadata["event_payload"]["part"] for part in parts] == list(range(len(parts)))
    whole = "\n\n".join(part.text for part in parts)
    positions = [whole.index(f"Paragraph {number}:") for number in range(30)]
    assert positions == sorted(positions)
    # Told again and shorter: in place, and what is left over goes.
    await desk.tell(question, ANSWER, resumed=True)
    assert desk.only(question).ts == parts[0].ts
    assert desk.only(question).text.startswith("You can return it")


async def test_a_known_post_is_edited_by_another_process(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can "))
    await desk.until(lambda: desk.posts.kept)
    other = await desk.another_process()
    await other.tell(question, Draft("You may "), resumed=True)
    await other.words(question, "You may")
    await other.tell(question, ANSWER, resumed=True)
    await other.tell(question, ANSWER)
    assert "30 days [1]" in other.only(question).text
    await other.slack_delivery.close()


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_unknown_post_is_found_and_taken_over(desk: Desk, streamed: bool) -> None:
    earlier = desk.ask("Another one")
    await desk.tell(earlier, ANSWER)
    question = desk.ask()
    await desk.tell(question, Draft("You can ") if streamed else ANSWER)
    await desk.until(lambda: (question.id, 0) in desk.posts.kept)
    desk.posts.kept.clear()
    other = await desk.another_process()
    changed = Answer("No, that cannot be returned.")
    await other.tell(question, changed, resumed=True)
    assert other.only(question).text.startswith(changed.text)
    assert "30 days" in other.only(earlier).text
    await other.slack_delivery.close()


async def test_looking_for_posts_waits_when_slack_says_so(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, ANSWER)
    desk.posts.kept.clear()
    desk.slack.fail("conversations.replies", "429", retry_after=1)
    other = await desk.another_process()
    await other.tell(question, Answer("No."), resumed=True)
    assert other.only(question).text.startswith("No.")
    await other.slack_delivery.close()


@pytest.mark.parametrize("kind", ["500_before", "500_after", "reset_before", "reset_after"])
async def test_nothing_is_shown_twice_when_slack_breaks(desk: Desk, kind: str) -> None:
    async def streamed() -> Message:
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

    for method in ("chat.postMessage", "chat.startStream", "chat.appendStream", "chat.stopStream"):
        desk.slack.fail(method, kind)
    for question in await asyncio.gather(posted(), streamed()):
        seen = desk.only(question)
        assert seen.text.count("You can") == 1
        assert "30 days [1]" in seen.text
        assert len(seen.action_ids) == 3


async def test_waits_as_long_as_slack_asks(desk: Desk) -> None:
    question = desk.ask()
    desk.slack.fail("chat.postMessage", "429", retry_after=1)
    begun = time.monotonic()
    await desk.tell(question, ANSWER)
    assert 0.9 < time.monotonic() - begun < 4
    assert "30 days" in desk.only(question).text


async def test_a_reply_that_somebody_deleted_is_not_posted_again(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, ANSWER)
    desk.slack.delete(desk.channel, desk.only(question).ts)
    await desk.tell(question, ANSWER, resumed=True)
    assert desk.seen(question) == []


async def test_a_withdrawn_turn_leaves_nothing(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can "))
    await desk.until(lambda: desk.posts.kept)
    await desk.tell(question, Withdrawn())
    assert desk.seen(question) == []
    # It may be answered after all.
    await desk.tell(question, ANSWER, resumed=True)
    assert "30 days" in desk.only(question).text


async def test_an_unknown_stream_is_withdrawn_too(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Draft("You can "))
    await desk.until(lambda: desk.posts.kept)
    desk.posts.kept.clear()
    other = await desk.another_process()
    await other.tell(question, Withdrawn(), resumed=True)
    assert other.seen(question) == []
    await other.slack_delivery.close()


async def test_a_private_reply_is_seen_by_one(desk: Desk) -> None:
    question = replace(desk.ask(), private_reply=desk.slack.response_url(desk.customer, desk.channel))
    await desk.tell(question, Status("Searching"), Draft("You can"), ANSWER)
    (seen,) = desk.slack.ephemeral(desk.customer)
    assert "30 days [1]" in seen.text
    assert desk.methods() == []
    await desk.tell(question, ANSWER, resumed=True)
    assert len(desk.slack.ephemeral(desk.customer)) == 1


@pytest.mark.parametrize("url", ["https://evil.example/response", "expired", "unknown"])
async def test_a_private_reply_without_its_address_is_ephemeral(desk: Desk, url: str) -> None:
    question = desk.ask()
    if url == "unknown":
        url = f"{desk.slack.url}/response/none"
    elif url == "expired":
        url = desk.slack.response_url(desk.customer, desk.channel)
        question = replace(question, sent_at=datetime.now(UTC) - timedelta(minutes=40))
    await desk.tell(replace(question, private_reply=url), ANSWER)
    assert len(desk.slack.ephemeral(desk.customer)) == 1
    assert desk.methods() == ["postEphemeral"]


async def test_a_private_reply_that_cannot_be_shown(desk: Desk) -> None:
    desk.slack.remove_bot(desk.channel)
    address = f"{desk.slack.url}/response/secret"
    question = replace(desk.ask(), private_reply=address)
    with pytest.raises(DeliveryError) as raised:
        await desk.tell(question, ANSWER)
    assert raised.value.gone
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("streamed", [True, False])
async def test_refused_blocks_become_text_with_sources(desk: Desk, streamed: bool) -> None:
    question = desk.ask()
    if streamed:
        await desk.tell(question, Draft("You can "))
        await desk.until(lambda: desk.posts.kept)
        desk.slack.fail("chat.stopStream", "invalid_blocks")
        desk.slack.fail("chat.update", "invalid_blocks")
    else:
        desk.slack.fail("chat.postMessage", "msg_blocks_too_long", 2)
    await desk.tell(question, ANSWER)
    seen = desk.only(question)
    assert "30 days [1]" in seen.text
    assert "example.com/returns" in seen.text
    assert seen.blocks == []


async def test_what_is_too_long_is_cut_smaller(desk: Desk) -> None:
    question = desk.ask()
    desk.slack.fail("chat.postMessage", "msg_too_long")
    await desk.tell(question, Answer("\n\n".join(f"Nr. {number} " + "word " * 200 for number in range(8))))
    assert len(desk.seen(question)) == 2


async def test_plain_text_of_wide_letters_is_cut_for_slacks_bytes(desk: Desk) -> None:
    question = desk.ask()
    desk.slack.no_streams["*"] = "unknown_method"
    await desk.tell(question, Draft("ありがとう"))
    await desk.until(lambda: desk.posts.kept)
    desk.slack.fail("chat.update", "invalid_blocks")
    text = "\n\n".join(f"{number}番。" + "ありがとうございます。" * 40 for number in range(8))
    await desk.tell(question, Answer(text))
    whole = "".join(seen.text for seen in desk.seen(question))
    assert all(f"{number}番。" in whole for number in range(8))


@pytest.mark.parametrize("error", ["not_in_channel", "is_archived", "channel_not_found"])
async def test_a_place_that_is_gone(desk: Desk, error: str) -> None:
    desk.slack.fail("*", error, 20)
    question = desk.ask()
    await desk.tell(question, Status("Searching"), Draft("You can "))
    with pytest.raises(DeliveryError) as raised:
        await desk.tell(question, ANSWER)
    assert raised.value.gone
    assert not raised.value.token
    desk.slack.faults.clear()


async def test_a_revoked_token(desk: Desk) -> None:
    question = desk.ask()
    desk.slack.revoke_tokens()
    with pytest.raises(DeliveryError) as raised:
        await desk.tell(question, Status("Searching"), Draft("You can "), ANSWER)
    assert raised.value.token
    assert not raised.value.gone
    assert "xoxb" not in str(raised.value)


async def test_gives_up_in_the_end_and_finds_its_post_later(desk: Desk) -> None:
    question = desk.ask()
    other = await desk.another_process(final_seconds=1.5)
    desk.slack.fail("chat.postMessage", "500_after")
    desk.slack.fail("conversations.replies", "500_before", 10)
    with pytest.raises(DeliveryError) as raised:
        await other.tell(question, ANSWER)
    assert not raised.value.gone
    desk.slack.faults.clear()
    await other.tell(question, ANSWER, resumed=True)
    assert "30 days" in other.only(question).text
    await other.slack_delivery.close()


async def test_outsiders(desk: Desk) -> None:
    slack, delivery = desk.slack, desk.slack_delivery
    foreign = slack.add_user("eve", team=slack.add_foreign_team())
    guest = slack.add_user("gus", guest=True)

    def at(room: str) -> Address:
        return Address("slack", slack.team.id, room)

    assert not await delivery.outsiders(at(desk.channel))
    assert not await delivery.outsiders(at(slack.add_channel("core", [desk.customer], private=True)))
    assert await delivery.outsiders(at(slack.add_channel("joint", [desk.customer, foreign], shared=True)))
    assert not await delivery.outsiders(at(slack.dm(desk.customer)))
    assert await delivery.outsiders(at(slack.dm(guest)))
    assert await delivery.outsiders(at(slack.dm(foreign)))
    assert await delivery.outsiders(at("C0NOWHERE"))
    slack.fail("conversations.info", "500_before")
    assert await delivery.outsiders(at(desk.channel))


async def test_fetches_files_from_slack_only(desk: Desk) -> None:
    slack, delivery = desk.slack, desk.slack_delivery
    ts = slack.share_file(desk.customer, desk.channel, "order.txt", b"order 4711" * 10)
    file = next(seen for seen in slack.visible(desk.channel) if seen.ts == ts).files[0]
    address = Address("slack", slack.team.id, desk.channel)
    attachment = Attachment("order.txt", "text/plain", 100, source=file["url_private_download"])
    assert await delivery.fetch(address, attachment, 1000) == b"order 4711" * 10
    assert await delivery.fetch(address, attachment, 5) == b"order"
    for url in (
        "http://127.0.0.1:9/x",
        "https://slack.com.evil.example/x",
        "https://evil.example/slack.com",
        "file:///etc",
        "https://evil.example\\@files.slack.com/",
        "https://files.slack.com:x/",
        "https://me@files.slack.com/",
    ):
        with pytest.raises(DeliveryError, match="not on a host of Slack"):
            await delivery.fetch(address, replace(attachment, source=url), 1000)
    slack.team.scopes.remove("files:read")
    with pytest.raises(DeliveryError, match="files:read"):
        await delivery.fetch(address, attachment, 1000)


@pytest.mark.parametrize(
    ("api", "url", "trusted"),
    [
        ("https://slack.com/api/", "https://hooks.slack.com/commands/T1/1/abc", True),
        ("https://slack.com/api/", "https://files.slack.com/files-pri/T1-F1/a.txt", True),
        ("https://slack-gov.com/api/", "https://hooks.slack-gov.com/commands/T1/1/abc", True),
        ("https://slack-gov.com/api/", "https://files.slack-gov.com/files-pri/T1-F1/a.txt", True),
        ("https://proxy.example/slack/api/", "https://files.slack.com/files-pri/T1-F1/a.txt", True),
        ("https://proxy.example/slack/api/", "https://proxy.example/files/a.txt", True),
        ("http://127.0.0.1:8080/api/", "http://localhost:8080/response/1", True),
        ("http://127.0.0.1:8080/api/", "http://localhost:8081/response/1", False),
        ("https://slack.com/api/", "https://slack-gov.com.evil.example/a", False),
        ("https://slack.com/api/", "https://notslack.com/a", False),
        ("https://slack.com/api/", "http://files.slack.com/a", False),
        ("https://slack.com/api/", "http://localhost/a", False),
    ],
)
def test_where_tokens_and_replies_may_go(api: str, url: str, trusted: bool) -> None:
    async def token_for(team: str) -> str | None:
        return None

    assert Clients(token_for, base_url=api).trusts(url) is trusted


async def test_somebody_of_the_same_organisation_is_inside_where_they_are_a_member(desk: Desk) -> None:
    slack, delivery = desk.slack, desk.slack_delivery
    sibling = slack.add_team("Sibling", installed=False)
    both, elsewhere = slack.add_user("bo", team=sibling), slack.add_user("el", team=sibling)
    slack.users[both].workspaces = [slack.team.id, sibling.id]
    slack.users[elsewhere].workspaces = [sibling.id]
    for person, outside in ((both, False), (elsewhere, True)):  # the second by a channel that both workspaces share
        room = slack.add_channel("across", [desk.customer, person])
        assert await delivery.outsiders(Address("slack", slack.team.id, room)) is outside


async def test_tells_the_staff_once(desk: Desk) -> None:
    staff = desk.slack.add_channel("staff", private=True)
    question = desk.ask()
    room = Address("slack", desk.slack.team.id, staff)
    now, person = datetime.now(UTC), question.person
    ticket = Ticket(7, question.address, "", person, "asked", "return <!here>", "A summary", "open", "", now, None, "")
    posted = await desk.slack_delivery.notify(room, ticket)
    assert await desk.slack_delivery.notify(room, ticket) == posted
    desk.posts.kept.clear()
    assert await desk.slack_delivery.notify(room, ticket) == posted
    (seen,) = desk.slack.visible(staff)
    assert "Ticket #7" in seen.text
    assert "/archives/" in str(seen.blocks)


async def test_clients_know_the_app_and_take_any_base() -> None:
    with serving(SlackServer()) as slack:

        async def token_for(team: str) -> str | None:
            return slack.bot_token if team == slack.team.id else None

        for base in (slack.api_url, slack.api_url.rstrip("/")):
            clients = Clients(token_for, base_url=base)
            assert await clients.bot_user(slack.team.id) == slack.bot_user
            assert await clients.bot_id(slack.team.id) == slack.team.bot_id
            assert len(slack.called("auth.test")) == 1
            assert await clients.for_space(slack.team.id) is await clients.for_space(slack.team.id)
            with pytest.raises(DeliveryError) as raised:
                await clients.for_space("T0OTHER")
            assert raised.value.gone
            await clients.close()
            slack.calls.clear()


async def test_a_post_that_may_not_be_changed_is_posted_anew_once(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Answer("Yes."))
    desk.slack.fail("chat.update", "edit_window_closed")
    await desk.tell(question, Answer("No."), resumed=True)
    await desk.tell(question, Answer("Never."), resumed=True)
    assert [seen.text.split("\n")[0] for seen in desk.seen(question)] == ["Yes.", "Never."]


async def test_the_parts_that_were_posted_before_a_crash_are_found(desk: Desk) -> None:
    question = desk.ask()
    long = Answer("\n\n".join(f"Nr. {number} " + "word " * 400 for number in range(16)), CITED)
    await desk.tell(question, long)
    posted = [seen.ts for seen in desk.seen(question)]
    del desk.posts.kept[question.id, 1]
    other = await desk.another_process()
    await other.tell(question, long, resumed=True)
    assert [seen.ts for seen in other.seen(question)] == posted
    assert other.posts.kept[question.id, 1] == posted[1]
    await other.slack_delivery.close()
