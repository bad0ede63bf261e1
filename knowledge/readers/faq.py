"""Tables of questions and answers: CSV and its kin, JSON, JSON Lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import Finding, Reader, Reading, SourceFile
from knowledge.readers.encoding import clean, decode
from knowledge.readers.faq_tables import ANSWER, QUESTION, Row, Table, is_empty, read_csv, read_json, read_json_lines
from knowledge.readers.fields import KEYS, Fields, has_text, letters, one_line, read_fields
from knowledge.readers.hidden import without_invisible
from knowledge.readers.markdown_text import below, tidy, without_title

_READ: dict[str, Callable[[str], Table]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
_CLOSING_TAG = re.compile(
    r"</(?:p|div|span|ul|ol|li|table|tr|td|a|strong|em|b|i|u|h[1-6]|blockquote|code|pre|font|section)\s*>",
    re.IGNORECASE,
)
_BREAK = re.compile(r"<br\s*/?>\n?", re.IGNORECASE)
_MARKDOWN = re.compile(r"`|\*\*|\]\(")


def read(file: SourceFile) -> Reading:
    """The documents of a table: the whole file is one, with a section for each question.

    A row with an id, a web address, an audience, a language or a date of its own is a document of its own.
    """
    suffix = file.path[file.path.rfind(".") :].lower()
    table = _READ.get(suffix, read_csv)(decode(file.content))
    about = _fields(Row("the file", table.about))
    hidden: list[Finding] = []
    entries = [entry for row in table.rows if (entry := _entry(row, hidden)) is not None]
    if not entries:
        raise ReaderError("it has no text")
    shared = [entry for entry in entries if not entry.fields.stands_alone]
    documents = [_together(file, about, shared)] if shared else []
    slugs: Counter[str] = Counter()
    wheres = {document.id: "the rest of the file" for document in documents}
    for entry in entries:
        if entry.fields.stands_alone:
            document = _alone(file, about, entry, slugs)
            if document.id in wheres:
                raise ReaderError(f"{wheres[document.id]} and {entry.where} have the same id, '{document.id}'")
            wheres[document.id] = entry.where
            documents.append(document)
    return Reading(tuple(documents), tuple(hidden))


@dataclass(frozen=True, slots=True)
class _Entry:
    """A question with its answer, and the fields of its own row."""

    where: str
    question: str
    answer: str
    fields: Fields


def _entry(row: Row, hidden: list[Finding]) -> _Entry | None:
    """What a row says; `None` when it says nothing. `ReaderError` when only half of it is there."""
    if all(is_empty(value) for value in row.values.values()):
        return None
    question = one_line(without_invisible(_text(row, QUESTION), hidden))
    answer = _markdown(without_invisible(_text(row, ANSWER), hidden), hidden)
    if not has_text(question):
        found = "has an answer but no" if has_text(answer) else "has neither an answer nor a"
        raise ReaderError(f"{row.where} {found} question")
    if not has_text(answer):
        raise ReaderError(f"{row.where} has a question but no answer")
    return _Entry(row.where, question, answer, _fields(row))


def _text(row: Row, names: tuple[str, ...]) -> str:
    """A value as text; a list of texts is its paragraphs, an object is what its own answer says."""
    value = row.first(names)
    if isinstance(value, dict):
        value = Row(row.where, {letters(name): content for name, content in value.items()}).first(ANSWER)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n\n".join(value)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReaderError(f"{row.where}: the {names[0]} must be text")
    return value


def _markdown(answer: str, hidden: list[Finding]) -> str:
    """An answer as Markdown, which it is, unless it clearly is HTML."""
    text = clean(answer)
    if _MARKDOWN.search(text) is None:
        if _CLOSING_TAG.search(text):
            from knowledge.readers.html import html_to_markdown

            return html_to_markdown(text, hidden)
        text = _BREAK.sub("  \n", text)
    return tidy(text, hidden).strip("\n").rstrip()


def _fields(row: Row) -> Fields:
    values = {key: row.values[letters(key)] for key in KEYS if not is_empty(row.values.get(letters(key)))}
    try:
        fields = read_fields(values)
    except ReaderError as error:
        raise ReaderError(f"{row.where}: {error.message}") from error
    category = one_line(_text(row, ("category",)))
    return replace(fields, tags=tuple(dict.fromkeys((*fields.tags, category)))) if category else fields


def _together(file: SourceFile, about: Fields, entries: list[_Entry]) -> Document:
    """The document of the rows that have no fields of their own."""
    tags = dict.fromkeys((*about.tags, *(tag for entry in entries for tag in entry.fields.tags)))
    text = "\n\n".join(f"## {entry.question}\n\n{below(entry.answer, 2)}" for entry in entries)
    return replace(about, tags=tuple(tags)).document(file, text, file.default_title)


def _alone(file: SourceFile, about: Fields, entry: _Entry, slugs: Counter[str]) -> Document:
    """The document of a row with fields of its own; `slugs` counts those given so far to rows without an id."""
    fields = entry.fields.under(about)
    title = fields.title or entry.question
    text, _ = without_title(entry.answer, title)
    if not has_text(text):
        text = entry.answer
    if title != entry.question:
        text = f"## {entry.question}\n\n{below(text, 2)}"
    if fields.id is None:
        slug = re.sub(r"[\W_]+", "-", entry.question.lower())[:80].strip("-") or "row"
        slugs[slug] += 1
        number = f"-{slugs[slug]}" if slugs[slug] > 1 else ""
        fields = replace(fields, id=f"{file.default_id}#{slug}{number}")
    return fields.document(file, text.strip("\n"), title)


reader = Reader(suffixes=tuple(_READ), read=read)
