"""Strings of a PDF: what they say, how wide they are, what they look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pypdf.generic._font import Font


@dataclass(frozen=True, slots=True)
class Piece:
    """A string on a page: its text, where its baseline begins and ends, its size in points, and what it looks like.

    `hidden` says why nobody sees it; empty for what is seen. `space` is the width of a space in it. `turned` text does
    not run from left to right.
    """

    text: str
    left: float
    right: float
    base: float
    size: float
    bold: bool = False
    code: bool = False
    turned: bool = False
    space: float = 0.0
    hidden: str = ""
    order: int = 0
    link: str = ""


def decoded(raw: bytes | str, font: Font | None) -> tuple[str, float, int, int]:
    """A string's text, its width in thousandths of its size, its spaces, and how many characters it is shown with."""
    data = raw if isinstance(raw, bytes) else raw.encode("latin-1", "replace")
    if font is None or not font.interpretable:
        return "", 500.0 * len(data), 0, len(data)
    if isinstance(font.encoding, str):
        codes = data.decode(font.encoding, "surrogatepass" if len(data) % 2 == 0 else "replace")
        given = codes
    else:
        codes = data.decode("latin-1")
        given = "".join([font.encoding.get(code, chr(code)) for code in data])
    mapped = font.character_map
    text = "".join([mapped.get(sign, sign) for sign in given])
    widths = font.character_widths
    default = widths.get("default", 500)
    width = sum(font.space_width if sign == font.space_char else widths.get(sign, default) for sign in codes)
    return text, float(width), data.count(b" ") if not isinstance(font.encoding, str) else 0, len(codes)


def is_bold(font: Font | None) -> bool:
    """Whether a font is bold, by its name."""
    return font is not None and any(word in font.name.lower() for word in ("bold", "black", "heavy", "semibd", "demi"))


def is_code(font: Font | None) -> bool:
    """Whether a font is one that code is set in."""
    if font is None:
        return False
    name = font.name.lower()
    return bool(font.font_descriptor.flags & 1 and "mono" in name) or any(
        word in name for word in ("courier", "consol", "menlo", "monospace", "mono-", "monaco", "sourcecode", "cmtt")
    )
