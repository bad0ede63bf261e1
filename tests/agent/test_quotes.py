"""Answers without a model: word for word, whole, readable, within bounds."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.guard import Gate
from agent.models.base import Prompt, PromptMessage
from agent.models.quotes import LONGEST_UNIT, MOST_WORDS, NAME, Quotes, Unit, units
from agent.reply import Written, allowed_urls, finished
from knowledge.documents import Document, Passage
from knowledge.keywords.tokenizer import terms
from knowledge.passages import length, split
from knowledge.search import Hit, SearchResult, Why

LITTLE = set(terms("what is are the a for to of how do does i my much many get and about fine"))


def texts(markdown: str, heading: str = "") -> list[str]:
    return [unit.whole for unit in units(markdown, heading)]


def bare(text: str) -> str:
    return re.sub(r"\s+", "", text)


def found(question: str, *passages: Passage, scores: Sequence[float] = (), confidence: float = 1.0) -> SearchResult:
    weights = {term: 1.0 for term in terms(question) if term not in LITTLE}
    hits = [
        Hit(passage, score, Why(None, 1.0, 1.0, tuple(set(terms(passage.searchable)) & set(weights))))
        for passage, score in zip(passages, scores or [1.0] * len(passages), strict=True)
    ]
    return SearchResult("hybrid", tuple(hits), confidence, weights)


def passage(text: str, title: str = "Title", heading: tuple[str, ...] = ()) -> Passage:
    return Passage(f"{title}#1", title, title, heading, text, 0)


async def answer(question: str, *passages: Passage, scores: Sequence[float] = (), confidence: float = 1.0) -> str:
    result = found(question, *passages, scores=scores, confidence=confidence)
    prompt = Prompt("answer", (PromptMessage("user", question),), question, result)
    async with aclosing(Quotes().stream(prompt)) as chunks:
        pieces = [chunk async for chunk in chunks]
    assert [piece.finish for piece in pieces if piece.finish] == ["stop"]
    assert all(piece.model == NAME for piece in pieces)
    return "".join(piece.text for piece in pieces)


# --- units: sentences


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("One thing. Another thing! A third?", ["One thing.", "Another thing!", "A third?"]),
        ("Bring an ID, e.g. A passport, i.e. The real one.", ["Bring an ID, e.g. A passport, i.e. The real one."]),
        (
            "It is in St. Gallen near Mt. Rigi, says Dr. J. R. Smith.",
            ["It is in St. Gallen near Mt. Rigi, says Dr. J. R. Smith."],
        ),
        ("It costs 2.5 euros. Pay 3.50 at most.", ["It costs 2.5 euros.", "Pay 3.50 at most."]),
        ("Come at 3 p.m. Monday or at 11 a.m. Tuesday.", ["Come at 3 p.m. Monday or at 11 a.m. Tuesday."]),
        ("Larkstay Inc. Ltd. pays. You wait.", ["Larkstay Inc. Ltd. pays.", "You wait."]),
        ("Es kostet z. B. Fünf Euro. Am 3. Mai ist Schluss.", ["Es kostet z. B. Fünf Euro.", "Am 3. Mai ist Schluss."]),
        (
            "Select **Trips**. **Cancel** it. `PAY-1` follows. [See](x) it.",
            ["Select **Trips**.", "**Cancel** it.", "`PAY-1` follows.", "[See](x) it."],
        ),
        ('He said "no." Then he left. "Well." (So.) Go.', ['He said "no." Then he left.', '"Well."', "(So.)", "Go."]),
        ("**Bold sentence.** Plain sentence.", ["**Bold sentence.**", "Plain sentence."]),
        ("A line\nthat goes on. The next\nline.", ["A line that goes on.", "The next line."]),
        ("第一句。第二句！「第三句。」第四句", ["第一句。", "第二句！", "「第三句。」", "第四句"]),
        ("iDEAL works. iDEAL is Dutch", ["iDEAL works. iDEAL is Dutch"]),
    ],
)
def test_sentences(paragraph: str, sentences: list[str]) -> None:
    assert texts(paragraph) == sentences


@pytest.mark.parametrize(
    "paragraph",
    [
        "Larkstay sends it. It takes 5 days.",
        "Check the booking. If it is not there, wait.",
        "Open the door. Then ring.",
        "A fee is due. However, hosts may waive it.",
        "You wait. After that, we pay.",
        "Wir zahlen. Dies dauert zwei Tage.",
    ],
)
def test_a_sentence_that_leans_keeps_the_one_before(paragraph: str) -> None:
    assert texts(paragraph) == [paragraph]


@pytest.mark.parametrize(
    "paragraph", ["One is free. Items cost more.", "Pay now. Theory is hard.", "We pay. Thence it goes."]
)
def test_a_sentence_that_stands_alone_stays_alone(paragraph: str) -> None:
    assert len(texts(paragraph)) == 2


def test_yes_and_no_take_the_question_they_answer_along() -> None:
    assert units("Yes. You can cancel. We pay.", "Can I cancel?") == [
        Unit("Yes. You can cancel.", "", 0, "sentence", "Can I cancel?"),
        Unit("We pay.", "", 0, "sentence"),
    ]
    assert units("## Do I *have* to?\n\nNo, you can decline.")[0].asked == "Do I have to?"
    assert texts("Yes. You can cancel.", "Cancelling") == ["You can cancel."]
    assert units("Yes.", "Is breakfast included")[0].asked == "Is breakfast included"
    assert texts("Yes, but only once.", "Cancelling") == ["Yes, but only once."]
    assert units("No refund is given.", "Can I cancel?")[0].asked == ""


# --- units: blocks

STEPS = "1. Open **Trips**.\n2. Select it.\n   - Not that.\n\n   ```\n   code\n   ```\n3. Go."


def test_steps_stay_whole_with_the_line_that_introduces_them() -> None:
    assert texts(f"Some words here. Do this:\n\n{STEPS}\n\nDone with it.") == [
        "Some words here.",
        f"Do this:\n\n{STEPS}",
        "Done with it.",
    ]


def test_a_short_list_stays_with_the_line_that_introduces_it() -> None:
    assert texts("There are two ways:\n\n- one\n- two") == ["There are two ways:\n\n- one\n- two"]


def test_items_of_a_longer_list_can_be_quoted_alone() -> None:
    first, second = "* one " * 40, "* two\n  1. below\n\n  more"
    assert texts(f"There are two ways:\n\n{first}\n{second}") == [
        f"There are two ways:\n\n{first.strip()}",
        f"There are two ways:\n\n{second}",
    ]
    assert texts("- one thing\n- another thing\n   + below") == ["- one thing", "- another thing\n   + below"]
    assert texts("  - one\n    deep\n  - two") == ["- one\n  deep", "- two"]


def test_rows_of_a_table_keep_its_header() -> None:
    header = "| A | B |\n|---|---|\n"
    assert texts(f"{header}| 1 | 2 |\n| 3 | 4 |") == [f"{header}| 1 | 2 |", f"{header}| 3 | 4 |"]
    assert texts(f"On top:\n\n{header}| 1 | 2 |") == [f"On top:\n\n{header}| 1 | 2 |"]


@pytest.mark.parametrize(
    "markdown",
    [
        "# Heading",
        "Heading\n===",
        "## Heading\n\n---\n\n***",
        "**Bold heading**\n\n# Heading",
        "Refund times\n\n# Heading",
        "[A bare link](https://x.example)\n\n# Heading",
        "Do this:",
        "Do this:\n\n## Heading",
        "<div>\n<p>raw</p>\n</div>",
        "[ref]: https://x.example",
        "",
        " \n\n\t",
    ],
)
def test_what_says_nothing_alone_is_no_unit(markdown: str) -> None:
    assert texts(markdown) == []


@pytest.mark.parametrize(
    "markdown",
    ["Within 14 days", "Only on weekdays", "> A note for you.", "```\ncode\n```", "Phone: 030 1234\n\nMore."],
)
def test_short_answers_are_units_all_the_same(markdown: str) -> None:
    assert texts(markdown)[0] == markdown.partition("\n\n")[0]


def test_windows_and_mac_lines() -> None:
    assert texts("One thing.\r\n\r\n- a\r\n- b\r\rTwo.") == ["One thing.", "- a", "- b", "Two."]


# --- word for word

PROSE = [
    "Cancel it. ",
    "It is free! ",
    "See e.g. St. Gallen. ",
    "Yes. ",
    "Do this:\n\n",
    "第一。",
    "**b** ",
    "[1] ",
    "[x](y) ",
    "`c[1]` ",
]
BLOCKS = [
    "1. one\n2. two\n",
    "- a\n- b\n",
    "| A | B |\n|---|---|\n| 1 | 2 |\n",
    "# Head\n",
    "```\n",
    "    ",
    "> ",
    "<b>",
    "\n\n",
]
FRAGMENTS = st.sampled_from([*PROSE, *BLOCKS, "\n", "\r\n", "\x0b", "\\"])
MARKDOWN = st.lists(FRAGMENTS | st.text(max_size=5), max_size=20).map("".join)


@settings(deadline=None, max_examples=300)
@given(MARKDOWN)
def test_every_unit_is_in_the_text_word_for_word(markdown: str) -> None:
    for unit in units(markdown, "Heading?"):
        assert unit.text.strip()
        assert bare(unit.text) in bare(markdown)
        for line in unit.start.split("\n"):
            assert bare(line) in bare(markdown)


def sample_passages(sample: Path) -> list[Passage]:
    passages = []
    for path in sorted((sample / "documents").rglob("*.md")):
        text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text("utf-8"), flags=re.DOTALL)
        passages += split(Document(path.stem, path.stem, text, path.name))
    assert len(passages) > 80
    return passages


def test_the_sample_can_be_quoted_throughout(sample: Path) -> None:
    for one in sample_passages(sample):
        cut = units(one.text, one.heading[-1] if one.heading else one.title)
        assert cut, one.id
        for unit in cut:
            assert bare(unit.text) in bare(one.text)
            assert length(unit.whole) <= LONGEST_UNIT
            assert not unit.text.startswith("#")
            assert not unit.text.rstrip().endswith(":")


async def test_an_answer_from_the_sample_is_word_for_word(sample: Path) -> None:
    passages = sample_passages(sample)
    for start in range(0, len(passages), 5):
        some = passages[start : start + 5]
        question = f"What about {some[0].heading[-1] if some[0].heading else some[0].title} and {some[-1].text[:80]}?"
        written = await answer(question, *some)
        assert length(re.sub(r"\[\d\]", "", written)) <= max(MOST_WORDS, LONGEST_UNIT) + 40
        if written == "[[unsure]]" or written.startswith("[[ask]]"):
            continue
        assert re.search(r"\[[1-5]\]", written)
        gate = Gate(len(some), allowed_urls(found(question, *some).hits))
        passed = gate.feed(written) + gate.end()
        # What holds a model's words to their sources leaves the documents' own words as they are.
        assert finished(Written(passed, cited=tuple(gate.cited)), found(question, *some).hits) == passed.strip()
        everything = bare("".join(bare("".join((*one.heading, one.text))) for one in some))
        for line in written.split("\n"):
            if line.startswith("I found nothing on “"):
                continue
            line = re.sub(r"\s*\[\d\]( \|)?$", r"\1", line)
            said = re.sub(r"^\*\*.*?\?\*\* ", "", line)
            assert bare(said) in everything, line


# --- what is chosen, and how it looks


async def test_the_best_sentence_with_its_citation() -> None:
    text = "Larkstay is big. Pets cost a fee of at most 80 euros. Houses are nice."
    assert await answer("How much is the fee for pets?", passage(text)) == "Pets cost a fee of at most 80 euros. [1]"


async def test_neighbours_stay_one_paragraph() -> None:
    text = "Pets cost a fee. The fee for pets is small. Houses are nice.\n\nThe pets fee is due at once."
    assert await answer("What is the fee for pets?", passage(text)) == (
        "Pets cost a fee. The fee for pets is small. [1]\n\nThe pets fee is due at once. [1]"
    )


async def test_rows_share_their_header_and_items_their_list() -> None:
    table = "| Town | Tax |\n|---|---|\n| Porto | tax of 1 |\n| Roma | no |\n| Lima | tax of 2 |"
    assert await answer("What tax?", passage(table)) == (
        "| Town | Tax |\n|---|---|\n| Porto | tax of 1 |\n| Roma | no |\n| Lima | tax of 2 [1] |"
    )
    items = "- tax in Porto is 1\n- nothing else\n- tax in Lima is 2"
    assert await answer("What tax?", passage(items)) == "- tax in Porto is 1\n- tax in Lima is 2 [1]"
    assert await answer("What tax in Lima?", passage(items)) == "tax in Lima is 2 [1]"


async def test_a_yes_is_quoted_with_its_question() -> None:
    text = "Yes. You can bring pets."
    assert await answer("Are pets fine?", passage(text, heading=("May I bring pets?",))) == (
        "**May I bring pets?** Yes. You can bring pets. [1]"
    )


async def test_a_mark_does_not_become_code() -> None:
    assert (
        await answer("What code?", passage("Type the code:\n\n```\ncode\n```"))
        == "Type the code:\n\n```\ncode\n```\n\n[1]"
    )


async def test_each_passage_has_its_own_citation() -> None:
    one, two = passage("Pets cost a fee.", "One"), passage("The fee for pets is small.", "Two")
    assert (
        await answer("What is the fee for pets?", one, two) == "Pets cost a fee. [1]\n\nThe fee for pets is small. [2]"
    )
    assert await answer("What is the fee for pets?", one, two, scores=(1.0, 0.1)) == "Pets cost a fee. [1]"


async def test_several_questions_are_answered_each_for_itself() -> None:
    pets, keys = passage("A dog costs ten euros.", "Pets"), passage("The door code comes by email.", "Keys")
    written = await answer("How much does a dog cost? And how do I get the door code?", pets, keys)
    assert written == "A dog costs ten euros. [1]\n\nThe door code comes by email. [2]"


async def test_what_was_asked_in_vain_is_named() -> None:
    pets = passage("A dog costs ten euros.", "Pets")
    written = await answer("How much does a dog cost? And where is the 2 [1] sauna of a@b.example?", pets)
    assert written == (
        "A dog costs ten euros. [1]\n\nI found nothing on “where is the 2 \\[1] sauna of [e-mail address]”. "
        "If you would like a person to answer that, just say so."
    )
    assert finished(Written(written, cited=(1,)), found("dog", pets).hits) == written


async def test_fault_093_articles_that_disagree_are_both_quoted_and_said_to() -> None:
    first, second = (
        passage("It costs 20 euros to leave late.", "Leaving"),
        passage("To leave late, it costs 35 euros.", "Fees"),
    )
    said = await answer("What does it cost to leave late?", first, second)
    assert said.split("\n\n") == [
        "Our help articles do not agree on this, so please ask a person before you rely on it:",
        "It costs 20 euros to leave late. [1]",
        "To leave late, it costs 35 euros. [2]",
    ]
    # The same figure, another condition, or another place that was asked for: nobody disagrees.
    for other in (
        passage("To leave late, it costs 20 euros.", "Fees"),
        passage("It costs 35 euros to leave late on Sundays.", "Fees"),
        passage("It costs 20 euros to leave late. Early it costs 35 euros.", "Leaving"),
    ):
        assert "do not agree" not in await answer("What does it cost to leave late?", first, other)
    paris, rome = (
        passage("It costs 20 euros to leave late.", "Paris"),
        passage("It costs 35 euros to leave late.", "Rome"),
    )
    assert "do not agree" not in await answer("What does it cost to leave late in Paris?", paris, rome)


async def test_nothing_is_said_twice() -> None:
    one, two = passage("Pets cost a fee.", "One"), passage("Pets cost a fee.", "Two")
    assert await answer("What is the fee for pets?", one, two) == "Pets cost a fee. [1]"


@pytest.mark.parametrize(
    "text",
    [
        "Do pets cost a fee?",
        "This article explains the fee for pets.",
        "The fee for pets follows the rules below.",
        "Find the fee for pets in the table above.",
        "The fee for pets is listed below:",
        "The fee for pets " * 100,
        "【1】The fee for pets.",
        "Nothing of the kind.",
        "",
    ],
)
async def test_it_is_unsure_when_nothing_can_be_quoted(text: str) -> None:
    assert await answer("What is the fee for pets?", passage(text)) == "[[unsure]]"


async def test_it_is_unsure_when_search_is() -> None:
    assert await answer("What is the fee for pets?", passage("Pets cost a fee."), confidence=0.0) == "[[unsure]]"
    assert await answer("What is the fee for pets?") == "[[unsure]]"


async def test_a_limit_is_no_pointer() -> None:
    text = "The fee for pets above 20 kg is listed at 5 euros below zero degrees."
    assert await answer("What is the fee for pets?", passage(text)) == f"{text} [1]"


async def test_an_answer_keeps_to_its_budget() -> None:
    text = "\n\n".join(f"The fee for pets number {number} is {'very ' * 30}small." for number in range(20))
    written = await answer("What is the fee for pets?", passage(text))
    assert MOST_WORDS / 2 < len(written.split()) <= MOST_WORDS + 2


async def test_brackets_of_the_document_are_no_citations() -> None:
    text = "For pets press [1] or [2, 3], says `list[1]` and [a pet](https://x.example)."
    written = await answer("What to press for pets?", passage(text))
    assert written == r"For pets press \[1] or \[2, 3], says `list[1]` and [a pet](https://x.example). [1]"
    gate = Gate(1, ["https://x.example"])
    assert gate.feed(written) + gate.end() == written
    assert gate.cited == [1]


async def test_a_bare_word_asks_back_once() -> None:
    pets, keys = passage("Pets cost a fee.", "Pets [1]\n"), passage("Keys for pets.", "Keys")
    assert await answer("pets", pets, keys) == (
        "[[ask]]\nWhat would you like to know? I found these:\n\n- Pets \\[1]\n- Keys"
    )
    prompt = Prompt("answer", (), "pets", found("pets", pets, keys), asked_back=True)
    async with aclosing(Quotes().stream(prompt)) as chunks:
        assert "[[ask]]" not in "".join([chunk.text async for chunk in chunks])


async def test_meaning_counts_where_it_can_be_compared() -> None:
    async def similarity(question: str, sentences: Sequence[str]) -> Sequence[float]:
        return [0.9 if "Animals" in sentence else 0.1 for sentence in sentences]

    result = found("Is my dog welcome?", passage("Animals may come along. Welcome to Larkstay."))
    prompt = Prompt("answer", (), "Is my dog welcome?", result)
    async with aclosing(Quotes(similarity).stream(prompt)) as chunks:
        assert "Animals may come along." in "".join([chunk.text async for chunk in chunks])


async def test_a_rewrite_is_the_question_itself() -> None:
    prompt = Prompt("rewrite", (), "And with PayPal?")
    async with aclosing(Quotes().stream(prompt)) as chunks:
        assert "".join([chunk.text async for chunk in chunks]) == "And with PayPal?"


# --- hostile text


@settings(deadline=None, max_examples=100)
@given(MARKDOWN, MARKDOWN, st.text(max_size=40))
async def test_any_document_and_question_can_be_answered(one: str, two: str, question: str) -> None:
    written = await answer(f"{question} cancel it, one, two?", passage(one), passage(two, "Two"))
    gate = Gate(2, ())
    gate.feed(written)
    gate.end()
    assert written.startswith(("[[unsure]]", "[[ask]]")) or gate.cited


HOSTILE = [
    "[",
    "e.g. A ",
    "> - ",
    "* ",
    "<a",
    "| a |\n",
    "Yes. ",
    "。」",
    "```\n",
    "a:\n\n",
    "1) a\n",
    "- a\n\n1. b\n\n",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    started = time.process_time()
    units(text)
    assert time.process_time() - started < 5
