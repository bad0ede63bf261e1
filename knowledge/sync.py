"""Bringing a folder into the library: what is new, changed, gone or unreadable. Blocks; decides, writes nothing.

What a person has edited or retired is not overruled by a folder: it stays, and the report says so.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from knowledge import folder as folders
from knowledge.article import normal
from knowledge.documents import Document, Origin, Stored
from knowledge.erasing import Forbidden
from knowledge.errors import FolderError, ReaderError
from knowledge.jail import Jail
from knowledge.library import Library
from knowledge.passages import split
from knowledge.publishing import Changes, FolderFiles, Move, NewRevision, content_hash, text_hash
from knowledge.readers import Reader, SourceFile

READING = "3"
"""Raise it when readers or the splitter change what they make of a file: every file is then read anew."""
BY_SYNC = "sync"
"""The author of what a sync writes, when nobody is named."""

Progress = Callable[[str, int, int], None]
"""Told how far long work is: what is being done, how many are done, how many there are."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that did not go in, by its path in the folder, and the reason in one plain sentence."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that stays as a person left it (erased, for example), although its file says something else, and why."""

    document: str
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
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """How a folder is to be brought in.

    `allow_empty`: also when it holds nothing any more. `take` are ids of documents whose file has the last word, whatever a
    person did to them; `take_all` says so of all. `confirm` are paths of files that may go in although they read like
    instructions to a machine. `author` (else `sync`) and `why` are noted with what is written.
    """

    allow_empty: bool = False
    take: frozenset[str] = frozenset()
    take_all: bool = False
    confirm: frozenset[str] = frozenset()
    author: str = ""
    why: str = ""

    def takes(self, document: str) -> bool:
        """Whether the file has the last word on this document."""
        return self.take_all or document in self.take


AS_USUAL = Wish()


@dataclass(slots=True)
class Plan:
    """What a folder asks of the library."""

    changes: Changes
    added: int
    changed: int
    unchanged: int
    failed: list[Failure]
    kept: list[Kept]
    notes: list[str]
    """What was left out of files that went in, a sentence for each."""
    same: list[tuple[str, str]] = field(default_factory=list)
    """New documents that say what another one says, each with that other's id."""


@dataclass(slots=True)
class _Reading:
    """The files of the folder as they were read."""

    documents: dict[str, Document] = field(default_factory=dict)
    kept: dict[str, set[str]] = field(default_factory=dict)
    """Paths whose documents stay as they are (unchanged, or unreadable now), with the documents' ids."""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    candidates: int = 0


def plan(directory: Path, library: Library, readers: Mapping[str, Reader], progress: Progress, wish: Wish) -> Plan:
    """Read `directory` and compare it with the library.

    Files whose bytes have not changed are not read again. A file that was readable and no longer is keeps the version it
    had. One that reads like instructions to a machine goes in only when that is confirmed. Raises `FolderError` when the
    folder is missing or, unless `allow_empty`, holds no document at all.
    """
    origin = Origin("folder", str(directory.resolve()))
    stored = library.stored(newest=True)
    with Jail(readers) as jail:
        reading = _read(directory, origin, library.files_of(origin.place), jail, progress, stored, wish)
    if not reading.candidates and not wish.allow_empty:
        endings = " ".join(sorted(readers))
        raise FolderError(
            f"{directory} holds no document that frontdesk can read ({endings}). Nothing was changed.",
            f"To remove all that came from it: frontdesk knowledge sync {directory} --allow-empty",
        )
    forbidden = Forbidden(library.erasures(), stored)
    return _Comparison(origin, directory, stored, reading, wish, forbidden).plan()


