"""What a Word document holds that nobody sees: text marked as hidden, in the colour of its background, or too small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element, fromstring, tostring

from knowledge.readers import Finding
from knowledge.readers.fields import has_text
from knowledge.readers.hidden import WHITE, Colour, as_colour, cannot_be_told_apart, quoted

_TINY = 3
"""Half points; text of this size or less is not read by anybody."""

_MAX_INHERITED = 20
_MAX_FOUND = 50
_THEME = {"background1": WHITE, "lt1": WHITE, "bg1": WHITE, "light1": WHITE, "text1": (0, 0, 0), "dark1": (0, 0, 0)}
_ON = {"", "1", "true", "on"}


@dataclass(frozen=True, slots=True)
class _Look:
    """How a run looks; what is `None` is left to what it inherits from."""

    vanish: bool | None = None
    colour: Colour | None = None
    size: int | None = None
    ground: Colour | None = None
    has_ground: bool = False

    def over(self, other: _Look) -> _Look:
        """What it says, and what the other says where it is silent."""
        return _Look(
            self.vanish if self.vanish is not None else other.vanish,
            self.colour if self.colour is not None else other.colour,
            self.size if self.size is not None else other.size,
            self.ground if self.has_ground else other.ground,
            self.has_ground or other.has_ground,
        )


_NONE = _Look()


class Unseen:
    """Takes what nobody sees out of the parts of one file, and keeps it for staff."""

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self._styles: dict[str, Element] = {}
        self._looks: dict[str, _Look] = {}
        self._default = _NONE
        self._texts: list[tuple[str, str]] = []
        if "word/styles.xml" in parts:
            self._read_styles(fromstring(parts["word/styles.xml"]))

    def without(self, part: bytes) -> bytes:
        """The part without hidden text."""
        root = fromstring(part)
        background = _child(root, "background")
        page = _colour(background, "color") if background is not None else WHITE
        self._walk(root, page if page is not None else WHITE)
        written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
        return written

    def found(self) -> list[Finding]:
        """What was taken out; pieces of one kind that follow one another are one."""
        joined: list[tuple[str, str]] = []
        for text, why in self._texts:
            if joined and joined[-1][1] == why and len(joined[-1][0]) < 400:
                joined[-1] = (joined[-1][0] + text, why)
            else:
                joined.append((text, why))
        return [Finding(quoted(text), why) for text, why in joined[:_MAX_FOUND] if has_text(text)]

    # Styles ----------------------------------------------------------------------------------------------------------

    def _read_styles(self, root: Element) -> None:
        for style in _children(root, "style"):
            self._styles[_value(style, "styleId")] = style
        defaults = _child(root, "docDefaults")
        run = _child(defaults, "rPrDefault") if defaults is not None else None
        self._default = _look(_child(run, "rPr")) if run is not None else _NONE

    def _style(self, name: str, depth: int = 0) -> _Look:
        """The look that a style gives, with what it is based on."""
        if name in self._looks:
            return self._looks[name]
        style = self._styles.get(name)
        if style is None or depth > _MAX_INHERITED:
            return _NONE
        base = _child(style, "basedOn")
        inherited = self._style(_value(base, "val"), depth + 1) if base is not None else _NONE
        look = _look(_child(style, "rPr")).over(_shading(_child(style, "pPr"))).over(inherited)
        self._looks[name] = look
        return look

    def _shades(self, table: Element) -> bool:
        """Whether a table's style colours some of its cells, so that nobody can say which is behind a text."""
        properties = _child(table, "tblPr")
        named = _child(properties, "tblStyle") if properties is not None else None
        name = _value(named, "val") if named is not None else ""
        for _ in range(_MAX_INHERITED):
            style = self._styles.get(name)
            if style is None:
                return False
            if any(_tag(element) == "shd" for element in style.iter()):
                return True
            base = _child(style, "basedOn")
            name = _value(base, "val") if base is not None else ""
        return False

    # The text --------------------------------------------------------------------------------------------------------

    def _walk(self, root: Element, page: Colour) -> None:
        """Visit everything below `root`, without recursion, each with the look that surrounds it."""
        stack: list[tuple[Element, _Look]] = [(root, _Look(colour=(0, 0, 0), ground=page, has_ground=True))]
        while stack:
            element, around = stack.pop()
            tag = _tag(element)
            if tag == "r":
                self._run(element, around)
                # What is drawn inside of a run (text boxes) has runs of its own.
                stack += [(child, around) for child in element if _tag(child) not in {"t", "rPr"}]
                continue
            if tag == "tr" and _is_hidden_row(element):
                self._take(element, "marked as hidden")
                continue
            around = self._surroundings(element, tag, around)
            stack.extend((child, around) for child in reversed(element))

    def _surroundings(self, element: Element, tag: str, around: _Look) -> _Look:
        if tag == "tbl" and self._shades(element):
            return replace(around, ground=None, has_ground=True)
        if tag == "tc":
            return _shading(_child(element, "tcPr")).over(around)
        if tag == "txbxContent":
            return replace(around, ground=None, has_ground=True)  # a box may be filled with anything
        if tag != "p":
            return around
        properties = _child(element, "pPr")
        style = _child(properties, "pStyle") if properties is not None else None
        named = self._style(_value(style, "val")) if style is not None else _NONE
        return _shading(properties).over(named).over(self._default).over(around)

    def _run(self, run: Element, around: _Look) -> None:
        properties = _child(run, "rPr")
        if properties is not None:
            style = _child(properties, "rStyle")
            named = self._style(_value(style, "val")) if style is not None else _NONE
            around = _look(properties).over(named).over(around)
        if why := _why_unseen(around):
            self._take(run, why)

    def _take(self, element: Element, why: str) -> None:
        for text in list(element.iter()):
            if _tag(text) == "t" and text.text:
                self._texts.append((text.text, why))
                text.text = ""
        if _tag(element) == "r":
            self._texts.append((" ", why))


