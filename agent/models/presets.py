"""Which model a setting means: `qwen`, `qwen@us:qwen-plus`, `openrouter:qwen/qwen3.8-flash`, `http://host:8000/v1#model`.

What differs between providers is data, in `presets.json`; nothing else knows a provider by name. A team's own presets, and
its changes to these, stand in `frontdesk.toml` under `[presets.NAME]` in the same form.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from functools import cache
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import urlsplit

from agent.errors import SettingsError
from agent.models.pricing import FREE, Price, price_of

NO_KEY = "none"
"""Sent where no key is set: the openai package would fill an empty one from OPENAI_API_KEY."""
FIRST = "$first"
"""The default model of servers that hold one model: the first that their /models lists."""
_LONGEST_SHOWN = 20
"""Characters. A longer unknown name is not repeated in an error: it may be a key that was put into the wrong place."""
_ANY_SERVER: tuple[Mapping[str, Any], ...] = (
    {},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"reasoning_effort": "none"},
)
"""A server of which nothing is known is asked to think less once it is seen to think."""

Presets = Mapping[str, Mapping[str, Any]]
"""Presets by name, in the form of `presets.json`."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a server differs from OpenAI's wire format, as far as is known beforehand; the rest is learned.

    `thinking_off` are bodies that switch thinking off, the first is tried first. `always_thinks`: it cannot be switched
    off, so that thinking says nothing about the switch. `json` is the ladder of structured output, from the best rung:
    "json_schema", "json_object", "prompt". `tool_choice` holds the values that are understood. `echo_reasoning`: what was
    thought before a tool call has to be sent back with the tool's result, under the name `reasoning_field`.
    """

    thinking_off: Sequence[Mapping[str, Any]] = _ANY_SERVER
    always_thinks: bool = False
    reasoning_field: str = "reasoning_content"
    json: tuple[str, ...] = ("json_schema", "json_object", "prompt")
    schema_in_prompt: bool = False
    max_tokens_field: str = "max_tokens"
    temperature: bool = True
    stream_usage: bool = True
    tool_choice: tuple[str, ...] = ("auto", "required")
    echo_reasoning: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model on one server. `vendor` is who sees what is sent: a preset's name, or a host."""

    name: str
    vendor: str
    base_url: str
    model: str
    api_key: str = field(repr=False)
    dialect: Dialect = field(default_factory=Dialect)
    price: Price = field(default_factory=Price)
    context: int | None = None
    """Tokens, if known."""
    hint_401: str = ""

    @property
    def host(self) -> str:
        """The server's host name, without port."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, where proxies have no business."""
        return is_local(self.base_url)


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Embeddings:
    """How a server's `/embeddings` wants to be asked: texts per call, and the text before a question."""

    batch: int = 10
    query_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Rerank:
    """Where a server reranks: a path below its base URL or, if it starts with its scheme, anywhere on its host."""

    path: str = "/rerank"
    style: Literal["cohere", "dashscope"] = "cohere"
    most_texts: int = 500


@cache
def built_in() -> Presets:
    """The table of providers that ships with frontdesk, by preset name."""
    table: Presets = _file()["presets"]
    return table


@cache
def _file() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(files("agent.models").joinpath("presets.json").read_text("utf-8"))
    return read


def as_of() -> str:
    """The date of the price table."""
    return str(_file()["as_of"])


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Presets with a team's own and changed ones `above`; tables within are merged, everything else is replaced."""
    # A price of one's own stands alone: tiers and hours of the old one are not about it.
    old_price = ("tiers", "off_peak", "peak_utc", "source", "as_of") if "price" in above else ()
    both = {key: value for key, value in below.items() if key not in old_price}
    for key, value in above.items():
        old = both.get(key)
        # A switch that is replaced must not keep parts of the old one.
        whole = key in ("price", "body", "thinking_off", "off_peak", "peak_utc")
        both[key] = (
            merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) and not whole else value
        )
    return both


