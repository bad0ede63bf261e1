"""What Discord's objects look like on the wire."""

from __future__ import annotations

import copy
import hashlib
import hmac
import time
from urllib.parse import quote

from tests.servers.discord import permissions
from tests.servers.discord.state import (
    DM,
    FORUM,
    PRIVATE_THREAD,
    Channel,
    Guild,
    Json,
    Member,
    Message,
    Role,
    State,
    User,
    iso,
    snowflake_time,
)

NAME_CHANGE, THREAD_CREATED, STARTER = 4, 18, 21
EPHEMERAL, COMPONENTS_V2, LOADING, HAS_THREAD = 1 << 6, 1 << 15, 1 << 7, 1 << 5
SUPPRESS_EMBEDS, SUPPRESS_NOTIFICATIONS = 1 << 2, 1 << 12
_SECRET = b"local attachments"


class Shapes(State):
    """Turns what is kept into JSON."""

    def user_json(self, user: User) -> Json:
        """A user object."""
        found: Json = {
            "id": user.id,
            "username": user.name,
            "discriminator": user.discriminator,
            "global_name": user.global_name,
            "avatar": None,
            "avatar_decoration_data": None,
            "banner": None,
            "accent_color": None,
            "collectibles": None,
            "display_name_styles": None,
            "primary_guild": None,
            "clan": None,
            "public_flags": 0,
        }
        return found | {"bot": True} if user.bot else found

    def member_json(self, member: Member, *, user: bool = True) -> Json:
        """A member; without its user as messages and interactions have it."""
        found: Json = {
            "nick": member.nick,
            "avatar": None,
            "banner": None,
            "roles": list(member.roles),
            "joined_at": member.joined_at,
            "premium_since": None,
            "deaf": False,
            "mute": False,
            "flags": 0,
            "pending": False,
            "communication_disabled_until": None,
        }
        return found | {"user": self.user_json(self.users[member.user])} if user else found

    def role_json(self, role: Role) -> Json:
        """A role object."""
        found: Json = {
            "id": role.id,
            "name": role.name,
            "color": 0,
            "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "icon": None,
            "unicode_emoji": None,
            "position": role.position,
            "permissions": str(role.permissions),
            "managed": role.managed,
            "mentionable": role.mentionable,
            "flags": 0,
        }
        return found | {"tags": {"bot_id": role.bot_id}} if role.bot_id else found

    def channel_json(self, channel: Channel) -> Json:
        """A channel, forum, thread or direct message, as the bot gets it."""
        last = channel.messages[-1].id if channel.messages else None
        found: Json = {"id": channel.id, "type": channel.type, "last_message_id": last, "flags": channel.flags}
        if channel.type == DM:
            return found | {"recipients": [self.user_json(self.users[channel.recipient])]}
        found |= {
            "guild_id": channel.guild,
            "name": channel.name,
            "parent_id": channel.parent or None,
            "rate_limit_per_user": channel.slowmode,
            "last_pin_timestamp": None,
        }
        if channel.thread is not None:
            return found | self._thread_json(channel)
        found |= {
            "position": channel.position,
            "topic": channel.topic,
            "nsfw": False,
            "permission_overwrites": [
                {"id": item.id, "type": item.type, "allow": str(item.allow), "deny": str(item.deny)}
                for item in channel.overwrites.values()
            ],
        }
        if channel.type == FORUM:
            # The last post of a forum is its last "message".
            posts = [item.id for item in self.channels.values() if item.thread and item.parent == channel.id]
            found |= {
                "last_message_id": posts[-1] if posts else None,
                "available_tags": copy.deepcopy(channel.available_tags),
                "default_reaction_emoji": None,
                "default_sort_order": None,
                "default_forum_layout": 0,
                "default_thread_rate_limit_per_user": 0,
                "template": "",
            }
        return found

    def _thread_json(self, channel: Channel) -> Json:
        thread = channel.thread
        assert thread is not None
        counted = [item for item in channel.standing if item.type != STARTER and item.id != channel.id]
        metadata: Json = {
            "archived": thread.archived,
            "archive_timestamp": thread.archived_at,
            "auto_archive_duration": thread.auto_archive,
            "locked": thread.locked,
            "create_timestamp": thread.created,
        }
        if channel.type == PRIVATE_THREAD:
            metadata["invitable"] = thread.invitable
        found: Json = {
            "owner_id": thread.owner,
            "thread_metadata": metadata,
            "message_count": len(counted),
            "total_message_sent": thread.total,
            "member_count": min(len(thread.members), 50),
        }
        if self.channels[channel.parent].type == FORUM:
            found["applied_tags"] = list(thread.tags)
        if self.bot.id in thread.members:
            found["member"] = self.thread_member_json(channel, self.bot.id)
        return found

    def thread_member_json(self, channel: Channel, user: str) -> Json:
        """Who is in a thread since when."""
        assert channel.thread is not None
        since = channel.thread.members[user]
        return {"id": channel.id, "user_id": user, "join_timestamp": since, "flags": 1, "muted": False}

    def guild_json(self, guild: Guild) -> Json:
        """A guild as GET /guilds/{id} has it."""
        return {
            "id": guild.id,
            "name": guild.name,
            "icon": None,
            "icon_hash": None,
            "splash": None,
            "discovery_splash": None,
            "owner_id": guild.owner,
            "region": "deprecated",
            "afk_channel_id": None,
            "afk_timeout": 300,
            "widget_enabled": False,
            "verification_level": 1,
            "default_message_notifications": 1,
            "explicit_content_filter": 0,
            "roles": [self.role_json(role) for role in guild.roles.values()],
            "emojis": [],
            "stickers": [],
            "features": [],
            "mfa_level": 0,
            "application_id": None,
            "system_channel_id": None,
            "system_channel_flags": 0,
            "rules_channel_id": None,
            "public_updates_channel_id": None,
            "safety_alerts_channel_id": None,
            "max_presences": None,
            "max_members": 500_000,
            "max_video_channel_users": 25,
            "vanity_url_code": None,
            "description": None,
            "banner": None,
            "premium_tier": 0,
            "premium_subscription_count": 0,
            "premium_progress_bar_enabled": False,
            "preferred_locale": "en-US",
            "nsfw_level": 0,
            "incidents_data": None,
        }

    def guild_create_json(self, guild: Guild) -> Json:
        """A guild as GUILD_CREATE has it, with the bot as its only member."""
        rooms = [item for item in self.channels.values() if item.guild == guild.id and not item.deleted]
        me = guild.members[self.bot.id]
        return self.guild_json(guild) | {
            "joined_at": me.joined_at,
            "large": False,
            "unavailable": False,
            "member_count": len(guild.members),
            "voice_states": [],
            "members": [self.member_json(me)],
            "channels": [self.channel_json(item) for item in rooms if item.thread is None],
            "threads": [
                self.channel_json(item)
                for item in rooms
                if item.thread and not item.thread.archived and permissions.sees(self, item, self.bot.id)
            ],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }

    # Messages.

    def message_json(self, message: Message, *, event: bool = False, nested: bool = False) -> Json:
        """A message; an event also says the guild, the author's membership and the nonce."""
        channel = self.channels[message.channel]
        found: Json = {
            "id": message.id,
            "type": message.type,
            "channel_id": message.channel,
            "author": self.user_json(self.users[message.author]),
            "content": message.content,
            "timestamp": iso(snowflake_time(message.id)),
            "edited_timestamp": message.edited_at,
            "tts": message.tts,
            "pinned": False,
            "flags": message.flags,
            "mention_everyone": message.mention_everyone,
            "mentions": [self._mentioned_json(user, channel if event else None) for user in message.mentions],
            "mention_roles": list(message.mention_roles),
            "attachments": [self.attachment_json(message, item) for item in message.attachments],
            "embeds": [] if message.flags & SUPPRESS_EMBEDS else copy.deepcopy(message.embeds),
            "components": copy.deepcopy(message.components),
        }
        if message.webhook_id:
            found |= {"webhook_id": message.webhook_id, "application_id": message.application_id}
        self._optional(found, message, channel, nested)
        if event:
            found["channel_type"] = channel.type
            if channel.guild:
                found["guild_id"] = channel.guild
                member = self.guilds[channel.guild].members.get(message.author)
                if member is not None:
                    found["member"] = self.member_json(member, user=False)
        return found

    def _optional(self, found: Json, message: Message, channel: Channel, nested: bool) -> None:
        if message.poll is not None:
            found["poll"] = copy.deepcopy(message.poll)
        if message.sticker_items:
            found["sticker_items"] = copy.deepcopy(message.sticker_items)
        if message.snapshots:
            found["message_snapshots"] = copy.deepcopy(message.snapshots)
        if message.interaction is not None:
            found["interaction_metadata"] = copy.deepcopy(message.interaction)
        if message.reactions:
            found["reactions"] = [self._reaction_json(emoji, who) for emoji, who in message.reactions.items() if who]
        if message.thread and message.thread in self.channels:
            found["thread"] = self.channel_json(self.channels[message.thread])
        if channel.thread is not None and not message.only_for:
            found["position"] = sum(item.id < message.id and item.type != STARTER for item in channel.messages)
        if message.reference is not None:
            found["message_reference"] = dict(message.reference)
            if not nested and message.type in {19, 20, 23, STARTER}:
                room = self.channels.get(message.reference["channel_id"])
                known = [*room.messages, *room.ephemerals] if room else []
                wanted = message.reference.get("message_id", "")
                origin = next((item for item in known if item.id == wanted and not item.deleted), None)
                found["referenced_message"] = self.message_json(origin, nested=True) if origin else None

    def _mentioned_json(self, user: str, channel: Channel | None) -> Json:
        found = self.user_json(self.users[user])
        if channel is not None and channel.guild:
            member = self.guilds[channel.guild].members.get(user)
            return found if member is None else found | {"member": self.member_json(member, user=False)}
        return found

    def _reaction_json(self, emoji: str, who: list[str]) -> Json:
        return {
            "emoji": {"id": None, "name": emoji},
            "count": len(who),
            "count_details": {"burst": 0, "normal": len(who)},
            "me": self.bot.id in who,
            "me_burst": False,
            "burst_colors": [],
        }

    def attachment_json(self, message: Message, kept: Json) -> Json:
        """An attachment with a url that is good for `attachment_seconds` from now."""
        url = self.signed_url(message.channel, kept["id"], kept["filename"], bool(message.only_for))
        found = dict(kept) | {"url": url, "proxy_url": url}
        return found | {"ephemeral": True} if message.only_for else found

    def signed_url(self, channel: str, id_: str, name: str, ephemeral: bool = False) -> str:
        """A CDN url with its expiry, its issue and their signature."""
        folder = "ephemeral-attachments" if ephemeral else "attachments"
        path = f"/{folder}/{channel}/{id_}/{quote(name)}"
        now = time.time()
        expires, issued = f"{int((now + self.attachment_seconds) * 1000):x}", f"{int(now * 1000):x}"
        return f"{self.url}{path}?ex={expires}&is={issued}&hm={self.signature(path, expires, issued)}&"

    @staticmethod
    def signature(path: str, expires: str, issued: str) -> str:
        """What `hm` must be."""
        return hmac.new(_SECRET, f"{path}|{expires}|{issued}".encode(), hashlib.sha256).hexdigest()
