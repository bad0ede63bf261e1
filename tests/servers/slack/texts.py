"""Texts of messages: from blocks to what people read, and from what people type to rich text."""

from __future__ import annotations

import re
from typing import Any

from tests.servers.slack.state import Json, Message

# Where the texts of blocks and elements stand, in the order in which they are read.
_PARTS: tuple[str, ...] = (
    "title",
    "subtitle",
    "text",
    "body",
    "fields",
    "label",
    "details",
    "output",
    "sources",
    "elements",
    "element",
)
_PARTS += ("positive_button", "negative_button", "accessory", "tasks", "rows", "blocks", "child_blocks", "actions")

# What pings somebody, wherever it stands in mrkdwn or markdown that was not escaped.
PING = re.compile(r"<!(?:channel|here|everyone)(?:\|[^>]*)?>|<!subteam\^[^>]+>|<@[A-Z0-9]+(?:\|[^>]*)?>")
LINK = re.compile(r"https?://\S+")
_TOKEN = re.compile(
    r"<@(?P<user>[A-Z0-9]+)(?:\|[^>]*)?>"
    r"|<#(?P<channel>[A-Z0-9]+)(?:\|[^>]*)?>"
    r"|<!(?P<range>channel|here|everyone)>"
    r"|<!subteam\^(?P<group>[A-Z0-9]+)(?:\|[^>]*)?>"
    r"|<(?P<given>(?:https?://|mailto:)[^<>|\s]+)(?:\|(?P<label>[^<>]*))?>"
    r"|(?P<link>https?://[^\s<>|]+)"
)


def text_of_blocks(blocks: list[Json] | None) -> str:
    """All that people read in the blocks, line by line."""
    return "\n".join(line for block in blocks or () for line in _lines(block) if line)


def _lines(value: Any) -> list[str]:
    if isinstance(value, list):
        return [line for part in value for line in _lines(part)]
    if not isinstance(value, dict):
        return []
    kind = value.get("type", "")
    if kind in {"rich_text_section", "rich_text_preformatted", "rich_text_quote"}:
        return ["".join(_inline(part) for part in value.get("elements", ()))]
    if kind == "image":
        return [value.get("alt_text", "")]
    if isinstance(value.get("text"), str) and kind in {"plain_text", "mrkdwn", "markdown", "raw_text"}:
        return [value["text"]]
    lines: list[str] = []
    for name in _PARTS:
        part = value.get(name)
        lines += [part] if isinstance(part, str) and name in {"title", "text", "body"} else _lines(part)
    return lines


def _inline(part: Json) -> str:
    kind = part.get("type")
    forms = {"user": "<@{user_id}>", "channel": "<#{channel_id}>", "emoji": ":{name}:", "broadcast": "<!{range}>"}
    if kind in forms:
        return forms[kind].format(**part)
    if kind == "usergroup":
        return f"<!subteam^{part['usergroup_id']}>"
    if kind == "link":
        return str(part.get("text") or part["url"])
    return str(part.get("text", ""))


def visible_text(message: Message) -> str:
    """What a customer reads: the blocks where there are any, or else the text; then tasks and attachments."""
    parts = [text_of_blocks(message.blocks) if message.blocks else message.text]
    if message.streaming and message.blocks and message.text:
        parts.insert(0, message.text)
    parts += [message.plan] if message.plan else []
    parts += [
        " ".join(filter(None, map(str, (task.get("title"), task.get("details"))))) for task in message.tasks.values()
    ]
    parts += [str(item.get("text") or item.get("fallback") or "") for item in message.attachments]
    return "\n".join(part for part in parts if part)


def pings_of(message: Message) -> list[str]:
    """The mentions of a message that would notify somebody."""
    texts = [message.text, message.plan]
    texts += [str(task.get(name) or "") for task in message.tasks.values() for name in ("title", "details", "output")]
    texts += [str(item.get("text") or "") for item in message.attachments]
    found = [ping for text in texts for ping in PING.findall(text)]
    return found + _pings(message.blocks or [])


def _pings(value: Any) -> list[str]:
    if isinstance(value, list):
        return [ping for part in value for ping in _pings(part)]
    if not isinstance(value, dict):
        return []
    kind = value.get("type")
    if kind in {"mrkdwn", "markdown"}:
        return PING.findall(str(value.get("text")))
    if kind in {"user", "usergroup", "broadcast"}:
        return [_inline(value)]
    return [ping for part in value.values() for ping in _pings(part)]


def rich_text(text: str, block_id: str) -> list[Json]:
    """The blocks that Slack's own clients make of what a person types."""
    elements: list[Json] = []
    at = 0
    for match in _TOKEN.finditer(text):
        if match.start() > at:
            elements.append({"type": "text", "text": _plain(text[at : match.start()])})
        elements.append(_token(match))
        at = match.end()
    if at < len(text):
        elements.append({"type": "text", "text": _plain(text[at:])})
    section = {"type": "rich_text_section", "elements": elements}
    return [{"type": "rich_text", "block_id": block_id, "elements": [section]}]


def _token(match: re.Match[str]) -> Json:
    if match["user"]:
        return {"type": "user", "user_id": match["user"]}
    if match["channel"]:
        return {"type": "channel", "channel_id": match["channel"]}
    if match["range"]:
        return {"type": "broadcast", "range": match["range"]}
    if match["group"]:
        return {"type": "usergroup", "usergroup_id": match["group"]}
    label = {"text": match["label"]} if match["label"] else {}
    return {"type": "link", "url": match["given"] or match["link"], **label}


def typed(text: str) -> str:
    """The `text` of an event for what a person typed: links in angle brackets, and &, < and > escaped."""
    parts, at = [], 0
    for match in _TOKEN.finditer(text):
        parts += [_escaped(text[at : match.start()]), f"<{match['link']}>" if match["link"] else match[0]]
        at = match.end()
    return "".join([*parts, _escaped(text[at:])])


def _escaped(text: str) -> str:
    text = re.sub(r"&(?!amp;|lt;|gt;)", "&amp;", text)
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _plain(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
