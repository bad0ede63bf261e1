"""Which index is in use: replaced in one step, also when the writer is killed; never a half."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from knowledge.errors import StoreError
from knowledge.index import generations
from knowledge.index.generations import Generation

ROOT = Path(__file__).resolve().parents[2]


def test_there_is_none_at_first(tmp_path: Path) -> None:
    assert generations.current(tmp_path) is None


def test_the_one_in_use_is_found_again(tmp_path: Path) -> None:
    folder = generations.new_folder(tmp_path)
    generations.use(tmp_path, Generation(folder.name, 3, "letters"))
    generations.use(tmp_path, Generation(folder.name, 4))
    assert generations.current(tmp_path) == Generation(folder.name, 4, "")
    assert generations.folder_of(tmp_path, folder.name) == folder


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"name": "a"}', b'{"name": "a", "edition": "x", "embedder": ""}', b"\xff"]
)
def test_a_pointer_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "current").write_bytes(content)
    assert generations.current(tmp_path) is None


def test_garbage_is_what_is_not_kept(tmp_path: Path) -> None:
    kept, gone = generations.new_folder(tmp_path), generations.new_folder(tmp_path)
    generations.use(tmp_path, Generation(kept.name, 1))
    (tmp_path / "index" / "current.0123.new").write_text("{")
    generations.collect_garbage(tmp_path, {kept.name})
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == sorted([kept.name, "current"])
    assert not gone.exists()


def test_what_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    generations.new_folder(tmp_path)
    generations.use(tmp_path, Generation("a", 1))
    # A folder in the pointer's place, as nobody may rename a file over it.
    (tmp_path / "index" / "current").unlink()
    (tmp_path / "index" / "current").mkdir()
    with pytest.raises(StoreError, match="cannot be put in use"):
        generations.use(tmp_path, Generation("b", 2))
    assert [path.name for path in (tmp_path / "index").iterdir() if path.name.endswith(".new")] == []


def test_killed_while_it_changes_there_is_always_one(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom knowledge.index import generations\n"
        "for n in range(10**9):\n"
        "    generations.use(Path(sys.argv[1]), generations.Generation('g' * (n % 500 + 1), n))\n"
        "    print(n, flush=True)\n"
    )
    (tmp_path / "index").mkdir()
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.kill()
        process.communicate()
        found = generations.current(tmp_path)
        assert found is not None
        assert len(found.name) == found.edition % 500 + 1
