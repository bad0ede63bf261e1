"""Reads untrusted files in a child process, so that a file that is a bomb costs its own upload and nothing else.

    with Jail(load_readers()) as jail:
        reading = jail.read(SourceFile("guides/late.pdf", content))

One child reads many files, one after the other. It is replaced after a while, and whenever a file was too much for it. What
crosses over is JSON and bytes, never pickles. `docs/decisions/jail.md` says what it costs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from knowledge.errors import KnowledgeError, ReaderError, TooSlow
from knowledge.readers import Reader, Reading, SourceFile, wire
from knowledge.readers.jailed import LENGTH, LENGTHS, Time
from knowledge.readers.preflight import preflight

if TYPE_CHECKING:
    from typing import Any

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "WINDIR")
"""What a child is told of the environment: no keys, no tokens, no home."""
_START_SECONDS = 60.0
MIB = 1024 * 1024
_TOO_SLOW = "reading it takes too long; split it, or save it in a simpler form"


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one file may cost.

    Times are of the processor, so that a busy machine refuses nothing; on the clock a file has `patience` times as long. It has
    `seconds`, `seconds_per_mib` more for each MiB, and `seconds_per_step` for each step that its reader takes. A reader that
    works in steps (the pages of a PDF) has those alone, up to `steps_per_mib` for each MiB: a bomb is stuck, or small.
    `most_seconds` is the end of it. In a `hurry` it has only that.

    `memory` is in bytes and includes the reader's own code; `answer` bounds what comes back. A child is replaced after
    `files` files. docs/decisions/jail.md has what honest files take.
    """

    seconds: float = 6.0
    seconds_per_mib: float = 2.0
    seconds_per_step: float = 0.1
    steps_per_mib: float = 12.0
    most_seconds: float = 60.0
    hurry: float = 2.0
    patience: float = 5.0
    memory: int = 1024 * 1024 * 1024
    answer: int = 64 * 1024 * 1024
    files: int = 1000

    def time_for(self, size: int, *, in_steps: bool, in_a_hurry: bool) -> Time:
        """The time that a file of this many bytes has."""
        if in_a_hurry:
            return Time(self.hurry, 0.0, self.hurry)
        if in_steps:
            most = min(self.most_seconds, self.seconds + self.steps_per_mib * size / MIB)
            return Time(self.seconds, self.seconds_per_step, most)
        seconds = min(self.most_seconds, self.seconds + self.seconds_per_mib * size / MIB)
        return Time(seconds, self.seconds_per_step, self.most_seconds)


class Jail:
    """Reads files with `readers` (by ending), each in a child process with `limits`.

    A child is started when there is something to read. Readers that were not loaded from an entry point cannot be named to
    another process and run in this one. Safe to use from several threads; files are read one at a time. Close it.
    """

    def __init__(self, readers: Mapping[str, Reader], limits: Limits | None = None) -> None:
        self._readers = readers
        self._limits = limits or Limits()
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def suffixes(self) -> frozenset[str]:
        """The endings that can be read."""
        return frozenset(self._readers)

    def read(self, file: SourceFile, *, in_a_hurry: bool = False) -> Reading:
        """What the reader for the file's ending makes of it, examined.

        Raises `ReaderError` with one plain sentence when the file cannot be read, is not what its ending says, or takes
        more memory or room than one file may, `TooSlow` when it takes more time than one may (`in_a_hurry`: than one should
        for which others wait); `KnowledgeError` when no child can be started.
        """
        reader = self._readers.get(file.suffix)
        if reader is None:
            raise ReaderError(f"there is no reader for {file.suffix or 'files without an ending'}")
        preflight(file)
        if not reader.entry:
            from knowledge.readers.examination import examine

            return examine(reader, file)
        with self._lock:
            time = self._limits.time_for(len(file.content), in_steps=reader.in_steps, in_a_hurry=in_a_hurry)
            return self._read(reader.entry, file, time)

    def prepare(self, path: str) -> None:
        """Have a child started, which takes a moment, as a file at `path` will have to be read. Nothing is waited for."""
        reader = self._readers.get(SourceFile(path, b"").suffix)
        if self._child is None and reader is not None and reader.entry:
            with self._lock:
                self._child = self._child or _Child(self._limits, reader.entry)

    def close(self) -> None:
        """End the child. The jail may be used again afterwards."""
        with self._lock:
            self._end()

    def _read(self, entry: str, file: SourceFile, time: Time) -> Reading:
        if self._child is not None and (self._child.files >= self._limits.files or not self._child.is_alive):
            self._end()
        if self._child is None:
            self._child = _Child(self._limits, entry)
        is_last = True  # whatever goes wrong from here on, this child is not asked again
        try:
            answer = self._child.ask(entry, file, time)
            is_last = bool(answer.get("last"))
        finally:
            if is_last:
                self._end()
        return _reading(answer, file, self._limits)

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


