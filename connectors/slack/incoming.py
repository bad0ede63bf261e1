"""What a person wrote in Slack, as text. Pure, and made for events of any shape: it does not raise, and reads a bounded amount.

Slack delivers a message twice over: as `text`, with `&`, `<` and `>` escaped and `<...>` for links and mentions, and mostly
also as a `rich_text` block, which says more (lists, quotes, code) and is not escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 40_000
"""Characters of a message that are read: Slack's own limit for a text (chat.postMessage)."""
_MOST_ELEMENTS = 5_000
_MOST_ATTACHMENTS = 20
_LONGEST_NAME = 80

_TOKEN = re.compile(
    r"<(?:(?P<kind>[@#!])|(?=[a-z][a-z\d+.-]{0,30}:))(?P<value>[^<>|\s][^<>|\n]{0,3000})(?:\|(?P<label>[^<>\n]{0,3000}))?>",
    re.IGNORECASE,
)
_ESCAPED = re.compile(r"&(lt|gt|amp);")
_ESCAPES = {"lt": "<", "gt": ">", "amp": "&"}
_BOT = "\x00"
"""Stands for a mention of the bot until the space around it is tidied."""
_MARKS = {"bold": "**", "italic": "_", "strike": "~~"}


def text_of(event: Mapping[str, Any], *, bot_user: str = "", names: Mapping[str, str] | None = None) -> str:
    """What the customer wrote, as they meant it, in plain Markdown; messages they forwarded are quoted below.

    Mentions of `bot_user` are left out. `names` has the names of people, groups and channels by id; an id stands for itself.
    """
    reader = _Reader(bot_user, names if isinstance(names, Mapping) else {})
    parts = [_tidy(reader.message(_mapping(event)))]
    parts += (_tidy(reader.forwarded(item)) for item in _list(_mapping(event).get("attachments"))[:_MOST_ATTACHMENTS])
    return "\n\n".join(part for part in parts if part)[:LONGEST].rstrip()


def mentioned_people(event: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the people that a message mentions, each once, in the order of the message."""
    return _mentioned(event, "@", "user")


def mentioned_channels(event: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the channels that a message mentions, each once, in the order of the message."""
    return _mentioned(event, "#", "channel")


def _mentioned(event: Mapping[str, Any], mark: str, kind: str) -> tuple[str, ...]:
    event = _mapping(event)
    rich = list(_rich(event.get("blocks")))
    if rich:
        found = [
            _string(element.get(f"{kind}_id")) for element in _inline_elements(rich) if element.get("type") == kind
        ]
    else:
        text = _string(event.get("text"))[:LONGEST]
        found = [match["value"] for match in _TOKEN.finditer(text) if match["kind"] == mark]
    return tuple(dict.fromkeys(one for one in found if one))


@dataclass(frozen=True, slots=True)
class _Reader:
    bot_user: str
    names: Mapping[str, str]

    def message(self, message: Mapping[str, Any]) -> str:
        """The words of one message: of its blocks, else of its text."""
        return self._blocks(message.get("blocks")) or self.escaped(_string(message.get("text")))

    def _blocks(self, blocks: object) -> str:
        lines: list[str] = []
        size = 0
        for element in _rich(blocks):
            text = self._element(element)
            lines.append(text.removesuffix("\n"))
            size += len(text)
            if size > LONGEST:
                break
        text = "\n".join(lines)
        return text if text.strip() else ""

    def _element(self, element: Mapping[str, Any]) -> str:
        kind = element.get("type")
        if kind == "rich_text_list":
            return self._listed(element)
        text = self._section(element, styled=kind != "rich_text_preformatted")
        if kind == "rich_text_quote":
            return _quoted(text)
        if kind == "rich_text_preformatted":
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}\n{text.removesuffix(chr(10))}\n{fence}"
        return text

    def _listed(self, element: Mapping[str, Any]) -> str:
        number = _number(element.get("offset"), 100_000) + 1
        before = "   " * _number(element.get("indent"), 8)
        lines: list[str] = []
        for item in _list(element.get("elements"))[:_MOST_ELEMENTS]:
            mark = f"{number}. " if element.get("style") == "ordered" else "- "
            words = self._section(_mapping(item), styled=True).strip("\n")
            lines.append(before + mark + words.replace("\n", "\n" + before + "   "))
            number += 1
        return "\n".join(lines)

    def _section(self, section: Mapping[str, Any], *, styled: bool) -> str:
        shown: list[str] = []
        size = 0
        for item in _list(section.get("elements"))[:_MOST_ELEMENTS]:
            element = _mapping(item)
            text = self._inline(element)
            shown.append(_styled(text, _mapping(element.get("style"))) if styled else text)
            size += len(text)
            if size > LONGEST:
                break
        return "".join(shown)

    def _inline(self, element: Mapping[str, Any]) -> str:
        kind = element.get("type")
        if kind == "text":
            return _string(element.get("text"))[:LONGEST].replace(_BOT, "")
        if kind == "link":
            return _link(_string(element.get("url")), _string(element.get("text")))
        if kind == "emoji":
            return _emoji(_string(element.get("unicode"))) or f":{_string(element.get('name'))[:_LONGEST_NAME]}:"
        if kind == "user":
            return self._person(_string(element.get("user_id")), "")
        if kind == "channel":
            return self._named("#", _string(element.get("channel_id")), _string(element.get("name")))
        if kind == "usergroup":
            return self._named("@", _string(element.get("usergroup_id")), "")
        if kind == "team":
            return self._named("@", _string(element.get("team_id")), "")
        if kind == "broadcast":
            return "@" + _name(_string(element.get("range")))
        if kind == "date":
            return _string(element.get("fallback"))[:200] or str(_number(element.get("timestamp"), 10**11) or "")
        return _name(_string(element.get("value"))) if kind == "color" else ""

    def _person(self, user: str, label: str) -> str:
        return _BOT if user and user == self.bot_user else self._named("@", user, label)

    def _named(self, mark: str, identity: str, label: str) -> str:
        name = _name(_string(self.names.get(identity)) or label or identity).lstrip(mark)
        return mark + name if name else ""

    def escaped(self, text: str) -> str:
        """A text in Slack's escaped form as it was written."""
        text = text[: 2 * LONGEST].replace(_BOT, "")
        shown: list[str] = []
        at = 0
        for token in _TOKEN.finditer(text):
            shown += [_unescaped(text[at : token.start()]), self._token(token)]
            at = token.end()
        return "".join(shown) + _unescaped(text[at:])

    def _token(self, token: re.Match[str]) -> str:
        kind, value, label = token["kind"], token["value"], _unescaped(token["label"] or "")
        if kind == "@":
            return self._person(value, label)
        if kind == "#":
            return self._named("#", value, label)
        if kind == "!":
            command, _, rest = value.partition("^")
            if command == "subteam":
                return self._named("@", rest, label)
            return label if command == "date" and label else "@" + _name((label or command).lstrip("@"))
        return _link(_unescaped(value), label)

    def forwarded(self, item: object) -> str:
        """A message that was forwarded with this one, as a quotation; what Slack shows of a web page is left out."""
        attachment = _mapping(item)
        shared = attachment.get("is_share") or attachment.get("is_msg_unfurl") or attachment.get("message_blocks")
        if not shared and (attachment.get("service_name") or attachment.get("title_link")):
            return ""
        blocks = next((_mapping(part).get("message") for part in _list(attachment.get("message_blocks"))), None)
        text = self._blocks(_mapping(blocks).get("blocks")) or self.escaped(_string(attachment.get("text")))
        if not text.strip():
            return ""
        author = _name(_string(attachment.get("author_name")))
        url = _string(attachment.get("from_url"))
        origin = " ".join(part for part in (author, f"({url})" if _is_web(url) else "") if part)
        return _quoted((f"{origin}:\n" if origin else "") + text.strip("\n")[:LONGEST])


