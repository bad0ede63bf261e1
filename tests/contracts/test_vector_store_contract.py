"""What every vector store promises, also when the process or the server behind it crashes, hangs, or has lost its files."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from knowledge.errors import IndexFailure
from knowledge.vectors import OpenVectors, Place, Rows, VectorsLost, VectorStore
from knowledge.vectors.chroma import ChromaServer, EmbeddedChroma, Patience
from tests.servers.chroma_server import RunningChroma, running_chroma

DIMENSION = 24
QUICK = Patience(start=30, query=1.0, hang=1.5, pauses=(0.05, 0.2, 0.5), falls=3)
BOUND_SECONDS = 60
"""Not how fast it is, but that it ends at all."""


def made(audience: str, count: int, *, seed: int = 1, dimension: int = DIMENSION) -> Rows:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Rows(audience, [f"{audience}-{number}" for number in range(count)], vectors)


PUBLIC, STAFF = made("public", 300), made("staff only, 人", 40, seed=2)


def some_of(*rows: Rows) -> list[Rows]:
    return [Rows(one.audience, one.ids[::10], one.vectors[::10]) for one in rows]


PROBES = some_of(PUBLIC, STAFF)
Stores = Callable[[Patience], VectorStore]


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningChroma]:
    with running_chroma(tmp_path_factory.mktemp("server") / "chroma") as server:
        yield server


@pytest.fixture(scope="module", params=["embedded", "server"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "embedded":
        return EmbeddedChroma
    server: RunningChroma = request.getfixturevalue("chroma")
    return lambda patience: ChromaServer(server.url, patience=patience)


@pytest.fixture(scope="module")
def built(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Vectors that nobody changes."""
    place = Place(tmp_path_factory.mktemp("built"), "library", "letters")
    asyncio.run(build(stores(Patience()), place, [PUBLIC, STAFF]))
    return place


