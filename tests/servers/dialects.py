"""The dialects of OpenAI's format, one for each provider and server: what it knows, refuses, ignores and sends.

From the quirk matrix of the models' facts and from what real servers sent. What neither says is taken at its strictest:
a parameter that a server is not known to understand is refused, in that server's own form of error.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from typing import Any, Literal

from aiohttp import web

from tests.servers.model_server import Call, ModelServer, Play, answers, chunk, raw, wrong_messages

COMMON = frozenset({"model", "messages", "stream", "stream_options", "temperature", "top_p", "stop"})
COMMON |= {"tools", "tool_choice", "response_format"}
TEXT = "Cancel up to 5 days before check-in for a full refund. [1]"
THOUGHT = "The customer seems to be in a hurry."
PROMPT_TOKENS, CACHED, WRITTEN, COMPLETION, REASONING = 1_000, 400, 100, 50, 30
COST = 0.00123

Kept = Literal["kept", "ignored", "refused"]
Refuse = Callable[[Sequence[str]], Play]


# Forms of errors ------------------------------------------------------------------------------------------------------


def openai_form(names: Sequence[str]) -> Play:
    """OpenAI's. The names are told one at a time."""
    name = names[0]
    if name == "max_tokens":
        said = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
    elif name == "temperature":
        said = (
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) is supported."
        )
    else:
        said = f"Unrecognized request argument supplied: {name}"
    return answers(400, {"error": {"message": said, "type": "invalid_request_error", "param": name, "code": None}})


def dashscope(names: Sequence[str]) -> Play:
    said = f"<400> InternalError.Algo.InvalidParameter: The {names[0]} parameter is not supported."
    inner = {"code": "invalid_parameter_error", "param": None, "message": said, "type": "invalid_request_error"}
    return answers(400, {"error": inner, "id": "chatcmpl-1", "request_id": "1"})


def int_code(names: Sequence[str]) -> Play:
    inner = {"message": f"1 validation error: '{names[0]}' is not permitted", "type": "BadRequestError", "code": 400}
    return answers(400, {"error": inner})


def flat(names: Sequence[str]) -> Play:
    """Without `error` around it."""
    return answers(400, {"object": "error", "message": f"{names[0]} is not supported", "type": "bad", "code": 400})


def text(names: Sequence[str]) -> Play:
    return answers(400, {"error": f"'{names[0]}' is not a parameter of this server"})


def detail_list(names: Sequence[str]) -> Play:
    """FastAPI's."""
    wrong = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in names
    ]
    return answers(422, {"detail": wrong})


def set_repr(names: Sequence[str]) -> Play:
    """That of transformers: all names at once, as Python writes a set."""
    return answers(422, {"detail": f"Unexpected fields in the request: {set(names)!r}"})


def wrapped(names: Sequence[str]) -> Play:
    """LiteLLM's, around that of the server behind it."""
    if "thinking" in names:
        said = (
            "litellm.UnsupportedParamsError: openai does not support parameters: ['thinking'], for model=tiny. To drop "
        )
        said += "these, set `litellm.drop_params=True` or for proxy:\n\n`litellm_settings:\n drop_params: true`\n. \n "
        return answers(400, {"error": {"message": said, "type": "invalid_request_error", "param": None, "code": "400"}})
    said = f"Error code: 422 - {{'detail': \"Unexpected fields in the request: {set(names)!r}\"}}"
    said = (
        f"litellm.BadRequestError: OpenAIException - {said}\n\nLiteLLM: model group 'm' failed with the error above. "
    )
    said += "No fallback was attempted."
    return answers(422, {"error": {"message": said, "type": "invalid_request_error", "param": None, "code": "422"}})


def validation(names: Sequence[str]) -> Play:
    """That of llama-cpp-python: a 500."""
    at = "'response_format', 'type'" if names[0] == "response_format" else f"'{names[0]}'"
    said = (
        f"1 validation error:\n  {{'type': 'literal_error', 'loc': ('body', {at}), 'msg': \"Input should be 'text'\"}}"
    )
    return answers(500, {"error": {"message": said, "type": "internal_server_error", "param": None, "code": None}})


