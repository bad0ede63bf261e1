"""`frontdesk knowledge ...` and `frontdesk search`."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from connectors.commands.options import Options
from connectors.composition import build_knowledge, read_settings
from knowledge.base import KnowledgeBase
from knowledge.documents import PUBLIC
from knowledge.errors import KnowledgeError
from knowledge.search import Hit, Query, SearchResult
from knowledge.sync import Progress as Report
from knowledge.sync import SyncReport, Wish

SNIPPET = 240
"""Characters of a passage in a list of hits."""


@asynccontextmanager
async def opened(options: Options) -> AsyncGenerator[KnowledgeBase]:
    """The knowledge base of these options, closed at the end."""
    knowledge = build_knowledge(read_settings(options.config, options.data))
    try:
        yield knowledge
    finally:
        await knowledge.close()


async def sync(options: Options, directory: Path, *, allow_empty: bool, as_json: bool) -> None:
    """Bring a folder in."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge:
        with progress_bars(errors) as report:
            result = await knowledge.sync(
                directory, Wish(allow_empty=allow_empty), progress=report, say=lambda line: errors.print(Text(line))
            )
    if as_json:
        failed = [asdict(failure) for failure in result.failed]
        counts = {name: getattr(result, name) for name in ("added", "changed", "removed", "unchanged")}
        _print_json({**counts, "failed": failed, "seconds": result.seconds})
    else:
        _print_report(Console(soft_wrap=not sys.stdout.isatty()), result)
    for note in result.notes:
        errors.print(Text(f"Note: {note}", style="yellow"), soft_wrap=True)


def _print_report(console: Console, result: SyncReport) -> None:
    console.print(
        f"Added {result.added}, changed {result.changed}, removed {result.removed}, unchanged {result.unchanged} "
        f"documents ({result.passages} passages in all) in {result.seconds:.1f} s.",
        highlight=False,
        soft_wrap=True,
    )
    if result.failed:
        console.print(f"{len(result.failed)} files did not go in:", style="yellow", highlight=False)
        for failure in result.failed:
            console.print(Text(f"  {failure.file}: {failure.reason}"), soft_wrap=True)


@contextmanager
def progress_bars(console: Console) -> Iterator[Report]:
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


async def list_documents(options: Options, *, as_json: bool) -> None:
    """List the documents by id."""
    async with opened(options) as knowledge:
        stored = await knowledge.documents()
    if as_json:
        _print_json({"documents": [_document_json(one.document) for one in stored]})
        return
    console = Console(soft_wrap=not sys.stdout.isatty())
    if not stored:
        console.print("The knowledge base is empty. Bring documents in with: frontdesk knowledge sync DIR")
        return
    if not console.is_terminal:
        for one in stored:
            document = one.document
            print("\t".join((document.id, document.title, document.audience, str(document.updated or ""))))  # noqa: T201
        return
    table = Table("id", "title", "audience", "updated", box=None, header_style="bold")
    for one in stored:
        document = one.document
        table.add_row(Text(document.id), Text(document.title), Text(document.audience), str(document.updated or ""))
    console.print(table)
    console.print(f"{len(stored)} documents", style="dim")


