"""What calls cost is recorded however they end, and a budget stops the call that would break it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import BudgetError, ModelBroken, ModelError, ModelOverloaded
from agent.messages import Usage
from agent.models.base import Chunk, Payer, Prompt, PromptMessage
from agent.models.metering import Budget, Meter, ModelCall, Scope
from agent.models.quotes import Quotes
from agent.models.routing import FallbackChain
from agent.testing import ScriptedModel

ANNA = Payer("slack:T1/C1/1", "slack:T1/C1", "anna")
BEN = Payer("slack:T1/C2/2", "slack:T1/C2", "ben")
PROMPT = Prompt("answer", (PromptMessage("user", "Hello?"),), "Hello?", max_tokens=100, payer=ANNA)
CENT = Usage(1_000, 100, 0.01)


@dataclass
class MemoryLog:
    """A call log in memory that takes its time, as a database does."""

    calls: list[ModelCall] = field(default_factory=list)

    async def record(self, call: ModelCall, /) -> None:
        await asyncio.sleep(0)
        self.calls.append(call)

    async def spent(self, scope: Scope, payer: Payer, since: datetime | None, /) -> Usage:
        await asyncio.sleep(0.001)
        of_scope = [
            call
            for call in self.calls
            if (since is None or call.at >= since)
            and (scope == "day" or getattr(call.payer, scope) == getattr(payer, scope))
        ]
        return sum((call.usage for call in of_scope), Usage())


class Priced(ScriptedModel):
    """A scripted model that costs a cent a call, or what it is told."""

    usage: Usage = CENT
    pause = 0.0

    def estimate(self, prompt: Prompt, completion_tokens: int, /) -> Usage:
        return self.usage

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        async with aclosing(super().stream(prompt)) as chunks:
            async for chunk in chunks:
                await asyncio.sleep(self.pause)
                yield replace(chunk, usage=self.usage) if chunk.finish else chunk


def call(usage: Usage, payer: Payer = ANNA, *, days_ago: float = 0.0) -> ModelCall:
    return ModelCall(datetime.now(UTC) - timedelta(days=days_ago), "answer", "m", usage, 1.0, payer=payer)


def metered(budgets: Mapping[Scope, Budget] | None = None, *calls: ModelCall) -> tuple[MemoryLog, Meter]:
    log = MemoryLog(list(calls))
    return log, Meter(log, budgets)


async def ask(meter: Meter, *models: ScriptedModel | Quotes, prompt: Prompt = PROMPT) -> list[Chunk]:
    async with aclosing(FallbackChain(models, meter=meter).stream(prompt)) as chunks:
        return [chunk async for chunk in chunks]


# Budgets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "ours", "theirs"),
    [("conversation", ANNA, BEN), ("person", ANNA, BEN), ("channel", ANNA, BEN)],
)
async def test_a_budget_is_of_one_conversation_person_or_channel(scope: Scope, ours: Payer, theirs: Payer) -> None:
    _, meter = metered({scope: Budget(usd=0.05)}, *[call(CENT, ours)] * 5)
    await meter.reserve("qwen:m", theirs, CENT)
    with pytest.raises(BudgetError) as caught:
        await meter.reserve("qwen:m", ours, CENT)
    assert caught.value.scope == scope
    assert caught.value.message == f"The budget of 0.05 USD per {scope} is spent; qwen:m was not asked."
    assert f"budget_{scope} (FRONTDESK_BUDGET_{scope.upper()})" in caught.value.hint


async def test_a_days_budget_is_of_everybody() -> None:
    _, meter = metered({"day": Budget(usd=0.05)}, *[call(CENT, ANNA)] * 3, *[call(CENT, BEN)] * 2)
    with pytest.raises(BudgetError, match="per day"):
        await meter.reserve("m", Payer(), CENT)


async def test_what_fits_exactly_is_allowed_and_a_token_more_is_not() -> None:
    _, meter = metered({"day": Budget(tokens=2_200)}, call(CENT))
    first = await meter.reserve("m", ANNA, CENT)
    await meter.settle(first, call(CENT))
    with pytest.raises(BudgetError, match="The budget of 2,200 tokens per day is spent"):
        await meter.reserve("m", ANNA, Usage(1, 0, 0.0))


async def test_yesterdays_calls_count_only_for_a_conversation() -> None:
    old = call(Usage(1_000, 100, 1.0), days_ago=1.0)
    for scope in ("person", "channel", "day"):
        _, meter = metered({scope: Budget(usd=0.5)}, old)
        await meter.reserve("m", ANNA, CENT)
    _, meter = metered({"conversation": Budget(usd=0.5)}, old)
    with pytest.raises(BudgetError):
        await meter.reserve("m", ANNA, CENT)


async def test_an_unknown_price_cannot_be_held_to_usd_and_says_what_to_type() -> None:
    _, meter = metered({"day": Budget(usd=5.0)})
    with pytest.raises(BudgetError) as caught:
        await meter.reserve("http://host/v1#m", ANNA, Usage(10, 10, None))
    assert caught.value.message == "The price of http://host/v1#m is not known, so a budget in USD cannot be kept."
    assert "[presets.NAME.models" in caught.value.hint
    assert "budget in tokens" in caught.value.hint
    _, meter = metered({"day": Budget(tokens=100)})
    await meter.reserve("http://host/v1#m", ANNA, Usage(10, 10, None))


async def test_past_calls_of_unknown_price_do_not_stop_those_that_can_be_counted() -> None:
    _, meter = metered({"day": Budget(usd=0.05)}, call(Usage(10, 10, None)), call(Usage(10, 10, 0.01)))
    await meter.reserve("m", ANNA, CENT)


async def test_what_is_free_needs_no_budget_in_usd_but_one_in_tokens() -> None:
    free = Usage(1_000, 100, 0.0)
    _, meter = metered({"day": Budget(usd=0.0)}, call(CENT))
    await meter.reserve("ollama:m", ANNA, free)
    _, meter = metered({"day": Budget(tokens=100)})
    with pytest.raises(BudgetError):
        await meter.reserve("ollama:m", ANNA, free)


async def test_many_at_once_do_not_overrun_a_budget_together() -> None:
    log, meter = metered({"conversation": Budget(usd=0.05), "day": Budget(usd=1.0)})
    results = await asyncio.gather(*(meter.reserve("m", ANNA, CENT) for _ in range(20)), return_exceptions=True)
    assert len([one for one in results if not isinstance(one, BaseException)]) == 5
    assert all(isinstance(one, BudgetError) for one in results if isinstance(one, BaseException))
    assert log.calls == []


async def test_what_was_set_aside_is_free_again_once_a_call_has_cost_less() -> None:
    _, meter = metered({"day": Budget(usd=0.02)})
    one = await meter.reserve("m", ANNA, CENT)
    await meter.reserve("m", ANNA, CENT)
    with pytest.raises(BudgetError):
        await meter.reserve("m", ANNA, CENT)
    await meter.settle(one, call(Usage(10, 1, 0.0001)))
    with pytest.raises(BudgetError):
        await meter.reserve("m", ANNA, CENT)
    await meter.reserve("m", ANNA, Usage(10, 1, 0.0099))


async def test_a_log_that_fails_sets_nothing_aside_for_ever() -> None:
    class Failing(MemoryLog):
        async def record(self, call: ModelCall, /) -> None:
            raise OSError("disk full")

    meter = Meter(Failing(), {"day": Budget(usd=0.01)})
    reservation = await meter.reserve("m", ANNA, CENT)
    with pytest.raises(OSError, match="disk full"):
        await meter.settle(reservation, call(CENT))
    await meter.reserve("m", ANNA, CENT)


async def test_without_a_log_there_is_no_budget() -> None:
    await Meter(None, {"day": Budget(usd=0.0)}).reserve("m", ANNA, CENT)


# Calls ----------------------------------------------------------------------------------------------------------------


async def test_a_call_is_recorded_with_who_asked_and_what_it_cost() -> None:
    log, meter = metered()
    await ask(meter, Priced("Hello there you", name="a:m"))
    (one,) = log.calls
    assert (one.role, one.model, one.usage, one.error, one.payer) == ("answer", "a:m", CENT, "", ANNA)
    assert one.at.tzinfo is UTC
    assert one.first_token_seconds is not None
    assert 0 <= one.first_token_seconds <= one.seconds < 5


async def test_failed_calls_are_recorded_with_their_kind_and_cost() -> None:
    log, meter = metered()
    broken = ModelBroken("half")
    broken.usage = Usage(50, 5, 0.001)
    chunks = await ask(
        meter, Priced(broken, name="a:m"), Priced(ModelOverloaded("busy", retry_after=60), name="b:m"), Quotes()
    )
    assert [(one.model, one.error, one.usage.cost_usd) for one in log.calls] == [
        ("a:m", "broken", 0.001),
        ("a:m", "broken", 0.001),
        ("b:m", "overloaded", 0.0),
        ("quotes", "", 0.0),
    ]
    assert all(one.first_token_seconds is None for one in log.calls[:3])
    total = sum((chunk.usage for chunk in chunks), Usage())
    assert total == sum((one.usage for one in log.calls), Usage()), "what is told is what is recorded"


async def test_abandoned_calls_are_recorded_with_what_had_come() -> None:
    log, meter = metered()
    model = ScriptedModel("one two three four five six seven", name="a:m")
    async with aclosing(FallbackChain([model], meter=meter).stream(PROMPT)) as chunks:
        shown = [await anext(chunks) for _ in range(4)]
    assert "".join(chunk.text for chunk in shown) == "one two three four"
    (one,) = log.calls
    assert (one.error, one.model) == ("abandoned", "a:m")
    assert one.usage.completion_tokens == len("one two three four") // 4


async def test_a_cancelled_call_is_recorded() -> None:
    log, meter = metered()
    model = Priced("one two three four", name="a:m")
    model.pause = 5.0
    task = asyncio.create_task(ask(meter, model))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (one,) = log.calls
    assert one.error == "abandoned"


async def test_a_spent_budget_goes_to_a_model_that_is_free_and_is_told() -> None:
    log, meter = metered({"day": Budget(usd=0.01)}, call(CENT))
    paid, free = Priced("Paid", name="a:m"), ScriptedModel("Free", name="ollama:m")
    chunks = await ask(meter, paid, free)
    assert "".join(chunk.text for chunk in chunks) == "Free"
    assert paid.prompts == [], "it was not asked"
    assert chunks[0].failed == "budget"
    assert "The budget of 0.01 USD per day is spent" in chunks[0].note
    assert [one.model for one in log.calls[1:]] == ["ollama:m"], "a call that was not made is not recorded"


async def test_a_spent_budget_is_no_illness_of_the_model() -> None:
    _, meter = metered({"conversation": Budget(usd=0.01)}, call(CENT))
    chain = FallbackChain([Priced("Paid", name="a:m")], meter=meter)
    for _ in range(10):
        with pytest.raises(BudgetError):
            async with aclosing(chain.stream(PROMPT)) as chunks:
                _ = [chunk async for chunk in chunks]
    async with aclosing(chain.stream(replace(PROMPT, payer=BEN))) as chunks:
        assert [chunk async for chunk in chunks][-1].finish == "stop"


async def test_customers_at_once_do_not_overrun_a_budget_through_a_chain() -> None:
    log, meter = metered({"channel": Budget(usd=0.05)})
    model = Priced("Hello there", name="a:m")
    model.pause = 0.01
    results = await asyncio.gather(*(ask(meter, model) for _ in range(15)), return_exceptions=True)
    assert len([one for one in results if not isinstance(one, ModelError)]) == 5
    assert sum(one.usage.cost_usd or 0 for one in log.calls) == pytest.approx(0.05)


def test_a_budget_reads_as_it_is_written() -> None:
    assert str(Budget(usd=5.0)) == "5 USD"
    assert str(Budget(tokens=1_500_000)) == "1,500,000 tokens"
