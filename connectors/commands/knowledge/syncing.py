"""`frontdesk knowledge sync`: a folder becomes what is published, once or as often as it changes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from connectors.commands.knowledge.opened import opened, print_json, progress, say, tell, tell_failures, tell_kept
from connectors.commands.options import Options
from knowledge.errors import FrontdeskError
from knowledge.folders.reading import Wish
from knowledge.folders.sync import SyncReport
from knowledge.folders.watching import watch

__all__ = ["Wish", "follow", "sync"]


async def sync(options: Options, directory: Path, wish: Wish, *, as_json: bool) -> None:
    """Bring a folder in."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge:
        with progress(errors) as report:
            result = await knowledge.sync(directory, wish, progress=report, say=lambda line: errors.print(Text(line)))
    _tell(result, errors, as_json=as_json)


async def follow(options: Options, directory: Path, wish: Wish, *, as_json: bool) -> None:
    """Bring a folder in, and again whenever something in it changes, until it is stopped."""
    errors = Console(stderr=True)

    def told(result: SyncReport | FrontdeskError) -> None:
        if isinstance(result, SyncReport):
            if not as_json:
                print(f"{datetime.now():%H:%M:%S} ", end="")  # noqa: T201, DTZ005
            _tell(result, errors, as_json=as_json)
        else:
            errors.print(Text(f"Error: {result}", style="red"), soft_wrap=True)

    if not as_json:
        say(f"Following {directory}. To stop: Ctrl-C")
    async with opened(options) as knowledge:
        await watch(knowledge, directory, wish, told, say=lambda line: errors.print(Text(line)))


def _tell(result: SyncReport, errors: Console, *, as_json: bool) -> None:
    if as_json:
        counts = {name: getattr(result, name) for name in ("added", "changed", "removed", "unchanged")}
        failed = [asdict(failure) for failure in result.failed]
        kept = {"kept": [asdict(one) for one in result.kept]} if result.kept else {}
        print_json({**counts, "failed": failed, "seconds": result.seconds, **kept})
    else:
        say(
            f"Added {result.added}, changed {result.changed}, removed {result.removed}, unchanged {result.unchanged} "
            f"documents ({result.passages} passages in all) in {result.seconds:.1f} s."
        )
        tell_failures(result.failed)
        tell_kept(result.kept)
    tell(errors, list(result.notes))
