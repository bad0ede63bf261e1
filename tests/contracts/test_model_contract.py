"""What every model backend must do, the shipped fake too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.errors import ModelError
from agent.messages import Usage
from agent.models.base import Chunk, ModelBackend, Prompt, PromptMessage, complete
from agent.models.openai_compatible import OpenAICompatible
from agent.models.presets import Catalogue, built_in
from agent.models.quotes import Quotes
from agent.models.routing import FallbackChain
from agent.testing import ScriptedModel
from knowledge.documents import Passage
from knowledge.search import Hit, SearchResult, Why
from tests.servers.model_server import Call, ModelServer, Play, says, serving

TEXT = "Cancel up to 5 days before check-in for a full refund."
QUESTION = "When can I cancel for a full refund?"
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["question", "other"]}, "sure": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["kind", "sure"],
    "additionalProperties": False,
}
FITS = {"kind": "question", "sure": 0.9}
REPLIES = {
    "bare": json.dumps(FITS),
    "spread out": json.dumps(FITS, indent=2),
    "fenced": f"```json\n{json.dumps(FITS)}\n```",
    "in prose": f"Here it is: {json.dumps(FITS)} I hope it helps.",
    "prose": f"{TEXT} [1]",
    "a list": json.dumps([FITS]),
    "a number": "5",
    "too little": '{"kind": "question"}',
    "too much": json.dumps({**FITS, "more": 1}),
    "out of range": '{"kind": "question", "sure": 7}',
    "another type": '{"kind": "question", "sure": "0.9"}',
    "not a number": '{"kind": "question", "sure": NaN}',
    "cut": json.dumps(FITS)[:-4],
    "nested deeply": "{" * 3_000,
    "nothing": " ",
}


def found() -> SearchResult:
    passage = Passage("cancel#1", "cancel", "Cancelling", (), TEXT, 0)
    hit = Hit(passage, 1.0, Why(0.8, 5.0, 20.0, ("cancel", "refund")))
    return SearchResult("hybrid", (hit,), confidence=1.0, weights={"cancel": 2.0, "full": 1.0, "refund": 2.0})


def reply_to(question: str) -> str:
    """What a model of these tests says: the reply that the question names, else the answer."""
    return REPLIES.get(question, f"{TEXT} [1]")


def play(call: Call) -> Play:
    # What comes together is read together.
    return says(reply_to(call.body["messages"][-1]["content"]), pause=0.001)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with serving(ModelServer(by_prompt=play)) as running:
        yield running


@pytest.fixture(params=["quotes", "scripted", "openai_compatible", "chain"])
async def backend(request: pytest.FixtureRequest, server: ModelServer) -> AsyncIterator[ModelBackend]:
    where = Catalogue(built_in()).endpoint(server.choice)
    makers: dict[str, Callable[[], ModelBackend]] = {
        "quotes": lambda: Quotes(),
        "scripted": lambda: ScriptedModel(lambda prompt: reply_to(prompt.messages[-1].content)),
        "openai_compatible": lambda: OpenAICompatible(where),
        "chain": lambda: FallbackChain([OpenAICompatible(where), Quotes()]),
    }
    made = makers[request.param]()
    yield made
    await made.close()


def prompt(question: str = QUESTION, schema: Mapping[str, Any] | None = None) -> Prompt:
    messages = (PromptMessage("system", "Answer."), PromptMessage("user", question))
    return Prompt("answer" if schema is None else "triage", messages, question, found(), schema=schema)


async def collect(backend: ModelBackend, asked: Prompt | None = None) -> list[Chunk]:
    async with aclosing(backend.stream(asked or prompt())) as chunks:
        return [chunk async for chunk in chunks]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def test_it_streams_text_and_ends_with_one_finish(backend: ModelBackend) -> None:
    chunks = await collect(backend)
    assert TEXT in text_of(chunks)
    assert len([chunk for chunk in chunks if chunk.text]) > 1
    assert [chunk.finish for chunk in chunks if chunk.finish] == ["stop"]
    assert chunks[-1].finish == "stop"


async def test_the_last_chunk_alone_tells_the_usage(backend: ModelBackend) -> None:
    chunks = await collect(backend)
    assert all(chunk.usage == Usage() for chunk in chunks[:-1])
    assert chunks[-1].usage.prompt_tokens >= 0
    assert chunks[-1].model


async def test_nothing_is_parsed_or_called_that_was_not_asked_for(backend: ModelBackend) -> None:
    for chunk in await collect(backend):
        assert chunk.parsed is None
        assert chunk.tool_calls == ()
        assert chunk.reasoning == ""


async def test_an_estimate_is_at_hand_before_the_call(backend: ModelBackend) -> None:
    usage = backend.estimate(prompt(), 100)
    assert usage.completion_tokens in (0, 100)
    assert usage.prompt_tokens >= 0
    assert usage.cost_usd is None or usage.cost_usd >= 0
    longer = backend.estimate(prompt(QUESTION * 50), 100)
    assert longer.prompt_tokens > usage.prompt_tokens or longer.prompt_tokens == usage.prompt_tokens == 0
    generous = backend.estimate(prompt(), 900)
    assert generous.completion_tokens >= usage.completion_tokens


@pytest.mark.parametrize("reply", list(REPLIES))
async def test_what_was_asked_for_as_json_fits_or_is_an_error(backend: ModelBackend, reply: str) -> None:
    """Never a text that does not fit, however the model words it."""
    try:
        chunks = await collect(backend, prompt(reply, SCHEMA))
    except ModelError:
        chunks = []
    parsed = [chunk.parsed for chunk in chunks if chunk.parsed is not None]
    if reply in ("bare", "spread out", "fenced", "in prose") and backend.generative:
        assert parsed == [FITS]
    if chunks:
        Draft202012Validator(dict(SCHEMA)).validate(parsed[0])
        assert [chunk.finish for chunk in chunks if chunk.finish] == ["stop"]
        assert chunks[-1].parsed == parsed[0]
        json.dumps(parsed[0], allow_nan=False)
    else:
        assert reply not in ("bare", "spread out", "fenced", "in prose") or not backend.generative


async def test_it_answers_again_and_again(backend: ModelBackend) -> None:
    first = text_of(await collect(backend))
    assert first == text_of(await collect(backend))


async def test_many_can_ask_at_once(backend: ModelBackend) -> None:
    texts = [text_of(chunks) for chunks in await asyncio.gather(*(collect(backend) for _ in range(20)))]
    assert set(texts) == {texts[0]}
    assert TEXT in texts[0]


async def test_it_can_be_left_in_the_middle(backend: ModelBackend) -> None:
    async with aclosing(backend.stream(prompt())) as chunks:
        async for chunk in chunks:
            assert chunk.text or chunk.note
            break
    assert TEXT in text_of(await collect(backend))


async def test_it_can_be_left_before_it_began(backend: ModelBackend) -> None:
    await backend.stream(prompt()).aclose()
    assert TEXT in text_of(await collect(backend))


async def test_a_whole_answer_is_its_pieces(backend: ModelBackend) -> None:
    chunks = await collect(backend)
    whole = await complete(backend, prompt())
    assert whole.text == text_of(chunks)
    assert whole.last.finish == "stop"
    assert whole.usage == replace(chunks[-1].usage, cost_usd=whole.usage.cost_usd)
    assert (whole.notes, whole.failed) == ((), frozenset())


async def test_it_can_be_closed_twice(backend: ModelBackend) -> None:
    await collect(backend)
    await backend.close()
    await backend.close()


async def test_its_name_is_what_is_recorded(backend: ModelBackend) -> None:
    chunks = await collect(backend)
    assert backend.name == chunks[-1].model
    assert {chunk.model for chunk in chunks if chunk.text} == {backend.name}
    assert isinstance(backend.generative, bool)
