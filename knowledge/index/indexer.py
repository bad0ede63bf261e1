"""Brings the index of a data directory to the library's edition. The work is in proportion to what has changed.

A few changed passages are kept beside the whole index that is there; many of them, or another embedder, store or language,
or an index that is lost, and a whole one is built. `knowledge.index.keeper` says when.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from knowledge.documents import IndexEntry
from knowledge.embeddings import Embedder
from knowledge.errors import EmbedderError, IndexFailure, KnowledgeError
from knowledge.index import Difference, Whole, generations, read_difference
from knowledge.index.building import Ground, Progress, removed_unless_finished, write_difference, write_whole
from knowledge.index.generations import Generation
from knowledge.index.in_use import KEYWORDS_ONLY, InUse, Opened
from knowledge.library import Library
from knowledge.vectors import Place, VectorStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from knowledge.embeddings import Vectors

_log = logging.getLogger(__name__)

EMBED_AT_ONCE = 64
"""Passages whose vectors are kept together: what an interruption loses at most."""
SAME_TEXT = 0.98
"""The least cosine between two vectors of one text from one model; servers round, but not by more."""
FEW, FEW_SHARE = 200, 0.05
"""So many changed passages, or this share of all, are kept beside a whole index; when there are more it is built anew."""
GROUND_SHARE = 0.2
"""Up to this share of changed passages Chroma's folder is copied and edited: its graph stays good enough."""
SETTLE_SECONDS = 20.0
_FULL = (
    "cannot be written",
    "no space",
    "disk is full",
    "disk full",
    "file too large",
    "quota",
    "os error 27",
    "os error 28",
)

Say = Callable[[str], None]