def unnamed(names: Sequence[str]) -> Play:
    """Z.ai's, which names nothing."""
    return answers(400, {"error": {"code": "1210", "message": "Incorrect API call parameters, please check the docs."}})


def unrouted(names: Sequence[str]) -> Play:
    """OpenRouter's, when no host of the model knows all of a request."""
    said = "No endpoints found that can handle the requested parameters. To learn more about provider routing, visit: "
    return answers(404, {"error": {"message": said + "https://openrouter.ai/docs/provider-routing", "code": 404}})


def not_streamed(names: Sequence[str]) -> Play:
    said = f"{names[0]} is not supported with streaming for reasoning models"
    return answers(
        400, {"message": said, "type": "invalid_request_error", "param": names[0], "code": "wrong_api_format"}
    )


_KEY_ERROR = answers(401, {"error": {"message": "Incorrect API key provided.", "code": "invalid_api_key"}})
_MODEL_ERROR = answers(404, {"error": {"message": "The model `m` does not exist.", "code": "model_not_found"}})


# Dialects -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quirks:
    """One dialect. `knows` are parameters beside the common ones, `ignores` those of them without any effect."""

    knows: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()
    anything: bool = False
    """What is unknown is ignored."""
    length: frozenset[str] = frozenset({"max_tokens"})
    temperature: float | None = 2.0
    """The highest; `None` where none may be sent."""
    stream_options: bool = True
    tool_choice: frozenset[str] = frozenset({"auto", "none", "required"})
    json_schema: Kept = "kept"
    json_object: Kept = "kept"
    json_word: bool = False
    wants_schema_in_prompt: bool = False
    off: tuple[Mapping[str, Any], ...] = ()
    """What switches thinking off. Without any of it, the model thinks."""
    thinks: Literal["unless off", "always", "never"] = "unless off"
    thoughts: Literal["reasoning", "reasoning_content", "inline", "hidden"] = "reasoning_content"
    usage: Literal["last", "last with choices", "finish", "never"] = "last"
    usage_unasked: bool = False
    cached_in: Literal["details", "prompt_cache_hit_tokens", "cached_tokens", "nowhere"] = "nowhere"
    written_in: str = ""
    cost: bool = False
    raw_tools: bool = False
    blind: str = ""
    """What it says to a picture, where the model cannot see."""
    echo: str = ""
    """The field of an assistant's message with tool calls in which its thinking must come back."""
    key_needed: bool = True
    any_model: bool = False
    finish_null: bool = True
    done: bool = True
    refuse: Refuse = openai_form
    refuse_json: Refuse | None = None
    key_error: Play = _KEY_ERROR
    model_error: Play = _MODEL_ERROR


