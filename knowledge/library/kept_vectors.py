"""The vectors that the library keeps, so that no index has to make them again, and which of them may be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Engine, delete, select, update

from knowledge.database import inserting, put, reading, writing
from knowledge.library.publishing import slices
from knowledge.library.tables import passages, state, vectors

if TYPE_CHECKING:
    from knowledge.embeddings import Vectors

SPACE_KEPT_FOR = timedelta(days=7)
"""How long vectors on a server are kept for machines that have another embedder, when none of them is heard of any more."""
_NOTED_AGAIN = timedelta(hours=1)


class KeptVectors:
    """The verbs over vectors. Every one raises `StoreError` when the database cannot be used."""

    _engine: Engine

    def space(self, embedder: str) -> str:
        """What names the vectors of an embedder that may be compared with each other. It changes with `renew_space`."""
        series = int(self._noted(_series(embedder), lambda: "0"))
        return f"{embedder} #{series}" if series else embedder

    def renew_space(self, embedder: str, old: str) -> None:
        """An embedder's vectors are others than before: those kept under `old` are not to be compared with new ones."""
        if self.space(embedder) != old:
            return
        before = int(self._noted(_series(embedder), lambda: "0"))
        with writing(self._engine) as connection:
            # Whoever comes second finds it done.
            connection.execute(
                update(state)
                .where(state.c.key == _series(embedder), state.c.value == str(before))
                .values(value=str(before + 1))
            )

    def note_space(self, space: str) -> None:
        """Note that the vectors of this space are in use now, by this machine or another."""
        key, now = f"space {_digest(space)}", datetime.now(UTC)
        with reading(self._engine) as connection:
            before = connection.execute(select(state.c.value).where(state.c.key == key)).scalar()
        if before is None or datetime.fromisoformat(str(before).partition(" ")[0]) < now - _NOTED_AGAIN:
            with writing(self._engine) as connection:
                put(connection, state, [{"key": key, "value": f"{now.isoformat()} {space}"}])

    def spaces_in_use(self) -> set[str]:
        """The spaces that were noted in the last days."""
        since = datetime.now(UTC) - SPACE_KEPT_FOR
        with reading(self._engine) as connection:
            noted = connection.execute(select(state.c.value).where(state.c.key.startswith("space ")))
            parts = [str(value).partition(" ") for value in noted.scalars()]
        return {space for at, _, space in parts if datetime.fromisoformat(at) >= since}

    def without_vectors(self, space: str, keys: Sequence[str]) -> set[str]:
        """Those of `keys` for which no vector is kept."""
        missing = set(keys)
        with reading(self._engine) as connection:
            query = select(vectors.c.vector_key).where(vectors.c.embedder == space)
            for some in slices(list(missing)):
                missing -= set(connection.execute(query.where(vectors.c.vector_key.in_(some))).scalars())
        return missing

    def keep_vectors(self, embedder: str, keys: Sequence[str], rows: Vectors) -> None:
        """Keep vectors as they are made: whoever is interrupted goes on from there."""
        values = [
            {"embedder": embedder, "vector_key": key, "vector": row.tobytes()}
            # In one order, so that two who keep the same ones do not wait for each other.
            for key, row in sorted(zip(keys, rows, strict=True), key=lambda pair: pair[0])
        ]
        if not values:
            return
        with writing(self._engine) as connection:
            put(connection, vectors, values)

    def vectors(self, embedder: str, keys: Sequence[str]) -> dict[str, Vectors]:
        """The kept vectors of `keys`, each of shape (dimension,)."""
        import numpy as np

        found: dict[str, Vectors] = {}
        with reading(self._engine) as connection:
            query = select(vectors.c.vector_key, vectors.c.vector).where(vectors.c.embedder == embedder)
            for some in slices(keys):
                for row in connection.execute(query.where(vectors.c.vector_key.in_(some))):
                    found[row.vector_key] = np.frombuffer(row.vector, np.float32)
        return found

    def forget_unused_vectors(self) -> None:
        """Drop vectors that no passage needs."""
        with writing(self._engine) as connection:
            connection.execute(delete(vectors).where(vectors.c.vector_key.not_in(select(passages.c.vector_key))))

    def _noted(self, key: str, first: Callable[[], str]) -> str:
        """A fact about the whole, which is made up when it is first asked for."""
        query = select(state.c.value).where(state.c.key == key)
        with reading(self._engine) as connection:
            found = connection.execute(query).scalar()
        if found is None:
            with writing(self._engine) as connection:
                connection.execute(inserting(connection, state).values(key=key, value=first()).on_conflict_do_nothing())
                found = connection.execute(query).scalar_one()
        return str(found)


def _series(embedder: str) -> str:
    return f"series {_digest(embedder)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
