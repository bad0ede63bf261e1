"""Channels and threads over REST."""

from __future__ import annotations

from typing import Any

from tests.servers.discord import permissions
from tests.servers.discord.chat import SYSTEM, body_of, found, limit_of, room, shown
from tests.servers.discord.checks import Form
from tests.servers.discord.places import REQUIRE_TAG
from tests.servers.discord.rest import Answered, Ask, Rest, Route
from tests.servers.discord.shapes import NAME_CHANGE
from tests.servers.discord.state import (
    DM,
    FORUM,
    NEWS,
    PRIVATE_THREAD,
    PUBLIC_THREAD,
    TEXT,
    Channel,
    DiscordError,
    Json,
    Message,
    iso,
    snowflake_time,
)

_AUTO_ARCHIVE = {60, 1440, 4320, 10080}
_CREATOR = {"name", "archived", "auto_archive_duration", "applied_tags"}
_THREAD_FIELDS = {*_CREATOR, "locked", "invitable", "rate_limit_per_user", "flags"}
_REFUSED = DiscordError(403, 50013, "Missing Permissions")


def get(server: Rest, ask: Ask) -> Json:
    return server.channel_json(room(server, ask["channel"]))


def delete(server: Rest, ask: Ask) -> Json:
    channel = room(server, ask["channel"])
    if channel.type != DM:
        needed = permissions.MANAGE_THREADS if channel.thread else permissions.MANAGE_CHANNELS
        if not server.may(channel, needed):
            raise _REFUSED
        found = server.channel_json(channel)
        server.delete_channel(channel.id)
        return found
    return server.channel_json(channel)


def patch(server: Rest, ask: Ask) -> Json:
    channel, body = room(server, ask["channel"]), body_of(ask)
    if channel.thread is not None:
        _patch_thread(server, channel, body)
        return server.channel_json(channel)
    if not server.may(channel, permissions.MANAGE_CHANNELS):
        raise _REFUSED
    form = Form()
    if "name" in body:
        form.text(body["name"], ("name",), 100, 1)
    if body.get("topic") is not None:
        form.text(body["topic"], ("topic",), 4096 if channel.type == FORUM else 1024)
    form.check()
    channel.name, channel.topic = body.get("name", channel.name), body.get("topic", channel.topic)
    channel.slowmode = body.get("rate_limit_per_user", channel.slowmode)
    if channel.type == FORUM and "available_tags" in body:
        channel.available_tags = [_tag(server, tag) for tag in body["available_tags"]]
    server.channel_changed(channel)
    return server.channel_json(channel)


def _tag(server: Rest, tag: Json) -> Json:
    usual = {"id": server.snowflake(), "moderated": False, "emoji_id": None, "emoji_name": None}
    return usual | {name: value for name, value in tag.items() if value is not None}


def _patch_thread(server: Rest, channel: Channel, body: Json) -> None:
    thread = channel.thread
    assert thread is not None
    for name in sorted(body.keys() - _THREAD_FIELDS):
        server.violated(f"a change of a thread has no field {name!r}")
    _may_change(server, channel, body)
    if thread.archived and body.get("archived") is not False:
        raise DiscordError(400, 50083, "Thread is archived")
    form = Form()
    _check_thread(form, body)
    form.check()
    if "applied_tags" in body:
        thread.tags = _tags(server, server.channels[channel.parent], body["applied_tags"], channel.flags)
    if body.get("archived", thread.archived) != thread.archived or "auto_archive_duration" in body:
        thread.archived_at = iso()
    thread.archived = body.get("archived", thread.archived)
    thread.locked = body.get("locked", thread.locked)
    thread.invitable = body.get("invitable", thread.invitable)
    thread.auto_archive = body.get("auto_archive_duration", thread.auto_archive)
    channel.slowmode = body.get("rate_limit_per_user", channel.slowmode)
    channel.flags = body.get("flags", channel.flags)
    renamed = body.get("name", channel.name).strip() != channel.name
    channel.name = body.get("name", channel.name).strip()
    server.channel_changed(channel)
    if renamed and not thread.archived:
        server.publish(Message(server.snowflake(), channel.id, server.bot.id, channel.name, type=NAME_CHANGE))


def _may_change(server: Rest, channel: Channel, body: Json) -> None:
    thread = channel.thread
    assert thread is not None
    if server.may(channel, permissions.MANAGE_THREADS):
        return
    if thread.locked:
        raise _REFUSED
    sends = server.may(channel, permissions.SEND_MESSAGES_IN_THREADS)
    if body.keys() == {"archived"} and body["archived"] is False and sends:
        return
    if thread.owner != server.bot.id or body.keys() - _CREATOR - ({"invitable"} if channel.type == 12 else set()):
        raise _REFUSED


