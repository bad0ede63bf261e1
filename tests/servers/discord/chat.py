"""Messages, reactions and typing over REST."""

from __future__ import annotations

from urllib.parse import unquote

from tests.servers.discord import permissions
from tests.servers.discord.checks import Form
from tests.servers.discord.intents import as_allowed
from tests.servers.discord.rest import Ask, Rest, Route
from tests.servers.discord.shapes import STARTER, THREAD_CREATED
from tests.servers.discord.state import DM, FORUM, Channel, DiscordError, Json, Message, snowflake_time

SYSTEM = {1, 2, 4, 6, STARTER, THREAD_CREATED}
_TWO_WEEKS = 14 * 86400


def room(server: Rest, id_: str, *needed: int) -> Channel:
    """A channel that the bot sees, and where it has these permissions."""
    channel = server.channels.get(id_)
    if channel is None or channel.deleted:
        raise DiscordError(404, 10003, "Unknown Channel")
    if not permissions.sees(server, channel, server.bot.id):
        raise DiscordError(403, 50001, "Missing Access")
    for bit in needed:
        if not server.may(channel, bit):
            raise DiscordError(403, 50013, "Missing Permissions")
    return channel


def found(channel: Channel, id_: str) -> Message:
    """A message that stands."""
    message = channel.find(id_)
    if message is None:
        raise DiscordError(404, 10008, "Unknown Message")
    return message


def shown(server: Rest, message: Message) -> Json:
    """A message as the bot may read it over REST."""
    whole = server.message_json(message)
    if server.message_content_allowed:
        return whole
    return as_allowed(whole, server.bot.id, bool(server.room_of(message).guild))


def body_of(ask: Ask) -> Json:
    """The body, which has to be an object."""
    if not isinstance(ask.body, dict):
        raise DiscordError(400, 50109, "The request body contains invalid JSON.")
    return ask.body


def may_write(server: Rest, channel: Channel) -> None:
    """Raise when the bot may not post there."""
    if channel.type == DM:
        if server.users[channel.recipient].blocks_dms:
            raise DiscordError(403, 50007, "Cannot send messages to this user")
        return
    if channel.type == FORUM:
        raise DiscordError(400, 50008, "Cannot send messages in a non-text channel")
    needed = permissions.SEND_MESSAGES_IN_THREADS if channel.thread else permissions.SEND_MESSAGES
    if not server.may(channel, needed):
        raise DiscordError(403, 50013, "Missing Permissions")
    if channel.thread and channel.thread.locked and not server.may(channel, permissions.MANAGE_THREADS):
        raise DiscordError(400, 160005, "Thread is locked")


def slow_enough(server: Rest, channel: Channel) -> None:
    """Raise when slow mode says to wait; it does not for those who manage the channel or may bypass it."""
    exempt = permissions.BYPASS_SLOWMODE | permissions.MANAGE_MESSAGES | permissions.MANAGE_CHANNELS
    if channel.slowmode and not server.may(channel, exempt):
        last = [item for item in channel.messages if item.author == server.bot.id and item.type not in SYSTEM]
        wait = snowflake_time(last[-1].id) + channel.slowmode - snowflake_time(server.snowflake()) if last else 0
        if wait > 0:
            said = "This action cannot be performed due to slowmode rate limit"
            raise DiscordError(429, 20016, said, retry_after=round(wait, 3))


def create(server: Rest, ask: Ask) -> Json:
    channel, body = room(server, ask["channel"]), body_of(ask)
    may_write(server, channel)
    nonce = body.get("nonce")
    if nonce is not None and body.get("enforce_nonce"):
        known = server.same_nonce(channel, str(nonce))
        if known is not None:
            return shown(server, known) | {"nonce": nonce}
    slow_enough(server, channel)
    message = server.compose(channel, body, ask.files)
    if message.attachments and not server.may(channel, permissions.ATTACH_FILES):
        raise DiscordError(403, 50013, "Missing Permissions")
    server.publish(message)
    found = shown(server, message)
    return found if nonce is None else found | {"nonce": nonce}


def edit(server: Rest, ask: Ask) -> Json:
    channel, body = room(server, ask["channel"]), body_of(ask)
    message = found(channel, ask["message"])
    if message.author != server.bot.id and not (
        body.keys() == {"flags"} and server.may(channel, permissions.MANAGE_MESSAGES)
    ):
        raise DiscordError(403, 50005, "Cannot edit a message authored by another user")
    if message.type in SYSTEM:
        raise DiscordError(403, 50021, "Cannot execute action on a system message")
    if channel.thread and channel.thread.archived:
        raise DiscordError(400, 50083, "Thread is archived")
    if channel.thread and channel.thread.locked and not server.may(channel, permissions.MANAGE_THREADS):
        raise DiscordError(400, 160005, "Thread is locked")
    server.rewrite(message, body, ask.files)
    server.changed(message)
    return shown(server, message)


