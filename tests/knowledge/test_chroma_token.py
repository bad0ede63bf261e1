"""A Chroma server behind something that asks for a token: it goes with every request, and what is wrong is told plainly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from knowledge.errors import IndexFailure
from knowledge.vectors import Place, Rows
from knowledge.vectors.chroma import ChromaServer, Patience
from tests.servers.chroma_server import RunningChroma
from tests.servers.running import serving
from tests.servers.token_proxy import TokenProxy

ROWS = Rows("public", ["one", "two", "three"], np.eye(3, 8, dtype=np.float32))
QUICK = Patience(query=5.0, hang=5.0, pauses=(0.05,))


@pytest.fixture
def proxy(chroma_server: RunningChroma) -> Iterator[TokenProxy]:
    with serving(TokenProxy(chroma_server.url, "s3cret")) as running:
        yield running


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 (it is another process that changes)
            await asyncio.sleep(0.02)


async def test_the_token_goes_with_every_request_and_a_refusal_says_what_to_set(
    proxy: TokenProxy, tmp_path: Path
) -> None:
    place = Place(tmp_path, f"library {tmp_path}", "letters")
    store = ChromaServer(proxy.url, token="s3cret", patience=QUICK)
    await store.build(place, [ROWS])
    await store.sweep(place, {"public": ROWS.ids})
    vectors = await store.open(place, [ROWS])
    try:
        assert vectors.note == ""
        assert (
            max((found := await vectors.cosines(ROWS.vectors[1], {"public"}, 3)), key=lambda one: found[one]) == "two"
        )
        assert proxy.refused == []
        assert len(proxy.passed) > 5
        # Another token is asked for from now on, and later the old one again.
        proxy.token = "changed"
        with pytest.raises(IndexFailure):
            await vectors.check()
        await until(lambda: "it does not accept the token in CHROMA_TOKEN" in vectors.note)
        assert "s3cret" not in vectors.note
        assert not vectors.lost, "nobody has to build anything anew"
        proxy.token = "s3cret"
        await until(lambda: vectors.note == "")
    finally:
        await vectors.close()
        await store.close()
    bare = ChromaServer(proxy.url, patience=QUICK)
    with pytest.raises(IndexFailure, match=r"asks for a token: set CHROMA_TOKEN \(it answers 401\)"):
        await bare.build(place, [ROWS])
    with pytest.raises(IndexFailure, match="asks for a token"):
        await bare.version()
    assert (await ChromaServer(proxy.url, token="s3cret", patience=QUICK).version()).count(".") >= 1


class Elsewhere:
    """Something else that answers."""

    port = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/{path:.*}", self._serve)]

    async def _serve(self, request: web.Request) -> web.Response:
        return web.Response(text="<h1>Welcome</h1>", content_type="text/html")


async def test_what_is_no_chroma_server_is_told_so() -> None:
    with (
        serving(Elsewhere()) as other,
        pytest.raises(IndexFailure, match="is no Chroma server of version 1: look at CHROMA_URL"),
    ):
        await ChromaServer(f"http://127.0.0.1:{other.port}").version()
    with pytest.raises(IndexFailure, match="it cannot be reached"):
        await ChromaServer(f"http://127.0.0.1:{other.port}").version()
