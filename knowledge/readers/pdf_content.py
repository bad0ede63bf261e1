"""A page of a PDF as pieces of text with their places, and which of them nobody sees.

The page's drawing program is followed the way a viewer does: where each string stands, in what size, colour and mode, and
what is painted below or over it. pypdf parses the program and knows the fonts; nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from knowledge.errors import ReaderError
from knowledge.readers.hidden import WHITE, Colour, cannot_be_told_apart
from knowledge.readers.pdf_state import (
    IDENTITY,
    SETTERS,
    UNKNOWN,
    Box,
    Matrix,
    State,
    as_matrix,
    box_around,
    combined,
    dictionary,
    entry,
    number,
    numbers,
    set_graphics,
)
from knowledge.readers.pdf_text import Piece, decoded, is_bold, is_code

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader
    from pypdf.generic import DictionaryObject
    from pypdf.generic._font import Font

MAX_PIECES = 60_000
"""Strings on one page; a dense newspaper page has 20,000."""

MAX_FORMS = 2_000
_MAX_DEPTH = 12
_TINY = 1.5
"""Points; text below this size is not read by anybody."""

_FAINT = 0.05
"""Opacity below which nothing is seen."""

_PAINTS = {b"f", b"F", b"f*", b"B", b"B*", b"b", b"b*"}
_PATH_ENDS = {b"S", b"s", b"n", *_PAINTS}


@dataclass(frozen=True, slots=True)
class _Painted:
    """An area that something was painted on: its colour (`None` for a picture or pattern), and when."""

    box: Box
    colour: Colour | None
    order: int
    covers: bool
    """Nothing below it shows through."""


@dataclass(slots=True)
class Page:
    """What was found on a page."""

    pieces: list[Piece] = field(default_factory=list)
    pictures: int = 0
    pictured: float = 0.0
    """The share of the page that its largest picture covers."""
    height: float = 1.0
    turn: Matrix = IDENTITY
    """What brings places of the file to places on the page as it is shown, its lower left corner being 0, 0."""


class Interpreter:
    """Follows the drawing programs of the pages of one file."""

    def __init__(self, reader: PdfReader) -> None:
        self._reader = reader
        self._fonts: dict[int, Font | None] = {}
        self._off = _layers_that_are_off(reader)

    def read(self, page: PageObject) -> Page:
        """The pieces of one page, in the order in which they are drawn."""
        from pypdf.generic import StreamObject

        run = _Run(self._reader, page, self._font, self._off)
        contents = entry(page, "/Contents")
        if isinstance(contents, StreamObject | list):
            run.follow(contents, dictionary(page.get("/Resources")), State(matrix=run.turn), 0)
        return run.finish()

    def _font(self, resource: DictionaryObject) -> Font | None:
        from pypdf.generic._font import Font

        key = id(resource)
        if key not in self._fonts:
            try:
                self._fonts[key] = Font.from_font_resource(resource)
            except (AttributeError, TypeError, KeyError, IndexError, ValueError):
                self._fonts[key] = None
        return self._fonts[key]


class _Run:
    """One page being followed."""

    def __init__(
        self,
        reader: PdfReader,
        page: PageObject,
        font: Callable[[DictionaryObject], Font | None],
        off: frozenset[int],
    ) -> None:
        self.reader = reader
        self.load = font
        self._off = off
        self.box = _box(page)
        self.turn = _turned(self.box, int(number(page.get("/Rotate", 0))) % 360)
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        if self.turn[0] == 0:
            width, height = height, width
        self.width, self.height = max(1.0, width), max(1.0, height)
        self.page = Page(height=self.height, turn=self.turn)
        self.painted: list[_Painted] = []
        self.order = 0
        self._forms = 0
        self._colours = {WHITE}
        self._open: set[int] = set()
        self._path: list[Box] = []
        self._unsure = False
        self.hidden_layers = 0

    # What is drawn ---------------------------------------------------------------------------------------------------

    def follow(self, program: Any, resources: Any, state: State, depth: int) -> None:
        """Follow one program: a page's, or that of a form drawn on it."""
        from pypdf.generic import ContentStream

        walk = _Walk(self, resources, state, depth)
        for operands, operator in ContentStream(program, self.reader, "bytes").operations:
            self.order += 1
            if operator in SETTERS:
                SETTERS[operator](walk.state, operands)
            elif operator in _WALKS:
                _WALKS[operator](walk, operands)
            elif operator in _PATH_ENDS:
                if operator in _PAINTS:
                    self._paint(walk.state)
                self._path, self._unsure = [], False

    def string(self, raw: bytes | str, state: State, text: Matrix) -> float:
        """Note one string that stands at `text`; returns how far it reaches."""
        if len(self.page.pieces) >= MAX_PIECES:
            raise ReaderError(
                f"one of its pages has more than {MAX_PIECES:,} pieces of text; save it in a simpler form"
            )
        words, width, spaces, count = decoded(raw, state.font)
        across = (width / 1000 * state.size + count * state.spacing + spaces * state.word_spacing) * state.scale
        after = combined((1.0, 0.0, 0.0, 1.0, across, 0.0), text)
        place = combined((1.0, 0.0, 0.0, 1.0, 0.0, state.rise), combined(text, state.matrix))
        end = combined(after, state.matrix)
        size = abs(state.size) * math.hypot(place[2], place[3])
        if words:
            turned = abs(place[1]) > 0.3 * abs(place[0]) or place[0] < 0
            space = (
                (state.font.space_width if state.font else 250)
                / 1000
                * abs(state.size)
                * math.hypot(place[0], place[1])
            )
            self.page.pieces.append(
                Piece(
                    words,
                    min(place[4], end[4]),
                    max(place[4], end[4]),
                    place[5],
                    size,
                    bold=is_bold(state.font),
                    code=is_code(state.font),
                    turned=turned,
                    space=space * state.scale,
                    hidden=self._why_hidden(state, place, end, size),
                    order=self.order,
                )
            )
        return across

    def _why_hidden(self, state: State, place: Matrix, end: Matrix, size: float) -> str:
        """Why a string that is about to be drawn will not be seen, as far as is known now."""
        if state.mode in (3, 7):
            return "invisible text"
        if self.hidden_layers:
            return "on a layer that is switched off"
        if state.alpha < _FAINT:
            return "transparent text"
        if size < _TINY:
            return "too small to be read"
        left, right = min(place[4], end[4]), max(place[4], end[4])
        if right < -1 or left > self.width + 1 or place[5] < -1 - size or place[5] > self.height + 1:
            return "outside of the page"
        colour = state.stroke if state.mode in (1, 5) else state.fill
        if not any(cannot_be_told_apart(colour, painted) for painted in self._colours):
            return ""  # whatever it stands on, it can be seen: charts have thousands of shapes to look through
        ground = self._ground((left + right) / 2, place[5] + size / 4)
        if ground is not None and cannot_be_told_apart(colour, ground):
            return "white on white" if ground == WHITE else "text of the colour behind it"
        return ""

    def _ground(self, across: float, up: float) -> Colour | None:
        """The colour at a place; `None` where there is a picture or a pattern."""
        for painted in reversed(self.painted):
            left, bottom, right, top = painted.box
            if left <= across <= right and bottom <= up <= top:
                return painted.colour
        return WHITE

    # What is painted -------------------------------------------------------------------------------------------------

    def add_to_path(self, operator: bytes, operands: Any, matrix: Matrix) -> None:
        given = numbers(operands, len(operands))
        if operator == b"re" and len(given) >= 4:
            across, up, width, height = given[:4]
            self._path.append(box_around(matrix, [(across, up), (across + width, up + height)]))
            return
        self._unsure = True  # a shape of its own: what is inside of it is a guess
        points = list(zip(given[::2], given[1::2], strict=False))
        if points:
            box = box_around(matrix, points)
            if operator == b"m" or not self._path:
                self._path.append(box)
            else:
                last = self._path[-1]
                joined = (min(last[0], box[0]), min(last[1], box[1]), max(last[2], box[2]), max(last[3], box[3]))
                self._path[-1] = joined

    def _paint(self, state: State) -> None:
        covers = not self._unsure and state.alpha > 0.95 and not state.blend and not self.hidden_layers
        if state.alpha < _FAINT or self.hidden_layers or len(self.painted) > 20_000:
            return
        for box in self._path[:1000]:
            if box[2] - box[0] > 2 and box[3] - box[1] > 2:  # not a line
                colour = state.fill if state.fill != UNKNOWN else None
                self._colours.add(state.fill)
                self.painted.append(_Painted(box, colour, self.order, covers))

    def picture(self, state: State, *, covers: bool) -> None:
        box = box_around(state.matrix, [(0, 0), (1, 1), (0, 1), (1, 0)])
        self.page.pictures += 1
        seen = max(0.0, min(box[2], self.width) - max(0.0, box[0])) * max(
            0.0, min(box[3], self.height) - max(0.0, box[1])
        )
        self.page.pictured = max(self.page.pictured, seen / self.width / self.height)
        if not self.hidden_layers and state.alpha >= _FAINT:
            covers = covers and state.alpha > 0.95 and not state.blend
            self.painted.append(_Painted(box, None, self.order, covers))

    def draw(self, drawn: Any, resources: Any, state: State, depth: int) -> None:
        """Draw a picture, or a form: a drawing program of its own."""
        kind = entry(drawn, "/Subtype")
        if kind == "/Image":
            self.picture(state, covers=not any(key in drawn for key in ("/SMask", "/Mask", "/ImageMask")))
            return
        self._forms += 1
        if kind != "/Form" or id(drawn) in self._open or depth > _MAX_DEPTH or self._forms > MAX_FORMS:
            return
        is_off = self.layer_is_off(drawn.get("/OC"))
        self.hidden_layers += is_off
        self._open.add(id(drawn))
        matrix = as_matrix(entry(drawn, "/Matrix"))
        own = dictionary(drawn.get("/Resources"))
        self.follow(drawn, own or resources, replace(state, matrix=combined(matrix, state.matrix)), depth + 1)
        self._open.discard(id(drawn))
        self.hidden_layers -= is_off

    def layer_is_off(self, layer: Any) -> bool:
        """Whether viewers do not show a layer (or any of a group of them) at first."""
        if layer is None or not self._off:
            return False
        found = dictionary(layer)
        members = found.get("/OCGs") if found is not None and found.get("/Type") == "/OCMD" else None
        layers = members if isinstance(members, list) else [members if members is not None else layer]
        return bool(layers) and all(getattr(one, "idnum", -1) in self._off for one in layers)

    def finish(self) -> Page:
        """The page, with what was covered afterwards marked as hidden."""
        covers = [one for one in self.painted if one.covers]
        if covers:
            self.page.pieces = [
                replace(piece, hidden="covered by a box or a picture")
                if not piece.hidden and any(_covers(one, piece) for one in covers)
                else piece
                for piece in self.page.pieces
            ]
        return self.page


