"""Answers without a model: the documents' own sentences, steps and table rows, word for word, with their citations.

It is extractive question answering of the plainest kind: the units of the best passages are scored by how much of the
question they speak of, and taken greedily as long as each says something the ones before did not (maximal coverage, as in
Lin and Bilmes, 2011, "A Class of Submodular Functions for Document Summarization").
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from agent.messages import Usage
from agent.models.base import Chunk, Prompt
from agent.policy import choices_of_ambiguous, good_enough
from knowledge.keywords import terms
from knowledge.search import Hit, SearchResult

NAME = "quotes"
MOST_WORDS = 130
"""About as much as a customer reads in a chat window."""
MOST_UNITS = 4
WORTH = 0.12
"""A further unit must speak of at least this share of the question that the ones before left out."""
CLOSE = 0.45
"""Passages below this share of the best one's score are not quoted."""

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\Wa-z_])|(?<=[。！？])")  # noqa: RUF001
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|approx|no|nr|mr|mrs|ms|dr|st|inc|ltd|z\.B|bzw|ca)\.|\b[A-Z]\.)$", re.I
)
_LEANING = re.compile(
    r"^(?:it|this|that|these|those|they|he|she|then|otherwise|however|also|but|and|or|so|if so)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that can be quoted alone: a sentence, a whole list of steps, a list item, a row of a table.

    `lead` is what it needs in front of it to be understood (the line that introduces a list, a table's header).
    """

    text: str
    lead: str = ""

    @property
    def whole(self) -> str:
        """The unit with its lead."""
        return f"{self.lead}\n\n{self.text}" if self.lead and not self.lead.startswith("|") else self.lead + self.text


@dataclass(slots=True)
class _Candidate:
    unit: Unit
    hit: int
    place: int
    terms: frozenset[str]
    heading: frozenset[str]
    words: int


class Quotes:
    """The backend that needs no model, no key and no network; the last link of every chain."""

    name = NAME
    generative = False

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Quote what was retrieved, or say `[[unsure]]`, or ask back with `[[ask]]` when a word fits several documents."""
        text = prompt.question if prompt.purpose == "rewrite" else self._answer(prompt)
        for piece in re.findall(r"\S+\s*|\s+", text):
            yield Chunk(text=piece, model=NAME)
        yield Chunk(finish="stop", usage=Usage(), model=NAME)

    async def close(self) -> None:
        """Nothing to release."""

    def _answer(self, prompt: Prompt) -> str:
        found = prompt.retrieved
        if found is None or not found.hits:
            return "[[unsure]]"
        titles = () if prompt.asked_back else choices_of_ambiguous(prompt.question, found)
        if titles:
            return "[[ask]]\nWhat would you like to know? I found these:\n\n" + "\n".join(
                f"- {title}" for title in titles
            )
        if not good_enough(found, generative=False):
            return "[[unsure]]"
        return quote(found) or "[[unsure]]"


def quote(found: SearchResult) -> str:
    """The best units of the best passages, grouped by passage in the order found, each followed by its `[n]`."""
    candidates = _candidates(found.hits)
    chosen = _choose(candidates, found.weights, [hit.score for hit in found.hits])
    parts: list[str] = []
    for number in dict.fromkeys(candidate.hit for candidate in chosen):
        of_hit = sorted((one for one in chosen if one.hit == number), key=lambda one: one.place)
        parts.append(_joined([candidate.unit for candidate in of_hit], f"[{number + 1}]"))
    return "\n\n".join(parts)


def _candidates(hits: Sequence[Hit]) -> list[_Candidate]:
    best = hits[0].score
    candidates = []
    seen: set[str] = set()
    for number, hit in enumerate(hits):
        if hit.score < CLOSE * best:
            break
        heading = frozenset(terms(" ".join((hit.passage.title, *hit.passage.heading))))
        for place, unit in enumerate(units(hit.passage.text)):
            if unit.whole in seen:
                continue
            seen.add(unit.whole)
            own = frozenset(terms(unit.whole))
            candidates.append(_Candidate(unit, number, place, own, heading, len(unit.whole.split())))
    return candidates


def _choose(
    candidates: Sequence[_Candidate], weights: Mapping[str, float], scores: Sequence[float]
) -> list[_Candidate]:
    total = sum(weights.values()) or 1.0
    best = scores[0] or 1.0
    covered: dict[str, float] = {}
    chosen: list[_Candidate] = []
    words = 0
    while len(chosen) < MOST_UNITS:
        ranked = []
        for candidate in candidates:
            if candidate in chosen or (chosen and words + candidate.words > MOST_WORDS):
                continue
            gain = sum(
                weight * max(0.0, _speaks_of(term, candidate) - covered.get(term, 0.0))
                for term, weight in weights.items()
            )
            # A passage that search likes is more likely to be on the matter; a long unit says it less directly.
            trust = (scores[candidate.hit] / best) ** 2
            ranked.append(
                (gain / total * trust / (1 + candidate.words / 200), -candidate.hit, -candidate.place, candidate)
            )
        if not ranked:
            break
        worth, *_, candidate = max(ranked, key=lambda entry: entry[:3])
        if chosen and worth < WORTH:
            break
        chosen.append(candidate)
        words += candidate.words
        for term in weights:
            covered[term] = max(covered.get(term, 0.0), _speaks_of(term, candidate))
    return chosen


def _speaks_of(term: str, candidate: _Candidate) -> float:
    """1 if the unit has the term itself; half if only the headings above it have."""
    if term in candidate.terms:
        return 1.0
    return 0.5 if term in candidate.heading else 0.0


def _joined(chosen: Sequence[Unit], mark: str) -> str:
    """Units of one passage in readable form. Rows of one table share its header, items of one list its first line."""
    lines: list[str] = []
    lead = ""
    for unit in chosen:
        block = unit.text if unit.lead and unit.lead == lead else unit.whole
        tight = bool(lines) and unit.lead == lead and unit.lead != ""
        if lines and not tight:
            lines.append("")
        lines.append(block)
        lead = unit.lead
    text = "\n".join(lines)
    last = text.rsplit("\n", 1)[-1].lstrip()
    # Behind a table or a code block a mark would become part of it.
    apart = last.startswith(("|", "```", "~~~")) or text.rsplit("\n", 1)[-1].startswith("    ")
    return f"{text}\n\n{mark}" if apart else f"{text} {mark}"


def units(text: str) -> list[Unit]:
    """Cut a passage into what can be quoted alone."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(text)
    lines = text.split("\n")
    found: list[Unit] = []
    lead = ""
    for token in tokens:
        if token.level or token.nesting < 0 or token.map is None:
            continue
        source = "\n".join(lines[token.map[0] : token.map[1]]).strip("\n")
        if token.type == "heading_open" or not source.strip():
            lead = ""
            continue
        if token.type == "paragraph_open":
            sentences = _sentences(source)
            lead = sentences.pop() if sentences and sentences[-1].rstrip("*_ ").endswith(":") else ""
            found += (Unit(sentence) for sentence in sentences)
            continue
        if token.type == "table_open":
            found += _rows(source)
        elif token.type == "bullet_list_open":
            found += (Unit(item, lead) for item in _items(source))
        else:
            found.append(Unit(source, lead))
        lead = ""
    if lead:
        found.append(Unit(lead))
    return found


def _sentences(paragraph: str) -> list[str]:
    joined = " ".join(paragraph.split())
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(joined):
        if _ABBREVIATION.search(joined[start : match.start()]):
            continue
        sentences.append(joined[start : match.start()] + match[0].rstrip())
        start = match.end()
    sentences.append(joined[start:])
    merged: list[str] = []
    for sentence in (one for one in sentences if one.strip()):
        # "It is charged ..." says nothing without the sentence before it.
        if merged and _LEANING.match(sentence):
            merged[-1] += f" {sentence}"
        else:
            merged.append(sentence)
    return merged


def _items(source: str) -> list[str]:
    """The top-level items of a bullet list, each with all that is below it."""
    items: list[str] = []
    for line in source.split("\n"):
        if re.match(r"[-*+]\s", line) or not items:
            items.append(line)
        else:
            items[-1] += f"\n{line}"
    return [item.rstrip() for item in items]


def _rows(source: str) -> list[Unit]:
    header, _, rest = source.partition("\n")
    line, _, body = rest.partition("\n")
    lead = f"{header}\n{line}\n"
    return [Unit(row, lead) for row in body.split("\n") if row.strip()]
