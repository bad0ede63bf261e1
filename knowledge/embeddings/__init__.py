"""Vectors for passages and questions: `Embedder`, and the one that asks any OpenAI-compatible server.

The local default, MiniLM, is in `knowledge.embeddings.minilm`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from knowledge.errors import EmbedderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from openai import AsyncOpenAI

    Vectors = NDArray[np.float32]

QUERY_SECONDS = 5.0
"""How long a customer's question may wait for its vector before search goes on by keywords."""
PASSAGES_SECONDS = 60.0
"""How long one batch of passages may take while documents are brought in."""


class Embedder(Protocol):
    """Turns text into vectors of length 1, so that a dot product is the cosine.

    `name` says which vectors may be compared with each other: it is kept with every vector and with the index, and an
    index of another name is rebuilt, never mixed. Both methods raise `EmbedderError`.
    """

    @property
    def name(self) -> str:
        """What vectors from it may be compared with."""
        ...

    async def prepare(self, say: Callable[[str], None]) -> None:
        """Make ready for long work, such as fetching the model; never called on the path of a question."""
        ...

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimension), float32."""
        ...

    async def embed_query(self, text: str) -> Vectors:
        """Shape (dimension,), float32."""
        ...


class RemoteEmbedder:
    """Any OpenAI-compatible `/embeddings` (Qwen text-embedding-v4, Ollama, vLLM, llama-server ...).

    `client` is built by the caller, who knows keys and hosts. `batch` texts go into one call (Alibaba takes 10).
    `query_prefix` is put before questions only, as instruction-tuned embedders want it. `dimensions` is asked for when
    set, and the length that comes back is checked, because some servers ignore the wish.
    """

    def __init__(
        self, client: AsyncOpenAI, model: str, *, batch: int = 10, query_prefix: str = "", dimensions: int | None = None
    ) -> None:
        self._client = client
        self._model = model
        self._batch = batch
        self._query_prefix = query_prefix
        self._dimensions = dimensions
        self._length: int | None = dimensions

    may_change = True
    """Another model may come to stand behind the same name, as on any server: a sync looks whether it has."""

    @property
    def name(self) -> str:
        """Host, model, wished length and prefix: whatever changes the vectors changes the name."""
        length = f"/{self._dimensions}" if self._dimensions else ""
        prefix = f"?{self._query_prefix}" if self._query_prefix else ""
        return f"{self._client.base_url.host}/{self._model}{length}{prefix}"

    async def prepare(self, say: Callable[[str], None]) -> None:
        """Nothing to fetch."""

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Embed `texts` in batches; each batch has its own deadline and the client's retries."""
        import numpy as np

        rows = [
            await self._embed(list(texts[start : start + self._batch]), PASSAGES_SECONDS)
            for start in range(0, len(texts), self._batch)
        ]
        return np.concatenate(rows) if rows else np.zeros((0, self._length or 0), np.float32)

    async def embed_query(self, text: str) -> Vectors:
        """Embed one question, with the prefix for questions."""
        row: Vectors = (await self._embed([self._query_prefix + text], QUERY_SECONDS))[0]
        return row

    async def _embed(self, texts: list[str], seconds: float) -> Vectors:
        import numpy as np
        import openai

        wished = {"dimensions": self._dimensions} if self._dimensions else {}
        try:
            async with asyncio.timeout(seconds):
                # "float" is asked for because base64, the client's default, is not understood everywhere.
                reply = await self._client.embeddings.create(
                    model=self._model,
                    input=texts,
                    encoding_format="float",
                    extra_body=wished or None,
                )
            vectors = np.array([item.embedding for item in sorted(reply.data, key=lambda item: item.index)], np.float32)
        except (openai.OpenAIError, TimeoutError, TypeError, ValueError, AttributeError) as error:
            reason = f"no answer in {seconds:.0f} s" if isinstance(error, TimeoutError) else self._without_key(error)
            raise EmbedderError(
                f"The embedding model {self._model} at {self._client.base_url.host} failed: {reason}",
                "Check `embedder` and its key with: frontdesk doctor",
            ) from error
        return self._checked(vectors, len(texts))

    def _without_key(self, error: Exception) -> str:
        """What went wrong, without the key, which some servers repeat."""
        key = self._client.api_key
        return (str(error).replace(key, "[key]") if len(key) > 4 else str(error))[:200]

    def _checked(self, vectors: Vectors, expected: int) -> Vectors:
        import numpy as np

        if vectors.ndim != 2 or len(vectors) != expected or not np.isfinite(vectors).all():
            raise EmbedderError(f"The embedding model {self._model} returned {vectors.shape} for {expected} texts.")
        if self._length not in (None, vectors.shape[1]):
            raise EmbedderError(
                f"The embedding model {self._model} returned vectors of length {vectors.shape[1]}, not {self._length}.",
                "Set `embedder_dimensions` to a length the server supports, or leave it out.",
            )
        self._length = vectors.shape[1]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)
