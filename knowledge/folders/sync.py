"""Bringing a folder into the library: what is new, changed, gone or unreadable. Blocks; decides, writes nothing.

What a person has edited or retired is not overruled by a folder: it stays, and the report says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from knowledge.documents import Document, Origin, Stored
from knowledge.errors import FolderError
from knowledge.folders.reading import Failure, FolderReader, Found, Looked, Progress, Round, Wish
from knowledge.library import Library
from knowledge.library.erasing import Forbidden
from knowledge.library.publishing import Changes, FolderFiles, Move, NewRevision, content_hash, text_hash
from knowledge.passages import split
from knowledge.readers import Reader
from knowledge.readers.jail import Jail

BY_SYNC = "sync"
"""The author of what a sync writes, when nobody is named."""


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
    later: int = 0
    """How many files were put off because they may take long."""

    def followed_by(self, rest: Plan) -> Plan:
        """Both of them: this one, and the one for the files that it put off."""
        return replace(
            rest,
            changes=replace(rest.changes, retire=self.changes.retire | rest.changes.retire),
            added=self.added + rest.added,
            changed=self.changed + rest.changed,
            unchanged=max(0, rest.unchanged - self.added - self.changed),
            notes=[*self.notes, *rest.notes],
            same=[*self.same, *rest.same],
        )


def plan(
    directory: Path,
    library: Library,
    readers: Mapping[str, Reader],
    progress: Progress,
    wish: Wish,
    reading: Round | None = None,
) -> Plan:
    """Read `directory` and compare it with the library.

    Files that have not changed are not read again. A file that was readable and no longer is keeps the version it had. One
    that reads like instructions to a machine goes in only when that is confirmed. Raises `FolderError` when the folder is
    missing or, unless `allow_empty`, holds no document at all.
    """
    origin = Origin("folder", str(directory.resolve()))
    how = reading or Round()
    with Jail(readers, how.limits) as jail:
        looked = Looked.at(directory, library.stamps_of(origin.place), jail)
        # After that: what is taken for unchanged has been so since.
        placed = library.placed(origin)
        found = FolderReader(directory, origin.place, library, looked, placed, jail, wish, how).read(progress)
    if not found.candidates and not wish.allow_empty:
        endings = " ".join(sorted(readers))
        raise FolderError(
            f"{directory} holds no document that frontdesk can read ({endings}). Nothing was changed.",
            f"To remove all that came from it: frontdesk knowledge sync {directory} --allow-empty",
        )
    return _Comparison(origin, directory, library, found, wish).plan()


class _Comparison:
    """A folder as it was read, beside what the library has: what is to be written, what is to stay."""

    def __init__(
        self,
        origin: Origin,
        directory: Path,
        library: Library,
        reading: Found,
        wish: Wish,
    ) -> None:
        self._origin, self._directory, self._library = origin, directory, library
        self._reading, self._wish = reading, wish
        self._there = set(reading.kept)
        self._write: list[NewRevision] = []
        self._move: list[Move] = []
        self._kept: list[Kept] = []
        self._added = self._changed = 0
        self._unchanged = reading.published
        self._unchanged += sum(1 for one in self._there if reading.placed[one].state == "published")

    def plan(self) -> Plan:
        stored = self._library.newest_of(self._reading.documents)
        forbidden = Forbidden(self._library.erasures(), stored) if self._reading.documents else Forbidden(())
        for document in self._reading.documents.values():
            old = stored.get(document.id)
            if (conflict := self._conflict(document, old)) is not None:
                self._reading.failed.append(Failure(document.source, conflict))
                self._reading.read_again(document.source)
                continue
            if self._is_erased(document, forbidden):
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
            changes,
            self._added,
            self._changed,
            self._unchanged,
            failed,
            self._kept,
            self._reading.remarks,
            same,
            len(self._reading.later),
        )

    def _retire(self) -> frozenset[str]:
        """The documents whose files are gone, but for those that a person has had the last word on: they are told."""
        if self._reading.is_part:
            return frozenset()
        placed = self._reading.placed
        gone = {one for one, its in placed.items() if one not in self._there and its.state != "retired"}
        edited = {one for one in gone if placed[one].by_hand and not self._wish.takes(one)}
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

    def _is_erased(self, document: Document, forbidden: Forbidden) -> bool:
        """Whether it was erased, and is not asked for by name. It is read, and told, each time until its file is gone."""
        why = forbidden.reason(document, self._origin)
        if not why or self._wish.takes(document.id):
            return False
        self._reading.read_again(document.source)
        again = f"frontdesk knowledge sync {shlex.quote(str(self._directory))} --take {shlex.quote(document.id)}"
        reason = f"{why}, and its file is still there. Delete the file. To take it in all the same: {again}"
        self._kept.append(Kept(document.id, document.source, reason))
        return True

    def _conflict(self, document: Document, old: Stored | None) -> str | None:
        """Why `document` may not have its id: an unchanged file has it, or a document that does not come from this folder."""
        if document.id in self._there or (old is not None and self._is_unchanged(old)):
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

    def _is_unchanged(self, old: Stored) -> bool:
        """Whether a document is that of a file that stays as it is."""
        is_there = old.state != "retired" or old.by_hand
        return old.origin == self._origin and old.document.source in self._reading.unchanged and is_there

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
