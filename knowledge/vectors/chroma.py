"""Vectors in Chroma: in a folder, or on a server. Chroma itself runs in a process of its own (`knowledge.vectors.chroma_child`).

So a crash, a panic or a hang of it costs the answers that were waiting for it their vectors, and nothing else; the process
is started again. docs/decisions/index.md has what that costs.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowledge.errors import IndexFailure
from knowledge.vectors import Filled, OpenVectors, Place, Rows, VectorsLost
from knowledge.vectors.chroma_process import ChromaProcess

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from knowledge.embeddings import Vectors

_log = logging.getLogger(__name__)

FOLDER = "chroma"
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds."""

    start: float = 60.0
    """Until vectors are open and checked."""
    query: float = 2.0
    """Until a question goes on by keywords."""
    hang: float = 10.0
    """Until what does not answer is ended and started again."""
    step: float = 120.0
    """Until one step of a build is done, or a thousand rows are in."""
    pauses: tuple[float, ...] = (0.1, 1.0, 5.0)
    """Before the tries to start again; the last one counts for all that follow."""
    falls: int = 3
    """When so many processes had to be ended over one folder within"""
    window: float = 600.0
    """this time, it is not tried again, but built anew."""


Starter = Callable[[], Awaitable[ChromaProcess]]


class ChromaVectors:
    """Vectors that are kept open: `OpenVectors` over a process that is started again whenever it fails.

    `names` are the collections by audience. `local`: whether they lie in a folder, where a failure means that the process
    cannot be trusted any more, and where nobody else mends anything.
    """

    def __init__(
        self,
        start: Starter,
        names: Mapping[str, str],
        probes: Sequence[Rows],
        patience: Patience,
        *,
        what: str,
        local: bool,
    ) -> None:
        self._start = start
        self._names = names
        self._probes = probes
        self._patience = patience
        self._what = what
        self._local = local
        self._process: ChromaProcess | None = None
        self._note = f"{what} is being opened."
        self._lost = False
        self._falls: deque[float] = deque(maxlen=patience.falls)
        self._mending: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def note(self) -> str:
        """Why they cannot be asked just now; empty when they can."""
        return self._note

    @property
    def lost(self) -> bool:
        """Whether they have to be built anew."""
        return self._lost

    @property
    def pid(self) -> int | None:
        """The process that runs Chroma."""
        return self._process.pid if self._process is not None else None

    async def open(self) -> None:
        """Make the first try; what fails is tried again in the background."""
        tried = False
        try:
            await self._bring_up()
            tried = True
        except IndexFailure as error:
            self._fell(error)
            tried = True
        finally:
            if not tried:
                # Whoever wanted it open is gone.
                await self.close()

    async def cosines(self, vector: Vectors, audiences: Collection[str], nearest: int) -> dict[str, float]:
        """Cosines of the nearest passages. Raises `IndexFailure`."""
        import numpy as np

        facts = {
            "names": [self._names[audience] for audience in sorted(audiences) if audience in self._names],
            "nearest": nearest,
        }
        answer, numbers = await self._asked("cosines", facts, np.asarray(vector, np.float32).tobytes())
        return dict(zip(answer["ids"], np.frombuffer(numbers, np.float32).tolist(), strict=True))

    async def check(self, rows: Iterable[Rows] | None = None) -> None:
        """Look for the probes, or for these. Raises `IndexFailure`, `VectorsLost` when they are not found."""
        for some in self._probes if rows is None else rows:
            facts = {"name": self._names[some.audience], "ids": list(some.ids)}
            await self._asked("probe", facts, some.vectors.tobytes())

    async def close(self) -> None:
        """End the process and all attempts."""
        self._closed = True
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait({self._mending})
        if self._process is not None:
            await self._process.close()
            self._process = None
        self._note = f"{self._what} is closed."

    async def _asked(self, verb: str, facts: dict[str, Any], numbers: bytes) -> tuple[dict[str, Any], bytes]:
        process = self._process
        if self._note or process is None:
            raise (VectorsLost if self._lost else IndexFailure)(self._note)
        try:
            return await process.ask(verb, facts, numbers, seconds=self._patience.query)
        except IndexFailure as error:
            if not self._note:
                self._fell(error)
            raise

    def _fell(self, error: IndexFailure) -> None:
        """It failed: nobody asks it any more until it is mended, which begins now."""
        self._note, self._lost = error.message, isinstance(error, VectorsLost)
        if not self._closed and (self._mending is None or self._mending.done()):
            self._mending = asyncio.create_task(self._mend())

    async def _mend(self) -> None:
        _log.warning("%s Search goes by keywords.", self._note)
        for pause in self._pauses():
            await self._drop_what_is_broken()
            if self._local and self._lost:
                return
            await asyncio.sleep(pause)
            try:
                await self._bring_up()
            except IndexFailure as error:
                self._note, self._lost = error.message, isinstance(error, VectorsLost)
                continue
            _log.warning("%s can be searched again.", self._what)
            return
        await self._drop_what_is_broken()
        self._lost = True

    def _pauses(self) -> Iterator[float]:
        yield from self._patience.pauses
        while not self._local:
            yield self._patience.pauses[-1]

    async def _drop_what_is_broken(self) -> None:
        process = self._process
        if process is None:
            return
        # What is slow gets the rest of its time; what answers late was slow, nothing worse.
        late = not process.over and process.waited > 0
        while not process.over and 0 < process.waited < self._patience.hang:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
        if process.over or process.waited > 0 or (self._local and not late):
            # Not forgotten before it is over, so that `close()` can wait for it, too.
            await process.close()
            self._process = None
            self._fallen()

    def _fallen(self) -> None:
        """A process had to go. Of what is in a folder that may be said only so often."""
        now = time.monotonic()
        self._falls.append(now)
        if self._local and len(self._falls) == self._patience.falls and now - self._falls[0] < self._patience.window:
            self._lost = True

    async def _bring_up(self) -> None:
        """Start the process if there is none, and see that what should be there can be found."""
        seconds = self._patience.start
        if self._process is None:
            self._process = await self._start()
        process = self._process
        await process.ask("open", {"names": list(self._names.values())}, seconds=seconds)
        for rows in self._probes:
            facts = {"name": self._names[rows.audience], "ids": list(rows.ids)}
            await process.ask("probe", facts, rows.vectors.tobytes(), seconds=seconds)
        self._note, self._lost = "", False


