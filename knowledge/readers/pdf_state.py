"""The graphics state of a PDF's drawing program, and the operators that do nothing but set a part of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knowledge.readers.hidden import Colour

if TYPE_CHECKING:
    from pypdf.generic._font import Font

Matrix = tuple[float, float, float, float, float, float]
Box = tuple[float, float, float, float]
IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

UNKNOWN: Colour = (127, 127, 127)
"""Stands for the colour of a pattern or a special ink."""

_NOT_PLAIN = {"/Multiply", "/Screen", "/Overlay", "/Darken", "/Lighten", "/ColorBurn", "/HardLight", "/SoftLight"}


@dataclass(slots=True)
class State:
    """The graphics state, as `q` saves and `Q` restores it."""

    matrix: Matrix = IDENTITY
    fill: Colour = (0, 0, 0)
    stroke: Colour = (0, 0, 0)
    alpha: float = 1.0
    blend: bool = False
    font: Font | None = None
    size: float = 12.0
    spacing: float = 0.0
    word_spacing: float = 0.0
    scale: float = 1.0
    leading: float = 0.0
    rise: float = 0.0
    mode: int = 0


def number(value: Any) -> float:
    """An operand as a number; 0 when it is none."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return found if math.isfinite(found) else 0.0


def numbers(operands: Any, count: int) -> tuple[float, ...]:
    """`count` operands as numbers; those that are missing are 0."""
    found = tuple(number(operand) for operand in list(operands)[:count])
    return found + (0.0,) * (count - len(found))


def as_matrix(operands: Any) -> Matrix:
    """Six operands as a matrix; fewer change nothing."""
    if not isinstance(operands, list | tuple) or len(operands) < 6:
        return IDENTITY
    a, b, c, d, e, f = numbers(operands, 6)
    return (a, b, c, d, e, f)


def combined(one: Matrix, other: Matrix) -> Matrix:
    """The matrix that does `one`, then `other`."""
    a, b, c, d, e, f = one
    p, q, r, s, t, u = other
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def box_around(matrix: Matrix, points: Sequence[tuple[float, float]]) -> Box:
    """The box around some points."""
    a, b, c, d, e, f = matrix
    across = [a * x + c * y + e for x, y in points]
    up = [b * x + d * y + f for x, y in points]
    return (min(across), min(up), max(across), max(up))


def dictionary(value: Any) -> Any:
    """A dictionary of the file, or `None` for anything else."""
    from pypdf.generic import DictionaryObject

    found = value.get_object() if value is not None and hasattr(value, "get_object") else value
    return found if isinstance(found, DictionaryObject) else None


def entry(given: Any, key: str) -> Any:
    """What a dictionary holds under `key`, followed to where it is kept; `None` when there is nothing."""
    if key in given:
        return given[key]
    return None


def _grey(operands: Any) -> Colour:
    level = _channel(numbers(operands, 1)[0])
    return (level, level, level)


def _rgb(operands: Any) -> Colour:
    red, green, blue = numbers(operands, 3)
    return (_channel(red), _channel(green), _channel(blue))


def _cmyk(operands: Any) -> Colour:
    cyan, magenta, yellow, black = numbers(operands, 4)
    light = 1 - min(1.0, black)
    return (_channel((1 - cyan) * light), _channel((1 - magenta) * light), _channel((1 - yellow) * light))


def _any_colour(operands: Any) -> Colour:
    """A colour by the number of its parts; a pattern's or a special ink's colour is unknown."""
    by_parts = {1: _grey, 3: _rgb, 4: _cmyk}
    if not all(isinstance(operand, int | float) for operand in operands) or len(operands) not in by_parts:
        return UNKNOWN
    return by_parts[len(operands)](operands)


def _channel(share: float) -> int:
    return max(0, min(255, round(share * 255)))


def set_graphics(state: State, operands: Any, resources: Any) -> None:
    """What a named set of parameters says of opacity, mixing and font size."""
    sets = dictionary(resources.get("/ExtGState")) if resources is not None else None
    given = dictionary(sets.get(operands[0])) if sets is not None and operands else None
    if given is None:
        return
    if "/ca" in given:
        state.alpha = number(given["/ca"])
    if "/BM" in given:
        mode = given["/BM"]
        state.blend = (mode[0] if isinstance(mode, list) and mode else mode) in _NOT_PLAIN


def _setter(name: str, read: Callable[[Any], Any]) -> Callable[[State, Any], None]:
    def set_(state: State, operands: Any) -> None:
        setattr(state, name, read(operands))

    return set_


def _one(operands: Any) -> float:
    return numbers(operands, 1)[0]


def _concatenate(state: State, operands: Any) -> None:
    state.matrix = combined(as_matrix(operands), state.matrix)


SETTERS: dict[bytes, Callable[[State, Any], None]] = {
    b"cm": _concatenate,
    b"Tc": _setter("spacing", _one),
    b"Tw": _setter("word_spacing", _one),
    b"Tz": _setter("scale", lambda operands: _one(operands) / 100),
    b"TL": _setter("leading", _one),
    b"Ts": _setter("rise", _one),
    b"Tr": _setter("mode", lambda operands: int(_one(operands))),
    b"g": _setter("fill", _grey),
    b"rg": _setter("fill", _rgb),
    b"k": _setter("fill", _cmyk),
    b"sc": _setter("fill", _any_colour),
    b"scn": _setter("fill", _any_colour),
    b"cs": _setter("fill", lambda operands: (0, 0, 0)),
    b"G": _setter("stroke", _grey),
    b"RG": _setter("stroke", _rgb),
    b"K": _setter("stroke", _cmyk),
    b"SC": _setter("stroke", _any_colour),
    b"SCN": _setter("stroke", _any_colour),
    b"CS": _setter("stroke", lambda operands: (0, 0, 0)),
}
