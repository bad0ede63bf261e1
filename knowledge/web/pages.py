"""Web pages as documents: fetched with care, so that neither a page nor what it leads to can do harm.

    async with Pages() as pages:
        page = await pages.fetch("https://help.example.com/refunds", seen)
        if page is not None:                      # None: it has not changed since it was `seen`
            reading = await read_page(page, jail)

Only the pages that are named, or listed in a sitemap that is named, are fetched, one at a time; no links are followed. That is
what a person with a browser does, so `robots.txt`, which speaks to crawlers, is not asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urldefrag, urljoin, urlsplit

from knowledge.errors import PageError
from knowledge.folders.walk import MAX_BYTES
from knowledge.readers import Reading, SourceFile
from knowledge.web.addresses import HOW_TO_ALLOW, Allowed, resolver

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

    from knowledge.readers.jail import Jail

USER_AGENT = "frontdesk (reads the pages that a support team answers from)"

_REDIRECTS = {301, 302, 303, 307, 308}
_GONE = {404, 410}
_CHUNK = 64 * 1024
_TYPES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
    "text/plain": ".txt",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "text/csv": ".csv",
    "application/json": ".json",
}
_VAGUE = {"", "application/octet-stream", "binary/octet-stream", "application/x-download"}
_XML = {"application/xml", "text/xml", "application/gzip", "application/x-gzip", "text/plain", *_VAGUE}
STAYS = "The copy from before, if there is one, stays in use."


@dataclass(frozen=True, slots=True)
class PageLimits:
    """What fetching may cost: bytes of one page once unpacked, seconds for it with all its redirects, and how many."""

    bytes: int = MAX_BYTES
    seconds: float = 30.0
    redirects: int = 5
    pages: int = 5_000
    sitemaps: int = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """What was noted when a page was last fetched, to ask whether it has changed since."""

    etag: str = ""
    last_modified: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was fetched. `url` is where it was in the end; `suffix` says which reader it is for."""

    url: str
    content: bytes = field(repr=False)
    suffix: str = ".html"
    charset: str | None = None
    seen: Seen = Seen()

    @property
    def file(self) -> SourceFile:
        """The page as a reader takes it: `https://help.example.com/a/b?c=1` is the file `help.example.com/a/b-….html`."""
        parts = urlsplit(self.url)
        path = re.sub(r"/{2,}", "/", parts.path).strip("/")
        name = re.sub(r"(?:^|/)index\.(?:html?|php)$|\.(?:x?html?|php|aspx?|md|txt|pdf|docx|csv|json)$", "", path)
        if parts.query:
            name += f"-{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}"
        host = (parts.hostname or "") + (f"-{parts.port}" if parts.port else "")
        return SourceFile(f"{host}/{name or 'index'}{self.suffix}", self.content, url=self.url, charset=self.charset)


@dataclass(frozen=True, slots=True)
class Sitemap:
    """The pages that a sitemap lists, and sentences about what was left out."""

    urls: tuple[str, ...]
    notes: tuple[str, ...] = ()


async def read_page(page: Page, jail: Jail, *, in_a_hurry: bool = False) -> Reading:
    """The documents of a page. Raises `ReaderError` as `Jail.read` does."""
    return await asyncio.to_thread(jail.read, page.file, in_a_hurry=in_a_hurry)


