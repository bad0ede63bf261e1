"""The knowledge base: bring documents in, search them. Nobody outside sees the database, Chroma or the keyword index."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from knowledge import sync as syncing
from knowledge.database import open_database
from knowledge.documents import Passage
from knowledge.embeddings import Embedder
from knowledge.errors import EmbedderError, IndexFailure, KnowledgeError, RerankerError
from knowledge.index import Index, IndexEntry, collect_garbage, generation, new_generation
from knowledge.languages import ENGLISH
from knowledge.library import Changes, Edition, Library, PassageRecord, Stored, vector_key
from knowledge.lock import writer_lock
from knowledge.minilm import MiniLM
from knowledge.ranking import Candidate, Ranked
from knowledge.readers import Reader, load_readers
from knowledge.reranking import Pausing, Reranker
from knowledge.search import Hit, Query, SearchResult
from knowledge.sync import Plan, Progress, SyncReport

if TYPE_CHECKING:
    from knowledge.embeddings import Vectors

EMBED_AT_ONCE = 64
"""Passages whose vectors are kept together: what an interrupted sync loses at most."""
EVERYTHING = 1_000_000
RERANKED = 30
"""Passages that a reranker reads, the best by search's own ranking: about 6,500 tokens. They hold most of the right documents
that the first 100 hold (docs/decisions/search.md)."""
SAME_TEXT = 0.98
"""The least cosine between two vectors of one text from one model; servers round, but not by more."""
EMPTY = "The knowledge base is empty. Bring documents in with: frontdesk knowledge sync DIR"
KEYWORDS_ONLY = "Search works by keywords only"
RESYNC = "To mend it: frontdesk knowledge sync DIR"


@dataclass(frozen=True, slots=True)
class Health:
    """How the knowledge base stands. `note` says what is not whole, for staff; empty when all is well."""

    documents: int
    passages: int
    mode: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Opened:
    """The index in use. `note` is set when it is a makeshift one."""

    edition: Edition
    index: Index
    note: str = ""


class KnowledgeBase:
    """Documents in `data`, searched by vectors from `embedder` and by keywords; by keywords alone when it is `None`.

    `language` is that of the documents, by its English name: words are compared by their stems. Empty: told from the
    documents. `reranker` has the last word on the order of the best passages. Opening costs nothing until first used. Close
    it with `close()`.
    """

    def __init__(
        self,
        data: Path,
        embedder: Embedder | None,
        *,
        language: str = "",
        reranker: Reranker | None = None,
        readers: Mapping[str, Reader] | None = None,
    ) -> None:
        self._data = data
        self._language = language.strip().lower()
        self._embedder = embedder
        self._reranker = Pausing(reranker) if reranker is not None else None
        self._readers = readers
        self._engine: Engine | None = None
        self._library: Library | None = None
        self._library_lock = threading.Lock()
        self._opened: _Opened | None = None
        self._opening = asyncio.Lock()

    # Bringing documents in -------------------------------------------------------------------------------------------

    async def sync(
        self,
        directory: Path,
        *,
        progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
        allow_empty: bool = False,
    ) -> SyncReport:
        """Make the library hold what `directory` holds: new, changed and removed files, nothing else.

        All of it becomes visible in one step, at the end; documents whose files are gone leave at once. It may be
        interrupted at any time and run again. `progress` is told how far it is, `say` gets lines about what takes long.

        Raises `FolderError` (missing or empty folder), `BusyError` (another process writes), `StoreError`.
        """
        started = time.monotonic()
        report = progress or (lambda what, done, total: None)
        library = await asyncio.to_thread(self._open_library)
        async with writer_lock(self._data):
            readers = self._readers if self._readers is not None else await asyncio.to_thread(load_readers)
            plan = await asyncio.to_thread(syncing.plan, directory, library, readers, report, allow_empty=allow_empty)
            await asyncio.to_thread(_remove_first, library, plan)
            notes = [note for note in [await self._publish(library, plan, report, say or (lambda line: None))] if note]
            if plan.adopted:
                await asyncio.to_thread(library.adopt, plan.adopted, plan.changes.folder)
            _, passages = await asyncio.to_thread(library.count)
        notes += await asyncio.to_thread(_orphans, library)
        return SyncReport(
            added=plan.added,
            changed=plan.changed,
            removed=len(plan.changes.remove),
            unchanged=plan.unchanged,
            failed=tuple(plan.failed),
            seconds=round(time.monotonic() - started, 3),
            passages=passages,
            notes=tuple(notes),
        )

    async def _publish(self, library: Library, plan: Plan, progress: Progress, say: Callable[[str], None]) -> str:
        """Embed what is new, build an index beside the one in use, then switch to both in one transaction."""
        changes = plan.changes
        entries = await asyncio.to_thread(_entries_after, library, changes)
        anew = await self._has_changed(library, entries)
        embedder, note = await self._vectors_for(library, entries, progress, say, anew=anew)
        edition = await asyncio.to_thread(library.edition)
        whole = edition.embedder == embedder and not anew and await asyncio.to_thread(self._is_whole, edition, entries)
        if not (changes.remove or changes.write) and whole:
            await asyncio.to_thread(library.note_files, changes.folder, changes.files or {})
            return note
        progress("Building the index", 0, 1)
        folder = new_generation(self._data)
        base = generation(self._data, edition.generation) if embedder and whole else None
        keys = [entry.vector_key for entry in entries]
        vectors = await asyncio.to_thread(library.vectors, embedder, keys) if embedder else None
        await asyncio.to_thread(Index.build, folder, entries, self._language, vectors, base)
        await asyncio.to_thread(library.publish, changes, generation=folder.name, embedder=embedder)
        await asyncio.to_thread(library.forget_unused_vectors)
        await asyncio.to_thread(collect_garbage, self._data, keep={folder.name, edition.generation})
        progress("Building the index", 1, 1)
        return note

    async def _has_changed(self, library: Library, entries: list[IndexEntry]) -> bool:
        """Whether a server makes other vectors under the same name than it did: of another length, or far from those kept.

        Such vectors cannot be compared with those of questions any more.
        """
        import numpy as np

        if self._embedder is None or not getattr(self._embedder, "may_change", False):
            return False
        kept = await asyncio.to_thread(
            library.vectors, self._embedder.name, [entry.vector_key for entry in entries[:1]]
        )
        if not kept:
            return False
        try:
            probe = (await self._embedder.embed_passages([entries[0].text]))[0]
        except EmbedderError:
            return False
        before = kept[entries[0].vector_key]
        return probe.shape != before.shape or float(np.dot(probe, before)) < SAME_TEXT

    async def _vectors_for(
        self,
        library: Library,
        entries: list[IndexEntry],
        progress: Progress,
        say: Callable[[str], None],
        *,
        anew: bool,
    ) -> tuple[str, str]:
        """Make the vectors that are missing, or all `anew`.

        Returns the embedder's name, or "" and the reason when there are none.
        """
        if self._embedder is None:
            return "", ""
        name = self._embedder.name
        known = set() if anew else await asyncio.to_thread(library.known_vectors, name)
        missing = {entry.vector_key: entry.text for entry in entries if entry.vector_key not in known}
        keys = list(missing)
        try:
            await self._embedder.prepare(say)
            for start in range(0, len(keys), EMBED_AT_ONCE):
                progress("Embedding passages", start, len(keys))
                some = keys[start : start + EMBED_AT_ONCE]
                rows = await self._embedder.embed_passages([missing[key] for key in some])
                await asyncio.to_thread(library.keep_vectors, name, some, rows)
        except EmbedderError as error:
            return "", f"{KEYWORDS_ONLY}: {error.message} {error.hint}".strip()
        if keys:
            progress("Embedding passages", len(keys), len(keys))
        return name, ""

    # Searching -------------------------------------------------------------------------------------------------------

    async def search(self, query: Query) -> SearchResult:
        """The passages that fit `query` best.

        A missing model, a broken index or a reranker that fails is no error: search goes on without, and says so in `note`.
        """
        library = self._library if self._library is not None else await asyncio.to_thread(self._open_library)
        opened = await self._current_index(library)
        right = self._embedder.words() if isinstance(self._embedder, MiniLM) else frozenset()
        query = replace(query, text=await asyncio.to_thread(opened.index.mended, query.text, right))
        vector, note = await self._query_vector(opened, query)
        # The confidence of vectors was fitted for the local embedder, which knows English only.
        calibrated = opened.edition.embedder == MiniLM.name and opened.index.language == ENGLISH
        most = max(query.limit, RERANKED if self._reranker is not None else 1)

        def looked_up(vector: Vectors | None) -> tuple[Ranked, list[Candidate], dict[str, PassageRecord]]:
            ranked = opened.index.search(query, vector, calibrated=calibrated and vector is not None)
            return ranked, *_visible(library, query, ranked.candidates, most)

        try:
            ranked, candidates, records = await asyncio.to_thread(looked_up, vector)
        except IndexFailure as error:
            vector, note = None, f"{KEYWORDS_ONLY}: {error.message} {RESYNC}"
            ranked, candidates, records = await asyncio.to_thread(looked_up, None)
        candidates, unranked = await self._reranked(query, candidates, records)
        return SearchResult(
            mode="keyword" if vector is None else "hybrid",
            hits=tuple(_hit(candidate, records[candidate.id]) for candidate in candidates[: query.limit]),
            confidence=ranked.confidence if candidates else 0.0,
            weights=ranked.weights,
            note=" ".join(one for one in (unranked, note) if one),
            foreign=ranked.foreign,
            language=opened.index.language,
        )

    async def _reranked(
        self, query: Query, candidates: list[Candidate], records: Mapping[str, PassageRecord]
    ) -> tuple[list[Candidate], str]:
        """The candidates with the best of them in the reranker's order, or as they were and the reason why."""
        best = candidates[:RERANKED]
        # A question that leans on what was said makes no sense alone, which is how a reranker would read it.
        if self._reranker is None or query.leans or not query.text.strip() or len(best) < 2:
            return candidates, ""
        try:
            scores = await self._reranker.rerank(query.text, [records[one.id].passage.searchable for one in best])
        except RerankerError as error:
            return candidates, f"Passages are in search's own order: {error.message}"
        order = sorted(zip(scores, best, strict=True), key=lambda pair: -pair[0])
        # Callers compare scores as shares of the best, and their thresholds were tuned on fused ones: these stay with the
        # places. A reranker's own scale differs from model to model.
        moved = [
            replace(one, score=place.score, why=replace(one.why, reranked=round(score, 4)))
            for place, (score, one) in zip(best, order, strict=True)
        ]
        return moved + candidates[RERANKED:], ""

    async def best_documents(self, query: Query) -> tuple[list[str], str]:
        """Ids of the `query.limit` documents that fit best, each once, and the search's note."""
        found = await self.search(replace(query, limit=EVERYTHING))
        best = list(dict.fromkeys(hit.passage.document for hit in found.hits))
        if len(best) < query.limit:
            # What has no word of the query in common with it comes last, so that there are as many as were asked for.
            stored = [one.document for one in await self.documents()]
            best = list(dict.fromkeys([*best, *(one.id for one in stored if one.audience in query.audiences)]))
        return best[: query.limit], found.note

    async def _current_index(self, library: Library) -> _Opened:
        """The index of the current edition; another process may have published a new one since the last question."""
        async with self._opening:
            edition = await asyncio.to_thread(library.edition)
            if self._opened is None or self._opened.edition != edition:
                self._opened = await asyncio.to_thread(self._open_index, library, edition)
            return self._opened

    def _open_index(self, library: Library, edition: Edition) -> _Opened:
        old = self._opened
        if old is not None and not old.note and old.edition.generation == edition.generation:
            return replace(old, edition=edition)
        note = ""
        try:
            if edition.generation:
                return _Opened(edition, Index.open(generation(self._data, edition.generation)))
        except KnowledgeError as error:
            note = f"{KEYWORDS_ONLY}: {error.message} {RESYNC}"
        return _Opened(edition, Index.in_memory(_entries(library.records()), self._language), note)

    async def _query_vector(self, opened: _Opened, query: Query) -> tuple[Vectors | None, str]:
        """The question's vector, or `None` and the reason, a sentence for staff."""
        if not len(opened.index):
            return None, EMPTY
        if self._embedder is None or opened.note:
            return None, opened.note
        if not opened.index.has_vectors:
            return None, f"{KEYWORDS_ONLY}: no vectors have been made yet. {RESYNC}"
        if opened.edition.embedder != self._embedder.name:
            return None, f"{KEYWORDS_ONLY}: the index was made with another embedder. {RESYNC}"
        try:
            vector = await self._embedder.embed_query(query.text)
            if query.context:
                vector = vector + query.context_weight * await self._embedder.embed_query(query.context)
                vector = vector / float(vector @ vector) ** 0.5
        except EmbedderError as error:
            return None, f"{KEYWORDS_ONLY}: {error.message}"
        return vector, ""

    async def similarity(self, text: str, others: Sequence[str]) -> list[float] | None:
        """The cosine of each of `others` to `text`; `None` without the local embedder, where it would cost calls."""
        if self._embedder is None or self._embedder.name != MiniLM.name or not others:
            return None
        try:
            vector = await self._embedder.embed_query(text)
            vectors = await self._embedder.embed_passages(others)
        except EmbedderError:
            return None
        return [float(cosine) for cosine in vectors @ vector]

    async def language(self) -> str:
        """The language of the documents, by its English name in lower case."""
        library = await asyncio.to_thread(self._open_library)
        return (await self._current_index(library)).index.language

    # Looking ---------------------------------------------------------------------------------------------------------

    async def documents(self) -> list[Stored]:
        """All documents, by id, without their text."""
        library = await asyncio.to_thread(self._open_library)
        return list((await asyncio.to_thread(library.stored)).values())

    async def document(self, document_id: str) -> Stored | None:
        """One document with its text, `None` if there is none of this id."""
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.document, document_id)

    async def passages(self, document_id: str) -> list[Passage]:
        """The passages of one document, in its order."""
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.passages_of, document_id)

    async def health(self) -> Health:
        """Counts, and a probe of the index. Raises `StoreError` when the database cannot be used."""
        library = await asyncio.to_thread(self._open_library)
        documents, passages = await asyncio.to_thread(library.count)
        if not documents:
            return Health(0, 0, "keyword")
        opened = await self._current_index(library)
        entries = _entries(await asyncio.to_thread(library.records))
        try:
            await asyncio.to_thread(opened.index.check, entries, self._language)
        except IndexFailure as error:
            return Health(documents, passages, "keyword", f"{error.message} {RESYNC}")
        found = await self.search(Query("hello", limit=1))
        return Health(documents, passages, found.mode, found.note)

    async def close(self) -> None:
        """Let go of files. The knowledge base may be used again afterwards."""
        if self._opened is not None:
            await asyncio.to_thread(self._opened.index.close)
            self._opened = None
        if self._engine is not None:
            await asyncio.to_thread(self._engine.dispose)
            self._engine = self._library = None

    def _open_library(self) -> Library:
        with self._library_lock:
            if self._library is None:
                self._engine = open_database(self._data)
                self._library = Library(self._engine)
            return self._library

    def _is_whole(self, edition: Edition, entries: list[IndexEntry]) -> bool:
        if not edition.generation:
            return not entries
        try:
            index = Index.open(generation(self._data, edition.generation))
            try:
                index.check(entries, self._language)
            finally:
                index.close()
        except KnowledgeError:
            return False
        return True


