"""What each model call took and cost. A call is written before its answer is shown, unless the database is slow."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, RowMapping, case, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from agent.ledger.database import Part
from agent.ledger.records import storable
from agent.ledger.tables import model_calls
from agent.messages import Usage
from agent.models.base import Payer
from agent.models.metering import ModelCall, Scope
from knowledge.database import reason
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
_LARGEST = 2**31 - 1
"""Of an integer column. A server may report any number."""
_AT_ONCE = 200
"""Rows in one statement, and read at a time."""


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


class Calls(Part):
    """The verbs of the record of model calls; it is a `CallLog`."""

    def __init__(self) -> None:
        # One thread writes all that waits in one transaction: the threads of the other verbs are never all held up by a lock.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger-calls")
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
        whose = "" if scope == "day" else storable(getattr(payer, scope))
        waiting = [row for row in tuple(self._unwritten) if scope == "day" or row[scope] == whose]
        total = await self._database.read(_spent, scope, whose, since)
        for row in waiting:
            if since is None or row["at"] >= since:
                total.add(row)
        return total.usage()

    async def usage(self, since: datetime, until: datetime | None = None, by: Sequence[Key] = KEYS) -> list[UsageRow]:
        """What the calls from `since` until before `until` took and cost, in groups, in order. Raises `StoreError`."""
        return await self._database.read(_usage, since, until, tuple(by))

    async def close(self) -> None:
        """Write what could not be written before, and close the database. The ledger is not used afterwards."""
        self._closed, self._not_before = True, 0.0
        await self._database.close(self._writer, self._write)

    def _write(self) -> None:
        """Write all that waits. In the writer's thread only."""
        rows = tuple(self._unwritten)
        if not rows or time.monotonic() < self._not_before:
            return
        try:
            with self._database.writing() as connection:
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
            _log.error("Model calls are not being recorded, answers go on: %s", reason(error))


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


def _spent(connection: Connection, scope: Scope, whose: str, since: datetime | None) -> _Sum:
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
    row = connection.execute(query).one()
    tokens = {name: int(getattr(row, name) or 0) for name in _COUNTED}
    return _Sum(row.calls, tokens, float(row.cost_usd or 0.0), row.calls - row.priced, bool(row.estimated))


def _usage(connection: Connection, since: datetime, until: datetime | None, by: tuple[Key, ...]) -> list[UsageRow]:
    # Grouped here: neither days nor percentiles are written alike in every database.
    query = select(*(model_calls.c[name] for name in _READ)).where(model_calls.c.at >= since)
    if until is not None:
        query = query.where(model_calls.c.at < until)
    groups: dict[tuple[Any, ...], _Group] = {}
    for row in connection.execute(query, execution_options={"yield_per": _AT_ONCE}):
        keys = {"day": row.at.date(), "role": row.role, "model": row.model}
        group = groups.setdefault(tuple(keys[key] for key in by), _Group())
        group.add(row)
    return [group.row(dict(zip(by, key, strict=True))) for key, group in sorted(groups.items())]


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest value that at least `percent` of 100 values do not exceed; `None` of no values."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1] if values else None


def _values(call: ModelCall) -> dict[str, Any]:
    """A call as a row that every database takes: one that none takes would hold up all that wait behind it."""
    usage, cost = call.usage, call.usage.cost_usd
    return {
        "at": call.at.astimezone(UTC),
        "conversation": storable(call.payer.conversation),
        "channel": storable(call.payer.channel),
        "person": storable(call.payer.person),
        "role": call.role,
        "model": storable(call.model),
        **{name: max(0, min(getattr(usage, name), _LARGEST)) for name in _COUNTED},
        "estimated": usage.estimated,
        "cost_usd": cost if cost is not None and math.isfinite(cost) else None,
        "seconds": call.seconds,
        "first_token_seconds": call.first_token_seconds,
        "error": storable(call.error)[:32],
    }
