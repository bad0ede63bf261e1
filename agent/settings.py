"""One table of settings: name, default, help. It reads them, refuses what it does not know, and generates the docs.

A setting comes from `frontdesk.toml`, from `.env` beside it, or from the environment; the later in this list wins. In the
last two its name is FRONTDESK_ and the setting's name in capitals. Providers' keys keep the names their users already have
(DASHSCOPE_API_KEY ...) and never come from `frontdesk.toml`, which people commit.
"""

from __future__ import annotations

import difflib
import io
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.errors import SettingsError
from agent.models.presets import key_names

FILE = "frontdesk.toml"
DOTENV = ".env"
PREFIX = "FRONTDESK_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `kind` is str, int, float, bool or Path; `choices` limits a str."""

    name: str
    kind: type
    default: Any
    help: str
    example: str = ""
    choices: tuple[str, ...] = ()
    minimum: float = 0
    secret: bool = False

    @property
    def variable(self) -> str:
        """Its name in `.env` and the environment."""
        return PREFIX + self.name.upper()


TABLE: tuple[Setting, ...] = (
    Setting(
        "model",
        str,
        "",
        "Which model answers: a preset (`qwen`, `deepseek`, `openrouter:qwen/qwen3.8-flash`, `ollama:qwen3.5:9b`), a server "
        "(`http://host:8000/v1#model`), or `quotes`, which needs no model and repeats the documents' own words. Several, "
        "separated by commas, are tried in order. Unset: `qwen` if DASHSCOPE_API_KEY is set, else `quotes`.",
        "qwen",
    ),
    Setting("model_api_key", str, "", "The key for a model given by its address.", secret=True),
    Setting(
        "qwen_region",
        str,
        "intl",
        "Where the Alibaba key belongs: keys work in one region only.",
        "intl",
        choices=("intl", "us", "cn", "hk"),
    ),
    Setting("max_answer_tokens", int, 700, "The longest answer, in the model's tokens.", "700", minimum=50),
    Setting("first_token_seconds", float, 8.0, "How long a model may take to begin its answer.", "8", minimum=0.1),
    Setting("idle_seconds", float, 15.0, "How long a model may pause within its answer.", "15", minimum=0.1),
    Setting("total_seconds", float, 60.0, "How long a model may take for a whole answer.", "60", minimum=0.1),
    Setting(
        "embedder",
        str,
        "minilm",
        "What makes the vectors for search: `minilm` (on this machine), a preset with a model (`qwen`, "
        "`ollama:nomic-embed-text`), a server (`http://host:8000/v1#model`), or `none` for search by keywords only.",
        "minilm",
    ),
    Setting("embedder_api_key", str, "", "The key for an embedder given by its address.", secret=True),
    Setting(
        "embedder_query_prefix",
        str,
        "",
        "Text put before every question for embedders that want it, such as `Instruct: ... Query: `.",
    ),
    Setting("embedder_dimensions", int, 0, "Length of vectors to ask the embedder for; 0 leaves it to the server."),
    Setting(
        "data", Path, None, "Where frontdesk keeps its state. Default: the platform's user data directory.", "./data"
    ),
    Setting("company", str, "", "The name of the company or product that customers are helped with.", "Larkstay"),
    Setting(
        "handoff_message",
        str,
        "I've passed this to our team; a person will get back to you here.",
        "What a customer is told about what happens next when a person takes over. Say when they will hear.",
        "Our team answers here on weekdays from 9 to 17 h.",
    ),
    Setting(
        "offline",
        bool,
        False,
        "Forbid everything that would leave this machine: models and embedders elsewhere, fetching the embedding model.",
        "false",
    ),
)
_BY_NAME = {setting.name: setting for setting in TABLE}
_CONVERTERS: dict[type, Callable[[str], Any]] = {str: str, int: int, float: float}


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

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def replaced(self, **values: Any) -> Settings:
        """The same settings with some values given on the command line."""
        return replace(
            self,
            values={**self.values, **values},
            sources={**self.sources, **dict.fromkeys(values, "the command line")},
        )


def load(directory: Path, environment: Mapping[str, str], *, file: Path | None = None) -> Settings:
    """Read the settings: `file` or `directory`/frontdesk.toml, the `.env` beside it, then `environment`.

    Missing files are fine, except a `file` that was asked for. Raises `SettingsError` naming file, line and setting.
    """
    toml = file or directory / FILE
    if file is not None and not file.is_file():
        raise SettingsError(
            f"There is no settings file {file}.", "Check the path, or make one with: frontdesk init DIR"
        )
    values = {setting.name: setting.default for setting in TABLE}
    sources = {setting.name: "default" for setting in TABLE}
    keys: dict[str, Secret] = {}
    known_keys = set(key_names())
    for name, value, place in _from_toml(toml):
        values[name], sources[name] = value, place
    variables = [*_from_dotenv(toml.parent / DOTENV)]
    variables += [(name, value, f"environment variable {name}") for name, value in sorted(environment.items())]
    for variable, text, place in variables:
        if variable in known_keys and text.strip():
            keys[variable] = Secret(text.strip())
        elif variable.upper().startswith(PREFIX):
            setting = _setting(variable.upper().removeprefix(PREFIX).lower(), place, variable)
            if text.strip() or setting.kind is str:
                values[setting.name] = _converted(setting, text, place, variable)
                sources[setting.name] = place
    return Settings(values, sources, keys)


def _from_toml(path: Path) -> Iterator[tuple[str, Any, str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path}, line {line}: not UTF-8 text.", "Save the file as UTF-8.") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else max(1, len(text.splitlines()))
        raise SettingsError(
            f"{path}, line {line}: not valid TOML: {error}.", 'A setting is written as: name = "value"'
        ) from error
    for name, value in table.items():
        place = f"{path}, line {_line_of(text, name)}"
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


def _line_of(text: str, name: str) -> int:
    """The line on which a top-level key or table stands; tomllib does not tell."""
    pattern = re.compile(rf"""^\s*(\[+\s*)?["']?{re.escape(name)}["']?\s*(\]|=|\.)""")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return 1


def _from_dotenv(path: Path) -> Iterator[tuple[str, str, str]]:
    from dotenv.parser import parse_stream

    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read: {error}.", "Save it as UTF-8 text with lines NAME=value."
        ) from error
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise SettingsError(
                f"{path}, line {binding.original.line}: not a line of the form NAME=value.", "Mend or remove the line."
            )
        if binding.key is not None:
            yield binding.key, binding.value or "", f"{path}, line {binding.original.line}, {binding.key}"


def _setting(name: str, place: str, written: str) -> Setting:
    if (setting := _BY_NAME.get(name)) is not None:
        return setting
    close = difflib.get_close_matches(name, _BY_NAME, n=1)
    meant = close[0] if close else ""
    shown = (_BY_NAME[meant].variable if written.isupper() else meant) if meant else ""
    raise SettingsError(
        f"{place}: there is no setting {written!r}.",
        f"Did you mean {shown}?" if shown else "docs/settings.md lists all settings.",
    )


def _converted(setting: Setting, value: Any, place: str, written: str) -> Any:
    try:
        result = _parse(setting, value)
    except (ValueError, TypeError) as error:
        shown = "***" if setting.secret else repr(value)
        raise SettingsError(f"{place}: {written} cannot be {shown}: {error}.", _example(setting)) from error
    return result


def _parse(setting: Setting, value: Any) -> Any:
    if setting.kind is bool:
        if isinstance(value, bool):
            return value
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if isinstance(value, str) and value.strip().lower() in words:
            return words[value.strip().lower()]
        raise ValueError("it is true or false")
    if setting.kind is Path:
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError("it is a path")
        return Path(value).expanduser()
    if setting.kind is str:
        return _parse_text(setting, value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("it is a number")
    try:
        number = setting.kind(value)
    except ValueError:
        raise ValueError("it is a whole number" if setting.kind is int else "it is a number") from None
    if setting.kind is int and isinstance(value, float) and value != number:
        raise ValueError("it is a whole number")
    if not setting.minimum <= number < 1e9:
        raise ValueError(f"it is at least {setting.minimum:g}")
    return number


def _parse_text(setting: Setting, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it is text, in quotes")
    if setting.choices and value not in setting.choices:
        raise ValueError(f"it is one of {', '.join(setting.choices)}")
    return (
        Secret(value.strip()) if setting.secret else value.strip() if setting.name != "embedder_query_prefix" else value
    )


def _example(setting: Setting) -> str:
    return f"For example: {setting.variable}={setting.example}" if setting.example else setting.help


def as_toml() -> str:
    """A commented `frontdesk.toml` with every setting that may stand there."""
    lines = ["# Settings of frontdesk. Remove the # before a line to change it; docs/settings.md says more.", ""]
    for setting in TABLE:
        if setting.secret:
            continue
        lines += [f"# {line}" for line in _wrapped(setting.help)]
        example = setting.example or ("" if setting.default is None else str(setting.default))
        quoted = example if setting.kind in (int, float, bool) else f'"{example}"'
        lines += [f"# {setting.name} = {quoted}", ""]
    return "\n".join(lines)


def as_dotenv() -> str:
    """A commented `.env.example` with the secrets."""
    lines = ["# Copy this file to .env and fill in what you use. Never commit .env.", ""]
    lines += ["# Keys of model providers; one is enough, none is needed for `quotes`."]
    lines += [f"# {name}=" for name in key_names()]
    for setting in TABLE:
        if setting.secret:
            lines += ["", *(f"# {line}" for line in _wrapped(setting.help)), f"# {setting.variable}="]
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """The table for docs/settings.md."""
    lines = [
        "| in frontdesk.toml | in .env and the environment | default | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for setting in TABLE:
        default = (
            ""
            if setting.default in ("", None)
            else f"`{str(setting.default).lower() if setting.kind is bool else setting.default}`"
        )
        toml = "not there: a secret" if setting.secret else f"`{setting.name}`"
        choices = f" One of: {', '.join(setting.choices)}." if setting.choices else ""
        lines.append(f"| {toml} | `{setting.variable}` | {default} | {setting.help}{choices} |")
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 100)
