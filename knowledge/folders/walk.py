"""What is in a folder of documents: which files to read, which to leave, which cannot be read and why."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from knowledge.errors import FolderError, ReaderError

MAX_BYTES = 20 * 1024 * 1024
"""The largest file that is read, 20 MiB: a thousand times a long article."""

SETTLED_NS = 2_000_000_000
"""How long before it is read a file must have changed last for its stamp to tell of the next change: no file system counts time
in longer steps than FAT, which has two seconds."""

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


class Entry(NamedTuple):
    """A file of the folder: its POSIX path inside it and, if it must not be read, the reason.

    `stamp` is another one whenever its bytes may be others: its size, its times and its number on the disk. The time of its
    last change cannot be set back by who replaces or edits a file.
    """

    path: str
    reason: str = ""
    stamp: str = ""


def walk(folder: Path, suffixes: frozenset[str]) -> Iterator[Entry]:
    """Every file below `folder` that is, or looks like, a document; in a stable order.

    Hidden files and folders, and files that merely accompany documents (pictures, styles), are left alone. Links that
    lead outside the folder are refused. A folder that cannot be looked into is an entry that ends in a slash. Raises
    `FolderError` when `folder` is not a readable directory.
    """
    if not folder.exists():
        raise FolderError(f"There is no folder {folder}.", "Check the path, or make a starter with: frontdesk init DIR")
    if not folder.is_dir():
        raise FolderError(
            f"{folder} is a file, not a folder.", "Give the folder it is in: frontdesk knowledge sync DIR"
        )
    root = folder.resolve()
    unreadable: list[Entry] = []
    # Strings rather than `Path`s, and one look at each file: this is what a sync of an unchanged folder consists of.
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            with os.scandir(os.path.join(folder, inside)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if not inside:
                raise FolderError(
                    f"The folder {folder} cannot be read: {error.strerror}.", "Check its permissions."
                ) from error
            unreadable.append(Entry(_printable(inside), f"{error.strerror}"))
            continue
        below: list[str] = []
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            is_link = entry.is_symlink()
            if _is_directory(entry):
                if not is_link:
                    below.append(f"{inside}{name}/")
            elif (suffix := _suffix(name)) not in LEFT_ALONE and not _is_left_over(name):
                yield _look(entry.path, inside + name, suffix, root if is_link else None, suffixes)
        pending += reversed(below)
    yield from unreadable


def _is_left_over(name: str) -> bool:
    """Whether a file is an editor's copy of another one: `a.md~`, `#a.md#`, Word's `~$a.docx`."""
    return name.endswith("~") or name.startswith("~$") or (name.startswith("#") and name.endswith("#"))


def read(folder: Path, path: str) -> bytes:
    """The bytes of one file. Raises `ReaderError` when they cannot be had."""
    return read_stamped(folder, path)[0]


def read_stamped(folder: Path, path: str) -> tuple[bytes, str]:
    """The bytes of one file and its stamp, which is empty as long as the file may change without it (see `SETTLED_NS`).

    Raises `ReaderError` when they cannot be had.
    """
    now = time.time_ns()
    try:
        with open(folder / path, "rb") as file:
            # Before the first byte: what is written from now on has a later time.
            status = os.fstat(file.fileno())
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReaderError(f"it cannot be opened: {(error.strerror or str(error)).lower()}") from error
    if len(content) > MAX_BYTES:
        raise ReaderError(_too_large(len(content)))
    is_settled = max(status.st_mtime_ns, status.st_ctime_ns) < now - SETTLED_NS
    return content, _stamp(status) if is_settled else ""


def reason_not_to_read(path: Path, root: Path, suffixes: frozenset[str]) -> str:
    """Why this file below `root` (resolved) is not read, in words that may follow a colon; empty when it may be."""
    return _look(os.fspath(path), path.as_posix(), _suffix(path.name), root, suffixes).reason


def _look(path: str, inside: str, suffix: str, root: Path | None, suffixes: frozenset[str]) -> Entry:
    """The file at `path`, which is `inside` the folder. With a `root`: unless it is a link that leads out of there."""
    try:
        inside.encode()
        status = os.stat(path)
        is_outside = root is not None and not Path(path).resolve().is_relative_to(root)
    except UnicodeEncodeError:
        return Entry(_printable(inside), "its name is not valid text; rename it")
    except OSError as error:
        return Entry(inside, f"it cannot be opened: {(error.strerror or str(error)).lower()}")
    if not stat.S_ISREG(status.st_mode):
        return Entry(inside, "it is not a regular file")
    if is_outside:
        return Entry(inside, "it is a link that leads outside the folder")
    if suffix not in suffixes:
        better = _BETTER.get(suffix, "export it as Markdown, HTML or text")
        return Entry(inside, f"there is no reader for {suffix or 'files without an ending'}; {better}")
    if status.st_size > MAX_BYTES:
        return Entry(inside, _too_large(status.st_size))
    return Entry(inside, stamp=_stamp(status))


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _suffix(name: str) -> str:
    """The ending in lower case, with its dot; empty when there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def _too_large(size: int) -> str:
    return f"it is larger than {MAX_BYTES // 1024 // 1024} MiB ({size / 1024 / 1024:.0f} MiB or more); split it"


def _printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
