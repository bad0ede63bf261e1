"""Plain text files, with or without front matter."""

from __future__ import annotations

import re

from knowledge.readers import Finding, Reader, Reading, SourceFile
from knowledge.readers.fields import has_text, one_line
from knowledge.readers.front_matter import split
from knowledge.readers.hidden import shown_text

_TITLE = re.compile(r"\s*^(?P<title>[^\n]{1,100})\n(?:[=\-~*_]{3,}[ \t]*(?:\n|\Z)|[ \t]*(?:\n|\Z))", re.MULTILINE)


def read(file: SourceFile) -> Reading:
    """The one document of a text file, as it was written.

    Its title is a short first line with an empty line or a row of dashes below it, else the file's name.
    """
    hidden: list[Finding] = []
    fields, body = split(shown_text(file, hidden))
    title, text = _split_title(body)
    if title is None or fields.title not in {None, title}:
        title, text = file.default_title, body
    return Reading((fields.document(file, text.strip("\n").rstrip(), title),), tuple(hidden))


def _split_title(body: str) -> tuple[str | None, str]:
    """The title and what follows it; no title when the first line is a sentence, an item, or all there is."""
    found = _TITLE.match(body)
    if found is None or not has_text(body[found.end() :]):
        return None, body
    title = one_line(found["title"]).lstrip("# ")
    if not has_text(title) or title[-1] in ".,;:" or re.match(r"[-*+•>|]|\d+[.)]\s", title):
        return None, body
    return title, body[found.end() :]


reader = Reader(suffixes=(".txt", ".text"), read=read)
