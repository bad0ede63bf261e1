"""Servers that mean no good: what they send may not stall, fill, mislead or outlive a call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from aiohttp import web

from agent.errors import ModelBroken, ModelDenied, ModelError, ModelFiltered
from agent.models.base import Prompt, PromptMessage, complete
from agent.models.openai_compatible import Deadlines, OpenAICompatible
from agent.models.pool import LONGEST_ERROR, LONGEST_RESPONSE
from agent.models.presets import Catalogue, built_in
from agent.models.pricing import Price, Rate
from agent.models.routing import FallbackChain
from agent.testing import ScriptedModel
from tests.servers.model_server import Call, ModelServer, Play, error, raw, says, serving

PROMPT = Prompt("answer", (PromptMessage("user", "Hello?"),))
QUICK = Deadlines(first_token=5, idle=5, total=10)
CHUNK = '{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]%s}'
HELLO = CHUNK % ('{"index":0,"delta":{"content":"Hello there"},"finish_reason":null}', "")
STOP = CHUNK % ('{"index":0,"delta":{},"finish_reason":"stop"}', "")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer(plays=[says("Hello there")])) as running:
        yield running


def events(*payloads: str) -> Play:
    return raw(200, "".join(f"data: {one}\n\n" for one in (*payloads, "[DONE]")).encode(), "text/event-stream")


async def ask(server: ModelServer, key: str = "", price: Price | None = None) -> object:
    endpoint = Catalogue(built_in(), url_key=key).endpoint(server.choice)
    backend = OpenAICompatible(replace(endpoint, price=price or Price()), QUICK)
    try:
        return await complete(backend, PROMPT)
    except ModelError as failure:
        return failure
    finally:
        await backend.close()


@pytest.mark.parametrize("text", ["a1" * 50_000, "nono" * 25_000, "invalid_" * 12_000, "api key " * 12_000])
@pytest.mark.parametrize("status", [400, 422, 500])
async def test_a_long_refusal_stalls_nobody(server: ModelServer, text: str, status: int) -> None:
    server.plays = [error(status, text)]
    # What keeps the loop busy is noticed as well: the deadline is looked at once the loop is free.
    async with asyncio.timeout(20):
        assert isinstance(await ask(server), ModelError)


@pytest.mark.parametrize(
    "payload",
    [
        CHUNK
        % (
            '{"index":0,"delta":{"content":"Hi"},"finish_reason":null}',
            ',"usage":{"prompt_tokens":' + "9" * 5000 + "}",
        ),
        CHUNK.replace('"created":1', '"created":' + "9" * 5000) % ("", ""),
        "{" * 3000,
        '{"a":' * 3000 + "1" + "}" * 3000,
    ],
)
async def test_hostile_json_goes_to_the_next_model(server: ModelServer, payload: str) -> None:
    server.plays = [events(payload)]
    broken = OpenAICompatible(Catalogue(built_in()).endpoint(server.choice), QUICK)
    done = await complete(FallbackChain([broken, ScriptedModel("Good day", name="good")]), PROMPT)
    await broken.close()
    assert (done.text, done.last.model) == ("Good day", "good")
    assert done.notes


@pytest.mark.parametrize("figure", ["9" * 400, "1e300", "-1", '"free"', "true"])
async def test_absurd_figures_are_not_believed(server: ModelServer, figure: str) -> None:
    usage = f',"usage":{{"prompt_tokens":{figure},"completion_tokens":2,"cost":{figure}}}'
    server.plays = [events(HELLO, STOP[:-1] + usage + "}")]
    done = await ask(server, price=Price(Rate(1.0, 1.0)))
    assert not isinstance(done, ModelError)
    told = done.last.usage  # type: ignore[attr-defined]
    assert told.estimated
    assert 0 < told.cost_usd < 0.001


async def test_what_answers_with_no_answer_has_read_the_prompt(server: ModelServer) -> None:
    server.plays = [raw(200, b"<html>hello</html>", "text/html")]
    failure = await ask(server)
    assert isinstance(failure, ModelBroken)
    assert failure.usage.prompt_tokens > 0
    assert failure.usage.cost_usd is None


async def test_a_key_is_not_told_when_models_are_asked_for(server: ModelServer) -> None:
    server.models = error(401, "bad key Bearer corp-SECRET-7788")
    preset = {"base_url": server.base_url, "keys": ["X_KEY"], "default": "$first"}
    backend = OpenAICompatible(Catalogue({"x": preset}, {"X_KEY": "corp-SECRET-7788"}).endpoint("x"), QUICK)
    with pytest.raises(ModelDenied) as caught:
        await complete(backend, PROMPT)
    await backend.close()
    assert "bad key" in str(caught.value)
    assert "SECRET" not in str(caught.value)


async def test_deepseeks_filter_is_a_filter(server: ModelServer) -> None:
    server.plays = [error(400, "Content Exists Risk", "invalid_request_error")]
    assert isinstance(await ask(server), ModelFiltered)
    assert len(server.calls) == 1


async def test_a_finished_answer_does_not_wait_for_the_end_of_the_line(server: ModelServer) -> None:
    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {HELLO}\n\ndata: {STOP}\n\n".encode())
        await asyncio.sleep(60)
        return response

    server.plays = [play]
    done = await ask(server)
    assert not isinstance(done, ModelError)
    assert done.text == "Hello there"  # type: ignore[attr-defined]


async def test_only_the_first_answer_up_to_its_end_is_shown(server: ModelServer) -> None:
    second = CHUNK % ('{"index":1,"delta":{"content":"SECOND"},"finish_reason":null}', "")
    server.plays = [events(HELLO, second, STOP, HELLO.replace("Hello there", "EXTRA"))]
    done = await ask(server)
    assert done.text == "Hello there"  # type: ignore[attr-defined]


async def test_control_characters_are_not_shown(server: ModelServer) -> None:
    server.plays = [says("Hello\x1b]0;pwned\x07\x00 there\u202e\u200b\U000e0041, ünïcode\n- list")]
    done = await ask(server)
    assert done.text == "Hello]0;pwned there, ünïcode\n- list"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("status", "most"), [(500, LONGEST_ERROR), (200, LONGEST_RESPONSE)])
async def test_a_body_without_end_is_cut(server: ModelServer, status: int, most: int) -> None:
    sent = 0

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 1_000_000)
            sent += 1_000_000
            await asyncio.sleep(0)

    server.plays = [play]
    assert isinstance(await ask(server), ModelError)
    assert sent < 3 * most + 20_000_000, "what is in the socket's buffers comes on top"


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTPS_PROXY", "garbage://x"), ("ALL_PROXY", "socks5://127.0.0.1:1"), ("SSL_CERT_FILE", "/nonexistent")],
)
async def test_a_proxy_that_cannot_be_used_is_no_matter_on_this_machine(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    done = await ask(server)
    assert not isinstance(done, ModelError), str(done)
    elsewhere = OpenAICompatible(Catalogue(built_in()).endpoint("https://llm.invalid/v1#m"), QUICK)
    with pytest.raises(ModelError):
        await complete(elsewhere, PROMPT)
    await elsewhere.close()
