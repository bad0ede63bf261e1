"""The pieces of a page put together: into lines, and the lines into the order in which they are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from knowledge.readers.markdown_text import escaped
from knowledge.readers.pdf_text import Piece

_SAME_LINE = 0.45
"""Share of its size by which a piece may stand above or below its line: footnote marks do."""

_WORD_GAP = 0.12
_SEGMENT_GAP = 1.5
"""Sizes between two pieces that belong to different cells of a table or columns of a page."""

_COLUMN_LINES = 6
_COLUMN_CHARACTERS = 18
"""What a column of text has at least: lines, and characters in each on average. Cells of tables are shorter."""

_RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_LETTER = re.compile(r"[^\W\d_]")
_LEFT_TO_RIGHT = re.compile(r"[A-Za-z0-9\u00c0-\u024f][A-Za-z0-9\u00c0-\u024f.,:/@%+-]*")
_REPLACED = {ord("\ufb00") + i: text for i, text in enumerate(("ff", "fi", "fl", "ffi", "ffl", "st", "st"))}
_REPLACED |= {0x7F: "•", 0xA0: " "}  # what is undefined in PDF's own encoding is a bullet


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a line with no wide gap in it. `raw` is its text; `text` is that as Markdown, with its links."""

    raw: str
    text: str
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text on a page (`page`, counted from 0), `top` being how far down it is as a share of the page."""

    segments: tuple[Segment, ...]
    base: float
    size: float
    bold: bool
    code: bool
    page: int
    top: float
    height: float = field(default=0.0, compare=False)

    @property
    def raw(self) -> str:
        """Its text, without marks."""
        return " ".join(segment.raw for segment in self.segments)

    @property
    def text(self) -> str:
        """Its text as Markdown."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def left(self) -> float:
        """Where it begins."""
        return self.segments[0].left

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.segments[-1].right


def flows_of(pieces: Sequence[Piece], page: int, height: float) -> list[list[Line]]:
    """The lines of a page in the order in which they are read: one list for each column of a stretch of the page."""
    straight = [piece for piece in pieces if not piece.turned and piece.text.strip()]
    flows = []
    for column in _in_order(_rows(straight)):
        lines = [line for row in column if (line := _line(row, page, height)) is not None]
        if lines:
            flows.append(lines)
    turned = [piece for piece in pieces if piece.turned and piece.text.strip()]
    if turned:
        flows.append(_turned(turned, page))
    return flows


