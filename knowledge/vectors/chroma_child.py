"""What runs Chroma: a process of its own (`python -m knowledge.vectors.chroma_child`), asked through its standard input.

Chroma's Rust part can crash, panic or hang with the process it is in. Here that is a process which answers nobody but
`knowledge.vectors.chroma`. It ends when its standard input does.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from knowledge.vectors.frames import framed, read_frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

AT_ONCE = 5_000
"""Rows in one call to embedded Chroma, which takes 5,461 at most."""
AT_ONCE_BY_HTTP = 500
"""Rows in one call to a server: about 4 MB of JSON."""
THREADS_BY_HTTP = 8
ANSWER_SECONDS = 10.0
FOUND = 0.4
"""The least share of probes that have to be found. Chroma's graph misses up to a third of passages that are nearly the same as
many others, as measured on 62 of which 43 differ; one that has lost its files misses nearly all."""
SAME = 0.01
"""How far a cosine may be from 1 when it is of two copies of one vector."""

Answer = tuple[dict[str, Any], bytes]


class _Lost(Exception):
    """Vectors are not there, or not those that should be."""


class _Unfit(Exception):
    """A server that cannot be used as it is; the message says why."""


class ChromaServing:
    """The verbs, over one client of Chroma."""

    def __init__(self) -> None:
        self._client: Any = None
        self._collections: dict[str, Any] = {}
        self._at_once = AT_ONCE
        self._server: tuple[str, dict[str, str]] | None = None
        self._hnsw: dict[str, Any] = {}

    def connect(self, facts: dict[str, Any], numbers: bytes) -> Answer:
        """Open Chroma's folder (`path`), or reach a server (`url`). What was open before is closed."""
        import chromadb
        from chromadb.config import Settings

        self.close()
        self._hnsw = {"space": "cosine", "ef_construction": 200, "ef_search": 200}
        if "path" in facts:
            # What Chroma has not written to its graph's files, by default up to 1,000 rows, is put into the graph anew at every
            # start: 2 s of 100,000 rows. Here all is written with each batch.
            self._hnsw["sync_threshold"] = 2
            self._client = chromadb.PersistentClient(facts["path"], settings=Settings(anonymized_telemetry=False))
        else:
            url = urlsplit(facts["url"])
            secure = url.scheme == "https"
            self._at_once = AT_ONCE_BY_HTTP
            self._server = facts["url"], facts["headers"]
            _see_that_it_answers(*self._server)
            self._client = chromadb.HttpClient(
                host=url.hostname or "",
                port=url.port or (443 if secure else 80),
                ssl=secure,
                headers=facts["headers"],
                settings=Settings(anonymized_telemetry=False, chroma_server_ssl_verify=True),
                tenant=facts["tenant"],
                database=facts["database"],
            )
        return {"version": self._client.get_version()}, b""

    def close(self) -> None:
        """Let go of what is open."""
        if self._client is not None:
            self._client.close()
        self._client, self._collections = None, {}

    def open(self, facts: dict[str, Any], numbers: bytes) -> Answer:
        """See that the collections called `names` are there."""
        self._collections = {}
        if self._server is not None:
            _see_that_it_answers(*self._server)
        for name in facts["names"]:
            self._collection(name)
        return {}, b""

    def cosines(self, facts: dict[str, Any], numbers: bytes) -> Answer:
        """Of the `nearest` rows of each collection to the vector."""
        import numpy as np

        vector = np.frombuffer(numbers, np.float32)
        found: dict[str, float] = {}
        for name in facts["names"]:
            near = self._collection(name).query(
                query_embeddings=[vector], n_results=facts["nearest"], include=["distances"]
            )
            found.update(zip(near["ids"][0], (1 - distance for distance in near["distances"][0]), strict=True))
        return {"ids": list(found)}, np.array(list(found.values()), np.float32).tobytes()

    def probe(self, facts: dict[str, Any], numbers: bytes) -> Answer:
        """See that the rows `ids` are there, have these vectors, and are found by them.

        Chroma's `count()` is no help: it tells the right number of rows that no query can reach any more.
        """
        import numpy as np

        ids, vectors = facts["ids"], _matrix(numbers, len(facts["ids"]))
        collection = self._collection(facts["name"])
        kept = collection.get(ids=ids, include=["embeddings"])
        if len(kept["ids"]) < len(ids):
            raise _Lost("passages are missing from it")
        rows = dict(zip(kept["ids"], kept["embeddings"], strict=True))
        if any(abs(float(np.dot(rows[one], vector)) - 1) > SAME for one, vector in zip(ids, vectors, strict=True)):
            raise _Lost("it holds other vectors than the library")
        near = collection.query(query_embeddings=list(vectors), n_results=1, include=["distances"])
        found = sum(1 for distances in near["distances"] if distances and distances[0] <= SAME)
        if found < FOUND * len(ids):
            raise _Lost("it does not find its own passages")
        return {}, b""

    def prepare(self, facts: dict[str, Any], numbers: bytes) -> Answer:
        """See that there is a collection `name` for vectors of this length; one for others is removed."""
        from chromadb.errors import ChromaError

        collection = self._made(facts["name"], facts["about"])
        try:
            collection.query(query_embeddings=[_matrix(numbers, 1)[0]], n_results=1, include=[])
        except ChromaError as error:
            if not _is_of_dimension(error):
                raise
            self._client.delete_collection(facts["name"])
            self._collections.pop(facts["name"], None)
            self._made(facts["name"], facts["about"])
        return {}, b""

    def fill(self, facts: dict[str, Any], numbers: bytes) -> Answer:
        """Put in those of the rows `ids` that are not there yet."""
        vectors = _matrix(numbers, len(facts["ids"]))
        collection = self._collection(facts["name"])
        rows = dict(zip(facts["ids"], vectors, strict=True))
        for some in _slices(facts["ids"], self._at_once):
            there = set(collection.get(ids=list(some), include=[])["ids"])
            new = [one for one in some if one not in there]
            if new:
                collection.upsert(ids=new, embeddings=[rows[one] for one in new])
        return {}, b""

    def remove(self, facts: dict[str, Any], numbers: bytes) -> Answer:
        """Remove the rows `ids`; a collection or a row that is not there is no error."""
        with suppress(_Lost):
            collection = self._collection(facts["name"])
            for some in _slices(facts["ids"], self._at_once):
                collection.delete(ids=list(some))
        return {}, b""

    def sweep(self, facts: dict[str, Any], numbers: bytes) -> Answer:
        """Remove what is not in `keep` (ids by name) from all collections whose name begins with `prefix`.

        Those whose name begins with one of `spare` stay as they are.
        """
        removed = 0
        for name in self._names(facts["prefix"]):
            if name.startswith(tuple(facts["spare"])):
                continue
            collection = self._collection(name)
            if name not in facts["keep"]:
                removed += collection.count()
                self._client.delete_collection(name)
                self._collections.pop(name, None)
                continue
            keep, surplus = set(facts["keep"][name]), []
            for start in range(0, collection.count(), AT_ONCE):
                ids = collection.get(include=[], limit=AT_ONCE, offset=start)["ids"]
                surplus += [one for one in ids if one not in keep]
            for some in _slices(surplus, self._at_once):
                collection.delete(ids=list(some))
            removed += len(surplus)
        return {"removed": removed}, b""

    def _names(self, prefix: str) -> list[str]:
        found: list[str] = []
        while some := self._client.list_collections(limit=100, offset=len(found)):
            found += [collection.name for collection in some]
        return [name for name in found if name.startswith(prefix)]

    def _made(self, name: str, about: dict[str, str]) -> Any:
        self._collections[name] = self._client.get_or_create_collection(
            name,
            embedding_function=None,
            metadata=about,
            configuration={"hnsw": self._hnsw},
        )
        return self._collections[name]

    def _collection(self, name: str) -> Any:
        from chromadb.errors import NotFoundError

        if name not in self._collections:
            try:
                self._collections[name] = self._client.get_collection(name, embedding_function=None)
            except NotFoundError as error:
                raise _Lost("passages are missing from it") from error
        return self._collections[name]


