"""Which HTML is too costly to parse: a look at its tags, before any parser sees it.

The rules by which browsers mend broken HTML take time that grows with the tags times the depth at which they stand,
memory that grows with the tags times the formatting (`<b>`, `<font>`) left open before them, and time that grows with
the square of the attributes of a tag. Real pages, however broken, stay far below these limits.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from knowledge.errors import ReaderError

MAX_STEPS = 400_000_000
"""Steps up the tree that the parser may have to make; about a second."""

MAX_REOPENED = 300_000
"""Elements that the parser may have to add of its own accord."""

MAX_TAGS = 400_000
"""Opening tags. Each becomes an object that is looked at several times; 20 MiB of an ordinary manual have 300,000."""

_OPTION = 4
"""Steps for every option that stands before another in a list: the parser looks at all of them again."""

_ATTRIBUTE = re.compile(r"[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\s>\"'][^\s>]*+)?)?")
_TAG = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|<(?P<end>/?)(?P<name>[a-zA-Z][^\s/>]*+)"
    rf"(?P<attributes>(?:{_ATTRIBUTE.pattern})*+)(?P<slash>[\s/]*+)>?",
    re.DOTALL,
)


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_UNPARSED = frozenset({"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"})
_FORMATTING = _names("b big code em font i nobr s small strike strong tt u")
_NEVER_NESTED = _names(
    "a area base body br button col colgroup dd dt embed head hr html img input li link meta nobr optgroup option p "
    "param rb rp rt rtc source tbody td tfoot th thead tr track wbr"
)
_DRAWINGS = frozenset({"svg", "math"})
_LEAVES_DRAWING = _names(
    "b big blockquote body br center code dd div dl dt em embed font h1 h2 h3 h4 h5 h6 head hr i img li listing menu "
    "meta nobr ol p pre ruby s small span strike strong sub sup table tt u ul var "
    "foreignobject desc title mi mo mn ms mtext annotation-xml"
)
_USUAL = 3
"""Formatting elements, one in another, that need not have been left open."""

_FEW = 1000
"""Attributes of one tag that cost nothing worth counting."""


def refuse_costly(html: str) -> None:
    """Raise `ReaderError` when parsing `html` could take more than a few seconds or much memory."""
    if len(html) < 2000:
        return
    count = _Count()
    position = 0
    while (tag := _TAG.search(html, position)) is not None:
        position = tag.end()
        if tag["name"] is None:
            continue
        name = tag["name"].lower()
        is_unparsed = name in _UNPARSED and not tag["end"] and not count.in_drawing
        count.add(name, tag["attributes"], is_end=bool(tag["end"]), is_empty=tag["slash"].endswith("/"))
        if is_unparsed:
            position = _end_of_unparsed(html, name, position)


def _end_of_unparsed(html: str, name: str, position: int) -> int:
    end = re.compile(f"</{name}(?=[\\s/>])", re.IGNORECASE).search(html, position)
    return end.start() if end else len(html)


class _Count:
    """What the tags so far cost at most."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        self.depth = 0
        self.steps = 0
        self.tags = 0
        self.options = 0
        self.formatting: defaultdict[str, list[str]] = defaultdict(list)
        self.left_open = 0
        self.reopened = 0
        self.in_drawing = False

    def add(self, name: str, attributes: str, is_end: bool, is_empty: bool) -> None:
        """Count one more tag; `is_empty` tags end in a slash, which closes them in drawings and formulas only."""
        number = len(_ATTRIBUTE.findall(attributes)) if len(attributes) > _FEW else 0
        self.steps += self.depth + number * number
        if not is_end:
            self._add_tag(name)
        if name in _FORMATTING:
            self._add_formatting(name, attributes, is_end)
        else:
            self.reopened += max(0, self.left_open - _USUAL)
        self.in_drawing = not is_end if name in _DRAWINGS else self.in_drawing and name not in _LEAVES_DRAWING
        if name not in _NEVER_NESTED and not (self.in_drawing and is_empty):
            self._add_nesting(name, is_end)
        if self.steps > MAX_STEPS or self.reopened > MAX_REOPENED:
            raise ReaderError("its HTML leaves too many tags open, or gives one too many attributes or options")

    def _add_tag(self, name: str) -> None:
        self.tags += 1
        if self.tags > MAX_TAGS:
            raise ReaderError(f"it has more than {MAX_TAGS:,} HTML tags; split it")
        if name == "select":
            self.options = 0
        elif name == "option":
            self.options += 1
            self.steps += _OPTION * self.options

    def _add_formatting(self, name: str, attributes: str, is_end: bool) -> None:
        opened = self.formatting[name]
        if is_end and opened:
            opened.pop()
            self.left_open -= 1
        elif not is_end and opened[-3:].count(attributes) < 3:  # the parser keeps three that are alike
            opened.append(attributes)
            self.left_open += 1

    def _add_nesting(self, name: str, is_end: bool) -> None:
        if not is_end:
            self.open[name] += 1
            self.depth += 1
        elif self.open[name]:
            self.open[name] -= 1
            self.depth -= 1