def _why_unseen(look: _Look) -> str:
    if look.vanish:
        return "marked as hidden"
    if look.size is not None and look.size <= _TINY:
        return "too small to be read"
    if look.colour is not None and look.ground is not None and cannot_be_told_apart(look.colour, look.ground):
        return "white on white" if look.ground == WHITE else "text of the colour behind it"
    return ""


def _look(properties: Element | None) -> _Look:
    """The look that the properties of a run ask for."""
    if properties is None:
        return _NONE
    vanish = _child(properties, "vanish")
    size = _child(properties, "sz")
    given = _value(size, "val") if size is not None else ""
    look = _Look(
        vanish=None if vanish is None else _value(vanish, "val").lower() in _ON,
        colour=_text_colour(_child(properties, "color")),
        size=int(given) if given.isascii() and given.isdigit() and len(given) < 5 else None,
    )
    highlight = _child(properties, "highlight")
    if highlight is not None and _value(highlight, "val") != "none":
        return replace(look, ground=as_colour(_value(highlight, "val")), has_ground=True)
    return look.over(_shading(properties))


def _text_colour(colour: Element | None) -> Colour | None:
    if colour is None:
        return None
    theme = _value(colour, "themeColor")
    if theme in _THEME and not _value(colour, "themeTint") and not _value(colour, "themeShade"):
        return _THEME[theme]
    return as_colour(_value(colour, "val"))


def _shading(properties: Element | None) -> _Look:
    """The background that some properties give; none when they give none."""
    shading = _child(properties, "shd") if properties is not None else None
    if shading is None:
        return _NONE
    fill = _value(shading, "fill")
    if fill in {"", "auto"} and _value(shading, "val") in {"", "clear", "nil"} and not _value(shading, "themeFill"):
        return _NONE
    return _Look(ground=as_colour(fill), has_ground=True)


def _colour(element: Element, name: str) -> Colour | None:
    return as_colour(_value(element, name))


def _is_hidden_row(row: Element) -> bool:
    properties = _child(row, "trPr")
    hidden = _child(properties, "hidden") if properties is not None else None
    return hidden is not None and _value(hidden, "val").lower() in _ON


def _tag(element: Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _children(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if _tag(child) == name)


def _child(element: Element, name: str) -> Element | None:
    return next(_children(element, name), None)


def _value(element: Element, name: str) -> str:
    """An attribute, whichever of the two namespaces of Word's format it is in."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return value
    return ""
