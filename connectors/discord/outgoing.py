"""From the Markdown of a reply to what Discord shows. Pure.

Discord reads a Markdown of its own, in which a code block may begin anywhere and ends with the next three backticks, and
tables, rules and smaller headings mean nothing. What it does not know is written in a way that it does.

As in `connectors.markup`, no text takes more than linear time.
"""

from __future__ import annotations

import re

from connectors.discord.phrases import JOINER, MARKUP, clean, escape, guarded, inline, link, shortened, units
from connectors.markup import HEADING, Fences, tables_as_text
from connectors.parts import clusters_end, split

__all__ = ["LONGEST", "draft", "escape", "for_discord", "link", "messages", "shortened", "units"]

LONGEST = 2_000
"""Of a message's content (docs.discord.com/developers/resources/message). Counted in UTF-16, it is never more than that."""

_FENCE = "```"
_LANGUAGE = re.compile(r"[\w+\-.#]{1,30}+\Z", re.ASCII)
_BULLET = re.compile(
    r"(?P<before>[ \t]{0,40}+)(?:[-*+]|(?P<number>\d{1,9})[.)])(?:[ \t]{1,4}(?P<task>\[[ xX]\](?:[ \t]|\Z))?|\Z)"
)
_RULE = re.compile(r"[ \t]{0,3}(?:(?:\*[ \t]*){3,}+|(?:-[ \t]*){3,}+|(?:_[ \t]*){3,}+)\Z")
_UNDERLINE = re.compile(r" {0,3}(?:=|-){2,}+[ \t]*\Z")
_QUOTE = re.compile(r"(?: {0,3}>){1,20} ?")
_BACKTICKS = re.compile("``(?=`)")
_MOST_MARKS = 8
_LONGEST_TITLE = 100


def for_discord(markdown: str) -> str:
    """Markdown as Discord shows it: safe, and without what Discord would show as it is written."""
    shown = _Shown()
    for line in tables_as_text(_without_references(clean(markdown))).split("\n"):
        shown.add(line)
    return shown.end()


def messages(markdown: str, limit: int = LONGEST) -> list[str]:
    """A finished reply as parts for one message each, ready to send; each has at most `limit` units."""
    whole = _without_references(clean(markdown))
    return [shown for part in split(whole, limit, length=units) for shown in _fitting(part, limit)]


def _fitting(part: str, limit: int) -> list[str]:
    """A part made safe; as several where that made it too long."""
    shown = for_discord(part).strip("\n")
    size = units(shown)
    if size <= limit:
        return [shown] if shown.strip() else []
    room = units(part) * limit * 9 // (size * 10)
    pieces = split(part, room, length=units) if room >= limit // 10 else [part]
    if len(pieces) < 2:
        return split(shown, limit, length=units)
    return [fitting for piece in pieces for fitting in _fitting(piece, limit)]


# Drafts ---------------------------------------------------------------------------------------------------------------

_MORE = " …"
_HALF = re.compile(
    r"(?:!?\[(?:[^\[\]\n\\]|\\.|\[[^\[\]\n]{0,100}\]){0,300}+(?:\](?:\([^()\n]{0,1000}(?:\([^()\n]{0,200}\)?)?)?)?"
    r"|<[^\s<>]{0,300}|https?://[^\s<>]{0,1000}|&[#\w]{0,31}|\\|[*_~`]{1,3}|[\u200d\ufe0f])\Z"
)
"""What may become something else when more comes."""
_HALF_LINE = re.compile(
    r"[ \t>]{0,40}+(?:[-*+=_~`#]{0,30}+|\d{1,9}+[.)]?|[-+*][ \t]+\[[ xX]?\]?)[ \t]*+\Z|[ \t>]{0,40}+\|"
)
_OPENED = re.compile(r"(?<![\w*_~`\\])(\*{1,3}|_{1,2}|~~|`{1,2})(?=[^\s*_~`])")


def draft(markdown: str, limit: int = LONGEST) -> str:
    """As much of a text that still grows as one message takes, with " …" where there is more; nothing in it is half."""
    text = markdown[: 4 * limit]
    shown = for_discord(_whole(text))
    if len(text) == len(markdown) and units(shown) <= limit:
        return shown.strip("\n")
    fits, too_much = 0, len(text) + 1
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        if units(for_discord(_whole(text[:middle]))) <= limit - len(_MORE):
            fits = middle
        else:
            too_much = middle
    words = text.rfind(" ", max(0, fits - 200), fits)
    lines = text.rfind("\n", max(0, fits - 200), fits)
    end = max(words, lines) if max(words, lines) > 0 else clusters_end(text, fits) or fits
    while units(shown := for_discord(_whole(text[:end])).strip("\n")) > limit - len(_MORE):
        # What is cut off may have been what made it short, such as the end of a link.
        end = end * 9 // 10
    return shown + ("\n…" if shown.endswith(_FENCE) else _MORE)


def _whole(text: str) -> str:
    """A text that may go on, without what is only begun, and with what is open closed."""
    *lines, last = text.split("\n")
    fences = Fences()
    for line in lines:
        fences.inside(line)
    if _HALF_LINE.match(last):
        last = ""
        # The head of a table is none before the line below it.
        if not fences.fence and lines and re.match(r"[ \t>]{0,40}+\|", lines[-1]) and not _is_row(lines):
            lines.pop()
    if fences.fence:
        return "\n".join([*lines, last] if last else lines)
    if half := _HALF.search(last, max(0, len(last) - 1_400)):
        last = last[: half.start()]
    blank = MARKUP.sub(lambda match: "x" * len(match[0]), last)
    if opened := _OPENED.search(blank):
        last = last.rstrip(" \t*_~`") + opened[1]
    return "\n".join([*lines, last])


