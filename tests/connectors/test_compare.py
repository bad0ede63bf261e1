"""`frontdesk compare`: mistakes are told before a model is paid, and what is shown is true and harmless."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent.errors import SettingsError
from agent.evaluation import Case, Comparison, Run, Verdict, read_cases, run_cases
from agent.graph import SupportAgent
from agent.messages import Citation, HandoffReason, Outcome, Usage
from agent.models.quotes import Quotes
from agent.testing import ScriptedModel
from connectors.commands.compare import (
    as_object,
    check_writable,
    checked_names,
    compare,
    report,
    write_whole,
)
from connectors.commands.comparison import cost, page
from connectors.commands.options import Options
from knowledge.base import KnowledgeBase
from knowledge.errors import KnowledgeError

TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "main",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "p",
    "div",
    "span",
}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "b", "i", "em", "strong", "small", "code", "pre", "hr", "br", "a"}
TAGS |= {
    "label",
    "input",
    "article",
    "section",
    "header",
    "footer",
    "ol",
    "ul",
    "li",
    "details",
    "summary",
    "blockquote",
}
ATTRIBUTES = {
    "lang",
    "charset",
    "name",
    "content",
    "http-equiv",
    "class",
    "id",
    "type",
    "scope",
    "style",
    "colspan",
} | {
    "href",
    "rel",
    "start",
}


class Page(HTMLParser):
    """What a browser makes of a page: its tags, attributes, addresses and visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {value or "" for name, value in attrs if name in ("href", "src")}

    def handle_data(self, data: str) -> None:
        self.text += data


def compared(case: Case, *runs: Run, judging: str = "") -> Comparison:
    return Comparison((case,), {f"model-{n}": (run,) for n, run in enumerate(runs, 1)}, judging, datetime.now(UTC))


def printed(results: Comparison, *, terminal: bool = False) -> str:
    out = io.StringIO()
    report(Console(file=out, force_terminal=terminal, width=120, color_system=None), results)
    return out.getvalue()


CITED = (Citation(1, "reviews", "Reviews", "https://larkstay.example/reviews", "You have 14 days."),)
RIGHT = Run("answered", "You have **14 days**. [1]", None, CITED, Usage(900, 14, 0.00123), 1.25, "vendor:model")
WRONG = Run("handoff", "A person will take it from here.", "unsure", usage=Usage(800, 3, None, estimated=True))
CASE = Case("q1", "How long do I have?", ("reviews",), True, "direct")


# Mistakes


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], "names no model"),
        (["quotes"], "names only quotes"),
        ([" ", "quotes"], "only"),
        (["a", "b", " a"], "a twice"),
    ],
)
def test_a_comparison_takes_two_different_models(models: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        checked_names(models)
    assert "frontdesk compare --models quotes,qwen questions.jsonl" in raised.value.hint


def test_the_place_of_the_page_is_checked_first(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text("")
    with pytest.raises(SettingsError, match="is a folder"):
        check_writable(tmp_path, cases)
    with pytest.raises(SettingsError, match="No such file or directory"):
        check_writable(tmp_path / "missing" / "page.html", cases)
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="Not a directory"):
        check_writable(tmp_path / "file" / "page.html", cases)
    check_writable(tmp_path / "page.html", cases)
    with pytest.raises(SettingsError, match="overwrite the questions"):
        check_writable(cases, cases)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.jsonl", "file"]


def test_a_page_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "page.html", "one \ud800")
    write_whole(tmp_path / "page.html", "two")
    assert (tmp_path / "page.html").read_text("utf-8") == "two"
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(SettingsError, match="cannot be written"):
        write_whole(tmp_path / "folder", "three")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "page.html"]


def given_cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.jsonl"
    lines = [
        {"id": "a", "text": "How long do I have to write a review after check-out?", "documents": ["reviews"]},
        {"id": "b", "text": "Is there a heliport on the roof of the castle?", "documents": []},
    ]
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


async def stored(tmp_path: Path) -> Options:
    """A data directory with one document."""
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "reviews.md").write_text(
        "# Reviews\n\nYou have 14 days to write a review after check-out.\n"
    )
    base = KnowledgeBase(tmp_path / "data", None)
    await base.sync(tmp_path / "documents")
    await base.close()
    (tmp_path / "frontdesk.toml").write_text('embedder = "none"\n')
    return Options(data=tmp_path / "data", config=tmp_path / "frontdesk.toml")


