"""`frontdesk tickets`: what was handed to a person."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.errors import SettingsError
from agent.ledger import Ledger, Ticket
from connectors.commands.options import Options
from connectors.commands.records import ago, ledger_of, one_line, plain_json
from knowledge.readers.encoding import clean

_QUESTION = 70
"""Characters of a question in a table."""


async def tickets(options: Options, *, everything: bool, as_json: bool) -> None:
    """List the open tickets, or all."""
    async with ledger_of(options) as ledger:
        found = await ledger.tickets(None if everything else "open")
    if as_json:
        print(json.dumps({"tickets": [_as_json(one) for one in found]}, ensure_ascii=False))  # noqa: T201
        return
    console = Console(soft_wrap=not sys.stdout.isatty())
    if not found:
        console.print("There are no tickets." if everything else "There are no open tickets.")
    elif console.is_terminal:
        console.print(_drawn(found))
        console.print(Text("More: frontdesk tickets show N", style="dim"))
    else:
        for one in found:
            cells = (one.number, one.status, one.reason, one.opened_at.isoformat(), one.conversation, one.customer)
            print("\t".join(map(str, cells)))  # noqa: T201


def _drawn(found: Sequence[Ticket]) -> Table:
    table = Table("n", "status", "reason", "opened", "customer", "question", box=None, header_style="bold")
    now = datetime.now().astimezone()
    for one in found:
        question = one_line(one.question)[:_QUESTION]
        opened = ago(one.opened_at, now)
        table.add_row(str(one.number), one.status, one.reason, opened, Text(one.customer), Text(question))
    return table


async def show(options: Options, number: int, *, as_json: bool) -> None:
    """Show one ticket."""
    async with ledger_of(options) as ledger:
        found = await _ticket(ledger, number)
    if as_json:
        print(json.dumps(_as_json(found), ensure_ascii=False))  # noqa: T201
        return
    console = Console(soft_wrap=not sys.stdout.isatty())
    console.print(Text(f"Ticket {found.number}: {found.status}", style="bold"))
    lines = [
        ("reason", found.reason),
        ("customer", found.customer),
        ("conversation", str(found.conversation)),
        ("opened", f"{found.opened_at:%Y-%m-%d %H:%M} UTC"),
    ]
    if found.resolved_at is not None:
        lines.append(("resolved", f"{found.resolved_at:%Y-%m-%d %H:%M} UTC by {found.resolved_by}"))
    for name, value in lines:
        console.print(Text.assemble((f"{name:13}", "dim"), value))
    for title, text in (("Question", found.question), ("Summary", found.summary)):
        console.print(Text(f"\n{title}", style="bold"))
        console.print(Text(clean(text)))


async def resolve(options: Options, number: int) -> None:
    """Close a ticket: from now on the agent answers there again."""
    async with ledger_of(options) as ledger:
        await _ticket(ledger, number)
        if not await ledger.resolve(number, f"cli:{_user()}"):
            Console(soft_wrap=True).print(f"Ticket {number} was resolved before.", highlight=False)
            return
    Console(soft_wrap=True).print(
        f"Ticket {number} is resolved. In its conversation the agent answers again.", highlight=False
    )


def _as_json(ticket: Ticket) -> dict[str, Any]:
    return plain_json({**asdict(ticket), "conversation": str(ticket.conversation)})


async def _ticket(ledger: Ledger, number: int) -> Ticket:
    found = await ledger.ticket(number)
    if found is None:
        raise SettingsError(f"There is no ticket {number}.", "List them: frontdesk tickets --all")
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