class _Walk:
    """One drawing program being followed: where its text stands, and what it saved."""

    def __init__(self, run: _Run, resources: Any, state: State, depth: int) -> None:
        self.run = run
        self.resources = resources
        self.state = state
        self.depth = depth
        self.text = self.line = IDENTITY
        self.saved: list[State] = []
        self.marks: list[bool] = []

    def begin_text(self, operands: Any) -> None:
        self.text = self.line = IDENTITY

    def show(self, operands: Any) -> None:
        """One string, or the strings of an array with moves between them."""
        shown = operands[0] if operands else b""
        for part in shown if isinstance(shown, list) else [shown]:
            if isinstance(part, int | float):
                self._move(-float(part) / 1000 * self.state.size * self.state.scale)
            elif isinstance(part, bytes) or type(part).__name__ == "TextStringObject":
                self._move(self.run.string(part, self.state, self.text))

    def show_on_next_line(self, operands: Any) -> None:
        if len(operands) > 2:
            self.state.word_spacing, self.state.spacing = number(operands[0]), number(operands[1])
        self.next_line(operands)
        self.show(operands[-1:])

    def to_line(self, operands: Any) -> None:
        across, up = numbers(operands, 2)
        self.text = self.line = combined((1.0, 0.0, 0.0, 1.0, across, up), self.line)

    def to_line_with_leading(self, operands: Any) -> None:
        self.state.leading = -numbers(operands, 2)[1]
        self.to_line(operands)

    def next_line(self, operands: Any) -> None:
        self.to_line((0.0, -self.state.leading))

    def set_place(self, operands: Any) -> None:
        self.text = self.line = as_matrix(operands)

    def set_font(self, operands: Any) -> None:
        fonts = dictionary(self.resources.get("/Font")) if self.resources is not None else None
        resource = dictionary(fonts.get(operands[0])) if fonts is not None and operands else None
        self.state.font = self.run.load(resource) if resource is not None else None
        self.state.size = number(operands[1]) if len(operands) > 1 else self.state.size

    def save(self, operands: Any) -> None:
        if len(self.saved) < 1000:
            self.saved.append(replace(self.state))

    def restore(self, operands: Any) -> None:
        self.state = self.saved.pop() if self.saved else self.state

    def draw(self, operands: Any) -> None:
        forms = dictionary(self.resources.get("/XObject")) if self.resources is not None else None
        drawn = dictionary(forms.get(operands[0])) if forms is not None and operands else None
        if drawn is not None:
            self.run.draw(drawn, self.resources, self.state, self.depth)

    def draw_inline(self, operands: Any) -> None:
        self.run.picture(self.state, covers=True)

    def shade(self, operands: Any) -> None:
        everywhere = (-1e9, -1e9, 1e9, 1e9)
        self.run.painted.append(_Painted(everywhere, None, self.run.order, covers=False))

    def set_graphics(self, operands: Any) -> None:
        set_graphics(self.state, operands, self.resources)

    def begin_mark(self, operands: Any) -> None:
        is_off = False
        if len(operands) > 1 and operands[0] == "/OC" and self.resources is not None:
            properties = dictionary(self.resources.get("/Properties"))
            if properties is not None and operands[1] in properties:
                is_off = self.run.layer_is_off(properties.raw_get(operands[1]))
        self.marks.append(is_off)
        self.run.hidden_layers += is_off

    def end_mark(self, operands: Any) -> None:
        if self.marks:
            self.run.hidden_layers -= self.marks.pop()

    def _move(self, across: float) -> None:
        self.text = combined((1.0, 0.0, 0.0, 1.0, across, 0.0), self.text)


