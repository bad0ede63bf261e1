"""Keywords of passages that came after their index was made: `ExtendedKeywords`, an index and a few passages behind it.

To put ten passages into an index of ten thousand anew takes as long as the ten thousand do. Here only the new ones are
counted, and weighed as if they had been there: by the index's own figures of how rare a word is and how long a passage.
Passages that are gone keep their rows, which nobody may see any more. When there are many of either, it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from knowledge.keywords import KeywordIndex, contains, first_lines, having_each, tokens_of
from knowledge.keywords.bm25 import K1, B, Leg
from knowledge.keywords.tokenizer import gram_batches, pair_batches, word_batches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from knowledge.keywords import Keys

    _Ints: TypeAlias = NDArray[np.int32]
    _Floats: TypeAlias = NDArray[np.float32]


def _leg(
    batches: Iterable[tuple[_Ints, _Ints]],
    size: int,
    before: Leg,
    having_before: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> Leg:
    """BM25 over a few rows, weighed as `before` weighs its own."""
    import numpy as np

    pairs = [found.astype(np.int64) << 32 | rows for rows, found in batches]
    entries, counts = np.unique(np.concatenate(pairs), return_counts=True)
    rows = (entries & 0xFFFFFFFF).astype(np.int32)
    lengths = np.zeros(size, np.float64)
    np.add.at(lengths, rows, counts)
    tokens, starts = np.unique(entries >> 32, return_index=True)
    bounds = np.append(starts, len(entries))
    having = np.diff(bounds)
    # As the passages before have it, so that old and new ones compare; by the new ones for a new token.
    had = having_before(tokens)
    known = np.where(had > 0, had, having)
    total = np.where(had > 0, before.size, before.size + size)
    weights = np.log(1 + (total - known + 0.5) / (known + 0.5))
    saturation = K1 * (1 - B + B * lengths / max(before.length, 1e-9))
    given = (np.repeat(weights, having) * counts / (saturation[rows] + counts)).astype(np.float32)
    return Leg(size, before.length, given, rows, bounds, tokens.astype(np.int32))


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
        self._new = {name: _leg(batches[name], len(texts), leg, self._having(name)) for name, leg in base.legs.items()}

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

    def _add(self, leg: str, keys: Keys, scores: _Floats) -> None:
        before = len(self._base)
        self._base._add(leg, keys, scores[:before])
        self._new[leg].add(tokens_of(keys, self._vocabulary), scores[before:])

    def passages_with(self, word: str) -> _Ints:
        """The rows of the passages that have a word, ascending."""
        import numpy as np

        return np.concatenate([self._base.passages_with(word), self._new_with(word) + np.int32(len(self._base))])

    def _new_with(self, word: str) -> _Ints:
        import numpy as np

        token = self._vocabulary.get(word)
        return np.zeros(0, np.int32) if token is None else self._new["words"].rows(token)

    def having(self, words: Sequence[str]) -> list[int]:
        """How many passages have each of these words."""
        before, new = self._base.having(words), having_each(self._new["words"], words, self._vocabulary)
        return [sum(both) for both in zip(before, new, strict=True)]

    def _among(self, word: str, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        before = len(self._base)
        # A row of either is none of the other's.
        return self._base._among(word, rows) | contains(self._new_with(word), rows - before)

    def _has(self, stemmed: str) -> bool:
        return stemmed in self._vocabulary or self._base._has(stemmed)

    def _spelt(self, word: str) -> int:
        before, token = self._base._spelt(word), self._stems.get(word)
        new = len(self._new["words"].rows(token)) if token is not None else 0
        # A word of a single passage may be a misspelling itself.
        return before + new if before or new > 1 else 0
