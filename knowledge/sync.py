"""Bringing a folder into the library: what is new, changed, gone or unreadable. Blocks; decides, writes nothing.

What a person has edited or retired is not overruled by a folder: it stays, and the report says so.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from knowledge import folder as folders
from knowledge.article import normal
from knowledge.documents import Document, Origin, Stored
from knowledge.errors import FolderError, ReaderError
from knowledge.jail import Jail
from knowledge.library import Library
from knowledge.passages import split
from knowledge.places import Placed
from knowledge.publishing import Changes, FileNote, FolderFiles, Move, NewRevision, content_hash, text_hash
from knowledge.readers import Reader, SourceFile

READING = "2"
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
    """A document that stays as a person left it, although its file says something else, and why, in one plain sentence."""

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
    kept: set[str] = field(default_factory=set)
    """Ids of the documents that stay as they are, because their files are unchanged, or unreadable now."""
    notes: dict[str, FileNote] = field(default_factory=dict)
    """What is to be noted of the files that were read."""
    gone: frozenset[str] = frozenset()
    failed: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    candidates: int = 0

    def read_again(self, path: str) -> None:
        """Have this file read, and told, the next time as well. What its ids begin with stays noted."""
        if (note := self.notes.get(path)) is not None:
            self.notes[path] = FileNote("", note.stem, "")


def plan(directory: Path, library: Library, readers: Mapping[str, Reader], progress: Progress, wish: Wish) -> Plan:
    """Read `directory` and compare it with the library.

    Files that have not changed are not read again. A file that was readable and no longer is keeps the version it had. One
    that reads like instructions to a machine goes in only when that is confirmed. Raises `FolderError` when the folder is
    missing or, unless `allow_empty`, holds no document at all.
    """
    origin = Origin("folder", str(directory.resolve()))
    with Jail(readers) as jail:
        looked = _Looked.at(directory, library.stamps_of(origin.place), jail)
        # After that: what is taken for unchanged has been so since.
        placed = library.placed(origin)
        reading = _Reader(directory, origin.place, library, looked, placed, jail, wish).read(progress)
    if not reading.candidates and not wish.allow_empty:
        endings = " ".join(sorted(readers))
        raise FolderError(
            f"{directory} holds no document that frontdesk can read ({endings}). Nothing was changed.",
            f"To remove all that came from it: frontdesk knowledge sync {directory} --allow-empty",
        )
    return _Comparison(origin, directory, library, placed, reading, wish).plan()


@dataclass(slots=True)
class _Looked:
    """The files of a folder as they are found: the paths of those that are as they were noted, and the other files.

    `noted` are the paths of which something is noted.
    """

    noted: Set[str]
    unchanged: set[str] = field(default_factory=set)
    others: list[folders.Entry] = field(default_factory=list)

    @classmethod
    def at(cls, directory: Path, stamps: Mapping[str, str], jail: Jail) -> _Looked:
        """Look at every file. The jail is prepared as soon as there will be something to read."""
        found = cls(stamps.keys())
        for entry in folders.walk(directory, jail.suffixes):
            path, _, stamp = entry
            if stamp and stamps.get(path) == _stamp(stamp):
                found.unchanged.add(path)
                continue
            found.others.append(entry)
            # Without a stamp it is most often as it was.
            if stamp and stamps.get(path) != "":
                jail.prepare(path)
        return found

    def gone(self) -> frozenset[str]:
        """The noted paths where there is no file any more."""
        left = self.noted - self.unchanged - {entry.path for entry in self.others}
        return frozenset(path for path in left if not self.is_out_of_sight(path))

    def is_out_of_sight(self, path: str) -> bool:
        """Whether a path is in a folder that cannot be looked into now: its file may well be there."""
        return any(path.startswith(one.path) for one in self.others if one.path.endswith("/"))


class _Reader:
    """Reads what is new or changed in a folder."""

    def __init__(
        self,
        directory: Path,
        place: str,
        library: Library,
        looked: _Looked,
        placed: Mapping[str, Placed],
        jail: Jail,
        wish: Wish,
    ) -> None:
        self._directory, self._looked, self._jail, self._wish = directory, looked, jail, wish
        self._found = _Reading(gone=looked.gone())
        self._asked = {one.source for its, one in placed.items() if one.by_hand and wish.takes(its)}
        """Paths of documents whose files are to have the last word."""
        self._before: dict[str, set[str]] = {}
        """Ids of the documents of each path that is to be read."""
        kept = looked.unchanged - self._asked
        without = set(looked.unchanged)
        for document_id, one in placed.items():
            # What a sync retired is not there for it: its file was gone.
            if one.state == "retired" and not one.by_hand:
                continue
            if one.source in kept:
                without.discard(one.source)
                self._found.kept.add(document_id)
            else:
                self._before.setdefault(one.source, set()).add(document_id)
        self._others = sorted([*looked.others, *map(folders.Entry, without)], key=_in_order)
        told = self._found.gone.union(entry.path for entry in self._others)
        self._known = library.files_of(place, told & looked.noted)
        self._stems = _Stems(self._known, self._found.gone)

    def read(self, progress: Progress) -> _Reading:
        """Read every file that is not as it was."""
        found, before = self._found, self._before
        found.candidates = len(self._looked.unchanged) + sum(not entry.reason for entry in self._looked.others)
        found.kept.update(*(ids for path, ids in before.items() if self._looked.is_out_of_sight(path)))
        for done, entry in enumerate(self._others):
            progress("Reading files", done, len(self._others))
            path = entry.path
            try:
                if entry.reason:
                    raise ReaderError(entry.reason)
                self._read(path)
            except ReaderError as error:
                stays = " The version from before stays in use." if path in before else ""
                found.failed.append(Failure(path, _sentence(error.message) + stays))
                found.kept |= before.get(path, set())
        progress("Reading files", len(self._others), len(self._others))
        return found

    def _read(self, path: str) -> None:
        found = self._found
        content, stamp = folders.read_stamped(self._directory, path)
        digest = hashlib.sha256(READING.encode() + content).hexdigest()
        note = FileNote(digest, self._stems.of(path, digest), _stamp(stamp))
        noted = self._known.get(path)
        if noted is not None and noted.digest == digest and path in self._before and path not in self._asked:
            found.kept |= self._before[path]
            if note != noted:
                found.notes[path] = note
        else:
            reading = self._jail.read(SourceFile(path, content))
            if (doubt := reading.doubt()) and path not in self._wish.confirm:
                how = f"frontdesk knowledge sync {shlex.quote(str(self._directory))} --confirm {shlex.quote(path)}"
                raise ReaderError(f"{doubt}. Look at it, and if it may be published, type ({how})")
            _take_in(found, [normal(_with_stem(one, path, note.stem)) for one in reading.documents])
            found.remarks += [f"{path}: {remark}." for remark in reading.remarks()]
            found.notes[path] = note


def _in_order(entry: folders.Entry) -> list[tuple[bool, str]]:
    """The order in which a folder is walked: its files before those of the folders in it."""
    *above, name = entry.path.split("/")
    return [*((True, part) for part in above), (False, name)]


def _stamp(stamp: str) -> str:
    """A file's stamp as it is noted: it has to be read anew when readers make something else of the same bytes."""
    return f"{READING} {stamp}" if stamp else ""


