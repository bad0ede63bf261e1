"""The agent's own tables, in the same database as the library: what each model call took and cost.

Everything that waits for the database runs in a thread. Each write is one transaction, so that a process that is killed loses
at most the calls being written; SQLite's write-ahead log lets several processes write in turn.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    Engine,
    Index,
    Integer,
    Row,
    RowMapping,
    String,
    Table,
    Text,
    case,
    func,
    insert,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeDecorator

from agent.messages import Usage
from agent.models.base import Payer
from agent.models.metering import ModelCall, Scope
from knowledge.database import metadata, open_database
from knowledge.errors import StoreError

_log = logging.getLogger(__name__)

Key = Literal["day", "role", "model"]
KEYS: tuple[Key, ...] = ("day", "role", "model")
ABANDONED = "abandoned"
WAIT_SECONDS = 0.5
"""The longest that a caller, and so a customer, waits for a write; a locked database is waited for ten times as long."""
PAUSE_SECONDS = 10.0
"""After a write that failed nobody waits for another one this long."""
_MOST_UNWRITTEN = 1_000
_BETWEEN_COMPLAINTS_SECONDS = 60.0
_OPENING_SECONDS = 1.0
"""How long opening is tried again: processes that make the tables at the same time get into each other's way."""
_LARGEST = 2**31 - 1
"""Of an integer column. A server may report any number."""
_AT_ONCE = 200
"""Rows in one statement, and read at a time."""


