"""What one server understands: it starts from the preset and is learned down, by refusals and by what is ignored.

A parameter that a server refuses is left out, that request is sent again, and the parameter is not sent any more. What
it silently ignores is not sent any more either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.models.base import Prompt, PromptMessage, Tool
from agent.models.presets import Dialect
from agent.models.structured import instruction, response_format

_OTHER_FIELD = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_DEMANDS = frozenset({"data_collection"})
SLACK = 1.5
"""Answers longer than this share of what was allowed were not held to it."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What is sent to a server now. `thinking` and `json` are places on the dialect's ladders."""

    thinking: int = 0
    json: int = 0
    max_tokens_field: str = "max_tokens"
    temperature: bool = True
    stream_usage: bool = True
    tool_choice: bool = True
    body: Mapping[str, Any] = field(default_factory=dict)


class Capabilities:
    """The memory for one endpoint, shared by everything that talks to it."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.now = Abilities(
            max_tokens_field=dialect.max_tokens_field,
            temperature=dialect.temperature,
            stream_usage=dialect.stream_usage,
            body=dialect.body,
        )
        self.limits_length = True
        """Whether the server was not yet seen to ignore the limit of an answer's length."""

    # What is sent -----------------------------------------------------------------------------------------------------

    def request(self, model: str, prompt: Prompt, abilities: Abilities) -> dict[str, Any]:
        """The parameters of `chat.completions.create`."""
        request: dict[str, Any] = {
            "model": model,
            "messages": self._messages(prompt, abilities),
            "stream": True,
            abilities.max_tokens_field: prompt.max_tokens,
        }
        if abilities.temperature:
            request["temperature"] = prompt.temperature
        if abilities.stream_usage:
            request["stream_options"] = {"include_usage": True}
        if prompt.tools:
            request["tools"] = [_tool(tool) for tool in prompt.tools]
            if (
                prompt.tool_choice != "auto"
                and prompt.tool_choice in self.dialect.tool_choice
                and abilities.tool_choice
            ):
                request["tool_choice"] = prompt.tool_choice
        if prompt.schema is not None and (wanted := response_format(prompt.schema, self.rung(abilities))) is not None:
            request["response_format"] = wanted
        if body := self._body(abilities):
            request["extra_body"] = body
        return request

    def rung(self, abilities: Abilities) -> str:
        """How structured output is asked for."""
        return self.dialect.json[min(abilities.json, len(self.dialect.json) - 1)]

    def _body(self, abilities: Abilities) -> dict[str, Any]:
        return {**abilities.body, **self._thinking_switch(abilities)}

    def _thinking_switch(self, abilities: Abilities) -> Mapping[str, Any]:
        switches = self.dialect.thinking_off
        return switches[abilities.thinking] if abilities.thinking < len(switches) else {}

    def _messages(self, prompt: Prompt, abilities: Abilities) -> list[dict[str, Any]]:
        """The messages on the wire: one system message, first; text only."""
        system = [message.content for message in prompt.messages if message.role == "system"]
        if prompt.schema is not None:
            with_schema = self.rung(abilities) != "json_schema" or self.dialect.schema_in_prompt
            system.append(instruction(prompt.schema, with_schema=with_schema))
        others = [self._message(message) for message in prompt.messages if message.role != "system"]
        return [*([{"role": "system", "content": "\n\n".join(system)}] if system else []), *others]

    def _message(self, message: PromptMessage) -> dict[str, Any]:
        import json

        written: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "tool":
            written["tool_call_id"] = message.tool_call
        if message.tool_calls:
            written["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
                }
                for call in message.tool_calls
            ]
            if self.dialect.echo_reasoning:
                written[self.dialect.reasoning_field] = message.reasoning
        return written

    # What is learned --------------------------------------------------------------------------------------------------

    def less(self, refusal: str | None, sent: Mapping[str, Any], now: Abilities) -> Iterator[Abilities]:
        """What to try instead after a refusal, best guess first.

        Without what its text names; else without one thing after the other, at last without all of them. `None` stands
        for a fault without a word, which only a lower rung of structured output may avoid.
        """
        options = list(self._without_one(sent, now))
        if refusal is None:
            yield from (one for _, one in options if one.json != now.json)
            return
        named = [one for names, one in options if any(_names(refusal, name) for name in names)]
        # A name may stand in the text by chance ("see provider routing"): the rest is tried behind it.
        yield from named
        for _, one in options:
            if one not in named:
                yield one
        if len(options) > 1:
            bare = replace(
                now,
                thinking=len(self.dialect.thinking_off),
                json=len(self.dialect.json) - 1,
                temperature=False,
                stream_usage=False,
                tool_choice=False,
                body=_demands(now.body),
            )
            yield bare
            yield replace(bare, max_tokens_field=_OTHER_FIELD[now.max_tokens_field])

    def _without_one(self, sent: Mapping[str, Any], now: Abilities) -> Iterator[tuple[tuple[str, ...], Abilities]]:
        """Each optional part of a request: the names an error may call it by, and the abilities without it."""
        for rung in range(now.json + 1, len(self.dialect.json)) if "response_format" in sent else ():
            # A server that knows no `response_format` at all refuses the next rung in the same words.
            yield ("response_format", "json_schema", "json_object"), replace(now, json=rung)
        if switch := self._thinking_switch(now):
            yield (*switch, *_inner(switch)), replace(now, thinking=now.thinking + 1)
        for names, body in _less_of(now.body):
            yield names, replace(now, body=body)
        if "stream_options" in sent:
            yield ("stream_options", "include_usage"), replace(now, stream_usage=False)
        if "tool_choice" in sent:
            yield ("tool_choice",), replace(now, tool_choice=False)
        if "temperature" in sent:
            yield ("temperature",), replace(now, temperature=False)
        yield (now.max_tokens_field,), replace(now, max_tokens_field=_OTHER_FIELD[now.max_tokens_field])

    def thought(self) -> None:
        """It thinks although it was asked not to: the switch is not sent again, the next one is tried, if any."""
        if not self.dialect.always_thinks and self.now.thinking < len(self.dialect.thinking_off):
            self.now = replace(self.now, thinking=self.now.thinking + 1)

    def ignored_usage(self) -> None:
        """It was asked for usage and told none."""
        self.now = replace(self.now, stream_usage=False)

    def ignored_schema(self, rung: str) -> bool:
        """It did not keep to what was asked of its JSON. Returns whether there is a lower rung to try."""
        if rung != self.rung(self.now):
            return True
        if self.now.json >= len(self.dialect.json) - 1:
            return False
        self.now = replace(self.now, json=self.now.json + 1)
        return True

    def ignored_length(self, field_name: str) -> None:
        """It wrote more than it was allowed: the other name for the limit is tried, once."""
        if self.limits_length and field_name == self.now.max_tokens_field:
            self.limits_length = False
            self.now = replace(self.now, max_tokens_field=_OTHER_FIELD[field_name])


def _names(refusal: str, name: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", refusal, re.IGNORECASE) is not None


def _demands(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is never left out, because it is about the customers' data and not about the answer."""
    inner = {
        key: {name: one for name, one in value.items() if name in _DEMANDS}
        for key, value in body.items()
        if isinstance(value, Mapping)
    }
    return {key: value for key, value in inner.items() if value}


def _less_of(body: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The body without each of its parts, and the names of that part."""
    for key, value in body.items():
        inner = dict(value) if isinstance(value, Mapping) else {}
        for name in (name for name in inner if len(inner) > 1 and name not in _DEMANDS):
            yield (name,), {**body, key: {other: inner[other] for other in inner if other != name}}
        if not _DEMANDS & inner.keys():
            yield (key, *inner), {other: body[other] for other in body if other != key}


def _inner(switch: Mapping[str, Any]) -> list[str]:
    return [name for value in switch.values() if isinstance(value, Mapping) for name in value]


def _tool(tool: Tool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": described}