def _reading(answer: Mapping[str, Any], file: SourceFile, limits: Limits) -> Reading:
    if "refused" in answer:
        raise ReaderError(str(answer["refused"]))
    if answer.get("limit") == "memory":
        raise ReaderError(
            f"reading it takes more than {limits.memory // 1024 // 1024} MiB of memory; split it, or save it in a simpler form"
        )
    if answer.get("limit") == "depth":
        raise ReaderError("it is nested too deeply")
    if "crash" in answer:
        raise ReaderError(f"the reader failed on it; save it in another form, or report this: {answer['crash']}")
    try:
        return wire.from_value(answer["reading"], file.path)
    except (KeyError, TypeError, ValueError) as error:
        raise ReaderError(f"its reader gave back something that is not a document ({error})") from error


class _Child:
    """One child process and the clock that watches it."""

    def __init__(self, limits: Limits, entry: str) -> None:
        self.files = 0
        self._limits = limits
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        # The child finds what this process finds, also where paths were added by hand; it leaves nothing behind.
        environment |= {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "knowledge.readers.jailed", str(limits.memory), entry],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a group of its own: it can be ended with all that it started, and Ctrl-C is ours
            )
        except OSError as error:
            raise KnowledgeError(
                f"No process can be started to read documents in: {error.strerror or error}.",
                "Check the limits on processes and memory, then try again.",
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]
        self._clock = _Clock(self._kill)
        self._is_up = False

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, entry: str, file: SourceFile, time: Time) -> Mapping[str, Any]:
        """The child's answer. Raises `ReaderError` when none comes in time or it is too long."""
        if not self._is_up:
            self._wait_until_up()
        self.files += 1
        header = {
            "entry": entry,
            "path": file.path,
            "url": file.url,
            "charset": file.charset,
            "time": [time.seconds, time.per_step, time.most],
        }
        written = json.dumps(header).encode()
        patience = self._limits.patience
        self._clock.start(patience * time.seconds, patience * time.most)
        try:
            self._requests.write(LENGTHS.pack(len(written), len(file.content)) + written)
            self._requests.write(file.content)
            self._requests.flush()
            answer = self._next_answer(patience * time.per_step)
        except (BrokenPipeError, EOFError, ConnectionError) as error:
            raise self._why_it_ended() from error
        finally:
            self._clock.stop()
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise ReaderError("its reader gave back something that is not a document") from error
        return found if isinstance(found, dict) else {}

    def end(self) -> None:
        """End the process and let go of everything; nothing is left running."""
        self._clock.end()
        self._kill()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # what was still to be written has nowhere to go
                pipe.close()
        self._process.wait()

    def _wait_until_up(self) -> None:
        """Starting is not charged to a file: on a busy machine it takes seconds."""
        self._clock.start(_START_SECONDS, _START_SECONDS)
        try:
            is_up = self._exactly(LENGTH.size) == LENGTH.pack(0)
        except EOFError:
            is_up = False
        finally:
            self._clock.stop()
        self._is_up = is_up
        if not is_up:
            raise KnowledgeError(
                "The process to read documents in does not start.",
                f"To see why: {sys.executable} -m knowledge.readers.jailed {self._limits.memory} < {os.devnull}",
            )

    def _next_answer(self, per_step: float) -> bytes:
        while True:
            (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
            if length > self._limits.answer:
                raise ReaderError(f"it holds more than {self._limits.answer // 1024 // 1024} MiB of text; split it")
            if length:
                return self._exactly(length)
            self._clock.extend(per_step)

    def _exactly(self, size: int) -> bytes:
        data = self._answers.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _kill(self) -> None:
        if self._process.poll() is not None:
            return
        if sys.platform == "win32":
            self._process.kill()
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()

    def _why_it_ended(self) -> ReaderError:
        if self._clock.has_struck:
            return TooSlow(_TOO_SLOW)
        code = self._process.wait()
        ended_by = signal.Signals(-code).name if code < 0 and -code in set(signal.Signals) else ""
        if ended_by == "SIGXCPU":
            return TooSlow(_TOO_SLOW)
        if ended_by == "SIGKILL":
            return ReaderError("reading it was stopped by the system, most often for want of memory; split it")
        return ReaderError(f"its reader broke down on it ({ended_by or f'exit code {code}'}); save it in another form")


class _Clock:
    """Calls `strike` in a thread of its own when the time that was given is over."""

    def __init__(self, strike: Any) -> None:
        self.has_struck = False
        self._strike = strike
        self._deadline: float | None = None
        self._latest = 0.0
        self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="frontdesk-reading-clock")
        self._thread.start()

    def start(self, seconds: float, most: float) -> None:
        """Begin to count: `seconds` from now, and never more than `most`."""
        now = time.monotonic()
        with self._changed:
            self._deadline, self._latest = now + min(seconds, most), now + most
            self._changed.notify()

    def extend(self, seconds: float) -> None:
        """Give more time."""
        with self._changed:
            if self._deadline is not None:
                self._deadline = min(self._deadline + seconds, self._latest)

    def stop(self) -> None:
        """Count no longer."""
        with self._changed:
            self._deadline = None

    def end(self) -> None:
        """Give the thread up."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._is_over:
                left = None if self._deadline is None else self._deadline - time.monotonic()
                if left is not None and left <= 0:
                    self.has_struck = True
                    self._deadline = None
                    self._strike()
                else:
                    self._changed.wait(left)
