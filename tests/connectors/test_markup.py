"""From Markdown to what a place can show."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Citation
from connectors.markup import plain, source_lines, tables_as_text


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
    started = time.process_time()
    plain((unit * 100_000)[:100_000])
    plain(f"# a{unit * 30_000}b")
    assert time.process_time() - started < 5


# Tables ---------------------------------------------------------------------------------------------------------------


def test_a_table_becomes_columns() -> None:
    table = "| Plan | Price | Note |\n|:-----|------:|:--:|\n| **Basic** | 5 € | `a\\|b` |\n| 日本語 | 10,50 € | |"
    assert tables_as_text(f"Prices:\n\n{table}\n\nDone.") == (
        "Prices:\n\n```\n"
        "Plan      Price  Note\n"
        "------  -------  ----\n"
        "Basic       5 €  a|b\n"
        "日本語  10,50 €\n"
        "```\n\nDone."
    )


def test_a_wide_table_becomes_a_list() -> None:
    table = (
        "| Plan | What you get | Link |\n|---|---|---|\n"
        f"| Basic | {'many words ' * 10}| [Plans](https://x.example/plans) [1] |\n| Plus | | b<br>c |"
    )
    assert tables_as_text(table) == (
        f"- **Plan:** Basic\n  - **What you get:** {('many words ' * 10).strip()}\n"
        "  - **Link:** [Plans](https://x.example/plans) [1]\n"
        "- **Plan:** Plus\n  - **Link:** b; c"
    )


def test_links_in_columns_are_readable() -> None:
    shown = tables_as_text("| A |\n|---|\n| [Plans](https://x.example) |")
    assert "Plans (https://x.example)" in shown


def test_tables_without_outer_pipes_and_in_quotations() -> None:
    assert tables_as_text("a | b\n--|--\n1 | 2\nend") == "```\na  b\n-  -\n1  2\n```\nend"
    assert tables_as_text("> | a | b |\n> |---|---|\n> | 1 | 2 |") == "> ```\n> a  b\n> -  -\n> 1  2\n> ```"


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "| a | b |\ntext",
        "| a | b |\n|---|\n| 1 |",
        "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```",
        "Title\n---\ntext",
        "either | or\n---",
        "",
    ],
)
def test_what_is_no_table_stays(text: str) -> None:
    assert tables_as_text(text) == text


def test_rows_of_other_lengths() -> None:
    assert tables_as_text("|a|b|\n|-|-|\n|1|\n|1|2|3|") == "```\na  b\n-  -----\n1\n1  2 | 3\n```"
    assert tables_as_text("|a|b|\n|-|-|") == "```\na  b\n-  -\n```"


def test_code_of_a_table_holds_backticks() -> None:
    shown = tables_as_text("|a|\n|-|\n|&#96;&#96;&#96;|").split("\n")
    assert (shown[0], shown[-1]) == ("````", "````")


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(["|", "a", "\n", "-", " ", "```", "> ", "\\", ":", "[w](https://x.example)", "日", "`"])
    ).map("".join)
)
def test_tables_are_told_once(text: str) -> None:
    shown = tables_as_text(text)
    assert tables_as_text(shown) == shown or "**" in shown
    letters = re.sub(r"[^a日]", "", text.replace("[w](https://x.example)", ""))
    assert re.sub(r"[^a日]", "", shown.replace("https://x.example", "").replace("[w]()", "")) == letters


ROWS = [
    "| a | b |\n|---|---|\n",
    "| a ",
    "|",
    "|\n",
    "|-|",
    "a | b\n-|-\n",
    "> | a |\n> |-|\n",
    "\\|",
    "e\u0301",
    "🇩🇪",
    "&lt;",
]


@pytest.mark.parametrize(
    "unit",
    [
        *HOSTILE,
        *ROWS,
        "```\n",
        "``` ",
        "~~~\n",
        "\\",
        "> ",
        ">",
        "- ",
        "[[a]",
        "*a*",
        "。",
        "x",
        "\u0301",
        "\u200d",
        "https://",
    ],
)
def test_hostile_tables_take_linear_time(unit: str) -> None:
    started = time.process_time()
    tables_as_text((unit * 100_000)[:100_000])
    assert time.process_time() - started < 2
