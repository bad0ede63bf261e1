"""Buttons, embeds and forms: what stands around a reply in Discord. Pure, plain dicts as in Discord's REST.

The limits are those of Discord's reference (docs.discord.com/developers/components/reference and
resources/message, Embed Limits); all are kept by shortening words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from agent.messages import Citation
from connectors import wording
from connectors.discord.outgoing import LONGEST, escape, link, shortened, units
from connectors.discord.phrases import clean
from connectors.wording import SETTING_NAMES

__all__ = [
    "SETTING_NAMES",
    "answer_components",
    "ask_modal",
    "custom_id",
    "draft_components",
    "handoff_components",
    "parse",
    "private_components",
    "reason_modal",
    "settings_modal",
    "sources_embed",
    "sources_text",
    "ticket_components",
    "ticket_embed",
    "values_of",
]

Component = dict[str, Any]

LONGEST_ID = 100
LONGEST_BUTTON = 80
LONGEST_BUTTON_URL = 512
LONGEST_DESCRIPTION = 4_096
LONGEST_EMBED_TITLE = 256
LONGEST_FIELD = 1_024
LONGEST_MODAL_TITLE = 45
LONGEST_LABEL = 45
LONGEST_HINT = 100
LONGEST_OPTION = 100
LONGEST_INPUT = 3_000
"""Less than Discord's 4,000: what was typed is part of a message to be answered."""
_LONGEST_TITLE = 100
_LONGEST_SOURCE_URL = 1_000
_MOST_NESTED = 8
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_ROW, _BUTTON, _SELECT, _TEXT_INPUT, _LABEL = 1, 2, 3, 4, 18
_SECONDARY, _LINK = 2, 5
_SHORT, _PARAGRAPH = 1, 2

HELPFUL = "helpful"
UNHELPFUL = "unhelpful"
PERSON = "person"
SOLVED = "solved"
STOP = "stop"
SHARE = "share"
REASON = "reason"
ASK = "ask"
SETTINGS = "settings"

_BUTTONS: dict[str, tuple[str, str]] = {
    HELPFUL: (wording.HELPFUL, "👍"),
    UNHELPFUL: (wording.UNHELPFUL, "👎"),
    PERSON: (wording.PERSON, "🙋"),
    SOLVED: (wording.SOLVED, "✅"),
    STOP: (wording.STOP, "⏹️"),
    SHARE: (wording.SHARE, "📣"),
}
_CUSTOM_ID = re.compile(r"fd:([a-z]{1,20}):(.{1,100})", re.DOTALL)


# Buttons --------------------------------------------------------------------------------------------------------------


def custom_id(action: str, turn: str) -> str:
    """What Discord gives back when a button is pressed or a form is sent."""
    return f"fd:{action}:{turn}"[:LONGEST_ID]


def parse(custom_id: str) -> tuple[str, str] | None:
    """The action and the turn of a `custom_id`; `None` for one that is not ours."""
    found = _CUSTOM_ID.fullmatch(custom_id)
    return (found[1], found[2]) if found else None


def answer_components(turn: str) -> list[Component]:
    """What stands below an answer that all may see."""
    return _row(turn, HELPFUL, UNHELPFUL, PERSON, SOLVED)


def handoff_components(turn: str) -> list[Component]:
    """What stands below the words that a person takes over."""
    return _row(turn, SOLVED)


def draft_components(turn: str) -> list[Component]:
    """What stands below an answer that is still being written."""
    return _row(turn, STOP)


def private_components(turn: str) -> list[Component]:
    """What stands below an answer that only one person sees."""
    return _row(turn, SHARE, PERSON, HELPFUL, UNHELPFUL)


def ticket_components(link: str | None) -> list[Component]:
    """What stands below a ticket: the way to the conversation, if there is one."""
    if not _is_web(link, LONGEST_BUTTON_URL):
        return []
    return [{"type": _ROW, "components": [{"type": _BUTTON, "style": _LINK, "label": wording.OPEN, "url": link}]}]


