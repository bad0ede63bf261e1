"""Web pages that documents come from, what was seen of each, and sitemaps that are followed: a part of `knowledge.library`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

from sqlalchemy import Engine, delete, insert, select, update

from knowledge.database import reading, writing
from knowledge.library.tables import documents, pages, sitemaps
from knowledge.web.pages import Seen


@dataclass(frozen=True, slots=True)
class KnownPage:
    """A web page that documents come from. `problem` says why it cannot be had any more, since when."""

    url: str
    seen: Seen
    problem: str = ""
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownSitemap:
    """A sitemap whose new pages are taken in, too: for whom, and what is said of each of them."""

    url: str
    author: str
    publish: bool
    audience: str | None = None
    tags: tuple[str, ...] = ()
    review_by: date | None = None


class KeptPages:
    """The verbs over pages and sitemaps. Every one raises `StoreError` when the database cannot be used."""

    _engine: Engine

    def pages(self, before: datetime) -> list[KnownPage]:
        """The pages that were last looked at before then and that a document still comes from, by address."""
        alive = select(documents.c.place).where(documents.c.origin == "page", documents.c.state != "retired")
        query = select(pages).where(pages.c.checked_at <= before, pages.c.url.in_(alive)).order_by(pages.c.url)
        with reading(self._engine) as connection:
            return [
                KnownPage(row.url, Seen(row.etag, row.last_modified, row.digest), row.problem, row.failing_since)
                for row in connection.execute(query)
            ]

    def note_page(self, url: str, seen: Seen, problem: str = "") -> None:
        """Note that a page was looked at now, and why it could not be had, if so."""
        now = datetime.now(UTC)
        with writing(self._engine) as connection:
            since = connection.execute(select(pages.c.failing_since).where(pages.c.url == url)).scalar()
            connection.execute(delete(pages).where(pages.c.url == url))
            connection.execute(
                insert(pages).values(
                    url=url,
                    etag=seen.etag,
                    last_modified=seen.last_modified,
                    digest=seen.digest,
                    checked_at=now,
                    problem=problem,
                    failing_since=(since or now) if problem else None,
                )
            )

    def lost_pages(self) -> list[tuple[KnownPage, list[str]]]:
        """The pages that could not be had the last time, and the ids of the published documents that come from each."""
        query = (
            select(pages.c.url, pages.c.problem, pages.c.failing_since, documents.c.id)
            .join(documents, (documents.c.origin == "page") & (documents.c.place == pages.c.url))
            .where(pages.c.problem != "", documents.c.state == "published")
        )
        found: dict[str, tuple[KnownPage, list[str]]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(query.order_by(pages.c.failing_since, pages.c.url, documents.c.id)):
                known = KnownPage(row.url, Seen(), row.problem, row.failing_since)
                found.setdefault(row.url, (known, []))[1].append(row.id)
        return list(found.values())

    def claim_page(self, url: str, before: datetime) -> bool:
        """Whether nobody else has looked at this page since then; from now on somebody has."""
        now = datetime.now(UTC)
        with writing(self._engine) as connection:
            claim = update(pages).where(pages.c.url == url, pages.c.checked_at <= before).values(checked_at=now)
            return connection.execute(claim).rowcount == 1

    def sitemaps(self, before: datetime | None = None) -> list[KnownSitemap]:
        """The sitemaps that are followed, by address; those that were last looked at before then."""
        query = select(sitemaps).order_by(sitemaps.c.url)
        query = query.where(sitemaps.c.checked_at <= before) if before is not None else query
        with reading(self._engine) as connection:
            return [
                KnownSitemap(row.url, row.author, row.publish, row.audience, tuple(row.tags), row.review_by)
                for row in connection.execute(query)
            ]

    def follow_sitemap(self, known: KnownSitemap) -> None:
        """Follow a sitemap from now on, as it says."""
        values = {**asdict(known), "tags": list(known.tags), "checked_at": datetime.now(UTC)}
        with writing(self._engine) as connection:
            connection.execute(delete(sitemaps).where(sitemaps.c.url == known.url))
            connection.execute(insert(sitemaps).values(values))

    def claim_sitemap(self, url: str, before: datetime) -> bool:
        """Whether nobody else has looked at this sitemap since then; from now on somebody has."""
        with writing(self._engine) as connection:
            claim = update(sitemaps).where(sitemaps.c.url == url, sitemaps.c.checked_at <= before)
            return connection.execute(claim.values(checked_at=datetime.now(UTC))).rowcount == 1

    def forget_sitemap(self, url: str) -> bool:
        """No longer follow a sitemap. Returns whether it was followed."""
        with writing(self._engine) as connection:
            return connection.execute(delete(sitemaps).where(sitemaps.c.url == url)).rowcount == 1
