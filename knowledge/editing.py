r"""What staff do to documents: write, publish, retire, bring back, and look at what was done by whom, when and why.

    add, edit, restore --> a draft --> publish --> published --> retire --> retired --> publish --> ...
                     \_________________________/^              erase --> nothing is left

Each verb is one transaction. What is retired is gone from answers when it returns; what is published is in them as soon as an
index of its edition is in use (`KnowledgeBase.bring_up`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from knowledge import exchange
from knowledge.article import Article, normal
from knowledge.documents import Document, Erasure, Event, Origin, Passage, Stored, Way
from knowledge.errors import ConflictError, KnowledgeError, ReaderError, unknown_document
from knowledge.folders import walk as folders
from knowledge.folders.reading import Failure
from knowledge.library import Library
from knowledge.library.erasing import Erased, Forbidden
from knowledge.library.publishing import Changes, NewRevision, ToPublish, content_hash, cut, text_hash
from knowledge.readers import Reader, Reading, SourceFile
from knowledge.readers.instructions import find_instructions
from knowledge.readers.jail import Jail


@dataclass(frozen=True, slots=True)
class Act:
    """Who does it and why; whether customers are to see it at once.

    `confirmed`: that the text reads like instructions to a machine was seen, and it may be published.
    """

    author: str
    why: str = ""
    publish: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. The counts are of documents; `failed` are files that did not go in, with the reasons."""

    added: int
    changed: int
    unchanged: int
    failed: tuple[Failure, ...]


