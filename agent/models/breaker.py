"""A circuit breaker: a model that keeps failing is left alone for a while, so that customers do not wait for it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from agent.errors import ModelError

FAILURES = 4
WITHIN_SECONDS = 60.0
PAUSE_SECONDS = 30.0
"""After that many failures in that time; then one call tries whether it works again."""
DENIED_PAUSE_SECONDS = 300.0
"""For a key, a balance or a name that is not accepted: nothing changes before a person mends it."""

_log = logging.getLogger(__name__)


class Breaker:
    """One model's. `clock` gives seconds; a test may have its own."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._open_until: float | None = None
        self._probing = False
        self._why = ""

    def refusal(self) -> str | None:
        """Why the model is not to be called now; `None` when it may be. After a pause one caller may, to try it."""
        if self._open_until is None:
            return None
        left = self._open_until - self._clock()
        if left > 0:
            return f"{self._name} is left alone for {left:.0f} s more: {self._why}"
        if self._probing:
            return f"{self._name} is being tried again: {self._why}"
        self._probing = True
        return None

    def succeeded(self) -> None:
        """A call ended well."""
        if self._open_until is not None:
            _log.warning("%s works again.", self._name)
        self._failures.clear()
        self._open_until, self._probing = None, False

    def abandoned(self) -> None:
        """A call was given up by the caller, which says nothing about the model."""
        self._probing = False

    def failed(self, error: ModelError) -> None:
        """A call failed. Staff are alerted once each time that the breaker opens."""
        was_open, self._probing = self._open_until is not None, False
        if error.breaker == "ignores":
            # It answered: a refusal of this one request is no sign of illness.
            return
        now = self._clock()
        self._failures.append(now)
        often = len(self._failures) == FAILURES and now - self._failures[0] <= WITHIN_SECONDS
        if error.breaker == "opens" or often or was_open:
            until = now + (DENIED_PAUSE_SECONDS if error.breaker == "opens" else PAUSE_SECONDS)
            # A call that was under way must not shorten a longer pause.
            if until >= (self._open_until or 0.0):
                self._open_until, self._why = until, error.message
            if not was_open:
                _log.error("%s is not used for now. %s", self._name, error)


class Breakers:
    """The breakers of all models, by name: roles and channels that use the same model share its breaker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[str, Breaker] = {}

    def of(self, name: str) -> Breaker:
        """The breaker of the model with this name."""
        if name not in self._by_name:
            self._by_name[name] = Breaker(name, self._clock)
        return self._by_name[name]
