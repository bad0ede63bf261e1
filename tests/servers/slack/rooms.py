"""Messages in channels: how they come, change and go, in which JSON Slack shows them, and which events follow."""

from __future__ import annotations

import time
from typing import Any

from tests.servers.slack.checks import wrong_blocks
from tests.servers.slack.shapes import Shapes
from tests.servers.slack.state import Channel, Json, Message, Notice, SlackError, Team
from tests.servers.slack.texts import pings_of, visible_text

_OF_THREADS = {"reply_count", "reply_users", "reply_users_count", "latest_reply", "subscribed", "is_locked"}
_MOST_RESPONSES, _RESPONSE_SECONDS = 5, 30 * 60


class Rooms(Shapes):
    """What happens to messages, whoever causes it."""

    def post(self, channel: Channel, message: Message, *, announce: bool = True) -> None:
        """Put a message into the channel and tell the app."""
        channel.messages.append(message)
        self.noticed(channel, message)
        if self.is_ours(message) and message.thread_ts:
            self.clear_status(channel.id, message.thread_ts)
        if announce:
            self.announce(channel, message)

    def announce(self, channel: Channel, message: Message) -> None:
        """Send the events of a new message: also an app_mention where the bot is mentioned."""
        body = self.message_json(channel, message) | {"channel": channel.id, "event_ts": message.ts}
        for name in _OF_THREADS:
            body.pop(name, None)
        for team in self.hearing(channel):
            self.mentioned(channel, message, team)
            self.emit(body | {"channel_type": channel.kind}, team=team.id, channel=channel)

    def mentioned(self, channel: Channel, message: Message, team: Team) -> None:
        """Send an app_mention where the bot is mentioned; of an edited message it comes once more, with `edited`."""
        mention = f"<@{team.bot_user}>" in message.text and message.user != team.bot_user
        if mention and channel.kind != "im" and message.subtype in {"", "file_share", "thread_broadcast"}:
            body = self.message_json(channel, message, metadata=False)
            event = {key: value for key, value in body.items() if key not in _OF_THREADS | {"subtype"}}
            at = (message.edited or {}).get("ts", message.ts)
            event |= {"type": "app_mention", "channel": channel.id, "event_ts": at}
            self.emit(event, team=team.id, channel=channel)

    def hearing(self, channel: Channel) -> list[Team]:
        """The workspaces whose bot is in the channel."""
        return [team for team in self.teams.values() if team.bot_user in channel.members]

    def changed(self, channel: Channel, message: Message, previous: Json) -> None:
        """Tell that a message is not what it was, and who is pinged by what it is now."""
        self.noticed(channel, message)
        event: Json = {
            "type": "message",
            "subtype": "message_changed",
            "message": self.message_json(channel, message) | {"source_team": channel.team, "user_team": channel.team},
            "previous_message": previous,
        }
        author = self.users.get(message.user)
        if author is not None:
            event["message"] |= {"source_team": author.team, "user_team": author.team}
        self._hidden(channel, event)

    def remove(self, channel: Channel, message: Message) -> None:
        """Delete a message; the root of a thread leaves a tombstone."""
        previous = self.message_json(channel, message)
        message.changed_at.append(time.monotonic())
        if any(item.thread_ts == message.ts and not item.deleted for item in channel.messages):
            message.subtype, message.user, message.text = "tombstone", "USLACKBOT", "This message was deleted."
            message.blocks, message.files, message.metadata, message.bot_id = None, [], None, ""
            tomb = self.message_json(channel, message) | {"hidden": True}
            event: Json = {"subtype": "message_changed", "message": tomb, "previous_message": previous}
            self._hidden(channel, {"type": "message"} | event)
            return
        message.deleted = True
        event = {
            "type": "message",
            "subtype": "message_deleted",
            "previous_message": previous,
            "deleted_ts": message.ts,
        }
        self._hidden(channel, event)

    def _hidden(self, channel: Channel, event: Json) -> None:
        at = self.now_ts()
        event |= {"channel": channel.id, "hidden": True, "ts": at, "event_ts": at, "channel_type": channel.kind}
        for team in self.hearing(channel):
            self.emit(event, team=team.id, channel=channel)

    def noticed(self, channel: Channel, message: Message) -> None:
        """Keep when the message was seen, and whom it pings when the app wrote it."""
        self.touched(channel, message, visible_text(message))
        if not self.is_ours(message):
            return
        known = {(notice.channel, notice.ts, notice.mention) for notice in self.notified}
        for mention in pings_of(message):
            if (channel.id, message.ts, mention) not in known:
                known.add((channel.id, message.ts, mention))
                self.notified.append(Notice(channel.id, message.ts, mention))

    def join_channel(self, channel: Channel, user: str, inviter: str = "") -> None:
        """Make a member and tell so: an event, and a message with a subtype."""
        if user in channel.members:
            return
        channel.members.append(user)
        member = self.users[user]
        at = self.now_ts()
        event = {"type": "member_joined_channel", "user": user, "channel": channel.id, "team": member.team}
        event |= {"channel_type": "C" if channel.kind == "channel" else "G", "event_ts": at}
        event |= {"inviter": inviter} if inviter else {}
        for team in self.hearing(channel):
            self.emit(event, team=team.id, channel=channel)
        if channel.kind != "im":
            text = f"<@{user}> has joined the channel"
            self.post(channel, Message(self.now_ts(), user, text, channel.team, subtype=f"{channel.kind}_join"))

    def reacted(self, channel: Channel, message: Message, user: str, name: str) -> None:
        """Add somebody's reaction and tell the app."""
        message.reactions.setdefault(name, []).append(user)
        event: Json = {"type": "reaction_added", "user": user, "reaction": name, "item_user": message.user}
        event |= {"item": {"type": "message", "channel": channel.id, "ts": message.ts}, "event_ts": self.now_ts()}
        for team in self.hearing(channel):
            self.emit(event, team=team.id, channel=channel)

    def dm_channel(self, user: str, team: str) -> Channel:
        """The direct messages of a user and the app."""
        bot = self.teams[team].bot_user
        for channel in self.channels.values():
            if channel.kind == "im" and channel.members == [user, bot]:
                return channel
        id_ = self.new_id("D")
        self.channels[id_] = Channel(id_, "directmessage", team, [user, bot], "im")
        return self.channels[id_]

    def new_file(self, user: str, name: str, team: str, media_type: str) -> Json:
        """A file without content yet."""
        id_ = self.new_id("F")
        ending = name.rpartition(".")[2].lower()
        file: Json = {
            "id": id_,
            "created": int(time.time()),
            "timestamp": int(time.time()),
            "name": name,
            "title": name,
            "mimetype": media_type,
            "filetype": ending,
            "pretty_type": ending.upper(),
            "user": user,
            "user_team": self.users[user].team,
            "editable": False,
            "size": 0,
            "mode": "hosted",
            "is_external": False,
            "external_type": "",
            "is_public": False,
            "public_url_shared": False,
            "display_as_bot": False,
            "username": "",
            "url_private": f"{self.url}/files-pri/{team}-{id_}/{name}",
            "url_private_download": f"{self.url}/files-pri/{team}-{id_}/download/{name}",
            "permalink": f"https://{self.teams[self.team.id].domain}.slack.com/files/{user}/{id_}/{name}",
            "has_rich_preview": False,
            "file_access": "visible",
            "_team": team,
            "_state": "shared",
        }
        self.files[id_] = file
        return file

    # Streams, statuses and response_urls.

    def expire(self, message: Message) -> None:
        """End a stream whose time is over."""
        if message.streaming == "streaming" and time.monotonic() >= message.stream_ends:
            message.streaming = "expired"

    def clear_status(self, channel: str, thread_ts: str) -> None:
        """Take the status of a thread away, as each message of the app does."""
        if self.statuses.pop((channel, thread_ts), None) is not None:
            self.status_log.append((channel, thread_ts, "", time.monotonic()))

    def set_status(self, channel: str, thread_ts: str, status: str, messages: list[str]) -> None:
        """Show a status until it is cleared or its time is over."""
        key, now = (channel, thread_ts), time.monotonic()
        self.status_log.append((*key, status, now))
        if not status:
            self.statuses.pop(key, None)
            return
        self.statuses[key] = {"status": status, "loading_messages": messages, "at": now}

        def over() -> None:
            with self.lock:
                if self.statuses.get(key, {}).get("at") == now:
                    self.clear_status(channel, thread_ts)

        self._soon(self._call_later, self.status_seconds, over)

    def response_url(self, user: str, channel: str, ts: str = "", thread_ts: str = "", ephemeral: bool = False) -> str:
        """A new response_url for something that a person did."""
        key = self.new_id("R")
        kept = {"user": user, "channel": channel, "ts": ts, "thread_ts": thread_ts, "posts": 0}
        kept |= {"ends": time.monotonic() + _RESPONSE_SECONDS, "ephemeral": ephemeral}
        self.response_urls[key] = kept
        return f"{self.url}/response/{key}"

    def respond(self, key: str, body: Any, *, counted: bool = True) -> None:
        """What the app posts to a response_url, or answers to a command."""
        kept = self.response_urls.get(key)
        if kept is None or time.monotonic() > kept["ends"]:
            raise SlackError("expired_url", status=404)
        if counted:
            if kept["posts"] >= _MOST_RESPONSES:
                self.violations.append("response_url: more than five posts")
                raise SlackError("used_url", status=404)
            kept["posts"] += 1
        self._check_response(body)
        channel = self.channels[kept["channel"]]
        original = next((item for item in channel.ephemerals if item.ts == kept["ts"] and not item.deleted), None)
        original = original or channel.find(kept["ts"])
        if body.get("delete_original"):
            if original is not None:
                self._take_away(channel, original)
            return
        if body.get("replace_original") and original is not None:
            previous = self.message_json(channel, original)
            original.text, original.blocks = body.get("text", ""), body.get("blocks")
            if original.only_for:
                self.noticed(channel, original)
            else:
                self.changed(channel, original, previous)
            return
        team = self.teams[channel.team]
        message = Message(self.now_ts(), team.bot_user, body.get("text", ""), team.id, bot_id=team.bot_id)
        message.blocks, message.thread_ts = body.get("blocks"), body.get("thread_ts", "")
        if body.get("response_type") == "in_channel":
            self.post(channel, message)
        else:
            self.whisper(channel, message, kept["user"])

    def _take_away(self, channel: Channel, message: Message) -> None:
        if message.only_for:
            message.deleted = True
        else:
            self.remove(channel, message)

    def whisper(self, channel: Channel, message: Message, user: str) -> None:
        """Show an ephemeral message to one person."""
        message.only_for = user
        channel.ephemerals.append(message)
        self.noticed(channel, message)

    def _check_response(self, body: Any) -> None:
        known = {"text", "blocks", "attachments", "response_type", "replace_original", "delete_original", "thread_ts"}
        known |= {"unfurl_links", "unfurl_media", "metadata", "mrkdwn"}
        if not isinstance(body, dict):
            raise SlackError("invalid_payload", status=400)
        if body.keys() - known:
            self.violations.append(f"response_url: unknown fields {sorted(body.keys() - known)}")
        if body.get("response_type", "ephemeral") not in {"ephemeral", "in_channel"}:
            raise SlackError("invalid_response_type", status=400)
        if not body.get("delete_original") and not body.get("text") and not body.get("blocks"):
            raise SlackError("no_text", status=500)
        wrong = wrong_blocks(body["blocks"]) if body.get("blocks") else None
        if wrong:
            self.violations.append(f"response_url: {wrong}")
            raise SlackError(wrong[0], status=400)
