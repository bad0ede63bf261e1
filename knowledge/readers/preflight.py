"""A look at a file before anything reads it: whether it is what its ending says, and can be opened at a bearable cost.

Only the first bytes and, of a ZIP archive, the list of its members are looked at; nothing is unpacked.
"""

from __future__ import annotations

import io
import struct
import zipfile

from knowledge.errors import ReaderError
from knowledge.readers import SourceFile

MAX_MEMBERS = 5_000
MAX_UNPACKED = 300 * 1024 * 1024
"""Bytes that the members of an archive may have in all."""

MAX_PART = 64 * 1024 * 1024
"""Bytes that a part with text may have; a novel has 5 MB."""

MAX_RATIO = 250
"""How much smaller than itself a part with text may be packed; Word's own get 10 to 40 times smaller."""

_SMALL = 1024 * 1024
"""Bytes below which no ratio is suspicious."""

_DIRECTORY = b"PK\x05\x06"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_KINDS = (
    (b"%PDF-", "a PDF", ".pdf"),
    (b"\x89PNG", "a picture", ""),
    (b"\xff\xd8\xff", "a picture", ""),
    (b"GIF8", "a picture", ""),
    (b"RIFF", "a picture or a sound", ""),
    (b"II*\0", "a picture", ""),
    (b"MM\0*", "a picture", ""),
    (b"\x1f\x8b", "a compressed file", ""),
    (b"BZh", "a compressed file", ""),
    (b"7z\xbc\xaf", "a compressed file", ""),
    (b"Rar!", "a compressed file", ""),
    (b"\xfd7zXZ", "a compressed file", ""),
    (b"\x7fELF", "a program", ""),
    (b"MZ", "a program", ""),
    (b"{\\rtf", "a rich text (RTF) file", ".docx"),
    (b"SQLite format 3", "a database", ""),
)
_OFFICE = {
    "word/": ("a Word document", ".docx"),
    "xl/": ("an Excel workbook", ".csv"),
    "ppt/": ("a PowerPoint presentation", ".pdf"),
    "content.xml": ("an OpenDocument file", ".docx"),
    "META-INF/container.xml": ("an e-book", ".html"),
    "Index/": ("a Pages, Numbers or Keynote file", ".docx"),
}


def preflight(file: SourceFile) -> None:
    """Raise `ReaderError` when a file is empty, is not what its ending says, or is a bomb by its own table of contents."""
    content, suffix = file.content, file.suffix
    if not content:
        raise ReaderError("it is empty")
    if suffix == ".docx":
        _check_docx(content)
    elif suffix == ".pdf" and b"%PDF-" not in content[:1024]:
        raise ReaderError(_misnamed(suffix, content))


def _check_docx(content: bytes) -> None:
    if content.startswith(_OLE):
        if _ENCRYPTED in content:
            raise ReaderError("it is protected with a password; save a copy without one")
        raise ReaderError("it is a document of an old Office (.doc, .xls, .ppt), whatever its name; save it as .docx")
    if not content.startswith(b"PK"):
        raise ReaderError(_misnamed(".docx", content))
    members = _members(content)
    names = {member.filename for member in members}
    if not any(name.startswith("word/") for name in names):
        kind, better = _office_kind(names)
        raise ReaderError(f"it is named .docx but is {kind}" + (f"; save it as {better}" if better else ""))
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        raise ReaderError(
            f"it unpacks to more than {MAX_UNPACKED // 1024 // 1024} MiB; split it, or remove its pictures"
        )
    for member in members:
        if not member.filename.endswith((".xml", ".rels")):
            continue  # pictures and embedded files are never unpacked
        if member.flag_bits & 1:
            raise ReaderError("it is protected with a password; save a copy without one")
        if member.file_size > MAX_PART:
            raise ReaderError(f"its text unpacks to more than {MAX_PART // 1024 // 1024} MiB; split it")
        if member.file_size > _SMALL and member.file_size > MAX_RATIO * max(1, member.compress_size):
            raise ReaderError("it unpacks to hundreds of times its size, as documents never do; save it anew")


def _members(content: bytes) -> list[zipfile.ZipInfo]:
    """The members of an archive, from its table of contents; that is not read either when it is too long."""
    end = content.rfind(_DIRECTORY, max(0, len(content) - 66_000))
    if end < 0 or len(content) < end + 22:
        raise ReaderError("it is damaged: its end is missing; save or download it again")
    count, size = struct.unpack("<HI", content[end + 10 : end + 16])
    if count > MAX_MEMBERS or size > 200 * MAX_MEMBERS:
        raise ReaderError(f"it is an archive of more than {MAX_MEMBERS:,} files, which no document is")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as error:
        raise ReaderError("it is damaged: it cannot be unpacked; save or download it again") from error
    if len(members) > MAX_MEMBERS:
        raise ReaderError(f"it is an archive of more than {MAX_MEMBERS:,} files, which no document is")
    return members


def _office_kind(names: set[str]) -> tuple[str, str]:
    for beginning, kind in _OFFICE.items():
        if any(name.startswith(beginning) for name in names):
            return kind
    return "a ZIP archive", ""


def _misnamed(suffix: str, content: bytes) -> str:
    kind, better = _kind(content)
    if not kind:
        return f"it is named {suffix} but is something else, or damaged; save or download it again"
    advice = (
        f"; rename it to {better}"
        if better in {".pdf", ".html", ".txt"}
        else f"; save it as {better}"
        if better
        else ""
    )
    return f"it is named {suffix} but is {kind}{advice}"


def _kind(content: bytes) -> tuple[str, str]:
    """What a file is by its first bytes, and the ending it should have."""
    for magic, kind, better in _KINDS:
        if content.startswith(magic):
            return kind, better
    if content.startswith(_OLE):
        return "a document of an old Office (.doc, .xls, .ppt)", ".docx"
    if content.startswith(b"PK\x03\x04"):
        try:
            return _office_kind({member.filename for member in _members(content)})
        except ReaderError:
            return "a damaged ZIP archive", ""
    beginning = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if beginning.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in beginning:
        return "a web page", ".html"
    try:
        content[:4096].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < min(len(content), 4096) - 4:
            return "", ""
    return ("", "") if b"\0" in content[:4096] else ("plain text", ".txt")