async def build(store: VectorStore, place: Place, rows: Sequence[Rows]) -> None:
    """Build, and do not open."""
    try:
        await store.build(place, rows)
    finally:
        await store.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where nothing is yet."""
    (tmp_path / "new").mkdir()
    return Place(tmp_path / "new", tmp_path.name + str(time.time_ns()), "letters")


class Opener:
    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._open: list[OpenVectors] = []
        self.store = stores(QUICK)

    async def __call__(
        self, place: Place, probes: Sequence[Rows] = tuple(PROBES), patience: Patience = QUICK
    ) -> OpenVectors:
        store = self.store if patience is QUICK else self._stores(patience)
        vectors = await store.open(place, probes)
        self._open.append(vectors)
        return vectors

    async def close(self) -> None:
        for one in self._open:
            await one.close()
        await self.store.close()


@pytest.fixture
async def opened(stores: Stores) -> AsyncIterator[Opener]:
    opener = Opener(stores)
    yield opener
    await opener.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not true():  # noqa: ASYNC110 (it is another process that changes)
            await asyncio.sleep(0.02)


async def nearest(vectors: OpenVectors, row: int = 7) -> str:
    found = await vectors.cosines(PUBLIC.vectors[row], {"public"}, 3)
    return max(found, key=lambda one: found[one])


async def test_the_nearest_of_the_audiences_are_found_with_their_cosines(opened: Opener, built: Place) -> None:
    vectors = await opened(built)
    assert (vectors.note, vectors.lost) == ("", False)
    await vectors.check()
    query = PUBLIC.vectors[7]
    found = await vectors.cosines(query, {"public"}, 10)
    exact = dict(zip(PUBLIC.ids, PUBLIC.vectors @ query, strict=True))
    best = sorted(exact, key=lambda one: -exact[one])[:10]
    assert set(found) == {*best}, "nothing of an audience that was not asked for"
    assert all(abs(found[one] - exact[one]) < 1e-4 for one in found)
    both = await vectors.cosines(STAFF.vectors[3], {"public", STAFF.audience, "unknown"}, 1)
    assert len(both) == 2
    assert both["staff only, 人-3"] == pytest.approx(1, abs=1e-4)
    assert await vectors.cosines(query, {"unknown"}, 10) == {}


async def test_many_ask_at_once_and_some_give_up(opened: Opener, built: Place) -> None:
    vectors = await opened(built, patience=Patience())
    asking = [asyncio.create_task(nearest(vectors, row)) for row in range(60)]
    await asyncio.sleep(0)
    for one in asking[::3]:
        one.cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    for row, answer in enumerate(answers):
        assert isinstance(answer, asyncio.CancelledError) if row % 3 == 0 else answer == f"public-{row}"
    assert vectors.note == ""
    with pytest.raises(VectorsLost, match="dimension"):
        await vectors.cosines(made("x", 1, dimension=7).vectors[0], {"public"}, 3)
    assert vectors.lost, "a vector of another length is no crash"


async def test_a_hang_costs_a_question_its_time_and_a_crash_nothing_but_itself(opened: Opener, built: Place) -> None:
    vectors = await opened(built)
    first = vectors.pid
    assert first
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(IndexFailure, match="no answer in 1 s"):
        await nearest(vectors)
    # The next one does not even wait.
    with pytest.raises(IndexFailure):
        await asyncio.wait_for(nearest(vectors), 0.5)
    os.kill(first, signal.SIGCONT)
    await until(lambda: not vectors.note)
    assert vectors.pid == first, "what answers late was slow, nothing worse"
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(IndexFailure):
        await nearest(vectors)
    await until(lambda: not vectors.note)
    second = vectors.pid
    assert second
    assert second != first, "what does not answer at all is ended"
    # Held, so that the question is under way for certain when it crashes.
    os.kill(second, signal.SIGSTOP)
    asking = asyncio.create_task(nearest(vectors))
    await asyncio.sleep(0.05)
    os.kill(second, signal.SIGSEGV)
    os.kill(second, signal.SIGCONT)
    with pytest.raises(IndexFailure, match="SIGSEGV"):
        await asking
    with pytest.raises(IndexFailure):
        await nearest(vectors)
    await until(lambda: not vectors.note)
    assert await nearest(vectors) == "public-7"
    assert not vectors.lost


async def test_a_build_that_crashes_is_told_and_a_change_is_built_on_what_is_there(
    opened: Opener, place: Place
) -> None:
    store = opened.store

    def crash(done: int) -> None:
        children = children_of(os.getpid())
        assert children
        for child in children:
            os.kill(child, signal.SIGKILL)

    half = [
        Rows("public", PUBLIC.ids[:150], PUBLIC.vectors[:150]),
        Rows("public", PUBLIC.ids[150:], PUBLIC.vectors[150:]),
    ]
    with pytest.raises(IndexFailure, match="SIGKILL"):
        await store.build(place, [*half, STAFF], filled=crash)
    first, second = (replace(place, folder=place.folder.parent / name) for name in ("first", "second"))
    first.folder.mkdir()
    second.folder.mkdir()
    await store.build(first, [*half, STAFF])
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    new = Rows("public", ["new-0"], made("public", 1, seed=9).vectors)
    gone = {"public": PUBLIC.ids[:20], STAFF.audience: STAFF.ids}
    await store.build(second, [new], base=first, gone=gone)
    after = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    assert before == after, "what may be in use stays as it is"
    vectors = await opened(second, [*some_of(Rows("public", PUBLIC.ids[20:], PUBLIC.vectors[20:])), new])
    assert vectors.note == ""
    found = await vectors.cosines(PUBLIC.vectors[7], {"public"}, 400)
    assert set(found) == {*PUBLIC.ids[20:], "new-0"}
    if store.shared:
        assert await store.sweep(second, {"public": [*PUBLIC.ids[40:], "new-0"]}) == 20
        found = await vectors.cosines(PUBLIC.vectors[7], {"public"}, 400)
        assert set(found) == {*PUBLIC.ids[40:], "new-0"}


def children_of(pid: int) -> list[int]:
    """The processes that run Chroma for this one."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes()
            except (OSError, ValueError):
                continue
            if parent == pid and b"knowledge.vectors.chroma_child" in command:
                found.append(int(folder.name))
    return found


async def test_what_was_never_built_or_is_another_is_lost(opened: Opener, built: Place, place: Place) -> None:
    vectors = await opened(place)
    assert vectors.lost
    with pytest.raises(VectorsLost):
        await nearest(vectors)
    other = [replace(one, vectors=np.ascontiguousarray(one.vectors[:, ::-1])) for one in PROBES]
    assert (await opened(built, other)).lost