def _row(turn: str, *actions: str) -> list[Component]:
    return [{"type": _ROW, "components": [_button(action, turn) for action in actions]}]


def _button(action: str, turn: str) -> Component:
    words, emoji = _BUTTONS[action]
    return {
        "type": _BUTTON,
        "style": _SECONDARY,
        "label": shortened(words, LONGEST_BUTTON),
        "emoji": {"name": emoji},
        "custom_id": custom_id(action, turn),
    }


# Sources --------------------------------------------------------------------------------------------------------------


def sources_embed(citations: Sequence[Citation]) -> dict[str, Any]:
    """The citations as an embed, one on each line; empty without any."""
    text = _lines(map(_source, citations), LONGEST_DESCRIPTION)
    return {"description": text} if text else {}


def sources_text(citations: Sequence[Citation], limit: int = LONGEST) -> str:
    """The citations as small print, for where embeds are not allowed; at most `limit` units."""
    return _lines((f"-# {_source(citation)}" for citation in citations), limit, more="-# …")


def _source(citation: Citation) -> str:
    title = shortened(_words(citation.title) or _words(citation.document) or "-", _LONGEST_TITLE)
    url = citation.url if _is_web(citation.url, _LONGEST_SOURCE_URL) else None
    updated = f" · {escape(_day(citation.updated))}" if citation.updated else ""
    return f"[{citation.n}] {link(url, title)}{updated}"


def _day(updated: str) -> str:
    """A day as people write it: 3 Mar 2026."""
    try:
        day = date.fromisoformat(updated.strip()[:10])
    except ValueError:
        return shortened(updated, 40)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _lines(lines: Iterable[str], limit: int, *, more: str = "…") -> str:
    """As many lines as there is room for."""
    shown, room = "", limit - units(more) - 1
    for line in lines:
        if units(shown) + units(line) + 1 > room:
            return f"{shown}\n{more}" if shown else shortened(line, limit)
        shown += f"\n{line}" if shown else line
    return shown


def _is_web(url: str | None, longest: int) -> bool:
    return bool(url and re.match(r"https?://[^\s/]", url, re.IGNORECASE) and not re.search(r"\s", url)) and (
        units(url or "") <= longest
    )


# Tickets --------------------------------------------------------------------------------------------------------------


def ticket_embed(
    *,
    number: int | str,
    customer: str,
    reason: str,
    question: str,
    summary: str,
    link: str | None,
    status: str,
) -> dict[str, Any]:
    """A request for a person, for the staff. Whatever a customer typed is shown as text."""
    title = _words(question) or _words(summary) or "no words"
    embed: dict[str, Any] = {"title": _fitting(f"Ticket #{number}: {shortened(title, 150)}", LONGEST_EMBED_TITLE)}
    if _is_web(link, 2_000):
        embed["url"] = link
    if _words(question):
        embed["description"] = _quote(question, 2_000)
    short = (("Customer", customer), ("Reason", reason), ("Status", status))
    fields = [_field(name, _fitting(value, 250), inline=True) for name, value in short if _words(value)]
    if _words(summary):
        fields.append(_field("Summary", _paragraphs(summary, LONGEST_FIELD)))
    return {**embed, "fields": fields} if fields else embed


def _field(name: str, value: str, *, inline: bool = False) -> dict[str, Any]:
    return {"name": name, "value": value, "inline": inline}


def _words(text: str) -> str:
    """Text in one line; empty when there is nothing in it to be seen."""
    return " ".join(clean(text).split())


def _fitting(text: str, limit: int) -> str:
    """Plain words of one line; at most `limit` units once they are escaped."""
    room = limit
    while units(shown := escape(shortened(text, room))) > limit:
        room = room * limit // units(shown) - 1
    return shown


