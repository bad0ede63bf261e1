"""What a person wrote in Discord, as text. Pure; it reads a bounded amount and does not raise, whatever was written.

Discord delivers what was typed: Markdown of its own kind, with ids in angle brackets for people, channels, emoji and times.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import discord

from agent.messages import Attachment
from agent.wording import TOO_LARGE

LONGEST = 8_000
"""Characters of a message that are read, with what it quotes. Discord's own limit for what is typed is 4,000."""
_LONGEST_QUOTE, _MOST_QUOTED_LINES = 600, 8
_LONGEST_NAME = 80
_LONGEST_FILE_NAME = 200
_MOST_FILES = 20
_MOST_EMBEDS = 10
_LARGEST_FILE = 25 * 1024 * 1024
VOICE = "I cannot listen to voice messages"
"""Why a voice message is not read."""

_CODE = re.compile(r"(?<!`)(`+)(?!`).*?[^`]\1(?!`)", re.DOTALL)
_STASHED = re.compile("\x00(\\d+)\x00")
_SPOILER = re.compile(r"\|\|(.+?)\|\|", re.DOTALL)
_ID = r"\d{15,20}"
_TOKEN = re.compile(
    r"(?<!\\)<(?:"
    rf"@!?(?P<user>{_ID})|@&(?P<role>{_ID})|#(?P<channel>{_ID})"
    rf"|a?:(?P<emoji>\w{{1,40}}):{_ID}"
    r"|t:(?P<time>-?\d{1,13})(?::(?P<style>[a-zA-Z]))?"
    rf"|/(?P<command>[^<>:\n]{{1,110}}):{_ID}"
    rf"|id:(?P<place>[a-z-]{{1,30}})(?::{_ID})?"
    r"|(?P<link>https?://[^\s<>]{1,3000})"
    r"|(?P<contact>[\w.+-]{1,64}@[\w.-]{1,255}|\+\d{3,20})"
    r")>"
)
_PLACES = {
    "customize": "Channels & Roles",
    "browse": "Browse Channels",
    "guide": "Server Guide",
    "linked-roles": "Linked Roles",
}
_DAYS = ("d", "D")
"""The styles of a time that show the day alone."""


def text_of(
    message: discord.Message, me: int, *, my_roles: Collection[int] = (), quotes_reply: bool = True, named: str = ""
) -> str:
    """What was written, as it was meant, in Markdown. What it replies to is quoted before it, what it forwards after it.

    A mention of the bot (`me`, or one of its roles) is left out at the beginning and at the end. `named` is the title of
    a forum's post, which stands above. What only the bot said is never quoted, nothing replied to without `quotes_reply`.
    """
    names = _Names.of(message)
    said = names.read(_without_me(message.content[:LONGEST], me, my_roles))
    replied = _replied_to(message, me) if quotes_reply else ""
    forwarded = [_forwarded(one, names) for one in message.message_snapshots]
    parts = [_plain(named), replied, said, *forwarded]
    if not (said or any(forwarded)):
        parts.append(_in_words(message, names))
    return "\n\n".join(part for part in parts if part)[:LONGEST].rstrip()


def files_of(message: discord.Message) -> tuple[Attachment, ...]:
    """The files of a message, and of those that it forwards. What cannot be read says why."""
    found = [*message.attachments, *(one for snapshot in message.message_snapshots for one in snapshot.attachments)]
    return tuple(attachment_of(one, f"{message.channel.id}/{message.id}/{one.id}") for one in found[:_MOST_FILES])


def attachment_of(file: discord.Attachment, where: str = "") -> Attachment:
    """One file; `where` is `<channel>/<message>/<attachment>`, where Discord tells its address anew, which expires.

    The `source` is `<where>|<address>`.
    """
    unread = VOICE if file.is_voice_message() else TOO_LARGE if file.size > _LARGEST_FILE else ""
    return Attachment(
        name=_file_name(file),
        media_type=(file.content_type or "").partition(";")[0].strip()[:_LONGEST_FILE_NAME],
        size=max(0, file.size),
        source=f"{where}|{file.url}",
        unread=unread,
    )


def _file_name(file: discord.Attachment) -> str:
    """The name that its owner gave it: Discord keeps letters that it does not like in the title alone."""
    name = file.filename.removeprefix("SPOILER_")
    if file.title:
        suffix = re.search(r"\.\w{1,10}\Z", name)
        ending = suffix[0] if suffix else ""
        name = file.title if file.title.endswith(ending) else file.title + ending
    return " ".join(name[:_LONGEST_FILE_NAME].split()) or "file"


