"""What can be counted, for Prometheus. Labels are connectors, models and outcomes: never a person, a text or a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent.messages import Provenance

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST_TEXT = (0.25, 0.5, 1, 1.5, 2, 3, 5, 8, 13, 20, 30, 60)
_WHOLE_TURN = (0.5, 1, 2, 3, 5, 8, 13, 20, 30, 45, 60, 120, 300, 1800)
_NO_MODEL = "none"


class Metrics:
    """The counters of this process, in a registry of their own."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry: CollectorRegistry = CollectorRegistry()
        self._messages = Counter(
            "frontdesk_messages", "Messages that were taken in.", ["connector"], registry=self._registry
        )
        self._turns = Counter("frontdesk_turns", "Turns that ended, by outcome.", ["outcome"], registry=self._registry)
        self._delivery_failures = Counter(
            "frontdesk_delivery_failures", "Replies that could not be shown.", ["connector"], registry=self._registry
        )
        self._tokens = Counter(
            "frontdesk_model_tokens",
            "Tokens of models for the replies of turns; kind is prompt (of these: cached) or completion.",
            ["model", "kind"],
            registry=self._registry,
        )
        self._cost = Counter(
            "frontdesk_model_cost_usd",
            "What models cost for the replies of turns, as far as prices are known.",
            ["model"],
            registry=self._registry,
        )
        self._first_text = Histogram(
            "frontdesk_first_text_seconds",
            "From a message to the first words of the reply.",
            buckets=_FIRST_TEXT,
            registry=self._registry,
        )
        self._turn = Histogram(
            "frontdesk_turn_seconds",
            "From a message to the whole reply.",
            buckets=_WHOLE_TURN,
            registry=self._registry,
        )
        self._gauges = {
            name: Gauge(f"frontdesk_{name}", text, registry=self._registry)
            for name, text in (
                ("turns_waiting", "Turns that nobody works on yet, in all processes."),
                ("turns_running", "Turns that are worked on, in all processes."),
                ("turns_failed", "Turns that were given up: frontdesk turns --state failed."),
                ("open_tickets", "Hand-offs that staff have not resolved."),
                ("loop_lag_seconds", "The longest that the event loop was held up since the last scrape."),
            )
        }

    def message(self, connector: str) -> None:
        """A message was taken in."""
        self._messages.labels(connector).inc()

    def first_text(self, seconds: float) -> None:
        """The first words of a reply were shown so long after the message."""
        self._first_text.observe(max(0.0, seconds))

    def turn(self, outcome: str, seconds: float, provenance: Provenance) -> None:
        """A turn ended, so long after its message."""
        self._turns.labels(outcome).inc()
        self._turn.observe(max(0.0, seconds))
        model, usage = provenance.model or _NO_MODEL, provenance.usage
        for kind, tokens in (
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("completion", usage.completion_tokens),
        ):
            if tokens > 0:
                self._tokens.labels(model, kind).inc(tokens)
        if usage.cost_usd is not None and usage.cost_usd > 0:
            self._cost.labels(model).inc(usage.cost_usd)

    def delivery_failed(self, connector: str) -> None:
        """A reply could not be shown."""
        self._delivery_failures.labels(connector).inc()

    def gauges(self, values: Mapping[str, float]) -> None:
        """What is so now: `turns_waiting`, `turns_running`, `turns_failed`, `open_tickets`, `loop_lag_seconds`."""
        for name, value in values.items():
            self._gauges[name].set(value)

    def text(self) -> bytes:
        """All of it, in the text format of Prometheus (`CONTENT_TYPE`)."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