def _paragraphs(text: str, limit: int, *, before: str = "") -> str:
    """Plain words of several lines, each with `before` in front."""
    shown: list[str] = []
    room = limit - units(before) - 2
    for line in clean(text).strip().split("\n"):
        room -= units(before) + 1
        if room < 1:
            shown.append(f"{before}…")
            break
        shown.append(before + _fitting(line, room))
        room -= units(shown[-1]) - units(before)
    return "\n".join(shown)


def _quote(text: str, limit: int) -> str:
    return _paragraphs(text, limit, before="> ")


# Forms ----------------------------------------------------------------------------------------------------------------


def reason_modal(turn: str) -> dict[str, Any]:
    """Asks why an answer did not help."""
    field = _input("reason", wording.REASON_QUESTION, style=_PARAGRAPH)
    return _modal(REASON, turn, wording.REASON_TITLE, [field])


def ask_modal(key: str = "", question: str = "") -> dict[str, Any]:
    """Asks for a question. `key` comes back in the form's `custom_id`."""
    field = _input("question", wording.ASK_QUESTION, value=question, style=_PARAGRAPH)
    return _modal(ASK, key, wording.ASK_TITLE, [field])


def settings_modal(channel_name: str, current: Mapping[str, str], key: str) -> dict[str, Any]:
    """How the agent behaves in one channel, as it is now. `key` comes back in the form's `custom_id`."""
    chosen = current.get("mode") or wording.MODES[0][0]
    options: list[Component] = [
        {"label": shortened(words, LONGEST_OPTION), "value": value, **({"default": True} if value == chosen else {})}
        for value, words in wording.MODES
    ]
    select: Component = {"type": _SELECT, "custom_id": "mode", "options": options}
    fields = [
        {"type": _LABEL, "label": wording.MODE_LABEL, "component": select},
        *(
            _input(name, label, value=" ".join(current.get(name, "").split()), hint=hint, required=False)
            for name, label, hint in wording.SETTING_WORDS
        ),
    ]
    title = f"{wording.SETTINGS_TITLE} of #{' '.join(channel_name.split()).lstrip('#')}"
    return _modal(SETTINGS, key, title, fields)


def values_of(data: Mapping[str, Any]) -> dict[str, str]:
    """What was put into a form, by name, whatever the shape. `data` is that of the interaction."""
    found: dict[str, str] = {}
    _collect(data.get("components") if isinstance(data, Mapping) else None, found, _MOST_NESTED)
    return found


def _collect(part: object, found: dict[str, str], depth: int) -> None:
    if isinstance(part, Sequence) and not isinstance(part, str | bytes) and depth:
        for item in part[:25]:
            _collect(item, found, depth - 1)
    if not isinstance(part, Mapping) or not depth:
        return
    name, value, chosen = part.get("custom_id"), part.get("value"), part.get("values")
    if value is None and isinstance(chosen, Sequence) and not isinstance(chosen, str | bytes):
        value = chosen[0] if chosen else ""
    if isinstance(name, str) and isinstance(value, str):
        found[name] = value.strip()[:LONGEST_INPUT]
    _collect(part.get("components"), found, depth - 1)
    _collect(part.get("component"), found, depth - 1)


def _modal(action: str, key: str, title: str, fields: list[Component]) -> dict[str, Any]:
    return {
        "custom_id": custom_id(action, key),
        "title": shortened(title, LONGEST_MODAL_TITLE),
        "components": fields,
    }


def _input(
    name: str, label: str, *, value: str = "", hint: str = "", style: int = _SHORT, required: bool = True
) -> Component:
    element: Component = {
        "type": _TEXT_INPUT,
        "custom_id": name,
        "style": style,
        "max_length": LONGEST_INPUT,
        "required": required,
    }
    if value:
        element["value"] = shortened(value, LONGEST_INPUT)
    made: Component = {"type": _LABEL, "label": shortened(label, LONGEST_LABEL), "component": element}
    return {**made, "description": shortened(hint, LONGEST_HINT)} if hint else made
