"""Interactions: commands, buttons, menus and modals that people use, and the app's first response to them."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Any

from tests.servers.discord import permissions
from tests.servers.discord.checks import Form, walk
from tests.servers.discord.invoking import CHAT_INPUT, MESSAGE_MENU, USER_MENU, Options, command_for, resolve_user
from tests.servers.discord.modals import check_choice, check_modal, filled
from tests.servers.discord.shapes import EPHEMERAL, LOADING
from tests.servers.discord.state import DM, Channel, DiscordError, Interaction, Json, Message
from tests.servers.discord.watching import Seen
from tests.servers.discord.writing import Upload, Writing

COMMAND, COMPONENT, AUTOCOMPLETE, SUBMIT = 2, 3, 4, 5
MESSAGE, DEFERRED, DEFERRED_UPDATE, UPDATE, CHOICES, MODAL = 4, 5, 6, 7, 8, 9
_BUTTON, _LINK = 2, 5
_STRINGS, _CHANNELS, _SELECTS = 3, 8, {3, 5, 6, 7, 8}


@dataclass(eq=False)
class Asked:
    """What a person asked with an interaction, and how far the app has answered; it goes on changing."""

    server: Interactions
    interaction: Interaction

    @property
    def id(self) -> str:
        return self.interaction.id

    @property
    def token(self) -> str:
        return self.interaction.token

    @property
    def acked(self) -> float | None:
        """The seconds until the first response. None as long as there is none."""
        at = self.interaction.acked_at
        return None if at is None else at - self.interaction.created

    @property
    def failed(self) -> bool:
        """Whether "The application did not respond" is shown."""
        with self.server.lock:
            return self.server.lapsed(self.interaction)

    @property
    def deferred(self) -> bool:
        """The first response was a deferred one (5 or 6)."""
        return self.interaction.callback in {DEFERRED, DEFERRED_UPDATE}

    @property
    def ephemeral(self) -> bool:
        """The response is for this person alone."""
        return self.interaction.ephemeral

    @property
    def modal(self) -> Json | None:
        """The modal that was shown."""
        return self.interaction.modal if self.interaction.callback == MODAL else None

    @property
    def choices(self) -> list[Json] | None:
        """What an autocomplete offered."""
        return (self.interaction.modal or {}).get("choices") if self.interaction.callback == CHOICES else None

    @property
    def messages(self) -> list[Seen]:
        """The answers that stand, oldest first; not "thinking"."""
        with self.server.lock:
            found = [self.interaction.original, *self.interaction.followups]
            return [self.server.seen(item) for item in found if item and not item.deleted and not item.flags & LOADING]

    @property
    def updated(self) -> bool:
        """The message with the button was changed by a response or with the interaction's token."""
        return self.interaction.updated


