"""Cut a document into passages, along its headings.

Everything is a span of the document's own text, and the spans of a section lie end to end, so nothing that was
written can fall between two passages. Markdown is read block by block only (its lines are what counts here), and
plain text without any markup is simply a few long paragraphs.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from knowledge.documents import Document, Passage

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

WORDS = 150
"""Passages longer than this are divided (measured, see docs/decisions/search.md; the local model reads ~190 words)."""

MERGE = 50
"""Neighbouring sections under one heading share a passage up to this length (measured, as above)."""

WHOLE = 2000
"""A list item, code block or HTML block stays in one piece up to this length: embedders and prompts have limits."""

_HEADING = 200
"""Characters. A longer "heading" is a paragraph that happens to stand above a line of dashes."""

_ATOMIC = frozenset({"list_item_open", "fence", "code_block", "html_block"})
_RUN = re.compile(r"\S{1,20}|\s{200}")
_RUNS = re.compile(r"\S{1,20}\s{0,200}|\s{1,200}")
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_SENTENCE = re.compile(r"""[.!?…]["'”’)\]]*\s+|[。！？；]["”’」』）]*\s*|\n""")  # noqa: RUF001
_MARKUP = re.compile(r"[*_`\[\]<>&!\\~]")
_BLANK_START = re.compile(r"(?:[^\S\n]*\n)+")


@dataclass(slots=True)
class _Block:
    kind: str
    start: int
    end: int
    children: list[_Block] = field(default_factory=list)


@dataclass(slots=True)
class _Section:
    """A heading and what stands under it, up to the next heading: `body` to `end`; `start` includes the heading."""

    path: tuple[str, ...]
    start: int
    body: int
    end: int
    blocks: list[_Block]
    length: float = 0.0


@dataclass(slots=True)
class _Unit:
    """What is never divided further; `header` is repeated when a passage starts with this row of a table."""

    start: int
    end: int
    length: float
    header: str = ""


def length(text: str) -> float:
    """About how many words a text has, also where words are not separated by spaces (or not words at all)."""
    words = len(_RUN.findall(text))
    if text.isascii():
        return words
    return words + 0.6 * len(_IDEOGRAPH.findall(text)) + 0.25 * len(_UNSPACED.findall(text))


def split(document: Document, *, words: int = WORDS, merge: int = MERGE) -> list[Passage]:
    """The passages of a document, in its order; none when it has no text at all."""
    text = document.text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    sections = _sections(text, document.title)
    pieces: list[tuple[tuple[str, ...], str]] = []
    for group in _groups(sections, min(merge, words)):
        path = _common(section.path for section in group)
        start = group[0].body if group[0].path == path else group[0].start
        if len(group) > 1 or group[0].length <= words:
            pieces.append((path, text[start : group[-1].end]))
        else:
            pieces += ((path, piece) for piece in _divide(text, group[0], words))
    trimmed = [(path, _trim(piece)) for path, piece in pieces]
    kept = [(path, piece) for path, piece in trimmed if piece]
    if not kept and text.strip():
        kept = [((), _trim(text))]
    return _passages(document, kept)


def _passages(document: Document, pieces: list[tuple[tuple[str, ...], str]]) -> list[Passage]:
    seen: Counter[str] = Counter()
    passages = []
    for position, (path, piece) in enumerate(pieces):
        draft = Passage("", document.id, document.title, path, piece, position)
        # A lone surrogate is not worth an exception: it cannot be stored either, and the reader has replaced it.
        digest = hashlib.sha256(draft.searchable.encode("utf-8", "replace")).hexdigest()[:16]
        seen[digest] += 1
        repeat = f"-{seen[digest]}" if seen[digest] > 1 else ""
        identity = f"{document.id}#{digest}{repeat}"
        passages.append(Passage(identity, document.id, document.title, path, piece, position))
    return passages


# --- reading: text → blocks → sections


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Link definitions are left in as paragraphs: they are text that somebody may search for.
    parser = MarkdownIt("commonmark").enable("table").disable("reference")
    parser.core.ruler.enableOnly(["block"])
    return parser


@cache
def _inline_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


def _sections(text: str, title: str) -> list[_Section]:
    offsets = [0]
    for line in text.split("\n"):
        offsets.append(offsets[-1] + len(line) + 1)
    offsets[-1] = len(text)
    tokens = _parser().parse(text)
    sections = [_Section((), 0, 0, len(text), [])]
    stack: list[tuple[int, str]] = []
    first = True
    for index, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        start = offsets[token.map[0]]
        if token.type == "heading_open" and (heading := _plain(tokens[index + 1].content)):
            level = int(token.tag[1])
            while stack and stack[-1][0] >= level:
                stack.pop()
            if not (first and _same(heading, title)):
                stack.append((level, heading))
            first = False
            sections[-1].end = start
            path = tuple(name for _, name in stack)
            sections.append(_Section(path, start, offsets[token.map[1]], len(text), []))
        else:
            sections[-1].blocks.append(_Block(token.type, start, 0))
    _read_blocks(tokens, offsets, [block for section in sections for block in section.blocks])
    return _inhabited(text, sections)


def _read_blocks(tokens: list[Token], offsets: list[int], blocks: list[_Block]) -> None:
    """Fill in the ends and the children of the top-level blocks, in one walk."""
    by_start = {block.start: block for block in blocks}
    open_blocks: list[_Block | None] = []
    for token in tokens:
        if token.nesting < 0:
            open_blocks.pop()
            continue
        block: _Block | None = None
        if token.map is not None and token.type != "inline":
            start, end = offsets[token.map[0]], offsets[token.map[1]]
            if token.level == 0:
                block = by_start.get(start)
                if block is not None:
                    block.end = end
            elif open_blocks and (parent := open_blocks[-1]) is not None and not parent.kind.startswith("t"):
                block = _Block(token.type, start, end)
                parent.children.append(block)
        if token.nesting > 0:
            open_blocks.append(block)


def _inhabited(text: str, sections: list[_Section]) -> list[_Section]:
    """Sections with something under their heading; a heading with nothing at all under it becomes text itself."""
    kept = []
    for index, section in enumerate(sections):
        following = sections[index + 1].path if index + 1 < len(sections) else ()
        if not text[section.body : section.end].strip():
            if not section.path or (following[: len(section.path)] == section.path and following != section.path):
                continue
            section.path, section.body = section.path[:-1], section.start
            section.blocks = [_Block("paragraph_open", section.start, section.end)]
        section.length = length(text[section.body : section.end])
        kept.append(section)
    return kept


def _plain(heading: str) -> str:
    """A heading's words without their markup; nothing if it is too long to be one."""
    if len(heading) > _HEADING:
        return ""
    if _MARKUP.search(heading):
        children = _inline_parser().parseInline(heading)[0].children or []
        heading = "".join(child.content or " " * child.type.endswith("break") for child in children)
    return " ".join(heading.split())


