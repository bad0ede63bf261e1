"""People: what they write, and what else happens in channels without the app."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from tests.servers.discord import permissions
from tests.servers.discord.interactions import Interactions
from tests.servers.discord.messages import Mentions
from tests.servers.discord.places import REQUIRE_TAG
from tests.servers.discord.state import FORUM, PRIVATE_THREAD, PUBLIC_THREAD, Channel, Json, Message, User, iso

JOINED = 7
_MOST_TEXT = 4000
File = tuple[str, bytes]


class People(Interactions):
    """Acts as people do. Every method can be called from the test's thread."""

    def mention(self, text: str = "") -> str:
        """A text that begins with a mention of the bot."""
        return f"<@{self.bot.id}> {text}".strip()

    def say(
        self,
        user: str,
        channel: str,
        text: str,
        *,
        reply_to: str | None = None,
        files: Sequence[File] = (),
        ping: bool = True,
        stickers: Sequence[str] = (),
        poll: tuple[str, Sequence[str]] | None = None,
    ) -> str:
        """Write a message and return its id. `files` are (name, bytes); a reply pings its author unless `ping` is False."""
        with self.lock:
            room = self._writable(user, channel)
            assert len(text) <= _MOST_TEXT
            assert text.strip() or files or stickers or poll, "the message is empty"
            message = Message(self.snowflake(), channel, user, text.strip(), nonce=self.snowflake())
            for name, content in files:
                self.add_attachment(message, name, content)
            message.sticker_items = [{"id": self.snowflake(), "name": name, "format_type": 1} for name in stickers]
            if poll is not None:
                message.poll = _poll(*poll)
            if reply_to is not None:
                self._reply(message, room, reply_to, ping)
            self._write(message, room)
            return message.id

    def forward(self, user: str, channel: str, source: str, message: str) -> str:
        """Forward a message from the channel `source`."""
        with self.lock:
            room, origin = self._writable(user, channel), self.channels[source].find(message)
            assert origin is not None
            whole = self.message_json(origin, nested=True)
            names = "type content embeds attachments timestamp edited_timestamp flags mentions mention_roles components"
            forwarded = Message(self.snowflake(), channel, user, nonce=self.snowflake(), flags=1 << 14)
            forwarded.snapshots = [{"message": {name: whole[name] for name in names.split()}}]
            forwarded.reference = {"type": 1, "message_id": message, "channel_id": source}
            if self.channels[source].guild:
                forwarded.reference["guild_id"] = self.channels[source].guild
            self._write(forwarded, room)
            return forwarded.id

    def post(
        self, user: str, forum: str, title: str, text: str, tags: Iterable[str] = (), *, files: Sequence[File] = ()
    ) -> str:
        """Post in a forum and return the id of the post, which is its first message's, too. `tags` are names."""
        with self.lock:
            room = self._writable(user, forum, post=True)
            by_name = {tag["name"]: tag["id"] for tag in room.available_tags}
            chosen = tuple(by_name[name] for name in tags)
            assert len(chosen) <= 5
            assert chosen or not room.flags & REQUIRE_TAG, "the forum requires a tag"
            thread = self.new_thread(room, title, user, tags=chosen)
            message = Message(thread.id, thread.id, user, text.strip(), nonce=self.snowflake())
            for name, content in files:
                self.add_attachment(message, name, content)
            self._write(message, thread)
            return thread.id

    def start_thread(
        self, user: str, channel: str, name: str, message: str | None = None, *, private: bool = False
    ) -> str:
        """Start a thread, from a message or without one, and return its id."""
        with self.lock:
            room = self._seen_by(user, channel)
            origin = room.find(message) if message else None
            assert message is None or origin is not None, f"no message {message}"
            assert message is None or message not in self.channels, "the message has a thread"
            needed = permissions.CREATE_PRIVATE_THREADS if private else permissions.CREATE_PUBLIC_THREADS
            assert permissions.in_channel(self, room, user) & needed, f"{user} may not start threads here"
            kind = PRIVATE_THREAD if private else PUBLIC_THREAD
            return self.new_thread(room, name, user, message=origin, type=kind).id

    def add_to_thread(self, thread: str, user: str) -> None:
        """Let somebody add a user (or the bot) to a thread."""
        with self.lock:
            self._add(self.channels[thread], user)

    def edit(self, user: str, channel: str, message: str, text: str) -> None:
        """Let the author of a message change it."""
        with self.lock:
            found = self._own(user, channel, message)
            found.before.append(found.content)
            found.content = text.strip()
            self.understand_mentions(found)
            self.changed(found)

    def delete(self, user: str, channel: str, message: str) -> None:
        """Delete a message: its author, or who may manage messages."""
        with self.lock:
            room = self.channels[channel]
            found = room.find(message)
            assert found is not None, f"no message {message}"
            may = permissions.in_channel(self, room, user) & permissions.MANAGE_MESSAGES
            assert found.author == user or may, f"{user} may not delete {message}"
            self.remove(found)

    def delete_many(self, channel: str, messages: Sequence[str]) -> None:
        """Let a moderator's bot delete several messages at once."""
        with self.lock:
            room = self.channels[channel]
            for message in messages:
                found = room.find(message)
                assert found is not None, f"no message {message}"
                found.deleted = True
            data = {"ids": list(messages), "channel_id": channel, "guild_id": room.guild}
            self.announce("MESSAGE_DELETE_BULK", data, room)

    def unfurl(self, channel: str, message: str, url: str) -> None:
        """Show the page of a link under a message: an update that is no edit."""
        with self.lock:
            found = self.channels[channel].find(message)
            assert found is not None
            found.embeds.append({"type": "link", "url": url, "title": "A page"})
            self.changed(found, edited=False)

    def use_emoji(self, user: str, channel: str, message: str, emoji: str, *, take_back: bool = False) -> None:
        """React to a message, or take the reaction back."""
        with self.lock:
            found = self._seen_by(user, channel).find(message)
            assert found is not None
            (self.unreact if take_back else self.react)(found, user, emoji)

    # Neither people nor the app.

    def system_message(self, channel: str, user: str, type: int = JOINED) -> str:
        """What Discord says itself: that somebody joined (7), pinned (6), boosted (8)."""
        with self.lock:
            message = Message(self.snowflake(), channel, user, type=type)
            self.publish(message)
            return message.id

    def say_as_bot(self, bot: str, channel: str, text: str) -> str:
        """Let another bot write; see `add_user(name, bot=True)`."""
        with self.lock:
            assert self.users[bot].bot
            assert bot != self.bot.id
            return self.say(bot, channel, text)

    def say_by_webhook(self, channel: str, text: str, name: str = "Hook") -> str:
        """Let a webhook write."""
        with self.lock:
            id_ = self.snowflake()
            self.users[id_] = User(id_, name, bot=True, discriminator="0000")
            assert self.channels[channel].guild, "there are no webhooks in direct messages"
            message = Message(self.snowflake(), channel, id_, text, webhook_id=id_, application_id=self.snowflake())
            message.mentions = [user for user in Mentions(text).users if user in self.users]
            self.publish(message)
            return message.id

    # Helpers, called with the lock held.

    def _seen_by(self, user: str, channel: str) -> Channel:
        room = self.channels[channel]
        assert not room.deleted, f"{channel} is deleted"
        assert permissions.sees(self, room, user), f"{self.users[user].name} does not see {room.name or 'this'}"
        return room

    def _writable(self, user: str, channel: str, *, post: bool = False) -> Channel:
        room = self._seen_by(user, channel)
        assert (room.type == FORUM) is post, "posts are for forums, messages for other channels"
        may = permissions.in_channel(self, room, user)
        needed = permissions.SEND_MESSAGES_IN_THREADS if room.thread else permissions.SEND_MESSAGES
        assert may & needed, f"{self.users[user].name} may not write in {room.name}"
        locked = room.thread is not None and room.thread.locked
        assert not locked or may & permissions.MANAGE_THREADS, "the thread is locked"
        return room

    def _own(self, user: str, channel: str, id_: str) -> Message:
        found = self.channels[channel].find(id_)
        assert found is not None, f"no message {id_}"
        assert found.author == user, f"{id_} is not by {user}"
        return found

    def _reply(self, message: Message, room: Channel, id_: str, ping: bool) -> None:
        origin = room.find(id_)
        assert origin is not None, f"no message {id_}"
        message.type = 19
        message.reference = {"type": 0, "message_id": id_, "channel_id": room.id}
        if room.guild:
            message.reference["guild_id"] = room.guild
        if ping:
            message.mentions = [origin.author]

    def _write(self, message: Message, room: Channel) -> None:
        pinged = message.mentions
        self.understand_mentions(message)
        message.mentions += [user for user in pinged if user not in message.mentions]
        self.publish(message)
        if room.thread is not None:
            for user in message.mentions:
                self._add(room, user)

    def _add(self, room: Channel, user: str) -> None:
        """Make a member of a thread; the bot is told of a private one as if it were new."""
        assert room.thread is not None
        parent = self.channels[room.parent]
        if user in room.thread.members or not permissions.sees(self, parent, user):
            return
        unseen = user == self.bot.id and not permissions.sees(self, room, user)
        self.join_thread(room, user)
        if unseen:
            self.announce("THREAD_CREATE", self.channel_json(room), room)


def _poll(question: str, answers: Sequence[str]) -> Json:
    return {
        "question": {"text": question},
        "answers": [{"answer_id": number, "poll_media": {"text": text}} for number, text in enumerate(answers, 1)],
        "expiry": iso(time.time() + 86400),
        "allow_multiselect": False,
        "layout_type": 1,
    }
