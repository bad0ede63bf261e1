"""An embedder for tests: words hashed into a vector, so that texts with the same words are near each other."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

DIMENSION = 64


class LetterEmbedder:
    """Needs no model and gives the same vectors everywhere."""

    name = "letters"

    async def prepare(self, say: Callable[[str], None]) -> None:
        pass

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        rows = [self._vector(text) for text in texts]
        return np.array(rows, np.float32).reshape(len(rows), DIMENSION)

    async def embed_query(self, text: str) -> Vectors:
        return self._vector(text)

    def _vector(self, text: str) -> Vectors:
        vector = np.full(DIMENSION, 0.01, np.float32)
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(word.encode("utf-8", "replace")) % DIMENSION] += 1
        return np.asarray(vector / np.linalg.norm(vector), np.float32)