class _Passed:
    """A process that has built something, until it is opened: then it need not be started once more."""

    def __init__(self) -> None:
        self._kept: tuple[str, ChromaProcess] | None = None

    async def keep(self, what: str, process: ChromaProcess) -> None:
        """Keep this one, and no other."""
        before, self._kept = self._kept, (what, process)
        if before is not None:
            await before[1].close()

    async def take(self, what: str, start: Starter) -> ChromaProcess:
        """The one that built this, else a new one."""
        if self._kept is None or self._kept[0] != what or self._kept[1].over:
            return await start()
        (_, process), self._kept = self._kept, None
        return process

    async def close(self) -> None:
        """End what nobody has opened."""
        if self._kept is not None:
            (_, process), self._kept = self._kept, None
            await process.close()


class EmbeddedChroma:
    """Vectors in a folder. What is built is never changed afterwards: readers only read.

    Chroma 1.5.9 is not safe against being killed while it writes, nor against two writers on one folder: here neither can
    touch a folder that is in use.
    """

    shared = False

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._passed = _Passed()

    @property
    def kind(self) -> str:
        """Chroma's version: what another one wrote is made anew rather than migrated."""
        return f"embedded {version('chromadb')}"

    async def open(self, place: Place, probes: Sequence[Rows]) -> OpenVectors:
        """Open a folder."""
        names = {rows.audience: _in_folder(rows.audience) for rows in probes}
        vectors = ChromaVectors(
            lambda: self._passed.take(str(place.folder), lambda: self._started(place.folder)),
            names,
            probes,
            self._patience,
            what="The vector index",
            local=True,
        )
        await vectors.open()
        return vectors

    async def build(
        self,
        place: Place,
        rows: Iterable[Rows],
        *,
        base: Place | None = None,
        gone: Mapping[str, Sequence[str]] | None = None,
        filled: Filled | None = None,
    ) -> None:
        """Fill a new folder, on the ground of a copy of `base` if there is one."""
        if base is not None:
            try:
                await asyncio.to_thread(shutil.copytree, base.folder / FOLDER, place.folder / FOLDER)
            except (OSError, shutil.Error) as error:
                raise IndexFailure(f"The vector index cannot be copied: {_reason(error)}.") from error

        def about(audience: str) -> dict[str, str]:
            return {"audience": audience}

        async with _process(self._started(place.folder), keep=self._passed, what=str(place.folder)) as process:
            step = self._patience.step
            await _remove(process, gone or {}, _in_folder, step)
            await _fill(process, rows, _in_folder, about, step, filled)
            # Whoever opens it sees what is on the disk.
            await process.ask("connect", _at(place.folder), seconds=step)

    async def sweep(self, place: Place, keep: Mapping[str, Collection[str]], spare: Collection[str] = ()) -> int:
        """Nothing: the next folder is built without them."""
        return 0

    async def close(self) -> None:
        """End what nobody has opened."""
        await self._passed.close()

    async def _started(self, folder: Path) -> ChromaProcess:
        return await ChromaProcess.start(_at(folder), "The vector index", self._patience.start)


