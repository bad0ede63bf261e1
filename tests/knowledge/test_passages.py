"""Passages: nothing is lost, nothing is torn, and an edit changes only the passages it touches."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from knowledge.documents import Document, Passage
from knowledge.passages import WHOLE, WORDS, length, split


def document(text: str, title: str = "Refunds") -> Document:
    return Document("refunds", title, text, "refunds.md")


def passages(text: str, title: str = "Refunds") -> list[Passage]:
    return split(document(text, title))


def words(count: int, name: str = "word") -> str:
    return " ".join(f"{name}{number}" for number in range(count))


def section(heading: str, count: int = 140) -> str:
    return f"{heading}\n\n{words(count, ''.join(filter(str.isalnum, heading)))}\n\n"


# --- nothing is lost

line = st.one_of(
    st.text(alphabet="ab .!?#*-_`|>[]()<&\t1.~=\\:'é退款。ก\u00a0\u2028\x0b\x00", max_size=30),
    st.sampled_from(
        [
            "# Refunds",
            "## A",
            "## B",
            "### C",
            "#",
            "- item",
            "  - nested",
            "1. one",
            "> quote",
            "```",
            "~~~",
            "    code",
            "",
            "",
            "",
        ]
    ),
    st.sampled_from(["|a|b|", "|-|-|", "|1|2|", "---", "===", "<div>", "</div>", "<!--", "[a]: b", "* a", ""]),
    st.sampled_from(
        [words(60) + ":", "- " + words(90), f"|{words(30)}|x|", "字" * 400, "x" * 900, words(250), "Is it? Yes. " * 60]
    ),
)
texts = st.lists(line, max_size=25).map("\n".join)


def visible(text: str) -> str:
    return "".join(text.replace("\0", "\ufffd").split())


@settings(deadline=None, max_examples=250)
@given(texts)
@example("## A\n## B\n")
@example("# Refunds\n")
@example("> " * 100 + "a")
@example("\n".join(" " * depth + "- a" for depth in range(0, 200, 2)))
def test_every_character_is_in_a_passage_or_its_headings_in_order(text: str) -> None:
    # Tables are the one place where text is repeated: without them every visible character comes once, in order,
    # except that a heading which became a path is told there and not in the text.
    text = text.replace("|", "/")
    found = passages(text)
    assert bool(found) == bool(text.strip())
    rest = iter(visible(text))
    bodies = "".join(visible(passage.text) for passage in found)
    assert all(character in rest for character in bodies)  # in order: each is looked for behind the one before
    told = Counter(bodies + visible("Refunds" + "".join("".join(passage.heading) for passage in found)))
    lost = Counter(visible(text)) - told
    assert not set(lost) - set("#=-*_`[]()<>&\\!~")


@settings(deadline=None, max_examples=150)
@given(texts)
def test_any_text_gives_whole_distinct_numbered_passages(text: str) -> None:
    found = passages(text)
    assert [passage.position for passage in found] == list(range(len(found)))
    assert len({passage.id for passage in found}) == len(found)
    assert all(passage.text == passage.text.rstrip() and passage.text.strip() for passage in found)
    assert [passage.id for passage in passages(text)] == [passage.id for passage in found]


def test_a_blank_document_has_no_passage_and_a_heading_alone_has_one() -> None:
    assert passages(" \n\n\t\n") == []
    assert [passage.text for passage in passages("# Refunds")] == ["# Refunds"]
    assert [passage.text for passage in passages("## One\n\n## Two\n")] == ["## One\n\n## Two"]
    assert [passage.text for passage in passages("ok")] == ["ok"]


# --- headings


def test_the_path_leaves_out_the_title_and_keeps_its_parents() -> None:
    text = (
        "# Refunds\n\n"
        + section("## By card")
        + section("### Visa")
        + section("### *Amex* & [others](x)")
        + section("## Cash")
    )
    assert [passage.heading for passage in passages(text)] == [
        ("By card",),
        ("By card", "Visa"),
        ("By card", "Amex & others"),
        ("Cash",),
    ]
    other = passages("# Another title\n\n" + section("## By card"))
    assert other[0].heading == ("Another title", "By card")
    assert other[0].text.startswith("Bycard0 ")


def test_short_sections_share_a_passage_under_their_common_heading_only() -> None:
    text = (
        section("## A", 10) + section("### B", 10) + section("### C", 10) + section("## D", 10) + section("### E", 10)
    )
    found = passages(text)
    assert [passage.heading for passage in found] == [("A",), ("D",)]
    assert found[0].text.startswith("A0 ")
    assert "### B" in found[0].text
    assert "### C" in found[0].text
    apart = passages(section("## A") + section("### B", 10) + section("## C", 10) + section("## D"))
    assert [passage.heading for passage in apart] == [("A",), ("A", "B"), ("C",), ("D",)]


def test_an_endless_heading_is_text() -> None:
    (found,) = passages("# " + words(100))
    assert found.heading == ()
    assert "word99" in found.text


# --- cutting


def test_long_prose_is_cut_between_paragraphs_then_sentences_into_even_pieces() -> None:
    paragraphs = passages("\n\n".join(words(60, f"p{number}-") for number in range(10)))
    assert all(length(passage.text) <= WORDS for passage in paragraphs)
    assert all(passage.text.split()[0].endswith("-0") for passage in paragraphs)
    sentences = passages(" ".join(f"Sentence {number} has six words." for number in range(1000)))
    assert all(passage.text.startswith("Sentence") and passage.text.endswith("words.") for passage in sentences)
    sizes = [length(passage.text) for passage in sentences]
    assert max(sizes) <= WORDS
    assert min(sizes) > WORDS * 0.7


def test_an_introduction_stays_with_what_it_introduces() -> None:
    found = passages(f"{words(100)}\n\nDo this:\n\n```\n{words(100, 'code')}\n```")
    assert [passage.text.split()[0] for passage in found] == ["word0", "Do"]


def test_lists_are_cut_between_items_only() -> None:
    items = [f"- {words(60, f'i{number}-')}\n\n  more\n  1. {words(30, 'n')}" for number in range(8)]
    found = passages("\n".join(items))
    assert len(found) == len(items)
    assert [passage.text for passage in found] == items


def test_tables_are_cut_between_rows_and_every_piece_has_the_header() -> None:
    rows = [f"| {number} | {words(8)} |" for number in range(100)]
    header = "| No | Words |\n|---|---|\n"
    found = passages(header + "\n".join(rows))
    assert len(found) > 3
    assert all(passage.text.startswith(header) for passage in found)
    assert [row for passage in found for row in passage.text.split("\n")[2:]] == rows


@pytest.mark.parametrize("block", ["```\n{}\n```", "- {}", "<div>\n{}\n</div>"])
def test_code_items_and_html_stay_whole_up_to_a_limit(block: str) -> None:
    whole = block.format("\n  ".join([words(10)] * 150))
    assert [passage.text for passage in passages(f"{words(100)}\n\n{whole}")][1:] == [whole]
    huge = passages(block.format("\n  ".join([words(10)] * (WHOLE // 5))))
    assert len(huge) > 5
    assert all(length(passage.text) <= WORDS for passage in huge)
    assert all(
        line.strip().startswith(("word0", "`", "- ", "<")) for passage in huge for line in passage.text.split("\n")
    )


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(words(9) for _ in range(500)),
        words(5000),
        "客户可以在三十天内申请退款。" * 500,
        "退款" * 5000,
        "ลูกค้าสามารถขอคืนเงินได้" * 400,
        "x" * 50_000,
        "a" + " " * 50_000 + "b",
    ],
    ids=["lines", "no sentences", "chinese", "chinese without stops", "thai", "one word", "spaces"],
)
def test_text_without_paragraphs_is_cut_sensibly(text: str) -> None:
    found = passages(text)
    assert all(length(passage.text) <= WORDS + 1 for passage in found)
    assert all(len(passage.text) < 200 * WORDS for passage in found)
    assert "".join(visible(passage.text) for passage in found) == visible(text)


# --- ids


def test_an_edit_changes_only_the_passages_it_touches() -> None:
    before = "# Refunds\n\n" + "".join(section(f"## Part {number}") for number in range(20))
    after = before.replace("Part70", "Part seventy")
    ids = [passage.id for passage in passages(before)]
    edited = [passage.id for passage in passages(after)]
    assert sum(old != new for old, new in zip(ids, edited, strict=True)) == 1
    inserted = {passage.id for passage in passages(before.replace("\n\n", "\n\n" + section("## New"), 1))}
    assert len(inserted - set(ids)) == 1


def test_repeated_passages_get_distinct_ids() -> None:
    found = passages(section("## Same") * 3)
    first = found[0].id
    assert first.startswith("refunds#")
    assert len(first) == len("refunds#") + 16
    assert [passage.id for passage in found] == [first, f"{first}-2", f"{first}-3"]


# --- cost


@pytest.mark.parametrize(
    "text",
    [
        words(50_000),
        "word " * 40_000 + "\n",
        "\n\n".join(["## Heading", words(30)] * 2000),
        "| a | b |\n|-|-|\n" + "| c d | e |\n" * 4000,
        "> " * 30_000,
        "- " * 30_000,
        "\n".join(" " * (depth % 200) + "- a" for depth in range(2000)),
        "[" * 200_000,
        "`" * 200_000,
        "<!--\n" * 20_000,
        "*a **b " * 30_000,
    ],
)
def test_large_and_hostile_texts_take_linear_time(text: str) -> None:
    def seconds(one: str) -> float:
        start = time.process_time()
        passages(one)
        return time.process_time() - start

    double = text + "\n\n" + text
    once, twice = seconds(text), seconds(double)
    if twice >= 5 * once + 0.5:
        # The better of two: a collection of garbage may fall into either.
        once, twice = min(once, seconds(text)), min(twice, seconds(double))
    assert twice < 5 * once + 0.5
    assert once < 5
