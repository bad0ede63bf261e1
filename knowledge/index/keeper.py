"""Keeps the index at the library's edition, and well. One process does it for each data directory: who has the writer's lock.

`frontdesk run` and `frontdesk worker` keep it for as long as they run. What another process publishes, on this machine or on
another, is seen in the database within seconds. A command that publishes waits for them, or does the work itself when there
is no such process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from knowledge.errors import IndexFailure, KnowledgeError
from knowledge.index import generations
from knowledge.index.building import Progress
from knowledge.index.in_use import InUse
from knowledge.index.indexer import Indexer, Say
from knowledge.index.lock import WriterLock
from knowledge.library import Library

_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
CHECK_SECONDS = 60.0
"""Between two looks whether passages are still found by their own vectors."""
OTHER_SECONDS = 600.0
"""Between two looks whether an embedder elsewhere still makes the same vectors."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Before something that failed is tried again."""
WAIT_SECONDS = 20.0
"""How long a command waits for another process to index what it published."""
_LOOK_SECONDS = 0.1
_TOLD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the index. `done`: customers see the newest edition.

    `by` is the process that did it, or is at it, if that is another one. `note` says what is not whole, for staff.
    """

    done: bool
    note: str = ""
    by: str = ""

    @property
    def words(self) -> str:
        """One line for the person who waited, who has read `note` already."""
        if self.done:
            return "Customers see it now." + (f" It was indexed by {self.by}." if self.by else "")
        if self.by:
            return f"It is being indexed by {self.by}; customers see it when that is done."
        return "Customers see the version before."


class Keeper:
    """Whoever wants the index of `data` brought up asks here, whether this process keeps it or another."""

    def __init__(self, data: Path, library: Callable[[], Library], indexer: Indexer, in_use: InUse) -> None:
        self._data = data
        self._library = library
        self._indexer = indexer
        self._in_use = in_use
        self._lock = WriterLock(data)
        self._keeping = False
        self._wake = asyncio.Event()
        self._told_at = 0.0
        self._tried = 0

    @property
    def holder(self) -> str:
        """The process that keeps the index, or is writing it; "" when there is none."""
        return self._lock.current_holder()

    async def searchable(self, progress: Progress, say: Say, wait: float = WAIT_SECONDS) -> Outcome:
        """Have what is published now indexed. Raises `StoreError`."""
        library = await asyncio.to_thread(self._library)
        edition = await asyncio.to_thread(library.edition)

        def done() -> bool:
            found = generations.current(self._data)
            return (found.edition if found is not None else 0) >= edition

        return await self._done(done, progress, say, wait, anew=False)

    async def rebuild(self, progress: Progress, say: Say, wait: float) -> Outcome:
        """Have the index built anew, whatever state it is in. Raises `StoreError`."""
        before = await asyncio.to_thread(generations.current, self._data)
        if not self._keeping and await self._lock.take():
            return await self._by_us(progress, say, anew=True)
        await asyncio.to_thread(self._ask)

        def done() -> bool:
            return generations.current(self._data) != before and not self._request.exists()

        return await self._done(done, progress, say, wait, anew=True)

    async def _done(
        self, done: Callable[[], bool], progress: Progress, say: Say, wait: float, *, anew: bool
    ) -> Outcome:
        """Do it, unless another process holds the lock: then wait until it has, or is gone."""
        end = time.monotonic() + wait
        while True:
            if not self._keeping and await self._lock.take():
                return await self._by_us(progress, say, anew=anew)
            self._wake.set()
            if await asyncio.to_thread(done):
                return Outcome(True, by="" if self._keeping else self._lock.holder)
            if time.monotonic() > end:
                return Outcome(False, by=self._lock.holder)
            await asyncio.to_thread(self._pass_on, progress)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _by_us(self, progress: Progress, say: Say, *, anew: bool) -> Outcome:
        try:
            return Outcome(True, await self._indexer.bring_up(progress, say, anew=anew))
        except IndexFailure as error:
            return Outcome(False, f"{error.message} {error.hint}".strip())
        finally:
            self._request.unlink(missing_ok=True)
            self._lock.give_back()

    # Keeping it ------------------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Keep the index until cancelled, as soon as no other process does."""
        trouble, pause = "", 0.0
        looked = _Looked()
        try:
            while True:
                if not self._lock.held and await self._lock.take():
                    self._keeping = True
                    _log.info("This process keeps the index.")
                if self._lock.held:
                    try:
                        note = await self._look_after(looked, again=bool(trouble))
                    except KnowledgeError as error:
                        note = f"The index is not up to date: {error.message}"
                    if note and note != trouble:
                        _log.warning("%s", note)
                    elif trouble and not note:
                        _log.warning("The index is whole again.")
                    trouble = note
                pause = min(max(FIRST_PAUSE, 2 * pause), LONGEST_PAUSE) if trouble else 0.0
                await self._sleep(pause or POLL_SECONDS)
        finally:
            self._keeping = False
            self._lock.give_back()

    async def _sleep(self, seconds: float) -> None:
        """For so long, or until something is published or asked for."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(POLL_SECONDS, left))
                break
            if self._lock.held and await asyncio.to_thread(self._has_work):
                break
        self._wake.clear()

    def _has_work(self) -> bool:
        """Whether there is a newer edition than the one that was tried last, or somebody wants it built anew."""
        if self._request.exists():
            return True
        try:
            return self._library().edition() > self._tried
        except KnowledgeError:
            return False

    async def _look_after(self, looked: _Looked, *, again: bool) -> str:
        """One round. Returns what is not whole, or "" . `again`: something was not, the last time."""
        library = await asyncio.to_thread(self._library)
        if await asyncio.to_thread(self._request.exists):
            try:
                return await self._indexer.bring_up(self._tell, _to_log, anew=True)
            finally:
                await asyncio.to_thread(self._request.unlink, missing_ok=True)
        opened = await self._in_use.current(library)
        vectors = opened.whole.vectors if opened.whole is not None else None
        if vectors is not None and not vectors.note and looked.checked.is_due(CHECK_SECONDS):
            with suppress(IndexFailure):
                await vectors.check()
        edition = self._tried = await asyncio.to_thread(library.edition)
        behind = (opened.generation.edition if opened.generation is not None else 0) != edition
        if not edition and not behind:
            return ""
        lost = bool(opened.note) or (vectors is not None and vectors.lost)
        if not (behind or lost or again) and looked.compared.is_due(OTHER_SECONDS):
            lost = await self._indexer.is_other(opened)
        if lost and not behind and not looked.mended.is_due(looked.pause):
            return opened.note or (vectors.note if vectors is not None else "")
        if not (behind or lost or again):
            return ""
        # What is lost again right after it was built would keep this process busy for ever.
        looked.pause = min(max(FIRST_PAUSE, 2 * looked.pause), LONGEST_PAUSE) if lost else 0.0
        return await self._indexer.bring_up(self._tell, _to_log)

    # Word between processes ------------------------------------------------------------------------------------------

    @property
    def _request(self) -> Path:
        return self._data / "index" / "rebuild"

    @property
    def _progress(self) -> Path:
        return self._data / "index" / "progress.json"

    def _ask(self) -> None:
        self._request.parent.mkdir(parents=True, exist_ok=True)
        self._request.touch()

    def _tell(self, what: str, done: int, total: int) -> None:
        """Leave word for those who wait how far it is."""
        if time.monotonic() - self._told_at < _TOLD_SECONDS and done < total:
            return
        self._told_at = time.monotonic()
        new = self._progress.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            new.write_text(json.dumps({"what": what, "done": done, "total": total}), "utf-8")
            os.replace(new, self._progress)

    def _pass_on(self, progress: Progress) -> None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            if time.time() - self._progress.stat().st_mtime < 10:
                said = json.loads(self._progress.read_text("utf-8"))
                progress(str(said["what"]), int(said["done"]), int(said["total"]))


class _Timer:
    """When something was last done."""

    def __init__(self, *, due: bool) -> None:
        self._at = float("-inf") if due else time.monotonic()

    def is_due(self, seconds: float) -> bool:
        """Whether so many seconds are over; then they begin anew."""
        if time.monotonic() - self._at < seconds:
            return False
        self._at = time.monotonic()
        return True


class _Looked:
    """When the keeper last looked at what it does not look at in every round."""

    def __init__(self) -> None:
        self.checked = _Timer(due=False)
        self.compared = _Timer(due=True)
        self.mended = _Timer(due=True)
        self.pause = 0.0


def _to_log(line: str) -> None:
    _log.info("%s", line)
