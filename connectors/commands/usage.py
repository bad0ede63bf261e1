"""`frontdesk usage`: what model calls took and cost."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.errors import SettingsError
from agent.ledger import KEYS, Key, UsageRow
from connectors.commands.options import Options
from connectors.composition import build_ledger, read_settings

UNKNOWN = "not known"
_FIGURES = ("calls", "failed", "tokens in", "cached", "tokens out", "cost", "seconds p50/p95", "first token")
_WIDE = 110
"""Columns of a terminal that has room for every key in a column of its own."""


async def usage(options: Options, *, days: int, by: tuple[str, ...], as_json: bool) -> None:
    """Tell what the models took and cost, today and on the days before it (UTC)."""
    keys = _keys(by)
    now = datetime.now(UTC)
    since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
    ledger = build_ledger(read_settings(options.config, options.data))
    try:
        rows = await ledger.usage(since, now, keys)
        # Percentiles of groups do not add up: the line of the total is a group of its own.
        total = next(iter(await ledger.usage(since, now, ())), UsageRow())
    finally:
        await ledger.close()
    if as_json:
        _print_json(rows, total, since)
    else:
        _print_table(rows, total, days)


def _keys(by: Iterable[str]) -> tuple[Key, ...]:
    """What to group by, in this order; words joined by commas count as several."""
    given = [word.strip() for words in by for word in words.split(",") if word.strip()]
    for word in given:
        if word not in KEYS:
            raise SettingsError(f"Usage cannot be grouped by {word!r}.", f"Choose from: --by {','.join(KEYS)}")
    return cast("tuple[Key, ...]", tuple(dict.fromkeys(given)) or KEYS)


def _print_json(rows: Sequence[UsageRow], total: UsageRow, since: datetime) -> None:
    print(json.dumps(as_json(rows, total, since), ensure_ascii=False))  # noqa: T201


def _print_table(rows: Sequence[UsageRow], total: UsageRow, days: int) -> None:
    console = Console(soft_wrap=not sys.stdout.isatty())
    if not rows:
        period = "today" if days == 1 else f"in the last {days} days"
        console.print(
            f'No model was called {period}. Ask something: frontdesk ask "..."  '
            f"Or look further back: frontdesk usage --days {max(30, 10 * days)}",
            highlight=False,
            soft_wrap=True,
        )
    elif console.is_terminal:
        console.print(table(rows, total, narrow=console.width < _WIDE))
        for note in _notes(total):
            console.print(Text(note, style="dim"))
    else:
        groups = _grouped(rows[0])
        print("\t".join((*groups, *_FIGURES)))  # noqa: T201
        for row in rows:
            print("\t".join((*_grouped(row).values(), *_figures(row))))  # noqa: T201
        print("\t".join(("total", *[""] * (len(groups) - 1), *_figures(total))))  # noqa: T201


def _notes(total: UsageRow) -> list[str]:
    notes = []
    if total.estimated:
        notes.append("~ Counted from the text, because a server did not tell.")
    if total.abandoned:
        calls = "call was" if total.abandoned == 1 else "calls were"
        notes.append(f"{total.abandoned:,} {calls} given up before the end, by us or by the customer.")
    if total.unknown_prices:
        notes.append('To tell a price that is not known: [presets.NAME.models."MODEL".price] in frontdesk.toml')
    return notes


def table(rows: Sequence[UsageRow], total: UsageRow, *, narrow: bool = False) -> Table:
    """A line for each group, and one for all. `narrow`: what is grouped by stands in one column, one below the other."""
    drawn = Table(
        box=None,
        header_style="bold",
        footer_style="bold",
        show_footer=True,
        pad_edge=False,
        collapse_padding=narrow,
    )
    groups = list(_grouped(rows[0]))
    if narrow:
        drawn.add_column("\n".join(groups), footer="total", overflow="fold")
    else:
        for name in groups:
            footer = "total" if name == groups[0] else ""
            drawn.add_column(name, footer=footer, no_wrap=name != "model", overflow="fold")
    for name, footer in zip(_FIGURES, _figures(total), strict=True):
        # What is not known may take two lines; a figure may not.
        drawn.add_column(
            name.replace(" ", "\n"), footer=Text(footer), justify="right", no_wrap=name != "cost", max_width=12
        )
    for row in rows:
        keys = list(_grouped(row).values())
        drawn.add_row(*(Text(cell) for cell in (["\n".join(keys)] if narrow else keys) + _figures(row)))
    return drawn


def as_json(rows: Sequence[UsageRow], total: UsageRow, since: datetime) -> dict[str, Any]:
    """The same for programs. Unknown is null; `cost_usd` leaves out the calls that `unknown_prices` counts."""
    return {
        "since": since.isoformat(),
        "rows": [_row_json(row) for row in rows],
        "total": _row_json(total),
    }


def _row_json(row: UsageRow) -> dict[str, Any]:
    figures = {name: value for name, value in asdict(row).items() if name not in KEYS}
    return {**_grouped(row), **figures}


def _grouped(row: UsageRow) -> dict[str, str]:
    """What a row was grouped by."""
    return {key: str(value) for key in KEYS if (value := getattr(row, key)) is not None}


def _figures(row: UsageRow) -> list[str]:
    about = "~" if row.estimated else ""
    return [
        f"{row.calls:,}",
        f"{row.failed:,}",
        f"{about}{row.prompt_tokens:,}",
        f"{row.cached_tokens / max(1, row.prompt_tokens):.0%}",
        f"{about}{row.completion_tokens:,}",
        _cost(row),
        "-" if row.seconds_p50 is None else f"{_seconds(row.seconds_p50)}/{_seconds(row.seconds_p95)}",
        _seconds(row.first_token_p50),
    ]


def _cost(row: UsageRow) -> str:
    if row.cost_usd is None:
        return UNKNOWN
    known = ("~" if row.estimated and row.cost_usd else "") + money(row.cost_usd)
    return f"{known} + {row.unknown_prices:,} {UNKNOWN}" if row.unknown_prices else known


def money(usd: float) -> str:
    """Dollars and cents; below a cent the first two figures that are not 0."""
    if usd == 0:
        return "$0"
    places = 2 if usd >= 0.01 else 1 - math.floor(math.log10(usd))
    written = f"{usd:,.{places}f}"
    whole, _, cents = written.partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
