"""Fakes that ship with frontdesk, for the tests of those who build on it. They pass the same contract tests as the real ones."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from agent.errors import ModelError
from agent.messages import Delivery, Inbound, Usage
from agent.models.base import Chunk, Prompt
from agent.models.structured import parsed

Script = str | ModelError | Callable[[Prompt], str]


class ScriptedModel:
    """A model that says what it is told, word by word. Each prompt takes the next line of `script`; the last one stays.

    A line is a text, a function from the prompt to a text, or a `ModelError` to raise. `prompts` keeps what was asked.
    """

    generative = True

    def __init__(self, *script: Script, name: str = "scripted") -> None:
        if not script:
            raise ValueError("a script needs at least one line")
        self.name = name
        self.prompts: list[Prompt] = []
        self._script: Sequence[Script] = script

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Say the next line."""
        line = self._script[min(len(self.prompts), len(self._script) - 1)]
        self.prompts.append(prompt)
        if isinstance(line, ModelError):
            raise line
        text = line if isinstance(line, str) else line(prompt)
        found = parsed(text, prompt.schema) if prompt.schema is not None else None
        for piece in re.findall(r"\s*\S+|\s+$", text):
            yield Chunk(text=piece, model=self.name)
        usage = self.estimate(prompt, len(text.split()))
        yield Chunk(finish="stop", usage=usage, model=self.name, parsed=found)

    def estimate(self, prompt: Prompt, completion_tokens: int, /) -> Usage:
        """Words counted as tokens, at no price."""
        return Usage(sum(len(message.content.split()) for message in prompt.messages), completion_tokens)

    async def close(self) -> None:
        """Nothing to release."""


class MemoryConnector:
    """A place in memory: `inbound` is what people say, `shown` what they see, by turn, each delivery replacing the last."""

    name = "memory"

    def __init__(self, inbound: Sequence[Inbound] = ()) -> None:
        self.inbound = list(inbound)
        self.deliveries: list[Delivery] = []

    async def listen(self, receive: Callable[[Inbound], Awaitable[None]], /) -> None:
        """Hand over everything in `inbound`, one after the other."""
        for one in self.inbound:
            await receive(one)

    async def deliver(self, delivery: Delivery, /) -> None:
        """Remember the delivery."""
        self.deliveries.append(delivery)

    @property
    def shown(self) -> dict[str, Delivery]:
        """What stands at each turn now."""
        return {delivery.turn: delivery for delivery in self.deliveries}
