"""What the commands over the ledger share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from agent.ledger import Ledger
from connectors.commands.options import Options
from connectors.composition import build_ledger, read_settings
from knowledge.readers.encoding import clean

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@asynccontextmanager
async def ledger_of(options: Options) -> AsyncGenerator[Ledger]:
    """The ledger of these options, closed at the end. It may be in use by a running frontdesk."""
    ledger = build_ledger(read_settings(options.config, options.data))
    try:
        yield ledger
    finally:
        await ledger.close()


def plain_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """With moments as ISO 8601."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def one_line(text: str) -> str:
    """What somebody wrote, in one line, and with nothing in it that steers a terminal."""
    return " ".join(clean(text).split())


def ago(moment: datetime, now: datetime) -> str:
    """How long ago that was, in a word."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
