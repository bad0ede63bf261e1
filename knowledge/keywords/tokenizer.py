"""From text to what is compared: words, folded and stemmed, their pairs, and character 4-grams."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from knowledge.keywords.languages import ENGLISH, common_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int32]
    Batch: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32]]

LONGEST_WORD = 40
_CHAT = "could would may might must shall im ive id ill hi hello hey please thanks thank"
_BATCH = 1 << 21
"""Tokens counted at a time: bounds the memory of a build."""

_MARKS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0640\u064b-\u065f\u0670]+")
"""Accents, points of Hebrew, and what Arabic may be written with or without."""
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Japanese, Chinese
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_WORD = re.compile(
    rf"(?P<run>[{_UNSPACED}]+)|(?P<signed>(?<![^\W_])[a-z](?:\+\+|#)(?!\w))"
    rf"|(?P<word>[^\W_{_UNSPACED}]+(?:['\-_.][^\W_{_UNSPACED}]+)*)"
)
_NAME_AND_NUMBER = re.compile(r"(?:[^\W\d_]{3,20}(?=\d)|\d{1,8}(?=[^\W\d_]{3}))(?=[^\W_]+$)")
"""Such as `iphone15` or `24hours`, which others write apart."""
_NOT_WORD = re.compile(r"[\W_]+")
_NOT_GRAM = re.compile(rf"[\W_{_UNSPACED}]+")
"""Scripts without spaces are found by pairs of characters: with 4-grams beside them they are found worse."""


def fold(text: str) -> str:
    """Lower case, one form for each character, no accents."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text.replace("\u2019", "'")).casefold()
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", text)))


def tokens(text: str) -> Iterator[str]:
    """The words of a text, as they are compared, before stemming.

    `PAY-402` gives `pay`, `402` and `pay402`, so that it is found however it is typed, and `iPhone15` likewise; `C++` gives
    `c++` and `c`; a run of a script without spaces gives its pairs of characters.
    """
    for match in _WORD.finditer(_THOUSANDS.sub("", fold(text))):
        word = match.group()
        if match.lastgroup == "run":
            yield from (word[i : i + 2] for i in range(max(1, len(word) - 1)))
        elif match.lastgroup == "signed":
            yield from (word, word[0])
        elif word.isalnum():
            yield word[:LONGEST_WORD]
            if apart := _NAME_AND_NUMBER.match(word):
                yield from (word[: apart.end()], word[apart.end() : LONGEST_WORD])
        else:
            yield from _compound(word)


def _compound(word: str) -> Iterator[str]:
    word = re.sub(r"'s\b", "", word)
    word = re.sub(r"\b([^\W\d_]|qu)'", r"\1-", word).replace("'", "")
    parts = re.split(r"[-_.]", word)
    yield from (part[:LONGEST_WORD] for part in parts)
    if len(parts) > 1:
        yield re.sub("[-_]", "", word)[:LONGEST_WORD]


def terms(text: str, language: str = "english") -> list[str]:
    """The words of a text as they are in an index of that language: folded and stemmed."""
    return stem(list(tokens(text)), language)


def stem(words: list[str], language: str) -> list[str]:
    """Words, which are folded, by their stems; as they are in a language without a stemmer."""
    import Stemmer

    if language not in Stemmer.algorithms():
        return words
    # A new one each time: stemmers are cheap, and not safe to share between threads.
    stemmed: list[str] = Stemmer.Stemmer(language).stemWords(words)
    return stemmed


@cache
def stopwords(language: str) -> frozenset[str]:
    """What people say around their question, stemmed: it would weigh much in articles that never say "I" or "my"."""
    said = _CHAT if language == ENGLISH else ""
    return frozenset(stem([*tokens(" ".join(sorted(common_words(language)))), *said.split()], language))


# --- batches of (row, token), for an index


