"""Chroma in the process of the tests, for those that are about what is found and not about the process that finds it.

To start one costs most of a second of a processor. All else is as in the product: the store, the verbs, Chroma itself. What the
process of its own is for, `tests/contracts/test_vector_store_contract.py` and `test_keeping.py` show.
"""

from __future__ import annotations

import asyncio
import io
import os
import warnings
from pathlib import Path
from typing import Any, cast

from knowledge.errors import IndexFailure
from knowledge.vectors import VectorsLost
from knowledge.vectors.chroma import FOLDER, ChromaServer, EmbeddedChroma
from knowledge.vectors.chroma_child import ChromaServing, answered
from knowledge.vectors.chroma_process import ChromaProcess
from knowledge.vectors.frames import read_frame


class _Here:
    """What a `ChromaProcess` is asked, answered by a thread."""

    over, waited = False, 0.0

    def __init__(self, serving: ChromaServing) -> None:
        self._serving = serving

    @property
    def pid(self) -> int:
        return os.getpid()

    async def ask(
        self, verb: str, facts: dict[str, Any], numbers: bytes = b"", *, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        frame = await asyncio.to_thread(answered, self._serving, {**facts, "verb": verb, "number": 0}, numbers)
        answer, found = read_frame(io.BytesIO(frame)) or ({}, b"")
        if "error" in answer:
            raise (VectorsLost if answer["error"] == "lost" else IndexFailure)(answer["message"])
        return answer, found

    async def close(self) -> None:
        await asyncio.to_thread(self._serving.close)


async def _here(connect: dict[str, Any]) -> ChromaProcess:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await asyncio.to_thread(__import__, "chromadb")
    one = _Here(ChromaServing())
    await one.ask("connect", connect, seconds=0)
    return cast(ChromaProcess, one)


class EmbeddedHere(EmbeddedChroma):
    """Chroma in a folder, in this process."""

    async def _started(self, folder: Path) -> ChromaProcess:
        return await _here({"path": str(folder / FOLDER)})


class _Lent:
    """A process that others go on asking."""

    def __init__(self, process: ChromaProcess) -> None:
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    async def close(self) -> None:
        pass


class ServerByOne(ChromaServer):
    """A Chroma server that is asked by one process, however many knowledge bases there are, until `end()`."""

    _one: ChromaProcess | None = None

    async def _started(self) -> ChromaProcess:
        if self._one is None or self._one.over:
            self._one = await super()._started()
        return cast(ChromaProcess, _Lent(self._one))

    async def end(self) -> None:
        if self._one is not None:
            await self._one.close()
