"""Whether an answer says only what its sources say: told by a model in the role of a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.errors import ModelError
from agent.guard import mask
from agent.messages import Usage
from agent.models.base import ModelBackend, Payer, Prompt, PromptMessage, complete
from agent.prompting import as_data
from agent.prompts import prompt_file

_SCHEMA = {
    "type": "object",
    "properties": {
        "unsupported": {"type": "array", "items": {"type": "string"}},
        "grounded": {"type": "boolean"},
    },
    "required": ["unsupported", "grounded"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge found. `grounded` is `None` when it could not tell. `unsupported` are statements without a source."""

    grounded: bool | None
    unsupported: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    failed: frozenset[str] = frozenset()


async def judged(
    judge: ModelBackend,
    question: str,
    answer: str,
    passages: Sequence[str],
    *,
    seconds: float = 10.0,
    payer: Payer | None = None,
) -> Judgement:
    """Have `judge` compare an answer with the passages that it cites. A judge that fails says nothing (`None`)."""
    file = prompt_file("judge")
    sources = "\n".join(f"<passage>\n{as_data(passage)}\n</passage>" for passage in passages)
    prompt = Prompt(
        role="judge",
        messages=(
            PromptMessage("system", file.text),
            PromptMessage(
                "user",
                f"<passages>\n{sources}\n</passages>\n\n<message>\n{as_data(mask(question))}\n</message>\n\n"
                f"<answer>\n{as_data(answer)}\n</answer>",
            ),
        ),
        max_tokens=300,
        temperature=0.0,
        version=file.version,
        seconds=seconds,
        schema=_SCHEMA,
        payer=payer or Payer(),
    )
    try:
        done = await complete(judge, prompt)
    except ModelError as error:
        return Judgement(None, (), error.usage, (f"The answer was not judged: {error}",), frozenset({error.kind}))
    found = done.last.parsed
    if found is None:
        return Judgement(None, (), done.usage, (*done.notes, "The answer was not judged."), done.failed)
    unsupported = tuple(str(one)[:200] for one in found.get("unsupported", ()))
    grounded = bool(found.get("grounded")) and not unsupported
    notes = (
        done.notes
        if grounded
        else (*done.notes, f"The judge {judge.name} found no source for: {'; '.join(unsupported) or '-'}")
    )
    return Judgement(grounded, unsupported, done.usage, notes, done.failed)
