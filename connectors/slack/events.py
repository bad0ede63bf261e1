"""From what Slack delivers to what the agent hears. Pure.

A message is `slack:TEAM/CHANNEL#TS`, with the workspace that the app is installed in, never the author's own: so an
`app_mention` and a `message` for the same post, and a redelivery of either, are the same message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.messages import Address, Attachment, Deleted, Edited, Inbound, Message, Role, Stopped
from connectors.slack.incoming import mentioned_people, text_of

_ID = re.compile(r"[A-Z][A-Za-z0-9_-]{0,60}", re.ASCII)
"""Slack's ids are to be taken as they come; nothing in one may part an address."""
_TS = re.compile(r"[0-9]{10}\.[0-9]{6}", re.ASCII)
_SAID = (None, "", "file_share", "thread_broadcast", "me_message")
"""The subtypes of what people say; all others are Slack's own notes, or a bot's."""
_SYSTEM_USERS = ("USLACK", "USLACKBOT")
LOOK_UP_FILE = "slack-file:"
"""Begins the source of a file whose address files.info knows."""
_MOST_FILES = 20
_LONGEST_FILE_NAME = 200
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Person:
    """Who somebody is, as far as Slack tells. `name` is whatever they call themselves: shown, never trusted."""

    id: str
    name: str = ""
    team: str = ""
    guest: bool = False
    stranger: bool = False
    bot: bool = False
    admin: bool = False

    def is_outside(self, team: str) -> bool:
        """Whether they are no full member of the workspace."""
        return self.guest or self.stranger or self.bot or bool(self.team and self.team != team)


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """What `hear` has to know besides the event. `team` is the workspace that the app is installed in.

    `author` is None when it could not be looked up; then nobody is staff.
    """

    team: str
    bot_user: str = ""
    bot_id: str = ""
    author: Person | None = None
    staff: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


def hear(body: Mapping[str, Any], room: RoomFacts) -> Inbound | None:
    """What a person did, or None when it is nothing to the agent. It never raises, whatever the body."""
    try:
        event = body["event"]
        if not isinstance(event, Mapping) or not room.team or team_of(body) != room.team:
            return None
        if event.get("type") == "agent_session_stopped":
            return _stopped(event, room)
        if event.get("type") not in ("message", "app_mention"):
            return None
        if event.get("subtype") == "message_changed":
            return _changed(event, room)
        if event.get("subtype") == "message_deleted":
            return _deleted(event, room, event.get("previous_message") or {}, event.get("deleted_ts"))
        return _said(body, event, room)
    except _MALFORMED:
        return None


def team_of(body: Mapping[str, Any]) -> str:
    """The installed workspace that an event is delivered for; empty when the body names none."""
    authorizations = body.get("authorizations")
    first = authorizations[0] if isinstance(authorizations, list) and authorizations else None
    named = first.get("team_id") if isinstance(first, Mapping) else None
    # In a channel shared with another company `team_id` may be theirs; `context_team_id` is where the app is installed.
    return identifier(named) or identifier(body.get("context_team_id")) or identifier(body.get("team_id"))


def author_team_of(event: Mapping[str, Any]) -> str:
    """The author's own workspace as the event tells it, which differs in a channel shared with another company."""
    profile = event.get("user_profile")
    of_profile = profile.get("team") if isinstance(profile, Mapping) else None
    found = (event.get("user_team"), event.get("source_team"), of_profile, event.get("team"))
    return next((identifier(team) for team in found if identifier(team)), "")


def channel_kind(event: Mapping[str, Any]) -> str:
    """`channel`, `group`, `im` or `mpim`; an `app_mention` does not say, the channel's id says enough."""
    if identifier(event.get("channel")).startswith("D"):
        return "im"
    kind = event.get("channel_type")
    return kind if isinstance(kind, str) and kind else "channel"


def is_said_by_person(event: Mapping[str, Any], room: RoomFacts) -> bool:
    """Whether a person wrote the message: no bot, workflow or webhook, not Slack, not the agent."""
    user = identifier(event.get("user"))
    if not user or user == room.bot_user or user in _SYSTEM_USERS:
        return False
    return not (event.get("bot_id") or event.get("bot_profile")) and event.get("subtype") in _SAID


def mentions_bot(event: Mapping[str, Any], bot_user: str) -> bool:
    """Whether the bot is mentioned, in the text or in the blocks."""
    if not bot_user:
        return False
    text = event.get("text")
    in_text = isinstance(text, str) and re.search(rf"<@{re.escape(bot_user)}(?:\||>)", text) is not None
    return in_text or bot_user in mentioned_people(event)


def identifier(value: object) -> str:
    """An id of Slack's, or empty for anything else."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def timestamp(value: object) -> str:
    """A message's `ts`, or empty for anything else."""
    return value if isinstance(value, str) and _TS.fullmatch(value) else ""


def time_of(ts: str) -> datetime:
    """When it was, of a `ts`."""
    seconds, _, fraction = ts.partition(".")
    return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(fraction))


def _said(body: Mapping[str, Any], event: Mapping[str, Any], room: RoomFacts) -> Message | None:
    channel, ts = identifier(event.get("channel")), timestamp(event.get("ts"))
    if event.get("hidden") or not channel or not ts or not is_said_by_person(event, room):
        return None
    if room.author is not None and room.author.bot:
        return None
    direct = channel_kind(event) == "im"
    thread = timestamp(event.get("thread_ts"))
    mentioned = event.get("type") == "app_mention" or mentions_bot(event, room.bot_user)
    text = text_of(event, bot_user=room.bot_user, names=room.names)
    attachments = files_of(event)
    if not (text or attachments or mentioned):
        return None
    home = author_team_of(event)
    address = Address("slack", room.team, channel, thread or ts)
    return Message(
        id=f"{address.channel}#{ts}",
        address=address,
        author=identifier(event.get("user")),
        role=_role(event, room, direct=direct),
        text=text,
        sent_at=time_of(ts),
        attachments=attachments,
        addressed=direct or mentioned,
        to_others=not (direct or mentioned) and _mentions_others(event, room.bot_user),
        outsiders=_reached_by_outsiders(body, event, room),
        joins=direct and not thread,
        author_space=home if home != room.team else "",
    )


