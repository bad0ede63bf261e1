"""What models and their servers do wrong, each on a real socket, and what becomes of it (faults 1 to 18 of the design).

Ten, thirteen and nineteen are behaviours of the graph, twenty and twenty-one of the search; they are tested there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import replace

import pytest

from agent.errors import ModelBroken, ModelError, ModelFiltered, ModelOverloaded, ModelTooLong, ModelUnreachable
from agent.models.base import Chunk, ModelBackend, Prompt, PromptMessage, Tool
from agent.models.breaker import FAILURES, Breakers
from agent.models.openai_compatible import Deadlines, OpenAICompatible
from agent.models.pool import Pool
from agent.models.presets import Catalogue, Endpoint, built_in
from agent.models.routing import FallbackChain
from agent.testing import ScriptedModel
from tests.servers.model_server import ModelServer, Play, chunk, error, events, hang, raw, says, serving, stream

QUICK = Deadlines(first_token=1.5, idle=1.5, total=4.0)
PROMPT = Prompt("answer", (PromptMessage("system", "Answer."), PromptMessage("user", "Hello?")), "Hello?")
OTHER = "The other model answers."


@pytest.fixture(scope="module", autouse=True)
def package() -> None:
    """Loading the package takes longer than the deadlines of these tests."""
    Pool().open(at("http://127.0.0.1:1/v1#m"))


def at(choice: str) -> Endpoint:
    return Catalogue(built_in()).endpoint(choice)


def dead() -> Endpoint:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return at(f"http://127.0.0.1:{free.getsockname()[1]}/v1#m")


@contextmanager
def playing(*plays: Play) -> Iterator[tuple[ModelServer, OpenAICompatible]]:
    with serving(ModelServer(plays=list(plays), accepts=frozenset({"chat_template_kwargs"}))) as server:
        yield server, OpenAICompatible(at(server.choice), QUICK)


class Outcome:
    """What came of one question: the text that was shown, the notes for staff, the error in the end if there is one."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.error: ModelError | None = None
        self.seconds = 0.0

    @property
    def shown(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def notes(self) -> str:
        return "\n".join(chunk.note for chunk in self.chunks if chunk.note)


async def ask(*backends: ModelBackend, prompt: Prompt = PROMPT, breakers: Breakers | None = None) -> Outcome:
    chain = FallbackChain(backends, breakers)
    outcome, began = Outcome(), time.monotonic()
    try:
        async with aclosing(chain.stream(prompt)) as chunks:
            async for one in chunks:
                outcome.chunks.append(one)
    except ModelError as error:
        outcome.error = error
    outcome.seconds = time.monotonic() - began
    await chain.close()
    return outcome


def other() -> ScriptedModel:
    return ScriptedModel(OTHER, name="other:model")


async def test_fault_001_short_429_is_waited_for() -> None:
    with playing(error(429, "Slow down", **{"Retry-After": "1"}), says("Hello there")) as (server, model):
        outcome = await ask(model, other())
    assert outcome.shown == "Hello there"
    assert outcome.seconds >= 1
    assert len(server.calls) == 2
    assert "Slow down" in outcome.notes


async def test_fault_002_long_429_goes_to_the_next_model_at_once() -> None:
    with playing(error(429, "Slow down", **{"Retry-After": "3600"})) as (server, model):
        outcome = await ask(model, other())
        alone = await ask(OpenAICompatible(at(server.choice), QUICK))
    assert outcome.shown == OTHER
    assert outcome.seconds < 5
    assert isinstance(alone.error, ModelOverloaded)
    assert alone.error.retry_after == 3600
    assert alone.shown == ""
    assert len(server.calls) == 2


async def once_and_for_ever(fault: Play, *behind: ModelBackend) -> tuple[Outcome, Outcome]:
    """What comes of a fault that passes, and of one that stays. Each is asked about twice, not more."""
    with playing(fault, says("Hello there")) as (once, model), playing(fault) as (always, other_model):
        passing, staying = await asyncio.gather(ask(model, *behind), ask(other_model, *behind))
        assert (len(once.calls), len(always.calls)) == (2, 2)
    assert passing.shown.strip() == "Hello there"
    return passing, staying


async def test_fault_003_5xx_is_asked_once_more_and_then_the_next_model() -> None:
    faults = {status: error(status, "Broken") for status in (500, 502, 503, 504, 529)}
    outcomes = await asyncio.gather(*(once_and_for_ever(fault, other()) for fault in faults.values()))
    for status, (_, staying) in zip(faults, outcomes, strict=True):
        assert staying.shown == OTHER
        assert f"status {status}" in staying.notes


async def test_fault_004_connect_failure_goes_to_the_next_model_and_opens_the_breaker() -> None:
    where, breakers = dead(), Breakers()
    for _ in range(FAILURES):
        outcome = await ask(OpenAICompatible(where, QUICK), other(), breakers=breakers)
        assert outcome.shown == OTHER
        assert "cannot be reached" in outcome.notes
    outcome = await ask(OpenAICompatible(where, QUICK), other(), breakers=breakers)
    assert outcome.shown == OTHER
    assert "is left alone for" in outcome.notes
    alone = await ask(OpenAICompatible(where, QUICK), breakers=breakers)
    assert isinstance(alone.error, ModelUnreachable)


async def test_fault_005_hang_is_cut() -> None:
    assert Deadlines().first_token <= 10
    with playing(hang()) as (server, model):
        outcome = await ask(model, other())
    assert outcome.shown == OTHER
    assert "too slow" in outcome.notes
    assert len(server.calls) == 1, "waiting once more would cost the customer too long"


async def test_fault_005_hang_of_a_server_that_does_not_even_answer_the_connection() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        where = at(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1#m")
        outcome = await ask(OpenAICompatible(where, QUICK), other())
    assert outcome.shown == OTHER


async def test_fault_006_slow_drip_ends_in_an_error() -> None:
    assert Deadlines().total <= 30
    thinking = stream(["thinking "] * 50, pause=0.1, fields="reasoning_content")
    with playing(stream(["word "] * 50, pause=0.1)) as (_, model), playing(thinking) as (_, thinker):
        outcome, unseen = await asyncio.gather(ask(model, other()), ask(thinker, other()))
    assert isinstance(outcome.error, ModelUnreachable)
    assert "did not finish in time" in outcome.error.message
    assert outcome.shown.startswith("word")
    assert OTHER not in outcome.shown, "another model would begin anew behind what was shown"
    assert outcome.chunks[-1].finish is None
    assert unseen.shown == OTHER


async def test_fault_007_keep_alives_only_are_no_progress() -> None:
    with playing(stream([], then="drip")) as (_, model):
        outcome = await ask(model, other())
    assert (outcome.shown, outcome.error) == (OTHER, None)
    with playing(stream(["Hello"], then="drip")) as (_, model):
        outcome = await ask(model, other())
    assert isinstance(outcome.error, ModelUnreachable)
    assert outcome.shown == "Hello"


@pytest.mark.parametrize("then", ["done", "close"])
async def test_fault_008_stream_without_finish_reason_is_no_answer(then: str) -> None:
    with playing(stream(["Half an ans"], finish=None, then=then)) as (server, model):
        outcome = await ask(model, other())
        assert isinstance(outcome.error, ModelBroken)
        assert "broke off" in outcome.error.message
        assert not [chunk for chunk in outcome.chunks if chunk.finish]
        assert len(server.calls) == 1


async def test_fault_008_stream_without_finish_reason_is_tried_again_while_nothing_was_shown() -> None:
    with playing(stream([], finish=None), says("Hello there")) as (server, model):
        outcome = await ask(model, other())
        assert (outcome.shown, len(server.calls)) == ("Hello there", 2)
    with playing(stream([], finish=None)) as (server, model):
        outcome = await ask(model)
        assert isinstance(outcome.error, ModelBroken)
        assert len(server.calls) == 2


async def test_fault_009_reset_mid_stream_is_no_answer() -> None:
    with playing(stream(["Half an ans"], then="reset")) as (_, model):
        outcome = await ask(model, other())
        assert isinstance(outcome.error, ModelBroken)
        assert outcome.shown == "Half an ans"
    with playing(stream([], then="reset"), says("Hello there")) as (server, model):
        outcome = await ask(model, other())
        assert (outcome.shown, len(server.calls)) == ("Hello there", 2)


async def test_fault_011_bad_json_with_status_200_is_tried_once_more_and_then_the_next_model() -> None:
    faults = [
        raw(200, b"<html>Log in to the hotel's network</html>", "text/html"),
        raw(200, b"data: {broken\n\n", "text/event-stream"),
        raw(200, b'{"choices":[]}', "application/json"),
        raw(200, b"data: \xff\xfe\n\n", "text/event-stream"),
        events([{"error": {"message": "Provider returned error", "code": 502}}]),
    ]
    outcomes = await asyncio.gather(*(once_and_for_ever(fault, other()) for fault in faults))
    assert {staying.shown for _, staying in outcomes} == {OTHER}


async def test_fault_012_empty_answer_is_tried_once_more() -> None:
    empty: list[list[str]] = [[], ["", ""], [" ", "\n"], ["<think>Hm.</think>"], ["<think>Hm."]]
    outcomes = await asyncio.gather(*(once_and_for_ever(stream(pieces)) for pieces in empty))
    for _, staying in outcomes:
        assert isinstance(staying.error, ModelBroken)
        assert staying.shown.strip() == ""


def a_call(name: str, arguments: str) -> dict[str, object]:
    called = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [called]})


