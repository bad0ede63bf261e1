"""Block Kit: what the agent's messages look like in Slack. Pure; every limit of Slack is kept by shortening words.

The numbers are those of Slack's reference (docs.slack.dev/reference/block-kit) and of the checks in slack_sdk 3.47.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agent.messages import Citation
from connectors import wording
from connectors.parts import clusters_end, split
from connectors.slack.outgoing import LONGEST_MARKDOWN, escape, for_markdown, for_mrkdwn, link

Block = dict[str, Any]

LONGEST_FALLBACK = 3_900
"""Characters of a `text`: Slack shows about 4,000 of it well."""
LONGEST_SECTION = 3_000
LONGEST_FIELD = 2_000
LONGEST_HEADER = 150
LONGEST_BUTTON = 75
LONGEST_VALUE = 2_000
LONGEST_URL = 3_000
MOST_CONTEXT = 10
_LONGEST_TITLE = 200
_LONGEST_SOURCE_URL = 2_000

FEEDBACK = "frontdesk_feedback"
PERSON = "frontdesk_person"
SOLVED = "frontdesk_solved"
SHARE = "frontdesk_share"
OPEN = "frontdesk_open"
HELPFUL = "helpful"
UNHELPFUL = "unhelpful"


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, with "…" for what is left out."""
    if len(text) <= limit:
        return text
    end = clusters_end(text, limit - 1) or limit - 1
    return text[:end].rstrip() + "…"


def shown(text: str, limit: int) -> str:
    """What somebody typed, as it stands, for mrkdwn, with at most `limit` characters once it is escaped."""
    escaped = escape(text)
    if len(escaped) <= limit:
        return escaped
    return re.sub(r"&[a-z]{0,4}…\Z", "…", shortened(escaped, limit))


def plain_text(text: str, limit: int) -> Block:
    """A plain text object; Slack refuses empty ones, so nothing becomes a dash."""
    return {"type": "plain_text", "text": shortened(" ".join(text.split()), limit) or "-", "emoji": True}


def mrkdwn(text: str) -> Block:
    """A text object of finished mrkdwn, which has links but previews nothing."""
    return {"type": "mrkdwn", "text": text or "-", "verbatim": True}


def button(words: str, action: str, value: str, *, style: str = "", url: str = "") -> Block:
    """A button, or a link that looks like one."""
    made: Block = {"type": "button", "text": plain_text(words, LONGEST_BUTTON), "action_id": action}
    if value:
        made["value"] = value[:LONGEST_VALUE]
    if url:
        made["url"] = url
    return {**made, "style": style} if style else made


# Answers --------------------------------------------------------------------------------------------------------------


def answer_blocks(
    markdown_part: str, citations: Sequence[Citation], turn: str, *, controls: bool = True, final_part: bool = True
) -> list[Block]:
    """An answer, or one part of it. The last part has the sources and, with `controls`, the buttons below."""
    blocks = _markdown(markdown_part)
    if final_part:
        blocks += _sources(citations)
        blocks += controls_blocks(turn) if controls else []
    return blocks


def closing_blocks(citations: Sequence[Citation], turn: str) -> list[Block]:
    """What stands below an answer that was streamed: its sources and the buttons."""
    return [*_sources(citations), *controls_blocks(turn)]


def controls_blocks(turn: str) -> list[Block]:
    """The thumbs, and buttons to a person and for what is solved."""
    feedback = {
        "type": "feedback_buttons",
        "action_id": FEEDBACK,
        "positive_button": _thumb(wording.HELPFUL, "This answer helped", f"{HELPFUL}|{turn}"),
        "negative_button": _thumb(wording.UNHELPFUL, "This answer did not help", f"{UNHELPFUL}|{turn}"),
    }
    return [
        {"type": "context_actions", "elements": [feedback]},
        {"type": "actions", "elements": [_person(turn), _solved(turn)]},
    ]


def private_blocks(markdown_part: str, citations: Sequence[Citation], turn: str) -> list[Block]:
    """An answer that only one person sees, with a button to show it to all."""
    share = button(wording.SHARE, SHARE, turn)
    return [
        *_markdown(markdown_part),
        *_sources(citations),
        {"type": "actions", "elements": [share, _person(turn)]},
    ]


def sources_mrkdwn(citations: Sequence[Citation]) -> str:
    """The citations, one on each line."""
    return "\n".join(map(_source, citations))