def test_it_ends_with_whoever_asked_and_loads_chroma_elsewhere(stores: Stores, built: Place) -> None:
    store = stores(QUICK)
    made_by = f"ChromaServer({store._url!r})" if isinstance(store, ChromaServer) else "EmbeddedChroma()"
    code = (
        "import asyncio, os, sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from knowledge.vectors.chroma import ChromaServer, EmbeddedChroma\nfrom knowledge.vectors import Place, Rows\n"
        "async def main():\n"
        "    vector = np.frombuffer(bytes.fromhex(sys.argv[2]), np.float32)\n"
        "    probes = [Rows('public', ['public-7'], vector.reshape(1, -1))]\n"
        f"    vectors = await {made_by}.open(Place(Path(sys.argv[1]), 'library', 'letters'), probes)\n"
        "    assert 'public-7' in await vectors.cosines(vector, {'public'}, 3), vectors.note\n"
        "    print(vectors.pid, 'chromadb' in sys.modules, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    arguments = [sys.executable, "-c", code, str(built.folder), PUBLIC.vectors[7].tobytes().hex()]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False)
    pid, loaded = done.stdout.split()
    assert loaded == "False", done.stderr
    end = time.monotonic() + BOUND_SECONDS
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < end
        time.sleep(0.05)


# --- in a folder


MANY = made("public", 1500)
"""Enough rows that Chroma has written them to its files."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made_in = tmp_path_factory.mktemp("many")
    asyncio.run(build(EmbeddedChroma(), Place(made_in), [MANY]))
    return made_in


def test_all_that_was_built_is_in_the_files_of_the_graph(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "chroma" / "chroma.sqlite3")) as connection:
        written = connection.execute("SELECT seq_id FROM max_seq_id").fetchall()
    assert written == [(1500,), (1500,)], "else it is put into the graph anew at every start"


@pytest.mark.parametrize("what", ["*.bin", "chroma.sqlite3", "segment"])
async def test_damaged_files_are_told_in_bounded_time(folder: Path, tmp_path: Path, what: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    segments = [path for path in (copy / "chroma").iterdir() if path.is_dir()]
    damaged = segments if what == "segment" else list(copy.rglob(what))
    assert damaged
    for path in damaged:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.write_bytes(b"damaged " * (path.stat().st_size // 8 + 1))
    store = EmbeddedChroma(replace(QUICK, pauses=(0.05,)))
    async with asyncio.timeout(BOUND_SECONDS):
        vectors = await store.open(Place(copy), some_of(MANY))
    try:
        await until(lambda: vectors.lost)
        with pytest.raises(VectorsLost):
            await vectors.cosines(MANY.vectors[0], {"public"}, 3)
    finally:
        await vectors.close()


async def asking_on(vectors: OpenVectors) -> None:
    while True:
        await vectors.cosines(MANY.vectors[0], {"public"}, 3)


async def test_what_crashes_again_and_again_is_given_up(folder: Path) -> None:
    vectors = await EmbeddedChroma(replace(QUICK, falls=2)).open(Place(folder), some_of(MANY))
    try:
        for _ in range(2):
            await until(lambda: not vectors.note)
            assert vectors.pid
            os.kill(vectors.pid, signal.SIGKILL)
            with pytest.raises(IndexFailure, match="SIGKILL"):
                await asking_on(vectors)
        await until(lambda: vectors.lost)
        assert vectors.pid is None
    finally:
        await vectors.close()


# --- on a server


async def test_a_server_that_goes_and_comes_back(chroma: RunningChroma, place: Place) -> None:
    store = ChromaServer(chroma.url, patience=QUICK)
    await store.build(place, [PUBLIC])
    vectors = await store.open(place, some_of(PUBLIC))
    try:
        assert await nearest(vectors) == "public-7"
        chroma.send(signal.SIGSTOP)
        with pytest.raises(IndexFailure, match="no answer"):
            await nearest(vectors)
        chroma.send(signal.SIGCONT)
        await until(lambda: not vectors.note)
        chroma.kill()
        with pytest.raises(IndexFailure):
            await nearest(vectors)
        assert not vectors.lost, "it may come back"
        another = await store.open(place, some_of(PUBLIC))
        assert another.note
        assert not another.lost
        await asyncio.to_thread(chroma.start)
        await until(lambda: not vectors.note and not another.note)
        assert await nearest(vectors) == await nearest(another) == "public-7"
        await another.close()
    finally:
        await vectors.close()
        await store.close()


async def test_a_collection_that_is_gone_or_another_is_built_again(chroma: RunningChroma, place: Place) -> None:
    store = ChromaServer(chroma.url, patience=QUICK)
    await store.build(place, [PUBLIC])
    vectors = await store.open(place, some_of(PUBLIC))
    api = f"{chroma.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            names = [one["name"] for one in (await http.get(api)).json() if one["metadata"]["library"] == place.library]
            assert len(names) == 1
            (await http.delete(f"{api}/{names[0]}")).raise_for_status()
            with pytest.raises(VectorsLost):
                await nearest(vectors)
            # Somebody puts vectors of another length there.
            new = (await http.post(api, json={"name": names[0]})).json()["id"]
            row = {"ids": ["strange"], "embeddings": [[1.0, 0.0]]}
            (await http.post(f"{api}/{new}/add", json=row)).raise_for_status()
        assert vectors.lost
        await store.build(place, [PUBLIC])
        await until(lambda: not vectors.note)
        assert await nearest(vectors) == "public-7"
        # Another worker adds what is there already: nothing is doubled.
        await asyncio.gather(store.build(place, [PUBLIC]), store.build(place, [PUBLIC]))
        assert len(await vectors.cosines(PUBLIC.vectors[0], {"public"}, 1000)) == 300
    finally:
        await vectors.close()
        await store.close()
