"""The engine, on SQLite and on Postgres: what is submitted is run, once, in order, also by another process."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.engine import FILE, Engine, forget, sqlite_module
from agent.errors import EngineError
from tests.databases import Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    if request.param == "sqlite":
        yield tmp_path
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield url


async def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


async def test_each_is_run_once_and_those_of_a_partition_one_after_the_other(database: Path | str) -> None:
    order: list[str] = []
    at_once: dict[str, int] = {}
    most = 0

    async def run(name: str) -> None:
        nonlocal most
        partition = name[0]
        at_once[partition] = at_once.get(partition, 0) + 1
        most = max(most, sum(at_once.values()))
        assert at_once[partition] == 1
        await asyncio.sleep(0.05)
        order.append(name)
        at_once[partition] -= 1

    engine = Engine(database, run)
    await engine.start()
    try:
        names = [f"{partition}#{number}" for number in range(3) for partition in "abcd"]
        for name in names:
            await engine.submit(name, name[0])
            await engine.submit(name, name[0])
        await _until(lambda: len(order) == len(names))
        await asyncio.sleep(0.5)
        assert sorted(order) == sorted(names)
        assert [name for name in order if name[0] == "a"] == ["a#0", "a#1", "a#2"]
        assert most > 1
        assert await engine.unknown(["a#0", "never"]) == ["a#0", "never"]
        await engine.submit("a#0", "a", again="2")
        await _until(lambda: order.count("a#0") == 2)
    finally:
        await engine.stop(1)


async def test_what_stop_interrupts_is_run_by_the_next(database: Path | str) -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def hangs(name: str) -> None:
        begun.append(name)
        if name == "s#1":
            await asyncio.sleep(60)
        ended.append(name)

    async def ends(name: str) -> None:
        ended.append(name)

    first = Engine(database, hangs)
    await first.start()
    await first.submit("q#1", "q")
    await first.submit("s#1", "s")
    await first.submit("s#2", "s")
    await _until(lambda: sorted(begun) == ["q#1", "s#1"])
    assert first.running == {"s#1"}
    await first.stop(0.1)
    assert ended == ["q#1"]
    second = Engine(database, ends)
    await second.start()
    try:
        await _until(lambda: len(ended) == 3)
        assert ended == ["q#1", "s#1", "s#2"]
    finally:
        await second.stop(1)


async def test_stop_waits_for_what_ends_in_time(database: Path | str) -> None:
    ended: list[str] = []

    async def run(name: str) -> None:
        await asyncio.sleep(0.3)
        ended.append(name)

    engine = Engine(database, run)
    await engine.start()
    await engine.submit("one", "p")
    await _until(lambda: bool(engine.running))
    await engine.stop(5)
    assert ended == ["one"]


CHILD = """
import asyncio, sys
from pathlib import Path
from agent.engine import Engine
async def run(name):
    print("begun", name, flush=True)
    await asyncio.sleep(600)
async def main():
    where = sys.argv[1]
    engine = Engine(where if "://" in where else Path(where), run)
    await engine.start()
    for number in range(3):
        await engine.submit(f"t#{number}", "one" if number < 2 else "two")
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_another_process_takes_over_from_one_that_was_killed(database: Path | str) -> None:
    ended: list[str] = []

    async def run(name: str) -> None:
        ended.append(name)

    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", CHILD, str(database)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    engine = Engine(database, run)
    try:
        assert child.stdout is not None
        assert sorted(child.stdout.readline().strip() for _ in range(2)) == ["begun t#0", "begun t#2"]
        if isinstance(database, str):
            # It lives, so its runs are left to it: only what it has not begun may be run here, and that has to wait.
            await engine.start()
            await asyncio.sleep(1)
            assert ended == []
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        if isinstance(database, Path):
            await engine.start()
        await _until(lambda: len(ended) == 3, 30)
        assert sorted(ended) == ["t#0", "t#1", "t#2"]
        assert ended.index("t#0") < ended.index("t#1")
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
        await engine.stop(1)