class Interactions(Writing):
    """What people use. Each of these can be called from the test's thread, and returns an `Asked`."""

    def __init__(self) -> None:
        super().__init__()
        # How long an interaction waits for its first response.
        self.response_seconds: float = 3
        self.asked: list[Asked] = []
        # By the id of a submission: what opened its modal.
        self._opened_by: dict[str, Interaction] = {}

    def slash(self, user: str, channel: str, command: str, options: dict[str, Any] | None = None) -> Asked:
        """Use a command, with its subcommands: `slash(ann, room, "support ask", {"question": "..."})`.

        Users, channels and roles go by id; an attachment is (name, bytes).
        """
        with self.lock:
            return self._use(COMMAND, user, channel, command, options or {})

    def autocomplete(self, user: str, channel: str, command: str, options: dict[str, Any], focused: str) -> Asked:
        """Type into an option that is completed; `options` have what stands there so far."""
        with self.lock:
            return self._use(AUTOCOMPLETE, user, channel, command, options, focused)

    def context_menu(self, user: str, channel: str, name: str, target: str) -> Asked:
        """Use a command of a message's menu (or a person's)."""
        with self.lock:
            room = self._entered(user, channel)
            command = command_for(self, user, room, name, (USER_MENU, MESSAGE_MENU))
            resolved: Json = {}
            if command["type"] == MESSAGE_MENU:
                resolved["messages"] = {target: self.message_json(self._shown_to(user, room, target))}
            else:
                resolve_user(self, room, target, resolved)
            return self._ask(COMMAND, user, room, _about(command) | {"target_id": target, "resolved": resolved})

    def click(self, user: str, channel: str, message: str, what: str, *values: str) -> Asked:
        """Use a button or a menu: by its label, or by its custom_id or the beginning of it. `values` are chosen in a menu."""
        with self.lock:
            room = self._entered(user, channel)
            found = self._shown_to(user, room, message)
            assert found.author == self.bot.id, "the message is not the app's"
            component = _component(found, what)
            data: Json = {"component_type": component["type"], "custom_id": component["custom_id"]}
            if component.get("id"):
                data["id"] = component["id"]
            if component["type"] in _SELECTS:
                check_choice(component, list(values))
                data["values"] = list(values)
                if component["type"] != _STRINGS:
                    data["resolved"] = self._chosen(room, component["type"], values)
            else:
                assert not values
            return self._ask(COMPONENT, user, room, data, found)

    def submit(self, asked: Asked, values: dict[str, Any], user: str | None = None) -> Asked:
        """Send off the modal that an interaction opened. `values` go by custom_id or by label."""
        with self.lock:
            modal = asked.modal
            assert modal is not None, "no modal was shown"
            before = asked.interaction
            data = {"custom_id": modal["custom_id"], "components": filled(modal, values)}
            room = self._entered(user or before.user, before.channel)
            return self._ask(SUBMIT, user or before.user, room, data, before.message, before)

    def _use(self, kind: int, user: str, channel: str, name: str, options: dict[str, Any], focused: str = "") -> Asked:
        room = self._entered(user, channel)
        first, *path = name.removeprefix("/").split()
        command = command_for(self, user, room, first, (CHAT_INPUT,))
        attached = {
            name: self._ephemeral_file(user, room, *value)
            for name, value in options.items()
            if isinstance(value, tuple)
        }
        builder = Options(self, room, options, attached)
        data = _about(command)
        found = builder.of(command, path, focused)
        if found:
            data["options"] = found
        if builder.resolved:
            data["resolved"] = builder.resolved
        return self._ask(kind, user, room, data)

    def _ephemeral_file(self, user: str, room: Channel, name: str, content: bytes) -> Json:
        holder = Message(self.snowflake(), room.id, user, only_for=user)
        self.add_attachment(holder, name, content)
        return self.attachment_json(holder, holder.attachments[0])

    def _entered(self, user: str, channel: str) -> Channel:
        """A channel where this person can use something."""
        room = self.channels[channel]
        assert not room.deleted, f"{channel} is deleted"
        assert permissions.sees(self, room, user), f"{self.users[user].name} does not see {room.name or 'this'}"
        assert not room.guild or not self.guilds[room.guild].left, "the app is not in this server"
        return room

    def _shown_to(self, user: str, room: Channel, id_: str) -> Message:
        found = room.find(id_)
        own = (item for item in room.ephemerals if item.id == id_ and item.only_for == user and not item.deleted)
        found = found or next(own, None)
        assert found is not None, f"{self.users[user].name} sees no message {id_}"
        return found

    def _chosen(self, room: Channel, kind: int, values: tuple[str, ...]) -> Json:
        resolved: Json = {}
        guild = self.guilds.get(room.guild)
        for value in values:
            if kind == _CHANNELS:
                resolved.setdefault("channels", {})[value] = self.channel_json(self.channels[value])
            elif guild is not None and value in guild.roles:
                resolved.setdefault("roles", {})[value] = self.role_json(guild.roles[value])
            else:
                resolve_user(self, room, value, resolved)
        return resolved

    def _ask(
        self,
        kind: int,
        user: str,
        room: Channel,
        data: Json,
        message: Message | None = None,
        opened_by: Interaction | None = None,
    ) -> Asked:
        """Keep the interaction and tell the app of it."""
        id_ = self.snowflake()
        token = base64.urlsafe_b64encode(f"interaction:{id_}:{self.snowflake()}".encode()).decode().rstrip("=")
        interaction = Interaction(id_, token, kind, user, room.id, room.guild, data, message)
        self.interactions[token] = interaction
        if opened_by is not None:
            self._opened_by[id_] = opened_by
        asked = Asked(self, interaction)
        self.asked.append(asked)
        payload = self._payload(interaction, room)
        if message is not None:
            payload["message"] = self.message_json(message)
        self.dispatch("INTERACTION_CREATE", payload, room.guild or None)
        return asked

    def _payload(self, interaction: Interaction, room: Channel) -> Json:
        user = interaction.user
        mine = permissions.in_channel(self, room, self.bot.id)
        may = permissions.in_channel(self, room, user)
        payload: Json = {
            "id": interaction.id,
            "application_id": self.application_id,
            "type": interaction.type,
            "data": interaction.data,
            "channel_id": room.id,
            "channel": self.channel_json(room) | {"permissions": str(may)},
            "token": interaction.token,
            "version": 1,
            "locale": "en-US",
            "app_permissions": str(mine),
            "entitlements": [],
            "entitlement_sku_ids": [],
            "authorizing_integration_owners": {"0": room.guild or "0"},
            "context": 1 if room.type == DM else 0,
            "attachment_size_limit": 10 * 1024 * 1024,
        }
        if not room.guild:
            return payload | {"user": self.user_json(self.users[user])}
        member = self.guilds[room.guild].members[user]
        return payload | {
            "guild_id": room.guild,
            "guild": {"id": room.guild, "locale": "en-US", "features": []},
            "guild_locale": "en-US",
            "member": self.member_json(member) | {"permissions": str(may)},
        }

    # The first response.

    def lapsed(self, interaction: Interaction) -> bool:
        """Whether nobody has responded in time."""
        if not interaction.callback and time.monotonic() - interaction.created > self.response_seconds:
            interaction.failed = True
        return interaction.failed

    def respond(self, interaction: Interaction, body: Json, files: list[Upload]) -> Json | None:
        """Take the first response to an interaction; what the app gets with ?with_response=true. Called with the lock held."""
        if self.lapsed(interaction):
            raise DiscordError(404, 10062, "Unknown interaction")
        if interaction.callback:
            raise DiscordError(400, 40060, "Interaction has already been acknowledged.")
        kind = body.get("type")
        form = Form()
        form.choice(kind, ("type",), _allowed(interaction))
        form.check()
        data = body.get("data")
        message = None
        if kind == MESSAGE:
            message = self._answered(interaction, data or {}, files)
        elif kind == DEFERRED:
            message = self._deferred(interaction, data or {})
        elif kind == UPDATE:
            message = self._updated(interaction, data or {}, files)
        elif kind == MODAL:
            check_modal(data)
            interaction.modal = data
        elif kind == CHOICES:
            interaction.modal = {"choices": _choices(data)}
        assert isinstance(kind, int)
        interaction.callback, interaction.acked_at = kind, time.monotonic()
        if kind in {MESSAGE, DEFERRED} and message is not None:
            interaction.original, interaction.ephemeral = message, bool(message.only_for)
            self.publish(message)
        return self._callback(interaction, kind, message)

    def _answered(self, interaction: Interaction, data: Json, files: list[Upload]) -> Message:
        message = self.compose(self.channels[interaction.channel], data, files, webhook=True)
        return self._signed(interaction, message)

    def _deferred(self, interaction: Interaction, data: Json) -> Message:
        flags = data.get("flags") or 0
        if flags & ~EPHEMERAL or data.keys() - {"flags"}:
            self.violated(f"a deferred response can only be ephemeral: {data}")
        message = Message(self.snowflake(), interaction.channel, self.bot.id, flags=LOADING | flags & EPHEMERAL)
        return self._signed(interaction, message)

    def _signed(self, interaction: Interaction, message: Message) -> Message:
        message.webhook_id = message.application_id = self.application_id
        message.only_for = interaction.user if message.flags & EPHEMERAL else ""
        message.interaction = self._metadata(interaction)
        if interaction.message is not None:
            room = self.channels[interaction.channel]
            message.type = 19
            message.reference = {"type": 0, "message_id": interaction.message.id, "channel_id": room.id}
            if room.guild:
                message.reference["guild_id"] = room.guild
        elif interaction.type == COMMAND:
            message.type = 20 if interaction.data["type"] == CHAT_INPUT else 23
        return message

    def _metadata(self, interaction: Interaction) -> Json:
        """What a message tells of the interaction that it answers."""
        found: Json = {
            "id": interaction.id,
            "type": interaction.type,
            "user": self.user_json(self.users[interaction.user]),
            "authorizing_integration_owners": {"0": interaction.guild or "0"},
        }
        if interaction.type == COMMAND:
            found |= {"name": _full_name(interaction.data), "command_type": interaction.data["type"]}
        if interaction.type == COMPONENT and interaction.message is not None:
            found["interacted_message_id"] = interaction.message.id
        if interaction.type == SUBMIT:
            found["triggering_interaction_metadata"] = self._metadata(self._opened_by[interaction.id])
        return found

    def _updated(self, interaction: Interaction, data: Json, files: list[Upload]) -> Message:
        message = interaction.message
        if message is None or message.deleted:
            raise DiscordError(404, 10008, "Unknown Message")
        if data or files:
            self.rewrite(message, data, files, webhook=True)
            self.changed(message)
        interaction.updated = True
        return message

    def _callback(self, interaction: Interaction, kind: int, message: Message | None) -> Json:
        about: Json = {"id": interaction.id, "type": interaction.type}
        resource: Json = {"type": kind}
        if message is not None:
            about |= {
                "response_message_id": message.id,
                "response_message_loading": bool(message.flags & LOADING),
                "response_message_ephemeral": bool(message.only_for),
            }
            if kind in {MESSAGE, UPDATE}:
                resource["message"] = self.message_json(message)
        return {"interaction": about, "resource": resource}


