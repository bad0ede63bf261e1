"""Turns, from what a connector hears to what a customer sees, on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import wording
from agent.errors import DeliveryError, EngineError
from agent.graph import Persona, SupportAgent
from agent.ledger import Begun, Ledger
from agent.messages import (
    Address,
    Answer,
    Attachment,
    Citation,
    Deleted,
    Delivery,
    Draft,
    Edited,
    Feedback,
    Handoff,
    Inbound,
    Message,
    Shared,
    Solved,
    Stopped,
    Withdrawn,
)
from agent.models.base import Prompt
from agent.rooms import Room
from agent.standing import LOOK_SECONDS
from agent.testing import MemoryConnector, ScriptedModel
from agent.turn import Limits
from agent.turns import Turns
from knowledge.base import KnowledgeBase
from knowledge.editing import Act
from knowledge.search import Query
from tests.databases import Postgres

BEGAN = datetime.now(UTC)
STAFF = Address("memory", "T1", "STAFF")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    if request.param == "sqlite":
        yield tmp_path
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "cancel.md").write_text(
        "# Cancelling\n\nYou can cancel a booking free of charge up to 48 hours before.\n"
    )
    (folder / "inside.md").write_text(
        "---\naudience: internal\n---\n# Refund override\n\nAgents may override the refund limit with code R7.\n"
    )
    return folder


@pytest.fixture
async def knowledge(documents: Path, tmp_path: Path) -> AsyncIterator[KnowledgeBase]:
    base = KnowledgeBase(tmp_path / "knowledge", None)
    await base.sync(documents)
    yield base
    await base.close()


class Place:
    """Turns with everything real but the model and the place that people write in."""

    def __init__(self, turns: Turns, ledger: Ledger, connector: MemoryConnector) -> None:
        self.turns = turns
        self.ledger = ledger
        self.connector = connector

    async def say(self, number: int, text: str, **also: object) -> Message:
        message = question(number, text, **also)
        await self.turns.receive(message)
        return message

    def final(self, turn: str) -> Answer | Handoff | None:
        shown = self.connector.shown.get(turn)
        return shown.event if shown is not None and isinstance(shown.event, Answer | Handoff) else None

    async def until(self, condition: Callable[[], object], seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            await asyncio.sleep(0.01)

    async def answered(self, message: Message) -> Answer | Handoff:
        await self.until(lambda: self.final(message.id) is not None)
        await self.ended(message.id)
        found = self.final(message.id)
        assert found is not None
        return found

    async def ended(self, turn: str) -> str:
        end = time.monotonic() + 15
        while True:
            states = {row.id: row.state for row in await self.ledger.turns()}
            if states.get(turn) not in (None, "queued", "running", "decided"):
                return str(states[turn])
            assert time.monotonic() < end, states
            await asyncio.sleep(0.02)


def question(number: int, text: str, **also: object) -> Message:
    thread = str(also.pop("thread", "1"))
    address = Address("memory", "T1", "C1", thread)
    stamp = f"{number:010}.000100"
    message = Message(f"{address.channel}#{stamp}", address, "U1", "customer", text, BEGAN + timedelta(seconds=number))
    return replace(message, **also)  # type: ignore[arg-type]


@asynccontextmanager
async def place(
    database: Path | str,
    knowledge: KnowledgeBase,
    model: ScriptedModel,
    *,
    room: Room | None = None,
    connector: MemoryConnector | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Place]:
    connector = connector or MemoryConnector()
    ledger = Ledger(database)
    agent = SupportAgent(model, knowledge, Persona(handoff_message="We answer on weekdays."))
    set_up = room or Room(handoff_message="We answer on weekdays.", staff=STAFF)
    turns = Turns(ledger, agent, {"memory": connector}, lambda _: set_up, database=database, limits=limits)
    await turns.start()
    try:
        yield Place(turns, ledger, connector)
    finally:
        await turns.stop(2)
        await ledger.close()


ANSWER = "Up to 48 hours before, free of charge [1]."
ASKED = "How do I cancel a booking?"


class Slow(ScriptedModel):
    """A model whose answers wait for a sign."""

    def __init__(self, *script: str) -> None:
        super().__init__(*script)
        self.sign = asyncio.Event()

    async def stream(self, prompt: Prompt, /):  # type: ignore[no-untyped-def]
        pieces = super().stream(prompt)
        for _ in range(6):
            yield await anext(pieces)
        await self.sign.wait()
        async for piece in pieces:
            yield piece


async def test_a_question_is_answered_once_however_often_it_comes(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        asked = question(1, ASKED)
        await asyncio.gather(*(here.turns.receive(asked) for _ in range(5)))
        answer = await here.answered(asked)
        await here.turns.receive(asked)
        await asyncio.sleep(0.5)
        assert answer.text.startswith("Up to 48 hours before")
        finals = [one for one in here.connector.deliveries if isinstance(one.event, Answer)]
        assert len(finals) == 1
        kept = await here.ledger.conversation(str(asked.address))
        assert kept is not None
        assert [message.role for message in kept.messages] == ["customer", "agent"]
        assert await here.ended(asked.id) == "answered"


async def test_what_comes_while_the_answer_is_prepared_is_answered_with_it(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    model = Slow(ANSWER)
    async with place(database, knowledge, model) as here:
        first = await here.say(1, "Hi, I have a booking")
        second = await here.say(2, ASKED)
        await here.until(lambda: len(model.prompts) >= 1)
        third = await here.say(3, "It is for tomorrow")
        await here.until(lambda: "tomorrow" in str(model.prompts[-1]))
        model.sign.set()
        await here.until(lambda: any(isinstance(one.event, Answer) for one in here.connector.deliveries))
        states = {await here.ended(message.id) for message in (first, second, third)}
        assert states == {"answered", "merged"}
        assert len([one for one in here.connector.shown.values() if isinstance(one.event, Answer)]) == 1
        kept = await here.ledger.conversation(str(first.address))
        assert kept is not None
        assert [message.role for message in kept.messages] == ["customer"] * 3 + ["agent"]


async def test_an_edit_before_the_answer_counts_and_one_after_it_changes_it(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    model = Slow(ANSWER)
    async with place(database, knowledge, model) as here:
        asked = await here.say(1, "How do I cancel a booking, dear?")
        await here.until(lambda: model.prompts)
        await here.turns.receive(Edited(asked.id, asked.address, ASKED, BEGAN + timedelta(seconds=5)))
        await here.until(lambda: ASKED in str(model.prompts[-1]))
        model.sign.set()
        await here.answered(asked)
        before = len(model.prompts)
        newer = Edited(asked.id, asked.address, "How do I cancel a booking for two?", BEGAN + timedelta(seconds=9))
        await here.turns.receive(newer)
        await here.turns.receive(newer)
        await here.until(lambda: len(model.prompts) > before)
        await asyncio.sleep(0.5)
        # Under the same turn, so that the same post is edited; and once.
        assert [one.turn for one in here.connector.deliveries if isinstance(one.event, Answer)] == [asked.id] * 2
        assert here.connector.deliveries[-1].resumed
        kept = await here.ledger.conversation(str(asked.address))
        assert kept is not None
        assert [message.text for message in kept.messages if message.role == "customer"] == [newer.text]
        assert len(kept.messages) == 2


async def test_a_deleted_question_takes_its_draft_or_its_answer_with_it(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    model = Slow(ANSWER)
    async with place(database, knowledge, model) as here:
        asked = await here.say(1, ASKED)
        await here.until(lambda: any(isinstance(one.event, Draft) for one in here.connector.deliveries))
        await here.turns.receive(Deleted(asked.id, asked.address, datetime.now(UTC)))
        await here.until(lambda: asked.id not in here.connector.shown)
        assert await here.ended(asked.id) == "withdrawn"
        model.sign.set()
        other = await here.say(2, ASKED, thread="2")
        await here.answered(other)
        await here.turns.receive(Deleted(other.id, other.address, datetime.now(UTC)))
        await here.until(lambda: other.id not in here.connector.shown)
        kept = await here.ledger.conversation(str(other.address))
        assert kept is not None
        assert kept.messages == ()


async def test_stop_ends_the_answer_and_the_next_question_is_answered(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    model = Slow(ANSWER)
    async with place(database, knowledge, model) as here:
        asked = await here.say(1, ASKED)
        await here.until(lambda: any(isinstance(one.event, Draft) for one in here.connector.deliveries))
        await here.turns.receive(Stopped(asked.address, "U1", datetime.now(UTC)))
        await here.until(lambda: here.connector.deliveries[-1].event == Withdrawn(stopped=True))
        assert await here.ended(asked.id) == "stopped"
        model.sign.set()
        assert (await here.answered(await here.say(2, ASKED))).text


async def test_what_is_solved_is_no_longer_written_on_and_may_go_on(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    model = Slow(ANSWER)
    async with place(database, knowledge, model) as here:
        asked = await here.say(1, ASKED)
        await here.until(lambda: any(isinstance(one.event, Draft) for one in here.connector.deliveries))
        solved = Solved(asked.address, asked.id, "U1", asked.sent_at + timedelta(seconds=1))
        for _ in range(2):
            await here.turns.receive(solved)
        await here.until(lambda: here.connector.deliveries[-1].event == Withdrawn(stopped=True))
        assert await here.ended(asked.id) == "stopped"
        conversation = await here.ledger.conversation(asked.address)
        assert conversation is not None
        assert conversation.mode == "closed"
        model.sign.set()
        assert (await here.answered(await here.say(3, ASKED, addressed=False))).text
        await here.turns.receive(Solved(asked.address, "unknown", "U1", asked.sent_at))
        await here.turns.receive(replace(solved, address=Address("memory", "T1", "C9"), turn="unknown"))


async def test_what_was_said_over_hours_is_no_flood_when_it_comes_at_once(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    limits = Limits(conversation_per_half_minute=2)
    async with place(database, knowledge, ScriptedModel(ANSWER), limits=limits) as here:
        said = [await here.say(number * 60, ASKED) for number in range(1, 5)]
        await here.answered(said[0])
        assert {await here.ended(one.id) for one in said} <= {"answered", "merged"}
        assert all(wording.SLOW_DOWN not in str(one.event) for one in here.connector.deliveries)


async def test_a_hand_off_opens_a_ticket_and_tells_staff_once(database: Path | str, knowledge: KnowledgeBase) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        asked = await here.say(1, "I want to talk to a person", wants_person=True)
        result = await here.answered(asked)
        assert isinstance(result, Handoff)
        assert "We answer on weekdays." in result.text
        again = await here.answered(await here.say(2, "A person please"))
        assert isinstance(again, Handoff)
        assert [ticket.number for ticket in here.connector.told] == [1]
        (ticket,) = await here.ledger.tickets()
        assert ticket.staff_post == "post-1"
        assert ticket.customer == "memory:T1/U1"


async def test_staff_in_the_thread_make_the_agent_quiet_until_it_is_asked(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        await here.answered(await here.say(1, ASKED))
        await here.say(2, "I will take this.", author="S1", role="staff", addressed=False)
        quiet = await here.say(3, "Thank you! How do I cancel?", addressed=False)
        await asyncio.sleep(0.5)
        assert quiet.id not in here.connector.shown
        asked = await here.say(4, ASKED, addressed=True)
        await here.answered(asked)
        assert await here.ended(asked.id) == "answered"


async def test_follow_ups_need_no_mention_and_talk_between_people_is_left_alone(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        unasked = await here.say(1, ASKED, addressed=False)
        first = await here.say(2, ASKED, thread="t")
        await here.answered(first)
        follow_up = await here.say(3, "And for two bookings?", thread="t", addressed=False)
        await here.answered(follow_up)
        others = await here.say(4, "I had this too, how odd?", thread="t", addressed=False, author="U2")
        to_a_person = await here.say(5, "@Ana can you look?", thread="t", addressed=False, to_others=True)
        await asyncio.sleep(0.4)
        assert not {unasked.id, others.id, to_a_person.id} & set(here.connector.shown)


async def test_only_when_sure_speaks_up_with_an_answer_and_is_silent_otherwise(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    room = Room(answering="only-when-sure", handoff_message="", staff=STAFF)
    async with place(database, knowledge, ScriptedModel(ANSWER), room=room) as here:
        known = question(1, ASKED, thread="0000000001.000100", addressed=False)
        unknown = question(2, "What is the weather in Oslo?", thread="0000000002.000100", addressed=False)
        chatter = question(3, "Good morning all", thread="0000000003.000100", addressed=False)
        for message in (known, unknown, chatter):
            await here.turns.receive(message)
        assert isinstance(await here.answered(known), Answer)
        assert await here.ended(unknown.id) == "quiet"
        assert set(here.connector.shown) == {known.id}
        assert not any(isinstance(one.event, Draft) for one in here.connector.deliveries)
        assert await here.ledger.tickets() == []


async def test_internal_documents_are_not_shown_where_outsiders_read(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    room = Room(audiences=frozenset({"public", "internal"}), handoff_message="Later.")
    asked = "How do agents override the refund limit?"
    model = ScriptedModel("With code R7 [1].")
    async with place(database, knowledge, model, room=room) as here:
        inside = await here.answered(await here.say(1, asked))
        assert isinstance(inside, Answer)
        assert inside.citations[0].audience == "internal"
        outside = await here.answered(await here.say(2, asked, thread="x", outsiders=True))
        assert isinstance(outside, Handoff)
        # Someone from outside came in since the question was asked.
        here.connector.strangers = True
        late = await here.answered(await here.say(3, asked, thread="y"))
        assert isinstance(late, Handoff)
        assert "R7" not in late.text
        # Neither as a draft, nor from what was said before in the same thread.
        assert "R7" not in "".join(str(one.event) for one in here.connector.deliveries if one.address.thread != "1")
        before = len(model.prompts)
        await here.answered(await here.say(4, "How do I cancel a booking?", outsiders=True))
        assert model.prompts[before:]
        assert "R7" not in str(model.prompts[before:])


async def test_changes_that_come_before_their_message_count(database: Path | str, knowledge: KnowledgeBase) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        deleted, edited = question(1, ASKED, thread="d"), question(2, "How do I canel?", thread="e")
        await here.turns.receive(Deleted(deleted.id, deleted.address, datetime.now(UTC)))
        await here.turns.receive(Edited(edited.id, edited.address, ASKED, datetime.now(UTC)))
        await here.turns.receive(deleted)
        await here.turns.receive(edited)
        assert isinstance(await here.answered(edited), Answer)
        assert deleted.id not in {row.id for row in await here.ledger.turns()}


async def test_the_reply_stays_where_its_turn_began(database: Path | str, knowledge: KnowledgeBase) -> None:
    """In a chat of two each message begins a thread of its own: a turn that goes on elsewhere would be shown twice."""
    model = Slow(ANSWER)
    async with place(database, knowledge, model) as here:
        first = await here.say(1, ASKED, thread="0000000001.000100", joins=True)
        await here.until(lambda: any(isinstance(one.event, Draft) for one in here.connector.deliveries))
        await here.say(2, "For two", thread="0000000002.000100", joins=True)
        await here.until(lambda: "For two" in str(model.prompts[-1]))
        model.sign.set()
        await here.answered(first)
        places = {one.question.reply_in for one in here.connector.deliveries if one.question is not None}
        assert places == {""}
        assert {one.address.thread for one in here.connector.deliveries} == {"0000000001.000100"}


async def test_a_ticket_says_what_it_is_about(database: Path | str, knowledge: KnowledgeBase) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        await here.answered(await here.say(1, ASKED))
        await here.answered(await here.say(2, "I would like to talk to a person.", wants_person=True))
        (ticket,) = await here.ledger.tickets()
        assert ASKED in ticket.question


@pytest.mark.parametrize("thread", ["", "1.5"])
async def test_a_private_answer_is_shared_once_when_asked(
    database: Path | str, knowledge: KnowledgeBase, thread: str
) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        asked = await here.say(1, ASKED, thread="private-U1", private_reply="https://hooks.example/1")
        await here.answered(asked)
        assert not any(isinstance(one.event, Draft) for one in here.connector.deliveries)
        there = Address("memory", "T1", "C1", thread)
        shared = Shared(asked.id, there, "U1", datetime.now(UTC))
        await here.turns.receive(replace(shared, address=Address("memory", "T1", "C2", thread)))
        await here.turns.receive(shared)
        await here.turns.receive(shared)
        await here.until(lambda: len(here.connector.shown) == 2)
        await asyncio.sleep(0.3)
        assert len([one for one in here.connector.deliveries if isinstance(one.event, Answer)]) == 2
        last = here.connector.deliveries[-1]
        assert last.address == there
        assert last.question is not None
        assert last.question.private_reply == ""


async def test_files_are_read_before_the_answer(database: Path | str, knowledge: KnowledgeBase) -> None:
    connector = MemoryConnector()
    connector.files["f1"] = b"ERROR 4711: cancel a booking failed"
    model = ScriptedModel(ANSWER)
    async with place(database, knowledge, model, connector=connector) as here:
        log = Attachment("app.log", "text/plain", 40, source="f1")
        gone = Attachment("b.txt", "text/plain", 40, source="f2")
        result = await here.answered(await here.say(1, ASKED, attachments=(log, gone)))
        assert "ERROR 4711" in str(model.prompts[-1])
        assert "b.txt" in result.text


async def test_what_is_too_old_goes_to_staff(database: Path | str, knowledge: KnowledgeBase) -> None:
    model = ScriptedModel(ANSWER)
    async with place(database, knowledge, model) as here:
        old = await here.say(1, ASKED, sent_at=datetime.now(UTC) - timedelta(hours=1))
        result = await here.answered(old)
        assert isinstance(result, Handoff)
        assert result.text.startswith("I'm sorry that you had to wait")
        assert not model.prompts
        assert len(here.connector.told) == 1


async def test_a_turn_that_fails_ends_in_an_apology_and_can_be_run_again(
    database: Path | str, knowledge: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    def says(prompt: Prompt) -> str:
        if broken:
            raise RuntimeError("secret detail")
        return ANSWER

    async with place(database, knowledge, ScriptedModel(says)) as here:
        asked = await here.say(1, ASKED)
        result = await here.answered(asked)
        assert isinstance(result, Handoff)
        assert "secret" not in result.text
        (row,) = await here.ledger.turns("failed")
        assert "RuntimeError: secret detail" in row.error
        assert len(await here.ledger.tickets()) == 1
        broken = False
        assert await here.ledger.retry(asked.id)
        monkeypatch.setattr("agent.turns.RECONCILE_SECONDS", 0.1)
        await here.turns._submit_forgotten(timedelta(0))
        await here.until(lambda: isinstance(here.final(asked.id), Answer))
        assert await here.ended(asked.id) == "answered"


async def test_a_reply_that_cannot_be_shown_becomes_a_ticket(database: Path | str, knowledge: KnowledgeBase) -> None:
    connector = MemoryConnector((), DeliveryError("The channel is archived.", gone=True))
    async with place(database, knowledge, ScriptedModel(ANSWER), connector=connector) as here:
        asked = await here.say(1, ASKED)
        assert await here.ended(asked.id) == "failed"
        (row,) = await here.ledger.turns("failed")
        assert "archived" in row.error
        await here.until(lambda: [ticket.turn for ticket in here.connector.told] == [asked.id])


async def test_what_was_stored_and_never_queued_is_found_at_the_start(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    ledger = Ledger(database)
    asked = question(1, ASKED)
    await ledger.accept(asked)
    await ledger.close()
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        assert isinstance(await here.answered(asked), Answer)


async def test_a_flood_is_told_to_slow_down_once(database: Path | str, knowledge: KnowledgeBase) -> None:
    limits = Limits(conversation_per_half_minute=3)
    async with place(database, knowledge, ScriptedModel(ANSWER), limits=limits) as here:
        for number in range(1, 9):
            await here.say(number, f"How do I cancel booking {number}?")
        await asyncio.sleep(1.5)
        finals = [one.event for one in here.connector.shown.values() if isinstance(one.event, Answer)]
        assert len([one for one in finals if "a lot at once" in one.text]) == 1
        assert len(finals) <= 3


async def test_a_full_queue_says_so_at_once(database: Path | str, knowledge: KnowledgeBase) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER), limits=Limits(queue=0)) as here:
        result = await here.answered(await here.say(1, ASKED))
        assert isinstance(result, Handoff)
        assert "Very many people" in result.text


async def test_fault_091_what_is_retired_while_it_is_written_is_not_shown(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    model = Slow(ANSWER, "I do not know. [[unsure]]")
    async with place(database, knowledge, model) as here:
        asked = await here.say(1, ASKED)
        await here.until(lambda: any(isinstance(one.event, Draft) for one in here.connector.deliveries))
        await knowledge.retire(["cancel"], Act("anna", "it is wrong"))
        retired = len(here.connector.deliveries)
        await asyncio.sleep(LOOK_SECONDS)
        model.sign.set()
        result = await here.answered(asked)
        # Another source may be found, but not the one that was retired.
        assert isinstance(result, Handoff) or all(one.document != "cancel" for one in result.citations)
        drafts = [one.event.text for one in here.connector.deliveries[retired:] if isinstance(one.event, Draft)]
        assert drafts[:1] == [wording.AGAIN]
        assert not any("48 hours" in text for text in drafts)
        assert not any("48 hours before" in str(prompt) for prompt in model.prompts[1:])


async def test_fault_091_what_is_retired_before_it_is_sent_is_not_shown(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    async def decided(message: Message) -> None:
        """As a process leaves a turn that dies before it delivers."""
        hits = (await knowledge.search(Query(ASKED))).hits
        cited = next(hit for hit in hits if hit.passage.document == "cancel")
        citation = Citation(1, "cancel", "Cancel", None, cited.passage.text)
        ledger = Ledger(database)
        await ledger.accept(message)
        begun = await ledger.begin(message.id)
        assert isinstance(begun, Begun)
        assert await ledger.decide(message.id, begun.revision, Answer(ANSWER, (citation,))) is not None
        await ledger.close()

    kept, gone = question(1, ASKED, thread="1"), question(2, ASKED, thread="2")
    await decided(kept)
    model = ScriptedModel("I do not know. [[unsure]]")
    async with place(database, knowledge, model) as here:
        result = await here.answered(kept)
        assert isinstance(result, Answer), "what stands is sent as it was decided"
        assert model.prompts == []
    await decided(gone)
    await knowledge.retire(["cancel"], Act("anna"))
    async with place(database, knowledge, model) as here:
        result = await here.answered(gone)
        assert isinstance(result, Handoff)
        assert not any(isinstance(one.event, Answer) for one in here.connector.deliveries)
        said = await here.ledger.conversation(str(gone.address))
        assert said is not None
        assert [(one.role, one.outcome) for one in said.messages] == [("customer", None), ("agent", "handoff")]


async def test_fault_091_what_is_retired_while_the_platform_is_away_is_not_shown(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    class Away(MemoryConnector):
        refused = 0
        is_away = True

        async def deliver(self, delivery: Delivery, /) -> None:
            if self.is_away and isinstance(delivery.event, Answer | Handoff):
                self.refused += 1
                raise DeliveryError("The platform cannot be reached.")
            await super().deliver(delivery)

    connector = Away()
    model = ScriptedModel(ANSWER, "I do not know. [[unsure]]")
    async with place(database, knowledge, model, connector=connector) as here:
        asked = await here.say(1, ASKED)
        await here.until(lambda: connector.refused)
        await knowledge.retire(["cancel"], Act("anna"))
        connector.is_away = False
        result = await here.answered(asked)
        assert isinstance(result, Handoff) or all(one.document != "cancel" for one in result.citations)
        assert connector.refused == 1
        finals = [one.event for one in connector.deliveries if isinstance(one.event, Answer | Handoff)]
        assert finals == [result]


async def test_an_answer_that_rests_on_what_was_retired_is_not_shared(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        asked = await here.say(1, ASKED, thread="private-U1", private_reply="https://hooks.example/1")
        assert isinstance(await here.answered(asked), Answer)
        await knowledge.retire(["cancel"], Act("anna"))
        there = Address("memory", "T1", "C1")
        await here.turns.receive(Shared(asked.id, there, "U1", datetime.now(UTC)))
        await here.until(lambda: len(here.connector.shown) == 2)
        last = here.connector.deliveries[-1]
        assert (last.address, last.event) == (there, Answer(wording.OUTDATED))


async def test_feedback_is_kept(database: Path | str, knowledge: KnowledgeBase) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        asked = await here.say(1, ASKED)
        await here.answered(asked)
        given: list[Inbound] = [
            Feedback(asked.address, asked.id, "U1", False, datetime.now(UTC)),
            Feedback(asked.address, asked.id, "U1", False, datetime.now(UTC), "It was about hotels"),
        ]
        for one in given:
            await here.turns.receive(one)
        (kept,) = await here.ledger.feedback()
        assert (kept.helpful, kept.reason) == (False, "It was about hotels")


async def test_nothing_is_taken_in_once_it_stops(database: Path | str, knowledge: KnowledgeBase) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        await here.turns.stop(1)
        with pytest.raises(EngineError):
            await here.say(1, ASKED)


async def test_a_follow_up_that_comes_before_its_thread_is_answered(
    database: Path | str, knowledge: KnowledgeBase
) -> None:
    async with place(database, knowledge, ScriptedModel(ANSWER)) as here:
        root = question(1, ASKED, thread="0000000001.000100", sent_at=datetime.now(UTC))
        follow_up = question(2, "And for two?", thread="0000000001.000100", addressed=False, sent_at=datetime.now(UTC))
        stranger = replace(follow_up, id=f"{root.address.channel}#0000000003.000100", author="U2")
        for one in (follow_up, stranger, root):
            await here.turns.receive(one)
        await here.until(lambda: here.connector.shown)
        assert {await here.ended(root.id), await here.ended(follow_up.id)} == {"answered", "merged"}
        assert stranger.id not in {row.id for row in await here.ledger.turns()}


async def test_a_late_beginning_of_a_thread_is_caught_up_with(database: Path | str, knowledge: KnowledgeBase) -> None:
    root = question(1, ASKED, thread="0000000001.000100", sent_at=datetime.now(UTC) - timedelta(seconds=5))
    follow_up = question(2, "And for two?", thread="0000000001.000100", addressed=False, sent_at=datetime.now(UTC))
    connector = MemoryConnector([root, follow_up])
    async with place(database, knowledge, ScriptedModel(ANSWER), connector=connector) as here:
        # Another process heard the follow-up, and did not know the thread.
        await here.turns.receive(root)
        assert {await here.ended(root.id), await here.ended(follow_up.id)} == {"answered", "merged"}
