"""One table of settings: name, default, help. It reads them, refuses what it does not know, and generates the docs.

A setting comes from `frontdesk.toml`, from `.env` beside it, or from the environment; the later in this list wins. In the
last two its name is FRONTDESK_ and the setting's name in capitals. What has a name that its users already know keeps it
(DASHSCOPE_API_KEY, SLACK_BOT_TOKEN, DATABASE_URL). Secrets never come from `frontdesk.toml`, which people commit.
"""

from __future__ import annotations

import difflib
import io
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.errors import SettingsError
from agent.messages import Address
from agent.models.metering import SCOPES, Budget, Scope
from agent.models.preset_schema import checked
from agent.models.presets import Presets, built_in, key_names, merged
from agent.models.providers import installed
from agent.settings_row import PREFIX
from agent.settings_row import Setting as Setting
from agent.settings_table import TABLE as TABLE

FILE = "frontdesk.toml"
DOTENV = ".env"

_BY_NAME = {setting.name: setting for setting in TABLE}
_OF_THEIR_OWN = {setting.variable: setting for setting in TABLE if not setting.variable.startswith(PREFIX)}
"""Settings by variables that do not begin with FRONTDESK_."""
_ALSO_CALLED = {"model_embed": "embedder"}
_ALSO_CALLED_IN_CHANNELS = {"mode": "answering"}
_TABLES = ("presets", "channels")
_STAFF = "staff"
"""A table whose settings stand in the big table under `staff_...`."""
_LARGEST = 1e9
_LONGEST_SHOWN = 20
"""Characters. A longer value is not repeated in an error: it may be a key that was put into the wrong place."""
_BOOLEANS = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}
_KUBERNETES = re.compile(r"FRONTDESK_(?:SERVICE_(?:HOST|PORT)|PORT)(?:_\w+)?")
"""What Kubernetes puts into the environment of every pod beside a service that is called frontdesk."""


class Secret(str):
    """A string that hides itself when shown: `repr` and logs print stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. `values` has one value for each row of the table, `sources` says where each came from."""

    values: Mapping[str, Any]
    sources: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, Secret] = field(default_factory=dict)
    presets: Presets = field(default_factory=built_in)
    """Presets of models: the built-in ones, those of plugins, and those of `frontdesk.toml`, in this order."""
    channels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is set anew for a channel (`slack:T1/C1`), a workspace (`slack:T1`) or a connector (`slack`)."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def replaced(self, **values: Any) -> Settings:
        """The same settings with some values given on the command line."""
        return replace(
            self,
            values={**self.values, **values},
            sources={**self.sources, **dict.fromkeys(values, "the command line")},
        )

    def in_channel(self, address: Address) -> Settings:
        """The settings for a conversation there. A channel's `model` stands for every role that it does not name itself."""
        keys = (address.connector, f"{address.connector}:{address.space}", address.channel)
        if not any(key in self.channels for key in keys):
            return self
        values, sources = dict(self.values), dict(self.sources)
        for key in keys:
            own = self.channels.get(key, {})
            if "model" in own:
                values.update({name: "" for name in values if name.startswith("model_") and _BY_NAME[name].per_channel})
            values.update(own)
            sources.update(dict.fromkeys(own, f"[channels.{json.dumps(key)}] in {FILE}"))
        return replace(self, values=values, sources=sources)

    def with_channels(self, changed: Mapping[str, Mapping[str, Any]]) -> Settings:
        """The same settings with what was set anew for channels while running; it is stronger than the file."""
        channels = {key: {**self.channels.get(key, {}), **own} for key, own in changed.items()}
        return replace(self, channels={**self.channels, **channels})

    def secrets(self) -> frozenset[str]:
        """Every secret that is set: what no log may show."""
        return frozenset({*self.keys.values(), *(self[one.name] for one in TABLE if one.secret)} - {""})

    def budgets(self) -> dict[Scope, Budget]:
        """The budgets that are set."""
        return {scope: budget_of(self[f"budget_{scope}"]) for scope in SCOPES if self[f"budget_{scope}"]}