def _read(
    directory: Path,
    origin: Origin,
    known: Mapping[str, tuple[str, str]],
    jail: Jail,
    progress: Progress,
    stored: Mapping[str, Stored],
    wish: Wish,
) -> _Reading:
    reading = _Reading()
    before: dict[str, set[str]] = {}
    for document_id, one in stored.items():
        # What a sync retired is not there for it: its file was gone.
        if one.origin == origin and (one.state != "retired" or one.by_hand):
            before.setdefault(one.document.source, set()).add(document_id)
    entries = list(folders.walk(directory, jail.suffixes))
    stems = _Stems(known, {entry.path for entry in entries})
    for done, entry in enumerate(entries):
        progress("Reading files", done, len(entries))
        path = entry.path
        try:
            if entry.reason:
                raise ReaderError(entry.reason)
            reading.candidates += 1
            content = folders.read(directory, path)
            digest = hashlib.sha256(READING.encode() + content).hexdigest()
            stem = stems.of(path, digest)
            asked_for = any(wish.takes(one) and stored[one].by_hand for one in before.get(path, ()))
            if known.get(path, ("", ""))[0] == digest and path in before and not asked_for:
                reading.kept[path] = before[path]
            else:
                found = jail.read(SourceFile(path, content))
                if (doubt := found.doubt()) and path not in wish.confirm:
                    how = f"frontdesk knowledge sync {shlex.quote(str(directory))} --confirm {shlex.quote(path)}"
                    raise ReaderError(f"{doubt}. Look at it, and if it may be published, type ({how})")
                _take_in(reading, [normal(_with_stem(one, path, stem)) for one in found.documents])
                reading.notes += [f"{path}: {remark}." for remark in found.remarks()]
            reading.files[path] = digest, stem
        except ReaderError as error:
            stays = " The version from before stays in use." if path in before else ""
            reading.failed.append(Failure(path, _sentence(error.message) + stays))
            reading.kept[path] = before.get(path, set())
    progress("Reading files", len(entries), len(entries))
    return reading


class _Stems:
    """What the ids of a file's documents begin with: its own path, or that of the file that it was before it was renamed."""

    def __init__(self, known: Mapping[str, tuple[str, str]], paths: set[str]) -> None:
        self._known = known
        gone: dict[str, list[str]] = {}
        for path, (digest, _) in known.items():
            if path not in paths:
                gone.setdefault(digest, []).append(path)
        self._gone = gone

    def of(self, path: str, digest: str) -> str:
        if path in self._known:
            return self._known[path][1]
        # Renamed: the same bytes, which are nowhere else any more.
        if earlier := self._gone.get(digest):
            return self._known[earlier.pop(0)][1]
        return SourceFile(path, b"").default_id


def _with_stem(document: Document, path: str, stem: str) -> Document:
    own = SourceFile(path, b"").default_id
    if stem == own or not (document.id == own or document.id.startswith(f"{own}#")):
        return document
    return replace(document, id=stem + document.id.removeprefix(own))


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


