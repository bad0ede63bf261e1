"""The jail: files are read in another process, and whatever happens there costs that file only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from knowledge.errors import KnowledgeError, ReaderError
from knowledge.readers import Finding, Reader, Reading, SourceFile, load_readers, wire
from knowledge.readers.jail import Jail, Limits
from knowledge.readers.text import reader as text
from tests.knowledge import naughty
from tests.knowledge.test_readers import install

ROOT = Path(__file__).resolve().parents[2]
ODD = replace(naughty.reader, entry="tests.knowledge.naughty:reader")
BRIEF = Limits(seconds=20.0, memory=400 * 1024 * 1024, answer=1024 * 1024)


@pytest.fixture
def jail() -> Iterator[Jail]:
    with Jail({**load_readers(), ".odd": ODD}, BRIEF) as jail:
        yield jail


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def odd(jail: Jail, trick: str) -> Reading:
    return jail.read(SourceFile("a/b.odd", trick.encode()))


def process(jail: Jail) -> int:
    return int(odd(jail, "process").documents[0].text.split()[1])


def test_files_are_read_in_another_process_which_serves_many(jail: Jail) -> None:
    child = process(jail)
    assert child != os.getpid()
    reading = jail.read(
        SourceFile("guides/late.md", b"# Late\n\nUntil midnight. <b hidden>x1</b>", url="https://a.example/b")
    )
    assert reading.documents[0].title == "Late"
    assert reading.hidden == (Finding("x1", "marked as hidden"),)
    assert process(jail) == child
    jail.close()
    assert process(jail) != child


@pytest.mark.parametrize(
    ("trick", "words"),
    [
        ("time", "takes too long"),
        ("memory", "takes more than 400 MiB of memory"),
        ("segfault", "broke down on it (SIGSEGV)"),
        ("killed", "stopped by the system"),
        ("exit", "broke down on it (exit code 3)"),
        ("crash", "KeyError: 'no such thing' (naughty.py, line"),
        ("depth", "nested too deeply"),
        ("network", "may not use the network"),
        ("program", "may not start a program"),
        ("write", "File too large"),
        ("files", "Too many open files"),
        ("long", "more than 1 MiB of text"),
        ("nothing", "it has no text"),
        ("number", "the reader failed on it"),
        ("elsewhere", "not a document"),
        ("refuse", "it is not what was asked for"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems lack some of the limits")
def test_a_bad_file_costs_itself_only(
    jail: Jail, trick: str, words: str, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    if trick == "time":
        jail = stack.enter_context(Jail({".odd": ODD}, replace(BRIEF, seconds=1.5)))
    before = process(jail)
    with pytest.raises(ReaderError) as caught:
        odd(jail, trick)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert odd(jail, "The next file.").documents[0].text == "The next file."
    has_survived = trick in {"depth", "nothing", "elsewhere", "refuse"}
    assert (process(jail) == before) is has_survived
    assert not Path(f"/proc/{before}").exists() or has_survived
    assert not (tmp_path / "left-behind").exists() or not (tmp_path / "left-behind").read_text()


def test_what_a_reader_prints_is_no_answer(jail: Jail) -> None:
    assert odd(jail, "print").documents[0].text == "print"


def test_a_child_knows_no_secrets(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
    monkeypatch.setenv("DATABASE_URL", "postgres://")
    names = set(odd(jail, "environment").documents[0].text.split())
    assert "PATH" in names
    assert not {"SLACK_BOT_TOKEN", "DATABASE_URL", "HOME"} & names


@pytest.mark.parametrize("seconds", [0.1, 0.0])
def test_a_reader_that_reports_its_steps_is_given_time(seconds: float) -> None:
    in_steps = replace(ODD, in_steps=True)
    with Jail(
        {".odd": in_steps}, replace(BRIEF, seconds=0.5, seconds_per_step=seconds, steps_per_mib=1e9, patience=3)
    ) as jail:
        process(jail)
        if seconds:
            assert odd(jail, "steps").documents[0].text == "steps"
        else:
            with pytest.raises(ReaderError, match="too long"):
                odd(jail, "steps")


def test_a_child_is_replaced_after_some_files() -> None:
    with Jail({".odd": ODD}, replace(BRIEF, files=2)) as jail:
        processes = [process(jail) for _ in range(5)]
    assert len(set(processes)) == 3


def test_a_large_parent_makes_no_full_child(jail: Jail) -> None:
    held = b"x" * 200 * 1024 * 1024
    child = process(jail)
    assert odd(jail, "Words.").documents
    assert process(jail) == child
    del held


def test_a_child_that_is_gone_is_replaced(jail: Jail) -> None:
    child = process(jail)
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert process(jail) != child


def test_a_reader_without_an_entry_is_read_here() -> None:
    here = Reader((".odd",), lambda file: text.read(replace(file, content=str(os.getpid()).encode())))
    with Jail({".odd": here}) as jail:
        assert odd(jail, "x").documents[0].text == str(os.getpid())


def test_the_reader_that_the_docs_show_runs_there_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "documents.md").read_text("utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    install(tmp_path, "wiki", "acme_wiki:reader", code)
    monkeypatch.syspath_prepend(tmp_path)
    with Jail(load_readers()) as jail:
        [document] = jail.read(SourceFile("a/late.wiki", b"== Late check-in ==\nUntil midnight.")).documents
        assert (document.id, document.title, document.text) == ("a/late", "Late check-in", "Until midnight.")
        with pytest.raises(ReaderError, match="it has no text"):
            jail.read(SourceFile("a/late.wiki", b"== Late check-in =="))


def test_a_child_that_cannot_start_is_told_of() -> None:
    with (
        Jail({".odd": ODD}, replace(BRIEF, memory=1024)) as jail,
        pytest.raises(KnowledgeError, match="does not start"),
    ):
        odd(jail, "x")


def test_an_ending_without_a_reader_is_refused(jail: Jail) -> None:
    with pytest.raises(ReaderError, match=r"no reader for \.xyz"):
        jail.read(SourceFile("a.xyz", b"a"))
    with pytest.raises(ReaderError, match="files without an ending"):
        jail.read(SourceFile("README", b"a"))


def test_no_child_is_started_until_there_is_something_to_read() -> None:
    with Jail({".odd": ODD}):
        assert "frontdesk-reading-clock" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("trick", ["waiting", "time"])
def test_a_child_does_not_outlive_its_parent(trick: str, tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from knowledge.readers.jail import Jail, Limits\n"
        "from tests.knowledge.test_jail import ODD, odd, process\n"
        "jail = Jail({'.odd': ODD}, Limits(seconds=60))\n"
        "print(process(jail), flush=True)\n"
        f"threading.Thread(target=lambda: odd(jail, {trick!r})).start()\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        status = Path(f"/proc/{process}/status")
        return not status.exists() or "zombie" not in status.read_text()
    except OSError:
        return False


def test_a_reading_survives_the_way(sample: Path) -> None:
    for path in sorted(sample.rglob("*.md"))[:5]:
        reading = load_readers()[".md"].read(SourceFile("a/b.md", path.read_bytes()))
        full = replace(reading, hidden=(Finding("a", "b"),), suspicious=(Finding("ü", "c"),), notes=("d",))
        assert wire.from_value(json.loads(json.dumps(wire.as_value(full))), "a/b.md") == full


@pytest.mark.parametrize(
    "answer",
    [{}, {"documents": 3}, {"documents": [{}]}, {"documents": [], "hidden": [["a"]], "suspicious": [], "notes": []}],
)
def test_what_is_no_reading_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.from_value(answer, "a")
