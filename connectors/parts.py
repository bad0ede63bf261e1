"""Cuts Markdown into parts that a place takes as one message each. Pure.

As in `connectors.markup`, no text takes more than linear time.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from connectors.markup import FENCE, HEADING, WHOLE, Fences, goes_on

_ITEM = re.compile(r"[ \t>]{0,40}+(?:[-*+]|\d{1,9}[.)])[ \t]")
_GAP = re.compile(r"\s+|(?<=[。！？])(?=\S)")  # noqa: RUF001
_MARK = re.compile(r"(?P<number>\d{1,9}+(?=[.)](?:\s|\Z)))|(?=(?:[-+*]|#{1,6}+)(?:\s|\Z)|>)")
"""What would begin a list, a heading or a quotation if it stood at the beginning of a line."""
_ENDS = ".!?。！？…"  # noqa: RUF001
LONGEST_CLUSTER = 64
"""Characters. Longer ones are nobody's language, and are cut."""


@dataclass(slots=True)
class _Block:
    """A paragraph or list, a table, or a block of code, and the line breaks before it."""

    kind: Literal["text", "table", "code"]
    gap: str
    lines: list[str] = field(default_factory=list)


def split(markdown: str, limit: int, *, length: Callable[[str], int] = len) -> list[str]:
    """Markdown in parts of at most `limit`, none of them empty.

    Cut between paragraphs if that will do, else between list items, lines, sentences or words; within a link, an address,
    inline code or a character that is written as several only if it is longer than a part. Code that is cut is closed and
    opened again, a table that is cut gets its header again. `length` must add up over characters (`len`, UTF-16 units).
    """
    parts = _Parts(limit, length)
    for block in _blocks(markdown, limit, length):
        if block.kind == "code":
            parts.put_code(block)
        elif block.kind == "table":
            parts.put_table(block)
        else:
            parts.put(block.gap, "\n".join(block.lines), (_items, _lines))
    return parts.all()


def _items(text: str) -> list[str]:
    items: list[list[str]] = []
    for line in text.split("\n"):
        if not items or _ITEM.match(line):
            items.append([])
        items[-1].append(line)
    return ["\n".join(item) for item in items]


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _blocks(markdown: str, limit: int, length: Callable[[str], int]) -> list[_Block]:
    blocks: list[_Block] = []
    fences = Fences()
    gap = ""
    for line in markdown.split("\n"):
        within = bool(fences.fence)
        is_code = fences.inside(line)
        if is_code and not within and length(line) > limit // 4:
            # A fence that leaves no room for code is shown as text.
            fences.fence, is_code, line = "", False, _not_a_fence(line)
        last = blocks[-1] if blocks else None
        if within and last:
            last.lines.append(line)
        elif is_code:
            blocks.append(_Block("code", gap, [line]))
        elif not line.strip():
            gap += "\n"
            continue
        else:
            _add_line(blocks, line, gap)
        gap = "\n"
    for block in blocks:
        if block.kind == "code":
            _close(block)
    return blocks


def _add_line(blocks: list[_Block], line: str, gap: str) -> None:
    """Add a line of text to the block it belongs to, or begin one with it."""
    last = blocks[-1] if blocks else None
    adjacent = last is not None and gap == "\n"
    if last and adjacent and last.kind == "table" and goes_on(last.lines, line):
        last.lines.append(line)
    elif last and adjacent and last.kind == "text" and goes_on(last.lines[-1:], line):
        header = last.lines.pop()
        if not last.lines:
            blocks.pop()
        blocks.append(_Block("table", "\n" if last.lines else last.gap, [header, line]))
    elif last and last.kind == "text" and (adjacent or HEADING.match(last.lines[-1])):
        # A heading stays with what it is the heading of.
        last.lines += [*gap[1:].split("\n")[1:], line]
    else:
        blocks.append(_Block("text", gap, [line]))


