"""What a call costs, from the price table of `presets.json`: cached tokens, cache writes, tiers, peak hours, thinking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from agent.messages import Usage

_ASCII_PER_TOKEN = 4.0
_OTHER_PER_TOKEN = 1.5
"""Characters per token: four of English, and one to two of scripts that tokenizers know less well."""


def estimated_tokens(text: str) -> int:
    """How many tokens a text is, about: right within a third. For servers that report no usage, and before a call."""
    ascii_characters = len(text.encode("ascii", "ignore"))
    return round(ascii_characters / _ASCII_PER_TOKEN + (len(text) - ascii_characters) / _OTHER_PER_TOKEN + 0.49)


def estimated_prompt_tokens(texts: Iterable[str]) -> int:
    """How many tokens a prompt of these messages is, about, with what stands around each of them."""
    return sum(estimated_tokens(text) + 4 for text in texts)


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per 1M tokens. `None` where it is not known; what is cached then counts as fresh, an upper bound."""

    input: float | None = None
    output: float | None = None
    cached: float | None = None
    cache_write: float | None = None
    thinking_output: float | None = None
    """For the whole output of a call in which the model thought."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs. A tier replaces the rate for the whole call when the prompt is longer than its tokens.

    `peak_hours` are pairs of hours (UTC, from and until) on `peak_weekdays` (0 is Monday); outside them `off_peak` holds.
    `source` and `as_of` say where the figures are from.
    """

    rate: Rate = Rate()
    tiers: tuple[tuple[int, Rate], ...] = ()
    off_peak: Rate | None = None
    peak_hours: tuple[tuple[int, int], ...] = ()
    peak_weekdays: frozenset[int] = frozenset()
    source: str = ""
    as_of: str = ""

    @property
    def known(self) -> bool:
        """Whether a call's cost can be told."""
        return self.rate.input is not None and self.rate.output is not None

    def cost(self, usage: Usage, at: datetime | None = None) -> float | None:
        """USD of a call with this usage, made at `at` (default: now); `None` when the price is not known."""
        rate = self._rate(usage.prompt_tokens, at or datetime.now(UTC))
        if rate.input is None or rate.output is None:
            return None
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
        fresh = usage.prompt_tokens - cached - written
        output = rate.output
        if usage.reasoning_tokens and rate.thinking_output is not None:
            output = rate.thinking_output
        return (
            fresh * rate.input
            + cached * _or(rate.cached, rate.input)
            + written * _or(rate.cache_write, rate.input)
            + usage.completion_tokens * output
        ) / 1e6

    def _rate(self, prompt_tokens: int, at: datetime) -> Rate:
        rate = self.rate
        if self.off_peak is not None and not self._is_peak(at.astimezone(UTC)):
            rate = self.off_peak
        for above, higher in self.tiers:
            if prompt_tokens > above:
                rate = replace(higher, cache_write=_or_none(higher.cache_write, rate.cache_write))
        return rate

    def _is_peak(self, at: datetime) -> bool:
        hour = at.hour + at.minute / 60
        return at.weekday() in self.peak_weekdays and any(start <= hour < end for start, end in self.peak_hours)


FREE = Price(Rate(0.0, 0.0, 0.0), source="no charge on one's own machine")


def price_of(facts: Mapping[str, Any], as_of: str) -> Price:
    """The price in the facts about a model, as `presets.json` writes them."""
    if "price" not in facts:
        return Price(as_of=as_of)
    peak = facts.get("peak_utc", {})
    tiers = (
        (tier["above"], Rate(**{key: tier[key] for key in tier if key != "above"})) for tier in facts.get("tiers", ())
    )
    return Price(
        Rate(**facts["price"]),
        tuple(sorted(tiers, key=lambda tier: tier[0])),
        Rate(**facts["off_peak"]) if "off_peak" in facts else None,
        tuple((start, end) for start, end in peak.get("hours", ())),
        frozenset(peak.get("weekdays", ())),
        facts.get("source", ""),
        facts.get("as_of", as_of),
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _or_none(value: float | None, otherwise: float | None) -> float | None:
    return otherwise if value is None else value
