"""The ledger on a real SQLite file: several processes, kill -9, a locked database, and what no database would take."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from agent.errors import BudgetError
from agent.ledger import KEYS, Key, Ledger, UsageRow, model_calls, percentile
from agent.messages import Usage
from agent.models.base import Payer
from agent.models.metering import SCOPES, Budget, CallLog, Meter, ModelCall, Scope
from knowledge.errors import StoreError

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
PAYER = Payer("slack:T1/C1/1.0", "slack:T1/C1", "slack:U1")
CALL = ModelCall(NOON, "answer", "qwen:flash", Usage(1_000, 200, 0.0006), 1.5, 0.4, payer=PAYER)
# Writes COUNT calls, telling of each; then waits to be killed.
WRITER = """
import asyncio, sys, time
from dataclasses import replace
from pathlib import Path
from agent.ledger import Ledger
from tests.agent.test_ledger import CALL

async def main():
    sys.stdin.readline()
    ledger = Ledger(Path(sys.argv[1]))
    for number in range(int(sys.argv[2])):
        await ledger.record(replace(CALL, seconds=float(number)))
        print(number, flush=True)
    if sys.argv[3] == "wait":
        time.sleep(60)
    await ledger.close()

asyncio.run(main())
"""


def writer(data: Path, count: int, then: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(data), str(count), then]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def rows_of(source: Path, by: Sequence[Key] = KEYS) -> list[UsageRow]:
    ledger = Ledger(source)
    try:
        return await ledger.usage(NOON - timedelta(days=30), by=by)
    finally:
        await ledger.close()


async def total_of(source: Path) -> UsageRow:
    return (await rows_of(source, ()))[0]


async def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    data = tmp_path / "data"
    log: CallLog = Ledger(data)
    assert not data.exists()
    await log.record(CALL)
    assert (data / "frontdesk.sqlite3").is_file()
    assert isinstance(log, Ledger)
    await log.close()


@pytest.mark.parametrize("scope", SCOPES)
async def test_what_was_spent_is_that_of_the_scope_and_time(tmp_path: Path, scope: Scope) -> None:
    ledger = Ledger(tmp_path)
    other = Payer("other", "other", "other")
    await ledger.record(replace(CALL, at=NOON - timedelta(days=1)))
    await ledger.record(CALL)
    await ledger.record(
        replace(CALL, payer=replace(other, **({scope: getattr(PAYER, scope)} if scope != "day" else {})))
    )
    await ledger.record(replace(CALL, payer=other))

    midnight = NOON.replace(hour=0)
    today, ever = (3, 4) if scope == "day" else (2, 3)
    assert (await ledger.spent(scope, PAYER, midnight)).prompt_tokens == 1_000 * today
    spent = await ledger.spent(scope, PAYER, None)
    assert spent.prompt_tokens == 1_000 * ever
    assert spent.completion_tokens == 200 * ever
    assert spent.cost_usd == pytest.approx(0.0006 * ever)
    # The same moment, told in another time zone.
    zone = midnight.astimezone(tz=datetime.strptime("+0530", "%z").tzinfo)
    assert (await ledger.spent(scope, PAYER, zone)).prompt_tokens == 1_000 * today
    await ledger.close()


async def test_nothing_spent_costs_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert await ledger.spent("person", PAYER, None) == Usage()
    assert await ledger.usage(NOON) == []
    await ledger.close()


async def test_a_price_that_is_not_known_is_never_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    unknown = replace(CALL, usage=replace(CALL.usage, cost_usd=None))
    await ledger.record(unknown)
    assert (await ledger.spent("day", PAYER, None)).cost_usd is None
    (row,) = await ledger.usage(NOON)
    assert (row.cost_usd, row.unknown_prices) == (None, 1)

    await ledger.record(CALL)
    # Known prices still count: one call of unknown price must not lift a budget.
    assert (await ledger.spent("day", PAYER, None)).cost_usd == 0.0006
    (row,) = await ledger.usage(NOON)
    assert (row.calls, row.cost_usd, row.unknown_prices) == (2, 0.0006, 1)
    await ledger.close()


async def test_usage_is_grouped_by_day_role_and_model(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    late = datetime(2026, 3, 4, 23, 30, tzinfo=UTC).astimezone(tz=datetime.strptime("+0200", "%z").tzinfo)
    for call in (
        replace(CALL, at=late),
        replace(CALL, role="rewrite"),
        replace(CALL, model="other:m", usage=replace(CALL.usage, cached_tokens=600, reasoning_tokens=50)),
        replace(CALL, at=NOON + timedelta(days=1)),
        replace(CALL, at=NOON + timedelta(days=2)),
        CALL,
    ):
        await ledger.record(call)

    rows = await ledger.usage(NOON, NOON + timedelta(days=2))
    groups = [(row.day, row.role, row.model, row.calls) for row in rows]
    day = date(2026, 3, 4)
    assert groups == [
        (day, "answer", "other:m", 1),
        (day, "answer", "qwen:flash", 2),
        (day, "rewrite", "qwen:flash", 1),
        (date(2026, 3, 5), "answer", "qwen:flash", 1),
    ]
    assert (rows[0].cached_tokens, rows[0].reasoning_tokens) == (600, 50)
    by_model = await ledger.usage(NOON, by=("model",))
    assert [(row.day, row.role, row.model, row.calls) for row in by_model] == [
        (None, None, "other:m", 1),
        (None, None, "qwen:flash", 5),
    ]
    await ledger.close()


async def test_times_are_those_of_whole_answers(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in range(1, 21):
        await ledger.record(replace(CALL, seconds=float(number), first_token_seconds=number / 10))
    await ledger.record(replace(CALL, seconds=900.0, error="broken"))
    await ledger.record(replace(CALL, seconds=0.001, first_token_seconds=None, error="abandoned"))
    (row,) = await ledger.usage(NOON)
    assert (row.calls, row.failed, row.abandoned) == (22, 1, 1)
    assert (row.seconds_p50, row.seconds_p95, row.first_token_p50) == (10.0, 19.0, 1.0)
    await ledger.close()


async def test_one_estimate_makes_the_sum_an_estimate(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    await ledger.record(CALL)
    assert not (await ledger.spent("day", PAYER, None)).estimated
    await ledger.record(replace(CALL, usage=replace(CALL.usage, estimated=True)))
    assert (await ledger.spent("day", PAYER, None)).estimated
    assert (await ledger.usage(NOON))[0].estimated
    await ledger.close()


@given(st.lists(st.floats(0, 1e6), max_size=50), st.integers(1, 100))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    if found is None:
        assert not values
        return
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


def calls() -> st.SearchStrategy[ModelCall]:
    tokens = st.integers(0, 10**6)
    usage = st.builds(
        Usage, tokens, tokens, st.none() | st.floats(0, 10), st.booleans(), tokens, tokens, tokens
    )  # any figures at all, also such as no server tells
    payer = st.builds(Payer, st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from("ab"))
    at = st.integers(0, 3 * 86_400).map(lambda seconds: NOON + timedelta(seconds=seconds))
    return st.builds(
        ModelCall,
        at,
        st.sampled_from(("answer", "rewrite")),
        st.sampled_from(("qwen", "ü")),
        usage,
        st.floats(0, 100),
        st.none() | st.floats(0, 100),
        st.sampled_from(("", "broken", "abandoned")),
        payer,
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(calls(), max_size=12), st.sampled_from(SCOPES), st.lists(st.sampled_from(KEYS), unique=True))
def test_sums_are_those_of_the_calls(made: list[ModelCall], scope: Scope, by: list[Key]) -> None:
    async def check(data: Path) -> None:
        ledger = Ledger(data)
        # All at once: they are written in as few transactions as possible, and each once.
        await asyncio.gather(*(ledger.record(call) for call in made))
        payer = Payer("a", "a", "a")
        spent = await ledger.spent(scope, payer, NOON + timedelta(days=1))
        mine = [one for one in made if scope == "day" or getattr(one.payer, scope) == "a"]
        mine = [one for one in mine if one.at >= NOON + timedelta(days=1)]
        assert spent.prompt_tokens == sum(one.usage.prompt_tokens for one in mine)
        assert spent.cached_tokens == sum(one.usage.cached_tokens for one in mine)
        assert spent.cache_write_tokens == sum(one.usage.cache_write_tokens for one in mine)
        known = [one.usage.cost_usd for one in mine if one.usage.cost_usd is not None]
        assert spent.cost_usd == (pytest.approx(sum(known)) if known or not mine else None)

        # Nobody waits for a slow write, but the end does.
        await ledger.close()
        ledger = Ledger(data)
        rows = await ledger.usage(NOON, by=by)
        assert sum(row.calls for row in rows) == len(made)
        assert sum(row.failed for row in rows) == sum(one.error == "broken" for one in made)
        assert sum(row.completion_tokens for row in rows) == sum(one.usage.completion_tokens for one in made)
        assert sum(row.reasoning_tokens for row in rows) == sum(one.usage.reasoning_tokens for one in made)
        assert sum(row.unknown_prices for row in rows) == sum(one.usage.cost_usd is None for one in made)
        assert sum(row.cost_usd or 0 for row in rows) == pytest.approx(sum(one.usage.cost_usd or 0 for one in made))
        assert len({(row.day, row.role, row.model) for row in rows}) == len(rows)
        await ledger.close()

    with tempfile.TemporaryDirectory() as data:
        asyncio.run(check(Path(data)))


async def test_what_no_database_takes_is_made_to_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(tmp_path)
    odd = Payer("a\0b", "\ud800", "ü" * 1_000)
    for cost in (float("nan"), float("inf")):
        usage = Usage(10**30, -5, cost, cached_tokens=2**31)
        await ledger.record(replace(CALL, usage=usage, payer=odd, model="m\0", error="e" * 100))
    assert not caplog.records
    (row,) = await ledger.usage(NOON)
    assert (row.calls, row.prompt_tokens, row.completion_tokens) == (2, 2 * (2**31 - 1), 0)
    assert (row.model, row.cost_usd) == ("m", None)
    for scope in ("conversation", "channel", "person"):
        assert (await ledger.spent(scope, odd, None)).prompt_tokens == row.prompt_tokens
    await ledger.close()


async def test_several_processes_begin_and_write_at_once(tmp_path: Path) -> None:
    writers = [writer(tmp_path, 40, "end") for _ in range(3)]
    for one in writers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    assert [(one.communicate(timeout=30)[0].split()[-1], one.returncode) for one in writers] == [("39", 0)] * 3
    assert (await total_of(tmp_path)).calls == 120


async def test_what_was_recorded_outlives_a_kill(tmp_path: Path) -> None:
    with writer(tmp_path, 25, "wait") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        while process.stdout.readline() != "24\n":
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    total = await total_of(tmp_path)
    assert (total.calls, total.prompt_tokens) == (25, 25_000)


async def test_a_database_of_the_knowledge_base_alone_gets_the_table(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, knowledge.library\nfrom knowledge.database import open_database\n"
        "from knowledge.library.tables import SCHEMA\n"
        "assert 'agent.ledger' not in sys.modules\nopen_database(pathlib.Path(sys.argv[1]), SCHEMA).dispose()"
    )
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True)
    with closing(sqlite3.connect(tmp_path / "frontdesk.sqlite3")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "passages" in tables
    assert "model_calls" not in tables

    ledger = Ledger(tmp_path)
    await ledger.record(CALL)
    await ledger.close()
    # An engine that is open already is taken as it is, and stays open.
    engine = create_engine(f"sqlite:///{tmp_path / 'of_its_own.sqlite3'}")
    for _ in range(2):
        ledger = Ledger(engine)
        await ledger.record(CALL)
        await ledger.close()
    with engine.connect() as open_still:
        assert len(open_still.execute(model_calls.select()).all()) == 2
    engine.dispose()
    assert (await total_of(tmp_path)).calls == 1


async def test_a_locked_database_costs_no_answer_and_loses_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "frontdesk.sqlite3"
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 0.2})
    ledger = Ledger(engine)
    await ledger.record(CALL)
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(ledger.record(CALL) for _ in range(50)))
        # One of them waited for the lock, not one after the other.
        assert asyncio.get_running_loop().time() - started < 2
        # A budget sees what could not be written yet.
        assert (await ledger.spent("person", PAYER, None)).prompt_tokens == 51_000
        assert (await ledger.spent("person", Payer(), None)).prompt_tokens == 0
        assert (await ledger.spent("day", PAYER, NOON + timedelta(hours=1))).prompt_tokens == 0
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "database is locked" in caplog.text
    await ledger.close()
    engine.dispose()
    assert (await total_of(tmp_path)).calls == 51


async def test_nobody_waits_as_long_as_the_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(tmp_path)
    await ledger.record(CALL)
    with closing(sqlite3.connect(tmp_path / "frontdesk.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        started = asyncio.get_running_loop().time()
        await ledger.record(CALL)
        assert asyncio.get_running_loop().time() - started < 2
        assert (await ledger.spent("person", PAYER, None)).prompt_tokens == 2_000
    await ledger.close()
    assert not caplog.records
    assert (await total_of(tmp_path)).calls == 2


async def test_after_a_pause_it_writes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.ledger.calls.PAUSE_SECONDS", 0.05)
    blocked = tmp_path / "data"
    blocked.write_text("a file where the data directory should be")
    ledger = Ledger(blocked)
    await ledger.record(CALL)
    blocked.unlink()
    await asyncio.sleep(0.1)
    await ledger.record(CALL)
    assert (await total_of(blocked)).calls == 2
    await ledger.close()


async def test_it_complains_once_and_keeps_the_latest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ledger.calls.PAUSE_SECONDS", 0.0)
    blocked = tmp_path / "data"
    blocked.write_text("a file where the data directory should be")
    ledger = Ledger(blocked)
    for _ in range(1_200):
        await ledger.record(CALL)
    (record,) = caplog.records
    assert "answers go on" in record.getMessage()
    assert str(blocked) in record.getMessage()
    with pytest.raises(StoreError, match="cannot be used"):
        await ledger.spent("day", PAYER, None)
    blocked.unlink()
    await ledger.close()
    assert (await total_of(blocked)).calls == 1_000


async def test_a_damaged_database_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "frontdesk.sqlite3").write_bytes(b"no database at all" * 1_000)
    ledger = Ledger(tmp_path)
    with pytest.raises(StoreError, match="cannot be used"):
        await ledger.usage(NOON)
    await ledger.close()


async def test_a_table_that_is_gone_is_told_in_words(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    await ledger.record(CALL)
    with closing(sqlite3.connect(tmp_path / "frontdesk.sqlite3")) as other:
        other.execute("DROP TABLE model_calls")
    with pytest.raises(StoreError, match="no such table"):
        await ledger.usage(NOON)
    await ledger.close()


async def test_a_caller_that_is_given_up_has_its_call_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    await ledger.record(CALL)
    task = asyncio.ensure_future(ledger.record(CALL))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ledger.close()
    assert (await total_of(tmp_path)).calls == 2


async def test_after_the_end_a_record_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = set(threading.enumerate())
    ledger = Ledger(tmp_path)
    await ledger.close()
    await ledger.record(CALL)
    assert "closed" in caplog.text
    assert not any(thread.name.startswith("ledger") for thread in set(threading.enumerate()) - before)


async def test_a_budget_is_kept_across_a_restart(tmp_path: Path) -> None:
    now = replace(CALL, at=datetime.now(UTC))
    ledger = Ledger(tmp_path)
    meter = Meter(ledger, {"person": Budget(usd=0.001)})
    await meter.settle(await meter.reserve("qwen:flash", PAYER, CALL.usage), now)
    await ledger.close()

    ledger = Ledger(tmp_path)
    meter = Meter(ledger, {"person": Budget(usd=0.001)})
    with pytest.raises(BudgetError, match="per person is spent"):
        await meter.reserve("qwen:flash", PAYER, CALL.usage)
    await meter.reserve("qwen:flash", replace(PAYER, person="slack:U2"), CALL.usage)
    await ledger.close()


def test_the_tables_are_the_same_on_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made = str(CreateTable(model_calls).compile(dialect=dialect))
    assert "id BIGSERIAL NOT NULL" in made
    assert "at TIMESTAMP WITH TIME ZONE NOT NULL" in made
    assert "cost_usd DOUBLE PRECISION" in made
    indexed = [str(CreateIndex(index).compile(dialect=dialect)) for index in model_calls.indexes]
    assert sorted(one.split("model_calls ")[1] for one in indexed) == [
        "(at)",
        "(channel, at)",
        "(conversation, at)",
        "(person, at)",
    ]