def _check_thread(form: Form, body: Json) -> None:
    if "name" in body:
        form.text(body["name"], ("name",), 100, 1)
    if body.get("auto_archive_duration") is not None:
        form.choice(body["auto_archive_duration"], ("auto_archive_duration",), _AUTO_ARCHIVE)
    if body.get("rate_limit_per_user") is not None:
        form.number(body["rate_limit_per_user"], ("rate_limit_per_user",), 0, 21600)
    for name in ("archived", "locked", "invitable"):
        if name in body and not isinstance(body[name], bool):
            form.wrong((name,), "BOOLEAN_TYPE_CONVERT", "Must be either true or false.")


def _tags(server: Rest, forum: Channel, asked: Any, flags: int = 0) -> list[str]:
    """The tags of a post, checked: five at most, and the forum's."""
    form = Form()
    if forum.type != FORUM:
        form.wrong(("applied_tags",), "CHANNEL_TYPE_INVALID", "Only posts of a forum have tags.")
    ids = [str(tag) for tag in asked or ()]
    if len(ids) > 5 or len(set(ids)) != len(ids):
        form.wrong(("applied_tags",), "BASE_TYPE_MAX_LENGTH", "Must be 5 or fewer in length.")
    known = {tag["id"]: tag for tag in forum.available_tags}
    for index, id_ in enumerate(ids):
        if id_ not in known:
            form.wrong(("applied_tags", index), "INVALID_FORUM_TAG", "Unknown tag")
        elif known[id_]["moderated"] and not server.may(forum, permissions.MANAGE_THREADS):
            raise _REFUSED
    form.check()
    if not ids and forum.flags & REQUIRE_TAG:
        raise DiscordError(400, 40067, "A tag is required to create a forum post in this channel")
    return ids


# Starting threads.


def from_message(server: Rest, ask: Ask) -> Answered:
    channel, body = room(server, ask["channel"]), body_of(ask)
    message = found(channel, ask["message"])
    if channel.thread is not None or channel.type not in {TEXT, NEWS}:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    if not server.may(channel, permissions.CREATE_PUBLIC_THREADS):
        raise _REFUSED
    if message.id in server.channels:
        raise DiscordError(400, 160004, "A thread has already been created for this message")
    if message.type in SYSTEM:
        raise DiscordError(403, 50021, "Cannot execute action on a system message")
    _check_new(body)
    thread = server.new_thread(channel, body["name"].strip(), server.bot.id, message=message, **_options(body))
    return Answered(201, server.channel_json(thread))


def without_message(server: Rest, ask: Ask) -> Answered:
    channel, body = room(server, ask["channel"]), body_of(ask)
    if channel.type == FORUM:
        return _post(server, channel, body, ask)
    if channel.thread is not None or channel.type not in {TEXT, NEWS}:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    _check_new(body)
    kind = body.get("type", PRIVATE_THREAD)
    form = Form()
    form.choice(kind, ("type",), {10, PUBLIC_THREAD, PRIVATE_THREAD})
    form.check()
    private = kind == PRIVATE_THREAD
    needed = permissions.CREATE_PRIVATE_THREADS if private else permissions.CREATE_PUBLIC_THREADS
    if not server.may(channel, needed):
        raise _REFUSED
    options = _options(body) | {"invitable": body.get("invitable", True), "type": kind}
    thread = server.new_thread(channel, body["name"].strip(), server.bot.id, **options)
    return Answered(201, server.channel_json(thread))


def _post(server: Rest, forum: Channel, body: Json, ask: Ask) -> Answered:
    if not server.may(forum, permissions.SEND_MESSAGES):
        raise _REFUSED
    _check_new(body)
    if not isinstance(body.get("message"), dict):
        form = Form()
        form.wrong(("message",), "BASE_TYPE_REQUIRED", "This field is required")
        form.check()
    tags = tuple(_tags(server, forum, body.get("applied_tags")))
    message = server.compose(forum, body["message"], ask.files)
    thread = server.new_thread(forum, body["name"].strip(), server.bot.id, tags=tags, **_options(body))
    message.id = message.channel = thread.id
    server.publish(message)
    return Answered(201, server.channel_json(thread) | {"message": shown(server, message)})


def _check_new(body: Json) -> None:
    form = Form()
    form.text(body.get("name", ""), ("name",), 100, 1)
    _check_thread(form, {name: value for name, value in body.items() if name != "name"})
    form.check()


