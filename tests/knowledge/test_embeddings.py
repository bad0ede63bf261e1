"""The wire to a remote embedder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from agent.models.openai_compatible import open_client
from agent.models.presets import endpoint
from knowledge.embeddings import RemoteEmbedder
from knowledge.errors import EmbedderError
from tests.servers.model_server import ModelServer, serving


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer(key="sk-right")) as running:
        yield running


@pytest.fixture
async def embedder(server: ModelServer) -> AsyncIterator[RemoteEmbedder]:
    client = open_client(endpoint(server.choice, {}, url_key="sk-right", purpose="embed"))
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
    client = open_client(endpoint(server.choice, {}, url_key="sk-wrong", purpose="embed"))
    with pytest.raises(EmbedderError, match="frontdesk doctor"):
        await RemoteEmbedder(client, server.model).embed_query("hello")
    await client.close()


async def test_a_dead_host_is_an_embedder_error() -> None:
    client = open_client(endpoint("http://127.0.0.1:9/v1#m", {}, purpose="embed"))
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
        client = open_client(endpoint(server.choice, {}, purpose="embed"))
        with pytest.raises(EmbedderError, match=words):
            await RemoteEmbedder(client, "m").embed_passages(["a", "b"])
        await client.close()


async def test_a_length_that_was_not_asked_for_is_refused(server: ModelServer) -> None:
    client = open_client(endpoint(server.choice, {}, url_key="sk-right", purpose="embed"))
    with pytest.raises(EmbedderError, match="length 8, not 256"):
        await RemoteEmbedder(client, server.model, dimensions=256).embed_query("hello")
    await client.close()