async def run(
    options: Options, models: list[str], cases: Path, html: Path | None = None, *, as_json: bool = False
) -> None:
    await compare(options, models, cases, html=html, as_json=as_json, limit=None, concurrency=2)


async def test_nothing_is_written_when_a_model_is_unknown(tmp_path: Path) -> None:
    options = await stored(tmp_path)
    with pytest.raises(SettingsError, match="no-such-preset"):
        await run(options, ["quotes", "no-such-preset"], given_cases(tmp_path), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


async def test_an_empty_knowledge_base_is_told(tmp_path: Path) -> None:
    (tmp_path / "frontdesk.toml").write_text('embedder = "none"\n')
    options = Options(data=tmp_path / "data", config=tmp_path / "frontdesk.toml")
    with pytest.raises(KnowledgeError, match="The knowledge base is empty"):
        await run(options, ["quotes", "http://127.0.0.1:9/v1#m"], given_cases(tmp_path))


async def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = await stored(tmp_path)
    # Nobody listens at the second model: each answer is a hand-off, and the comparison goes on.
    silent = "http://127.0.0.1:9/v1#m"
    await run(options, ["quotes", silent], given_cases(tmp_path), tmp_path / "page.html", as_json=True)
    out, errors = capsys.readouterr()
    found = json.loads(out)
    assert list(found) == ["models", "cases"]
    assert found["models"]["quotes"]["rightly_answered"] == {"count": 1, "of": 1, "share": 1.0}
    assert found["models"]["quotes"]["same_outcome"] == {silent: 0.5}
    assert [case["models"][silent]["outcome"] for case in found["cases"]] == ["handoff", "handoff"]
    assert found["cases"][1]["documents"] == []
    assert found["cases"][0]["models"]["quotes"]["citations"][0]["document"] == "reviews"
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")
    assert errors == f"The page is at {tmp_path / 'page.html'}\n"
    await run(options, ["quotes", silent], given_cases(tmp_path))
    out = capsys.readouterr().out
    assert "1 of 2 questions" in out
    assert f"{silent}: no model answered 1 of 2. The first time: {silent}" in out


async def test_expected_documents_that_are_not_there_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = await stored(tmp_path)
    cases = tmp_path / "other.jsonl"
    cases.write_text('{"text": "How long do I have for a review?", "documents": ["gone"]}')
    await run(options, ["quotes", "http://127.0.0.1:9/v1#m"], cases)
    assert "Expected, but not in the knowledge base: gone." in capsys.readouterr().err


# The terminal


def test_the_report_shows_figures_and_what_stands_out() -> None:
    text = printed(compared(CASE, RIGHT, WRONG))
    rows = {line[:32].strip(): line[32:].split("  ") for line in text.splitlines() if line.startswith("  ")}
    assert "".join(rows["answered what documents answer"]).split(")")[:2] == ["100% (1 of 1", "0% (0 of 1"]
    assert re.search(r"cost +\$0\.00123 +not known", text)
    assert re.search(r"prompt tokens +900 \(900 an answer\) +about 800", text)
    assert "q1   direct   How long do I have?" in text
    assert re.search(r"model-1 +answered +\[reviews\]", text)
    assert re.search(r"model-2 +handed off \(unsure\): should have answered", text)
    assert "\x1b" not in text


def test_nothing_stands_out_when_all_is_well() -> None:
    assert "1 question; on each the models agree" in printed(compared(CASE, RIGHT, RIGHT))


def test_answers_cannot_steer_the_terminal() -> None:
    case = Case("[bold]x\x1b[2J", "[red]Why?\x1b]0;title\x07", ("reviews",), True, "[/]")
    cited = (Citation(1, "doc\x1b[2J[/red]", "", None, ""),)
    text = printed(compared(case, Run("answered", "x", None, cited), WRONG))
    assert "\x1b" not in text
    assert "[red]Why?" in text
    assert "[bold]x" in text


def test_a_cost_that_is_not_known_is_never_nothing() -> None:
    assert cost(Usage(cost_usd=None)) == "not known"
    assert cost(Usage(cost_usd=0.0)) == "$0"
    assert cost(Usage(cost_usd=0.0000004)) == "under $0.000001"
    assert cost(Usage(cost_usd=0.0012)) == "$0.0012"
    assert cost(Usage(cost_usd=12.345, estimated=True)) == "about $12.35"


def test_who_judged_is_said() -> None:
    by_model = Run("answered", "x", None, CITED, verdict=Verdict(True, "vendor:judge", usage=Usage(500, 20, 0.01)))
    text = printed(compared(CASE, by_model, by_model, judging="vendor:judge"))
    assert "told by vendor:judge" in text
    assert "1,040 tokens ($0.02)" in text
    assert "told by words" in printed(compared(CASE, RIGHT, RIGHT))


# The page


def test_the_page_needs_nothing_else_and_shows_everything() -> None:
    shown = Page(page(compared(CASE, RIGHT, WRONG)))
    assert shown.tags <= TAGS
    assert shown.attributes <= ATTRIBUTES
    assert shown.addresses == {"https://larkstay.example/reviews", "#case-1"}
    for words in (
        "How long do I have?",
        "14 days",
        "Reviews",
        "$0.00123",
        "not known",
        "1.25 s",
        "should have answered",
    ):
        assert words in shown.text


HOSTILE = [
    "<script>alert(1)</script>",
    "</div></article><img src=x onerror=alert(1)>",
    "![x](https://evil.example/x.png)",
    "[words](javascript:alert(1)) <https://evil.example> [x]: https://evil.example",
    "\" onmouseover=alert(1) '",
    "$title ${cases} $$ {0} %s",
    "&lt;script&gt; &#60;script&#62;",
    "<!-- --> <![CDATA[ ]]> <?php ?>",
    "\ud800\0\u202e",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_hostile_becomes_part_of_the_page(hostile: str) -> None:
    assert_harmless(hostile)


@given(st.text(alphabet="<>/&\"'=`[]()!#|-* \n$ax:;\ud800\0", max_size=40))
def test_no_text_becomes_part_of_the_page(text: str) -> None:
    assert_harmless(text)


def assert_harmless(text: str) -> None:
    cited = (Citation(1, text, text, text, text), Citation(2, "b", "b", f"https://larkstay.example/{text}", "b"))
    answered: Outcome = "answered"
    reason: HandoffReason = "failed"
    results = Comparison(
        (Case(text or "x", text, (text,), True, text, (("customer", text),)),),
        {
            text: (
                Run(answered, text, None, cited, model=text, notes=(text,), verdict=Verdict(False, "words", (text,))),
            ),
            "other": (Run("handoff", text, reason),),
        },
        text,
        datetime.now(UTC),
    )
    html = page(results)
    shown = Page(html)
    assert shown.tags <= TAGS
    assert shown.attributes <= ATTRIBUTES
    assert {one for one in shown.addresses if not one.startswith("https://larkstay.example/")} == {"#case-1"}
    assert "\0" not in html
    html.encode("utf-8")
    assert len(re.findall("<article", html)) == 1
    assert json.dumps(as_object(results))


# Over real parts


async def test_the_sample_side_by_side(tmp_path: Path, sample: Path) -> None:
    knowledge = KnowledgeBase(tmp_path, None)
    await knowledge.sync(sample / "documents")
    cases = [*read_cases(sample / "questions.jsonl")[:6], *read_cases(sample / "unanswerable.jsonl")[:2]]
    model = ScriptedModel("You get €999 and a free balloon ride. [1]")
    agents: Mapping[str, SupportAgent] = {
        "quotes": SupportAgent(Quotes(), knowledge),
        "model": SupportAgent(model, knowledge),
    }
    results = await run_cases(cases, agents)
    await knowledge.close()
    assert results.scores("quotes").grounded.value == 1.0
    assert results.scores("model").grounded.value == 0.0
    shown = Page(page(results))
    assert "Reviews: writing, reading and removing them" in shown.text
    assert "not grounded" in shown.text
    assert json.loads(json.dumps(as_object(results)))["models"]["model"]["grounded"]["share"] == 0.0
    assert "not grounded" in printed(results, terminal=True)
