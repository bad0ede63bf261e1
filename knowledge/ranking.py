"""From the legs' scores to one ranking, and to how far it may be trusted. Numbers in, numbers out.

What was tried and what it gave is in docs/decisions/search.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knowledge.keywords import CODE, PAIRS, TITLE, KeywordIndex
from knowledge.search import Query, Why

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

DEPTH = 100
"""Passages that each leg puts forward."""
ALONE = 0.25
"""How far a passage stands for itself; for the rest it stands for its document, with the best that any of it has."""
COMPLETE = 0.75
"""Confidence of a passage that has all telling words of a question: 13 of 13 such were right in the four collections, when
there were three words or more; with two it is coincidence in a large collection (3 of 8)."""
FEW = 200
"""Passages up to which two words are no coincidence."""
LEANING_COVERAGE = 0.5
"""A follow-up that makes no sense alone is answered only from a passage that has this share of its own words."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage with its fused score, 0 to 1, and what it is made of. `row` is its place in the keyword index."""

    row: int
    id: str
    score: float
    why: Why


@dataclass(frozen=True, slots=True)
class Legs:
    """What each way of searching says. `words` and `grams` have one BM25 score for each row of the keyword index.

    `keyword` is all that keywords say and `rows` what they put forward, best first. `own_words` and `own_pairs` are the scores
    of the question alone, without what was said before it, and `codes` what share of its codes each row has. `cosines` are
    those of the candidate rows, by row; `None` when search goes by keywords alone. `calibrated`: they are of the embedder for
    which `confidence` was fitted.
    """

    words: Floats
    grams: Floats
    keyword: Floats
    rows: NDArray[np.intp]
    pairs: Floats
    own_words: Floats
    own_pairs: Floats
    codes: Floats
    cosines: Mapping[int, float] | None = None
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates, best first, and what the question says about itself."""

    candidates: tuple[Candidate, ...]
    confidence: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    foreign: bool = False


def by_keywords(query: Query, keywords: KeywordIndex, visible: NDArray[np.bool_]) -> Legs:
    """What keywords say to a question; of the rows that are not `visible`, nothing."""
    import numpy as np

    own_words = words = keywords.words(query.text) * visible
    own_pairs = pairs = keywords.pairs(query.text) * visible
    titles, grams = _to_one(keywords.titles(query.text) * visible), keywords.grams(query.text)
    if query.context:
        weight = np.float32(query.context_weight)
        words = words + weight * keywords.words(query.context)
        pairs = pairs + weight * keywords.pairs(query.context)
        # In proportion first: a title that only what was said before names must not count like one that the question names.
        titles = titles + weight * _to_one(keywords.titles(query.context) * visible)
        grams = grams + weight * keywords.grams(query.context)
    words, pairs, grams = words * visible, pairs * visible, grams * visible
    codes = keywords.codes(query.text) * visible
    # Each in proportion to its best passage.
    together = _to_one(words + PAIRS * pairs) + _to_one(grams) + TITLE * titles + CODE * codes
    together = np.asarray(together, np.float32)
    rows = np.flatnonzero(together)
    if len(rows) > DEPTH:
        rows = rows[np.argpartition(-together[rows], DEPTH - 1)[:DEPTH]]
    rows = rows[np.argsort(-together[rows], kind="stable")]
    return Legs(words, grams, together, rows, pairs, own_words, own_pairs, codes)


def rank(query: Query, keywords: KeywordIndex, legs: Legs) -> Ranked:
    """Fuse the legs: the mean of the cosine and the keyword score, each from 0 (worst candidate) to 1 (best).

    With vectors a passage is helped by what the others of its document have: the words of a question often stand in one and
    what it means in the next.
    """
    import numpy as np

    weights = keywords.weights(query.text)
    foreign = keywords.is_foreign(query.text)
    rows = legs.rows
    if legs.cosines:
        rows = np.union1d(rows, np.fromiter(legs.cosines, np.intp))
    if not len(rows):
        return Ranked((), weights=weights, foreign=foreign)
    together = legs.keyword[rows]
    if legs.cosines:
        dense = np.array([legs.cosines.get(int(row), 0.0) for row in rows], np.float32)
        documents = _documents(keywords, rows)
        both = _with_document(_min_max(dense), documents) + _with_document(_min_max(together), documents)
        scores = np.asarray(both / 2, np.float32)
    else:
        scores = _to_one(together)
    matched = keywords.matched(weights, rows)
    if query.leans and weights:
        # What was said before brings passages near that say nothing of this question: those that do come first.
        enough = LEANING_COVERAGE * sum(weights.values())
        scores = scores + np.array([sum(weights[word] for word in held) >= enough for held in matched], np.float32)
        scores = scores / max(float(scores.max()), 1e-9)
    order = np.argsort(-scores, kind="stable")
    cosines = [legs.cosines.get(row) for row in rows.tolist()] if legs.cosines else [None] * len(rows)
    words, grams = (np.round(said[rows].astype(float), 3).tolist() for said in (legs.words, legs.grams))
    fused = np.round(scores.astype(float), 4).tolist()
    candidates = []
    for place in order.tolist():
        row, cosine = int(rows[place]), cosines[place]
        why = Why(None if cosine is None else round(cosine, 4), words[place], grams[place], matched[place])
        candidates.append(Candidate(row, keywords.ids[row], fused[place], why))
    return Ranked(tuple(candidates), confidence(query, keywords, legs, candidates[0].row), weights, foreign)


def confidence(query: Query, keywords: KeywordIndex, legs: Legs, best: int) -> float:
    """How likely the documents answer the question at all, 0 to 1. `best` is the row of the top candidate.

    Two logistic regressions, fitted on six collections with their own questions and those of the others
    (docs/decisions/threshold.md). With vectors: on the highest cosine, the share of the question's words that the top
    passage has, and their number. Without: on the best BM25 score as a share of what the question's words could give,
    their number, and what the top passage has of their pairs.
    """
    text, words, pairs = query.text, legs.own_words, legs.own_pairs
    if query.leans:
        # What was said before makes any question look answered: the top passage must speak of this one's words, too.
        if keywords.coverage(text, best) < LEANING_COVERAGE:
            return 0.0
        text, words, pairs = f"{query.context} {text}", legs.words, legs.pairs
    weights = keywords.weights(text)
    calibrated = bool(legs.cosines) and legs.calibrated
    if not weights and not calibrated:
        return 0.0
    coverage = keywords.coverage(text, best)
    by_words = 0.0
    if weights:
        total = sum(weights.values())
        share = max(float(words.max()) / total, 0.01)
        beside = math.sqrt(float(pairs[best]) / total)
        by_words = _sigmoid(-2.3 + 3.3 * math.log(share) + 3.3 * _size(len(weights), 2) + 4.2 * beside)
    # A passage that has every telling word of the question is about it, however long it is and whatever else it says.
    complete = coverage > 0.99 and (len(weights) >= 3 or (len(weights) == 2 and len(keywords) <= FEW))
    # So is one that has its codes: nobody types them but for what they stand for.
    if complete or legs.codes[best] > 0.99:
        by_words = max(by_words, COMPLETE)
    if not legs.cosines or not calibrated or (query.context and not query.leans):
        return by_words
    by_meaning = _sigmoid(-12.0 + 17.9 * max(legs.cosines.values()) + 4.0 * coverage + 1.0 * _size(len(weights), 1))
    return max(by_meaning, by_words) if coverage > 0.99 or legs.codes[best] > 0.99 else by_meaning


def _size(words: int, least: int) -> float:
    return math.log(1 + min(max(words, least), 40))


def _sigmoid(z: float) -> float:
    return round(1 / (1 + math.exp(-z)), 4)


def _documents(keywords: KeywordIndex, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each of `rows` the number of its document: a passage's id is the document's, `#`, and what tells it apart."""
    import numpy as np

    numbers: dict[str, int] = {}
    names = (keywords.ids[row].rpartition("#")[0] for row in rows)
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.intp)


def _with_document(scores: Floats, documents: NDArray[np.intp]) -> Floats:
    import numpy as np

    best = np.zeros(len(scores), np.float32)
    np.maximum.at(best, documents, scores)
    return np.asarray(ALONE * scores + (1 - ALONE) * best[documents], np.float32)


def _to_one(scores: Floats) -> Floats:
    """Scores in proportion to the best one; zeros stay zeros."""
    import numpy as np

    return np.asarray(scores / (scores.max(initial=0) or 1), np.float32)


def _min_max(scores: Floats) -> Floats:
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / max(high - low, 1e-9)
