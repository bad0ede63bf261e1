"""The keyword leg of search: BM25 over words, neighbouring words, titles and character 4-grams.

Words find names, codes and exact terms, pairs of neighbours set phrases; 4-grams forgive typos and word forms.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from knowledge.errors import StoreError
from knowledge.keywords.bm25 import Leg
from knowledge.keywords.tokenizer import (
    LONGEST_WORD,
    fold,
    gram_batches,
    grams_of,
    hashes_of,
    pair_batches,
    pairs,
    stem,
    stopwords,
    terms,
    word_batches,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Ints: TypeAlias = NDArray[np.int32]
    _Floats: TypeAlias = NDArray[np.float32]
    Keys: TypeAlias = list[str] | _Ints

GRAMS_LIMIT = 50_000
"""With more passages than this the 4-grams are left out: they would cost too much to build (measured, see
docs/decisions/search.md)."""

PAIRS = 0.5
"""What two words side by side add to the two alone."""
TITLE = 0.25
"""What the title and the headings count beside the whole passage, of which they are a part."""
CODE = 2.0
"""What a code of the question that a passage has counts: as much as all its words and 4-grams."""
_FORMAT = 3
_LIGHT = {
    "english": frozenset({"get", "got", "take", "much", "long", "mani"}),
    "german": frozenset({"lang", "bekomm", "viel", "gibt", "dauert", "geht"}),
    "french": frozenset({"combien", "tem"}),
    "spanish": frozenset({"cuant", "tiemp"}),
}
"""Stems that help to rank ("how long") but tell nothing of what a question is about."""
_HIRAGANA = re.compile("[\u3040-\u309f]")
"""Japanese writes endings and particles in it, and what a text is about in other scripts."""
_CORRECTED_WORDS = 100
"""A longer question says enough without its misspelt words."""

_TYPED = re.compile(r"[^\W_]+(?:['\u2019\-./@][^\W_]+)*")
_CODE = re.compile(
    r"(?<![^\W_])(?:[^\W\d_]{1,8}[-_ ]?\d{2,}|(?=\w*\d)(?=\w*[^\W\d_])[^\W_]+|[^\W_]+(?:_[^\W_]+)+)(?![^\W_])"
)
"""Such as `PAY-402`, `pay 402`, `0x80070057`, `max_tokens`."""
_CODE_HOLDERS = 8
"""Passages, or fiftieths of all, that a code may be in: `24h` may be everywhere."""


class KeywordIndex:
    """Keyword scores for a fixed list of passages. Make one with `build` or `load`; it never changes afterwards.

    `legs` have a row for each passage: `words` a column for each stem, by `vocabulary`; `titles` the same columns over the first
    lines alone; `pairs` and `grams` one for each hash. `grams` may be missing. `spellings` are the words, as they are written,
    to which misspelt ones may be mended, with the columns of their stems.
    """

    def __init__(
        self,
        ids: tuple[str, ...],
        legs: Mapping[str, Leg],
        language: str,
        vocabulary: Mapping[str, int],
        spellings: Mapping[str, int],
    ) -> None:
        self.ids = ids
        self.language = language
        self.legs = legs
        self.vocabulary = vocabulary
        self.spellings = spellings

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(
        cls, ids: Sequence[str], texts: Sequence[str], *, language: str = "english", grams: bool | None = None
    ) -> KeywordIndex:
        """Index the texts; `ids[i]` names `texts[i]`, whose first line is its title and headings.

        `language` chooses the stemmer, by its English name.
        """
        if len(ids) != len(texts):
            raise ValueError(f"{len(ids)} ids for {len(texts)} texts")
        vocabulary: dict[str, int] = {}
        stems: dict[str, int] = {}
        batches = list(word_batches(texts, vocabulary, stems, language))
        titles = word_batches(first_lines(texts), vocabulary, stems, language)
        size = len(texts)
        legs = {
            "words": Leg.build(batches, size, len(vocabulary)),
            "titles": Leg.build(titles, size, len(vocabulary)),
            "pairs": Leg.build(pair_batches(batches, vocabulary, language), size),
        }
        if size <= GRAMS_LIMIT if grams is None else grams:
            legs["grams"] = Leg.build(gram_batches(texts), size)
        # A word of a single passage may be a misspelling itself.
        plain = [word for word in stems if _is_plain(word)]
        having = legs["words"].having([stems[word] for word in plain])
        spellings = {word: stems[word] for word, many in zip(plain, (having > 1).tolist(), strict=True) if many}
        return cls(tuple(ids), legs, language, vocabulary, spellings)

    # --- scores

    def words(self, query: str) -> _Floats:
        """BM25 over words, one score a passage."""
        return self._scores("words", query)

    def pairs(self, query: str) -> _Floats:
        """BM25 over telling words that stand side by side, in whatever order."""
        return self._scores("pairs", query)

    def titles(self, query: str) -> _Floats:
        """BM25 over the words of the titles and headings."""
        return self._scores("titles", query)

    def grams(self, query: str) -> _Floats:
        """BM25 over character 4-grams; zeros where they were left out."""
        return self._scores("grams", query)

    def _scores(self, leg: str, query: str) -> _Floats:
        import numpy as np

        scores = np.zeros(len(self), dtype=np.float32)
        if leg in self.legs:
            self._add(leg, self._keys(leg, query), scores)
        return scores

    def _keys(self, leg: str, query: str) -> Keys:
        """What of a query that leg looks up, each once."""
        import numpy as np

        if leg == "grams":
            return grams_of(query, self.language)
        if leg == "pairs":
            numbers = hashes_of(_terms(query, self.language), self.language)
            return np.unique(pairs(np.zeros_like(numbers), numbers)[1])
        return self.terms(query)

    def _add(self, leg: str, keys: Keys, scores: _Floats) -> None:
        self.legs[leg].add(tokens_of(keys, self.vocabulary), scores)

    def codes(self, query: str) -> _Floats:
        """The share of the question's codes, as far as the documents know them, that each passage has."""
        import numpy as np

        scores = np.zeros(len(self), dtype=np.float32)
        written = {re.sub("[-_ ]", "", code)[:LONGEST_WORD] for code in _CODE.findall(fold(query))}
        found = [self.passages_with(code) for code in stem(sorted(written), self.language)]
        found = [rows for rows in found if 0 < len(rows) <= max(_CODE_HOLDERS, len(self) // 50)]
        for rows in found:
            scores[rows] += np.float32(1 / len(found))
        return scores

    # --- spelling

    def corrected(self, query: str, right: Collection[str] = ()) -> str:
        """The query with its misspelt words mended: those that no passage has, one slip away from one that some have.

        The first letter is taken to be right, short words and codes are left alone, and so is a query of which hardly
        any word is known: it is probably in another language. `right` are words, in lower case, that are spelt right
        though no passage has them: "truck" is no slip of "track".
        """
        typed = [match.group() for match in _TYPED.finditer(query)]
        if not self.spellings or len(typed) > _CORRECTED_WORDS:
            return query
        folded = [fold(word).replace("'", "") for word in typed]
        known = {
            word
            for word, stemmed in zip(folded, stem(folded, self.language), strict=True)
            if self._has(stemmed) or stemmed in stopwords(self.language)
        }
        if 3 * sum(word in known for word in folded) < len(folded):
            return query
        return _TYPED.sub(lambda match: self._mended(match.group(), known, right), query)

    def _mended(self, word: str, known: set[str], right: Collection[str]) -> str:
        folded = fold(word)
        if folded.replace("'", "") in known or folded in right or not _is_plain(folded):
            return word
        near = {each: count for each in set(_one_slip(folded)) if (count := self._spelt(each))}
        return max(near, key=lambda each: (near[each], each), default=word)

    def _spelt(self, word: str) -> int:
        """How many passages have a word as it is written, or another form of it; 0 when it may be a misspelling itself."""
        token = self.spellings.get(word)
        return 0 if token is None else len(self.legs["words"].rows(token))

    def _has(self, stemmed: str) -> bool:
        return stemmed in self.vocabulary

    # --- what a question is about, and how much of it a passage has

    def terms(self, query: str) -> list[str]:
        """The query's words as they are in the index, each once; stop words only if it has nothing else."""
        words = list(dict.fromkeys(_terms(query, self.language)))
        silent = stopwords(self.language)
        return [word for word in words if word not in silent] or words

    def weights(self, query: str) -> dict[str, float]:
        """How telling each word of the query is: its idf here. A word that no passage has weighs most.

        Stop words tell nothing: "who are you" has no weights at all.
        """
        silent = stopwords(self.language)
        telling = [word for word in self.terms(query) if word not in silent]
        light = _LIGHT.get(self.language, frozenset())
        telling = [word for word in telling if word not in light and not _HIRAGANA.search(word)] or telling
        return {word: self._idf(count) for word, count in zip(telling, self.having(telling), strict=True)}

    def coverage(self, query: str, rows: int | Iterable[int]) -> float:
        """The share of the query's weight whose words these passages have, together; 0 for an empty query."""
        import numpy as np

        wanted = np.array([rows] if isinstance(rows, int) else list(rows), np.intp)
        weights = self.weights(query)
        found = sum(weight for word, weight in weights.items() if self._among(word, wanted).any())
        return found / sum(weights.values()) if weights else 0.0

    def matched(self, words: Sequence[str], rows: NDArray[np.intp]) -> list[tuple[str, ...]]:
        """For each of `rows`, those of `words` (as `terms` gives them) that its passage has, the rarest first."""
        import numpy as np

        matched: list[list[str]] = [[] for _ in rows]
        for _, word in sorted(zip(self.having(words), words, strict=True)):
            for place in np.flatnonzero(self._among(word, rows)).tolist():
                matched[place].append(word)
        return [tuple(held) for held in matched]

    def is_foreign(self, query: str) -> bool:
        """Whether a text is probably not in the documents' language.

        Hardly any of its words, also of those that say nothing, is one of theirs. A word or two are no ground to say so,
        unless they are in another script.
        """
        words = _terms(query, self.language)
        known = sum(self._has(word) for word in words)
        common = sum(word in stopwords(self.language) for word in words)
        enough = len(words) >= 3 or not query.isascii()
        return enough and 2 * known < len(words) and 3 * common <= len(words)

    def _idf(self, having: int) -> float:
        return math.log(1 + (len(self) - having + 0.5) / (having + 0.5))

    def passages_with(self, word: str) -> _Ints:
        """The rows of the passages that have a word, as `terms` gives it, ascending."""
        import numpy as np

        token = self.vocabulary.get(word)
        return np.zeros(0, dtype=np.int32) if token is None else self.legs["words"].rows(token)

    def having(self, words: Sequence[str]) -> list[int]:
        """How many passages have each of these words."""
        return having_each(self.legs["words"], words, self.vocabulary)

    def _among(self, word: str, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of `rows` have a word."""
        return contains(self.passages_with(word), rows)

    # --- disk

    def save(self, directory: Path) -> None:
        """Write everything below a directory, which is made if need be."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, leg in self.legs.items():
            leg.save(directory / name)
        manifest = {
            "format": _FORMAT,
            "language": self.language,
            "legs": {name: leg.length for name, leg in self.legs.items()},
            "ids": self.ids,
            "vocabulary": list(self.vocabulary),
            "spellings": self.spellings,
        }
        # Last, so that a directory with a manifest is a whole one.
        (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> KeywordIndex:
        """Map a saved index into memory. StoreError says so when it is missing, damaged or of another version."""
        try:
            manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
            if manifest["format"] != _FORMAT:
                raise ValueError(f"format {manifest['format']}, expected {_FORMAT}")
            ids = tuple(manifest["ids"])
            legs = {
                name: Leg.load(directory / name, len(ids), float(length)) for name, length in manifest["legs"].items()
            }
            vocabulary = {word: token for token, word in enumerate(manifest["vocabulary"])}
            if any(len(legs[name].indptr) - 1 != len(vocabulary) for name in ("words", "titles")):
                raise ValueError("the vocabulary does not fit")
            return cls(ids, legs, manifest["language"], vocabulary, dict(manifest["spellings"]))
        except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, MemoryError) as error:
            raise StoreError(
                f"The keyword index in {directory} cannot be used: {error or type(error).__name__}",
                "It is made from the documents: build it again.",
            ) from error


@lru_cache(maxsize=32)
def _terms(query: str, language: str) -> tuple[str, ...]:
    """The words of a question, which a search asks for several times."""
    return tuple(terms(query, language))


def tokens_of(keys: Keys, vocabulary: Mapping[str, int]) -> Sequence[int] | _Ints:
    """The tokens of what is looked up: words have those of a vocabulary, what is hashed is one."""
    return [vocabulary[word] for word in keys if word in vocabulary] if isinstance(keys, list) else keys


def having_each(leg: Leg, words: Sequence[str], vocabulary: Mapping[str, int]) -> list[int]:
    """How many rows of a leg have each of these words."""
    known = {word: vocabulary[word] for word in words if word in vocabulary}
    counts = dict(zip(known, leg.having(list(known.values())).tolist(), strict=True))
    return [counts.get(word, 0) for word in words]


def contains(having: _Ints, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which of `rows` are in `having`, which is ascending."""
    import numpy as np

    if not len(having):
        return np.zeros(len(rows), bool)
    wanted = rows.astype(having.dtype)
    return np.asarray(having[np.minimum(np.searchsorted(having, wanted), len(having) - 1)] == wanted)


def first_lines(texts: Iterable[str]) -> list[str]:
    """Title and headings of each text."""
    return [text.partition("\n")[0] for text in texts]


def _is_plain(word: str) -> bool:
    return 4 <= len(word) <= LONGEST_WORD and word.isascii() and word.isalpha()


def _one_slip(word: str) -> Iterator[str]:
    """Everything that one letter put in, swapped with the next, left out or changed makes of a word, behind its first.

    A word of four letters becomes too many others when one of them is left out or changed.
    """
    for place in range(1, len(word) + 1):
        head, tail = word[:place], word[place:]
        yield head + tail[1:2] + tail[:1] + tail[2:]
        if len(word) > 4:
            yield head + tail[1:]
        for letter in string.ascii_lowercase:
            yield head + letter + tail
            if len(word) > 4:
                yield head + letter + tail[1:]
