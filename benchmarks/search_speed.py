"""What a search, a start and a sync cost, beside plain Chroma and plain bm25s on the same passages in the same run.

    python -m benchmarks.search_speed [--passages 1000 10000 100000] [--questions 200] [--keywords]

Documents of ten passages are made up of 50,000 invented words that are as unequally frequent as those of a language; a
text's vector (384 numbers) is the sum of its words', so that no time goes into a model: what the local one takes for a
question is told apart. Each engine runs in a process of its own, so that its memory is its own. Ratios are to Chroma and
bm25s one after the other, which is what a search in two ways takes without any service around it. Then twenty who ask
without a pause are answered at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.base import KnowledgeBase
from knowledge.embeddings.minilm import MiniLM
from knowledge.search import Query

Floats = NDArray[np.float32]
WORDS = 50_000
PER_PASSAGE = 120
PER_DOCUMENT = 10
PER_QUESTION = 12
CHANGED = 10
AT_ONCE = 20
SYLLABLES = [first + second for first in "bcdfghklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "in")]


def word(number: int) -> str:
    """An invented word; the frequent ones are short."""
    said = ""
    number += 1
    while number:
        number, syllable = divmod(number, len(SYLLABLES))
        said += SYLLABLES[syllable]
    return said


def texts(count: int, words: int, seed: int) -> list[str]:
    """Texts of words drawn by Zipf's law."""
    chances = 1 / np.arange(1, WORDS + 1) ** 1.05
    drawn = np.random.default_rng(seed).choice(WORDS, size=(count, words), p=chances / chances.sum())
    names = [word(number) for number in range(WORDS)]
    return [" ".join(names[number] for number in row) for row in drawn]


class Summed:
    """An embedder that costs next to nothing: the sum of vectors that words are hashed to."""

    name = "summed"

    def __init__(self) -> None:
        self._rows = np.random.default_rng(1).standard_normal((4096, 384)).astype(np.float32)

    async def prepare(self, say: Callable[[str], None]) -> None:
        pass

    async def embed_passages(self, texts: Sequence[str]) -> Floats:
        return np.array([self.vector(text) for text in texts], np.float32).reshape(len(texts), 384)

    async def embed_query(self, text: str) -> Floats:
        return self.vector(text)

    def vector(self, text: str) -> Floats:
        # Without the most frequent ones, which all texts share: cosines are then about as far apart as a model's.
        telling = [zlib.crc32(one.encode()) % 4096 for one in text.lower().split() if len(one) > 3]
        found = self._rows[telling or [0]].sum(axis=0)
        return np.asarray(found / np.linalg.norm(found), np.float32)


def write(folder: Path, passages: list[str]) -> None:
    """The passages as documents, each passage under a heading."""
    folder.mkdir()
    for number in range(0, len(passages), PER_DOCUMENT):
        some = passages[number : number + PER_DOCUMENT]
        body = "\n\n".join(f"## {' '.join(text.split()[:3])}\n\n{text}" for text in some)
        (folder / f"{number // PER_DOCUMENT:06d}.md").write_text(f"# {some[0].split()[5]}\n\n{body}\n", "utf-8")