def _off(**body: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple({key: value} for key, value in body.items())


_TEMPLATE = {"chat_template_kwargs": {"enable_thinking": False}}
_AUTO = frozenset({"auto", "none"})
_BOTH = frozenset({"max_tokens", "max_completion_tokens"})
_DETAIL_401 = answers(401, {"detail": "Invalid API key"})

QUIRKS: Mapping[str, Quirks] = {
    "qwen": Quirks(
        knows=frozenset({"enable_thinking", "reasoning_effort", "thinking_budget"}),
        off=_off(enable_thinking=False, reasoning_effort="none"),
        json_word=True,
        tool_choice=_AUTO,
        cached_in="details",
        written_in="cache_creation_input_tokens",
        refuse=dashscope,
        key_error=answers(
            401, {"error": {"message": "Incorrect API key provided. ", "code": "invalid_api_key"}, "id": "1"}
        ),
    ),
    "openrouter": Quirks(
        knows=frozenset({"reasoning", "provider", "models"}),
        off=({"reasoning": {"enabled": False}},),
        thoughts="reasoning",
        usage_unasked=True,
        stream_options=False,
        cached_in="details",
        cost=True,
        refuse=unrouted,
        key_error=answers(401, {"error": {"message": "No auth credentials found", "code": 401}}),
        model_error=answers(400, {"error": {"message": "m is not a valid model ID", "code": 400}, "user_id": "u"}),
    ),
    "deepseek": Quirks(
        knows=frozenset({"thinking"}),
        off=({"thinking": {"type": "disabled"}},),
        json_schema="refused",
        json_word=True,
        cached_in="prompt_cache_hit_tokens",
        echo="reasoning_content",
        key_error=answers(
            401,
            {"error": {"message": "Authentication Fails, Your api key is invalid", "type": "authentication_error"}},
        ),
        model_error=answers(400, {"error": {"message": "Model Not Exist", "code": "invalid_request_error"}}),
    ),
    "moonshot": Quirks(
        knows=frozenset({"thinking"}),
        length=_BOTH,
        temperature=None,
        off=({"thinking": {"type": "disabled"}},),
        json_schema="refused",
        tool_choice=_AUTO,
        cached_in="cached_tokens",
        echo="reasoning_content",
        key_error=answers(
            401, {"error": {"message": "Invalid Authentication", "type": "invalid_authentication_error"}}
        ),
        model_error=answers(
            404,
            {"error": {"message": "Not found the model m or Permission denied", "type": "resource_not_found_error"}},
        ),
    ),
    "zai": Quirks(
        knows=frozenset({"thinking", "reasoning_effort"}),
        stream_options=False,
        off=({"thinking": {"type": "disabled"}},),
        json_schema="refused",
        tool_choice=frozenset({"auto"}),
        usage_unasked=True,
        cached_in="details",
        refuse=unnamed,
        key_error=answers(401, {"error": {"code": "1000", "message": "Authentication Failed"}}),
        model_error=answers(400, {"error": {"code": "1211", "message": "Unknown Model, please check the model code."}}),
    ),
    "together": Quirks(
        knows=frozenset({"reasoning", "reasoning_effort", "chat_template_kwargs"}),
        off=({"reasoning": {"enabled": False}},),
        thoughts="reasoning",
    ),
    "fireworks": Quirks(
        knows=frozenset({"reasoning_effort"}),
        off=_off(reasoning_effort="none"),
        thoughts="inline",
        cached_in="details",
        wants_schema_in_prompt=True,
        refuse=detail_list,
    ),
    "groq": Quirks(
        knows=frozenset({"reasoning_effort"}),
        length=frozenset({"max_completion_tokens"}),
        off=_off(reasoning_effort="none"),
        thoughts="reasoning",
        cached_in="details",
    ),
    "cerebras": Quirks(
        knows=frozenset({"reasoning_effort"}),
        length=frozenset({"max_completion_tokens"}),
        off=_off(reasoning_effort="none"),
        thoughts="reasoning",
        tool_choice=_AUTO,
        json_schema="refused",
        json_object="refused",
        refuse=flat,
        refuse_json=not_streamed,
        key_error=answers(401, {"message": "Wrong API Key", "type": "invalid_request_error", "code": "wrong_api_key"}),
        model_error=answers(404, {"message": "Model m does not exist or you do not have access to it."}),
    ),
    "openai": Quirks(
        knows=frozenset({"reasoning_effort"}),
        length=frozenset({"max_completion_tokens"}),
        temperature=None,
        off=_off(reasoning_effort="none"),
        thoughts="hidden",
        cached_in="details",
        written_in="cache_write_tokens",
    ),
    "anthropic": Quirks(
        length=_BOTH,
        temperature=1.0,
        json_schema="ignored",
        json_object="ignored",
        thinks="never",
        refuse=text,
    ),
    "huggingface": Quirks(
        knows=frozenset({"chat_template_kwargs"}),
        off=(_TEMPLATE,),
        refuse=text,
        key_error=answers(401, {"error": "Invalid username or password."}),
        model_error=answers(
            400, {"error": {"message": "The requested model 'm' does not exist", "code": "model_not_found"}}
        ),
    ),
    "ollama": Quirks(
        knows=frozenset({"reasoning_effort"}),
        off=_off(reasoning_effort="none"),
        thoughts="reasoning",
        tool_choice=frozenset(),
        key_needed=False,
        model_error=answers(
            404, {"error": {"message": 'model "m" not found', "type": "not_found_error", "code": None}}
        ),
    ),
    "vllm": Quirks(
        knows=frozenset({"chat_template_kwargs", "reasoning_effort"}),
        length=_BOTH,
        off=(_TEMPLATE, {"reasoning_effort": "none"}),
        thoughts="reasoning",
        refuse=int_code,
        key_error=answers(401, {"error": "Unauthorized"}),
    ),
    "sglang": Quirks(
        knows=frozenset({"chat_template_kwargs"}),
        length=_BOTH,
        off=(_TEMPLATE,),
        refuse=flat,
        key_error=answers(401, {"error": "Unauthorized"}),
    ),
    "llamacpp": Quirks(
        knows=frozenset({"chat_template_kwargs"}),
        length=_BOTH,
        off=(_TEMPLATE,),
        thoughts="inline",
        refuse=int_code,
        any_model=True,
        key_error=answers(401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}),
    ),
    "lmstudio": Quirks(
        json_object="refused",
        thinks="always",
        thoughts="inline",
        tool_choice=_AUTO,
        key_needed=False,
        refuse=text,
    ),
    "transformers": Quirks(
        knows=frozenset({"chat_template_kwargs"}),
        length=_BOTH,
        off=(_TEMPLATE,),
        thoughts="inline",
        json_schema="ignored",
        json_object="ignored",
        tool_choice=_AUTO,
        usage="finish",
        usage_unasked=True,
        finish_null=False,
        done=False,
        key_needed=False,
        refuse=set_repr,
        model_error=answers(400, {"detail": "Server is pinned to 'tiny'; requested 'm'."}),
    ),
    # Servers without a preset, named by their address.
    "llama-cpp-python": Quirks(
        anything=True,
        length=_BOTH,
        ignores=frozenset({"max_completion_tokens"}),
        thinks="always",
        thoughts="inline",
        json_schema="refused",
        usage="never",
        raw_tools=True,
        any_model=True,
        refuse=validation,
        key_error=_DETAIL_401,
    ),
    "litellm": Quirks(
        knows=frozenset({"chat_template_kwargs", "reasoning_effort"}),
        ignores=frozenset({"reasoning_effort"}),
        length=_BOTH,
        off=(_TEMPLATE,),
        thoughts="inline",
        json_schema="ignored",
        json_object="ignored",
        usage="last with choices",
        finish_null=False,
        refuse=wrapped,
        key_error=answers(
            400, {"error": {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}}
        ),
        model_error=answers(
            400,
            {"error": {"message": "/chat/completions: Invalid model name passed in model=m. Call `/v1/models`"}},
        ),
    ),
}

