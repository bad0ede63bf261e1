"""What a call costs: real models, real figures, in cents that were worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Usage
from agent.models.presets import Catalogue, built_in, key_names
from agent.models.pricing import FREE, Price, Rate, estimated_tokens, price_of

CATALOGUE = Catalogue(built_in(), {name: "k" for name in key_names()})
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def price(choice: str) -> Price:
    return CATALOGUE.endpoint(choice).price


def cost(choice: str, *, at: datetime | None = None, **tokens: int) -> float | None:
    usage = {"prompt_tokens": 0, "completion_tokens": 0, **tokens}
    return price(choice).cost(Usage(cost_usd=None, **usage), at)  # type: ignore[arg-type]


def test_tokens_in_and_out() -> None:
    assert cost("qwen", prompt_tokens=1_000_000, completion_tokens=1_000_000) == pytest.approx(0.15 + 0.47)
    assert cost("qwen", prompt_tokens=3_000, completion_tokens=300) == pytest.approx(0.000591)
    assert cost("qwen") == 0.0


def test_cached_tokens_and_those_written_to_the_cache_are_part_of_the_prompt() -> None:
    assert cost("qwen", prompt_tokens=1_000_000, cached_tokens=1_000_000) == pytest.approx(0.016)
    assert cost("qwen", prompt_tokens=1_000_000, cache_write_tokens=1_000_000) == pytest.approx(0.20)
    mixed = cost("qwen", prompt_tokens=1_000, cached_tokens=400, cache_write_tokens=100)
    assert mixed == pytest.approx((500 * 0.15 + 400 * 0.016 + 100 * 0.20) / 1e6)
    assert cost("openai", prompt_tokens=1_000, cached_tokens=900, completion_tokens=10) == pytest.approx(
        (100 * 0.10 + 900 * 0.01 + 10 * 0.50) / 1e6
    )


def test_a_server_that_tells_more_cached_tokens_than_there_are_is_not_believed() -> None:
    assert cost("qwen", prompt_tokens=1_000, cached_tokens=5_000) == pytest.approx(1_000 * 0.016 / 1e6)
    assert cost("qwen", prompt_tokens=1_000, cached_tokens=900, cache_write_tokens=900) == pytest.approx(
        (900 * 0.016 + 100 * 0.20) / 1e6
    )


def test_cached_tokens_without_a_price_of_their_own_cost_what_others_cost() -> None:
    assert cost("qwen:qwen-plus", prompt_tokens=1_000, cached_tokens=500) == pytest.approx(1_000 * 0.40 / 1e6)
    assert cost("deepseek:deepseek-v4-pro", prompt_tokens=10, cache_write_tokens=10) == pytest.approx(10 * 1.32 / 1e6)


@pytest.mark.parametrize(
    ("choice", "tokens", "below", "above"),
    [
        ("qwen:qwen3.7-plus", 256_000, (0.40, 1.60), (1.2, 4.8)),
        ("qwen:qwen-flash", 256_000, (0.05, 0.40), (0.25, 2.0)),
        ("openai", 272_000, (0.10, 0.50), (0.20, 0.75)),
        ("anthropic", 100_000, (0.10, 0.50), (0.50, 2.50)),
    ],
)
def test_a_tier_holds_for_the_whole_call(
    choice: str, tokens: int, below: tuple[float, float], above: tuple[float, float]
) -> None:
    at_most = cost(choice, prompt_tokens=tokens, completion_tokens=1_000)
    assert at_most == pytest.approx((tokens * below[0] + 1_000 * below[1]) / 1e6)
    more = cost(choice, prompt_tokens=tokens + 1, completion_tokens=1_000)
    assert more == pytest.approx(((tokens + 1) * above[0] + 1_000 * above[1]) / 1e6)


def test_a_tier_has_its_own_price_for_cached_tokens_and_the_old_one_for_those_written() -> None:
    assert cost("qwen:qwen3.7-plus", prompt_tokens=300_000, cached_tokens=300_000) == pytest.approx(0.3 * 0.24)
    assert cost("openai", prompt_tokens=300_000, cache_write_tokens=300_000) == pytest.approx(0.3 * 0.125)


def test_the_highest_tier_that_is_reached_counts() -> None:
    facts = {
        "price": {"input": 1.0, "output": 1.0},
        "tiers": [{"above": 200, "input": 3.0, "output": 3.0}, {"above": 100, "input": 2.0, "output": 2.0}],
    }
    tiered = price_of(facts, "2026-11-23")
    assert [tiered.cost(Usage(tokens, 0)) for tokens in (100, 101, 200, 201)] == [
        pytest.approx(100 * 1e-6),
        pytest.approx(202 * 1e-6),
        pytest.approx(400 * 1e-6),
        pytest.approx(603 * 1e-6),
    ]


@pytest.mark.parametrize(
    ("day", "hour", "minute", "peak"),
    [
        (0, 0, 59, False),
        (0, 1, 0, True),
        (0, 3, 59, True),
        (0, 4, 0, False),
        (0, 5, 30, False),
        (0, 6, 0, True),
        (4, 9, 59, True),
        (4, 10, 0, False),
        (4, 23, 0, False),
        (5, 2, 0, False),
        (6, 7, 0, False),
    ],
)
def test_deepseek_costs_half_outside_its_peak_hours(day: int, hour: int, minute: int, peak: bool) -> None:
    at = MONDAY + timedelta(days=day, hours=hour, minutes=minute)
    usd = cost("deepseek", prompt_tokens=1_000_000, cached_tokens=500_000, completion_tokens=1_000_000, at=at)
    full = 0.5 * 0.30 + 0.5 * 0.006 + 1.20
    assert usd == pytest.approx(full if peak else full / 2)


def test_peak_hours_are_those_of_utc_wherever_the_clock_stands() -> None:
    shanghai, kiritimati = timezone(timedelta(hours=8)), timezone(timedelta(hours=14))
    one = cost("deepseek", prompt_tokens=1_000_000, at=datetime(2026, 11, 23, 10, 0, tzinfo=shanghai))
    assert one == pytest.approx(0.30), "two in the morning UTC"
    saturday_there = datetime(2026, 11, 28, 16, 0, tzinfo=kiritimati)
    assert cost("deepseek", prompt_tokens=1_000_000, at=saturday_there) == pytest.approx(0.15), "two on Saturday"
    still_friday = datetime(2026, 11, 28, 0, 30, tzinfo=timezone(timedelta(hours=-8)))
    assert cost("deepseek", prompt_tokens=1_000_000, at=still_friday) == pytest.approx(0.15), (
        "half past eight, Saturday"
    )


def test_peak_hours_may_begin_at_half_past() -> None:
    facts = {
        "price": {"input": 2.0, "output": 2.0},
        "off_peak": {"input": 1.0, "output": 1.0},
        "peak_utc": {"weekdays": [0], "hours": [[8.5, 16.5]]},
    }
    half = price_of(facts, "")
    at = [MONDAY + timedelta(hours=8, minutes=minute) for minute in (29, 30)]
    assert [half.cost(Usage(1_000_000, 0), moment) for moment in at] == [1.0, 2.0]
    assert half.cost(Usage(1_000_000, 0), MONDAY + timedelta(hours=16, minutes=29)) == 2.0
    assert half.cost(Usage(1_000_000, 0), MONDAY + timedelta(hours=16, minutes=30)) == 1.0


def test_qwen_plus_takes_more_for_the_whole_output_when_it_thinks() -> None:
    assert cost("qwen:qwen-plus", completion_tokens=1_000_000) == pytest.approx(1.20)
    assert cost("qwen:qwen-plus", completion_tokens=1_000_000, reasoning_tokens=1) == pytest.approx(4.00)
    assert cost("qwen", completion_tokens=1_000_000, reasoning_tokens=900_000) == pytest.approx(0.47)


def test_an_unknown_price_is_unknown_and_never_nothing() -> None:
    for unknown in (Price(), Price(Rate(1.0, None)), Price(Rate(None, 1.0)), price_of({}, "2026-11-23")):
        assert unknown.known is False
        assert unknown.cost(Usage(5, 0)) is None
        assert unknown.cost(Usage()) is None
    assert cost("qwen:some-new-model", prompt_tokens=1) is None
    assert cost("huggingface", prompt_tokens=1) is None
    assert cost("http://127.0.0.1:1/v1#m", prompt_tokens=1) is None


def test_what_is_free_costs_nothing() -> None:
    assert FREE.known
    assert FREE.cost(Usage(10**9, 10**9, cached_tokens=5)) == 0.0
    assert cost("ollama:x", prompt_tokens=5, completion_tokens=5) == 0.0
    assert cost("zai:glm-4.7-flash", prompt_tokens=5, cached_tokens=5) == 0.0


def test_the_sum_of_a_known_and_an_unknown_cost_is_unknown() -> None:
    assert (Usage(1, 1, 0.5) + Usage(1, 1, 0.25)).cost_usd == 0.75
    assert (Usage(1, 1, 0.5) + Usage(1, 1, None)).cost_usd is None


@settings(deadline=None)
@given(
    st.sampled_from([f"{name}:{model}" for name, preset in built_in().items() for model in preset["models"]]),
    st.integers(0, 10**7),
    st.integers(0, 10**6),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
)
def test_a_cost_is_never_negative_and_never_more_than_everything_at_the_highest_rate(
    choice: str, prompt: int, completion: int, cached: int, written: int
) -> None:
    preset, _, model = choice.partition(":")
    facts = built_in()[preset]["models"][model]
    rates = [facts["price"], *facts.get("tiers", [])]
    highest = max(value or 0 for rate in rates for key, value in rate.items() if key != "above")
    usd = price(choice).cost(Usage(prompt, completion, None, False, cached, written))
    assert usd is not None
    assert 0 <= usd <= (prompt + completion) * highest / 1e6 + 1e-9


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("You have 14 days after check-out to write a review.", 13),
        ("Sie können bis fünf Tage vor der Anreise kostenlos stornieren.", 16),
        ("チェックインの5日前までキャンセルできます。", 15),
        ("您可以在入住前五天免费取消预订。", 11),
        ("", 0),
    ],
)
def test_tokens_are_estimated_within_a_third_or_a_few(text: str, real: int) -> None:
    assert abs(estimated_tokens(text) - real) <= max(4, real / 3)
