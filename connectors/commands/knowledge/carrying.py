"""`frontdesk knowledge export | import`: documents out into a folder, and back from it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from connectors.commands.knowledge.opened import Signature, bring_up, opened, print_json, say, tell_failures
from connectors.commands.options import Options


async def export(options: Options, folder: Path, *, drafts: bool, as_json: bool) -> None:
    """Write the documents as Markdown files."""
    async with opened(options) as knowledge:
        written, removed = await knowledge.export_to(folder, drafts=drafts)
    if as_json:
        print_json({"written": written, "removed": removed})
        return
    gone = f", removed {removed} of documents that are gone" if removed else ""
    say(f"Wrote {written} documents into {folder}{gone}.")


async def bring_in(
    options: Options, folder: Path, signature: Signature, *, publish: bool, confirmed: bool, as_json: bool
) -> None:
    """Take in the Markdown files of a folder."""
    async with opened(options) as knowledge:
        found = await knowledge.import_from(folder, signature.act(publish=publish, confirmed=confirmed))
        if publish and found.added + found.changed:
            await bring_up(knowledge, Console(stderr=True))
    if as_json:
        counts = {name: getattr(found, name) for name in ("added", "changed", "unchanged")}
        print_json({**counts, "failed": [asdict(one) for one in found.failed]})
        return
    drafts = "" if publish or not found.added + found.changed else ", as drafts"
    say(f"Added {found.added}, changed {found.changed}{drafts}; unchanged {found.unchanged} documents.")
    tell_failures(found.failed)
    if drafts:
        say("Customers do not see the drafts yet. To publish them: frontdesk knowledge publish --all")
