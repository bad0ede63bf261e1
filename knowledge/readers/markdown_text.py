"""Markdown as text: what is hidden in it goes, its headings are found; its code stays as it is.

One pass over the text, from one opening mark to the next, so that a mark inside code, a comment or a hidden block is
not taken for another; every search for a closing mark is done once, so that no text takes more than linear time.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable

from knowledge.readers import Finding
from knowledge.readers.hidden import quoted, why_invisible

_RAW = "script|style|template|noscript|iframe|svg|object|embed|textarea|select|title|head"
"""Elements of which nothing is text for a reader."""

_MARKS = re.compile(
    r"(?P<fence>^(?:[ \t>]|[-*+][ \t]|\d{1,9}[.)][ \t])*+(?:`{3,}(?=[^`\n]*$)|~{3,}))"
    r"|(?P<ticks>`+)"
    r"|(?P<escape>\\[!-/:-@\[-`{-~])"
    r"|(?P<comment><!--)"
    r"|(?P<tag><[a-zA-Z][\w-]*(?:[\s/][^<>]*)?>)"
    r"|(?P<image>!\[)",
    re.MULTILINE,
)
_IMAGE = re.compile(
    r"!\[(?P<alt>(?:\\.|[^\[\]\\]|\[(?:\\.|[^\[\]\\])*+\])*+)\]"
    r"(?:\(\s*+(?:<[^<>\n]*+>|(?:\\.|[^\s()\\]|\((?:\\.|[^()\\\s])*+\))*+)"
    r"""(?:\s++(?:"(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+'|\((?:\\.|[^()\\])*+\)))?\s*+\)|\[(?P<label>[^\[\]]*+)\])?""",
    re.DOTALL,
)
_LABEL = re.compile(r"^ {0,3}\[([^\[\]\n]+)\]:", re.MULTILINE)
_ALT = re.compile(r"""\salt\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_HIDDEN = re.compile(r"\shidden(?=[\s=/>])|\saria-hidden\s*=\s*[\"']?true|\stype\s*=\s*[\"']?hidden", re.IGNORECASE)
_STYLE = re.compile(r"""\sstyle\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_MAX_HEADING = 300
"""Characters; a longer "heading" is a paragraph."""
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

_MARKUP = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])|[*`]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&(?=#?\w{1,31};)|\](?=\()"
    r"|^(?:#{1,6}(?=\s)|~~~|>|(?:-{2,}|={2,})(?=\s*$))"
)
"""What Markdown would take for a mark although it is text; not `- ` and `1. ` at a start: lists are what is meant."""

_ATX = re.compile(r"^ {0,3}(#{1,6})(?![^ \t\n])([^\n]*)$", re.MULTILINE)
_SETEXT = re.compile(
    r"(?:\A|(?<=\n\n))(?![ \t]*(?:[-*+>#|]|\d+[.)]))([^\n]+)\n {0,3}(?:(=+)|-{2,})[ \t]*$", re.MULTILINE
)


def tidy(text: str, hidden: list[Finding] | None = None) -> str:
    """Markdown without comments, scripts, styles and hidden blocks, and with the alternative text of its images.

    The hidden blocks are added to `hidden`; comments are their authors' notes, and are not.
    """
    return _Tidier(text, hidden if hidden is not None else []).tidy()


def without_title(text: str, title: str | None) -> tuple[str, str | None]:
    """The text without its title, and the title: the one given, else the first heading of level 1.

    The heading goes only when it is the first block and says the same as the title.
    """
    outside_code = _blank_code(text)
    headings = [(match, match[2]) for match in _ATX.finditer(outside_code) if len(match[1]) == 1]
    headings += [(match, match[1]) for match in _SETEXT.finditer(outside_code) if match[2]]
    for match, line in sorted(headings, key=lambda found: found[0].start()):
        heading = plain(_without_closing_hashes(line)) if len(line) <= _MAX_HEADING else ""
        if not heading:
            continue
        first = not text[: match.start()].strip()
        if first and title in {None, heading}:
            return text[match.end() :], heading
        return text, title or heading
    return text, title


def below(text: str, level: int) -> str:
    """Markdown whose outermost possible heading is of the level below `level`."""

    def deeper(heading: re.Match[str]) -> str:
        start, end = heading.span(1)
        hashes = "#" * min(6, level + end - start)
        return text[heading.start() : start] + hashes + text[end : heading.end()]

    text = rewritten(text, _SETEXT, lambda heading: f"{'#' if heading[2] else '##'} {text[slice(*heading.span(1))]}")
    return rewritten(text, _ATX, deeper)


def plain(markdown: str) -> str:
    """One line of Markdown without its marks: what a title reads as."""
    text = re.sub(r"<[^<>]*>|\{#[\w-]+\}\s*$", "", markdown)
    text = re.sub(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])", r"\1", text)
    text = re.sub(r"(\*{1,3}|(?<!\w)_{1,3}|~~)(?=\S)(.*?)(?<=\S)\1(?!\w)", r"\2", text)
    text = re.sub(r"(`+)(.*?)\1", r"\2", text)
    return " ".join(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text).split())


