"""Front matter: what counts as one, what its values become, and the traps in it."""

from __future__ import annotations

import contextlib
import json
import re
import time
from datetime import date

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.errors import ReaderError
from knowledge.readers.encoding import clean
from knowledge.readers.fields import Fields
from knowledge.readers.front_matter import split


def fields(block: str) -> Fields:
    return split(f"---\n{block}\n---\nBody.")[0]


def test_every_known_key() -> None:
    found, body = split(
        "---\n"
        "id: refunds\ntitle: 'Refunds: how'\nurl: https://help.example.com/refunds?a=1#b\naudience: Internal \n"
        "language: en\nupdated: 2025-01-31\nreview_by: 2025-06-30T09:00:00Z\ntags: [money, refunds, money]\n"
        "layout: post\nnested: {a: [1, 2]}\n---\n\nBody.\n"
    )
    assert found == Fields(
        id="refunds",
        title="Refunds: how",
        url="https://help.example.com/refunds?a=1#b",
        audience="internal",
        language="en",
        updated=date(2025, 1, 31),
        review_by=date(2025, 6, 30),
        tags=("money", "refunds"),
    )
    assert body == "\nBody.\n"


def test_toml_between_plus_signs_says_the_same() -> None:
    found, body = split(
        '+++\nid = "refunds"\ntitle = "Refunds: how"\naudience = "Internal"\nupdated = 2025-01-31\n'
        'reviewBy = 2025-06-30T09:00:00Z\ntags = ["money", "refunds"]\ndraft = false\nweight = 3\n[params]\na = 1\n+++\n\nBody.\n'
    )
    assert found == Fields(
        id="refunds",
        title="Refunds: how",
        audience="internal",
        updated=date(2025, 1, 31),
        review_by=date(2025, 6, 30),
        tags=("money", "refunds"),
    )
    assert body == "\nBody.\n"
    assert split("+++\n+++\nBody.") == (Fields(), "Body.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '+++\naudience = "internal"\nBody.',
            "line 1: the front matter that begins here is never closed by a line +++",
        ),
        ("+++\nid = \n+++\nBody.", "line 2: the front matter between +++ is not TOML: invalid value"),
        ('+++\nid = "a"\nID = "b"\n+++\n', "gives id for a second time"),
        ('+++\nupdated = "soon"\n+++\n', "updated must be a date"),
    ],
)
def test_toml_that_cannot_be_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(ReaderError, match=re.escape(words)):
        split(text)


def test_plus_signs_that_are_no_front_matter_are_text() -> None:
    for text in ("+++ new +++\nBody.", "+++\nHello there.\n+++\nBody.", "Body.\n+++\nid = 1\n+++\n"):
        assert split(text) == (Fields(), text)


@pytest.mark.parametrize(
    "text",
    [
        "\n \n---\nid: a\n---\nBody.",
        "---  \nid: a\n...\nBody.",
        clean("\ufeff---\r\nid: a\r\n---\r\nBody."),
        "---\nID: a\n---\t\nBody.",
        '---\n"id": "a"\n---\nBody.',
        "---\n# a comment\n\nid: a # another\n---\nBody.",
    ],
)
def test_ways_of_writing_it(text: str) -> None:
    assert split(text) == (Fields(id="a"), "Body.")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("id: 00123", Fields(id="00123")),
        ("id: 0x1F", Fields(id="0x1F")),
        ("title: yes", Fields(title="yes")),
        ("title: 2025-01-31", Fields(title="2025-01-31")),
        ("id: 1e3", Fields(id="1e3")),
        ("title: 'null'", Fields(title="null")),
        ("title: null\nurl: ~\nid: ''\naudience:\nupdated:\ntags:", Fields()),
        ("title: []\naudience: []\nid: {}\ntags: []", Fields()),
        ("title: >\n  folded\n  title\n", Fields(title="folded title")),
        ("tags: a, b ,, a", Fields(tags=("a", "b"))),
        ("tags:\n- a\n- ' '\n- b c", Fields(tags=("a", "b c"))),
        ("tags: one", Fields(tags=("one",))),
        ("Review-By: 2025-01-02", Fields(review_by=date(2025, 1, 2))),
        ("updated: 2025-01-02 03:04:05 +0200", Fields(updated=date(2025, 1, 2))),
        ("updated: 2025-01-02T03:04:05.678+02:00", Fields(updated=date(2025, 1, 2))),
        ("title: '  spaced \t out  '", Fields(title="spaced out")),
        ('title: "zero\\u200bwidth\\u202e"', Fields(title="zerowidth")),
        ("layout: post", Fields()),
        ("<<: {id: merged}\ntitle: t", Fields(title="t")),
        ("!!python/object:os.system\nid: a", Fields(id="a")),
    ],
)
def test_values(block: str, expected: Fields) -> None:
    assert fields(block) == expected


