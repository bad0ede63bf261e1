"""Answers without a model: the documents' own sentences, steps and table rows, word for word, with their citations.

It is extractive question answering of the plainest kind: sentences, lists and table rows of the best passages are scored by the
share of the question's words they speak of and, where vectors are at hand, by their cosine to it. A message with several
questions is answered part by part.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from agent import wording
from agent.errors import ModelRefused
from agent.guard import mask, reads_like_instructions, says_something, shorten
from agent.messages import Usage
from agent.models.base import Chunk, Prompt
from agent.policy import choices_of_ambiguous, good_enough, parts_of
from knowledge.keywords.tokenizer import terms
from knowledge.passages import length
from knowledge.search import Hit, SearchResult

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

NAME = "quotes"
MOST_WORDS = 130
"""About as much as a customer reads in a chat window."""
LONGEST_UNIT = 200
"""Words. A longer list or block would be a wall of text, and a part of it might mislead."""
SHORT_LIST = 60
"""Words. A list up to this length is quoted as a whole when a line introduces it."""
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

_SENTENCE_END = re.compile(
    r"(?<=[.!?])[\"'”’)\]*_]{0,4}\s(?=[\"'“‘(\[*_`]{0,4}[^\Wa-z_])|(?<=[。！？])[”’」』）\"')*]{0,4}"  # noqa: RUF001
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|approx|incl|excl|max|min|no|nr|mr|mrs|ms|dr|prof|st|mt|ave|inc|ltd|co|jan|feb|aug|sept?|oct|nov|"
    r"dec|fig|art|abs|tel|[ap]\.m|z\.\s?B|d\.\s?h|u\.\s?a|bzw|ca|evtl|ggf|inkl|zzgl|usw|sr|sra|p\. ?ej|[a-z]|\d{1,2}))\.$",
    re.IGNORECASE,
)
_LEANING = re.compile(
    r"(?:it|its|this|that|these|those|they|their|he|she|his|her|such|each of|then|otherwise|however|also|but|and|or|nor|so|"
    r"therefore|instead|in (?:that|this|these|those|either|both) case|if (?:so|not|it|they|this|that|you don't|none)|after that|"
    r"until then|for example|the (?:same|rest|other|former|latter)|(?:\w+ ){1,3}then|"
    r"dies\w*|das|dann|danach|außerdem|sonst|aber|und|oder|auch|es|"
    r"esto|eso|entonces|además|pero|cela|ceci|ensuite|sinon|mais)\b",
    re.IGNORECASE,
)
"""How a sentence begins that says nothing without the one before it."""
_YES_OR_NO = re.compile(
    r"\W*(?:yes|no|ja|nein|nee|sí|oui|non|sim|não|sì|はい|いいえ|是的?|不是?|可以|네|아니요)"
    r"[.,!;:。，、！]\s*",  # noqa: RUF001
    re.IGNORECASE,
)
_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")
_ENDS = re.compile(r"[.!?:;…。！？：；][\"'”’」』）)\]]{0,3}$")  # noqa: RUF001
_POINTS_ELSEWHERE = re.compile(
    r"(?:this|the) (?:article|page|section|document)\b|"
    r".*(?:\b(?:listed|described|shown|explained|mentioned|see|rules?|steps?|tables?|list|sections?|exceptions?|questions?)"
    r" (?:\w+ )?(?:below|above)\b|\b(?:below|above)[.:)*]*$)",
    re.IGNORECASE,
)
"""A sentence about the article, or about what stands elsewhere in it, is no answer."""
_FENCE = re.compile(r"^[ \t>*+.)\d-]{0,20}(?:```|~~~)", re.MULTILINE)
_CITES = re.compile(
    r"(?P<code>(?:```|~~~)[\s\S]*?(?:```|~~~|\Z)|`[^`\n]*`)|(?<!\\)\[(?=[ ^]{0,3}\d[\d ,;&–-]{0,30}\])"  # noqa: RUF001
)
"""What would be taken for a citation of the answer, outside code: a footnote, "press [1]"."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that can be quoted alone: a sentence, a whole list of steps, a list item, a row of a table.

    `start` is what it needs in front of it to be understood (the line that introduces a list, a table's header). Units of one
    `block` (a paragraph, list or table of the passage) can share it. `asked` is the heading that it says yes or no to.
    """

    text: str
    start: str = ""
    block: int = 0
    kind: Literal["sentence", "item", "row", "whole"] = "whole"
    asked: str = ""

    @property
    def whole(self) -> str:
        """The unit with what goes in front of it."""
        return self.start + self.text


@dataclass(slots=True)
class _Candidate:
    unit: Unit
    hit: int
    place: int
    terms: frozenset[str]
    heading: frozenset[str]
    words: float


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
        if prompt.schema is not None or prompt.role not in ("answer", "rewrite"):
            raise ModelRefused(f"{NAME} repeats documents; it cannot {prompt.role}.", "Set a model for it.")
        text = prompt.question if prompt.role == "rewrite" else await self._answer(prompt)
        for piece in re.findall(r"\S+\s*|\s+", text):
            yield Chunk(text=piece, model=NAME)
        yield Chunk(finish="stop", usage=Usage(), model=NAME)

    def estimate(self, prompt: Prompt, completion_tokens: int, /) -> Usage:
        """Nothing is sent, and nothing paid."""
        return Usage()

    async def close(self) -> None:
        """Nothing to release."""

    async def _answer(self, prompt: Prompt) -> str:
        found = prompt.retrieved
        if found is None or not found.hits:
            return "[[unsure]]"
        titles = () if prompt.asked_back else choices_of_ambiguous(prompt.question, found)
        if titles:
            return "[[ask]]\nWhat would you like to know? I found these:\n\n" + "\n".join(
                f"- {_CITES.sub(_escaped, ' '.join(title.split()))}" for title in titles
            )
        if not good_enough(prompt.question, found, generative=False):
            return "[[unsure]]"
        return await self._quote(prompt.question, found) or "[[unsure]]"

    async def _quote(self, question: str, found: SearchResult) -> str:
        """The best units for each part of the question, grouped by passage, each group followed by its `[n]`."""
        candidates = _candidates(found.hits, found.language)
        scores = [hit.score for hit in found.hits]
        texts = [candidate.unit.whole for candidate in candidates]
        chosen: list[_Candidate] = []
        parts = {part: set(terms(part, found.language)) for part in parts_of(question)}
        for part, words in parts.items():
            weights = {term: weight * (1 if term in words else REST) for term, weight in found.weights.items()}
            cosines = await self._similarity(part, texts) if self._similarity is not None else None
            worth = _worth(candidates, weights, scores, cosines)
            chosen += _choose(candidates, worth, chosen)
        rivals = _rivals(chosen, found)
        known = {one.unit.whole for one in chosen}
        chosen += [one for one in rivals if one.unit.whole not in known]
        blocks = [wording.DISAGREE] if rivals else []
        for number in dict.fromkeys(candidate.hit for candidate in chosen):
            of_hit = sorted((one for one in chosen if one.hit == number), key=lambda one: one.place)
            blocks.append(_joined(of_hit, f"[{number + 1}]"))
        spoken = {term for one in chosen for term in (*one.terms, *one.heading)}
        left = [_repeated(part) for part, words in parts.items() if _is_left_out(words, spoken, found.weights)]
        if blocks and left and len(parts) > 1:
            blocks.append(wording.NOT_FOUND.format(parts=", ".join(left)))
        return "\n\n".join(blocks)


def _rivals(chosen: Sequence[_Candidate], found: SearchResult) -> list[_Candidate]:
    """What other documents say in the same words with other figures: to quote one of the two would be to guess.

    Search may think little of one of them, which says nothing about who is right.
    """

    def asked(one: _Candidate) -> frozenset[str]:
        return (one.terms | one.heading) & found.weights.keys()

    rivals: dict[str, _Candidate] = {}
    others = _candidates(found.hits, found.language, least=0.0) if any(map(_figures, chosen)) else []
    for one in chosen:
        figures, document = _figures(one), found.hits[one.hit].passage.document
        for other in others if figures else ():
            if (
                found.hits[other.hit].passage.document != document
                and _words(other) == _words(one)
                and asked(other) == asked(one)
                and _figures(other) not in (frozenset(), figures)
            ):
                rivals.setdefault(other.unit.whole, other)
    return list(rivals.values())[:MOST_UNITS]


def _figures(one: _Candidate) -> frozenset[str]:
    return frozenset(_FIGURE.findall(one.unit.text))


def _words(one: _Candidate) -> frozenset[str]:
    return frozenset(term for term in one.terms if not any(sign.isdigit() for sign in term))


def _repeated(part: str) -> str:
    """What the customer asked, as it may stand in an answer: short, without secrets, and citing nothing."""
    said = shorten(mask(" ".join(part.split())), 100).strip(" ,.?!")
    return f"“{_CITES.sub(_escaped, said)}”"


def _is_left_out(words: set[str], spoken: set[str], weights: Mapping[str, float]) -> bool:
    """Whether nothing that is quoted has any of the telling words of one question."""
    telling = words & weights.keys()
    return bool(telling) and not telling & spoken


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
    fresh = [number for number, candidate in enumerate(candidates) if candidate not in before]
    order = sorted(fresh, key=lambda number: -worth[number])
    chosen: list[_Candidate] = []
    words = sum(one.words for one in before)
    for number in order:
        candidate = candidates[number]
        best = worth[order[0]]
        if len(chosen) == MOST_UNITS or worth[number] < max(WORTH_AT_ALL, WORTH_MORE * best):
            break
        if words and words + candidate.words > MOST_WORDS:
            continue
        chosen.append(candidate)
        words += candidate.words
    return chosen


def _candidates(hits: Sequence[Hit], language: str, least: float = CLOSE) -> list[_Candidate]:
    best = max((hit.score for hit in hits), default=0.0)
    candidates = []
    seen: set[str] = set()
    for number, hit in enumerate(hits):
        if hit.score < least * best:
            continue
        path = (hit.passage.title, *hit.passage.heading)
        heading = frozenset(terms(" ".join(path), language))
        for place, unit in enumerate(units(hit.passage.text, path[-1])):
            if unit.whole in seen or not _is_answer(unit):
                continue
            seen.add(unit.whole)
            own = frozenset(terms(unit.whole, language))
            candidates.append(_Candidate(unit, number, place, own, heading, length(unit.whole)))
    return candidates


def _is_answer(unit: Unit) -> bool:
    """Whether it can be quoted as an answer: a question that the document asks is none."""
    # A code block without an end would swallow the citation, and 【1】 cannot be told from one.
    if (
        len(_FENCE.findall(unit.whole)) % 2
        or re.search(r"【\s{0,2}\d", unit.whole)
        or length(unit.whole) > LONGEST_UNIT
        or reads_like_instructions(unit.whole)
    ):
        return False
    text = unit.text.rstrip("*_ ")
    return not (text.endswith(("?", "？")) or (unit.kind == "sentence" and _POINTS_ELSEWHERE.match(text)))  # noqa: RUF001


def _speaks_of(term: str, candidate: _Candidate) -> float:
    """1 if the unit has the term itself; half if only the headings above it have."""
    if term in candidate.terms:
        return 1.0
    return 0.5 if term in candidate.heading else 0.0


def _joined(chosen: Sequence[_Candidate], mark: str) -> str:
    """Units of one passage in readable form: neighbours together, rows below one header, items below one first line.

    Each paragraph has the mark of its own, as an answer's figures need one (agent.reply).
    """
    alone = Counter(candidate.unit.block for candidate in chosen)
    parts: list[str] = []
    before: _Candidate | None = None
    for candidate in chosen:
        unit = candidate.unit
        if before is None or before.unit.block != unit.block:
            asked = f"**{unit.asked}** " if unit.asked else ""
            shown = _without_bullet(unit) if alone[unit.block] == 1 else unit.text
            parts.append(asked + unit.start + shown)
        elif unit.kind != "sentence":
            parts[-1] += f"\n{unit.text}"
        elif candidate.place == before.place + 1:
            parts[-1] += f" {unit.text}"
        else:
            parts.append(unit.text)
        before = candidate
    return "\n\n".join(_marked(_CITES.sub(_escaped, part), mark) for part in parts)


def _marked(text: str, mark: str) -> str:
    """`text` with its citation where it is neither code nor a cell of its own."""
    head, _, last = text.rpartition("\n")
    if last.rstrip().endswith("|") and last.lstrip().startswith("|"):
        return f"{head}\n{last.rstrip()[:-1].rstrip()} {mark} |"
    apart = last.lstrip().startswith(("```", "~~~")) or last.startswith("    ")
    return f"{text}\n\n{mark}" if apart else f"{text} {mark}"


def _escaped(match: re.Match[str]) -> str:
    return match[0] if match["code"] else "\\" + match[0]


def _without_bullet(unit: Unit) -> str:
    """A list item that stands alone is a sentence."""
    return unit.text[2:].lstrip() if unit.kind == "item" and not unit.start and "\n" not in unit.text else unit.text


def units(text: str, heading: str = "") -> list[Unit]:
    """Cut a passage into what can be quoted alone. Headings, rules and raw HTML are not quoted."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    tokens = _parser().parse(text)
    lines = text.split("\n")
    found: list[Unit] = []
    lead = ""
    for number, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        source = "\n".join(lines[token.map[0] : token.map[1]]).strip("\n")
        start = f"{lead}\n\n" if lead else ""
        lead = ""
        if token.type == "heading_open":
            heading = source.strip("# \n").partition("\n")[0]
        elif token.type == "paragraph_open":
            sentences = [] if _is_heading(source) and number + 3 < len(tokens) else _sentences(source)
            if sentences and _introduces(sentences[-1]):
                lead = sentences.pop()
            for one in sentences:
                found.append(_sentence(one, start, number, heading))
                start = ""
        elif token.type == "table_open":
            found += _rows(source, start, number)
        elif token.type == "bullet_list_open":
            found += _items(tokens, number, lines, source, start)
        elif token.type in ("ordered_list_open", "fence", "code_block", "blockquote_open"):
            found.append(Unit(source, start, number))
    return [unit for unit in found if says_something(unit.text)]


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    # What stands inside a line is quoted as it is written.
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _sentence(text: str, start: str, block: int, heading: str) -> Unit:
    """A sentence as a unit. "Yes." is an answer to its heading only: it takes that along, or is left out."""
    said = _YES_OR_NO.match(text)
    if said is None or start:
        return Unit(text, start, block, "sentence")
    if heading.endswith(("?", "？")) or said.end() == len(text):  # noqa: RUF001
        return Unit(text, "", block, "sentence", " ".join(heading.replace("*", "").split()))
    return Unit(text[said.end() :] if said[0].rstrip().endswith((".", "。")) else text, "", block, "sentence")


def _introduces(sentence: str) -> bool:
    """Whether it says nothing without what follows: "There are two exceptions:"."""
    return sentence.rstrip("*_ ").endswith((":", "："))  # noqa: RUF001


def _is_heading(paragraph: str) -> bool:
    """Whether a paragraph is only a heading by another name: a few words without an end, a bold line, a bare link."""
    line = paragraph.strip()
    if "\n" in line or _introduces(line) or _ENDS.search(line.rstrip("*_")):
        return False
    short = length(line) <= 6 and not re.search(r"[\d:：]", line)  # noqa: RUF001
    return short or bool(re.fullmatch(r"\*\*[^*]*\*\*|__[^_]*__|\[[^\]]*\]\([^)]*\)", line))


def _sentences(paragraph: str) -> list[str]:
    joined = " ".join(paragraph.split())
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(joined):
        if match.end() < len(joined) and _ABBREVIATION.search(joined, max(start, match.start() - 12), match.start()):
            continue
        sentences.append((joined[start : match.start()] + match[0]).strip())
        start = match.end()
    sentences.append(joined[start:].strip())
    merged: list[str] = []
    for sentence in filter(None, sentences):
        # "It is charged ..." says nothing without the sentence before it, and "Yes." nothing without the one behind.
        if merged and (_LEANING.match(sentence) or _YES_OR_NO.fullmatch(merged[-1])):
            merged[-1] += ("" if merged[-1].endswith(("。", "！", "？")) else " ") + sentence  # noqa: RUF001
        else:
            merged.append(sentence)
    return merged


def _items(tokens: Sequence[Token], opening: int, lines: Sequence[str], source: str, start: str) -> list[Unit]:
    """A short list as a whole, as its first line promises it; of a long one each item with all that is below it."""
    if start and length(source) <= SHORT_LIST:
        return [Unit(source, start, opening)]
    found: list[Unit] = []
    for number in range(opening + 1, len(tokens)):
        token = tokens[number]
        if token.level == 0:
            break
        if token.type == "list_item_open" and token.level == 1 and token.map is not None:
            item = textwrap.dedent("\n".join(lines[token.map[0] : token.map[1]])).strip("\n").rstrip()
            found.append(Unit(item, start, opening, "item"))
    return found


def _rows(source: str, start: str, block: int) -> list[Unit]:
    header, _, rest = source.partition("\n")
    line, _, body = rest.partition("\n")
    return [Unit(row, f"{start}{header}\n{line}\n", block, "row") for row in body.split("\n") if row.strip()]
