"""kill -9 at random during sync, publish and rebuild: does every restart answer from a whole edition, with nothing lost?

    python -m benchmarks.index_crashes [--rounds 100] [--documents 60] [--seed 1]

A process does one of the three without end and says what it has done; it is killed at a random moment. Then a service starts
over the same data directory, as `frontdesk run` does, and has to answer with vectors, from one edition, at least from the last
one that was acknowledged, and without a note. The time until it does is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from knowledge.base import KnowledgeBase
from knowledge.index import indexer
from knowledge.search import Query
from tests.knowledge.embedder import LetterEmbedder

MOST_SECONDS = 60.0
LONGEST_LIFE = 2.5
DOING = ("sync", "publish", "rebuild")
EDITION = re.compile(r"edition n(\d+) of everything")
# So that a sync of a few documents is kept beside, and one of many is built in, as with large knowledge bases.
indexer.FEW = 10


def write(folder: Path, name: str, number: int) -> None:
    (folder / f"{name}.md").write_text(f"# {name}\n\nThis is edition n{number} of everything.\n", "utf-8")


async def go_on(doing: str, folder: Path, data: Path, number: int, documents: int) -> None:
    """Do it until killed."""
    base = KnowledgeBase(data, LetterEmbedder())
    while True:
        number += 1
        names = ["twin", "other"]
        if doing == "sync" and number % 3 == 0:
            names += [f"page{one}" for one in range(documents)]
        if doing == "rebuild":
            outcome = await base.rebuild(wait=MOST_SECONDS)
            assert outcome.done, outcome
        else:
            for name in names:
                write(folder, name, number)
            await base.sync(folder)
            print(number, flush=True)
        if doing == "rebuild":
            print(-1, flush=True)


async def ready(data: Path, least: int) -> tuple[float, int]:
    """Seconds until a new service answers as it should, and the edition that it answers from."""
    began = time.monotonic()
    base = KnowledgeBase(data, LetterEmbedder())
    keeping = asyncio.create_task(base.keep_index())
    try:
        while True:
            found = await base.search(Query("this is edition of everything twin other", 100))
            texts = {hit.passage.document: hit.passage.text for hit in found.hits}
            numbers = {int(EDITION.findall(texts[name])[0]) for name in ("twin", "other")}
            assert len(numbers) == 1, f"two editions at once: {texts['twin']} {texts['other']}"
            number = numbers.pop()
            assert number >= least - 1, f"edition {number} came back, {least} was acknowledged"
            if found.mode == "hybrid" and not found.note and number >= least:
                parts = await base.verify()
                if all(part.ok for part in parts):
                    return time.monotonic() - began, number
            assert time.monotonic() - began < MOST_SECONDS, f"not ready: {found.mode} {found.note}"
            await asyncio.sleep(0.05)
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await base.close()


def killed(doing: str, folder: Path, data: Path, number: int, documents: int, life: float) -> int:
    """Have it done and killed after so many seconds. Returns the last number that it acknowledged."""
    arguments = [doing, str(folder), str(data), str(number), str(documents)]
    command = [sys.executable, "-m", "benchmarks.index_crashes", "--one", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    # The first one counts as begun; what comes after it is interrupted somewhere.
    said = [process.stdout.readline()]
    time.sleep(life)
    process.send_signal(signal.SIGKILL)
    process.wait()
    said += process.stdout.readlines()
    process.stdout.close()
    return max([number, *(int(line) for line in said if line.strip())])


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        asyncio.run(go_on(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng, number, count = random.Random(given.seed), 0, Counter[str]()
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        folder, data = Path(place, "documents"), Path(place, "data")
        folder.mkdir()
        for name in ["twin", "other", *(f"page{one}" for one in range(given.documents))]:
            write(folder, name, 0)
        for at in range(given.rounds):
            doing = DOING[at % len(DOING)]
            number = killed(doing, folder, data, number, given.documents, rng.uniform(0, LONGEST_LIFE))
            took, found = asyncio.run(ready(data, number))
            # What was written and not acknowledged may be there.
            number = max(number, found)
            seconds.append(took)
            count[doing] += 1
    print(
        f"{given.rounds} kills ({', '.join(f'{one} {n}' for one, n in count.items())}): every restart whole, nothing lost; ready "
        f"in {np.median(seconds):.1f} s (median), {max(seconds):.1f} s (most)"
    )


if __name__ == "__main__":
    main()
