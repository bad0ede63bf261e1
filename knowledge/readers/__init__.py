"""The readers' door: a file's bytes in, a `Reading` out.

A `Reader` is registered under the entry point group `frontdesk.readers`; the built-ins enter by the same door. Files come
from anywhere, so readers run in a child process (`knowledge.readers.jail`), never beside the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    """A file to read: `path` inside its folder (POSIX, with the ending) and its bytes.

    A page from the web has a `url`, which its relative links start from, and perhaps a `charset` that its server named.
    A reader that takes a file in parts calls `step` after each of them: it is given more time for every one.
    """

    path: str
    content: bytes
    url: str | None = None
    charset: str | None = None
    step: Callable[[], None] = lambda: None

    @property
    def suffix(self) -> str:
        """The ending, lower case with the dot; empty when there is none."""
        name = self.path.rpartition("/")[2]
        return f".{name.rpartition('.')[2].lower()}" if "." in name[1:] else ""

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
class Finding:
    """A piece of a file that staff should see: its text (shortened) and, in plain words, what it is."""

    text: str
    why: str

    def __str__(self) -> str:
        return f"“{self.text}” ({self.why})" if self.text else self.why


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader made of a file.

    `documents` hold only what a person who opens the file can see. `hidden` is the text that such a person would not
    see: it is shown to staff and goes nowhere else. `suspicious` are passages that read like instructions to a machine:
    somebody has to look before they are published. `notes` are sentences about what was left out for other reasons.
    """

    documents: tuple[Document, ...]
    hidden: tuple[Finding, ...] = ()
    suspicious: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """What staff are told about a file that was read: a sentence for each thing that was left out."""
        said = list(self.notes)
        if self.hidden:
            pieces = "a piece" if len(self.hidden) == 1 else f"{len(self.hidden)} pieces"
            more = ", …" if len(self.hidden) > _SHOWN else ""
            said.append(f"{pieces} of hidden text left out: {', '.join(map(str, self.hidden[:_SHOWN]))}{more}")
        return said

    def doubt(self) -> str:
        """Why somebody has to look at the file before it is published; empty when nothing in it is suspicious."""
        if not self.suspicious:
            return ""
        others = len(self.suspicious) - 1
        more = f" and in {others} more place{'s' if others > 1 else ''}" if others else ""
        return f"it reads like instructions to a machine: {self.suspicious[0]}{more}"


_SHOWN = 3
"""Findings that are quoted in one sentence."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns one file into its documents.

    `suffixes` are the endings it takes, lower case with the dot. `read` raises `ReaderError` with one plain sentence
    when the file cannot be read. `in_steps`: it is given time for the steps it takes (see `SourceFile`), and none for the
    file's size. `entry` is where it was loaded from, `package.module:name`, so that another process can load it,
    too; `load_readers` fills it in.
    """

    suffixes: tuple[str, ...]
    read: Callable[[SourceFile], Reading]
    entry: str = ""
    in_steps: bool = False


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
            readers[suffix] = replace(reader, entry=entry.value)
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
