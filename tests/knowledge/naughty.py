"""Readers that misbehave, each in a way of its own: what the jail is for. Named by their words in a file."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from knowledge.errors import ReaderError
from knowledge.readers import Reader, Reading, SourceFile
from knowledge.readers.text import reader as text


def _hold_everything_up() -> None:
    while True:
        pass


def _take_memory() -> None:
    held = []
    while True:
        held.append(bytearray(16 * 1024 * 1024))


def _fall_over() -> None:
    ctypes.string_at(0)


def _ask_for_death() -> None:
    signal.raise_signal(signal.SIGKILL)


def _leave() -> None:
    os._exit(3)


def _stumble() -> None:
    raise KeyError("no such thing")


def _recurse() -> None:
    _recurse()


def _call_home() -> None:
    socket.create_connection(("127.0.0.1", 9))


def _start_a_program() -> None:
    subprocess.run([sys.executable, "--version"], check=True)


def _write() -> None:
    Path(os.environ["TMPDIR"], "left-behind").write_text("x" * 10)


def _open_many() -> None:
    _kept.extend(open(os.devnull) for _ in range(200))  # noqa: SIM115


def _talk() -> None:
    sys.stdout.write("something that is not an answer\n")
    sys.stdout.flush()
    sys.stderr.write("nor is this\n")


def _take_steps() -> None:
    time.sleep(0.01)


def _refuse() -> None:
    raise ReaderError("it is not what was asked for")


_kept: list[object] = []
_TRICKS: dict[str, Callable[[], None]] = {
    "time": _hold_everything_up,
    "memory": _take_memory,
    "segfault": _fall_over,
    "killed": _ask_for_death,
    "exit": _leave,
    "crash": _stumble,
    "depth": _recurse,
    "network": _call_home,
    "program": _start_a_program,
    "write": _write,
    "files": _open_many,
    "print": _talk,
    "refuse": _refuse,
}


def read(file: SourceFile) -> Reading:
    """Do what the file says, then read it as text."""
    words = file.content.decode()
    if words in _TRICKS:
        _TRICKS[words]()
    if words == "steps":
        for _ in range(40):
            time.sleep(0.05)
            file.step()
    if words == "environment":
        words = "\n".join(sorted(os.environ))
        return text.read(replace(file, content=words.encode()))
    if words == "process":
        return text.read(replace(file, content=f"process {os.getpid()}".encode()))
    if words == "long":
        return text.read(replace(file, content=b"word " * 300_000))
    if words == "nothing":
        return Reading(())
    if words == "number":
        return Reading((replace(text.read(file).documents[0], title=5),))  # type: ignore[arg-type]
    if words == "elsewhere":
        return Reading((replace(text.read(file).documents[0], source="another/file.odd"),))
    return text.read(file)


reader = Reader(suffixes=(".odd",), read=read)
