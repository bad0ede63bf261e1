"""A web site for tests, with pages that are good and pages that are traps."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections import Counter
from collections.abc import Iterable

from aiohttp import web

PAGE = (
    "<html lang=en><head><title>Refunds | Larkstay</title></head><body><nav>Home Help</nav>"
    "<main><h1>Refunds</h1><p>They take five days. <a href='/pets'>Pets</a></p></main><footer>Imprint</footer></body></html>"
)


class Site:
    """Serves `pages`; whatever else is asked for is a trap named by its path."""

    port = 0

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.etag = '"one"'
        self.page = PAGE
        self.visits: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Its address, by number."""
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/{path:.*}", self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.headers)))
        self.visits[request.path] += 1
        name = request.path.strip("/").replace("-", "_").replace(".", "_").replace("/", "_")
        serve = getattr(self, f"_on_{name}", None)
        if serve is None:
            return web.Response(status=404, text="Not here.")
        found = serve(request)
        if asyncio.iscoroutine(found):
            found = await found
        assert isinstance(found, web.StreamResponse)
        return found

    # Good pages ------------------------------------------------------------------------------------------------------

    def _on_refunds(self, request: web.Request) -> web.Response:
        headers = {"ETag": self.etag, "Last-Modified": "Sun, 01 Mar 2026 10:00:00 GMT"}
        if request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304, headers=headers)
        return web.Response(text=self.page, content_type="text/html", headers=headers)

    def _on_plain(self, request: web.Request) -> web.Response:
        return web.Response(text=self.page, content_type="text/html")

    def _on_guide_md(self, request: web.Request) -> web.Response:
        return web.Response(text="# Guide\n\nWords.", content_type="text/plain")

    def _on_latin(self, request: web.Request) -> web.Response:
        body = "<main><p>Größe für später</p></main>".encode("iso8859-1")
        return web.Response(body=body, headers={"Content-Type": "text/html; charset=ISO-8859-1"})

    def _on_packed(self, request: web.Request) -> web.Response:
        return web.Response(
            body=gzip.compress(PAGE.encode()), headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}
        )

    def _on_deflated(self, request: web.Request) -> web.Response:
        return web.Response(
            body=zlib.compress(PAGE.encode()), headers={"Content-Type": "text/html", "Content-Encoding": "deflate"}
        )

    def _on_canonical(self, request: web.Request) -> web.Response:
        link = f"<link rel=canonical href='{request.query['to']}'>"
        return web.Response(text=PAGE.replace("<head>", f"<head>{link}"), content_type="text/html")

    def _on_moved(self, request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("/refunds")

    # Traps -----------------------------------------------------------------------------------------------------------

    def _on_to(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["url"])

    def _on_circle(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/circle2")

    def _on_circle2(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/circle#again")

    def _on_endless(self, request: web.Request) -> web.Response:
        number = int(request.query.get("n", "0"))
        raise web.HTTPFound(f"/endless?n={number + 1}")

    def _on_gone(self, request: web.Request) -> web.Response:
        return web.Response(status=410)

    def _on_login(self, request: web.Request) -> web.Response:
        return web.Response(status=403)

    def _on_broken(self, request: web.Request) -> web.Response:
        return web.Response(status=503)

    def _on_picture(self, request: web.Request) -> web.Response:
        return web.Response(body=b"\x89PNG", content_type="image/png")

    def _on_vague(self, request: web.Request) -> web.Response:
        return web.Response(body=b"??", content_type="application/octet-stream")

    def _on_brotli(self, request: web.Request) -> web.Response:
        return web.Response(body=b"\x0b", headers={"Content-Type": "text/html", "Content-Encoding": "br"})

    def _on_bomb(self, request: web.Request) -> web.Response:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        data = b"".join(packer.compress(b" " * 1024 * 1024) for _ in range(30)) + packer.flush()
        return web.Response(body=data, headers={"Content-Type": "text/html", "Content-Encoding": "gzip"})

    def _on_cut(self, request: web.Request) -> web.Response:
        data = gzip.compress(PAGE.encode() * 50)[:-20]
        return web.Response(body=data, headers={"Content-Type": "text/html", "Content-Encoding": "gzip"})

    def _on_not_packed(self, request: web.Request) -> web.Response:
        return web.Response(body=b"hello", headers={"Content-Type": "text/html", "Content-Encoding": "gzip"})

    async def _on_stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        try:
            for _ in range(400):
                await response.write(b"<p>word " * 10_000)
        except ConnectionError:
            self.visits["hung up"] += 1
        return response

    async def _on_slow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        try:
            for _ in range(100):
                await response.write(b"<p>word")
                await asyncio.sleep(0.05)
        except ConnectionError:
            self.visits["hung up"] += 1
        return response

    async def _on_breaks_off(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"<p>word")
        assert request.transport is not None
        request.transport.close()
        return response

    # Sitemaps --------------------------------------------------------------------------------------------------------

    def _sitemap(self, kind: str, item: str, *addresses: str) -> web.Response:
        inside = "".join(
            f"<{item}><loc> {address} </loc><lastmod>2026-03-01</lastmod></{item}>" for address in addresses
        )
        text = f'<?xml version="1.0"?><{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inside}</{kind}>'
        return web.Response(text=text, content_type="application/xml")

    def _on_sitemap_xml(self, request: web.Request) -> web.Response:
        elsewhere = "https://other.example.com/c"
        return self._sitemap(
            "urlset",
            "url",
            f"{self.url}/refunds",
            f"{self.url}/pets?a=1&amp;b=2",
            elsewhere,
            "ftp://x/y",
            f"{self.url}/refunds",
        )

    def _on_index_xml(self, request: web.Request) -> web.Response:
        return self._sitemap(
            "sitemapindex", "sitemap", f"{self.url}/sitemap.xml", f"{self.url}/packed.xml.gz", f"{self.url}/index.xml"
        )

    def _on_packed_xml_gz(self, request: web.Request) -> web.Response:
        inner = self._sitemap("urlset", "url", f"{self.url}/plain").body
        assert isinstance(inner, bytes)
        return web.Response(body=gzip.compress(inner), content_type="application/gzip")

    def _on_list_txt(self, request: web.Request) -> web.Response:
        return web.Response(text=f"{self.url}/a\n{self.url}/b\nnothing\n", content_type="text/plain")

    def _on_doctype_xml(self, request: web.Request) -> web.Response:
        text = '<!DOCTYPE urlset [<!ENTITY a "b">]><urlset><url><loc>&a;</loc></url></urlset>'
        return web.Response(text=text, content_type="application/xml")

    def _on_feed_xml(self, request: web.Request) -> web.Response:
        return web.Response(text="<rss><channel/></rss>", content_type="application/xml")
