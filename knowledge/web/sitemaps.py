"""Sitemaps: the lists of its pages that a site publishes, as XML or as lines of text."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urljoin
from xml.parsers import expat

from knowledge.errors import PageError
from knowledge.readers.fields import is_web_address

MAX_ENTRIES = 50_000
"""As many as the protocol allows in one file."""

_MAX_URL = 2_048
_MAX_DEPTH = 20


@dataclass(slots=True)
class Listed:
    """What one sitemap lists."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def read_sitemap(content: bytes, url: str) -> Listed:
    """The addresses in the sitemap that was at `url`.

    Expat reads it here rather than in a child: it is a flat list, and with document types refused nothing in it can grow.
    Raises `PageError` when it is no sitemap.
    """
    beginning = content[:300].lstrip(b"\xef\xbb\xbf \t\r\n")
    if beginning.startswith((b"http://", b"https://")):
        return _from_lines(content, url)
    reader = _Reader(url)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise PageError(f"{url} is not a sitemap: its XML is broken.") from error
    if not reader.is_sitemap:
        raise PageError(f"{url} is not a sitemap.")
    return reader.listed


def _from_lines(content: bytes, url: str) -> Listed:
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    return Listed([line for line in lines if is_web_address(line) and len(line) <= _MAX_URL][:MAX_ENTRIES])


class _Reader:
    """Takes down what the parser comes across."""

    def __init__(self, url: str) -> None:
        self.listed = Listed()
        self.is_sitemap = False
        self._url = url
        self._path: list[str] = []
        self._loc: list[str] = []

    def start(self, name: str, attributes: object) -> None:
        self._path.append(name.rpartition(" ")[2].lower())
        if len(self._path) == 1:
            self.is_sitemap = self._path[0] in {"urlset", "sitemapindex"}
        if len(self._path) > _MAX_DEPTH or not self.is_sitemap:
            raise PageError(f"{self._url} is not a sitemap.")
        self._loc = []

    def text(self, text: str) -> None:
        if self._path[-1:] == ["loc"] and sum(map(len, self._loc)) <= _MAX_URL:
            self._loc.append(text)

    def end(self, name: str) -> None:
        path, self._path = self._path, self._path[:-1]
        if path[-1] != "loc" or path[-2:-1] not in (["url"], ["sitemap"]):
            return
        address = urljoin(self._url, "".join(self._loc).strip())
        into = self.listed.pages if path[-2] == "url" else self.listed.sitemaps
        if is_web_address(address) and len(address) <= _MAX_URL and len(into) < MAX_ENTRIES:
            into.append(address)

    def refuse(self, *declared: object) -> None:
        raise PageError(f"{self._url} is not a sitemap: it declares a document type, as none does.")
