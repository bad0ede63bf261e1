"""When it says "I don't know": how often an answerable question is refused and an unanswerable one answered, by threshold.

    python -m benchmarks.threshold [DATASET ...] [--keywords]

Answerable: a collection's own questions. Unanswerable: those of the other collections, fifty about anything, and those
written for the sample knowledge base in its own words, which are the hard ones and told apart. Each collection is a
DATASET folder as in benchmarks.retrieval; the sample knowledge base is always one.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from agent.policy import QUOTES_THRESHOLD
from benchmarks.datasets import Dataset, general, load, sample, unanswerable
from knowledge.base import KnowledgeBase
from knowledge.embeddings.minilm import MiniLM
from knowledge.search import Query

FROM_EACH = 60
"""Questions of every other collection that are asked where nothing answers them."""


async def confidences(
    dataset: Dataset, strangers: list[str], written: list[str], *, keywords: bool, data: Path
) -> list[list[float]]:
    """The confidence of each answerable question, of each stranger's, and of each that was written to be unanswerable."""
    base = KnowledgeBase(data, None if keywords else MiniLM(download=False))
    await base.sync(dataset.documents)
    asked = [[text for _, text in dataset.questions], strangers, written]
    found = [[(await base.search(Query(text, 1))).confidence for text in texts] for texts in asked]
    await base.close()
    return found


def share(confidences: list[float], threshold: float) -> float:
    """How many are at the threshold or above."""
    return sum(one >= threshold for one in confidences) / max(len(confidences), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="*", type=Path)
    parser.add_argument("--keywords", action="store_true", help="without vectors")
    arguments = parser.parse_args()
    in_use = QUOTES_THRESHOLD["keyword" if arguments.keywords else "hybrid"]
    with tempfile.TemporaryDirectory() as scratch:
        datasets = [sample(), *(load(folder, Path(scratch)) for folder in arguments.dataset)]
        for dataset in datasets:
            written = unanswerable() if dataset.name == "larkstay" else []
            strangers = general() + [
                text for other in datasets if other is not dataset for _, text in other.questions[:FROM_EACH]
            ]
            data = Path(scratch, f"data-{dataset.name}")
            own, other, hard = asyncio.run(
                confidences(dataset, strangers, written, keywords=arguments.keywords, data=data)
            )
            print(f"{dataset.name}: {len(own)} answerable, {len(other)} unanswerable, {len(hard)} in its own words")
            for threshold in (0.002, 0.005, 0.01, 0.02, 0.05, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9):
                print(
                    f"  {threshold:<5}  answerable refused {1 - share(own, threshold):6.1%}"
                    f"  unanswerable answered {share(other, threshold):6.1%}"
                    + (f"  (in its own words {share(hard, threshold):6.1%})" if hard else "")
                    + ("  <- quotes" if threshold == in_use else "")
                )


if __name__ == "__main__":
    main()