class Pages:
    """Fetches pages from public addresses, and from those that `allow` names (hosts, addresses, networks).

    Addresses of this machine, private and link-local ones are refused, also behind a redirect or in another guise. Use it as
    an asynchronous context manager, in one event loop.
    """

    def __init__(
        self, *, allow: frozenset[str] = frozenset(), limits: PageLimits | None = None, user_agent: str = USER_AGENT
    ) -> None:
        self._allowed = Allowed.of(allow)
        self._limits = limits or PageLimits()
        self._user_agent = user_agent
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def fetch(self, url: str, seen: Seen | None = None) -> Page | None:
        """The page at `url`; `None` when it is as it was `seen`.

        Raises `PageError` when there is none, it is no document, it is too large or slow, it leads in a circle, or its
        address, or one that it leads to, must not be fetched from.
        """
        found = await self._get(url, seen or Seen(), frozenset(_TYPES))
        if found is None:
            return None
        media, charset, page = found
        suffix = _TYPES.get(media) or _suffix_of(page.url)
        if suffix == ".txt" and _suffix_of(page.url) == ".md":
            suffix = ".md"
        if not suffix:
            raise PageError(f"{page.url} does not say what kind of document it is. {STAYS}")
        return Page(page.url, page.content, suffix, charset, page.seen)

    async def sitemap(self, url: str) -> Sitemap:
        """The pages that the sitemap at `url` lists, and those that the sitemaps it lists do, each once.

        Pages of other hosts are left out, as the sitemap protocol wants it. Raises `PageError` when a sitemap cannot be had
        or is none.
        """
        from knowledge.web.sitemaps import read_sitemap

        host = urlsplit(url).hostname
        waiting, done = [url], set[str]()
        pages: dict[str, None] = {}
        elsewhere = 0
        while waiting:
            current = waiting.pop(0)
            if current in done:
                continue
            if len(done) >= self._limits.sitemaps:
                return Sitemap(tuple(pages), (f"only the first {self._limits.sitemaps} sitemaps were read",))
            done.add(current)
            found = await self._get(current, Seen(), _XML)
            assert found is not None  # nothing was seen before
            listed = read_sitemap(_unzipped(found[2].content, self._limits.bytes, current), current)
            here = [one for one in listed.sitemaps if urlsplit(one).hostname == host]
            waiting += here
            own = [one for one in listed.pages if urlsplit(one).hostname == host]
            elsewhere += len(listed.pages) - len(own) + len(listed.sitemaps) - len(here)
            pages |= dict.fromkeys(own)
            if len(pages) > self._limits.pages:
                kept = tuple(pages)[: self._limits.pages]
                return Sitemap(kept, (f"only the first {self._limits.pages:,} pages of the sitemap were taken",))
        left = "1 page of another host was" if elsewhere == 1 else f"{elsewhere} pages of other hosts were"
        notes = (f"{left} left out",) if elsewhere else ()
        return Sitemap(tuple(pages), notes)

    async def _get(self, url: str, seen: Seen, types: set[str] | frozenset[str]) -> tuple[str, str | None, Page] | None:
        import aiohttp

        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._follow(url, seen, types)
        except TimeoutError as error:
            raise PageError(f"{url} took longer than {self._limits.seconds:g} seconds. {STAYS}") from error
        except aiohttp.ClientConnectorDNSError as error:
            raise PageError(
                f"There is no host {urlsplit(url).hostname}, or its name cannot be looked up. {STAYS}"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PageError(f"{url} cannot be fetched: {_reason(error)}. {STAYS}") from error

    async def _follow(
        self, url: str, seen: Seen, types: set[str] | frozenset[str]
    ) -> tuple[str, str | None, Page] | None:
        current = urldefrag(url).url
        visited = [current]
        headers = {"If-None-Match": seen.etag, "If-Modified-Since": seen.last_modified}
        headers = {name: value for name, value in headers.items() if value}
        while True:
            self._check(current, url)
            async with self._open().get(current, headers=headers, allow_redirects=False) as response:
                if response.status not in _REDIRECTS or "Location" not in response.headers:
                    return await self._take(current, response, seen, types)
                following = urldefrag(urljoin(current, response.headers["Location"])).url
            if following in visited:
                raise PageError(f"{url} leads in a circle ({following} comes again). {STAYS}")
            if len(visited) > self._limits.redirects:
                raise PageError(f"{url} leads on more than {self._limits.redirects} times. {STAYS}")
            visited.append(following)
            current = following

    def _check(self, url: str, first: str) -> None:
        """Raise `PageError` when `url` is not one to fetch; `first` is where it began."""
        what = f"{first} leads to {url}, which" if url != first else url
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise PageError(f"{what} is not a web address.") from error
        if parts.scheme not in {"http", "https"} or not host:
            raise PageError(f"{what} is not a web address that begins with https:// or http://.")
        if parts.username is not None or parts.password is not None:
            led = f", which {first} leads to," if url != first else ""
            raise PageError(f"The address of {host}{led} holds a name or password; leave it out.")
        try:
            address = str(ip_address(host.partition("%")[0]))
        except ValueError:
            return  # a name: the resolver checks what it stands for
        if refusal := self._allowed.refusal(host, address):
            raise PageError(f"{what} is at {refusal}: it is not fetched.", HOW_TO_ALLOW)

    async def _take(
        self, url: str, response: ClientResponse, seen: Seen, types: set[str] | frozenset[str]
    ) -> tuple[str, str | None, Page] | None:
        """The page that a response brings."""
        if response.status == 304 and (seen.etag or seen.last_modified):
            return None
        if response.status != 200:
            raise PageError(f"{url} {_status(response.status)}. {STAYS}")
        media = response.content_type.lower() if "Content-Type" in response.headers else ""
        if media not in types and media not in _VAGUE:
            raise PageError(f"{url} is of the type {media}, which is no document. {STAYS}")
        content = bytearray()
        async for piece in _body(response, self._limits.bytes, url):
            content += piece
        digest = hashlib.sha256(content).hexdigest()
        if digest == seen.digest:
            return None
        now = Seen(response.headers.get("ETag", "")[:1000], response.headers.get("Last-Modified", "")[:100], digest)
        return media, response.charset, Page(url, bytes(content), seen=now)

    def _open(self) -> ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver(self._allowed), use_dns_cache=False, limit=4),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "User-Agent": self._user_agent,
                    "Accept": "text/html, application/xhtml+xml, text/markdown, text/plain;q=0.9, */*;q=0.5",
                    "Accept-Encoding": "gzip, deflate",
                },
                auto_decompress=False,  # it is done here, where it can be stopped
                trust_env=False,  # through a proxy nobody could say which address is reached
            )
        return self._session


