"""From Markdown to what a place can show. Pure.

Every pattern here meets text from strangers: repeats are bounded or possessive, so that no text takes more than linear time.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

from agent.messages import Citation

FENCE = re.compile(r"[ \t>]{0,40}+(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,4}+)?(`{3,}|~{3,})")
_CLOSING = re.compile(r"[ \t>]{0,40}+(`{3,}|~{3,})[ \t]*$")
HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]+|$)")
_CODE = r"`(?!`)(?P<code>[^`\n]{1,1000})`(?!`)|``(?!`)(?P<code2>(?:[^`\n]|`(?!`)){1,1000}+)``(?!`)"
_LINK = (
    r"!?\[(?P<words>(?:[^\[\]\n\\]|\\.|\[[^\[\]\n]{0,100}\](?!\()){0,1000}+)\]"
    r"\([ \t]{0,3}<?(?P<target>(?:[^()\s<>]|\([^()\s<>]{0,200}\)){0,2000}+)>?(?:[ \t]{1,3}[\"'][^\"'\n]{0,300}[\"'])?[ \t]{0,3}\)"
    r"|<(?P<auto>(?:https?|mailto|tel):[^\s<>]{1,2000})>"
)
_ENTITY = r"(?P<entity>&(?:\#\d{1,7}|\#x[\da-f]{1,6}|[a-z][a-z\d]{1,30});)"
INLINE = re.compile(
    rf"{_CODE}|\\(?P<escaped>[!-/:-@\[-`{{-~])|{_LINK}"
    r"|\*{3}(?=[^\s*])(?P<both>(?:[^*\n\\]|\\.){1,1000}+)(?<=\S)\*{3}(?!\*)"
    r"|\*\*(?=[^\s*])(?P<strong>(?:[^*\n\\]|\\.|\*(?!\*)){1,1000}+)(?<=\S)\*\*(?!\*)"
    r"|(?<![\w*])\*(?=[^\s*])(?P<stressed>(?:[^*\n\\]|\\.){1,1000}+)(?<=\S)\*(?![\w*])"
    r"|(?<!\w)__(?=\S)(?P<strong2>(?:[^_\n\\]|\\.|_(?!_)){1,1000}+)(?<=\S)__(?!\w)"
    r"|(?<!\w)_(?=[^\s_])(?P<stressed2>(?:[^_\n\\]|\\.){1,1000}+)(?<=\S)_(?!\w)"
    rf"|{_ENTITY}",
    re.IGNORECASE,
)
"""What may stand within a line: one named group is set for each kind of markup."""
WHOLE = re.compile(rf"{_CODE}|\\[!-/:-@\[-`{{-~]|{_LINK}|https?://[^\s<>\"`|]{{1,2000}}+|{_ENTITY}", re.IGNORECASE)
"""What is not cut where it can be helped."""


class Fences:
    """Follows fenced code blocks from line to line. `fence` is the run that opened the block we are in, or empty."""

    def __init__(self) -> None:
        self.fence = ""

    def inside(self, line: str) -> bool:
        """Whether the next line belongs to a block of code; its first and last line do."""
        if self.fence:
            closes = _CLOSING.match(line)
            if closes and closes[1].startswith(self.fence):
                self.fence = ""
            return True
        found = FENCE.match(line)
        if found and not (found[1][0] == "`" and "`" in line[found.end() :]):
            self.fence = found[1]
        return bool(self.fence)


def plain(markdown: str) -> str:
    """Markdown as text that reads well without rendering: `[words](address)` becomes `words (address)`.

    Lists, tables and code blocks stay as they are written; nothing inside a fenced code block is touched.
    """
    lines: list[str] = []
    fences = Fences()
    for line in markdown.split("\n"):
        if not fences.inside(line):
            heading = HEADING.match(line)
            line = _inline(line[heading.end() :].rstrip().rstrip("#").rstrip() if heading else line)
        lines.append(line)
    return "\n".join(lines)


def _inline(text: str) -> str:
    return INLINE.sub(_said, text)


def _said(match: re.Match[str]) -> str:
    """What one piece of markup reads as. Code is not read further, words are."""
    found = match.groupdict()
    if found["code"] or found["code2"]:
        return (found["code"] or match["code2"]).strip()
    if found["escaped"] or found["auto"]:
        return found["escaped"] or re.sub(r"^(?:mailto|tel):", "", match["auto"], flags=re.IGNORECASE)
    if found["entity"]:
        return html.unescape(match["entity"])
    if found["words"] is None:
        return _inline(
            found["both"] or found["strong"] or found["strong2"] or found["stressed"] or found["stressed2"] or ""
        )
    words, target = _inline(match["words"]), match["target"]
    address = re.sub(r"^(?:mailto|tel):", "", target, flags=re.IGNORECASE)
    # A picture is its description; an address that leads nowhere from here is not worth its room.
    if match[0].startswith("!") or not re.match(r"(?:https?|mailto|tel):", target, re.IGNORECASE):
        return words
    return address if words.strip() in ("", target, address) else f"{words} ({address})"


def source_lines(citations: Sequence[Citation]) -> list[str]:
    """One line for each citation: number, title, address (or the document's id), date."""
    return [
        f"[{citation.n}] {citation.title}"
        + f" - {citation.url or citation.document}"
        + (f" (updated {citation.updated})" if citation.updated else "")
        for citation in citations
    ]


# Tables ---------------------------------------------------------------------------------------------------------------

TABLE_WIDTH = 76
"""Columns of monospace text that a message shows without breaking lines, on a screen of usual width."""
_PIPED = re.compile(r"[ \t>]{0,40}+\|")
_DELIMITER = re.compile(r"[ \t>]{0,40}+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+\Z")
_BREAK = re.compile(r"<br[ \t]{0,3}/?>", re.IGNORECASE)


def tables_as_text(markdown: str) -> str:
    """Pipe tables as aligned columns in a code block when they fit in `TABLE_WIDTH`, else as a list of their cells."""
    tables = Tables()
    lines = [shown for line in markdown.split("\n") for shown in tables.take(line)]
    return "\n".join(lines + tables.rest())


class Tables:
    """Lines in, the same lines out with tables as text. A table is held back until it has ended.

    `piped`: only what begins with a pipe is a table, so that a line can be told by its beginning.
    """

    def __init__(self, *, piped: bool = False) -> None:
        self._piped = piped
        self._fences = Fences()
        self._held: list[str] = []

    def take(self, line: str) -> list[str]:
        """The next line in, what is decided out."""
        if self._held and goes_on(self._held, line):
            self._held.append(line)
            return []
        decided = self.rest()
        if not self._fences.inside(line) and ("|" in line if not self._piped else _PIPED.match(line)):
            self._held = [line]
            return decided
        return [*decided, line]

    def rest(self) -> list[str]:
        """What was held back, once no more of it comes."""
        held, self._held = self._held, []
        return _table(held) if len(held) > 1 else held


def goes_on(table: Sequence[str], line: str) -> bool:
    """Whether `line` is the next row; the first row alone is a table only if dashes for as many cells follow."""
    if "|" not in line or (_PIPED.match(table[0]) and not _PIPED.match(line)) or FENCE.match(line):
        return False
    return len(table) > 1 or bool(_DELIMITER.match(line) and len(_cells(line)) == len(_cells(table[0])))


def _cells(row: str) -> list[str]:
    inside = row.lstrip(" \t>").strip().removeprefix("|")
    if inside.endswith("|") and not inside.endswith("\\|"):
        inside = inside[:-1]
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inside)]