class Editing:
    """The verbs of staff. Every one raises `StoreError` when the database cannot be used."""

    def _open_library(self) -> Library:
        raise NotImplementedError

    def _load_readers(self) -> Mapping[str, Reader]:
        raise NotImplementedError

    async def all_documents(self) -> list[Stored]:
        """Every document, also drafts and retired ones, as its newest revision; by id, without their text."""
        library = await asyncio.to_thread(self._open_library)
        return list((await asyncio.to_thread(library.stored, newest=True)).values())

    async def document(self, document_id: str, revision: int | None = None) -> Stored | None:
        """One document with its text: as this revision, else as it is published, else as its newest one.

        `None` if there is none of this id, or none of this revision.
        """
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.document, document_id, revision)

    async def newest(self, document_id: str) -> Stored | None:
        """One document as its newest revision, with its text; `None` if there is none of this id."""
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.newest, document_id)

    async def read_file(self, file: Path) -> Reading:
        """What a file says, read in a child process; nothing is kept. Raises `ReaderError` with one plain sentence."""
        return await asyncio.to_thread(self._read_file, file)

    def _read_file(self, file: Path) -> Reading:
        with Jail(self._load_readers()) as jail:
            if reason := folders.reason_not_to_read(file, file.resolve().parent, jail.suffixes):
                raise ReaderError(reason)
            return jail.read(SourceFile(file.name, folders.read(file.parent, file.name)))

    async def add(
        self, documents: Sequence[Document], act: Act, origin: Origin, *, way: Way = "upload", twins: bool = False
    ) -> list[Stored]:
        """Take in new documents, all or none. Returns them as they are kept.

        Raises `ConflictError` for an id that is taken, and `KnowledgeError` for one that says the same as another document
        (unless `twins` are wanted), that has no text, or that needs a confirmation.
        """
        return await asyncio.to_thread(self._add, documents, act, origin, way, twins)

    async def edit(self, document: Document, base: int, act: Act, *, way: Way = "edit") -> Stored | None:
        """Keep this as the newest text of a document, made from its revision `base`. `None` when nothing is different.

        Raises `ConflictError`, which says who did what and when, if there is a newer revision than `base`.
        """
        return await asyncio.to_thread(self._edit, document, base, act, way)

    async def publish(self, document_ids: Iterable[str], act: Act, revision: int | None = None) -> list[Stored]:
        """Let customers see the newest revision of these documents, or this one. Returns those that have changed by it.

        A retired document is back as it was, unless somebody has written a newer text since. All or none are published.
        """
        return await asyncio.to_thread(self._publish, list(dict.fromkeys(document_ids)), act, revision)

    async def retire(self, document_ids: Iterable[str], act: Act) -> list[Stored]:
        """Take documents out of all answers, at once. Returns those that customers could see until now."""
        return await asyncio.to_thread(self._retire, list(dict.fromkeys(document_ids)), act)

    async def erase(
        self, document_ids: Iterable[str], act: Act, *, before_newest: bool = False
    ) -> tuple[list[Erased], str]:
        """Erase documents for good, with all that they ever said; with `before_newest` all that they said before.

        Customers see nothing of it when it returns. Have the index built (`KnowledgeBase.bring_up`), and no index holds
        anything of it any more. Returns what was erased, and why the database's files still do, if so.
        """
        ids = list(dict.fromkeys(document_ids))
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.erase, ids, act.author, act.why, before_newest=before_newest)

    async def erasures(self) -> list[Erasure]:
        """Which documents were erased, by whom, when and why; oldest first."""
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.erasures)

    async def restore(self, document_id: str, revision: int, act: Act) -> Stored | None:
        """Make the text of an earlier revision the newest one, as a new revision. `None` when it is that already."""
        return await asyncio.to_thread(self._restore, document_id, revision, act)

    async def history(self, document_id: str) -> list[Event]:
        """What was done to a document, by whom, when and why; oldest first."""
        library = await asyncio.to_thread(self._open_library)
        found = await asyncio.to_thread(library.history, document_id)
        if not found:
            raise unknown_document(document_id)
        return found

    async def stale(self, within_days: int = 0, today: date | None = None) -> list[Stored]:
        """The published documents that are to be reviewed by then, the longest overdue first, without their text."""
        day = (today or datetime.now(UTC).date()) + timedelta(days=within_days)
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.due, day)

    async def export_to(self, folder: Path, *, drafts: bool = False) -> tuple[int, int]:
        """Write what is published into a folder, a Markdown file for each; with `drafts` the newest texts, published or not.

        Returns how many were written, and how many files of an earlier export were removed. Raises `FolderError`.
        """
        return await asyncio.to_thread(self._export, folder, drafts)

    async def import_from(self, folder: Path, act: Act) -> Imported:
        """Take in the Markdown files of a folder. A file that says what the library has changes nothing.

        A file that tells which revision it was made from does not replace a newer one. Raises `FolderError`.
        """
        return await asyncio.to_thread(self._import, folder, act)

    # In a thread -----------------------------------------------------------------------------------------------------

    def _add(self, documents: Sequence[Document], act: Act, origin: Origin, way: Way, twins: bool) -> list[Stored]:
        library = self._open_library()
        write = []
        for one in documents:
            document = _normal(one)
            if (old := library.document(document.id)) is not None:
                raise _taken(old)
            if not twins and (why_not := Forbidden(library.erasures()).reason(document, origin)):
                raise KnowledgeError(f"{why_not}; it was not added.", "To add it all the same: --anyway")
            if not twins and (same := library.saying(text_hash(document.text), document.audience)):
                raise KnowledgeError(
                    f"{document.title!r} says the same as {same[0]!r}; it was not added.",
                    f"Look at it: frontdesk knowledge show {same[0]}   To add it all the same: --anyway",
                )
            live = _live(document, act, None)
            write.append(NewRevision(document, 0, way, live, origin, taken=origin.kind == "page"))
        library.publish(Changes(act.author, act.why, write, by_hand=True))
        return [_found(library, one.document.id, 1) for one in write]

    def _edit(self, document: Document, base: int, act: Act, way: Way) -> Stored | None:
        library = self._open_library()
        document = _normal(document)
        old = library.document(document.id, base)
        if old is None:
            raise (
                unknown_document(document.id)
                if library.document(document.id) is None
                else _no_revision(document.id, base)
            )
        document = replace(document, source=old.document.source)
        if content_hash(document) == old.content_hash and base == old.latest:
            return None
        if (
            document.updated is not None
            and document.updated == old.document.updated
            and document.text != old.document.text
        ):
            # It is what customers are told, and nobody remembers to change it.
            document = replace(document, updated=datetime.now(UTC).date())
        number = _write(library, document, base, act, way)
        return _found(library, document.id, number)

    def _publish(self, ids: Sequence[str], act: Act, revision: int | None) -> list[Stored]:
        library = self._open_library()
        changed = []
        for one in ids:
            newest = library.newest(one)
            if newest is None:
                raise unknown_document(one)
            number = _to_publish(newest) if revision is None else revision
            if newest.state == "published" and newest.published == number:
                continue
            stored = library.document(one, number)
            if stored is None:
                raise _no_revision(one, number)
            changed.append(stored)
        publish = []
        for stored in changed:
            try:
                live = _live(stored.document, replace(act, publish=True), library) or ()
            except KnowledgeError as error:
                others = " Nothing was published." if len(changed) > 1 else ""
                raise KnowledgeError(error.message + others, error.hint) from error
            publish.append(ToPublish(stored.document.id, stored.revision, live))
        if publish:
            library.publish(Changes(act.author, act.why, publish=publish, by_hand=True))
        return [_found(library, one.document.id, one.revision) for one in changed]

    def _retire(self, ids: Sequence[str], act: Act) -> list[Stored]:
        library = self._open_library()
        found = [(one, library.newest(one)) for one in ids]
        for name, one in found:
            if one is None:
                raise unknown_document(name)
        shown = [one for _, one in found if one is not None and one.state != "retired"]
        if shown:
            gone = frozenset(one.document.id for one in shown)
            library.publish(Changes(act.author, act.why, retire=gone, by_hand=True))
        return shown

    def _restore(self, document_id: str, revision: int, act: Act) -> Stored | None:
        library = self._open_library()
        newest = library.newest(document_id)
        if newest is None:
            raise unknown_document(document_id)
        old = library.document(document_id, revision)
        if old is None:
            raise _no_revision(document_id, revision)
        if old.content_hash == newest.content_hash:
            return None
        why = act.why or f"back to revision {revision}"
        number = _write(library, old.document, newest.latest, replace(act, why=why), "restore")
        return _found(library, document_id, number)

    def _export(self, folder: Path, drafts: bool) -> tuple[int, int]:
        stored = self._open_library().stored(newest=drafts, text=True).values()
        return exchange.write([one for one in stored if one.state != "retired"], folder)

    def _import(self, folder: Path, act: Act) -> Imported:
        library = self._open_library()
        found = exchange.read(folder)
        failed = list(found.failed)
        write: list[NewRevision] = []
        publish: list[ToPublish] = []
        unchanged = 0
        origin = Origin("upload", folder.name)
        forbidden = Forbidden(library.erasures())
        for path, one in found.articles:
            old = library.newest(one.document.id)
            try:
                if old is None:
                    if why_not := forbidden.reason(one.document, origin):
                        raise KnowledgeError(
                            f"{why_not}.", "To take it in all the same: frontdesk knowledge add --anyway"
                        )
                    write.append(NewRevision(one.document, 0, "import", _live(one.document, act, library), origin))
                elif content_hash(one.document) != old.content_hash:
                    _refuse_older(one, old)
                    document = replace(one.document, source=old.document.source)
                    write.append(NewRevision(document, old.latest, "import", _live(document, act, library)))
                elif act.publish and (old.state != "published" or old.has_draft):
                    live = _live(old.document, act, library) or ()
                    publish.append(ToPublish(old.document.id, old.latest, live))
                else:
                    unchanged += 1
            except KnowledgeError as error:
                failed.append(Failure(path, str(error).replace("\n", " ")))
        if write or publish:
            library.publish(Changes(act.author, act.why, write, publish, by_hand=True))
        added = sum(1 for one in write if not one.base)
        return Imported(added, len(write) - added + len(publish), unchanged, tuple(failed))


