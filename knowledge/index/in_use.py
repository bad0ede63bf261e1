"""The index that questions are answered from, in this process: the one that the data directory says is in use."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from knowledge.errors import KnowledgeError
from knowledge.index import Difference, Index, Whole, generations, read_difference
from knowledge.index.generations import Generation
from knowledge.library import Library
from knowledge.vectors import VectorStore

_log = logging.getLogger(__name__)

KEYWORDS_ONLY = "Search works by keywords only"
HEAL = "It is mended while `frontdesk run` is up, or now by: frontdesk knowledge rebuild"
_LINGER_SECONDS = 5.0
"""How long what is not in use any more stays open for questions that are under way."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An index and the edition that it holds.

    `generation` is what the data directory said was in use. `note` is set when that one cannot be used and this is a makeshift.
    `whole` is what it is made of, `None` for a makeshift.
    """

    edition: int
    index: Index
    generation: Generation | None
    note: str = ""
    whole: Whole | None = None
    difference: Difference | None = None

    @property
    def embedder(self) -> str:
        """Name of the embedder whose vectors the index holds; empty when it holds none."""
        return self.generation.embedder if self.generation is not None and not self.note else ""


class InUse:
    """Opens what is in use, and lets go of what no longer is. `store` is where vectors are; `None` to leave them alone."""

    def __init__(self, data: Path, store: VectorStore | None, language: str) -> None:
        self._data = data
        self._store = store
        self._language = language
        self._opened: Opened | None = None
        self._wholes: dict[str, Whole] = {}
        self._expected: set[str] = set()
        self._opening = asyncio.Lock()
        self._ahead: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def current(self, library: Library, *, newest: bool = False) -> Opened:
        """The index in use; another process may have put a new one in use since the last question.

        One that takes a moment to open is not waited for while there is one to answer from, unless it has to be the `newest`.
        """
        # Most often it is the same. A hundred bytes are read sooner than a thread is asked to, and nobody waits in a row.
        opened = self._opened
        if opened is not None and not opened.note and generations.current(self._data) == opened.generation:
            return opened
        async with self._opening:
            self._opened = await self._current(library, self._opened, newest=newest)
            if self._opened.whole is not None:
                self._expected.discard(self._opened.whole.name)
            self._let_go()
            return self._opened

    async def whole(self, name: str, library: Library) -> Whole:
        """A whole index, opened; also ahead of its use: then it is kept until it is in use, or forgotten.

        Raises `KnowledgeError`.
        """
        self._expected.add(name)
        if name not in self._wholes:
            identity = await asyncio.to_thread(library.identity)
            folder = generations.folder_of(self._data, name)
            opened = await Whole.open(folder, self._store, identity)
            if name in self._wholes:
                await opened.close()
            else:
                self._wholes[name] = opened
        return self._wholes[name]

    async def forget(self, name: str) -> None:
        """Let go of a whole index that is not to be used."""
        self._expected.discard(name)
        if (whole := self._wholes.pop(name, None)) is not None:
            await whole.close()

    async def close(self) -> None:
        """Let go of everything. It may be used again afterwards."""
        tasks = {*self._closing, *([self._ahead] if self._ahead is not None else [])}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._ahead = None
        self._opened = None
        for name in list(self._wholes):
            await self.forget(name)

    async def _current(self, library: Library, old: Opened | None, *, newest: bool) -> Opened:
        found = await asyncio.to_thread(generations.current, self._data)
        if old is not None and old.generation == found:
            if not old.note or old.edition == await asyncio.to_thread(library.edition):
                return old
        elif old is not None and not old.note and not newest and found is not None and await self._is_far(found):
            # Opening it takes a moment: until then questions see the edition before.
            if self._ahead is None or self._ahead.done():
                self._ahead = asyncio.create_task(self._open_ahead(found, library))
            return old
        return await self._open(library, found)

    async def _is_far(self, found: Generation) -> bool:
        """Whether what this index is made of is not open yet, and can be."""
        try:
            return await asyncio.to_thread(self._base_of, found.name) not in self._wholes
        except KnowledgeError:
            return False

    def _base_of(self, name: str) -> str:
        difference = read_difference(generations.folder_of(self._data, name))
        return difference.base if difference is not None else name

    async def _open_ahead(self, found: Generation, library: Library) -> None:
        self._expected.clear()
        try:
            await self.whole(await asyncio.to_thread(self._base_of, found.name), library)
        except KnowledgeError as error:
            # The next question finds the same and says so.
            _log.warning("The index %s cannot be opened: %s", found.name, error.message)
            self._opened = None

    async def _open(self, library: Library, found: Generation | None) -> Opened:
        note = f"{KEYWORDS_ONLY}: there is no index yet. {HEAL}"
        try:
            if found is not None:
                folder = generations.folder_of(self._data, found.name)
                difference = await asyncio.to_thread(read_difference, folder)
                whole = await self.whole(difference.base if difference is not None else found.name, library)
                index = await asyncio.to_thread(Index.of, whole, difference)
                return Opened(found.edition, index, found, whole=whole, difference=difference)
        except KnowledgeError as error:
            note = f"{KEYWORDS_ONLY}: {error.message} {HEAL}"
        edition = await asyncio.to_thread(library.edition)
        index = await asyncio.to_thread(lambda: Index.in_memory(library.entries(edition), self._language))
        return Opened(edition, index, found, note)

    def _let_go(self) -> None:
        """Close what is not in use any more, when the questions that are under way are done with it."""
        kept = self._expected | ({self._opened.whole.name} if self._opened and self._opened.whole else set())
        for name in self._wholes.keys() - kept:
            task = asyncio.create_task(_close_later(self._wholes.pop(name)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _close_later(whole: Whole) -> None:
    try:
        await asyncio.sleep(_LINGER_SECONDS)
    finally:
        await whole.close()
