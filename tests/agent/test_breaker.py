"""When a model is left alone, for how long, and who hears of it."""

from __future__ import annotations

import logging

import pytest

from agent.errors import (
    BudgetError,
    ModelBroken,
    ModelDenied,
    ModelError,
    ModelFiltered,
    ModelOverloaded,
    ModelRefused,
    ModelTooLong,
    ModelUnreachable,
)
from agent.models.breaker import DENIED_PAUSE_SECONDS, FAILURES, PAUSE_SECONDS, WITHIN_SECONDS, Breaker, Breakers

COUNTING = [ModelUnreachable("no answer"), ModelOverloaded("busy"), ModelBroken("half an answer")]
IGNORED = [
    ModelFiltered("filter"),
    ModelTooLong("too long"),
    ModelRefused("bad request"),
    BudgetError("spent", scope="day"),
]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("qwen:m", clock)


def test_the_figures_are_those_of_the_design() -> None:
    assert (FAILURES, WITHIN_SECONDS, PAUSE_SECONDS, DENIED_PAUSE_SECONDS) == (4, 60.0, 30.0, 300.0)


@pytest.mark.parametrize("error", COUNTING, ids=lambda error: error.kind)
def test_four_failures_within_a_minute_open_it_for_thirty_seconds(
    breaker: Breaker, clock: Clock, error: ModelError
) -> None:
    for _ in range(3):
        breaker.failed(error)
        assert breaker.refusal() is None
        clock.now += 19
    breaker.failed(error)
    assert breaker.refusal() == f"qwen:m is left alone for 30 s more: {error.message}"
    clock.now += 29.9
    assert breaker.refusal() is not None
    clock.now += 0.2
    assert breaker.refusal() is None


def test_four_failures_within_more_than_a_minute_do_not(breaker: Breaker, clock: Clock) -> None:
    for _ in range(20):
        breaker.failed(COUNTING[0])
        assert breaker.refusal() is None
        clock.now += 20.1


def test_a_success_in_between_makes_the_failures_forgotten(breaker: Breaker) -> None:
    for _ in range(5):
        for _ in range(3):
            breaker.failed(COUNTING[1])
        breaker.succeeded()
        assert breaker.refusal() is None


@pytest.mark.parametrize("error", IGNORED, ids=lambda error: error.kind)
def test_what_is_about_one_request_never_opens_it(breaker: Breaker, error: ModelError) -> None:
    for _ in range(50):
        breaker.failed(error)
    assert breaker.refusal() is None


def test_one_caller_tries_again_after_the_pause(breaker: Breaker, clock: Clock) -> None:
    for _ in range(4):
        breaker.failed(COUNTING[0])
    clock.now += 31
    assert breaker.refusal() is None
    assert breaker.refusal() == "qwen:m is being tried again: no answer"
    breaker.succeeded()
    assert [breaker.refusal() for _ in range(3)] == [None, None, None]
    for _ in range(3):
        breaker.failed(COUNTING[0])
    assert breaker.refusal() is None, "it begins to count anew"


def test_a_try_that_fails_opens_it_again_at_once(breaker: Breaker, clock: Clock) -> None:
    for _ in range(4):
        breaker.failed(COUNTING[0])
    for _ in range(3):
        clock.now += 31
        assert breaker.refusal() is None
        breaker.failed(COUNTING[1])
        assert breaker.refusal() == "qwen:m is left alone for 30 s more: busy"


@pytest.mark.parametrize("error", IGNORED, ids=lambda error: error.kind)
def test_a_try_that_ends_without_a_verdict_leaves_the_next_one_to_another(
    breaker: Breaker, clock: Clock, error: ModelError
) -> None:
    for _ in range(4):
        breaker.failed(COUNTING[0])
    clock.now += 31
    assert breaker.refusal() is None
    breaker.failed(error)
    assert breaker.refusal() is None, "somebody has to try"
    breaker.abandoned()
    assert breaker.refusal() is None
    assert breaker.refusal() is not None


def test_a_key_that_is_not_accepted_opens_it_at_once_for_five_minutes(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    error = ModelDenied("qwen:m does not accept the key: no", "Check that the key is right.")
    with caplog.at_level(logging.DEBUG, "agent.models.breaker"):
        breaker.failed(error)
        assert "is left alone for 300 s more: qwen:m does not accept the key" in str(breaker.refusal())
        # Those that were under way fail, too.
        breaker.failed(error)
        breaker.failed(error)
        clock.now += 299
        assert breaker.refusal() is not None
        clock.now += 2
        assert breaker.refusal() is None
        breaker.failed(error)
        assert breaker.refusal() is not None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "qwen:m is not used for now." in record.getMessage()
    assert "Check that the key is right." in record.getMessage(), "the hint says what to do"


def test_staff_hear_once_that_it_opened_and_once_that_it_works_again(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "agent.models.breaker"):
        for _ in range(10):
            breaker.failed(COUNTING[0])
        for _ in range(3):
            clock.now += 31
            breaker.refusal()
            breaker.failed(COUNTING[0])
        clock.now += 31
        breaker.refusal()
        breaker.succeeded()
        breaker.succeeded()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert caplog.records[-1].getMessage() == "qwen:m works again."


def test_a_late_failure_of_another_kind_does_not_shorten_a_long_pause(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(ModelDenied("no money"))
    breaker.failed(ModelOverloaded("busy"))
    clock.now += 200
    assert breaker.refusal() is not None


def test_each_model_has_one_and_all_share_the_clock(clock: Clock) -> None:
    breakers = Breakers(clock)
    assert breakers.of("a") is breakers.of("a")
    breakers.of("a").failed(ModelDenied("no"))
    assert breakers.of("a").refusal() is not None
    assert breakers.of("b").refusal() is None
    clock.now += 301
    assert breakers.of("a").refusal() is None