def word_batches(
    texts: Sequence[str], vocabulary: dict[str, int], stems: dict[str, int], language: str
) -> Iterator[Batch]:
    """(row, token) of every word; fills in the tokens of the stems (`vocabulary`) and of the words as written."""
    import numpy as np

    found: list[int] = []
    rows: list[int] = []
    lengths: list[int] = []
    for row, text in enumerate(texts):
        before = len(found)
        for word in tokens(text):
            token = stems.get(word)
            if token is None:
                token = stems[word] = vocabulary.setdefault(stem([word], language)[0], len(vocabulary))
            found.append(token)
        rows.append(row)
        lengths.append(len(found) - before)
        if len(found) >= _BATCH:
            yield np.repeat(np.array(rows, dtype=np.int32), lengths), np.array(found, dtype=np.int32)
            found, rows, lengths = [], [], []
    yield np.repeat(np.array(rows, dtype=np.int32), lengths), np.array(found, dtype=np.int32)


def hashes_of(stems: Iterable[str], language: str) -> Ints:
    """A number for each stem, the same in every index; 0 for those that say nothing."""
    import numpy as np

    silent = stopwords(language)
    numbers = (0 if one in silent else zlib.crc32(one.encode("utf-8", "replace")) | 1 for one in stems)
    return np.fromiter(numbers, np.uint32).astype(np.int32)


def pair_batches(batches: Iterable[Batch], vocabulary: Mapping[str, int], language: str) -> Iterator[Batch]:
    """(row, hash) of every two neighbouring words, from the batches of the words themselves."""
    numbers = hashes_of(vocabulary, language)
    return (pairs(rows, numbers[found]) for rows, found in batches)


def pairs(rows: Ints, hashes: Ints) -> Batch:
    """(row, hash) of every two neighbouring words of a row, in whatever order; what says nothing is left out first."""
    import numpy as np

    telling = hashes != 0
    rows, numbers = rows[telling], hashes[telling].astype(np.uint32)
    first, second = np.minimum(numbers[:-1], numbers[1:]), np.maximum(numbers[:-1], numbers[1:])
    mixed = (first * np.uint32(0x9E3779B1) ^ first >> np.uint32(15)) + second
    mixed = (mixed ^ mixed >> np.uint32(13)) * np.uint32(0x85EBCA6B)
    together = (rows[:-1] == rows[1:]) & (first != second)
    return rows[:-1][together], (mixed[together] >> np.uint32(1)).astype(np.int32)


def gram_batches(texts: Sequence[str]) -> Iterator[Batch]:
    """(row, hash) of every 4-gram."""
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= _BATCH or end == len(texts):
            rows, found = gram_hashes(texts[start:end])
            yield rows + start, found
            start, size = end, 0


def gram_hashes(texts: Sequence[str]) -> Batch:
    """(row, hash) of every four neighbouring characters of a text, whatever parts its words being one space."""
    import numpy as np

    spaced = [f" {_NOT_GRAM.sub(' ', fold(text)).strip()} " for text in texts]
    characters = np.frombuffer("".join(spaced).encode("utf-32-le", "replace"), dtype=np.uint32)
    rows = np.repeat(np.arange(len(texts), dtype=np.int32), [len(text) for text in spaced])
    if len(characters) < 4:
        return rows[:0], rows[:0]
    hashes = np.zeros(len(characters) - 3, dtype=np.uint32)
    for offset in range(4):
        hashes = (hashes ^ characters[offset : len(hashes) + offset]) * np.uint32(0x9E3779B1)
        hashes ^= hashes >> np.uint32(15)
    inside = rows[:-3] == rows[3:]
    return rows[:-3][inside], (hashes[inside] >> np.uint32(1)).astype(np.int32)


def grams_of(query: str, language: str) -> Ints:
    """The hashes of a query's 4-grams, each once, without its stop words unless it has nothing else."""
    import numpy as np

    words = _NOT_WORD.sub(" ", fold(query).replace("'", "")).split()
    silent = stopwords(language)
    kept = [word for word, stemmed in zip(words, stem(words, language), strict=True) if stemmed not in silent]
    return np.unique(gram_hashes([" ".join(kept or words)])[1])