OF_MODELS: Mapping[str, Mapping[str, Any]] = {
    "moonshot:kimi-k3.1-pro": {"thinks": "always"},
    "zai:glm-5.3-flash": {"thinks": "always"},
    "together:openai/gpt-oss-120b": {"thinks": "always"},
    "fireworks:accounts/fireworks/models/gpt-oss-20b": {"thinks": "always"},
    "groq:openai/gpt-oss-20b": {"thinks": "always"},
    "cerebras:gpt-oss-120b": {"thinks": "always"},
}
"""What is different with one model of a provider: it cannot be kept from thinking."""


@dataclass
class DialectServer(ModelServer):
    """A server with a dialect. `refused` and `thoughts` say what a client got wrong: parameters, and thinking left on."""

    quirks: Quirks = field(default_factory=Quirks)
    refused: list[str] = field(default_factory=list)
    thoughts: int = 0
    ignored: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.by_prompt = self._answered

    # What is wrong with a request -----------------------------------------------------------------------------------------

    def _unauthorised(self, call: Call) -> Play | None:
        if self.quirks.key_needed and call.headers.get("authorization") != f"Bearer {self.key}":
            return self.quirks.key_error
        return None

    def _refusal(self, call: Call) -> Play | None:
        quirks, body = self.quirks, call.body
        if (refusal := self._unauthorised(call)) is not None:
            return refusal
        if body.get("model") != self.model and not quirks.any_model:
            return quirks.model_error
        if (wrong := self._wrong(body)) is not None:
            self.refused.append(wrong)
            return answers(400, {"error": {"message": wrong, "type": "invalid_request_error"}})
        if names := list(self._not_understood(body)):
            self.refused += names
            form = quirks.refuse_json if names == ["response_format"] else None
            return (form or quirks.refuse)(names)
        self.ignored += [name for name in body if name in quirks.ignores]
        if self._kept(body) == "ignored":
            self.ignored.append("response_format")
        return None

    def _not_understood(self, body: Mapping[str, Any]) -> Iterator[str]:
        quirks = self.quirks
        known = COMMON | quirks.knows | quirks.length
        if not quirks.anything:
            yield from sorted(body.keys() - known)
        if "temperature" in body and (quirks.temperature is None or body["temperature"] > quirks.temperature):
            yield "temperature"
        if "stream_options" in body and not quirks.stream_options:
            yield "stream_options"
        if "tool_choice" in body and body["tool_choice"] not in quirks.tool_choice:
            yield "tool_choice"
        if self._kept(body) == "refused":
            yield "response_format"

    def _wrong(self, body: Mapping[str, Any]) -> str | None:
        """What no server lets pass."""
        quirks, messages = self.quirks, body.get("messages", [])
        if (wrong := wrong_messages(messages)) is not None:
            return wrong
        if quirks.blind and any(isinstance(message["content"], list) for message in messages):
            return quirks.blind
        if [message["role"] for message in messages].count("system") > 1 or "system" in [
            message["role"] for message in messages[1:]
        ]:
            return "System message must be at the beginning."
        for message in messages:
            if quirks.echo and message.get("tool_calls"):
                thought = THOUGHT if self._thinks(body) else ""
                if message.get(quirks.echo) != thought:
                    return f"thinking is enabled but {quirks.echo} is missing in assistant tool call message"
            elif {"reasoning", "reasoning_content"} & message.keys():
                return "Unknown field in a message"
        if quirks.json_word and "response_format" in body and "json" not in json.dumps(messages).lower():
            return (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
        if quirks.wants_schema_in_prompt and "response_format" in body and not _schema_in_prompt(messages):
            return "The schema has to stand in the prompt, too."
        if not body.keys() & (quirks.length - quirks.ignores):
            self.ignored.append("no limit")
        return None

    def _kept(self, body: Mapping[str, Any]) -> Kept | None:
        kind = body.get("response_format", {}).get("type")
        return getattr(self.quirks, kind) if kind in ("json_schema", "json_object") else None

    def _thinks(self, body: Mapping[str, Any]) -> bool:
        if self.quirks.thinks != "unless off":
            return self.quirks.thinks == "always"
        return not any(all(body.get(key) == value for key, value in off.items()) for off in self.quirks.off)

    # What it says -----------------------------------------------------------------------------------------------------

    def _answered(self, call: Call) -> Play:
        thinks = self._thinks(call.body)
        self.thoughts += thinks

        async def play(request: web.Request, call: Call) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for payload in self._payloads(call.body, thinks):
                # What comes together is read together, and models take their time.
                await asyncio.sleep(0.001)
                await response.write(b"data: " + json.dumps(payload).encode() + b"\n\n")
            if self.quirks.done:
                await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
            return response

        return play

    def _payloads(self, body: Mapping[str, Any], thinks: bool) -> Iterator[dict[str, Any]]:
        quirks = self.quirks
        said, calls = self._said(body)
        yield self._chunk({"role": "assistant", "content": ""})
        if thinks and quirks.thoughts in ("reasoning", "reasoning_content"):
            for piece in _pieces(THOUGHT):
                yield self._chunk({quirks.thoughts: piece})
        elif thinks and quirks.thoughts == "inline":
            said = f"<think>{THOUGHT}</think>\n\n{said}"
        for piece in _pieces(said):
            yield self._chunk({"content": piece})
        for part in calls:
            yield self._chunk({"tool_calls": [part]})
        asked = quirks.usage_unasked or body.get("stream_options", {}).get("include_usage")
        usage = {"usage": self._usage(thinks)} if asked and quirks.usage != "never" else {}
        finish = "tool_calls" if calls else "stop"
        yield {**chunk({}, finish), **(usage if quirks.usage == "finish" else {})}
        if usage and quirks.usage == "last":
            yield {**chunk({}), **usage, "choices": []}
        elif usage and quirks.usage == "last with choices":
            yield {**chunk({}), **usage, "choices": [{"index": 0, "delta": {}}]}

    def _chunk(self, delta: dict[str, Any]) -> dict[str, Any]:
        made = chunk(delta)
        if not self.quirks.finish_null:
            del made["choices"][0]["finish_reason"]
        return made

    def _usage(self, thinks: bool) -> dict[str, Any]:
        quirks = self.quirks
        completion = COMPLETION + REASONING * thinks
        usage: dict[str, Any] = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": completion}
        usage["total_tokens"] = PROMPT_TOKENS + completion
        if quirks.cached_in == "details":
            usage["prompt_tokens_details"] = {"cached_tokens": CACHED}
        elif quirks.cached_in != "nowhere":
            usage[quirks.cached_in] = CACHED
        if quirks.written_in:
            usage["prompt_tokens_details"][quirks.written_in] = WRITTEN
        if thinks:
            usage["completion_tokens_details"] = {"reasoning_tokens": REASONING}
        if quirks.cost:
            usage["cost"] = COST
        return usage

    def _said(self, body: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """The text, and the pieces of tool calls."""
        last = body["messages"][-1]
        if last["role"] == "tool":
            return f"The tool says: {last['content']}", []
        if body.get("tools"):
            function = body["tools"][0]["function"]
            arguments = json.dumps(an_example(function["parameters"]))
            if self.quirks.raw_tools:
                return f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {arguments}}}\n</tool_call>', []
            begun = {"index": 0, "id": "call_abc", "type": "function"}
            return "", [
                {**begun, "function": {"name": function["name"], "arguments": ""}},
                {"index": 0, "function": {"arguments": arguments[:5]}},
                {"index": 0, "function": {"arguments": arguments[5:]}},
            ]
        return self._structured(body), []

    def _structured(self, body: Mapping[str, Any]) -> str:
        """JSON as well as the request got it across: kept to by force, asked for with the schema, or asked for without."""
        kind = body.get("response_format", {}).get("type") if self._kept(body) == "kept" else ""
        if kind == "json_schema":
            return json.dumps(an_example(body["response_format"]["json_schema"]["schema"]))
        system = body["messages"][0]["content"] if body["messages"][0]["role"] == "system" else ""
        schema = _schema_in_prompt(body["messages"])
        if schema is not None:
            written = json.dumps(an_example(schema))
            return written if kind else f"Here you are:\n\n```json\n{written}\n```"
        return json.dumps({"reply": TEXT}) if kind or "JSON" in system else TEXT


def _pieces(said: str) -> list[str]:
    return [said[start : start + 7] for start in range(0, len(said), 7)]


def _schema_in_prompt(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    found = re.search(r"JSON schema[^{]*(\{.*)", messages[0]["content"], re.DOTALL)
    if found is None:
        return None
    schema: dict[str, Any] = json.JSONDecoder().raw_decode(found[1])[0]
    return schema


def an_example(schema: Mapping[str, Any]) -> Any:
    """A value that fits a schema, of the few kinds that these tests have."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: an_example(inner) for name, inner in schema.get("properties", {}).items()}
    return {"string": "text", "number": 0.5, "integer": 1, "boolean": True, "array": []}[schema["type"]]


def dialect(name: str, model: str = "m", *, key: str = "", **changed: Any) -> DialectServer:
    """The server of a preset (or of `QUIRKS` that have none), with some quirks `changed`."""
    quirks = replaced(QUIRKS[name], **{**OF_MODELS.get(f"{name}:{model}", {}), **changed})
    lists = raw(500, b"Internal Server Error", "text/plain") if name == "transformers" else None
    return DialectServer(key=key, model=model, quirks=quirks, models=lists)
