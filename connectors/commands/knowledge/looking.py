"""`frontdesk knowledge list | show | history | diff | stale`: what is there, and what was done to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Column, Table
from rich.text import Text

from connectors.commands.knowledge.opened import day_and_time, document_json, opened, out, print_json, say, tell, typed
from connectors.commands.options import Options
from knowledge.base import KnowledgeBase
from knowledge.differing import differences
from knowledge.documents import Event, Stored
from knowledge.errors import KnowledgeError, unknown_document

_DONE = {"written": "wrote", "published": "published", "retired": "retired", "erased": "erased what was before"}
_WAYS = {
    "folder": "from the folder",
    "upload": "added",
    "page": "from the page",
    "restore": "restored",
    "import": "imported",
    "proposal": "proposed",
}
_ID = Column("id", overflow="fold")
"""Whole, to be copied."""


def _day(name: str) -> Column:
    """A column of dates, which are whole or useless."""
    return Column(name, no_wrap=True, min_width=10)


_STYLES = {"draft": "yellow", "retired": "dim"}


async def list_documents(
    options: Options, *, states: frozenset[str], audience: str | None, tag: str | None, as_json: bool
) -> None:
    """List the documents by id."""
    async with opened(options) as knowledge:
        everything = await knowledge.all_documents()
        # As customers see them: a draft may be for others.
        shown = {one.document.id: one for one in await knowledge.documents()}
        stored = [
            one
            for one in (shown.get(newest.document.id, newest) for newest in everything)
            if one.state in states
            and audience in (None, one.document.audience)
            and (tag is None or tag in one.document.tags)
        ]
    if as_json:
        print_json({"documents": [document_json(one) for one in stored]})
    elif not everything:
        say("The knowledge base is empty. Bring documents in with: frontdesk knowledge sync DIR")
    elif not stored:
        say(f"No document is like that. See all: {typed('knowledge', 'list', '--all')}")
    elif not sys.stdout.isatty():
        for one in stored:
            document = one.document
            row = document.id, document.title, document.audience, str(document.updated or ""), _state(one)
            print("\t".join(row))  # noqa: T201
    else:
        _print_table(stored)


def _state(one: Stored) -> str:
    return f"{one.state}, draft {one.latest}" if one.state == "published" and one.has_draft else one.state


def _print_table(stored: Sequence[Stored]) -> None:
    table = Table(_ID, "title", "audience", _day("updated"), "state", box=None, header_style="bold")
    for one in stored:
        document = one.document
        style = "yellow" if one.has_draft else _STYLES.get(one.state, "")
        table.add_row(
            Text(document.id),
            Text(document.title),
            Text(document.audience),
            str(document.updated or ""),
            Text(_state(one), style=style),
        )
    console = out()
    console.print(table)
    console.print(f"{len(stored)} documents", style="dim")


async def show(options: Options, document_id: str, revision: int | None, *, passages: bool, as_json: bool) -> None:
    """Show one document, or the passages it was split into."""
    async with opened(options) as knowledge:
        stored = await _one(knowledge, document_id, revision)
        pieces = await knowledge.passages(document_id)
    document = stored.document
    if as_json:
        rows = [{"id": piece.id, "heading": list(piece.heading), "text": piece.text} for piece in pieces]
        print_json({**document_json(stored), "text": document.text, "passages": rows})
        return
    console = out()
    facts = {
        "id": document.id,
        "title": document.title,
        "url": document.url,
        "audience": document.audience,
        "language": document.language,
        "updated": document.updated,
        "review by": document.review_by,
        "tags": ", ".join(document.tags),
        "state": _standing(stored),
        "from": _origin(stored),
    }
    for name, value in facts.items():
        if value:
            console.print(Text.assemble((f"{name}: ", "bold"), str(value)), soft_wrap=True)
    console.print()
    if passages:
        for piece in pieces:
            console.print(Text(" > ".join((piece.title, *piece.heading)), style="bold"), soft_wrap=True)
            console.print(Text(piece.text), soft_wrap=True)
            console.print()
    elif console.is_terminal:
        console.print(Markdown(document.text))
    else:
        print(document.text)  # noqa: T201


def _standing(stored: Stored) -> str:
    """Its state, and which revision this is."""
    said = f"{stored.state}; revision {stored.revision} by {stored.author}, {day_and_time(stored.at)}"
    if stored.why:
        said += f" ({stored.why})"
    if stored.revision == stored.latest and stored.revision != stored.published and stored.state == "published":
        return f"{said}; customers see revision {stored.published}"
    return f"{said}; the newest is {stored.latest}" if stored.revision != stored.latest else said


def _origin(stored: Stored) -> str:
    if stored.origin.kind == "folder":
        return str(Path(stored.origin.place, stored.document.source))
    return f"{stored.origin.kind} {stored.origin.place or stored.document.source}".strip()


async def _one(knowledge: KnowledgeBase, document_id: str, revision: int | None = None) -> Stored:
    found = await knowledge.document(document_id, revision)
    if found is None and revision is not None and await knowledge.newest(document_id) is not None:
        raise KnowledgeError(
            f"The document {document_id!r} has no revision {revision}.",
            f"See which it has: {typed('knowledge', 'history', document_id)}",
        )
    if found is None:
        raise unknown_document(document_id)
    return found


async def history(options: Options, document_id: str, *, as_json: bool) -> None:
    """Show who did what to a document, when and why; the newest first."""
    async with opened(options) as knowledge:
        events = (await knowledge.history(document_id))[::-1]
        stored = await knowledge.document(document_id)
    if as_json:
        state = stored.state if stored is not None else "erased"
        print_json({"id": document_id, "state": state, "events": [asdict(event) for event in events]})
        return
    if not sys.stdout.isatty():
        for event in events:
            row = event.at.isoformat(), event.author, event.what, str(event.revision or ""), event.why
            print("\t".join(row))  # noqa: T201
        return
    table = Table("when", "who", "what", "why", box=None, header_style="bold")
    for event in events:
        table.add_row(day_and_time(event.at), Text(event.author), _what(event, stored), Text(event.why))
    out().print(table)
    if stored is not None:
        say(f"See what a revision changed: {typed('knowledge', 'diff', document_id)} [FROM] [TO]", "dim")


def _what(event: Event, stored: Stored | None) -> Text:
    said = Text(_DONE[event.what])
    if stored is None:
        return Text("erased the document")
    if event.revision is not None:
        said.append(f" revision {event.revision}")
    if event.way in _WAYS:
        said.append(f", {_WAYS[event.way]}")
    if event.what == "written" and event.edition is None:
        said.append(", a draft", "yellow")
    shown = stored.published if stored.state == "published" else None
    if shown is not None and event.revision == shown and event.edition is not None:
        said.append(" (shown now)", "green")
    return said


async def diff(options: Options, document_id: str, first: int | None, second: int | None) -> None:
    """Show what differs between two revisions of a document."""
    async with opened(options) as knowledge:
        newest = await knowledge.newest(document_id)
        if newest is None:
            newest = await _one(knowledge, document_id)
        last = second or newest.latest
        # What publishing it would change; else what was changed last.
        since = newest.published if newest.published not in (None, last) else last - 1
        begin = first or max(since or 0, 1)
        if first is None and await knowledge.document(document_id, begin) is None:
            begin = last  # the one before was erased
        old, new = await _one(knowledge, document_id, begin), await _one(knowledge, document_id, last)
    if old.revision == new.revision:
        say(f"{document_id} has one revision only.")
        return
    lines = differences(old, new)
    if not lines:
        say(f"Revisions {old.revision} and {new.revision} of {document_id} say the same.")
    console = out()
    for line in lines:
        console.print(Text(line, style=_colour(line)), soft_wrap=True)


def _colour(line: str) -> str:
    if line.startswith(("---", "+++")):
        return "bold"
    return {"-": "red", "+": "green", "@": "cyan"}.get(line[:1], "")


async def stale(options: Options, within: int, *, as_json: bool) -> bool:
    """List the documents that are due for review, and those whose page cannot be had. Returns whether there is one."""
    async with opened(options) as knowledge:
        due, lost = await knowledge.stale(within), await knowledge.lost_pages()
    if as_json:
        rows = [
            {"url": one.url, "problem": one.problem, "since": one.failing_since, "documents": ids} for one, ids in lost
        ]
        print_json({"documents": [document_json(one) for one in due], "pages": rows})
        return bool(due or lost)
    if not due:
        say("No document is due for review." if not within else f"No document is due for review within {within} days.")
    elif not sys.stdout.isatty():
        for one in due:
            print("\t".join((one.document.id, one.document.title, str(one.document.review_by), one.author)))  # noqa: T201
    else:
        _print_due(due)
    errors = Console(stderr=True)
    for known, ids in lost:
        since = f"{known.failing_since:%Y-%m-%d}" if known.failing_since is not None else "the first time"
        tell(errors, [f"{', '.join(ids)}: its page could not be had since {since}: {known.problem} ({known.url})"])
    if lost:
        tell(errors, ["Customers still see these copies. To try again: frontdesk knowledge recheck"])
    return bool(due or lost)


def _print_due(due: Sequence[Stored]) -> None:
    today = datetime.now(UTC).date()
    table = Table(_ID, "title", _day("review by"), "", "last text by", box=None, header_style="bold")
    for one in due:
        assert one.document.review_by is not None
        days = (today - one.document.review_by).days
        when = f"{days} days ago" if days > 0 else "today" if not days else f"in {-days} days"
        style = "red" if days > 0 else "yellow"
        row = Text(one.document.id), Text(one.document.title), str(one.document.review_by), Text(when, style=style)
        table.add_row(*row, Text(one.author))
    out().print(table)
    say("Looked at one? Set its next date: frontdesk knowledge edit ID --review-by DATE --publish", "dim")
