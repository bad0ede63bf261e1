"""`frontdesk search`: what is found for a question, and why."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from connectors.commands.knowledge.opened import opened, print_json
from connectors.commands.options import Options
from knowledge.documents import PUBLIC
from knowledge.errors import KnowledgeError
from knowledge.search import Hit, Query, SearchResult

SNIPPET = 240
"""Characters of a passage in a list of hits."""


async def search(options: Options, text: str, limit: int, audiences: tuple[str, ...], *, as_json: bool) -> None:
    """Show what is found for one query."""
    async with opened(options) as knowledge:
        found = await knowledge.search(Query(text, limit, audiences=frozenset({PUBLIC, *audiences})))
    if found.note:
        print(f"Note: {found.note}", file=sys.stderr)  # noqa: T201
    if as_json:
        print_json({"query": text, "mode": found.mode, "hits": [_hit_json(hit) for hit in found.hits]})
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
            print_json({"id": query_id, "documents": documents})


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


def _hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "document": hit.passage.document,
        "title": hit.passage.title,
        "heading": " > ".join(hit.passage.heading),
        "score": hit.score,
        "text": hit.passage.text,
    }