def _table(rows: Sequence[str]) -> list[str]:
    """The lines that stand for a table: columns in a code block, or a list."""
    before = rows[0][: len(rows[0]) - len(rows[0].lstrip(" \t>"))]
    header, dashes, *body = (_cells(row) for row in rows)
    columns = len(header)
    # A row that has more cells than the header keeps them in its last one.
    body = [[*row[: columns - 1], " | ".join(row[columns - 1 :])] if len(row) > columns else row for row in body]
    lines = _aligned([header, *body], dashes) if columns <= TABLE_WIDTH // 3 else None
    return [before + line for line in lines or _listed(header, body)]


def _aligned(rows: Sequence[Sequence[str]], dashes: Sequence[str]) -> list[str] | None:
    """Columns of text between fences; `None` when they would be too wide."""
    texts = [[" ".join(plain(_BREAK.sub("; ", cell)).split()) for cell in row] for row in rows]
    texts = [row + [""] * (len(dashes) - len(row)) for row in texts]
    widths = [max(map(_width, column)) for column in zip(*texts, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) > TABLE_WIDTH:
        return None
    texts.insert(1, ["-" * width for width in widths])
    lines = ["  ".join(map(_padded, row, widths, dashes)).rstrip() for row in texts]
    fence = "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
    return [fence, *lines, fence]


def _padded(text: str, width: int, dashes: str) -> str:
    room = width - _width(text)
    left = 0 if not dashes.endswith(":") else room // 2 if dashes.startswith(":") else room
    return " " * left + text + " " * (room - left)


def _width(text: str) -> int:
    """Columns on a screen: wide characters take two, combining ones none (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(character) in ("Mn", "Me", "Cf")
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _listed(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    names = [plain(name) for name in header]
    lines: list[str] = []
    for row in body or [header]:
        mark = "- "
        for name, cell in zip(names, row, strict=False):
            if cell:
                value = _BREAK.sub("; ", cell)
                lines.append(f"{mark}**{name}:** {value}" if name and body else mark + value)
                mark = "  - "
    return lines
