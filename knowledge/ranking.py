"""From the legs' scores to one ranking, and to how far it may be trusted. Numbers in, numbers out.

What was tried and what it gave is in docs/decisions/search.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    of the question alone, without what was said before it, and `codes` what share of its codes each row has. `weights` are
    those of the question's words; `foreign`: they are hardly any of the documents'. `cosines` are those of `near`, rows that
    are candidates; both `None` when search goes by keywords alone. `calibrated`: they are of the embedder for which
    `confidence` was fitted.
    """

    words: Floats
    grams: Floats
    keyword: Floats
    rows: NDArray[np.intp]
    pairs: Floats
    own_words: Floats
    own_pairs: Floats
    codes: Floats
    weights: Mapping[str, float]
    foreign: bool
    near: NDArray[np.intp] | None = None
    cosines: Floats | None = None
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates, best first, and what the question says about itself.

    Most are never looked at: `candidates` makes those that are.
    """

    rows: Sequence[int] = ()
    ids: Sequence[str] = ()
    scores: Sequence[float] = ()
    why: Sequence[tuple[float | None, float, float, tuple[str, ...]]] = ()
    confidence: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    foreign: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def candidates(self, start: int, end: int) -> list[Candidate]:
        """Those from place `start` on, up to `end`."""
        some = slice(start, end)
        each = zip(self.rows[some], self.scores[some], self.why[some], strict=True)
        return [Candidate(row, self.ids[row], score, Why(*why)) for row, score, why in each]


def by_keywords(query: Query, keywords: KeywordIndex, hidden: NDArray[np.intp]) -> Legs:
    """What keywords say to a question; of the `hidden` rows, nothing."""
    import numpy as np

    def seen(scores: Floats) -> Floats:
        scores[hidden] = 0
        return scores

    own_words = words = seen(keywords.words(query.text))
    own_pairs = pairs = seen(keywords.pairs(query.text))
    titles, grams = _to_one(seen(keywords.titles(query.text))), seen(keywords.grams(query.text))
    if query.context:
        weight = np.float32(query.context_weight)
        words = words + weight * seen(keywords.words(query.context))
        pairs = pairs + weight * seen(keywords.pairs(query.context))
        # In proportion first: a title that only what was said before names must not count like one that the question names.
        titles = titles + weight * _to_one(seen(keywords.titles(query.context)))
        grams = grams + weight * seen(keywords.grams(query.context))
    codes = seen(keywords.codes(query.text))
    # Each in proportion to its best passage.
    together = _to_one(words + PAIRS * pairs) + _to_one(grams) + TITLE * titles + CODE * codes
    together = np.asarray(together, np.float32)
    return Legs(
        words=words,
        grams=grams,
        keyword=together,
        rows=best_rows(together, DEPTH),
        pairs=pairs,
        own_words=own_words,
        own_pairs=own_pairs,
        codes=codes,
        weights=keywords.weights(query.text),
        foreign=keywords.is_foreign(query.text),
    )


def rank(query: Query, keywords: KeywordIndex, legs: Legs) -> Ranked:
    """Fuse the legs: the mean of the cosine and the keyword score, each from 0 (worst candidate) to 1 (best).

    With vectors a passage is helped by what the others of its document have: the words of a question often stand in one and
    what it means in the next.
    """
    import numpy as np

    weights, rows = legs.weights, legs.rows
    if legs.near is not None and len(legs.near):
        rows = np.union1d(rows, legs.near)
    if not len(rows):
        return Ranked(weights=weights, foreign=legs.foreign)
    together = legs.keyword[rows]
    cosines: list[float | None] = [None] * len(rows)
    if legs.near is not None and legs.cosines is not None and len(legs.near):
        dense = np.zeros(len(rows), np.float32)
        dense[np.searchsorted(rows, legs.near)] = legs.cosines
        cosines = np.round(dense.astype(float), 4).tolist()
        documents = _documents(keywords, rows)
        both = _with_document(_min_max(dense), documents) + _with_document(_min_max(together), documents)
        scores = np.asarray(both / 2, np.float32)
    else:
        scores = _to_one(together)
    matched = keywords.matched(list(weights), rows)
    if query.leans and weights:
        # What was said before brings passages near that say nothing of this question: those that do come first.
        enough = LEANING_COVERAGE * sum(weights.values())
        scores = scores + np.array([sum(weights[word] for word in held) >= enough for held in matched], np.float32)
        scores = scores / max(float(scores.max()), 1e-9)
    order = np.argsort(-scores, kind="stable")
    words, grams = (np.round(said[rows].astype(float), 3).tolist() for said in (legs.words, legs.grams))
    why = [(cosines[place], words[place], grams[place], matched[place]) for place in order.tolist()]
    fused = np.round(scores[order].astype(float), 4).tolist()
    best = int(rows[order[0]])
    confident = confidence(query, keywords, legs, best, matched[order[0]])
    return Ranked(rows[order].tolist(), keywords.ids, fused, why, confident, weights, legs.foreign)


def confidence(query: Query, keywords: KeywordIndex, legs: Legs, best: int, held: Sequence[str]) -> float:
    """How likely the documents answer the question at all, 0 to 1.

    `best` is the row of the top candidate, and `held` which of the question's words it has.

    Two logistic regressions, fitted on six collections with their own questions and those of the others
    (docs/decisions/threshold.md). With vectors: on the highest cosine, the share of the question's words that the top
    passage has, and their number. Without: on the best BM25 score as a share of what the question's words could give,
    their number, and what the top passage has of their pairs.
    """
    weights, words, pairs = legs.weights, legs.own_words, legs.own_pairs
    coverage = _share(weights, held)
    if query.leans:
        # What was said before makes any question look answered: the top passage must speak of this one's words, too.
        if coverage < LEANING_COVERAGE:
            return 0.0
        text, words, pairs = f"{query.context} {query.text}", legs.words, legs.pairs
        weights, coverage = keywords.weights(text), keywords.coverage(text, best)
    highest = float(legs.cosines.max(initial=-1)) if legs.cosines is not None and len(legs.cosines) else None
    if not weights and not (highest is not None and legs.calibrated):
        return 0.0
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
    if highest is None or not legs.calibrated or (query.context and not query.leans):
        return by_words
    by_meaning = _sigmoid(-12.0 + 17.9 * highest + 4.0 * coverage + 1.0 * _size(len(weights), 1))
    return max(by_meaning, by_words) if coverage > 0.99 or legs.codes[best] > 0.99 else by_meaning


def _share(weights: Mapping[str, float], held: Sequence[str]) -> float:
    """The share of the weight of words that a passage has."""
    found = sum(weight for word, weight in weights.items() if word in held)
    return found / sum(weights.values()) if weights else 0.0


def _size(words: int, least: int) -> float:
    return math.log(1 + min(max(words, least), 40))


def _sigmoid(z: float) -> float:
    return round(1 / (1 + math.exp(-z)), 4)


def best_rows(scores: Floats, many: int) -> NDArray[np.intp]:
    """The rows with the highest scores above 0, best first; of equal ones the first."""
    import numpy as np

    size = len(scores) // many
    # Cut into so many pieces, the best of each is at least as good as the worst of them: few others are.
    least = scores[: size * many].reshape(many, size).max(axis=1, initial=0).min()
    rows = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    if len(rows) > many:
        found = scores[rows]
        rows = rows[found >= np.partition(found, -many)[-many]]
    return rows[np.argsort(-scores[rows], kind="stable")[:many]]


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