def _entries(records: Mapping[str, PassageRecord]) -> list[IndexEntry]:
    return [
        IndexEntry(passage_id, record.passage.searchable, record.audience, record.vector_key)
        for passage_id, record in sorted(records.items())
    ]


def _entries_after(library: Library, changes: Changes) -> list[IndexEntry]:
    """The passages of the edition that `changes` will make."""
    gone = changes.remove | {stored.document.id for stored, _ in changes.write}
    entries = _entries(
        {key: record for key, record in library.records().items() if record.passage.document not in gone}
    )
    for stored, pieces in changes.write:
        entries += (
            IndexEntry(piece.id, piece.searchable, stored.document.audience, vector_key(piece)) for piece in pieces
        )
    return sorted(entries, key=lambda entry: entry.id)


def _remove_first(library: Library, plan: Plan) -> None:
    """Documents whose files are gone leave before the long work begins, except those that only moved to another file."""
    texts = {stored.document.text for stored, _ in plan.changes.write}
    gone = []
    for document_id in plan.changes.remove:
        stored = library.document(document_id) if texts else None
        if stored is None or stored.document.text not in texts:
            gone.append(document_id)
    if gone and plan.changes.write:
        library.publish(Changes(remove=frozenset(gone)))


def _orphans(library: Library) -> list[str]:
    """A line for each folder that documents came from and that is no longer there."""
    counts = Counter(stored.folder for stored in library.stored().values())
    return [
        f"{count} documents came from {folder}, which is no longer there; they are still searched."
        for folder, count in sorted(counts.items())
        if not Path(folder).exists()
    ]


def _hit(candidate: Candidate, record: PassageRecord) -> Hit:
    return Hit(record.passage, candidate.score, candidate.why, record.audience, record.url, record.updated)


def _visible(
    library: Library, query: Query, candidates: Sequence[Candidate], most: int
) -> tuple[list[Candidate], dict[str, PassageRecord]]:
    """The best candidates that may be seen, at least `most` of them if there are so many, and their records.

    Joined with the library, so that a document that has left it, or the audience, is never shown nor sent to a reranker,
    whatever the index still holds.
    """
    seen: list[Candidate] = []
    records: dict[str, PassageRecord] = {}
    for start in range(0, len(candidates), most):
        some = candidates[start : start + most]
        records |= library.records([one.id for one in some])
        seen += [one for one in some if one.id in records and records[one.id].audience in query.audiences]
        if len(seen) >= most:
            break
    return seen, records
