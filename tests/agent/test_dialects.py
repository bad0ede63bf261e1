"""Every preset against a server with the provider's quirks, as strict as what is known of it.

The servers refuse what they do not know, ignore what they are known to ignore, and think unless they are told in their own
way not to. So a preset that says something wrong about its provider fails here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from agent.errors import ModelBroken, ModelDenied, ModelOverloaded, ModelRefused
from agent.messages import Usage
from agent.models.base import Chunk, Completion, Image, Prompt, PromptMessage, Tool, ToolCall, complete
from agent.models.openai_compatible import Deadlines, OpenAICompatible
from agent.models.presets import Catalogue, Endpoint, built_in
from tests.servers.dialects import (
    CACHED,
    COMPLETION,
    COST,
    OF_MODELS,
    PROMPT_TOKENS,
    QUIRKS,
    REASONING,
    TEXT,
    THOUGHT,
    WRITTEN,
    DialectServer,
    detail_list,
    dialect,
    flat,
    int_code,
    openai_form,
    set_repr,
    unnamed,
    unrouted,
    validation,
    wrapped,
)
from tests.servers.dialects import text as text_form
from tests.servers.model_server import answers, chunk, error, events, says, serving

NAMES = sorted(built_in())
OWN_MODELS = sorted(
    f"{name}:{model}"
    for name, preset in built_in().items()
    for model, facts in preset["models"].items()
    if "dialect" in facts or model == preset["default"]
)
WITHOUT_PRESET = ["litellm", "llama-cpp-python"]
PATIENT = Deadlines(10, 10, 20)
KEY = "sk-test-0123456789abcdef"
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["question", "other"]}, "sure": {"type": "number"}},
    "required": ["kind", "sure"],
    "additionalProperties": False,
}
FITS = {"kind": "question", "sure": 0.5}
ASKED = (PromptMessage("system", "You answer customers."), PromptMessage("user", "When can I cancel?"))
PLAIN = Prompt("answer", ASKED, "When can I cancel?")
STRUCTURED = Prompt("triage", ASKED, "When can I cancel?", schema=SCHEMA)
TOOL = Tool("look_up", "Looks up a booking.", {"type": "object", "properties": {"number": {"type": "string"}}})
FOREIGN = {
    "OPENAI_API_KEY": "sk-not-for-you",
    "OPENAI_ORG_ID": "org-not-for-you",
    "OPENAI_PROJECT_ID": "proj-not-for-you",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}
HEADERS = {"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"}
HEADERS |= {"authorization", "x-stainless-lang", "x-stainless-package-version", "x-stainless-runtime"}
HEADERS |= {"x-stainless-async", "x-stainless-retry-count", "x-stainless-read-timeout", "x-stainless-raw-response"}


@contextmanager
def served(choice: str, **changed: Any) -> Iterator[tuple[DialectServer, Endpoint]]:
    """A server with the dialect, and the endpoint that the choice of a preset means, moved there."""
    name, _, model = choice.partition(":")
    if name in WITHOUT_PRESET:
        with serving(dialect(name, key=KEY, **changed)) as server:
            yield server, Catalogue(built_in(), url_key=KEY).endpoint(f"{server.base_url}#m")
        return
    preset = built_in()[name]
    model = model or (preset["default"] or "m").replace("$first", "")
    keys = {variable: KEY for variable in preset["keys"]}
    found = Catalogue(built_in(), keys).endpoint(f"{name}:{model}" if model else name)
    with serving(dialect(name, model or "the-first", key=KEY, **changed)) as server:
        yield server, replace(found, base_url=server.base_url)


@pytest.fixture(params=[*NAMES, *WITHOUT_PRESET])
def here(request: pytest.FixtureRequest) -> Iterator[tuple[DialectServer, Endpoint]]:
    with served(request.param) as both:
        yield both


@pytest.fixture
async def server(here: tuple[DialectServer, Endpoint]) -> DialectServer:
    return here[0]


@pytest.fixture
async def backend(here: tuple[DialectServer, Endpoint]) -> AsyncIterator[OpenAICompatible]:
    async with opened(here[1]) as backend:
        yield backend


@asynccontextmanager
async def opened(where: Endpoint) -> AsyncIterator[OpenAICompatible]:
    backend = OpenAICompatible(where, PATIENT)
    try:
        yield backend
    finally:
        await backend.close()


PICTURE = Image(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "image/png")
LOOK = Prompt("vision", (PromptMessage("system", "Look."), PromptMessage("user", "What is it?", images=(PICTURE,))))


async def ask(backend: OpenAICompatible, prompt: Prompt) -> list[Chunk]:
    async with aclosing(backend.stream(prompt)) as chunks:
        return [chunk async for chunk in chunks]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def chats(server: DialectServer) -> list[dict[str, Any]]:
    """The requests for a chat, without the one for the list of models."""
    return [call.body for call in server.calls if call.body]


async def once(choice: str, prompt: Prompt = PLAIN, **changed: Any) -> tuple[DialectServer, Completion]:
    with served(choice, **changed) as (server, where):
        async with opened(where) as backend:
            return server, await complete(backend, prompt)


# A conversation -------------------------------------------------------------------------------------------------------


async def test_a_conversation(server: DialectServer, backend: OpenAICompatible) -> None:
    first = await ask(backend, PLAIN)
    assert text_of(first) == TEXT
    assert first[-1].finish == "stop"
    later = replace(PLAIN, messages=(*ASKED, PromptMessage("assistant", TEXT), PromptMessage("user", "And then?")))
    assert text_of(await ask(backend, later)) == TEXT
    sent = chats(server)[-1]
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "user"]
    assert sent["stream"] is True


@pytest.mark.parametrize("name", NAMES)
async def test_a_preset_sends_nothing_that_its_provider_refuses_or_ignores(name: str) -> None:
    server, answer = await once(name)
    assert answer.text == TEXT
    assert server.refused == []
    assert server.ignored == []
    assert len(chats(server)) == 1


async def test_the_key_is_in_the_right_header_and_nothing_foreign_beside_it(
    server: DialectServer, here: tuple[DialectServer, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    async with opened(here[1]) as backend:
        assert text_of(await ask(backend, PLAIN)) == TEXT, "the proxies of the environment are no way to this machine"
    keyless = here[1].vendor == "transformers"
    for call in server.calls:
        assert call.headers["authorization"] == f"Bearer {'none' if keyless else KEY}"
        assert call.headers.keys() <= HEADERS
        assert "not-for-you" not in str(call)


async def test_a_wrong_key_is_told_without_repeating_it(server: DialectServer, backend: OpenAICompatible) -> None:
    server.key = "sk-another"
    if not server.quirks.key_needed:
        assert text_of(await ask(backend, PLAIN)) == TEXT
        return
    with pytest.raises(ModelDenied) as caught:
        await ask(backend, PLAIN)
    assert "does not accept the key" in caught.value.message or "does not tell which models" in caught.value.message
    assert KEY not in str(caught.value)


async def test_a_wrong_model_is_told_with_what_to_check(server: DialectServer, backend: OpenAICompatible) -> None:
    server.models = answers(200, {"object": "list", "data": [{"id": "gone"}]})
    server.model = "another"
    if server.quirks.any_model:
        assert text_of(await ask(backend, PLAIN)) == TEXT
        return
    with pytest.raises(ModelDenied, match="is not known to") as caught:
        await ask(backend, PLAIN)
    assert "FRONTDESK_MODEL" in caught.value.hint
    assert len(chats(server)) == 1, "nothing that is left out could help"


# Thinking -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [*OWN_MODELS, *(name for name in NAMES if not built_in()[name]["models"])])
async def test_thinking_is_switched_off_or_at_least_never_visible(choice: str) -> None:
    server, answer = await once(choice)
    assert answer.text == TEXT
    assert server.refused == []
    always = server.quirks.thinks == "always"
    assert server.thoughts == (1 if always else 0), "this provider's switch was not understood"
    if choice in OF_MODELS:
        name, _, model = choice.partition(":")
        known = {**built_in()[name], **built_in()[name]["models"][model].get("dialect", {})}
        assert known["always_thinks"] is True


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, "inline") for name in NAMES),
        *((name, form) for name in ("qwen", "groq", "openai", "vllm") for form in ("reasoning", "reasoning_content")),
    ],
)
async def test_thinking_that_comes_all_the_same_is_not_visible(name: str, form: str) -> None:
    server, answer = await once(name, thinks="always", thoughts=form)
    assert server.thoughts == 1
    assert answer.text == TEXT
    assert THOUGHT not in answer.text


@pytest.mark.parametrize("name", WITHOUT_PRESET)
async def test_a_bare_address_learns_how_to_switch_thinking_off(name: str) -> None:
    with served(name) as (server, where):
        async with opened(where) as backend:
            for _ in range(5):
                assert text_of(await ask(backend, PLAIN)) == TEXT
        bodies = chats(server)
    switches = [
        {key: body[key] for key in ("chat_template_kwargs", "reasoning_effort") if key in body} for body in bodies
    ]
    template = {"chat_template_kwargs": {"enable_thinking": False}}
    if name == "litellm":
        assert switches == [{}, template, template, template, template]
        assert server.thoughts == 1
    else:
        assert switches == [{}, template, {"reasoning_effort": "none"}, {}, {}], "what is ignored is not sent for ever"


# Usage ----------------------------------------------------------------------------------------------------------------


def prices(vendor: str, model: str) -> list[float | None]:
    """What the answer may cost by the table: one figure, or two where it depends on the hour."""
    preset = built_in()[vendor]
    facts = preset["models"].get(model, {})
    if "price" not in facts:
        return [0.0 if preset.get("free") else None]
    quirks = QUIRKS[vendor]
    cached = CACHED if quirks.cached_in != "nowhere" else 0
    written = WRITTEN if quirks.written_in else 0
    completion = COMPLETION + (REASONING if f"{vendor}:{model}" in OF_MODELS else 0)
    found: list[float | None] = []
    for rate in (facts["price"], facts.get("off_peak", facts["price"])):
        usd = (PROMPT_TOKENS - cached - written) * rate["input"] + completion * rate["output"]
        usd += cached * (rate["input"] if rate.get("cached") is None else rate["cached"])
        found.append((usd + written * rate.get("cache_write", rate["input"])) / 1e6)
    return found


@pytest.mark.parametrize("name", NAMES)
async def test_usage_and_cost_are_what_the_provider_and_the_table_say(name: str) -> None:
    server, answer = await once(name)
    quirks, thought = server.quirks, REASONING if server.thoughts else 0
    cached = CACHED if quirks.cached_in != "nowhere" else 0
    written = WRITTEN if quirks.written_in else 0
    expected = Usage(PROMPT_TOKENS, COMPLETION + thought, None, False, cached, written, thought)
    assert replace(answer.usage, cost_usd=None) == expected
    if name == "openrouter":
        assert answer.usage.cost_usd == COST, "what a provider says it costs goes before the table"
    else:
        model = server.model if server.model != "the-first" else ""
        assert answer.usage.cost_usd in [pytest.approx(price) if price else price for price in prices(name, model)]


@pytest.mark.parametrize("name", ["qwen", "openrouter", "deepseek", "transformers"])
@pytest.mark.parametrize("place", ["last", "last with choices", "finish", "never"])
async def test_usage_is_found_wherever_it_comes(name: str, place: str) -> None:
    _, answer = await once(name, usage=place, usage_unasked=True)
    assert answer.text == TEXT
    assert answer.usage.estimated is (place == "never")
    if place == "never":
        assert 0 < answer.usage.prompt_tokens < 100
        assert answer.usage.completion_tokens > 0
    else:
        assert answer.usage.prompt_tokens == PROMPT_TOKENS


async def test_a_server_that_never_tells_usage_is_not_asked_for_it_again() -> None:
    with served("llama-cpp-python") as (server, where):
        async with opened(where) as backend:
            for _ in range(2):
                assert (await ask(backend, PLAIN))[-1].usage.estimated
        assert ["stream_options" in body for body in chats(server)] == [True, False]


@pytest.mark.parametrize("name", ["qwen", "vllm", "transformers", "litellm"])
@pytest.mark.parametrize("finish_null", [True, False])
@pytest.mark.parametrize("done", [True, False])
async def test_the_end_of_a_stream_is_its_finish_reason(name: str, finish_null: bool, done: bool) -> None:
    _, answer = await once(name, finish_null=finish_null, done=done)
    assert (answer.text, answer.last.finish) == (TEXT, "stop")


# Structured output ----------------------------------------------------------------------------------------------------


async def test_structured_output(server: DialectServer, backend: OpenAICompatible) -> None:
    """Valid JSON in the end; and then nothing is sent any more that was refused or ignored before."""
    first = await ask(backend, STRUCTURED)
    assert first[-1].parsed == FITS
    assert text_of(first).strip()
    server.refused.clear()
    server.ignored.clear()
    before = len(chats(server))
    for _ in range(4):
        assert (await ask(backend, STRUCTURED))[-1].parsed == FITS
    assert server.refused == []
    assert len(chats(server)) == before + 4


@pytest.mark.parametrize("name", NAMES)
async def test_the_best_rung_that_a_provider_has_is_used(name: str) -> None:
    with served(name) as (server, where):
        async with opened(where) as backend:
            await ask(backend, STRUCTURED)
            await ask(backend, STRUCTURED)
        last = chats(server)[-1].get("response_format", {}).get("type")
    quirks = server.quirks
    best = [kind for kind in ("json_schema", "json_object") if getattr(quirks, kind) == "kept"]
    assert last == (best[0] if best else None)
    if name not in ("cerebras",):
        assert len(chats(server)) == 2, "the preset knows the rung beforehand"


FORMS = [openai_form, int_code, flat, text_form, detail_list, set_repr, wrapped, validation, unnamed, unrouted]
LEARNED = [openai_form, detail_list, set_repr, validation, unnamed, unrouted]


@pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])
@pytest.mark.parametrize(
    ("schema", "object_"),
    [("refused", "kept"), ("refused", "refused"), ("refused", "ignored"), ("ignored", "kept"), ("ignored", "refused")],
)
async def test_the_ladder_is_gone_down_whatever_a_refusal_looks_like(form: Any, schema: str, object_: str) -> None:
    with served("openrouter" if form is unrouted else "vllm", refuse=form, json_schema=schema, json_object=object_) as (
        server,
        where,
    ):
        async with opened(where) as backend:
            assert (await ask(backend, STRUCTURED))[-1].parsed == FITS
            assert (await ask(backend, STRUCTURED))[-1].parsed == FITS
            first = len(chats(server))
            server.refused.clear()
            assert (await ask(backend, STRUCTURED))[-1].parsed == FITS
            assert server.refused == []
            assert len(chats(server)) == first + 1
            last = chats(server)[-1]
    assert last.get("response_format", {}).get("type") == (None if object_ == "refused" else "json_object")
    if form not in (unnamed, unrouted):
        # What was not complained of is still sent.
        assert "temperature" in last
        assert server.thoughts == 0


async def test_a_server_that_can_do_no_json_is_an_error_and_no_text() -> None:
    with served("vllm") as (server, where):
        server.by_prompt = lambda _: says(TEXT)
        async with opened(where) as backend:
            for _ in range(3):
                with pytest.raises(ModelBroken, match="asked for JSON"):
                    await ask(backend, STRUCTURED)
        asked = [body.get("response_format", {}).get("type") for body in chats(server)]
    assert asked == ["json_schema", "json_object", None, None, None]


async def test_a_passing_fault_of_the_server_teaches_nothing() -> None:
    """A bare 500 may mean that JSON is not understood, or nothing at all."""
    with served("qwen") as (server, where):
        answer, faults = server.by_prompt, iter([error(500, "Internal Server Error")])
        server.by_prompt = lambda call: next(faults, None) or answer(call)  # type: ignore[misc]
        async with opened(where) as backend:
            for _ in range(2):
                assert (await ask(backend, STRUCTURED))[-1].parsed == FITS
        asked = [body.get("response_format", {}).get("type") for body in chats(server)]
    assert asked == ["json_schema", "json_object", "json_schema"]


async def test_a_server_that_is_down_is_not_asked_in_ten_ways() -> None:
    with served("qwen") as (server, where):
        server.by_prompt = lambda _: error(500, "Internal Server Error")
        async with opened(where) as backend:
            with pytest.raises(ModelOverloaded):
                await ask(backend, STRUCTURED)
            assert len(server.calls) == 3
            with pytest.raises(ModelOverloaded):
                await ask(backend, PLAIN)
            assert len(server.calls) == 4


@pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])
async def test_the_demand_that_nobody_collects_customers_data_is_never_left_out(form: Any) -> None:
    with served("openrouter", refuse=form, knows=frozenset({"provider"}), temperature=None, thinks="never") as (
        server,
        at,
    ):
        async with opened(at) as backend:
            for prompt in (PLAIN, STRUCTURED):
                await ask(backend, prompt)
        assert server.refused
        assert {body["provider"]["data_collection"] for body in chats(server)} == {"deny"}


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])
@pytest.mark.parametrize("name", ["qwen", "openrouter"])
async def test_a_refused_parameter_is_left_out_and_not_sent_again(name: str, form: Any) -> None:
    with served(name, refuse=form) as (server, where):
        strange = replace(where, dialect=replace(where.dialect, body={**where.dialect.body, "made_up": 1}))
        async with opened(strange) as backend:
            assert text_of(await ask(backend, PLAIN)) == TEXT
            server.refused.clear()
            assert text_of(await ask(backend, PLAIN)) == TEXT
        assert server.refused == []
        assert server.thoughts == 0, "the switch is kept when something else was refused"
        assert "made_up" in chats(server)[0]
        assert "made_up" not in chats(server)[-1]


async def test_the_servers_refuse_what_a_provider_is_not_known_to_understand(
    server: DialectServer, here: tuple[DialectServer, Endpoint]
) -> None:
    strange: dict[str, Any] = {"n": 2, "presence_penalty": 0.5, "logit_bias": {}, "user": "anna", "made_up": 1}
    where = replace(here[1], dialect=replace(here[1].dialect, body={**here[1].dialect.body, **strange}))
    async with opened(where) as backend:
        assert text_of(await ask(backend, PLAIN)) == TEXT, "however many parameters were refused"
    assert set(server.refused) & strange.keys() == (set() if server.quirks.anything else strange.keys())
    if not server.quirks.anything:
        assert not chats(server)[-1].keys() & strange.keys()


@pytest.mark.parametrize("form", LEARNED, ids=[form.__name__ for form in LEARNED])
@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": None},
        {"stream_options": False, "usage_unasked": True},
        {"length": frozenset({"max_completion_tokens"})},
        {"knows": frozenset(), "thinks": "never"},
        {"temperature": None, "stream_options": False, "knows": frozenset(), "thinks": "never"},
        {"temperature": None, "length": frozenset({"max_completion_tokens"})},
    ],
    ids=lambda changed: "+".join(changed),
)
async def test_whatever_a_server_refuses_is_learned_at_once(changed: dict[str, Any], form: Any) -> None:
    """A model that is newer than the preset: what is refused is left out, and the answer comes in the same call."""
    with served("qwen", refuse=form, **changed) as (server, where):
        async with opened(where) as backend:
            assert text_of(await ask(backend, PLAIN)) == TEXT
            server.refused.clear()
            server.ignored.clear()
            assert text_of(await ask(backend, PLAIN)) == TEXT
        assert server.refused == []
        assert "no limit" not in server.ignored, "the answer is still bounded"


async def test_openais_own_server_wants_the_new_name_of_the_limit_and_no_temperature() -> None:
    with serving(dialect("openai", "m", key=KEY)) as server:
        where = Catalogue(built_in(), url_key=KEY).endpoint(f"{server.base_url}#m")
        async with opened(where) as backend:
            assert text_of(await ask(backend, PLAIN)) == TEXT
            assert set(server.refused) == {"temperature", "max_tokens"}
            server.refused.clear()
            assert text_of(await ask(backend, PLAIN)) == TEXT
        assert server.refused == []
        assert chats(server)[-1]["max_completion_tokens"] == PLAIN.max_tokens


# Tools ----------------------------------------------------------------------------------------------------------------


async def test_tools(server: DialectServer, backend: OpenAICompatible) -> None:
    """A call comes back, with its thinking where that is wanted back, and its result can be sent."""
    asked = replace(PLAIN, tools=(TOOL,), tool_choice="required")
    last = (await ask(backend, asked))[-1]
    assert last.finish == "tools"
    (call,) = last.tool_calls
    assert (call.name, call.arguments) == ("look_up", {"number": "text"})
    assert call.id
    required = server.quirks.tool_choice >= {"required"} and not server.quirks.raw_tools
    assert ("tool_choice" in chats(server)[-1]) is (required or server.quirks.anything)
    turn = (
        *ASKED,
        PromptMessage("assistant", "", tool_calls=last.tool_calls, reasoning=last.reasoning),
        PromptMessage("tool", "Booking 7 is paid.", tool_call=call.id),
    )
    answer = await ask(backend, replace(asked, messages=turn, tool_choice="auto"))
    assert text_of(answer) == "The tool says: Booking 7 is paid."
    assert answer[-1].finish == "stop"
    assert server.refused == []


@pytest.mark.parametrize("choice", ["deepseek", "moonshot:kimi-k3.1-pro"])
async def test_thinking_goes_back_with_the_results_of_tools_where_the_provider_insists(choice: str) -> None:
    with served(choice, thinks="always") as (server, where):
        async with opened(where) as backend:
            last = (await ask(backend, replace(PLAIN, tools=(TOOL,))))[-1]
            assert last.reasoning == THOUGHT
            call = last.tool_calls[0]
            turn = (
                *ASKED,
                PromptMessage("assistant", "", tool_calls=(call,), reasoning=last.reasoning),
                PromptMessage("tool", "7", tool_call=call.id),
            )
            assert text_of(await ask(backend, replace(PLAIN, messages=turn, tools=(TOOL,)))) == "The tool says: 7"
        assert server.refused == []
        assert chats(server)[-1]["messages"][-2]["reasoning_content"] == THOUGHT


async def test_a_tool_call_that_a_model_wrote_as_text_is_a_call_and_no_text() -> None:
    server, answer = await once("vllm", replace(PLAIN, tools=(TOOL,)), raw_tools=True)
    assert answer.text == ""
    assert answer.last.tool_calls == (ToolCall(answer.last.tool_calls[0].id, "look_up", {"number": "text"}),)
    assert answer.last.finish == "tools"
    assert server.refused == []


async def test_calls_without_an_id_are_given_one() -> None:
    def call(index: int | None, name: str, arguments: str) -> dict[str, Any]:
        called = {"index": index, "function": {"name": name, "arguments": arguments}}
        return chunk({"tool_calls": [called]})

    for indices in ((0, 1), (None, None)):
        said = [call(indices[0], "look_up", '{"number": "1"}'), call(indices[1], "look_up", '{"number": "2"}')]
        with served("ollama") as (server, where):
            server.by_prompt = lambda _, said=said: events([*said, chunk({}, "tool_calls")])
            async with opened(where) as backend:
                calls = (await ask(backend, replace(PLAIN, tools=(TOOL,))))[-1].tool_calls
        assert [dict(one.arguments) for one in calls] == [{"number": "1"}, {"number": "2"}]
        assert len({one.id for one in calls}) == 2
        assert all(one.id for one in calls)


# The first model of a server ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vllm", "sglang", "llamacpp", "lmstudio"])
async def test_a_server_with_one_model_is_asked_for_its_name_once(name: str) -> None:
    with served(name) as (server, where):
        async with opened(where) as backend:
            assert backend.name == name
            for _ in range(3):
                assert text_of(await ask(backend, PLAIN)) == TEXT
        assert [call.path for call in server.calls] == ["/v1/models", *["/v1/chat/completions"] * 3]
        assert {body["model"] for body in chats(server)} == {"the-first"}


@pytest.mark.parametrize(
    "listed",
    [
        answers(500, {"detail": "CacheNotFound"}),
        answers(200, {"object": "list", "data": []}),
        answers(200, {"object": "list", "data": None}),
        answers(200, {"object": "list"}),
        answers(200, {"object": "list", "data": [{"id": None}]}),
        answers(200, []),
        answers(200, "models"),
        answers(404, {"detail": "Not Found"}),
    ],
)
async def test_a_server_that_does_not_tell_its_models_is_told_to_the_operator(listed: Any) -> None:
    with served("vllm") as (server, where):
        server.models = listed
        async with opened(where) as backend:
            with pytest.raises(ModelDenied, match="does not tell which models") as caught:
                await ask(backend, PLAIN)
            assert caught.value.hint == "Name the model: FRONTDESK_MODEL=vllm:MODEL"


# Pictures -------------------------------------------------------------------------------------------------------------


async def test_a_picture_goes_as_a_part_of_the_users_message(server: DialectServer, backend: OpenAICompatible) -> None:
    assert TEXT in text_of(await ask(backend, LOOK))
    assert server.calls[-1].images == [("image/png", PICTURE.content)]
    assert server.calls[-1].said == "Look.\nWhat is it?"
    assert server.refused == [] or server.calls[-1].images, "what is refused is not the picture"


BLIND = [
    "This model does not support image input.",
    "image_url is only supported by certain models",
    "Invalid type for 'messages[1].content': expected a string, but got an array instead.",
    "m is not a multimodal model",
    "image input is not supported - hint: you may need to provide the mmproj",
]


@pytest.mark.parametrize("said", BLIND)
async def test_a_model_that_cannot_see_is_asked_once(said: str) -> None:
    with served("vllm", blind=said) as (server, where):
        async with opened(where) as backend:
            with pytest.raises(ModelRefused, match="cannot see pictures"):
                await ask(backend, LOOK)
        assert [call.path for call in server.calls].count("/v1/chat/completions") == 1
    with served("openai", blind=said) as (server, where):
        async with opened(where) as backend:
            assert TEXT in text_of(await ask(backend, PLAIN)), "text is answered all the same"


async def test_a_picture_counts() -> None:
    async with opened(Catalogue(built_in(), {"OPENAI_API_KEY": KEY}).endpoint("openai")) as backend:
        assert backend.estimate(LOOK, 0).prompt_tokens > 1_000
