"""The knowledge base: bring documents in, search them. Nobody outside sees the database, Chroma or the keyword index."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from knowledge import generations
from knowledge import sync as syncing
from knowledge.database import Source, open_database
from knowledge.documents import IndexEntry, Passage, Stored
from knowledge.embeddings import Embedder
from knowledge.errors import ConflictError, EmbedderError, IndexFailure, KnowledgeError, RerankerError
from knowledge.generations import Generation
from knowledge.index import Index
from knowledge.languages import ENGLISH
from knowledge.library import Library, PassageRecord
from knowledge.lock import writer_lock
from knowledge.minilm import MiniLM
from knowledge.page_keeping import PageKeeping
from knowledge.ranking import Candidate, Ranked
from knowledge.readers import Reader, load_readers
from knowledge.reranking import Pausing, Reranker
from knowledge.search import Cited, Hit, Query, SearchResult
from knowledge.sync import AS_USUAL, Plan, Progress, SyncReport, Wish
from knowledge.tables import SCHEMA

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
_TRIES = 3
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
    """The index that questions are answered from, and the edition that it holds.

    `generation` is what the data directory said was in use. `note` is set when that one cannot be used and this is a makeshift.
    """

    edition: int
    index: Index
    generation: Generation | None
    note: str = ""

    @property
    def embedder(self) -> str:
        """Name of the embedder whose vectors the index holds; empty when it holds none."""
        return self.generation.embedder if self.generation is not None and not self.note else ""


class KnowledgeBase(PageKeeping):
    """Documents, searched by vectors from `embedder` and by keywords; by keywords alone when it is `None`.

    The index is kept in `data`; so are the documents, unless `database` says where else (another directory, or the URL of a
    PostgreSQL database, which several may share).
    `language` is that of the documents, by its English name: words are compared by their stems. Empty: told from the
    documents. `reranker` has the last word on the order of the best passages. Opening costs nothing until first used. Close
    it with `close()`.
    """

    def __init__(
        self,
        data: Path,
        embedder: Embedder | None,
        *,
        database: Source | None = None,
        language: str = "",
        reranker: Reranker | None = None,
        readers: Mapping[str, Reader] | None = None,
    ) -> None:
        self._data = data
        self._source = database if database is not None else data
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
        wish: Wish = AS_USUAL,
        *,
        progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
    ) -> SyncReport:
        """Make the library hold what `directory` holds: new, changed and removed files, nothing else.

        All of it becomes visible in one step, when its index is ready; documents whose files are gone leave at once, and
        those that a person has edited stay. It may be interrupted at any time and run again. `wish` says how, `progress` is
        told how far it is, `say` gets lines about what takes long.

        Raises `FolderError` (missing or empty folder), `BusyError` (another process writes), `StoreError`.
        """
        started = time.monotonic()
        report = progress or (lambda what, done, total: None)
        library = await asyncio.to_thread(self._open_library)
        async with writer_lock(self._data):
            readers = await asyncio.to_thread(self._load_readers)
            plan = await asyncio.to_thread(_take_in, directory, library, readers, report, wish)
            notes = [note for note in [await self._bring_up(library, report, say or (lambda line: None))] if note]
            _, passages = await asyncio.to_thread(library.count)
        notes += plan.notes + _twins(plan)
        notes += await asyncio.to_thread(_orphans, library)
        return SyncReport(
            added=plan.added,
            changed=plan.changed,
            removed=len(plan.changes.retire),
            unchanged=plan.unchanged,
            failed=tuple(plan.failed),
            seconds=round(time.monotonic() - started, 3),
            passages=passages,
            notes=tuple(notes),
            kept=tuple(plan.kept),
        )

    async def bring_up(self, progress: Progress | None = None, say: Callable[[str], None] | None = None) -> str:
        """Make the index of what is published now and put it in use, if that is not done yet.

        Returns why search goes by keywords only, or "". Raises `BusyError` when another process is at it, `StoreError`.
        """
        library = await asyncio.to_thread(self._open_library)
        async with writer_lock(self._data):
            return await self._bring_up(
                library, progress or (lambda what, done, total: None), say or (lambda line: None)
            )

    async def _bring_up(self, library: Library, progress: Progress, say: Callable[[str], None]) -> str:
        """Make the index of the newest edition, if it is not in use, and put it in use. Only for who holds the writer's lock.

        Returns why it goes without vectors, or "".
        """
        edition = await asyncio.to_thread(library.edition)
        entries = await asyncio.to_thread(library.entries, edition)
        before = await asyncio.to_thread(generations.current, self._data)
        anew = await self._has_changed(library, entries)
        embedder, note = await self._vectors_for(library, entries, progress, say, anew=anew)
        base = None
        if before is not None and before.embedder == embedder and not anew:
            its_own = entries if before.edition == edition else await asyncio.to_thread(library.entries, before.edition)
            if await asyncio.to_thread(self._is_whole, before, its_own):
                if its_own == entries:
                    await asyncio.to_thread(generations.use, self._data, replace(before, edition=edition))
                    return note
                base = generations.folder_of(self._data, before.name) if embedder else None
        elif before is None and not entries:
            return note
        progress("Building the index", 0, 1)
        folder = await asyncio.to_thread(generations.new_folder, self._data)
        keys = [entry.vector_key for entry in entries]
        vectors = await asyncio.to_thread(library.vectors, embedder, keys) if embedder else None
        await asyncio.to_thread(Index.build, folder, entries, self._language, vectors, base)
        await asyncio.to_thread(generations.use, self._data, Generation(folder.name, edition, embedder))
        await asyncio.to_thread(library.collect_passages, edition)
        await asyncio.to_thread(library.forget_unused_vectors)
        keep = {folder.name} | ({before.name} if before is not None else set())
        await asyncio.to_thread(generations.collect_garbage, self._data, keep)
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
        query = replace(query, text=await asyncio.to_thread(opened.index.mended, query.text))
        vector, note = await self._query_vector(opened, query)
        # The confidence of vectors was fitted for the local embedder, which knows English only.
        calibrated = opened.embedder == MiniLM.name and opened.index.language == ENGLISH
        most = max(query.limit, RERANKED if self._reranker is not None else 1)

        def looked_up(vector: Vectors | None) -> tuple[Ranked, list[Candidate], dict[str, PassageRecord]]:
            ranked = opened.index.search(query, vector, calibrated=calibrated and vector is not None)
            return ranked, *_visible(library, opened.edition, query, ranked.candidates, most)

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
        """The index in use; another process may have put a new one in use since the last question."""
        async with self._opening:
            self._opened = await asyncio.to_thread(self._open_index, library)
            return self._opened

    def _open_index(self, library: Library) -> _Opened:
        found = generations.current(self._data)
        old = self._opened
        if old is not None and old.generation == found and (not old.note or old.edition == library.edition()):
            return old
        if old is not None and not old.note and _name(old.generation) == _name(found) and found is not None:
            return replace(old, edition=found.edition, generation=found)
        note = f"{KEYWORDS_ONLY}: there is no index yet. {RESYNC}"
        try:
            if found is not None:
                index = Index.open(generations.folder_of(self._data, found.name))
                return _Opened(found.edition, index, found)
        except KnowledgeError as error:
            note = f"{KEYWORDS_ONLY}: {error.message} {RESYNC}"
        edition = library.edition()
        return _Opened(edition, Index.in_memory(library.entries(edition), self._language), found, note)

    async def _query_vector(self, opened: _Opened, query: Query) -> tuple[Vectors | None, str]:
        """The question's vector, or `None` and the reason, a sentence for staff."""
        if not len(opened.index):
            return None, EMPTY
        if self._embedder is None or opened.note:
            return None, opened.note
        if not opened.index.has_vectors:
            return None, f"{KEYWORDS_ONLY}: no vectors have been made yet. {RESYNC}"
        if opened.embedder != self._embedder.name:
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

    async def editions(self) -> tuple[int, Generation | None]:
        """What is published now, and the index that is in use: as long as both are the same, so is what may be shown."""
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(lambda: (library.edition(), generations.current(self._data)))

    async def standing(self, cited: Sequence[Cited], audiences: frozenset[str]) -> list[bool]:
        """Whether each of these texts may be shown to who belongs to `audiences`, as a search made now would show it.

        What was retired, or is no longer for them, may not from that moment on; what was edited, as soon as the new text is
        found instead.
        """
        library = await asyncio.to_thread(self._open_library)
        opened = await self._current_index(library)
        return await asyncio.to_thread(_standing, library, opened.edition, cited, audiences)

    async def language(self) -> str:
        """The language of the documents, by its English name in lower case."""
        library = await asyncio.to_thread(self._open_library)
        return (await self._current_index(library)).index.language

    # Looking ---------------------------------------------------------------------------------------------------------

    async def documents(self) -> list[Stored]:
        """The published documents, by id, without their text."""
        library = await asyncio.to_thread(self._open_library)
        return list((await asyncio.to_thread(library.stored)).values())

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
        entries = await asyncio.to_thread(library.entries, opened.edition)
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
                self._engine = open_database(self._source, SCHEMA)
                self._library = Library(self._engine)
            return self._library

    def _load_readers(self) -> Mapping[str, Reader]:
        return self._readers if self._readers is not None else load_readers()

    def _is_whole(self, in_use: Generation, entries: list[IndexEntry]) -> bool:
        try:
            index = Index.open(generations.folder_of(self._data, in_use.name))
            try:
                index.check(entries, self._language)
            finally:
                index.close()
        except KnowledgeError:
            return False
        return True