class _UtcDateTime(TypeDecorator[datetime]):
    """A moment. It is kept in UTC, because SQLite drops the time zone of what it is given."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Only what every database has: the same tables and statements have to work on PostgreSQL.
model_calls = Table(
    "model_calls",
    metadata,
    # SQLite numbers rows by itself only where the type is exactly INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", _UtcDateTime, nullable=False),
    Column("conversation", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("role", String(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("cache_write_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("cost_usd", Double),
    Column("seconds", Double, nullable=False),
    Column("first_token_seconds", Double),
    Column("error", String(32), nullable=False),
    Index("model_calls_at", "at"),
    Index("model_calls_conversation_at", "conversation", "at"),
    Index("model_calls_channel_at", "channel", "at"),
    Index("model_calls_person_at", "person", "at"),
)
_TABLES = (model_calls,)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a group of calls took and cost. What was not grouped by is `None`.

    `cost_usd` is the sum of the prices that are known, `None` when none is; `unknown_prices` counts the calls left out of
    it. The times are those of whole answers, in seconds.
    """

    day: date | None = None
    role: str | None = None
    model: str | None = None
    calls: int = 0
    failed: int = 0
    abandoned: int = 0
    """Calls that the caller gave up, which is nobody's failure."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = 0.0
    unknown_prices: int = 0
    estimated: bool = False
    seconds_p50: float | None = None
    seconds_p95: float | None = None
    first_token_p50: float | None = None


class Ledger:
    """The verbs over the tables. `source` is the data directory, or an engine, which is the caller's to dispose of.

    It is a `CallLog`. Nothing is opened before it is first used.
    """

    def __init__(self, source: Engine | Path) -> None:
        self._source = source
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        # One thread writes all that waits in one transaction: the threads of search are never all held up by a lock.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._unwritten: deque[dict[str, Any]] = deque(maxlen=_MOST_UNWRITTEN)
        self._not_before = 0.0
        self._complained = -math.inf
        self._closed = False

    async def record(self, call: ModelCall, /) -> None:
        """Keep one call; at its end it is written, unless the database is slow.

        It never fails: what cannot be written now is written with a later call.
        """
        if self._closed:
            self._complain(StoreError("the record is closed"))
            return
        self._unwritten.append(_values(call))
        if time.monotonic() >= self._not_before:
            # The write goes on when the caller is cancelled, or waits no longer: the answer is there, and has to be paid.
            writing = asyncio.get_running_loop().run_in_executor(self._writer, self._write)
            await asyncio.wait((writing,), timeout=WAIT_SECONDS)

    async def spent(self, scope: Scope, payer: Payer, since: datetime | None, /) -> Usage:
        """The sum of what was spent by this conversation, person or channel, or by all ("day"), since then.

        `cost_usd` is the sum of the prices that are known, `None` when none is. Raises `StoreError`.
        """
        # Taken first: a call that is written meanwhile counts twice for a moment, rather than never.
        whose = "" if scope == "day" else _text(getattr(payer, scope))
        waiting = [row for row in tuple(self._unwritten) if scope == "day" or row[scope] == whose]
        total = await asyncio.to_thread(self._spent, scope, whose, since)
        for row in waiting:
            if since is None or row["at"] >= since:
                total.add(row)
        return total.usage()

    async def usage(self, since: datetime, until: datetime | None = None, by: Sequence[Key] = KEYS) -> list[UsageRow]:
        """What the calls from `since` until before `until` took and cost, in groups, in order. Raises `StoreError`."""
        return await asyncio.to_thread(self._usage, since, until, tuple(by))

    async def close(self) -> None:
        """Write what could not be written before, and close the database. The ledger is not used afterwards."""
        self._closed, self._not_before = True, 0.0
        await asyncio.to_thread(self._close)

    # In threads --------------------------------------------------------------------------------------------------------

    def _opened(self) -> Engine:
        with self._opening:
            end = time.monotonic() + _OPENING_SECONDS
            while self._engine is None:
                try:
                    self._engine = self._open()
                except (StoreError, SQLAlchemyError) as error:
                    # A directory that cannot be used will not mend itself.
                    if time.monotonic() > end or isinstance(error.__cause__, OSError):
                        raise
                    time.sleep(0.05)
            return self._engine

    def _open(self) -> Engine:
        if isinstance(self._source, Path):
            # It makes all tables, also in a database that was made before these existed.
            return open_database(self._source)
        metadata.create_all(self._source, tables=_TABLES, checkfirst=True)
        return self._source

    @contextmanager
    def _told_as_ours(self) -> Iterator[Engine]:
        """The engine; what goes wrong with it is a `StoreError`."""
        try:
            yield self._opened()
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StoreError(
                f"The record of model calls cannot be read: {_reason(error)}.", "Look at the database: frontdesk doctor"
            ) from error

    def _write(self) -> None:
        """Write all that waits. In the writer's thread only."""
        rows = tuple(self._unwritten)
        if not rows or time.monotonic() < self._not_before:
            return
        try:
            with self._opened().begin() as connection:
                for start in range(0, len(rows), _AT_ONCE):
                    connection.execute(insert(model_calls), list(rows[start : start + _AT_ONCE]))
        except (SQLAlchemyError, sqlite3.Error, StoreError, OSError) as error:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            self._complain(error)
            return
        for row in rows:
            # By identity: when too many waited, the oldest have fallen out on the left meanwhile.
            if self._unwritten and self._unwritten[0] is row:
                self._unwritten.popleft()

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained >= _BETWEEN_COMPLAINTS_SECONDS:
            self._complained = time.monotonic()
            _log.error("Model calls are not being recorded, answers go on: %s", _reason(error))

    def _spent(self, scope: Scope, whose: str, since: datetime | None) -> _Sum:
        columns = model_calls.c
        query = select(
            func.count().label("calls"),
            *(func.sum(columns[name]).label(name) for name in _COUNTED),
            func.sum(columns.cost_usd).label("cost_usd"),
            func.count(columns.cost_usd).label("priced"),
            func.max(case((columns.estimated, 1), else_=0)).label("estimated"),
        )
        if scope != "day":
            query = query.where(columns[scope] == whose)
        if since is not None:
            query = query.where(columns.at >= since)
        with self._told_as_ours() as engine, engine.connect() as connection:
            row = connection.execute(query).one()
        tokens = {name: int(getattr(row, name) or 0) for name in _COUNTED}
        return _Sum(row.calls, tokens, float(row.cost_usd or 0.0), row.calls - row.priced, bool(row.estimated))

    def _usage(self, since: datetime, until: datetime | None, by: tuple[Key, ...]) -> list[UsageRow]:
        # Grouped here: neither days nor percentiles are written alike in every database.
        query = select(*(model_calls.c[name] for name in _READ)).where(model_calls.c.at >= since)
        if until is not None:
            query = query.where(model_calls.c.at < until)
        groups: dict[tuple[Any, ...], _Group] = {}
        with self._told_as_ours() as engine, engine.connect() as connection:
            for row in connection.execution_options(yield_per=_AT_ONCE).execute(query):
                keys = {"day": row.at.date(), "role": row.role, "model": row.model}
                group = groups.setdefault(tuple(keys[key] for key in by), _Group())
                group.add(row)
        return [group.row(dict(zip(by, key, strict=True))) for key, group in sorted(groups.items())]

    def _close(self) -> None:
        if self._unwritten:
            self._writer.submit(self._write)
        self._writer.shutdown()
        if self._engine is not None and self._engine is not self._source:
            self._engine.dispose()


