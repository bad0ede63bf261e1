"""Application commands over REST: names, counts and sizes as documented."""

from __future__ import annotations

import copy
import re
from collections import Counter
from typing import Any

from tests.servers.discord.checks import Form
from tests.servers.discord.rest import Answered, Ask, Rest, Route
from tests.servers.discord.state import DiscordError, Json

_NAME = re.compile(r"[-_'\w]{1,32}")
_MOST = {1: 100, 2: 15, 3: 15}
_SUBCOMMAND, _GROUP = 1, 2
_CHOOSING = {3, 4, 10}
MOST_CHARACTERS = 8000
_FIELDS = {
    *("id", "type", "name", "name_localizations", "description", "description_localizations", "options", "nsfw"),
    *("default_member_permissions", "dm_permission", "default_permission", "integration_types", "contexts", "handler"),
}


def _space(server: Rest, ask: Ask) -> str:
    """Where commands are asked for: "" or a guild of the bot."""
    if ask["application"] != server.application_id:
        raise DiscordError(403, 20012, "You are not authorized to perform this action on this application")
    id_ = ask.parts.get("guild", "")
    if id_ and (id_ not in server.guilds or server.guilds[id_].left):
        raise DiscordError(403, 50001, "Missing Access")
    return id_


def listed(server: Rest, ask: Ask) -> list[Json]:
    return copy.deepcopy(server.commands.get(_space(server, ask), []))


def _one(server: Rest, ask: Ask) -> tuple[list[Json], Json]:
    known = server.commands.setdefault(_space(server, ask), [])
    found = next((command for command in known if command["id"] == ask["command"]), None)
    if found is None:
        raise DiscordError(404, 10063, "Unknown application command")
    return known, found


def single(server: Rest, ask: Ask) -> Json:
    return copy.deepcopy(_one(server, ask)[1])


def create(server: Rest, ask: Ask) -> Answered:
    """One with the name and type of another takes its place."""
    space = _space(server, ask)
    _check_all(server, [ask.body])
    known = server.commands.setdefault(space, [])
    command, old = _kept(server, space, ask.body)
    after = [item for item in known if item is not old] + [command]
    _check_count(after)
    server.commands[space] = after
    return Answered(200 if old else 201, copy.deepcopy(command))


def replace_all(server: Rest, ask: Ask) -> list[Json]:
    space = _space(server, ask)
    if not isinstance(ask.body, list):
        raise DiscordError(400, 50035, "Invalid Form Body", errors={})
    _check_all(server, ask.body)
    _check_count(ask.body)
    server.commands[space] = [_kept(server, space, item)[0] for item in ask.body]
    return copy.deepcopy(server.commands[space])


def change(server: Rest, ask: Ask) -> Json:
    known, old = _one(server, ask)
    after = old | ask.body
    _check_all(server, [{name: value for name, value in after.items() if name in _FIELDS}])
    known[known.index(old)] = after | {"version": server.snowflake()}
    return copy.deepcopy(after)


def delete(server: Rest, ask: Ask) -> None:
    known, old = _one(server, ask)
    known.remove(old)


def _kept(server: Rest, space: str, body: Json) -> tuple[Json, Json | None]:
    """A command as it is kept, and the one that it replaces."""
    kind = body.get("type", 1)
    known = server.commands.get(space, [])
    old = next((item for item in known if (item["name"], item["type"]) == (body["name"], kind)), None)
    command = {
        "id": old["id"] if old else server.snowflake(),
        "application_id": server.application_id,
        "version": server.snowflake(),
        "default_member_permissions": body.get("default_member_permissions"),
        "type": kind,
        "name": body["name"],
        "name_localizations": body.get("name_localizations"),
        "description": body.get("description") or "",
        "description_localizations": body.get("description_localizations"),
        "nsfw": bool(body.get("nsfw", False)),
        "integration_types": body.get("integration_types") or [0],
        "contexts": body.get("contexts"),
        "dm_permission": body.get("dm_permission", True),
    }
    if body.get("options"):
        command["options"] = copy.deepcopy(body["options"])
    return command | ({"guild_id": space} if space else {}), old


