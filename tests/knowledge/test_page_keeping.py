"""Documents from web pages: taken in, looked at again, kept when the page is gone; on each database, from a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp.web import Response
from sqlalchemy import update

from knowledge.base import KnowledgeBase
from knowledge.database import Source
from knowledge.documents import Document
from knowledge.editing import Act
from knowledge.library import tables
from knowledge.library.kept_pages import KnownSitemap
from knowledge.web.keeping import in_turn
from knowledge.web.pages import Pages
from tests.servers.running import serving
from tests.servers.site import Site

ANNA = Act("anna", publish=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with serving(Site()) as site:
        yield site


@pytest.fixture
def site(server: Site) -> Site:
    server.__init__()  # type: ignore[misc]
    return server


@pytest.fixture
async def base(tmp_path: Path, database: Source) -> AsyncIterator[KnowledgeBase]:
    made = KnowledgeBase(tmp_path / "data", None, database=database)
    yield made
    await made.close()


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    async with Pages(allow=frozenset({"127.0.0.1"})) as made:
        yield made


async def text(base: KnowledgeBase, document: str) -> str:
    stored = await base.newest(document)
    assert stored is not None
    return stored.document.text


async def test_a_page_is_taken_in_and_follows_its_page(base: KnowledgeBase, pages: Pages, site: Site) -> None:
    url = f"{site.url}/refunds"

    def inside(document: Document) -> Document:
        return replace(document, id="refunds", audience="internal", tags=("money",))

    report = await base.add_pages([url], ANNA, pages, change=inside)
    (kept,) = report.added
    assert (kept.document.id, kept.document.url, kept.origin.place, kept.state) == ("refunds", url, url, "published")
    again = await base.recheck_pages(pages)
    assert (again.changed, again.unchanged, again.failed) == (0, 1, ())
    site.etag, site.page = '"two"', site.page.replace("five", "six")
    assert (await base.recheck_pages(pages, older_than=timedelta(hours=1))).unchanged == 0, "it is not due"
    again = await base.recheck_pages(pages)
    assert (again.changed, again.unchanged) == (1, 0)
    newest = await base.newest("refunds")
    assert newest is not None
    assert "six days" in newest.document.text
    assert (newest.revision, newest.published, newest.author) == (2, 2, "recheck")
    assert url in newest.why
    # What staff said about it is on no page.
    assert (newest.document.audience, newest.document.tags) == ("internal", ("money",))


async def test_fault_095_a_page_that_is_gone_keeps_its_copy(base: KnowledgeBase, pages: Pages, site: Site) -> None:
    url = f"{site.url}/refunds"
    await base.add_pages([url], ANNA, pages)
    site._on_refunds = site._on_gone  # type: ignore[method-assign]
    report = await base.recheck_pages(pages)
    assert (report.changed, report.unchanged) == (0, 0)
    (failed,) = report.failed
    assert failed.file == url
    assert "stays in use" in failed.reason
    (known,) = base._open_library().pages(datetime.now(UTC))
    assert known.problem
    since = known.failing_since
    ((lost, ids),) = await base.lost_pages()
    assert (lost.url, lost.problem, lost.failing_since) == (url, "it is not there (it answers 410).", since)
    assert ids == [one.document.id for one in await base.documents()]
    await base.recheck_pages(pages)
    (known,) = base._open_library().pages(datetime.now(UTC))
    assert known.failing_since == since
    assert len(await base.documents()) == 1
    del site._on_refunds
    await base.recheck_pages(pages)
    (known,) = base._open_library().pages(datetime.now(UTC))
    assert (known.problem, known.failing_since) == ("", None)
    assert await base.lost_pages() == []


async def test_what_a_person_edited_stays_and_is_told_until_it_is_decided(
    base: KnowledgeBase, pages: Pages, site: Site
) -> None:
    (kept,) = (await base.add_pages([f"{site.url}/refunds"], ANNA, pages)).added
    name = kept.document.id
    await base.edit(replace(kept.document, text="We say it better."), 1, Act("ben", publish=True))
    assert (await base.recheck_pages(pages)).kept == ()
    site.etag, site.page = '"two"', site.page.replace("five", "six")
    for _ in range(2):
        report = await base.recheck_pages(pages)
        (told,) = report.kept
        assert (told.document, report.changed) == (name, 0)
        assert "edited by ben" in told.reason
    assert await text(base, name) == "We say it better."


async def test_a_draft_that_was_published_follows_its_page(base: KnowledgeBase, pages: Pages, site: Site) -> None:
    (kept,) = (await base.add_pages([f"{site.url}/refunds"], Act("anna"), pages)).added
    assert kept.state == "draft"
    site.etag, site.page = '"two"', site.page.replace("five", "six")
    assert (await base.recheck_pages(pages)).changed == 1
    stored = await base.newest(kept.document.id)
    assert stored is not None
    assert (stored.state, stored.latest, stored.published) == ("draft", 2, None)
    await base.publish([kept.document.id], ANNA)
    site.etag, site.page = '"three"', site.page.replace("six", "seven")
    assert (await base.recheck_pages(pages)).changed == 1
    stored = await base.newest(kept.document.id)
    assert stored is not None
    assert (stored.state, stored.published) == ("published", 3)
    assert "seven days" in stored.document.text


async def test_a_retired_page_is_not_fetched(base: KnowledgeBase, pages: Pages, site: Site) -> None:
    (kept,) = (await base.add_pages([f"{site.url}/refunds"], ANNA, pages)).added
    await base.retire([kept.document.id], ANNA)
    asked = len(site.asked)
    assert (await base.recheck_pages(pages)).unchanged == 0
    assert len(site.asked) == asked


async def test_pages_that_fail_do_not_stop_the_others(base: KnowledgeBase, pages: Pages, site: Site) -> None:
    urls = [f"{site.url}/{name}" for name in ("circle", "gone", "refunds", "picture", "plain")]
    report = await base.add_pages([*urls, "http://10.0.0.1/"], ANNA, pages)
    assert [one.origin.place for one in report.added] == [f"{site.url}/refunds"]
    failed = {one.file: one.reason for one in report.failed}
    assert set(failed) == {f"{site.url}/{name}" for name in ("circle", "gone", "picture", "plain")} | {
        "http://10.0.0.1/"
    }
    assert "says the same as" in failed[f"{site.url}/plain"]
    assert "private address" in failed["http://10.0.0.1/"]
    assert all("\n" not in reason for reason in failed.values())


async def test_a_page_that_is_here_is_not_added_again(base: KnowledgeBase, pages: Pages, site: Site) -> None:
    url = f"{site.url}/refunds"
    (kept,) = (await base.add_pages([url], ANNA, pages)).added
    name = kept.document.id
    (failed,) = (await base.add_pages([url], ANNA, pages)).failed
    assert failed.reason == (
        f"It is here already, as the document {name!r}. To look at it again: frontdesk knowledge recheck"
    )
    again = await base.add_pages([url], ANNA, pages, known=True)
    assert (again.unchanged, again.failed, len(site.asked)) == (1, (), 1)
    await base.retire([name], ANNA)
    (failed,) = (await base.add_pages([url], ANNA, pages)).failed
    assert failed.reason.endswith(f"which is retired. To bring it back: frontdesk knowledge publish {name}")


async def test_two_who_look_at_pages_at_once_ask_for_each_once(
    base: KnowledgeBase, pages: Pages, site: Site, tmp_path: Path, database: Source
) -> None:
    other = KnowledgeBase(tmp_path / "other", None, database=database)
    try:
        names = ["refunds", "latin", "guide.md", "packed"]
        await base.add_pages([f"{site.url}/{name}" for name in names], ANNA, pages, twins=True)
        with base._open_library()._engine.begin() as connection:
            connection.execute(update(tables.pages).values(checked_at=datetime.now(UTC) - timedelta(hours=30)))
        site.asked.clear()
        day = timedelta(hours=24)
        done = await asyncio.gather(
            base.recheck_pages(pages, older_than=day), other.recheck_pages(pages, older_than=day)
        )
        assert sum(one.unchanged for one in done) == len(names)
        assert sorted(path for path, _ in site.asked) == sorted(f"/{name}" for name in names)
    finally:
        await other.close()


async def test_an_erased_page_is_not_asked_for_and_not_added_again(
    base: KnowledgeBase, pages: Pages, site: Site
) -> None:
    url = f"{site.url}/refunds"
    (kept,) = (await base.add_pages([url], ANNA, pages)).added
    await base.erase([kept.document.id], ANNA)
    assert (await base.recheck_pages(pages)).unchanged == 0
    (failed,) = (await base.add_pages([url], ANNA, pages)).failed
    assert "was erased by anna" in failed.reason
    assert len((await base.add_pages([url], ANNA, pages, twins=True)).added) == 1


async def test_new_pages_of_a_sitemap_are_taken_in_as_the_first_were(
    base: KnowledgeBase, pages: Pages, site: Site
) -> None:
    listed = ["refunds"]

    def sitemap(request: object) -> Response:
        return site._sitemap("urlset", "url", *(f"{site.url}/{name}" for name in listed))

    site._on_sitemap_xml = sitemap  # type: ignore[method-assign]
    url = f"{site.url}/sitemap.xml"
    await base.add_pages([f"{site.url}/refunds"], ANNA, pages)
    await base.follow_sitemap(KnownSitemap(url, "anna", True, "internal", ("web",)))
    again = await base.recheck_pages(pages)
    assert (again.added, again.unchanged) == ((), 1)
    listed += ["latin", "gone", "guide.md"]
    assert (await base.recheck_pages(pages, older_than=timedelta(hours=1))).added == ()
    again = await base.recheck_pages(pages)
    assert [one.origin.place for one in again.added] == [f"{site.url}/latin", f"{site.url}/guide.md"]
    assert {(one.state, one.author, one.document.audience, one.document.tags) for one in again.added} == {
        ("published", "anna", "internal", ("web",))
    }
    assert [one.file for one in again.failed] == [f"{site.url}/gone"]
    # Neither what was retired nor what was erased comes back by it.
    await base.retire([again.added[0].document.id], ANNA)
    await base.erase([again.added[1].document.id], ANNA)
    listed.remove("gone")
    again = await base.recheck_pages(pages)
    assert (again.added, again.failed) == ((), ())
    assert await base.forget_sitemap(url)
    assert not await base.forget_sitemap(url)
    listed.append("packed")
    assert (await base.recheck_pages(pages)).added == ()


async def test_pages_that_take_long_wait_for_the_others() -> None:
    done: list[tuple[str, bool]] = []
    told: list[tuple[str, int, int]] = []

    async def do(page: str, *, in_a_hurry: bool) -> bool:
        done.append((page, in_a_hurry))
        return not (page == "long" and in_a_hurry)

    await in_turn(["a", "long", "b"], do, lambda *how: told.append(how), "Looking")
    assert done == [("a", True), ("long", True), ("b", True), ("long", False)]
    assert told == [("Looking", 0, 3), ("Looking", 1, 3), ("Looking", 2, 3), ("Looking", 3, 3)]
    done.clear()
    await in_turn(["long"], do, lambda *how: None, "Looking")
    assert done == [("long", False)], "nobody waits for it"