# Markup ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Names:
    """Who and what the ids in a message stand for."""

    people: Mapping[int, str] = field(default_factory=dict)
    roles: Mapping[int, str] = field(default_factory=dict)
    guild: discord.Guild | None = None

    @classmethod
    def of(cls, message: discord.Message) -> _Names:
        people = {one.id: one.display_name for one in message.mentions}
        return cls(people, {one.id: one.name for one in message.role_mentions}, message.guild)

    def read(self, text: str) -> str:
        """Text with names instead of ids, and without what hides words. Code stays as it is."""
        code: list[str] = []

        def stash(match: re.Match[str]) -> str:
            code.append(match[0])
            return f"\x00{len(code) - 1}\x00"

        text = _CODE.sub(stash, text.replace("\x00", ""))
        text = _SPOILER.sub(r"\1", _TOKEN.sub(self._meaning, text))
        return _STASHED.sub(lambda match: code[int(match[1])], text).strip()

    def _meaning(self, match: re.Match[str]) -> str:
        kind, value = match.lastgroup, ""
        if kind == "style":
            kind = "time"
        if kind is not None:
            value = match[kind]
        if kind == "time":
            return _time(int(value), match["style"] or "f") or match[0]
        if kind == "emoji":
            return f":{value}:"
        if kind == "command":
            return f"/{value}"
        if kind == "place":
            return _PLACES.get(value, value)
        if kind in ("link", "contact"):
            return value
        return self._name(kind or "", int(value))

    def _name(self, kind: str, snowflake: int) -> str:
        if kind == "user":
            member = self.guild.get_member(snowflake) if self.guild is not None else None
            return f"@{_plain(self.people.get(snowflake) or (member.display_name if member else '')) or 'unknown-user'}"
        if kind == "role":
            role = self.guild.get_role(snowflake) if self.guild is not None else None
            return f"@{_plain(self.roles.get(snowflake) or (role.name if role else '')) or 'unknown-role'}"
        channel = self.guild.get_channel_or_thread(snowflake) if self.guild is not None else None
        return f"#{_plain(channel.name if channel else '') or 'unknown-channel'}"


def _time(seconds: int, style: str) -> str:
    """A time as everybody reads it; empty when it is beyond all calendars."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return ""
    return f"{moment:%Y-%m-%d}" if style in _DAYS else f"{moment:%Y-%m-%d %H:%M} UTC"


def _without_me(text: str, me: int, my_roles: Collection[int]) -> str:
    """The text without the mentions that only call the bot: those at its beginning and at its end."""
    one = "|".join([rf"<@!?{me}>", *(rf"<@&{role}>" for role in my_roles)])
    text = re.sub(rf"\A\s*(?:(?:{one})(?:[,:;](?!\S))?\s*)+", "", text).strip()
    last = re.compile(rf"(?:{one})\s*([?!.…]*)\Z")
    while (found := last.search(text)) is not None:
        text = text[: found.start()].rstrip(" \t\n,") + found[1]
    return text


# What else a message is -----------------------------------------------------------------------------------------------


def _replied_to(message: discord.Message, me: int) -> str:
    """What a message replies to, if somebody else than the bot said it."""
    reference = message.reference
    if reference is None or reference.type is not discord.MessageReferenceType.reply:
        return ""
    origin = reference.resolved
    if not isinstance(origin, discord.Message) or origin.author.id == me:
        return ""
    names = _Names.of(origin)
    words = names.read(origin.content[:LONGEST]) or _in_words(origin, names)
    if not words and origin.attachments:
        words = ", ".join(f"[{_file_name(file)}]" for file in origin.attachments[:_MOST_FILES])
    if not words:
        words = "\n".join(filter(None, (_words_of(one, names) for one in origin.message_snapshots)))
    return (
        _quoted(f"{_plain(origin.author.display_name)}: {words}", _LONGEST_QUOTE, _MOST_QUOTED_LINES) if words else ""
    )


def _forwarded(snapshot: discord.MessageSnapshot, names: _Names) -> str:
    words = _words_of(snapshot, names)
    return _quoted(words, LONGEST, LONGEST) if words else ""


def _words_of(snapshot: discord.MessageSnapshot, names: _Names) -> str:
    return names.read(snapshot.content[:LONGEST]) or _in_words(snapshot, names)


def _in_words(message: discord.Message | discord.MessageSnapshot, names: _Names) -> str:
    """What a message without text is."""
    found = [f"[Sticker: {_plain(one.name)}]" for one in message.stickers]
    if isinstance(message, discord.Message) and message.poll is not None:
        found.append(_poll(message.poll))
    if any(one.is_voice_message() for one in message.attachments):
        found.append("[Voice message]")
    found += ("\n".join(_embed(one, names)) for one in message.embeds[:_MOST_EMBEDS])
    return "\n".join(part for part in found if part)


def _poll(poll: discord.Poll) -> str:
    answers = " / ".join(_plain(one.text) for one in poll.answers if one.text)
    return f"[Poll: {' '.join((poll.question or '').split())[:300]}{f' ({answers})' if answers else ''}]"


def _embed(embed: discord.Embed, names: _Names) -> Iterator[str]:
    for text in (embed.title, embed.description):
        if text:
            yield names.read(text[:LONGEST])
    for one in embed.fields:
        yield names.read(f"{one.name or ''}: {one.value or ''}"[:LONGEST])


def _quoted(text: str, longest: int, most_lines: int) -> str:
    short = text[:longest].rstrip()
    lines = short.split("\n")
    if len(lines) > most_lines or len(short) < len(text.rstrip()):
        lines = lines[:most_lines]
        lines[-1] += " …"
    return "\n".join(f"> {line}".rstrip() for line in lines)


def _plain(name: str) -> str:
    """A name in one line."""
    return " ".join(name[: 4 * _LONGEST_NAME].split())[:_LONGEST_NAME]
