"""What every model backend must do, the shipped fake too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing

import pytest

from agent.messages import Usage
from agent.models.base import Chunk, ModelBackend, Prompt, PromptMessage
from agent.models.openai_compatible import OpenAICompatible
from agent.models.presets import endpoint
from agent.models.quotes import Quotes
from agent.models.routing import FallbackChain
from agent.testing import ScriptedModel
from knowledge.documents import Passage
from knowledge.search import Hit, SearchResult, Why
from tests.servers.model_server import ModelServer, says, serving

TEXT = "Cancel up to 5 days before check-in for a full refund."
QUESTION = "When can I cancel for a full refund?"


def found() -> SearchResult:
    passage = Passage("cancel#1", "cancel", "Cancelling", (), TEXT, 0)
    hit = Hit(passage, 1.0, Why(0.8, 5.0, 20.0, ("cancel", "refund")))
    return SearchResult("hybrid", (hit,), confidence=1.0, weights={"cancel": 2.0, "full": 1.0, "refund": 2.0})


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with serving(ModelServer(plays=[says(f"{TEXT} [1]")])) as running:
        yield running


@pytest.fixture(params=["quotes", "scripted", "openai_compatible", "chain"])
async def backend(request: pytest.FixtureRequest, server: ModelServer) -> AsyncIterator[ModelBackend]:
    makers: dict[str, Callable[[], ModelBackend]] = {
        "quotes": lambda: Quotes(),
        "scripted": lambda: ScriptedModel(f"{TEXT} [1]"),
        "openai_compatible": lambda: OpenAICompatible(endpoint(server.choice, {})),
        "chain": lambda: FallbackChain([OpenAICompatible(endpoint(server.choice, {})), Quotes()]),
    }
    made = makers[request.param]()
    yield made
    await made.close()


def prompt() -> Prompt:
    messages = (PromptMessage("system", "Answer."), PromptMessage("user", QUESTION))
    return Prompt("answer", messages, QUESTION, found())


async def collect(backend: ModelBackend) -> list[Chunk]:
    async with aclosing(backend.stream(prompt())) as chunks:
        return [chunk async for chunk in chunks]


async def test_it_streams_text_and_ends_with_one_finish(backend: ModelBackend) -> None:
    chunks = await collect(backend)
    assert TEXT in "".join(chunk.text for chunk in chunks)
    assert len([chunk for chunk in chunks if chunk.text]) > 1
    assert [chunk.finish for chunk in chunks if chunk.finish] == ["stop"]
    assert chunks[-1].finish == "stop"


async def test_the_last_chunk_alone_tells_the_usage(backend: ModelBackend) -> None:
    chunks = await collect(backend)
    assert all(chunk.usage == Usage() for chunk in chunks[:-1])
    assert chunks[-1].usage.prompt_tokens >= 0
    assert chunks[-1].model


async def test_it_answers_again_and_again(backend: ModelBackend) -> None:
    first = "".join(chunk.text for chunk in await collect(backend))
    assert first == "".join(chunk.text for chunk in await collect(backend))


async def test_it_can_be_left_in_the_middle(backend: ModelBackend) -> None:
    async with aclosing(backend.stream(prompt())) as chunks:
        async for chunk in chunks:
            assert chunk.text or chunk.note
            break
    assert TEXT in "".join(chunk.text for chunk in await collect(backend))


async def test_its_name_is_what_is_recorded(backend: ModelBackend) -> None:
    chunks = await collect(backend)
    assert backend.name == chunks[-1].model
