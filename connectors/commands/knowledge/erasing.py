"""`frontdesk knowledge erase`, and `list --erased`: what must not be kept at all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connectors.commands.knowledge.opened import Signature, bring_up, day_and_time, opened, out, print_json, say, tell
from connectors.commands.options import Options
from connectors.commands.records import ledger_of
from knowledge.base import KnowledgeBase
from knowledge.errors import KnowledgeError, unknown_document
from knowledge.library.erasing import Erased

_SHOWN = 10


async def erase(
    options: Options,
    document_ids: Sequence[str],
    signature: Signature,
    *,
    before_newest: bool,
    sure: bool,
    as_json: bool,
) -> int:
    """Erase documents, or what they said before, everywhere. Returns the exit status: 1 when something of them may be left."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge, ledger_of(options) as ledger:
        if not sure:
            await _ask(knowledge, document_ids, before_newest=before_newest)
        done, left = await knowledge.erase(document_ids, signature.act(), before_newest=before_newest)
        newest = {one.document: await knowledge.newest(one.document) for one in done}
        allowed = {name: found.document.text if found is not None else "" for name, found in newest.items()}
        answers = await ledger.erase_answers(allowed)
        whole = await bring_up(knowledge, errors) if done else True
    if left:
        tell(errors, [f"The database's files still hold it: {left}. To try again, type the same once more."])
    if not whole:
        tell(errors, ["The search index still holds words of it, until it is built: frontdesk knowledge rebuild"])
    if as_json:
        print_json(
            {"erased": [asdict(one) for one in done], "answers": list(answers.turns), "clean": not left and whole}
        )
    else:
        _tell(done, answers.turns, answers.conversations, before_newest=before_newest)
    return 0 if not left and whole else 1


async def _ask(knowledge: KnowledgeBase, document_ids: Sequence[str], *, before_newest: bool) -> None:
    for one in document_ids:
        newest = await knowledge.newest(one)
        if newest is None and any(gone.document == one for gone in await knowledge.erasures()):
            continue
        if newest is None:
            raise unknown_document(one)
        what = "what it said before" if before_newest else "with its history"
        say(f"{one}: {newest.document.title!r}, {what}")
    if not sys.stdin.isatty():
        raise KnowledgeError("There is no terminal to ask on. Nothing was erased.", "If you are sure, add: --yes")
    click.confirm("Erase this for good, and the answers that quote it? It cannot be brought back.", abort=True)


def _tell(done: Sequence[Erased], turns: Sequence[str], conversations: Sequence[str], *, before_newest: bool) -> None:
    for one in done:
        if not one.revisions and before_newest:
            say(f"{one.document} says nothing but its newest revision.")
            continue
        if not one.revisions:
            say(f"{one.document} was erased before. It was seen to once more that nothing of it is left.")
            continue
        what = f"what {one.document} said before revision {one.newest}" if before_newest else one.document
        say(f"Erased {what}. Nothing of it can be brought back.")
        file = Path(one.origin.place, one.source)
        if one.origin.kind == "folder" and not before_newest and file.exists():
            say(
                f"Its file is still there: {file}. It is not taken in again; delete it, and copies of it, yourself.",
                "yellow",
            )
        if one.origin.kind == "page" and not before_newest:
            say(f"Its page may still be there: {one.origin.place}. It is not taken in again.", "yellow")
    if turns:
        say(
            f"Erased {len(turns)} answers that quoted it. What was posted stays on the platform until somebody deletes it there:"
        )
        for conversation in conversations[:_SHOWN]:
            say(f"  {conversation}")
        if len(conversations) > _SHOWN:
            say(f"  and {len(conversations) - _SHOWN} more conversations")
    if any(one.revisions for one in done):
        say("Backups, exports and files of your own still hold what they held.", "dim")


async def list_erased(options: Options, *, as_json: bool) -> None:
    """List what was erased, by whom, when and why."""
    async with opened(options) as knowledge:
        gone = await knowledge.erasures()
    if as_json:
        rows = [{"id": one.document, "author": one.author, "at": one.at, "why": one.why} for one in gone]
        print_json({"erased": rows})
    elif not gone:
        say("No document was erased.")
    elif not sys.stdout.isatty():
        for one in gone:
            print("\t".join((one.at.isoformat(), one.author, one.document, one.why)))  # noqa: T201
    else:
        table = Table("when", "who", "id", "why", box=None, header_style="bold")
        for one in gone:
            table.add_row(day_and_time(one.at), Text(one.author), Text(one.document), Text(one.why))
        out().print(table)
