"""The answer as a model writes it: read behind the gate, shown as it comes, and asked for once more when it will not do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from agent.errors import ModelError
from agent.guard import Gate
from agent.messages import Usage
from agent.models.base import Chunk, ModelBackend, Prompt
from agent.models.quotes import NAME as QUOTES
from agent.reply import MarkReader, Written, allowed_urls
from knowledge.keywords.languages import SPACED, language_told
from knowledge.search import Hit

_TOLD = frozenset((*SPACED, "japanese", "chinese", "thai"))
"""Languages that can be told from a text."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """What came of one try. `error` is why nothing did; `model` who wrote it."""

    written: Written = field(default_factory=Written)
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    failed: frozenset[str] = frozenset()
    error: ModelError | None = None


async def draft(
    model: ModelBackend, prompt: Prompt, hits: Sequence[Hit], show: Callable[[str], None] | None = None
) -> Drafted:
    """What `model` writes, behind the gate. `show` gets each piece that a customer may see."""
    gate, marks = Gate(len(hits), allowed_urls(hits)), MarkReader()
    text, last, usage = "", Chunk(), Usage()
    notes: list[str] = []
    failed: set[str] = set()

    def pass_on(piece: str) -> str:
        if show is not None and piece and marks.mark in (None, "ask", "chat"):
            show(piece)
        return piece

    try:
        async with aclosing(model.stream(prompt)) as chunks:
            async for chunk in chunks:
                usage += chunk.usage
                notes += [chunk.note] if chunk.note else []
                failed |= {chunk.failed} - {""}
                last = chunk if chunk.finish else last
                text += pass_on(gate.feed(marks.feed(chunk.text)))
    except ModelError as error:
        kinds = frozenset(failed | {error.kind})
        return Drafted(usage=usage + error.usage, notes=(*notes, str(error)), failed=kinds, error=error)
    text += pass_on(gate.feed(marks.end()) + gate.end())
    if last.finish == "length":
        notes.append(f"The answer was cut at {prompt.max_tokens} tokens (max_answer_tokens).")
    written = Written(text, marks.mark, tuple(gate.cited), last.finish == "length")
    return Drafted(written, last.model, usage, tuple(notes), frozenset(failed))


def wish(drafted: Drafted, question: str, max_tokens: int, language: str = "") -> str:
    """What a model has to be asked once more, in its words; empty when the draft will do.

    `language` is the one that is always answered in; without it, the customer's.
    """
    written = drafted.written
    if written.mark is not None or drafted.model == QUOTES:
        return ""
    if written.cut:
        return f"That was too long and broke off. Answer again in at most {max_tokens // 4} words, with [n] marks."
    always = language.strip().lower()
    wanted, answered = always or language_told(question), language_told(written.text)
    if wanted is None or wanted not in _TOLD or answered is None or wanted == answered:
        return ""
    named = wanted.capitalize() if always else f"{wanted.capitalize()}, the language of the customer's message"
    return f"Answer again in {named}, with the same [n] marks."
