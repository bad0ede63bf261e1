"""Several processes and threads at once: one conversation, one reply, nobody waits for ever."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from agent.ledger import Begun, Ledger
from agent.messages import Post
from knowledge.errors import StoreError
from tests.agent.ledger.made import DIRECT, answer, begun, handoff, said


async def test_a_burst_told_to_several_processes_is_one_conversation(source: Path | str) -> None:
    ledgers = [Ledger(source) for _ in range(3)]
    burst = [said(f"{number}", str(number), joins=True, room=DIRECT) for number in range(12)]
    # Each is told twice, as when an acknowledgement is lost.
    accepted = await asyncio.gather(
        *(ledgers[(number + twice) % 3].accept(one) for twice in (0, 1) for number, one in enumerate(burst))
    )
    assert len({one.conversation for one in accepted}) == 1
    assert sum(one.new for one in accepted) == len(burst)
    assert await ledgers[0].revision(accepted[0].conversation) == len(burst)
    found = await begun(ledgers[1], burst[0].id)
    assert [one.text for one in found.pending] == [str(number) for number in range(12)]
    for ledger in ledgers:
        await ledger.close()


async def test_a_reply_is_not_decided_past_a_message_that_came_in(source: Path | str) -> None:
    one, two = Ledger(source), Ledger(source)
    outcomes = set()
    for number in range(0, 40, 2):
        first, second = said(f"{number}.0"), said(f"{number}.1", thread=f"{number}.0")
        await one.accept(first)
        found = await begun(one, first.id)
        # Now the one, now the other is a little earlier.
        await asyncio.gather(
            decided := asyncio.ensure_future(one.decide(first.id, found.revision, answer())),
            two.accept(second),
        ) if number % 4 else await asyncio.gather(
            two.accept(second), decided := asyncio.ensure_future(one.decide(first.id, found.revision, answer()))
        )
        outcomes.add(decided.result() is not None)
        left = await two.begin(second.id)
        assert isinstance(left, Begun)
        both = [first.id, second.id]
        assert [message.id for message in left.pending] == (both[1:] if decided.result() is not None else both)
    assert outcomes
    await one.close()
    await two.close()


async def test_two_that_run_the_same_turn_decide_it_once(source: Path | str) -> None:
    ledgers = [Ledger(source), Ledger(source)]
    first = said("1")
    await ledgers[0].accept(first)
    revisions = [(await begun(ledger, first.id)).revision for ledger in ledgers]
    decided = await asyncio.gather(
        *(one.decide(first.id, revision, handoff()) for one, revision in zip(ledgers, revisions, strict=True))
    )
    assert sorted(one.new_ticket for one in decided if one is not None) == [False, True]
    assert len(await ledgers[0].tickets()) == 1
    await asyncio.gather(*(ledgers[number % 2].keep_post(Post(first.id, 0, str(number))) for number in range(8)))
    assert len(await ledgers[0].posts(first.id)) == 1
    for ledger in ledgers:
        await ledger.close()


async def test_it_waits_in_threads_of_its_own(ledger: Ledger) -> None:
    free = threading.Event()
    crowded = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(crowded)
    crowded.submit(free.wait)
    try:
        await asyncio.wait_for(ledger.accept(said("1")), 10)
        await asyncio.wait_for(ledger.close(), 10)
    finally:
        free.set()
    assert not any(thread.name.startswith("ledger") for thread in threading.enumerate())


async def test_who_is_cancelled_has_stored_all_or_nothing(ledger: Ledger) -> None:
    for number in range(10):
        task = asyncio.ensure_future(ledger.accept(said(str(number), thread="0")))
        await asyncio.sleep(0.001 * number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    # Told again, as nothing was acknowledged.
    await asyncio.gather(*(ledger.accept(said(str(number), thread="0")) for number in range(10)))
    assert await ledger.revision(said("0").address) == 10
    assert len((await begun(ledger, said("0").id)).pending) == 10


async def test_a_locked_file_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.ledger.database.BUSY_SECONDS", 0.1)
    ledger = Ledger(tmp_path)
    await ledger.accept(said("1"))
    with closing(sqlite3.connect(tmp_path / "frontdesk.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        results = await asyncio.gather(*(ledger.accept(said(str(n))) for n in (2, 3, 4)), return_exceptions=True)
        assert {str(type(one).__name__) for one in results} == {"StoreError"}
        assert all("database is locked" in str(one) for one in results)
        # Reading goes on.
        assert (await ledger.counts()).queued == 1
    assert (await ledger.accept(said("2"))).new
    await ledger.close()


async def test_transactions_in_each_others_way_are_done_once_more(postgres_url: str) -> None:
    ledger = Ledger(postgres_url)
    tries = []

    def work(connection: Connection, most: int) -> int:
        tries.append(1)
        if len(tries) <= most:
            connection.execute(text("DO $$ BEGIN RAISE 'in the way' USING ERRCODE = '40P01'; END $$"))
        return len(tries)

    assert await ledger._database.write(work, 2) == 3
    tries.clear()
    with pytest.raises(StoreError, match="in the way"):
        await ledger._database.write(work, 9)
    assert len(tries) == 3
    await ledger.close()


async def test_a_connection_that_was_cut_is_made_anew(postgres_url: str) -> None:
    ledger, other = Ledger(postgres_url), Ledger(postgres_url)
    await ledger.accept(said("1"))

    def cut(connection: Connection) -> None:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )

    await other._database.read(cut)
    assert (await ledger.accept(said("1"))).new is False
    await ledger.close()
    await other.close()


async def test_a_database_that_cannot_be_reached_is_told_without_its_password() -> None:
    for url, what in (
        ("postgres://me:hunter2@127.0.0.1:1/nothing", "127.0.0.1"),
        ("mysql://me:hunter2@localhost/x", "'mysql'"),
        ("postgresql://me:hunter2@localhost:port/x", "cannot be read"),
    ):
        ledger = Ledger(url)
        with pytest.raises(StoreError) as caught:
            await ledger.counts()
        assert what in caught.value.message
        assert "DATABASE_URL" in caught.value.hint
        assert "hunter2" not in str(caught.value)
        await ledger.close()
