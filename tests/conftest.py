"""What every test stands on: no network but loopback, no settings from outside, no home directory of a person."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.databases import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

# Kept in the environment, because the workers of a parallel run inherit the other home.
REAL_HOME = Path(os.environ.setdefault("TESTS_REAL_HOME", str(Path.home())))
LOOPBACK = ("127.", "localhost", "::1", "0.0.0.0")

# Before anything is imported or any fixture is made: no setting, key or proxy of the machine reaches a test, nor a person's
# home directory. Subprocesses inherit it.
for name in list(os.environ):
    ours = name == "DATABASE_URL" or name.startswith(("FRONTDESK_", "SLACK_", "DISCORD_", "DBOS_", "CHROMA_"))
    foreign = name.endswith("_API_KEY") or name.startswith(("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "HF_"))
    if ours or foreign or name.lower().endswith("_proxy"):
        del os.environ[name]
# Many tests start processes of their own, which need not compile the package anew each.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell lets what runs in its background ignore SIGINT, and so would do what tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
HOME = tempfile.TemporaryDirectory(prefix="frontdesk-home-")
os.environ["HOME"] = HOME.name
os.environ["XDG_DATA_HOME"] = f"{HOME.name}/share"
# Whoever a test connects to speaks plain HTTP. To read a machine's hundred authorities again and again takes minutes in all.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("authority.pem"))
# The switch that forbids every model and download elsewhere.
os.environ["FRONTDESK_OFFLINE"] = "1"

# What takes long, and mostly waits, is spread over all workers but one and begins first: all are done at about the same time, and
# meanwhile that one computes.
LONG = (
    *("journeys/test_crashes", "journeys/test_slack_faults", "agent/test_turns", "journeys/test_discord"),
    *("journeys/test_slack", "knowledge/test_keeping", "journeys/test_run", "contracts/test_vector_store"),
    *(
        "knowledge/test_base",
        "journeys/test_command",
        "agent/test_engine",
        "journeys",
        "test_docs",
        "knowledge/test_index",
    ),
)


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    HOME.cleanup()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    first: list[list[pytest.Item]] = [[] for _ in range(workers)]
    waiting = max(1, workers - 1)
    rest: list[pytest.Item] = []
    by_name: dict[str, list[pytest.Item]] = {}
    for item in items:
        place = item.path.relative_to(Path(__file__).parent).as_posix()
        name = next((name for name in LONG if place.startswith(name)), "")
        (by_name.setdefault(name, []) if name else rest).append(item)
    for number, name in enumerate(one for one in LONG if one in by_name):
        first[number % waiting] += by_name[name]
    # Each worker is given an equal share, in order, and takes from the end of another's when it has done its own.
    share = len(items) // workers
    items.clear()
    for number, some in enumerate(first):
        taken = len(rest) if number == workers - 1 else max(0, share - len(some))
        items += [*some, *rest[:taken]]
        del rest[:taken]


def pytest_xdist_auto_num_workers() -> int | None:
    """Half of the time is spent waiting: two workers for each processor."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else max(2, 2 * (os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test finds another's settings in the current directory."""
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
def minilm_folder() -> Path:
    """The embedding model's files, on machines that have them; no test fetches them."""
    folder = REAL_HOME / ".cache" / "chroma" / "onnx_models" / "all-MiniLM-L6-v2" / "onnx"
    if not (folder / "model.onnx").is_file():
        pytest.skip("the local embedding model is not on this machine")
    return folder


@pytest.fixture
def sample() -> Path:
    """The sample knowledge base."""
    return Path(__file__).resolve().parents[1] / "examples" / "larkstay"