def _refuse_older(found: Article, old: Stored) -> None:
    if found.revision is not None and found.revision != old.latest:
        raise ConflictError(
            f"It was made from revision {found.revision}, but {old.author} wrote revision {old.latest} on "
            f"{old.at:%Y-%m-%d %H:%M} UTC.",
            f"To take it all the same, write revision: {old.latest} into the file.",
        )


def _write(library: Library, document: Document, base: int, act: Act, way: Way) -> int:
    revision = NewRevision(document, base, way, _live(document, act, library))
    library.publish(Changes(act.author, act.why, [revision], by_hand=True))
    return base + 1


def _live(document: Document, act: Act, library: Library | None) -> Sequence[Passage] | None:
    """The passages to show, if it is to be published. Raises `KnowledgeError` when somebody has to confirm it first."""
    if not act.publish:
        return None
    if not act.confirmed:
        known = library.document(document.id) if library is not None else None
        # What was published before was looked at then.
        shown = set(_paragraphs(known.document)) if known is not None and known.published is not None else set()
        unseen = "\n\n".join(one for one in _paragraphs(document) if one not in shown)
        new = find_instructions(unseen)
        if new:
            raise KnowledgeError(
                f"The text of {document.id!r} reads like instructions to a machine: {new[0]}. It was not published.",
                "If customers may see it all the same, add: --confirm",
            )
    return cut(document)


def _to_publish(newest: Stored) -> int:
    """The revision that publishing means when none is named."""
    written_since = newest.at >= newest.changed_at
    if newest.state == "retired" and newest.published is not None and not written_since:
        return newest.published
    return newest.latest


def _paragraphs(document: Document) -> list[str]:
    return [document.title, *document.text.split("\n\n")]


def _normal(document: Document) -> Document:
    try:
        return normal(document)
    except ReaderError as error:
        raise KnowledgeError(f"It was not kept: {error.message}.", "Give it some text, or retire it.") from error


def _found(library: Library, document_id: str, revision: int) -> Stored:
    found = library.document(document_id, revision)
    assert found is not None, "it was written a moment ago"
    return found


def _no_revision(document_id: str, revision: int) -> KnowledgeError:
    return KnowledgeError(
        f"The document {document_id!r} has no revision {revision}.",
        f"See which it has: frontdesk knowledge history {document_id}",
    )


def _taken(old: Stored) -> ConflictError:
    name = old.document.id
    what = f"There is a document {name!r} already ({old.document.title!r}, {old.state}, changed by {old.changed_by})."
    return ConflictError(
        what, f"To change it: frontdesk knowledge edit {name}   To add another, give it an id: --id NAME"
    )
