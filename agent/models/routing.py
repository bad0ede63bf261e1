"""Several models in a row: when one fails before its first visible word, the next one answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from agent.errors import ModelError
from agent.models.base import Chunk, ModelBackend, Prompt

RETRY_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0
"""A server that asks for a longer pause than this is passed over."""


class FallbackChain:
    """A model made of models, tried in order. The first that shows a word has to finish: text is never repeated.

    What went wrong on the way comes as chunks with a `note`.
    """

    def __init__(self, backends: Sequence[ModelBackend]) -> None:
        if not backends:
            raise ValueError("a chain needs at least one backend")
        self._backends = tuple(backends)

    @property
    def name(self) -> str:
        """The first model's name: the one that answers when nothing fails."""
        return self._backends[0].name

    @property
    def generative(self) -> bool:
        """Whether the first model writes text of its own."""
        return self._backends[0].generative

    async def close(self) -> None:
        """Close every model."""
        for backend in self._backends:
            await backend.close()

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Stream from the first model that answers.

        Raises the last model's `ModelError` when none does, or the error of the one that broke off after its first word.
        """
        for backend in self._backends:
            attempt = 0
            while True:
                shown = False
                try:
                    async with aclosing(backend.stream(prompt)) as chunks:
                        async for chunk in chunks:
                            shown = shown or bool(chunk.text.strip())
                            yield chunk
                    return
                except ModelError as error:
                    pause = None if shown else _pause(error, attempt)
                    if pause is None and (shown or backend is self._backends[-1]):
                        raise
                    failure = error
                if pause is None:
                    yield Chunk(note=str(failure))
                    break
                attempt += 1
                await asyncio.sleep(pause)


def _pause(error: ModelError, attempt: int) -> float | None:
    """Seconds to wait before the same model is asked again; `None` to go to the next."""
    if attempt or not error.retry:
        return None
    if error.retry_after is None:
        return RETRY_SECONDS
    return error.retry_after if error.retry_after <= LONGEST_WAIT_SECONDS else None
