"""What the library knows of the places that documents come from: folders, and what was read there; web pages.

A part of `knowledge.library`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, delete, func, insert, select

from knowledge.database import reading, writing
from knowledge.documents import Origin
from knowledge.pages import Seen
from knowledge.publishing import FileNote, slices
from knowledge.tables import documents, files, pages


@dataclass(frozen=True, slots=True)
class KnownPage:
    """A web page that documents come from. `problem` says why it cannot be had any more, since when."""

    url: str
    seen: Seen
    problem: str = ""
    failing_since: datetime | None = None


class Placed(NamedTuple):
    """A document that comes from a folder: its path there, its state, and whether a person has had the last word."""

    id: str
    source: str
    state: str
    by_hand: bool


class Places:
    """The verbs over places. Every one raises `StoreError` when the database cannot be used."""

    _engine: Engine

    def stamps_of(self, folder: str) -> dict[str, str]:
        """The stamps of the files that the last syncs of `folder` read, by path."""
        query = select(files.c.path, files.c.stamp).where(files.c.folder == folder)
        with reading(self._engine) as connection:
            return {path: stamp for path, stamp in connection.execute(query).all()}

    def files_of(self, folder: str, paths: Collection[str]) -> dict[str, FileNote]:
        """What is noted of these files of `folder`, by path."""
        query = select(files.c.path, files.c.content_hash, files.c.stem, files.c.stamp).where(files.c.folder == folder)
        found: dict[str, FileNote] = {}
        with reading(self._engine) as connection:
            for some in slices(sorted(paths)):
                rows = connection.execute(query.where(files.c.path.in_(some)))
                found |= {path: FileNote(digest, stem, stamp) for path, digest, stem, stamp in rows}
        return found

    def placed(self, origin: Origin) -> Sequence[Any]:
        """The documents that come from there, as `Placed` has them: what a sync needs to know of each, in one quick look."""
        query = select(documents.c.id, documents.c.source, documents.c.state, documents.c.by_hand)
        its = documents.c.origin == origin.kind, documents.c.place == origin.place
        with reading(self._engine) as connection:
            return connection.execute(query.where(*its)).all()

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

    def folders(self) -> list[tuple[str, int]]:
        """The folders that published documents come from, and how many come from each."""
        query = select(documents.c.place, func.count()).where(
            documents.c.state == "published", documents.c.origin == "folder"
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.group_by(documents.c.place).order_by(documents.c.place))
            return [(row[0], row[1]) for row in rows]
