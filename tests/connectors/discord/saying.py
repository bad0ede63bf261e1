"""What the library makes of what Discord delivers, without a connection: a server, and messages said in it."""

from __future__ import annotations

from typing import Any

import discord

from connectors.discord.rooms import RoomFacts

GUILD, CHANNEL, DIRECT, FORUM, THREAD = (10**17 + number for number in range(1, 6))
BOT, ANN, BEN, OTHER_BOT = (2 * 10**17 + number for number in range(1, 5))
BOT_ROLE, TEAM_ROLE = 3 * 10**17 + 1, 3 * 10**17 + 2
SAID, EARLIER = 1473118766652199044, 1473118766652190000
"""Of 2026-02-17 00:48:03 UTC."""

NAMES = {BOT: "Frontdesk", ANN: "Ann Lee", BEN: "Ben", OTHER_BOT: "Tracker"}
ROOM = RoomFacts(str(GUILD), str(CHANNEL), name="help")
IN_DIRECT = RoomFacts("dm", str(DIRECT), kind="dm", everyone_sees=False)
IN_THREAD = RoomFacts(str(GUILD), str(CHANNEL), str(THREAD), "public_thread", "How?", parent_kind="text")
Json = dict[str, Any]


def user(id_: int) -> Json:
    found: Json = {
        "id": str(id_),
        "username": NAMES[id_].lower().replace(" ", ""),
        "global_name": NAMES[id_],
        "discriminator": "0",
        "avatar": None,
        "public_flags": 0,
    }
    return found | {"bot": True} if id_ in (BOT, OTHER_BOT) else found


def member(*roles: int) -> Json:
    since = "2026-01-04T20:21:10.139000+00:00"
    return {"roles": [str(role) for role in roles], "nick": None, "joined_at": since, "flags": 0}


def _role(id_: int, name: str, **more: Any) -> Json:
    return {"id": str(id_), "name": name, "permissions": "1024", "position": 1, "color": 0} | more


def _channel(id_: int, name: str, kind: int = 0) -> Json:
    found: Json = {"id": str(id_), "type": kind, "name": name, "position": 0, "permission_overwrites": []}
    return found | {"available_tags": []} if kind == 15 else found


GUILD_DATA: Json = {
    "id": str(GUILD),
    "name": "Acme",
    "owner_id": str(BEN),
    "roles": [
        _role(GUILD, "@everyone"),
        _role(BOT_ROLE, "Frontdesk", managed=True, tags={"bot_id": str(BOT)}),
        _role(TEAM_ROLE, "team"),
    ],
    "channels": [_channel(CHANNEL, "help"), _channel(FORUM, "questions", 15)],
    "members": [{"user": user(BOT)} | member(BOT_ROLE)],
}


class Library:
    """The library's client with a server in its cache, as it is after a gateway's READY."""

    def __init__(self, guild: Json = GUILD_DATA) -> None:
        self.client = discord.Client(intents=discord.Intents.none(), max_messages=None)
        self._state = self.client._connection
        self._state.user = discord.ClientUser(state=self._state, data=user(BOT))  # type: ignore[arg-type]
        self._state._add_guild(discord.Guild(data=guild, state=self._state))  # type: ignore[arg-type]

    def message(self, content: str = "Hello", /, **more: Any) -> discord.Message:
        """What Ann says in the channel."""
        data = said(content, **more)
        place: Any = self.client.get_channel(int(data["channel_id"]))
        if place is None:
            guild = int(data["guild_id"]) if "guild_id" in data else None
            place = self.client.get_partial_messageable(int(data["channel_id"]), guild_id=guild)
        return discord.Message(state=self._state, channel=place, data=data)  # type: ignore[arg-type]

    def direct(self, content: str = "Hello", /, **more: Any) -> discord.Message:
        """What Ann says in a direct message, which belongs to no server."""
        data = said(content, channel_id=str(DIRECT), channel_type=1, **more)
        del data["guild_id"], data["member"]
        channel = discord.DMChannel._from_message(self._state, DIRECT)
        return discord.Message(state=self._state, channel=channel, data=data)  # type: ignore[arg-type]


def said(content: str = "Hello", /, **more: Any) -> Json:
    """MESSAGE_CREATE."""
    return {
        "type": 0,
        "id": str(SAID),
        "channel_id": str(CHANNEL),
        "channel_type": 0,
        "guild_id": str(GUILD),
        "content": content,
        "author": user(ANN),
        "member": member(),
        "timestamp": "2026-02-17T00:48:03.193000+00:00",
        "edited_timestamp": None,
        "tts": False,
        "pinned": False,
        "flags": 0,
        "nonce": "1473118765716602880",
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "components": [],
    } | more


def mentioning(*users: int) -> list[Json]:
    return [user(one) | {"member": member()} for one in users]


def reply_to(author: int, content: str = "Try the other door.", **more: Any) -> Json:
    """The fields of a message that replies to an earlier one."""
    earlier = said(content, id=str(EARLIER), author=user(author), **more)
    del earlier["guild_id"], earlier["member"]
    reference = {"type": 0, "message_id": str(EARLIER), "channel_id": earlier["channel_id"], "guild_id": str(GUILD)}
    return {"type": 19, "message_reference": reference, "referenced_message": earlier}


def forwarding(content: str = "It is broken.", **more: Any) -> Json:
    """The fields of a message that forwards one from elsewhere."""
    names = ("type", "content", "embeds", "attachments", "timestamp", "edited_timestamp", "flags", "components")
    whole = said(content, **more)
    snapshot = {name: whole[name] for name in (*names, "sticker_items") if name in whole}
    reference = {"type": 1, "message_id": str(EARLIER), "channel_id": str(FORUM), "guild_id": str(GUILD)}
    return {"message_reference": reference, "message_snapshots": [{"message": snapshot}]}


def file(name: str = "log.txt", **more: Any) -> Json:
    url = f"https://cdn.discordapp.com/attachments/{CHANNEL}/7/{name}?ex=1&is=1&hm=1&"
    return {"id": "7", "filename": name, "size": 12, "url": url, "proxy_url": url, "content_type": "text/plain"} | more


VOICE = file("voice-message.ogg", content_type="audio/ogg", duration_secs=4.2, waveform="AAAA")