def load(directory: Path, environment: Mapping[str, str], *, file: Path | None = None) -> Settings:
    """Read the settings: `file` or `directory`/frontdesk.toml, the `.env` beside it, then `environment`.

    Missing files are fine, except a `file` that was asked for. Raises `SettingsError` naming file, line and setting.
    """
    toml = file or directory / FILE
    text = _read(toml)
    if file is not None and text is None:
        raise SettingsError(
            f"There is no settings file {file}.", "Check the path, or make one with: frontdesk init DIR"
        )
    values = {setting.name: setting.default for setting in TABLE}
    sources = {setting.name: "default" for setting in TABLE}
    keys: dict[str, Secret] = {}
    tables: dict[str, Mapping[str, Any]] = {name: {} for name in _TABLES}
    for name, value, place in _from_toml(toml, text or ""):
        if name in _TABLES:
            tables[name] = value
        else:
            values[name], sources[name] = value, place
    presets = merged(installed().presets, tables["presets"])
    if tables["presets"]:
        checked({name: presets[name] for name in tables["presets"]}, str(toml))
    known_keys = set(key_names(presets))
    variables = [*_from_dotenv(toml.parent / DOTENV)]
    variables += [(name, value, f"environment variable {name}") for name, value in sorted(environment.items())]
    for variable, given, place in variables:
        if variable in known_keys and given.strip():
            keys[variable] = _secret(given, place)
        elif (setting := _of_variable(variable, place, variable in environment)) is not None:
            # An empty text is a text; anything else that is empty is not set.
            free = setting.kind is str and not setting.choices and not setting.pattern
            if given.strip() or (free and variable not in _OF_THEIR_OWN):
                values[setting.name] = _converted(setting, given, place, variable)
                sources[setting.name] = place
    return Settings(values, sources, keys, presets, tables["channels"])


def _of_variable(variable: str, place: str, in_environment: bool) -> Setting | None:
    """The setting that a variable is for, `None` if it is none of ours."""
    if variable in _OF_THEIR_OWN or not variable.upper().startswith(PREFIX):
        return _OF_THEIR_OWN.get(variable)
    name = variable.upper().removeprefix(PREFIX).lower()
    name = _ALSO_CALLED.get(name, name)
    if name not in _BY_NAME and in_environment and _KUBERNETES.fullmatch(variable):
        return None
    setting = _setting(name, place, variable)
    if setting.variable in _OF_THEIR_OWN:
        raise SettingsError(f"{place}: there is no setting {variable!r}.", f"Did you mean {setting.variable}?")
    return setting


def budget_of(text: str) -> Budget:
    """A budget as it is written: `0.50`, `$0.50`, `0.50 USD`, `200000 tokens`."""
    amount = re.sub(r"[^\d.]", "", text)
    return Budget(tokens=int(amount)) if "token" in text.lower() else Budget(usd=float(amount))


def _read(path: Path) -> str | None:
    """The text of a file, `None` if there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            line = error.object[: error.start].count(b"\n") + 1
            raise SettingsError(f"{path}, line {line}: not UTF-8 text.", "Save the file as UTF-8.") from None
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{path} cannot be read: {reason}.", "Check the path and its permissions.") from error


def _from_toml(path: Path, text: str) -> Iterator[tuple[str, Any, str]]:
    # Beside its own error tomllib lets through those of int(), for numbers with thousands of digits, and of the stack.
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = (
            str(error)
            if isinstance(error, tomllib.TOMLDecodeError)
            else "a number is too long, or the nesting too deep"
        )
        found = re.search(r"line (\d+)", reason)
        line = int(found[1]) if found else max(1, text.rstrip().count("\n") + 1)
        raise SettingsError(
            f"{path}, line {line}: not valid TOML: {reason}.", 'A setting is written as: name = "value"'
        ) from None
    for written, value in table.items():
        name = _ALSO_CALLED.get(written, written)
        place = f"{path}, line {_line_of(text, written)}"
        if name in _TABLES:
            yield name, _table(name, value, text, path), place
            continue
        if name not in _BY_NAME and name != _STAFF and isinstance(value, dict):
            raise SettingsError(
                f"{place}: there is no table {name!r}.",
                "Settings stand in the file before any [table]; tables are [staff], [presets.NAME] and "
                '[channels."CHANNEL"].',
            )
        if name == _STAFF:
            yield from _staff(value, place)
            continue
        setting = _setting(name, place, name)
        if setting.secret:
            raise SettingsError(
                f"{place}: {name} is a secret and does not belong into {FILE}.",
                f"Put {setting.variable}=... into {DOTENV}.",
            )
        converted = _converted(setting, value, place, name)
        if setting.kind is Path:
            converted = path.parent / converted
        yield name, converted, place


def _staff(table: Any, place: str) -> Iterator[tuple[str, Any, str]]:
    """The settings of the table `[staff]`: `channel` is `staff_channel`."""
    names = {name.removeprefix(f"{_STAFF}_"): name for name in _BY_NAME if name.startswith(f"{_STAFF}_")}
    if not isinstance(table, dict):
        raise SettingsError(f"{place}: {_STAFF} is a table.", 'Write [staff] and below it: channel = "slack:T1/C9"')
    for written, value in table.items():
        where = f"{place}, [{_STAFF}]"
        if written not in names:
            raise SettingsError(f"{where}: there is no setting {written!r}.", f"What can be is: {', '.join(names)}.")
        yield names[written], _converted(_BY_NAME[names[written]], value, where, written), f"{where}, {written}"


def _table(name: str, value: Any, text: str, path: Path) -> Mapping[str, Any]:
    """`[presets.NAME]` or `[channels."CHANNEL"]`, with the settings of a channel converted."""
    example = "[presets.acme]" if name == "presets" else '[channels."slack:T1/C1"]'
    place = f"{path}, line {_line_of(text, name)}"
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise SettingsError(f"{place}: {name} is a table of tables.", f"Write it as {example} with settings below.")
    if name == "presets":
        return value
    channels = {}
    for channel, own in value.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]*(:[^/\s]+(/[^\s]+)?)?", channel):
            raise SettingsError(
                f"{place}: {channel[:60]!r} is no channel.",
                'A channel is written as "slack:T1/C1", "slack:T1" or "slack".',
            )
        channels[channel] = channel_values(own, f"{place}, channel {channel!r}")
    return channels


def channel_values(written: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What is set anew for a channel, checked and as its settings want it. Raises `SettingsError`."""
    converted = {}
    for word, given in written.items():
        name = _ALSO_CALLED_IN_CHANNELS.get(word, word)
        setting = _setting(name, place, word)
        if not setting.per_channel:
            allowed = ", ".join(one.name for one in TABLE if one.per_channel)
            raise SettingsError(f"{place}: {word} cannot be set for a channel.", f"What can be is: {allowed}.")
        converted[name] = _converted(setting, given, place, word)
    return converted


def _line_of(text: str, name: str) -> int:
    """The line on which a top-level key or table stands; tomllib does not tell."""
    pattern = re.compile(rf"""\s*(\[\s*)*["']?{re.escape(name)}["']?\s*(\]|=|\.)""")
    lines = text.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines):
        if pattern.match(line) and _is_toml("\n".join(lines[:number])):
            return number + 1
    return 1


def _is_toml(text: str) -> bool:
    """Whether this can stand alone: what ends within a text of several lines cannot."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _from_dotenv(path: Path) -> Iterator[tuple[str, str, str]]:
    from dotenv.parser import parse_stream

    if path.is_dir():
        return  # some people call their virtual environment .env
    for binding in parse_stream(io.StringIO(_read(path) or "")):
        # The line that dotenv tells is that of the blank lines before.
        written = binding.original.string
        line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            raise SettingsError(f"{path}, line {line}: not a line of the form NAME=value.", "Mend or remove the line.")
        if binding.key is not None:
            yield binding.key, binding.value or "", f"{path}, line {line}, {binding.key}"


def _setting(name: str, place: str, written: str) -> Setting:
    if (setting := _BY_NAME.get(name)) is not None:
        return setting
    raise SettingsError(f"{place}: there is no setting {written!r}.", _meant(name, written))


def _meant(name: str, written: str) -> str:
    """What to type instead of an unknown name."""
    bare = name.lower().removeprefix(PREFIX.lower())
    if bare.upper() in key_names():
        return f"A provider's key keeps its own name and stands in {DOTENV} or the environment: {bare.upper()}=..."
    if bare.upper() in _OF_THEIR_OWN:
        return f"It stands in {DOTENV} or the environment: {bare.upper()}=..."
    close = difflib.get_close_matches(bare.replace("-", "_"), _BY_NAME, n=1, cutoff=0.7)
    if not close:
        return "docs/settings.md lists all settings."
    return f"Did you mean {close[0] if name == written else _BY_NAME[close[0]].variable}?"


def _converted(setting: Setting, value: Any, place: str, written: str) -> Any:
    try:
        return _parse(setting, value, typed=written == setting.name)
    except ValueError as error:
        raise SettingsError(
            f"{place}: {written} cannot be {_shown(setting, value)}: {error}.", _example(setting, written)
        ) from None


def _shown(setting: Setting, value: Any) -> str:
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if setting.secret or len(str(value)) > _LONGEST_SHOWN:
        return "this value"
    return json.dumps(value, ensure_ascii=False, default=str)


def _parse(setting: Setting, value: Any, *, typed: bool) -> Any:
    """A value as its setting wants it. `typed`: it comes from TOML, where numbers and booleans are no text."""
    if setting.kind is bool:
        if not typed and isinstance(value, str):
            value = _BOOLEANS.get(value.strip().lower())
        if not isinstance(value, bool):
            raise ValueError("it is true or false")
        return value
    if setting.kind is Path:
        return _parse_path(value)
    if setting.kind is str:
        return _parse_text(setting, value)
    if setting.kind is tuple:
        return _parse_names(setting, value)
    return _parse_number(setting, value, typed=typed)


def _parse_number(setting: Setting, value: Any, *, typed: bool) -> Any:
    kind = "a whole number" if setting.kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float if typed else str | int | float):
        raise ValueError(f"it is {kind}" + (", without quotes" if typed else ""))
    try:
        number = setting.kind(value)
    except (ValueError, OverflowError):
        raise ValueError(f"it is {kind}") from None
    if setting.kind is int and isinstance(value, float) and value != number:
        raise ValueError(f"it is {kind}")
    if not setting.minimum <= number <= _LARGEST:
        raise ValueError(f"it is at least {setting.minimum:g} and at most {_LARGEST:,.0f}")
    return number


def _parse_names(setting: Setting, value: Any) -> tuple[str, ...]:
    """Several names: a list, or one text with commas."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"it is {setting.form}, in a list or separated by commas")
    names = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not names and setting.default:
        raise ValueError(f"it is {setting.form}")
    if not all(re.fullmatch(setting.pattern, name) for name in names):
        raise ValueError(f"it is {setting.form}, in a list or separated by commas")
    return tuple(names)