async def show(options: Options, document_id: str, *, passages: bool, as_json: bool) -> None:
    """Show one document, or the passages it was split into."""
    async with opened(options) as knowledge:
        stored = await knowledge.document(document_id)
        pieces = await knowledge.passages(document_id)
    if stored is None:
        raise KnowledgeError(f"There is no document {document_id!r}.", "List them with: frontdesk knowledge list")
    document = stored.document
    if as_json:
        rows = [{"id": piece.id, "heading": list(piece.heading), "text": piece.text} for piece in pieces]
        _print_json({**_document_json(document), "text": document.text, "passages": rows})
        return
    console = Console(soft_wrap=not sys.stdout.isatty())
    facts = {
        "id": document.id,
        "title": document.title,
        "url": document.url,
        "audience": document.audience,
        "language": document.language,
        "updated": document.updated,
        "review by": document.review_by,
        "tags": ", ".join(document.tags),
        "file": str(Path(stored.origin.place, document.source)),
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


async def search(options: Options, text: str, limit: int, audiences: tuple[str, ...], *, as_json: bool) -> None:
    """Show what is found for one query."""
    async with opened(options) as knowledge:
        found = await knowledge.search(Query(text, limit, audiences=frozenset({PUBLIC, *audiences})))
    if found.note:
        print(f"Note: {found.note}", file=sys.stderr)  # noqa: T201
    if as_json:
        _print_json({"query": text, "mode": found.mode, "hits": [_hit_json(hit) for hit in found.hits]})
    else:
        _print_hits(Console(soft_wrap=not sys.stdout.isatty()), found)


def _print_hits(console: Console, found: SearchResult) -> None:
    if not found.hits:
        console.print("Nothing was found.")
    for number, hit in enumerate(found.hits, 1):
        title = " > ".join((hit.passage.title, *hit.passage.heading))
        console.print(Text.assemble((f"{number}. ", "bold"), (title, "bold"), (f"   {hit.passage.document}", "dim")))
        console.print(Text(f"   {_why(hit)}", style="dim"), soft_wrap=True)
        snippet = " ".join(hit.passage.text.split())
        console.print(Text("   " + (snippet[:SNIPPET] + " ..." if len(snippet) > SNIPPET else snippet)), soft_wrap=True)
        console.print()
    mode = "vectors and keywords" if found.mode == "hybrid" else "keywords only"
    console.print(Text(f"Searched by {mode}; confidence {found.confidence:.2f}.", style="dim"))


def _why(hit: Hit) -> str:
    parts = [f"score {hit.score:.2f}"]
    if hit.why.dense is not None:
        parts.append(f"meaning {hit.why.dense:.2f}")
    if hit.why.reranked is not None:
        parts.append(f"reranker {hit.why.reranked:.3g}")
    parts += [f"words {hit.why.words:.1f}", f"letters {hit.why.grams:.1f}"]
    if hit.why.matched:
        parts.append("has: " + ", ".join(hit.why.matched[:8]))
    if hit.audience != PUBLIC:
        parts.append(f"audience: {hit.audience}")
    return "; ".join(parts)


async def search_batch(options: Options, file: Path, limit: int, audiences: tuple[str, ...]) -> None:
    """For each line {"id", "text"} of `file` write a line {"id", "documents"}."""
    queries = _queries(file)
    noted = ""
    async with opened(options) as knowledge:
        for query_id, text in queries:
            query = Query(text, limit, audiences=frozenset({PUBLIC, *audiences}))
            documents, note = await knowledge.best_documents(query)
            if note and note != noted:
                print(f"Note: {note}", file=sys.stderr)  # noqa: T201
                noted = note
            _print_json({"id": query_id, "documents": documents})


def _queries(file: Path) -> list[tuple[Any, str]]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise KnowledgeError(
            f"{file} cannot be read: {reason}.", 'It holds lines {"id": "1", "text": "..."}.'
        ) from error
    queries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or "id" not in entry or not isinstance(entry.get("text"), str):
            raise KnowledgeError(
                f"{file}, line {number} is not a query.", 'A line is written as: {"id": "1", "text": "..."}'
            )
        queries.append((entry["id"], entry["text"]))
    return queries


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)  # noqa: T201


def _document_json(document: Any) -> dict[str, Any]:
    return {
        "id": document.id,
        "title": document.title,
        "url": document.url,
        "audience": document.audience,
        "language": document.language,
        "updated": document.updated.isoformat() if document.updated else None,
        "review_by": document.review_by.isoformat() if document.review_by else None,
        "tags": list(document.tags),
        "source": document.source,
    }


def _hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "document": hit.passage.document,
        "title": hit.passage.title,
        "heading": " > ".join(hit.passage.heading),
        "score": hit.score,
        "text": hit.passage.text,
    }