async def test_fault_014_unknown_tool_call_is_ignored() -> None:
    tool = Tool("look_up", "Looks up.", {"type": "object", "properties": {}})
    said = [chunk({"content": "Hello there"}), a_call("delete_everything", "{}"), chunk({}, "tool_calls")]
    for tools in ((), (tool,)):
        with playing(events(said)) as (_, model):
            outcome = await ask(model, prompt=replace(PROMPT, tools=tools))
        assert (outcome.shown, outcome.error) == ("Hello there", None)
        assert (outcome.chunks[-1].finish, outcome.chunks[-1].tool_calls) == ("stop", ())


@pytest.mark.parametrize("arguments", ["", "[1]", "7", '{"a": ', "null", "no JSON"])
async def test_fault_014_known_tool_call_without_an_object_is_ignored_too(arguments: str) -> None:
    tool = Tool("look_up", "Looks up.", {"type": "object", "properties": {}})
    said = [chunk({"content": "Hello"}), a_call("look_up", arguments), chunk({}, "tool_calls")]
    with playing(events(said)) as (_, model):
        outcome = await ask(model, prompt=replace(PROMPT, tools=(tool,)))
    assert outcome.shown == "Hello"
    assert [call.arguments for call in outcome.chunks[-1].tool_calls] == ([{}] if arguments == "" else [])