def _rows(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """The pieces that stand on one line, from top to bottom, each row from left to right."""
    rows: list[list[Piece]] = []
    base = size = 0.0
    for piece in sorted(pieces, key=lambda piece: (-piece.base, piece.left)):
        reach = _SAME_LINE * (
            min(size, piece.size) if rows and abs(size - piece.size) < 0.2 * size else max(size, piece.size)
        )
        if rows and base - piece.base <= reach:
            rows[-1].append(piece)
            if piece.size > size:
                base, size = piece.base, piece.size
        else:
            rows.append([piece])
            base, size = piece.base, piece.size
    return [_once(sorted(row, key=lambda piece: piece.left)) for row in rows]


def _once(row: list[Piece]) -> list[Piece]:
    """The row without pieces that are drawn twice, a little apart, to look bold."""
    kept: list[Piece] = []
    for piece in row:
        if any(one.text == piece.text and abs(one.left - piece.left) < 0.15 * piece.size for one in kept[-3:]):
            continue
        kept.append(piece)
    return kept


# Columns -------------------------------------------------------------------------------------------------------------


def _in_order(rows: list[list[Piece]], depth: int = 0) -> list[list[list[Piece]]]:
    """The rows of a page, divided into columns where it has any, in reading order."""
    gutter = _gutter(rows) if depth < 3 else None
    if gutter is None:
        return [rows] if rows else []
    ordered: list[list[list[Piece]]] = []
    whole: list[list[Piece]] = []
    left: list[list[Piece]] = []
    right: list[list[Piece]] = []

    def columns() -> None:
        for column in (left, right):
            ordered.extend(_in_order(column.copy(), depth + 1))
            column.clear()

    for row in rows:
        if _crosses(row, gutter):
            columns()
            if ordered and ordered[-1] is whole:
                whole.append(row)
            else:
                whole = [row]
                ordered.append(whole)
            continue
        before = [piece for piece in row if piece.left < gutter]
        after = [piece for piece in row if piece.left >= gutter]
        left += [before] if before else []
        right += [after] if after else []
        whole = []
    columns()
    return ordered


def _gutter(rows: list[list[Piece]]) -> float | None:
    """Where a second column of text begins, if one does."""
    if len(rows) < _COLUMN_LINES:
        return None
    first = min(row[0].left for row in rows)
    last = max(piece.right for row in rows for piece in row)
    begins: Counter[int] = Counter()
    for row in rows:
        end = -1e9
        for piece in row:
            if piece.left - end > 0.6 * piece.size:
                begins[round(piece.left / 3)] += 1
            end = max(end, piece.right)
    for place, count in begins.most_common(12):
        gutter = place * 3 - 2.5
        if count >= _COLUMN_LINES and 0.2 < (gutter - first) / max(1.0, last - first) < 0.8 and _divides(rows, gutter):
            return gutter
    return None


def _divides(rows: list[list[Piece]], gutter: float) -> bool:
    """Whether there is running text, not a table, on both sides of a place."""
    sides: tuple[list[str], list[str]] = ([], [])
    crossing = 0
    for row in rows:
        if _crosses(row, gutter):
            crossing += 1
            continue
        for side, texts in enumerate(sides):
            if text := "".join(piece.text for piece in row if (piece.left >= gutter) == bool(side)).strip():
                texts.append(text)
    fewest = min(map(len, sides))
    if fewest < _COLUMN_LINES or crossing > fewest:
        return False
    return all(sum(map(len, texts)) / len(texts) >= _COLUMN_CHARACTERS for texts in sides)


def _crosses(row: list[Piece], place: float) -> bool:
    """Whether text runs across a place without a gap there."""
    before = max((piece.right for piece in row if piece.left < place), default=None)
    after = min((piece.left for piece in row if piece.left >= place), default=None)
    if before is None:
        return False
    if before > place + 2:
        return True
    return after is not None and after - before < 0.6 * row[0].size


# Lines ---------------------------------------------------------------------------------------------------------------


def _line(row: list[Piece], page: int, height: float) -> Line | None:
    size = Counter({piece.size: 0 for piece in row})
    for piece in row:
        size[piece.size] += len(piece.text.strip())
    common = size.most_common(1)[0][0]
    groups: list[list[Piece]] = []
    for piece in row:
        gap = piece.left - groups[-1][-1].right if groups else 0.0
        if groups and gap <= _SEGMENT_GAP * common:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    segments = tuple(segment for group in groups if (segment := _segment(group)) is not None)
    if not segments:
        return None
    shown = [piece for piece in row if piece.text.strip()]
    if _is_right_to_left(" ".join(segment.raw for segment in segments)):
        segments = tuple(reversed(segments))
    return Line(
        segments,
        base=row[0].base,
        size=round(common * 2) / 2,
        bold=all(piece.bold for piece in shown),
        code=all(piece.code for piece in shown),
        page=page,
        top=1 - row[0].base / height,
        height=height,
    )


def _segment(pieces: list[Piece]) -> Segment | None:
    runs: list[tuple[str, str]] = []
    end = pieces[0].left
    indent = (len(pieces[0].text) - len(pieces[0].text.lstrip(" "))) * pieces[0].space
    for piece in pieces:
        gap = piece.left - end
        text = piece.text.translate(_REPLACED)
        wide = max(_WORD_GAP * piece.size, 0.5 * min(piece.space, 0.4 * piece.size))
        before = runs[-1][0] if runs else ""
        if runs and gap > wide and not before.endswith(" ") and not text.startswith(" "):
            text = f" {text}"
        if runs and runs[-1][1] == piece.link:
            runs[-1] = (before + text, piece.link)
        else:
            runs.append((text, piece.link))
        end = max(end, piece.right)
    raw = " ".join("".join(text for text, _ in runs).split())
    if not raw:
        return None
    if _is_right_to_left(raw):
        raw = _logical(raw)
        return Segment(raw, escaped(raw), pieces[0].left + indent, end)
    marked = "".join(_linked(text, link) for text, link in runs)
    return Segment(raw, " ".join(marked.split()), pieces[0].left + indent, end)


def _linked(text: str, link: str) -> str:
    words = text.strip()
    if not link or not words:
        return escaped(text)
    start = text[: len(text) - len(text.lstrip())]
    return f"{start}[{escaped(words)}]({link}){text[len(text.rstrip()) :]}"


def _is_right_to_left(text: str) -> bool:
    return 2 * len(_RTL.findall(text)) > len(_LETTER.findall(text)) > 0


def _logical(text: str) -> str:
    """Text as it is written, from text as it is seen: backwards, but for what runs from left to right in it."""
    mirrored = text[::-1].translate(str.maketrans("()[]{}<>«»", ")(][}{><»«"))
    return _LEFT_TO_RIGHT.sub(lambda run: run[0][::-1], mirrored)


def _turned(pieces: list[Piece], page: int) -> list[Line]:
    """Text that does not run from left to right, such as that along an edge: in the order in which it was drawn."""
    lines: list[Line] = []
    for piece in pieces:
        segment = Segment(piece.text.strip(), escaped(piece.text.strip()), 0.0, 0.0)
        if lines and lines[-1].size == piece.size:
            last = lines[-1].segments[0]
            joined = Segment(f"{last.raw}{piece.text}", f"{last.text}{escaped(piece.text)}", 0.0, 0.0)
            lines[-1] = replace(lines[-1], segments=(joined,))
        else:
            lines.append(Line((segment,), 0.0, piece.size, False, False, page, 0.5))
    return lines
