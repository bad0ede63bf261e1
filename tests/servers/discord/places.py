"""Guilds, roles, channels and who is where: what a test sets up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.servers.discord import permissions
from tests.servers.discord.shapes import Shapes
from tests.servers.discord.state import (
    DM,
    FORUM,
    INVITED,
    TEXT,
    Channel,
    Guild,
    Json,
    Member,
    Overwrite,
    Role,
    User,
    iso,
)

REQUIRE_TAG = 1 << 4


class Places(Shapes):
    """Makes and changes places. Every method can be called from the test's thread."""

    def __init__(self) -> None:
        super().__init__()
        self.guild = self.add_guild("Acme")

    def announce(self, event: str, data: Json, channel: Channel) -> None:
        """Dispatch what happens in a channel, if the bot sees it."""
        if permissions.sees(self, channel, self.bot.id):
            self.dispatch(event, data, channel.guild or None)

    def add_guild(self, name: str) -> str:
        """A guild with an owner, in which the bot has a role with the invite's permissions."""
        with self.lock:
            owner = self.add_user(f"owner of {name}")
            id_ = self.snowflake()
            guild = Guild(id_, name, owner)
            self.guilds[id_] = guild
            guild.roles[id_] = Role(id_, "@everyone", permissions.EVERYONE)
            mine = self.snowflake()
            guild.roles[mine] = Role(mine, self.bot.name, INVITED, 1, managed=True, bot_id=self.bot.id)
            guild.members[owner] = Member(owner, [], iso())
            guild.members[self.bot.id] = Member(self.bot.id, [mine], iso())
            self.dispatch("GUILD_CREATE", self.guild_create_json(guild), id_)
            return id_

    def add_user(self, name: str, *, bot: bool = False) -> str:
        """A person, or another bot. In no guild yet: see `join`."""
        with self.lock:
            id_ = self.snowflake()
            login = "".join(sign for sign in name.lower().replace(" ", "_") if sign.isalnum() or sign in "._")
            self.users[id_] = User(id_, login or "user", bot, name, "0")
            return id_

    def join(self, guild: str, user: str, roles: Sequence[str] = ()) -> None:
        """Make a user a member; one who is already gets these roles."""
        with self.lock:
            members = self.guilds[guild].members
            new = user not in members
            if new:
                members[user] = Member(user, list(roles), iso())
            members[user].roles = list(roles)
            data = self.member_json(members[user]) | {"guild_id": guild}
            self.dispatch("GUILD_MEMBER_ADD" if new else "GUILD_MEMBER_UPDATE", data, guild)

    def leave(self, guild: str, user: str) -> None:
        """Let a member go."""
        with self.lock:
            del self.guilds[guild].members[user]
            data = {"guild_id": guild, "user": self.user_json(self.users[user])}
            self.dispatch("GUILD_MEMBER_REMOVE", data, guild)

    def add_role(self, guild: str, name: str, permissions: int = 0, *, mentionable: bool = False) -> str:
        """A role; `permissions` are bits."""
        with self.lock:
            id_ = self.snowflake()
            role = Role(id_, name, permissions, len(self.guilds[guild].roles), mentionable=mentionable)
            self.guilds[guild].roles[id_] = role
            self.dispatch("GUILD_ROLE_CREATE", {"guild_id": guild, "role": self.role_json(role)}, guild)
            return id_

    def change_role(self, guild: str, role: str, permissions: int) -> None:
        """Give a role (the guild's id: @everyone) these permissions."""
        with self.lock:
            found = self.guilds[guild].roles[role]
            found.permissions = permissions
            self.dispatch("GUILD_ROLE_UPDATE", {"guild_id": guild, "role": self.role_json(found)}, guild)

    def bot_role(self, guild: str = "") -> str:
        """The id of the bot's own role."""
        with self.lock:
            return self.guilds[guild or self.guild].members[self.bot.id].roles[0]

    def add_channel(
        self,
        name: str,
        guild: str | None = None,
        *,
        type: int = TEXT,
        only_roles: Iterable[str] | None = None,
        slowmode: int = 0,
    ) -> str:
        """A channel. With `only_roles` @everyone does not see it, but these roles and the bot do."""
        with self.lock:
            home = self.guilds[guild or self.guild]
            channel = Channel(self.snowflake(), type, name, home.id, slowmode=slowmode)
            channel.position = sum(item.guild == home.id and item.thread is None for item in self.channels.values())
            if only_roles is not None:
                view = permissions.VIEW_CHANNEL
                channel.overwrites[home.id] = Overwrite(home.id, 0, 0, view)
                for role in [*only_roles, self.bot_role(home.id)]:
                    channel.overwrites[role] = Overwrite(role, 0, view, 0)
            self.channels[channel.id] = channel
            self.announce("CHANNEL_CREATE", self.channel_json(channel), channel)
            return channel.id

    def add_forum(
        self, name: str, guild: str | None = None, *, tags: Iterable[str] = (), require_tag: bool = False
    ) -> str:
        """A forum; posts can have tags of these names."""
        with self.lock:
            id_ = self.add_channel(name, guild, type=FORUM)
            channel = self.channels[id_]
            for tag in tags:
                known = {"id": self.snowflake(), "name": tag, "moderated": False, "emoji_id": None, "emoji_name": None}
                channel.available_tags.append(known)
            channel.flags = REQUIRE_TAG if require_tag else 0
            self.channel_changed(channel)
            return id_

    def delete_channel(self, channel: str) -> None:
        """Delete a channel with its threads, or a thread."""
        with self.lock:
            room = self.channels[channel]
            gone = [item for item in self.channels.values() if item.id == channel or item.parent == channel]
            for item in gone:
                item.deleted = True
            if room.thread is not None:
                data = {"id": room.id, "guild_id": room.guild, "parent_id": room.parent, "type": room.type}
                self.announce("THREAD_DELETE", data, room)
            else:
                self.announce("CHANNEL_DELETE", self.channel_json(room), room)

    def dm(self, user: str) -> str:
        """The direct message channel of this user and the bot."""
        with self.lock:
            known = (item for item in self.channels.values() if item.type == DM and item.recipient == user)
            channel = next(known, None)
            if channel is None:
                channel = Channel(self.snowflake(), DM, recipient=user)
                self.channels[channel.id] = channel
            return channel.id

    def permit(self, channel: str, **names: bool) -> None:
        """What the bot may (True) or may not (False) do in a channel: `permit(channel, embed_links=False)`."""
        self.overwrite(channel, self.bot.id, **names)

    def overwrite(self, channel: str, id_: str, **names: bool) -> None:
        """What a role or a member may or may not do in a channel (of a thread: in its parent)."""
        with self.lock:
            room = self.channels[channel]
            room = self.channels[room.parent] if room.thread else room
            allow, deny = permissions.bits(**names)
            kind = 0 if id_ in self.guilds[room.guild].roles else 1
            item = room.overwrites.setdefault(id_, Overwrite(id_, kind))
            item.allow, item.deny = item.allow & ~deny | allow, item.deny & ~allow | deny
            self.dispatch("CHANNEL_UPDATE", self.channel_json(room), room.guild)

    def kick_bot(self, guild: str) -> None:
        """Let the bot be removed from a guild."""
        with self.lock:
            self.guilds[guild].left = True
            del self.guilds[guild].members[self.bot.id]
            self.dispatch("GUILD_DELETE", {"id": guild}, guild)

    def invite_bot(self, guild: str) -> None:
        """Let the bot come back into a guild."""
        with self.lock:
            home = self.guilds[guild]
            home.left = False
            mine = next(role.id for role in home.roles.values() if role.bot_id == self.bot.id)
            home.members[self.bot.id] = Member(self.bot.id, [mine], iso())
            self.dispatch("GUILD_CREATE", self.guild_create_json(home), guild)

    def archive(self, thread: str, locked: bool = False) -> None:
        """Let somebody archive a thread, and lock it."""
        with self.lock:
            room = self.channels[thread]
            assert room.thread is not None
            room.thread.archived, room.thread.locked, room.thread.archived_at = True, locked, iso()
            self.channel_changed(room)

    def lock_thread(self, thread: str) -> None:
        """Let a moderator lock a thread that stays active."""
        with self.lock:
            room = self.channels[thread]
            assert room.thread is not None
            room.thread.locked = True
            self.channel_changed(room)

    def block_dms(self, user: str, blocked: bool = True) -> None:
        """Let a person refuse direct messages of the app."""
        with self.lock:
            self.users[user].blocks_dms = blocked

    def channel_changed(self, channel: Channel) -> None:
        """Tell of a change of a channel or thread."""
        event = "THREAD_UPDATE" if channel.thread is not None else "CHANNEL_UPDATE"
        self.announce(event, self.channel_json(channel), channel)
