"""The readers' door: files, registration, and how little it costs to open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from knowledge.errors import KnowledgeError
from knowledge.readers import Reader, SourceFile, load_readers

BUILT_IN = {
    "markdown": {".md", ".markdown", ".mdown"},
    "html": {".html", ".htm", ".xhtml"},
    "text": {".txt", ".text"},
    "faq": {".csv", ".tsv", ".json", ".jsonl", ".ndjson"},
}


@pytest.mark.parametrize(
    ("path", "default_id", "default_title"),
    [
        ("guides/Check-in.md", "guides/Check-in", "Check in"),
        ("late_check-in times.v2.md", "late_check-in times.v2", "Late check in times.v2"),
        ("README", "README", "README"),
        ("refunds/index.html", "refunds/index", "Refunds"),
        (".hidden.md", ".hidden", ".hidden"),
        ("a/Überblick.txt", "a/Überblick", "Überblick"),
        ("---.md", "---", "Untitled"),
    ],
)
def test_a_file_has_an_id_and_a_title_by_its_path(path: str, default_id: str, default_title: str) -> None:
    file = SourceFile(path, b"")
    assert (file.default_id, file.default_title) == (default_id, default_title)


def test_the_built_in_readers_come_through_the_entry_points() -> None:
    readers = load_readers()
    for name, suffixes in BUILT_IN.items():
        assert {s for s, reader in readers.items() if reader.read.__module__ == f"knowledge.readers.{name}"} == suffixes
    assert all(suffix in reader.suffixes for suffix, reader in readers.items())


def test_every_built_in_reader_reads() -> None:
    readers = load_readers()
    contents = {
        ".csv": b"question,answer\nOpen?,Yes",
        ".json": b'{"Open?": "Yes"}',
        ".jsonl": b'{"q": "Open?", "a": "Yes"}',
    }
    for suffix in (".md", ".html", ".txt", *contents):
        [document] = readers[suffix].read(SourceFile(f"opening{suffix}", contents.get(suffix, b"Open? Yes"))).documents
        assert "Yes" in document.text
        assert document.id == "opening"
        assert document.source == f"opening{suffix}"


def install(folder: Path, name: str, value: str, code: str) -> None:
    """A package as pip leaves it behind: a module and its registration."""
    module = value.partition(":")[0]
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    metadata = folder / f"{module}_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {module}-plugin\nVersion: 1.0\n", encoding="utf-8"
    )
    (metadata / "entry_points.txt").write_text(f"[frontdesk.readers]\n{name} = {value}\n", encoding="utf-8")


READER = "from knowledge.readers import Reader\nreader = Reader(suffixes=({suffix!r},), read=lambda file: [])\n"


def test_an_installed_package_adds_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "wiki", "wikireader:reader", READER.format(suffix=".wiki"))
    monkeypatch.syspath_prepend(tmp_path)
    readers = load_readers()
    assert isinstance(readers[".wiki"], Reader)
    assert readers[".md"].read.__module__ == "knowledge.readers.markdown"


def test_no_package_takes_an_ending_from_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "better-markdown", "usurper:reader", READER.format(suffix=".md"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KnowledgeError, match=r"Two readers take \.md files") as caught:
        load_readers()
    assert "'markdown' (knowledge.readers.markdown:reader" in caught.value.message
    assert "'better-markdown' (usurper:reader of the package usurper-plugin)" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("module", "code", "problem"),
    [
        ("brokenreader", "import no_such_module_at_all\n", "no_such_module_at_all"),
        ("emptyreader", "", "cannot be loaded"),
        ("wrongreader", "reader = 3\n", "is not a knowledge.readers.Reader"),
        ("loudreader", READER.format(suffix=".WIKI"), "lower case"),
        ("barereader", READER.format(suffix="wiki"), "with the dot"),
    ],
)
def test_a_broken_registration_is_named(
    module: str, code: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "plugin", f"{module}:reader", code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KnowledgeError, match=problem) as caught:
        load_readers()
    assert f"{module}:reader of the package {module}-plugin" in caught.value.message


def test_the_door_and_its_readers_are_light_until_one_reads() -> None:
    heavy = "selectolax markdownify bs4 charset_normalizer yaml markdown_it"
    code = (
        "import sys, knowledge.readers as readers\n"
        "assert not {'importlib.metadata', 'knowledge.readers.markdown'} & set(sys.modules)\n"
        "readers.load_readers()\n"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
