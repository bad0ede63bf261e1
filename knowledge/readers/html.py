"""HTML pages: their main content as Markdown, and what they say about themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from knowledge.errors import ReaderError
from knowledge.readers import Finding, Reader, Reading, SourceFile
from knowledge.readers.encoding import clean, decode, legacy_codec
from knowledge.readers.fields import KEYS, Fields, as_date, has_text, is_web_address, one_line, read_fields
from knowledge.readers.hidden import without_invisible

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

_CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]{0,500}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*")
_SEPARATOR = re.compile(r" [|–—·•»:-]+ ")  # noqa: RUF001
_SEPARATED = re.compile(rf"(.*\S){_SEPARATOR.pattern}\Z")
_MAX_HEADINGS = 20


def read(file: SourceFile) -> Reading:
    """The one document of a page: its main content as Markdown, titled and dated as the page says."""
    hidden: list[Finding] = []
    source = decode(file.content, _declared_charset(file.content, file.charset))
    page = _parse(clean(without_invisible(source, hidden)))
    fields = _fields(page, file.url)
    text = _markdown(page, _base_url(page, file.url or fields.url or ""), hidden)
    title = fields.title or _title(page, text) or file.default_title
    document = fields.document(file, _without_heading(text, title), title)
    return Reading((document,), tuple(hidden))


def _base_url(page: LexborHTMLParser, url: str) -> str:
    """Where relative links of a page at `url` start from."""
    base = page.css_first("base[href]")
    try:
        return urljoin(url, base.attributes.get("href") or "") if base else url
    except ValueError:
        return url


def html_to_markdown(html: str, hidden: list[Finding] | None = None) -> str:
    """Markdown of a piece of HTML, such as an answer in a table of questions. All of it is content.

    What is hidden in it is added to `hidden`.
    """
    return _markdown(_parse(html), "", hidden if hidden is not None else [], whole=True)


def _parse(html: str) -> LexborHTMLParser:
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError

    from knowledge.readers.html_limits import refuse_costly

    refuse_costly(html)
    try:
        return LexborHTMLParser(html)
    except SelectolaxError as error:
        raise ReaderError("its HTML cannot be parsed") from error


def _markdown(page: LexborHTMLParser, base_url: str, hidden: list[Finding], *, whole: bool = False) -> str:
    from knowledge.readers.html_content import content_html
    from knowledge.readers.html_markdown import to_markdown

    html = content_html(page, _linker(base_url), hidden, whole=whole)
    try:
        # Once more: what was written as `&#xE0041;` has become a character only now.
        return clean(without_invisible(to_markdown(html), hidden)).strip("\n").rstrip()
    except RecursionError as error:
        raise ReaderError("its HTML is nested too deeply") from error


def _declared_charset(content: bytes, named: str | None) -> str | None:
    """The encoding that a page, or its server, names, if it is one of those that text was written in before UTF-8."""
    found = _CHARSET.search(content[:4096])
    for name in (named, found[1].decode("ascii") if found else None):
        if name and (codec := legacy_codec(name)) is not None:
            return codec
    return None


def _fields(page: LexborHTMLParser, url: str | None) -> Fields:
    """What `<meta name="frontdesk:…">` says, checked as in front matter, else what pages usually say.

    A page that came from `url` may name another address as its canonical one only at the same host.
    """
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
    named = clean((canonical.attributes.get("href") or "") if canonical else "").strip()
    return replace(
        given,
        url=given.url or _canonical(named, url),
        language=given.language or (language if language and _LANGUAGE.fullmatch(language) else None),
        updated=given.updated or next(filter(None, map(as_date, _dates(page))), None),
    )


def _canonical(named: str, url: str | None) -> str | None:
    if url is None:
        return named if is_web_address(named) else None
    try:
        absolute = urljoin(url, named)
        same = urlsplit(absolute).hostname == urlsplit(url).hostname
    except ValueError:
        return url
    return absolute if named and same and is_web_address(absolute) else url


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
