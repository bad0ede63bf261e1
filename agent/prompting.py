"""From a conversation and what was found to a prompt. Pure: documents and customers' words go in as marked data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from agent.guard import mask, says_something, shorten
from agent.messages import Message, Summary
from agent.models.base import Prompt, PromptMessage
from agent.prompts import prompt_file
from knowledge.search import Hit, SearchResult

HISTORY_MESSAGES = 8
"""Earlier messages that are sent word for word. They are only added to until they are summed up: a provider's cache of
the prompt's beginning then holds from turn to turn."""
KEPT_MESSAGES = 4
"""Of those, the latest that stay when the others are summed up."""
HISTORY_CHARACTERS = 600
"""Of each earlier message: enough to know what was talked about."""
FEWEST_PASSAGES = 2
"""For a model whose context is too small for all."""
PASSAGE_CHARACTERS = 2_400
PASSAGES_CHARACTERS = 6_000
"""All passages together, about 1,500 tokens."""
_MARKUP = re.compile(r"</?\s*(?:passages?|message|customer|conversation|answer)\b[^>]*>", re.IGNORECASE)


def answer_prompt(
    question: str,
    found: SearchResult,
    history: Sequence[Message],
    *,
    company: str,
    max_tokens: int,
    asked_back: bool = False,
    standalone: str = "",
    summary: str = "",
) -> Prompt:
    """The prompt for the answer.

    `history` is what was said before `question`, and `summary` what was said before that; `standalone` is the question
    made to stand alone, for backends that do not read the conversation.
    """
    file = prompt_file("answer")
    once = "\nYou have already asked back once. Do not use [[ask]] again.\n" if asked_back else ""
    system = PromptMessage("system", file.filled(company=company or "this company"))

    def asking(hits: Sequence[Hit]) -> PromptMessage:
        passages = "\n".join(_passage(number, hit) for number, hit in enumerate(hits, 1))
        return PromptMessage(
            "user", f"<passages>\n{passages}\n</passages>\n{once}\n<message>\n{as_data(mask(question))}\n</message>"
        )

    return Prompt(
        role="answer",
        # What stays the same from call to call comes first: providers charge less for a beginning they know.
        messages=(system, *_history(history, summary), asking(found.hits)),
        shorter=(system, asking(found.hits[:FEWEST_PASSAGES])),
        question=standalone or question,
        retrieved=found,
        asked_back=asked_back,
        max_tokens=max_tokens,
        version=file.version,
    )


def rewrite_prompt(question: str, history: Sequence[Message], language: str, summary: str = "") -> Prompt:
    """The prompt that makes a follow-up, or a question in another language than the documents, fit for search."""
    file = prompt_file("rewrite")
    return Prompt(
        role="rewrite",
        messages=(
            PromptMessage("system", file.filled(language=language)),
            PromptMessage("user", f"{_conversation(history, summary)}<message>\n{as_data(mask(question))}\n</message>"),
        ),
        question=question,
        max_tokens=120,
        temperature=0.0,
        version=file.version,
    )


INTENTS = ("question", "action", "person", "small_talk", "refuse")
_TRIAGE_SCHEMA = {
    "type": "object",
    "properties": {"intent": {"type": "string", "enum": list(INTENTS)}, "standalone": {"type": "string"}},
    "required": ["intent", "standalone"],
    "additionalProperties": False,
}


def triage_prompt(
    question: str, history: Sequence[Message], language: str, *, company: str, summary: str = ""
) -> Prompt:
    """The prompt that sorts a message and makes it fit for search. The reply is `{"intent": ..., "standalone": ...}`."""
    file = prompt_file("triage")
    return Prompt(
        role="triage",
        messages=(
            PromptMessage("system", file.filled(language=language, company=company or "this company")),
            PromptMessage("user", f"{_conversation(history, summary)}<message>\n{as_data(mask(question))}\n</message>"),
        ),
        question=question,
        max_tokens=160,
        temperature=0.0,
        version=file.version,
        schema=_TRIAGE_SCHEMA,
    )


def summary_prompt(history: Sequence[Message], summary: str) -> Prompt:
    """The prompt that sums up what was said, on top of an earlier summary."""
    file = prompt_file("summarise")
    return Prompt(
        role="summarise",
        messages=(PromptMessage("system", file.text), PromptMessage("user", _conversation(history, summary).strip())),
        max_tokens=250,
        temperature=0.0,
        version=file.version,
    )


def with_wish(prompt: Prompt, draft: str, wish: str) -> Prompt:
    """The same prompt once more, with the draft that was not good enough and what is wished for instead."""
    again = (PromptMessage("assistant", draft), PromptMessage("user", wish))
    return replace(prompt, messages=(*prompt.messages, *again), shorter=(*prompt.shorter, *again))


def recent(messages: Sequence[Message], summary: Summary | None) -> tuple[Message, ...]:
    """What a model is told of what was said: since the summary, without what may not be sent."""
    if summary is not None:
        ids = [message.id for message in messages]
        messages = messages[ids.index(summary.until) + 1 :] if summary.until in ids else messages
    withheld = {message.id for message in messages if message.withheld}
    # The reply to a message that is withheld may repeat what is in it.
    return tuple(
        message
        for message in messages
        if says_something(message.text) and not withheld & {message.id, message.id.removesuffix("/reply")}
    )


def _conversation(history: Sequence[Message], summary: str) -> str:
    said = "\n".join(
        f"{'Customer' if message.role == 'customer' else 'Support'}: {_said(message)}"
        for message in history[-HISTORY_MESSAGES:]
    )
    before = f"Earlier: {as_data(mask(summary))}\n" if summary else ""
    return f"<conversation>\n{before}{said}\n</conversation>\n\n" if said or before else ""


def fitting(found: Sequence[Hit]) -> tuple[Hit, ...]:
    """The hits worth sending: no text twice, and no more than the budget, best first."""
    kept: list[Hit] = []
    seen: set[str] = set()
    left = PASSAGES_CHARACTERS
    for hit in found:
        length = min(len(hit.passage.text), PASSAGE_CHARACTERS)
        text = " ".join(hit.passage.text.lower().split())
        if any(text in one for one in seen) or (kept and length > left):
            continue
        seen.add(text)
        kept.append(hit)
        left -= length
    return tuple(kept)


def _history(messages: Sequence[Message], summary: str) -> list[PromptMessage]:
    earlier = [PromptMessage("user", f"<conversation>\n{as_data(mask(summary))}\n</conversation>")] if summary else []
    return earlier + [
        PromptMessage("user" if message.role == "customer" else "assistant", _said(message))
        for message in messages[-HISTORY_MESSAGES:]
    ]


def _said(message: Message) -> str:
    text = shorten(message.text, HISTORY_CHARACTERS)
    return as_data(mask(text) if message.role == "customer" else text)


def as_data(text: str) -> str:
    """Text that cannot close or open the marks around it. Nothing is taken out: what is left could make up a mark anew."""
    return _MARKUP.sub(lambda mark: f"({mark[0][1:]}", text)


def _passage(number: int, hit: Hit) -> str:
    title = as_data(" > ".join((hit.passage.title, *hit.passage.heading))).replace('"', "'").replace("\n", " ")[:200]
    date = f' updated="{hit.updated}"' if hit.updated else ""
    text = as_data(hit.passage.text[:PASSAGE_CHARACTERS])
    return f'<passage n="{number}" title="{title}"{date}>\n{text}\n</passage>'
