"""PDF files: their text as Markdown, with what a reader of the page sees and nothing else."""

from __future__ import annotations

import logging
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Any

from knowledge.errors import ReaderError
from knowledge.readers import Finding, Reader, Reading, SourceFile
from knowledge.readers.encoding import clean
from knowledge.readers.fields import Fields, has_text, is_web_address, one_line
from knowledge.readers.hidden import quoted, without_invisible
from knowledge.readers.markdown_text import without_title

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

    from knowledge.readers.pdf_text import Piece

MAX_PAGES = 2_000
MAX_CHARACTERS = 20_000_000
_MAX_LINKS, _MOST_LINKS = 2_000, 50_000
"""Of a page, and of all together; the others are text."""
_MANY_PIECES, _PER_BYTE = 100_000, 0.5
"""Pieces of text that no file has which is so small that there are more of them than so many for each of its bytes."""
_MAX_OUTLINE = 5_000
_SCAN = 0.5
"""The share of a page that a picture covers when it is the page."""

_DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    zlib.error,
)
"""What a library says that stumbles over a broken file, beside its own errors."""

_NO_TITLE = re.compile(
    r"(?:\(?anonymous|microsoft word|powerpoint|untitled|document\d*|unbenannt|sans titre)\b|.*\.\w{2,5}$",
    re.IGNORECASE,
)


def read(file: SourceFile) -> Reading:
    """The one document of a PDF. Its headings are known by the table of contents, their size, or their weight."""
    from pypdf.errors import LimitReachedError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every flaw that it can live with
    _refuse_cut_off(file.content)
    try:
        reader = _opened(file.content)
        return _read(file, reader)
    except LimitReachedError as error:
        raise ReaderError("it unpacks to far more than a document does; save it in a simpler form") from error
    except (PyPdfError, *_DAMAGED) as error:
        raise ReaderError("it is damaged and cannot be read; save or download it again, or export it anew") from error


def _refuse_cut_off(content: bytes) -> None:
    """A file without its end may be opened all the same, and then half of it would be taken for the whole."""
    declared = re.search(rb"/Linearized\b[^>]{0,200}?/L\s+(\d{1,12})", content[:2048])
    if b"%%EOF" not in content[-65_536:] or (declared and int(declared[1]) > len(content) + 16):
        raise ReaderError("it is cut off: its end is missing; download or copy it again")


def _opened(content: bytes) -> PdfReader:
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(BytesIO(content))
    if reader.is_encrypted:
        try:
            opened = reader.decrypt("") != PasswordType.NOT_DECRYPTED
        except (DependencyError, NotImplementedError):
            opened = False
        if not opened:
            raise ReaderError("it is protected with a password; save a copy without one")
    return reader


def _read(file: SourceFile, reader: PdfReader) -> Reading:
    from knowledge.readers.pdf_blocks import shape_of, to_markdown, without_repeated
    from knowledge.readers.pdf_lines import Line, flows_of

    count = _page_count(reader)
    hidden: list[Finding] = []
    pages: list[list[list[Line]]] = []
    pictures: list[int] = []
    unseen: Counter[str] = Counter()
    characters = drawn = 0
    for number, (pieces, height, is_picture) in enumerate(_pages(reader)):
        seen = [piece for piece in pieces if not piece.hidden]
        unseen.update(piece.hidden for piece in pieces if piece.hidden)
        hidden += _hidden(pieces)
        if is_picture and not any(piece.text.strip() for piece in seen):
            pictures.append(number + 1)
        pages.append(flows_of(seen, number, height))
        drawn += len(pieces)
        if drawn > max(_MANY_PIECES, _PER_BYTE * len(file.content)):
            raise ReaderError("it unpacks to far more than a document does; save it in a simpler form")
        characters += sum(len(piece.text) for piece in seen)
        if characters > MAX_CHARACTERS:
            raise ReaderError(f"it holds more than {MAX_CHARACTERS:,} characters of text; split it")
        file.step()
    flows = [flow for page in without_repeated(pages) for flow in page]
    lines = [line for flow in flows for line in flow]
    text = clean(without_invisible(to_markdown(flows, shape_of(lines, _outline(reader))), hidden))
    if not has_text(text):
        raise ReaderError(_no_text(count, pictures, unseen))
    fields = Fields(language=_language(reader), updated=_changed(reader))
    title = _title(reader, text, lines[0].raw if lines else "") or file.default_title
    body, _ = without_title(text, title)
    document = fields.document(file, (body if has_text(body) else text).strip("\n"), title)
    return Reading((document,), tuple(hidden), notes=_notes(pictures))


def _page_count(reader: PdfReader) -> int:
    from knowledge.readers.pdf_state import dictionary, number

    tree = dictionary(reader.root_object.get("/Pages"))
    declared = int(number(tree["/Count"])) if tree is not None and "/Count" in tree else 0
    count = declared if declared > MAX_PAGES else len(reader.pages)
    if count > MAX_PAGES:
        raise ReaderError(f"it has {count:,} pages, more than the {MAX_PAGES:,} that are read; split it")
    if not count:
        raise ReaderError("it has no pages")
    return count