class _Stems:
    """What the ids of a file's documents begin with: its own path, or that of the file that it was before it was renamed."""

    def __init__(self, known: Mapping[str, FileNote], gone: frozenset[str]) -> None:
        self._known = known
        self._gone: dict[str, list[str]] = {}
        for path in sorted(gone):
            self._gone.setdefault(known[path].digest, []).append(path)

    def of(self, path: str, digest: str) -> str:
        if path in self._known:
            return self._known[path].stem
        # Renamed: the same bytes, which are nowhere else any more.
        if earlier := self._gone.get(digest):
            return self._known[earlier.pop(0)].stem
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
        library: Library,
        placed: Mapping[str, Placed],
        reading: _Reading,
        wish: Wish,
    ) -> None:
        self._origin, self._directory, self._library = origin, directory, library
        self._placed, self._reading, self._wish = placed, reading, wish
        self._there = set(reading.kept)
        self._write: list[NewRevision] = []
        self._move: list[Move] = []
        self._kept: list[Kept] = []
        self._added = self._changed = 0
        self._unchanged = sum(1 for one in self._there if placed[one].state == "published")

    def plan(self) -> Plan:
        stored = self._library.newest_of(self._reading.documents)
        for document in self._reading.documents.values():
            old = stored.get(document.id)
            if (conflict := self._conflict(document, old)) is not None:
                self._reading.failed.append(Failure(document.source, conflict))
                self._reading.read_again(document.source)
                continue
            self._there.add(document.id)
            self._compare(document, old)
        retire = self._retire()
        changes = Changes(
            author=self._wish.author or BY_SYNC,
            why=self._wish.why,
            write=self._write,
            retire=retire,
            move=self._move,
            files=FolderFiles(self._origin.place, self._reading.notes, self._reading.gone),
        )
        failed = sorted(self._reading.failed, key=lambda failure: failure.file)
        same = self._same(retire)
        return Plan(
            changes, self._added, self._changed, self._unchanged, failed, self._kept, self._reading.remarks, same
        )

    def _retire(self) -> frozenset[str]:
        """The documents whose files are gone, but for those that a person has had the last word on: they are told."""
        gone = {one for one, its in self._placed.items() if one not in self._there and its.state != "retired"}
        edited = {one for one in gone if self._placed[one].by_hand and not self._wish.takes(one)}
        for document_id, one in self._library.newest_of(edited).items():
            self._keep(
                one,
                f"Its file is gone, but it was {what_was_done(one)}",
                f"knowledge retire {shlex.quote(document_id)}",
            )
        return frozenset(gone - edited)

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
                self._reading.read_again(document.source)
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

    def _conflict(self, document: Document, old: Stored | None) -> str | None:
        """Why `document` may not have its id: an unchanged file has it, or a document that does not come from this folder."""
        if document.id in self._there:
            return f"Its id {document.id!r} is already that of another file; give one of them an id of its own."
        if old is None or old.origin == self._origin or self._wish.takes(document.id):
            return None
        if old.origin.kind != "folder":
            if old.state == "retired":
                return None
            return f"Its id {document.id!r} is already that of a document that did not come from a folder."
        other = Path(old.origin.place, old.document.source)
        if old.state != "retired" and other.exists():
            return f"Its id {document.id!r} is already that of {other}; give one of them an id of its own."
        return None

    def _same(self, retire: frozenset[str]) -> list[tuple[str, str]]:
        """New documents that say, to the same people, what another one says."""
        hashes = {text_hash(one.document.text) for one in self._write}
        said = {which: other for other, which in self._library.said(hashes) if other not in retire}
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
