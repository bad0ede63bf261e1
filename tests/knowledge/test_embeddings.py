"""The wire to a remote embedder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from agent.models.pool import Pool
from agent.models.presets import Catalogue, built_in
from knowledge.base import KnowledgeBase
from knowledge.embeddings import RemoteEmbedder
from knowledge.errors import EmbedderError
from knowledge.search import Query
from tests.knowledge.chroma_here import EmbeddedHere
from tests.servers.model_server import ModelServer, serving


@asynccontextmanager
async def base_on(server: ModelServer, folder: Path) -> AsyncIterator[KnowledgeBase]:
    """A knowledge base that has its vectors from `server`."""
    client = client_of(server.choice, "sk-right")
    base = KnowledgeBase(folder / "data", RemoteEmbedder(client, server.model), store=EmbeddedHere())
    yield base
    await base.close()
    await client.close()


def client_of(choice: str, key: str = "") -> AsyncOpenAI:
    server, _ = Catalogue(built_in(), embedder_key=key).embeddings(choice)
    return Pool().open(server)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer(key="sk-right")) as running:
        yield running


@pytest.fixture
async def embedder(server: ModelServer) -> AsyncIterator[RemoteEmbedder]:
    client = client_of(server.choice, "sk-right")
    yield RemoteEmbedder(client, server.model, query_prefix="Query: ")
    await client.close()


async def test_passages_go_in_batches_of_ten_and_come_back_in_order(
    server: ModelServer, embedder: RemoteEmbedder
) -> None:
    texts = ["a" * (n + 1) for n in range(23)]
    vectors = await embedder.embed_passages(texts)
    assert [len(call.body["input"]) for call in server.calls] == [10, 10, 3]
    assert vectors.shape == (23, server.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    single = (await embedder.embed_passages(texts[17:18]))[0]
    assert np.allclose(vectors[17], single)


async def test_only_questions_have_the_prefix(server: ModelServer, embedder: RemoteEmbedder) -> None:
    await embedder.embed_passages(["hello"])
    await embedder.embed_query("hello")
    assert [call.body["input"] for call in server.calls] == [["hello"], ["Query: hello"]]


async def test_its_name_tells_host_model_and_prefix(server: ModelServer, embedder: RemoteEmbedder) -> None:
    assert embedder.name == "127.0.0.1/test-model?Query: "


async def test_a_wrong_key_is_an_embedder_error(server: ModelServer) -> None:
    client = client_of(server.choice, "sk-wrong")
    with pytest.raises(EmbedderError, match="frontdesk doctor"):
        await RemoteEmbedder(client, server.model).embed_query("hello")
    await client.close()


async def test_a_dead_host_is_an_embedder_error() -> None:
    client = client_of("http://127.0.0.1:9/v1#m")
    with pytest.raises(EmbedderError, match=r"127\.0\.0\.1"):
        await RemoteEmbedder(client, "m").embed_query("hello")
    await client.close()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "for 2 texts"),
        ([{"index": 0, "embedding": [1.0, 2.0]}], "for 2 texts"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}], "failed"),
        ([{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}], "failed"),
        ([{"index": 0, "embedding": [float("nan")] * 4}, {"index": 1, "embedding": [1.0] * 4}], "for 2 texts"),
    ],
)
async def test_what_are_no_vectors_is_refused(data: list[dict[str, Any]], words: str) -> None:
    async def play(request: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1}})

    server = ModelServer()
    server._embeddings = play  # type: ignore[method-assign]
    with serving(server):
        client = client_of(server.choice)
        with pytest.raises(EmbedderError, match=words):
            await RemoteEmbedder(client, "m").embed_passages(["a", "b"])
        await client.close()


async def test_a_length_that_was_not_asked_for_is_refused(server: ModelServer) -> None:
    client = client_of(server.choice, "sk-right")
    with pytest.raises(EmbedderError, match="length 8, not 256"):
        await RemoteEmbedder(client, server.model, dimensions=256).embed_query("hello")
    await client.close()


async def test_a_key_that_a_server_repeats_is_not_told() -> None:
    async def play(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": f"no: {request.headers['Authorization']}"}}, status=400)

    server = ModelServer()
    server._embeddings = play  # type: ignore[method-assign]
    with serving(server):
        client = client_of(server.choice, "sk-secret-1234")
        with pytest.raises(EmbedderError, match=r"\[key\]") as caught:
            await RemoteEmbedder(client, "m").embed_query("hello")
        await client.close()
    assert "sk-secret-1234" not in str(caught.value)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "pets.md").write_text("# Pets\n\nDogs are welcome for a fee of 20 euros.\n")
    (folder / "keys.md").write_text("# Keys\n\nThe host hands the keys over.\n")
    return folder


async def test_fault_020_embeddings_down_is_keyword_mode(server: ModelServer, documents: Path) -> None:
    async with base_on(server, documents.parent) as base:
        await base.sync(documents)
        assert (await base.search(Query("are dogs welcome"))).mode == "hybrid"
        server.key = "sk-another"
        found = await base.search(Query("are dogs welcome"))
        assert (found.mode, found.hits[0].passage.document) == ("keyword", "pets")
        assert "keywords only" in found.note


async def test_fault_021_another_dimension_is_keyword_mode_until_a_sync_rebuilds(
    server: ModelServer, documents: Path
) -> None:
    async with base_on(server, documents.parent) as base:
        await base.sync(documents)
    server.dimension = 4
    async with base_on(server, documents.parent) as base:
        found = await base.search(Query("are dogs welcome"))
        assert (found.mode, found.hits[0].passage.document) == ("keyword", "pets")
        assert "knowledge rebuild" in found.note
        assert not (await base.sync(documents)).notes
        found = await base.search(Query("are dogs welcome"))
        assert (found.mode, found.note) == ("hybrid", "")
        calls = len(server.calls)
        await base.sync(documents)
        assert len(server.calls) == calls + 1, "one look whether the model is still the same"
