"""Chat completions as they come over the wire: server-sent events (html.spec.whatwg.org, 9.2.6), each with a JSON value.

The `openai` package would make an object of each, which takes longer than all that is done with them here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

DRAIN_SECONDS = 0.1
"""How long a stream that said it is over is read to its end, so that its connection can be used again."""


class Events:
    """Takes bytes, cut anywhere, and gives the data of the events that they complete. Pure.

    Names, ids and comments are left out: chat completions say all in their data. An event that no empty line ends is none.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []

    def feed(self, part: bytes) -> list[str]:
        """The data of the events that end in this part. Raises `UnicodeDecodeError` for what is not UTF-8."""
        # A long line in many parts is put together once, when it is whole.
        self._rest += part
        if b"\n" not in part and b"\r" not in part:
            return []
        *lines, last = self._rest.splitlines(keepends=True)
        if last.endswith(b"\n"):
            lines.append(last)
            last = bytearray()
        # Otherwise it goes on; and a CR at its end may be the first half of a CRLF.
        self._rest = last
        return self._read(lines)

    def end(self) -> list[str]:
        """The data of an event that the end of the stream completes."""
        last, self._rest = self._rest, bytearray()
        return self._read([last]) if last.endswith(b"\r") else []

    def _read(self, lines: list[bytearray]) -> list[str]:
        found = []
        for whole in lines:
            line = whole.rstrip(b"\r\n")
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(bytes(value.removeprefix(b" ")))
            elif not line and self._data:
                found.append(b"\n".join(self._data).decode())
                self._data.clear()
        return found


class Incoming:
    """The chunks of one response. `over`: there are no more."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self.over = False
        self._parts = parts
        self._events = Events()

    async def read(self) -> list[Any]:
        """The chunks that have come since, as JSON; none when only something else came.

        Raises `ValueError` and `RecursionError` for what is no JSON, and what reading raises.
        """
        part = await anext(self._parts, None)
        self.over = part is None
        found = []
        for data in self._events.end() if part is None else self._events.feed(part):
            if data.startswith("[DONE]"):
                self.over = True
                await self._drain()
                break
            found.append(json.loads(data))
        return [chunk for chunk in found if chunk is not None]

    async def _drain(self) -> None:
        # Nothing that goes wrong now matters to the answer.
        with suppress(TimeoutError, OSError, ValueError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for _ in self._parts:
                    pass
