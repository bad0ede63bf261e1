"""Following a folder: what changes in it is brought in a moment later, until the caller is cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from knowledge.errors import FolderError, FrontdeskError
from knowledge.folders.reading import Wish
from knowledge.folders.sync import SyncReport

if TYPE_CHECKING:
    from knowledge.base import KnowledgeBase

LONGEST_WAIT = 30.0
"""A folder in which something changes all the time is brought in this often all the same."""
LOOK_SECONDS = 30.0
"""How often the folder is looked at when nothing is heard: some network drives tell of nothing."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to wait: until what changes is `settled`, so that half a file is not read, and to try `again` what failed.

    `same` is how often it is seen whether the folder is still the same one: `mv` or a checkout may have put another there.
    """

    settled: float = 2.0
    again: float = 10.0
    same: float = 2.0


AT_EASE = Pace()
Told = Callable[[SyncReport | FrontdeskError], None]


async def watch(
    knowledge: KnowledgeBase,
    directory: Path,
    wish: Wish,
    told: Told,
    *,
    say: Callable[[str], None] | None = None,
    pace: Pace = AT_EASE,
) -> None:
    """Bring `directory` in, and again whenever something in it changes. Ends only when it is cancelled.

    `told` gets the first report and each in which something happened, and each error once; what went wrong is tried again.
    Raises `FolderError` when there is no such folder to begin with.
    """
    if not await asyncio.to_thread(directory.is_dir):
        raise FolderError(f"There is no folder {directory}.", "Check the path.")
    last = ""
    before: SyncReport | None = None
    while True:
        try:
            async with aclosing(_changes(directory, pace)) as changes:
                async for _ in changes:
                    report = await knowledge.sync(directory, wish, say=say)
                    if before is None or last or _is_news(report, before):
                        told(report)
                    before, last = report, ""
                    # What a person decided for what there is does not hold for what comes.
                    wish = replace(wish, take=frozenset(), take_all=False, allow_empty=False)
        except (FrontdeskError, OSError) as error:
            ours = error if isinstance(error, FrontdeskError) else _lost(directory, error)
            if str(ours) != last:
                told(ours)
            last = str(ours)
            await asyncio.sleep(pace.again)


def _is_news(report: SyncReport, before: SyncReport) -> bool:
    """Whether something happened, or goes wrong that was not told yet."""
    happened = report.added or report.changed or report.removed
    return bool(happened) or (report.failed, report.kept) != (before.failed, before.kept)


def _lost(directory: Path, error: OSError) -> FolderError:
    return FolderError(
        f"The folder {directory} cannot be followed: {error.strerror or error}.",
        "It is tried again; nothing was removed.",
    )


async def _changes(directory: Path, pace: Pace) -> AsyncGenerator[None]:
    """At once, whenever the folder has changed and settled, and from time to time; until another is there in its place."""
    import watchfiles

    heard = watchfiles.awatch(
        directory,
        watch_filter=_is_visible(directory),
        debounce=500,
        step=100,
        rust_timeout=int(pace.same * 1000),
        yield_on_timeout=True,
    )
    followed, looked = _identity(directory), time.monotonic()
    # It listens from its first step on: what changes while the folder is read for the first time is heard.
    hearing = asyncio.ensure_future(anext(heard))
    try:
        await asyncio.sleep(0)
        yield None
        while True:
            changed = await hearing
            hearing = asyncio.ensure_future(anext(heard))
            if await asyncio.to_thread(_identity, directory) != followed:
                # Another folder is there under its name, of which this tells nothing; or none.
                return
            if changed or time.monotonic() - looked > LOOK_SECONDS:
                await _settled({Path(path) for _, path in changed}, pace.settled)
                looked = time.monotonic()
                yield None
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        await heard.aclose()


def _is_visible(directory: Path) -> Callable[[object, str], bool]:
    root = directory.resolve()

    def is_visible(change: object, path: str) -> bool:
        for base in (root, directory.absolute()):
            with suppress(ValueError):
                # `..data` is what Kubernetes swaps when a mounted folder changes.
                parts = Path(path).relative_to(base).parts
                return not any(part.startswith(".") and not part.startswith("..") for part in parts)
        return True

    return is_visible


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        status = directory.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def _settled(paths: Iterable[Path], seconds: float) -> None:
    """Wait until these files are not written to any more."""
    until = time.monotonic() + LONGEST_WAIT
    before = _looks(paths)
    while time.monotonic() < until:
        await asyncio.sleep(seconds)
        if (now := _looks(paths)) == before:
            return
        before = now


def _looks(paths: Iterable[Path]) -> dict[Path, tuple[int, int] | None]:
    found: dict[Path, tuple[int, int] | None] = {}
    for path in paths:
        try:
            status = path.stat()
            found[path] = status.st_size, status.st_mtime_ns
        except OSError:
            found[path] = None
    return found
