"""Tables of questions and answers as rows of named values: CSV and its kin, JSON, JSON Lines.

What a name means is not known here; names are compared by their letters, without case.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from knowledge.errors import ReaderError
from knowledge.readers.fields import KEYS, letters

QUESTION = ("question", "q", "title", "heading", "subject", "name")
ANSWER = ("answer", "a", "text", "content", "body", "response", "acceptedanswer")
_OTHERS = frozenset({*map(letters, KEYS), "category"})
_LISTS = ("faqs", "faq", "questions", "items", "entries", "data", "rows", "articles", "documents", "mainentity")
_DELIMITERS = ",;\t|"
_END = "\udfff"
"""What no decoded text holds."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it stands in its file, for people (`row 3`), and its values by the letters of their names."""

    where: str
    values: Mapping[str, object]

    def first(self, names: Iterable[str]) -> object:
        """The first of these values that is there and not empty, else `None`."""
        return next((value for name in names if not is_empty(value := self.values.get(name))), None)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, and what it says about all of them."""

    rows: list[Row]
    about: Mapping[str, object] = field(default_factory=dict)


def is_empty(value: object) -> bool:
    """Whether a value says nothing."""
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def read_csv(text: str) -> Table:
    """The rows of a table whose values are separated by commas, semicolons, tabs or bars, below a row of names.

    Raises `ReaderError` when the names of a question and an answer are missing, or a row does not fit them.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    given = None
    if text[:4].lower() == "sep=" and text[5:6] == "\n":  # a line that Excel writes and reads
        given, text = text[4], text[6:]
    best = max(given or _DELIMITERS, key=lambda delimiter: _fitness(text, delimiter))
    records = _records(text, best)
    number, header = next(((n, record) for n, record in records if any(cell.strip() for cell in record)), (0, []))
    names = [letters(cell) for cell in header]
    _require_names(names)
    rows = []
    for number, record in records:
        if not any(cell.strip() for cell in record[len(names) :]):
            pairs = zip(names, record, strict=False)
            rows.append(Row(f"row {number}", {name: cell for name, cell in reversed(list(pairs)) if name}))
            continue
        raise ReaderError(
            f"row {number} has {len(record)} cells, but the first row names only {len(names)}; "
            "put text that contains the separator in quotation marks"
        )
    return Table(rows)


def read_json(text: str) -> Table:
    """The rows of a JSON file: a list of objects, an object with such a list in it, or questions with their answers."""
    value = _parse(text, "")
    if isinstance(value, list):
        return Table(_rows(value, "entry"))
    if not isinstance(value, dict):
        raise ReaderError(_what_is_needed())
    values = {letters(name): content for name, content in value.items()}
    whole = Row("its only entry", values)
    if whole.first(QUESTION) and whole.first(ANSWER) and not _is_rows(whole.first(ANSWER)):
        return Table([whole])
    about = {name: content for name, content in values.items() if name in _OTHERS}
    lists = {name: content for name, content in values.items() if isinstance(content, list) and name not in _OTHERS}
    if lists:
        return Table(_rows(_the_list(lists), "entry"), about)
    flat = [(name, content) for name, content in value.items() if letters(name) not in about]
    if not flat or not all(isinstance(content, str) for _, content in flat):
        raise ReaderError(_what_is_needed())
    rows = [
        Row(f"entry {number}", {"question": name, "answer": content})
        for number, (name, content) in enumerate(flat, start=1)
    ]
    return Table(rows, about)


def read_json_lines(text: str) -> Table:
    """The rows of a file with a JSON object in every line. Raises `ReaderError` naming the line that is none."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: text may hold other separators
        if line.strip():
            value = _parse(line, f"line {number} ")
            if not isinstance(value, dict):
                raise ReaderError(f'line {number} is not a JSON object such as {{"question": …, "answer": …}}')
            rows.append(Row(f"line {number}", {letters(name): content for name, content in value.items()}))
    return Table(rows)


def _records(text: str, delimiter: str) -> Iterable[tuple[int, list[str]]]:
    """The records with their numbers, as a spreadsheet counts them."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(f"{text}\n{_END}\n", newline=""), delimiter=delimiter)
    number = 0
    try:
        for number, record in enumerate(reader, start=1):
            if record == [_END]:
                return
            if record and record[-1].endswith(f"{_END}\n"):
                raise ReaderError(f"row {number} opens a quotation mark that is never closed")
            yield number, record
    except csv.Error as error:
        raise ReaderError(f"row {number + 1} cannot be read: {error}") from error


def _fitness(text: str, delimiter: str) -> int:
    """How many of the names in the first row are known when `delimiter` separates them."""
    header = next((record for _, record in _records(text, delimiter) if any(cell.strip() for cell in record)), [])
    return sum(letters(cell) in {*QUESTION, *ANSWER, *_OTHERS} for cell in header)


def _require_names(names: list[str]) -> None:
    if not names:
        raise ReaderError("it has no text")
    if not set(names) & set(QUESTION) and not set(names) & set(ANSWER):
        raise ReaderError('its first row must name the columns: call one "question" and one "answer"')
    for kind, known in (("question", QUESTION), ("answer", ANSWER)):
        if not set(names) & set(known):
            choice = ", ".join(known[:-1])
            raise ReaderError(f"its first row names no column for the {kind}: call it one of {choice}")


def _parse(text: str, where: str) -> object:
    try:
        # Numbers stay as they were written: 007, 1.50, or a thousand digits.
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        place = where or f"line {error.lineno} "
        raise ReaderError(f"{place}is not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ReaderError(f"{where or 'its JSON '}is nested too deeply") from error


def _rows(values: list[object], kind: str) -> list[Row]:
    rows = []
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise ReaderError(f"{kind} {number} is not an object with a question and an answer")
        rows.append(Row(f"{kind} {number}", {letters(name): content for name, content in value.items()}))
    return rows


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _the_list(lists: Mapping[str, list[object]]) -> list[object]:
    """The list that holds the questions: the only one of objects, else the one with a usual name."""
    of_objects = {name: content for name, content in lists.items() if _is_rows(content)}
    if not any(lists.values()):
        return []
    if len(of_objects) == 1:
        return next(iter(of_objects.values()))
    usual = [of_objects[name] for name in _LISTS if name in of_objects]
    if len(usual) == 1:
        return usual[0]
    raise ReaderError(_what_is_needed())


def _what_is_needed() -> str:
    return 'it needs to be a list of objects with a "question" and an "answer"'
