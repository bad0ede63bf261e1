"""The process that reads untrusted files, `python -m knowledge.readers.jailed`; `knowledge.readers.jail` starts and watches it.

It takes requests from its standard input and answers on its standard output. It bounds itself before it has seen a byte of
any file: memory, processor time, open files, no file written, no socket, no program started, no core dump; where a system
lacks one of these limits, the others hold. It ends when its input does, so it never outlives its parent.

A request is two lengths (header and content, four bytes each), a JSON header and the file's bytes. An answer is a length and
that much JSON; an answer of no length says "still at it", and the first of all that there is somebody to ask.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import queue
import struct
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from knowledge.errors import ReaderError
from knowledge.readers import Reader, SourceFile

if TYPE_CHECKING:
    from typing import Any

LENGTHS = struct.Struct("!II")
LENGTH = struct.Struct("!I")

_FORBIDDEN = {
    "socket.__new__": "use the network",
    "socket.getaddrinfo": "use the network",
    "socket.connect": "use the network",
    "subprocess.Popen": "start a program",
    "os.system": "start a program",
    "os.exec": "start a program",
    "os.posix_spawn": "start a program",
    "os.spawn": "start a program",
    "os.fork": "start a process",
    "os.forkpty": "start a process",
    "os.kill": "end another process",
}
_OPEN_FILES = 64
_FULL = 0.4
"""The share of its memory after which a child asks to be replaced: the next file shall have enough."""


@dataclass(frozen=True, slots=True)
class Time:
    """Seconds of the processor that a file has, how many every step adds, and how many it has at most."""

    seconds: float
    per_step: float
    most: float


@dataclass(frozen=True, slots=True)
class Request:
    """One file to read, by the reader that `entry` names, and the time it has."""

    entry: str
    time: Time
    file: SourceFile


def main() -> None:
    """Answer requests until there are no more."""
    memory = int(sys.argv[1])
    answers = _own_output()
    _bound(memory)
    sys.excepthook = partial(_crash, answers)
    sys.addaudithook(_refuse)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    budget = _Budget()
    threading.Thread(target=_take_requests, args=(requests, answers, budget), daemon=True).start()
    readers: dict[str, Reader] = {}
    answers.write(LENGTH.pack(0))  # up and bound: from now on the clock runs for files
    answers.flush()
    _prepare(sys.argv[2:])
    while True:
        request = requests.get()
        budget.begin(request.time)
        answer = _answer(request, readers)
        if _is_full(memory):
            answer = {**answer, "last": True}
        _say(answers, answer)


def _prepare(entries: Sequence[str]) -> None:
    """Load what the first file will need, before it is there: our own parts, which cannot fail."""
    from knowledge.readers import examination, wire  # noqa: F401

    for entry in entries:
        module = entry.partition(":")[0]
        if module.startswith("knowledge.readers."):
            importlib.import_module(module)


def _own_output() -> BinaryIO:
    """Where answers go; whatever else is printed goes nowhere, so that it cannot be taken for an answer."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return answers


def _take_requests(requests: queue.SimpleQueue[Request], answers: BinaryIO, budget: _Budget) -> None:
    """Hand requests on; end the process at once when there will be none, even while a file is being read."""
    source = sys.stdin.buffer
    while len(lengths := source.read(LENGTHS.size)) == LENGTHS.size:
        size, content_size = LENGTHS.unpack(lengths)
        header = json.loads(source.read(size))
        content = source.read(content_size)
        step = partial(_step, answers, budget)
        file = SourceFile(header["path"], content, header["url"], header["charset"], step)
        requests.put(Request(header["entry"], Time(*header["time"]), file))
        del content, file  # or it would be held for as long as the next one is waited for
    os._exit(0)


def _step(answers: BinaryIO, budget: _Budget) -> None:
    """Tell the parent that a part is done, and make the same of it here."""
    answers.write(LENGTH.pack(0))
    answers.flush()
    budget.extend()


def _answer(request: Request, readers: dict[str, Reader]) -> dict[str, Any]:
    from knowledge.readers import wire
    from knowledge.readers.examination import examine

    try:
        if request.entry not in readers:
            module, _, name = request.entry.partition(":")
            readers[request.entry] = getattr(importlib.import_module(module), name)
        return {"reading": wire.as_value(examine(readers[request.entry], request.file))}
    except ReaderError as error:
        return {"refused": error.message}
    except MemoryError:
        return {"limit": "memory", "last": True}
    except RecursionError:
        return {"limit": "depth"}


def _say(answers: BinaryIO, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    answers.write(LENGTH.pack(len(data)) + data)
    answers.flush()


def _crash(answers: BinaryIO, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an unforeseen error and end at once: nothing that a reader left behind is worth tidying up."""
    _say(answers, {"crash": _described(kind, error, trace), "last": True})
    os._exit(1)


def _described(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """An unforeseen error for whoever wrote the reader: its kind and words, and where it happened."""
    where = ""
    while trace is not None:
        where = f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{kind.__name__}: {str(error)[:300]}{where}"


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in _FORBIDDEN:
        raise PermissionError(f"a reader may not {_FORBIDDEN[event]}")


def _bound(memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent's clock and the answer's size are left
        return
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_AS: memory,
    }
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        wanted = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        try:
            resource.setrlimit(kind, (wanted, wanted))
        except (ValueError, OSError):  # macOS knows RLIMIT_AS by name only
            continue


class _Budget:
    """The processor time that a file has; the system ends this process when it is over. Only Windows has no such limit."""

    def __init__(self) -> None:
        self._time = Time(0.0, 0.0, 0.0)
        self._used = self._given = 0.0

    def begin(self, time: Time) -> None:
        """A file, from now on."""
        self._time, self._used, self._given = time, os.times().user + os.times().system, time.seconds
        self._limit()

    def extend(self) -> None:
        """The file has taken a step."""
        self._given = min(self._given + self._time.per_step, self._time.most)
        self._limit()

    def _limit(self) -> None:
        try:
            import resource
        except ImportError:
            return
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        limit = math.ceil(self._used + self._given)
        if hard == resource.RLIM_INFINITY or limit <= hard:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _is_full(memory: int) -> bool:
    """Whether what earlier files left behind may be missed by the next one; only Linux tells at once.

    The peak that `getrusage` knows is no measure: on Linux it begins with that of the process this one was started by.
    """
    try:
        with open("/proc/self/statm", "rb") as status:
            pages = int(status.read().split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return pages * os.sysconf("SC_PAGE_SIZE") > _FULL * memory


if __name__ == "__main__":
    main()
