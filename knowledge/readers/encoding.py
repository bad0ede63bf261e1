"""Bytes into text, and text into text that is safe to show: no binary junk, nothing invisible."""

from __future__ import annotations

import codecs
import re
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE

from knowledge.errors import ReaderError

_BOMS = (
    (BOM_UTF8, "utf-8-sig"),
    (BOM_UTF32_LE, "utf-32"),  # before UTF-16, which begins with the same two bytes
    (BOM_UTF32_BE, "utf-32"),
    (BOM_UTF16_LE, "utf-16"),
    (BOM_UTF16_BE, "utf-16"),
)

_BINARY = (
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF87a", "a picture"),
    (b"GIF89a", "a picture"),
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
    (b"\x1f\x8b", "a compressed file"),
    (b"\x7fELF", "a program"),
)

_LEGACY = re.compile(r"(?:cp|windows|iso8859|koi8|mac|big5|gb|euc|shift|hz|johab|tis)[\w-]*", re.IGNORECASE)
_NOT_TEXT = "this is not a text file"
_UNKNOWN_ENCODING = "the encoding of its text cannot be told for certain; save it as UTF-8"

_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\xad\u200b\u2060\ufeff"  # soft hyphen, zero-width space, word joiner, byte order mark
    "\u202a-\u202e\u2066-\u2069"  # overrides of the writing direction
    "\ud800-\udfff"  # halves of surrogate pairs
    "\U000e0000-\U000e007f]"  # tag characters
)
_MARKS = re.compile("[\u0300-\U0010ffff]{31,}")
_MAX_MARKS = 30
"""Combining marks in a row, as in Unicode's stream-safe text; sorting more of them takes quadratic time."""


def read_text(content: bytes) -> str:
    """The text of a file, decoded and cleaned."""
    return clean(decode(content))


def clean(text: str) -> str:
    r"""`text` in NFC, with `\n` newlines and without what no reader wants.

    Control characters, lone surrogates, tag characters, zero-width spaces and overrides of the writing direction go;
    the joiners that scripts and emoji need stay. Halves of a surrogate pair that stand side by side are joined.
    """
    text = _NEWLINES.sub("\n", text)
    if text.isascii():
        return _UNWANTED.sub("", text)
    text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    text = _UNWANTED.sub("", text)
    return unicodedata.normalize("NFC", _MARKS.sub(_fewer_marks, text))


def decode(content: bytes, declared: str | None = None) -> str:
    """The text of a file as it was written, still to be cleaned.

    A byte order mark decides, else UTF-8, else the encoding that the file itself declares, else a confident guess.
    Raises `ReaderError` when it is not text or nobody can tell its encoding.
    """
    for magic, kind in _BINARY:
        if content.startswith(magic):
            raise ReaderError(f"{_NOT_TEXT} but {kind}")
    text = _by_mark(content)
    if text is None:
        text = _without_mark(content, declared)
    _refuse_junk(text)
    return text


def legacy_codec(name: str) -> str | None:
    """The codec of an encoding's name, if it is one of those that text was written in before UTF-8."""
    try:
        codec = codecs.lookup(name.strip().lower()).name
    except (LookupError, ValueError):
        return None
    if codec in {"ascii", "iso8859-1"}:
        return "cp1252"  # as every browser reads it
    return codec if _LEGACY.fullmatch(codec) else None


def _by_mark(content: bytes) -> str | None:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError as error:
                if encoding == "utf-8-sig":
                    return _mended(content[len(mark) :])
                raise ReaderError(_NOT_TEXT) from error
    return None


def _without_mark(content: bytes, declared: str | None) -> str:
    if b"\0" in content:
        raise ReaderError(_NOT_TEXT)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if re.search(rb"[\x01-\x08\x0e-\x19\x1b-\x1f]", content):
        raise ReaderError(_NOT_TEXT)
    if declared:
        try:
            return content.decode(declared)
        except UnicodeDecodeError:
            pass
    return _mended(content) or _guessed(content)


def _mended(content: bytes) -> str | None:
    """UTF-8 with a few broken characters, if that is what it is."""
    text = content.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    intact = len(text) - len(text.encode("ascii", "ignore")) - broken
    return text if intact >= 10 * broken else None


def _guessed(content: bytes) -> str:
    from knowledge.readers.guess_encoding import guess

    encoding = guess(content)
    try:
        return content.decode(encoding or "ascii")
    except UnicodeDecodeError as error:
        raise ReaderError(_UNKNOWN_ENCODING) from error


def _refuse_junk(text: str) -> None:
    """Raise `ReaderError` when much of the text is control characters or nothing that Unicode knows."""
    sample = text[:20_000]
    junk = sum(unicodedata.category(character) in {"Cc", "Cn"} and character not in "\t\n\r\f" for character in sample)
    if junk > 3 and junk * 10 > len(sample):
        raise ReaderError(_NOT_TEXT)


def _fewer_marks(run: re.Match[str]) -> str:
    kept = []
    marks = 0
    for character in run[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)
