"""`frontdesk knowledge rebuild` and `frontdesk knowledge verify`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from connectors.commands.knowledge import opened, progress_bars
from connectors.commands.options import Options


async def rebuild(options: Options, *, wait: int) -> int:
    """Build the index anew. Returns the exit status: 1 when customers do not see the result."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge:
        with progress_bars(errors) as report:
            outcome = await knowledge.rebuild(report, lambda line: errors.print(Text(line)), wait=wait)
        parts = (
            [] if not outcome.done else [part.message for part in await knowledge.verify() if part.name == "library"]
        )
    if outcome.note:
        errors.print(Text(f"Note: {outcome.note}", style="yellow"), soft_wrap=True)
    said = f"The index is built: {parts[0]}. " if parts else "The index was not built. "
    print(said + outcome.words)  # noqa: T201
    return 0 if outcome.done else 1


async def verify(options: Options, *, as_json: bool) -> int:
    """Look at every passage. Returns the exit status: 1 when something is not whole."""
    console = Console(soft_wrap=not sys.stdout.isatty())
    async with opened(options) as knowledge:
        with progress_bars(Console(stderr=True)) as report:
            parts = await knowledge.verify(report)
    well = all(part.ok for part in parts)
    if as_json:
        print(json.dumps({"ok": well, "parts": [asdict(part) for part in parts]}, ensure_ascii=False))  # noqa: T201
        return 0 if well else 1
    for part in parts:
        mark, style = ("ok  ", "green") if part.ok else ("FAIL", "bold red")
        console.print(Text.assemble((mark, style), f"  {part.name}: {part.message}"), soft_wrap=True)
    if not well:
        console.print(Text("Mend it with: frontdesk knowledge rebuild"), soft_wrap=True)
    return 0 if well else 1
