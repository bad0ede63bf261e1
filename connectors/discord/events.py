"""From what Discord delivers to what the agent hears. Pure.

A message is `discord:GUILD/CHANNEL#SNOWFLAKE`, with the channel that a thread belongs to, so that a question and the thread
that is made from it are one conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import discord

from agent.messages import Address, Deleted, Edited, Message
from connectors.discord.ids import message_id
from connectors.discord.incoming import LONGEST, files_of, text_of
from connectors.discord.rooms import RoomFacts

_SAID = (discord.MessageType.default, discord.MessageType.reply)
"""What people say; all other types are Discord's own notes, or a bot's."""
_TALKED_IN = ("text", "news", "voice", "dm", "public_thread", "private_thread", "news_thread")
"""Not in stages, nor in groups of people."""


@dataclass(frozen=True, slots=True)
class Me:
    """Who the bot is: its user, and its own roles in the server, by which it can be mentioned as well."""

    user: int
    roles: frozenset[int] = frozenset()


def hear(
    message: discord.Message,
    room: RoomFacts,
    me: Me,
    *,
    thread_of: str = "",
    in_place: bool = False,
    staff: bool = False,
    outsiders: bool = True,
) -> Message | None:
    """What a person said, or None when it is nothing to the agent.

    `thread_of` is the thread of the conversation that the message replied to belongs to (see `replied_to`), empty when that is
    not known. `in_place`: questions in this channel are answered in it, not in a thread. `staff`: the author is one of the
    staff, which counts in servers only. `outsiders`: people from outside read along.

    The first message of a forum's post begins a thread like a question in a channel: it is `addressed` only when it mentions the
    bot, but it `asks`: whether it is answered is for `agent.rooms`. Its text begins with the title and ends with the tags.
    """
    if room.kind not in _TALKED_IN or not is_said_by_person(message, me):
        return None
    direct = room.kind == "dm"
    addressed = direct or mentions_me(message, me)
    address = _address(room, message.id, thread_of)
    text, attachments = _text(message, room, me, quotes=address.thread != thread_of), files_of(message)
    if not (text or attachments or addressed):
        return None
    answered_here = in_place or room.kind == "voice" or address.thread != str(message.id)
    return Message(
        id=message_id(address, message.id),
        address=address,
        author=str(message.author.id),
        role="staff" if staff and not direct else "customer",
        text=text,
        sent_at=message.created_at,
        attachments=attachments,
        addressed=addressed,
        to_others=not addressed and _is_to_others(message, me),
        outsiders=outsiders,
        joins=direct,
        asks=_begins_post(message.id, room),
        reply_in=room.room if not room.thread and (direct or answered_here) else "",
    )


def edited(message: discord.Message, room: RoomFacts, me: Me, *, thread_of: str = "") -> Edited | None:
    """What a person changed in a message, or None when nobody did: Discord tells as well of a link that it shows below.

    A message that the bot may not read is not one whose words were taken away.
    """
    if room.kind not in _TALKED_IN or message.edited_at is None or not is_said_by_person(message, me):
        return None
    if not is_readable(message):
        return None
    address = _address(room, message.id, thread_of)
    text = _text(message, room, me, quotes=address.thread != thread_of)
    return Edited(message_id(address, message.id), address, text, message.edited_at)


def deleted(message: int, room: RoomFacts, at: datetime, *, thread_of: str = "") -> Deleted | None:
    """That a message was deleted. Discord does not say whose it was."""
    if room.kind not in _TALKED_IN:
        return None
    address = _address(room, message, thread_of)
    return Deleted(message_id(address, message), address, at)


def is_said_by_person(message: discord.Message, me: Me) -> bool:
    """Whether a person wrote the message: no bot, webhook, or Discord itself, and not the agent."""
    author = message.author
    if author.bot or author.system or author.id == me.user or message.webhook_id is not None:
        return False
    return message.type in _SAID


def mentions_me(message: discord.Message, me: Me) -> bool:
    """Whether it is said to the bot: it is mentioned, or its role, or a reply to one of its messages pings it.

    @everyone and @here mention nobody.
    """
    return any(one.id == me.user for one in message.mentions) or not me.roles.isdisjoint(_roles(message))


def is_readable(message: discord.Message) -> bool:
    """Whether Discord tells what is in a message; without the intent for message content, it is empty."""
    found = (message.content, message.attachments, message.embeds, message.stickers, message.message_snapshots)
    return any(found) or message.poll is not None


def replied_to(message: discord.Message) -> int:
    """The snowflake of the message in the same channel that this one replies to, 0 when it replies to none."""
    reference = message.reference
    if reference is None or reference.type is not discord.MessageReferenceType.reply:
        return 0
    return reference.message_id or 0 if reference.channel_id == message.channel.id else 0


def role_ids(message: discord.Message) -> list[int] | None:
    """The roles of the author, or None when the message does not tell: one that was read from the history."""
    author = message.author
    return [one.id for one in author.roles] if isinstance(author, discord.Member) else None


def _address(room: RoomFacts, message: int, thread_of: str) -> Address:
    """The conversation that a message belongs to. One that is seen by one person alone does not go on where all read."""
    if room.thread or room.kind == "dm" or not thread_of.isdecimal():
        return Address("discord", room.space, room.room, room.thread or str(message))
    return Address("discord", room.space, room.room, thread_of)


def _text(message: discord.Message, room: RoomFacts, me: Me, *, quotes: bool) -> str:
    """The words of a message, with the title and the tags of a post that begins with it."""
    if not _begins_post(message.id, room):
        return text_of(message, me.user, my_roles=me.roles, quotes_reply=quotes)
    text = text_of(message, me.user, my_roles=me.roles, quotes_reply=quotes, named=room.name)
    topics = f"Topics: {', '.join(room.topics)}" if room.topics else ""
    return f"{text[: LONGEST - len(topics) - 2]}\n\n{topics}".strip()


def _begins_post(message: int, room: RoomFacts) -> bool:
    """Whether it is the first message of a forum's post."""
    return room.is_post and room.thread == str(message)


def _is_to_others(message: discord.Message, me: Me) -> bool:
    """Whether it mentions somebody else, or replies to another person."""
    if any(one.id not in (me.user, message.author.id) for one in message.mentions) or _roles(message) - me.roles:
        return True
    origin = message.reference.resolved if replied_to(message) and message.reference is not None else None
    if not isinstance(origin, discord.Message) or origin.author.bot or origin.webhook_id is not None:
        return False
    return origin.author.id != message.author.id


def _roles(message: discord.Message) -> frozenset[int]:
    """The roles that a message mentions."""
    if message.guild is None:
        return frozenset(message.raw_role_mentions)
    return frozenset(one.id for one in message.role_mentions)
