"""`frontdesk knowledge rebuild` and `frontdesk knowledge verify`."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from connectors.commands.knowledge.opened import opened, out, print_json, progress, say, tell
from connectors.commands.options import Options


async def rebuild(options: Options, *, wait: int) -> int:
    """Build the index anew. Returns the exit status: 1 when customers do not see the result."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge:
        with progress(errors) as report:
            outcome = await knowledge.rebuild(report, lambda line: errors.print(Text(line)), wait=wait)
        parts = (
            [] if not outcome.done else [part.message for part in await knowledge.verify() if part.name == "library"]
        )
    tell(errors, [outcome.note] if outcome.note else [])
    say((f"The index is built: {parts[0]}. " if parts else "The index was not built. ") + outcome.words)
    return 0 if outcome.done else 1


async def verify(options: Options, *, as_json: bool) -> int:
    """Look at every passage. Returns the exit status: 1 when something is not whole."""
    console = out()
    async with opened(options) as knowledge:
        with progress(Console(stderr=True)) as report:
            parts = await knowledge.verify(report)
    well = all(part.ok for part in parts)
    if as_json:
        print_json({"ok": well, "parts": [asdict(part) for part in parts]})
        return 0 if well else 1
    for part in parts:
        mark, style = ("ok  ", "green") if part.ok else ("FAIL", "bold red")
        console.print(Text.assemble((mark, style), f"  {part.name}: {part.message}"), soft_wrap=True)
    if not well:
        say("Mend it with: frontdesk knowledge rebuild")
    return 0 if well else 1