def escaped(text: str) -> str:
    """A line of text as Markdown that reads the same."""
    return _MARKUP.sub(r"\\\g<0>", text)


def _without_closing_hashes(line: str) -> str:
    line = line.strip()
    shorter = line.rstrip("#")
    return shorter if shorter[-1:] in {"", " ", "\t"} else line


def rewritten(text: str, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]) -> str:
    """`text` with what `pattern` finds outside of code replaced."""
    pieces = []
    position = 0
    for match in pattern.finditer(_blank_code(text)):
        pieces += [text[position : match.start()], replacement(match)]
        position = match.end()
    return "".join((*pieces, text[position:]))


def _blank_code(text: str) -> str:
    """`text` with fenced code replaced by as many spaces, so that positions stay."""
    pieces = []
    position = 0
    while (mark := _MARKS.search(text, position)) is not None:
        pieces.append(text[position : mark.start()])
        position = _end_of_fence(text, mark) if mark["fence"] else mark.end()
        code = text[mark.start() : position]
        pieces.append(re.sub(r"[^\n]", " ", code) if mark["fence"] else code)
    return "".join((*pieces, text[position:]))


def _end_of_fence(text: str, opening: re.Match[str]) -> int:
    """Where the fenced code ends whose fence is `opening`: after its closing fence, or with its block quote or text."""
    fence = opening["fence"].lstrip(" \t>-*+.)0123456789")
    closing = rf"^[ \t>]*{fence[0]}{{{len(fence)},}}[ \t]*$"
    if ">" in opening["fence"]:
        closing += "|^(?![ \t]*>)"
    end = re.compile(closing, re.MULTILINE).search(text, opening.end())
    return end.end() if end else len(text)