def _check_count(commands: list[Json]) -> None:
    counts = Counter(command.get("type", 1) for command in commands)
    for kind, most in _MOST.items():
        if counts[kind] > most:
            raise DiscordError(400, 30032, f"Maximum number of application commands reached ({most})")
    names = Counter((command.get("type", 1), command["name"]) for command in commands)
    form = Form()
    for index, command in enumerate(commands):
        if names[command.get("type", 1), command["name"]] > 1:
            said = "Application command names must be unique"
            form.wrong((index, "name"), "APPLICATION_COMMANDS_DUPLICATE_NAME", said)
    form.check()


def _check_all(server: Rest, commands: list[Any]) -> None:
    form = Form()
    for index, command in enumerate(commands):
        where = (index,)
        if not isinstance(command, dict):
            form.wrong(where, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
            continue
        for name in sorted(command.keys() - _FIELDS):
            server.violated(f"a command has no field {name!r}")
        kind = command.get("type", 1)
        form.choice(kind, (*where, "type"), {1, 2, 3})
        _name(form, command.get("name"), where, menu=kind != 1)
        if kind == 1:
            form.text(command.get("description", ""), (*where, "description"), 100, 1)
        elif command.get("description") or command.get("options"):
            form.wrong(where, "APPLICATION_COMMAND_TYPE_CANNOT_HAVE", "Context menus have no description or options.")
        _options(form, command.get("options") or [], where, 0)
        if _characters(command) > MOST_CHARACTERS:
            said = f"Command exceeds maximum size ({MOST_CHARACTERS})"
            form.wrong(where, "APPLICATION_COMMAND_TOO_LARGE", said)
    form.check()


def _name(form: Form, name: Any, where: tuple[str | int, ...], *, menu: bool = False) -> None:
    right = isinstance(name, str) and (1 <= len(name) <= 32 if menu else _NAME.fullmatch(name) and name == name.lower())
    if not right:
        form.wrong((*where, "name"), "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _options(form: Form, options: Any, where: tuple[str | int, ...], depth: int) -> None:
    where = (*where, "options")
    items = form.items(options, where, 25)
    names = Counter(item.get("name") for item in items)
    optional = False
    for index, item in enumerate(items):
        at = (*where, index)
        _name(form, item.get("name"), at)
        form.text(item.get("description", ""), (*at, "description"), 100, 1)
        form.choice(item.get("type"), (*at, "type"), set(range(1, 12)))
        if names[item.get("name")] > 1:
            form.wrong((*at, "name"), "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Option names must be unique")
        if item.get("required") and optional:
            said = "Required options must be placed before non-required options"
            form.wrong(at, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", said)
        optional = optional or not item.get("required")
        nested = item.get("type") in {_SUBCOMMAND, _GROUP}
        if nested and depth > (1 if item["type"] == _SUBCOMMAND else 0):
            form.wrong((*at, "type"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "Sub-commands are nested too deep")
        if item.get("options"):
            _options(form, item["options"], at, depth + 1)
        _choices(form, item, at)
    kinds = {item.get("type") in {_SUBCOMMAND, _GROUP} for item in items}
    if len(kinds) > 1:
        said = "Sub-command and sub-command group option types are mutually exclusive to all other types"
        form.wrong(where, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", said)


def _choices(form: Form, item: Json, where: tuple[str | int, ...]) -> None:
    choices = form.items(item.get("choices") or [], (*where, "choices"), 25)
    if choices and (item.get("type") not in _CHOOSING or item.get("autocomplete")):
        form.wrong((*where, "choices"), "APPLICATION_COMMAND_OPTIONS_CHOICES_INVALID", "This option has no choices.")
    for index, choice in enumerate(choices):
        form.text(choice.get("name"), (*where, "choices", index, "name"), 100, 1)
        if item.get("type") == 3:
            form.text(choice.get("value"), (*where, "choices", index, "value"), 100, 1)


def _characters(item: Json) -> int:
    """Of names, descriptions and values, in all options and choices."""
    own = sum(len(str(item.get(name) or "")) for name in ("name", "description", "value"))
    return own + sum(_characters(inner) for name in ("options", "choices") for inner in item.get(name) or ())


_ALL, _IN_GUILD = "/applications/{application}/commands", "/applications/{application}/guilds/{guild}/commands"
ROUTES = [
    route
    for path in (_ALL, _IN_GUILD)
    for route in (
        Route("GET", path, listed),
        Route("POST", path, create),
        Route("PUT", path, replace_all),
        Route("GET", path + "/{command}", single),
        Route("PATCH", path + "/{command}", change),
        Route("DELETE", path + "/{command}", delete),
    )
]
