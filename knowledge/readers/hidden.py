"""What a page hides from its readers by style, and what a text hides in characters that nobody sees."""

from __future__ import annotations

import re
from collections.abc import Callable

from knowledge.readers import Finding, SourceFile
from knowledge.readers.encoding import clean, decode, legacy_codec

MAX_QUOTED = 200
"""Characters of a hidden piece that are kept for staff."""

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
_BARELY_DIFFERENT = 1.15
"""The contrast (as WCAG reckons it, 1 to 21) below which text cannot be told from what is behind it."""

_NAMES: dict[str, Colour] = {
    "white": WHITE,
    "snow": (255, 250, 250),
    "ivory": (255, 255, 240),
    "ghostwhite": (248, 248, 255),
    "whitesmoke": (245, 245, 245),
    "mintcream": (245, 255, 250),
    "azure": (240, 255, 255),
    "floralwhite": (255, 250, 240),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "silver": (192, 192, 192),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "navy": (0, 0, 128),
    "yellow": (255, 255, 0),
}
_HEX = re.compile(r"#?([0-9a-f]{8}|[0-9a-f]{6}|[0-9a-f]{3,4})", re.IGNORECASE)
_RGB = re.compile(r"rgba?\(\s*([\d.]+%?)[\s,]+([\d.]+%?)[\s,]+([\d.]+%?)(?:[\s,/]+([\d.]+%?))?\s*\)", re.IGNORECASE)
_DECLARATION = re.compile(r"([\w-]+)\s*:\s*([^;]*)")
_LENGTH = re.compile(r"(-?\d*\.?\d+)\s*(px|pt|em|rem|%|vw|vh|in|cm|mm)?", re.IGNORECASE)
_TINY = {
    "": 2,
    "px": 2,
    "pt": 1.5,
    "em": 0.15,
    "rem": 0.15,
    "%": 15,
    "vw": 0.15,
    "vh": 0.15,
    "in": 0.02,
    "cm": 0.05,
    "mm": 0.5,
}
_OFFSCREEN = {
    "": 400,
    "px": 400,
    "pt": 300,
    "em": 30,
    "rem": 30,
    "%": 100,
    "vw": 100,
    "vh": 100,
    "in": 5,
    "cm": 10,
    "mm": 100,
}

_TAGS = re.compile("[\U000e0000-\U000e007f]+")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_ZERO_WIDTH = re.compile("[\u200b-\u200d\u2060-\u2064\ufeff\u180e]{8,}")
_OVERRIDE = re.compile("([\u202d\u202e])([^\u202a-\u202e\n]*)[\u202c\u202a\u202b\u202d\u202e]?")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_LEFT_TO_RIGHT = re.compile("[A-Za-z\u00c0-\u024f\u0370-\u052f]")
_FEW = 4
"""Letters that say nothing when they are read backwards."""
_RARE = re.compile("[\u180e\u200b-\u200d\u202d\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]")


def shown_text(file: SourceFile, hidden: list[Finding]) -> str:
    """The text of a text file, decoded and cleaned; what it says in characters that nobody sees is added to `hidden`."""
    declared = legacy_codec(file.charset) if file.charset else None
    return clean(without_invisible(decode(file.content, declared), hidden))


def quoted(text: str) -> str:
    """One line of a piece, short enough to be shown."""
    line = " ".join(clean(text[: 4 * MAX_QUOTED]).split())
    return line if len(line) <= MAX_QUOTED else f"{line[:MAX_QUOTED].rstrip()}…"


def declarations(style: str) -> dict[str, str]:
    """The declarations of a CSS style, the last of each property."""
    found = {name.lower(): value.strip().lower() for name, value in _DECLARATION.findall(style)}
    return {name: value.removesuffix("!important").strip() for name, value in found.items()}


def why_invisible(style: str | dict[str, str]) -> str:
    """In what way a CSS style hides the text of its element from everybody; empty when it does not."""
    given = style if isinstance(style, dict) else declarations(style) if ":" in style else {}
    if not given:
        return ""
    if given.get("display") == "none":
        return "display:none"
    if given.get("visibility") in {"hidden", "collapse"}:
        return "visibility:hidden"
    if _number(given.get("opacity", "")) < 0.05:
        return "transparent"
    if _at_most(given.get("font-size", ""), _TINY):
        return "too small to be read"
    if any(_is_far_out(given.get(side, "")) for side in ("left", "top", "text-indent", "margin-left", "right")):
        return "outside of the page"
    if _is_clipped(given):
        return "cut down to nothing"
    return ""


def is_invisible(style: str) -> bool:
    """Whether an inline CSS style hides the text of its element."""
    return bool(why_invisible(style))


