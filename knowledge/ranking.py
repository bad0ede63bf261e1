"""From the legs' scores to one ranking, and to how far it may be trusted. Numbers in, numbers out.

What was tried and what it gave is in docs/decisions/search.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from knowledge.keywords import KeywordIndex
from knowledge.search import Query, Why

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

DEPTH = 100
"""Passages that each leg puts forward."""
DENSE_WEIGHT = 0.6
CONTEXT_WEIGHT = 0.3
"""What was said before counts this much beside the question itself."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage with its fused score, 0 to 1, and what it is made of."""

    id: str
    score: float
    why: Why


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates, best first, and what the question says about itself."""

    candidates: tuple[Candidate, ...]
    confidence: float
    weights: Mapping[str, float]
    foreign: bool


def rank(
    query: Query, keywords: KeywordIndex, words: Floats, grams: Floats, cosines: Mapping[int, float] | None
) -> Ranked:
    """Fuse the legs. `words` and `grams` have one score for each row; `cosines` those of the candidate rows, by row."""
    import numpy as np

    weights = keywords.weights(query.text)
    together = _to_one(words) + _to_one(grams)
    rows = np.argsort(-together, kind="stable")[:DEPTH]
    rows = rows[together[rows] > 0]
    if cosines:
        rows = np.union1d(rows, np.fromiter(cosines, np.intp))
    if not len(rows):
        return Ranked((), 0.0, weights, False)
    scores = _to_one(together[rows])
    if cosines:
        dense = np.array([cosines.get(int(row), 0.0) for row in rows], np.float32)
        scores = DENSE_WEIGHT * _min_max(dense) + (1 - DENSE_WEIGHT) * _min_max(together[rows])
    order = np.argsort(-scores, kind="stable")
    candidates = tuple(
        Candidate(
            keywords.ids[row],
            round(float(scores[place]), 4),
            Why(
                round(cosines[row], 4) if cosines and row in cosines else None,
                round(float(words[row]), 3),
                round(float(grams[row]), 3),
                _matched(keywords, weights, row),
            ),
        )
        for place, row in ((int(place), int(rows[place])) for place in order)
    )
    return Ranked(candidates, 0.0, weights, False)


def _matched(keywords: KeywordIndex, weights: Mapping[str, float], row: int) -> tuple[str, ...]:
    found = [word for word in weights if keywords.has(word, row)]
    return tuple(sorted(found, key=lambda word: -weights[word]))


def _to_one(scores: Floats) -> Floats:
    return scores / max(float(scores.max(initial=0)), 1e-9)


def _min_max(scores: Floats) -> Floats:
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / max(high - low, 1e-9)