LEAKS = ["<think>They want {}.</think>", '<tool_call>{{"name": "x", "arguments": {{}}}}</tool_call>', "<|im_start|>"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
async def test_fault_015_leaks_are_stripped_however_they_are_split(size: int) -> None:
    text = f"{LEAKS[0].format('a refund')}\n\nYou have {LEAKS[1].format()}14 days.{LEAKS[2]}"
    with playing(stream([text[start : start + size] for start in range(0, len(text), size)])) as (_, model):
        outcome = await ask(model)
    assert (outcome.shown, outcome.error) == ("You have 14 days.", None)


async def test_fault_016_a_revoked_key_is_one_alert_and_no_further_call(caplog: pytest.LogCaptureFixture) -> None:
    breakers = Breakers()
    with playing(error(401, "Incorrect API key provided", "invalid_api_key")) as (server, model):
        with caplog.at_level(logging.WARNING, "agent.models"):
            outcomes = [await ask(model, other(), breakers=breakers) for _ in range(5)]
        assert len(server.calls) == 1
    assert {outcome.shown for outcome in outcomes} == {OTHER}
    assert "is left alone for" in outcomes[-1].notes
    (alert,) = caplog.records
    assert alert.levelno == logging.ERROR
    assert "does not accept the key" in alert.getMessage()


async def test_fault_017_model_gone_goes_to_the_next_model() -> None:
    with playing(error(404, "The model has been retired", "model_not_found")) as (server, model):
        outcome = await ask(model, other())
        assert (outcome.shown, len(server.calls)) == (OTHER, 1)
    assert "Check FRONTDESK_MODEL" in outcome.notes


async def test_fault_017_context_too_long_is_trimmed_once() -> None:
    long = error(400, "This model's maximum context length is 8192 tokens", "context_length_exceeded")
    shorter = (PromptMessage("user", "Short?"),)
    with playing(long, says("Hello there")) as (server, model):
        outcome = await ask(model, other(), prompt=replace(PROMPT, shorter=shorter))
        assert outcome.shown == "Hello there"
        assert server.calls[-1].said == "Short?"
    with playing(long) as (server, model):
        second = other()
        outcome = await ask(model, second, prompt=replace(PROMPT, shorter=shorter))
        assert (outcome.shown, len(server.calls)) == (OTHER, 2)
        assert second.prompts[0].messages == PROMPT.messages, "the next model may have room for all"
    with playing(long) as (server, model):
        outcome = await ask(model)
        assert isinstance(outcome.error, ModelTooLong)
        assert len(server.calls) == 1, "there is nothing shorter to send"


async def test_fault_018_endless_repetition_is_stopped() -> None:
    with playing(stream(["I am sorry, I did not get that. "] * 20_000, pause=0.001)) as (server, model):
        outcome = await ask(model, other())
        assert await asyncio.to_thread(server.left.wait, 5), "the server goes on writing, and is paid for it"
    assert isinstance(outcome.error, ModelBroken)
    assert "circles" in outcome.error.message
    assert len(outcome.shown) < 2_000
    assert outcome.error.usage.completion_tokens > 0, "what came is paid for"


async def test_many_faults_in_a_row_still_end_in_an_answer_or_one_error() -> None:
    faults = [error(500, "x"), stream([]), raw(200, b"<html>", "text/html"), error(401, "no key"), error(400, "bad")]
    with ExitStack() as stack:
        models = [stack.enter_context(playing(fault))[1] for fault in faults]
        outcome = await ask(*models, other())
        assert (outcome.shown, outcome.error) == (OTHER, None)
        assert len(outcome.notes.splitlines()) >= len(faults)
    with playing(stream(["Well"], finish="content_filter")) as (_, model):
        outcome = await ask(model)
        assert isinstance(outcome.error, ModelFiltered)