def _options(body: Json) -> dict[str, Any]:
    archive = body.get("auto_archive_duration") or 1440
    return {"auto_archive": archive, "slowmode": body.get("rate_limit_per_user") or 0}


# Members of threads, and lists of threads.


def _thread(server: Rest, ask: Ask, *, active: bool = False) -> Channel:
    channel = room(server, ask["channel"])
    if channel.thread is None:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    if active and channel.thread.archived:
        raise DiscordError(400, 50083, "Thread is archived")
    return channel


def join(server: Rest, ask: Ask) -> None:
    server.join_thread(_thread(server, ask, active=True), ask.parts.get("user", server.bot.id))


def leave(server: Rest, ask: Ask) -> None:
    channel, user = _thread(server, ask, active=True), ask.parts.get("user", server.bot.id)
    if user != server.bot.id and not server.may(channel, permissions.MANAGE_THREADS):
        raise _REFUSED
    assert channel.thread is not None
    if channel.thread.members.pop(user, None) is not None:
        data = {"id": channel.id, "guild_id": channel.guild, "member_count": len(channel.thread.members)}
        server.announce("THREAD_MEMBERS_UPDATE", data | {"removed_member_ids": [user]}, channel)


def thread_member(server: Rest, ask: Ask) -> Json:
    channel, user = _thread(server, ask), ask.parts.get("user", server.bot.id)
    assert channel.thread is not None
    if user not in channel.thread.members:
        raise DiscordError(404, 10007, "Unknown Member")
    return server.thread_member_json(channel, user)


def thread_members(server: Rest, ask: Ask) -> list[Json]:
    channel = _thread(server, ask)
    assert channel.thread is not None
    return [server.thread_member_json(channel, user) for user in channel.thread.members]


def active_threads(server: Rest, ask: Ask) -> Json:
    guild = server.guilds.get(ask["guild"])
    if guild is None or guild.left:
        raise DiscordError(403, 50001, "Missing Access")
    rooms = [item for item in server.channels.values() if item.guild == guild.id and item.thread and not item.deleted]
    seen = [item for item in rooms if item.thread and not item.thread.archived]
    return _listed(server, [item for item in seen if permissions.sees(server, item, server.bot.id)])


def archived_threads(server: Rest, ask: Ask) -> Json:
    """Archived last comes first."""
    parent = room(server, ask["channel"], permissions.READ_MESSAGE_HISTORY)
    private = ask["kind"] == "private"
    if private and not server.may(parent, permissions.MANAGE_THREADS):
        raise _REFUSED
    before, limit = ask.query.get("before", "9999"), limit_of(ask, 100, 50)
    rooms = [item for item in server.channels.values() if item.parent == parent.id and not item.deleted]
    old = [item for item in rooms if item.thread and item.thread.archived and (item.type == PRIVATE_THREAD) == private]
    old.sort(key=lambda item: item.thread.archived_at if item.thread else "", reverse=True)
    fits = [item for item in old if item.thread and item.thread.archived_at < before]
    return _listed(server, fits[:limit]) | {"has_more": len(fits) > limit}


def _listed(server: Rest, threads: list[Channel]) -> Json:
    mine = [item for item in threads if item.thread and server.bot.id in item.thread.members]
    threads.sort(key=lambda item: snowflake_time(item.id), reverse=True)
    return {
        "threads": [server.channel_json(item) for item in threads],
        "members": [server.thread_member_json(item, server.bot.id) for item in mine],
    }


ROUTES = [
    Route("GET", "/channels/{channel}", get),
    Route("PATCH", "/channels/{channel}", patch),
    Route("DELETE", "/channels/{channel}", delete),
    Route("POST", "/channels/{channel}/messages/{message}/threads", from_message),
    Route("POST", "/channels/{channel}/threads", without_message),
    Route("PUT", "/channels/{channel}/thread-members/@me", join),
    Route("PUT", "/channels/{channel}/thread-members/{user}", join),
    Route("DELETE", "/channels/{channel}/thread-members/@me", leave),
    Route("DELETE", "/channels/{channel}/thread-members/{user}", leave),
    Route("GET", "/channels/{channel}/thread-members/@me", thread_member),
    Route("GET", "/channels/{channel}/thread-members/{user}", thread_member),
    Route("GET", "/channels/{channel}/thread-members", thread_members),
    Route("GET", "/channels/{channel}/threads/archived/{kind}", archived_threads),
    Route("GET", "/guilds/{guild}/threads/active", active_threads),
]
