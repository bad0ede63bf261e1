"""From what a model wrote to what is sent: marks read, claims held to their sources."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.reply import MarkReader, Written, allowed_urls, finished, is_small_talk, sourced
from knowledge.documents import Passage
from knowledge.search import Hit, Why


def pieces_of(text: str, data: st.DataObject) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


# --- marks


def read(*pieces: str) -> tuple[str | None, str]:
    reader = MarkReader()
    text = "".join(map(reader.feed, pieces)) + reader.end()
    return reader.mark, text


@pytest.mark.parametrize(
    ("written", "mark", "text"),
    [
        ("[[unsure]]", "unsure", ""),
        ("[[ask]]\nWhich policy?", "ask", "Which policy?"),
        ("[[ask]] Which policy?", "ask", "Which policy?"),
        ("[[ask]]: Which policy?", "ask", "Which policy?"),
        (" \n`[[Person]]`\n", "person", ""),
        ("**[[ CHAT ]]**\n\n  Hello!", "chat", "Hello!"),
        ("[[refuse]]\nI will not.", "refuse", "I will not."),
        ("[1] says so.", None, "[1] says so."),
        ("[[1]](https://x.example)", None, "[[1]](https://x.example)"),
        ("[link](url)", None, "[link](url)"),
        ("[[ask]](url)", "ask", "(url)"),
        ("[[x]] unknown", None, "[[x]] unknown"),
        ("[[asking]]", None, "[[asking]]"),
        ("[[wiki page]]", None, "[[wiki page]]"),
        ("*Yes*, [[ask]] later", None, "*Yes*, [[ask]] later"),
        ("A", None, "A"),
        ("", None, ""),
        ("[[unsure", None, "[[unsure"),
        ("  - item", None, "  - item"),
    ],
)
def test_a_mark_is_read_at_the_beginning_however_the_text_is_cut(written: str, mark: str | None, text: str) -> None:
    assert read(written) == (mark, text)
    assert read(*written) == (mark, text)
    for cut in range(len(written)):
        assert read(written[:cut], written[cut:]) == (mark, text)


MARKED = st.lists(
    st.sampled_from(["[", "]", "[[", "]]", "ask", "unsure", "Person", " ", "\n", "`", "*", "a", "1", "(", ":"]),
    max_size=12,
)


@settings(deadline=None, max_examples=300)
@given(MARKED.map("".join), st.data())
def test_the_cuts_do_not_matter_to_marks(text: str, data: st.DataObject) -> None:
    assert read(*pieces_of(text, data)) == read(*text) == read(text)


@settings(deadline=None, max_examples=200)
@given(MARKED.map("".join))
def test_no_text_waits_for_long(text: str) -> None:
    reader = MarkReader()
    behind = 0
    for letter in text:
        behind += 1 - len(reader.feed(letter))
        found = read(text)[0] is not None
        assert found or behind <= 40
    assert len("".join(map(MarkReader().feed, " " * 30))) > 0


# --- what is sent


def hit(number: int, text: str = "", url: str | None = "https://help.example/{}") -> Hit:
    passage = Passage(f"d{number}#1", f"d{number}", f"Title {number}", (), text or f"Text {number}.", 0)
    return Hit(passage, 1.0, Why(None, 1.0, 1.0), url=url and url.format(number), updated="2026-11-23")


HITS = [hit(1), hit(2, "See https://docs.example/two or [write](mailto:a@b.example)."), hit(3, url=None)]


def test_allowed_are_the_addresses_of_documents_and_in_their_passages() -> None:
    assert allowed_urls(HITS) == {
        "https://help.example/1",
        "https://help.example/2",
        "https://docs.example/two",
        "mailto:a@b.example",
    }


def test_a_whole_answer_is_sent_as_it_is() -> None:
    written = Written("It is so [1]. See [two](https://docs.example/two) [2]", None, (2, 1))
    assert finished(written, HITS) == written.text
    assert [(one.n, one.document, one.url, one.passage) for one in sourced(written, HITS)[1]] == [
        (1, "d2", "https://help.example/2", HITS[1].passage.text),
        (2, "d1", "https://help.example/1", "Text 1."),
    ]
    assert sourced(written, HITS)[1][0].updated == "2026-11-23"


def test_addresses_of_documents_that_are_not_cited_go() -> None:
    written = Written("Read [one](https://help.example/1) or https://help.example/2, says [1].", None, (2,))
    assert finished(written, HITS) == "Read one or https://help.example/2, says [1]."


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("First [1]. Second [2]. And a thi", "First [1]. Second [2]."),
        ("First. [1] Second [2", "First. [1]"),
        ("First (it is.) [1]. Sec", "First (it is.) [1]."),
        ("It costs 2.5 euros [1]. It costs 3.", "It costs 2.5 euros [1]."),
        ("First [1]. Bring documents, e.g. a", "First [1]."),
        ("Open **Trips** [1].\n2.", "Open **Trips** [1]."),
        ("1. Open it [1]\n2. Close it [2]\n3. Do", "1. Open it [1]\n2. Close it [2]"),
        ("First [1].\n\nDo this:\n\n1.", "First [1]."),
        ("First [1].\n\nDo this:\n\n- One thi", "First [1]."),
        ("First [1].\n\n```\ncode. more.\n", "First [1]."),
        ("First [1].\n\n```\ncode\n```\n\nSec", "First [1].\n\n```\ncode\n```"),
        ("第一句[1]。第二句[2]。第三", "第一句[1]。第二句[2]。"),
        ("No end at all [1]", ""),
        ("Nothing cited. Then [1", ""),
        ("| a | b |\n| --- | --- |\n| 1 [1] | 2 |\n| 3", "| a | b |\n| --- | --- |\n| 1 [1] | 2 |"),
    ],
)
def test_a_cut_answer_ends_with_a_whole_sentence(text: str, sent: str) -> None:
    assert finished(Written(text, None, (3, 1), cut=True), HITS) == sent


def test_a_cut_answer_lists_only_the_sources_that_are_left() -> None:
    written = Written("First [1]. Second [2] and", None, (3, 1), cut=True)
    assert [one.document for one in sourced(written, HITS)[1]] == ["d3"]


def test_an_answer_that_takes_itself_back_is_none() -> None:
    assert finished(Written("It is so [1]. [[unsure]]", None, (1,)), HITS) == ""
    assert sourced(Written("It is so [1]. [[unsure]]", None, (1,)), HITS)[1] == ()
    assert finished(Written("It is so [1]. [[chat]]", None, (1,)), HITS) == "It is so [1]."


def test_marked_text_needs_no_source() -> None:
    assert finished(Written("Which policy?", "ask"), HITS) == "Which policy?"
    assert finished(Written("Which policy? Or wh", "ask", cut=True), HITS) == "Which policy?"
    assert finished(Written(), HITS) == ""


@pytest.mark.parametrize(
    "text", ["Hello! How can I help you?", "You're welcome.", "Gern geschehen!", "どういたしまして"]
)
def test_small_talk(text: str) -> None:
    assert is_small_talk(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Refunds take 5 days.",
        "See https://x.example",
        "Look at larkstay.example!",
        "Write to me@x.example",
        "It is free: €!",
        "so " * 100,
    ],
)
def test_what_states_facts_is_no_small_talk(text: str) -> None:
    assert not is_small_talk(text)


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("ab.!?:e\n `[]12。-|*_")), st.booleans())
def test_any_text_can_be_finished(text: str, cut: bool) -> None:
    written = Written(text, None, (1, 2), cut)
    assert isinstance(finished(written, HITS), str)
    assert all(citation.n <= 2 for citation in sourced(written, HITS)[1])


@pytest.mark.parametrize(
    "unit",
    [
        ".",
        ". ",
        "e.g. ",
        "\n",
        " ",
        "`",
        "```\n",
        "[1]",
        ".[1] ",
        "[[unsure",
        "[[",
        "<think",
        "<",
        "**",
        "1.\n",
        "\n\n- a",
        "\x0b\n",
        "a5\n\n",
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    started = time.process_time()
    finished(Written(text, None, (1, 2), cut=True), HITS)
    read(text)
    is_small_talk(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("You have 14 days. [1]\n\nYou also get 900 euros.", "You have 14 days. [1]"),
        ("You have 14 days. [1]\n\nI hope that helps.", "You have 14 days. [1]\n\nI hope that helps."),
        ("Do this: [1]\n\n1. Wait 30 minutes.\n2. Try again.", "Do this: [1]\n\n1. Wait 30 minutes.\n2. Try again."),
        ("| a |\n|---|\n| 5 |\n\n[1]", "| a |\n|---|\n| 5 |\n\n[1]"),
        ("- Wait 30 minutes.\n\n  And then 5.\n\n- Try again. [1]\n\nEnd.", None),
        ("1. Wait 30 minutes.\n\n2. Try again. [1]\n\nOr pay 5.", "1. Wait 30 minutes.\n\n2. Try again. [1]"),
        ("It costs 5 euros:\n\n- 3 for the first [1]\n- 2 for the second [1]", None),
    ],
)
def test_a_paragraph_with_figures_and_no_source_is_left_out(text: str, sent: str | None) -> None:
    assert finished(Written(text, cited=(1,)), [hit(1, "Passage.")]) == (text if sent is None else sent)
