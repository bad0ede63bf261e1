"""Answers to interactions over REST: the first response, and what follows with the interaction's token."""

from __future__ import annotations

import time

from tests.servers.discord.chat import body_of
from tests.servers.discord.rest import Answered, Ask, Rest, Route
from tests.servers.discord.shapes import EPHEMERAL, LOADING
from tests.servers.discord.state import DiscordError, Interaction, Json, Message

_DEFERRED, _DEFERRED_UPDATE, _MODAL = 5, 6, 9
# So often a webhook may be tried that is not there; the documentation says not to do so again.
_PATIENCE = 3


def callback(server: Rest, ask: Ask) -> Answered:
    interaction = server.interactions.get(ask["token"])
    if interaction is None or interaction.id != ask["interaction"]:
        raise DiscordError(404, 10062, "Unknown interaction")
    found = server.respond(interaction, body_of(ask), ask.files)
    wanted = ask.query.get("with_response", "").lower() in {"true", "1"}
    return Answered(200, found or {}) if wanted else Answered(204)


def _interaction(server: Rest, ask: Ask) -> Interaction:
    """The interaction of a token that is good: answered in time, and no older than 15 minutes."""
    interaction = server.interactions.get(ask["token"])
    known = interaction is not None and ask["webhook"] == server.application_id and not interaction.failed
    if interaction is None or not known or not interaction.callback:
        server.lost[ask["token"]] += 1
        if server.lost[ask["token"]] > _PATIENCE:
            server.violated("a webhook that is not there was tried again and again")
        raise DiscordError(404, 10015, "Unknown Webhook")
    if time.monotonic() - interaction.created > server.token_seconds:
        raise DiscordError(401, 50027, "Invalid Webhook Token")
    return interaction


def _message(interaction: Interaction, id_: str) -> Message:
    known = [*interaction.followups, *([interaction.original] if interaction.original else [])]
    message = interaction.original if id_ == "@original" else next((item for item in known if item.id == id_), None)
    if message is None or message.deleted:
        raise DiscordError(404, 10008, "Unknown Message")
    return message


def _original(interaction: Interaction) -> Message | None:
    """What "@original" is: the answer, or the message whose button it was."""
    if interaction.callback in {_DEFERRED_UPDATE, 7} and interaction.original is None:
        return interaction.message
    return interaction.original


def _shown(server: Rest, message: Message) -> Json:
    return server.message_json(message)


def follow_up(server: Rest, ask: Ask) -> Json:
    """Another message; the first one after a deferred answer is that answer."""
    interaction, body = _interaction(server, ask), body_of(ask)
    if _waits(interaction):
        return _fill(server, interaction, body, ask)
    channel = server.channels[interaction.channel]
    message = server.compose(channel, body, ask.files, webhook=True)
    message.type = 0
    origin = interaction.original or interaction.message
    if origin is not None and message.reference is None:
        message.type = 19
        message.reference = {"type": 0, "message_id": origin.id, "channel_id": channel.id}
        if channel.guild:
            message.reference["guild_id"] = channel.guild
    _sign(server, interaction, message, bool(message.flags & EPHEMERAL))
    interaction.followups.append(message)
    server.publish(message)
    return _shown(server, message)


def _waits(interaction: Interaction) -> bool:
    """Whether the answer was deferred and has no content yet."""
    if interaction.callback != _DEFERRED:
        return False
    return interaction.original is None or bool(interaction.original.flags & LOADING)


def _sign(server: Rest, interaction: Interaction, message: Message, ephemeral: bool) -> None:
    message.webhook_id = message.application_id = server.application_id
    if ephemeral:
        message.only_for = interaction.user


def _fill(server: Rest, interaction: Interaction, body: Json, ask: Ask) -> Json:
    """Put content into a deferred answer. Whether it is ephemeral was fixed when it was deferred."""
    channel = server.channels[interaction.channel]
    if interaction.original is None:
        message = server.compose(channel, body, ask.files, webhook=True)
        message.flags = message.flags & ~EPHEMERAL | (EPHEMERAL if interaction.ephemeral else 0)
        message.type = 20 if interaction.type == 2 else 0
        _sign(server, interaction, message, interaction.ephemeral)
        interaction.original = message
        server.publish(message)
        return _shown(server, message)
    message = interaction.original
    body = {name: value for name, value in body.items() if name not in {"tts", "nonce", "enforce_nonce"}}
    new = server.compose(channel, body, ask.files, webhook=True)
    for name in ("content", "embeds", "components", "attachments", "mentions", "mention_roles", "poll"):
        setattr(message, name, getattr(new, name))
    keep = message.flags & ~LOADING
    message.flags = keep | new.flags & ~EPHEMERAL
    server.changed(message, edited=False)
    return _shown(server, message)


def get_message(server: Rest, ask: Ask) -> Json:
    interaction = _interaction(server, ask)
    origin = _original(interaction) if ask["message"] == "@original" else None
    return _shown(server, origin or _message(interaction, ask["message"]))


def edit_message(server: Rest, ask: Ask) -> Json:
    interaction, body = _interaction(server, ask), body_of(ask)
    if ask["message"] == "@original" and _waits(interaction):
        return _fill(server, interaction, body, ask)
    origin = _original(interaction) if ask["message"] == "@original" else None
    message = origin or _message(interaction, ask["message"])
    if message.deleted:
        raise DiscordError(404, 10008, "Unknown Message")
    if message is interaction.message:
        interaction.updated = True
    elif interaction.callback == _DEFERRED and message.flags & LOADING:
        return _fill(server, interaction, body, ask)
    server.rewrite(message, body, ask.files, webhook=True)
    server.changed(message)
    return _shown(server, message)


def delete_message(server: Rest, ask: Ask) -> None:
    interaction = _interaction(server, ask)
    origin = _original(interaction) if ask["message"] == "@original" else None
    message = origin or _message(interaction, ask["message"])
    server.remove(message)


_MESSAGE = "/webhooks/{webhook}/{token}/messages/{message}"
ROUTES = [
    Route("POST", "/interactions/{interaction}/{token}/callback", callback, open=True),
    Route("POST", "/webhooks/{webhook}/{token}", follow_up, "webhook", open=True),
    Route("GET", _MESSAGE, get_message, "webhook read", open=True),
    Route("PATCH", _MESSAGE, edit_message, "webhook", open=True),
    Route("DELETE", _MESSAGE, delete_message, "webhook", open=True),
]
