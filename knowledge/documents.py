"""The nouns of `knowledge`: plain frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

PUBLIC = "public"
"""The audience everyone belongs to; a document without an `audience` is for it."""


State = Literal["draft", "published", "retired"]
"""Whether customers see a document: not yet, now, or no more."""

Way = Literal["folder", "upload", "edit", "page", "restore", "import", "proposal"]
"""How a revision came about."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document comes from: a `folder`, an `upload`, a `page` or a `proposal`, and its path, address or name."""

    kind: str
    place: str


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


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One passage as an index needs it. `text` is what is searched, `vector_key` names the vector of it."""

    id: str
    text: str
    audience: str
    vector_key: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as one of its revisions has it, and how it stands in the library.

    `published` is the number of the revision that customers see (or saw last, when it is retired), `latest` that of the
    newest. `content_hash` and `text_hash` are those of this revision, `taken_hash` is the content hash of what was last taken
    from the origin. `by_hand`: a person has had the last word since. `author`, `at` and `why` are of the revision,
    `changed_by` and `changed_at` of the last change of any kind. `edition` is the first that showed this revision, if any.
    """

    document: Document
    state: State
    revision: int
    published: int | None
    latest: int
    origin: Origin
    content_hash: str
    text_hash: str
    taken_hash: str | None
    by_hand: bool
    author: str
    at: datetime
    why: str
    changed_by: str
    changed_at: datetime
    edition: int | None = None

    @property
    def is_new(self) -> bool:
        """Whether this revision was never published: not a draft again because customers were to see an earlier one."""
        return self.edition is None

    @property
    def has_draft(self) -> bool:
        """Whether there is a newer text than the one that was published."""
        return self.published != self.latest


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is still known of a document that was erased: where it came from, who erased it, when and why.

    `hashes` are those of the texts that it had, so that a copy of one is known again.
    """

    document: str
    origin: Origin
    source: str
    hashes: frozenset[str]
    author: str
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a document's history: a revision was `written`, `published` after that, or the document `retired`.

    `erased`: what was before it, or the whole document. `edition` is the first one that showed it, `None` for a draft that
    was not published so far. `way` and `base` are those of the revision.
    """

    what: Literal["written", "published", "retired", "erased"]
    revision: int | None
    author: str
    at: datetime
    why: str
    edition: int | None
    way: Way | None = None
    base: int | None = None
