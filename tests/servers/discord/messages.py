"""What happens to messages and threads, whoever causes it: kept, counted, told to the gateway."""

from __future__ import annotations

import re
import time

from tests.servers.discord import permissions
from tests.servers.discord.places import Places
from tests.servers.discord.shapes import HAS_THREAD, STARTER, THREAD_CREATED
from tests.servers.discord.state import NEWS, NEWS_THREAD, PUBLIC_THREAD, Channel, Json, Message, Thread, iso

_CODE = re.compile(r"```.*?```|``.*?``|`[^`]*`", re.DOTALL)
_USER, _ROLE, _ALL = re.compile(r"<@!?(\d{15,20})>"), re.compile(r"<@&(\d{15,20})>"), re.compile(r"@(everyone|here)\b")


class Mentions:
    """Whom a text mentions, outside of code."""

    def __init__(self, text: str) -> None:
        plain = _CODE.sub(" ", text)
        self.users = list(dict.fromkeys(_USER.findall(plain)))
        self.roles = list(dict.fromkeys(_ROLE.findall(plain)))
        self.everyone = list(dict.fromkeys(_ALL.findall(plain)))


class Messages(Places):
    """Posts, changes and removes messages; starts threads. Called with the lock held."""

    def room_of(self, message: Message) -> Channel:
        """Where a message is."""
        return self.channels[message.channel]

    def publish(self, message: Message, *, announce: bool = True) -> None:
        """Keep a new message and tell of it. In an archived thread it unarchives the thread."""
        channel = self.room_of(message)
        if message.only_for:
            channel.ephemerals.append(message)
        else:
            channel.messages.append(message)
            if channel.thread is not None:
                self._posted_in_thread(channel, channel.thread, message)
        if announce:
            data = self.message_json(message, event=True)
            if message.nonce is not None:
                data["nonce"] = message.nonce
            self.announce("MESSAGE_CREATE", data, channel)

    def _posted_in_thread(self, channel: Channel, thread: Thread, message: Message) -> None:
        if message.type != STARTER and message.id != channel.id:
            thread.total += 1
        if thread.archived:
            thread.archived, thread.archived_at = False, iso()
            self.channel_changed(channel)
        if message.type != STARTER:
            self.join_thread(channel, message.author)

    def join_thread(self, channel: Channel, user: str) -> None:
        """Make somebody a member of a thread."""
        assert channel.thread is not None
        if user in channel.thread.members:
            return
        channel.thread.members[user] = iso()
        data = {
            "id": channel.id,
            "guild_id": channel.guild,
            "member_count": min(len(channel.thread.members), 50),
            "added_members": [self.thread_member_json(channel, user)],
        }
        self.announce("THREAD_MEMBERS_UPDATE", data, channel)

    def changed(self, message: Message, *, edited: bool = True) -> None:
        """Tell of a change that was made to a message; with `edited` its author made it."""
        if edited:
            message.edited_at = iso()
            message.changed_at.append(time.monotonic())
        self.announce("MESSAGE_UPDATE", self.message_json(message, event=True), self.room_of(message))

    def remove(self, message: Message) -> None:
        """Delete a message. Its thread stays."""
        message.deleted = True
        channel = self.room_of(message)
        data = {"id": message.id, "channel_id": channel.id}
        if channel.guild:
            data["guild_id"] = channel.guild
        self.announce("MESSAGE_DELETE", data, channel)

    def new_thread(
        self,
        parent: Channel,
        name: str,
        owner: str,
        *,
        message: Message | None = None,
        type: int = PUBLIC_THREAD,
        auto_archive: int = 1440,
        slowmode: int = 0,
        invitable: bool = True,
        tags: tuple[str, ...] = (),
    ) -> Channel:
        """Start a thread, from a message or without one. The first message of a forum's post is up to the caller."""
        id_ = message.id if message else self.snowflake()
        kind = NEWS_THREAD if parent.type == NEWS and type == PUBLIC_THREAD else type
        now = iso()
        thread = Thread(parent.id, owner, now, False, False, invitable, auto_archive, now, {owner: now}, list(tags))
        channel = Channel(id_, kind, name, parent.guild, parent=parent.id, slowmode=slowmode, thread=thread)
        self.channels[id_] = channel
        self.announce("THREAD_CREATE", self.channel_json(channel) | {"newly_created": True}, channel)
        if message is not None:
            message.thread, message.flags = id_, message.flags | HAS_THREAD
            self.changed(message, edited=False)
            reference = {"type": 0, "message_id": message.id, "channel_id": parent.id, "guild_id": parent.guild}
            self.publish(Message(self.snowflake(), id_, owner, type=STARTER, reference=reference))
        elif parent.type in {0, NEWS} and kind != 12:
            reference = {"type": 0, "channel_id": id_, "guild_id": parent.guild}
            self.publish(Message(self.snowflake(), parent.id, owner, name, type=THREAD_CREATED, reference=reference))
        return channel

    def understand_mentions(self, message: Message) -> None:
        """Fill in whom a person's message mentions."""
        channel, found = self.room_of(message), Mentions(message.content)
        may = permissions.in_channel(self, channel, message.author)
        message.mentions = [user for user in found.users if user in self.users]
        roles = self.guilds[channel.guild].roles if channel.guild else {}
        message.mention_roles = [role for role in found.roles if role in roles]
        message.mention_everyone = bool(found.everyone) and bool(may & permissions.MENTION_EVERYONE)

    # Reactions and typing.

    def react(self, message: Message, user: str, emoji: str) -> None:
        """Let somebody react to a message."""
        who = message.reactions.setdefault(emoji, [])
        if user not in who:
            who.append(user)
            self._reacted("MESSAGE_REACTION_ADD", message, user, emoji)

    def unreact(self, message: Message, user: str, emoji: str) -> None:
        """Let somebody take a reaction back."""
        who = message.reactions.get(emoji, [])
        if user in who:
            who.remove(user)
            self._reacted("MESSAGE_REACTION_REMOVE", message, user, emoji)

    def _reacted(self, event: str, message: Message, user: str, emoji: str) -> None:
        channel = self.room_of(message)
        data: Json = {
            "user_id": user,
            "channel_id": channel.id,
            "message_id": message.id,
            "emoji": {"id": None, "name": emoji},
            "burst": False,
            "type": 0,
        }
        if channel.guild:
            data["guild_id"] = channel.guild
            member = self.guilds[channel.guild].members.get(user)
            if member is not None and event == "MESSAGE_REACTION_ADD":
                data |= {"member": self.member_json(member), "message_author_id": message.author}
        self.announce(event, data, channel)

    def show_typing(self, channel: Channel) -> None:
        """Let the bot be shown as typing."""
        self.typings.append((channel.id, time.monotonic()))
        data: Json = {"channel_id": channel.id, "user_id": self.bot.id, "timestamp": int(time.time())}
        if channel.guild:
            data |= {"guild_id": channel.guild}
            data["member"] = self.member_json(self.guilds[channel.guild].members[self.bot.id])
        self.announce("TYPING_START", data, channel)