def key_names(presets: Presets | None = None) -> list[str]:
    """The environment variables that hold the providers' keys."""
    return sorted({name for preset in (presets or built_in()).values() for name in preset.get("keys", ())})


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Resolves choices of models. `keys` holds the providers' keys by variable name, `url_key` that of bare addresses.

    `regions` are the regions to use where a choice names none, by preset. `others` are names of models that need no
    preset (`quotes`, plugins), for hints.
    """

    presets: Presets
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    url_key: str = field(default="", repr=False)
    embedder_key: str = field(default="", repr=False)
    regions: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ("quotes",)

    def endpoint(self, choice: str) -> Endpoint:
        """The server and model that a choice of `FRONTDESK_MODEL` means.

        Raises `SettingsError` with what to type when it is not understood or its key is missing.
        """
        return self._endpoint(choice, "")

    def embeddings(self, choice: str) -> tuple[Endpoint, Embeddings]:
        """The server and model that a choice of `FRONTDESK_EMBEDDER` means."""
        found = self._endpoint(choice, "embed")
        facts = self.presets.get(found.vendor, {}).get("embed", {})
        return found, Embeddings(facts.get("batch", 10), facts.get("query_prefix", ""))

    def reranking(self, choice: str) -> tuple[Endpoint, Rerank]:
        """The server, model and path that a choice of `FRONTDESK_MODEL_RERANK` means."""
        found = self._endpoint(choice, "rerank")
        facts = self.presets.get(found.vendor, {}).get("rerank", {})
        path = facts.get("path", "/rerank")
        if facts.get("from_host"):
            parts = urlsplit(found.base_url)
            path = f"{parts.scheme}://{parts.netloc}{path}"
        return found, Rerank(path, facts.get("style", "cohere"), facts.get("most", 500))

    def key_is_set(self, name: str) -> bool | None:
        """Whether the key of a preset is there; `None` when it needs none."""
        preset = self.presets[name]
        given = any(self.keys.get(variable) for variable in preset.get("keys", ()))
        return None if preset.get("key_optional") and not given else given

    def _endpoint(self, choice: str, purpose: str) -> Endpoint:
        choice = choice.strip()
        if choice.lower().startswith(("http://", "https://")):
            return self._from_url(choice, purpose)
        written, _, model = choice.partition(":")
        name, _, region = written.strip().partition("@")
        name, region, model = name.strip().lower(), region.strip(), model.strip()
        preset = self.presets.get(name)
        if preset is None:
            raise self._unknown(written, purpose)
        usual = preset.get(purpose, {}).get("model") if purpose else preset.get("default")
        model = "" if model == FIRST else model or usual or ""
        if not model:
            raise SettingsError(f"{choice!r} does not say which model.", f"Name it after a colon: {name}:MODEL")
        facts = preset.get("models", {}).get(model, {})
        region = region or self.regions.get(name, "")
        free = preset.get("free") and "price" not in facts and not region
        at = f"@{region}" if region and "@" in written else ""
        return Endpoint(
            name=f"{name}{at}" if model == FIRST else f"{name}{at}:{model}",
            vendor=name,
            base_url=_base_url(name, preset, region),
            model="" if model == FIRST else model,
            api_key=self._key(name, preset, purpose),
            dialect=_dialect({**preset, **facts.get("dialect", {})}),
            price=FREE if free else price_of(facts, as_of()),
            context=facts.get("context"),
            hint_401=preset.get("on_401", ""),
        )

    def _key(self, name: str, preset: Mapping[str, Any], purpose: str) -> str:
        for variable in preset.get("keys", ()):
            if self.keys.get(variable):
                return self.keys[variable]
        if preset.get("key_optional") or not preset.get("keys"):
            return NO_KEY
        variable = preset["keys"][0]
        without = {"embed": "FRONTDESK_EMBEDDER=minilm", "rerank": "no FRONTDESK_MODEL_RERANK"}
        raise SettingsError(
            f"{name} needs a key, and {variable} is not set.",
            f"Put {variable}=... into .env, or type: export {variable}=...  "
            f"(without any key, {without.get(purpose, 'FRONTDESK_MODEL=quotes')} works)",
        )

    def _unknown(self, name: str, purpose: str) -> SettingsError:
        names = [*self.presets, *(["minilm"] if purpose == "embed" else [] if purpose else self.others)]
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.7)
        meant = f"Did you mean {close[0]}? If not, choose" if close else "Choose"
        return SettingsError(
            f"There is no model preset {repr(name) if len(name) <= _LONGEST_SHOWN else 'of this name'}.",
            f"{meant} one of {', '.join(sorted(names))}, or give a server: http://HOST:PORT/v1#MODEL",
        )

    def _from_url(self, choice: str, purpose: str) -> Endpoint:
        url, _, model = choice.partition("#")
        variable = "FRONTDESK_EMBEDDER_API_KEY" if purpose == "embed" else "FRONTDESK_MODEL_API_KEY"
        # First of all, so that no error repeats a password.
        if re.match(r"https?://[^/]*@", url, re.IGNORECASE) or "?" in url:
            raise SettingsError(
                "A model's address holds neither a name and password nor a question mark.",
                f"Write it as http://HOST:PORT/v1#MODEL and put the key into {variable}.",
            )
        try:
            parts = urlsplit(url)
            valid = bool(parts.hostname) and parts.port != 0 and not re.search(r"[\s\x00-\x1f\\]", url)
        except ValueError:
            valid = False
        if not valid:
            raise SettingsError(f"{choice!r} is not a server's address.", "Write it as http://HOST:PORT/v1#MODEL")
        if not model.strip():
            raise SettingsError(f"{choice!r} does not say which model.", f"Name it after a #: {url}#MODEL")
        # People copy the address of the call; what is set is the one below which all calls are.
        base_url = re.sub(r"/(?:chat/completions|completions|embeddings|rerank)/?\Z", "", url)
        key = self.embedder_key if purpose == "embed" else self.url_key
        return Endpoint(choice, str(parts.hostname), base_url, model.strip(), key or NO_KEY)


def _dialect(facts: Mapping[str, Any]) -> Dialect:
    own = {one.name: facts[one.name] for one in fields_of(Dialect) if one.name in facts}
    for name in ("json", "tool_choice", "thinking_off"):
        if name in own:
            own[name] = tuple(own[name])
    return Dialect(**own)


def _base_url(name: str, preset: Mapping[str, Any], region: str) -> str:
    regions: Mapping[str, str] = preset.get("regions", {})
    if not region:
        return str(preset["base_url"])
    if region in regions:
        return regions[region]
    workspaces: Mapping[str, Any] = preset.get("workspaces", {})
    workspace, _, place = region.rpartition(".")
    if workspaces and place in workspaces["regions"] and re.fullmatch(r"[A-Za-z0-9-]{1,63}", workspace):
        return str(workspaces["url"]).format(workspace=workspace, region=place)
    also = f", or WORKSPACE.REGION with a region of {', '.join(workspaces['regions'])}" if workspaces else ""
    known = f"Choose one of {', '.join(regions)}{also}." if regions else f"{name} has no regions: write {name}:MODEL"
    raise SettingsError(f"There is no region {region!r} for {name}.", known)


def as_markdown() -> str:
    """The table of providers for docs/models.md."""
    lines = [
        "| preset | provider | key | default model | USD per 1M tokens, in / out |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, preset in built_in().items():
        keys = preset["keys"]
        key = f"`{keys[0]}`" + (" (optional)" if preset.get("key_optional") else "") if keys else "none"
        lines.append(f"| `{name}` | {preset['title']} | {key} | {_default(name, preset)} | {price_in_words(preset)} |")
    return "\n".join(lines) + f"\n\nPrices as of {as_of()}.\n"


def _default(name: str, preset: Mapping[str, Any]) -> str:
    if preset["default"] == FIRST:
        return "the first it lists"
    return f"`{preset['default']}`" if preset["default"] else f"name it: `{name}:MODEL`"


def price_in_words(preset: Mapping[str, Any], model: str = "") -> str:
    """What a model of a preset (by default its default one) costs per 1M tokens, in and out, as `0.15 / 0.47`."""
    facts = preset.get("models", {}).get(model or preset.get("default"), {})
    if preset.get("free") and "price" not in facts:
        return "free"
    price = price_of(facts, as_of())
    return f"{price.rate.input:g} / {price.rate.output:g}" if price.known else "not known"
