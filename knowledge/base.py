"""The knowledge base: bring documents in, search them. Nobody outside sees the database, Chroma or the keyword index."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Engine

from knowledge.database import Source, open_database
from knowledge.documents import Passage, Stored
from knowledge.embeddings import Embedder
from knowledge.embeddings.minilm import MiniLM
from knowledge.errors import ConflictError, EmbedderError, IndexFailure, RerankerError
from knowledge.folders import sync as syncing
from knowledge.folders.reading import AS_USUAL, Progress, Refused, Round, Wish
from knowledge.folders.sync import Plan, SyncReport
from knowledge.gist import gist
from knowledge.index import Nearest, generations, verifying
from knowledge.index.generations import Generation
from knowledge.index.in_use import HEAL, KEYWORDS_ONLY, InUse, Opened
from knowledge.index.indexer import Indexer, Say
from knowledge.index.keeper import WAIT_SECONDS, Keeper, Outcome
from knowledge.index.verifying import Part
from knowledge.keywords.languages import ENGLISH
from knowledge.library import Library, PassageRecord
from knowledge.library.tables import SCHEMA
from knowledge.ranking import Candidate, Legs, Ranked
from knowledge.readers import Reader, load_readers
from knowledge.reranking import Pausing, Reranker
from knowledge.search import Cited, Hit, Query, SearchResult
from knowledge.vectors import VectorStore
from knowledge.vectors.chroma import EmbeddedChroma
from knowledge.web.keeping import PageKeeping

EVERYTHING = 1_000_000
RERANKED = 30
"""Passages that a reranker reads, the best by search's own ranking: about 6,500 tokens. They hold most of the right documents
that the first 100 hold (docs/decisions/search.md)."""
_TRIES = 3
EMPTY = "The knowledge base is empty. Bring documents in with: frontdesk knowledge sync DIR"


@dataclass(frozen=True, slots=True)
class Health:
    """How the knowledge base stands. `note` says what is not whole, for staff; empty when all is well.

    `keeper` is the process that keeps the index up to date, "" when there is none.
    """

    documents: int
    passages: int
    mode: str
    note: str = ""
    keeper: str = ""


class KnowledgeBase(PageKeeping):
    """Documents, searched by vectors from `embedder` and by keywords; by keywords alone when it is `None`.

    The index is kept in `data`; so are the documents, unless `database` says where else (another directory, or the URL of a
    PostgreSQL database, which several may share).
    `language` is that of the documents, by its English name: words are compared by their stems. Empty: told from the
    documents. `reranker` has the last word on the order of the best passages. `store` is where vectors are kept for
    searching, by default Chroma in `data`. Opening costs nothing until first used. Close it with `close()`.
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
        store: VectorStore | None = None,
    ) -> None:
        self._data = data
        self._source = database if database is not None else data
        language = language.strip().lower()
        self._embedder = embedder
        self._reranker = Pausing(reranker) if reranker is not None else None
        self._readers = readers
        self._refused = Refused()
        self._engine: Engine | None = None
        self._library: Library | None = None
        self._library_lock = threading.Lock()
        self._store = store if store is not None else EmbeddedChroma()
        self._in_use = InUse(data, self._store if embedder is not None else None, language)
        indexer = Indexer(data, self._open_library, embedder, self._store, self._in_use, language)
        self._keeper = Keeper(data, self._open_library, indexer, self._in_use)

    # Bringing documents in -------------------------------------------------------------------------------------------

    async def sync(
        self,
        directory: Path,
        wish: Wish = AS_USUAL,
        *,
        progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
        wait: float = WAIT_SECONDS,
    ) -> SyncReport:
        """Make the library hold what `directory` holds: new, changed and removed files, nothing else.

        All of it becomes visible in one step, when its index is ready, but for files that take long to read: they follow in
        a second one. Documents whose files are gone leave at once, and those that a person has edited stay. It
        may be interrupted at any time and run again. `wish` says how, `progress` is
        told how far it is, `say` gets lines about what takes long. `wait` is how many seconds another process that keeps the
        index is waited for.

        Raises `FolderError` (missing or empty folder), `StoreError`.
        """
        started = time.monotonic()
        report = progress or silent
        library = await asyncio.to_thread(self._open_library)
        readers = await asyncio.to_thread(self._load_readers)
        quickly = Round(in_a_hurry=True, refused=self._refused)
        plan = await asyncio.to_thread(_take_in, directory, library, readers, report, wish, quickly)
        outcome = await self.bring_up(report, say, wait)
        if plan.later:
            files = "a file that may take" if plan.later == 1 else f"{plan.later} files that may take"
            (say or unheard)(f"Reading {files} long; all others are published already.")
            whole = replace(quickly, in_a_hurry=False)
            rest = await asyncio.to_thread(_take_in, directory, library, readers, report, wish, whole)
            plan, outcome = plan.followed_by(rest), await self.bring_up(report, say, wait)
        notes = [line for line in (outcome.note, "" if outcome.done else outcome.words) if line]
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

    # The index -------------------------------------------------------------------------------------------------------

    async def bring_up(
        self, progress: Progress | None = None, say: Say | None = None, wait: float = WAIT_SECONDS
    ) -> Outcome:
        """Have what is published now indexed: by this process, or by the one that keeps the index, which is waited for.

        What stands in the way is told in the outcome; what is published stays so. Raises `StoreError`.
        """
        return await self._keeper.searchable(progress or silent, say or unheard, wait)

    async def rebuild(self, progress: Progress | None = None, say: Say | None = None, *, wait: float) -> Outcome:
        """Have the index built anew from the library; vectors that are kept there are not made again. Raises `StoreError`.

        A process that keeps the index does it, and is waited for.
        """
        return await self._keeper.rebuild(progress or silent, say or unheard, wait)

    async def keep_index(self) -> None:
        """Keep the index at the library's edition and well, until cancelled. One process does it for a data directory."""
        await self._keeper.keep()

    async def verify(self, progress: Progress | None = None) -> list[Part]:
        """Compare the index with the library, passage by passage. Raises `StoreError`."""
        library = await asyncio.to_thread(self._open_library)
        opened = await self._in_use.current(library, newest=True)
        return await verifying.verify(library, opened, self._embedder, self._keeper, progress or silent)

    # Searching -------------------------------------------------------------------------------------------------------

    async def search(self, query: Query) -> SearchResult:
        """The passages that fit `query` best.

        A missing model, a broken index or a reranker that fails is no error: search goes on without, and says so in `note`.
        """
        library = self._library if self._library is not None else await asyncio.to_thread(self._open_library)
        opened = await self._in_use.current(library)
        right = self._embedder.words() if isinstance(self._embedder, MiniLM) else frozenset()
        # Some tens of microseconds, which is less than to ask a thread for it.
        query = replace(query, text=opened.index.mended(gist(query.text), right), context=gist(query.context))
        # At once: Chroma has a process of its own, and the local model computes outside of Python. Chroma is asked first,
        # because it takes longer, and because a thread that has begun keeps others from Python for a while.
        (nearest, note), legs = await asyncio.gather(
            self._nearest(opened, query), asyncio.to_thread(opened.index.by_keywords, query)
        )
        most = max(query.limit, RERANKED if self._reranker is not None else 1)
        ranked, candidates, records = await asyncio.to_thread(_ranked, library, opened, query, legs, nearest, most)
        candidates, unranked = await self._reranked(query, candidates, records)
        return SearchResult(
            mode="keyword" if nearest is None else "hybrid",
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

    async def _nearest(self, opened: Opened, query: Query) -> tuple[Nearest | None, str]:
        """The passages nearest to the question, or `None` and the reason, a sentence for staff."""
        if not len(opened.index):
            return None, EMPTY
        if self._embedder is None or opened.note:
            return None, opened.note
        if not opened.index.has_vectors:
            why = opened.difference.note if opened.difference is not None else ""
            return None, why or f"{KEYWORDS_ONLY}: no vectors have been made yet. {HEAL}"
        if opened.embedder != self._embedder.name:
            return None, f"{KEYWORDS_ONLY}: the index was made with another embedder. {HEAL}"
        try:
            if query.context:
                vector, before = await asyncio.gather(
                    self._embedder.embed_query(query.text), self._embedder.embed_query(query.context)
                )
                vector = vector + query.context_weight * before
                vector = vector / float(vector @ vector) ** 0.5
            else:
                vector = await self._embedder.embed_query(query.text)
            return await opened.index.nearest(query, vector), ""
        except EmbedderError as error:
            return None, f"{KEYWORDS_ONLY}: {error.message}"
        except IndexFailure as error:
            return None, f"{KEYWORDS_ONLY}: {error.message} {HEAL}"

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
        opened = await self._in_use.current(library)
        return await asyncio.to_thread(_standing, library, opened.edition, cited, audiences)

    async def language(self) -> str:
        """The language of the documents, by its English name in lower case."""
        library = await asyncio.to_thread(self._open_library)
        return (await self._in_use.current(library)).index.language

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
        await self._in_use.current(library, newest=True)
        found = await self.search(Query("hello", limit=1))
        behind = await asyncio.to_thread(library.edition) - (await self._in_use.current(library)).edition
        late = f"The index is {behind} editions behind. {HEAL}" if behind else ""
        return Health(documents, passages, found.mode, found.note or late, self._keeper.holder)

    async def close(self) -> None:
        """Let go of files. The knowledge base may be used again afterwards."""
        await self._in_use.close()
        await self._store.close()
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
        if self._readers is None:
            self._readers = load_readers()
        return self._readers


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody how far it is."""


def unheard(line: str) -> None:
    """Tell nobody what takes long."""


def _take_in(
    directory: Path, library: Library, readers: Mapping[str, Reader], progress: Progress, wish: Wish, how: Round
) -> Plan:
    """Compare the folder with the library and write what is new; once more, where somebody wrote in between."""
    for left in reversed(range(_TRIES)):
        plan = syncing.plan(directory, library, readers, progress, wish, how)
        try:
            library.publish(plan.changes)
        except ConflictError:
            if not left:
                raise
        else:
            return plan
    raise AssertionError("unreachable")


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
    return [
        f"{count} documents came from {folder}, which is no longer there; they are still searched."
        for folder, count in library.folders()
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


def _ranked(
    library: Library, opened: Opened, query: Query, legs: Legs, nearest: Nearest | None, most: int
) -> tuple[Ranked, list[Candidate], dict[str, PassageRecord]]:
    """The ranking, the best candidates that may be seen, at least `most` of them if there are so many, and their records.

    Joined with the library, so that a document that was retired, or has left the audience, is never shown nor sent to a
    reranker, whatever the index still holds.
    """
    # The confidence of vectors was fitted for the local embedder, which knows English only.
    calibrated = opened.embedder == MiniLM.name and opened.index.language == ENGLISH
    ranked = opened.index.rank(query, legs, nearest, calibrated=calibrated)
    seen: list[Candidate] = []
    records: dict[str, PassageRecord] = {}
    for start in range(0, len(ranked), most):
        some = ranked.candidates(start, start + most)
        records |= library.records([one.id for one in some], opened.edition)
        seen += [one for one in some if one.id in records and records[one.id].audience in query.audiences]
        if len(seen) >= most:
            break
    return ranked, seen, records
