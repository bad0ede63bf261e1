"""Lines of a PDF into Markdown: headings, paragraphs, lists, tables, code; without what is repeated on every page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from knowledge.readers.pdf_lines import Line, Segment

_LARGER = 1.15
"""How much larger than the text a heading is."""

_LONGEST_HEADING = 200
_LONGEST_BOLD = 100
_LEVELS = 4
_EDGE = 0.13
"""The share of a page's height at its top and bottom where headers and footers stand."""

_BULLETS = "•◦▪▫●○■□‣⁃–·∙*o➢➤✓✔\uf0b7\uf0a7\uf0d8\uf076\uf0fc\u2043"  # noqa: RUF001
_ITEM = re.compile(rf"(?:[{re.escape(_BULLETS)}]|-)\s+(?=\S)")
_LONELY_BULLET = re.compile(rf"[{re.escape(_BULLETS)}-]")
_NUMBERED = re.compile(r"(?:\(?\d{1,3}[.)]|\(?[a-z][.)])\s+(?=\S)")
_PAGE_NUMBER = re.compile(
    r"[ivxl]{1,6}|(?:\W*(?:page|seite|p\.|página|pagina|strona|стр\.?)\s*)?\W*\d{1,4}\W*(?:(?:of|von|de|di|/|z|из)\W*\d{1,4}\W*)?",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?:;。！？][\"'”’)\]]*$")  # noqa: RUF001
_HYPHEN = re.compile(r"[^\W\d_][-\u2010\xad]$")
_LEADERS = re.compile(r"(?:\s?\.){4,}\s{0,3}(?:\d{1,4}|[ivxl]{1,6})\s*$")


@dataclass(slots=True)
class Shape:
    """What the lines of a whole file have in common."""

    body: float
    """The size of its running text."""
    levels: Mapping[float, int]
    """The level of headings by their size."""
    bold_is_rare: bool
    words: frozenset[str]
    """The words of the file, lower case: they tell whether a hyphen at the end of a line belongs to its word."""
    outline: Mapping[tuple[int, str], int] = field(default_factory=dict)
    """The depth of the entries of the table of contents, by page and title."""


def shape_of(lines: Sequence[Line], outline: Mapping[tuple[int, str], int]) -> Shape:
    """What is usual in a file."""
    sizes: Counter[float] = Counter()
    bold = 0
    for line in lines:
        sizes[line.size] += len(line.raw)
        bold += len(line.raw) if line.bold else 0
    body = sizes.most_common(1)[0][0] if sizes else 10.0
    larger = sorted({line.size for line in lines if _is_larger(line, body)}, reverse=True)
    levels = {size: min(_LEVELS, place + 1) for place, size in enumerate(larger)}
    words = frozenset(re.findall(r"\w+(?:-\w+)*", " ".join(line.raw for line in lines).lower()))
    return Shape(body, levels, bold < 0.3 * sum(sizes.values()), words, outline)


