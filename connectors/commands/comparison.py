"""A comparison of models in words and as a page (`comparison.html`). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from agent.evaluation import Case, Comparison, Run, Scores, Share
from agent.messages import Usage
from knowledge.readers.encoding import clean

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


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
