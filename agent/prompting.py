"""From a conversation and what was found to a prompt. Pure: documents and customers' words go in as marked data."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.guard import mask, shorten
from agent.messages import Message
from agent.models.base import Prompt, PromptMessage
from agent.prompts import prompt_file
from knowledge.search import Hit, SearchResult

HISTORY_MESSAGES = 6
HISTORY_CHARACTERS = 600
"""Of each earlier message: enough to know what was talked about."""
PASSAGE_CHARACTERS = 2_400
PASSAGES_CHARACTERS = 6_000
"""All passages together, about 1,500 tokens."""
_MARKUP = re.compile(r"</?\s*(?:passages?|message|customer|conversation)\b[^>]*>", re.IGNORECASE)


def answer_prompt(
    question: str,
    found: SearchResult,
    history: Sequence[Message],
    *,
    company: str,
    max_tokens: int,
    asked_back: bool = False,
    standalone: str = "",
) -> Prompt:
    """The prompt for the answer.

    `history` is what was said before `question`; `standalone` is the question made to stand alone, for backends that do
    not read the conversation.
    """
    file = prompt_file("answer")
    passages = "\n".join(_passage(number, hit) for number, hit in enumerate(found.hits, 1))
    once = "\nYou have already asked back once. Do not use [[ask]] again.\n" if asked_back else ""
    return Prompt(
        purpose="answer",
        messages=(
            PromptMessage("system", file.filled(company=company or "this company")),
            *_history(history),
            PromptMessage(
                "user", f"<passages>\n{passages}\n</passages>\n{once}\n<message>\n{_data(mask(question))}\n</message>"
            ),
        ),
        question=standalone or question,
        retrieved=found,
        asked_back=asked_back,
        max_tokens=max_tokens,
        version=file.version,
    )


def rewrite_prompt(question: str, history: Sequence[Message], language: str) -> Prompt:
    """The prompt that makes a follow-up, or a question in another language than the documents, fit for search."""
    file = prompt_file("rewrite")
    said = "\n".join(
        f"{'Customer' if message.role == 'customer' else 'Support'}: {_said(message)}"
        for message in history[-HISTORY_MESSAGES:]
    )
    before = f"<conversation>\n{said}\n</conversation>\n\n" if said else ""
    return Prompt(
        purpose="rewrite",
        messages=(
            PromptMessage("system", file.filled(language=language)),
            PromptMessage("user", f"{before}<message>\n{_data(mask(question))}\n</message>"),
        ),
        question=question,
        max_tokens=120,
        temperature=0.0,
        version=file.version,
    )


def fitting(found: Sequence[Hit]) -> tuple[Hit, ...]:
    """The hits worth sending: no text twice, and no more than the budget, best first."""
    kept: list[Hit] = []
    seen: set[str] = set()
    left = PASSAGES_CHARACTERS
    for hit in found:
        length = min(len(hit.passage.text), PASSAGE_CHARACTERS)
        if hit.passage.text in seen or (kept and length > left):
            continue
        seen.add(hit.passage.text)
        kept.append(hit)
        left -= length
    return tuple(kept)


def _history(messages: Sequence[Message]) -> list[PromptMessage]:
    return [
        PromptMessage("user" if message.role == "customer" else "assistant", _said(message))
        for message in messages[-HISTORY_MESSAGES:]
    ]


def _said(message: Message) -> str:
    text = shorten(message.text, HISTORY_CHARACTERS)
    return _data(mask(text) if message.role == "customer" else text)


def _data(text: str) -> str:
    """Text that cannot close or open the marks around it."""
    return _MARKUP.sub("", text)


def _passage(number: int, hit: Hit) -> str:
    title = _data(" > ".join((hit.passage.title, *hit.passage.heading))).replace('"', "'").replace("\n", " ")[:200]
    date = f' updated="{hit.updated}"' if hit.updated else ""
    text = _data(hit.passage.text[:PASSAGE_CHARACTERS])
    return f'<passage n="{number}" title="{title}"{date}>\n{text}\n</passage>'
