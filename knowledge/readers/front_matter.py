"""Front matter: the YAML between two lines of dashes at the very start of a file, or the TOML between two of plus signs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING

from knowledge.errors import ReaderError
from knowledge.readers.fields import KEYS, Fields, known_key, read_fields

if TYPE_CHECKING:
    from yaml.events import Event

MAX_BYTES = 64 * 1024
"""Longer front matter is refused: it is not front matter, or a trap."""

_MAX_DEPTH = 8

_OPENING = re.compile(r"\s*^---[ \t]*\n", re.MULTILINE)
_TOML_OPENING = re.compile(r"""\s*^\+\+\+[ \t]*\n(?=\s*(?:[\w"'.-]+[ \t]*=|\[|#|\+\+\+[ \t]*$))""", re.MULTILINE)
_TOML_CLOSING = re.compile(r"^\+\+\+[ \t]*(?:\n|\Z)", re.MULTILINE)
_CLOSING = re.compile(r"^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.MULTILINE)
_COMMENTS = re.compile(r"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))*")
_FIRST_KEY = re.compile(r"""["']?[A-Za-z_][\w-]*["']?[ \t]*:(?=\s|\Z)""")
_KEY = re.compile(r"""(?:^|[{,])[ \t]*["']?([A-Za-z][\w -]{0,30})["']?[ \t]*:""", re.MULTILINE)
_NULLS = {"~", "null", "Null", "NULL"}
_PLAIN_WORDS = {
    "mapping values are not allowed here": "a value with a colon in it needs quotation marks",
    "could not find expected ':'": "every line must be key: value",
    "found unexpected end of stream": "a quotation mark is never closed",
    "expected the node content, but found '<stream end>'": "a bracket is never closed",
    "expected ',' or '}', but got '<stream end>'": "a bracket is never closed",
    "expected ',' or ']', but got '<stream end>'": "a bracket is never closed",
    "found character '\\t' that cannot start any token": "it is indented with a tab; use spaces",
}


def split(text: str) -> tuple[Fields, str]:
    """The fields of a file and its body, from its (cleaned) text; no fields and the whole text without front matter.

    A file that merely begins with a thematic break has no front matter. Raises `ReaderError` naming the line when it
    has one that cannot be read, or that is never closed.
    """
    values, body = raw(text)
    return read_fields({key: value for key, value in values.items() if key in KEYS}), body


def raw(text: str) -> tuple[dict[str, object], str]:
    """Every value of the front matter, ours under the names of `KEYS`, and the body; no checks of what a value may be."""
    if (toml := _TOML_OPENING.match(text)) is not None:
        return _toml(text, toml.end())
    opening = _OPENING.match(text)
    if opening is None:
        return {}, text
    closing = _CLOSING.search(text, opening.end())
    block = text[opening.end() : closing.start() if closing else len(text)]
    body = text[closing.end() :] if closing else ""
    if _COMMENTS.fullmatch(block) and closing:
        return {}, body
    try:
        values = _read(block, text.count("\n", 0, opening.end()), closed=closing is not None)
    except ReaderError:
        if _is_meant(block):
            raise
        return {}, text
    return (values, body) if values is not None else ({}, text)


def _toml(text: str, start: int) -> tuple[dict[str, object], str]:
    lines_above = text.count("\n", 0, start)
    end = _TOML_CLOSING.search(text, start)
    if end is None:
        raise ReaderError(f"line {lines_above}: the front matter that begins here is never closed by a line +++")
    return _read_toml(text[start : end.start()], lines_above), text[end.end() :]


def _read_toml(block: str, lines_above: int) -> dict[str, object]:
    """The values by their keys, as text, lists and tables. Raises `ReaderError` when it is no TOML."""
    if len(block.encode()) > MAX_BYTES:
        raise ReaderError(f"the front matter is longer than {MAX_BYTES // 1024} KB")
    try:
        found = tomllib.loads(block)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"\(at line (\d+)", str(error))
        where = f"line {lines_above + int(place[1])}: " if place else ""
        problem = str(error).partition(" (at ")[0]
        raise ReaderError(
            f"{where}the front matter between +++ is not TOML: {problem[:1].lower()}{problem[1:]}"
        ) from error
    values: dict[str, object] = {}
    for name, value in found.items():
        key = known_key(name)
        if key is not None and key in values:
            raise ReaderError(f"the front matter gives {key} for a second time")
        values[key or name] = _as_text(value)
    return values


def _as_text(value: object) -> object:
    """A value of TOML as YAML's come: numbers, dates and such as text."""
    if isinstance(value, dict):
        return {key: _as_text(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_meant(block: str) -> bool:
    """Whether a block below dashes is meant as front matter rather than as text: it begins with a key, or has ours."""
    comments = _COMMENTS.match(block)
    begins_with_key = _FIRST_KEY.match(block, comments.end() if comments else 0) is not None
    return begins_with_key or any(known_key(key[1]) for key in _KEY.finditer(block))


def _read(block: str, lines_above: int, closed: bool) -> dict[str, object] | None:
    """The values by their keys; `None` when the block is text. Raises `ReaderError` when it cannot be front matter."""
    if not closed:
        raise ReaderError(f"line {lines_above}: the front matter that begins here is never closed by a line ---")
    if len(block.encode()) > MAX_BYTES:
        raise ReaderError(f"the front matter is longer than {MAX_BYTES // 1024} KB")
    pairs = _parse(block, lines_above)
    if pairs is None:
        raise ReaderError(f"line {lines_above + 1}: the front matter is not made of lines key: value")
    if not any(known_key(name) or " " not in name for name, _, _ in pairs):
        return None
    values: dict[str, object] = {}
    for name, value, line in pairs:
        key = known_key(name)
        if key is not None and key in values:
            raise ReaderError(f"line {line}: the front matter gives {key} for a second time")
        values[key or name] = value
    return values


def _parse(block: str, lines_above: int) -> list[tuple[str, object, int]] | None:
    """The pairs of a YAML mapping, with the line of each key; `None` when the YAML is no mapping."""
    import yaml

    # The pure Python loader, on purpose: libyaml refuses the surrogate pairs that json.dumps writes for emoji.
    events = yaml.parse(block, Loader=yaml.BaseLoader)
    try:
        next(events), next(events)  # the starts of the stream and of the document
        first = next(events)
        pairs = _mapping(first, events, lines_above, 1) if isinstance(first, yaml.MappingStartEvent) else None
        for _ in events:  # to the end: what follows may be malformed
            pass
        return pairs
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if error.context_mark and (mark is None or mark.line >= block.count("\n")):  # it was noticed only at the end
            mark = error.context_mark
        line = lines_above + (mark.line if mark else 0) + 1
        problem = error.problem or error.context or "it is malformed"
        raise ReaderError(f"line {line}: the front matter is not YAML: {_PLAIN_WORDS.get(problem, problem)}") from error
    except yaml.YAMLError as error:
        raise ReaderError(f"the front matter is not YAML: {str(error).splitlines()[0]}") from error
    except (ValueError, OverflowError) as error:
        raise ReaderError("the front matter is not YAML: one of its escapes names no character") from error


def _mapping(start: Event, events: Iterator[Event], lines_above: int, depth: int) -> list[tuple[str, object, int]]:
    """The pairs of the mapping that `start` began, each with the line of its key."""
    import yaml

    pairs: list[tuple[str, object, int]] = []
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _value(event, events, lines_above, depth)
        value = _value(next(events), events, lines_above, depth)
        pairs.append((key if isinstance(key, str) else "", value, _line(event, lines_above)))
    return pairs


def _value(event: Event, events: Iterator[Event], lines_above: int, depth: int) -> object:
    """A scalar as text, a sequence as a list, a mapping as a dict. No anchors: they are how YAML bombs are made."""
    import yaml

    line = _line(event, lines_above)
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise ReaderError(f"line {line}: the front matter uses an anchor or alias (& or *), which is not allowed")
    if depth > _MAX_DEPTH:
        raise ReaderError(f"line {line}: the front matter is nested too deeply")
    if isinstance(event, yaml.ScalarEvent):
        return "" if event.style is None and event.value in _NULLS else event.value
    if isinstance(event, yaml.MappingStartEvent):
        return {key: value for key, value, _ in _mapping(event, events, lines_above, depth + 1)}
    values = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        values.append(_value(event, events, lines_above, depth + 1))
    return values


def _line(event: Event, lines_above: int) -> int:
    return lines_above + (event.start_mark.line if event.start_mark else 0) + 1
