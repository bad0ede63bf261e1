from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import DeliveryError
from agent.ledger import Ticket
from agent.messages import (
    Address,
    Answer,
    Attachment,
    Citation,
    Delivery,
    Draft,
    Handoff,
    Message,
    Post,
    Shown,
    Status,
    Withdrawn,
)
from connectors.slack.clients import Clients
from connectors.slack.delivery import SlackDelivery
from tests.servers.slack import Seen, SlackServer, serving

CITED = (Citation(1, "returns.md", "Returns", "https://example.com/returns", "Within 30 days."),)
ANSWER = Answer("You can return it within 30 days [1].", CITED)


class KeptPosts:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], str] = {}

    async def posts(self, turn: str) -> Sequence[Post]:
        await asyncio.sleep(0)
        return [Post(turn, part, id_) for (of, part), id_ in sorted(self.kept.items()) if of == turn]

    async def keep_post(self, post: Post) -> None:
        await asyncio.sleep(0)
        self.kept[post.turn, post.part] = post.id


@dataclass
class Desk:
    """A workspace with a channel, a customer and our delivery."""

    slack: SlackServer
    posts: KeptPosts
    clients: Clients
    slack_delivery: SlackDelivery
    customer: str
    channel: str

    def ask(self, text: str = "Can I return it?", channel: str = "", reply_in: str | None = None) -> Message:
        room = channel or self.channel
        ts = self.slack.say(self.customer, room, text, announce=False)
        address = Address("slack", self.slack.team.id, room, ts if reply_in is None else reply_in)
        return Message(f"{address.channel}#{ts}", address, self.customer, "customer", text, datetime.now(UTC))

    async def tell(self, question: Message, *events: Shown, resumed: bool = False) -> None:
        for event in events:
            await self.slack_delivery.deliver(Delivery(question.address, question.id, event, question, resumed))

    async def words(self, question: Message, text: str) -> None:
        """Wait until a text can be read."""
        await self.until(lambda: any(text in seen.text for seen in self.seen(question)))

    async def until(self, condition: Callable[[], object], seconds: float = 5) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, (self.slack.calls[-3:], self.slack.visible(self.channel))
            await asyncio.sleep(0.005)

    def seen(self, question: Message) -> list[Seen]:
        return self.slack.replies_to(question.address.room, question.address.thread)

    def only(self, question: Message) -> Seen:
        (seen,) = self.seen(question)
        return seen

    def methods(self, prefix: str = "chat.") -> list[str]:
        return [call.method.removeprefix("chat.") for call in self.slack.calls if call.method.startswith(prefix)]

    async def another_process(self, **settings: float) -> Desk:
        """The same workspace and posts, told by a process that knows nothing else."""
        await self.slack_delivery.close()
        return replace(self, slack_delivery=SlackDelivery(self.clients, self.posts, **settings))  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with serving(SlackServer()) as slack:
        yield slack
        assert slack.violations == []
        assert slack.notified == []
        assert slack.unfurled == []


@pytest.fixture
async def desk(server: SlackServer) -> AsyncIterator[Desk]:
    async def token_for(team: str) -> str | None:
        return server.teams[team].bot_token

    customer = server.add_user("ana")
    channel = server.add_channel("help", [customer])
    posts = KeptPosts()
    clients = Clients(token_for, base_url=server.api_url.rstrip("/"))
    delivery = SlackDelivery(clients, posts, final_seconds=12)
    yield Desk(server, posts, clients, delivery, customer, channel)
    await delivery.close()
    await clients.close()


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
    assert len(seen.action_ids) == 2
    assert seen.metadata == {"event_type": "frontdesk_turn", "event_payload": {"turn": question.id, "part": 0}}
    assert not seen.edited
    assert desk.methods() == ["startStream", "appendStream", "stopStream"]
    assert desk.posts.kept == {(question.id, 0): seen.ts}
    started = desk.slack.called("chat.startStream")[0].args
    assert started["recipient_user_id"] == desk.customer
    assert started["recipient_team_id"] == desk.slack.team.id
    key = (desk.channel, question.address.thread)
    assert desk.slack.sessions[key]["status"] == "active"


async def test_answers_without_a_draft(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, ANSWER)
    assert "30 days" in desk.only(question).text
    assert desk.methods() == ["postMessage"]
    posted = desk.slack.called("chat.postMessage")[0].args
    assert posted["unfurl_links"] is False
    assert posted["unfurl_media"] is False


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
        assert len(desk.only(question).action_ids) == 2
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
    assert desk.only(question).text == "A person will answer you."


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
        assert len(seen.action_ids) == 2


async def test_waits_as_long_as_slack_asks(desk: Desk) -> None:
    question = desk.ask()
    desk.slack.fail("chat.postMessage", "429", retry_after=1)
    begun = time.monotonic()
    await desk.tell(question, ANSWER)
    assert 0.9 < time.monotonic() - begun < 4
    assert "30 days" in desk.only(question).text


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
    assert len(desk.only(question).action_ids) == 2


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


async def test_a_direct_message_takes_a_stream_in_its_thread(desk: Desk) -> None:
    room = desk.slack.dm(desk.customer)
    question = desk.ask(channel=room)
    question = replace(question, address=replace(question.address, thread=""), reply_in=question.address.thread)
    await desk.tell(question, Draft("You can "))
    await desk.until(lambda: desk.posts.kept)
    await desk.tell(question, ANSWER)
    (seen,) = desk.slack.replies_to(room, question.reply_in)
    assert "30 days [1]" in seen.text


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


async def test_a_post_that_may_not_be_changed_is_posted_anew_once(desk: Desk) -> None:
    question = desk.ask()
    await desk.tell(question, Answer("Yes."))
    desk.slack.fail("chat.update", "edit_window_closed")
    await desk.tell(question, Answer("No."), resumed=True)
    await desk.tell(question, Answer("Never."), resumed=True)
    assert [seen.text.split("\n")[0] for seen in desk.seen(question)] == ["Yes.", "Never."]


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
    assert desk.only(question).text == "A person will answer you."
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