class _Tidier:
    """One run of `tidy`."""

    def __init__(self, text: str, hidden: list[Finding]) -> None:
        self.text = text
        self.hidden = hidden
        self.pieces: list[str] = []
        self.missing: set[str] = set()  # closing marks that do not occur any more
        self.labels: set[str] | None = None
        self.ticks: dict[int, list[int]] | None = None

    def tidy(self) -> str:
        position = 0
        while (mark := _MARKS.search(self.text, position)) is not None:
            self.pieces.append(self.text[position : mark.start()])
            kind = mark.lastgroup or ""
            position = getattr(self, f"_{kind}")(mark)
        self.pieces.append(self.text[position:])
        return "".join(self.pieces)

    def _fence(self, mark: re.Match[str]) -> int:
        return self._keep(mark.start(), _end_of_fence(self.text, mark))

    def _ticks(self, mark: re.Match[str]) -> int:
        """A code span, if a run of as many backticks follows in the same paragraph."""
        if self.ticks is None:
            self.ticks = {}
            for run in re.finditer("`+", self.text):
                self.ticks.setdefault(len(run[0]), []).append(run.start())
        length = len(mark[0])
        starts = self.ticks.get(length, [])
        following = bisect_left(starts, mark.end())
        end = starts[following] + length if following < len(starts) else mark.end()
        if end - mark.end() > 5000 or re.search(r"\n[ \t]*\n", self.text[mark.end() : end]):
            end = mark.end()
        return self._keep(mark.start(), end)

    def _escape(self, mark: re.Match[str]) -> int:
        return self._keep(mark.start(), mark.end())

    def _comment(self, mark: re.Match[str]) -> int:
        short = re.compile("-?>").match(self.text, mark.end())
        end = short.end() if short else self._after("-->", mark.end())
        return self._drop(mark, end)

    def _tag(self, mark: re.Match[str]) -> int:
        tag = mark[0]
        name = re.split(r"[\s/>]", tag[1:], maxsplit=1)[0].lower()
        if name == "img":
            alt = _ALT.search(tag)
            self.pieces.append(alt[1] or alt[2] or alt[3] or "" if alt else "")
            return mark.end()
        style = _STYLE.search(tag)
        why = why_invisible(style[1] or style[2] or style[3] or "") if style else ""
        why = why or ("marked as hidden" if _HIDDEN.search(tag) else "")
        if re.fullmatch(_RAW, name) and not tag.endswith("/>"):
            end = mark.end() if name in _VOID else self._after(f"</{name}", mark.end(), "[^<>]*>?")
            return self._drop(mark, end)
        if why:
            end = mark.end() if name in _VOID else self._end_of_element(name, mark.end())
            if text := quoted(re.sub(r"<[^<>]*>", " ", self.text[mark.end() : min(end, mark.end() + 1000)])):
                self.hidden.append(Finding(text, why))
            return self._drop(mark, end)
        return self._keep(mark.start(), mark.end())

    def _image(self, mark: re.Match[str]) -> int:
        image = _IMAGE.match(self.text, mark.start())
        if image is None:
            return self._keep(mark.start(), mark.end())
        if image.end("alt") + 1 == image.end() or image["label"] is not None:
            if self.labels is None:
                self.labels = {label.lower() for label in _LABEL.findall(self.text)}
            if (image["label"] or image["alt"]).lower() not in self.labels:
                return self._keep(mark.start(), mark.end())
        self.pieces.append(image["alt"])
        return image.end()

    def _keep(self, start: int, end: int) -> int:
        self.pieces.append(self.text[start:end])
        return end

    def _drop(self, mark: re.Match[str], end: int | None) -> int:
        """Leave out the text from `mark` to `end`, and its whole line when there is nothing else in it.

        What is never closed hides all that follows when it begins a line; else it is no mark.
        """
        start = mark.start()
        before = self.text[max(0, start - 80) : start].rstrip(" \t")
        begins_line = before.endswith("\n") or (not before and start <= 80)
        if end is None and not begins_line:
            return self._keep(start, mark.end())
        if end is None:
            return len(self.text)
        rest_of_line = re.compile(r"[ \t]*\n").match(self.text, end)
        return rest_of_line.end() if begins_line and rest_of_line else end

    def _after(self, closing: str, position: int, rest: str = "") -> int | None:
        """The place after the next `closing` (in any case) and the `rest`, a pattern, that follows it."""
        if closing in self.missing:
            return None
        found = re.compile(re.escape(closing) + rest, re.IGNORECASE).search(self.text, position)
        if found is None:
            self.missing.add(closing)
        return found.end() if found else None

    def _end_of_element(self, name: str, position: int) -> int:
        """The end of the element `name` whose opening tag ended at `position`; a paragraph ends with an empty line."""
        depth = 1
        for tag in re.compile(rf"<(/?){name}(?=[\s/>])[^<>]*>", re.IGNORECASE).finditer(self.text, position):
            depth += -1 if tag[1] else 1
            if depth == 0:
                return tag.end()
        if name in {"p", "li", "dt", "dd", "td", "th", "tr"}:
            end = re.compile(r"\n[ \t]*\n").search(self.text, position)
            return end.start() if end else len(self.text)
        return len(self.text)
