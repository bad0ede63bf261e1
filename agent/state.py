"""What the nodes of the agent's graph hand on, and what they work with."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass
from typing import TypedDict

from agent import policy
from agent.drafting import Drafted
from agent.messages import Address, Answer, Conversation, Handoff, Message, Usage
from agent.models.base import ModelBackend, Payer, Role
from agent.models.routing import Models
from agent.pending import Asked
from agent.prompting import Persona
from agent.standing import Sources
from knowledge.base import KnowledgeBase
from knowledge.search import SearchResult

SECONDS: dict[Role, float] = {"triage": 6.0, "rewrite": 4.0, "judge": 10.0, "summarise": 20.0}
"""How long each role may take; the answer has what is left."""


class State(TypedDict, total=False):
    """What the nodes hand on."""

    conversation: Conversation
    asked: Asked
    question: str
    history: tuple[Message, ...]
    intent: policy.Intent
    began: float
    """On the monotonic clock."""
    standalone: str
    """The question as it is looked up: made to stand alone, or in the documents' language."""
    found: SearchResult
    drafted: Drafted
    result: Answer | Handoff
    model: str
    prompt: str
    usage: Usage
    notes: tuple[str, ...]
    failed: frozenset[str]
    """Kinds of the model errors on the way."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the nodes work with; never stored. `address` is that of the conversation."""

    models: Models
    knowledge: KnowledgeBase
    persona: Persona
    max_tokens: int
    total_seconds: float
    address: Address
    payer: Payer
    sources: Sources

    @property
    def model(self) -> ModelBackend:
        """The model that answers here."""
        return self.models.answering(self.address)

    def role(self, role: Role) -> ModelBackend | None:
        """The model for a role here, if there is one."""
        return self.models.choose(role, self.address)


def with_cost(state: State, usage: Usage, notes: tuple[str, ...], failed: Set[str]) -> State:
    """The state after one more call of a model."""
    return {
        **state,
        "usage": state["usage"] + usage,
        "notes": (*state["notes"], *notes),
        "failed": state["failed"] | failed,
    }


def seconds_left(state: State, context: Context) -> float:
    """How long the models of this reply may still take, at least 0.1 seconds."""
    return max(0.1, context.total_seconds - (time.monotonic() - state["began"]))
