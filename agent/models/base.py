"""The contract of every model: `ModelBackend.stream(prompt)`.

New needs go onto `Prompt`, not into the signature. A backend yields any number of chunks with text and then exactly one
last chunk with `finish` set; everything that is not a whole answer (a cut stream, an empty one, an error in disguise) is
raised as a `ModelError`, never yielded as text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from agent.errors import ModelError
from agent.messages import Usage
from knowledge.search import SearchResult

Role = Literal["triage", "rewrite", "answer", "judge", "summarise", "vision"]
"""What a model is asked for. Each role may have models of its own."""
ROLES: tuple[Role, ...] = get_args(Role)
Finish = Literal["stop", "length", "tools"]
_NOTHING = Usage()
"""Shared, as it is frozen: one would be made for every token otherwise."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function a model may ask to be called. `parameters` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model asks for: a tool of the prompt, and arguments that are a JSON object."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, as the bytes of its file."""

    content: bytes = field(repr=False)
    media_type: str


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a chat prompt, plain text.

    The assistant's may hold `tool_calls` and the `reasoning` that led to them (some providers want it back); a tool's
    result names its call in `tool_call`. The user's may hold `images`; a backend that cannot see them reads the text alone.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call: str = ""
    reasoning: str = ""
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose budgets a call counts against: ids of the conversation, the channel and the person who asked."""

    conversation: str = ""
    channel: str = ""
    person: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a model is asked, as one value.

    `messages` is what a language model reads. `question` and `retrieved` are the same matter as data, for backends that
    need no language model. `asked_back`: the agent has just asked the customer back and must not do so again.
    `max_tokens` bounds the answer, in the model's own tokens; `seconds` the time it may take.

    `schema`: the answer is one JSON object that fits this JSON schema. `tools`: functions the model may ask for.
    `trimmed` and then `shorter`, as far as they are there, are the messages to send instead to a model whose context is too
    small for `messages`.
    """

    role: Role
    messages: tuple[PromptMessage, ...]
    question: str = ""
    retrieved: SearchResult | None = None
    asked_back: bool = False
    max_tokens: int = 700
    temperature: float = 0.2
    version: str = ""
    seconds: float | None = None
    schema: Mapping[str, Any] | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "required"] = "auto"
    trimmed: tuple[PromptMessage, ...] = ()
    shorter: tuple[PromptMessage, ...] = ()
    payer: Payer = field(default_factory=Payer)

    @property
    def shown(self) -> bool:
        """Whether a customer sees the text as it comes, so that it cannot be begun anew."""
        return self.role == "answer" and self.schema is None


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next piece of an answer.

    The last one has `finish`: "stop", "length" when it was cut at `max_tokens`, or "tools" when the model asks for
    `tool_calls`. It has the `usage` of the call, what was `parsed` when the prompt has a schema, and the `reasoning` to
    send back with the results of tools. `note` is a sentence for staff, such as which model failed before this one
    answered; such a chunk has the `usage` of the attempt that failed.
    """

    text: str = ""
    finish: Finish | None = None
    usage: Usage = _NOTHING
    model: str = ""
    note: str = ""
    failed: str = ""
    """The kind of the `ModelError` that the note tells of."""
    parsed: Mapping[str, Any] | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""


class ModelBackend(Protocol):
    """A model. `name` is what settings call it and what is recorded with its answers.

    `generative` is false when it only repeats the documents' own words, and so needs no check of what it says.
    """

    @property
    def name(self) -> str:
        """What settings call it: `vendor:model`, or a server's address."""
        ...

    @property
    def generative(self) -> bool:
        """Whether it writes text of its own."""
        ...

    def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Answer `prompt`. Raises `ModelError`; closing the iterator early stops the work."""
        ...

    def estimate(self, prompt: Prompt, completion_tokens: int, /) -> Usage:
        """What a call with this prompt and an answer of this length costs, about; `cost_usd` is `None` if unknown."""
        ...

    async def close(self) -> None:
        """Release connections. The backend is not used afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, with the sum of what it and the attempts before it cost."""

    text: str
    last: Chunk
    usage: Usage
    notes: tuple[str, ...] = ()
    failed: frozenset[str] = frozenset()
    """Kinds of the errors on the way."""


async def complete(backend: ModelBackend, prompt: Prompt) -> Completion:
    """Ask, and wait for the whole answer. Raises `ModelError`, whose `usage` holds that of earlier attempts, too."""
    text, last, usage = "", Chunk(), Usage()
    notes: list[str] = []
    failed: set[str] = set()
    try:
        async with aclosing(backend.stream(prompt)) as chunks:
            async for chunk in chunks:
                text += chunk.text
                usage += chunk.usage
                failed |= {chunk.failed} - {""}
                notes += [chunk.note] if chunk.note else []
                last = chunk if chunk.finish else last
    except ModelError as error:
        error.usage = usage + error.usage
        raise
    return Completion(text, last, usage, tuple(notes), frozenset(failed))
