"""Whether an answer says only what its sources say: told by a model in the role of a judge, or by its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from agent import wording
from agent.errors import ModelError
from agent.guard import mask, urls_in
from agent.messages import Usage
from agent.models.base import ModelBackend, Payer, Prompt, PromptMessage, complete
from agent.prompting import as_data
from agent.prompts import prompt_file
from knowledge.keywords.languages import SPACED, common_words, language_of
from knowledge.keywords.tokenizer import fold, terms

_SCHEMA = {
    "type": "object",
    "properties": {
        "unsupported": {"type": "array", "items": {"type": "string"}},
        "grounded": {"type": "boolean"},
    },
    "required": ["unsupported", "grounded"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge found. `grounded` is `None` when it could not tell. `unsupported` are statements without a source."""

    grounded: bool | None
    unsupported: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    failed: frozenset[str] = frozenset()


async def judged(
    judge: ModelBackend,
    question: str,
    answer: str,
    passages: Sequence[str],
    *,
    seconds: float = 10.0,
    payer: Payer | None = None,
) -> Judgement:
    """Have `judge` compare an answer with the passages that it cites. A judge that fails says nothing (`None`)."""
    file = prompt_file("judge")
    sources = "\n".join(f"<passage>\n{as_data(passage)}\n</passage>" for passage in passages)
    prompt = Prompt(
        role="judge",
        messages=(
            PromptMessage("system", file.text),
            PromptMessage(
                "user",
                f"<passages>\n{sources}\n</passages>\n\n<message>\n{as_data(mask(question))}\n</message>\n\n"
                f"<answer>\n{as_data(answer)}\n</answer>",
            ),
        ),
        max_tokens=300,
        temperature=0.0,
        version=file.version,
        seconds=seconds,
        schema=_SCHEMA,
        payer=payer or Payer(),
    )
    try:
        done = await complete(judge, prompt)
    except ModelError as error:
        return Judgement(None, (), error.usage, (f"The answer was not judged: {error}",), frozenset({error.kind}))
    found = done.last.parsed
    if found is None:
        return Judgement(None, (), done.usage, (*done.notes, "The answer was not judged."), done.failed)
    unsupported = tuple(str(one)[:200] for one in found.get("unsupported", ()))
    grounded = bool(found.get("grounded")) and not unsupported
    notes = (
        done.notes
        if grounded
        else (*done.notes, f"The judge {judge.name} found no source for: {'; '.join(unsupported) or '-'}")
    )
    return Judgement(grounded, unsupported, done.usage, notes, done.failed)


# By words -------------------------------------------------------------------------------------------------------------

ENOUGH_WORDS = 0.5
"""The share of what a sentence speaks of that must be in the passages."""


def grounded_by_words(text: str, passages: Sequence[str], question: str = "") -> bool | None:
    """Whether the passages hold the figures and most of the words of every sentence.

    `None` when they do not and the answer seems to be in another language than the passages.
    """
    if not unsupported_by_words(text, passages, question):
        return True
    language = language_of(passages)
    words = set(fold(text).split())
    told = language not in SPACED or bool(words & common_words(language))
    return False if told and language_of([text]) == language else None


def unsupported_by_words(text: str, passages: Sequence[str], question: str = "") -> list[str]:
    """The sentences of an answer that the passages do not support. Figures that the customer gave need no support."""
    language = language_of(passages)
    source = "\n".join(passages)
    known = frozenset(terms(source, language))
    stated = {one for fact in _facts(source) for one in fact}
    # Amounts need support all the same: "Is it €500?" is no reason to say so.
    stated |= {fact[0] for fact in _facts(question) if len(fact) == 1}
    found = []
    for sentence in _sentences(text):
        content = frozenset(terms(_bare(sentence), language)) - _silent(language)
        share = len(content & known) / len(content) if content else 1.0
        if share < ENOUGH_WORDS or any(fact[0] not in stated for fact in _facts(sentence)):
            found.append(sentence)
    return found


