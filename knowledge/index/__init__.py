"""The index: vectors in a store and keywords beside them, a cache of one edition of the library.

The store finds the passages nearest to a question. Their vectors are also kept by row in a file, so that the cosines of what
only keywords have found cost no second question to it, and the first need not wait for the keywords.

An index is never changed. A whole one has everything in a folder of its own (`Whole`). One that differs from it by a few
passages names it, and what is gone and added since (`Difference`); so a small change costs little, however large the rest.
`knowledge.index.building` writes them, `knowledge.index.generations` says which is in use; readers only read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowledge.documents import IndexEntry
from knowledge.errors import IndexFailure, KnowledgeError
from knowledge.keywords import KeywordIndex
from knowledge.keywords.additions import ExtendedKeywords
from knowledge.keywords.languages import language_of
from knowledge.ranking import DEPTH, Legs, Ranked, by_keywords, rank
from knowledge.search import Query
from knowledge.vectors import OpenVectors, Place, Rows, VectorStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from knowledge.embeddings import Vectors

    Kept = NDArray[np.float16]

FORMAT = 3
MANIFEST, KEYWORDS, VECTORS, ADDED = "manifest.json", "keywords", "vectors.f16", "added.f32"
GONE = ""
"""The audience of a row that nobody may see any more."""


@dataclass(frozen=True, slots=True)
class About:
    """What a whole index says of itself.

    `kind` is the store of its vectors, `space` what they may be compared with; both are empty when it has none. `language`
    is the one that its words are compared in, `dimension` the length of its vectors. `probes` are some passages by audience,
    each with its row.
    """

    edition: int
    kind: str
    space: str
    language: str
    audiences: tuple[str, ...]
    dimension: int
    probes: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Difference:
    """How an index differs from a whole one, `base`: passages that are `gone`, and those `added`, with their vectors.

    `vectors` are `None` when they could not be made, and `note` says why: then none of the index's vectors may be used.
    """

    base: str
    gone: frozenset[str] = frozenset()
    added: tuple[IndexEntry, ...] = ()
    vectors: Vectors | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Nearest:
    """A question's vector, and the cosines of the passages that the store found nearest to it."""

    vector: Vectors
    cosines: Mapping[str, float]


class Whole:
    """A whole index, opened for reading. `kept` are its vectors by row, `None` when it has none."""

    def __init__(
        self, name: str, about: About, keywords: KeywordIndex, vectors: OpenVectors | None, kept: Kept | None
    ) -> None:
        self.name = name
        self.about = about
        self.keywords = keywords
        self.vectors = vectors
        self.kept = kept
        self.rows = {passage: row for row, passage in enumerate(keywords.ids)}

    @classmethod
    async def open(cls, folder: Path, store: VectorStore | None, library: str) -> Whole:
        """Open a finished index, without its vectors if there is no `store`. Raises `KnowledgeError`.

        Vectors that cannot be used are no error here: they say so themselves.
        """
        about = await asyncio.to_thread(read_about, folder)
        if store is None or not about.space:
            return cls(folder.name, about, await asyncio.to_thread(_keywords, folder, about), None, None)
        kept = await asyncio.to_thread(_kept, folder, about)
        opening = asyncio.create_task(store.open(Place(folder, library, about.space), _probes(about, kept)))
        done = False
        try:
            keywords = await asyncio.to_thread(_keywords, folder, about)
            vectors = await opening
            done = True
        finally:
            if not done:
                opening.cancel()
                (left,) = await asyncio.gather(opening, return_exceptions=True)
                if not isinstance(left, BaseException):
                    await left.close()
        return cls(folder.name, about, keywords, vectors, kept)

    async def close(self) -> None:
        """Let go of the vectors."""
        if self.vectors is not None:
            await self.vectors.close()


