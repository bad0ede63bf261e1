"""Session: order, doubled messages, drafts, and what happens when everything fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.graph import SupportAgent
from agent.messages import Address, Answer, Draft, Feedback, Handoff, Message
from agent.models.base import Prompt
from agent.session import Session
from agent.testing import MemoryConnector, ScriptedModel
from knowledge.base import KnowledgeBase


def message(number: int, text: str, room: str = "r") -> Message:
    return Message(f"m{number}", Address("memory", "s", room), "Ada", "customer", text, datetime.now(UTC))


@pytest.fixture
async def knowledge(tmp_path: Path) -> AsyncIterator[KnowledgeBase]:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "pets.md").write_text("# Pets\n\nDogs are welcome for a fee of 20 euros.\n")
    base = KnowledgeBase(tmp_path / "data", None)
    await base.sync(tmp_path / "documents")
    yield base
    await base.close()


async def run(agent: SupportAgent, connector: MemoryConnector) -> Session:
    session = Session(agent, connector.deliver, handoff_message="A person will write to you.")
    await connector.listen(session.receive)
    return session


async def test_the_draft_grows_and_the_answer_replaces_it(knowledge: KnowledgeBase) -> None:
    connector = MemoryConnector([message(1, "Are dogs welcome?")])
    await run(SupportAgent(ScriptedModel("Yes, for a fee. [1]"), knowledge), connector)
    drafts = [delivery.event.text for delivery in connector.deliveries if isinstance(delivery.event, Draft)]
    assert drafts == sorted(drafts, key=len)
    assert drafts[-1] == "Yes, for a fee. [1]"
    assert {delivery.turn for delivery in connector.deliveries} == {"m1"}
    assert isinstance(connector.shown["m1"].event, Answer)


async def test_the_transcript_holds_both_sides(knowledge: KnowledgeBase) -> None:
    connector = MemoryConnector([message(1, "Are dogs welcome?"), message(2, "Thanks!")])
    session = await run(SupportAgent(ScriptedModel("Yes, for a fee. [1]"), knowledge), connector)
    conversation = session.conversation("memory:s/r")
    assert conversation is not None
    assert [one.role for one in conversation.messages] == ["customer", "agent"] * 2
    assert conversation.messages[1].outcome == "answered"


async def test_a_doubled_message_is_answered_once(knowledge: KnowledgeBase) -> None:
    model = ScriptedModel("Yes, for a fee. [1]")
    connector = MemoryConnector([message(1, "Are dogs welcome?")] * 3)
    await run(SupportAgent(model, knowledge), connector)
    assert len(model.prompts) == 1


async def test_one_conversation_in_order_and_different_ones_at_once(knowledge: KnowledgeBase) -> None:
    running: list[str] = []
    most = 0

    class Slow(ScriptedModel):
        async def stream(self, prompt: Prompt, /):  # type: ignore[no-untyped-def]
            nonlocal most
            running.append(prompt.question)
            most = max(most, len(running))
            await asyncio.sleep(0.05)
            running.remove(prompt.question)
            async for chunk in super().stream(prompt):
                yield chunk

    connector = MemoryConnector()
    agent = SupportAgent(Slow("Yes. [1]"), knowledge)
    session = Session(agent, connector.deliver, handoff_message="")
    messages = [message(n, "Are dogs welcome?", room=f"r{n % 3}") for n in range(9)]
    await asyncio.gather(*(session.receive(one) for one in messages))
    assert most == 3
    for room in range(3):
        conversation = session.conversation(f"memory:s/r{room}")
        assert conversation is not None
        asked = [one.id for one in conversation.messages if one.role == "customer"]
        assert asked == [f"m{n}" for n in range(9) if n % 3 == room]


async def test_whatever_goes_wrong_the_customer_gets_an_honest_sentence(
    knowledge: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    def burn(prompt: Prompt) -> str:
        raise RuntimeError("secret detail")

    connector = MemoryConnector([message(1, "Are dogs welcome?"), message(2, "Are cats welcome?")])
    with caplog.at_level(logging.ERROR):
        await run(SupportAgent(ScriptedModel(burn), knowledge), connector)
    for turn in ("m1", "m2"):
        event = connector.shown[turn].event
        assert isinstance(event, Handoff)
        assert event.reason == "failed"
        assert event.text == "I can't answer this right now. A person will write to you."
    assert "secret detail" in caplog.text


async def test_feedback_is_kept(knowledge: KnowledgeBase) -> None:
    word = Feedback(
        Address("memory", "s", "r"), "m1", "Ada", helpful=False, given_at=datetime.now(UTC), reason="too short"
    )
    session = await run(SupportAgent(ScriptedModel("x"), knowledge), MemoryConnector([word]))
    assert session.feedback == [word]
