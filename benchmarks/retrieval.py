"""Search quality: nDCG@10 and recall@5 over documents, on the sample knowledge base and on dataset folders.

    python -m benchmarks.retrieval [DATASET ...] [--keywords]

A DATASET folder has docs.jsonl ({"id", "title", "text"}), queries.jsonl ({"id", "text"}) and qrels.tsv.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
import time
from pathlib import Path

from benchmarks.datasets import Dataset, load, sample
from knowledge.base import KnowledgeBase
from knowledge.embeddings.minilm import MiniLM
from knowledge.search import Query


def ndcg(ranked: list[str], gold: dict[str, int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002), linear gain."""
    gained = sum(gold.get(document, 0) / math.log2(place + 2) for place, document in enumerate(ranked[:depth]))
    best = sum(gain / math.log2(place + 2) for place, gain in enumerate(sorted(gold.values(), reverse=True)[:depth]))
    return gained / best


async def measure(dataset: Dataset, *, keywords: bool, data: Path) -> str:
    """Sync a dataset, ask its questions, and tell the figures in a line."""
    base = KnowledgeBase(data, None if keywords else MiniLM(download=False))
    report = await base.sync(dataset.documents)
    started = time.perf_counter()
    gains, recalls = [], []
    for question, text in dataset.questions:
        ranked, _ = await base.best_documents(Query(text, 10))
        gold = dataset.gold[question]
        gains.append(ndcg(ranked, gold))
        recalls.append(len(set(ranked[:5]) & gold.keys()) / len(gold))
    each = 1000 * (time.perf_counter() - started) / len(dataset.questions)
    mode = (await base.search(Query("hello"))).mode
    await base.close()
    count = len(dataset.questions)
    return (
        f"{dataset.name:14} {mode:8} nDCG@10 {sum(gains) / count:.3f}  recall@5 {sum(recalls) / count:.2f}  "
        f"({count} questions, {report.passages} passages, sync {report.seconds:.1f} s, {each:.1f} ms a question)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="*", type=Path)
    parser.add_argument("--keywords", action="store_true", help="without vectors")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        datasets = [sample(), *(load(folder, Path(scratch)) for folder in arguments.dataset)]
        for dataset in datasets:
            data = Path(scratch, f"data-{dataset.name}")
            print(asyncio.run(measure(dataset, keywords=arguments.keywords, data=data)), flush=True)


if __name__ == "__main__":
    main()
