"""A document as one Markdown file with front matter: how people edit it, and how it leaves and comes back unchanged.

Reading gives back what was written, to the letter, for every document that is `normal`; the library holds no other.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from knowledge.documents import PUBLIC, Document
from knowledge.errors import ReaderError
from knowledge.readers import SourceFile
from knowledge.readers.encoding import clean
from knowledge.readers.fields import has_text, one_line, read_fields
from knowledge.readers.front_matter import raw
from knowledge.readers.hidden import without_invisible
from knowledge.readers.markdown_text import without_title

# What YAML, and every reader of it, takes for the text that it is.
_PLAIN = re.compile(r"[^\W\d_][\w]*(?:[ ./-]+\w+)*")
_NOT_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"})
_REVISION = "revision"


@dataclass(frozen=True, slots=True)
class Article:
    """What a file says: the document, and the number of the revision that it was made from, if it tells."""

    document: Document
    revision: int | None


def normal(document: Document) -> Document:
    """The document as the library keeps it: without what nobody can see, or no database takes.

    Raises `ReaderError` when it has no id or no text.
    """
    text = clean(without_invisible(document.text, [])).strip("\n").rstrip()
    identifier = " ".join(clean(document.id).replace("\t", "\n").split("\n")).strip()
    if not identifier:
        raise ReaderError("its document has no id")
    if not has_text(text):
        raise ReaderError(f"the document {identifier!r} has no text")
    return replace(
        document,
        id=identifier,
        text=text,
        title=one_line(document.title) or one_line(identifier),
        url=clean(document.url).strip() or None if document.url is not None else None,
        audience=one_line(document.audience).lower() or PUBLIC,
        language=one_line(document.language) or None if document.language is not None else None,
        tags=tuple(dict.fromkeys(tag for tag in map(one_line, document.tags) if tag)),
    )


def written(document: Document, revision: int | None = None) -> str:
    """The file. `revision` is noted in it, so that who changes it is told when somebody else did so, too."""
    lines = [f"id: {_scalar(document.id)}", f"title: {_scalar(document.title)}"]
    if document.url is not None:
        lines.append(f"url: {_scalar(document.url)}")
    lines.append(f"audience: {_scalar(document.audience)}")
    if document.language is not None:
        lines.append(f"language: {_scalar(document.language)}")
    if document.updated is not None:
        lines.append(f"updated: {document.updated.isoformat()}")
    if document.review_by is not None:
        lines.append(f"review_by: {document.review_by.isoformat()}")
    if document.tags:
        lines.append(f"tags: [{', '.join(map(_scalar, document.tags))}]")
    if revision is not None:
        lines.append(f"{_REVISION}: {revision}")
    return "\n".join(("---", *lines, "---", "", document.text, ""))


def read(text: str, path: str) -> Article:
    """What the file at `path` says. Without front matter its id and title are made from the path.

    Raises `ReaderError` with one plain sentence when it cannot be read.
    """
    values, body = raw(clean(without_invisible(text, [])))
    fields = read_fields(values)
    file = SourceFile(path, b"")
    revision = values.get(_REVISION)
    if revision is not None and not (isinstance(revision, str) and re.fullmatch(r"[1-9]\d{0,8}", revision)):
        raise ReaderError(f"{_REVISION} must be a number such as 3")
    document = fields.document(file, body, fields.title or file.default_title)
    return Article(normal(document), int(revision) if isinstance(revision, str) else None)


def edited(text: str, old: Document) -> Article:
    """What a person made of `old`. Without front matter only the text is another.

    Raises `ReaderError` with one plain sentence when it cannot be read, or has another id.
    """
    values, body = raw(clean(without_invisible(text, [])))
    if not values:
        return Article(normal(replace(old, text=without_title(body, old.title)[0])), None)
    found = read(text, f"{old.id}.md")
    if values.get("id") and found.document.id != old.id:
        raise ReaderError(f"its id is {found.document.id!r} and was {old.id!r}; an id cannot be changed")
    title = found.document.title if values.get("title") else old.title
    return replace(found, document=replace(found.document, id=old.id, title=title, source=old.source))


def _scalar(value: str) -> str:
    """A value as YAML has it, in quotes unless it can be taken for nothing but text."""
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in quoted)
