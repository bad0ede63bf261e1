"""`frontdesk turns`: what was asked and is not answered, or could not be."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.errors import SettingsError
from agent.ledger import TurnRow
from connectors.commands.options import Options
from connectors.commands.records import ago, ledger_of, one_line, plain_json

_QUESTION = 60
"""Characters of a question in a table."""


async def turns(options: Options, *, state: str | None, limit: int, as_json: bool) -> None:
    """List the newest turns, or those in one state."""
    async with ledger_of(options) as ledger:
        found = await ledger.turns(state, limit)
    if as_json:
        print(json.dumps({"turns": [plain_json(asdict(one)) for one in found]}, ensure_ascii=False))  # noqa: T201
        return
    console = Console(soft_wrap=not sys.stdout.isatty())
    if not found:
        what = f"No turn is in the state {state}." if state else "Nobody has asked anything yet."
        console.print(what, highlight=False)
        return
    if not console.is_terminal:
        for one in found:
            cells = (one.id, one.state, str(one.attempts), one.created_at.isoformat(), one_line(one.error))
            print("\t".join(cells))  # noqa: T201
        return
    console.print(_drawn(found))
    if any(one.state == "failed" for one in found):
        console.print(Text("To answer one after all: frontdesk turns retry ID", style="dim"))


def _drawn(found: Sequence[TurnRow]) -> Table:
    table = Table("id", "state", "asked", "question", "error", box=None, header_style="bold")
    now = datetime.now().astimezone()
    for one in found:
        style = {"failed": "bold red", "answered": "green"}.get(one.state, "")
        table.add_row(
            Text(one.id),
            Text(one.state, style=style),
            ago(one.created_at, now),
            Text(one_line(one.question)[:_QUESTION]),
            Text(one_line(one.error), style="dim"),
        )
    return table


async def retry(options: Options, turn: str) -> None:
    """Have a turn that failed run again."""
    async with ledger_of(options) as ledger:
        if not await ledger.retry(turn):
            raise SettingsError(
                f"There is no failed turn {turn!r}.", "List those that can be run again: frontdesk turns --state failed"
            )
    Console(soft_wrap=True).print(
        Text(f"{turn} is in the queue again. A running frontdesk begins with it within a minute.")
    )
