"""kill -9 at points of a turn and at random: nothing is lost, nothing is shown twice, nothing is out of order.

At some points with a few customers; at every point with many of them when the long tests run (`-m thorough`).
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.ledger import Ledger
from tests.databases import Postgres
from tests.journeys.crashing import Customers, keep_asking, repeats_codes, suicidal
from tests.journeys.crowds import Crowd, crowd_on
from tests.journeys.house import sync_into
from tests.journeys.running import environment
from tests.servers.model_server import ModelServer
from tests.servers.running import serving


@dataclass(frozen=True)
class Size:
    """How many customers there are and how many replies they get at least, and how often a process is killed."""

    conversations: int
    questions: int
    least: int
    points: slice
    at_random: int
    turns: int
    """After how many turns one of three dies."""


FEW = Size(conversations=16, questions=4, least=50, points=slice(1, None, 3), at_random=1, turns=3)
MANY = Size(conversations=40, questions=6, least=200, points=slice(None), at_random=2, turns=12)
SIZES = [FEW, pytest.param(MANY, marks=pytest.mark.thorough)]


@pytest.fixture(params=["slack", "discord"])
def crowd(request: pytest.FixtureRequest) -> Iterator[Crowd]:
    with crowd_on(request.param, doubled=0.25) as one:
        yield one


@pytest.fixture
def settings(tmp_path: Path, crowd: Crowd) -> Iterator[dict[str, str]]:
    with serving(ModelServer(key="sk-test", by_prompt=repeats_codes(0.01))) as model:
        made = environment(
            tmp_path / "data",
            **crowd.tokens,
            FRONTDESK_MODEL=model.choice,
            FRONTDESK_MODEL_API_KEY="sk-test",
        )
        sync_into(made)
        yield made


def check(customers: Customers, database: Path | str, least: int) -> None:
    assert customers.complaints() == []
    assert customers.crowd.wrong == []

    async def look() -> None:
        ledger = Ledger(database)
        try:
            assert await ledger.unfinished() == []
            turns = await ledger.turns(limit=10_000)
            assert {one.state for one in turns} <= {"answered", "merged"}
            assert sum(one.state == "answered" for one in turns) == customers.replies >= least
            # Each is recorded, also those that were answered with others.
            assert len(turns) == sum(len(one.codes) for one in customers.threads)
        finally:
            await ledger.close()

    asyncio.run(look())


def told(customers: Customers, database: Path | str, log: Path) -> str:
    """What is known when something is missing."""

    async def look() -> list[str]:
        ledger = Ledger(database)
        try:
            return [f"{one.id} {one.state} {one.attempts} {one.error}" for one in await ledger.turns(limit=20)]
        finally:
            await ledger.close()

    return "\n".join([*customers.complaints(), *asyncio.run(look()), *customers.crowd.lost, log.read_text()[-3000:]])


@pytest.mark.parametrize("size", SIZES, ids=["few", "many"])
@pytest.mark.timeout(280)
def test_one_process_is_killed_again_and_again(
    tmp_path: Path, crowd: Crowd, settings: dict[str, str], size: Size
) -> None:
    customers = Customers(crowd, size.conversations, size.questions)
    dice = random.Random(4)
    log = tmp_path / "log.txt"
    for point in crowd.points[size.points]:
        with suicidal(point, dice.randint(1, 6), "run", log=log, **settings) as process:
            assert keep_asking(customers, lambda: process.poll() is not None, 30), f"it never came to {point}"
        assert process.returncode == -9, log.read_text()
    for _ in range(size.at_random):
        with suicidal("", 0, "run", log=log, **settings):
            keep_asking(customers, lambda: False, dice.uniform(2.2, 3.5))
    with suicidal("", 0, "run", log=log, **settings) as process:
        assert keep_asking(customers, lambda: customers.all_answered, 60), told(customers, tmp_path / "data", log)
        keep_asking(customers, lambda: False, 2)
        process.terminate()
        process.wait(30)
    check(customers, tmp_path / "data", size.least)


@pytest.mark.parametrize(
    ("crowd", "size"),
    [("slack", FEW), *(pytest.param(name, MANY, marks=pytest.mark.thorough) for name in ("slack", "discord"))],
    indirect=["crowd"],
    ids=["slack-few", "slack-many", "discord-many"],
)
@pytest.mark.timeout(200)
def test_one_of_three_on_postgres_is_killed_and_stays_dead(
    tmp_path: Path, crowd: Crowd, settings: dict[str, str], postgres: Postgres, size: Size
) -> None:
    log = tmp_path / "log.txt"
    with postgres.database() as url, ExitStack() as stack:
        customers = Customers(crowd, size.conversations, size.questions, seed=2)
        settings["DATABASE_URL"] = url
        sync_into(settings)
        point = random.Random(5).choice(["shown", "posted", "decided"])
        dies = stack.enter_context(suicidal(point, size.turns, "run", log=log, **settings))
        for _ in range(2):
            other = tmp_path / f"data{_}"
            shutil.copytree(tmp_path / "data", other)
            stack.enter_context(suicidal("", 0, "run", log=log, **settings | {"FRONTDESK_DATA": str(other)}))
        assert keep_asking(customers, lambda: dies.poll() is not None, 60), log.read_text()
        assert dies.returncode == -9
        assert keep_asking(customers, lambda: customers.all_answered, 60), told(customers, url, log)
        keep_asking(customers, lambda: False, 2)
        check(customers, url, size.least)