def as_colour(value: str) -> Colour | None:
    """The colour that CSS or Word names so, `None` when it is unknown; what is (nearly) transparent counts as unknown."""
    value = value.strip().lower()
    if value in _NAMES:
        return _NAMES[value]
    if (found := _HEX.fullmatch(value)) is not None:
        digits = found[1] if len(found[1]) > 4 else "".join(2 * digit for digit in found[1])
        return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16))
    if (found := _RGB.fullmatch(value)) is not None and not (found[4] and _number(found[4]) < 0.1):
        red, green, blue = (_channel(part) for part in found.group(1, 2, 3))
        return (red, green, blue)
    return None


def is_transparent(value: str) -> bool:
    """Whether a colour lets everything through: `transparent`, or an alpha near nothing."""
    found = _RGB.fullmatch(value.strip())
    return value.strip().lower() == "transparent" or bool(found and found[4] and _number(found[4]) < 0.05)


def cannot_be_told_apart(text: Colour, background: Colour) -> bool:
    """Whether text of one colour cannot be seen on the other."""
    lighter, darker = sorted((_luminance(text), _luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05) < _BARELY_DIFFERENT


def without_invisible(text: str, hidden: list[Finding]) -> str:
    """`text` without messages in characters that nobody sees; they are added to `hidden`.

    Those are: tag characters and runs of variation selectors (either can spell out any text), long runs of zero-width
    characters, and text whose writing direction is overridden, so that people see it backwards. Single ones of these
    characters mean nothing and are left to `clean`.
    """
    if text.isascii() or _RARE.search(text) is None:
        return text
    flags: list[str] = []

    def keep_flag(flag: re.Match[str]) -> str:
        flags.append(flag[0])
        return "\U0001f3f4\ufdd0"  # a character that never stands for anything

    text = _FLAG.sub(keep_flag, text.replace("\ufdd0", ""))
    text = _TAGS.sub(_reporting(hidden, _said_by_tags, "in invisible tag characters"), text)
    text = _SELECTORS.sub(_reporting(hidden, _said_by_selectors, "in invisible variation selectors"), text)
    text = _ZERO_WIDTH.sub(_reporting(hidden, lambda run: "", "a run of zero-width characters"), text)

    def overridden(run: re.Match[str]) -> str:
        turned = _LEFT_TO_RIGHT if run[1] == "\u202e" else _RIGHT_TO_LEFT
        if len(turned.findall(run[2])) < _FEW:
            return run[2]
        hidden.append(Finding(quoted(run[2]), "shown backwards by an override of the writing direction"))
        return " "

    text = _OVERRIDE.sub(overridden, text)
    return re.sub("\ufdd0", lambda _: flags.pop(0)[1:], text) if flags else text


def _reporting(hidden: list[Finding], spell: Callable[[str], str], why: str) -> Callable[[re.Match[str]], str]:
    """A replacement by nothing that notes what a run of characters says."""

    def replace(run: re.Match[str]) -> str:
        hidden.append(Finding(quoted(spell(run[0])), why))
        return ""

    return replace


def _said_by_tags(run: str) -> str:
    return "".join(chr(ord(character) - 0xE0000) for character in run if 0xE0020 <= ord(character) < 0xE007F)


def _said_by_selectors(run: str) -> str:
    """Each of the 256 selectors stands for a byte."""
    codes = (ord(character) for character in run)
    return bytes(code - 0xFE00 if code < 0xFE10 else code - 0xE0100 + 16 for code in codes).decode("utf-8", "replace")


def _number(value: str) -> float:
    """A number or a percentage as a share; 1 when it is neither."""
    try:
        return float(value[:-1]) / 100 if value.endswith("%") else float(value)
    except ValueError:
        return 1.0


def _channel(value: str) -> int:
    number = _number(value) * 255 if value.endswith("%") else _number(value)
    return max(0, min(255, round(number)))


def _at_most(value: str, limits: dict[str, float]) -> bool:
    found = _LENGTH.fullmatch(value)
    return found is not None and float(found[1]) <= limits[(found[2] or "").lower()]


def _is_far_out(value: str) -> bool:
    found = _LENGTH.fullmatch(value)
    return found is not None and -float(found[1]) >= _OFFSCREEN[(found[2] or "").lower()]


def _is_clipped(given: dict[str, str]) -> bool:
    if re.fullmatch(r"rect\(\s*([01])(px)?[\s,]+\1(px)?[\s,]+\1(px)?[\s,]+\1(px)?\s*\)", given.get("clip", "")):
        return True
    if re.match(r"inset\(\s*(?:[5-9]\d|100)%|circle\(\s*0", given.get("clip-path", "")):
        return True
    if re.search(r"scale[xy]?\(\s*0*\.?0+\s*[,)]", given.get("transform", "")):
        return True
    small = any(
        re.fullmatch(r"[01](?:\.\d+)?(?:px)?", given.get(side, "")) for side in ("height", "max-height", "width")
    )
    return small and given.get("overflow") == "hidden"


def _luminance(colour: Colour) -> float:
    shares = (channel / 255 for channel in colour)
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
