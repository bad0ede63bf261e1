"""`frontdesk knowledge add | edit | publish | retire | restore`: what staff do to documents."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from rich.console import Console

from connectors.commands.knowledge.opened import (
    Signature,
    bring_up,
    document_json,
    opened,
    print_json,
    say,
    tell,
    typed,
)
from connectors.commands.options import Options
from knowledge import article
from knowledge.base import KnowledgeBase
from knowledge.documents import Document, Origin, Stored
from knowledge.errors import ConflictError, FrontdeskError, KnowledgeError, ReaderError, unknown_document
from knowledge.readers import Reading
from knowledge.readers.encoding import decode


@dataclass(frozen=True, slots=True)
class Fields:
    """What is said about a document on the command line; `None` or empty: as it is."""

    id: str | None = None
    title: str | None = None
    audience: str | None = None
    review_by: date | None = None
    tags: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether anything is."""
        return self != Fields()

    def applied(self, document: Document) -> Document:
        """The document with it."""
        return replace(
            document,
            id=self.id or document.id,
            title=self.title or document.title,
            audience=self.audience or document.audience,
            review_by=self.review_by or document.review_by,
            tags=self.tags or document.tags,
        )


async def add(
    options: Options,
    files: Sequence[Path],
    fields: Fields,
    signature: Signature,
    *,
    publish: bool,
    confirmed: bool,
    twins: bool,
    as_json: bool,
) -> None:
    """Take in files, as drafts or published; all or none."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge:
        readings = [(file, await _read(knowledge, file)) for file in files]
        documents = [fields.applied(document) for _, reading in readings for document in reading.documents]
        if fields.id and len(documents) > 1:
            raise KnowledgeError(f"--id names one document, and there are {len(documents)}.", "Leave --id out.")
        act = signature.act(publish=publish, confirmed=confirmed)
        place = ", ".join(file.name for file in files)
        kept = await knowledge.add(documents, act, Origin("upload", place), twins=twins)
        live = await bring_up(knowledge, errors) if publish else False
    for file, reading in readings:
        tell(errors, [f"{file.name}: {remark}." for remark in reading.remarks()])
        if (doubt := reading.doubt()) and not publish:
            tell(errors, [f"{file.name}: {doubt}. Publishing it takes --confirm."])
    tell_added(kept, live=live, as_json=as_json)


async def _read(knowledge: KnowledgeBase, file: Path) -> Reading:
    if await asyncio.to_thread(file.is_dir):
        raise KnowledgeError(f"{file} is a folder.", f"Bring it in with: {_command('sync', str(file))}")
    try:
        return await knowledge.read_file(file)
    except ReaderError as error:
        raise KnowledgeError(f"{file} was not added: {error.message}.") from error


def tell_added(kept: Sequence[Stored], *, live: bool, as_json: bool) -> None:
    """What was taken in, and what to type next."""
    if as_json:
        print_json({"documents": [document_json(one) for one in kept]})
        return
    for one in kept:
        what = "Published" if one.state == "published" else "Added the draft"
        say(f"{what} {one.document.id}: {one.document.title!r}, for {one.document.audience}.")
    if kept and kept[0].state == "draft":
        names = [one.document.id for one in kept[:5]] if len(kept) <= 5 else ["--all"]
        say(f"Customers do not see {'it' if len(kept) == 1 else 'them'} yet. To publish: {_command('publish', *names)}")
    elif live:
        say("It is in answers from now on." if len(kept) == 1 else "They are in answers from now on.")


async def edit(
    options: Options,
    document_id: str,
    file: Path | None,
    fields: Fields,
    signature: Signature,
    *,
    base: int | None,
    publish: bool,
    confirmed: bool,
    as_json: bool,
) -> None:
    """Change a document: in an editor, by a file, or by what is said about it on the command line."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge:
        old = await _newest(knowledge, document_id)
        text = _text_of(file) if file is not None else None
        if text is None and not fields.given and (text := _in_editor(old)) is None:
            say("Nothing was changed.")
            return
        try:
            found = article.edited(text, old.document) if text is not None else article.Article(old.document, None)
            made_from = base or found.revision or old.latest
            act = signature.act(publish=publish, confirmed=confirmed)
            kept = await knowledge.edit(fields.applied(found.document), made_from, act)
        except FrontdeskError as error:
            raise _with_text_kept(error, document_id, text, file, await _newest(knowledge, document_id)) from error
        if kept is None and publish and (old.state != "published" or old.has_draft):
            (kept,) = await knowledge.publish([document_id], act)
        live = await bring_up(knowledge, errors) if publish and kept is not None else False
    if as_json:
        print_json({"document": document_json(kept or old), "changed": kept is not None})
    elif kept is None:
        say("Nothing was changed.")
    else:
        _tell_written(kept, live=live)


async def _newest(knowledge: KnowledgeBase, document_id: str) -> Stored:
    found = await knowledge.newest(document_id)
    if found is None:
        raise unknown_document(document_id)
    return found


