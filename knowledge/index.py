"""The index: vectors in Chroma and keywords beside them, a cache of one edition of the library.

An index is never changed. A new one is built in a folder of its own (a copy of the one before, when little has changed),
checked by probe queries, and put in use in one step (`knowledge.generations`); readers only read. Chroma 1.5.9 is not safe
against being killed while it writes, nor against two writers: here neither can touch an index that is in use.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowledge.documents import IndexEntry
from knowledge.errors import IndexFailure, KnowledgeError
from knowledge.keywords import KeywordIndex
from knowledge.languages import language_of
from knowledge.ranking import DEPTH, Legs, Ranked, best_rows, keyword_scores, rank
from knowledge.search import Query

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from knowledge.embeddings import Vectors

FORMAT = 1
AT_ONCE = 5_000
"""Records in one call to Chroma, which takes 5,461 at most."""
SMALL_CHANGE = 0.2
"""Up to this share of changed passages the index before is copied and edited: its graph stays good enough."""
PROBES = 16


class Index:
    """One finished index, opened for reading. Without vectors (`embedder` empty) or without a folder it has keywords only."""

    def __init__(
        self, keywords: KeywordIndex, audiences: Sequence[str], collections: Mapping[str, Any], close: Any
    ) -> None:
        self._keywords = keywords
        self._audiences = audiences
        self._collections = collections
        self._close = close
        self._rows = {passage: row for row, passage in enumerate(keywords.ids)}

    def __len__(self) -> int:
        return len(self._keywords)

    @property
    def language(self) -> str:
        """The language in which words are compared."""
        return self._keywords.language

    @property
    def has_vectors(self) -> bool:
        """Whether a question's vector is of use."""
        return bool(self._collections)

    def close(self) -> None:
        """Let go of Chroma's files."""
        if self._close is not None:
            self._close()

    @classmethod
    def in_memory(cls, entries: Sequence[IndexEntry], language: str) -> Index:
        """Keywords only, made on the spot: what search falls back to when an index is lost."""
        keywords = _keywords_of(entries, language)
        return cls(keywords, [entry.audience for entry in entries], {}, None)

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Open a finished index. Raises `IndexFailure`."""
        manifest = _manifest(folder)
        keywords = KeywordIndex.load(folder / "keywords")
        audiences = manifest["audiences"]
        if not manifest["collections"]:
            return cls(keywords, audiences, {}, None)
        client = _client(folder / "chroma")
        with _chroma_errors():
            collections = {
                audience: client.get_collection(name, embedding_function=None)
                for audience, name in manifest["collections"].items()
            }
        return cls(keywords, audiences, collections, client.close)

    @classmethod
    def build(
        cls,
        folder: Path,
        entries: Sequence[IndexEntry],
        language: str,
        vectors: Mapping[str, Vectors] | None,
        base: Path | None,
    ) -> None:
        """Build an index of `entries` in `folder`, with `vectors` by key unless `None`.

        Words are compared as `language` has them, or as the texts' own language when it is empty.
        `base`, an index with vectors of the same embedder, saves work. Raises `IndexFailure` when the result does not
        answer its probe queries.
        """
        keywords = _keywords_of(entries, language)
        keywords.save(folder / "keywords")
        collections: dict[str, str] = {}
        if vectors is not None and entries:
            collections = _build_vectors(folder / "chroma", entries, vectors, base)
        manifest = {
            "format": FORMAT,
            "audiences": [entry.audience for entry in entries],
            "collections": collections,
        }
        # Last and synced: a folder with a manifest is a whole index.
        with open(folder / "manifest.json", "w", encoding="utf-8") as file:
            json.dump(manifest, file)
            file.flush()
            os.fsync(file.fileno())
        index = cls.open(folder)
        try:
            index.check(entries, language, vectors)
        finally:
            index.close()

    def check(self, entries: Sequence[IndexEntry], language: str, vectors: Mapping[str, Vectors] | None = None) -> None:
        """Ask for some passages by their own vectors. Raises `IndexFailure` unless the index holds `entries` and finds them.

        Chroma's `count()` is no help: it tells the right number of rows that no query can reach any more.
        """
        if [entry.id for entry in entries] != list(self._keywords.ids) or language not in ("", self._keywords.language):
            raise IndexFailure("The index does not hold the passages of the library.")
        if not self._collections:
            return
        step = max(1, len(entries) // PROBES)
        for entry in entries[::step]:
            if (collection := self._collections.get(entry.audience)) is None:
                raise IndexFailure("Passages are missing from the vector index.")
            with _chroma_errors():
                kept = collection.get(ids=[entry.id], include=["embeddings"])["embeddings"]
                if not len(kept):
                    raise IndexFailure("Passages are missing from the vector index.")
                found = collection.query(query_embeddings=kept[:1], n_results=1, include=["distances"])
            if not found["ids"][0] or found["distances"][0][0] > 0.01:
                raise IndexFailure("The vector index does not find its own passages.")
            if vectors is not None and abs(float(vectors[entry.vector_key] @ kept[0]) - 1) > 0.01:
                raise IndexFailure("The vector index holds other vectors than the library.")

    def mended(self, text: str) -> str:
        """The text with its misspelt words put right, as far as the documents' own words tell."""
        return self._keywords.corrected(text)

    def search(self, query: Query, vector: Vectors | None, *, calibrated: bool = False) -> Ranked:
        """Rank the passages that `query` may see. `vector` is the question's, `None` to go by keywords alone.

        `calibrated`: the vectors are of the embedder for which confidence was fitted. Raises `IndexFailure` when Chroma
        fails.
        """
        import numpy as np

        visible = np.array([audience in query.audiences for audience in self._audiences], bool)
        own_words = words = self._keywords.words(query.text) * visible
        grams = self._keywords.grams(query.text)
        if query.context:
            weight = np.float32(query.context_weight)
            words = words + weight * self._keywords.words(query.context)
            grams = grams + weight * self._keywords.grams(query.context)
        words, grams = words * visible, grams * visible
        keyword = keyword_scores(words, grams)
        rows = best_rows(keyword)
        cosines = self._cosines(query, vector, rows) if vector is not None and self._collections else None
        return rank(query, self._keywords, Legs(words, grams, keyword, rows, own_words, cosines, calibrated))

    def _cosines(self, query: Query, vector: Vectors, rows: NDArray[np.intp]) -> dict[int, float]:
        """Cosines of the nearest passages and of those in `rows`, by row."""
        cosines: dict[int, float] = {}
        wanted: dict[str, list[str]] = {}
        for row in rows:
            wanted.setdefault(self._audiences[row], []).append(self._keywords.ids[row])
        with _chroma_errors():
            for audience, collection in self._collections.items():
                if audience not in query.audiences:
                    continue
                found = collection.query(query_embeddings=[vector], n_results=DEPTH, include=["distances"])
                for passage, distance in zip(found["ids"][0], found["distances"][0], strict=True):
                    cosines[self._rows[passage]] = 1 - distance
                missing = [passage for passage in wanted.get(audience, ()) if self._rows[passage] not in cosines]
                if missing:
                    kept = collection.get(ids=missing, include=["embeddings"])
                    for passage, embedding in zip(kept["ids"], kept["embeddings"], strict=True):
                        cosines[self._rows[passage]] = float(embedding @ vector)
        return cosines


