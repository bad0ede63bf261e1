"""`frontdesk compare`: the same questions to several models, side by side, at the terminal and as a page."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from agent.errors import SettingsError
from agent.evaluation import Case, Comparison, Run, Scores, Share, read_cases, run_cases
from agent.guard import shorten
from agent.messages import Usage
from connectors.commands.options import Options
from connectors.composition import Desk, read_settings
from knowledge.base import KnowledgeBase
from knowledge.errors import KnowledgeError
from knowledge.readers.encoding import clean
from knowledge.search import Query

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

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


# Words for both -------------------------------------------------------------------------------------------------------

OUTCOMES = {"answered": "answered", "asked_back": "asked back", "handoff": "handed off"}
REASONS = {"asked": "a person was asked for", "unsure": "unsure", "policy": "policy", "failed": "no model answered"}


@dataclass(frozen=True, slots=True)
class Figure:
    """What stands in the summary for one model: the figure, what it is made of, and its length as a bar (0 to 1)."""

    figure: str
    detail: str = ""
    bar: float | None = None

    def __str__(self) -> str:
        return f"{self.figure} ({self.detail})" if self.detail else self.figure


def rows(results: Comparison) -> dict[str, dict[str, list[Figure]]]:
    """The summary by groups of measures; for each measure the models' figures, in their order."""
    names = list(results.runs)
    scores = [results.scores(name) for name in names]
    groups: dict[str, dict[str, Callable[[Scores], Figure]]] = {
        "What they did": {
            "answered": lambda one: _share(one.answered),
            "asked back": lambda one: _share(one.asked_back),
            "handed off": lambda one: _share(one.handed_off),
            "of those, no model answered": lambda one: _share(one.failed),
        },
        "How right it was": {
            "answered what documents answer": lambda one: _share(one.rightly_answered),
            "answered what none answers": lambda one: _share(one.wrongly_answered),
            "first citation as expected": lambda one: _share(one.first_expected),
            "any citation as expected": lambda one: _share(one.any_expected),
            "grounded": lambda one: _share(one.grounded),
            "could not be judged": lambda one: Figure(str(one.not_judged)),
        },
        "What it took": {
            "prompt tokens": lambda one: _tokens(one, one.usage.prompt_tokens),
            "completion tokens": lambda one: _tokens(one, one.usage.completion_tokens),
            "cost": lambda one: Figure(cost(one.usage)),
            "seconds, half of the replies": lambda one: Figure(f"{one.seconds_p50:.2f}"),
            "seconds, 95% of the replies": lambda one: Figure(f"{one.seconds_p95:.2f}"),
        },
    }
    if not any(one.failed.count for one in scores):
        del groups["What they did"]["of those, no model answered"]
    filled = {
        group: {label: [show(one) for one in scores] for label, show in measures.items()}
        for group, measures in groups.items()
    }
    filled["Same outcome as"] = {
        other: [Figure("") if name == other else _share(results.agreement(name, other)) for name in names]
        for other in (names if len(names) > 2 else names[:1])
    }
    return filled


def _share(share: Share) -> Figure:
    value = share.value
    return Figure("-") if value is None else Figure(f"{value:.0%}", f"{share.count} of {share.of}", value)


def _tokens(scores: Scores, tokens: int) -> Figure:
    each = scores.per_answer(tokens)
    about = "about " if scores.usage.estimated and tokens else ""
    return Figure(f"{about}{tokens:,}", f"{each:,.0f} an answer" if each else "")


def cost(usage: Usage) -> str:
    """The cost in words; never 0 for one that is not known, or is only small."""
    usd = usage.cost_usd
    if usd is None:
        return "not known"
    if 0 < usd < 0.000001:
        return "under $0.000001"
    said = f"${usd:.2f}" if usd >= 0.1 else f"${usd:.6f}".rstrip("0").rstrip(".")
    return f"about {said}" if usage.estimated and usd else said


def how_judged(results: Comparison) -> str:
    """Who told whether answers are grounded, and what that cost."""
    by = {run.verdict.by for of in results.runs.values() for run in of} - {""}
    if not by - {"words"}:
        return "Grounded: every figure and most words of each sentence stand in the cited passages (told by words)."
    usage = sum((results.scores(name).judging for name in results.runs), Usage())
    words = "; quotes, and what it could not judge, by words" if "words" in by else ""
    tokens = usage.prompt_tokens + usage.completion_tokens
    return f"Grounded: told by {results.judging}{words}. Judging took {tokens:,} tokens ({cost(usage)}), counted apart."


def why_failed(results: Comparison, name: str) -> str:
    """How often no model answered, and why the first time; empty when one always did."""
    failed = [run for run in results.runs[name] if run.reason == "failed"]
    if not failed:
        return ""
    why = next((line for note in failed[0].notes for line in clean(note).splitlines() if line), "")
    return f"no model answered {len(failed)} of {len(results.cases)}. The first time: {why}"


def what_came(case: Case, run: Run) -> str:
    """A run in a few words."""
    came = OUTCOMES[run.outcome] + (f" ({REASONS[run.reason]})" if run.reason else "")
    fault = run.fault(case)
    return f"{came}: {fault}" if fault and fault != "failed" else came


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


# The page -------------------------------------------------------------------------------------------------------------


def page(results: Comparison) -> str:
    """One HTML page that needs nothing else: the summary, then each question with the answers side by side."""
    outstanding = sum(results.stands_out(number) for number in range(len(results.cases)))
    markdown = _markdown()
    return Template(files("connectors.commands").joinpath("comparison.html").read_text("utf-8")).substitute(
        title=_text(" / ".join(results.runs)),
        questions=len(results.cases),
        made=results.made.strftime("%Y-%m-%d %H:%M UTC"),
        judged=_text(how_judged(results)),
        summary=_summary(results),
        outstanding=outstanding,
        cases="\n".join(_case(results, number, markdown) for number in range(len(results.cases))),
    )


