"""What a small publication costs beside the first sync: 10 of 10,000 documents changed, in a folder, and looked up again.

    python -m benchmarks.small_changes [--documents 10000] [--changed 10] [--vectors]

The time of the processor is told beside that on the clock, because other work on the machine hides what a sync costs.

Without --vectors by keywords alone, which makes the first sync shortest and the comparison hardest. With it vectors are random,
made at once: what a real embedder takes comes on top of the first sync only.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from knowledge.base import KnowledgeBase
from knowledge.index.keeper import Outcome
from knowledge.search import Query
from tests.knowledge.embedder import Vectors

TURNS = 6

WORDS = [
    f"{a}{b}{c}" for a in ("re", "pay", "gue", "ho") for b in "abcdefghij" for c in ("ment", "st", "ll", "nd", "ing")
]


class Random:
    """Vectors by the text's hash, of the length of the local embedder's."""

    name = "random"

    async def prepare(self, say: Callable[[str], None]) -> None:
        pass

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.array([await self.embed_query(text) for text in texts], np.float32)

    async def embed_query(self, text: str) -> Vectors:
        row = np.random.default_rng(abs(hash(text))).normal(size=384)
        return np.asarray(row / np.linalg.norm(row), np.float32)


def write(folder: Path, number: int, rng: random.Random) -> None:
    text = " ".join(rng.choice(WORDS) for _ in range(120))
    (folder / f"document-{number}.md").write_text(f"# Document {number}\n\n{text}.\n", "utf-8")


def processor() -> float:
    """Seconds of the processor that this process and its ended children have used."""
    used = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


async def measure(documents: int, changed: int, *, vectors: bool) -> None:
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as place:
        folder, data = Path(place), Path(place, ".data")
        for number in range(documents):
            write(folder, number, rng)
        base = KnowledgeBase(data, Random() if vectors else None)
        indexing: list[float] = []
        bring_up = base.bring_up

        async def timed(*given: object, **named: object) -> Outcome:
            began = time.perf_counter()
            try:
                return await bring_up(*given, **named)  # type: ignore[arg-type]
            finally:
                indexing.append(time.perf_counter() - began)

        base.bring_up = timed  # type: ignore[method-assign]
        seconds, used = [], []
        for turn in range(TURNS):
            began, before = time.perf_counter(), processor()
            report = await base.sync(folder)
            seconds.append(time.perf_counter() - began)
            used.append(processor() - before)
            assert report.added + report.changed == (documents if not turn else changed), report
            for number in rng.sample(range(documents), changed):
                write(folder, number, rng)
        await base.search(Query("Document 7"))
        await base.close()
    first, again, index = seconds[0], median(seconds[1:]), median(indexing[1:])
    worked = median(used[1:])
    print(
        f"{documents} documents{' with vectors' if vectors else ''}: first sync {first:.2f} s, of which the index "
        f"{indexing[0]:.2f} s; {changed} changed: sync {again:.2f} s ({100 * again / first:.1f} %), of which the index "
        f"{index:.3f} s ({100 * index / first:.2f} %); of the processor {used[0]:.2f} and {worked:.2f} s "
        f"({100 * worked / used[0]:.1f} %)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--changed", type=int, default=10)
    parser.add_argument("--vectors", action="store_true")
    given = parser.parse_args()
    asyncio.run(measure(given.documents, given.changed, vectors=given.vectors))


if __name__ == "__main__":
    main()