@pytest.mark.parametrize(
    "value", ["a/b", "😀 smile", "é", 'quote " and \\ back', "https://x.test/a?b=c#d", "tab\there", "👨‍👩‍👧"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_values_written_as_json_survive(value: str, ascii_only: bool) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only)
    title = " ".join(value.split())
    assert fields(f"title: {written}").title == title
    assert fields("title: " + written.replace("/", "\\/")).title == title


@settings(deadline=None, max_examples=150)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_title_written_as_json_survives(value: str) -> None:
    found = split(clean(f"---\ntitle: {json.dumps(value)}\n---\nBody."))
    assert found == (Fields(title=" ".join(clean(value).split()) or None), "Body.")


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(["layout", "x", "draft"]), st.text(max_size=20) | st.booleans(), min_size=1))
def test_unknown_keys_are_left_alone(values: dict[str, object]) -> None:
    block = yaml.safe_dump({**values, "id": "a"}, allow_unicode=True)
    assert split(clean(f"---\n{block}---\nBody.")) == (Fields(id="a"), "Body.")


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nA thematic break first.\n\n---\n\nMore.",
        "---\nJust one line\n---\nMore.",
        "---\n- a list\n- of things\n---\nMore.",
        "---\nNote well, dear reader: this is prose\n---\nMore.",
        "---\nIt's *great*: really: yes\n---\nMore.",
        "---\nNo end at all",
        "----\nid: a\n----\nBody.",
        "Text first\n---\nid: a\n---\n",
        "--- # not a fence\nid: a\n---\nBody.",
        "",
        "---",
        "---\n" + "A long sentence. " * 6000 + "\n---\nMore.",
    ],
)
def test_a_thematic_break_is_no_front_matter(text: str) -> None:
    assert split(text) == (Fields(), text)


@pytest.mark.parametrize("block", ["", "\n\n", "# only a comment\n"])
def test_empty_front_matter_goes(block: str) -> None:
    assert split(f"---\n{block}---\nBody.") == (Fields(), "Body.")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("---\ntitle: a: b\n---\n", "line 2: .*a value with a colon in it needs quotation marks"),
        ("\n\n---\nid: a\ntitle: Refunds: how\n---\n", "line 5: "),
        ("---\nid: a\ntitle: [b\n---\n", "line 3: .*bracket is never closed|line 4: "),
        ('---\nid: a\ntitle: "b\nurl: c\n---\n', "line 3: .*a quotation mark is never closed"),
        ("---\n\tid: a\n---\n", "line 2: .*tab"),
        ("---\nid: a\naudience:internal\n---\n", "line 3: .*key: value"),
        ("---\naudience:internal\n---\n", "line 2: .*key: value"),
        ("---\n{audience: internal\n---\n", "line 2: "),
        ("---\nid: a\nid: b\n---\n", "line 3: .*gives id for a second time"),
        ("---\naudience: internal\nAudience: public\n---\n", "line 3: .*gives audience for a second time"),
        ("---\naudience: internal\nBody without an end", "line 1: .*never closed"),
        ('---\nid: "\\UFFFFFFFF"\n---\n', "not YAML"),
        ("---\nid: a\n--- b\n", "never closed"),
        ("---\nid: %a\n--- \n", "line 2: "),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ReaderError, match=problem):
        split(text)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("updated: 2025-02-30", "updated must be a date such as 2025-01-31, not '2025-02-30'"),
        ("review_by: soon", "review_by must be a date such as 2025-01-31, not 'soon'"),
        ("updated: 31.01.2025", "updated must be a date"),
        ("updated: [2025-01-31]", "updated must be plain text"),
        ("url: ftp://example.com", "url must be a web address"),
        ("url: javascript:alert(1)", "url must be a web address"),
        ("url: /relative", "url must be a web address"),
        ("url: https://", "url must be a web address"),
        ("url: 'https://[broken'", "url must be a web address"),
        ("url: https://a b", "url must be a web address"),
        ("audience: [internal, staff]", "a document has one audience"),
        ("audience: internal, staff", "a document has one audience"),
        ("audience: {a: b}", "audience must be plain text"),
        ("title: {a: b}", "title must be plain text"),
        ("id: [a]", "id must be plain text"),
        ('id: "a\\nb"', "id must be one line"),
        ('id: "a\\0b"', "id must be one line"),
        ('id: "a\\u2028b"', "id must be one line"),
        ("id: " + "a" * 513, "id has 513 characters, more than the 512"),
        ("tags: {a: b}", "tags must be a list"),
        ("tags: [[a]]", "tags must be a list"),
    ],
)
def test_values_that_are_refused(block: str, problem: str) -> None:
    with pytest.raises(ReaderError) as caught:
        fields(block)
    assert problem in caught.value.message


def test_an_id_of_512_characters_is_allowed() -> None:
    assert fields("id: " + "a" * 512).id == "a" * 512


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{y}: &{y} [*{x}, *{x}, *{x}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (LAUGHS, "anchor or alias"),
        ("id: &a b\ntitle: *a", "anchor or alias"),
        ("title: " + "[" * 60_000, "nested too deeply"),
        ("title: " + "{a: " * 15_000, "nested too deeply"),
        ("title:\n" + "".join(" " * depth + "a:\n" for depth in range(1, 300)), "nested too deeply"),
        ("id: a\n" + "x: y\n" * 20_000, "longer than 64 KB"),
    ],
)
def test_bombs_are_refused_quickly(block: str, problem: str) -> None:
    start = time.process_time()
    with pytest.raises(ReaderError, match=problem):
        fields(block)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("sign", list("[]{}?:-,\"'!&*|>%@`#a \t"))
def test_no_sign_makes_it_slow(sign: str) -> None:
    start = time.process_time()
    for block in (f"id: {sign * 20_000}", f"title: a\n{(sign + chr(10)) * 10_000}", f"id: {(sign + ' ') * 10_000}"):
        with contextlib.suppress(ReaderError):
            fields(block)
    assert time.process_time() - start < 5


@settings(deadline=None, max_examples=120)
@given(st.text(st.sampled_from("idtle:audience -#'\"[]{},&*!|>%@\n\t\\u0é0~?<. "), max_size=200))
def test_anything_between_dashes_is_read_or_refused(block: str) -> None:
    with contextlib.suppress(ReaderError):
        found, body = split(f"---\n{block}\n---\nBody.")
        assert isinstance(found, Fields)
        assert body.endswith("Body.")
