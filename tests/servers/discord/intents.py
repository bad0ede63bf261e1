"""Gateway intents: which events they let through, and what messages hold without MESSAGE_CONTENT."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

GUILDS, GUILD_MEMBERS, GUILD_PRESENCES, GUILD_MESSAGES = 1 << 0, 1 << 1, 1 << 8, 1 << 9
DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 12, 1 << 15
# Bits 0-16, 20, 21, 24 and 25 are intents; any other bit is refused with 4013.
ALL = (1 << 17) - 1 | 0b11 << 20 | 0b11 << 24
PRIVILEGED = GUILD_MEMBERS | GUILD_PRESENCES | MESSAGE_CONTENT

_GUILD_EVENTS = (
    "GUILD_CREATE GUILD_UPDATE GUILD_DELETE GUILD_ROLE_CREATE GUILD_ROLE_UPDATE GUILD_ROLE_DELETE CHANNEL_CREATE "
    "CHANNEL_UPDATE CHANNEL_DELETE THREAD_CREATE THREAD_UPDATE THREAD_DELETE THREAD_LIST_SYNC THREAD_MEMBER_UPDATE "
    "THREAD_MEMBERS_UPDATE"
)
_MEMBER_EVENTS = "GUILD_MEMBER_ADD GUILD_MEMBER_UPDATE GUILD_MEMBER_REMOVE"
_MESSAGE_EVENTS = "MESSAGE_CREATE MESSAGE_UPDATE MESSAGE_DELETE"
_REACTION_EVENTS = (
    "MESSAGE_REACTION_ADD MESSAGE_REACTION_REMOVE MESSAGE_REACTION_REMOVE_ALL MESSAGE_REACTION_REMOVE_EMOJI"
)

# The intent for a guild's event and the one for the event of a direct message; 0: there is no such event.
_NEEDED: dict[str, tuple[int, int]] = {
    **dict.fromkeys(_GUILD_EVENTS.split(), (GUILDS, 0)),
    **dict.fromkeys(_MEMBER_EVENTS.split(), (GUILD_MEMBERS, 0)),
    **dict.fromkeys(_MESSAGE_EVENTS.split(), (GUILD_MESSAGES, DIRECT_MESSAGES)),
    "MESSAGE_DELETE_BULK": (GUILD_MESSAGES, 0),
    "CHANNEL_PINS_UPDATE": (GUILDS, DIRECT_MESSAGES),
    "GUILD_AUDIT_LOG_ENTRY_CREATE": (1 << 2, 0),
    "GUILD_BAN_ADD": (1 << 2, 0),
    "GUILD_BAN_REMOVE": (1 << 2, 0),
    "WEBHOOKS_UPDATE": (1 << 5, 0),
    "PRESENCE_UPDATE": (GUILD_PRESENCES, 0),
    **dict.fromkeys(_REACTION_EVENTS.split(), (1 << 10, 1 << 13)),
    "TYPING_START": (1 << 11, 1 << 14),
    "MESSAGE_POLL_VOTE_ADD": (1 << 24, 1 << 25),
    "MESSAGE_POLL_VOTE_REMOVE": (1 << 24, 1 << 25),
}

_CONTENT: Json = {"content": "", "embeds": [], "attachments": [], "components": []}


def lets_through(intents: int, event: str, in_guild: bool, about_me: bool = False) -> bool:
    """Whether a session with these intents hears of the event. Events without an intent go to everybody."""
    if event not in _NEEDED:
        return True
    if about_me and event == "GUILD_MEMBER_UPDATE":
        return True
    needed = _NEEDED[event][0 if in_guild else 1]
    return bool(intents & needed)


def as_heard(intents: int, event: str, data: Json, me: str, in_guild: bool, readable: bool) -> Json | None:
    """An event as a session with these intents gets it, or None. `readable`: with the content of all messages."""
    about_me = event == "GUILD_MEMBER_UPDATE" and data["user"]["id"] == me
    if not lets_through(intents, event, in_guild, about_me):
        return None
    if event == "THREAD_MEMBERS_UPDATE" and not intents & GUILD_MEMBERS:
        added = [member for member in data.get("added_members", ()) if member["user_id"] == me]
        removed = [user for user in data.get("removed_member_ids", ()) if user == me]
        return data | {"added_members": added, "removed_member_ids": removed} if added or removed else None
    if event in {"MESSAGE_CREATE", "MESSAGE_UPDATE"} and not readable:
        return as_allowed(data, me, in_guild)
    return data


def as_allowed(message: Json, me: str, in_guild: bool) -> Json:
    """A message as an app without MESSAGE_CONTENT gets it: empty, unless it is the app's, a DM, or mentions the app."""
    shown = dict(message)
    referenced = message.get("referenced_message")
    if referenced:
        shown["referenced_message"] = as_allowed(referenced, me, in_guild)
    mine = message.get("author", {}).get("id") == me
    mentioned = any(user["id"] == me for user in message.get("mentions", ()))
    if not in_guild or mine or mentioned:
        return shown
    shown |= {name: type(empty)() for name, empty in _CONTENT.items() if name in message}
    shown.pop("poll", None)
    if "message_snapshots" in message:
        shown["message_snapshots"] = [
            snapshot | {"message": snapshot["message"] | {name: type(empty)() for name, empty in _CONTENT.items()}}
            for snapshot in message["message_snapshots"]
        ]
    return shown
