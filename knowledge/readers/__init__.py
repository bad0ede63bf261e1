"""The readers' door: a file's bytes in, documents out.

A `Reader` is registered under the entry point group `frontdesk.readers`; the built-ins enter by the same door.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from knowledge.documents import Document
from knowledge.errors import KnowledgeError
from knowledge.readers.encoding import clean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "frontdesk.readers"
"""The entry point group that readers are registered under."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read: `path` inside its folder (POSIX, with the ending) and its bytes."""

    path: str
    content: bytes

    @property
    def default_id(self) -> str:
        """The id of a document that names none: the path without its ending, `guides/Late.md` -> `guides/Late`."""
        folder, _, name = self.path.rpartition("/")
        stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
        return f"{folder}/{stem}" if folder else stem

    @property
    def default_title(self) -> str:
        """The title of a document that names none: its file name made readable, `late_check-in.md` -> `Late check in`.

        `index` and `readme` say nothing, so the folder's name stands for them.
        """
        folder, _, name = self.default_id.rpartition("/")
        if name.lower() in {"index", "readme"} and folder:
            name = folder.rpartition("/")[2]
        words = " ".join(clean(name).replace("_", " ").replace("-", " ").split())
        return words.upper() if words.lower() == "faq" else words[:1].upper() + words[1:] or "Untitled"


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns one file into its documents.

    `suffixes` are the endings it takes, lower case with the dot. `read` raises `ReaderError` with one plain sentence
    when the file cannot be read.
    """

    suffixes: tuple[str, ...]
    read: Callable[[SourceFile], Sequence[Document]]


def load_readers() -> dict[str, Reader]:
    """Every registered reader by the ending it takes: `{".md": Reader(...), ...}`.

    Raises `KnowledgeError` when a registration cannot be loaded, or when two of them take the same ending: none of them
    silently wins.
    """
    from importlib.metadata import entry_points

    readers: dict[str, Reader] = {}
    owners: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        reader = _load(entry)
        for suffix in reader.suffixes:
            owner = owners.setdefault(suffix, entry)
            if owner.value != entry.value:
                raise KnowledgeError(
                    f"Two readers take {suffix} files: {_named(owner)} and {_named(entry)}.",
                    "Uninstall one of the two packages, or let its reader take another ending.",
                )
            readers[suffix] = reader
    return readers


def _load(entry: EntryPoint) -> Reader:
    try:
        reader = entry.load()
    except (ImportError, AttributeError) as error:
        raise KnowledgeError(f"The reader {_named(entry)} cannot be loaded: {error}.") from error
    if not isinstance(reader, Reader):
        raise KnowledgeError(f"The reader {_named(entry)} is not a knowledge.readers.Reader.")
    for suffix in reader.suffixes:
        if not suffix.startswith(".") or suffix != suffix.lower():
            raise KnowledgeError(f"The reader {_named(entry)} takes {suffix!r}: write it in lower case, with the dot.")
    return reader


def _named(entry: EntryPoint) -> str:
    package = f" of the package {entry.dist.name}" if entry.dist else ""
    return f"'{entry.name}' ({entry.value}{package})"
