"""What has to be known besides a message before it is heard: its room, who wrote it, and the conversation it belongs to."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import discord

from agent.messages import Deleted, Edited, Message
from connectors.discord.desk import Desk
from connectors.discord.errors import Refused
from connectors.discord.events import Me, deleted, edited, hear, is_said_by_person, replied_to, role_ids
from connectors.discord.ids import DIRECT
from connectors.discord.rooms import RoomFacts

_log = logging.getLogger(__name__)


async def heard(desk: Desk, message: discord.Message, guild: int | None) -> Message | None:
    """What a person said; None when it is nothing to the agent. Raises what a look-up in Discord or in the store does."""
    found = await _of_person(desk, message, guild)
    if found is None:
        return None
    room, me = found
    staff = await desk.people.is_staff(room.space, message.author.id, role_ids(message))
    return hear(
        message,
        room,
        me,
        thread_of=await _thread_of(desk, room, replied_to(message)),
        in_place=await _in_place(desk, room),
        staff=staff,
        outsiders=not staff if room.space == DIRECT else room.everyone_sees,
    )


async def changed(desk: Desk, message: discord.Message, guild: int | None) -> Edited | None:
    """What a person changed; None when it is nothing to the agent. Raises like `heard`."""
    found = await _of_person(desk, message, guild) if message.edited_at is not None else None
    if found is None:
        return None
    room, me = found
    return edited(message, room, me, thread_of=await _thread_of(desk, room, replied_to(message)))


async def gone(desk: Desk, message: int, channel: int, guild: int | None) -> Deleted | None:
    """That a message was deleted; None when it is nothing to the agent. Raises like `heard`."""
    room = await _room(desk, channel, guild)
    if room is None:
        return None
    return deleted(message, room, datetime.now(UTC), thread_of=await _thread_of(desk, room, message))


async def _of_person(desk: Desk, message: discord.Message, guild: int | None) -> tuple[RoomFacts, Me] | None:
    if not is_said_by_person(message, Me(desk.rest.user_id)):
        return None
    room = await _room(desk, message.channel.id, guild)
    if room is None:
        return None
    role = await desk.rooms.own_role(guild) if guild is not None else 0
    return room, Me(desk.rest.user_id, frozenset({role} - {0}))


async def _room(desk: Desk, channel: int, guild: int | None) -> RoomFacts | None:
    try:
        return await desk.rooms.facts(channel, guild)
    except Refused as error:
        _log.info("nothing is heard in the channel %d: %s", channel, error)
        return None


async def _thread_of(desk: Desk, room: RoomFacts, message: int) -> str:
    """The thread of the conversation that a message in a channel belongs to, as far as it is known."""
    if desk.thread_of is None or not message or room.thread or room.space == DIRECT:
        return ""
    return await desk.thread_of(f"discord:{room.space}/{room.room}", str(message))


async def _in_place(desk: Desk, room: RoomFacts) -> bool:
    """Whether questions are answered in their channel, as it is set, or because no thread can be made in it."""
    if room.thread or room.kind not in ("text", "news"):
        return False
    if desk.answers_in_place(room.address):
        return True
    may = desk.rooms.may(int(room.space), int(room.room), create_public_threads=True, send_messages_in_threads=True)
    return not await desk.soon(may, True)
