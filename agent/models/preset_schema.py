"""The form of a preset, as a JSON schema, and the check of those that people write."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from agent.errors import SettingsError
from agent.models.presets import Presets

_TEXT = {"type": "string", "minLength": 1}
_ADDRESS = {
    "type": "string",
    "pattern": r"^https?://([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(:[1-9][0-9]{0,4})?(/[^@?#\s]*)?$",
}
_AMOUNT = {"type": ["number", "null"], "minimum": 0}
_RATE = {
    "type": "object",
    "properties": dict.fromkeys(("input", "output", "cached", "cache_write", "thinking_output"), _AMOUNT),
    "required": ["input", "output"],
    "additionalProperties": False,
}
_DIALECT = {
    "thinking_off": {"type": "array", "items": {"type": "object"}},
    "always_thinks": {"type": "boolean"},
    "reasoning_field": _TEXT,
    "json": {
        "type": "array",
        "items": {"enum": ["json_schema", "json_object", "prompt"]},
        "minItems": 1,
        "uniqueItems": True,
    },
    "schema_in_prompt": {"type": "boolean"},
    "max_tokens_field": {"enum": ["max_tokens", "max_completion_tokens"]},
    "temperature": {"type": "boolean"},
    "stream_usage": {"type": "boolean"},
    "tool_choice": {"type": "array", "items": {"enum": ["auto", "required"]}},
    "echo_reasoning": {"type": "boolean"},
    "body": {"type": "object", "propertyNames": {"not": {"enum": ["stream", "model", "messages"]}}},
}
_MODEL = {
    "type": "object",
    "properties": {
        "price": _RATE,
        "tiers": {
            "type": "array",
            "items": {
                **_RATE,
                "properties": {**_RATE["properties"], "above": {"type": "integer", "minimum": 1}},  # type: ignore[dict-item]
                "required": ["above", "input", "output"],
            },
        },
        "off_peak": _RATE,
        "peak_utc": {
            "type": "object",
            "properties": {
                "weekdays": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 6}},
                "hours": {
                    "type": "array",
                    "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                },
            },
            "required": ["weekdays", "hours"],
            "additionalProperties": False,
        },
        "context": {"type": "integer", "minimum": 1},
        "output": {"type": "integer", "minimum": 1},
        "source": {"type": "string"},
        "as_of": {"type": "string"},
        "note": {"type": "string"},
        "dialect": {"type": "object", "properties": _DIALECT, "additionalProperties": False},
    },
    "additionalProperties": False,
}
PRESET: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "title": _TEXT,
        "base_url": _ADDRESS,
        "regions": {"type": "object", "additionalProperties": _ADDRESS},
        "workspaces": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "pattern": r"^https://\{workspace\}\.\{region\}\.[^{}@?#\s]+$"},
                "regions": {"type": "array", "items": _TEXT},
            },
            "required": ["url", "regions"],
            "additionalProperties": False,
        },
        "keys": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"}},
        "key_optional": {"type": "boolean"},
        "free": {"type": "boolean"},
        "default": {"type": ["string", "null"]},
        "on_401": {"type": "string"},
        "note": {"type": "string"},
        "embed": {
            "type": "object",
            "properties": {
                "model": _TEXT,
                "batch": {"type": "integer", "minimum": 1},
                "query_prefix": {"type": "string"},
                "price": _AMOUNT,
            },
            "additionalProperties": False,
        },
        "rerank": {
            "type": "object",
            "properties": {
                "model": _TEXT,
                "path": {"type": "string", "pattern": "^/"},
                "from_host": {"type": "boolean"},
                "style": {"enum": ["cohere", "dashscope"]},
                "most": {"type": "integer", "minimum": 1},
                "price": _AMOUNT,
            },
            "additionalProperties": False,
        },
        "models": {"type": "object", "additionalProperties": _MODEL},
        **_DIALECT,
    },
    "required": ["base_url"],
    "additionalProperties": False,
}


def _unusable(value: Any) -> str | None:
    """What the form allows and nothing can use: numbers without end, ports that do not exist."""
    if isinstance(value, Mapping):
        return next((found for one in value.values() if (found := _unusable(one))), None)
    if isinstance(value, list):
        return next((found for one in value if (found := _unusable(one))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return f"the number {value}"
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        try:
            urlsplit(value.replace("{", "").replace("}", "")).port  # noqa: B018
        except ValueError:
            return f"the address {value!r}"
    return None


def checked(presets: Presets, place: str) -> Presets:
    """The same presets. Raises `SettingsError` naming what is wrong in which preset; `place` says where they stand."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    for name, preset in presets.items():
        if not re.fullmatch(r"[a-z][a-z0-9_.-]{0,40}", name) or name in ("quotes", "minilm", "none"):
            raise SettingsError(
                f"{place}: a preset cannot be called {name[:40]!r}.", "Its name is small letters, digits, - and _."
            )
        error = best_match(Draft202012Validator(dict(PRESET)).iter_errors(preset))
        if error is not None:
            path = ".".join((f"presets.{name}", *(str(step) for step in error.absolute_path)))
            # What stands in the place of a variable's name may be the key itself.
            said = "it is a variable's name, such as ACME_API_KEY" if "keys" in error.absolute_path else error.message
            raise SettingsError(
                f"{place}: {path}: {' '.join(said.split())[:300]}", "docs/models.md shows what a preset holds."
            )
        if (unusable := _unusable(preset)) is not None:
            raise SettingsError(
                f"{place}: presets.{name} holds {unusable}.", "docs/models.md shows what a preset holds."
            )
    return presets
