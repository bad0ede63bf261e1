"""`frontdesk ...` in a process of its own that has been through its imports already.

Importing takes most of a second of a processor, what a command then does a tenth of that. So one process imports once, and
forks for each command; what it does, prints and returns is its own. Whether a command works from its very beginning is shown
by those that are typed in the pages of the docs, and by `Shell(..., anew=True)`.
"""

from __future__ import annotations

import array
import atexit
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from select import select
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
_IMPORTED = (
    *("connectors.cli", "connectors.composition", "connectors.commands.answering", "connectors.commands.knowledge"),
    *("connectors.commands.models", "langgraph.graph", "openai", "jsonschema", "rich.markdown", "rich.table"),
    *("connectors.commands.run", "connectors.slack.connector", "connectors.discord.connector", "dbos"),
)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], typed: bytes = b"", seconds: float = 100
) -> subprocess.CompletedProcess[bytes]:
    """What `frontdesk` with these arguments prints and returns."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(typed)
        given.seek(0)
        status = Forked(arguments, environment, given, out, errors).wait(seconds)
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess([*arguments], status, out.read(), errors.read())


class Forked:
    """A process that runs `frontdesk` with these arguments, as `subprocess.Popen` would be one.

    After `--die-at POINT TIMES` it is one that `tests.journeys.crashing` kills.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], given: IO[Any], out: IO[Any], errors: IO[Any]
    ) -> None:
        self.returncode: int | None = None
        request = json.dumps([[*arguments], {**environment}, os.getcwd()]).encode()
        streams = array.array("i", [given.fileno(), out.fileno(), errors.fileno()])
        self._told = socket.socket(socket.AF_UNIX)
        self._told.connect(_forking())
        self._told.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        self._told.sendall(request)
        self.pid = self._number()

    def poll(self) -> int | None:
        """Its status, if it has ended."""
        if self.returncode is None and select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its status, once it has ended."""
        if self.returncode is None:
            if not select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = self._number()
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        return int.from_bytes(self._told.recv(4, socket.MSG_WAITALL), "big", signed=True)


@cache
def _forking() -> str:
    """The socket of the process that forks, which is started when it is first needed and ends with this one."""
    folder = tempfile.mkdtemp(prefix="frontdesk-fork-")
    path = os.path.join(folder, "s")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journeys.forked", path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    # It ends when its input does, whatever ends this process.
    atexit.register(process.communicate)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return path


def _serve(path: str) -> None:
    for name in _IMPORTED:
        __import__(name)
    ended, ends = os.pipe()
    os.set_blocking(ends, False)
    signal.set_wakeup_fd(ends)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        # What is imported is not looked through again in each.
        gc.collect()
        gc.freeze()
        print("ready", flush=True)  # noqa: T201
        # Until whoever started it is gone.
        while sys.stdin not in (ready := select([listening, sys.stdin, ended], [], [])[0]):
            if ended in ready:
                os.read(ended, 4096)
                _tell(running)
            if listening in ready:
                asked, _ = listening.accept()
                child = _begun(asked, [listening, *running.values()])
                running[child] = asked
                asked.sendall(child.to_bytes(4, "big"))


def _tell(running: dict[int, socket.socket]) -> None:
    """Tell of all that have ended."""
    while running and (found := os.waitpid(-1, os.WNOHANG))[0]:
        with running.pop(found[0]) as asked, suppress(BrokenPipeError):
            asked.sendall(os.waitstatus_to_exitcode(found[1]).to_bytes(4, "big", signed=True))


def _begun(asked: socket.socket, others: Sequence[socket.socket]) -> int:
    """The number of the process that does what is asked for."""
    head, control, _, _ = asked.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    streams = array.array("i", control[0][2])
    request = asked.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    if (child := os.fork()) == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (asked, *others):
            one.close()
        arguments, environment, place = json.loads(request)
        _become(arguments, environment, place, streams)
    for stream in streams:
        os.close(stream)
    return child


def _become(arguments: list[str], environment: dict[str, str], place: str, streams: Sequence[int]) -> NoReturn:
    """Be the command, to its end."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(place)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["frontdesk", *arguments]
    from connectors.cli import main
    from tests.journeys.crashing import main as main_that_dies

    status: object = 0
    try:
        if arguments[0] == "--die-at":
            main_that_dies(arguments[1:])
        else:
            main(arguments)
    except SystemExit as ended:
        status = ended.code
    # As at the end of any process, but without taking everything apart that was imported.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    _serve(sys.argv[1])
    shutil.rmtree(Path(sys.argv[1]).parent, ignore_errors=True)
