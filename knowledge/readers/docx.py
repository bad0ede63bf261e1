"""Word documents (.docx): mammoth makes HTML of what can be seen in them, and the reader of HTML makes Markdown of that."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from datetime import date
from functools import reduce
from io import BytesIO
from typing import TYPE_CHECKING, Any

from knowledge.errors import ReaderError
from knowledge.readers import Finding, Reader, Reading, SourceFile
from knowledge.readers.fields import Fields, as_date, has_text, one_line
from knowledge.readers.html import html_to_markdown
from knowledge.readers.markdown_text import without_title
from knowledge.readers.preflight import MAX_PART

if TYPE_CHECKING:
    from collections.abc import Callable

_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='Quote'] => blockquote > p:fresh
p[style-name='Intense Quote'] => blockquote > p:fresh
p[style-name='Code'] => pre:separator('\\n')
p[style-name='Source Code'] => pre:separator('\\n')
p[style-name='HTML Preformatted'] => pre:separator('\\n')
p[style-name='Preformatted Text'] => pre:separator('\\n')
p[style-name='Plain Text'] => p:fresh
p[style-name='frontdesk code'] => pre:separator('\\n')
r[style-name='Code'] => code
r[style-name='HTML Code'] => code
r[style-name='Verbatim Char'] => code
r[style-name='Source Text'] => code
r[style-name='frontdesk code'] => code
u =>
comment-reference =>
"""
_MONOSPACED = re.compile(r"courier|consolas|menlo|monaco|mono\b|source code|cascadia|lucida console", re.IGNORECASE)
_KEPT = re.compile(
    r"\[Content_Types\]\.xml|_rels/\.rels|word/(?:_rels/)?[\w.-]+\.(?:xml|rels)|docProps/core\.xml", re.IGNORECASE
)
_TEXT = re.compile(rb"<w:t(?:\s[^>]*)?>([^<]*)")
_PAGE = 4_000
"""Bytes of text that are a page or two."""

_TIGHT = 60
"""How many times smaller than its text a file may be and still be given time for all of it."""

_DAMAGED = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, TypeError, ValueError)
"""What libraries say that stumble over a broken file."""


def read(file: SourceFile) -> Reading:
    """The one document of a Word file: its headings, lists, tables, links and code; no headers, comments or deletions."""
    from xml.etree.ElementTree import ParseError
    from xml.parsers.expat import ExpatError

    from knowledge.readers.docx_hidden import Unseen

    try:
        parts = _parts(file.content)
        unseen = Unseen(parts)
        for name in [name for name in parts if re.fullmatch(r"word/(?:document\d*|footnotes|endnotes)\.xml", name)]:
            parts[name] = unseen.without(parts[name])
        _ask_for_time(file, parts)
        html = _html(parts)
        about = _about(parts.get("docProps/core.xml"))
    except (ParseError, ExpatError, zipfile.BadZipFile, zlib.error, struct.error, *_DAMAGED) as error:
        raise ReaderError("it is damaged and cannot be read; open it in Word and save it anew") from error
    hidden: list[Finding] = unseen.found()
    text = html_to_markdown(html, hidden)
    if not has_text(text):
        raise ReaderError("no text found: it is empty, or holds pictures only")
    _, heading = without_title(text, None)
    title = heading or about.title or file.default_title
    body, _ = without_title(text, title)
    fields = Fields(language=about.language, updated=about.updated)
    return Reading((fields.document(file, (body if has_text(body) else text).strip("\n"), title),), tuple(hidden))


def _parts(content: bytes) -> dict[str, bytes]:
    """The parts of the file that hold text, unpacked; pictures and embedded files stay packed."""
    parts = {}
    left = MAX_PART
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for member in archive.infolist():
            name = member.filename.lstrip("/")
            if not _KEPT.fullmatch(name):
                continue
            with archive.open(member) as opened:
                data = opened.read(left + 1)
            left -= len(data)
            if left < 0:
                raise ReaderError(f"its text unpacks to more than {MAX_PART // 1024 // 1024} MiB; split it")
            if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"<\0!\0D\0O\0C" in data or b"\0<\0!\0D\0O" in data:
                raise ReaderError("its XML declares entities, as Word never does; save it anew")
            parts[name] = data
    if not any(name.startswith("word/document") for name in parts):
        raise ReaderError("it is damaged: its text is missing; open it in Word and save it anew")
    return parts


def _ask_for_time(file: SourceFile, parts: dict[str, bytes]) -> None:
    """Take a step for about every page of text, unless it was packed so tightly that it may be a bomb."""
    if sum(map(len, parts.values())) < _TIGHT * len(file.content):
        text = sum(len(found[1]) for data in parts.values() for found in _TEXT.finditer(data))
        for _ in range(text // _PAGE):
            file.step()


def _html(parts: dict[str, bytes]) -> str:
    import mammoth

    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    packed.seek(0)
    result = mammoth.convert_to_html(
        packed,
        style_map=_STYLES,
        convert_image=mammoth.images.img_element(lambda image: {"src": ""}),
        transform_document=_changes(),
        include_embedded_style_map=False,  # a file does not say how it is read
        external_file_access=False,
    )
    return str(result.value)


def _changes() -> Callable[[Any], Any]:
    """What mammoth's document is changed by: text in a monospaced font is code, and so are paragraphs of nothing else.

    The first row of a table is its head, which few authors mark as such.
    """
    import mammoth
    import mammoth.documents

    def run(one: Any) -> Any:
        return one.copy(style_name="frontdesk code") if one.font and _MONOSPACED.search(one.font) else one

    def paragraph(one: Any) -> Any:
        runs = [child for child in one.children if type(child).__name__ == "Run" and child.children]
        others = [child for child in one.children if type(child).__name__ not in {"Run", "Bookmark"}]
        if (
            not runs
            or others
            or one.numbering
            or not all(child.font and _MONOSPACED.search(child.font) for child in runs)
        ):
            return one
        plain = [child.copy(style_name=None, font=None) if child in runs else child for child in one.children]
        return one.copy(style_name="frontdesk code", style_id=None, children=plain)

    def table(one: Any) -> Any:
        first = one.children[0] if len(one.children) > 1 else None
        if (
            first is None
            or len(getattr(first, "children", ())) < 2
            or any(getattr(row, "is_header", False) for row in one.children)
        ):
            return one
        return one.copy(children=[first.copy(is_header=True), *one.children[1:]])

    changes: list[Callable[[Any], Any]] = [
        mammoth.transforms.paragraph(paragraph),
        mammoth.transforms.run(run),
        mammoth.transforms.element_of_type(mammoth.documents.Table, table),
    ]
    return lambda document: reduce(lambda changed, change: change(changed), changes, document)


def _about(core: bytes | None) -> _About:
    """What the file's properties say about it."""
    from xml.etree.ElementTree import fromstring

    if core is None:
        return _About()
    values = {element.tag.rpartition("}")[2]: element.text or "" for element in fromstring(core)}
    language = one_line(values.get("language", ""))
    return _About(
        one_line(values.get("title", "")),
        as_date(values.get("modified", "").replace("Z", "+00:00")),
        language if re.fullmatch(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*", language) else None,
    )


class _About:
    def __init__(self, title: str = "", updated: date | None = None, language: str | None = None) -> None:
        self.title = title
        self.updated = updated
        self.language = language


reader = Reader(suffixes=(".docx",), read=read, in_steps=True)
