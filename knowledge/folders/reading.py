"""Reading a folder for a sync: files that are as they were noted are left alone, the others are read. Blocks; writes nothing."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from knowledge.article import normal
from knowledge.documents import Document
from knowledge.errors import ReaderError, TooSlow
from knowledge.folders import walk as folders
from knowledge.library import Library
from knowledge.library.kept_folders import Placed
from knowledge.library.publishing import FileNote
from knowledge.readers import Reading, SourceFile
from knowledge.readers.jail import Jail, Limits

READING = "3"
"""Raise it when readers or the splitter change what they make of a file: every file is then read anew."""
LARGE = 1024 * 1024
"""Bytes of a file that may take longer to read than others should have to wait."""
REFUSED_SECONDS = 3600.0
"""How long a file that could not be read is not tried again, as long as it does not change."""

Progress = Callable[[str, int, int], None]
"""Told how far long work is: what is being done, how many are done, how many there are."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that did not go in, by its path in the folder, and the reason in one plain sentence."""

    file: str
    reason: str


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


class Refused:
    """Files that could not be read, and why, so that they do not cost the same again at every sync of one process."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], tuple[float, str]] = {}

    def note(self, path: str, digest: str, reason: str) -> None:
        """The file at this path with these bytes cannot be read."""
        self._reasons[path, digest] = time.monotonic(), reason

    def reason(self, path: str, digest: str) -> str:
        """Why not; empty when it is to be tried (again)."""
        at, reason = self._reasons.get((path, digest), (0.0, ""))
        return reason if time.monotonic() - at < REFUSED_SECONDS else ""


@dataclass(frozen=True, slots=True)
class Round:
    """How files are read: `in_a_hurry` those that may take long are put off, so that the others need not wait for them."""

    in_a_hurry: bool = False
    refused: Refused = field(default_factory=Refused)
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class Found:
    """The files of the folder as they were read."""

    documents: dict[str, Document] = field(default_factory=dict)
    unchanged: set[str] = field(default_factory=set)
    """Paths of files whose documents stay as they are."""
    published: int = 0
    """How many documents of theirs customers see."""
    placed: dict[str, Placed] = field(default_factory=dict)
    """The documents of all other files from before, by id."""
    kept: set[str] = field(default_factory=set)
    """Ids of those of them that stay as they are: their files have the bytes they had, or cannot be read now."""
    notes: dict[str, FileNote] = field(default_factory=dict)
    """What is to be noted of the files that were read."""
    gone: frozenset[str] = frozenset()
    failed: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    candidates: int = 0
    later: list[str] = field(default_factory=list)
    """Paths of files that are put off."""
    is_part: bool = False
    """Whether what is gone may be in a file that is put off."""

    def read_again(self, path: str) -> None:
        """Have this file read, and told, the next time as well. What its ids begin with stays noted."""
        if (note := self.notes.get(path)) is not None:
            self.notes[path] = FileNote("", note.stem, "")


@dataclass(slots=True)
class Looked:
    """The files of a folder as they are found: the paths of those that are as they were noted, and the other files.

    `noted` are the paths of which something is noted.
    """

    noted: Set[str]
    unchanged: set[str] = field(default_factory=set)
    others: list[folders.Entry] = field(default_factory=list)

    @classmethod
    def at(cls, directory: Path, stamps: Mapping[str, str], jail: Jail) -> Looked:
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


class FolderReader:
    """Reads what is new or changed in a folder."""

    def __init__(
        self,
        directory: Path,
        place: str,
        library: Library,
        looked: Looked,
        placed: Sequence[Any],
        jail: Jail,
        wish: Wish,
        how: Round,
    ) -> None:
        self._directory, self._looked, self._jail, self._wish, self._how = directory, looked, jail, wish, how
        self._found = Found(gone=looked.gone())
        self._asked: set[str] = set()
        """Paths of documents whose files are to have the last word."""
        if wish.take or wish.take_all:
            self._asked = {source for its, source, _, by_hand in placed if by_hand and wish.takes(its)}
        self._before: dict[str, set[str]] = {}
        """Ids of the documents of each path that is to be read."""
        unchanged = looked.unchanged - self._asked
        without = set(looked.unchanged)
        for its, source, state, by_hand in placed:
            # What a sync retired is not there for it: its file was gone.
            is_there = state != "retired" or by_hand
            if source not in unchanged:
                self._found.placed[its] = Placed(its, source, state, by_hand)
                if is_there:
                    self._before.setdefault(source, set()).add(its)
            elif is_there:
                without.discard(source)
                self._found.published += state == "published"
        self._found.unchanged = unchanged - without
        self._others = sorted([*looked.others, *map(folders.Entry, without)], key=_in_order)
        told = self._found.gone.union(entry.path for entry in self._others)
        self._known = library.files_of(place, told & looked.noted)
        self._stems = _Stems(self._known, self._found.gone)

    def read(self, progress: Progress) -> Found:
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
                found.kept |= before.get(path, set())
                if self._how.in_a_hurry and isinstance(error, TooSlow):
                    found.later.append(path)
                    continue
                stays = " The version from before stays in use." if path in before else ""
                found.failed.append(Failure(path, _sentence(error.message) + stays))
        progress("Reading files", len(self._others), len(self._others))
        if any(path not in self._known for path in found.later):
            # It may be one of those that are gone, under another name.
            found.is_part, found.gone = True, frozenset()
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
            reading = self._read_in_jail(SourceFile(path, content), digest)
            if (doubt := reading.doubt()) and path not in self._wish.confirm:
                how = f"frontdesk knowledge sync {shlex.quote(str(self._directory))} --confirm {shlex.quote(path)}"
                raise ReaderError(f"{doubt}. Look at it, and if it may be published, type ({how})")
            _take_in(found, [normal(_with_stem(one, path, note.stem)) for one in reading.documents])
            found.remarks += [f"{path}: {remark}." for remark in reading.remarks()]
            found.notes[path] = note

    def _read_in_jail(self, file: SourceFile, digest: str) -> Reading:
        how = self._how
        if reason := how.refused.reason(file.path, digest):
            raise ReaderError(reason)
        if how.in_a_hurry and len(file.content) > LARGE:
            raise TooSlow("it may take long")
        try:
            return self._jail.read(file, in_a_hurry=how.in_a_hurry)
        except ReaderError as error:
            if not (how.in_a_hurry and isinstance(error, TooSlow)):
                how.refused.note(file.path, digest, error.message)
            raise


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


def _take_in(reading: Found, documents: Sequence[Document]) -> None:
    for document in documents:
        if (other := reading.documents.get(document.id)) is not None:
            raise ReaderError(
                f"its id {document.id!r} is already that of {other.source}; give one of them an id of its own"
            )
    for document in documents:
        reading.documents[document.id] = document


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith((".", "?", "!")) else ".")
