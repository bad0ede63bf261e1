"""What it costs to have Chroma in a process of its own: Chroma inside the asking process, in a child, and on a server.

    python -m benchmarks.vector_store [--sizes 1000,10000,100000] [--queries 300]

A query asks as search does: for the 100 nearest passages. Each arrangement is
measured in a process of its own that does nothing else; `memory` is that process, `beside` the child or the server.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.vectors import Place, Rows, VectorStore
from knowledge.vectors.chroma import ChromaServer, EmbeddedChroma, Patience
from tests.servers.chroma_server import running_chroma

DIMENSION, NEAREST, TOPICS = 384, 100, 200
ARRANGEMENTS = ("inside", "child", "server")
Vectors = NDArray[np.float32]
Ask = Callable[[Vectors], Awaitable[dict[str, float]]]


def vectors_of(size: int) -> Vectors:
    """Around so many topics, as texts are."""
    rng = np.random.default_rng(size)
    topics = rng.normal(size=(TOPICS, DIMENSION))
    rows = topics[rng.integers(0, TOPICS, size)] + 0.8 * rng.normal(size=(size, DIMENSION))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def batches(ids: list[str], vectors: Vectors) -> Iterator[Rows]:
    for start in range(0, len(ids), 5_000):
        yield Rows("public", ids[start : start + 5_000], vectors[start : start + 5_000])


def memory(pid: int | str) -> int:
    """Resident MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6)


def percentiles(seconds: list[float]) -> tuple[float, float]:
    return tuple(round(1000 * float(one), 2) for one in np.percentile(seconds, [50, 95]))  # type: ignore[return-value]


async def inside(folder: Path) -> Ask:
    chromadb: Any = await asyncio.to_thread(importlib.import_module, "chromadb")
    client = chromadb.PersistentClient(str(folder / "chroma"))
    collection = client.list_collections()[0]

    def looked_up(vector: Vectors) -> dict[str, float]:
        near = collection.query(query_embeddings=[vector], n_results=NEAREST, include=["distances"])
        return dict(zip(near["ids"][0], (1 - one for one in near["distances"][0]), strict=True))

    return lambda vector: asyncio.to_thread(looked_up, vector)


async def measured(arrangement: str, size: int, queries: int, folder: Path, url: str, server: int) -> dict[str, Any]:
    vectors = vectors_of(size)
    ids = [f"{number:024x}" for number in range(size)]
    place, patience = Place(folder, f"benchmark-{size}", "random"), Patience(start=300, query=30)
    store: VectorStore = ChromaServer(url, patience=patience) if arrangement == "server" else EmbeddedChroma(patience)
    began = time.perf_counter()
    if arrangement != "inside":
        await store.build(place, batches(ids, vectors))
    build = time.perf_counter() - began
    began = time.perf_counter()
    opened = None
    if arrangement == "inside":
        ask = await inside(folder)
        await ask(vectors[0])
    else:
        opened = await store.open(place, [Rows("public", ids[:16], vectors[:16])])
        assert not opened.note, opened.note

        async def ask(vector: Vectors) -> dict[str, float]:
            assert opened is not None
            return await opened.cosines(vector, {"public"}, NEAREST)

    ready = time.perf_counter() - began
    rng = np.random.default_rng(1)
    questions = np.asarray(vectors[rng.integers(0, size, queries)] + 0.02, np.float32)
    for vector in questions[:20]:
        await ask(vector)
    seconds = []
    for vector in questions:
        began = time.perf_counter()
        await ask(vector)
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    await asyncio.gather(*(ask(vector) for vector in questions[:100]))
    together = time.perf_counter() - began
    beside = (memory(opened.pid) if opened is not None and opened.pid else 0) + (memory(server) if server else 0)
    if opened is not None:
        await opened.close()
    p50, p95 = percentiles(seconds)
    return {
        "arrangement": arrangement,
        "passages": size,
        "p50 ms": p50,
        "p95 ms": p95,
        "100 at once s": round(together, 2),
        "ready s": round(ready, 2),
        "build s": round(build, 1),
        "memory MB": memory("self") - round(vectors.nbytes / 1e6),
        "beside MB": beside,
    }


def from_line(given: list[str]) -> tuple[str, int, int, Path, str, int]:
    return given[0], int(given[1]), int(given[2]), Path(given[3]), given[4], int(given[5])


def alone(arrangement: str, size: int, queries: int, folder: Path, url: str = "", server: int = 0) -> dict[str, Any]:
    """Measure in a process of its own."""
    arguments = [arrangement, str(size), str(queries), str(folder), url, str(server)]
    command = [sys.executable, "-m", "benchmarks.vector_store", "--one", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(asyncio.run(measured(*from_line(sys.argv[2:])))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--queries", type=int, default=300)
    given = parser.parse_args()
    rows = []
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "index").mkdir()
            # The child goes first: it builds what is then opened inside.
            for arrangement in ("child", "inside"):
                rows.append(alone(arrangement, size, given.queries, folder / "index"))
            with running_chroma(folder / "server") as server:
                rows.append(alone("server", size, given.queries, folder / "index", server.url, server.pid))
    rows.sort(key=lambda row: (row["passages"], ARRANGEMENTS.index(row["arrangement"])))
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
