"""HTML pages: their main content as Markdown, and what they say about themselves."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import Reader, SourceFile
from knowledge.readers.encoding import clean, decode
from knowledge.readers.fields import KEYS, Fields, as_date, has_text, is_web_address, one_line, read_fields

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

_CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]{0,500}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_CHARSETS = re.compile(r"(?:cp|windows|iso8859|koi8|mac|big5|gb|euc|shift|hz|johab|tis)[\w-]*", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*")
_SEPARATOR = re.compile(r" [|–—·•»:-]+ ")  # noqa: RUF001
_SEPARATED = re.compile(rf"(.*\S){_SEPARATOR.pattern}\Z")
_MAX_HEADINGS = 20


def read(file: SourceFile) -> list[Document]:
    """The one document of a page: its main content as Markdown, titled and dated as the page says."""
    page = _parse(clean(decode(file.content, _declared_charset(file.content))))
    fields = _fields(page)
    base = page.css_first("base[href]")
    base_url = (base.attributes.get("href") or "") if base else fields.url or ""
    text = _markdown(page, base_url)
    title = fields.title or _title(page, text) or file.default_title
    return [fields.document(file, _without_heading(text, title), title)]


def html_to_markdown(html: str) -> str:
    """Markdown of a piece of HTML, such as an answer in a table of questions. All of it is content."""
    return _markdown(_parse(html), "", is_fragment=True)


def _parse(html: str) -> LexborHTMLParser:
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError

    from knowledge.readers.html_limits import refuse_costly

    refuse_costly(html)
    try:
        return LexborHTMLParser(html)
    except SelectolaxError as error:
        raise ReaderError("its HTML cannot be parsed") from error


def _markdown(page: LexborHTMLParser, base_url: str, is_fragment: bool = False) -> str:
    from knowledge.readers.html_content import content_html, fragment_html
    from knowledge.readers.html_markdown import to_markdown

    html = (fragment_html if is_fragment else content_html)(page, _linker(base_url))
    try:
        return clean(to_markdown(html)).strip("\n").rstrip()
    except RecursionError as error:
        raise ReaderError("its HTML is nested too deeply") from error


def _declared_charset(content: bytes) -> str | None:
    """The encoding that a page names, if it is one of those that text was written in before UTF-8."""
    found = _CHARSET.search(content[:4096])
    if found is None:
        return None
    name = found[1].decode("ascii").lower()
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        return None
    if codec in {"ascii", "iso8859-1"}:
        return "cp1252"  # as every browser reads it
    return codec if _CHARSETS.fullmatch(codec) else None


def _fields(page: LexborHTMLParser) -> Fields:
    """What `<meta name="frontdesk:…">` says, checked as in front matter, else what pages usually say."""
    values = {}
    for meta in page.css("meta[name]"):
        prefix, _, key = (meta.attributes.get("name") or "").strip().lower().partition(":")
        if prefix == "frontdesk" and key in KEYS:
            if key in values:
                raise ReaderError(f"it gives frontdesk:{key} for a second time")
            values[key] = meta.attributes.get("content") or ""
    given = read_fields(values)
    language = page.root.attributes.get("lang") if page.root else None
    canonical = page.css_first("link[rel~=canonical]")
    url = clean((canonical.attributes.get("href") or "") if canonical else "").strip()
    return replace(
        given,
        url=given.url or (url if is_web_address(url) else None),
        language=given.language or (language if language and _LANGUAGE.fullmatch(language) else None),
        updated=given.updated or next(filter(None, map(as_date, _dates(page))), None),
    )


def _dates(page: LexborHTMLParser) -> list[str]:
    """What a page gives as the day of its last change, best first."""
    found = [
        ("meta[property='article:modified_time'], meta[name='article:modified_time']", "content"),
        ("meta[itemprop=dateModified]", "content"),
        ("time[itemprop=dateModified]", "datetime"),
    ]
    return [node.attributes.get(attribute) or "" for selector, attribute in found for node in page.css(selector)]


def _title(page: LexborHTMLParser, text: str) -> str | None:
    """`og:title`, else the first heading of the content, else `<title>`, else the first heading of the page.

    A heading that begins one of the other two confirms that the rest is the site's name, and so does a heading outside
    of the content that ends it.
    """
    from knowledge.readers.markdown_text import without_title

    graph = page.css_first("meta[property='og:title'], meta[name='og:title']")
    named = one_line((graph.attributes.get("content") or "") if graph else "")
    _, heading = without_title(text, None)
    if heading:
        return heading if not named or _is_begun_by(named, heading) else named
    title = page.css_first("title")
    named = named or (one_line(title.text()) if title else "")
    headings = [one_line(node.text()) for node in page.css("h1")[:_MAX_HEADINGS]]
    for heading in filter(None, headings):
        if not named or _is_begun_by(named, heading):
            return heading
        page_and_separator = _SEPARATED.match(named[: -len(heading)])
        if page_and_separator and named.lower().endswith(heading.lower()):
            return page_and_separator[1]
    return named or None


def _is_begun_by(title: str, heading: str) -> bool:
    return title.startswith(heading) and _SEPARATOR.match(title, len(heading)) is not None


def _without_heading(text: str, title: str) -> str:
    """The text without the heading that says its title, unless nothing would be left."""
    from knowledge.readers.markdown_text import without_title

    rest, _ = without_title(text, title)
    return rest.strip("\n") if has_text(rest) else text


def _linker(base_url: str) -> Callable[[str], str | None]:
    """What makes an address of a link absolute or site-relative, or refuses it (scripts, places in the page itself)."""

    def link(href: str) -> str | None:
        href = re.sub(r"[\t\n\r]", "", clean(href)).strip()
        if href.startswith("#"):
            return None
        try:
            url = urljoin(base_url, href)
        except ValueError:
            return None
        if url.startswith("//"):
            url = f"https:{url}"
        url = re.sub(r"[\s<>()\\]", lambda sign: f"%{ord(sign[0]):02X}" if sign[0].isascii() else "", url)
        is_kept = is_web_address(url) or url.startswith(("/", "mailto:", "tel:"))
        return url if is_kept else None

    return link


reader = Reader(suffixes=(".html", ".htm", ".xhtml"), read=read)
