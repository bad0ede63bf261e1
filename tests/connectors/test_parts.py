"""Markdown cut into parts that a place takes as one message each."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.markup import Fences
from connectors.parts import split
from tests.connectors.test_markup import HOSTILE, ROWS

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


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ("#", "\\#"),
        ("###", "\\###"),
        ("-", "\\-"),
        ("+", "\\+"),
        ("*", "\\*"),
        (">", "\\>"),
        ("12.", "12\\."),
        ("3)", "3\\)"),
        ("#1", "#1"),
        ("-5", "-5"),
        ("1.5", "1.5"),
    ],
)
def test_no_part_begins_with_what_is_no_mark_where_it_stood(mark: str, shown: str) -> None:
    first, second = split(f"{'x' * 40} {mark} and more words", 41)
    assert first == "x" * 40
    assert second == f"{shown} and more words"


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
def test_hostile_text_is_cut_in_linear_time(unit: str) -> None:
    started = time.process_time()
    parts = split((unit * 100_000)[:100_000], 2_000)
    assert time.process_time() - started < 2
    assert all(len(part) <= 2_000 and in_balance(part) for part in parts)
