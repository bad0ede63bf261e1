"""Documents out into a folder of Markdown files, and back from it. Blocks.

The files say everything that a document is, so that what is exported here and imported there is the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from knowledge import article
from knowledge.article import Article
from knowledge.documents import Stored
from knowledge.errors import FolderError, KnowledgeError, ReaderError
from knowledge.folders import walk as folders
from knowledge.folders.reading import Failure
from knowledge.readers.encoding import decode

NOTED = ".frontdesk-export"
"""Lists the files of an export, so that the next one can remove those whose documents are gone."""
_UNSAFE = re.compile(r'[<>:"\\|?*%\x00-\x1f]|^[.\s]|[.\s]$')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_MOST_BYTES = 120
"""Of a name of a file; systems take 255 bytes, a few of them less."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder of Markdown files says, by path, and what of it cannot be read."""

    articles: Sequence[tuple[str, Article]]
    failed: Sequence[Failure]


def write(documents: Iterable[Stored], folder: Path) -> tuple[int, int]:
    """Write each document into a file of its own. Returns how many were written and how many old ones removed.

    `folder` is made, or must be empty, or hold an earlier export. Raises `FolderError`.
    """
    before = _written_before(folder)
    files = {path: article.written(one.document, one.revision) for path, one in _named(documents)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Both, until all of it is done: nothing that was written is forgotten when this is interrupted.
        _note(folder, before | files.keys())
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8", newline="\n")
        gone = before - files.keys()
        for path in gone:
            _remove(folder, path)
        _note(folder, set(files))
    except OSError as error:
        raise FolderError(
            f"{folder} cannot be written: {error.strerror or error}.", "Choose another folder."
        ) from error
    return len(files), len(gone)


def read(folder: Path) -> Found:
    """The Markdown files of a folder. Raises `FolderError` when it is missing, or holds none."""
    articles: list[tuple[str, Article]] = []
    failed: list[Failure] = []
    owners: dict[str, str] = {}
    for entry in folders.walk(folder, frozenset({".md"})):
        try:
            if entry.reason:
                raise ReaderError(entry.reason)
            found = article.read(decode(folders.read(folder, entry.path)), entry.path)
            if (owner := owners.setdefault(found.document.id, entry.path)) != entry.path:
                raise ReaderError(f"its id {found.document.id!r} is already that of {owner}")
            articles.append((entry.path, found))
        except ReaderError as error:
            failed.append(Failure(entry.path, f"{error.message[:1].upper()}{error.message[1:]}."))
    if not articles and not failed:
        raise FolderError(
            f"{folder} holds no Markdown file. Nothing was changed.",
            "Other documents are brought in with: frontdesk knowledge sync DIR",
        )
    return Found(articles, failed)


def _named(documents: Iterable[Stored]) -> Iterator[tuple[str, Stored]]:
    """Each document with the path of its file: its id, as far as every system can have that as a name."""
    taken: set[str] = set()
    for one in sorted(documents, key=lambda one: one.document.id):
        parts = one.document.id.split("/")
        # A folder that ends like a file may meet a file of that name.
        above = [_safe(part.replace(".md", "%2Emd")) for part in parts[:-1]]
        name = _safe(parts[-1])
        path = "/".join((*above, f"{name}.md"))
        if path.casefold() in taken or path != "/".join((*parts[:-1], f"{parts[-1]}.md")):
            digest = hashlib.sha256(one.document.id.encode()).hexdigest()[:10]
            path = "/".join((*above, f"{name}-{digest}.md"))
        taken.add(path.casefold())
        yield path, one


def _safe(part: str) -> str:
    """A part of an id as a name of a file: no signs that mean something to a system, not hidden, not long."""
    safe = _UNSAFE.sub(lambda sign: "".join(f"%{byte:02X}" for byte in sign[0].encode()), part) or "%"
    if _RESERVED.fullmatch(safe):
        safe = f"%{safe}"
    return safe.encode()[:_MOST_BYTES].decode("utf-8", "ignore")


def _written_before(folder: Path) -> set[str]:
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return set()
        return set((folder / NOTED).read_text("utf-8").splitlines())
    except FileNotFoundError:
        raise FolderError(
            f"{folder} holds other files. Nothing was written.", "Choose an empty folder, or one of an earlier export."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FolderError(f"{folder} cannot be read: {error}.", "Choose another folder.") from error


def _note(folder: Path, paths: set[str]) -> None:
    (folder / NOTED).write_text("".join(f"{path}\n" for path in sorted(paths)), "utf-8", newline="\n")


def _remove(folder: Path, path: str) -> None:
    """Remove a file of an earlier export, and the folders that are empty then."""
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()):
        raise KnowledgeError(f"{folder / NOTED} names a file outside the folder: {path}.")
    file.unlink(missing_ok=True)
    for above in file.relative_to(folder).parents[:-1]:
        try:
            (folder / above).rmdir()
        except OSError:
            return
