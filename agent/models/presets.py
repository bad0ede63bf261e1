"""Which model a setting means: `qwen`, `openrouter:qwen/qwen3.8-flash`, `http://host:8000/v1#model`.

What differs between providers is data, in `presets.json`; nothing else knows a provider by name.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from agent.errors import SettingsError

_LONGEST_SHOWN = 20
"""Characters. A longer unknown name is not repeated in an error: it may be a key that was put into the wrong place."""


NO_KEY = "none"
"""Sent where no key is set: the openai package would fill an empty one from OPENAI_API_KEY."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model on one server, with what differs there from the plain OpenAI wire format.

    `body` is sent with every request (thinking off, routing wishes). `prices` are USD per 1M tokens (input, output,
    cached input); `tiers` replace them above a prompt size in tokens. `stream_usage`: ask for usage at the end of a stream.
    """

    name: str
    base_url: str
    model: str
    api_key: str = field(repr=False)
    body: Mapping[str, Any] = field(default_factory=dict)
    max_tokens_field: str = "max_tokens"
    temperature: bool = True
    stream_usage: bool = True
    prices: tuple[float | None, float | None, float | None] = (None, None, None)
    tiers: tuple[tuple[float, float | None, float | None, float | None], ...] = ()
    hint_401: str = ""
    embed_batch: int = 10

    @property
    def host(self) -> str:
        """The server's host name, without port."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, where proxies have no business."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def cost(self, prompt: int, completion: int, cached: int = 0) -> float | None:
        """USD of one call; `None` when a price is not known. `cached` tokens are part of `prompt`."""
        price_in, price_out, price_cached = self.prices
        for above, *prices in self.tiers:
            if prompt > above:
                price_in, price_out, price_cached = prices
        if price_in is None or price_out is None:
            return None
        fresh = max(0, prompt - cached)
        return (
            fresh * price_in + cached * (price_in if price_cached is None else price_cached) + completion * price_out
        ) / 1e6


@cache
def presets() -> dict[str, dict[str, Any]]:
    """The table of providers, by preset name."""
    table: dict[str, dict[str, Any]] = _file()["presets"]
    return table


@cache
def _file() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(files("agent.models").joinpath("presets.json").read_text("utf-8"))
    return read


def as_markdown() -> str:
    """The table of providers for docs/models.md."""
    lines = [
        "| preset | provider | key | default model | USD per 1M tokens, in / out |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, preset in presets().items():
        price = preset["prices"].get(preset["default"]) or (None, None)
        cost = "free" if preset.get("free") else f"{price[0]:g} / {price[1]:g}" if price[0] is not None else "not known"
        key = f"`{preset['keys'][0]}`" + (" (optional)" if preset.get("key_optional") else "")
        model = f"`{preset['default']}`" if preset["default"] else f"name it: `{name}:MODEL`"
        lines.append(f"| `{name}` | {preset['title']} | {key} | {model} | {cost} |")
    return "\n".join(lines) + f"\n\nPrices as of {_file()['as_of']}.\n"


def key_names() -> list[str]:
    """The environment variables that hold the providers' keys."""
    return sorted({name for preset in presets().values() for name in preset["keys"]})


def endpoint(
    choice: str, keys: Mapping[str, str], *, url_key: str = "", region: str = "", purpose: str = "answer"
) -> Endpoint:
    """Resolve what `FRONTDESK_MODEL` (or `FRONTDESK_EMBEDDER`, with purpose "embed") says.

    `keys` holds the providers' keys by variable name; `url_key` is the key for a bare URL. Raises `SettingsError` with
    what to type when the choice is not understood or its key is missing.
    """
    choice = choice.strip()
    if choice.lower().startswith(("http://", "https://")):
        return _from_url(choice, url_key, purpose)
    written, _, model = choice.partition(":")
    name, model = written.strip().lower(), model.strip()
    preset = presets().get(name)
    if preset is None:
        raise _unknown(written, purpose)
    default = preset.get("embed", {}).get("model") if purpose == "embed" else preset["default"]
    model = model or default or ""
    if not model:
        raise SettingsError(f"{choice!r} does not say which model.", f"Name it after a colon: {name}:MODEL")
    return Endpoint(
        name=f"{name}:{model}",
        base_url=_base_url(name, preset, region),
        model=model,
        api_key=_key(name, preset, keys, purpose),
        body=preset.get("extra_body", {}) | ({} if purpose == "embed" else preset.get("thinking_off", {})),
        max_tokens_field=preset.get("max_tokens_field", "max_tokens"),
        temperature=preset.get("temperature", True),
        stream_usage=preset.get("stream_usage", True),
        prices=(0.0, 0.0, 0.0) if preset.get("free") else tuple(preset["prices"].get(model, (None, None, None))),
        tiers=tuple(tuple(tier) for tier in preset.get("tiers", {}).get(model, ())),
        hint_401=preset.get("on_401", ""),
        embed_batch=preset.get("embed", {}).get("batch", 10),
    )


def _unknown(name: str, purpose: str) -> SettingsError:
    names = [*presets(), "minilm" if purpose == "embed" else "quotes"]
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.7)
    meant = f"Did you mean {close[0]}? If not, choose" if close else "Choose"
    return SettingsError(
        f"There is no model preset {repr(name) if len(name) <= _LONGEST_SHOWN else 'of this name'}.",
        f"{meant} one of {', '.join(sorted(names))}, or give a server: http://HOST:PORT/v1#MODEL",
    )


def _from_url(choice: str, key: str, purpose: str) -> Endpoint:
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
    base_url = re.sub(r"/(?:chat/completions|completions|embeddings)/?\Z", "", url)
    return Endpoint(name=choice, base_url=base_url, model=model.strip(), api_key=key or NO_KEY)


def _base_url(name: str, preset: Mapping[str, Any], region: str) -> str:
    regions = preset.get("regions", {})
    if not regions or not region:
        return str(preset["base_url"])
    if region not in regions:
        raise SettingsError(f"There is no region {region!r} for {name}.", f"Choose one of {', '.join(regions)}.")
    return str(regions[region])


def _key(name: str, preset: Mapping[str, Any], keys: Mapping[str, str], purpose: str) -> str:
    for variable in preset["keys"]:
        if keys.get(variable):
            return keys[variable]
    if preset.get("key_optional"):
        return NO_KEY
    variable = preset["keys"][0]
    without = "FRONTDESK_EMBEDDER=minilm" if purpose == "embed" else "FRONTDESK_MODEL=quotes"
    raise SettingsError(
        f"{name} needs a key, and {variable} is not set.",
        f"Put {variable}=... into .env, or type: export {variable}=...  (without any key, {without} works)",
    )