def _close(block: _Block) -> None:
    """Make the last line of a block of code its closing fence."""
    fences = Fences()
    for line in block.lines:
        fences.inside(line)
    if not fences.fence and len(block.lines) > 1:
        block.lines.pop()
    found = FENCE.match(block.lines[0])
    if found:
        block.lines.append(_beside(block.lines[0][: found.start(1)]) + found[1])


def _beside(before: str) -> str:
    """What stands before a fence, without the mark of a list item."""
    return re.sub(r"[^ \t>]", " ", before)


def _not_a_fence(line: str) -> str:
    found = FENCE.match(line)
    return f"{line[: found.start(1)]}\\{line[found.start(1) :]}" if found else line


class _Parts:
    """Parts as they are filled. `opening` begins and `closing` ends every part while a block goes on over several."""

    def __init__(self, limit: int, length: Callable[[str], int]) -> None:
        self._limit = limit
        self._length = length
        self._done: list[str] = []
        self._begin("", "")

    def _begin(self, opening: str, closing: str) -> None:
        self._opening, self._closing = opening, closing
        self._now = [opening] if opening else []
        self._size = self._length(opening)
        self._fresh = True

    def all(self) -> list[str]:
        """The parts, once everything was put."""
        self._cut()
        return self._done

    def _cut(self) -> None:
        if not self._fresh:
            self._done.append("".join(self._now) + self._closing)
        self._begin(self._opening, self._closing)

    def _room(self) -> int:
        return self._limit - self._size - self._length(self._closing)

    def _add(self, text: str) -> None:
        self._now.append(text)
        self._size += self._length(text)
        self._fresh = False

    def _fits(self, gap: str, text: str) -> bool:
        """Whether the text was added: to this part, or to the next one if it fits there."""
        size = self._length(text)
        if (0 if self._fresh else self._length(gap)) + size > self._room():
            if size > self._limit - self._length(self._opening) - self._length(self._closing):
                return False
            self._cut()
        self._add(text if self._fresh else gap + text)
        return True

    def put(self, gap: str, text: str, smaller: Sequence[Callable[[str], list[str]]]) -> None:
        """Add a text whole, or the pieces that `smaller` makes of it."""
        if self._fits(gap, text):
            return
        if not smaller:
            self._put_line(gap, text)
            return
        for piece in smaller[0](text):
            self.put(gap, piece, smaller[1:])
            gap = "\n"

    def put_code(self, block: _Block) -> None:
        """Add a block of code."""
        if self._fits(block.gap, "\n".join(block.lines)):
            return
        first, *code, closing = block.lines
        found = FENCE.match(first)
        before = found.start(1) if found else 0
        if self._length(block.gap + "\n".join([first, *code[:1], closing])) > self._room():
            self._cut()
        self._add(first if self._fresh else block.gap + first)
        self._opening, self._closing = _beside(first[:before]) + first[before:] + "\n", "\n" + closing
        for line in code:
            self.put("\n", line, ())
        self._leave()

    def put_table(self, block: _Block) -> None:
        """Add a table."""
        text = "\n".join(block.lines)
        header, rows = "\n".join(block.lines[:2]), block.lines[2:]
        if self._length(header) > self._limit // 2:
            self.put(block.gap, text, (_lines,))
        elif not self._fits(block.gap, text):
            if self._length(block.gap + "\n".join([header, *rows[:1]])) > self._room():
                self._cut()
            self._add(header if self._fresh else block.gap + header)
            for row in rows:
                self._opening = header + "\n"
                if not self._fits("\n", row):
                    self._opening = ""
                    self._put_line("\n", row)
            self._leave()

    def _leave(self) -> None:
        """End a block that goes on over several parts. What follows begins with a line break of its own."""
        if self._fresh:
            self._begin("", "")
        elif self._closing:
            self._now.append(self._closing)
            self._size += self._length(self._closing)
        self._opening = self._closing = ""

    def _put_line(self, gap: str, line: str) -> None:
        """Add a line that is longer than a part."""
        verbatim = bool(self._closing)
        cuts = _Cuts(line, self._length, verbatim=verbatim)
        at = 0
        while at < len(line):
            lead = "" if self._fresh or at else gap
            start = at
            if (self._fresh or not at) and (found := FENCE.match(line, at)):
                # Where it stands now it would open or close a block of code.
                start = found.start(1)
                lead += line[at:start] + "\\"
            elif at and not verbatim and (found := _MARK.match(line, at)):
                start = found.end()
                lead += line[at:start] + "\\"
            end = cuts.before(start, self._room() - self._length(lead), must=self._fresh)
            if end == start:
                self._cut()
                continue
            at = start
            piece = line[at:end] if verbatim or end == len(line) else line[at:end].rstrip()
            if piece.strip() or (piece and verbatim):
                self._add(lead + piece)
            if end < len(line):
                self._cut()
            at = end
            while not verbatim and 0 < at < len(line) and line[at].isspace():
                at += 1


