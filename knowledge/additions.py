"""Keywords of passages that came after their index was made: `ExtendedKeywords`, an index and a few passages behind it.

To put ten passages into an index of ten thousand anew takes as long as the ten thousand do. Here only the new ones are
counted, and weighed as if they had been there: by the index's own figures of how rare a word is and how long a passage.
Passages that are gone keep their rows, which nobody may see any more. When there are many of either, it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from knowledge.keywords import K1, B, KeywordIndex, gram_batches, word_batches

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
        length: float,
        having_before: Callable[[NDArray[np.int64]], NDArray[np.int64]],
        passages_before: int,
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
        before = having_before(self._tokens)
        known = np.where(before > 0, before, having)
        total = np.where(before > 0, passages_before, passages_before + size)
        weights = np.log(1 + (total - known + 0.5) / (known + 0.5))
        saturation = K1 * (1 - B + B * lengths / length)
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
        super().__init__((*base.ids, *ids), base._words, base._grams, base.language, base._spellings, base._lengths)
        self._base = base
        self._vocabulary: dict[str, int] = {}
        self._stems: dict[str, int] = {}
        length, grams_length = base._lengths
        batches = list(word_batches(texts, self._vocabulary, self._stems, base.language))
        stems = list(self._vocabulary)
        self._new_words = _Leg(
            batches,
            len(texts),
            length,
            lambda tokens: _ints(len(base._passages_with(stems[token])) for token in tokens),
            len(base),
        )
        self._new_grams: _Leg | None = None
        if base._grams is not None:
            indptr = base._grams.scores["indptr"]
            self._new_grams = _Leg(
                gram_batches(texts),
                len(texts),
                grams_length,
                lambda tokens: indptr[tokens + 1] - indptr[tokens],
                len(base),
            )

    def words(self, query: str) -> _Floats:
        """BM25 over words, one score a passage."""
        import numpy as np

        found = [self._vocabulary[word] for word in self.terms(query) if word in self._vocabulary]
        return np.concatenate([self._base.words(query), self._new_words.scores(found)])

    def grams(self, query: str) -> _Floats:
        """BM25 over character 4-grams, one score a passage."""
        import numpy as np

        if self._new_grams is None:
            return np.zeros(len(self), np.float32)
        found = [int(one) for one in self._grams_of(query)]
        return np.concatenate([self._base.grams(query), self._new_grams.scores(found)])

    def _passages_with(self, word: str) -> _Ints:
        import numpy as np

        before, token = self._base._passages_with(word), self._vocabulary.get(word)
        if token is None:
            return before
        return np.concatenate([before, self._new_words.rows(token) + np.int32(len(self._base))])

    def _has(self, stem: str) -> bool:
        return stem in self._vocabulary or self._base._has(stem)

    def _spelt(self, word: str) -> int:
        before, token = self._base._spelt(word), self._stems.get(word)
        new = len(self._new_words.rows(token)) if token is not None else 0
        # A word of a single passage may be a misspelling itself.
        return before + new if before or new > 1 else 0


def _ints(numbers: Iterable[int]) -> NDArray[np.int64]:
    import numpy as np

    return np.fromiter(numbers, np.int64)