def plain_fallback(markdown: str, citations: Sequence[Citation]) -> str:
    """An answer with its sources as mrkdwn, for notifications and for when blocks are refused; 3,900 characters at most."""
    sources = list(map(_source, citations))
    while sources and sum(map(len, sources)) + len(sources) > LONGEST_FALLBACK // 2:
        sources.pop()
    below = "\n\n" + "\n".join(sources) if sources else ""
    room = LONGEST_FALLBACK - len(below)
    text = for_mrkdwn(markdown)
    limit = room
    while len(text) > room and limit > 50:
        # Escaping makes a text longer, so the Markdown is cut shorter than the room.
        limit = limit * 3 // 4 if limit < room else room - 2
        text = for_mrkdwn(next(iter(split(markdown[: 2 * LONGEST_FALLBACK], limit)), "")) + "\n…"
    return (text + below).strip() or "…"


def _markdown(part: str) -> list[Block]:
    text = for_markdown(part).strip("\n")
    if len(text) > LONGEST_MARKDOWN:
        text = next(iter(split(text, LONGEST_MARKDOWN - 2)), "") + "\n…"
    return [{"type": "markdown", "text": text}] if text.strip() else []


def _source(citation: Citation) -> str:
    url = citation.url or ""
    is_web = url.lower().startswith(("http://", "https://")) and len(url) <= _LONGEST_SOURCE_URL
    title = link(url if is_web else None, shortened(citation.title, _LONGEST_TITLE) or citation.document)
    updated = escape(shortened(citation.updated, 40)) if citation.updated else ""
    return f"[{citation.n}] {title}" + (f" · updated {updated}" if updated else "")


def _sources(citations: Sequence[Citation]) -> list[Block]:
    """A line of small print; what does not fit into ten elements shares the last one."""
    sources = list(map(_source, citations))
    if len(sources) > MOST_CONTEXT:
        last = sources[MOST_CONTEXT - 1]
        for source in sources[MOST_CONTEXT:]:
            if len(last) + len(source) > LONGEST_SECTION - 10:
                last += " · …"
                break
            last += "\n" + source
        sources = [*sources[: MOST_CONTEXT - 1], last]
    return [{"type": "context", "elements": list(map(mrkdwn, sources))}] if sources else []


def _thumb(words: str, label: str, value: str) -> Block:
    return {
        "text": plain_text(words, LONGEST_BUTTON),
        "accessibility_label": label,
        "value": value[:LONGEST_VALUE],
    }


def _person(turn: str) -> Block:
    return button(wording.PERSON, PERSON, turn)


def _solved(turn: str) -> Block:
    return button(wording.SOLVED, SOLVED, turn)


# People ---------------------------------------------------------------------------------------------------------------


def handoff_blocks(text: str, turn: str) -> list[Block]:
    """What a customer reads when a person takes over. `block_id` names the turn, so that the post can be told again."""
    words = [{**block, "block_id": f"handoff|{turn}"[:255]} for block in _markdown(text) or note_blocks("…")]
    return [*words, {"type": "actions", "elements": [_solved(turn)]}]


def ticket_blocks(
    *,
    number: int | str,
    customer: str,
    reason: str,
    question: str,
    summary: str,
    link: str | None,
    status: str,
) -> list[Block]:
    """A request for a person, for the staff. Whatever a customer typed is shown as text."""
    title = " ".join(question.split()) or summary or "no words"
    fields = [("Customer", customer), ("Reason", reason), ("Status", status)]
    blocks: list[Block] = [
        {"type": "header", "text": plain_text(f"Ticket #{number}: {title}", LONGEST_HEADER)},
        {
            "type": "section",
            "fields": [
                mrkdwn(f"*{name}*\n{shown(value, LONGEST_FIELD - 100)}") for name, value in fields if value.strip()
            ],
        },
    ]
    if not blocks[1]["fields"]:
        blocks.pop()
    if question.strip():
        blocks.append({"type": "section", "text": mrkdwn(_quote(question))})
    if summary.strip():
        blocks.append({"type": "section", "text": mrkdwn("*Summary*\n" + shown(summary.strip(), LONGEST_SECTION - 20))})
    if link and link.startswith(("https://", "http://")) and len(link) <= LONGEST_URL:
        blocks.append({"type": "actions", "elements": [button(wording.OPEN, OPEN, "", url=link)]})
    return blocks


def _quote(text: str) -> str:
    """A quotation of at most a section's length, as text."""
    lines = shown(text.strip(), LONGEST_SECTION * 3 // 4).split("\n")
    quoted = "\n".join(f"> {line}".rstrip() for line in lines[:100])
    return quoted if len(lines) <= 100 else quoted + "\n> …"


# Notes ----------------------------------------------------------------------------------------------------------------


def note_blocks(text: str) -> list[Block]:
    """A line of small print."""
    return [{"type": "context", "elements": [mrkdwn(shown(text, LONGEST_SECTION))]}]


def gone_blocks() -> list[Block]:
    """What stands in the place of an answer whose question was deleted."""
    return note_blocks("This answer was withdrawn because the question was deleted.")
