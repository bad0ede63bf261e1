"""What a long message asks."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.gist import LONG, SENTENCE, gist

STORY = " ".join(f"Then this happened on day {day}, and it was of no use at all." for day in range(40))
LOG = "\n".join(f"2026-03-0{day % 9} ERROR connection {day} lost" for day in range(400))


def test_a_short_question_is_left_alone() -> None:
    text = "Two things: where is my receipt? " + "And so on. " * 40
    assert gist(text) == text
    assert gist("") == ""


@pytest.mark.parametrize("pasted", [STORY, LOG, LOG.replace("\n", " "), "\ud83d\ude00 " * 2_000, "x" * 50_000])
@pytest.mark.parametrize("before", [True, False])
def test_a_question_beside_what_was_pasted_is_all_that_counts(pasted: str, before: bool) -> None:
    question = "I was charged twice. How do I get my money back?"
    said = gist(f"{question}\n\n{pasted}" if before else f"{pasted}\n\n{question}")
    assert "I was charged twice.\nHow do I get my money back?" in said
    assert len(said.split()) <= 6 * (SENTENCE + 1)


def test_questions_in_the_middle_are_kept() -> None:
    said = gist(f"Hello there. {STORY} Do you refund the fee? {STORY} Thanks.")
    assert "Do you refund the fee?" in said
    assert said.startswith("Hello there.")
    assert said.endswith("Thanks.")


def test_a_sentence_without_an_end_is_kept_at_both_ends() -> None:
    said = gist("my door " + "and then " * LONG + "who pays for the lock")
    assert said.startswith("my door and")
    assert said.endswith("who pays for the lock")


@given(st.text(max_size=400), st.integers(1, 30))
def test_any_text_has_a_gist_that_is_not_longer(text: str, times: int) -> None:
    said = gist(text * times)
    assert len(said) <= len(text * times) + times
    assert bool(said.strip()) == bool((text * times).strip())


@pytest.mark.parametrize("unit", ["a", "a ", "? ", ". ", "\n", "?!", "。", " \t", "a?"])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * size
        started = time.process_time()
        gist(text)
        return time.process_time() - started

    assert seconds(200_000) < 40 * max(seconds(20_000), 0.005)