def _role(event: Mapping[str, Any], room: RoomFacts, *, direct: bool) -> Role:
    """Staff only who is known as staff, and as a full member of the workspace, and not when they ask for themselves."""
    member = room.author is not None and not room.author.is_outside(room.team)
    at_home = author_team_of(event) in ("", room.team) and not _is_restricted(event)
    return "staff" if room.staff and member and at_home and not direct else "customer"


def _reached_by_outsiders(body: Mapping[str, Any], event: Mapping[str, Any], room: RoomFacts) -> bool:
    if body.get("is_ext_shared_channel") or _is_restricted(event):
        return True
    home = author_team_of(event)
    if home not in ("", room.team):
        return True
    # Of somebody unknown only the event tells something, and perhaps too little.
    return room.author.is_outside(room.team) if room.author is not None else home != room.team


def _is_restricted(event: Mapping[str, Any]) -> bool:
    profile = event.get("user_profile")
    return isinstance(profile, Mapping) and bool(profile.get("is_restricted") or profile.get("is_ultra_restricted"))


def _mentions_others(event: Mapping[str, Any], bot_user: str) -> bool:
    text = event.get("text")
    return any(user != bot_user for user in mentioned_people(event)) or (isinstance(text, str) and "<!subteam^" in text)


def _changed(event: Mapping[str, Any], room: RoomFacts) -> Edited | Deleted | None:
    new, old = event.get("message") or {}, event.get("previous_message") or {}
    if new.get("subtype") == "tombstone":
        return _deleted(event, room, old, new.get("ts"))
    channel, ts = identifier(event.get("channel")), timestamp(new.get("ts"))
    if not channel or not ts or not is_said_by_person(new, room):
        return None
    text = text_of(new, bot_user=room.bot_user, names=room.names)
    edited = new.get("edited")
    # Slack tells of previews, replies and the like in the same way; without the old text only `edited` tells them apart.
    if _words(new, room) == _words(old, room) or not (old or edited):
        return None
    at = timestamp(edited.get("ts")) if isinstance(edited, Mapping) else ""
    address = Address("slack", room.team, channel, timestamp(new.get("thread_ts")) or ts)
    return Edited(f"{address.channel}#{ts}", address, text, time_of(at or timestamp(event.get("event_ts")) or ts))


def _words(message: Mapping[str, Any], room: RoomFacts) -> str:
    """What was written, without what Slack adds below, such as previews of links."""
    return text_of({**message, "attachments": []}, bot_user=room.bot_user, names=room.names)


def _deleted(event: Mapping[str, Any], room: RoomFacts, old: Mapping[str, Any], deleted_ts: object) -> Deleted | None:
    channel = identifier(event.get("channel"))
    ts = timestamp(deleted_ts) or timestamp(old.get("ts"))
    if not channel or not ts or (old and not is_said_by_person(old, room)):
        return None
    address = Address("slack", room.team, channel, timestamp(old.get("thread_ts")) or ts)
    at = timestamp(event.get("event_ts")) or timestamp(event.get("ts")) or ts
    return Deleted(f"{address.channel}#{ts}", address, time_of(at))


def _stopped(event: Mapping[str, Any], room: RoomFacts) -> Stopped | None:
    channel = identifier(event.get("channel")) or identifier(event.get("channel_id"))
    thread = timestamp(event.get("thread_ts"))
    if not channel or not thread:
        return None
    user = identifier(event.get("user")) or identifier(event.get("user_id"))
    at = timestamp(event.get("event_ts")) or thread
    return Stopped(Address("slack", room.team, channel, thread), user, time_of(at))


def files_of(event: Mapping[str, Any]) -> tuple[Attachment, ...]:
    """The files of a message. What cannot be read says why."""
    files = event.get("files")
    found = files[:_MOST_FILES] if isinstance(files, list) else []
    return tuple(_attachment(file) for file in found if isinstance(file, Mapping))


def _attachment(file: Mapping[str, Any]) -> Attachment:
    size = file.get("size")
    source, unread = _source(file)
    return Attachment(
        name=_first_text(file, "name", "title", "id")[:_LONGEST_FILE_NAME] or "file",
        media_type=_first_text(file, "mimetype")[:_LONGEST_FILE_NAME],
        size=size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0,
        source=source,
        unread=unread,
    )


def _source(file: Mapping[str, Any]) -> tuple[str, str]:
    """Where the bytes are, or else why they cannot be read."""
    if file.get("mode") in ("tombstone", "hidden_by_limit"):
        return "", "it is no longer in Slack"
    if file.get("is_external") or file.get("mode") == "external":
        return "", "it is stored outside Slack"
    source = _first_text(file, "url_private_download", "url_private")
    if not source and file.get("file_access") == "check_file_info" and identifier(file.get("id")):
        # Slack tells no more of a file in a channel shared with another company; files.info knows the rest.
        source = f"{LOOK_UP_FILE}{file['id']}"
    return source, "" if source else "Slack does not let me read it"


def _first_text(file: Mapping[str, Any], *names: str) -> str:
    return next((file[name] for name in names if isinstance(file.get(name), str) and file[name]), "")