def without_repeated(pages: Sequence[list[list[Line]]]) -> list[list[list[Line]]]:
    """The pages without headers and footers: lines at an edge that come again, or are a page's number.

    Nor have they the lines of a table of contents, which lead over dots to a number.
    """
    seen: Counter[str] = Counter()
    for flows in pages:
        seen.update({_key(line) for flow in flows for line in flow if _is_at_edge(line)})
    enough = max(2, min(3, (len(pages) + 2) // 3))

    def stays(line: Line) -> bool:
        if not _is_at_edge(line):
            return True
        is_number = _PAGE_NUMBER.fullmatch(line.raw.strip()) is not None
        return not is_number and (seen[_key(line)] < enough or len(line.raw) > 150)

    kept = [
        [[line for line in flow if stays(line) and not _LEADERS.search(line.raw)] for flow in flows] for flows in pages
    ]
    return [[flow for flow in flows if flow] for flows in kept]


def _is_at_edge(line: Line) -> bool:
    return line.top < _EDGE or line.top > 1 - _EDGE


def _key(line: Line) -> str:
    """A line at an edge by what stays the same on every page."""
    return f"{line.top > 0.5} {line.size} {re.sub(r'[0-9]+|[ivxl]+$', '#', line.raw.lower())}"


def _is_larger(line: Line, body: float) -> bool:
    return line.size >= _LARGER * body and len(line.raw) <= _LONGEST_HEADING and not line.code


def to_markdown(flows: Sequence[list[Line]], shape: Shape) -> str:
    """The Markdown of all flows, one after the other."""
    writer = _Writer(shape)
    for flow in flows:
        writer.flow(flow)
    return writer.finish()


class _Writer:
    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.blocks: list[str] = []
        self.kinds: list[str] = []
        self.last: Line | None = None

    def flow(self, lines: list[Line]) -> None:
        leads = [one.base - other.base for one, other in pairwise(lines)]
        usual = [lead for lead, line in zip(leads, lines, strict=False) if 0 < lead < 3 * line.size]
        leading = median(usual) if usual else 1.2 * self.shape.body
        right = max(line.right for line in lines)
        position = 0
        while position < len(lines):
            rows = _table_at(lines, position)
            if rows:
                self._put("table", _table(lines[position : position + rows]))
                self.last = None
                position += rows
                continue
            line = lines[position]
            level = self._level(line, lines[position + 1] if position + 1 < len(lines) else None, leading)
            if level:
                self._heading(line, level)
            elif line.code:
                self._code(line, min(one.left for one in lines if one.code))
            else:
                self._text(line, leading, right)
            self.last = line
            position += 1

    def finish(self) -> str:
        return "\n\n".join(
            f"```\n{block}\n```" if kind == "code" else block
            for kind, block in zip(self.kinds, self.blocks, strict=True)
        )

    def _put(self, kind: str, block: str) -> None:
        self.kinds.append(kind)
        self.blocks.append(block)

    def _gap(self, line: Line) -> float:
        """How far below the last line this one stands; far when it begins a page or a column."""
        if self.last is None or self.last.page != line.page or self.last.base <= line.base:
            return 1e9
        return self.last.base - line.base

    def _level(self, line: Line, following: Line | None, leading: float) -> int:
        """The level of the heading that a line is; 0 for a line of text."""
        if line.code or not re.search(r"\w", line.raw):
            return 0
        if _is_larger(line, self.shape.body):
            return self.shape.levels.get(line.size, _LEVELS)
        depth = self.shape.outline.get((line.page, letters(line.raw)))
        if depth is not None and len(line.raw) <= _LONGEST_HEADING:
            return min(6, len(set(self.shape.levels.values())) + depth)
        is_alone = self._gap(line) > 1.15 * leading or self.kinds[-1:] == ["heading"]
        if line.bold and self.shape.bold_is_rare and is_alone and len(line.raw) <= _LONGEST_BOLD:
            ends = _SENTENCE_END.search(line.raw) and not line.raw.endswith("?")
            wraps = following is not None and following.bold and line.base - following.base <= 1.05 * leading
            is_item = _ITEM.match(line.raw) is not None
            if not ends and not wraps and not is_item and following is not None:
                return min(6, max([*self.shape.levels.values(), 1]) + 1)
        return 0

    def _heading(self, line: Line, level: int) -> None:
        text = " ".join(line.text.split())
        marks = "#" * level
        continues = (
            self.kinds[-1:] == ["heading"]
            and self.last is not None
            and self.last.size == line.size
            and self.last.bold == line.bold
            and self._gap(line) < 1.5 * line.size
        )
        if continues and self.blocks[-1].startswith(f"{marks} "):
            self.blocks[-1] += f" {text}"
        else:
            self._put("heading", f"{marks} {text}")

    def _code(self, line: Line, left: float) -> None:
        width = max(1.0, (line.right - line.left) / max(1, len(line.raw)))
        code = " " * round((line.left - left) / width) + line.raw
        if self.kinds[-1:] == ["code"] and self._gap(line) < 2.5 * line.size:
            self.blocks[-1] += f"\n{code}"
        else:
            self._put("code", code)

    def _text(self, line: Line, leading: float, right: float) -> None:
        text = line.text
        if len(line.segments) > 1 and _LONELY_BULLET.fullmatch(line.segments[0].raw):
            text = f"- {' '.join(segment.text for segment in line.segments[1:])}"
        item = _ITEM.match(line.raw)
        if item and not text.startswith("- "):
            text = f"- {text.lstrip(chr(92))[item.end() :].lstrip()}"
        if text.startswith("- ") or _NUMBERED.match(line.raw):
            self._put("item", text)
            return
        if self._continues(line, leading, right):
            self.blocks[-1] = _joined(self.blocks[-1], text, self.shape.words)
        else:
            self._put("text", text)

    def _continues(self, line: Line, leading: float, right: float) -> bool:
        """Whether a line goes on with the paragraph or list item before it."""
        if not self.kinds or self.kinds[-1] not in {"text", "item"} or self.last is None:
            return False
        gap = self._gap(line)
        ended = _SENTENCE_END.search(self.last.raw) is not None
        if gap == 1e9:  # over the end of a page or column
            return not ended and line.raw[:1].islower()
        if abs(line.size - self.last.size) > 0.6 or gap > 1.3 * leading:
            return False
        if self.kinds[-1] == "item":
            return line.left > self.last.left - 1 or not ended
        is_indented = line.left > self.last.left + 0.8 * line.size and ended
        was_short = self.last.right < right - 0.25 * (right - self.last.left) and ended
        return not is_indented and not was_short


def _joined(before: str, after: str, words: frozenset[str]) -> str:
    """Two lines of a paragraph; a word that was divided between them is put together."""
    if not _HYPHEN.search(before) or not after[:1].islower():
        return f"{before} {after}"
    first = re.search(r"(\w+)[-\u2010\xad]$", before)
    second = re.match(r"\w+", after)
    if first is None or second is None:
        return f"{before} {after}"
    whole = f"{first[1]}{second[0]}".lower()
    divided = f"{first[1]}-{second[0]}".lower()
    if divided in words and whole not in words and not before.endswith("\xad"):
        return f"{before}{after}"
    return f"{before[:-1]}{after}"


def letters(text: str) -> str:
    """The letters and digits of a text, without case: what titles are compared by."""
    return re.sub(r"[\W_]+", "", text.casefold())


# Tables --------------------------------------------------------------------------------------------------------------


def _table_at(lines: Sequence[Line], start: int) -> int:
    """How many lines from `start` on are a table; 0 when they are none."""
    if len(lines[start].segments) < 2 or _is_list_like(lines[start]):
        return 0
    end = start + 1
    columns = _columns(lines[start:end])
    for place in range(start + 1, len(lines)):
        line, last = lines[place], lines[place - 1]
        if line.page != last.page or line.code != last.code or not 0 <= last.base - line.base <= 4 * line.size:
            break
        if len(line.segments) > 1:
            if _is_list_like(line):
                break
            end = place + 1
            columns = _columns(lines[start:end])
        elif not _may_be_in_a_cell(line, columns, last):
            break
        elif _is_rest_of_cell(line, columns, last):
            end = place + 1
    while end > start + 1 and len(lines[end - 1].segments) < 2 and lines[end - 1].left < columns[0][1]:
        end -= 1  # a line below the first column more likely begins what follows the table
    rows = [line for line in lines[start:end] if len(line.segments) > 1]
    return end - start if len(rows) > 1 and len(_columns(lines[start:end])) > 1 else 0


def _is_list_like(line: Line) -> bool:
    first = line.segments[0].raw
    marker = _LONELY_BULLET.fullmatch(first) or re.fullmatch(r"\(?(?:\d{1,3}|[a-z])[.)]", first)
    return len(line.segments) == 2 and marker is not None


def _may_be_in_a_cell(line: Line, columns: Sequence[tuple[float, float]], above: Line) -> bool:
    """Whether a line of one segment may be part of a cell, if the table goes on below it."""
    if above.base - line.base > 1.8 * line.size:
        return False
    return line.left > columns[0][1] - 2 or line.right <= columns[0][1] + line.size


def _is_rest_of_cell(line: Line, columns: Sequence[tuple[float, float]], above: Line) -> bool:
    """Whether a line of one segment goes on with a cell above it, and is not text below the table."""
    if above.base - line.base > 1.6 * line.size:
        return False
    return any(left - 2 <= line.left and line.right <= right + 2 * line.size for left, right in columns)


def _columns(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """Where the columns of a table are: stretches that no segment leaves."""
    spans = sorted((segment.left, segment.right) for line in lines for segment in line.segments)
    columns: list[tuple[float, float]] = []
    for left, right in spans:
        if columns and left < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], right))
        else:
            columns.append((left, right))
    return columns


def _table(lines: Sequence[Line]) -> str:
    columns = _columns(lines)
    leads = [one.base - other.base for one, other in pairwise(lines)]
    # Lines of one cell stand closer together than rows do, unless all rows are one line high.
    closest = min((lead for lead in leads if lead > 0.3), default=0.0)
    within = 1.3 * closest if max(leads, default=0.0) > 1.3 * closest else 0.0
    rows: list[list[str]] = []
    for place, line in enumerate(lines):
        cells = [""] * len(columns)
        for segment in line.segments:
            number = _column_of(segment, columns)
            cells[number] = f"{cells[number]} {segment.text}".strip()
        goes_on = place > 0 and (leads[place - 1] <= within or (not within and not cells[0]))
        if goes_on:
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    has_head = lines[0].bold or not any(re.search(r"\d", cell) for cell in rows[0])
    head, body = (rows[0], rows[1:]) if has_head else ([""] * len(columns), rows)
    return "\n".join([_row(head), _row(["---"] * len(columns)), *map(_row, body)])


def _column_of(segment: Segment, columns: Sequence[tuple[float, float]]) -> int:
    return next(place for place, (left, right) in enumerate(columns) if left <= segment.left <= right)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