def _markdown() -> MarkdownIt:
    """Renders answers: HTML stays text, and nothing becomes a link or a picture."""
    from markdown_it import MarkdownIt

    rules = ["link", "image", "autolink", "html_inline", "html_block", "reference"]
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable(rules)


def _text(text: str) -> str:
    return escape(clean(text))


def _summary(results: Comparison) -> str:
    width = f"width:{72 // len(results.runs)}%"
    head = "".join(f'<th scope="col" style="{width}">{_text(name)}</th>' for name in results.runs)
    parts = [f"<thead><tr><td></td>{head}</tr></thead>"]
    for group, measures in rows(results).items():
        lines = [
            f'<tr><th scope="row">{_text(label)}</th>{"".join(map(_cell, figures))}</tr>'
            for label, figures in measures.items()
        ]
        title = f'<tr class="group"><th colspan="{len(results.runs) + 1}"><span>{_text(group)}</span></th></tr>'
        parts.append("\n".join(("<tbody>", title, *lines, "</tbody>")))
    return "\n".join(parts)


def _cell(figure: Figure) -> str:
    detail = f" <small>{_text(figure.detail)}</small>" if figure.detail else ""
    bar = "" if figure.bar is None else f'<i class="bar"><i style="width:{figure.bar:.0%}"></i></i>'
    return f"<td><b>{_text(figure.figure)}</b>{detail}{bar}</td>"


def _case(results: Comparison, number: int, markdown: MarkdownIt) -> str:
    case = results.cases[number]
    expected = "nothing known"
    if case.documents:
        expected = ", ".join(f"<code>{_text(one)}</code>" for one in case.documents)
    elif case.answerable is False:
        expected = "a hand-off: no document answers it"
    turns = "".join(f"<p><b>{_text(role)}</b> {_text(said)}</p>" for role, said in case.before)
    before = f'<div class="before">{turns}</div>' if turns else ""
    kind = f'<span class="kind">{_text(case.kind)}</span>' if case.kind else ""
    cards = "\n".join(_card(case, name, runs[number], markdown) for name, runs in results.runs.items())
    return (
        f'<article class="{"out" if results.stands_out(number) else "same"}" id="case-{number + 1}">\n'
        f'<header><a class="id" href="#case-{number + 1}">{_text(case.id)}</a>{kind}</header>\n{before}'
        f'<h2>{_text(case.text)}</h2>\n<p class="expected">Expected: {expected}</p>\n'
        f'<div class="cards">\n{cards}\n</div>\n</article>'
    )


def _card(case: Case, name: str, run: Run, markdown: MarkdownIt) -> str:
    fault = run.fault(case)
    came = OUTCOMES[run.outcome] + (f": {REASONS[run.reason]}" if run.reason else "")
    badges = [_badge("failed" if run.reason == "failed" else run.outcome, came)]
    if run.verdict.grounded is not None:
        badges.append(
            _badge("good" if run.verdict.grounded else "bad", "grounded" if run.verdict.grounded else "not grounded")
        )
    elif run.citations and run.outcome == "answered":
        badges.append(_badge("plain", "not judged"))
    if fault and fault not in ("failed", "not grounded"):
        badges.append(_badge("bad", fault))
    details = [
        f"{run.usage.prompt_tokens:,} + {run.usage.completion_tokens:,} tokens",
        cost(run.usage),
        f"{run.seconds:.2f} s",
    ]
    if not run.usage.prompt_tokens + run.usage.completion_tokens:
        details[0] = "no tokens"
    elif run.usage.estimated:
        details[0] = f"about {details[0]}"
    if run.model and run.model != name:
        details.append(f"by {run.model}")
    unsupported = "".join(f"<li>{_text(one)}</li>" for one in run.verdict.unsupported)
    notes = "".join(f"<li>{_text(one)}</li>" for one in (*run.notes, run.verdict.note) if one)
    cited = "".join(_citation(case, run, at) for at in range(len(run.citations)))
    return (
        f'<section class="card{" fault" if fault else ""}">\n<h3>{_text(name)}</h3>\n<p class="badges">{"".join(badges)}</p>\n'
        f'<div class="answer">{markdown.render(clean(run.text))}</div>\n'
        + (f'<ol class="cited">{cited}</ol>\n' if cited else "")
        + (f'<div class="unsupported"><b>No support found for</b><ul>{unsupported}</ul></div>\n' if unsupported else "")
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
        + f"<footer>{' · '.join(_text(one) for one in details)}</footer>\n</section>"
    )


def _badge(look: str, words: str) -> str:
    return f'<span class="badge {look}">{_text(words)}</span>'


def _citation(case: Case, run: Run, at: int) -> str:
    citation = run.citations[at]
    title = _text(citation.title or citation.document)
    # An address comes from a document's front matter: anything but the web is no link.
    if citation.url and citation.url.lower().startswith(("https://", "http://")):
        title = f'<a href="{_text(citation.url)}" rel="noopener noreferrer">{title}</a>'
    mark = ""
    if case.documents:
        right = citation.document in case.documents
        mark = f'<span class="{"right" if right else "other"}">{"expected" if right else "other"}</span>'
    return (
        f'<li><span class="n">[{citation.n}]</span> {title} <code>{_text(citation.document)}</code>{mark}'
        f"<details><summary>passage</summary><blockquote>{_text(citation.passage)}</blockquote></details></li>"
    )
