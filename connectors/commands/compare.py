"""`frontdesk compare`: the same questions to several models, side by side, at the terminal and as a page."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from agent.errors import SettingsError
from agent.evaluation import Case, Comparison, Run, Share, read_cases, run_cases
from agent.guard import shorten
from agent.messages import Usage
from connectors.commands.comparison import how_judged, page, rows, what_came, why_failed
from connectors.commands.options import Options
from connectors.composition import Desk, read_settings
from knowledge.base import KnowledgeBase
from knowledge.errors import KnowledgeError
from knowledge.readers.encoding import clean
from knowledge.search import Query

SNIPPET = 100
"""Characters of a question at the terminal."""
HOW = "For example: frontdesk compare --models quotes,qwen questions.jsonl"
_WIDE = 200
"""Columns of a table that goes into a file or a pipe."""


async def compare(
    options: Options,
    models: Sequence[str],
    cases: Path,
    *,
    html: Path | None,
    as_json: bool,
    limit: int | None,
    concurrency: int,
) -> None:
    """Answer the questions in `cases` with each of `models`, print what came of it, and write a page if one is wanted.

    Raises `SettingsError` (models, page) and `KnowledgeError` (cases, empty knowledge base) before any model is asked.
    """
    names = checked_names(models)
    asked = read_cases(cases)[:limit]
    if html is not None:
        check_writable(html, cases)
    errors = Console(stderr=True)
    async with Desk.open(read_settings(options.config, options.data)) as desk:
        agents = {name: desk.agent_with(name) for name in names}
        for note in await _prepare(desk.knowledge, asked):
            errors.print(Text(f"Note: {note}", style="yellow"), soft_wrap=True)
        with _progress(errors) as progress:
            results = await run_cases(
                asked, agents, desk.model_for("judge"), concurrency=concurrency, progress=progress
            )
    if html is not None:
        write_whole(html, page(results))
    if as_json:
        print(json.dumps(as_object(results), ensure_ascii=False))  # noqa: T201
    else:
        on_terminal = sys.stdout.isatty()
        report(Console(soft_wrap=not on_terminal, width=None if on_terminal else _WIDE), results)
    if html is not None:
        errors.print(Text(f"The page is at {html}"), soft_wrap=True)


def checked_names(models: Sequence[str]) -> list[str]:
    """The models to compare. Raises `SettingsError` for fewer than two, or one that is named twice."""
    names = [name.strip() for name in models if name.strip()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"--models names {twice} twice.", f"Name different models. {HOW}")
    if len(names) < 2:
        named = f"only {names[0]}" if names else "no model"
        raise SettingsError(f"--models names {named}; a comparison takes two or more.", HOW)
    return names


async def _prepare(knowledge: KnowledgeBase, cases: Sequence[Case]) -> list[str]:
    """Look that there is something to answer from; say which expected documents there are not."""
    there = {one.document.id for one in await knowledge.documents()}
    if not there:
        raise KnowledgeError(
            "The knowledge base is empty.", "Bring your documents in with: frontdesk knowledge sync DIR"
        )
    # The first search opens the index; no model's time should hold that.
    await knowledge.search(Query(cases[0].text))
    missing = list(dict.fromkeys(one for case in cases for one in case.documents if one not in there))
    if not missing:
        return []
    named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return [f"Expected, but not in the knowledge base: {named}. List what is there with: frontdesk knowledge list"]


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar, on a terminal only."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("Answering", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


# Files ----------------------------------------------------------------------------------------------------------------


def check_writable(path: Path, cases: Path) -> None:
    """Raise `SettingsError` when a page cannot be written there: better before the models are paid than after."""
    if path.exists() and path.samefile(cases):
        raise SettingsError(
            f"--html {path} would overwrite the questions.", "Name another file: --html comparison.html"
        )
    if path.is_dir():
        raise SettingsError(f"{path} is a folder.", f"Name a file in it: --html {path / 'comparison.html'}")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _not_written(path, error) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it. Raises `SettingsError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, "utf-8", errors="replace", newline="\n")
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"{path} cannot be written: {error.strerror}.", "Name another place: --html comparison.html")


# The terminal ---------------------------------------------------------------------------------------------------------


def report(console: Console, results: Comparison) -> None:
    """Print the summary, then the cases on which the models differ or one is at fault."""
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in results.runs:
        table.add_column(Text(clean(name)), overflow="fold", justify="right")
    for group, measures in rows(results).items():
        table.add_row(Text(group, style="bold"))
        for label, figures in measures.items():
            table.add_row(Text(f"  {clean(label)}"), *(Text(str(figure)) for figure in figures))
    console.print(table)
    console.print(Text(how_judged(results), style="dim"), soft_wrap=True)
    for name in results.runs:
        if why := why_failed(results, name):
            console.print(Text(f"{clean(name)}: {why}", style="yellow"), soft_wrap=True)
    numbers = [number for number in range(len(results.cases)) if results.stands_out(number)]
    total = f"{len(results.cases)} {'question' if len(results.cases) == 1 else 'questions'}"
    if not numbers:
        console.print(Text(f"\n{total}; on each the models agree, and nothing is found wrong."), soft_wrap=True)
        return
    console.print(Text(f"\n{len(numbers)} of {total} on which the models differ, or one is wrong:"), soft_wrap=True)
    width = max(len(clean(name)) for name in results.runs)
    for number in numbers:
        case = results.cases[number]
        said = shorten(" ".join(clean(case.text).split()), SNIPPET)
        kind = f"   {clean(case.kind)}" if case.kind else ""
        console.print(Text.assemble("\n", (clean(case.id), "bold"), (kind, "dim"), f"   {said}"), soft_wrap=True)
        for name, runs in results.runs.items():
            run = runs[number]
            style = "yellow" if run.fault(case) else ""
            cited = f"   [{', '.join(run.documents)}]" if run.documents else ""
            line = Text.assemble(f"  {clean(name):<{width}}  ", (what_came(case, run), style), (clean(cited), "dim"))
            console.print(line, soft_wrap=True)


# Programs -------------------------------------------------------------------------------------------------------------


def as_object(results: Comparison) -> dict[str, Any]:
    """Everything, as one JSON object."""
    return {
        "models": {name: _scores_object(results, name) for name in results.runs},
        "cases": [
            {
                "id": case.id,
                "text": case.text,
                "kind": case.kind or None,
                "documents": list(case.documents) if case.documents or case.answerable is False else None,
                "answerable": case.answerable,
                "models": {name: _run_object(case, runs[number]) for name, runs in results.runs.items()},
            }
            for number, case in enumerate(results.cases)
        ],
    }


def _usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": usage.cost_usd,
        "estimated": usage.estimated,
    }


def _scores_object(results: Comparison, name: str) -> dict[str, Any]:
    scores = results.scores(name)
    shares = {
        field: {"count": share.count, "of": share.of, "share": share.value}
        for field in scores.__slots__
        if isinstance(share := getattr(scores, field), Share)
    }
    return {
        **shares,
        "not_judged": scores.not_judged,
        "usage": _usage_object(scores.usage),
        "prompt_tokens_per_answer": scores.per_answer(scores.usage.prompt_tokens),
        "completion_tokens_per_answer": scores.per_answer(scores.usage.completion_tokens),
        "seconds_p50": round(scores.seconds_p50, 3),
        "seconds_p95": round(scores.seconds_p95, 3),
        "judging": _usage_object(scores.judging),
        "same_outcome": {other: results.agreement(name, other).value for other in results.runs if other != name},
    }


def _run_object(case: Case, run: Run) -> dict[str, Any]:
    return {
        "outcome": run.outcome,
        "reason": run.reason,
        "fault": run.fault(case) or None,
        "answer": run.text,
        "citations": [
            {"n": one.n, "document": one.document, "title": one.title, "url": one.url, "passage": one.passage}
            for one in run.citations
        ],
        "grounded": run.verdict.grounded,
        "judged_by": run.verdict.by or None,
        "unsupported": list(run.verdict.unsupported),
        "model": run.model,
        "usage": _usage_object(run.usage),
        "seconds": round(run.seconds, 3),
        "notes": [*run.notes, *([run.verdict.note] if run.verdict.note else [])],
    }
