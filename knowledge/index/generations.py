"""The indexes in a data directory, and which of them is in use.

Each index is a folder of its own below `index/`, a generation. `index/current` names the one in use; it is replaced in one
step, so that whoever reads it, also after a crash, finds the one before or the one after. Each data directory has its
own: the library, which several of them may share, does not know of them.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from knowledge.errors import StoreError

_POINTER = "current"


@dataclass(frozen=True, slots=True)
class Generation:
    """An index that is in use: its folder's `name`, the edition it holds, and the embedder of its vectors, "" for none."""

    name: str
    edition: int
    embedder: str = ""


def current(data: Path) -> Generation | None:
    """The index in use; `None` when there is none, or the pointer cannot be read."""
    try:
        found = json.loads((data / "index" / _POINTER).read_text("utf-8"))
        return Generation(str(found["name"]), int(found["edition"]), str(found["embedder"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def use(data: Path, generation: Generation) -> None:
    """Put this index in use, for good when it returns. Raises `StoreError` when the pointer cannot be written."""
    folder = data / "index"
    new = folder / f"{_POINTER}.{uuid.uuid4().hex}.new"
    try:
        with open(new, "w", encoding="utf-8") as file:
            json.dump(asdict(generation), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, folder / _POINTER)
        _sync_folder(folder)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StoreError(
            f"The index in {folder} cannot be put in use: {error.strerror or error}.",
            "Look at the disk's space and the folder's permissions; the index before stays in use.",
        ) from error


def new_folder(data: Path) -> Path:
    """A fresh folder for an index. Raises `StoreError`."""
    folder = data / "index" / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(
            f"The data directory {data} cannot be used: {error.strerror or error}.",
            "Choose another with --data DIR or FRONTDESK_DATA.",
        ) from error
    return folder


def folder_of(data: Path, name: str) -> Path:
    """The folder of the index called `name`."""
    return data / "index" / name


def collect_garbage(data: Path, keep: set[str]) -> None:
    """Remove indexes that are no longer used, and what an interrupted writer left. Only for who holds the writer's lock."""
    for path in (data / "index").iterdir():
        if path.is_dir() and path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(f"{_POINTER}.") and path.name.endswith(".new"):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Windows opens no folders, and keeps the order of such changes by itself.
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
