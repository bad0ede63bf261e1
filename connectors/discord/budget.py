"""How often sessions are started: Discord resets the token of an application that identifies too often in a day."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

_SECONDS_OF_A_DAY = 24 * 3600.0
_USUAL_TOTAL = 1_000
_LEAST = 50
"""Sessions that are kept for those who start this by hand."""
_LONGEST_PAUSE = 30.0
"""A pause that a connection that is open already can wait for."""


class Spent(Exception):
    """No session may be started for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no session may be started for {seconds:.0f} s")
        self.seconds = seconds


class Budget:
    """Counts the IDENTIFYs of a day, and says when the next may be sent.

    `interval` is the time in which Discord takes one for each key (docs.discord.com/developers/events/gateway, Sharding).
    """

    def __init__(self, interval: float = 5.0) -> None:
        self._interval = interval
        self._sent: deque[float] = deque()
        self._last: dict[int, float] = {}
        self._total = self._left = _USUAL_TOTAL
        self._at_once = 1

    def told(self, limit: Mapping[str, object], shards: int) -> None:
        """Take what GET /gateway/bot says. Raises `Spent` when too little is left to start that many sessions."""
        self._total = _number(limit.get("total"), _USUAL_TOTAL)
        self._left = _number(limit.get("remaining"), self._total)
        self._at_once = max(1, _number(limit.get("max_concurrency"), 1))
        if self._left < max(self._reserve, shards):
            raise Spent(max(1.0, _number(limit.get("reset_after"), 0) / 1000))

    def spend(self, shard: int) -> float:
        """Count one IDENTIFY. Returns the seconds to wait before it is sent; raises `Spent` when that is too long."""
        now = time.monotonic()
        while self._sent and self._sent[0] <= now - _SECONDS_OF_A_DAY:
            self._sent.popleft()
        if self._left < self._reserve:
            # Discord may have given new ones meanwhile; it is asked before the next start.
            raise Spent(_LONGEST_PAUSE)
        pause = self._slower(now)
        if pause > _LONGEST_PAUSE:
            raise Spent(pause)
        key = shard % self._at_once
        pause = max(0.0, pause, self._last.get(key, now - self._interval) + self._interval - now)
        self._last[key] = now + pause
        self._sent.append(now + pause)
        self._left -= 1
        return pause

    @property
    def _reserve(self) -> float:
        return max(_LEAST, self._total / 20)

    def _slower(self, now: float) -> float:
        """Once half of a day's sessions are spent, the others are spread over a day."""
        if len(self._sent) * 2 < self._total:
            return 0.0
        others = self._total - self._reserve - len(self._sent)
        if others < 1:
            return self._sent[0] + _SECONDS_OF_A_DAY - now
        return self._sent[-1] + _SECONDS_OF_A_DAY / others - now


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise
