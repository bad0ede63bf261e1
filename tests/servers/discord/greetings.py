"""What a session is told of itself and of members: READY and the answer to op 8."""

from __future__ import annotations

from tests.servers.discord.sessions import Session
from tests.servers.discord.shapes import Shapes
from tests.servers.discord.state import Guild, Json


def ready_json(state: Shapes, session: Session, guilds: list[Guild], flags: int, identify: Json) -> Json:
    """READY; its guilds become available with the events after it."""
    ready: Json = {
        "v": 10,
        "user": state.user_json(state.bot) | {"verified": True, "mfa_enabled": True, "email": None},
        "user_settings": {},
        "session_type": "normal",
        "session_id": session.id,
        "resume_gateway_url": state.gateway_url,
        "relationships": [],
        "private_channels": [],
        "presences": [],
        "guilds": [{"id": guild.id, "unavailable": True} for guild in guilds],
        "guild_join_requests": [],
        "geo_ordered_rtc_regions": [],
        "auth": {},
        "application": {"id": state.application_id, "flags": flags},
        "_trace": ["local"],
    }
    return ready | {"shard": list(session.shard)} if "shard" in identify else ready


def application_flags(content: bool, members: bool, presences: bool) -> int:
    """The privileged intents that are switched on, in their limited forms: for apps that have not been reviewed."""
    return (1 << 19 if content else 0) | (1 << 15 if members else 0) | (1 << 13 if presences else 0)


def chunk_json(state: Shapes, guild: Guild, asked: Json) -> Json:
    """The members that a client asked for, by ids or by the beginning of their names, in one chunk."""
    wanted = asked.get("user_ids")
    if wanted is not None:
        found = [guild.members[user] for user in wanted if user in guild.members]
    else:
        begins = asked["query"].lower()
        found = [item for item in guild.members.values() if state.users[item.user].name.startswith(begins)]
        found = found[: asked["limit"] or None]
    chunk: Json = {
        "guild_id": guild.id,
        "members": [state.member_json(member) for member in found],
        "chunk_index": 0,
        "chunk_count": 1,
        "not_found": [user for user in wanted or () if user not in guild.members],
    }
    return chunk | {"nonce": asked["nonce"]} if asked.get("nonce") else chunk
