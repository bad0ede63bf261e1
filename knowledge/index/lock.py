"""One writer per data directory: a file lock that names its holder and is free as soon as the holder is gone, even killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from knowledge.errors import BusyError, StoreError

WAIT_SECONDS = 5.0


class WriterLock:
    """The lock of a data directory."""

    def __init__(self, data: Path) -> None:
        self._data = data
        # It is taken in a thread and given back in another.
        self._lock = FileLock(data / "writer.lock", thread_local=False)
        self._holder = data / "writer.holder"

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._lock.is_locked

    async def take(self, seconds: float = 0.0) -> bool:
        """Take it, if it is free within so many seconds, and tell whether. Raises `StoreError`."""
        try:
            await asyncio.to_thread(self._take, seconds)
        except Timeout:
            return False
        except OSError as error:
            raise StoreError(
                f"The data directory {self._data} cannot be used: {error.strerror or error}.",
                "Choose another with --data DIR or FRONTDESK_DATA.",
            ) from error
        return True

    def give_back(self) -> None:
        """Let others have it."""
        if self.held:
            self._holder.unlink(missing_ok=True)
            self._lock.release()

    @property
    def holder(self) -> str:
        """Who has it, as the holder has written it down."""
        try:
            return self._holder.read_text("utf-8").strip() or "another process"
        except OSError:
            return "another process"

    def current_holder(self) -> str:
        """Who has it just now; "" when nobody has."""
        if self.held:
            return self.holder
        try:
            # Whoever was killed has left a name behind.
            self._lock.acquire(timeout=0)
        except Timeout:
            return self.holder
        except OSError:
            return ""
        self._lock.release()
        return ""

    def _take(self, seconds: float) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        self._lock.acquire(timeout=seconds)
        words = " ".join(Path(one).name for one in sys.argv[:3])
        self._holder.write_text(f"process {os.getpid()} ({words})\n", "utf-8")


@asynccontextmanager
async def writer_lock(data: Path) -> AsyncIterator[None]:
    """Hold the lock of `data`. Raises `BusyError` when another process still has it after 5 seconds."""
    lock = WriterLock(data)
    if not await lock.take(WAIT_SECONDS):
        raise BusyError(
            f"The index in {data} is being written by {lock.holder}.",
            "Wait until it is done, or choose another directory with --data DIR.",
        )
    try:
        yield
    finally:
        lock.give_back()
