"""Rate limits: buckets per route and channel, the global one, and what a client does that knows of them."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

GRACE = 0.05
"""A request may come so much too early."""
_IN_FLIGHT = 0.25
"""So long another connection of the same client may not have heard of an exhausted bucket."""


@dataclass
class Bucket:
    """One limit for one channel, guild or webhook."""

    limit: int
    seconds: float
    used: int = 0
    resets_at: float = 0
    # Until when it is exhausted, since when the client knows, and on which connection it heard so.
    until: float = 0
    told_at: float = 0
    told: set[Hashable] = field(default_factory=set)


@dataclass(frozen=True)
class Verdict:
    """What a request gets: the headers; `retry_after` when it comes too soon; whether the client knew better."""

    headers: dict[str, str]
    retry_after: float | None = None
    is_global: bool = False
    knew: bool = False


class Limits:
    """Counts requests. `limits` maps the name of a bucket to (requests, seconds)."""

    def __init__(self) -> None:
        self.limits: dict[str, tuple[int, float]] = {
            "create": (5, 5.0),
            "edit": (5, 5.0),
            "delete": (5, 1.0),
            "reaction": (1, 0.25),
            "webhook": (5, 2.0),
        }
        self.others = (50, 1.0)
        self.each_second = 50
        self.most_invalid, self.invalid_seconds = 10_000, 600.0
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._global = Bucket(self.each_second, 1.0)
        self._opened: dict[Hashable, float] = {}
        self._invalid: deque[float] = deque()

    def take(self, name: str, major: str, connection: Hashable, *, free: bool) -> Verdict:
        """Count a request. `free` of the global limit are the interaction endpoints."""
        now = time.monotonic()
        self._opened.setdefault(connection, now)
        bucket = self._bucket(name, major)
        knew = self._knew(bucket, connection, now)
        if not free:
            self._global.limit = self.each_second
            knew = knew or self._knew(self._global, connection, now)
            left = self._count(self._global, now)
            if left:
                self._tell(self._global, connection, left)
                headers = {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}
                return Verdict(headers, left, True, knew)
        left = self._count(bucket, now)
        if not left and bucket.used >= bucket.limit:
            self._tell(bucket, connection, bucket.resets_at - now)
        if left:
            self._tell(bucket, connection, left)
            return Verdict(self._headers(name, bucket) | {"X-RateLimit-Scope": "user"}, left, False, knew)
        return Verdict(self._headers(name, bucket), None, False, knew)

    def exhaust(self, name: str, major: str, connection: Hashable, seconds: float, *, everything: bool) -> None:
        """A 429 that a fault made: the client knows from now on."""
        bucket = self._global if everything else self._bucket(name, major)
        self._tell(bucket, connection, seconds)

    def invalid(self) -> bool:
        """Count a 401, 403 or 429. True when that is one too many for Cloudflare."""
        now = time.monotonic()
        self._invalid.append(now)
        while self._invalid[0] < now - self.invalid_seconds:
            self._invalid.popleft()
        return len(self._invalid) > self.most_invalid

    def _bucket(self, name: str, major: str) -> Bucket:
        limit, seconds = self.limits.get(name, self.others)
        bucket = self._buckets.setdefault((name, major), Bucket(limit, seconds))
        bucket.limit, bucket.seconds = limit, seconds
        return bucket

    def _count(self, bucket: Bucket, now: float) -> float:
        """0, or how long to wait. The request that is counted starts a window when there is none."""
        if now >= bucket.resets_at:
            bucket.used, bucket.resets_at = 0, now + bucket.seconds
        if bucket.used >= bucket.limit:
            return bucket.resets_at - now
        bucket.used += 1
        return 0

    def _tell(self, bucket: Bucket, connection: Hashable, seconds: float) -> None:
        now = time.monotonic()
        if now >= bucket.until:
            bucket.told, bucket.told_at = set(), now
        bucket.told.add(connection)
        bucket.until = now + seconds

    def _knew(self, bucket: Bucket, connection: Hashable, now: float) -> bool:
        if now >= bucket.until - GRACE:
            return False
        if connection in bucket.told:
            return True
        # A connection that is younger may be another process, which knows nothing.
        return self._opened[connection] < bucket.told_at and now > bucket.told_at + _IN_FLIGHT

    def _headers(self, name: str, bucket: Bucket) -> dict[str, str]:
        # Rounded up: who waits so long comes in time.
        wait = math.ceil(max(0.0, bucket.resets_at - time.monotonic()) * 1000) / 1000
        return {
            "X-RateLimit-Limit": str(bucket.limit),
            "X-RateLimit-Remaining": str(max(0, bucket.limit - bucket.used)),
            "X-RateLimit-Reset": f"{time.time() + wait:.3f}",
            "X-RateLimit-Reset-After": f"{wait:.3f}",
            "X-RateLimit-Bucket": hashlib.sha256(name.encode()).hexdigest()[:32],
        }
