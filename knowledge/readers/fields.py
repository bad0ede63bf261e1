"""What a document says about itself, the same whatever the format: its keys, what their values may be, the defaults."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from knowledge.documents import PUBLIC, Document
from knowledge.errors import ReaderError
from knowledge.readers.encoding import clean

if TYPE_CHECKING:
    from knowledge.readers import SourceFile

KEYS = ("id", "title", "url", "audience", "language", "updated", "review_by", "tags")
"""The keys that mean something; every other one is left alone."""

MAX_ID = 512

_BY_LETTERS = {key.replace("_", ""): key for key in KEYS}
_SOMETHING = re.compile(r"[^\s!-/:-@\[-`{-~]")


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields that a document (or a row, or a file for its rows) gives; `None` or empty where it gives none."""

    id: str | None = None
    title: str | None = None
    url: str | None = None
    audience: str | None = None
    language: str | None = None
    updated: date | None = None
    review_by: date | None = None
    tags: tuple[str, ...] = ()

    @property
    def stands_alone(self) -> bool:
        """Whether these fields belong to one document only, so that nothing else may be put into it."""
        return any((self.id, self.url, self.audience, self.language, self.updated, self.review_by))

    def under(self, file: Fields) -> Fields:
        """These fields, with what holds for the whole file where they are silent (never its id, title or url)."""
        return replace(
            self,
            audience=self.audience or file.audience,
            language=self.language or file.language,
            updated=self.updated or file.updated,
            review_by=self.review_by or file.review_by,
            tags=tuple(dict.fromkeys((*file.tags, *self.tags))),
        )

    def document(self, file: SourceFile, text: str, title: str) -> Document:
        """A document of `file` with these fields; `title` is for one that has none. `ReaderError` without any text."""
        if not has_text(text):
            raise ReaderError("it has no text")
        return Document(
            id=self.id or file.default_id,
            title=self.title or title or file.default_title,
            text=text,
            source=file.path,
            url=self.url,
            audience=self.audience or PUBLIC,
            language=self.language,
            updated=self.updated,
            review_by=self.review_by,
            tags=self.tags,
        )


def has_text(text: str) -> bool:
    """Whether there is more in it than spaces and punctuation."""
    return _SOMETHING.search(text) is not None


def known_key(name: str) -> str | None:
    """The key of `KEYS` that `name` means (`Review by`, `reviewBy` and `review-by` are `review_by`), if any."""
    return _BY_LETTERS.get(letters(name))


def letters(name: str) -> str:
    """The letters and digits of a name, without case: what names are compared by."""
    return re.sub(r"[\W_]+", "", name.casefold())


def one_line(text: str) -> str:
    """`text`, cleaned, with single spaces between its words."""
    return " ".join(clean(text).split())


def read_fields(values: Mapping[str, object]) -> Fields:
    """The fields that `values` gives, checked; its keys are those of `KEYS`, a value is text or a list of texts.

    Empty values count as absent. Raises `ReaderError` naming the key and what is wrong with its value.
    """
    return Fields(
        id=_id(values),
        title=one_line(_text(values, "title")) or None,
        url=_url(values),
        audience=_audience(values),
        language=one_line(_text(values, "language")) or None,
        updated=_date(values, "updated"),
        review_by=_date(values, "review_by"),
        tags=_tags(values),
    )


def as_date(value: str) -> date | None:
    """The day that an ISO date or an ISO date with a time names, else `None`."""
    value = re.sub(r"\s+(?=[+-]\d)", "", value.strip())
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            found = read(value)
        except ValueError:
            continue
        return found.date() if isinstance(found, datetime) else found
    return None


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    if value is None or value in ([], {}):
        return ""
    if not isinstance(value, str):
        raise ReaderError(f"{key} must be plain text, not a list or a table")
    return value.strip()


def _id(values: Mapping[str, object]) -> str | None:
    value = _text(values, "id")
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in value):
        raise ReaderError("id must be one line without control characters")
    if len(value) > MAX_ID:
        raise ReaderError(f"id has {len(value)} characters, more than the {MAX_ID} that are allowed")
    return clean(value).strip() or None


def _url(values: Mapping[str, object]) -> str | None:
    value = clean(_text(values, "url")).strip()
    if value and not is_web_address(value):
        raise ReaderError(f"url must be a web address that begins with https:// or http://, not {_quoted(value)}")
    return value or None


def is_web_address(value: str) -> bool:
    """Whether `value` is an absolute http or https address, without spaces."""
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"\s", value)
    except ValueError:
        return False


def _audience(values: Mapping[str, object]) -> str | None:
    value = values.get("audience")
    if (isinstance(value, list) and value) or (isinstance(value, str) and "," in value):
        raise ReaderError("audience must be one name, not a list: a document has one audience")
    return one_line(_text(values, "audience")).lower() or None


def _date(values: Mapping[str, object], key: str) -> date | None:
    value = _text(values, key)
    found = as_date(value)
    if value and found is None:
        raise ReaderError(f"{key} must be a date such as 2025-01-31, not {_quoted(value)}")
    return found


def _tags(values: Mapping[str, object]) -> tuple[str, ...]:
    value = values.get("tags")
    if isinstance(value, str):
        value = value.split(",")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise ReaderError("tags must be a list of names, or names with commas between them")
    return tuple(dict.fromkeys(tag for tag in map(one_line, value) if tag))


def _quoted(value: str) -> str:
    shown = one_line(value)
    return f"'{shown[:60]}…'" if len(shown) > 60 else f"'{shown}'"