def _same(heading: str, title: str) -> bool:
    return heading.casefold() == " ".join(title.split()).casefold()


# --- cutting: sections → pieces


def _common(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    common, *others = paths
    for path in others:
        same = 0
        while same < min(len(common), len(path)) and common[same] == path[same]:
            same += 1
        common = common[:same]
    return common


def _groups(sections: list[_Section], merge: int) -> Iterator[list[_Section]]:
    """Short neighbours under the same heading, or directly under each other, go together."""
    group: list[_Section] = []
    path: tuple[str, ...] = ()
    total, depth = 0.0, 0
    for section in sections:
        common = _common((path, section.path)) if group else section.path
        if group and total + section.length <= merge and len(common) >= max(depth, len(section.path)) - 1:
            group.append(section)
            path, total, depth = common, total + section.length, max(depth, len(section.path))
            continue
        if group:
            yield group
        group, path, total, depth = [section], section.path, section.length, len(section.path)
    if group:
        yield group


def _divide(text: str, section: _Section, words: int) -> Iterator[str]:
    """A long section in pieces of even length, none longer than `words` unless a single unit is."""
    units: list[_Unit] = []
    section.blocks[0].start = section.body
    for block, end in _abutting(section.blocks, section.end):
        units += _units(text, block, end, words)
    for piece in _pack(text, units, words):
        header = "" if piece[0].start == section.body else piece[0].header
        yield header + text[piece[0].start : piece[-1].end]


def _pack(text: str, units: list[_Unit], words: int) -> Iterator[list[_Unit]]:
    left = sum(unit.length for unit in units)
    piece: list[_Unit] = []
    size = 0.0
    for unit in units:
        target = (size + left) / max(1, math.ceil((size + left) / words))
        if piece and (size + unit.length > words or size + unit.length / 2 > target):
            # A line such as "Do this:" belongs to what it introduces.
            introduction = piece[1:][-1:] if text[piece[-1].start : piece[-1].end].rstrip().endswith(":") else []
            yield piece[: len(piece) - len(introduction)]
            piece, size = introduction, sum(each.length for each in introduction)
        piece.append(unit)
        size += unit.length
        left -= unit.length
    if piece:
        yield piece


def _abutting(blocks: list[_Block], end: int) -> Iterator[tuple[_Block, int]]:
    """Each block with the place where the next one starts, so that nothing between them is lost."""
    for index, block in enumerate(blocks):
        yield block, blocks[index + 1].start if index + 1 < len(blocks) else end


def _units(text: str, block: _Block, end: int, words: int) -> Iterator[_Unit]:
    size = length(text[block.start : end])
    if size <= (max(WHOLE, words) if block.kind in _ATOMIC else words):
        yield _Unit(block.start, end, size)
    elif block.kind == "table_open":
        yield from _rows(text, block.start, end, words)
    elif block.children:
        block.children[0].start = block.start
        for child, child_end in _abutting(block.children, end):
            yield from _units(text, child, child_end, words)
    elif block.kind in _ATOMIC:
        for start, stop in _cuts(text, block.start, end, re.compile("\n")):
            yield from _sentences(text, start, stop, words)
    else:
        yield from _sentences(text, block.start, end, words)


def _rows(text: str, start: int, end: int, words: int) -> Iterator[_Unit]:
    """A table's rows; the first unit holds the two header lines and the first row."""
    lines = list(_cuts(text, start, end, re.compile("\n")))
    header = text[start : lines[1][1]]
    repeated = header if length(header) <= words / 2 else ""
    yield _Unit(start, lines[min(2, len(lines) - 1)][1], length(text[start : lines[min(2, len(lines) - 1)][1]]))
    for begin, stop in lines[3:]:
        yield _Unit(begin, stop, length(text[begin:stop]), repeated)


def _sentences(text: str, start: int, end: int, words: int) -> Iterator[_Unit]:
    for begin, stop in _cuts(text, start, end, _SENTENCE):
        size = length(text[begin:stop])
        if size <= words:
            yield _Unit(begin, stop, size)
            continue
        for run, run_end in _cuts(text, begin, stop, _RUNS):
            yield _Unit(run, run_end, length(text[run:run_end]))


def _cuts(text: str, start: int, end: int, after: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """The span from `start` to `end` cut behind every match."""
    for match in after.finditer(text, start, end):
        if match.end() > start:
            yield start, match.end()
            start = match.end()
    if start < end:
        yield start, end


def _trim(piece: str) -> str:
    """Without blank lines around it; the first line keeps its indent, which may be what makes it code."""
    blank = _BLANK_START.match(piece)
    return (piece[blank.end() :] if blank else piece).rstrip()
