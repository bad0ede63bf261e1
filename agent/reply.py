"""From what a model wrote to what is sent: marks read, claims held to their sources. Pure.

A model's reply is an answer unless it begins with a mark such as `[[unsure]]` (agent/prompts/answer.md tells it so).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from agent import wording
from agent.guard import Gate, urls_in
from agent.messages import Answer, Citation, Handoff
from knowledge.search import Hit

Mark = Literal["unsure", "person", "ask", "chat", "refuse"]

LONGEST_CHAT = 280
"""Characters of small talk; what is longer, or has numbers in it, states facts."""
_FACTS = re.compile(r"\d|\w@\w|\w\.[a-z]{2,}|[$€£¥%]", re.IGNORECASE)
_NAMES = "unsure|person|ask|chat|refuse"
_MARK = re.compile(rf"[\s`*\"']{{0,20}}+\[\[\s{{0,3}}({_NAMES})\s{{0,3}}\]\][`*\"':]*+\s*+", re.IGNORECASE)
_MAY_BE_MARK = re.compile(r"[\s`*\"']{0,20}+(?:\[(?:\[\s{0,3}(?:[a-z]{1,6}\s{0,3}\]?)?)?)?\Z", re.IGNORECASE)
_SAYS_NO = re.compile(r"\[\[\s{0,3}(?:unsure|person|refuse)\s{0,3}\]\]", re.IGNORECASE)
_STRAY_MARK = re.compile(rf"[ \t]?\[\[\s{{0,3}}(?:{_NAMES})\s{{0,3}}\]\]", re.IGNORECASE)
_SENTENCE = re.compile(
    r"(?:[.!?](?=[\"'”’)\]*_]{0,3}(?:\s|\Z|\[\d))|[。！？])[\"'”’)\]*_」』]{0,3}(?:[ \t]{0,2}\[\d{1,3}\]){0,9}|\n"  # noqa: RUF001
)
_NO_END = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|approx|no|nr|mr|mrs|ms|dr|st|vs|z\.b|d\.h|bzw|ca|p\.ej|\w)|(?:^|\n)\s*\d{1,3})\.\Z",
    re.IGNORECASE,
)
"""What ends with a point without ending a sentence: an abbreviation, an initial, the number of a step, half a number."""


_MARKED = re.compile(r"\[\d{1,3}\]")
_ONLY_MARKS = re.compile(r"(?:\s*\[\d{1,3}\])+\s*$")
_NOTHING_ON = wording.NOT_FOUND.partition("{")[0]
_LIST_NUMBER = re.compile(r"^[ \t]{0,20}\d{1,3}[.)]\s", re.MULTILINE)
_IN_LIST = re.compile(r"[ \t]+\S|(?:[-*+]|\d{1,3}[.)])[ \t]")


class MarkReader:
    """Splits a stream into the mark at its beginning, if there is one, and the text."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self._held: str | None = ""

    def feed(self, text: str) -> str:
        """The next piece in, the text that is certainly no mark out."""
        if self._held is None:
            return text
        self._held += text
        if (found := _MARK.match(self._held)) and found.end() < len(self._held):
            return self._decide(found)
        if found or _MAY_BE_MARK.match(self._held):
            return ""
        return self._decide(None)

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        return "" if self._held is None else self._decide(_MARK.match(self._held))

    def _decide(self, found: re.Match[str] | None) -> str:
        text, self._held = self._held or "", None
        if found is None:
            return text
        self.mark = cast("Mark", found[1].lower())
        return text[found.end() :]


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote, after the gate. `cited` holds numbers of hits, from 1, in the order of their new numbers."""

    text: str = ""
    mark: Mark | None = None
    cited: tuple[int, ...] = ()
    cut: bool = False
    """It ended because it was too long."""


def allowed_urls(hits: Sequence[Hit]) -> set[str]:
    """The addresses that may be shown when these passages are the sources."""
    return {hit.url for hit in hits if hit.url} | {url for hit in hits for url in urls_in(hit.passage.text)}


def sourced(written: Written, hits: Sequence[Hit]) -> tuple[str, tuple[Citation, ...]]:
    """The text to send, and its citations, numbered from 1 as the text has them.

    Whole sentences only, and no address that the cited passages do not have. Nothing is left of an answer that takes itself
    back (`[[unsure]]` in its midst), nor of one that was cut before its first source.
    """
    text, kept = _held_to_sources(written, hits)
    chosen = [(n, hits[written.cited[number - 1] - 1]) for n, number in enumerate(kept, 1)]
    citations = tuple(
        Citation(n, hit.passage.document, hit.passage.title, hit.url, hit.passage.text, hit.updated, hit.audience)
        for n, hit in chosen
    )
    return "" if written.cut and written.cited and not kept else text, citations


def finished(written: Written, hits: Sequence[Hit]) -> str:
    """The text alone."""
    return sourced(written, hits)[0]


def _held_to_sources(written: Written, hits: Sequence[Hit]) -> tuple[str, Sequence[int]]:
    """The text to send, and which of its citations are left in it."""
    if _SAYS_NO.search(written.text):
        return "", ()
    text = _STRAY_MARK.sub("", written.text).strip()
    text = _whole_sentences(text) if written.cut else text
    text = _without_unsourced(text) if written.mark is None else text
    gate = Gate(len(written.cited), allowed_urls([hits[number - 1] for number in written.cited]))
    return (gate.feed(text) + gate.end()).strip(), gate.cited


def _without_unsourced(text: str) -> str:
    """A text without its paragraphs that state figures and name no source, when others do.

    A paragraph is sourced by a mark of its own, by one that stands alone behind it (as behind a table), or, for what a line
    with a colon introduces, by that line's. A list is one paragraph, also with blank lines between its items.
    """
    blocks: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text):
        if blocks and _IN_LIST.match(block) and _IN_LIST.match(blocks[-1]):
            blocks[-1] += f"\n\n{block}"
        else:
            blocks.append(block)
    if len(blocks) < 2 or "```" in text or "~~~" in text:
        return text
    kept: list[str] = []
    introduced = False
    for block, following in zip(blocks, [*blocks[1:], ""], strict=True):
        sourced = bool(_MARKED.search(block)) or bool(_ONLY_MARKS.match(following)) or introduced
        lead = _MARKED.sub("", block).rstrip("*_ ").endswith(":")
        if sourced or lead or block.startswith(_NOTHING_ON) or not _FACTS.search(_LIST_NUMBER.sub("", block)):
            kept.append(block)
        introduced = lead and bool(_MARKED.search(block))
    return "\n\n".join(kept)


def _whole_sentences(text: str) -> str:
    """A text that breaks off, without its last sentence, step or code block that is not whole."""
    fences = list(re.finditer(r"^[ \t]*(?:```|~~~)", text, re.MULTILINE))
    if len(fences) % 2:
        text = text[: fences[-1].start()]
    ends = [match.end() for match in _SENTENCE.finditer(text)]
    while ends and _NO_END.search(text[max(0, ends[-1] - 20) : ends[-1]]):
        ends.pop()
    lines = text[: ends[-1]].rstrip().split("\n") if ends else []
    # "Do this:" with nothing behind it is not whole either.
    while lines and (not lines[-1].strip() or lines[-1].rstrip("*_ ").endswith((":", "："))):  # noqa: RUF001
        lines.pop()
    return "\n".join(lines)


def with_not_read(result: Answer | Handoff, not_read: str) -> Answer | Handoff:
    """A reply that also tells which files could not be read, where that may be why it is not better."""
    tells = isinstance(result, Answer) or result.reason == "unsure"
    if not not_read or not tells or not_read in result.text:
        return result
    return replace(result, text=f"{result.text}\n\n{not_read}")


def is_small_talk(text: str) -> bool:
    """Whether text that a model calls small talk can be sent without a source: short, no numbers, no addresses."""
    return 0 < len(text) <= LONGEST_CHAT and not _FACTS.search(text) and not urls_in(text)
