"""What a page's own styles say about which of its text can be seen: its `<style>` sheets, inline styles, old attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from knowledge.readers.hidden import (
    WHITE,
    Colour,
    as_colour,
    cannot_be_told_apart,
    declarations,
    is_transparent,
    why_invisible,
)

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_SHEET = 300_000
"""Characters of style sheets that are looked at."""

MAX_RULES = 400
"""Rules that can hide something; a page has a few."""

MAX_STYLED = 50_000
"""Elements that rules are noted for."""

_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_RULE = re.compile(r"([^{}]*)([{}])")
_TELLING = re.compile(
    r"(?:^|;)\s*(?:display|visibility|opacity|font-size|left|right|top|text-indent|margin-left|clip|clip-path|transform"
    r"|height|max-height|width|overflow|color|background|background-color)\s*:",
    re.IGNORECASE,
)
_MEDIA = re.compile(
    r"@(?:media\s+(?:only\s+)?(?:screen|all)\s*(?:and[^{}]*)?|layer[^{}]*|supports[^{}]*)", re.IGNORECASE
)
_EVERYDAY = re.compile(r"min-width|max-width|min-height|max-height|prefers|orientation|print", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Look:
    """How text looks at some place of a page; a colour is `None` when the page alone does not tell it."""

    colour: Colour | None = (0, 0, 0)
    ground: Colour | None = WHITE
    clear: bool = False
    """The text itself is transparent."""

    @property
    def why_unseen(self) -> str:
        """In what way text of this look cannot be seen; empty when it can, or when nobody knows."""
        if self.clear:
            return "transparent text"
        if self.colour is not None and self.ground is not None and cannot_be_told_apart(self.colour, self.ground):
            return "white on white" if self.ground == WHITE else "text of the colour behind it"
        return ""


class Styles:
    """The styles of one page. `foreign` says that it also uses sheets that are not in it."""

    def __init__(self, page: LexborHTMLParser) -> None:
        self.foreign = page.css_first("link[rel~=stylesheet]") is not None
        self._of: dict[int, dict[str, str]] = {}
        sheet = "\n".join(node.text() for node in page.css("style"))[:MAX_SHEET]
        for number, (selector, body) in enumerate(_rules(sheet)):
            if number >= MAX_RULES or len(self._of) > MAX_STYLED:
                break
            self._note(page, selector, declarations(body))

    def of(self, node: LexborNode, attributes: dict[str, str | None]) -> dict[str, str]:
        """The declarations that hold for an element."""
        inline = attributes.get("style")
        sheet = self._of.get(node.mem_id)
        if not inline:
            return sheet or {}
        return {**sheet, **declarations(inline)} if sheet else declarations(inline)

    def why_hidden(self, node: LexborNode, attributes: dict[str, str | None]) -> str:
        """In what way an element is hidden from everyone; empty when it is not.

        `hidden=until-found` is a folded section: its text can be found.
        """
        if (attributes.get("hidden", "until-found") or "").lower() != "until-found":
            return "marked as hidden"
        given = self.of(node, attributes)
        return why_invisible(given) if given else ""

    def look(self, node: LexborNode, tag: str, attributes: dict[str, str | None], around: Look) -> Look:
        """How text directly inside an element looks, from how it looks around it."""
        given = self.of(node, attributes)
        if not given and not attributes:
            return around
        look = around
        if self.foreign and (attributes.get("class") or attributes.get("id")):
            look = replace(look, ground=None)  # a sheet that nobody has read may colour it
        if ground := given.get("background-color") or given.get("background") or attributes.get("bgcolor"):
            look = replace(look, ground=_ground(ground, look.ground))
        colour = given.get("color") or (attributes.get("color") if tag == "font" else None)
        if tag == "body":
            colour = colour or attributes.get("text")
        if colour and colour != "inherit":
            through = is_transparent(colour) and "text" not in given.get("background-clip", "")
            clipped = "text" in given.get("-webkit-background-clip", "")
            look = replace(look, colour=as_colour(colour), clear=through and not clipped)
        return look

    def _note(self, page: LexborHTMLParser, selector: str, given: dict[str, str]) -> None:
        from selectolax.lexbor import SelectolaxError

        try:
            nodes = page.css(selector)
        except (SelectolaxError, ValueError):
            return  # a selector that this parser does not know matches nothing
        for node in nodes[:MAX_STYLED]:
            self._of.setdefault(node.mem_id, {}).update(given)


def _ground(value: str, behind: Colour | None) -> Colour | None:
    """The colour of a background; what is behind it shows through one that is transparent."""
    value = value.strip().lower()
    if value in {"none", "inherit"} or is_transparent(value):
        return behind
    if "url(" in value or "gradient" in value:
        return None
    found = as_colour(value)
    return found if found is not None else next(filter(None, map(as_colour, value.split())), None)


def _rules(sheet: str) -> Iterator[tuple[str, str]]:
    """The selectors and declarations of a sheet that may hide something, as they hold for a screen of any size."""
    sheet = _COMMENT.sub(" ", sheet)
    applies = [True]
    selector = ""
    for text, brace in _RULE.findall(sheet):
        if brace == "{":
            selector = text.rpartition(";")[2].strip()
            if selector.startswith("@"):
                applies.append(applies[-1] and bool(_MEDIA.fullmatch(selector)) and not _EVERYDAY.search(selector))
            else:
                applies.append(applies[-1])
            continue
        if applies[-1] and selector and not selector.startswith("@") and ":" not in selector and _TELLING.search(text):
            yield selector, text
        selector = ""
        if len(applies) > 1:
            applies.pop()
