"""How the bot's messages come to be: from the body of a request, checked; and whom and what they touch."""

from __future__ import annotations

import copy
import mimetypes
import re
import time
from dataclasses import dataclass

from tests.servers.discord import permissions
from tests.servers.discord.checks import COMPONENTS_V2, Form, check_message, numbered, walk
from tests.servers.discord.messages import Mentions
from tests.servers.discord.shapes import EPHEMERAL, LOADING, SUPPRESS_EMBEDS, SUPPRESS_NOTIFICATIONS
from tests.servers.discord.state import DM, Channel, DiscordError, Json, Message, Notice
from tests.servers.discord.watching import Watching

_LINK = re.compile(r"(?<!<)https?://[^\s<>]+|<https?://[^\s<>]+(?!>)(?=\s|$)", re.IGNORECASE)
_CODE = re.compile(r"```.*?```|``.*?``|`[^`]*`", re.DOTALL)
_CREATE = {
    *("content", "nonce", "tts", "embeds", "allowed_mentions", "message_reference", "components", "sticker_ids"),
    *("attachments", "flags", "enforce_nonce", "poll", "shared_client_theme"),
}
_EDIT = {"content", "embeds", "flags", "allowed_mentions", "components", "attachments", "sticker_ids", "poll"}
# discord.py always says "tts", also in an edit, where Discord does not look at it.
_HARMLESS = {"tts"}
_WEBHOOK = {"username", "avatar_url", "thread_name", "applied_tags"}
_REPLYABLE = {0, 19, 20, 23}
MOST_FILE = 10 * 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """A part `files[n]` of a multipart request."""

    index: int
    name: str
    content: bytes
    type: str


