"""`frontdesk usage` over a real ledger: drawn, piped and as JSON."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent.errors import SettingsError
from agent.ledger import Ledger, UsageRow
from agent.messages import Usage
from agent.models.metering import ModelCall
from connectors.commands.options import Options
from connectors.commands.usage import as_json, money, table, usage

ROW = UsageRow(
    date(2026, 3, 4), "answer", "qwen:flash", 12, 1, 0, 12_345, 4_938, 2_000, 0, 0.0006, 0, False, 1.234, 4.5, 0.4
)
TOTAL = replace(ROW, day=None, role=None, model=None)


def drawn(rows: list[UsageRow], total: UsageRow, width: int = 120) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table(rows, total, narrow=width < 110))
    return capture.get().splitlines()


def keep(data: Path, *calls: ModelCall) -> None:
    async def write() -> None:
        ledger = Ledger(data)
        for call in calls:
            await ledger.record(call)
        await ledger.close()

    asyncio.run(write())


def call(days_ago: int = 0, cost: float | None = 0.0006, error: str = "") -> ModelCall:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return ModelCall(at, "answer", "qwen:flash", Usage(1_000, 200, cost, cached_tokens=250), 1.5, 0.4, error)


def test_a_line_for_each_group_and_one_for_all() -> None:
    *_, line, last = drawn([ROW], TOTAL)
    figures = ["12", "1", "12,345", "40%", "2,000", "$0.0006", "1.23/4.50", "0.40"]
    assert line.split() == ["2026-03-04", "answer", "qwen:flash", *figures]
    assert last.split() == ["total", *figures]


def test_what_is_not_known_is_never_nothing() -> None:
    unknown = replace(ROW, cost_usd=None, unknown_prices=12)
    partly = replace(TOTAL, cost_usd=0.5, unknown_prices=12)
    shown = " ".join(" ".join(drawn([unknown, ROW], partly)).split())
    assert "not known" in shown
    assert "$0.50 + 12" in shown
    assert "$0 " not in shown
    assert "$0.00 " not in shown
    assert as_json([unknown], partly, datetime(2026, 3, 1, tzinfo=UTC))["rows"][0]["cost_usd"] is None


def test_estimates_are_marked() -> None:
    estimated = replace(ROW, estimated=True)
    line = drawn([estimated], TOTAL)[-2]
    assert "~12,345" in line
    assert "~2,000" in line
    assert "~$0.0006" in line


def test_nothing_answered_has_no_times() -> None:
    line = drawn([replace(ROW, seconds_p50=None, seconds_p95=None, first_token_p50=None)], TOTAL)[-2]
    assert line.split()[-2:] == ["-", "-"]


def test_a_narrow_terminal_cuts_no_figure() -> None:
    long = replace(ROW, model="http://inference.example.internal:8000/v1#qwen3-8b-instruct", role="summarise")
    lines = drawn([long], TOTAL, width=80)
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert any("12,345" in line and "$0.0006" in line and "1.23/4.50" in line for line in lines)
    assert "…" not in "".join(lines)


def test_a_name_is_no_markup() -> None:
    assert "[red]m[/red]" in drawn([replace(ROW, model="[red]m[/red]")], TOTAL)[-2]


@pytest.mark.parametrize(
    ("usd", "written"),
    [
        (0, "$0"),
        (0.0006, "$0.0006"),
        (0.000612, "$0.00061"),
        (0.0000001, "$0.0000001"),
        (0.0099999, "$0.01"),
        (0.02, "$0.02"),
        (0.5, "$0.50"),
        (3, "$3.00"),
        (1234.5, "$1,234.50"),
    ],
)
def test_small_costs_can_be_read(usd: float, written: str) -> None:
    assert money(usd) == written


@given(st.floats(1e-12, 1e9))
def test_a_cost_is_never_shown_as_nothing(usd: float) -> None:
    read = float(money(usd).removeprefix("$").replace(",", ""))
    assert read == pytest.approx(usd, rel=0.06, abs=0.0051 if usd >= 0.01 else 0)
    assert read > 0


def test_piped_it_is_lines_with_tabs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, call(), call(error="broken"), call(6), call(7))
    asyncio.run(usage(Options(data=tmp_path), days=7, by=("role,model",), as_json=False))
    heading, line, total = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert heading[:4] == ["role", "model", "calls", "failed"]
    assert line[:6] == ["answer", "qwen:flash", "3", "1", "3,000", "25%"]
    assert total == ["total", "", *line[2:]]


def test_on_a_terminal_it_is_a_table_with_notes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("NO_COLOR", "1"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    keep(tmp_path, call(), call(error="abandoned"), call(cost=None))
    asyncio.run(usage(Options(data=tmp_path), days=7, by=(), as_json=False))
    shown = capsys.readouterr().out
    assert "qwen:flash" in shown
    assert "1 call was given up" in shown
    assert "[presets.NAME.models" in shown


def test_as_json_it_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, call(), call(1, cost=None))
    asyncio.run(usage(Options(data=tmp_path), days=2, by=(), as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == {"since", "rows", "total"}
    since = datetime.fromisoformat(told["since"])
    assert (since.hour, since.utcoffset()) == (0, timedelta(0))
    assert [(row["day"], row["role"], row["model"], row["cost_usd"]) for row in told["rows"]] == [
        (since.date().isoformat(), "answer", "qwen:flash", None),
        ((since.date() + timedelta(days=1)).isoformat(), "answer", "qwen:flash", 0.0006),
    ]
    assert (
        told["total"] | {"calls": 2, "cost_usd": 0.0006, "unknown_prices": 1, "prompt_tokens": 2_000} == told["total"]
    )
    assert "day" not in told["total"]


def test_nothing_yet_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(usage(Options(data=tmp_path), days=7, by=(), as_json=False))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("No model was called in the last 7 days.")
    assert "frontdesk ask" in line

    asyncio.run(usage(Options(data=tmp_path), days=1, by=(), as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == []
    assert told["total"]["calls"] == 0


def test_a_word_it_cannot_group_by_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be grouped by 'vendor'"):
        asyncio.run(usage(Options(data=tmp_path), days=7, by=("day", "vendor"), as_json=False))
    assert not (tmp_path / "frontdesk.sqlite3").exists()
