"""A `Reading` as plain values, to carry it from one process to another: nothing that arrives is taken on trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from knowledge.documents import Document
from knowledge.readers import Finding, Reading

if TYPE_CHECKING:
    from typing import Any

_TEXTS = ("id", "title", "text", "source", "audience")
_PERHAPS = ("url", "language")
_DATES = ("updated", "review_by")


def as_value(reading: Reading) -> dict[str, object]:
    """The reading as plain values, for `json.dumps`."""
    return {
        "documents": [_document_out(document) for document in reading.documents],
        "hidden": [[finding.text, finding.why] for finding in reading.hidden],
        "suspicious": [[finding.text, finding.why] for finding in reading.suspicious],
        "notes": list(reading.notes),
    }


def from_value(value: Mapping[str, Any], path: str) -> Reading:
    """The reading that `as_value` made of the file `path`. Raises `ValueError` when it is anything else."""
    try:
        return Reading(
            documents=tuple(_document_in(one, path) for one in value["documents"]),
            hidden=_findings(value["hidden"]),
            suspicious=_findings(value["suspicious"]),
            notes=tuple(_text(note) for note in value["notes"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("this is not a reading") from error


def _document_out(document: Document) -> dict[str, object]:
    out: dict[str, object] = {name: getattr(document, name) for name in (*_TEXTS, *_PERHAPS)}
    for name in _DATES:
        day = getattr(document, name)
        out[name] = day.isoformat() if day else None
    return {**out, "tags": list(document.tags)}


def _document_in(value: Mapping[str, Any], path: str) -> Document:
    texts = {name: _text(value[name]) for name in _TEXTS}
    if not texts["id"].strip() or not texts["title"].strip() or texts["source"] != path:
        raise ValueError("a document has no id or title, or names another file")
    return Document(
        id=texts["id"],
        title=texts["title"],
        text=texts["text"],
        source=path,
        audience=texts["audience"],
        url=_perhaps(value["url"]),
        language=_perhaps(value["language"]),
        updated=_day(value["updated"]),
        review_by=_day(value["review_by"]),
        tags=tuple(_text(tag) for tag in value["tags"]),
    )


def _perhaps(value: object) -> str | None:
    return None if value is None else _text(value)


def _day(value: object) -> date | None:
    return None if value is None else date.fromisoformat(_text(value))


def _findings(values: Sequence[Sequence[object]]) -> tuple[Finding, ...]:
    return tuple(Finding(_text(text), _text(why)) for text, why in values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("something that should be text is not")
    value.encode()  # a lone surrogate is a ValueError, too
    return value
