"""The JSON in which Slack shows people, channels, messages, views and files."""

from __future__ import annotations

import copy

from tests.servers.slack.deliveries import Deliveries
from tests.servers.slack.state import Channel, Json, Message, Team, User, View


class Shapes(Deliveries):
    """What things look like, in answers and in events."""

    def user_json(self, user: User, team: Team) -> Json:
        """A user as users.info gives it; of a stranger only what Slack Connect shows."""
        name = user.name
        profile = {
            "real_name": name.title(),
            "real_name_normalized": name.title(),
            "display_name": name,
            "display_name_normalized": name,
            "title": "",
            "image_48": f"{self.url}/avatars/{user.id}.png",
            "team": user.team,
        }
        stranger = user.team != team.id and not user.workspaces
        found = {
            "id": user.id,
            "team_id": user.team,
            "name": name,
            "deleted": user.deleted,
            "real_name": name.title(),
            "profile": profile,
            "is_bot": user.bot,
            "is_app_user": False,
            "updated": 1_700_000_000,
            "is_restricted": user.guest,
            "is_ultra_restricted": False,
        }
        if user.workspaces:
            organisation = {
                "id": f"W{user.id[1:]}",
                "enterprise_id": "E0LOCAL001",
                "enterprise_name": "Local",
                "teams": [],
            }
            found["enterprise_user"] = organisation | {"teams": list(user.workspaces)}
        if stranger:
            return found | {"is_stranger": True}
        if "users:read.email" in team.scopes and not user.bot:
            profile["email"] = f"{name}@example.com"
        if user.bot:
            profile |= {"bot_id": user.bot_id, "api_app_id": self.app_id if user.id == team.bot_user else ""}
        admin = {"is_admin": user.admin, "is_owner": False, "is_primary_owner": False}
        zone = {"tz": "Europe/Amsterdam", "tz_label": "Central European Time", "tz_offset": 3600}
        return found | admin | zone | {"color": "9f69e7", "is_email_confirmed": True, "locale": "en-US"}

    def channel_json(self, channel: Channel, team: Team) -> Json:
        """A channel as conversations.info gives it."""
        base = {"id": channel.id, "created": 1_700_000_000, "is_archived": channel.archived, "is_org_shared": False}
        base |= {"is_im": channel.kind == "im", "context_team_id": team.id, "updated": 1_700_000_000_000}
        if channel.kind == "im":
            others = [member for member in channel.members if member != team.bot_user]
            return base | {"user": others[0] if others else team.bot_user, "is_user_deleted": False, "priority": 0}
        return base | {
            "name": channel.name,
            "name_normalized": channel.name,
            "is_channel": channel.kind == "channel",
            "is_group": channel.kind == "group",
            "is_mpim": channel.kind == "mpim",
            "is_private": channel.kind != "channel",
            "is_general": False,
            "is_shared": channel.shared,
            "is_ext_shared": channel.shared,
            "is_pending_ext_shared": False,
            "is_member": team.bot_user in channel.members,
            "creator": channel.members[0] if channel.members else "",
            "topic": {"value": "", "creator": "", "last_set": 0},
            "purpose": {"value": "", "creator": "", "last_set": 0},
            "previous_names": [],
            "shared_team_ids": sorted({self._home_in(channel, member) for member in channel.members} | {channel.team}),
        }

    def _home_in(self, channel: Channel, member: str) -> str:
        """The workspace by which somebody is in a channel."""
        user = self.users[member]
        return channel.team if channel.team in user.workspaces else user.team

    def message_json(self, channel: Channel, message: Message, *, metadata: bool = True) -> Json:
        """A message as history and events give it."""
        team = self.teams[channel.team]
        found: Json = {"type": "message", "user": message.user, "ts": message.ts, "text": message.text}
        found["team"] = team.id
        if message.client_msg_id:
            found["client_msg_id"] = message.client_msg_id
        if message.subtype:
            found["subtype"] = message.subtype
        if message.bot_id:
            found |= self._bot_fields(message)
        if message.blocks is not None:
            found["blocks"] = copy.deepcopy(message.blocks)
        if message.attachments:
            found["attachments"] = copy.deepcopy(message.attachments)
        if message.files:
            found |= {"files": copy.deepcopy(message.files), "upload": False, "display_as_bot": False}
        if message.edited:
            found["edited"] = dict(message.edited)
        if message.metadata and metadata:
            found["metadata"] = copy.deepcopy(message.metadata)
        if message.reactions:
            pairs = message.reactions.items()
            found["reactions"] = [{"name": name, "users": list(who), "count": len(who)} for name, who in pairs]
        author = self.users.get(message.user)
        if author is not None and author.team != channel.team:
            found |= {"user_team": author.team, "source_team": author.team}
            found["user_profile"] = {"name": author.name, "real_name": author.name.title(), "team": author.team}
            found["user_profile"] |= {"display_name": author.name, "is_restricted": False, "is_ultra_restricted": False}
        return found | self._thread_fields(channel, message)

    def _bot_fields(self, message: Message) -> Json:
        ours = self.is_ours(message)
        app = self.app_id if ours else "A00OTHER001"
        profile = {"id": message.bot_id, "deleted": False, "name": "support-agent" if ours else "other", "updated": 1}
        profile |= {"app_id": app, "icons": {}, "team_id": message.team}
        return {"bot_id": message.bot_id, "app_id": app, "bot_profile": profile}

    def _thread_fields(self, channel: Channel, message: Message) -> Json:
        if message.thread_ts:
            root = next((item for item in channel.messages if item.ts == message.thread_ts), None)
            fields = {"thread_ts": message.thread_ts}
            return fields | ({"parent_user_id": root.user} if root is not None else {})
        replies = [item for item in channel.messages if item.thread_ts == message.ts and not item.deleted]
        if not replies:
            return {}
        users = list(dict.fromkeys(reply.user for reply in replies))
        counts = {"reply_count": len(replies), "reply_users_count": len(users), "reply_users": users}
        return {
            "thread_ts": message.ts,
            **counts,
            "latest_reply": replies[-1].ts,
            "is_locked": False,
            "subscribed": False,
        }

    def file_json(self, file: Json) -> Json:
        """A file without what only the server knows."""
        return {name: value for name, value in file.items() if not name.startswith("_")}

    def view_json(self, view: View, values: Json | None = None) -> Json:
        """A view as views.open gives it and submissions carry it."""
        team = self.teams[view.team]
        defaults: Json = {"private_metadata": "", "callback_id": "", "external_id": "", "title": None, "submit": None}
        defaults |= {"close": None, "clear_on_close": False, "notify_on_close": False}
        return defaults | {
            **copy.deepcopy(view.body),
            "id": view.id,
            "team_id": team.id,
            "state": {"values": values or {}},
            "hash": view.hash,
            "previous_view_id": view.previous or None,
            "root_view_id": view.root,
            "app_id": self.app_id,
            "app_installed_team_id": team.id,
            "bot_id": team.bot_id,
        }
