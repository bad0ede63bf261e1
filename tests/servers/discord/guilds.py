"""The application, users, guilds and direct messages over REST."""

from __future__ import annotations

from tests.servers.discord.chat import body_of, limit_of
from tests.servers.discord.checks import Form
from tests.servers.discord.rest import Ask, Rest, Route
from tests.servers.discord.state import DiscordError, Guild, Json

_CONTENT_LIMITED = 1 << 19
_HAS_COMMANDS = 1 << 23


def gateway(server: Rest, ask: Ask) -> Json:
    return {"url": server.gateway_url}


def gateway_bot(server: Rest, ask: Ask) -> Json:
    return {"url": server.gateway_url, "shards": server.shards, "session_start_limit": dict(server.session_start)}


def me(server: Rest, ask: Ask) -> Json:
    more = {"verified": True, "mfa_enabled": True, "locale": "en-US", "flags": 0, "email": None, "premium_type": 0}
    return server.user_json(server.bot) | more


def user(server: Rest, ask: Ask) -> Json:
    found = server.users.get(ask["user"])
    if found is None:
        raise DiscordError(404, 10013, "Unknown User")
    return server.user_json(found)


def application(server: Rest, ask: Ask) -> Json:
    flags = _CONTENT_LIMITED if server.message_content_allowed else 0
    if any(server.commands.values()):
        flags |= _HAS_COMMANDS
    owner = server.users[server.guilds[server.guild].owner]
    return {
        "id": server.application_id,
        "name": server.bot.name,
        "icon": None,
        "description": "",
        "summary": "",
        "type": None,
        "is_monetized": False,
        "bot_public": True,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "flags": flags,
        "flags_new": str(flags),
        "hook": True,
        "owner": server.user_json(owner),
        "team": None,
        "bot": server.user_json(server.bot),
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "event_webhooks_url": None,
        "event_webhooks_status": 1,
        "event_webhooks_types": [],
        "tags": [],
        "rpc_origins": [],
        "integration_types_config": {"0": {"oauth2_install_params": None}},
        "approximate_guild_count": sum(not guild.left for guild in server.guilds.values()),
        "approximate_user_install_count": 0,
    }


def my_guilds(server: Rest, ask: Ask) -> list[Json]:
    limit, after = limit_of(ask, 200, 200), int(ask.query.get("after", 0))
    mine = [guild for guild in server.guilds.values() if not guild.left and int(guild.id) > after]
    fields = ("id", "name", "icon", "banner", "features")
    return [
        {name: server.guild_json(guild)[name] for name in fields}
        | {"owner": guild.owner == server.bot.id, "permissions": "0"}
        for guild in sorted(mine, key=lambda guild: int(guild.id))[:limit]
    ]


def _guild(server: Rest, ask: Ask) -> Guild:
    """A guild where the bot is."""
    guild = server.guilds.get(ask["guild"])
    if guild is None or guild.left:
        raise DiscordError(404, 10004, "Unknown Guild")
    return guild


def guild(server: Rest, ask: Ask) -> Json:
    found = _guild(server, ask)
    more = {}
    if ask.query.get("with_counts") in {"true", "1"}:
        more = {"approximate_member_count": len(found.members), "approximate_presence_count": 1}
    return server.guild_json(found) | more


def guild_channels(server: Rest, ask: Ask) -> list[Json]:
    """Without threads; also those that the bot does not see."""
    id_ = _guild(server, ask).id
    rooms = [item for item in server.channels.values() if item.guild == id_ and not item.deleted]
    return [server.channel_json(item) for item in rooms if item.thread is None]


def guild_roles(server: Rest, ask: Ask) -> list[Json]:
    return [server.role_json(role) for role in _guild(server, ask).roles.values()]


def guild_role(server: Rest, ask: Ask) -> Json:
    role = _guild(server, ask).roles.get(ask["role"])
    if role is None:
        raise DiscordError(404, 10011, "Unknown Role")
    return server.role_json(role)


def guild_member(server: Rest, ask: Ask) -> Json:
    found, id_ = _guild(server, ask), ask.parts.get("user", server.bot.id)
    if id_ not in server.users:
        raise DiscordError(404, 10013, "Unknown User")
    if id_ not in found.members:
        raise DiscordError(404, 10007, "Unknown Member")
    return server.member_json(found.members[id_])


def members(server: Rest, ask: Ask) -> list[Json]:
    """For apps with the intent for members, which this one has not."""
    _guild(server, ask)
    raise DiscordError(403, 50001, "Missing Access")


def search_members(server: Rest, ask: Ask) -> list[Json]:
    found, query = _guild(server, ask), ask.query.get("query", "").lower()
    form = Form()
    form.text(query, ("query",), 100, 1)
    form.check()
    names = {id_: server.users[id_].name for id_ in found.members}
    fits = [member for member in found.members.values() if names[member.user].startswith(query)]
    return [server.member_json(member) for member in fits[: limit_of(ask, 1000, 1)]]


def open_dm(server: Rest, ask: Ask) -> Json:
    """The direct message channel; that a person refuses messages shows only when one is sent."""
    id_ = str(body_of(ask).get("recipient_id", ""))
    if id_ not in server.users:
        raise DiscordError(400, 50033, "Invalid Recipient(s)")
    if server.users[id_].bot:
        raise DiscordError(400, 50007, "Cannot send messages to this user")
    return server.channel_json(server.channels[server.dm(id_)])


ROUTES = [
    Route("GET", "/gateway", gateway),
    Route("GET", "/gateway/bot", gateway_bot),
    Route("GET", "/users/@me", me),
    Route("GET", "/users/@me/guilds", my_guilds),
    Route("POST", "/users/@me/channels", open_dm),
    Route("GET", "/users/@me/guilds/{guild}/member", guild_member),
    Route("GET", "/users/{user}", user),
    Route("GET", "/oauth2/applications/@me", application),
    Route("GET", "/applications/@me", application),
    Route("GET", "/guilds/{guild}", guild),
    Route("GET", "/guilds/{guild}/channels", guild_channels),
    Route("GET", "/guilds/{guild}/roles", guild_roles),
    Route("GET", "/guilds/{guild}/roles/{role}", guild_role),
    Route("GET", "/guilds/{guild}/members", members),
    Route("GET", "/guilds/{guild}/members/search", search_members),
    Route("GET", "/guilds/{guild}/members/{user}", guild_member),
]
