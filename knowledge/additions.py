"""Keywords of passages that came after their index was made: `ExtendedKeywords`, an index and a few passages behind it.

To put ten passages into an index of ten thousand anew takes as long as the ten thousand do. Here only the new ones are
counted, and weighed as if they had been there: by the index's own figures of how rare a word is and how long a passage.
Passages that are gone keep their rows, which nobody may see any more. When there are many of either, it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from knowledge.bm25 import K1, B, Leg
from knowledge.keywords import KeywordIndex, first_lines
from knowledge.tokens import gram_batches, pair_batches, word_batches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Ints: TypeAlias = NDArray[np.int32]
    _Floats: TypeAlias = NDArray[np.float32]


class _Leg:
    """BM25 over a few rows, by columns: for each token that occurs, the rows that have it and what it gives them."""

    def __init__(
        self,
        batches: Iterable[tuple[_Ints, _Ints]],
        size: int,
        before: Leg,
        having_before: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    ) -> None:
        import numpy as np

        self._size = size
        pairs = [found.astype(np.int64) << 32 | rows for rows, found in batches]
        keys, counts = np.unique(np.concatenate(pairs), return_counts=True)
        rows = (keys & 0xFFFFFFFF).astype(np.int32)
        lengths = np.zeros(size, np.float64)
        np.add.at(lengths, rows, counts)
        self._tokens, starts = np.unique(keys >> 32, return_index=True)
        self._bounds = np.append(starts, len(keys))
        having = np.diff(self._bounds)
        # As the passages before have it, so that old and new ones compare; by the new ones for a new token.
        had = having_before(self._tokens)
        known = np.where(had > 0, had, having)
        total = np.where(had > 0, before.size, before.size + size)
        weights = np.log(1 + (total - known + 0.5) / (known + 0.5))
        saturation = K1 * (1 - B + B * lengths / max(before.length, 1e-9))
        self._rows = rows
        self._given = (np.repeat(weights, having) * counts / (saturation[rows] + counts)).astype(np.float32)

    def scores(self, found: Iterable[int]) -> _Floats:
        """One score a row for the tokens of a query."""
        import numpy as np

        scores = np.zeros(self._size, np.float32)
        for token in found:
            start, end = self._column(token)
            scores[self._rows[start:end]] += self._given[start:end]
        return scores

    def rows(self, token: int) -> _Ints:
        """The rows that have a token, ascending."""
        start, end = self._column(token)
        return self._rows[start:end]

    def _column(self, token: int) -> tuple[int, int]:
        import numpy as np

        place = int(np.searchsorted(self._tokens, token))
        if place == len(self._tokens) or self._tokens[place] != token:
            return 0, 0
        return int(self._bounds[place]), int(self._bounds[place + 1])


class ExtendedKeywords(KeywordIndex):
    """An index with passages added behind its last row. It shares what `base` has in memory, and never changes."""

    def __init__(self, base: KeywordIndex, ids: Sequence[str], texts: Sequence[str]) -> None:
        super().__init__((*base.ids, *ids), base.legs, base.language, base.vocabulary, base.spellings)
        self._base = base
        self._vocabulary: dict[str, int] = {}
        self._stems: dict[str, int] = {}
        words = list(word_batches(texts, self._vocabulary, self._stems, base.language))
        batches: dict[str, Iterable[tuple[_Ints, _Ints]]] = {
            "words": words,
            "titles": word_batches(first_lines(texts), self._vocabulary, self._stems, base.language),
            "pairs": pair_batches(words, self._vocabulary, base.language),
            "grams": gram_batches(texts),
        }
        self._new = {name: _Leg(batches[name], len(texts), leg, self._having(name)) for name, leg in base.legs.items()}

    def _having(self, name: str) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
        """How many passages of the base have each of the new passages' tokens: words have other numbers there."""
        import numpy as np

        leg = self._base.legs[name]
        if name not in ("words", "titles"):
            return leg.having

        def having(found: NDArray[np.int64]) -> NDArray[np.int64]:
            stems = list(self._vocabulary)
            before = [self._base.vocabulary.get(stems[token]) for token in found.tolist()]
            return np.array([0 if token is None else len(leg.rows(token)) for token in before], np.int64)

        return having

    def _scores(self, leg: str, query: str) -> _Floats:
        import numpy as np

        if leg not in self.legs:
            return np.zeros(len(self), np.float32)
        new = self._new[leg].scores(int(one) for one in self.tokens_of(leg, query, self._vocabulary))
        return np.concatenate([self._base._scores(leg, query), new])

    def passages_with(self, word: str) -> _Ints:
        """The rows of the passages that have a word, ascending."""
        import numpy as np

        before, token = self._base.passages_with(word), self._vocabulary.get(word)
        if token is None:
            return before
        return np.concatenate([before, self._new["words"].rows(token) + np.int32(len(self._base))])

    def _has(self, stemmed: str) -> bool:
        return stemmed in self._vocabulary or self._base._has(stemmed)

    def _spelt(self, word: str) -> int:
        before, token = self._base._spelt(word), self._stems.get(word)
        new = len(self._new["words"].rows(token)) if token is not None else 0
        # A word of a single passage may be a misspelling itself.
        return before + new if before or new > 1 else 0