def _parse_path(value: Any) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("it is a path, in quotes")
    try:
        return Path(value.strip()).expanduser()
    except RuntimeError:
        raise ValueError("nobody knows that home directory") from None


def _parse_text(setting: Setting, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it is text, in quotes")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("it is not UTF-8 text")
    if setting.secret:
        secret = _secret(value)
        if secret and setting.pattern and not re.fullmatch(setting.pattern, secret):
            raise ValueError(f"it is {setting.form}")
        return secret
    if setting.pattern and not re.fullmatch(setting.pattern, value.strip()):
        raise ValueError(f"it is {setting.form}")
    if setting.choices and value.strip() not in setting.choices:
        raise ValueError(f"it is one of {', '.join(setting.choices)}")
    # The space at the end of a prefix is part of it.
    return value if setting.name == "embedder_query_prefix" else value.strip()


def _secret(value: str, place: str = "") -> Secret:
    """A key as it is sent: in one line of ASCII, as no HTTP header can hold anything else."""
    key = value.strip()
    if key and not re.fullmatch(r"[!-~]+", key):
        reason = "a key has neither spaces nor letters beyond ASCII; was it copied whole?"
        if not place:
            raise ValueError(reason)
        raise SettingsError(f"{place}: {reason}", "Copy it again from the provider's page.")
    return Secret(key)


def _example(setting: Setting, written: str) -> str:
    if not setting.example:
        return setting.help
    if not written.upper().startswith(PREFIX) and written not in _OF_THEIR_OWN:
        return f"For example: {written} = {_toml(setting)}"
    return f"For example: {setting.variable}={setting.example}"


def _toml(setting: Setting) -> str:
    """The example, or the default, as TOML has it."""
    if setting.kind is tuple:
        names = [name.strip() for name in setting.example.split(",")] if setting.example else list(setting.default)
        return json.dumps(names)
    example = setting.example or ("" if setting.default is None else str(setting.default))
    # A string of JSON is one of TOML, too.
    return example if setting.kind in (int, float, bool) else json.dumps(example, ensure_ascii=False)


def as_toml() -> str:
    """A commented `frontdesk.toml` with every setting that may stand there."""
    lines = ["# Settings of frontdesk. Remove the # before a line to change it; docs/settings.md says more.", ""]
    for setting in TABLE:
        if setting.secret:
            continue
        lines += [f"# {line}" for line in _wrapped(setting.help)]
        lines += [f"#{setting.name} = {_toml(setting)}", ""]
    return "\n".join(lines)


def as_dotenv() -> str:
    """A commented `.env.example` with the secrets."""
    lines = ["# Copy this file to .env and fill in what you use. Never commit .env.", ""]
    lines += ["# Keys of model providers; one is enough, none is needed for `quotes`."]
    lines += [f"#{name}=" for name in key_names()]
    for setting in TABLE:
        if setting.secret:
            lines += ["", *(f"# {line}" for line in _wrapped(setting.help)), f"#{setting.variable}="]
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """The table for docs/settings.md."""
    lines = [
        "| in frontdesk.toml | in .env and the environment | default | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for setting in TABLE:
        default = f"`{_said(setting.default)}`" if setting.default not in ("", None, ()) else ""
        toml = "not there: a secret" if setting.secret else f"`{setting.name}`"
        choices = f" One of: {', '.join(setting.choices)}." if setting.choices else ""
        channel = " Also for a channel." if setting.per_channel else ""
        lines.append(f"| {toml} | `{setting.variable}` | {default} | {setting.help}{choices}{channel} |")
    return "\n".join(lines) + "\n"


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 100)
