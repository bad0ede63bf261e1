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
from functools import cache
from pathlib import Path
from select import select
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
_IMPORTED = (
    *("connectors.cli", "connectors.composition", "connectors.commands.answering", "connectors.commands.knowledge"),
    *("connectors.commands.models", "langgraph.graph", "openai", "jsonschema", "rich.markdown", "rich.table"),
)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], typed: bytes = b"", seconds: float = 100
) -> subprocess.CompletedProcess[bytes]:
    """What `frontdesk` with these arguments prints and returns."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(typed)
        given.seek(0)
        request = json.dumps([[*arguments], {**environment}, os.getcwd()]).encode()
        streams = array.array("i", [given.fileno(), out.fileno(), errors.fileno()])
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(seconds)
            asked.connect(_forking())
            asked.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
            asked.sendall(request)
            status = int(asked.makefile("r").readline())
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess([*arguments], status, out.read(), errors.read())


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
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        # What is imported is not looked through again in each.
        gc.collect()
        gc.freeze()
        print("ready", flush=True)  # noqa: T201
        # Until whoever started it is gone.
        while listening in select([listening, sys.stdin], [], [])[0]:
            asked, _ = listening.accept()
            with asked:
                head, control, _, _ = asked.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
                streams = array.array("i", control[0][2])
                arguments, environment, place = json.loads(asked.makefile("rb").read(int.from_bytes(head, "big")))
                if (child := os.fork()) == 0:
                    listening.close()
                    asked.close()
                    _become(arguments, environment, place, streams)
                for stream in streams:
                    os.close(stream)
                _, status = os.waitpid(child, 0)
                asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(arguments: list[str], environment: dict[str, str], place: str, streams: Sequence[int]) -> NoReturn:
    """Be the command, to its end."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(place)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["frontdesk", *arguments]
    from connectors.cli import main

    status: object = 0
    try:
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