def _pages(reader: PdfReader) -> Iterator[tuple[list[Piece], float, bool]]:
    """The pieces of each page, the page's height, and whether a picture fills it."""
    from knowledge.readers.pdf_content import Interpreter

    interpreter = Interpreter(reader)
    left = _MOST_LINKS
    for page in reader.pages:
        found = interpreter.read(page)
        links = _links(page, found.turn, min(left, _MAX_LINKS))
        left -= len(links)
        pieces = [replace(piece, link=_link_at(piece, links)) for piece in found.pieces] if links else found.pieces
        yield pieces, found.height, found.pictured > _SCAN


def _hidden(pieces: list[Piece]) -> list[Finding]:
    """What nobody sees on a page, strings of one kind together."""
    texts: dict[str, list[str]] = {}
    for piece in pieces:
        if piece.hidden and len(texts.setdefault(piece.hidden, [])) < 500:
            texts[piece.hidden].append(piece.text)
    found = [Finding(quoted(" ".join("".join(parts).split())), why) for why, parts in texts.items()]
    return [finding for finding in found if has_text(finding.text)]


def _no_text(count: int, pictures: list[int], unseen: Counter[str]) -> str:
    if pictures and unseen:
        return (
            "no text found that can be seen: its pages are pictures with an invisible layer of text (as scanners add it), "
            "which nobody can check by looking; copy the text into a document of its own"
        )
    if pictures:
        return "no text found: its pages are pictures (a scan?); run text recognition (OCR) and save the text as a document"
    return f"no text found on its {count} pages" if count > 1 else "no text found"


def _notes(pictures: list[int]) -> tuple[str, ...]:
    if not pictures:
        return ()
    shown = ", ".join(map(str, pictures[:10])) + (", …" if len(pictures) > 10 else "")
    return (f"no text found on {'page' if len(pictures) == 1 else 'pages'} {shown}: a picture fills it",)


# What a file says about itself ---------------------------------------------------------------------------------------


def _links(page: PageObject, turn: Any, most: int) -> list[tuple[Any, str]]:
    """The first links of a page: where they are, and their addresses."""
    from knowledge.readers.pdf_state import box_around, dictionary, entry, numbers

    links: list[tuple[Any, str]] = []
    annotations = entry(page, "/Annots")
    listed: list[Any] = annotations if isinstance(annotations, list) else []
    for annotation in map(dictionary, listed[:most]):
        action = dictionary(annotation.get("/A")) if annotation is not None else None
        if annotation is None or action is None or "/URI" not in action or "/Rect" not in annotation:
            continue
        url = clean(str(action["/URI"])).strip()
        url = re.sub(r"[\s<>()\\]", lambda sign: f"%{ord(sign[0]):02X}", url)
        if is_web_address(url) or url.startswith(("mailto:", "tel:")):
            left, bottom, right, top = numbers(annotation["/Rect"], 4)
            links.append((box_around(turn, [(left, bottom), (right, top)]), url))
    return links


def _link_at(piece: Piece, links: list[tuple[Any, str]]) -> str:
    middle, up = (piece.left + piece.right) / 2, piece.base + piece.size / 4
    found = (url for (left, bottom, right, top), url in links if left <= middle <= right and bottom <= up <= top)
    return next(found, "")


def _outline(reader: PdfReader) -> Mapping[tuple[int, str], int]:
    """The entries of the table of contents: how deep they are, by page and letters of the title."""
    from pypdf.errors import PyPdfError

    from knowledge.readers.pdf_blocks import letters

    found: dict[tuple[int, str], int] = {}
    try:
        stack: list[tuple[Any, int]] = [(entry, 1) for entry in reversed(reader.outline)]
        while stack and len(found) < _MAX_OUTLINE:
            entry, depth = stack.pop()
            if isinstance(entry, list):
                stack += [(one, depth + 1) for one in reversed(entry)]
                continue
            page = reader.get_destination_page_number(entry)
            if page is not None and entry.title:
                found[page, letters(str(entry.title))] = depth
    except (PyPdfError, RecursionError, *_DAMAGED):
        return found  # a broken table of contents costs its headings, not the text
    return found


def _title(reader: PdfReader, text: str, first: str) -> str | None:
    """The title that the file gives itself, if it is one; else its first heading of level 1."""
    from knowledge.readers.pdf_blocks import letters

    given = reader.metadata.title if reader.metadata is not None else None
    named = one_line(str(given)) if given else ""
    _, heading = without_title(text, None)
    if heading and (not named or letters(named) != letters(heading)):
        return heading
    if named and (letters(named) == letters(first) or not _NO_TITLE.match(named)):
        return named
    return heading


def _changed(reader: PdfReader) -> date | None:
    try:
        changed = reader.metadata.modification_date if reader.metadata is not None else None
    except ValueError:
        return None
    return changed.date() if changed is not None else None


def _language(reader: PdfReader) -> str | None:
    from knowledge.readers.pdf_state import entry

    language = entry(reader.root_object, "/Lang")
    named = one_line(str(language)) if language else ""
    return named if re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*", named) else None


reader = Reader(suffixes=(".pdf",), read=read, in_steps=True)
