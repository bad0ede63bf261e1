"""Which model is asked when, and which is not, with models that do as they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from agent.errors import (
    ModelBroken,
    ModelDenied,
    ModelError,
    ModelFiltered,
    ModelOverloaded,
    ModelRefused,
    ModelTooLong,
    ModelUnreachable,
)
from agent.messages import Address, Usage
from agent.models.base import ROLES, Chunk, Completion, ModelBackend, Prompt, PromptMessage, Role, complete
from agent.models.breaker import Breakers
from agent.models.quotes import Quotes
from agent.models.routing import LONGEST_WAIT_SECONDS, FallbackChain, Models, vendor_of
from agent.testing import ScriptedModel

MESSAGES = (PromptMessage("system", "Answer."), PromptMessage("user", "Hello?"))
PROMPT = Prompt("answer", MESSAGES, "Hello?")
OTHER = "Another answers."


class Breaking(ScriptedModel):
    """A model that says the words of its line, and then breaks off with an error, each time or the first time only."""

    def __init__(self, text: str, error: ModelError, *, name: str, times: int = 99, pause: float = 0.0) -> None:
        super().__init__(text, name=name)
        self._error = error
        self._times = times
        self._pause = pause

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        async with aclosing(super().stream(prompt)) as chunks:
            async for chunk in chunks:
                await asyncio.sleep(self._pause)
                if chunk.finish and len(self.prompts) <= self._times:
                    raise self._error
                yield chunk


def other(name: str = "other:m") -> ScriptedModel:
    return ScriptedModel(OTHER, name=name)


async def ask(*models: ModelBackend, prompt: Prompt = PROMPT, breakers: Breakers | None = None) -> Completion:
    return await complete(FallbackChain(models, breakers), prompt)


async def shown_by(models: Sequence[ModelBackend], prompt: Prompt = PROMPT) -> tuple[str, ModelError | None]:
    shown = ""
    try:
        async with aclosing(FallbackChain(models).stream(prompt)) as chunks:
            async for chunk in chunks:
                shown += chunk.text
    except ModelError as error:
        return shown, error
    return shown, None


def test_a_chain_needs_a_model() -> None:
    with pytest.raises(ValueError, match="at least one"):
        FallbackChain([])


async def test_a_chain_is_called_by_its_first_model() -> None:
    chain = FallbackChain([other("a:m"), Quotes()])
    assert (chain.name, chain.names, chain.generative) == ("a:m", ("a:m", "quotes"), True)
    assert FallbackChain([Quotes(), other()]).generative is False
    assert chain.estimate(PROMPT, 7).completion_tokens == 7
    await chain.close()


# Again, or the next ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ModelOverloaded("busy"), ModelBroken("half")], ids=lambda error: error.kind)
async def test_what_may_pass_is_tried_once_more(error: ModelError) -> None:
    model = ScriptedModel(error, "Hello", name="a:m")
    assert (await ask(model, other())).text == "Hello"
    model = ScriptedModel(error, error, "Hello", name="a:m")
    answer = await ask(model, other())
    assert (answer.text, len(model.prompts)) == (OTHER, 2)
    assert answer.notes == (error.message, error.message)
    assert answer.failed == {error.kind}


@pytest.mark.parametrize(
    "error",
    [ModelUnreachable("dead"), ModelDenied("key"), ModelRefused("bad"), ModelFiltered("filter"), ModelTooLong("long")],
    ids=lambda error: error.kind,
)
async def test_what_will_not_pass_goes_to_the_next_model_at_once(error: ModelError) -> None:
    model = ScriptedModel(error, "Hello", name="a:m")
    answer = await ask(model, other())
    assert (answer.text, len(model.prompts), answer.notes) == (OTHER, 1, (error.message,))


async def test_a_pause_that_the_server_asks_for_is_kept_if_it_is_short() -> None:
    assert LONGEST_WAIT_SECONDS == 8.0
    model = ScriptedModel(ModelOverloaded("busy", retry_after=0.8), "Hello", name="a:m")
    began = time.monotonic()
    assert (await ask(model, other())).text == "Hello"
    assert time.monotonic() - began >= 0.8
    for long in (8.1, 3600.0):
        model = ScriptedModel(ModelOverloaded("busy", retry_after=long), "Hello", name="a:m")
        assert (await ask(model, other())).text == OTHER
        assert len(model.prompts) == 1


async def test_the_last_models_error_is_what_is_left_and_its_cost_is_told_once() -> None:
    first, last = ModelUnreachable("dead"), ModelDenied("key")
    first.usage, last.usage = Usage(10, 1, 0.1), Usage(20, 2, 0.2)
    with pytest.raises(ModelDenied) as caught:
        await ask(ScriptedModel(first, name="a:m"), ScriptedModel(last, name="b:m"))
    usage = caught.value.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (30, 3)
    assert usage.cost_usd == pytest.approx(0.3)


async def test_a_filter_passes_over_all_models_of_its_vendor() -> None:
    models = [
        ScriptedModel(ModelFiltered("filter"), name="qwen:qwen-plus"),
        other("qwen@us:qwen3.8-flash"),
        other("qwen:qwen-flash"),
        other("deepseek:deepseek-flash"),
    ]
    answer = await ask(*models)
    assert answer.last.model == "deepseek:deepseek-flash"
    assert [len(model.prompts) for model in models] == [1, 0, 0, 1]
    assert "qwen@us:qwen3.8-flash was not asked: it is of the vendor whose filter stopped the message." in answer.notes
    assert "filtered" in answer.failed


async def test_a_filter_is_no_reason_to_ask_the_same_vendor_even_if_nobody_else_is_left() -> None:
    models = [ScriptedModel(ModelFiltered("filter"), name="qwen:a"), other("qwen:b")]
    with pytest.raises(ModelFiltered):
        await ask(*models)
    assert models[1].prompts == []


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("qwen:qwen-plus", "qwen"),
        ("qwen@us:qwen-plus", "qwen"),
        ("vllm", "vllm"),
        ("quotes", "quotes"),
        ("openrouter:qwen/qwen3.8-flash:free", "openrouter"),
        ("http://gpu.example:8000/v1#a@b:c", "gpu.example"),
        ("https://GPU.example/v1#m", "gpu.example"),
        ("http://[::1]:8000/v1#m", "::1"),
    ],
)
def test_whose_a_model_is(name: str, vendor: str) -> None:
    assert vendor_of(name) == vendor


async def test_what_is_too_long_is_asked_shorter_once() -> None:
    shorter = (PromptMessage("user", "Short?"),)
    long = ModelTooLong("too long")
    model = ScriptedModel(long, "Hello", name="a:m")
    assert (await ask(model, prompt=replace(PROMPT, shorter=shorter))).text == "Hello"
    assert [prompt.messages for prompt in model.prompts] == [MESSAGES, shorter]
    model, second = ScriptedModel(long, long, "Hello", name="a:m"), other()
    assert (await ask(model, second, prompt=replace(PROMPT, shorter=shorter))).text == OTHER
    assert [prompt.messages for prompt in model.prompts] == [MESSAGES, shorter]
    assert second.prompts[0].messages == MESSAGES
    model = ScriptedModel(long, ModelOverloaded("busy"), "Hello", name="a:m")
    assert (await ask(model, prompt=replace(PROMPT, shorter=shorter))).text == "Hello"
    assert [prompt.messages for prompt in model.prompts] == [MESSAGES, shorter, shorter], "it stays short"


# What is shown is never said again --------------------------------------------------------------------------------------


async def test_after_the_first_visible_word_no_other_model_begins_anew() -> None:
    second = other()
    shown, error = await shown_by([Breaking("Half an", ModelBroken("cut"), name="a:m"), second])
    assert (shown, isinstance(error, ModelBroken), second.prompts) == ("Half an", True, [])


async def test_spaces_are_no_word() -> None:
    shown, error = await shown_by([Breaking("  ", ModelUnreachable("cut"), name="a:m"), other()])
    assert (shown.strip(), error) == (OTHER, None)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "answer"])
async def test_what_nobody_sees_is_begun_anew_and_holds_no_half_answers(role: Role) -> None:
    """Neither of the same model nor of another: half a rewritten question is none."""
    prompt = replace(PROMPT, role=role)
    once = Breaking("How do I cancel", ModelBroken("cut"), name="a:m", times=1)
    assert await shown_by([once], prompt) == ("How do I cancel", None)
    assert len(once.prompts) == 2
    always = Breaking("How do I", ModelUnreachable("cut"), name="a:m")
    assert await shown_by([always, other()], prompt) == (OTHER, None)
    answer = await ask(Breaking("How do I", ModelUnreachable("cut"), name="a:m"), other(), prompt=prompt)
    assert answer.text == OTHER
    assert answer.last.model == "other:m"


async def test_an_answer_as_json_is_shown_to_nobody() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    prompt = replace(PROMPT, schema=schema)
    broken = Breaking('{"a": 1}', ModelUnreachable("cut"), name="a:m")
    answer = await ask(broken, ScriptedModel('{"a": 2}', name="b:m"), prompt=prompt)
    assert (answer.text, answer.last.parsed) == ('{"a": 2}', {"a": 2})


# Time -----------------------------------------------------------------------------------------------------------------


async def test_the_seconds_of_a_prompt_are_shared_by_the_chain() -> None:
    slow = Breaking("one two three", ModelBroken("cut"), name="a:m", pause=0.02, times=1)
    second = other()
    await ask(slow, second, prompt=replace(PROMPT, role="rewrite", seconds=5.0))
    given = [prompt.seconds for prompt in slow.prompts]
    assert given[0] is not None
    assert given[1] is not None
    assert 4.5 < given[0] <= 5.0
    assert given[1] <= given[0] - 0.5


async def test_with_no_time_left_only_a_model_that_needs_none_is_asked() -> None:
    model = ScriptedModel(ModelOverloaded("busy"), "Hello", name="a:m")
    second = other()
    answer = await ask(model, second, Quotes(), prompt=replace(PROMPT, seconds=0.9))
    assert (model.prompts, second.prompts) == ([], [])
    assert answer.last.model == "quotes"
    assert "a:m was not asked: no time was left." in answer.notes
    model = ScriptedModel(ModelOverloaded("busy", retry_after=2), "Hello", name="a:m")
    assert (await ask(model, second, prompt=replace(PROMPT, seconds=2.5))).text == OTHER
    assert len(model.prompts) == 1, "a second try would have no time for its answer"


async def test_without_seconds_there_is_no_limit() -> None:
    model = other()
    await ask(model)
    assert model.prompts[0].seconds is None


# Breakers -------------------------------------------------------------------------------------------------------------


async def test_a_model_that_keeps_failing_is_left_alone_and_tried_again_by_one() -> None:
    now = 0.0
    breakers = Breakers(lambda: now)
    model = ScriptedModel(*[ModelUnreachable("dead")] * 5, "Hello", name="a:m")
    for _ in range(10):
        assert (await ask(model, other(), breakers=breakers)).text == OTHER
    assert len(model.prompts) == 4
    now = 31.0
    answers = await asyncio.gather(*(ask(model, other(), breakers=breakers) for _ in range(10)))
    assert {answer.text for answer in answers} == {OTHER}
    assert len(model.prompts) == 5
    now = 62.0
    assert (await ask(model, other(), breakers=breakers)).text == "Hello"
    assert (await ask(model, other(), breakers=breakers)).text == "Hello"


async def test_one_try_is_one_call() -> None:
    now = 0.0
    breakers = Breakers(lambda: now)
    model = ScriptedModel(ModelOverloaded("busy"), name="a:m")
    for _ in range(3):
        await ask(model, other(), breakers=breakers)
    assert len(model.prompts) == 4, "the fourth failure opens it, whoever's it is"
    now = 31.0
    await ask(model, other(), breakers=breakers)
    assert len(model.prompts) == 5, "a try that fails is not repeated"


async def test_a_try_that_a_customer_abandons_leaves_the_next_one_to_another() -> None:
    now = 0.0
    breakers = Breakers(lambda: now)
    model = ScriptedModel(*[ModelUnreachable("dead")] * 4, "Hello there you", name="a:m")
    for _ in range(4):
        await ask(model, other(), breakers=breakers)
    now = 31.0
    async with aclosing(FallbackChain([model], breakers).stream(PROMPT)) as chunks:
        await anext(chunks)
    assert (await ask(model, other(), breakers=breakers)).text == "Hello there you"


async def test_if_every_model_is_left_alone_the_reason_is_told() -> None:
    breakers = Breakers(lambda: 0.0)
    model = ScriptedModel(ModelDenied("a:m does not accept the key"), name="a:m")
    for _ in range(2):
        with pytest.raises(ModelError, match="does not accept the key"):
            await ask(model, breakers=breakers)
    assert len(model.prompts) == 1


# Which chain ----------------------------------------------------------------------------------------------------------


def test_one_model_for_everything_that_it_can_do() -> None:
    room = Address("slack", "T1", "C1")
    model, quotes = other(), Quotes()
    roles = {role: Models.only(model).choose(role, room) for role in ROLES}
    assert [role for role, chosen in roles.items() if chosen is model] == ["rewrite", "answer", "summarise"]
    assert [role for role in ROLES if Models.only(quotes).choose(role, room) is quotes] == ["answer"]
    assert Models.only(model).answering(room) is model