_CITED = re.compile(r"\[\d{1,3}\]")
_STEP = re.compile(r"^[ \t>*-]{0,20}\d{1,3}[.)](?=\s)", re.MULTILINE)
_SAID_BY_CODE = re.compile(
    "|".join(
        re.sub(r"\\\{\w+\\\}", ".{0,600}?", re.escape(said)).replace("\n", r"\s")
        for name, said in sorted(vars(wording).items())
        if name.isupper() and isinstance(said, str)
    ),
    re.DOTALL,
)
_END = re.compile(r"(?<=[.!?])[\"'”’)*_]{0,3}\s+|(?<=[。！？])|\n")  # noqa: RUF001
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
_QUOTED_CODE = re.compile(r"`([^`\n]{1,200})`")
_UNITS = {
    "€": "eur",
    "$": "usd",
    "£": "gbp",
    "¥": "jpy",
    "percent": "%",
    "per cent": "%",
    "euro": "eur",
    "dollar": "usd",
}
_UNITS |= {"euros": "eur", "dollars": "usd", "pound": "gbp", "pounds": "gbp"} | {
    u: u for u in ("eur", "usd", "gbp", "%")
}
_UNIT = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_CODE = re.compile(rf"(?<!\w)(?!(?:{_UNIT})\d)[a-z]{{1,12}}[-_]?\d\w{{0,30}}(?:[-_]\w{{1,30}}){{0,3}}")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})[a-z]{{0,6}}\.?"
_YEAR = r"(?P<year>\d{4})(?!\d)"
_DAY = r"(?<!\d)(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?"
_DATES = (
    re.compile(rf"(?<!\d){_YEAR}-(?P<number>\d\d)-(?P<day>\d\d)(?!\d)"),
    re.compile(rf"{_DAY}\s(?:of\s)?{_MONTH}(?:,?\s{_YEAR})?(?!\w)"),
    re.compile(rf"\b{_MONTH}\s{_DAY}(?!\d)(?:,?\s{_YEAR})?"),
    re.compile(rf"\b{_MONTH}\s{_YEAR}"),
)
_NUMBER = re.compile(
    rf"(?:(?P<before>{_UNIT})\s?)?(?<![\d])(?P<number>\d+(?:[.:/]\d+)*)(?:\s?(?P<after>{_UNIT})(?!\w))?"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_COUNTED = (
    "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty ninety hundred"
)
_COUNTS = dict(zip(_COUNTED.split(), (*range(2, 13), 15, 20, 30, 40, 50, 60, 90, 100), strict=True))
_COUNT = re.compile(rf"\b(?:{'|'.join(_COUNTS)})\b")


def _sentences(text: str) -> Iterator[str]:
    """The sentences and lines that state something, without what code adds to an answer."""
    said = _STEP.sub("", _SAID_BY_CODE.sub("\n", _CITED.sub("", text)))
    yield from (part.strip() for part in _END.split(said) if any(character.isalnum() for character in part))


def _bare(sentence: str) -> str:
    """A sentence without addresses, whose parts are no words of it."""
    for url in sorted(urls_in(sentence), key=len, reverse=True):
        sentence = sentence.replace(url, " ")
    return sentence


@cache
def _silent(language: str) -> frozenset[str]:
    """The stems that say nothing of what a sentence is about."""
    return frozenset(terms(" ".join(sorted(common_words(language))), language))


def _facts(text: str) -> list[tuple[str, ...]]:
    """Addresses, codes, dates, amounts and numbers. Each is the fact itself, then what it says as well ("€5": "5")."""
    facts: list[tuple[str, ...]] = [(_same_url(url),) for url in urls_in(text)]
    left = fold(_bare(text))

    def take(pattern: re.Pattern[str], read: Callable[[re.Match[str]], tuple[str, ...]]) -> None:
        nonlocal left
        facts.extend(read(match) for match in pattern.finditer(left))
        left = pattern.sub(" ", left)

    take(_EMAIL, lambda match: (match[0].rstrip("."),))
    left = _QUOTED_CODE.sub(r" \1 ", left)
    take(_CODE, lambda match: (re.sub("[-_]", "", match[0]),))
    for date in _DATES:
        take(date, _date)
    left = _THOUSANDS.sub("", left)
    take(_NUMBER, _amount)
    take(_COUNT, lambda match: (str(_COUNTS[match[0]]),))
    return facts


def _same_url(url: str) -> str:
    return re.sub(r"^(?:https?://)?(?:www\.)?|^(?:mailto|tel):", "", url.lower()).rstrip("/")


def _date(match: re.Match[str]) -> tuple[str, ...]:
    found = match.groupdict()
    month = int(found["number"]) if found.get("number") else _MONTHS.index(found["month"]) + 1
    day, year = found.get("day"), found.get("year")
    short = f"month {month}" + (f" day {int(day)}" if day else "")
    parts = (short, f"month {month}", f"year {year} month {month}" if year else short, *((year,) if year else ()))
    return tuple(dict.fromkeys((f"year {year} {short}", *parts) if year else parts))


def _amount(match: re.Match[str]) -> tuple[str, ...]:
    number = re.sub(r"(?<=\d)\.00$", "", match["number"])
    number = number.lstrip("0") or "0"
    unit = match["before"] or match["after"]
    parts = tuple(part.lstrip("0") or "0" for part in re.split("[.:/]", number) if "." not in number)
    return tuple(dict.fromkeys(((f"{_UNITS[unit]} {number}",) if unit else ()) + (number, *parts)))
