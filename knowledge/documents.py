"""The nouns of `knowledge`: plain frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

PUBLIC = "public"
"""The audience everyone belongs to; a document without an `audience` is for it."""


@dataclass(frozen=True, slots=True)
class Document:
    """One article as staff wrote it.

    `id` is the one in its front matter, else its path inside the folder, without the ending, with forward slashes.
    `text` is Markdown whatever the file's format was. `source` is the file's path inside the folder (POSIX).
    """

    id: str
    title: str
    text: str
    source: str
    url: str | None = None
    audience: str = PUBLIC
    language: str | None = None
    updated: date | None = None
    review_by: date | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, the unit that is searched, cited and shown to a model.

    `heading` is the path of headings above it, outermost first, without the document's title. `text` is its Markdown
    as written. `id` depends on the document's id and on what is searched (title, headings and text), so that it
    survives edits elsewhere in the document.
    """

    id: str
    document: str
    title: str
    heading: tuple[str, ...]
    text: str
    position: int

    @property
    def searchable(self) -> str:
        """Title, heading path and text, one per line: what is embedded and indexed by keyword alike."""
        return "\n".join((" > ".join((self.title, *self.heading)), self.text))
