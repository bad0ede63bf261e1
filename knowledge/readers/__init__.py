"""The readers' door: a file's bytes in, documents out.

A `Reader` is registered under the entry point group `frontdesk.readers`; the built-ins enter by the same door.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knowledge.documents import Document


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read: `path` inside its folder (POSIX, with the ending) and its bytes."""

    path: str
    content: bytes

    @property
    def default_id(self) -> str:
        """The id of a document that names none: the path without the ending, `guides/Check-in.md` -> `guides/Check-in`."""
        folder, _, name = self.path.rpartition("/")
        stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
        return f"{folder}/{stem}" if folder else stem


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns one file into its documents.

    `suffixes` are the endings it takes, lower case with the dot. `read` raises `ReaderError` with one plain sentence
    when the file cannot be read.
    """

    suffixes: tuple[str, ...]
    read: Callable[[SourceFile], Sequence[Document]]