def _rich(blocks: object) -> Iterator[Mapping[str, Any]]:
    """The sections, lists and so on of all rich_text blocks."""
    left = _MOST_ELEMENTS
    for block in _list(blocks)[:100]:
        if _mapping(block).get("type") == "rich_text":
            for element in _list(_mapping(block).get("elements"))[:left]:
                left -= 1
                yield _mapping(element)


def _inline_elements(rich: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for element in rich:
        for item in _list(element.get("elements"))[:_MOST_ELEMENTS]:
            yield _mapping(item)
            if element.get("type") == "rich_text_list":
                yield from (_mapping(part) for part in _list(_mapping(item).get("elements"))[:_MOST_ELEMENTS])


def _styled(text: str, style: Mapping[str, Any]) -> str:
    """Text with marks around its words, not around the space at its ends."""
    words = text.strip()
    if not words or _BOT in text or not style:
        return text
    marked = words
    if style.get("code") is True and "`" not in words:
        marked = f"`{words}`"
    elif "\n" not in words:
        for kind, mark in _MARKS.items():
            marked = f"{mark}{marked}{mark}" if style.get(kind) is True else marked
    return text.replace(words, marked, 1)


def _link(url: str, label: str) -> str:
    url, label = url[:3000].strip(), " ".join(label[:3000].split())
    bare = re.sub(r"^(?:https?://|mailto:|tel:)", "", url, flags=re.IGNORECASE)
    if not url:
        return label
    if label.rstrip("/") in ("", url.rstrip("/"), bare.rstrip("/")):
        return label if label == bare and not _is_web(url) else url if _is_web(url) else bare
    return f"[{label}]({url})"


def _is_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://")) and not re.search(r"\s", url)


def _emoji(unicode: str) -> str:
    """The characters for `1f44d-1f3fb`; empty for what is none."""
    if not re.fullmatch(r"[0-9a-fA-F]{2,6}(?:-[0-9a-fA-F]{2,6}){0,15}", unicode):
        return ""
    codes = [int(code, 16) for code in unicode.split("-")]
    return "".join(map(chr, codes)) if all(32 <= code < 0xD800 or 0xDFFF < code <= 0x10FFFF for code in codes) else ""


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES[match[1]], text)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.removesuffix("\n").split("\n"))


def _tidy(text: str) -> str:
    """The text without the mentions of the bot, and without the space and the comma that belonged to them."""
    text = re.sub(rf"(?m)^([ \t>]{{0,40}}+)(?:{_BOT}[ \t]{{0,20}}+[,:;]?[ \t]{{0,20}}+)++", r"\1", text)
    text = re.sub(rf"[ \t]?{_BOT}(?=[\s.,:;?!)]|\Z)", "", text)
    return text.replace(_BOT + " ", "").replace(_BOT, "").strip()


def _name(text: str) -> str:
    return " ".join(text[: 4 * _LONGEST_NAME].replace(_BOT, "").split())[:_LONGEST_NAME]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object, most: int) -> int:
    return max(0, min(value, most)) if isinstance(value, int) and not isinstance(value, bool) else 0
