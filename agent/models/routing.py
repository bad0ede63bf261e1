"""Several models in a row: when one fails before its first visible word, the next one answers. And which row, for which role."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from agent.errors import BudgetError, ModelError, ModelFiltered, ModelTooLong, ModelUnreachable
from agent.messages import Address, Usage
from agent.models.base import Chunk, ModelBackend, Prompt, Role
from agent.models.breaker import Breaker, Breakers
from agent.models.metering import Meter, ModelCall, Reservation

RETRY_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0
"""A server that asks for a longer pause than this is passed over."""
_WORTH_A_TRY_SECONDS = 1.0
"""With less time left than this no model is asked any more that needs some."""


def vendor_of(name: str) -> str:
    """Who is behind a model's name: the preset, or the host of an address."""
    return urlsplit(name).hostname or name if "://" in name else name.partition(":")[0].partition("@")[0]


class FallbackChain:
    """A model made of models, tried in order. The first that shows a word has to finish: text is never repeated.

    What went wrong on the way comes as chunks with a `note` and the `usage` of the attempt. `breakers` and `meter` are
    shared with other chains; without them each chain has its own.
    """

    def __init__(
        self, backends: Sequence[ModelBackend], breakers: Breakers | None = None, meter: Meter | None = None
    ) -> None:
        if not backends:
            raise ValueError("a chain needs at least one backend")
        self._backends = tuple(backends)
        self._breakers = breakers or Breakers()
        self._meter = meter or Meter()

    @property
    def name(self) -> str:
        """The first model's name: the one that answers when nothing fails."""
        return self._backends[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """Every model's name, in order."""
        return tuple(backend.name for backend in self._backends)

    @property
    def generative(self) -> bool:
        """Whether the first model writes text of its own."""
        return self._backends[0].generative

    def estimate(self, prompt: Prompt, completion_tokens: int, /) -> Usage:
        """What the first model would cost."""
        return self._backends[0].estimate(prompt, completion_tokens)

    async def close(self) -> None:
        """Close every model."""
        for backend in self._backends:
            await backend.close()

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Stream from the first model that answers.

        Raises the last model's `ModelError` when none does, or the error of the one that broke off after its first word.
        """
        tries = _Tries(prompt)
        filtered_by: set[str] = set()
        for backend in self._backends:
            if (reason := self._passed_over(backend, tries, filtered_by)) is not None:
                tries.skip(reason)
                yield Chunk(note=reason)
                continue
            while True:
                attempt = _Attempt(backend, self._breakers.of(backend.name), self._meter, tries.next_prompt(backend))
                try:
                    held: list[Chunk] = []
                    async with aclosing(attempt.stream()) as chunks:
                        async for chunk in chunks:
                            held.append(chunk)
                            # What nobody reads as it comes is passed on once it is whole: another model may begin anew.
                            if prompt.shown or chunk.finish:
                                for one in held:
                                    yield one
                                held.clear()
                    return
                except ModelError as error:
                    if attempt.shown:
                        raise
                    failure = error
                yield Chunk(note=str(failure), usage=failure.usage, failed=failure.kind)
                if isinstance(failure, ModelFiltered):
                    filtered_by.add(vendor_of(backend.name))
                if (pause := tries.again(failure)) is None:
                    break
                await asyncio.sleep(pause)
                if self._breakers.of(backend.name).refusal() is not None:
                    break
        last = tries.error or ModelUnreachable("No model could be asked.")
        # Its usage has been told with its note.
        last.usage = Usage()
        raise last

    def _passed_over(self, backend: ModelBackend, tries: _Tries, filtered_by: set[str]) -> str | None:
        """Why a model is not asked at all."""
        if vendor_of(backend.name) in filtered_by:
            return f"{backend.name} was not asked: it is of the vendor whose filter stopped the message."
        if backend.generative and tries.seconds_left() < _WORTH_A_TRY_SECONDS:
            return f"{backend.name} was not asked: no time was left."
        return self._breakers.of(backend.name).refusal()


class _Tries:
    """How often, how long and with what one prompt has been tried."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._end = time.monotonic() + prompt.seconds if prompt.seconds is not None else None
        self._backend: ModelBackend | None = None
        self._repeated = False
        self._shortened = 0
        self._ladder = tuple(messages for messages in (prompt.trimmed, prompt.shorter) if messages)
        self.error: ModelError | None = None

    def seconds_left(self) -> float:
        return float("inf") if self._end is None else self._end - time.monotonic()

    def skip(self, reason: str) -> None:
        """A model was passed over."""
        self.error = self.error or ModelUnreachable(reason)

    def next_prompt(self, backend: ModelBackend) -> Prompt:
        """What to send to this model now."""
        if backend is not self._backend:
            self._backend, self._repeated, self._shortened = backend, False, 0
        prompt = self._prompt
        if self._end is not None:
            prompt = replace(prompt, seconds=max(0.1, self.seconds_left()))
        if not self._shortened:
            return prompt
        return replace(prompt, messages=self._ladder[self._shortened - 1], trimmed=(), shorter=())

    def again(self, error: ModelError) -> float | None:
        """Seconds to wait before the same model is asked again; `None` to go to the next."""
        self.error = error
        if isinstance(error, ModelTooLong) and self._shortened < len(self._ladder):
            self._shortened += 1
            return 0.0
        if self._repeated or not error.retry:
            return None
        pause = RETRY_SECONDS if error.retry_after is None else error.retry_after
        if pause > LONGEST_WAIT_SECONDS or self.seconds_left() < pause + _WORTH_A_TRY_SECONDS:
            return None
        self._repeated = True
        return pause


class _Attempt:
    """One call of one model: budget, breaker, and the record of what it cost however it ends."""

    def __init__(self, backend: ModelBackend, breaker: Breaker, meter: Meter, prompt: Prompt) -> None:
        self._backend = backend
        self._breaker = breaker
        self._meter = meter
        self._prompt = prompt
        self._began = time.monotonic()
        self._first: float | None = None
        self._text: list[str] = []
        self.shown = False
        """Whether a customer has seen some of it."""

    async def stream(self) -> AsyncGenerator[Chunk]:
        estimate = self._backend.estimate(self._prompt, self._prompt.max_tokens)
        try:
            reservation = await self._meter.reserve(self._backend.name, self._prompt.payer, estimate)
        except BudgetError:
            self._breaker.abandoned()
            raise
        usage: Usage | None = None
        error = "abandoned"
        try:
            async with aclosing(self._backend.stream(self._prompt)) as chunks:
                async for chunk in chunks:
                    self._see(chunk)
                    usage = chunk.usage if chunk.finish else usage
                    if chunk.finish:
                        error = ""
                        self._breaker.succeeded()
                    yield chunk
        except ModelError as failure:
            usage, error = failure.usage, failure.kind
            self._breaker.failed(failure)
            raise
        finally:
            if error == "abandoned":
                self._breaker.abandoned()
            await self._record(reservation, usage, error)

    def _see(self, chunk: Chunk) -> None:
        if chunk.text.strip():
            self._first = self._first or time.monotonic() - self._began
            self.shown = self._prompt.shown
        self._text.append(chunk.text)

    async def _record(self, reservation: Reservation, usage: Usage | None, error: str) -> None:
        if usage is None:
            # Given up in the middle: what came so far is paid for.
            usage = self._backend.estimate(self._prompt, len("".join(self._text)) // 4)
        seconds = time.monotonic() - self._began
        at = datetime.now(UTC)
        call = ModelCall(
            at, self._prompt.role, self._backend.name, usage, seconds, self._first, error, self._prompt.payer
        )
        await self._meter.settle(reservation, call)


@dataclass(frozen=True, slots=True)
class Models:
    """Which model does what, where. `choose` gives the one for a role in a channel, or `None` if there is none."""

    choose: Callable[[Role, Address], ModelBackend | None]

    @classmethod
    def only(cls, backend: ModelBackend) -> Models:
        """One model that answers everywhere; if it writes text of its own, it rewrites and summarises, too."""
        own = ("answer", "rewrite", "summarise") if backend.generative else ("answer",)
        return cls(lambda role, _: backend if role in own else None)

    def answering(self, address: Address) -> ModelBackend:
        """The model that answers there."""
        found = self.choose("answer", address)
        assert found is not None, "some model always answers"
        return found