def _is_row(lines: list[str]) -> bool:
    """Whether the last line goes on with a table."""
    return len(lines) > 1 and bool(re.match(r"[ \t>]{0,40}+\|", lines[-2]))


# Lines ----------------------------------------------------------------------------------------------------------------


class _Shown:
    """Lines of Markdown in, the text for Discord out."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._fences = Fences()
        self._quotes, self._indent = 0, ""
        self._code = 0  # lines of the block of code so far, with its first
        self._paragraph = 0  # lines of the paragraph so far

    def add(self, line: str) -> None:
        """The next line."""
        within = bool(self._fences.fence)
        if not self._fences.inside(line):
            self._text(line)
        elif not within:
            self._open(line)
        elif self._fences.fence:
            self._lines.append("> " * self._quotes + _BACKTICKS.sub(f"``{JOINER}", self._unquoted(line)))
            self._code += 1
        else:
            self._close()

    def end(self) -> str:
        """The whole text, once all lines are in."""
        if self._fences.fence:
            self._close()
        return "\n".join(self._lines)

    def _open(self, line: str) -> None:
        quote_marks = _QUOTE.match(line)
        self._quotes = line[: quote_marks.end()].count(">") if quote_marks else 0
        before, _, info = self._unquoted(line).partition(self._fences.fence)
        language = (info.split() or [""])[0]
        before = re.sub(r"[*+](?=[ \t])", "-", before).replace(")", ".")
        self._lines.append("> " * self._quotes + before + _FENCE + (language if _LANGUAGE.match(language) else ""))
        self._indent = re.sub(r"[^ \t]", " ", before)
        self._code, self._paragraph = 1, 0

    def _close(self) -> None:
        if self._code == 1:
            # Discord shows the marks of a block without code.
            self._lines.pop()
            return
        self._lines.append("> " * self._quotes + self._indent + _FENCE)

    def _unquoted(self, line: str) -> str:
        for _ in range(self._quotes):
            line = re.sub(r"\A {0,3}> ?", "", line)
        return line

    def _text(self, line: str) -> None:
        if self._paragraph == 1 and _UNDERLINE.match(line) and self._is_title(self._lines[-1]):
            self._lines[-1] = ("# " if "=" in line else "## ") + self._lines[-1]
            self._paragraph = 0
            return
        shown, is_paragraph = _line(line)
        self._lines.append(shown)
        self._paragraph = self._paragraph + 1 if is_paragraph else 0

    def _is_title(self, line: str) -> bool:
        return len(line) <= _LONGEST_TITLE and "\n" not in line and line[-1:] not in ".:;,!?…"


def _line(line: str) -> tuple[str, bool]:
    """A line outside code, and whether it is one of a paragraph."""
    quotes = _QUOTE.match(line)
    before = "> " * line[: quotes.end()].count(">") if quotes else ""
    further, line = before, line[quotes.end() :] if quotes else line
    for _ in range(_MOST_MARKS):
        bullet = None if _RULE.match(line) else _BULLET.match(line)
        if not bullet:
            break
        task = bullet["task"] or ""
        mark = f"{bullet['number']}. " if bullet["number"] else "- "
        before += bullet["before"].expandtabs(4) + mark + ("" if not task else "☐ " if task[1] == " " else "☑ ")
        further += " " * (len(bullet["before"].expandtabs(4)) + len(mark))
        line = line[bullet.end() :]
    if _RULE.match(line):
        return before + "———", False
    if heading := HEADING.match(line):
        return before + _heading(line[: heading.end()].count("#"), line[heading.end() :]), False
    words = line.strip()
    if not words:
        # A quotation goes on only with a space behind its mark.
        return (before if before.endswith("> ") else before.rstrip()), False
    before += line[: len(line) - len(line.lstrip())].expandtabs(4)
    words = words if words.endswith("\\\\") else words.removesuffix("\\").rstrip()
    return before + guarded(inline(words, pause="\n" + further)), not before


def _heading(level: int, title: str) -> str:
    title = title.strip().rstrip("#").rstrip()
    words = guarded(inline(title, pause=" ", bold=level > 3))
    if level <= 3 or not words:
        return f"{'#' * level} {words}" if words else ""
    return f"**{words}**"


# References -----------------------------------------------------------------------------------------------------------

_DEFINITION = re.compile(
    r" {0,3}\[(?P<label>(?!\d{1,4}\]|\^)[^\[\]\n]{1,100})\]:[ \t]{0,10}<?(?P<url>[^\s<>]{1,2000})>?"
    r"(?:[ \t]{1,10}[\"'(][^\n]{0,300})?[ \t]*+\Z"
)
_REFERENCE = re.compile(
    r"(?P<code>`[^`\n]{1,1000}`)|(?P<bang>!?)\[(?P<words>[^\[\]\n]{1,300})\](?:\[(?P<label>[^\[\]\n]{0,100})\])?(?![\[(:])"
)


def _without_references(markdown: str) -> str:
    """The same text with `[words][label]` as links with their address. A number is the mark of a source, and stays."""
    if "]:" not in markdown:
        return markdown
    known: dict[str, str] = {}
    kept: list[tuple[str, bool]] = []
    fences = Fences()
    for line in markdown.split("\n"):
        inside = fences.inside(line)
        found = None if inside else _DEFINITION.match(line)
        if found:
            known.setdefault(found["label"].lower(), found["url"])
        else:
            kept.append((line, inside))

    def named(match: re.Match[str]) -> str:
        address = known.get((match["label"] or match["words"] or "").lower())
        return f"{match['bang']}[{match['words']}](<{address}>)" if address and not match["code"] else match[0]

    return "\n".join(line if inside else _REFERENCE.sub(named, line) for line, inside in kept) if known else markdown
