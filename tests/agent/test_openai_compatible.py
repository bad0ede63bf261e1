"""The wire to a model server, and everything that can go wrong on it. The server is real and strict."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from aiohttp import web

from agent.errors import (
    ModelBroken,
    ModelDenied,
    ModelError,
    ModelFiltered,
    ModelOverloaded,
    ModelTooLong,
    ModelUnreachable,
)
from agent.messages import Usage
from agent.models.answer import LONGEST_ANSWER
from agent.models.base import Chunk, Prompt, PromptMessage
from agent.models.openai_compatible import Deadlines, OpenAICompatible
from agent.models.pool import Pool
from agent.models.presets import Catalogue, Dialect, Endpoint, built_in
from agent.models.pricing import Price, Rate
from agent.models.quotes import Quotes
from agent.models.routing import FallbackChain
from agent.testing import ScriptedModel
from tests.servers.model_server import (
    Call,
    ModelServer,
    Play,
    error,
    events,
    hang,
    raw,
    says,
    serving,
    stream,
)

QUICK = Deadlines(first_token=0.4, idle=0.4, total=1.2)
PROMPT = Prompt("answer", (PromptMessage("system", "Answer."), PromptMessage("user", "Hello?")), "Hello?")


@pytest.fixture(scope="module", autouse=True)
def package() -> None:
    """Loading the package takes longer than the deadlines of these tests."""
    Pool().open(Catalogue(built_in()).endpoint("http://127.0.0.1:1/v1#m"))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer()) as running:
        yield running


def plain(server: ModelServer, *, key: str = "") -> Endpoint:
    """The endpoint of a bare address, of which nothing is known, and which is not asked to think less."""
    found = Catalogue(built_in(), url_key=key).endpoint(server.choice)
    return replace(found, dialect=replace(found.dialect, thinking_off=()))


def at(server: ModelServer, choice: str, key: str) -> Endpoint:
    """The endpoint of a preset, on this server."""
    keys = {name: key for name in built_in()[choice]["keys"]}
    return replace(Catalogue(built_in(), keys=keys).endpoint(choice), base_url=server.base_url)


async def ask(where: Endpoint, deadlines: Deadlines = QUICK, prompt: Prompt = PROMPT) -> list[Chunk]:
    backend = OpenAICompatible(where, deadlines)
    try:
        async with aclosing(backend.stream(prompt)) as chunks:
            return [chunk async for chunk in chunks]
    finally:
        await backend.close()


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def test_an_answer_with_its_usage(server: ModelServer) -> None:
    server.plays = [says("Hello, how can I help?", usage=(321, 12))]
    chunks = await ask(plain(server))
    assert text_of(chunks) == "Hello, how can I help?"
    assert chunks[-1].usage == Usage(321, 12, None)
    body = server.calls[0].body
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["max_tokens"] == PROMPT.max_tokens


async def test_usage_is_estimated_when_the_server_tells_none(server: ModelServer) -> None:
    server.plays = [says("12345678", usage=None)]
    usage = (await ask(plain(server)))[-1].usage
    assert usage.estimated
    assert usage.completion_tokens == 2
    assert usage.prompt_tokens == 12, "two tokens and four of its frame for each of the two messages"


async def test_the_providers_own_cost_counts(server: ModelServer) -> None:
    server.plays = [says("Hello there", extra_usage={"cost": 0.00123})]
    assert (await ask(plain(server)))[-1].usage.cost_usd == 0.00123


async def test_cost_comes_from_the_price_table_with_cached_tokens(server: ModelServer) -> None:
    server.plays = [says("Hi there", usage=(1000, 100), extra_usage={"prompt_tokens_details": {"cached_tokens": 400}})]
    where = replace(plain(server), price=Price(Rate(0.15, 0.47, 0.016)))
    cost = (await ask(where))[-1].usage.cost_usd
    assert cost == pytest.approx((600 * 0.15 + 400 * 0.016 + 100 * 0.47) / 1e6)


async def test_thinking_is_switched_off_for_qwen(server: ModelServer) -> None:
    server.accepts, server.model, server.key = frozenset({"enable_thinking"}), "qwen3.8-flash", "sk-qwen-test"
    server.plays = [says("Hello there")]
    assert text_of(await ask(at(server, "qwen", "sk-qwen-test"))) == "Hello there"
    assert server.calls[0].body["enable_thinking"] is False


@pytest.mark.parametrize(
    "pieces",
    [
        ["<think>What do they want?</think>", "Hello"],
        ["<th", "ink>What do", " they want?</th", "ink>\n\nHel", "lo"],
        ["Hello", "<think>never closed"],
        ["<tool_call>{}</tool_call>Hello"],
    ],
)
async def test_thinking_is_never_shown(server: ModelServer, pieces: list[str]) -> None:
    server.plays = [stream(pieces)]
    assert text_of(await ask(plain(server))) == "Hello"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_fields_are_not_an_answer(server: ModelServer, field: str) -> None:
    server.plays = [stream(["I think", " a lot"], fields=field)]
    with pytest.raises(ModelBroken, match="empty answer"):
        await ask(plain(server))


async def test_a_less_than_sign_is_shown(server: ModelServer) -> None:
    server.plays = [stream(["1 <", " 2 and <b", ">3<"])]
    assert text_of(await ask(plain(server))) == "1 < 2 and <b>3<"


async def test_a_refused_parameter_is_not_sent_again(server: ModelServer) -> None:
    server.plays = [says("Hello there")]
    where = replace(plain(server), dialect=Dialect(thinking_off=(), body={"enable_thinking": False}))
    backend = OpenAICompatible(where, QUICK)
    for _ in range(2):
        async with aclosing(backend.stream(PROMPT)) as chunks:
            assert text_of([chunk async for chunk in chunks]) == "Hello there"
    await backend.close()
    assert ["enable_thinking" in call.body for call in server.calls] == [True, False, False]


def cut(status: int, content_type: str) -> Play:
    """Promise more than is sent, and hang up."""

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": content_type, "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices":')
        assert request.transport is not None
        request.transport.close()
        return response

    return play


FAULTS: list[tuple[str, Play, type[ModelError], str]] = [
    ("cut without finish_reason", stream(["Half an ans"], finish=None, then="done"), ModelBroken, "broke off"),
    ("closed without [DONE]", stream(["Half an ans"], finish=None, then="close"), ModelBroken, "broke off"),
    ("reset", stream(["Half an ans"], then="reset"), ModelBroken, "broke off"),
    ("error event", stream(["Half an ans"], finish=None, then="error"), ModelBroken, "on fire"),
    ("empty", stream([]), ModelBroken, "empty answer"),
    ("only spaces", stream(["  ", "\n"]), ModelBroken, "empty answer"),
    ("filtered", stream(["Well"], finish="content_filter"), ModelFiltered, "content filter"),
    (
        "HTML with 200",
        raw(200, b"<html>Welcome</html>", "text/html"),
        ModelBroken,
        "instead of a stream: <html>Welcome",
    ),
    ("quota with 200", raw(200, b'{"error": "quota exceeded"}', "application/json"), ModelBroken, "quota exceeded"),
    ("an object with 200", raw(200, b'{"choices": []}', "application/json"), ModelBroken, "instead of a stream"),
    ("JSON error with 200", raw(200, b'data: {"error": {"message": "no"}}\n\n', "text/event-stream"), ModelError, "no"),
    ("junk events", raw(200, b"data: {broken\n\n", "text/event-stream"), ModelBroken, "not a chat completion"),
    ("not chunks", raw(200, b"data: [1, 2]\n\n", "text/event-stream"), ModelBroken, "not a chat completion"),
    ("500", error(500, "Internal"), ModelOverloaded, "status 500"),
    ("503 HTML", raw(503, b"<html>down</html>", "text/html"), ModelOverloaded, "status 503"),
    ("JSON with 200 that is cut", cut(200, "application/json"), ModelBroken, "broke off"),
    ("a stream that is cut before it began", cut(200, "text/event-stream"), ModelBroken, "broke off"),
    ("an error that is cut", cut(500, "application/json"), ModelBroken, "broke off"),
    ("a list with 200", raw(200, b"[]", "application/json"), ModelBroken, "instead of a stream"),
    ("no chunk at all", events([]), ModelBroken, "broke off"),
    ("an empty body", raw(200, b"", "text/event-stream"), ModelBroken, "broke off"),
    ("choices are null", events([{"choices": None}]), ModelBroken, "broke off"),
    ("no choices", events([{"id": "1"}]), ModelBroken, "broke off"),
    ("choices are text", events([{"choices": "x"}]), ModelBroken, "not a chat completion"),
    ("a choice is null", events([{"choices": [None]}]), ModelBroken, "not a chat completion"),
    ("a delta is text", events([{"choices": [{"delta": "x"}]}]), ModelBroken, "not a chat completion"),
    ("null", events([None]), ModelBroken, "broke off"),
    ("an error as text", events([{"error": "quota"}]), ModelError, "quota"),
    ("no route", raw(404, b"404: Not Found", "text/plain"), ModelDenied, "not known"),
    ("ended with an error", stream(["Half an ans"], finish="error"), ModelBroken, "broke off"),
    ("ended for want of resources", stream(["Half"], finish="insufficient_system_resource"), ModelBroken, "broke off"),
    ("ended by the network", stream(["Half"], finish="network_error"), ModelBroken, "broke off"),
    ("sensitive", stream(["Half"], finish="sensitive"), ModelFiltered, "content filter"),
    ("429", error(429, "Slow down", **{"Retry-After": "3"}), ModelOverloaded, "Slow down"),
    ("429 without money", error(429, "Insufficient balance", "insufficient_quota"), ModelDenied, "no money"),
    ("402", error(402, "Payment required"), ModelDenied, "no money"),
    ("403", error(403, "Forbidden"), ModelDenied, "does not accept the key"),
    ("404", error(404, "No such model"), ModelDenied, "not known"),
    ("400", error(400, "context length exceeded"), ModelTooLong, "context length"),
    (
        "alibaba filter",
        error(400, "<400> InternalError.Algo.DataInspectionFailed"),
        ModelFiltered,
        "filter",
    ),
    ("hang", hang(), ModelUnreachable, "too slow"),
    ("slow first token", stream(["Hello"], pause=2), ModelUnreachable, "too slow"),
    ("keep-alives only", stream([], then="drip"), ModelUnreachable, "too slow"),
    ("stalls", stream(["Hello", " you"], then="drip"), ModelUnreachable, "too slow"),
    ("slow drip", stream(["word "] * 50, pause=0.1), ModelUnreachable, "finish"),
]


@pytest.mark.parametrize(("play", "kind", "words"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
async def test_a_fault_is_an_error_and_never_an_answer(
    server: ModelServer, play: Play, kind: type[ModelError], words: str
) -> None:
    server.plays = [play]
    with pytest.raises(kind, match=words):
        await ask(plain(server))


async def test_a_refused_key_names_the_remedy_and_hides_the_key(server: ModelServer) -> None:
    server.key = "sk-right"
    with pytest.raises(ModelDenied, match="region") as caught:
        await ask(at(server, "qwen", "sk-wrong-secret"))
    assert "sk-wrong-secret" not in str(caught.value)


async def test_a_dead_host_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelUnreachable, match="cannot be reached"):
        await ask(Catalogue(built_in()).endpoint(f"http://127.0.0.1:{port}/v1#m"))


async def test_nothing_meant_for_another_provider_is_sent(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.plays = [says("Hello there")]
    for name, value in {
        "OPENAI_API_KEY": "sk-openai",
        "OPENAI_ORG_ID": "org-1",
        "OPENAI_PROJECT_ID": "proj-1",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    await ask(plain(server))
    headers = server.calls[0].headers
    assert headers["authorization"] == "Bearer none"
    assert not {"openai-organization", "openai-project"} & headers.keys()


async def test_a_cut_at_the_limit_is_told(server: ModelServer) -> None:
    server.plays = [says("One sentence. And ha", finish="length")]
    assert (await ask(plain(server)))[-1].finish == "length"


async def test_a_server_that_goes_round_in_circles_is_cut_off(server: ModelServer) -> None:
    server.plays = [stream(["again and again " * 40] * 60)]
    with pytest.raises(ModelBroken, match="circles"):
        await ask(plain(server), Deadlines(5, 5, 20))


def counted(count: int) -> list[str]:
    """Pieces of text that never repeat."""
    return [" ".join(str(number) for number in range(start, start + 100)) + " " for start in range(0, count, 100)]


async def test_a_server_that_does_not_stop_is_cut_off(server: ModelServer) -> None:
    server.plays = [stream(counted(20_000))]
    chunks = await ask(plain(server), Deadlines(5, 5, 20), replace(PROMPT, max_tokens=1_000))
    assert chunks[-1].finish == "length"
    assert LONGEST_ANSWER <= len(text_of(chunks)) < LONGEST_ANSWER + 1_000


async def test_a_limit_that_is_ignored_is_tried_under_its_other_name_once(server: ModelServer) -> None:
    server.plays = [stream(counted(200))]
    backend = OpenAICompatible(plain(server), Deadlines(5, 5, 20))
    for _ in range(4):
        async with aclosing(backend.stream(replace(PROMPT, max_tokens=40))) as chunks:
            assert [chunk async for chunk in chunks]
    await backend.close()
    sent = [sorted(call.body.keys() & {"max_tokens", "max_completion_tokens"}) for call in server.calls]
    assert sent == [["max_tokens"], *[["max_completion_tokens"]] * 3]


async def test_thinking_that_does_not_stop_is_cut_off(server: ModelServer) -> None:
    server.plays = [stream(counted(100_000), fields="reasoning_content")]
    with pytest.raises(ModelBroken, match="did not stop"):
        await ask(plain(server), Deadlines(5, 5, 20))


async def test_leaving_an_answer_hangs_up_on_the_server(server: ModelServer) -> None:
    server.plays = [stream(["word "] * 2_000, pause=0.01)]
    backend = OpenAICompatible(plain(server))
    async with aclosing(backend.stream(PROMPT)) as chunks:
        assert (await anext(chunks)).text
    await backend.close()
    assert await asyncio.to_thread(server.left.wait, 5), "the server goes on writing, and is paid for it"


async def test_the_chain_goes_on_to_the_next_model(server: ModelServer) -> None:
    server.plays = [error(503, "Overloaded")]
    chain = FallbackChain([OpenAICompatible(plain(server), QUICK), ScriptedModel("Second to none", name="b")])
    async with aclosing(chain.stream(PROMPT)) as chunks:
        got = [chunk async for chunk in chunks]
    await chain.close()
    assert text_of(got) == "Second to none"
    assert got[-1].model == "b"
    assert len(server.calls) == 2, "a busy server is asked once more before it is passed over"
    assert "Overloaded" in next(chunk.note for chunk in got if chunk.note)


async def test_the_chain_recovers_when_the_second_try_works(server: ModelServer) -> None:
    server.plays = [error(500, "Oops"), says("Hello there")]
    chain = FallbackChain([OpenAICompatible(plain(server), QUICK), Quotes()])
    async with aclosing(chain.stream(PROMPT)) as chunks:
        assert text_of([chunk async for chunk in chunks]) == "Hello there"
    await chain.close()


async def test_the_chain_never_says_a_word_twice(server: ModelServer) -> None:
    server.plays = [stream(["Half an ans"], finish=None)]
    chain = FallbackChain([OpenAICompatible(plain(server), QUICK), ScriptedModel("Another answer")])
    shown = broke = ""
    chunks = chain.stream(PROMPT)
    try:
        while True:
            shown += (await anext(chunks)).text
    except ModelBroken as error:
        broke = error.message
    await chain.close()
    assert "broke off" in broke
    assert shown == "Half an ans"


async def test_a_long_retry_after_goes_to_the_next_model_at_once(server: ModelServer) -> None:
    server.plays = [error(429, "Slow down", **{"Retry-After": "3600"})]
    chain = FallbackChain([OpenAICompatible(plain(server), QUICK), ScriptedModel("Here")])
    async with asyncio.timeout(5), aclosing(chain.stream(PROMPT)) as chunks:
        assert text_of([chunk async for chunk in chunks]) == "Here"
    await chain.close()
    assert len(server.calls) == 1
