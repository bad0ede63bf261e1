"""`frontdesk erase` and `frontdesk prune`: what is forgotten, of a person or by its age."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import click

from agent.engine import forget
from agent.errors import SettingsError
from connectors.commands.options import Options
from connectors.commands.records import ledger_of
from connectors.composition import database_of, read_settings

_NAMES = {
    "conversations": "conversations",
    "messages": "messages",
    "turns": "answers",
    "feedback": "words of feedback",
    "tickets": "tickets",
    "model_calls": "records of model calls made nameless",
}


async def erase(options: Options, person: str, *, sure: bool) -> None:
    """Remove all that is stored of a person: in one workspace, or in Discord (`discord:USER`) everywhere."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*:[^/\s]+/[^/\s]+|discord:\d+", person):
        raise SettingsError(
            f"{person!r} is no person's id.",
            "It is written with the workspace: slack:T0123ABCD/U0123ABCD. In Discord an account is the same in all servers: "
            "discord:5",
        )
    if not sure:
        click.confirm(
            f"Remove every message of {person}, and the answers, tickets and feedback that belong to them?", abort=True
        )
    async with ledger_of(options) as ledger:
        connector, _, author = person.partition(":")
        # What is said of an account besides (feedback) goes with any of its names.
        names = [person] if "/" in author else await ledger.known_as(connector, author) or [f"{connector}:dm/{author}"]
        done = [await ledger.erase(name) for name in names]
    turns = [turn for erased in done for turn in erased.erasable_turns]
    await asyncio.to_thread(forget, database_of(read_settings(options.config, options.data)), turns)
    counts = {name: number for name in _NAMES if (number := sum(asdict(one)[name] for one in done))}
    if not counts:
        click.echo(f"Nothing is stored of {person}.")
        return
    click.echo(
        f"Removed of {person}: " + ", ".join(f"{number} {_NAMES[name]}" for name, number in counts.items()) + "."
    )
    click.echo("What was posted on the platform itself stays there until somebody deletes it there.")


async def prune(options: Options, days: int) -> None:
    """Remove conversations that ended so many days ago."""
    async with ledger_of(options) as ledger:
        removed = await ledger.prune(datetime.now(UTC) - timedelta(days=days))
    await asyncio.to_thread(forget, database_of(read_settings(options.config, options.data)), removed.erasable_turns)
    click.echo(f"Removed {removed.conversations} conversations that ended more than {days} days ago.")
