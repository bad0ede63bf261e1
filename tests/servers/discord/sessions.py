"""Sessions and connections of the gateway: sequence numbers, what is kept for a RESUME, compression."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import zstandard
from aiohttp import web

Json = dict[str, Any]


@dataclass(frozen=True)
class Identify:
    """One IDENTIFY or RESUME as it arrived. `accepted` is false when it was answered with a close code or op 9."""

    at: float
    payload: Json
    accepted: bool

    @property
    def intents(self) -> int:
        return int(self.payload.get("intents", 0))

    @property
    def shard(self) -> tuple[int, int]:
        first, of = self.payload.get("shard") or (0, 1)
        return int(first), int(of)


class Plain:
    """No transport compression: text frames."""

    def pack(self, text: str) -> str | bytes:
        return text


class Zlib(Plain):
    """zlib-stream: one context per connection, each payload ends with a sync flush."""

    def __init__(self) -> None:
        self._context = zlib.compressobj()

    def pack(self, text: str) -> bytes:
        return self._context.compress(text.encode()) + self._context.flush(zlib.Z_SYNC_FLUSH)


class Zstd(Plain):
    """zstd-stream: one frame per connection that never ends, each payload is a flushed block."""

    def __init__(self) -> None:
        self._context = zstandard.ZstdCompressor(level=1).compressobj()

    def pack(self, text: str) -> bytes:
        return self._context.compress(text.encode()) + self._context.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


COMPRESSIONS: dict[str, type[Plain]] = {"": Plain, "zlib-stream": Zlib, "zstd-stream": Zstd}


@dataclass(eq=False)
class Connection:
    """A websocket of the gateway, and the session that it carries once it has identified or resumed."""

    number: int
    socket: web.WebSocketResponse
    request: web.Request
    packing: Plain
    outgoing: asyncio.Queue[str | int] = field(default_factory=asyncio.Queue)
    session: Session | None = None
    # A zombie: it stays open, but nothing comes from it and nothing reaches it.
    silent: bool = False
    # The server has closed it, or is about to.
    leaving: bool = False
    heard_at: float = field(default_factory=time.monotonic)
    sent_times: deque[float] = field(default_factory=deque)
    heartbeats: int = 0

    def too_many(self, most: int, seconds: float) -> bool:
        """Count something that the client sent. True beyond what a connection may send."""
        now = time.monotonic()
        while self.sent_times and self.sent_times[0] < now - seconds:
            self.sent_times.popleft()
        self.sent_times.append(now)
        return len(self.sent_times) > most


@dataclass(eq=False)
class Session:
    """What a client resumes: it outlives its connections for a while."""

    id: str
    shard: tuple[int, int]
    intents: int
    most_kept: int
    sequence: int = 0
    kept: deque[tuple[int, str]] = field(default_factory=deque)
    connection: Connection | None = None
    lost_at: float | None = None

    def serves(self, guild: str | None) -> bool:
        """Whether events of the guild, or without a guild, belong to this session's shard."""
        number, of = self.shard
        return number == 0 if guild is None else (int(guild) >> 22) % of == number

    def dispatched(self, event: str, data: Any) -> str:
        """The payload of one more event, kept for a RESUME."""
        self.sequence += 1
        text = json.dumps({"op": 0, "t": event, "s": self.sequence, "d": data})
        self.kept.append((self.sequence, text))
        while len(self.kept) > self.most_kept:
            self.kept.popleft()
        return text

    def missed_since(self, sequence: int) -> list[str] | None:
        """The payloads after this sequence. None when some of them are not kept any more."""
        if sequence < self.sequence and (not self.kept or self.kept[0][0] > sequence + 1):
            return None
        return [text for number, text in self.kept if number > sequence]
