"""What is in a folder of documents: which files to read, which to leave, which cannot be read and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knowledge.errors import FolderError, ReaderError

MAX_BYTES = 20 * 1024 * 1024
"""The largest file that is read, 20 MiB: a thousand times a long article."""

# What accompanies documents but holds none.
_PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".avif", ".ico", ".bmp", ".tif", ".tiff"}
_SOUND_AND_FILM = {".mp3", ".wav", ".ogg", ".m4a", ".mp4", ".mov", ".webm", ".avi"}
_STYLES_AND_SCRIPTS = {".css", ".scss", ".less", ".js", ".mjs", ".ts", ".tsx", ".jsx", ".map", ".py", ".sh"}
_FONTS = {".woff", ".woff2", ".ttf", ".otf", ".eot"}
_BUILD_FILES = {".lock", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".xml"}
# What editors, office programs and downloads leave beside a file while they are at it, or after.
_LEFTOVERS = {".tmp", ".temp", ".swp", ".swo", ".bak", ".orig", ".rej", ".part", ".crdownload", ".download"}
LEFT_ALONE = frozenset(_LEFTOVERS | _PICTURES | _SOUND_AND_FILM | _STYLES_AND_SCRIPTS | _FONTS | _BUILD_FILES)
_BETTER = {
    **dict.fromkeys((".doc", ".docm", ".dot", ".dotx", ".rtf", ".odt", ".pages", ".wpd"), "save it as .docx"),
    **dict.fromkeys(
        (".xls", ".xlsx", ".xlsm", ".ods", ".numbers"), "save it as .csv, with a question and an answer a row"
    ),
    **dict.fromkeys((".ppt", ".pptx", ".odp", ".key", ".ps", ".eps"), "export it as PDF"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the folder: its POSIX path inside it and, if it must not be read, the reason."""

    path: str
    reason: str = ""


def walk(folder: Path, suffixes: frozenset[str]) -> Iterator[Entry]:
    """Every file below `folder` that is, or looks like, a document; in a stable order.

    Hidden files and folders, and files that merely accompany documents (pictures, styles), are left alone. Links that
    lead outside the folder are refused. Raises `FolderError` when `folder` is not a readable directory.
    """
    if not folder.exists():
        raise FolderError(f"There is no folder {folder}.", "Check the path, or make a starter with: frontdesk init DIR")
    if not folder.is_dir():
        raise FolderError(
            f"{folder} is a file, not a folder.", "Give the folder it is in: frontdesk knowledge sync DIR"
        )
    root = folder.resolve()

    def refuse(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise FolderError(f"The folder {folder} cannot be read: {error.strerror}.", "Check its permissions.")
        unreadable.append(error)

    unreadable: list[OSError] = []
    for directory, below, names in os.walk(folder, onerror=refuse):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(directory, name)
            suffix = path.suffix.lower()
            if suffix in LEFT_ALONE or _is_left_over(name):
                continue
            inside = _printable(path.relative_to(folder).as_posix())
            yield Entry(inside, reason_not_to_read(path, root, suffixes))
    for error in unreadable:
        yield Entry(_printable(Path(error.filename).relative_to(folder).as_posix()) + "/", f"{error.strerror}")


def _is_left_over(name: str) -> bool:
    """Whether a file is hidden, or an editor's copy of another one: `a.md~`, `#a.md#`, Word's `~$a.docx`."""
    return name.startswith((".", "~$")) or name.endswith("~") or (name.startswith("#") and name.endswith("#"))


def read(folder: Path, path: str) -> bytes:
    """The bytes of one file. Raises `ReaderError` when they cannot be had."""
    try:
        with open(folder / path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReaderError(f"it cannot be opened: {(error.strerror or str(error)).lower()}") from error
    if len(content) > MAX_BYTES:
        raise ReaderError(_too_large(len(content)))
    return content


def reason_not_to_read(path: Path, root: Path, suffixes: frozenset[str]) -> str:
    """Why this file below `root` (resolved) is not read, in words that may follow a colon; empty when it may be."""
    suffix = path.suffix.lower()
    try:
        path.as_posix().encode()
        status = path.stat()
        inside = path.resolve().is_relative_to(root)
    except UnicodeEncodeError:
        return "its name is not valid text; rename it"
    except OSError as error:
        return f"it cannot be opened: {(error.strerror or str(error)).lower()}"
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if not inside:
        return "it is a link that leads outside the folder"
    if suffix not in suffixes:
        better = _BETTER.get(suffix, "export it as Markdown, HTML or text")
        return f"there is no reader for {suffix or 'files without an ending'}; {better}"
    if status.st_size > MAX_BYTES:
        return _too_large(status.st_size)
    return ""


def _too_large(size: int) -> str:
    return f"it is larger than {MAX_BYTES // 1024 // 1024} MiB ({size / 1024 / 1024:.0f} MiB or more); split it"


def _printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