def _keywords_of(entries: Sequence[IndexEntry], language: str) -> KeywordIndex:
    ids, texts = [entry.id for entry in entries], [entry.text for entry in entries]
    return KeywordIndex.build(ids, texts, language=language or language_of(texts))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IndexFailure(f"The index {folder.name} cannot be used: {error}.") from error
    return manifest


def _client(folder: Path) -> Any:
    # onnxruntime, which chromadb imports, and chromadb itself report to their makers unless told otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import chromadb
    from chromadb.config import Settings

    with _chroma_errors():
        return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))


@contextmanager
def _chroma_errors() -> Iterator[None]:
    """Turn whatever Chroma raises into `IndexFailure`; its Rust part panics with a BaseException of its own."""
    try:
        yield
    except (KnowledgeError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise IndexFailure(f"The vector index failed: {str(error)[:200] or type(error).__name__}.") from error


def _build_vectors(
    folder: Path, entries: Sequence[IndexEntry], vectors: Mapping[str, Vectors], base: Path | None
) -> dict[str, str]:
    """Fill Chroma's folder: one collection for each audience, because filters cost in proportion to a collection."""
    wanted: dict[str, dict[str, str]] = {}
    for entry in entries:
        wanted.setdefault(entry.audience, {})[entry.id] = entry.vector_key
    if base is not None and _differs_little(base, entries):
        with suppress(OSError):
            shutil.copytree(base / "chroma", folder)
    client = _client(folder)
    try:
        with _chroma_errors():
            names = {audience: _collection_name(audience) for audience in wanted}
            for collection in client.list_collections():
                if collection.name not in names.values():
                    client.delete_collection(collection.name)
            for audience, name in names.items():
                _fill(client, name, wanted[audience], vectors)
    finally:
        client.close()
    return names


def _differs_little(base: Path, entries: Sequence[IndexEntry]) -> bool:
    try:
        before = set(KeywordIndex.load(base / "keywords").ids)
    except KnowledgeError:
        return False
    now = {entry.id for entry in entries}
    return len(before ^ now) <= SMALL_CHANGE * len(now)


def _fill(client: Any, name: str, wanted: Mapping[str, str], vectors: Mapping[str, Vectors]) -> None:
    import numpy as np

    collection = client.get_or_create_collection(
        name,
        embedding_function=None,
        configuration={"hnsw": {"space": "cosine", "ef_construction": 200, "ef_search": 2 * DEPTH}},
    )
    present = set(collection.get(include=[])["ids"])
    surplus = sorted(present - wanted.keys())
    missing = [passage for passage in wanted if passage not in present]
    for start in range(0, len(surplus), AT_ONCE):
        collection.delete(ids=surplus[start : start + AT_ONCE])
    for start in range(0, len(missing), AT_ONCE):
        some = missing[start : start + AT_ONCE]
        collection.add(ids=some, embeddings=np.array([vectors[wanted[passage]] for passage in some]))


def _collection_name(audience: str) -> str:
    # Chroma takes few characters in a name; an audience may be any word.
    return "audience-" + hashlib.sha256(audience.encode()).hexdigest()[:16]
