"""The agent and its models: a model for each role, what is asked once more, filters, budgets, long conversations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import ModelDenied, ModelFiltered, ModelUnreachable
from agent.graph import Persona, SupportAgent
from agent.ledger import Ledger
from agent.messages import Address, Answer, Conversation, Delta, Handoff, Message, ReplyEvent, Summary
from agent.models.base import ModelBackend, Role
from agent.models.metering import Budget, Meter
from agent.models.openai_compatible import OpenAICompatible
from agent.models.presets import Catalogue, built_in
from agent.models.pricing import Price, Rate
from agent.models.quotes import Quotes
from agent.models.routing import FallbackChain, Models
from agent.session import Session
from agent.testing import MemoryConnector, ScriptedModel
from knowledge.base import KnowledgeBase
from tests.servers.model_server import ModelServer, says, serving

ADDRESS = Address("test", "space", "room")
PETS = "Dogs and cats are welcome in most homes for a fee of 20 euros a night, paid to the host at check-in."
QUESTION = "Are dogs welcome in the homes, and what is the fee a night?"
TOLD = f"{PETS} [1]"


@pytest.fixture
async def knowledge(tmp_path: Path) -> AsyncIterator[KnowledgeBase]:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "pets.md").write_text(f"# Pets\n\n{PETS}\n")
    (tmp_path / "documents" / "keys.md").write_text("# Keys\n\nThe host hands the keys over between 15 and 20 h.\n")
    base = KnowledgeBase(tmp_path / "data", None)
    await base.sync(tmp_path / "documents")
    yield base
    await base.close()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer()) as running:
        yield running


@pytest.fixture
async def remote(server: ModelServer) -> AsyncIterator[OpenAICompatible]:
    backend = OpenAICompatible(Catalogue(built_in()).endpoint(server.choice))
    yield backend
    await backend.close()


def roles(**models: ModelBackend) -> Models:
    return Models(lambda role, _: models.get(role))


def said(text: str, number: int, role: str = "customer") -> Message:
    assert role in ("customer", "agent")
    return Message(
        f"m{number}",
        ADDRESS,
        role,
        "agent" if role == "agent" else "customer",
        text,
        datetime.now(UTC),
        outcome="answered" if role == "agent" else None,
    )


async def reply(knowledge: KnowledgeBase, models: ModelBackend | Models, *texts: str) -> list[ReplyEvent]:
    messages = tuple(
        said(text, number, "customer" if (len(texts) - number) % 2 else "agent") for number, text in enumerate(texts)
    )
    agent = SupportAgent(models, knowledge, Persona("Larkstay", "A colleague answers within a day."))
    return [event async for event in agent.reply(Conversation(ADDRESS, messages))]


# Roles ----------------------------------------------------------------------------------------------------------------


def sorted_as(intent: str, standalone: str = QUESTION) -> ScriptedModel:
    return ScriptedModel(json.dumps({"intent": intent, "standalone": standalone}), name="triage")


async def test_triage_sorts_and_rewrites_in_one_call(knowledge: KnowledgeBase) -> None:
    triage, rewrite, answer = sorted_as("question"), ScriptedModel("never"), ScriptedModel(TOLD, name="answer")
    models = roles(triage=triage, rewrite=rewrite, answer=answer)
    *_, result = await reply(knowledge, models, "Hi, I have a dog.", "How can I help?", "Is that a problem?")
    assert isinstance(result, Answer)
    assert result.provenance.model == "answer"
    assert (len(triage.prompts), len(rewrite.prompts), len(answer.prompts)) == (1, 0, 1)
    assert answer.prompts[0].question == QUESTION, "what stands alone is looked up"


@pytest.mark.parametrize(("intent", "reason"), [("person", "asked"), ("refuse", "policy")])
async def test_what_triage_sorts_out_costs_no_answer(knowledge: KnowledgeBase, intent: str, reason: str) -> None:
    answer = ScriptedModel(TOLD)
    *_, result = await reply(knowledge, roles(triage=sorted_as(intent, ""), answer=answer), QUESTION)
    assert isinstance(result, Handoff)
    assert (result.reason, answer.prompts) == (reason, [])


@pytest.mark.parametrize("broken", [ScriptedModel("no JSON at all"), ScriptedModel(ModelUnreachable("gone"))])
async def test_without_triage_the_rules_stand(knowledge: KnowledgeBase, broken: ScriptedModel) -> None:
    *_, result = await reply(knowledge, roles(triage=FallbackChain([broken]), answer=ScriptedModel(TOLD)), QUESTION)
    assert isinstance(result, Answer)
    assert result.provenance.notes


async def test_a_judge_stops_what_the_sources_do_not_say(knowledge: KnowledgeBase) -> None:
    judge = ScriptedModel('{"unsupported": ["Horses are free."], "grounded": false}', name="judge")
    *_, result = await reply(knowledge, roles(answer=ScriptedModel(TOLD), judge=judge), QUESTION)
    assert isinstance(result, Handoff)
    assert result.reason == "unsure"
    assert "Horses are free." in result.summary or any("Horses" in note for note in result.provenance.notes)
    assert PETS in judge.prompts[0].messages[-1].content


async def test_a_judge_that_agrees_or_fails_lets_it_pass(knowledge: KnowledgeBase) -> None:
    for judge in (ScriptedModel('{"unsupported": [], "grounded": true}'), ScriptedModel(ModelUnreachable("gone"))):
        *_, result = await reply(knowledge, roles(answer=ScriptedModel(TOLD), judge=judge), QUESTION)
        assert isinstance(result, Answer)


async def test_quotes_are_not_judged(knowledge: KnowledgeBase) -> None:
    judge = ScriptedModel("never")
    *_, result = await reply(knowledge, roles(answer=Quotes(), judge=judge), QUESTION)
    assert isinstance(result, Answer)
    assert judge.prompts == []


async def test_a_channel_may_have_its_own_model(knowledge: KnowledgeBase) -> None:
    here, there = ScriptedModel(TOLD, name="here"), ScriptedModel(TOLD, name="there")

    def choose(role: Role, address: Address) -> ModelBackend | None:
        return (here if address.room == "room" else there) if role == "answer" else None

    agent = SupportAgent(Models(choose), knowledge)
    for room, name in (("room", "here"), ("other", "there")):
        address = replace(ADDRESS, room=room)
        conversation = Conversation(address, (replace(said(QUESTION, 1), address=address),))
        *_, result = [event async for event in agent.reply(conversation)]
        assert isinstance(result, Answer)
        assert result.provenance.model == name


# Asked once more ------------------------------------------------------------------------------------------------------


async def test_fault_010_an_answer_that_is_cut_is_asked_again_shorter(
    knowledge: KnowledgeBase, server: ModelServer, remote: OpenAICompatible
) -> None:
    long = says(f"{TOLD} And then there is one more thing that I", finish="length")
    server.plays = [long, says("Yes, for 20 euros a night. [1]")]
    *drafts, result = await reply(knowledge, remote, QUESTION)
    assert isinstance(result, Answer)
    assert result.text == "Yes, for 20 euros a night. [1]"
    assert "Answer again in at most" in server.calls[1].said
    shown = "".join(event.text for event in drafts if isinstance(event, Delta))
    assert "20 euros a night. [1]" not in shown.removeprefix(TOLD), "the second try is not added to the draft"
    assert result.provenance.usage.prompt_tokens == 200, "both count"


async def test_fault_010_never_half_a_sentence(
    knowledge: KnowledgeBase, server: ModelServer, remote: OpenAICompatible
) -> None:
    server.plays = [says(f"{TOLD} And then there is one more thing that I", finish="length")]
    *_, result = await reply(knowledge, remote, QUESTION)
    assert isinstance(result, Answer)
    assert result.text == TOLD


async def test_fault_019_a_wrong_language_is_asked_again_once(knowledge: KnowledgeBase) -> None:
    german = "Hunde und Katzen sind in den meisten Wohnungen willkommen, und das ist eine Gebühr von 20 Euro. [1]"
    model = ScriptedModel(german, TOLD)
    *_, result = await reply(knowledge, model, QUESTION)
    assert isinstance(result, Answer)
    assert result.text == TOLD
    assert "Answer again in English" in model.prompts[1].messages[-1].content
    stubborn = ScriptedModel(german)
    *_, result = await reply(knowledge, stubborn, QUESTION)
    assert isinstance(result, Answer)
    assert (result.text, len(stubborn.prompts)) == (german, 2)


# What fails -----------------------------------------------------------------------------------------------------------


async def test_fault_013_a_refusal_is_a_plain_note_and_a_hand_off(knowledge: KnowledgeBase) -> None:
    *_, result = await reply(knowledge, ScriptedModel(ModelFiltered("the provider's filter")), QUESTION)
    assert isinstance(result, Handoff)
    assert result.reason == "policy"
    assert "A colleague answers within a day." in result.text
    assert "filter" not in result.text
    assert result.provenance.filtered


async def test_a_filtered_message_leaves_the_history(knowledge: KnowledgeBase) -> None:
    model = ScriptedModel(ModelFiltered("stopped"), "Are cats welcome?", TOLD)
    connector = MemoryConnector([said(f"{QUESTION} And poison?", 1), said("And are cats welcome?", 2)])
    turns = Session(SupportAgent(model, knowledge), connector.deliver, handoff_message="")
    await connector.listen(turns.receive)
    await turns.settle()
    later = " ".join(message.content for prompt in model.prompts[1:] for message in prompt.messages)
    assert "poison" not in later
    conversation = turns.conversation(str(ADDRESS))
    assert conversation is not None
    assert [message.withheld for message in conversation.messages] == [True, False, False, False]


async def test_fault_016_a_revoked_key_is_a_hand_off(knowledge: KnowledgeBase) -> None:
    chain = FallbackChain([ScriptedModel(ModelDenied("the key is not accepted", "Make a new one."))])
    for _ in range(2):
        *_, result = await reply(knowledge, chain, QUESTION)
        assert isinstance(result, Handoff)
        assert result.reason == "failed"
        assert "key" not in result.text
        assert any("the key is not accepted" in note for note in result.provenance.notes)


# Budgets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [True, False])
async def test_a_spent_budget_stops_before_money_is_spent(
    knowledge: KnowledgeBase, server: ModelServer, tmp_path: Path, last: bool
) -> None:
    server.plays = [says(TOLD, usage=(100, 20))]
    endpoint = Catalogue(built_in()).endpoint(server.choice)
    priced = OpenAICompatible(replace(endpoint, price=Price(Rate(1.0, 10.0))))
    ledger = Ledger(tmp_path / "ledger")
    meter = Meter(ledger, {"person": Budget(usd=0.0085)})
    chain = FallbackChain([priced, Quotes()] if last else [priced], meter=meter)
    results = [(await reply(knowledge, chain, QUESTION))[-1] for _ in range(8)]
    await chain.close()
    await ledger.close()
    assert isinstance(results[0], Answer)
    assert results[0].provenance.usage.cost_usd == pytest.approx(0.0003)
    assert 1 <= len(server.calls) < 8
    stopped = results[-1]
    assert any("budget" in note for note in stopped.provenance.notes), "staff are told"  # type: ignore[union-attr]
    if last:
        assert isinstance(stopped, Answer)
        assert "limit" in stopped.text, "the customer is told"
        assert stopped.provenance.model == "quotes"
    else:
        assert isinstance(stopped, Handoff)
        assert stopped.reason == "policy"
        assert "limit" in stopped.text


# Long conversations ---------------------------------------------------------------------------------------------------


async def test_a_long_conversation_is_summed_up(knowledge: KnowledgeBase) -> None:
    notes = ScriptedModel("Ada asked about dogs; order 4711.", name="notes")
    answer = ScriptedModel(TOLD)
    models = roles(answer=answer, summarise=notes)
    connector = MemoryConnector([said(f"Question {number}: {QUESTION}", number) for number in range(7)])
    turns = Session(SupportAgent(models, knowledge), connector.deliver, handoff_message="")
    for message in connector.inbound:
        await turns.receive(message)
        await turns.settle()
    conversation = turns.conversation(str(ADDRESS))
    assert conversation is not None
    assert conversation.summary == Summary("Ada asked about dogs; order 4711.", "m3/reply")
    assert len(notes.prompts) == 2
    assert "Ada asked about dogs" in notes.prompts[1].messages[-1].content, "on top of the earlier one"
    last = [message.content for message in answer.prompts[-1].messages]
    assert "Ada asked about dogs; order 4711." in last[1]
    assert not any("Question 1:" in content for content in last)
    assert any("Question 5:" in content for content in last)


async def test_a_summary_that_fails_costs_nothing_else(knowledge: KnowledgeBase) -> None:
    models = roles(answer=ScriptedModel(TOLD), summarise=ScriptedModel(ModelUnreachable("gone")))
    connector = MemoryConnector([said(QUESTION, number) for number in range(6)])
    turns = Session(SupportAgent(models, knowledge), connector.deliver, handoff_message="")
    await connector.listen(turns.receive)
    await turns.settle()
    conversation = turns.conversation(str(ADDRESS))
    assert conversation is not None
    assert conversation.summary is None
    assert len(conversation.messages) == 12


async def test_the_beginning_of_the_prompt_stays_the_same(knowledge: KnowledgeBase) -> None:
    model = ScriptedModel(TOLD)
    await reply(knowledge, roles(answer=model), QUESTION)
    await reply(knowledge, roles(answer=model), QUESTION, TOLD, QUESTION)
    first, second = (prompt.messages for prompt in model.prompts)
    assert first[0] == second[0]
    assert second[1].content == QUESTION
