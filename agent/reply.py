"""From what a model wrote to what is sent: marks read, claims held to their sources. Pure.

A model's reply is an answer unless it begins with a mark such as `[[unsure]]` (agent/prompts/answer.md tells it so).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agent.guard import Gate, urls_in
from agent.messages import Citation
from knowledge.search import Hit

Mark = Literal["unsure", "person", "ask", "chat", "refuse"]

LONGEST_CHAT = 280
"""Characters of small talk; what is longer, or has numbers in it, states facts."""
_MARK = re.compile(r"^[\s`*\"']*\[\[\s*(unsure|person|ask|chat|refuse)\s*\]\][`*\"']*[ \t]*\n*", re.IGNORECASE)
_MAY_BE_MARK = re.compile(r"^[\s`*\"']*(?:\[(?:\[[\s\w]{0,12}\]?)?)?$")
_AFTER_MARK = 24
_SENTENCE = re.compile(r"[.!?。！？](?:[\"'”’)\]*_]|\s*\[\d{1,3}\])*(?=\s|$)|\n")  # noqa: RUF001


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
        if _MAY_BE_MARK.match(self._held) or found or len(self._held.strip()) < 2:
            return ""
        return self._decide(None)

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        return "" if self._held is None else self._decide(_MARK.match(self._held))

    def _decide(self, found: re.Match[str] | None) -> str:
        text, self._held = self._held or "", None
        if found is None:
            return text
        self.mark = found[1].lower()  # type: ignore[assignment]
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


def citations_of(written: Written, hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """The citations of what was written, numbered from 1 as its text has them."""
    chosen = [(n, hits[number - 1]) for n, number in enumerate(written.cited, 1)]
    return tuple(
        Citation(n, hit.passage.document, hit.passage.title, hit.url, hit.passage.text, hit.updated)
        for n, hit in chosen
    )


def finished(written: Written, hits: Sequence[Hit]) -> str:
    """The text to send: whole sentences only, and no address that the cited passages do not have."""
    text = written.text.strip()
    if written.cut:
        ends = [match.end() for match in _SENTENCE.finditer(text)]
        text = text[: ends[-1]].strip() if ends else ""
    cited = [hits[number - 1] for number in written.cited]
    gate = Gate(len(written.cited), allowed_urls(cited))
    return (gate.feed(text) + gate.end()).strip()


def is_small_talk(text: str) -> bool:
    """Whether text that a model calls small talk can be sent without a source: short, no numbers, no addresses."""
    return 0 < len(text) <= LONGEST_CHAT and not re.search(r"\d", text) and not urls_in(text)