def _path(operator: bytes) -> Callable[[_Walk, Any], None]:
    def add(walk: _Walk, operands: Any) -> None:
        walk.run.add_to_path(operator, operands, walk.state.matrix)

    return add


_WALKS: dict[bytes, Callable[[_Walk, Any], None]] = {
    b"BT": _Walk.begin_text,
    b"Tj": _Walk.show,
    b"TJ": _Walk.show,
    b"'": _Walk.show_on_next_line,
    b'"': _Walk.show_on_next_line,
    b"Td": _Walk.to_line,
    b"TD": _Walk.to_line_with_leading,
    b"T*": _Walk.next_line,
    b"Tm": _Walk.set_place,
    b"Tf": _Walk.set_font,
    b"q": _Walk.save,
    b"Q": _Walk.restore,
    b"Do": _Walk.draw,
    b"INLINE IMAGE": _Walk.draw_inline,
    b"sh": _Walk.shade,
    b"gs": _Walk.set_graphics,
    b"BMC": _Walk.begin_mark,
    b"BDC": _Walk.begin_mark,
    b"EMC": _Walk.end_mark,
    **{operator: _path(operator) for operator in (b"re", b"m", b"l", b"c", b"v", b"y")},
}


def _covers(painted: _Painted, piece: Piece) -> bool:
    left, bottom, right, top = painted.box
    middle, up = (piece.left + piece.right) / 2, piece.base + piece.size / 4
    inside = left <= middle <= right and bottom <= up <= top
    return inside and painted.order > piece.order and left <= piece.left + 1 and piece.right <= right + 1