class _Comparison:
    """A folder as it was read, beside what the library has: what is to be written, what is to stay."""

    def __init__(
        self,
        origin: Origin,
        directory: Path,
        stored: Mapping[str, Stored],
        reading: _Reading,
        wish: Wish,
        forbidden: Forbidden,
    ) -> None:
        self._origin, self._directory, self._stored, self._reading, self._wish = (
            origin,
            directory,
            stored,
            reading,
            wish,
        )
        self._there = {document_id for ids in reading.kept.values() for document_id in ids}
        self._forbidden = forbidden
        self._write: list[NewRevision] = []
        self._move: list[Move] = []
        self._kept: list[Kept] = []
        self._added = self._changed = 0
        self._unchanged = sum(1 for one in self._there if stored[one].state == "published")

    def plan(self) -> Plan:
        for document in self._reading.documents.values():
            old = self._stored.get(document.id)
            if (conflict := self._conflict(document, old)) is not None:
                self._reading.failed.append(Failure(document.source, conflict))
                self._reading.files.pop(document.source, None)
                continue
            if self._is_erased(document):
                continue
            self._there.add(document.id)
            self._compare(document, old)
        gone = {one: its for one, its in self._stored.items() if its.origin == self._origin and one not in self._there}
        for document_id, one in gone.items():
            if one.by_hand and one.state != "retired" and not self._wish.takes(document_id):
                self._keep(
                    one,
                    f"Its file is gone, but it was {what_was_done(one)}",
                    f"knowledge retire {shlex.quote(document_id)}",
                )
        kept = {one.document for one in self._kept}
        retire = frozenset(one for one, its in gone.items() if its.state != "retired" and one not in kept)
        changes = Changes(
            author=self._wish.author or BY_SYNC,
            why=self._wish.why,
            write=self._write,
            retire=retire,
            move=self._move,
            read=FolderFiles(self._origin.place, self._reading.files),
        )
        failed = sorted(self._reading.failed, key=lambda failure: failure.file)
        notes = self._reading.notes
        return Plan(changes, self._added, self._changed, self._unchanged, failed, self._kept, notes, self._same(retire))

    def _compare(self, document: Document, old: Stored | None) -> None:
        digest = content_hash(document)
        if old is None or (old.state == "retired" and not old.by_hand):
            self._added += 1
            self._take(document, old)
        elif old.by_hand and not self._wish.takes(document.id) and digest != old.content_hash:
            self._unchanged += old.state == "published"
            self._stay(document, old)
            if digest != old.taken_hash:
                # Read, and told, each time until somebody decides.
                self._reading.files.pop(document.source, None)
                where, which = shlex.quote(str(self._directory)), shlex.quote(document.id)
                again = f"knowledge sync {where} --take {which}"
                self._keep(old, f"Its file has changed, but it was {what_was_done(old)}", again)
        elif old.by_hand and old.state == "retired" and not self._wish.takes(document.id):
            self._stay(document, old)
        elif digest == old.content_hash and old.state == "published" and not old.has_draft:
            self._unchanged += 1
            self._stay(document, old, taken_hash=digest)
        else:
            self._changed += 1
            self._take(document, old)

    def _take(self, document: Document, old: Stored | None) -> None:
        base = old.latest if old is not None else 0
        self._write.append(NewRevision(document, base, "folder", split(document), self._origin, taken=True))

    def _stay(self, document: Document, old: Stored, taken_hash: str | None = None) -> None:
        as_before = old.origin == self._origin and old.document.source == document.source
        if not as_before or (taken_hash is not None and (old.by_hand or old.taken_hash != taken_hash)):
            self._move.append(Move(document.id, self._origin, document.source, taken_hash))

    def _keep(self, old: Stored, why: str, command: str) -> None:
        reason = f"{why}; that stays. To go by the folder: frontdesk {command}"
        self._kept.append(Kept(old.document.id, old.document.source, reason))

    def _is_erased(self, document: Document) -> bool:
        """Whether it was erased, and is not asked for by name. It is read, and told, each time until its file is gone."""
        why = self._forbidden.reason(document, self._origin)
        if not why or self._wish.takes(document.id):
            return False
        self._reading.files.pop(document.source, None)
        again = f"frontdesk knowledge sync {shlex.quote(str(self._directory))} --take {shlex.quote(document.id)}"
        reason = f"{why}, and its file is still there. Delete the file. To take it in all the same: {again}"
        self._kept.append(Kept(document.id, document.source, reason))
        return True

    def _conflict(self, document: Document, old: Stored | None) -> str | None:
        """Why `document` may not have its id: an unchanged file has it, or a document that does not come from this folder."""
        if document.id in self._there:
            return f"Its id {document.id!r} is already that of another file; give one of them an id of its own."
        if old is None or old.origin == self._origin or self._wish.takes(document.id):
            return None
        if old.origin.kind != "folder":
            if old.state == "retired":
                return None
            if old.origin.kind == "upload" and old.content_hash == content_hash(document):
                # As after an export that was imported elsewhere: from now on it follows its file again.
                return None
            return (
                f"Its id {document.id!r} is already that of a document that did not come from a folder. To go by the file "
                f"from now on: frontdesk knowledge sync {shlex.quote(str(self._directory))} --take {shlex.quote(document.id)}"
            )
        other = Path(old.origin.place, old.document.source)
        if old.state != "retired" and other.exists():
            return f"Its id {document.id!r} is already that of {other}; give one of them an id of its own."
        return None

    def _same(self, retire: frozenset[str]) -> list[tuple[str, str]]:
        """New documents that say, to the same people, what another one says."""
        said = {
            (one.text_hash, one.document.audience): document_id
            for document_id, one in self._stored.items()
            if one.state == "published" and document_id not in retire
        }
        found = []
        for new in self._write:
            document = new.document
            other = said.setdefault((text_hash(document.text), document.audience), document.id)
            if new.base == 0 and other != document.id:
                found.append((document.id, other))
        return found


def what_was_done(one: Stored) -> str:
    """What a person did to a document, by whom and when, in words that follow "it was"."""
    what = "retired" if one.state == "retired" else "edited"
    return f"{what} by {one.changed_by} on {one.changed_at:%Y-%m-%d}"