def _about(command: Json) -> Json:
    found = {name: command[name] for name in ("id", "name", "type")}
    return found | {"guild_id": command["guild_id"]} if command.get("guild_id") else found


def _full_name(data: Json) -> str:
    names, inner = [data["name"]], data.get("options") or []
    while inner and inner[0]["type"] in {1, 2}:
        names.append(inner[0]["name"])
        inner = inner[0].get("options") or []
    return " ".join(names)


def _allowed(interaction: Interaction) -> set[int]:
    """The types of a first response to this interaction."""
    if interaction.type == AUTOCOMPLETE:
        return {CHOICES}
    allowed = {MESSAGE, DEFERRED}
    if interaction.type == COMPONENT or (interaction.type == SUBMIT and interaction.message is not None):
        allowed |= {DEFERRED_UPDATE, UPDATE}
    return allowed if interaction.type == SUBMIT else allowed | {MODAL}


def _choices(data: Any) -> list[Json]:
    form = Form()
    choices = form.items((data or {}).get("choices"), ("data", "choices"), 25)
    for index, choice in enumerate(choices):
        form.text(choice.get("name"), ("data", "choices", index, "name"), 100, 1)
        if isinstance(choice.get("value"), str):
            form.text(choice["value"], ("data", "choices", index, "value"), 100)
    form.check()
    return choices


def _component(message: Message, what: str) -> Json:
    """The button or menu that is called so."""
    usable = [item for item in walk(message.components) if item.get("type") in {_BUTTON, *_SELECTS}]
    for fits in (_is_named, _is_called, _begins):
        found = [item for item in usable if fits(item, what)]
        if found:
            assert found[0].get("style") != _LINK or found[0]["type"] != _BUTTON, f"{what!r} is a link"
            assert not found[0].get("disabled"), f"{what!r} is disabled"
            return found[0]
    raise AssertionError(
        f"no button {what!r}; there are {[item.get('label') or item.get('custom_id') for item in usable]}"
    )


def _is_named(item: Json, what: str) -> bool:
    return bool(item.get("custom_id") == what)


def _is_called(item: Json, what: str) -> bool:
    return what in {item.get("label"), item.get("placeholder")}


def _begins(item: Json, what: str) -> bool:
    return str(item.get("custom_id") or "").startswith(what)
