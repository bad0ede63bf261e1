"""Structured output: a JSON object that fits a schema, from models that keep to it, and from those that only try."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from agent.errors import ModelBroken

_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL | re.IGNORECASE)


def instruction(schema: Mapping[str, Any], *, with_schema: bool) -> str:
    """What is put behind the system prompt. The word JSON has to stand in it: some servers insist."""
    if not with_schema:
        return "Reply with one JSON object and nothing else."
    written = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return f"Reply with one JSON object that fits this JSON schema, and nothing else: {written}"


def response_format(schema: Mapping[str, Any], rung: str) -> dict[str, Any] | None:
    """What a request says about it on this rung of the ladder; `None` when only the prompt does."""
    if rung == "json_schema":
        return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": dict(schema)}}
    return {"type": "json_object"} if rung == "json_object" else None


def parsed(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The object in a model's reply, also when it is fenced or wrapped in prose. Raises `ModelBroken` if it does not fit."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(dict(schema))
    misfit = "The model was asked for JSON and sent something else."
    for number, found in enumerate(_objects_in(text)):
        error = next(iter(validator.iter_errors(found)), None)
        if error is None:
            return found
        if number == 0:
            place = ".".join(str(step) for step in error.absolute_path) or "the object"
            misfit = f"The model's JSON does not fit: {place}: {error.message[:200]}"
    raise ModelBroken(misfit)


def _objects_in(text: str) -> Iterator[dict[str, Any]]:
    """The whole text, what is fenced, and what stands in prose: an example or an afterthought may stand beside the object."""
    for candidate in (text, *_FENCE.findall(text)):
        if isinstance(value := _loaded(candidate), dict):
            yield value
    decoder = json.JSONDecoder(parse_constant=_refuse)
    end = 0
    # Each brace may begin an object; more than a few dozen is not prose around one. What is within one is none of its own.
    for brace in list(re.finditer(r"\{", text))[:50]:
        if brace.start() < end:
            continue
        try:
            value, end = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _refuse(constant: str) -> None:
    """NaN and Infinity are numbers to Python, and no JSON."""
    raise ValueError(constant)


def _loaded(text: str) -> Any:
    try:
        return json.loads(text.strip(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
