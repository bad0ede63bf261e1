"""Answers without a model: the documents' own sentences, steps and table rows, word for word, with their citations.

It is extractive question answering of the plainest kind: sentences, lists and table rows of the best passages are scored by the
share of the question's words they speak of and, where vectors are at hand, by their cosine to it. A message with several
questions is answered part by part.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.messages import Usage
from agent.models.base import Chunk, Prompt
from agent.policy import choices_of_ambiguous, good_enough, parts_of
from knowledge.keywords import terms
from knowledge.search import Hit, SearchResult

NAME = "quotes"
MOST_WORDS = 130
"""About as much as a customer reads in a chat window."""
MOST_UNITS = 3
"""For one part of the question."""
WORTH_AT_ALL = 0.1
"""What the first unit must be worth, between 0 and 1 by words alone, to 2 with vectors."""
WORTH_MORE = 0.7
"""A further unit must be worth this share of the first one."""
REST = 0.6
"""What the words of the rest of a message weigh for one of its questions."""
CLOSE = 0.45
"""Passages below this share of the best one's score are not quoted."""
UNRELATED = 0.15
"""The cosine of sentences that have nothing to do with each other, about, with all-MiniLM-L6-v2."""

Similarity = Callable[[str, Sequence[str]], Awaitable[Sequence[float] | None]]
"""How near texts are to a question, as cosines; `None` when there is no cheap way to tell."""

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
    """The backend that needs no model, no key and no network; the last link of every chain.

    `similarity` compares sentences with the question by meaning (`KnowledgeBase.similarity`); without it words decide.
    """

    name = NAME
    generative = False

    def __init__(self, similarity: Similarity | None = None) -> None:
        self._similarity = similarity

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Quote what was retrieved, or say `[[unsure]]`, or ask back with `[[ask]]` when a word fits several documents."""
        text = prompt.question if prompt.purpose == "rewrite" else await self._answer(prompt)
        for piece in re.findall(r"\S+\s*|\s+", text):
            yield Chunk(text=piece, model=NAME)
        yield Chunk(finish="stop", usage=Usage(), model=NAME)

    async def close(self) -> None:
        """Nothing to release."""

    async def _answer(self, prompt: Prompt) -> str:
        found = prompt.retrieved
        if found is None or not found.hits:
            return "[[unsure]]"
        titles = () if prompt.asked_back else choices_of_ambiguous(prompt.question, found)
        if titles:
            return "[[ask]]\nWhat would you like to know? I found these:\n\n" + "\n".join(
                f"- {title}" for title in titles
            )
        if not good_enough(prompt.question, found, generative=False):
            return "[[unsure]]"
        return await self._quote(prompt.question, found) or "[[unsure]]"

    async def _quote(self, question: str, found: SearchResult) -> str:
        """The best units for each part of the question, grouped by passage, each group followed by its `[n]`."""
        candidates = _candidates(found.hits)
        scores = [hit.score for hit in found.hits]
        texts = [candidate.unit.whole for candidate in candidates]
        chosen: list[_Candidate] = []
        for part in parts_of(question):
            words = set(terms(part))
            weights = {term: weight * (1 if term in words else REST) for term, weight in found.weights.items()}
            cosines = await self._similarity(part, texts) if self._similarity is not None else None
            worth = _worth(candidates, weights, scores, cosines)
            chosen += _choose(candidates, worth, chosen)
        blocks: list[str] = []
        for number in dict.fromkeys(candidate.hit for candidate in chosen):
            of_hit = sorted((one for one in chosen if one.hit == number), key=lambda one: one.place)
            blocks.append(_joined([candidate.unit for candidate in of_hit], f"[{number + 1}]"))
        return "\n\n".join(blocks)


def _worth(
    candidates: Sequence[_Candidate],
    weights: Mapping[str, float],
    scores: Sequence[float],
    cosines: Sequence[float] | None,
) -> list[float]:
    """What each candidate is worth as an answer to one part: the share of its words it speaks of, and its nearness."""
    total = sum(weights.values()) or 1.0
    worth = []
    for number, candidate in enumerate(candidates):
        spoken = sum(weight * _speaks_of(term, candidate) for term, weight in weights.items()) / total
        near = max(0.0, cosines[number] - UNRELATED) / (1 - UNRELATED) if cosines is not None else 0.0
        # A passage that search likes is more likely to be on the matter; a long unit says it less directly.
        trust = scores[candidate.hit] / (scores[0] or 1.0)
        worth.append((spoken + near) * trust / (1 + candidate.words / 200))
    return worth


def _choose(candidates: Sequence[_Candidate], worth: Sequence[float], before: Sequence[_Candidate]) -> list[_Candidate]:
    """The best units, as long as each is nearly as good as the best and there is room beside those of `before`."""
    order = sorted(range(len(candidates)), key=lambda number: -worth[number])
    chosen: list[_Candidate] = []
    words = sum(one.words for one in before)
    for number in order:
        candidate = candidates[number]
        best = worth[order[0]]
        if len(chosen) == MOST_UNITS or worth[number] < max(WORTH_AT_ALL, WORTH_MORE * best):
            break
        if candidate in before or (words and words + candidate.words > MOST_WORDS):
            continue
        chosen.append(candidate)
        words += candidate.words
    return chosen


def _candidates(hits: Sequence[Hit]) -> list[_Candidate]:
    best = hits[0].score
    candidates = []
    seen: set[str] = set()
    for number, hit in enumerate(hits):
        if hit.score < CLOSE * best:
            continue
        heading = frozenset(terms(" ".join((hit.passage.title, *hit.passage.heading))))
        for place, unit in enumerate(units(hit.passage.text)):
            # A question that the document asks is no answer to one.
            if unit.whole in seen or unit.whole.rstrip("*_").endswith("?"):
                continue
            seen.add(unit.whole)
            own = frozenset(terms(unit.whole))
            candidates.append(_Candidate(unit, number, place, own, heading, len(unit.whole.split())))
    return candidates


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
    head, _, last = text.rpartition("\n")
    if last.rstrip().endswith("|") and last.lstrip().startswith("|"):
        return f"{head}\n{last.rstrip()[:-1].rstrip()} {mark} |"
    # Behind a code block a mark would become part of it.
    apart = last.lstrip().startswith(("```", "~~~")) or last.startswith("    ")
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