def _see_that_it_answers(url: str, headers: dict[str, str]) -> None:
    """Ask a server what its client asks first. Raises `_Unfit`: the client says of what it is refused only the page's text."""
    import httpx

    try:
        with httpx.Client(headers=headers, timeout=ANSWER_SECONDS, follow_redirects=False) as client:
            answer = client.get(f"{url}/api/v2/auth/identity")
    except httpx.HTTPError as error:
        raise _Unfit(f"it cannot be reached ({error})") from error
    if answer.status_code in (401, 403):
        how = "does not accept the token in CHROMA_TOKEN" if headers else "asks for a token: set CHROMA_TOKEN"
        raise _Unfit(f"it {how} (it answers {answer.status_code})")
    if answer.is_redirect:
        raise _Unfit(f"it leads elsewhere, to {answer.headers.get('Location', '')[:200]}")
    if answer.status_code not in (200, 404):
        raise _Unfit(f"it answers {answer.status_code}")
    if answer.status_code == 404 or "json" not in answer.headers.get("Content-Type", ""):
        raise _Unfit("what answers there is no Chroma server of version 1: look at CHROMA_URL")


def _matrix(numbers: bytes, rows: int) -> Floats:
    import numpy as np

    return np.frombuffer(numbers, np.float32).reshape(rows, -1)


