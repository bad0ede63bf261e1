"""What the commands over the knowledge base share."""

from __future__ import annotations

import getpass
import json
import shlex
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from connectors.commands.options import Options
from connectors.composition import build_knowledge, read_settings
from knowledge.base import KnowledgeBase
from knowledge.documents import Stored
from knowledge.editing import Act
from knowledge.folders.reading import Failure
from knowledge.folders.reading import Progress as Report
from knowledge.folders.sync import Kept


@dataclass(frozen=True, slots=True)
class Signature:
    """Who does it, and why, as given on the command line."""

    by: str = ""
    why: str = ""

    @property
    def author(self) -> str:
        """The name given, else that of the person who is logged in."""
        return " ".join(self.by.split()) or _logged_in()

    def act(self, *, publish: bool = False, confirmed: bool = False) -> Act:
        """What is done in this name."""
        return Act(self.author, self.why.strip(), publish, confirmed)


def _logged_in() -> str:
    try:
        return getpass.getuser()
    # Nobody, as in a container with a user id that has no name.
    except (KeyError, OSError, ImportError):
        return "somebody"


@asynccontextmanager
async def opened(options: Options) -> AsyncGenerator[KnowledgeBase]:
    """The knowledge base of these options, closed at the end."""
    knowledge = build_knowledge(read_settings(options.config, options.data))
    try:
        yield knowledge
    finally:
        await knowledge.close()


async def bring_up(knowledge: KnowledgeBase, errors: Console) -> bool:
    """Have what was just published indexed. Returns whether customers see it now; why not, or who is at it, is told."""
    with progress(errors) as report:
        outcome = await knowledge.bring_up(report, lambda line: errors.print(Text(line)))
    tell(errors, [line for line in (outcome.note, "" if outcome.done and not outcome.by else outcome.words) if line])
    return outcome.done


@contextmanager
def progress(console: Console) -> Iterator[Report]:
    """A bar for each stage of long work, on a terminal only."""
    if not console.is_terminal:
        yield lambda what, done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


def out() -> Console:
    """Where results go: folded on a terminal, in whole lines elsewhere."""
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def say(line: str, style: str = "") -> None:
    """A sentence for the person who typed the command."""
    Console(highlight=False).print(Text(line, style=style), soft_wrap=True)


def tell(errors: Console, notes: list[str]) -> None:
    """Notes beside the result, on standard error."""
    for note in notes:
        errors.print(Text(f"Note: {note}", style="yellow"), soft_wrap=True)


def tell_failures(failed: tuple[Failure, ...], what: str = "files") -> None:
    """What did not go in, and why."""
    if failed:
        say(f"{len(failed)} {what if len(failed) > 1 else what.removesuffix('s')} did not go in:", "yellow")
        for failure in failed:
            say(f"  {failure.file}: {failure.reason}")


def tell_kept(kept: tuple[Kept, ...]) -> None:
    """What stays as a person left it, and why."""
    if kept:
        stay = "documents stay as a person left them" if len(kept) > 1 else "document stays as a person left it"
        say(f"{len(kept)} {stay}:", "yellow")
        for one in kept:
            say(f"  {one.document}: {one.reason}")


def print_json(value: dict[str, Any]) -> None:
    """One object in one line."""
    print(json.dumps(value, ensure_ascii=False, default=_plain), flush=True)  # noqa: T201


def _plain(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")


def document_json(stored: Stored) -> dict[str, Any]:
    """A document as programs get it."""
    document = stored.document
    return {
        "id": document.id,
        "title": document.title,
        "url": document.url,
        "audience": document.audience,
        "language": document.language,
        "updated": document.updated,
        "review_by": document.review_by,
        "tags": list(document.tags),
        "source": document.source,
        "state": stored.state,
        "revision": stored.revision,
        "published": stored.published,
        "latest": stored.latest,
        "origin": {"kind": stored.origin.kind, "place": stored.origin.place},
        "author": stored.author,
        "at": stored.at,
        "why": stored.why,
    }


def typed(*words: str) -> str:
    """A command as it is typed."""
    return shlex.join(("frontdesk", *words))


def day_and_time(moment: datetime) -> str:
    """In the time of this machine."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
