"""From Markdown to what a place can show."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Citation
from connectors.markup import plain, source_lines


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("**bold**, __bold__, *it*, _it_, ***both***, `code`, ``a`b``", "bold, bold, it, it, both, code, a`b"),
        ("**a *b* c** and [**w**](https://x.example)", "a b c and w (https://x.example)"),
        ("snake_case_name, 2 * 3 * 4, a*b*c, 5*, ** no **", "snake_case_name, 2 * 3 * 4, a*b*c, 5*, ** no **"),
        ("[words](https://x.example/a_(b) 'title')", "words (https://x.example/a_(b))"),
        ("[https://x.example](https://x.example)", "https://x.example"),
        ("[write](mailto:a@b.example), [a@b.example](mailto:a@b.example)", "write (a@b.example), a@b.example"),
        (
            "[call](tel:+4930123), <https://x.example>, <mailto:a@b.example>",
            "call (+4930123), https://x.example, a@b.example",
        ),
        ("[here](/relative) ![a picture](https://x.example/p.png) ![](x)", "here a picture "),
        (
            "So it is [1], and so [2][3]. [see [1]](https://x.example)",
            "So it is [1], and so [2][3]. see [1] (https://x.example)",
        ),
        ("# Title #\n\n###  Second\n#hash\n####### seven", "Title\n\nSecond\n#hash\n####### seven"),
        (r"Press \[1] for \*all\*, C:\dir", r"Press [1] for *all*, C:\dir"),
        ("Fish &amp; chips &lt;b&gt; &#8364;5 &copy=1 &unknown;", "Fish & chips <b> €5 &copy=1 &unknown;"),
        ("`**x** [1](https://x.example)`", "**x** [1](https://x.example)"),
        (
            "- **a:** b\n  1. *c*\n> `d`\n\n| **a** | `b` |\n|---|---|\n| 1 | 2 [1] |",
            "- a: b\n  1. c\n> d\n\n| a | b |\n|---|---|\n| 1 | 2 [1] |",
        ),
        ("一**粗**体 “**x**”", "一粗体 “x”"),
        ("", ""),
    ],
)
def test_plain(markdown: str, text: str) -> None:
    assert plain(markdown) == text


@pytest.mark.parametrize(
    "code",
    [
        "```\n**x** [a](https://x.example)\n# no title\n```",
        "~~~ python\n**x**\n```\n*y*\n~~~",
        "````\n```\n**x**\n```\n````",
        "1. Do:\n   ```\n   **x**\n   ```",
        "- ```\n  **x**\n  ```",
        "> ```\n> **x**\n> ```",
        "```\n**never closed**",
    ],
)
def test_code_blocks_stay(code: str) -> None:
    assert plain(f"{code}") == code
    if "never" not in code:
        assert plain(f"**a**\n{code}\n**b**") == f"a\n{code}\nb"


def test_a_line_of_code_spans_is_no_code_block() -> None:
    assert plain("```a``` **b**\n**c**").endswith("b\nc")


def test_source_lines() -> None:
    with_url = Citation(1, "fees", "Fees", "https://help.example/fees", "...", "2026-04-01")
    without = Citation(2, "booking/how-to-book", "How to book", None, "...")
    assert source_lines([with_url, without]) == [
        "[1] Fees - https://help.example/fees (updated 2026-04-01)",
        "[2] How to book - booking/how-to-book",
    ]


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab *_`[]()<>!#\\&;:/.\n~|-1 h")) | st.text())
def test_any_text_is_made_plain(text: str) -> None:
    assert plain(text).count("\n") == text.count("\n")


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_characters="*_`[]<>!#\\&~\n")))
def test_text_without_markup_stays(text: str) -> None:
    assert plain(text) == text


HOSTILE = [
    "**a ",
    "**",
    "*",
    "*a ",
    "_",
    "_a ",
    "__a ",
    "`",
    "`a ",
    "[",
    "[a](",
    "](",
    "![",
    "<http:",
    "&",
    "#",
    " ",
    "# ",
]


@pytest.mark.parametrize("unit", [*HOSTILE, "```\n", "\\", "> ", "- ", "[[a]", "*a*", "a_", "**a**", "[a](b(c) "])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    started = time.perf_counter()
    plain((unit * 100_000)[:100_000])
    plain(f"# a{unit * 30_000}b")
    assert time.perf_counter() - started < 5
