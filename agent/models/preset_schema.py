"""The form of a preset, as a JSON schema, and the check of those that people write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.errors import SettingsError
from agent.models.presets import Presets

_TEXT = {"type": "string", "minLength": 1}
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
    "body": {"type": "object"},
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
        "base_url": {"type": "string", "pattern": "^https?://[^/@?#\\s]+(/[^?#\\s]*)?$"},
        "regions": {"type": "object", "additionalProperties": {"type": "string", "pattern": "^https?://"}},
        "workspaces": {
            "type": "object",
            "properties": {"url": _TEXT, "regions": {"type": "array", "items": _TEXT}},
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


def checked(presets: Presets, place: str) -> Presets:
    """The same presets. Raises `SettingsError` naming what is wrong in which preset; `place` says where they stand."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    for name, preset in presets.items():
        error = best_match(Draft202012Validator(dict(PRESET)).iter_errors(preset))
        if error is not None:
            path = ".".join((f"presets.{name}", *(str(step) for step in error.absolute_path)))
            raise SettingsError(
                f"{place}: {path}: {' '.join(error.message.split())[:300]}", "docs/models.md shows what a preset holds."
            )
    return presets
