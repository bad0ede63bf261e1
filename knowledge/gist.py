"""What a long message asks: most of it is a story, a log or a pasted mail, whose words would bury those of the question."""

from __future__ import annotations

import re

from knowledge.passages import length

LONG = 150
"""Words. Questions up to this length are looked up as they are: all that customers wrote in three collections were shorter."""
SENTENCE = 60
"""Words of a sentence that count; what is pasted may have none that ends."""
AT_EITHER_END = 2
QUESTIONS = 3

_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")  # noqa: RUF001
_QUESTION = re.compile(r"[?？]")  # noqa: RUF001
_SPACES = re.compile(r"\s+")


def gist(text: str) -> str:
    """A long text's first two sentences, its last three questions and its last two sentences; a shorter one as it is."""
    if length(text) <= LONG:
        return text
    sentences = [_shortened(sentence) for sentence in _SENTENCE.findall(text) if not sentence.isspace()]
    asked = [number for number, sentence in enumerate(sentences) if _QUESTION.search(sentence)][-QUESTIONS:]
    last = range(max(len(sentences) - AT_EITHER_END, 0), len(sentences))
    kept = sorted({*range(min(AT_EITHER_END, len(sentences))), *asked, *last})
    return "\n".join(sentences[number] for number in kept) or text


def _shortened(sentence: str) -> str:
    """A sentence that is too long, up to its last words, with which it asks if it does."""
    words = _SPACES.sub(" ", sentence).strip().split(" ")
    if len(words) > SENTENCE:
        words = [*words[: SENTENCE // 2], *words[-SENTENCE // 2 :]]
    said = " ".join(words)
    return said if len(said) <= 8 * SENTENCE else f"{said[: 4 * SENTENCE]} {said[-4 * SENTENCE :]}"