def memory() -> float:
    """The most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(ask: Callable[[str], object], questions: list[str], started: float) -> dict[str, float]:
    """The first answer since `started`, then half and 95 % of the times of the others."""
    ask(questions[0])
    first = time.perf_counter() - started
    took = []
    for question in questions[1:]:
        began = time.perf_counter()
        ask(question)
        took.append(time.perf_counter() - began)
    cuts = statistics.quantiles(took, n=20)
    return {"p50": 1000 * statistics.median(took), "p95": 1000 * cuts[-1], "cold": 1000 * first, "memory": memory()}


def sync(data: Path, folder: Path, keywords: bool) -> dict[str, float]:
    """Bring everything in, then again after a few documents have changed."""

    paths = sorted(folder.iterdir())
    changed = paths[:: max(1, len(paths) // CHANGED)][:CHANGED]
    with asyncio.Runner() as runner:
        base = KnowledgeBase(data, None if keywords else Summed())
        first = runner.run(base.sync(folder))
        for path in changed:
            path.write_text(path.read_text("utf-8") + "\nOne more sentence.\n", "utf-8")
        again = runner.run(base.sync(folder))
        runner.run(base.close())
    if again.changed != len(changed):
        raise RuntimeError(f"{again.changed} of {len(changed)} changed documents were noticed")
    return {"first": first.seconds, "again": again.seconds, "passages": first.passages, "memory": memory()}


def ours(data: Path, questions: list[str], keywords: bool) -> dict[str, float]:
    with asyncio.Runner() as runner:
        started = time.perf_counter()
        base = KnowledgeBase(data, None if keywords else Summed())
        found = measured(lambda text: runner.run(base.search(Query(text, 10))), questions, started)
        found |= runner.run(together(base, questions))
        runner.run(base.close())
    return found


async def together(base: KnowledgeBase, questions: list[str]) -> dict[str, float]:
    """How many questions are answered in a second when so many are asked at any time, and 95 % of their times."""
    took: list[float] = []
    left = iter(questions * 2)

    async def ask_on() -> None:
        for text in left:
            began = time.perf_counter()
            await base.search(Query(text, 10))
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(ask_on() for _ in range(AT_ONCE)))
    return {
        "a second": len(took) / (time.perf_counter() - began),
        "together p95": 1000 * statistics.quantiles(took, n=20)[-1],
    }


def chroma(folder: Path, passages: list[str], questions: list[str]) -> dict[str, float]:
    """Chroma as it comes, asked for ten passages by vectors that are made beforehand."""
    import chromadb
    from chromadb.config import Settings

    embedder = Summed()
    settings = Settings(anonymized_telemetry=False)
    began = time.perf_counter()
    if passages:
        client = chromadb.PersistentClient(str(folder), settings)
        collection = client.create_collection("plain", embedding_function=None)
        for start in range(0, len(passages), 5000):
            some = passages[start : start + 5000]
            vectors = np.array([embedder.vector(text) for text in some])
            collection.add(ids=[str(start + number) for number in range(len(some))], embeddings=vectors, documents=some)
        return {"build": time.perf_counter() - began}
    vectors_of = {text: embedder.vector(text) for text in questions}
    began = time.perf_counter()
    collection = chromadb.PersistentClient(str(folder), settings).get_collection("plain", embedding_function=None)
    return measured(
        lambda text: collection.query(query_embeddings=np.array([vectors_of[text]]), n_results=10), questions, began
    )


def bm25s(folder: Path, passages: list[str], questions: list[str]) -> dict[str, float]:
    """bm25s as it comes, without a stemmer."""
    import bm25s as plain

    began = time.perf_counter()
    if passages:
        index = plain.BM25()
        index.index(plain.tokenize(passages, show_progress=False), show_progress=False)
        index.save(folder)
        return {"build": time.perf_counter() - began}
    index = plain.BM25.load(folder, mmap=True)

    def ask(text: str) -> Any:
        return index.retrieve(plain.tokenize(text, show_progress=False), k=10, show_progress=False)

    return measured(ask, questions, began)


def run(work: str, arguments: argparse.Namespace, folder: Path, passages: int) -> dict[str, float]:
    """One piece of the work in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.search_speed", "--work", work, "--folder", str(folder)]
    command += ["--passages", str(passages), "--questions", str(arguments.questions)]
    done = subprocess.run(command + ["--keywords"] * arguments.keywords, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def worker(arguments: argparse.Namespace) -> dict[str, float]:
    """What `run` asked for."""
    folder, count = arguments.folder, arguments.passages[0]
    passages = texts(count, PER_PASSAGE, 0)
    questions = texts(arguments.questions + 1, PER_QUESTION, 2)
    match arguments.work:
        case "write":
            write(folder / "documents", passages)
            return {}
        case "sync":
            return sync(folder / "data", folder / "documents", arguments.keywords)
        case "ours":
            return ours(folder / "data", questions, arguments.keywords)
        case "chroma-build":
            return chroma(folder / "chroma", passages, questions)
        case "chroma":
            return chroma(folder / "chroma", [], questions)
        case "bm25s-build":
            return bm25s(folder / "bm25s", passages, questions)
        case _:
            return bm25s(folder / "bm25s", [], questions)


def compare(arguments: argparse.Namespace, count: int, folder: Path) -> None:
    """Print a line for each engine, and the ratios."""
    run("write", arguments, folder, count)
    synced = run("sync", arguments, folder, count)
    mine = run("ours", arguments, folder, count)
    engines = ["bm25s"] if arguments.keywords else ["chroma", "bm25s"]
    built = {name: run(f"{name}-build", arguments, folder, count)["build"] for name in engines}
    others = {name: run(name, arguments, folder, count) for name in engines}
    print(f"{synced['passages']:,.0f} passages of {count // PER_DOCUMENT:,} documents")
    for name, took in {"frontdesk": mine, **others}.items():
        said = ", ".join(f"{label} {took[label]:.1f}" for label in ("p50", "p95", "cold"))
        print(f"  {name:10} {said} ms, memory {took['memory']:.0f} MB")
    ratios = {label: mine[label] / sum(one[label] for one in others.values()) for label in ("p50", "p95", "cold")}
    most = mine["memory"] / max(one["memory"] for one in others.values())
    print(
        "  ratio      " + ", ".join(f"{label} {ratio:.1f}" for label, ratio in ratios.items()) + f", memory {most:.1f}"
    )
    print(f"  {AT_ONCE} at once: {mine['a second']:.0f} answered a second, p95 {mine['together p95']:.0f} ms")
    print(
        f"  sync {synced['first']:.1f} s, {synced['first'] / sum(built.values()):.1f} times what the others take to build"
        f" ({sum(built.values()):.1f} s); again with {CHANGED} changed {synced['again']:.2f} s,"
        f" {synced['again'] / synced['first']:.1%} of the first; memory {synced['memory']:.0f} MB",
        flush=True,
    )


async def local_model() -> str:
    """How long the local model takes for a question and a passage."""
    model = MiniLM(download=False)
    if model.missing():
        return "The local embedding model is not on this machine."
    sample = [" ".join(["Can I cancel my booking and get the cleaning fee back"] * 2)] * 50
    await model.embed_query(sample[0])
    began = time.perf_counter()
    for text in sample:
        await model.embed_query(text)
    asked = time.perf_counter()
    await model.embed_passages([" ".join(sample[:7])] * 50)
    each, passage = 1000 * (asked - began) / 50, (time.perf_counter() - asked) / 50
    return f"The local model: {each:.1f} ms a question, {1 / passage:.0f} passages of 150 words a second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--keywords", action="store_true", help="without vectors")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(worker(arguments)))
        return
    for count in arguments.passages:
        with tempfile.TemporaryDirectory() as scratch:
            compare(arguments, count, Path(scratch))
    if not arguments.keywords:
        print(asyncio.run(local_model()))


if __name__ == "__main__":
    main()
