"""When it says "I don't know": how often an answerable question is refused and an unanswerable one answered, by threshold.

    python -m benchmarks.threshold [DATASET ...] [--keywords]

Answerable: a collection's own questions. Unanswerable: those of the other collections, and those written for the sample
knowledge base. Each collection is a DATASET folder as in benchmarks.retrieval; the sample knowledge base is always one.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from agent.policy import QUOTES_THRESHOLD
from benchmarks.datasets import Dataset, load, sample, unanswerable
from knowledge.base import KnowledgeBase
from knowledge.minilm import MiniLM
from knowledge.search import Query

FROM_EACH = 60
"""Questions of every other collection that are asked where nothing answers them."""


async def confidences(
    dataset: Dataset, strangers: list[str], *, keywords: bool, data: Path
) -> tuple[list[float], list[float]]:
    """The confidence of each answerable and of each unanswerable question."""
    base = KnowledgeBase(data, None if keywords else MiniLM(download=False))
    await base.sync(dataset.documents)
    own = [(await base.search(Query(text, 1))).confidence for _, text in dataset.questions]
    other = [(await base.search(Query(text, 1))).confidence for text in strangers]
    await base.close()
    return own, other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="*", type=Path)
    parser.add_argument("--keywords", action="store_true", help="without vectors")
    arguments = parser.parse_args()
    in_use = QUOTES_THRESHOLD["keyword" if arguments.keywords else "hybrid"]
    with tempfile.TemporaryDirectory() as scratch:
        datasets = [sample(), *(load(folder, Path(scratch)) for folder in arguments.dataset)]
        for dataset in datasets:
            strangers = unanswerable() if dataset.name == "larkstay" else []
            strangers += [text for other in datasets if other is not dataset for _, text in other.questions[:FROM_EACH]]
            data = Path(scratch, f"data-{dataset.name}")
            own, other = asyncio.run(confidences(dataset, strangers, keywords=arguments.keywords, data=data))
            print(f"{dataset.name}: {len(own)} answerable, {len(other)} unanswerable")
            for threshold in (0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.8, 0.9):
                refused = sum(one < threshold for one in own) / len(own)
                answered = sum(one >= threshold for one in other) / len(other)
                mark = "  <- quotes" if threshold == in_use else ""
                print(
                    f"  {threshold:.2f}  answerable refused {refused:6.1%}  unanswerable answered {answered:6.1%}{mark}"
                )


if __name__ == "__main__":
    main()
