"""Clean HTML, as `html_content` writes it, into Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markdownify import ATX, MarkdownConverter

from knowledge.readers.markdown_text import escaped

if TYPE_CHECKING:
    from bs4 import Tag

CELL = "\x1f"
ROW = "\x1e"
SPAN = "\x1d"
"""Marks between the parts of a table while it is put together; cleaned text has no control characters."""

_MAX_SPAN = 50
_MAX_REPEATED = 100

_LINE = re.compile("^(?=[^\n])", re.MULTILINE)


def to_markdown(html: str) -> str:
    """Markdown of clean HTML: ATX headings, `-` bullets, pipe tables, fenced code, links."""
    return _Converter(heading_style=ATX, bullets="-").convert(f"<div>{html}</div>").strip("\n")


class _Converter(MarkdownConverter):
    """markdownify, with the cases that it gets wrong or slow."""

    def escape(self, text: str, parent_tags: set[str]) -> str:
        return escaped(text)

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        label = text.strip()
        if "\n" in label or not label:  # blocks inside a link, or nothing to click on
            return text
        before, _, after = text.partition(label)
        return f"{before}[{label}]({el['href']}){after}"

    def convert_br(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return " " if "_inline" in parent_tags else "  \n"

    def convert_hN(self, n: int, el: Tag, text: str, parent_tags: set[str]) -> str:
        heading = " ".join(text.split())
        return f"\n\n{'#' * n} {heading}\n\n" if heading else ""

    def convert_li(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        item = text.strip()
        bullet = f"{el['value']}. " if el.get("value") else "- "
        return f"{bullet}{_LINE.sub(' ' * len(bullet), item)[len(bullet) :]}\n" if item else ""

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        code = text.strip("\n").rstrip()
        if not code:
            return ""
        longest = max((len(run) for run in re.findall("`+", code)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"\n\n{fence}{el.get('data-language', '')}\n{code}\n{fence}\n\n"

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        cell = " ".join(text.split()).replace("|", "\\|")
        return SPAN.join((el.name, str(el.get("colspan") or 1), str(el.get("rowspan") or 1), cell)) + CELL

    convert_th = convert_td

    def convert_tr(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return text + ROW

    def convert_table(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        rows = [[cell.split(SPAN) for cell in row.split(CELL)[:-1]] for row in text.split(ROW)[:-1]]
        return "\n\n" + "\n".join(_table([row for row in rows if row])) + "\n\n"


def _table(rows: list[list[list[str]]]) -> list[str]:
    """The lines of a pipe table, from rows of cells (`td` or `th`, columns, rows, text).

    The head is empty when the first row is not made of `th`. A cell that reaches over rows is repeated in each, so that
    a row can be read alone.
    """
    lines: list[list[str]] = []
    held: dict[int, tuple[int, str]] = {}  # column -> rows below that it reaches into, its text
    has_head = False
    spare = 1000 + 10 * sum(map(len, rows))  # cells that may be added in all
    for row in rows:
        line: list[str] = []
        for _, columns, height, text in row:
            _fill(line, held)
            width = _span(columns) if spare > 0 else 1
            spare -= width * _span(height)
            if _span(height) > 1 and spare > 0:
                held |= {len(line) + i: (_span(height) - 1, text if i == 0 else "") for i in range(width)}
            line += [text, *[""] * (width - 1)]
        while held and len(line) <= max(held):
            _fill(line, held)
            if held and len(line) <= max(held):
                line.append("")
        has_head = has_head or (not lines and all(cell[0] == "th" for cell in row))
        lines.append(line)
    if not lines:
        return []
    width = max(map(len, lines))
    head, *body = lines if has_head else ([], *lines)
    head += [""] * (width - len(head))
    return [_row(head), _row(["---"] * width), *map(_row, body)]


def _fill(line: list[str], held: dict[int, tuple[int, str]]) -> None:
    """Add the cells that reach down into this line at its end."""
    while len(line) in held:
        column = len(line)
        rows, text = held.pop(column)
        if rows > 1:
            held[column] = (rows - 1, text)
        line.append(text if len(text) <= _MAX_REPEATED else "")


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _span(value: str) -> int:
    return max(1, min(_MAX_SPAN, int(value)))
