"""Writing indexes: a whole one, or the difference to one. A folder with a manifest is a finished index."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from knowledge.documents import IndexEntry
from knowledge.errors import IndexFailure
from knowledge.index import ADDED, FORMAT, KEYWORDS, MANIFEST, VECTORS, Difference, keywords_of
from knowledge.keywords import KeywordIndex
from knowledge.vectors import Place, Rows, VectorStore
from knowledge.vectors.chroma_process import child_environment
from knowledge.vectors.frames import framed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from knowledge.embeddings import Vectors

AT_ONCE = 5_000
"""Passages whose vectors are in memory at a time. After so many Chroma writes its whole graph."""
IN_THREAD = 500
"""So many passages are done in a moment; a process of its own would take longer to start."""
PROBED = 16
"""Passages of each audience by which an index is checked."""

Fetch = Callable[[Sequence[str]], Mapping[str, "Vectors"]]
"""Gives the vectors of keys."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a whole index may be built on: the place of another one, what is `gone` and what is `new` since."""

    place: Place
    gone: Mapping[str, Sequence[str]]
    new: Sequence[IndexEntry]


@asynccontextmanager
async def removed_unless_finished(folder: Path) -> AsyncGenerator[None]:
    """Remove a folder that does not become an index. What the disk refuses is an `IndexFailure`."""
    try:
        yield
    except OSError as error:
        # Where numpy wrote, there is no more to tell.
        reason = error.strerror or "the disk took a part of it only"
        raise IndexFailure(
            f"The index cannot be written: {reason}. The one before stays in use.",
            "Make room on the disk, or look at its permissions; then: frontdesk knowledge rebuild",
        ) from error
    finally:
        if not (folder / MANIFEST).exists():
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def write_whole(
    place: Place,
    edition: int,
    entries: Sequence[IndexEntry],
    language: str,
    *,
    store: VectorStore | None,
    fetch: Fetch,
    ground: Ground | None,
    progress: Progress,
) -> None:
    """Write an index of `entries`, with their vectors if there is a `store`.

    What `ground` has is not put into the store again. Raises `IndexFailure`, and `OSError` for a full disk.
    """
    folder = place.folder
    progress("Building the index", 0, len(entries))
    found = await _write_keywords(folder / KEYWORDS, entries, language)
    dimension, probes = 0, dict[str, dict[str, int]]()
    if store is not None and entries:
        dimension = await asyncio.to_thread(_write_vectors, folder / VECTORS, entries, fetch)
        rows = _rows(ground.new if ground is not None else entries, fetch)
        base, gone = (ground.place, ground.gone) if ground is not None else (None, None)
        most = len(ground.new) if ground is not None else len(entries)
        await store.build(
            place, rows, base=base, gone=gone, filled=lambda done: progress("Building the index", done, most)
        )
        probes = _probes(entries)
    manifest = {
        "format": FORMAT,
        "edition": edition,
        "kind": store.kind if store is not None and entries else "",
        "space": place.space if store is not None and entries else "",
        "language": found,
        "audiences": [entry.audience for entry in entries],
        "dimension": dimension,
        "probes": probes,
    }
    await asyncio.to_thread(_finish, folder, manifest)
    progress("Building the index", len(entries), len(entries))


def write_difference(folder: Path, difference: Difference) -> None:
    """Write an index that differs from a whole one. Raises `OSError`."""
    if difference.vectors is not None:
        _write(folder / ADDED, difference.vectors.tobytes())
    manifest = {
        "format": FORMAT,
        "base": difference.base,
        "gone": sorted(difference.gone),
        "added": [[one.id, one.text, one.audience, one.vector_key] for one in difference.added],
        "vectors": difference.vectors is not None,
        "note": difference.note,
    }
    _finish(folder, manifest)


async def _write_keywords(folder: Path, entries: Sequence[IndexEntry], language: str) -> str:
    """Write the keywords, and tell their language."""
    if len(entries) <= IN_THREAD:
        made = await asyncio.to_thread(keywords_of, entries, language)
        await asyncio.to_thread(made.save, folder)
        return made.language
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "knowledge.keywords.child",
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(),
    )
    try:
        saying = asyncio.create_task(_tell(process, entries, language))
        assert process.stderr is not None
        errors = await process.stderr.read()
        await process.wait()
        await saying
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1][:300] if lines else f"its process ended with status {process.returncode}"
        raise IndexFailure(f"The keyword index cannot be made: {reason}")
    return await asyncio.to_thread(lambda: KeywordIndex.load(folder).language)


async def _tell(process: asyncio.subprocess.Process, entries: Sequence[IndexEntry], language: str) -> None:
    assert process.stdin is not None
    try:
        for start in range(0, len(entries), AT_ONCE):
            some = entries[start : start + AT_ONCE]
            process.stdin.write(framed({"ids": [one.id for one in some], "texts": [one.text for one in some]}))
            await process.stdin.drain()
        process.stdin.write(framed({"ids": [], "texts": [], "language": language}))
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()
    except ConnectionError:
        # It has ended; what it said on standard error tells why.
        process.stdin.close()


def _rows(entries: Sequence[IndexEntry], fetch: Fetch) -> Iterator[Rows]:
    """The vectors of passages, some at a time, each audience for itself."""
    import numpy as np

    for audience, its in _each_audience(entries).items():
        for start in range(0, len(its), AT_ONCE):
            some = its[start : start + AT_ONCE]
            vectors = fetch([one.vector_key for one in some])
            yield Rows(audience, [one.id for one in some], np.array([vectors[one.vector_key] for one in some]))


def _each_audience(entries: Sequence[IndexEntry]) -> dict[str, list[IndexEntry]]:
    found: dict[str, list[IndexEntry]] = {}
    for entry in entries:
        found.setdefault(entry.audience, []).append(entry)
    return dict(sorted(found.items()))


def _write_vectors(file: Path, entries: Sequence[IndexEntry], fetch: Fetch) -> int:
    """Write the vectors in the order of the entries, and tell their length."""
    import numpy as np

    dimension = 0
    with _opened(file) as opened:
        for start in range(0, len(entries), AT_ONCE):
            keys = [one.vector_key for one in entries[start : start + AT_ONCE]]
            vectors = fetch(keys)
            # Half as long as they are, cosines are right to a few millionths.
            some = np.array([vectors[key] for key in keys], np.float16)
            opened.write(some.tobytes())
            dimension = some.shape[1]
    return dimension


def _probes(entries: Sequence[IndexEntry]) -> dict[str, dict[str, int]]:
    """Some passages of each audience, and their rows."""
    rows = {entry.id: row for row, entry in enumerate(entries)}
    return {
        audience: {one.id: rows[one.id] for one in its[:: -(-len(its) // PROBED)]}
        for audience, its in _each_audience(entries).items()
    }


def _finish(folder: Path, manifest: dict[str, Any]) -> None:
    # Last, and only when it is on the disk under its name.
    new = folder / f"{MANIFEST}.new"
    _write(new, json.dumps(manifest).encode())
    os.replace(new, folder / MANIFEST)


def _write(file: Path, content: bytes) -> None:
    with _opened(file) as opened:
        opened.write(content)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """A new file, which is on the disk when it is closed."""
    with open(file, "wb") as opened:
        yield opened
        opened.flush()
        os.fsync(opened.fileno())
