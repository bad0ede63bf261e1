"""What `frontdesk knowledge verify` looks at: whether the index holds what the library does, and all of it is found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from knowledge.documents import IndexEntry
from knowledge.embeddings import Embedder
from knowledge.errors import IndexFailure
from knowledge.index import Whole
from knowledge.index.building import Progress
from knowledge.index.in_use import Opened
from knowledge.index.keeper import Keeper
from knowledge.library import Library
from knowledge.vectors import Rows

AT_ONCE = 100
SAME = 0.001
"""How far a number of a vector may be from the one that was written. Those of vectors of length 1 are cut off at 0.0005."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was looked at: what it is, whether it is well, and how it stands."""

    name: str
    ok: bool
    message: str


async def verify(
    library: Library, opened: Opened, embedder: Embedder | None, keeper: Keeper, progress: Progress
) -> list[Part]:
    """Look at everything. Raises `StoreError`."""
    newest = await asyncio.to_thread(library.edition)
    entries = await asyncio.to_thread(library.entries, opened.edition)
    documents, passages = await asyncio.to_thread(library.count)
    parts = [Part("library", True, f"{documents} documents, {passages} passages, edition {newest}")]
    behind = f"customers see edition {opened.edition}, {newest - opened.edition} behind the library"
    parts.append(Part("edition", opened.edition == newest, behind if opened.edition != newest else "the newest"))
    parts.append(_passages(opened, entries))
    if embedder is not None:
        parts.append(await _kept(library, embedder, entries))
        parts.append(await _vectors(library, embedder, opened, entries, progress))
    holder = keeper.holder
    said = f"kept up to date by {holder}" if holder else "no process keeps it: commands bring it up themselves"
    parts.append(Part("keeper", True, said))
    return parts


def _passages(opened: Opened, entries: list[IndexEntry]) -> Part:
    if opened.note:
        return Part("keywords", False, opened.note)
    known, wanted = dict(opened.index.ids), {entry.id: entry.audience for entry in entries}
    if known == wanted:
        return Part("keywords", True, f"all {len(wanted)} passages are in the index")
    missing, surplus = len(wanted.keys() - known.keys()), len(known.keys() - wanted.keys())
    other = sum(known[one] != wanted[one] for one in known.keys() & wanted.keys())
    return Part(
        "keywords",
        False,
        f"{missing} passages are missing, {surplus} do not belong there, {other} have another audience",
    )


async def _kept(library: Library, embedder: Embedder, entries: list[IndexEntry]) -> Part:
    space = await asyncio.to_thread(library.space, embedder.name)
    keys = {entry.vector_key for entry in entries}
    missing = await asyncio.to_thread(library.without_vectors, space, list(keys))
    if missing:
        return Part("vectors in the library", False, f"{len(missing)} of {len(keys)} have not been made by {space}")
    return Part("vectors in the library", True, f"all {len(keys)}, made by {space}")


async def _vectors(
    library: Library, embedder: Embedder, opened: Opened, entries: list[IndexEntry], progress: Progress
) -> Part:
    name = "vector index"
    if opened.embedder != embedder.name or opened.whole is None or opened.whole.vectors is None:
        if not entries:
            return Part(name, True, "there is nothing to find")
        made_by = f"it was made with {opened.embedder}" if opened.embedder else "it has no vectors"
        return Part(name, False, opened.difference.note if opened.difference and opened.difference.note else made_by)
    whole = opened.whole
    assert whole.vectors is not None
    gone = opened.difference.gone if opened.difference is not None else frozenset()
    mine = [entry for entry in entries if entry.id in whole.rows and entry.id not in gone]
    added = {one.id for one in opened.difference.added} if opened.difference is not None else set()
    mine = [entry for entry in mine if entry.id not in added]
    done = 0
    try:
        for rows in await asyncio.to_thread(list, _batches(library, whole.about.space, mine)):
            progress("Looking for passages", done, len(mine))
            await whole.vectors.check([rows])
            if not _are_kept(whole, rows):
                return Part(name, False, "the vectors beside it are others than the library's")
            done += len(rows.ids)
    except IndexFailure as error:
        return Part(name, False, error.message)
    progress("Looking for passages", done, len(mine))
    beside = f", {len(added)} are kept beside it" if added else ""
    return Part(name, True, f"all {len(mine)} passages are found by their own vectors{beside}")


def _are_kept(whole: Whole, rows: Rows) -> bool:
    """Whether the file of vectors by row has these, as far as half the digits tell."""
    import numpy as np

    assert whole.kept is not None
    kept = whole.kept[[whole.rows[one] for one in rows.ids]].astype(np.float32)
    return bool(np.allclose(kept, rows.vectors, atol=SAME))


def _batches(library: Library, space: str, entries: list[IndexEntry]) -> Iterator[Rows]:
    import numpy as np

    by_audience: dict[str, list[IndexEntry]] = {}
    for entry in entries:
        by_audience.setdefault(entry.audience, []).append(entry)
    for audience, its in by_audience.items():
        for start in range(0, len(its), AT_ONCE):
            some = its[start : start + AT_ONCE]
            vectors = library.vectors(space, [one.vector_key for one in some])
            found = [one for one in some if one.vector_key in vectors]
            if found:
                yield Rows(audience, [one.id for one in found], np.array([vectors[one.vector_key] for one in found]))