def _box(page: PageObject) -> Box:
    """The part of the page that is shown."""
    left, bottom, right, top = (number(edge) for edge in page.cropbox)
    if right - left < 1 or top - bottom < 1:
        return (0.0, 0.0, 612.0, 792.0)
    return (left, bottom, right, top)


def _turned(box: Box, degrees: int) -> Matrix:
    """What brings the lower left corner of the page, as it is shown, to 0, 0."""
    left, bottom, right, top = box
    if degrees == 90:
        return (0.0, -1.0, 1.0, 0.0, -bottom, right)
    if degrees == 180:
        return (-1.0, 0.0, 0.0, -1.0, right, top)
    if degrees == 270:
        return (0.0, 1.0, -1.0, 0.0, top, -left)
    return (1.0, 0.0, 0.0, 1.0, -left, -bottom)


def _layers_that_are_off(reader: PdfReader) -> frozenset[int]:
    """The object numbers of the layers that viewers do not show at first."""
    properties = dictionary(reader.root_object.get("/OCProperties"))
    settings = dictionary(properties.get("/D")) if properties is not None else None
    if settings is None or properties is None:
        return frozenset()
    off = settings.get("/OFF")
    found = {getattr(one, "idnum", -1) for one in (off if isinstance(off, list) else [])}
    if settings.get("/BaseState") == "/OFF":
        everything, on = properties.get("/OCGs"), settings.get("/ON")
        found |= {getattr(one, "idnum", -1) for one in (everything if isinstance(everything, list) else [])}
        found -= {getattr(one, "idnum", -1) for one in (on if isinstance(on, list) else [])}
    return frozenset(found)