class ChromaServer:
    """Vectors on a Chroma server (`chroma run`), which several machines share.

    A passage's id comes from its text, so that machines that add the same passage do not get into each other's way. Each
    audience of a library has a collection for each embedder.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        tenant: str = "default_tenant",
        database: str = "default_database",
        patience: Patience | None = None,
    ) -> None:
        self._url = url
        # One that is asked for by the server itself, or by a proxy before it.
        headers = {"Authorization": f"Bearer {token}", "X-Chroma-Token": token} if token else {}
        self._connect = {"url": url, "headers": headers, "tenant": tenant, "database": database}
        self._patience = patience or Patience(pauses=(0.5, 1.0, 2.0, 5.0, 15.0))
        self._passed = _Passed()

    @property
    def kind(self) -> str:
        """What is on a server does not depend on our version."""
        return "server"

    @property
    def _what(self) -> str:
        return f"The Chroma server {self._url}"

    async def open(self, place: Place, probes: Sequence[Rows]) -> OpenVectors:
        """Open the collections of a library."""
        names = {rows.audience: _on_server(place, rows.audience) for rows in probes}
        vectors = ChromaVectors(
            lambda: self._passed.take(self._url, self._started),
            names,
            probes,
            self._patience,
            what=self._what,
            local=False,
        )
        await vectors.open()
        return vectors

    async def build(
        self,
        place: Place,
        rows: Iterable[Rows],
        *,
        base: Place | None = None,
        gone: Mapping[str, Sequence[str]] | None = None,
        filled: Filled | None = None,
    ) -> None:
        """Add what is not there yet, then remove what is `gone`."""

        def about(audience: str) -> dict[str, str]:
            return {"library": place.library, "embedder": place.space, "audience": audience}

        def name(audience: str) -> str:
            return _on_server(place, audience)

        async with _process(self._started(), keep=self._passed, what=self._url) as process:
            await _fill(process, rows, name, about, self._patience.step, filled)
            await _remove(process, gone or {}, name, self._patience.step)

    async def sweep(self, place: Place, keep: Mapping[str, Collection[str]], spare: Collection[str] = ()) -> int:
        """Remove all of the library but `keep`, and but the spaces in `spare`."""
        facts = {
            "prefix": _prefix(place),
            "keep": {_on_server(place, audience): list(ids) for audience, ids in keep.items()},
            "spare": [f"{_prefix(place)}{_digest(space)}-" for space in spare if space != place.space],
        }
        starting = self._passed.take(self._url, self._started)
        async with _process(starting, keep=self._passed, what=self._url) as process:
            answer, _ = await process.ask("sweep", facts, seconds=self._patience.step)
        return int(answer["removed"])

    async def version(self) -> str:
        """That of the server. Raises `IndexFailure`, which says why it cannot be used."""
        async with _process(self._started()) as process:
            answer, _ = await process.ask("connect", self._connect, seconds=self._patience.start)
        return str(answer["version"])

    async def close(self) -> None:
        """End what nobody has opened."""
        await self._passed.close()

    async def _started(self) -> ChromaProcess:
        return await ChromaProcess.start(self._connect, self._what, self._patience.start)


@asynccontextmanager
async def _process(
    starting: Awaitable[ChromaProcess], *, keep: _Passed | None = None, what: str = ""
) -> AsyncGenerator[ChromaProcess]:
    """A process for one piece of work; it is kept for whoever opens what it built, or ended."""
    process, done = await starting, False
    try:
        yield process
        done = keep is not None
    finally:
        if not done or keep is None:
            await process.close()
    if keep is not None:
        await keep.keep(what, process)


async def _fill(
    process: ChromaProcess,
    rows: Iterable[Rows],
    name: Callable[[str], str],
    about: Callable[[str], dict[str, str]],
    step: float,
    filled: Filled | None,
) -> None:
    prepared: set[str] = set()
    done = 0
    each = iter(rows)
    while (some := await asyncio.to_thread(next, each, None)) is not None:
        if some.audience not in prepared:
            facts = {"name": name(some.audience), "about": about(some.audience)}
            await process.ask("prepare", facts, some.vectors[:1].tobytes(), seconds=step)
            prepared.add(some.audience)
        facts = {"name": name(some.audience), "ids": list(some.ids)}
        await process.ask("fill", facts, some.vectors.tobytes(), seconds=step * max(1, len(some.ids) / 1000))
        done += len(some.ids)
        if filled is not None:
            filled(done)


async def _remove(
    process: ChromaProcess, gone: Mapping[str, Sequence[str]], name: Callable[[str], str], step: float
) -> None:
    for audience, ids in gone.items():
        await process.ask("remove", {"name": name(audience), "ids": list(ids)}, seconds=step)


def _at(folder: Path) -> dict[str, str]:
    return {"path": str(folder / FOLDER)}


def _digest(text: str) -> str:
    # Chroma takes few characters in a name; an audience, or an embedder, may be called anything.
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _in_folder(audience: str) -> str:
    return f"audience-{_digest(audience)}"


def _prefix(place: Place) -> str:
    return f"frontdesk-{_digest(place.library)}-"


def _on_server(place: Place, audience: str) -> str:
    return f"{_prefix(place)}{_digest(place.space)}-{_digest(audience)}"


def _reason(error: OSError | shutil.Error) -> str:
    """Why a copy failed; for a whole folder the reasons are in a list."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][2])[:200]
    return error.strerror or str(error)[:200]