async def test_erased_runs_leave_no_trace(database: Path | str) -> None:
    async def run(name: str) -> None:
        pass

    engine = Engine(database, run)
    await engine.start()
    try:
        await engine.submit("slack:T1/D_private#1", "p")
        await _until(lambda: not engine.running)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(forget, database, ["slack:T1/D_private#1"])
        assert "slack:T1/D_private#1" not in await _ids(engine)
    finally:
        await engine.stop(1)
    if isinstance(database, Path):
        assert b"D_private" not in b"".join(file.read_bytes() for file in database.glob(f"{FILE}*"))


async def test_records_of_ended_runs_are_removed_by_their_age(database: Path | str) -> None:
    async def run(name: str) -> None:
        if name == "p#2":
            await asyncio.sleep(60)

    engine = Engine(database, run)
    await engine.start()
    try:
        await engine.submit("p#1", "p")
        await engine.submit("q#1", "q")
        await engine.submit("p#2", "p")
        await _until(lambda: engine.running == {"p#2"})
        assert await engine.prune(datetime.now(UTC) - timedelta(days=1)) == 0
        await _until(lambda: True)
        assert await engine.prune(datetime.now(UTC) + timedelta(seconds=5)) == 2
        assert await _ids(engine) == ["p#2"]
    finally:
        await engine.stop(0.1)


async def test_what_was_claimed_and_not_begun_is_run_after_all(
    database: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def run(name: str) -> None:
        ended.append(name)

    engine = Engine(database, run)
    await engine.start()
    try:
        claims = engine._dbos._sys_db
        claim = claims.start_queued_partitioned_workflows
        lost: list[str] = []

        def breaks(*args: Any, **kwargs: Any) -> Any:
            found = claim(*args, **kwargs)
            if found and not lost:
                lost.extend(found)
                return []
            return found

        claims.start_queued_partitioned_workflows = breaks
        monkeypatch.setattr("agent.engine.HEAL_AFTER_SECONDS", 0.1)
        await engine.submit("p#1", "p")
        await _until(lambda: lost == ["p#1"])
        await asyncio.sleep(0.3)
        await engine.heal()
        await _until(lambda: ended == ["p#1"])
    finally:
        await engine.stop(1)


async def _ids(engine: Engine) -> list[str]:
    from dbos import DBOS

    return [one.workflow_id for one in await DBOS.list_workflows_async()]


async def test_nothing_of_the_makers_services_is_switched_on_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBOS__CLOUD", "true")
    monkeypatch.setenv("DBOS_CONDUCTOR_KEY", "key")
    monkeypatch.setenv("DBOS__VMID", "vm")
    ended: list[str] = []

    async def run(name: str) -> None:
        ended.append(name)

    engine = Engine(tmp_path, run)
    await engine.start()
    try:
        from dbos import DBOS
        from dbos._utils import GlobalParams

        await engine.submit("x", "p")
        await _until(lambda: ended == ["x"])
        assert DBOS is not None
        assert not GlobalParams.dbos_cloud
        assert GlobalParams.executor_id == "local"
        assert engine._dbos.conductor_websocket is None
    finally:
        await engine.stop(1)


async def test_sqlite_is_in_wal_mode_from_the_beginning(tmp_path: Path) -> None:
    async def run(name: str) -> None:
        pass

    engine = Engine(tmp_path, run)
    await engine.start()
    await engine.stop(1)
    connection = sqlite3.connect(tmp_path / FILE)
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        connection.close()


async def test_a_database_that_is_away_is_told_in_words() -> None:
    async def run(name: str) -> None:
        pass

    engine = Engine("postgresql://nobody@127.0.0.1:9/none", run)
    with pytest.raises(EngineError, match="cannot be opened"):
        await engine.start()


async def test_a_damaged_file_is_told_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run(name: str) -> None:
        pass

    (tmp_path / FILE).write_bytes(b"no database at all " * 1_000)
    with pytest.raises(EngineError, match=r"move turns\.sqlite3\* away"):
        await Engine(tmp_path, run).start()
    assert "Traceback" not in caplog.text


def test_an_old_sqlite_is_not_used_where_it_fails() -> None:
    module: Any = sqlite_module()
    assert sys.version_info < (3, 12) or module.sqlite_version_info >= (3, 42)