def _text_of(file: Path) -> str:
    try:
        return decode(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    except OSError as error:
        raise KnowledgeError(f"{file} cannot be read: {error.strerror or error}.") from error
    except ReaderError as error:
        raise KnowledgeError(f"{file} cannot be read: {error.message}.") from error


def _in_editor(old: Stored) -> str | None:
    """The text after a person has edited it; `None` when it was left as it was."""
    import click

    if not sys.stdin.isatty():
        raise KnowledgeError(
            "There is no terminal to edit on.",
            f"Give the new text in a file, or by a pipe: {_command('edit', old.document.id, '--file', '-')}",
        )
    before = article.written(old.document, old.latest)
    after = click.edit(before, extension=".md", require_save=False)
    return None if after is None or after == before else after


def _with_text_kept(
    error: FrontdeskError, document_id: str, text: str | None, file: Path | None, newest: Stored
) -> FrontdeskError:
    """The error, after what was typed was put where it can be found again."""
    if isinstance(error, ReaderError):
        error = KnowledgeError(f"It was not kept: {error.message}.")
    if text is None:
        return error
    kept = str(file)
    if file is None or kept == "-":
        handle, kept = tempfile.mkstemp(".md", "frontdesk-edit-")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as keeping:
            keeping.write(text)
    if isinstance(error, ConflictError):
        again = _command("edit", document_id, "--file", kept, "--base", str(newest.latest))
        hint = f"Your text is in {kept}. Bring the two together there, then: {again}"
    else:
        hint = f"Your text is in {kept}. Mend it there, then: {_command('edit', document_id, '--file', kept)}"
    return type(error)(error.message, f"{error.hint}\n{hint}".strip())


def _tell_written(kept: Stored, *, live: bool) -> None:
    name = kept.document.id
    if kept.published == kept.revision and kept.state == "published":
        say(f"Published revision {kept.revision} of {name}." + (" It is in answers from now on." if live else ""))
        return
    seen = {
        "published": f"Customers see revision {kept.published}.",
        "retired": "The document is retired; customers do not see it.",
        "draft": "Customers do not see it yet.",
    }[kept.state]
    say(f"Kept as revision {kept.revision} of {name}, a draft. {seen}")
    say(f"See what it changes: {_command('diff', name)}   To publish it: {_command('publish', name)}", "dim")


async def publish(
    options: Options,
    document_ids: Sequence[str],
    signature: Signature,
    *,
    revision: int | None,
    everything: bool,
    confirmed: bool,
    as_json: bool,
) -> None:
    """Let customers see drafts."""
    async with opened(options) as knowledge:
        ids = list(document_ids)
        if everything:
            ids += [
                one.document.id
                for one in await knowledge.all_documents()
                if one.state != "retired" and one.has_draft and one.is_new
            ]
        changed = await knowledge.publish(ids, signature.act(publish=True, confirmed=confirmed), revision)
        live = await bring_up(knowledge, Console(stderr=True)) if changed else False
    if as_json:
        print_json({"documents": [document_json(one) for one in changed]})
        return
    for one in changed:
        say(
            f"Published revision {one.revision} of {one.document.id}: {one.document.title!r}, for {one.document.audience}."
        )
    if not changed:
        say("There is no draft to publish." if everything else "That is published already.")
    elif live:
        say("It is in answers from now on." if len(changed) == 1 else "They are in answers from now on.")


async def retire(options: Options, document_ids: Sequence[str], signature: Signature, *, as_json: bool) -> None:
    """Take documents out of all answers."""
    async with opened(options) as knowledge:
        gone = await knowledge.retire(document_ids, signature.act())
        # They are out of answers already; this only takes them out of the index, too.
        if gone:
            await bring_up(knowledge, Console(stderr=True))
    if as_json:
        print_json({"documents": [document_json(one) for one in gone]})
        return
    for one in gone:
        say(f"Retired {one.document.id}. It is gone from answers, also from those that are being written.")
    if not gone:
        say("That is retired already.")
    else:
        say(f"To bring it back: {_command('publish', *[one.document.id for one in gone[:5]])}", "dim")


async def restore(
    options: Options,
    document_id: str,
    revision: int,
    signature: Signature,
    *,
    publish: bool,
    confirmed: bool,
    as_json: bool,
) -> None:
    """Make the text of an earlier revision the newest one."""
    async with opened(options) as knowledge:
        act = signature.act(publish=publish, confirmed=confirmed)
        kept = await knowledge.restore(document_id, revision, act)
        if kept is None and publish:
            kept = next(iter(await knowledge.publish([document_id], act)), None)
        live = await bring_up(knowledge, Console(stderr=True)) if publish and kept is not None else False
    if as_json:
        print_json({"document": document_json(kept) if kept is not None else None})
    elif kept is None:
        say(f"The newest text of {document_id} is that of revision {revision} already.")
    else:
        _tell_written(kept, live=live)


def _command(verb: str, *words: str) -> str:
    return typed("knowledge", verb, *words)
