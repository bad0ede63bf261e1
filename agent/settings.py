"""One table of settings: name, default, help. It reads them, refuses what it does not know, and generates the docs.

A setting comes from `frontdesk.toml`, from `.env` beside it, or from the environment; the later in this list wins. In the
last two its name is FRONTDESK_ and the setting's name in capitals. Providers' keys keep the names their users already have
(DASHSCOPE_API_KEY ...) and never come from `frontdesk.toml`, which people commit.
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

FILE = "frontdesk.toml"
DOTENV = ".env"
PREFIX = "FRONTDESK_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `kind` is str, int, float, bool or Path; `choices` limits a str.

    `per_channel`: it may be set anew for a channel, in the table `[channels."..."]` of `frontdesk.toml`.
    """

    name: str
    kind: type
    default: Any
    help: str
    example: str = ""
    choices: tuple[str, ...] = ()
    minimum: float = 0
    secret: bool = False
    per_channel: bool = False
    pattern: str = ""
    """What a str has to look like, and"""
    form: str = ""
    """what that is in words."""

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
        per_channel=True,
    ),
    Setting(
        "model_answer",
        str,
        "",
        "The models that write answers, if not those of `model`.",
        "qwen,deepseek,ollama:qwen3.5:9b,quotes",
        per_channel=True,
    ),
    Setting(
        "model_rewrite",
        str,
        "",
        "The models that make follow-ups stand alone, if not those of `model`.",
        "qwen:qwen-flash",
        per_channel=True,
    ),
    Setting(
        "model_triage",
        str,
        "",
        "The models that sort messages before they are answered. Unset: rules do, and the answering model in the same call.",
        "qwen:qwen-flash",
        per_channel=True,
    ),
    Setting(
        "model_judge",
        str,
        "",
        "The models that check each answer against its sources before it is sent; what does not hold is handed to a person. "
        "Best of another family than the one that answers. Unset: the checks that code can do.",
        "deepseek",
        per_channel=True,
    ),
    Setting(
        "model_summarise",
        str,
        "",
        "The models that sum up long conversations, so that less is sent, if not those of `model`.",
        "qwen:qwen-flash",
        per_channel=True,
    ),
    Setting(
        "model_rerank",
        str,
        "",
        "A model that puts what was found into a better order: `qwen`, `vllm:MODEL`, `llamacpp:MODEL` or a server with a "
        "`/rerank` path. Unset: the order of vectors and keywords.",
        "qwen",
    ),
    Setting("model_api_key", str, "", "The key for a model given by its address.", secret=True),
    Setting(
        "qwen_region",
        str,
        "intl",
        "Where the Alibaba key belongs, as keys work in one region only: `intl`, `us`, `cn`, `hk`, or a workspace and its "
        "region (`ws-1a2b.eu-central-1`; `trial.eu-central-1` for tests).",
        "intl",
        pattern=r"intl|us|cn|hk|[A-Za-z0-9-]{1,63}\.(?:ap-southeast-1|us-east-1|cn-beijing|cn-hongkong|ap-northeast-1|eu-central-1)",
        form="one of intl, us, cn, hk, or WORKSPACE.REGION",
    ),
    *(
        Setting(
            f"budget_{scope}",
            str,
            "",
            f"What models may cost {where}: `0.50` (USD), or `200000 tokens`. A call that would cost more is not made.",
            example,
            pattern=r"(?i:\$?\s*\d[\d_]*(?:(?:\.\d+)?\s*(?:usd)?|\s*tokens?))",
            form="an amount of money such as 0.50, or of tokens such as 200000 tokens",
        )
        for scope, where, example in (
            ("conversation", "in one conversation", "0.05"),
            ("person", "for one person in a day (UTC)", "0.20"),
            ("channel", "in one channel in a day", "2.00"),
            ("day", "in a day in all", "20"),
        )
    ),
    Setting("max_answer_tokens", int, 700, "The longest answer, in the model's tokens.", "700", minimum=50),
    Setting("first_token_seconds", float, 8.0, "How long a model may take to begin its answer.", "8", minimum=0.1),
    Setting("idle_seconds", float, 15.0, "How long a model may pause within its answer.", "15", minimum=0.1),
    Setting(
        "total_seconds",
        float,
        30.0,
        "How long a model may take for a whole answer. Raise it for a slow local model.",
        "30",
        minimum=0.1,
    ),
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
        "language",
        str,
        "",
        "The language of the documents, by its English name. Words are compared by their stems, and a model puts questions in "
        "other languages into it before they are looked up. Unset: told from the documents.",
        "german",
    ),
    Setting(
        "handoff_message",
        str,
        "A person from our team will take it from here.",
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
_ALSO_CALLED = {"model_embed": "embedder"}
_TABLES = ("presets", "channels")
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
        elif variable.upper().startswith(PREFIX):
            name = variable.upper().removeprefix(PREFIX).lower()
            name = _ALSO_CALLED.get(name, name)
            if name not in _BY_NAME and variable in environment and _KUBERNETES.fullmatch(variable):
                continue
            setting = _setting(name, place, variable)
            # An empty text is a text; anything else that is empty is not set.
            if given.strip() or (setting.kind is str and not setting.choices and not setting.pattern):
                values[setting.name] = _converted(setting, given, place, variable)
                sources[setting.name] = place
    return Settings(values, sources, keys, presets, tables["channels"])


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
        if name not in _BY_NAME and isinstance(value, dict):
            raise SettingsError(
                f"{place}: there is no table {name!r}.",
                'Settings stand in the file before any [table]; tables are [presets.NAME] and [channels."CHANNEL"].',
            )
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
        converted = {}
        for written, given in own.items():
            where = f"{place}, channel {channel!r}"
            setting = _setting(written, where, written)
            if not setting.per_channel:
                allowed = ", ".join(one.name for one in TABLE if one.per_channel)
                raise SettingsError(f"{where}: {written} cannot be set for a channel.", f"What can be is: {allowed}.")
            converted[setting.name] = _converted(setting, given, where, written)
        channels[channel] = converted
    return channels


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
        return _secret(value)
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
    if written == setting.name:
        return f"For example: {setting.name} = {_toml(setting)}"
    return f"For example: {setting.variable}={setting.example}"


def _toml(setting: Setting) -> str:
    """The example, or the default, as TOML has it."""
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