def _slices(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _is_of_dimension(error: BaseException) -> bool:
    return "dimension" in str(error).lower()


def _told(error: BaseException) -> dict[str, str]:
    """What went wrong, as the other side has to know it."""
    from chromadb.errors import NotFoundError

    gone = isinstance(error, _Lost | NotFoundError) or _is_of_dimension(error)
    return {"error": "lost" if gone else "failed", "message": (str(error) or type(error).__name__)[:300]}


def answered(serving: ChromaServing, facts: dict[str, Any], numbers: bytes) -> bytes:
    """The frame that answers a frame, whatever goes wrong."""
    verbs: dict[str, Callable[[dict[str, Any], bytes], Answer]] = {
        name: getattr(serving, name)
        for name in ("connect", "open", "cosines", "probe", "prepare", "fill", "remove", "sweep")
    }
    try:
        answer, found = verbs[facts["verb"]](facts, numbers)
    # Chroma's border: it raises errors of many kinds, and its Rust part panics with a BaseException of its own.
    except BaseException as error:  # noqa: BLE001
        answer, found = _told(error), b""
    return framed({**answer, "number": facts["number"]}, found)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until `source` ends. Requests to embedded Chroma are answered one after another."""
    serving, requests = ChromaServing(), queue.SimpleQueue[tuple[dict[str, Any], bytes]]()
    writing = threading.Lock()

    def read() -> None:
        try:
            while (frame := read_frame(source)) is not None:
                requests.put(frame)
        finally:
            # Whoever asked is gone, and nobody waits for what is being done.
            os._exit(0)

    def work() -> None:
        while True:
            answer = answered(serving, *requests.get())
            with writing, suppress(BrokenPipeError):
                sink.write(answer)
                sink.flush()

    threading.Thread(target=read, daemon=True).start()
    first, numbers = requests.get()
    for _ in range(THREADS_BY_HTTP - 1 if "url" in first else 0):
        threading.Thread(target=work, daemon=True).start()
    requests.put((first, numbers))
    work()


def main() -> None:
    """Keep the pipes for frames alone: whatever prints goes to standard error."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    # Ctrl-C and the stop of a service go to every process of it. This one is needed until the answers that run are done.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # When memory is short, this process is the one to go: it is made again.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    # onnxruntime, which chromadb imports, and chromadb itself report to their makers unless told otherwise.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["ANONYMIZED_TELEMETRY"] = "False"
    serve(source, sink)


if __name__ == "__main__":
    main()