def _take_in(directory: Path, library: Library, readers: Mapping[str, Reader], progress: Progress, wish: Wish) -> Plan:
    """Compare the folder with the library and write what is new; once more, where somebody wrote in between."""
    for left in reversed(range(_TRIES)):
        plan = syncing.plan(directory, library, readers, progress, wish)
        try:
            library.publish(plan.changes)
        except ConflictError:
            if not left:
                raise
        else:
            return plan
    raise AssertionError("unreachable")


def _name(generation: Generation | None) -> str:
    return generation.name if generation is not None else ""


def _twins(plan: Plan) -> list[str]:
    """A line about new documents that say what others say."""
    if not plan.same:
        return []
    new, other = plan.same[0]
    if len(plan.same) == 1:
        return [f"{new} says the same as {other}."]
    return [f"{len(plan.same)} new documents say the same as others, for example {new} the same as {other}."]


def _orphans(library: Library) -> list[str]:
    """A line for each folder that documents came from and that is no longer there."""
    counts = Counter(one.origin.place for one in library.stored().values() if one.origin.kind == "folder")
    return [
        f"{count} documents came from {folder}, which is no longer there; they are still searched."
        for folder, count in sorted(counts.items())
        if not Path(folder).exists()
    ]


def _standing(library: Library, edition: int, cited: Sequence[Cited], audiences: frozenset[str]) -> list[bool]:
    def stand(missing: Collection[Cited], *, whole: bool) -> set[Cited]:
        shown = library.shown_at({one.document for one in missing}, edition, whole=whole)
        return {
            one
            for one in missing
            for found in shown.get(one.document, ())
            if found.audiences <= audiences and (one.text in found.text if whole else one.text == found.text)
        }

    standing = stand(cited, whole=False)
    # What was edited elsewhere may be cut into other passages now, and say it still.
    if missing := [one for one in cited if one not in standing]:
        standing |= stand(missing, whole=True)
    return [one in standing for one in cited]


def _hit(candidate: Candidate, record: PassageRecord) -> Hit:
    return Hit(record.passage, candidate.score, candidate.why, record.audience, record.url, record.updated)


def _visible(
    library: Library, edition: int, query: Query, candidates: Sequence[Candidate], most: int
) -> tuple[list[Candidate], dict[str, PassageRecord]]:
    """The best candidates that may be seen, at least `most` of them if there are so many, and their records.

    Joined with the library, so that a document that was retired, or has left the audience, is never shown nor sent to a
    reranker, whatever the index still holds.
    """
    seen: list[Candidate] = []
    records: dict[str, PassageRecord] = {}
    for start in range(0, len(candidates), most):
        some = candidates[start : start + most]
        records |= library.records([one.id for one in some], edition)
        seen += [one for one in some if one.id in records and records[one.id].audience in query.audiences]
        if len(seen) >= most:
            break
    return seen, records
