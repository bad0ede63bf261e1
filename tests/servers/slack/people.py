"""People: who is there, and what they say and do."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from tests.servers.slack.rooms import Rooms
from tests.servers.slack.state import SCOPES, Channel, Json, Message, Team, User
from tests.servers.slack.texts import rich_text, typed


class People(Rooms):
    """Acts as people do. Every method can be called from the test's thread."""

    def add_team(self, name: str, *, scopes: Iterable[str] = SCOPES, installed: bool = True) -> Team:
        """Another workspace; not installed, it waits for OAuth."""
        with self.lock:
            return self._new_team(name, list(scopes), installed)

    def add_foreign_team(self) -> str:
        """The id of a workspace where the app is not, for people of Slack Connect."""
        return self.new_id("T")

    def add_user(
        self,
        name: str,
        *,
        admin: bool = False,
        guest: bool = False,
        team: str | Team | None = None,
        bot: bool = False,
    ) -> str:
        """A person (or another app's bot); of another workspace where `team` says so."""
        with self.lock:
            home = team.id if isinstance(team, Team) else team or self.team.id
            id_ = self.new_id("U")
            bot_id = self.new_id("B") if bot else ""
            stranger = home not in self.teams
            self.users[id_] = User(id_, name, home, admin, guest, bot, bot_id, stranger)
            return id_

    def add_channel(
        self,
        name: str,
        members: Sequence[str] = (),
        *,
        private: bool = False,
        shared: bool = False,
        bot_in: bool = True,
        team: Team | None = None,
    ) -> str:
        """A channel; with `shared` one of Slack Connect."""
        with self.lock:
            home = team or self.team
            id_ = self.new_id("C")
            kind = "group" if private else "channel"
            everybody = [*members, *([home.bot_user] if bot_in else [])]
            self.channels[id_] = Channel(id_, name, home.id, everybody, kind, shared)
            return id_

    def dm(self, user: str, team: Team | None = None) -> str:
        """The direct message channel of this user and the app."""
        with self.lock:
            return self.dm_channel(user, (team or self.teams.get(self.users[user].team) or self.team).id).id

    def mention(self, text: str = "", team: Team | None = None) -> str:
        """A text that begins with a mention of the bot."""
        return f"<@{(team or self.team).bot_user}> {text}".strip()

    # What people say.

    def say(
        self,
        user: str,
        channel: str,
        text: str,
        *,
        thread_ts: str | None = None,
        files: Sequence[str] = (),
        subtype: str | None = None,
        blocks: list[Json] | None = None,
        announce: bool = True,
    ) -> str:
        """Write a message and return its ts. `files` are ids. Without `announce` no event is sent."""
        with self.lock:
            room = self.channels[channel]
            assert user in room.members or subtype, f"{user} is not in {room.name}"
            message = Message(self.now_ts(), user, typed(text), room.team, thread_ts or "", subtype=subtype or "")
            if subtype is None or subtype in {"file_share", "thread_broadcast", "me_message"}:
                message.client_msg_id = str(uuid.uuid4())
                if text:
                    message.blocks = blocks or rich_text(text, self.new_id("k"))
            author = self.users.get(user)
            if author is not None and author.bot:
                message.bot_id, message.client_msg_id = author.bot_id, ""
            message.files = [self.file_json(self.files[file]) for file in files]
            self.post(room, message, announce=announce)
            return message.ts

    def bot_says(self, bot: str, channel: str, text: str, *, thread_ts: str | None = None, legacy: bool = False) -> str:
        """Let another app's bot write; `legacy` ones have the subtype bot_message and no user."""
        with self.lock:
            room = self.channels[channel]
            message = Message(self.now_ts(), bot, text, room.team, thread_ts or "", self.users[bot].bot_id)
            if legacy:
                message.subtype, message.user = "bot_message", ""
            self.post(room, message)
            return message.ts

    def edit(self, channel: str, ts: str, text: str) -> None:
        """Let the author of a message change it."""
        with self.lock:
            room = self.channels[channel]
            message = room.find(ts)
            assert message is not None
            previous = self.message_json(room, message)
            message.text, message.blocks = typed(text), rich_text(text, self.new_id("k"))
            message.edited = {"user": message.user, "ts": self.now_ts()}
            self.changed(room, message, previous)
            for team in self.hearing(room):
                self.mentioned(room, message, team)

    def delete(self, channel: str, ts: str) -> None:
        """Delete a message; one with replies leaves a tombstone."""
        with self.lock:
            room = self.channels[channel]
            message = room.find(ts)
            assert message is not None
            self.remove(room, message)

    def share_file(
        self,
        user: str,
        channel: str,
        name: str,
        content: bytes,
        media_type: str = "text/plain",
        text: str = "",
        *,
        thread_ts: str | None = None,
        check_info: bool = False,
    ) -> str:
        """Send a file. With `check_info` the event tells only that files.info has to be asked."""
        with self.lock:
            room = self.channels[channel]
            file = self.new_file(user, name, room.team, media_type)
            file["size"] = len(content)
            self.contents[file["id"]] = content
            ts = self.say(
                user, channel, text, thread_ts=thread_ts, files=[file["id"]], subtype="file_share", announce=False
            )
            message = room.find(ts)
            assert message is not None
            if check_info:
                message.files = [{"id": file["id"], "mode": "file_access", "file_access": "check_file_info"}]
            self.announce(room, message)
            return ts

    def react(self, user: str, channel: str, ts: str, name: str) -> None:
        """React to a message with an emoji."""
        with self.lock:
            room = self.channels[channel]
            message = room.find(ts)
            assert message is not None
            self.reacted(room, message, user, name)

    # What people do.

    def open_messages_tab(self, user: str, team: Team | None = None, context: Json | None = None) -> None:
        """Open the conversation with the app."""
        self._opened(user, team, {"tab": "messages"} | ({"context": context} if context is not None else {}))

    def open_home_tab(self, user: str, team: Team | None = None) -> None:
        """Open the app's home."""
        with self.lock:
            home = self.home_view(user)
            self._opened(user, team, {"tab": "home"} | ({"view": self.view_json(home)} if home else {}))

    def _opened(self, user: str, team: Team | None, more: Json) -> None:
        with self.lock:
            home = team or self.teams.get(self.users[user].team) or self.team
            channel = self.dm_channel(user, home.id)
            event: Json = {"type": "app_home_opened", "user": user, "channel": channel.id, "event_ts": self.now_ts()}
            self.emit(event | more, team=home.id, channel=channel)

    def change_context(self, user: str, entities: list[Json]) -> None:
        """Look at something else while the app's conversation is open."""
        with self.lock:
            channel = self.dm_channel(user, self.team.id)
            event = {"type": "app_context_changed", "user": user, "channel": channel.id, "event_ts": self.now_ts()}
            self.emit(event | {"context": {"entities": entities}}, team=self.team.id, channel=channel)

    def start_assistant_thread(self, user: str) -> str:
        """Open the legacy assistant, and return the thread's ts."""
        with self.lock:
            channel = self.dm_channel(user, self.team.id)
            root = Message(self.now_ts(), self.bot_user, "New Assistant Thread", self.team.id, bot_id=self.team.bot_id)
            root.subtype = "assistant_app_thread"
            self.post(channel, root)
            thread = {"user_id": user, "channel_id": channel.id, "thread_ts": root.ts, "context": {}}
            event: Json = {"type": "assistant_thread_started", "assistant_thread": thread, "event_ts": self.now_ts()}
            self.emit(event, team=self.team.id, channel=channel)
            return root.ts

    def change_thread_context(self, user: str, thread_ts: str) -> None:
        """Look at another channel while the legacy assistant is open."""
        with self.lock:
            channel = self.dm_channel(user, self.team.id)
            thread: Json = {"user_id": user, "channel_id": channel.id, "thread_ts": thread_ts}
            thread |= {"context": {"channel_id": "C0OTHER001", "team_id": self.team.id, "enterprise_id": None}}
            event: Json = {"type": "assistant_thread_context_changed", "assistant_thread": thread}
            self.emit(event | {"event_ts": self.now_ts()}, team=self.team.id, channel=channel)

    def stop_session(self, user: str, channel: str, thread_ts: str) -> list[str]:
        """Press the stop button: streams of the thread end. Their ts are returned."""
        with self.lock:
            room = self.channels[channel]
            stopped = []
            for message in room.messages:
                self.expire(message)
                if message.thread_ts == thread_ts and message.streaming == "streaming":
                    message.streaming = "stopped_by_user"
                    stopped.append(message.ts)
            event: Json = {"type": "agent_session_stopped", "user": user, "channel": channel, "thread_ts": thread_ts}
            event |= {"streaming_message_ts": stopped, "event_ts": self.now_ts()}
            for team in self.hearing(room):
                self.emit(event, team=team.id, channel=room)
            return stopped

    def join(self, user: str, channel: str, inviter: str = "") -> None:
        """Let somebody (or the bot) join a channel."""
        with self.lock:
            self.join_channel(self.channels[channel], user, inviter)

    def remove_bot(self, channel: str) -> None:
        """Take the bot out of a channel."""
        with self.lock:
            room = self.channels[channel]
            room.members.remove(self.teams[room.team].bot_user)
            home = self.teams[room.team]
            event = {"type": "channel_left" if room.kind == "channel" else "group_left", "channel": channel}
            event |= {"actor_id": room.members[0] if room.members else "", "event_ts": self.now_ts()}
            self.emit(event, team=home.id, channel=room)

    def archive(self, channel: str, user: str = "") -> None:
        """Archive a channel."""
        with self.lock:
            room = self.channels[channel]
            room.archived = True
            event = {"type": "channel_archive", "channel": channel, "user": user, "event_ts": self.now_ts()}
            for team in self.hearing(room):
                self.emit(event, team=team.id, channel=room)

    def revoke_tokens(self, team: Team | None = None) -> None:
        """Revoke the bot's token."""
        with self.lock:
            home = team or self.team
            home.refused = "token_revoked"
            event: Json = {"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [home.bot_user]}}
            self.emit(event | {"event_ts": self.now_ts()}, team=home.id)

    def uninstall(self, team: Team | None = None) -> None:
        """Remove the app from the workspace."""
        with self.lock:
            home = team or self.team
            home.refused, home.installed = "account_inactive", False
            tokens: Json = {"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [home.bot_user]}}
            self.emit(tokens | {"event_ts": self.now_ts()}, team=home.id)
            self.emit({"type": "app_uninstalled", "event_ts": self.now_ts()}, team=home.id)
