"""From Markdown to what a place can show."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Citation
from connectors.markup import Fences, plain, source_lines, split, tables_as_text


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


# Parts ----------------------------------------------------------------------------------------------------------------

PROSE = "First sentence here. Second one follows! Is this the third? Yes.\n\nAnother paragraph, with words.\n\n"


def in_balance(part: str) -> bool:
    fences = Fences()
    for line in part.split("\n"):
        fences.inside(line)
    return not fences.fence


def words(text: str) -> list[str]:
    """The words without fences, quotation marks in front, and the backslashes that keep a run from being a fence."""
    return re.sub(r"[`~\\]", "", text).split()


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def test_a_short_text_is_one_part() -> None:
    assert split("Hello **you**", 2000) == ["Hello **you**"]
    assert split("", 2000) == []
    assert split(" \n\n ", 2000) == []


def test_paragraphs_are_kept_whole() -> None:
    paragraphs = [f"Paragraph {n} has some words. And more of them." for n in range(20)]
    parts = split("\n\n".join(paragraphs), 200)
    assert [paragraph for part in parts for paragraph in part.split("\n\n")] == paragraphs
    assert all(len(part) > 100 for part in parts[:-1])


def test_a_heading_stays_with_its_paragraph() -> None:
    text = ("Intro. " * 20).strip() + "\n\n## Refunds\n\n" + "Body. " * 10
    first, second = split(text.strip(), 170)
    assert first == ("Intro. " * 20).strip()
    assert second.startswith("## Refunds\n\nBody.")


def test_list_items_then_lines_then_sentences_then_words() -> None:
    items = [f"- Item {n} with words\n  and a second line" for n in range(20)]
    parts = split("\n".join(items), 130)
    assert all(part.startswith("- Item") and part.endswith("second line") for part in parts)
    sentences = " ".join(f"Sentence number {n} is here." for n in range(40))
    assert all(part.endswith(".") for part in split(sentences, 100))
    assert all(part.endswith("。") for part in split("これは文です。" * 40, 50))
    assert all(set(part.split()) == {"word"} for part in split("word " * 200, 50))
    assert split("x" * 120, 50) == ["x" * 50, "x" * 50, "x" * 20]


@pytest.mark.parametrize(
    "whole",
    [
        "[some words here](https://x.example/a/b?c=d)",
        "![a picture of it](https://x.example/p.png)",
        "https://x.example/a/very/long/path",
        "<https://x.example/a/very/long/path>",
        "`some code --with flags`",
        "``some `code` --with flags``",
        "&hellip;",
        "👩‍👩‍👧‍👦",
        "🇩🇪",
        "e\u0301\u0302",
        "👍🏽",
        "1️⃣",
        "각",
    ],
)
def test_what_belongs_together_is_not_cut(whole: str) -> None:
    for before in range(60):
        text = "y" * before + whole + "z" * 80
        parts = split(text, 60)
        assert "".join(parts) == text
        assert any(whole in part for part in parts), (before, parts)
        spaced = f"{'word ' * 8}{'y' * (before % 7)} {whole} {'word ' * 20}"
        assert any(whole in part for part in split(spaced, 60))


def test_what_is_longer_than_a_part_is_cut_all_the_same() -> None:
    text = f"[words](https://x.example/{'a' * 200})"
    assert "".join(split(text, 50)) == text
    assert all(len(part) <= 50 for part in split(text, 50))


def test_the_length_may_be_counted_otherwise() -> None:
    text = "😀" * 100
    assert split(text, 50, length=units) == ["😀" * 25] * 4
    assert split(text, 51, length=units)[0] == "😀" * 25


def test_code_is_closed_and_opened_again() -> None:
    code = [f"    line_{n} = {n}" for n in range(50)]
    parts = split("Do this:\n\n```python\n" + "\n".join(code) + "\n```\n\nThen that.", 200)
    assert parts[0].startswith("Do this:\n\n```python\n    line_0 = 0\n")
    assert all(part.startswith("```python\n    line_") for part in parts[1:])
    assert all("\n```" in part and in_balance(part) and len(part) <= 200 for part in parts)
    assert parts[-1].endswith("\n```\n\nThen that.")
    assert [line for part in parts for line in part.split("\n") if line.startswith("    ")] == code


def test_code_that_is_never_closed_is_closed() -> None:
    assert split("```\nx", 100) == ["```\nx\n```"]
    assert all(in_balance(part) for part in split("~~~~ sh\n" + "echo hello\n" * 100, 90))


def test_code_in_a_list_or_a_quotation() -> None:
    listed = split("1. Do:\n   ```sh\n" + "   run it\n" * 30 + "   ```\n2. Done", 80)
    assert all(in_balance(part) and len(part) <= 80 for part in listed)
    assert listed[1].startswith("   ```sh\n   run it")
    quoted = split("> ```\n" + "> run it\n" * 30 + "> ```", 80)
    assert all(part.startswith("> ```\n> run") and part.endswith("\n> ```") for part in quoted)
    dashed = split("- ```sh\n" + "  run it\n" * 30 + "  ```", 80)
    assert dashed[1].startswith("  ```sh\n  run it")
    assert all(in_balance(part) for part in dashed)


def test_a_long_line_of_code_keeps_its_spaces() -> None:
    code = "a  b   c " * 30
    parts = split(f"```\n{code}\n```", 60)
    assert "".join(part.split("\n", 1)[1].removesuffix("\n```") for part in parts) == code


def test_a_table_gets_its_header_again() -> None:
    rows = [f"| plan {n} | €{n} |" for n in range(40)]
    parts = split("Prices:\n\n| Plan | Price |\n|---|---|\n" + "\n".join(rows) + "\n\nThat is all.", 150)
    assert all("| Plan | Price |\n|---|---|\n| plan" in part and len(part) <= 150 for part in parts)
    assert [row for part in parts for row in part.split("\n") if row.startswith("| plan")] == rows
    assert parts[-1].endswith("That is all.")


def test_a_row_that_is_longer_than_a_part() -> None:
    text = "| A | B |\n|---|---|\n| 1 | 2 |\n| " + "long " * 50 + "| x |\n| 3 | 4 |"
    parts = split(text, 100)
    assert all(len(part) <= 100 for part in parts)
    assert " ".join(parts).count("long") == 50
    assert parts[-1].endswith("| 3 | 4 |")


def test_a_run_in_a_text_does_not_become_a_fence() -> None:
    text = "word " * 10 + "```bash and more words that follow"
    parts = split(text, 50)
    assert all(in_balance(part) for part in parts)
    assert words(" ".join(parts)) == words(text)


def test_no_part_is_blank() -> None:
    assert split(" https://x.example/" + "a" * 100, 40)[0].startswith("https://x.example/aaa")


MARKED = st.lists(
    st.sampled_from(
        [
            "word ",
            "a",
            "\n",
            "\n\n",
            "```",
            "```py\n",
            "~~~\n",
            "`",
            "``",
            "[",
            "](",
            "https://x.example/a",
            ")",
            "- ",
            "> ",
            "\\",
            "# ",
            "Dr. ",
            "。",
            "😀",
            "👩\u200d👧",
            "é",
            "🇩🇪",
            "    ",
            "1. ",
            "*",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "\t",
            "&amp;",
            "!",
        ]
    ),
    max_size=120,
).map("".join)


@settings(deadline=None, max_examples=500)
@given(MARKED | st.text(), st.integers(30, 120))
def test_nothing_is_lost(text: str, limit: int) -> None:
    parts = split(text, limit)
    joined = " ".join(parts)
    assert all(part.strip() and len(part) <= limit for part in parts)
    assert all(in_balance(part) for part in parts)
    # Words may be cut, and the info string of a fence and quotation marks may be there more often.
    said = iter("".join(words(joined)))
    assert all(character in said for character in "".join(words(text)))
    if "`" not in text and "~" not in text:
        assert "".join(words(joined)) == "".join(words(text))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20), max_size=200))
def test_words_are_kept_whole(said: list[str]) -> None:
    for between in (" ", "\n", ". "):
        assert " ".join(split(between.join(said), 60)).split() == between.join(said).split()


@settings(deadline=None, max_examples=200)
@given(MARKED, st.integers(40, 90))
def test_other_lengths_are_kept(text: str, limit: int) -> None:
    assert all(units(part) <= limit and in_balance(part) for part in split(text, limit, length=units))


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
def test_hostile_text_is_cut_and_tabled_in_linear_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    started = time.perf_counter()
    parts = split(text, 2_000)
    assert time.perf_counter() - started < 2
    assert all(len(part) <= 2_000 and in_balance(part) for part in parts)
    started = time.perf_counter()
    tables_as_text(text)
    assert time.perf_counter() - started < 2


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
