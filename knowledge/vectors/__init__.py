"""Where the vectors of passages are kept for searching: `VectorStore`, and `OpenVectors`, those of one finished index.

`knowledge.vectors.chroma` has the two that there are: Chroma in a folder, and a Chroma server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from knowledge.errors import IndexFailure

if TYPE_CHECKING:
    from knowledge.embeddings import Vectors


class VectorsLost(IndexFailure):
    """Vectors are gone, damaged or of another kind: they have to be built anew. What is only down comes back by itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which vectors are meant. A store in a folder goes by the folder, one that is shared by the other two.

    `library` names the library among all that share a server. `space` names what vectors may be compared with.
    """

    folder: Path
    library: str = ""
    space: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Passages of one audience and their vectors, of shape (len(ids), dimension) and length 1."""

    audience: str
    ids: Sequence[str]
    vectors: Vectors


class OpenVectors(Protocol):
    """The vectors of one finished index, ready to be asked, or getting ready again after a failure."""

    @property
    def note(self) -> str:
        """Why they cannot be asked just now, a sentence for staff; empty when they can."""
        ...

    @property
    def lost(self) -> bool:
        """Whether they have to be built anew."""
        ...

    @property
    def pid(self) -> int | None:
        """The process in which they are looked up, for those who watch over it."""
        ...

    async def cosines(self, vector: Vectors, audiences: Collection[str], nearest: int) -> dict[str, float]:
        """Cosines of the `nearest` passages of each audience to `vector`, by the passage's id.

        Raises `IndexFailure` within seconds, whatever happens.
        """
        ...

    async def check(self, rows: Iterable[Rows] | None = None) -> None:
        """Look for passages by their own vectors: those by which it was opened, or these.

        Raises `IndexFailure`, `VectorsLost` when they are not found.
        """
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


Filled = Callable[[int], None]
"""Told how many rows have been put in so far."""


class VectorStore(Protocol):
    """Builds and opens the vectors of an index."""

    @property
    def shared(self) -> bool:
        """Whether several machines see the same vectors, so that what one adds the others need not."""
        ...

    @property
    def kind(self) -> str:
        """Which store in which version: an index that was made with another one is made anew."""
        ...

    async def open(self, place: Place, probes: Sequence[Rows]) -> OpenVectors:
        """Open what was built. `probes` are some of its rows, at least one of each audience, by which it is checked.

        Never raises: `note` and `lost` tell how it stands.
        """
        ...

    async def build(
        self,
        place: Place,
        rows: Iterable[Rows],
        *,
        base: Place | None = None,
        gone: Mapping[str, Sequence[str]] | None = None,
        filled: Filled | None = None,
    ) -> None:
        """Put `rows` in; what is there already stays.

        With `base` only what differs from it is given: its rows, without those that are `gone` (ids by audience), are
        taken over. Where vectors are shared there is no base: all stays but what is `gone`, which only the library's one
        writer may say. Raises `IndexFailure`.
        """
        ...

    async def sweep(self, place: Place, keep: Mapping[str, Collection[str]], spare: Collection[str] = ()) -> int:
        """Where it is shared, remove all of the library but `keep` (ids by audience), and tell how many rows went.

        Other spaces go wholly, except for those in `spare`. Only the library's one writer may do so. Raises `IndexFailure`.
        """
        ...

    async def close(self) -> None:
        """Let go of what building has left. What was opened is closed by itself."""
        ...
