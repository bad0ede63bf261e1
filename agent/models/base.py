"""The contract of every model: `ModelBackend.stream(prompt)`.

New needs go onto `Prompt`, not into the signature. A backend yields any number of chunks with text and then exactly one
last chunk with `finish` set; everything that is not a whole answer (a cut stream, an empty one, an error in disguise) is
raised as a `ModelError`, never yielded as text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agent.messages import Usage
from knowledge.search import SearchResult


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a chat prompt, plain text."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a model is asked, as one value.

    `messages` is what a language model reads. `question` and `retrieved` are the same matter as data, for backends that
    need no language model. `asked_back`: the agent has just asked the customer back and must not do so again.
    `max_tokens` bounds the answer, in the model's own tokens.
    """

    purpose: Literal["answer", "rewrite"]
    messages: tuple[PromptMessage, ...]
    question: str
    retrieved: SearchResult | None = None
    asked_back: bool = False
    max_tokens: int = 700
    temperature: float = 0.2
    version: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next piece of an answer. The last one has `finish` ("stop", or "length" when cut at `max_tokens`) and `usage`.

    `note` is a sentence for staff, such as which model failed before this one answered.
    """

    text: str = ""
    finish: Literal["stop", "length"] | None = None
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    note: str = ""


class ModelBackend(Protocol):
    """A model. `name` is what settings call it and what is recorded with its answers.

    `generative` is false when it only repeats the documents' own words, and so needs no check of what it says.
    """

    @property
    def name(self) -> str:
        """What settings call it."""
        ...

    @property
    def generative(self) -> bool:
        """Whether it writes text of its own."""
        ...

    def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Answer `prompt`. Raises `ModelError`; closing the iterator early stops the work."""
        ...

    async def close(self) -> None:
        """Release connections. The backend is not used afterwards."""
        ...