_COUNTED = ("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens")
_READ = ("at", "role", "model", *_COUNTED, "estimated", "cost_usd", "seconds", "first_token_seconds", "error")


@dataclass(slots=True)
class _Sum:
    """Tokens and money, with the calls whose price is not known."""

    calls: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))
    cost_usd: float = 0.0
    unknown_prices: int = 0
    estimated: bool = False

    def add(self, row: Mapping[str, Any] | RowMapping) -> None:
        self.calls += 1
        for name in _COUNTED:
            self.tokens[name] += row[name]
        self.cost_usd += row["cost_usd"] or 0.0
        self.unknown_prices += row["cost_usd"] is None
        self.estimated = self.estimated or row["estimated"]

    @property
    def known_cost(self) -> float | None:
        return None if self.calls and self.unknown_prices == self.calls else self.cost_usd

    def usage(self) -> Usage:
        return Usage(cost_usd=self.known_cost, estimated=self.estimated, **self.tokens)


@dataclass(slots=True)
class _Group:
    """The calls of one row."""

    total: _Sum = field(default_factory=_Sum)
    failed: int = 0
    abandoned: int = 0
    seconds: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)

    def add(self, row: Row[Any]) -> None:
        self.total.add(row._mapping)
        self.abandoned += row.error == ABANDONED
        self.failed += row.error not in ("", ABANDONED)
        if not row.error:
            self.seconds.append(row.seconds)
            if row.first_token_seconds is not None:
                self.first_token.append(row.first_token_seconds)

    def row(self, keys: Mapping[str, Any]) -> UsageRow:
        tokens = self.total.tokens
        return UsageRow(
            **keys,
            calls=self.total.calls,
            failed=self.failed,
            abandoned=self.abandoned,
            prompt_tokens=tokens["prompt_tokens"],
            cached_tokens=tokens["cached_tokens"],
            completion_tokens=tokens["completion_tokens"],
            reasoning_tokens=tokens["reasoning_tokens"],
            cost_usd=self.total.known_cost,
            unknown_prices=self.total.unknown_prices,
            estimated=self.total.estimated,
            seconds_p50=percentile(self.seconds, 50),
            seconds_p95=percentile(self.seconds, 95),
            first_token_p50=percentile(self.first_token, 50),
        )


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest value that at least `percent` of 100 values do not exceed; `None` of no values."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1] if values else None


def _values(call: ModelCall) -> dict[str, Any]:
    """A call as a row that every database takes: one that none takes would hold up all that wait behind it."""
    usage, cost = call.usage, call.usage.cost_usd
    return {
        "at": call.at.astimezone(UTC),
        "conversation": _text(call.payer.conversation),
        "channel": _text(call.payer.channel),
        "person": _text(call.payer.person),
        "role": call.role,
        "model": _text(call.model),
        **{name: max(0, min(getattr(usage, name), _LARGEST)) for name in _COUNTED},
        "estimated": usage.estimated,
        "cost_usd": cost if cost is not None and math.isfinite(cost) else None,
        "seconds": call.seconds,
        "first_token_seconds": call.first_token_seconds,
        "error": _text(call.error)[:32],
    }


def _text(text: str) -> str:
    """Without what some database refuses: a NUL, half a character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _reason(error: Exception) -> str:
    if isinstance(error, StoreError):
        return error.message.rstrip(".")
    return str(getattr(error, "orig", None) or error)
