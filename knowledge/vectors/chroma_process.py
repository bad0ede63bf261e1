"""The process that runs Chroma, from the side of who asks it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge.errors import IndexFailure
from knowledge.vectors import VectorsLost
from knowledge.vectors.frames import LENGTHS, framed, lengths

_log = logging.getLogger(__name__)

_LAST_LINES = 5
_LONGEST_LINE = 4096


@dataclass(slots=True)
class _Asked:
    at: float
    answer: asyncio.Future[tuple[dict[str, Any], bytes]]


class ChromaProcess:
    """One process that runs Chroma. Start it with `start()`, end it with `close()`. It belongs to one event loop.

    `what` says what is asked in it, for messages: "The vector index", "The Chroma server http://...".
    """

    def __init__(self, process: asyncio.subprocess.Process, what: str) -> None:
        self._process = process
        self._what = what
        self._number = 0
        self._asked: dict[int, _Asked] = {}
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._over: str = ""
        self._reading = asyncio.create_task(self._read())
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, connect: dict[str, Any], what: str, seconds: float) -> ChromaProcess:
        """Start a process and have it open or reach what `connect` says. Raises `IndexFailure`."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "knowledge.vectors.chroma_child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=1 << 20,
                env=child_environment(),
            )
        except OSError as error:
            raise IndexFailure(f"{what} cannot be started: {error.strerror or error}.") from error
        started, connected = cls(process, what), False
        try:
            await started.ask("connect", connect, seconds=seconds)
            connected = True
        finally:
            if not connected:
                await started.close()
        return started

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return bool(self._over)

    @property
    def waited(self) -> float:
        """For how many seconds the oldest question has been without an answer."""
        return time.monotonic() - min(asked.at for asked in self._asked.values()) if self._asked else 0.0

    async def ask(
        self, verb: str, facts: dict[str, Any], numbers: bytes = b"", *, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """Ask for something. Raises `IndexFailure`; `VectorsLost` when what is asked for is not there.

        After so many seconds it gives up, but the question stays open and is seen in `waited`.
        """
        if self._over:
            raise IndexFailure(self._over)
        self._number += 1
        asked = _Asked(time.monotonic(), asyncio.get_running_loop().create_future())
        self._asked[self._number] = asked
        stdin = self._process.stdin
        assert stdin is not None
        try:
            async with asyncio.timeout(seconds):
                stdin.write(framed({**facts, "verb": verb, "number": self._number}, numbers))
                await stdin.drain()
                answer, found = await asyncio.shield(asked.answer)
        except TimeoutError:
            raise IndexFailure(f"{self._what} gave no answer in {seconds:g} s.") from None
        except (ConnectionError, RuntimeError) as error:
            raise IndexFailure(self._over or f"{self._what} has ended.") from error
        if "error" in answer:
            kind = VectorsLost if answer["error"] == "lost" else IndexFailure
            raise kind(f"{self._what} failed: {answer['message'].rstrip('.')}.")
        return answer, found

    async def close(self) -> None:
        """End it, at once."""
        self._over = self._over or f"{self._what} is closed."
        with suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.wait({self._reading, self._listening})

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        reason = "it ended"
        try:
            while True:
                text, numbers = lengths(await stdout.readexactly(LENGTHS.size))
                answer = await stdout.readexactly(text)
                self._received(answer, await stdout.readexactly(numbers))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ValueError as error:
            reason = f"it said what cannot be understood ({error})"
            with suppress(ProcessLookupError):
                self._process.kill()
        status = await self._process.wait()
        if reason == "it ended":
            reason = f"its process {self._process.pid} ended {_in_words(status)}"
        if not self._over:
            self._over = f"{self._what} failed: {reason}."
            await asyncio.wait({self._listening}, timeout=1)
            _log.warning("%s %s", self._over, " / ".join(self._said))
        if self._process.stdin is not None:
            self._process.stdin.close()
            with suppress(ConnectionError):
                await self._process.stdin.wait_closed()
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(IndexFailure(self._over))
                # Who asked may have given up: then nobody looks at it.
                asked.answer.exception()
        self._asked.clear()

    def _received(self, text: bytes, numbers: bytes) -> None:
        answer: dict[str, Any] = json.loads(text)
        asked = self._asked.pop(answer["number"], None)
        if asked is not None and not asked.answer.done():
            asked.answer.set_result((answer, numbers))

    async def _listen(self) -> None:
        """What it says on standard error, the last lines of it: a panic, or why the system ended it."""
        stderr = self._process.stderr
        assert stderr is not None
        rest = b""
        with suppress(ConnectionError):
            while some := await stderr.read(_LONGEST_LINE):
                *lines, rest = (rest + some)[-4 * _LONGEST_LINE :].split(b"\n")
                self._said.extend(line.decode("utf-8", "replace")[:300] for line in lines if line.strip())
        if rest.strip():
            self._said.append(rest.decode("utf-8", "replace")[:300])


def child_environment() -> dict[str, str]:
    """In which a process of ours finds this package wherever it was imported from, and nothing of the current directory."""
    package, others = str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{others}" if others else package}


def _in_words(status: int) -> str:
    if status >= 0:
        return f"with status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"
