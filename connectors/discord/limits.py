"""When a request to Discord may be sent: its route's bucket, the bot's limit for all routes, and the refusals of ten minutes.

Discord tells of a bucket with each answer (docs.discord.com/developers/topics/rate-limits). What is under way counts as if it
took a place in it, so that many requests at once exceed nothing; of a route that is not known yet, one goes ahead.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from connectors.discord.errors import Limited

EACH_SECOND = 45
"""Of the fifty that Discord allows a bot; other processes may use the same token."""
MOST_INVALID, _INVALID_SECONDS = 5_000, 600.0
"""Discord shuts out an address after 10,000 answers 401, 403 or 429 in ten minutes. Two processes may share one."""
_SHUT_OUT_SECONDS = 60.0
"""For which nothing is sent, when Discord's shield does not say how long."""
_MOST_BUCKETS = 1_000

_log = logging.getLogger(__name__)


class Bucket:
    """How many requests may follow. Those who want to send stand in `line`; `in_flight` are sent and not answered."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.line = asyncio.Lock()
        self.in_flight = 0
        self._clock = clock
        self._limit = self._left = 1.0
        self._resets_at = 0.0
        self._answered = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Nobody uses it, and it holds nobody up."""
        return not self.line.locked() and not self.in_flight and self._resets_at <= self._clock()

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent now."""
        if self._resets_at <= self._clock():
            self._left = self._limit
        return self._left > self.in_flight

    async def room(self, ends: float) -> None:
        """Wait for `has_room`. Raises `Limited` at once when that is later than `ends`."""
        while not self.has_room:
            wait = self._resets_at - self._clock()
            if self._left <= 0 and self._resets_at > ends:
                raise Limited(wait)
            self._answered.clear()
            try:
                async with asyncio.timeout(wait if wait > 0 else None):
                    await self._answered.wait()
            except TimeoutError:
                continue

    def told(self, limit: float, left: float, reset_after: float) -> None:
        """What an answer says of it. Answers of one window may come in any order."""
        now = self._clock()
        self._limit = max(1.0, limit)
        if now < self._resets_at:
            self._left = min(self._left, left)
            self._resets_at = max(self._resets_at, now + reset_after)
        else:
            self._left, self._resets_at = left, now + reset_after

    def exhaust(self, seconds: float) -> None:
        """Send nothing more for so long."""
        self._left, self._resets_at = 0.0, self._clock() + seconds

    def spend(self) -> None:
        """A request without an answer may have counted."""
        self._left -= 1

    def leave(self) -> None:
        """A request is not under way any more."""
        self.in_flight -= 1
        self._answered.set()


class Limits:
    """The limits of one process. `ends` is until when a request may wait to be sent; else `Limited` is raised."""

    def __init__(
        self,
        *,
        each_second: int = EACH_SECOND,
        most_invalid: int = MOST_INVALID,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._each_second, self._most_invalid, self._clock = each_second, most_invalid, clock
        self._hashes: dict[str, str] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._most_buckets = _MOST_BUCKETS
        self._line = asyncio.Lock()
        self._in_flight = 0
        self._answered: deque[float] = deque()
        self._one_answered = asyncio.Event()
        self._invalid: deque[float] = deque()
        self._warned = False
        self._bot_waits_until = self._all_wait_until = 0.0

    async def enter(self, route: str, major: str, *, free: bool, ends: float) -> Bucket:
        """Wait until a request may be sent, which has to `leave`. `free`: it does not count for the bot as a whole."""
        try:
            async with asyncio.timeout(max(0.0, ends - self._clock())):
                while True:
                    bucket = self._bucket(route, major)
                    async with bucket.line:
                        await bucket.room(ends)
                        # An answer may have told that the route shares the bucket of another.
                        if self._bucket(route, major) is not bucket:
                            continue
                        await self._gate(free, ends)
                        if bucket.has_room:
                            bucket.in_flight += 1
                            return bucket
                        self._passed(free)
        except TimeoutError:
            raise Limited(1.0) from None

    def leave(self, bucket: Bucket, *, free: bool) -> None:
        """A request is not under way any more."""
        bucket.leave()
        self._passed(free)

    def answered(self, route: str, major: str, bucket: Bucket, status: int, headers: Mapping[str, str]) -> None:
        """Take what an answer says of its bucket."""
        if status in (401, 403) or (status == 429 and headers.get("X-RateLimit-Scope") != "shared"):
            self._invalid.append(self._clock())
        left = _number(headers.get("X-RateLimit-Remaining"))
        if left is None:
            if status < 300:
                bucket.told(math.inf, math.inf, 0.0)
            else:
                bucket.spend()
            return
        name = headers.get("X-RateLimit-Bucket")
        if name:
            self._hashes[route] = name
            bucket = self._buckets.setdefault((name, major), bucket)
        limit, after = (_number(headers.get(f"X-RateLimit-{what}")) for what in ("Limit", "Reset-After"))
        bucket.told(limit or 1.0, left, after or 0.0)

    def refused(self, bucket: Bucket, headers: Mapping[str, str], body: Any) -> float:
        """What a 429 asks for is kept for all whom it concerns. Returns the seconds that its request has to wait."""
        now, told = self._clock(), body if isinstance(body, Mapping) else {}
        asked = told.get("retry_after")
        seconds = float(asked) if isinstance(asked, int | float) else _number(headers.get("Retry-After"))
        if "retry_after" not in told:
            # It is not the API that says no, but the shield before it.
            seconds = _SHUT_OUT_SECONDS if seconds is None else seconds
            self._all_wait_until = max(self._all_wait_until, now + seconds)
            _log.error("Discord takes no request from this address for %.0f s", seconds)
            return seconds
        seconds = max(0.0, 1.0 if seconds is None else seconds)
        if told.get("global"):
            self._bot_waits_until = max(self._bot_waits_until, now + seconds)
        elif not _number(headers.get("X-RateLimit-Remaining")):
            bucket.exhaust(seconds)
        # Else it is a limit within the route's, on what this request is about.
        return seconds

    def _bucket(self, route: str, major: str) -> Bucket:
        key = (self._hashes.get(route, route), major)
        found = self._buckets.get(key)
        if found is None:
            if len(self._buckets) >= self._most_buckets:
                self._buckets = {key: one for key, one in self._buckets.items() if not one.idle}
                self._most_buckets = max(_MOST_BUCKETS, 2 * len(self._buckets))
            found = self._buckets[key] = Bucket(self._clock)
        return found

    async def _gate(self, free: bool, ends: float) -> None:
        """Wait for what holds for all routes."""
        if free:
            while wait := self._held(free):
                await self._pause(wait, ends)
            return
        async with self._line:
            while True:
                if wait := self._held(free):
                    await self._pause(wait, ends)
                elif self._is_full():
                    self._one_answered.clear()
                    left = self._answered[0] + 1.0 - self._clock() if self._answered else None
                    with suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            await self._one_answered.wait()
                else:
                    self._in_flight += 1
                    return

    def _is_full(self) -> bool:
        """Whether one more would be too many in a second: one that is under way may be counted at any time until its answer."""
        now = self._clock()
        while self._answered and self._answered[0] <= now - 1.0:
            self._answered.popleft()
        return self._in_flight + len(self._answered) >= self._each_second

    def _passed(self, free: bool) -> None:
        if not free:
            self._in_flight -= 1
            self._answered.append(self._clock())
            self._one_answered.set()

    def _held(self, free: bool) -> float:
        now = self._clock()
        while self._invalid and self._invalid[0] <= now - _INVALID_SECONDS:
            self._invalid.popleft()
        wait = max(0.0, self._all_wait_until - now, 0.0 if free else self._bot_waits_until - now)
        if len(self._invalid) < self._most_invalid:
            self._warned = False
            return wait
        if not self._warned:
            self._warned = True
            _log.critical(
                "Discord refused %d requests within ten minutes: fewer are sent, lest it shuts us out",
                len(self._invalid),
            )
        return max(wait, self._invalid[-self._most_invalid] + _INVALID_SECONDS - now)

    async def _pause(self, seconds: float, ends: float) -> None:
        if self._clock() + seconds > ends:
            raise Limited(seconds)
        await asyncio.sleep(seconds)


def _number(text: object) -> float | None:
    try:
        found = float(str(text))
    except ValueError:
        return None
    return found if math.isfinite(found) else None