async def _body(response: ClientResponse, most: int, url: str) -> AsyncIterator[bytes]:
    """The body, unpacked, in pieces; it is given up as soon as it is too large."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    unpack = _unpacker(encoding)
    if unpack is None and encoding not in {"identity", ""}:
        raise PageError(f"{url} is packed in a way ({encoding}) that was not asked for. {STAYS}")
    too_large = PageError(f"{url} is larger than {most // 1024 // 1024} MiB. {STAYS}")
    if response.content_length is not None and response.content_length > most:
        raise too_large
    left = most
    async for chunk in response.content.iter_chunked(_CHUNK):
        for piece in [chunk] if unpack is None else _unpacked(unpack, chunk, left, url):
            left -= len(piece)
            if left < 0:
                raise too_large
            yield piece
    if unpack is not None and not unpack.eof:
        raise PageError(f"{url} is cut off. {STAYS}")


class _Unpacks(Protocol):
    """A zlib decompressor."""

    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _unpacker(encoding: str) -> _Unpacks | None:
    if encoding in {"gzip", "x-gzip"}:
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    return zlib.decompressobj() if encoding == "deflate" else None


def _unpacked(unpack: _Unpacks, chunk: bytes, left: int, url: str) -> list[bytes]:
    """What a chunk unpacks to; at most a little more than is `left`."""
    pieces: list[bytes] = []
    try:
        while chunk and not unpack.eof:
            piece = unpack.decompress(chunk, min(_CHUNK * 16, left + 1))
            pieces.append(piece)
            left -= len(piece)
            chunk = unpack.unconsumed_tail
            if left < 0 or not piece:
                break
    except zlib.error as error:
        raise PageError(f"{url} cannot be unpacked. {STAYS}") from error
    return pieces


def _unzipped(content: bytes, most: int, url: str) -> bytes:
    """A sitemap that is a gzip file, unpacked; any other as it is."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        found = unpack.decompress(content, most + 1)
    except zlib.error as error:
        raise PageError(f"{url} cannot be unpacked. {STAYS}") from error
    if len(found) > most:
        raise PageError(f"{url} is larger than {most // 1024 // 1024} MiB. {STAYS}")
    return found


def _suffix_of(url: str) -> str:
    found = re.search(r"\.(?:html?|md|markdown|txt|pdf|docx|csv|json)$", urlsplit(url).path.lower())
    return {".htm": ".html", ".markdown": ".md"}.get(found[0], found[0]) if found else ""


def _status(status: int) -> str:
    if status in _GONE:
        return f"is not there (it answers {status})"
    if status in {401, 403, 407}:
        return f"may not be read without logging in (it answers {status})"
    if status == 429 or status >= 500:
        return f"is out of order just now (it answers {status}); try again later"
    return f"answers {status}"


def _reason(error: Exception) -> str:
    from aiohttp import ClientPayloadError, ClientSSLError, ServerDisconnectedError

    if isinstance(error, ClientSSLError):
        return "its certificate is not valid"
    if isinstance(error, ServerDisconnectedError | ClientPayloadError):
        return "the connection broke off"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)[:200].splitlines()[0] if str(error) else type(error).__name__