class _Cuts:
    """Where one long line may be cut."""

    def __init__(self, line: str, length: Callable[[str], int], *, verbatim: bool) -> None:
        self._line = line
        self._sizes = [0, *accumulate(map(length, line))]
        self._wholes = [match.span() for match in WHOLE.finditer(line)]
        self._words: list[int] = []
        self._sentences: list[int] = []
        for gap in _GAP.finditer(line):
            at = gap.end() if verbatim else gap.start()
            if at and self._outside(gap.start()) == gap.start():
                self._words.append(at)
                if line[gap.start() - 1] in _ENDS:
                    self._sentences.append(at)

    def _outside(self, at: int) -> int:
        """`at`, or where the link or the like begins that it lies in."""
        found = bisect_right(self._wholes, (at, -1)) - 1
        start, end = self._wholes[found] if found >= 0 else (at, at)
        return start if start < at < end else at

    def before(self, start: int, room: int, *, must: bool) -> int:
        """The best place for an end of what begins at `start`; `start` itself if there is none and it need not be."""
        furthest = bisect_right(self._sizes, self._sizes[start] + max(room, 0)) - 1
        if furthest >= len(self._line):
            return len(self._line)
        for places, at_least in ((self._sentences, (start + furthest) // 2), (self._words, start)):
            place = places[bisect_right(places, furthest) - 1] if places and places[0] <= furthest else 0
            if place > at_least:
                return place
        if not must:
            return start
        outside = self._outside(furthest)
        if outside > start:
            return clusters_end(self._line, outside, start) or outside
        return clusters_end(self._line, furthest, start) or max(furthest, start + 1)


def clusters_end(text: str, at: int, start: int = 0) -> int:
    """The last place from `start` to `at` where no character that is written as several is cut; 0 if there is none."""
    for place in range(at, max(start, at - LONGEST_CLUSTER), -1):
        if not _belongs(text, place):
            return place
    return 0


def _belongs(text: str, at: int) -> bool:
    """Whether the characters before and behind `at` are one for a reader (the main rules of Unicode Standard Annex 29)."""
    if not 0 < at < len(text):
        return False
    before, behind = text[at - 1], text[at]
    if before.isascii() and behind.isascii():
        return before == "\r" and behind == "\n"
    if "\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= behind <= "\U0001f1ff":
        # Flags are pairs.
        first = at - 1
        while first > max(0, at - LONGEST_CLUSTER) and "\U0001f1e6" <= text[first - 1] <= "\U0001f1ff":
            first -= 1
        return (at - first) % 2 == 1
    return before == "\u200d" or joins(behind)


def joins(character: str) -> bool:
    """Whether a character belongs to the one before it: accents, joiners, skin tones, the second half of a surrogate pair."""
    return (
        (not character.isascii() and (unicodedata.category(character) in ("Mn", "Me", "Mc")))
        or character in ("\u200d", "\u200c")
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
        or "\udc00" <= character <= "\udfff"
        or "\u1160" <= character <= "\u11ff"
    )
