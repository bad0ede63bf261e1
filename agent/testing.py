"""Fakes that ship with frontdesk, for the tests of those who build on it. They pass the same contract tests as the real ones."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from agent.errors import DeliveryError, ModelError
from agent.ledger import Ticket
from agent.messages import Address, Answer, Attachment, Delivery, Handoff, Inbound, Message, Usage, Withdrawn
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
    """A place in memory: `inbound` is what people say, `shown` what they see, by turn, each delivery replacing the last.

    `files` are the bytes of attachments by their source; `strangers` says whether outsiders read along; `told` are the
    tickets that staff were told of. `failures` are raised, one after the other, in place of showing final replies.
    """

    name = "memory"

    def __init__(self, inbound: Sequence[Inbound] = (), *failures: Exception) -> None:
        self.inbound = list(inbound)
        self.deliveries: list[Delivery] = []
        self.files: dict[str, bytes] = {}
        self.strangers = False
        self.told: list[Ticket] = []
        self._failures = list(failures)

    async def listen(self, receive: Callable[[Inbound], Awaitable[None]], /) -> None:
        """Hand over everything in `inbound`, one after the other."""
        for one in self.inbound:
            await receive(one)

    async def deliver(self, delivery: Delivery, /) -> None:
        """Remember the delivery."""
        if isinstance(delivery.event, Answer | Handoff) and self._failures:
            raise self._failures.pop(0)
        self.deliveries.append(delivery)

    async def fetch(self, address: Address, attachment: Attachment, most_bytes: int, /) -> bytes:
        """The bytes that are in `files`."""
        if attachment.source not in self.files:
            raise DeliveryError("There is no such file.")
        return self.files[attachment.source][:most_bytes]

    async def outsiders(self, address: Address, /) -> bool:
        """What `strangers` says."""
        return self.strangers

    async def said_since(self, message: Message, /) -> Sequence[Message]:
        """Those of `inbound`."""
        since = [one for one in self.inbound if isinstance(one, Message) and one.sent_at > message.sent_at]
        return [one for one in since if (one.address, one.author) == (message.address, message.author)]

    async def notify(self, room: Address, ticket: Ticket, /) -> str:
        """Remember the ticket."""
        if ticket.number not in [one.number for one in self.told]:
            self.told.append(ticket)
        return f"post-{ticket.number}"

    @property
    def shown(self) -> dict[str, Delivery]:
        """What stands at each turn now: nothing, where it was withdrawn."""
        last = {delivery.turn: delivery for delivery in self.deliveries}
        return {turn: delivery for turn, delivery in last.items() if not isinstance(delivery.event, Withdrawn)}