class Index:
    """What questions are answered from: a whole index, and how the one in use differs from it."""

    def __init__(
        self,
        keywords: KeywordIndex,
        audiences: Sequence[str],
        vectors: OpenVectors | None = None,
        difference: Difference | None = None,
        rows: Mapping[str, int] | None = None,
        kept: Kept | None = None,
    ) -> None:
        import numpy as np

        changed = difference or Difference("")
        self._keywords = keywords
        self._vectors = vectors
        self._kept = kept
        self._added = changed.vectors
        self._before = len(audiences)
        self._rows = dict(rows) if rows is not None else {passage: row for row, passage in enumerate(keywords.ids)}
        now = list(audiences)
        for passage in changed.gone:
            if (row := self._rows.pop(passage, None)) is not None:
                now[row] = GONE
        self._spare = min(len(changed.gone), DEPTH)
        if changed.added:
            self._keywords = ExtendedKeywords(
                keywords, [one.id for one in changed.added], [one.text for one in changed.added]
            )
            self._rows.update((one.id, self._before + place) for place, one in enumerate(changed.added))
            now += [one.audience for one in changed.added]
        self.audiences = tuple(now)
        numbers = {audience: number for number, audience in enumerate(dict.fromkeys(now))}
        self._audience_of = np.array([numbers[audience] for audience in now], np.int32)
        grouped = np.split(np.argsort(self._audience_of, kind="stable"), np.cumsum(np.bincount(self._audience_of))[:-1])
        self._rows_of = dict(zip(numbers, grouped, strict=True)) if now else {}

    def __len__(self) -> int:
        """How many passages can be found."""
        return len(self._rows)

    @property
    def language(self) -> str:
        """The language in which words are compared."""
        return self._keywords.language

    @property
    def ids(self) -> Mapping[str, str]:
        """The passages that can be found, and the audience of each."""
        return {passage: self.audiences[row] for passage, row in self._rows.items()}

    def audience_of(self, passage: str) -> str | None:
        """The audience of a passage that can be found; `None` for another one."""
        row = self._rows.get(passage)
        return None if row is None else self.audiences[row]

    @property
    def has_vectors(self) -> bool:
        """Whether a question's vector is of use."""
        return self._vectors is not None

    @classmethod
    def in_memory(cls, entries: Sequence[IndexEntry], language: str) -> Index:
        """Keywords only, made on the spot: what search falls back to when an index is lost."""
        return cls(keywords_of(entries, language), [entry.audience for entry in entries])

    @classmethod
    def of(cls, whole: Whole, difference: Difference | None) -> Index:
        """A whole index as it is, or with a difference. Its vectors are not used when those of the difference are missing."""
        usable = difference is None or difference.vectors is not None
        vectors = whole.vectors if usable else None
        return cls(whole.keywords, whole.about.audiences, vectors, difference, whole.rows, whole.kept)

    def mended(self, text: str, right: Collection[str] = ()) -> str:
        """The text with its misspelt words put right, as far as the documents' own words tell; those of `right` are right."""
        return self._keywords.corrected(text, right)

    def by_keywords(self, query: Query) -> Legs:
        """What keywords say of the passages that `query` may see."""
        import numpy as np

        hidden = [rows for audience, rows in self._rows_of.items() if audience not in query.audiences]
        return by_keywords(query, self._keywords, np.concatenate([np.zeros(0, np.intp), *hidden]))

    async def nearest(self, query: Query, vector: Vectors) -> Nearest:
        """What the store says of a question with this vector. Raises `IndexFailure` when it cannot be asked just now."""
        assert self._vectors is not None
        found = await self._vectors.cosines(vector, query.audiences, DEPTH + self._spare)
        return Nearest(vector, found)

    def rank(self, query: Query, legs: Legs, nearest: Nearest | None, *, calibrated: bool) -> Ranked:
        """One ranking of what both say; by keywords alone when `nearest` is `None`.

        `calibrated`: the vectors are of the embedder for which confidence was fitted.
        """
        if nearest is not None:
            near, cosines = self._cosines(query, nearest, legs.rows)
            legs = replace(legs, near=near, cosines=cosines, calibrated=calibrated)
        return rank(query, self._keywords, legs)

    def _cosines(
        self, query: Query, nearest: Nearest, rows: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The nearest rows of each audience and what keywords put forward, `rows`, and their cosines."""
        import numpy as np

        end = self._before
        # What is gone has no row any more, and one that was added again has its new one.
        known = {row: cosine for one, cosine in nearest.cosines.items() if (row := self._rows.get(one, end)) < end}
        missing = [row for row in rows.tolist() if row < end and row not in known]
        near, cosines = [np.array([*known], np.intp)], [np.array([*known.values()], np.float32)]
        if missing and self._kept is not None:
            near.append(np.array(missing, np.intp))
            cosines.append(self._kept[missing].astype(np.float32) @ nearest.vector)
        if self._added is not None and len(self._added):
            seen = [place for place, audience in enumerate(self.audiences[end:]) if audience in query.audiences]
            near.append(end + np.array(seen, np.intp))
            cosines.append((self._added @ nearest.vector)[seen])
        found, given = np.concatenate(near), np.concatenate(cosines)
        kept, audiences = np.isin(found, rows), self._audience_of[found]
        for audience in set(audiences.tolist()):
            its = np.flatnonzero(audiences == audience)
            kept[its[np.argsort(-given[its], kind="stable")[:DEPTH]]] = True
        return found[kept], given[kept]


def keywords_of(entries: Sequence[IndexEntry], language: str) -> KeywordIndex:
    """The keywords of these passages, compared as `language` has them, or as the texts' own language when it is empty."""
    ids, texts = [entry.id for entry in entries], [entry.text for entry in entries]
    return KeywordIndex.build(ids, texts, language=language or language_of(texts))


def read_about(folder: Path) -> About:
    """What the whole index in a folder says of itself. Raises `IndexFailure`."""
    manifest = _manifest(folder)
    try:
        return About(
            edition=int(manifest["edition"]),
            kind=str(manifest["kind"]),
            space=str(manifest["space"]),
            language=str(manifest["language"]),
            audiences=tuple(manifest["audiences"]),
            dimension=int(manifest["dimension"]),
            probes=dict(manifest["probes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(folder, error) from error


def read_difference(folder: Path) -> Difference | None:
    """How the index in a folder differs from a whole one; `None` when it is whole itself. Raises `IndexFailure`."""
    import numpy as np

    manifest = _manifest(folder)
    if "base" not in manifest:
        return None
    try:
        added = tuple(IndexEntry(*one) for one in manifest["added"])
        vectors = None
        if manifest["vectors"]:
            vectors = np.fromfile(folder / ADDED, np.float32).reshape(len(added), -1 if added else 0)
        return Difference(str(manifest["base"]), frozenset(manifest["gone"]), added, vectors, str(manifest["note"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _unusable(folder, error) from error


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"it is of format {manifest['format']}, this version has {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(folder, error) from error
    return manifest


def _unusable(folder: Path, error: Exception) -> IndexFailure:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return IndexFailure(f"The index {folder.name} cannot be used: {reason}.")


def _keywords(folder: Path, about: About) -> KeywordIndex:
    try:
        found = KeywordIndex.load(folder / KEYWORDS)
    except KnowledgeError as error:
        raise IndexFailure(error.message) from error
    if len(found) != len(about.audiences):
        raise IndexFailure(f"The index {folder.name} cannot be used: its parts do not fit together.")
    return found


def _kept(folder: Path, about: About) -> Kept:
    """The vectors by row, mapped into memory."""
    import numpy as np

    try:
        shape = len(about.audiences), about.dimension
        # Mapped to its end: a file that is longer or shorter than it should be does not fit.
        return np.asarray(np.memmap(folder / VECTORS, np.float16, "r")).reshape(shape)
    except (OSError, ValueError) as error:
        raise _unusable(folder, error) from error


def _probes(about: About, kept: Kept) -> list[Rows]:
    import numpy as np

    return [
        Rows(audience, list(chosen), kept[list(chosen.values())].astype(np.float32))
        for audience, chosen in about.probes.items()
    ]
