"""Bringing a folder into the library: what is new, changed, gone or unreadable. Blocks; decides, writes nothing."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from knowledge import folder as folders
from knowledge.documents import Document, Passage
from knowledge.errors import FolderError, ReaderError
from knowledge.jail import Jail
from knowledge.library import Changes, Library, Stored, content_hash
from knowledge.passages import split
from knowledge.readers import Reader, SourceFile

READING = "2"
"""Raise it when readers or the splitter change what they make of a file: every file is then read anew."""

Progress = Callable[[str, int, int], None]
"""Told how far long work is: what is being done, how many are done, how many there are."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that did not go in, by its path in the folder, and the reason in one plain sentence."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. The counts are of documents."""

    added: int
    changed: int
    removed: int
    unchanged: int
    failed: tuple[Failure, ...]
    seconds: float
    passages: int = 0
    notes: tuple[str, ...] = ()
    """Sentences for the person who ran it: search without vectors, documents of folders that are gone."""


@dataclass(slots=True)
class Plan:
    """What a folder asks of the library."""

    changes: Changes
    added: int
    changed: int
    unchanged: int
    failed: list[Failure]
    adopted: set[str] = field(default_factory=set)
    """Unchanged documents that came from another folder, which is gone."""
    notes: list[str] = field(default_factory=list)
    """What was left out of files that went in, a sentence for each."""


@dataclass(slots=True)
class _Reading:
    """The files of the folder as they were read."""

    documents: dict[str, Document] = field(default_factory=dict)
    kept: dict[str, set[str]] = field(default_factory=dict)
    """Paths whose documents stay as they are (unchanged, or unreadable now), with the documents' ids."""
    hashes: dict[str, str] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    candidates: int = 0


def plan(
    directory: Path,
    library: Library,
    readers: Mapping[str, Reader],
    progress: Progress,
    *,
    allow_empty: bool = False,
    confirmed: frozenset[str] = frozenset(),
) -> Plan:
    """Read `directory` and compare it with the library.

    Files whose bytes have not changed are not read again. A file that was readable and no longer is keeps the version it
    had. One that reads like instructions to a machine goes in only when its path is among `confirmed`. Raises
    `FolderError` when the folder is missing or, unless `allow_empty`, holds no document at all.
    """
    origin = str(directory.resolve())
    stored = library.stored()
    with Jail(readers) as jail:
        reading = _read(directory, origin, library, jail, progress, stored, confirmed)
    if not reading.candidates and not allow_empty:
        endings = " ".join(sorted(readers))
        raise FolderError(
            f"{directory} holds no document that frontdesk can read ({endings}). Nothing was changed.",
            f"To remove all that came from it: frontdesk knowledge sync {directory} --allow-empty",
        )
    return _compare(origin, stored, reading)


def _read(
    directory: Path,
    origin: str,
    library: Library,
    jail: Jail,
    progress: Progress,
    stored: Mapping[str, Stored],
    confirmed: frozenset[str],
) -> _Reading:
    reading = _Reading()
    known = library.files_of(origin)
    before: dict[str, set[str]] = {}
    for document_id, one in stored.items():
        if one.folder == origin:
            before.setdefault(one.document.source, set()).add(document_id)
    entries = list(folders.walk(directory, jail.suffixes))
    for done, entry in enumerate(entries):
        progress("Reading files", done, len(entries))
        path = entry.path
        try:
            if entry.reason:
                raise ReaderError(entry.reason)
            reading.candidates += 1
            content = folders.read(directory, path)
            digest = hashlib.sha256(READING.encode() + content).hexdigest()
            if known.get(path) == digest and path in before:
                reading.kept[path] = before[path]
            else:
                read = jail.read(SourceFile(path, content))
                if (doubt := read.doubt()) and path not in confirmed:
                    how = f"frontdesk knowledge sync {shlex.quote(str(directory))} --confirm {shlex.quote(path)}"
                    raise ReaderError(f"{doubt}. Look at it, and if it may be published, type ({how})")
                _take_in(reading, read.documents)
                reading.notes += [f"{path}: {remark}." for remark in read.remarks()]
            reading.hashes[path] = digest
        except ReaderError as error:
            stays = " The version from before stays in use." if path in before else ""
            reading.failed.append(Failure(path, _sentence(error.message) + stays))
            reading.kept[path] = before.get(path, set())
    progress("Reading files", len(entries), len(entries))
    return reading


def _take_in(reading: _Reading, documents: Sequence[Document]) -> None:
    for document in documents:
        if (other := reading.documents.get(document.id)) is not None:
            raise ReaderError(
                f"its id {document.id!r} is already that of {other.source}; give one of them an id of its own"
            )
    for document in documents:
        reading.documents[document.id] = document


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith((".", "?", "!")) else ".")


def _compare(origin: str, stored: Mapping[str, Stored], reading: _Reading) -> Plan:
    now = datetime.now(UTC)
    kept = {document_id for ids in reading.kept.values() for document_id in ids}
    write: list[tuple[Stored, Sequence[Passage]]] = []
    added = changed = 0
    unchanged = len(kept)
    adopted: set[str] = set()
    for document in reading.documents.values():
        digest = content_hash(document)
        old = stored.get(document.id)
        if (conflict := _conflict(document, old, origin, kept)) is not None:
            reading.failed.append(Failure(document.source, conflict))
            reading.hashes.pop(document.source, None)
            continue
        kept.add(document.id)
        if old is not None and old.content_hash == digest and old.document.source == document.source:
            unchanged += 1
            if old.folder != origin:
                adopted.add(document.id)
            continue
        added += old is None
        changed += old is not None and old.content_hash != digest
        unchanged += old is not None and old.content_hash == digest
        write.append((Stored(document, origin, digest, now), split(document)))
    remove = frozenset(
        document_id for document_id, one in stored.items() if one.folder == origin and document_id not in kept
    )
    changes = Changes(remove=remove, write=write, folder=origin, files=reading.hashes)
    return Plan(
        changes, added, changed, unchanged, sorted(reading.failed, key=lambda f: f.file), adopted, reading.notes
    )


def _conflict(document: Document, old: Stored | None, origin: str, kept: set[str]) -> str | None:
    """Why `document` may not have its id: an unchanged file has it, or a file of another folder that is still there."""
    if document.id in kept:
        return f"Its id {document.id!r} is already that of another file; give one of them an id of its own."
    if old is None or old.folder == origin:
        return None
    other = Path(old.folder, old.document.source)
    if other.exists():
        return f"Its id {document.id!r} is already that of {other}; give one of them an id of its own."
    return None