class Indexer:
    """The index of `data`. `library` opens the library, `in_use` is what this process answers from.

    `language` is that of the documents, "" to tell it from them. Without an `embedder` it makes keywords only.
    """

    def __init__(
        self,
        data: Path,
        library: Callable[[], Library],
        embedder: Embedder | None,
        store: VectorStore,
        in_use: InUse,
        language: str,
    ) -> None:
        self._data = data
        self._library = library
        self._embedder = embedder
        self._store = store
        self._in_use = in_use
        self._language = language
        self._busy = asyncio.Lock()

    async def bring_up(self, progress: Progress, say: Say, *, anew: bool = False) -> str:
        """Make the index of the newest edition and put it in use. Only for who holds the writer's lock.

        `anew`: also when the one in use seems whole. Returns why it goes without vectors, or "". Raises `IndexFailure` and
        `StoreError`; then what was in use still is.
        """
        async with self._busy:
            library = await asyncio.to_thread(self._library)
            edition = await asyncio.to_thread(library.edition)
            space = await self._space(library)
            opened = await self._in_use.current(library, newest=True)
            whole = opened.whole
            clean = whole is not None and whole.about.edition >= await asyncio.to_thread(library.erased_at)
            sound = not anew and clean and whole is not None and self._keywords_fit(whole)
            if sound and whole is not None and await asyncio.to_thread(library.remembers, opened.edition):
                return await self._follow(library, edition, space, opened, whole, progress, say)
            entries = await asyncio.to_thread(library.entries, edition)
            if not entries and opened.generation is None:
                return ""
            reason = await self._embedded(library, space, entries, progress, say)
            return await self._build(library, edition, entries, "" if reason else space, None, progress) or reason

    async def is_other(self, opened: Opened) -> bool:
        """Whether the index in use was made by other means than ours are: another embedder, store, format or language."""
        if opened.whole is None:
            return True
        library = await asyncio.to_thread(self._library)
        space = await self._space(library)
        if space and self._store.shared:
            await asyncio.to_thread(library.note_space, space)
        return not (self._keywords_fit(opened.whole) and self._vectors_fit(opened.whole, space))

    async def _follow(
        self,
        library: Library,
        edition: int,
        space: str,
        opened: Opened,
        whole: Whole,
        progress: Progress,
        say: Say,
    ) -> str:
        """Bring up an index whose keywords can be built on."""
        await self._settled(whole)
        difference = await self._difference(library, opened, whole, edition)
        changes, fits = len(difference.gone) + len(difference.added), self._vectors_fit(whole, space)
        many = changes > max(FEW, FEW_SHARE * len(whole.rows))
        entries: Sequence[IndexEntry] = ()
        if many or not fits:
            entries = await asyncio.to_thread(library.entries, edition)
        # A whole index has a file of all vectors, whatever it is built on.
        reason = await self._embedded(library, space, entries or difference.added, progress, say)
        if many or not (fits or reason):
            ground = None
            if fits and space and not reason and changes <= GROUND_SHARE * len(entries):
                ground = Ground(self._place(whole.name, library, space), _gone(difference, whole), difference.added)
            return await self._build(library, edition, entries, "" if reason else space, ground, progress) or reason
        return await self._beside(library, edition, space, opened, replace(difference, note=reason))

    async def _beside(self, library: Library, edition: int, space: str, opened: Opened, difference: Difference) -> str:
        """Put in use what is there, with this difference."""
        before, found = opened.difference or Difference(difference.base), opened.generation
        assert found is not None
        embedder = self._embedder.name if self._embedder is not None and space and not difference.note else ""
        same = (before.gone, before.added, before.note) == (difference.gone, difference.added, difference.note)
        if same and found.embedder == embedder:
            if found.edition != edition:
                await self._use(library, replace(found, edition=edition), difference.base)
            return difference.note
        if embedder:
            vectors = await asyncio.to_thread(_matrix, library, space, difference.added)
            difference = replace(difference, vectors=vectors)
        folder = await asyncio.to_thread(generations.new_folder, self._data)
        async with removed_unless_finished(folder):
            await asyncio.to_thread(write_difference, folder, difference)
        await self._use(library, Generation(folder.name, edition, embedder), difference.base)
        return difference.note

    async def _build(
        self,
        library: Library,
        edition: int,
        entries: Sequence[IndexEntry],
        space: str,
        ground: Ground | None,
        progress: Progress,
    ) -> str:
        """Build a whole index and put it in use; without vectors when only they cannot be built, and then it returns why."""
        note = ""
        try:
            name = await self._built(library, edition, entries, space, ground, progress)
        except IndexFailure as error:
            if not space or any(one in error.message.lower() for one in _FULL):
                raise
            note, space = f"{KEYWORDS_ONLY}: {error.message} {error.hint}".strip(), ""
            name = await self._built(library, edition, entries, "", None, progress)
        embedder = self._embedder.name if self._embedder is not None and space else ""
        try:
            await self._use(library, Generation(name, edition, embedder), name)
        except KnowledgeError:
            await self._in_use.forget(name)
            raise
        await asyncio.to_thread(library.forget_unused_vectors)
        return note

    async def _built(
        self,
        library: Library,
        edition: int,
        entries: Sequence[IndexEntry],
        space: str,
        ground: Ground | None,
        progress: Progress,
    ) -> str:
        """The name of a new whole index, which is open already. Raises `IndexFailure`."""
        folder = await asyncio.to_thread(generations.new_folder, self._data)
        async with removed_unless_finished(folder), self._alone(library, with_others=bool(space)):
            if ground is not None and await asyncio.to_thread(library.edition) != edition:
                # What this edition does not need any more the next one may need again.
                ground = replace(ground, gone={})
            await write_whole(
                self._place(folder.name, library, space),
                edition,
                entries,
                self._language,
                store=self._store if space else None,
                fetch=lambda keys: library.vectors(space, keys),
                ground=ground,
                progress=progress,
            )
            if space and self._store.shared:
                await self._sweep(library, self._place(folder.name, library, space))
        try:
            whole = await self._in_use.whole(folder.name, library)
            if whole.vectors is not None and whole.vectors.note:
                raise IndexFailure(whole.vectors.note)
        except KnowledgeError as error:
            await self._in_use.forget(folder.name)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise IndexFailure(error.message, error.hint) from error
        return folder.name

    async def _sweep(self, library: Library, place: Place) -> None:
        """Remove from a shared store what no index needs: what earlier builds put there, also those that were killed."""
        in_use = await asyncio.to_thread(generations.current, self._data)
        await asyncio.to_thread(library.collect_passages, in_use.edition if in_use is not None else 0)
        await asyncio.to_thread(library.note_space, place.space)
        # What another machine is about to put there is in the library already.
        keep = await asyncio.to_thread(library.kept_ids)
        spare = await asyncio.to_thread(library.spaces_in_use)
        try:
            removed = await self._store.sweep(place, keep, spare)
        except IndexFailure as error:
            _log.warning("What is not needed any more stays on the Chroma server for now: %s", error.message)
        else:
            if removed:
                _log.info("Removed %d passages from the Chroma server that nobody needs any more.", removed)

    async def _use(self, library: Library, new: Generation, base: str) -> None:
        """Put an index in use, and remove what nobody uses any more."""
        before = await asyncio.to_thread(generations.current, self._data)
        await asyncio.to_thread(generations.use, self._data, new)
        keep = {new.name, base} | await asyncio.to_thread(self._made_of, before)
        if before is not None and before.edition < await asyncio.to_thread(library.erased_at):
            # Whoever still has it open reads on; nobody opens it again.
            keep = {new.name, base}
        await asyncio.to_thread(library.collect_passages, new.edition)
        await asyncio.to_thread(generations.collect_garbage, self._data, keep)
        await self._in_use.current(library, newest=True)

    def _made_of(self, generation: Generation | None) -> set[str]:
        if generation is None:
            return set()
        try:
            difference = read_difference(generations.folder_of(self._data, generation.name))
        except IndexFailure:
            return set()
        return {generation.name} | ({difference.base} if difference is not None else set())

    @asynccontextmanager
    async def _alone(self, library: Library, *, with_others: bool) -> AsyncGenerator[None]:
        """Be the only writer of what is shared with other machines."""
        async with AsyncExitStack() as stack:
            if with_others and self._store.shared:
                alone = library.alone()
                await asyncio.to_thread(alone.__enter__)
                stack.push_async_callback(asyncio.to_thread, alone.__exit__, None, None, None)
            yield

    # What has changed ------------------------------------------------------------------------------------------------

    async def _difference(self, library: Library, opened: Opened, whole: Whole, edition: int) -> Difference:
        """How the index of `edition` differs from the whole one, found from how the one in use does."""
        before = opened.difference or Difference(whole.name)
        gone, new = await asyncio.to_thread(library.changes, opened.edition, edition)
        # A document that was written anew has most of its passages as they were.
        same = {one.id for one in new if one.id in gone and opened.index.audience_of(one.id) == one.audience}
        gone -= same
        added = {one.id: one for one in before.added if one.id not in gone}
        added.update((one.id, one) for one in new if one.id not in same)
        removed = {one for one in gone if one in whole.rows} | before.gone
        # What came back as the whole one has it is neither gone nor added.
        for one in [one for one in added if one in removed]:
            if whole.about.audiences[whole.rows[one]] == added[one].audience:
                removed.discard(one)
                del added[one]
        return Difference(whole.name, frozenset(removed), tuple(added.values()))

    def _keywords_fit(self, whole: Whole) -> bool:
        return self._language in ("", whole.about.language)

    def _vectors_fit(self, whole: Whole, space: str) -> bool:
        """Whether its vectors are those that we need, or we need none."""
        if not space or not whole.rows:
            return not space
        ours = (whole.about.space, whole.about.kind) == (space, self._store.kind)
        # A server that is down may come back; what is ours alone is mended by us.
        down = whole.vectors is None or whole.vectors.lost or (bool(whole.vectors.note) and not self._store.shared)
        return ours and not down

    async def _settled(self, whole: Whole) -> None:
        """Give vectors that are being opened again the time for it, rather than build them anew."""
        end = asyncio.get_running_loop().time() + SETTLE_SECONDS
        vectors = whole.vectors
        while vectors is not None and vectors.note and not vectors.lost and not self._store.shared:
            if asyncio.get_running_loop().time() > end:
                return
            await asyncio.sleep(0.1)

    def _place(self, name: str, library: Library, space: str) -> Place:
        return Place(generations.folder_of(self._data, name), library.identity() if space else "", space)

    # Vectors ---------------------------------------------------------------------------------------------------------

    async def _space(self, library: Library) -> str:
        """What names the vectors that our embedder makes; another than before when it makes others under its old name."""
        if self._embedder is None:
            return ""
        space = await asyncio.to_thread(library.space, self._embedder.name)
        if getattr(self._embedder, "may_change", False) and await self._has_changed(library, space):
            await asyncio.to_thread(library.renew_space, self._embedder.name, space)
            return await asyncio.to_thread(library.space, self._embedder.name)
        return space

    async def _has_changed(self, library: Library, space: str) -> bool:
        """Whether a server makes other vectors than it did: of another length, or far from those kept.

        Such vectors cannot be compared with those of questions any more.
        """
        import numpy as np

        assert self._embedder is not None
        kept = await asyncio.to_thread(library.one_with_vector, space)
        if kept is None:
            return False
        text, before = kept
        try:
            now = (await self._embedder.embed_passages([text]))[0]
        except EmbedderError:
            return False
        return now.shape != before.shape or float(np.dot(now, before)) < SAME_TEXT

    async def _embedded(
        self, library: Library, space: str, entries: Sequence[IndexEntry], progress: Progress, say: Say
    ) -> str:
        """Make the vectors that are missing, and keep them as they are made. Returns why that is not possible, or ""."""
        if self._embedder is None:
            return ""
        keys = await asyncio.to_thread(library.without_vectors, space, [entry.vector_key for entry in entries])
        missing = {entry.vector_key: entry.text for entry in entries if entry.vector_key in keys}
        names = list(missing)
        try:
            if names:
                await self._embedder.prepare(say)
            for start in range(0, len(names), EMBED_AT_ONCE):
                progress("Embedding passages", start, len(names))
                some = names[start : start + EMBED_AT_ONCE]
                rows = await self._embedder.embed_passages([missing[key] for key in some])
                await asyncio.to_thread(library.keep_vectors, space, some, rows)
        except EmbedderError as error:
            return f"{KEYWORDS_ONLY}: {error.message} {error.hint}".strip()
        if names:
            progress("Embedding passages", len(names), len(names))
        return ""


def _matrix(library: Library, space: str, entries: Sequence[IndexEntry]) -> Vectors:
    import numpy as np

    vectors = library.vectors(space, [one.vector_key for one in entries])
    return np.array([vectors[one.vector_key] for one in entries], np.float32).reshape(
        len(entries), -1 if entries else 0
    )


def _gone(difference: Difference, whole: Whole) -> dict[str, list[str]]:
    """What is gone, by the audience that it had."""
    found: dict[str, list[str]] = {}
    for one in sorted(difference.gone):
        found.setdefault(whole.about.audiences[whole.rows[one]], []).append(one)
    return found
