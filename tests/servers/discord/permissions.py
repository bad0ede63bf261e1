"""Permissions: their bits, and what somebody may do in a channel."""

from __future__ import annotations

from tests.servers.discord.state import DM, Channel, Guild, State

_NAMES = (
    "create_instant_invite kick_members ban_members administrator manage_channels manage_guild add_reactions "
    "view_audit_log priority_speaker stream view_channel send_messages send_tts_messages manage_messages embed_links "
    "attach_files read_message_history mention_everyone use_external_emojis view_guild_insights connect speak "
    "mute_members deafen_members move_members use_vad change_nickname manage_nicknames manage_roles manage_webhooks "
    "manage_guild_expressions use_application_commands request_to_speak manage_events manage_threads "
    "create_public_threads create_private_threads use_external_stickers send_messages_in_threads "
    "use_embedded_activities moderate_members"
)
NAMES = _NAMES.split()
BITS: dict[str, int] = {name: 1 << bit for bit, name in enumerate(NAMES)} | {
    "pin_messages": 1 << 51,
    "bypass_slowmode": 1 << 52,
}
ALL = sum(BITS.values())

ADMINISTRATOR, MANAGE_CHANNELS, MANAGE_GUILD = BITS["administrator"], BITS["manage_channels"], BITS["manage_guild"]
ADD_REACTIONS, VIEW_CHANNEL, SEND_MESSAGES = BITS["add_reactions"], BITS["view_channel"], BITS["send_messages"]
MANAGE_MESSAGES, EMBED_LINKS, ATTACH_FILES = BITS["manage_messages"], BITS["embed_links"], BITS["attach_files"]
READ_MESSAGE_HISTORY, MENTION_EVERYONE = BITS["read_message_history"], BITS["mention_everyone"]
MANAGE_ROLES, MANAGE_THREADS = BITS["manage_roles"], BITS["manage_threads"]
CREATE_PUBLIC_THREADS, CREATE_PRIVATE_THREADS = BITS["create_public_threads"], BITS["create_private_threads"]
SEND_MESSAGES_IN_THREADS, BYPASS_SLOWMODE = BITS["send_messages_in_threads"], BITS["bypass_slowmode"]
USE_APPLICATION_COMMANDS = BITS["use_application_commands"]

_EVERYONE = (
    "view_channel send_messages read_message_history add_reactions embed_links attach_files create_instant_invite "
    "create_public_threads create_private_threads send_messages_in_threads use_application_commands "
    "use_external_emojis change_nickname connect speak"
)
EVERYONE = sum(BITS[name] for name in _EVERYONE.split())
"""What @everyone may in a new guild. It does not include MENTION_EVERYONE."""

_IN_DIRECT = (
    VIEW_CHANNEL
    | SEND_MESSAGES
    | READ_MESSAGE_HISTORY
    | ADD_REACTIONS
    | EMBED_LINKS
    | ATTACH_FILES
    | USE_APPLICATION_COMMANDS
    | BITS["use_external_emojis"]
)
# Without the right to send these have no effect either (docs: topics/permissions, Implicit Permissions).
_WITH_SENDING = MENTION_EVERYONE | BITS["send_tts_messages"] | ATTACH_FILES | EMBED_LINKS


def bits(**names: bool) -> tuple[int, int]:
    """The bits that are allowed and those that are denied, by the names of permissions."""
    allow = sum(BITS[name] for name, allowed in names.items() if allowed)
    deny = sum(BITS[name] for name, allowed in names.items() if not allowed)
    return allow, deny


def in_guild(guild: Guild, user: str) -> int:
    """What a member may in the guild as a whole."""
    if user == guild.owner:
        return ALL
    member = guild.members.get(user)
    if member is None:
        return 0
    everything = guild.roles[guild.id].permissions
    for role in member.roles:
        everything |= guild.roles[role].permissions
    return ALL if everything & ADMINISTRATOR else everything


def in_channel(state: State, channel: Channel, user: str) -> int:
    """What somebody may in a channel, thread or direct message (docs: topics/permissions)."""
    if channel.type == DM:
        return _IN_DIRECT if user in {channel.recipient, state.bot.id} else 0
    guild = state.guilds[channel.guild]
    base = in_guild(guild, user)
    if guild.left and user == state.bot.id:
        return 0
    if base == ALL or not base:
        return base
    owner = state.channels[channel.parent] if channel.thread else channel
    return _sendable(_overwritten(base, owner, guild, user), channel)


def _overwritten(base: int, channel: Channel, guild: Guild, user: str) -> int:
    everyone = channel.overwrites.get(guild.id)
    if everyone is not None:
        base = base & ~everyone.deny | everyone.allow
    allow = deny = 0
    for role in guild.members[user].roles:
        overwrite = channel.overwrites.get(role)
        if overwrite is not None:
            allow, deny = allow | overwrite.allow, deny | overwrite.deny
    base = base & ~deny | allow
    own = channel.overwrites.get(user)
    return base if own is None else base & ~own.deny | own.allow


def _sendable(found: int, channel: Channel) -> int:
    if not found & VIEW_CHANNEL:
        return 0
    sending = SEND_MESSAGES_IN_THREADS if channel.thread else SEND_MESSAGES
    return found if found & sending else found & ~_WITH_SENDING


def sees(state: State, channel: Channel, user: str) -> bool:
    """Whether somebody sees the channel; a private thread only as its member or with MANAGE_THREADS."""
    found = in_channel(state, channel, user)
    if not found & VIEW_CHANNEL:
        return False
    if channel.thread is None or channel.type != 12:
        return True
    return user in channel.thread.members or bool(found & MANAGE_THREADS)
