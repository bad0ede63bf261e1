"""The folders that documents come from, and what was read there: a part of `knowledge.library`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, func, select

from knowledge.database import reading
from knowledge.documents import Origin
from knowledge.library.publishing import FileNote, slices
from knowledge.library.tables import documents, files


class Placed(NamedTuple):
    """A document that comes from a folder: its path there, its state, and whether a person has had the last word."""

    id: str
    source: str
    state: str
    by_hand: bool


class KeptFolders:
    """The verbs over folders. Every one raises `StoreError` when the database cannot be used."""

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

    def folders(self) -> list[tuple[str, int]]:
        """The folders that published documents come from, and how many come from each."""
        query = select(documents.c.place, func.count()).where(
            documents.c.state == "published", documents.c.origin == "folder"
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.group_by(documents.c.place).order_by(documents.c.place))
            return [(row[0], row[1]) for row in rows]
