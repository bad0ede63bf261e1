"""What every test stands on: no network but loopback, no settings from outside, no home directory of a person."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The switch that forbids every model and download elsewhere; subprocesses inherit it.
os.environ["FRONTDESK_OFFLINE"] = "1"
_KEPT = ("FRONTDESK_OFFLINE",)
LOOPBACK = ("127.", "localhost", "::1", "0.0.0.0")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting, key or proxy of the machine reaches a test."""
    for name in list(os.environ):
        foreign = name.endswith("_API_KEY") or name.startswith(("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "HF_"))
        if foreign or (name.startswith("FRONTDESK_") and name not in _KEPT) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "share"))
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """A connection to anything but this machine fails the test that makes it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign,assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture
def sample() -> Path:
    """The sample knowledge base."""
    return Path(__file__).resolve().parents[1] / "examples" / "larkstay"
