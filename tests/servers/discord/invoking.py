"""How a person invokes a command: found among those that are registered, its options checked and resolved."""

from __future__ import annotations

from typing import Any

from tests.servers.discord import permissions
from tests.servers.discord.shapes import Shapes
from tests.servers.discord.state import DM, Channel, Json

SUBCOMMAND, GROUP, STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = range(1, 12)
CHAT_INPUT, USER_MENU, MESSAGE_MENU = 1, 2, 3
_TYPES: dict[int, tuple[type, ...]] = {INTEGER: (int,), BOOLEAN: (bool,), NUMBER: (int, float)}


def command_for(state: Shapes, user: str, channel: Channel, name: str, kinds: tuple[int, ...]) -> Json:
    """The command as this person sees it here; one of the guild goes before a global one."""
    known = [*(state.commands.get(channel.guild, []) if channel.guild else []), *state.commands[""]]
    found = [item for item in known if item["name"] == name and item["type"] in kinds]
    assert found, f"no command {name!r} is registered here"
    command = found[0]
    contexts = command.get("contexts")
    context = 1 if channel.type == DM else 0
    here = context in contexts if contexts is not None else bool(context == 0 or command.get("dm_permission", True))
    assert here, f"{name!r} cannot be used in {'direct messages' if context else 'servers'}"
    if channel.guild:
        needed = command.get("default_member_permissions")
        may = permissions.in_channel(state, channel, user)
        assert may & permissions.USE_APPLICATION_COMMANDS, f"{user} may not use commands here"
        if needed is not None and not may & permissions.ADMINISTRATOR:
            assert int(needed), f"{name!r} is for administrators only"
            assert may & int(needed) == int(needed), f"{user} does not see {name!r}"
    return command


class Options:
    """Builds the options of an invocation, and what they refer to."""

    def __init__(self, state: Shapes, channel: Channel, given: dict[str, Any], attached: dict[str, Json]) -> None:
        self._state, self._channel, self._given, self._attached = state, channel, given, attached
        self.resolved: Json = {}

    def of(self, command: Json, path: list[str], focused: str = "") -> list[Json]:
        """The options as they are sent; `path` leads to a subcommand."""
        known: list[Json] = command.get("options", [])
        nested = [item for item in known if item["type"] in {SUBCOMMAND, GROUP}]
        if path:
            inner = next((item for item in nested if item["name"] == path[0]), None)
            assert inner is not None, f"{command['name']!r} has no {path[0]!r}"
            return [{"type": inner["type"], "name": path[0], "options": self.of(inner, path[1:], focused)}]
        assert not nested, f"{command['name']!r} needs one of {[item['name'] for item in nested]}"
        unknown = self._given.keys() - {item["name"] for item in known}
        assert not unknown, f"{command['name']!r} has no option {sorted(unknown)}"
        for item in known:
            complete = item["name"] in self._given or not item.get("required") or focused
            assert complete, f"the option {item['name']!r} is required"
        return [self._option(item, focused) for item in known if item["name"] in self._given]

    def _option(self, option: Json, focused: str) -> Json:
        name, kind = option["name"], option["type"]
        value = self._given[name]
        found: Json = {"type": kind, "name": name, "value": value}
        if name == focused:
            assert option.get("autocomplete"), f"{name!r} has no autocomplete"
            return found | {"focused": True}
        if kind == ATTACHMENT:
            found["value"] = self._resolve_attachment(name)
            return found
        assert isinstance(value, _TYPES.get(kind, (str,))), f"{name!r} takes no {type(value).__name__}"
        if option.get("choices"):
            choices = [choice["value"] for choice in option["choices"]]
            assert value in choices, f"{name!r} takes one of {choices}"
        _within(option, value)
        if kind in {USER, CHANNEL, ROLE, MENTIONABLE}:
            self._resolve(kind, str(value))
        return found

    def _resolve_attachment(self, name: str) -> str:
        attachment = self._attached[name]
        self.resolved.setdefault("attachments", {})[attachment["id"]] = attachment
        return str(attachment["id"])

    def _resolve(self, kind: int, id_: str) -> None:
        state, guild = self._state, self._state.guilds.get(self._channel.guild)
        if kind == CHANNEL:
            channel = state.channels[id_]
            self.resolved.setdefault("channels", {})[id_] = state.channel_json(channel) | {"permissions": "0"}
        elif kind == ROLE or (kind == MENTIONABLE and guild is not None and id_ in guild.roles):
            assert guild is not None
            self.resolved.setdefault("roles", {})[id_] = state.role_json(guild.roles[id_])
        else:
            resolve_user(state, self._channel, id_, self.resolved)


def resolve_user(state: Shapes, channel: Channel, id_: str, resolved: Json) -> None:
    """Add a user, and in a guild its membership, to what is resolved."""
    resolved.setdefault("users", {})[id_] = state.user_json(state.users[id_])
    if channel.guild:
        member = state.guilds[channel.guild].members.get(id_)
        if member is not None:
            shown = state.member_json(member, user=False)
            shown = {name: value for name, value in shown.items() if name not in {"deaf", "mute"}}
            shown["permissions"] = str(permissions.in_channel(state, channel, id_))
            resolved.setdefault("members", {})[id_] = shown


def _within(option: Json, value: Any) -> None:
    size = len(value) if isinstance(value, str) else value
    least, most = option.get("min_value", option.get("min_length")), option.get("max_value", option.get("max_length"))
    if isinstance(value, str) and most is None:
        most = 6000
    assert least is None or size >= least, f"{option['name']!r} takes at least {least}"
    assert most is None or isinstance(value, bool) or size <= most, f"{option['name']!r} takes at most {most}"
