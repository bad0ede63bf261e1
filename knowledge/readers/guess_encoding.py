"""Which legacy encoding bytes are in that are not UTF-8: a guess, and only a confident one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

WESTERN = "cp1252"
"""What Excel and older Windows programs write in Western Europe and the Americas."""

_ALPHABETS = ("cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "cp874", "mac_roman")
_IDEOGRAPHS = ("cp932", "euc_jp", "cp949", "gb18030", "big5")

_SAMPLE = 200_000

_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿŒœŠšŽžŸ"
_SIGNS = "\xa0¡¢£¥§©ª«®°±²³´·¹º»¼½¾¿€‚„…†‡‰‹›‘’“”•–—™×÷"  # noqa: RUF001
_WESTERN_CHARACTERS = re.compile(rf"[\x00-\x7f{_LETTERS}{_SIGNS}]*")
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z]{3}|[a-z][¡¢£¥§©«®°±²³¹»¼½¾¿€…•™][a-z]")


def guess(content: bytes) -> str | None:
    """The name of the encoding, or `None` when nobody could be sure."""
    from charset_normalizer import from_bytes

    sample = content
    if len(content) > _SAMPLE:
        sample = content[: content.rfind(b"\n", 0, _SAMPLE) + 1 or _SAMPLE]
    matches = list(from_bytes(sample, cp_isolation=[WESTERN, *_ALPHABETS, *_IDEOGRAPHS]))
    coherence = {name: match.coherence for match in matches for name in match.could_be_from_charset}
    best = max(matches, key=_clearness, default=None)
    if _looks_western(sample) and (best is None or coherence.get(WESTERN, 0.0) >= best.coherence - 0.03):
        return WESTERN
    if best is not None and best.coherence >= 0.2:
        return best.encoding
    ideographs = [match for match in matches if match.encoding in _IDEOGRAPHS and match.chaos <= 0.12]
    if ideographs:
        return max(ideographs, key=_clearness).encoding
    return best.encoding if best is not None and best.coherence >= 0.1 else None


def _clearness(match: CharsetMatch) -> tuple[float, float]:
    return -match.chaos, match.coherence


def _looks_western(sample: bytes) -> bool:
    """Whether the bytes make sense in `WESTERN`: only its usual signs, and accents that stand alone between letters."""
    try:
        text = sample.decode(WESTERN)
    except UnicodeDecodeError:
        return False
    return _WESTERN_CHARACTERS.fullmatch(text) is not None and _FOREIGN.search(text) is None
