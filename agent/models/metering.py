"""What model calls cost, and what they may cost: each attempt is recorded, and a budget stops a call before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from agent.errors import BudgetError
from agent.messages import Usage
from agent.models.base import Payer, Role
from knowledge.errors import StoreError

Scope = Literal["conversation", "person", "channel", "day"]
SCOPES: tuple[Scope, ...] = ("conversation", "person", "channel", "day")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One attempt to have a model answer. `error` is the kind of a `ModelError`, "abandoned", or empty.

    `first_token_seconds` is the time to the first visible text, `None` when none came.
    """

    at: datetime
    role: Role
    model: str
    usage: Usage
    seconds: float
    first_token_seconds: float | None = None
    error: str = ""
    payer: Payer = field(default_factory=Payer)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent: in USD, or in tokens (prompt and answer together) when `usd` is `None`."""

    usd: float | None = None
    tokens: int | None = None

    def __str__(self) -> str:
        return f"{self.usd:g} USD" if self.usd is not None else f"{self.tokens:,} tokens"


class CallLog(Protocol):
    """Where calls are kept."""

    async def record(self, call: ModelCall, /) -> None:
        """Keep one call."""
        ...

    async def spent(self, scope: Scope, payer: Payer, since: datetime | None, /) -> Usage:
        """The sum of what was spent by this conversation, person or channel, or by all ("day"), since then."""
        ...


class Meter:
    """Records every call, and refuses the one that would break a budget.

    A conversation's budget holds for all its life, the others for a day (UTC). Calls under way count with their estimate,
    so that many at once do not overrun a budget together.
    """

    def __init__(self, log: CallLog | None = None, budgets: Mapping[Scope, Budget] | None = None) -> None:
        self._log = log
        self._budgets = dict(budgets or {})
        self._pending: list[Reservation] = []
        self._checking = asyncio.Lock()

    async def reserve(self, model: str, payer: Payer, estimate: Usage) -> Reservation:
        """Set the estimated cost of a call aside. Raises `BudgetError` if it does not fit; the call is then not made."""
        reservation = Reservation(payer, estimate)
        free = estimate.cost_usd == 0
        # One after the other: two that look at the same sum at once would both fit.
        async with self._checking:
            for scope, budget in self._budgets.items() if self._log is not None else ():
                if (free and budget.usd is not None) or not estimate.prompt_tokens:
                    continue
                await self._check(scope, budget, model, reservation)
            self._pending.append(reservation)
        return reservation

    async def _check(self, scope: Scope, budget: Budget, model: str, asked: Reservation) -> None:
        assert self._log is not None
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        # First of all: a call that ends while the sum is read then counts twice rather than not at all.
        under_way = [one.estimate for one in self._pending if _same(scope, one.payer, asked.payer)]
        try:
            spent = await self._log.spent(scope, asked.payer, None if scope == "conversation" else today)
        except StoreError as error:
            raise BudgetError(
                f"The budget per {scope} cannot be checked, so {model} was not asked: {error.message}",
                error.hint,
                scope=scope,
            ) from error
        total = sum((spent, *under_way, asked.estimate), Usage())
        if budget.usd is not None and asked.estimate.cost_usd is None:
            raise BudgetError(
                f"The price of {model} is not known, so a budget in USD cannot be kept.",
                'Give its price in frontdesk.toml ([presets.NAME.models."MODEL".price]), or the budget in tokens.',
                scope=scope,
            )
        if budget.usd is not None:
            over = _known_cost(spent, under_way, asked.estimate) > budget.usd
        else:
            over = total.prompt_tokens + total.completion_tokens > (budget.tokens or 0)
        if over:
            raise BudgetError(
                f"The budget of {budget} per {scope} is spent; {model} was not asked.",
                f"Raise budget_{scope} (FRONTDESK_BUDGET_{scope.upper()}), or see where it went: frontdesk usage",
                scope=scope,
            )

    async def settle(self, reservation: Reservation, call: ModelCall) -> None:
        """Replace what was set aside by what a call cost."""
        try:
            if self._log is not None:
                await self._log.record(call)
        finally:
            if reservation in self._pending:
                self._pending.remove(reservation)


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """What a call under way is estimated to cost."""

    payer: Payer
    estimate: Usage


def _same(scope: Scope, one: Payer, other: Payer) -> bool:
    return scope == "day" or getattr(one, scope) == getattr(other, scope)


def _known_cost(spent: Usage, under_way: Sequence[Usage], asked: Usage) -> float:
    """Calls of unknown price in the past cannot be counted; those to come are refused."""
    return sum(usage.cost_usd or 0.0 for usage in (spent, *under_way, asked))
