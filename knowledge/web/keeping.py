"""Documents that come from web pages: taken in once, and looked at again as often as is wanted.

A page that has not changed costs one request. One that cannot be had keeps the copy from before, and is told.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

from knowledge.article import normal
from knowledge.documents import Document, Origin, Stored
from knowledge.editing import Act, Editing
from knowledge.errors import ConflictError, FrontdeskError, KnowledgeError, PageError, ReaderError, TooSlow
from knowledge.folders.reading import Failure, Progress
from knowledge.folders.sync import Kept, what_was_done
from knowledge.library import Library
from knowledge.library.erasing import Forbidden
from knowledge.library.kept_pages import KnownPage, KnownSitemap
from knowledge.library.publishing import Changes, NewRevision, content_hash, cut
from knowledge.readers import Reading
from knowledge.readers.jail import Jail
from knowledge.web.pages import STAYS, Page, Pages, Seen, read_page

BY_RECHECK = "recheck"
T = TypeVar("T", contravariant=True)


@dataclass(frozen=True, slots=True)
class PagesReport:
    """What came of pages. The counts are of pages; `failed` and `kept` name them by address, `notes` are sentences."""

    added: tuple[Stored, ...] = ()
    changed: int = 0
    unchanged: int = 0
    failed: tuple[Failure, ...] = ()
    kept: tuple[Kept, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    added: list[Stored] = field(default_factory=list)
    changed: int = 0
    unchanged: int = 0
    failed: list[Failure] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fail(self, url: str, error: FrontdeskError) -> None:
        text = error.message.replace("\n", " ")
        text = f"It{text.removeprefix(url)}" if text.startswith(f"{url} ") else text[:1].upper() + text[1:]
        end = "" if text.endswith((".", "?", "!")) else "."
        self.failed.append(Failure(url, f"{text}{end} {error.hint}".replace("\n", " ").strip()))

    def report(self) -> PagesReport:
        return PagesReport(
            tuple(self.added), self.changed, self.unchanged, tuple(self.failed), tuple(self.kept), tuple(self.notes)
        )


class PageKeeping(Editing):
    """The verbs over pages."""

    async def add_pages(
        self,
        urls: Sequence[str],
        act: Act,
        pages: Pages,
        *,
        change: Callable[[Document], Document] = lambda document: document,
        twins: bool = False,
        known: bool = False,
        progress: Progress | None = None,
    ) -> PagesReport:
        """Fetch pages and take in what they say, each on its own: one that fails does not stop the others.

        `change` is what is made of each document before it is kept. A page that documents come from already is not fetched:
        it fails, or, with `known`, only counts as unchanged.
        """
        library = await asyncio.to_thread(self._open_library)
        tally, report = _Tally(), progress or (lambda what, done, total: None)
        with Jail(await asyncio.to_thread(self._load_readers)) as jail:

            async def take_in(url: str, *, in_a_hurry: bool) -> bool:
                try:
                    if here := await asyncio.to_thread(library.from_place, Origin("page", url)):
                        if not known:
                            raise _here(url, here)
                        tally.unchanged += 1
                        return True
                    page = await pages.fetch(url)
                    assert page is not None, "nothing was seen before"
                    reading = await read_page(page, jail, in_a_hurry=in_a_hurry)
                    documents = [change(one) for one in _documents(reading, page)]
                    tally.added += await self.add(documents, act, Origin("page", url), way="page", twins=twins)
                    await asyncio.to_thread(library.note_page, url, page.seen)
                    tally.notes += [f"{url}: {remark}." for remark in reading.remarks()]
                except (KnowledgeError, ReaderError) as error:
                    if in_a_hurry and isinstance(error, TooSlow):
                        return False
                    tally.fail(url, error)
                return True

            await in_turn(urls, take_in, report, "Fetching pages")
        return tally.report()

    async def recheck_pages(
        self, pages: Pages, *, older_than: timedelta = timedelta(0), progress: Progress | None = None
    ) -> PagesReport:
        """Look at every page again that was last looked at longer ago than that, and take over what has changed there.

        So with sitemaps: pages that they list anew are added. What a person has edited or retired since stays, and is told; so
        does what can no longer be had.
        """
        library = await asyncio.to_thread(self._open_library)
        before = datetime.now(UTC) - older_than
        tally, report = _Tally(), progress or (lambda what, done, total: None)
        known = await asyncio.to_thread(library.pages, before)
        for sitemap in await asyncio.to_thread(library.sitemaps, before):
            if await asyncio.to_thread(library.claim_sitemap, sitemap.url, before):
                await self._look_for_new(library, sitemap, pages, tally, report)
        if not known:
            return tally.report()
        ours: set[str] = set()
        with Jail(await asyncio.to_thread(self._load_readers)) as jail:

            async def look(one: KnownPage, *, in_a_hurry: bool) -> bool:
                # Another process may be at it, too.
                if one.url not in ours and not await asyncio.to_thread(library.claim_page, one.url, before):
                    return True
                ours.add(one.url)
                return await self._recheck(library, one, pages, jail, tally, in_a_hurry=in_a_hurry)

            await in_turn(known, look, report, "Looking at pages again")
        return tally.report()

    async def _look_for_new(
        self, library: Library, sitemap: KnownSitemap, pages: Pages, tally: _Tally, report: Progress
    ) -> None:
        """Take in the pages that a sitemap lists and that were never here."""
        try:
            listed = await pages.sitemap(sitemap.url)
        except PageError as error:
            tally.fail(sitemap.url, error)
            return
        erased = {one.origin.place for one in await asyncio.to_thread(library.erasures)}
        urls = [url for url in listed.urls if url not in erased]
        act = Act(sitemap.author, f"listed in {sitemap.url}", sitemap.publish)

        def described(document: Document) -> Document:
            return replace(
                document,
                audience=sitemap.audience or document.audience,
                tags=sitemap.tags or document.tags,
                review_by=sitemap.review_by or document.review_by,
            )

        done = await self.add_pages(urls, act, pages, change=described, known=True, progress=report)
        tally.added += done.added
        tally.failed += done.failed
        tally.notes += done.notes

    async def follow_sitemap(self, sitemap: KnownSitemap) -> None:
        """From now on take in what this sitemap lists anew whenever pages are looked at again."""
        library = await asyncio.to_thread(self._open_library)
        await asyncio.to_thread(library.follow_sitemap, sitemap)

    async def forget_sitemap(self, url: str) -> bool:
        """No longer follow a sitemap; its pages stay. Returns whether it was followed."""
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.forget_sitemap, url)

    async def sitemaps(self) -> list[KnownSitemap]:
        """The sitemaps that are followed."""
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.sitemaps)

    async def lost_pages(self) -> list[tuple[KnownPage, list[str]]]:
        """The pages that could not be had the last time, why and since when, with the published documents that come from them."""
        library = await asyncio.to_thread(self._open_library)
        return await asyncio.to_thread(library.lost_pages)

    async def _recheck(
        self, library: Library, known: KnownPage, pages: Pages, jail: Jail, tally: _Tally, *, in_a_hurry: bool
    ) -> bool:
        try:
            page = await pages.fetch(known.url, known.seen)
            if page is None:
                tally.unchanged += 1
                await asyncio.to_thread(library.note_page, known.url, known.seen)
                return True
            reading = await read_page(page, jail, in_a_hurry=in_a_hurry)
            if doubt := reading.doubt():
                raise ReaderError(f"{doubt}. The copy from before stays in use.")
            kept = await asyncio.to_thread(_take_over, library, known.url, _documents(reading, page), tally)
            # What a person has to decide is asked again the next time.
            await asyncio.to_thread(library.note_page, known.url, Seen() if kept else page.seen)
            tally.notes += [f"{known.url}: {remark}." for remark in reading.remarks()]
        except (PageError, ReaderError, KnowledgeError) as error:
            if in_a_hurry and isinstance(error, TooSlow):
                return False
            tally.fail(known.url, error)
            problem = error.message.replace(STAYS, "").replace(f"{known.url} ", "it ").strip()
            await asyncio.to_thread(library.note_page, known.url, known.seen, problem)
        return True


class _Do(Protocol, Generic[T]):
    async def __call__(self, one: T, /, *, in_a_hurry: bool) -> bool: ...


async def in_turn(some: Sequence[T], do: _Do[T], progress: Progress, what: str) -> None:
    """Do it with each; those that cannot be done in a hurry wait for the others rather than the others for them."""
    put_off = []
    for done, one in enumerate(some):
        progress(what, done, len(some))
        if not await do(one, in_a_hurry=len(some) > 1):
            put_off.append(one)
    for one in put_off:
        await do(one, in_a_hurry=False)
    progress(what, len(some), len(some))


def _here(url: str, documents: Sequence[Stored]) -> ConflictError:
    one = documents[0]
    name, retired = one.document.id, one.state == "retired"
    again = f"publish {shlex.quote(name)}" if retired else "recheck"
    return ConflictError(
        f"{url} is here already, as the document {name!r}{', which is retired' if retired else ''}.",
        f"To {'bring it back' if retired else 'look at it again'}: frontdesk knowledge {again}",
    )


def _documents(reading: Reading, page: Page) -> list[Document]:
    """The documents of a page; they are cited by its address unless they name another."""
    return [one if one.url else replace(one, url=page.url) for one in reading.documents]


def _take_over(library: Library, url: str, documents: Sequence[Document], tally: _Tally) -> bool:
    """Write what a page says now, as a draft where it is one. Returns whether something stays that a person did instead."""
    origin = Origin("page", url)
    before = {one.document.id: one for one in library.from_place(origin)}
    shown = any(one.state == "published" for one in before.values())
    write: list[NewRevision] = []
    kept: list[Kept] = []
    forbidden = Forbidden(library.erasures())
    single = next(iter(before)) if len(before) == 1 and len(documents) == 1 else None
    for found in documents:
        # A page of one document stays that document, whatever id it was given.
        document = normal(replace(found, id=single or found.id))
        old = before.pop(document.id, None)
        if old is not None:
            document = _as_kept(document, old)
        if old is None and (why_not := forbidden.reason(document, origin)):
            kept.append(Kept(document.id, url, f"{why_not}; it is still on the page."))
            continue
        digest = content_hash(document)
        if old is not None and (old.by_hand or old.state == "retired"):
            if digest not in (old.taken_hash, old.content_hash):
                kept.append(_stays(old, url, "The page has changed"))
            continue
        if old is not None and digest == old.content_hash:
            continue
        base = old.latest if old is not None else _free(library, document)
        live = cut(document) if shown else None
        write.append(NewRevision(document, base, "page", live, origin, taken=True))
    retire = frozenset(one for one, its in before.items() if its.state == "published" and not its.by_hand)
    kept += [_stays(its, url, "It is no longer on the page") for one, its in before.items() if its.by_hand]
    if write or retire:
        library.publish(Changes(BY_RECHECK, f"the page {url} has changed", write, retire=retire))
        tally.changed += 1
    else:
        tally.unchanged += 1
    tally.kept += kept
    return bool(kept)


def _as_kept(found: Document, old: Stored) -> Document:
    """What the page says, with what staff said about it, which is on no page."""
    was = old.document
    return replace(
        found,
        audience=was.audience,
        review_by=found.review_by or was.review_by,
        tags=found.tags or was.tags,
        source=was.source,
    )


def _free(library: Library, document: Document) -> int:
    if library.newest(document.id) is not None:
        raise KnowledgeError(f"Its id {document.id!r} is already that of another document.")
    return 0


def _stays(old: Stored, url: str, why: str) -> Kept:
    name = old.document.id
    reason = f"{why}, but the document {name!r} was {what_was_done(old)}; that stays."
    return Kept(name, url, reason)
