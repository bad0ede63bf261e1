"""One writer per data directory: a file lock that names its holder and is free as soon as the holder is gone, even killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from knowledge.errors import BusyError

WAIT_SECONDS = 5.0


@asynccontextmanager
async def writer_lock(data: Path) -> AsyncIterator[None]:
    """Hold the lock of `data`. Raises `BusyError` when another process still has it after 5 seconds."""
    holder = data / "writer.holder"
    lock = FileLock(data / "writer.lock")
    try:
        await asyncio.to_thread(lock.acquire, timeout=WAIT_SECONDS)
    except Timeout:
        try:
            who = holder.read_text("utf-8").strip()
        except OSError:
            who = "another process"
        raise BusyError(
            f"{who} is writing to {data}.", "Wait until it is done, or choose another directory with --data DIR."
        ) from None
    try:
        holder.write_text(f"Process {os.getpid()} ({Path(sys.argv[0]).name} {' '.join(sys.argv[1:3])})\n", "utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