def delete(server: Rest, ask: Ask) -> None:
    channel = room(server, ask["channel"])
    message = found(channel, ask["message"])
    if message.type in {1, 2, STARTER}:
        raise DiscordError(403, 50021, "Cannot execute action on a system message")
    if message.author != server.bot.id and not server.may(channel, permissions.MANAGE_MESSAGES):
        raise DiscordError(403, 50013 if channel.guild else 50003, "Missing Permissions")
    server.remove(message)


def bulk_delete(server: Rest, ask: Ask) -> None:
    channel = room(server, ask["channel"], permissions.MANAGE_MESSAGES)
    if not channel.guild:
        raise DiscordError(403, 50003, "Cannot execute action on a DM channel")
    ids = [str(id_) for id_ in body_of(ask).get("messages") or ()]
    if not 2 <= len(ids) <= 100 or len(set(ids)) != len(ids):
        raise DiscordError(
            400, 50016, "Provided too few or too many messages to delete. Must provide at least 2 and at most 100."
        )
    if any(snowflake_time(id_) < snowflake_time(server.snowflake()) - _TWO_WEEKS for id_ in ids):
        raise DiscordError(400, 50034, "A message provided was too old to bulk delete")
    gone = [message for id_ in ids if (message := channel.find(id_))]
    for message in gone:
        message.deleted = True
    data = {"ids": [message.id for message in gone], "channel_id": channel.id, "guild_id": channel.guild}
    server.announce("MESSAGE_DELETE_BULK", data, channel)


def limit_of(ask: Ask, most: int, usual: int) -> int:
    """The query's `limit`."""
    text = ask.query.get("limit", str(usual))
    form = Form()
    form.number(int(text) if text.isascii() and text.isdigit() else text, ("limit",), 1, most)
    form.check()
    return int(text)


def history(server: Rest, ask: Ask) -> list[Json]:
    """Newest first, whichever way they were asked for."""
    channel = room(server, ask["channel"])
    if channel.type == FORUM:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    limit = limit_of(ask, 100, 50)
    if not server.may(channel, permissions.READ_MESSAGE_HISTORY):
        return []
    standing = sorted(channel.standing, key=lambda message: int(message.id))
    if "around" in ask.query:
        middle = int(ask.query["around"])
        before = [item for item in standing if int(item.id) < middle][-(limit // 2) :]
        after = [item for item in standing if int(item.id) >= middle]
        picked = (before + after)[:limit]
    elif "after" in ask.query:
        picked = [item for item in standing if int(item.id) > int(ask.query["after"])][:limit]
    else:
        before_id = int(ask.query.get("before", 2**63))
        picked = [item for item in standing if int(item.id) < before_id][-limit:]
    return [shown(server, message) for message in reversed(picked)]


def single(server: Rest, ask: Ask) -> Json:
    channel = room(server, ask["channel"])
    if not server.may(channel, permissions.READ_MESSAGE_HISTORY):
        raise DiscordError(403, 50001, "Missing Access")
    return shown(server, found(channel, ask["message"]))


def typing(server: Rest, ask: Ask) -> None:
    channel = room(server, ask["channel"])
    may_write(server, channel)
    server.show_typing(channel)


def react(server: Rest, ask: Ask) -> None:
    channel = room(server, ask["channel"], permissions.READ_MESSAGE_HISTORY)
    message, emoji = found(channel, ask["message"]), unquote(ask["emoji"])
    if emoji.isascii() and ":" not in emoji:
        raise DiscordError(400, 10014, "Unknown Emoji")
    if not message.reactions.get(emoji) and not server.may(channel, permissions.ADD_REACTIONS):
        raise DiscordError(403, 50013, "Missing Permissions")
    if channel.thread and channel.thread.archived:
        raise DiscordError(400, 50083, "Thread is archived")
    server.react(message, server.bot.id, emoji)


def unreact(server: Rest, ask: Ask) -> None:
    channel = room(server, ask["channel"])
    message = found(channel, ask["message"])
    server.unreact(message, server.bot.id, unquote(ask["emoji"]))


ROUTES = [
    Route("POST", "/channels/{channel}/messages", create, "create"),
    Route("GET", "/channels/{channel}/messages", history),
    Route("POST", "/channels/{channel}/messages/bulk-delete", bulk_delete),
    Route("GET", "/channels/{channel}/messages/{message}", single),
    Route("PATCH", "/channels/{channel}/messages/{message}", edit, "edit"),
    Route("DELETE", "/channels/{channel}/messages/{message}", delete, "delete"),
    Route("POST", "/channels/{channel}/typing", typing),
    Route("PUT", "/channels/{channel}/messages/{message}/reactions/{emoji}/@me", react, "reaction"),
    Route("DELETE", "/channels/{channel}/messages/{message}/reactions/{emoji}/@me", unreact, "reaction"),
]
