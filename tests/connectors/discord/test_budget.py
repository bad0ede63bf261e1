"""How often sessions may be started."""

from __future__ import annotations

import pytest

from connectors.discord.budget import Budget, Spent

PLENTY = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}


@pytest.mark.parametrize(
    ("remaining", "total", "shards"),
    [(49, 900, 1), (49, 100, 1), (99, 2000, 1), (0, 1000, 1), (200, 1000, 201)],
)
def test_few_sessions_are_left_alone_until_there_are_new_ones(remaining: int, total: int, shards: int) -> None:
    with pytest.raises(Spent) as spent:
        Budget().told({"total": total, "remaining": remaining, "reset_after": 90_000}, shards)
    assert spent.value.seconds == 90


@pytest.mark.parametrize(("remaining", "total"), [(50, 900), (100, 2000), (1000, 1000)])
def test_others_are_started(remaining: int, total: int) -> None:
    Budget().told({"total": total, "remaining": remaining, "reset_after": 90_000}, 1)


def test_an_answer_that_makes_no_sense_is_taken_for_the_usual() -> None:
    budget = Budget()
    budget.told({"total": "many", "remaining": None, "max_concurrency": -1}, 1)
    assert budget.spend(0) == 0


def test_one_at_a_time_for_each_key() -> None:
    budget = Budget(interval=100)
    budget.told(PLENTY, 2)
    assert budget.spend(0) == 0
    assert 99 < budget.spend(1) <= 100

    budget = Budget(interval=100)
    budget.told(PLENTY | {"max_concurrency": 2}, 4)
    assert [budget.spend(0), budget.spend(1)] == [0, 0]
    assert 99 < budget.spend(2) <= 100


def test_what_is_spent_since_discord_was_asked_counts() -> None:
    budget = Budget(interval=0)
    budget.told(PLENTY | {"remaining": 52}, 1)
    assert [budget.spend(0) for _ in range(3)] == [0, 0, 0]
    with pytest.raises(Spent):
        budget.spend(0)


def test_the_second_half_of_a_day_s_sessions_is_spread_over_the_day() -> None:
    budget = Budget(interval=0)
    for _ in range(500):
        budget.told(PLENTY, 1)
        assert budget.spend(0) == 0
    with pytest.raises(Spent) as spent:
        budget.spend(0)
    assert 180 < spent.value.seconds < 200
