"""What may come in and what may leave. Pure functions, and the gate a stream passes on its way to a customer.

In: text without characters that nobody typed, not longer than is read, and with personal secrets masked before a model
sees it. Out: `[n]` only for passages that were retrieved, web addresses only from the cited documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knowledge.readers.encoding import clean

LONGEST_MESSAGE = 8_000
"""Characters of one message that are read; the rest is left out, and the customer is told."""

_CITATION = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\](?!\()")
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"'`|\\^{}\[\]]+", re.IGNORECASE)
_LINK = re.compile(
    r"(!?)\[([^\[\]\n]{0,300})\]\(\s*<?([^()\s<>]*(?:\([^()\s]*\)[^()\s<>]*)?)>?(?:\s+[\"'][^\"'\n]*[\"'])?\s*\)"
)
_TRAILING = ".,;:!?)]}'\"*_»”’"  # noqa: RUF001
_OPENERS = ("[", "!", "h", "H", "w", "W", "<")
_HOLD_AT_MOST = 600

_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(?:sk|pk|rk|xox[abp]|ghp|gho|glpat|AKIA|AIza)[-_A-Za-z0-9]{12,}\b"), "[secret key]"),
    (re.compile(r"(?i)\b((?:pass(?:word|wort|code)|pwd|pin|cvv|cvc|secret)\s*(?:is|=|:)\s*)\S+"), r"\1[secret]"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"), "[bank account]"),
    (re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b"), "[e-mail address]"),
    (re.compile(r"(?<![\w-])(?:\+|00)\d(?:[ ()./-]?\d){7,14}(?![\w-])"), "[phone number]"),
)
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")


@dataclass(frozen=True, slots=True)
class Received:
    """A customer's text, ready for use. `shortened`: only its first part is here."""

    text: str
    shortened: bool = False


def receive(text: str) -> Received:
    """Clean a customer's text and keep its first 8,000 characters, up to the last whole word."""
    cleaned = clean(text).strip()
    return Received(shorten(cleaned, LONGEST_MESSAGE), shortened=len(cleaned) > LONGEST_MESSAGE)


def shorten(text: str, length: int) -> str:
    """At most about `length` characters, cut at a space where there is one, with dots for what is left out."""
    if len(text) <= length:
        return text
    head = text[:length]
    cut = head.rfind(" ")
    return (head[:cut] if cut > length // 2 else head) + " ..."


def says_something(text: str) -> bool:
    """Whether there is a letter or a digit in it, in any script."""
    return any(character.isalnum() for character in text)


def mask(text: str) -> str:
    """Replace card and account numbers, keys, passwords, e-mail addresses and phone numbers by what they are."""
    text = _CARD.sub(lambda match: "[card number]" if _is_card(match[0]) else match[0], text)
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def _is_card(number: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1)."""
    digits = [int(character) for character in reversed(number) if character.isdigit()]
    total = sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return total % 10 == 0


def urls_in(text: str) -> set[str]:
    """The web addresses in `text`, without the punctuation behind them."""
    links = {match[3] for match in _LINK.finditer(text) if match[3].lower().startswith(("http://", "https://"))}
    return links | {_split_trailing(match[0])[0] for match in _URL.finditer(text)}


def _split_trailing(url: str) -> tuple[str, str]:
    bare = url.rstrip(_TRAILING)
    if url[len(bare) :].startswith(")") and bare.count("(") > bare.count(")"):
        bare += ")"
    return bare, url[len(bare) :]


class Gate:
    """What a draft passes on its way out, piece by piece.

    Citations are renumbered in the order they appear and unknown ones dropped; links to addresses that are not allowed
    lose the address and keep their words. `passages` is how many were retrieved: `[1]` to `[passages]` are known.
    `allowed` are the addresses of their documents.
    """

    def __init__(self, passages: int, allowed: Iterable[str]) -> None:
        self._passages = passages
        self._allowed = frozenset(allowed)
        self._held = ""
        self._numbers: dict[int, int] = {}

    @property
    def cited(self) -> Sequence[int]:
        """The retrieved passages that were cited, as the model numbered them, in the order of their new numbers."""
        return list(self._numbers)

    def feed(self, text: str) -> str:
        """The next piece in, what may be shown out."""
        self._held += text
        cut = _undecided_from(self._held)
        ready, self._held = self._held[:cut], self._held[cut:]
        return self._pass(ready)

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        ready, self._held = self._held, ""
        return self._pass(ready)

    def _pass(self, text: str) -> str:
        text = _LINK.sub(self._link, text)
        text = _URL.sub(self._url, text)
        return _CITATION.sub(self._citation, text)

    def _citation(self, match: re.Match[str]) -> str:
        numbers = [int(part) for part in re.split(r"\s*[,;]\s*", match[1])]
        known = [number for number in numbers if 1 <= number <= self._passages]
        for number in known:
            self._numbers.setdefault(number, len(self._numbers) + 1)
        return "".join(f"[{self._numbers[number]}]" for number in dict.fromkeys(known))

    def _link(self, match: re.Match[str]) -> str:
        image, words, url = match.groups()
        if url in self._allowed and not image:
            return f"[{words}]({url})"
        return words

    def _url(self, match: re.Match[str]) -> str:
        url, behind = _split_trailing(match[0])
        if url in self._allowed or url.rstrip("/") in self._allowed or f"{url}/" in self._allowed:
            return match[0]
        return behind


def _undecided_from(text: str) -> int:
    """Where the last part begins that may still become a citation, a link or an address when more comes."""
    start = len(text)
    for match in re.finditer(r"!?\[[^\]\n]*$|!?\[[^\]\n]*\](?:\([^)\s]*)?$|\S+$|!$", text):
        token = match[0]
        if len(token) <= _HOLD_AT_MOST and (
            token.startswith(_OPENERS) or "[" in token or "//" in token or "www" in token
        ):
            start = min(start, match.start())
    return start