class Writing(Watching):
    """Builds and changes the bot's messages. Called with the lock held."""

    def compose(self, channel: Channel, body: Json, files: list[Upload], *, webhook: bool = False) -> Message:
        """The message of a body as it will be posted. Raises what Discord says about a wrong one."""
        self._known(body, _CREATE | (_WEBHOOK if webhook else set()), "a message")
        flags = self._flags(body, webhook)
        check_message(body, v2=bool(flags & COMPONENTS_V2))
        message = Message(self.snowflake(), channel.id, self.bot.id, flags=flags)
        message.content = (body.get("content") or "").strip()
        message.nonce, message.tts = body.get("nonce"), bool(body.get("tts"))
        message.components = numbered(copy.deepcopy(body.get("components") or []))
        message.poll = body.get("poll")
        self._attach(message, body.get("attachments"), files)
        if body.get("message_reference") is not None:
            self._refer(message, channel, body["message_reference"])
        embeds = body.get("embeds") or []
        rest = message.components or message.attachments or message.poll or message.snapshots or body.get("sticker_ids")
        if not (message.content or embeds or rest):
            raise DiscordError(400, 50006, "Cannot send an empty message")
        message.embeds = self._shown_embeds(channel, embeds, webhook)
        if not (message.content or message.embeds or rest):
            raise DiscordError(403, 50013, "Missing Permissions")
        self._mention(message, channel, body.get("allowed_mentions"), notify=not flags & EPHEMERAL)
        self._unfurl(message, channel)
        return message

    def rewrite(self, message: Message, body: Json, files: list[Upload], *, webhook: bool = False) -> None:
        """Change a message as the body says; what it does not name stays."""
        self._known(body, _EDIT | _HARMLESS, "an edit")
        flags = self._edited_flags(message, body.get("flags"))
        v2 = bool(flags & COMPONENTS_V2)
        check_message(body, v2=v2)
        after = copy.copy(message)
        after.flags = flags & ~LOADING
        channel = self.room_of(message)
        if "content" in body:
            after.content = (body["content"] or "").strip()
        if "embeds" in body:
            after.embeds = self._shown_embeds(channel, body["embeds"] or [], webhook)
        if "components" in body:
            after.components = numbered(copy.deepcopy(body["components"] or []))
        kept = body.get("attachments")
        if files or "attachments" in body:
            if kept is not None:
                known = {str(item.get("id")) for item in kept}
                after.attachments = [item for item in message.attachments if item["id"] in known]
            self._attach(after, [item for item in kept or [] if not _is_kept(item, message)], files)
        if v2 and (after.content or after.embeds):
            form = Form()
            code = "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"
            form.wrong(("content",), code, "content and embeds must be set to null when IS_COMPONENTS_V2 is set")
            form.check()
        if not (after.content or after.embeds or body.get("embeds") or after.components or after.attachments):
            raise DiscordError(400, 50006, "Cannot send an empty message")
        if "content" in body or "allowed_mentions" in body:
            self._mention(after, channel, body.get("allowed_mentions"), notify=False)
        message.before.append(message.content)
        for name in ("content", "embeds", "components", "attachments", "flags"):
            setattr(message, name, getattr(after, name))
        message.mentions, message.mention_roles = after.mentions, after.mention_roles
        message.mention_everyone = after.mention_everyone
        self._unfurl(message, channel)

    def _known(self, body: Json, known: set[str], what: str) -> None:
        for name in sorted(body.keys() - known):
            self.violated(f"{what} has no field {name!r}")

    # Flags.

    def _flags(self, body: Json, webhook: bool) -> int:
        flags = body.get("flags") or 0
        form = Form()
        form.number(flags, ("flags",), 0, 2**53)
        form.check()
        allowed = SUPPRESS_EMBEDS | SUPPRESS_NOTIFICATIONS | COMPONENTS_V2 | (EPHEMERAL if webhook else 0)
        if flags & ~allowed:
            self.violated(f"flags that cannot be set: {flags & ~allowed}")
        return int(flags & allowed)

    def _edited_flags(self, message: Message, flags: int | None) -> int:
        if flags is None:
            return message.flags
        if message.flags & COMPONENTS_V2 and not flags & COMPONENTS_V2:
            form = Form()
            form.wrong(("flags",), "MESSAGE_FLAG_CANNOT_BE_REMOVED", "IS_COMPONENTS_V2 cannot be removed.")
            form.check()
        editable = SUPPRESS_EMBEDS | COMPONENTS_V2
        if flags & ~editable & ~message.flags:
            self.violated(f"flags that an edit cannot set: {flags & ~editable & ~message.flags}")
        return message.flags & ~SUPPRESS_EMBEDS | flags & editable

    # Attachments.

    def _attach(self, message: Message, described: list[Json] | None, files: list[Upload]) -> None:
        form = Form()
        by_index = {str(item.get("id")): item for item in described or []}
        for upload in files:
            if len(upload.content) > MOST_FILE:
                raise DiscordError(413, 40005, "Request entity too large")
            about = by_index.pop(str(upload.index), {})
            id_, name = self.snowflake(), str(about.get("filename") or upload.name)
            kind = mimetypes.guess_type(name)[0] or upload.type
            kept = {"id": id_, "filename": name, "size": len(upload.content), "content_type": kind}
            if about.get("description"):
                form.text(about["description"], ("attachments", upload.index, "description"), 1024)
                kept["description"] = about["description"]
            self.contents[id_] = upload.content
            message.attachments = [*message.attachments, kept]
        for id_ in by_index:
            form.wrong(("attachments", id_), "ATTACHMENT_NOT_FOUND", "Attachment data not found")
        if len(message.attachments) > 10:
            form.wrong(("attachments",), "BASE_TYPE_MAX_LENGTH", "Must be 10 or fewer in length.")
        form.check()

    def add_attachment(self, message: Message, name: str, content: bytes) -> None:
        """Let a message have a file."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self._attach(message, None, [Upload(len(message.attachments), name, content, kind)])

    def _shown_embeds(self, channel: Channel, embeds: list[Json], webhook: bool) -> list[Json]:
        """Embeds as they are kept; without EMBED_LINKS Discord leaves them out without a word."""
        if not webhook and not self.may(channel, permissions.EMBED_LINKS):
            return []
        kept = []
        for embed in copy.deepcopy(embeds):
            embed["type"] = "rich"
            for name in ("title", "description"):
                if embed.get(name):
                    embed[name] = embed[name].strip()
            kept.append({name: value for name, value in embed.items() if value is not None})
        return kept

    def may(self, channel: Channel, bit: int) -> bool:
        """Whether the bot has a permission in a channel."""
        return bool(permissions.in_channel(self, channel, self.bot.id) & bit)

    # References.

    def _refer(self, message: Message, channel: Channel, reference: Json) -> None:
        id_, where = str(reference.get("message_id") or ""), str(reference.get("channel_id") or channel.id)
        if reference.get("type", 0) == 1:
            self._forward(message, id_, where)
            return
        form = Form()
        origin = channel.find(id_)
        if not self.may(channel, permissions.READ_MESSAGE_HISTORY):
            raise DiscordError(400, 160002, "Cannot reply without permission to read message history")
        if where != channel.id:
            code, said = "REPLIES_CANNOT_REFERENCE_OTHER_CHANNEL", "Cannot reply to a message in a different channel"
            form.wrong(("message_reference", "channel_id"), code, said)
        elif str(reference.get("guild_id") or channel.guild) != channel.guild:
            form.wrong(("message_reference", "guild_id"), "REPLIES_UNKNOWN_GUILD", "Unknown guild")
        elif origin is None and reference.get("fail_if_not_exists", True):
            form.wrong(("message_reference",), "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
        elif origin is not None and origin.type not in _REPLYABLE:
            code = "REPLIES_CANNOT_REPLY_TO_SYSTEM_MESSAGE"
            form.wrong(("message_reference",), code, "Cannot reply to a system message")
        form.check()
        if origin is not None:
            message.type = 19
            message.reference = {"type": 0, "message_id": id_, "channel_id": channel.id}
            if channel.guild:
                message.reference["guild_id"] = channel.guild

    def _forward(self, message: Message, id_: str, where: str) -> None:
        source = self.channels.get(where)
        if source is None or not permissions.sees(self, source, self.bot.id):
            raise DiscordError(403, 50001, "Missing Access")
        origin = source.find(id_)
        if origin is None:
            raise DiscordError(404, 10008, "Unknown Message")
        message.reference = {"type": 1, "message_id": id_, "channel_id": where}
        if source.guild:
            message.reference["guild_id"] = source.guild
        whole = self.message_json(origin, nested=True)
        names = "type content embeds attachments timestamp edited_timestamp flags mentions mention_roles sticker_items components"
        message.snapshots = [{"message": {name: whole[name] for name in names.split() if name in whole}}]

    # Whom it touches.

    def _mention(self, message: Message, channel: Channel, allowed: Json | None, *, notify: bool) -> None:
        texts = [item["content"] for item in walk(message.components) if item.get("type") == 10]
        found = Mentions("\n".join([message.content, *texts]))
        parse = {"users", "roles", "everyone"} if allowed is None else set(allowed.get("parse") or ())
        chosen = allowed or {}
        users = found.users if "users" in parse else [user for user in found.users if user in _ids(chosen, "users")]
        roles = found.roles if "roles" in parse else [role for role in found.roles if role in _ids(chosen, "roles")]
        known = self.guilds[channel.guild].roles if channel.guild else {}
        everyone = "everyone" in parse and self.may(channel, permissions.MENTION_EVERYONE) and channel.type != DM
        message.mentions = [user for user in users if user in self.users]
        message.mention_roles = [role for role in roles if role in known]
        message.mention_everyone = everyone and bool(found.everyone)
        pinged = [f"user:{user}" for user in message.mentions]
        if everyone:
            pinged += found.everyone
        loud = self.may(channel, permissions.MENTION_EVERYONE)
        pinged += [f"role:{role}" for role in message.mention_roles if known[role].mentionable or loud]
        if message.type == 19 and (allowed is None or allowed.get("replied_user")):
            origin = channel.find((message.reference or {}).get("message_id", ""))
            if origin is not None and origin.author not in message.mentions:
                message.mentions.append(origin.author)
                pinged.append(f"reply:{origin.author}")
        if notify:
            self.notified += [Notice(channel.id, message.id, whom) for whom in pinged]

    def _unfurl(self, message: Message, channel: Channel) -> None:
        if message.flags & (SUPPRESS_EMBEDS | COMPONENTS_V2) or not self.may(channel, permissions.EMBED_LINKS):
            return
        for link in _LINK.findall(_CODE.sub(" ", message.content)):
            self.unfurled.append((channel.id, message.id, link.strip("<).,")))

    def same_nonce(self, channel: Channel, nonce: str) -> Message | None:
        """The bot's message with this nonce that was posted there within `nonce_seconds`."""
        since = time.monotonic() - self.nonce_seconds
        found = (item for item in channel.standing if item.author == self.bot.id and str(item.nonce or "") == nonce)
        return next((item for item in found if item.at >= since), None)


def _ids(allowed: Json, name: str) -> set[str]:
    return {str(id_) for id_ in allowed.get(name) or ()}


def _is_kept(item: Json, message: Message) -> bool:
    return str(item.get("id")) in {kept["id"] for kept in message.attachments}
