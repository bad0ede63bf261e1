"""From a conversation and what was found to a prompt. Pure: documents and customers' words go in as marked data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.excerpts import excerpt, plain_name, reads_like_log, telling_lines
from agent.guard import mask, says_something, shorten
from agent.messages import Attachment, Message, Summary
from agent.models.base import Prompt, PromptMessage
from agent.models.pricing import estimated_tokens
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
ATTACHMENT_TOKENS = 3_000
"""About, of all attachments of a question together;"""
FEWER_ATTACHMENT_TOKENS = 600
"""for a model whose context is too small for that,"""
FEWEST_ATTACHMENT_TOKENS = 250
"""and where a question is only made fit for search."""
MOST_NOT_READ = 5
"""Of the files that were not read, that a model is told of."""
_MARKUP = re.compile(r"</?\s*(?:passages?|message|customer|conversation|answer|attachments?)\b[^>]*>", re.IGNORECASE)
_SPEAKER = re.compile(
    r"^([^\w\n]{0,5})(customer(?: \d{1,3})?|staff|you|earlier)(\s{0,3}[:\uff1a])", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Persona:
    """Who the agent speaks for. `handoff_message` tells customers what happens when a person takes over.

    `voice` is how it should sound, in a sentence or two. `language` is the one it always answers in, by its English name;
    empty for the customer's.
    """

    company: str = ""
    handoff_message: str = "A person from our team will take it from here, and answer you in this conversation."
    voice: str = ""
    language: str = ""


def answer_prompt(
    question: str,
    found: SearchResult,
    history: Sequence[Message],
    persona: Persona,
    *,
    max_tokens: int,
    asked_back: bool = False,
    standalone: str = "",
    summary: str = "",
    attachments: Sequence[Attachment] = (),
) -> Prompt:
    """The prompt for the answer.

    `history` is what was said before `question`, and `summary` what was said before that; `standalone` is the question
    made to stand alone, for backends that do not read the conversation.
    """
    file = prompt_file("answer")
    once = "\nYou have already asked back once. Do not use [[ask]] again.\n" if asked_back else ""
    language = "the language of the customer's message"
    if persona.language:
        language = f"{persona.language.capitalize()}, whatever language the customer writes in"
    rules = file.filled(company=persona.company or "this company", language=language)
    # Last, so that the rules are the same beginning for all rooms.
    voice = f"\n\nHow you sound: {persona.voice.strip()}" if persona.voice.strip() else ""
    system = PromptMessage("system", rules + voice)

    def asking(hits: Sequence[Hit], tokens: int) -> PromptMessage:
        passages = "\n".join(_passage(number, hit) for number, hit in enumerate(hits, 1))
        asked = _message(question, attachments, tokens)
        return PromptMessage("user", f"<passages>\n{passages}\n</passages>\n{once}\n{asked}")

    whole = asking(found.hits, ATTACHMENT_TOKENS)
    trimmed = asking(found.hits, FEWER_ATTACHMENT_TOKENS)
    earlier = _history(history, summary)

    return Prompt(
        role="answer",
        # What stays the same from call to call comes first: providers charge less for a beginning they know.
        messages=(system, *earlier, whole),
        trimmed=(system, *earlier, trimmed) if trimmed != whole else (),
        shorter=(system, asking(found.hits[:FEWEST_PASSAGES], FEWER_ATTACHMENT_TOKENS)),
        question=standalone or question,
        retrieved=found,
        asked_back=asked_back,
        max_tokens=max_tokens,
        version=file.version,
    )


def rewrite_prompt(
    question: str,
    history: Sequence[Message],
    language: str,
    summary: str = "",
    attachments: Sequence[Attachment] = (),
) -> Prompt:
    """The prompt that makes a follow-up, or a question in another language than the documents, fit for search."""
    file = prompt_file("rewrite")
    return Prompt(
        role="rewrite",
        messages=(
            PromptMessage("system", file.filled(language=language)),
            _last_message(question, history, summary, attachments),
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
    question: str,
    history: Sequence[Message],
    language: str,
    *,
    company: str,
    summary: str = "",
    attachments: Sequence[Attachment] = (),
) -> Prompt:
    """The prompt that sorts a message and makes it fit for search. The reply is `{"intent": ..., "standalone": ...}`."""
    file = prompt_file("triage")
    return Prompt(
        role="triage",
        messages=(
            PromptMessage("system", file.filled(language=language, company=company or "this company")),
            _last_message(question, history, summary, attachments),
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
    trimmed = (*prompt.trimmed, *again) if prompt.trimmed else ()
    return replace(prompt, messages=(*prompt.messages, *again), trimmed=trimmed, shorter=(*prompt.shorter, *again))


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
        if (says_something(message.text) or any(one.text for one in message.attachments))
        and not withheld & {message.id, message.id.removesuffix("/reply")}
    )


def _conversation(history: Sequence[Message], summary: str) -> str:
    speakers = _speakers(history)
    said = "\n".join(f"{_speaker(message, speakers)}: {_said(message)}" for message in history[-HISTORY_MESSAGES:])
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
    speakers = _speakers(messages)
    several = _several(messages)
    told: list[PromptMessage] = []
    for message in messages[-HISTORY_MESSAGES:]:
        if message.role == "agent":
            told.append(PromptMessage("assistant", _said(message)))
            continue
        said = f"{_speaker(message, speakers)}: {_said(message)}" if several else _said(message)
        if told and told[-1].role == "user":
            # Some models' templates want the two to take turns.
            told[-1] = PromptMessage("user", f"{told[-1].content}\n{said}")
        else:
            told.append(PromptMessage("user", said))
    return earlier + told


def _speakers(messages: Sequence[Message]) -> dict[str, str]:
    """What each customer is called: by number from the second on, in the order in which they first spoke."""
    authors = dict.fromkeys(message.author for message in messages if message.role == "customer")
    return {author: f"Customer {number}" if number > 1 else "Customer" for number, author in enumerate(authors, 1)}


def _several(messages: Sequence[Message]) -> bool:
    """Whether more speak than the agent and one customer, so that it has to be said who said what."""
    return len({message.author for message in messages if message.role != "agent"}) > 1


def _speaker(message: Message, speakers: Mapping[str, str]) -> str:
    return speakers[message.author] if message.role == "customer" else "Staff" if message.role == "staff" else "You"


def by_speaker(messages: Sequence[Message], texts: Sequence[str], before: Sequence[Message]) -> str:
    """The texts of these messages, with who said each where that is not one customer, the only one so far."""
    all_said = [*before, *messages]
    speakers = _speakers(all_said)
    if not _several(all_said):
        return "\n".join(_by_nobody(text) for text in texts if text)
    said = zip(messages, texts, strict=True)
    return "\n".join(f"{_speaker(message, speakers)}: {_by_nobody(text)}" for message, text in said if text)


def _said(message: Message) -> str:
    text = shorten(message.text, HISTORY_CHARACTERS)
    text = as_data(text if message.role == "agent" else mask(text))
    files = (
        f"(attached {plain_name(one.name)}: {as_data(mask(telling_lines(one.text, length=HISTORY_CHARACTERS // 2)))})"
        for one in message.attachments[:3]
        if one.text
    )
    said = "\n".join(part for part in (text, *files) if part)
    return said if message.role == "agent" else _by_nobody(said)


def _by_nobody(text: str) -> str:
    """Text in which no line begins as if somebody else said it."""
    return _SPEAKER.sub(r"\1(\2)\3", text)


def _last_message(
    question: str, history: Sequence[Message], summary: str, attachments: Sequence[Attachment]
) -> PromptMessage:
    asked = _message(question, attachments, FEWEST_ATTACHMENT_TOKENS)
    return PromptMessage("user", f"{_conversation(history, summary)}{asked}")


def _message(question: str, attachments: Sequence[Attachment], tokens: int) -> str:
    """The question as data, with its attachments behind it: of what could be read, `tokens` at most."""
    files = [_attachment(one.name, f"(not read: {one.unread})") for one in attachments if one.unread and not one.text]
    del files[MOST_NOT_READ:]
    read = sorted((one for one in attachments if one.text), key=lambda one: len(one.text or ""))
    for number, one in enumerate(read):
        text = mask(one.text or "")
        share, needs = tokens // (len(read) - number), estimated_tokens(text)
        if needs > share:
            text = excerpt(text, len(text) * share // needs, log=reads_like_log(text, one.name))
        tokens = max(0, tokens - estimated_tokens(text))
        files.append(_attachment(one.name, text))
    return "\n".join(("<message>", as_data(mask(question)), *files, "</message>"))


def _attachment(name: str, text: str) -> str:
    return f'<attachment name="{plain_name(name)}">\n{as_data(text)}\n</attachment>'


def as_data(text: str) -> str:
    """Text that cannot close or open the marks around it. Nothing is taken out: what is left could make up a mark anew."""
    return _MARKUP.sub(lambda mark: f"({mark[0][1:]}", text)


def _passage(number: int, hit: Hit) -> str:
    title = as_data(" > ".join((hit.passage.title, *hit.passage.heading))).replace('"', "'").replace("\n", " ")[:200]
    date = f' updated="{hit.updated}"' if hit.updated else ""
    text = as_data(hit.passage.text[:PASSAGE_CHARACTERS])
    return f'<passage n="{number}" title="{title}"{date}>\n{text}\n</passage>'
