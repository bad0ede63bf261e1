"""Web pages, fetched from a real server on this machine, which has to be allowed for that."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from knowledge.errors import PageError
from knowledge.readers import load_readers
from knowledge.readers.jail import Jail
from knowledge.web.pages import Page, PageLimits, Pages, Seen, read_page
from tests.servers.running import serving
from tests.servers.site import Site

HERE = frozenset({"127.0.0.1"})


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with serving(Site()) as site:
        yield site


@pytest.fixture
def site(server: Site) -> Site:
    server.__init__()  # type: ignore[misc]
    return server


async def fetch(
    url: str, seen: Seen | None = None, *, allow: frozenset[str] = HERE, limits: PageLimits | None = None
) -> Page | None:
    async with Pages(allow=allow, limits=limits) as pages:
        return await pages.fetch(url, seen)


async def fetched(url: str) -> Page:
    page = await fetch(url)
    assert page is not None
    return page


async def refusal(url: str, *, allow: frozenset[str] = HERE, limits: PageLimits | None = None) -> str:
    with pytest.raises(PageError) as caught:
        await fetch(url, allow=allow, limits=limits)
    assert "\n" not in caught.value.message
    return caught.value.message


async def test_a_page_becomes_a_document(site: Site) -> None:
    page = await fetched(f"{site.url}/refunds?lang=en#top")
    with Jail(load_readers()) as jail:
        [document] = (await read_page(page, jail)).documents
    assert (document.title, document.url) == ("Refunds", f"{site.url}/refunds?lang=en")
    assert document.text == f"They take five days. [Pets]({site.url}/pets)"
    assert document.id.startswith(f"127.0.0.1-{site.port}/refunds-")
    [(_, headers)] = site.asked
    assert "frontdesk" in headers["User-Agent"]
    assert not {"Cookie", "Authorization", "Referer"} & set(headers)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://a.example/", "a.example/index.html"),
        ("https://a.example/b/index.html", "a.example/b.html"),
        ("https://a.example//b//c.php", "a.example/b/c.html"),
        ("https://a.example:8443/b/", "a.example-8443/b.html"),
        ("https://a.example/b?c=1", "a.example/b-01cf8eca.html"),
    ],
)
def test_a_page_is_known_by_its_address(url: str, path: str) -> None:
    file = Page(url, b"").file
    assert (file.url, file.content) == (url, b"")
    assert file.path.rpartition("-")[0] == path.rpartition("-")[0]
    assert "-" in path or file.path == path


async def test_a_page_that_has_not_changed_is_not_fetched_again(site: Site) -> None:
    page = await fetched(f"{site.url}/refunds")
    assert page.seen.etag == '"one"'
    assert await fetch(f"{site.url}/refunds", page.seen) is None
    assert site.asked[-1][1]["If-None-Match"] == '"one"'
    assert site.asked[-1][1]["If-Modified-Since"] == page.seen.last_modified
    site.etag, site.page = '"two"', site.page.replace("five", "six")
    again = await fetch(f"{site.url}/refunds", page.seen)
    assert again is not None
    assert b"six days" in again.content


async def test_without_an_etag_the_bytes_decide(site: Site) -> None:
    page = await fetched(f"{site.url}/plain")
    assert await fetch(f"{site.url}/plain", page.seen) is None
    assert await fetch(f"{site.url}/plain", replace(page.seen, digest="")) is not None


@pytest.mark.parametrize("name", ["packed", "deflated", "moved"])
async def test_packed_and_moved_pages(site: Site, name: str) -> None:
    page = await fetched(f"{site.url}/{name}")
    assert b"five days" in page.content
    assert page.url == f"{site.url}/{'refunds' if name == 'moved' else name}"


async def test_other_kinds_and_encodings(site: Site) -> None:
    assert (await fetched(f"{site.url}/guide.md")).suffix == ".md"
    page = await fetched(f"{site.url}/latin")
    assert load_readers()[".html"].read(page.file).documents[0].text == "Größe für später"


async def test_a_canonical_address_counts_at_the_same_host_only(site: Site) -> None:
    for to, url in (
        ("/help/refunds", f"{site.url}/help/refunds"),
        ("https://evil.example.com/x", f"{site.url}/canonical"),
    ):
        page = await fetched(f"{site.url}/canonical?to={to}")
        [document] = load_readers()[".html"].read(page.file).documents
        assert (document.url or "").partition("?")[0] == url


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere", "is not there (it answers 404)"),
        ("/gone", "is not there (it answers 410)"),
        ("/login", "without logging in"),
        ("/broken", "out of order just now (it answers 503)"),
        ("/circle", "leads in a circle"),
        ("/endless", "leads on more than 5 times"),
        ("/picture", "is of the type image/png"),
        ("/vague", "does not say what kind of document"),
        ("/brotli", "(br)"),
        ("/bomb", "is larger than 20 MiB"),
        ("/stream", "is larger than 20 MiB"),
        ("/cut", "is cut off"),
        ("/not-packed", "cannot be unpacked"),
        ("/breaks-off", "the connection broke off"),
    ],
)
async def test_what_cannot_be_had_is_named_and_the_old_copy_stays(site: Site, path: str, words: str) -> None:
    message = await refusal(f"{site.url}{path}")
    assert words in message
    assert site.url in message
    assert message.endswith("The copy from before, if there is one, stays in use.")


async def test_a_slow_page_is_given_up(site: Site) -> None:
    assert "took longer than 0.3 seconds" in await refusal(f"{site.url}/slow", limits=PageLimits(seconds=0.3))


async def test_a_host_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, port: int, **_: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
        assert "There is no host no-such-host.example" in await refusal("http://no-such-host.example/")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert "cannot be fetched" in await refusal(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}/refunds",
        "http://localhost:{port}/refunds",
        "http://127.1:{port}/refunds",
        "http://0x7f000001:{port}/refunds",
        "http://2130706433:{port}/refunds",
        "http://0177.0.0.1:{port}/refunds",
        "http://0.0.0.0:{port}/refunds",
        "http://[::1]:{port}/refunds",
        "http://[::ffff:127.0.0.1]:{port}/refunds",
        "http://[64:ff9b::127.0.0.1]:{port}/refunds",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
    ],
)
async def test_this_machine_and_its_neighbours_are_refused(site: Site, address: str) -> None:
    message = await refusal(address.format(port=site.port), allow=frozenset())
    assert "not fetched" in message or "not a canonical IPv4 address" in message
    assert site.asked == []


async def test_a_redirect_into_the_network_is_refused(site: Site) -> None:
    for target in (
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "file:///etc/passwd",
        "http://a:b@127.0.0.1/",
    ):
        message = await refusal(f"{site.url}/to?url={target}")
        assert "leads to" in message
    assert {path for path, _ in site.asked} == {"/to"}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/b",
        "file:///etc/passwd",
        "//a.example",
        "http:///x",
        "http://a.example:99999/",
        "gopher://a/",
        "words",
    ],
)
async def test_what_is_no_web_address_is_refused(url: str) -> None:
    assert "not a web address" in await refusal(url)


async def test_passwords_do_not_belong_into_addresses() -> None:
    message = await refusal("https://maria:secret@help.example.com/")
    assert "leave it out" in message
    assert "secret" not in message


async def test_the_connection_goes_to_the_address_that_was_checked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers differently each time: what was looked up and checked is what is connected to."""
    answers = iter(["127.0.0.1", "10.0.0.1", "10.0.0.1"])
    asked: list[str] = []

    async def lookup(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    async with Pages(allow=frozenset({"127.0.0.0/8"})) as pages:
        page = await pages.fetch(f"http://rebinding.example:{site.port}/plain")
        assert page is not None
        assert site.asked[0][1]["Host"] == f"rebinding.example:{site.port}"
        assert asked == ["rebinding.example"]
    async with Pages(allow=frozenset({"127.0.0.0/8"})) as pages:
        with pytest.raises(PageError, match=r"rebinding\.example stands for 10\.0\.0\.1, a private address"):
            await pages.fetch(f"http://rebinding.example:{site.port}/plain")


async def test_a_name_with_one_bad_address_is_refused(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    async def lookup(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("93.184.216.34", "127.0.0.1")
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    assert "stands for 127.0.0.1" in await refusal("http://two.example/", allow=frozenset())


async def test_a_sitemap_and_those_it_leads_to(site: Site) -> None:
    async with Pages(allow=HERE) as pages:
        found = await pages.sitemap(f"{site.url}/index.xml")
        assert found.urls == (f"{site.url}/refunds", f"{site.url}/pets?a=1&b=2", f"{site.url}/plain")
        assert found.notes == ("1 page of another host was left out",)
        assert site.visits["/index.xml"] == 1
        assert (await pages.sitemap(f"{site.url}/list.txt")).urls == (f"{site.url}/a", f"{site.url}/b")


async def test_the_limits_of_sitemaps(site: Site) -> None:
    async with Pages(allow=HERE, limits=PageLimits(pages=1, sitemaps=2)) as pages:
        found = await pages.sitemap(f"{site.url}/sitemap.xml")
        assert len(found.urls) == 1
        assert "first 1 pages" in found.notes[0]
    async with Pages(allow=HERE, limits=PageLimits(sitemaps=2)) as pages:
        assert "first 2 sitemaps" in (await pages.sitemap(f"{site.url}/index.xml")).notes[0]


@pytest.mark.parametrize("path", ["/feed.xml", "/doctype.xml", "/nowhere.xml", "/refunds", "/guide.md"])
async def test_what_is_no_sitemap(site: Site, path: str) -> None:
    async with Pages(allow=HERE) as pages:
        with pytest.raises(PageError, match=r"not a sitemap|not there|no document"):
            await pages.sitemap(f"{site.url}{path}")
