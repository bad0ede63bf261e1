"""A server that speaks OpenAI's chat completions and embeddings on a real socket, as strictly as their reference says.

It refuses what the reference does not know unless a test lets it (`accepts`), and plays faults byte by byte. How other
providers differ from it is in `dialects`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.servers.running import serving as serving

# No server here speaks TLS; to read the machine's certificates for each client would take longer than its test.
os.environ.setdefault("SSL_CERT_DIR", os.path.dirname(__file__))

# The parameters of "Create chat completion" that a support bot could send.
KNOWN = {"model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens"}
KNOWN |= {
    "n",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "user",
    "seed",
}
KNOWN |= {"tools", "tool_choice", "response_format", "reasoning_effort"}


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def said(self) -> str:
        """All message texts, joined."""
        parts = [part for message in self.body.get("messages", []) for part in parts_of(message)]
        return "\n".join(part["text"] for part in parts if part["type"] == "text")

    @property
    def images(self) -> list[tuple[str, bytes]]:
        """The pictures in it, as their media types and bytes."""
        parts = [part for message in self.body.get("messages", []) for part in parts_of(message)]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        return [(url[5:].partition(";")[0], base64.b64decode(url.partition(",")[2], validate=True)) for url in urls]


def parts_of(message: Any) -> list[dict[str, Any]]:
    """The content of a message as a list of parts; text alone is one."""
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content or ""}]


Play = Callable[[web.Request, Call], Awaitable[web.StreamResponse]]


def error(status: int, message: str, code: str | None = None, **headers: str) -> Play:
    """An error response in OpenAI's form."""

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        kind = "invalid_request_error" if status < 500 else "server_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        return web.json_response(body, status=status, headers=headers)

    return play


def raw(status: int, body: bytes, content_type: str) -> Play:
    """Any response at all."""

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={"Content-Type": content_type})

    return play


def answers(status: int, body: Any, **headers: str) -> Play:
    """Any JSON at all."""

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return play


def events(payloads: Sequence[Any], *, done: bool = True) -> Play:
    """An SSE stream of these JSON values, each as it is."""

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for payload in payloads:
            await response.write(b"data: " + json.dumps(payload).encode() + b"\n\n")
        if done:
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    return play


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One `chat.completion.chunk` of `events`."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


def hang(seconds: float = 3600) -> Play:
    """Accept the request and say nothing."""

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response(status=504)

    return play


def stream(
    pieces: Sequence[str],
    *,
    finish: str | None = "stop",
    usage: tuple[int, int] | None = (100, 20),
    pause: float = 0.0,
    fields: str = "content",
    extra_usage: dict[str, Any] | None = None,
    then: str = "done",
) -> Play:
    """Stream `pieces` as deltas. `then`: "done" ends well, "close" without [DONE], "reset" cuts the socket, "error" sends an
    SSE error, "drip" sends empty chunks without end. `fields` names the delta's key."""

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def send(payload: Any) -> None:
            await response.write(
                b"data: " + (payload if isinstance(payload, bytes) else json.dumps(payload).encode()) + b"\n\n"
            )

        await send(chunk({"role": "assistant", "content": ""}))
        for piece in pieces:
            await asyncio.sleep(pause)
            await send(chunk({fields: piece}))
        if then == "reset":
            assert request.transport is not None
            request.transport.abort()
            return response
        while then == "drip":
            await asyncio.sleep(0.05)
            await response.write(b": keep-alive\n\n")
            await send(chunk({}))
        if then == "error":
            await send({"error": {"message": "The engine is on fire", "code": 500}})
        if finish is not None:
            await send(chunk({}, finish))
        if usage is not None and call.body.get("stream_options", {}).get("include_usage"):
            counted = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
            await send({**chunk({}), "choices": [], "usage": {**counted, **(extra_usage or {})}})
        if then == "done":
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    return play


def says(text: str, **options: Any) -> Play:
    """Stream a text in pieces of a few characters, as models do."""
    return stream([text[start : start + 7] for start in range(0, len(text), 7)], **options)


@dataclass
class ModelServer:
    """The server. Each request is answered by the next of `plays`; the last one stays."""

    key: str = ""
    model: str = "test-model"
    accepts: frozenset[str] = frozenset()
    plays: list[Play] = field(default_factory=list)
    by_prompt: Callable[[Call], Play] | None = None
    calls: list[Call] = field(default_factory=list)
    dimension: int = 8
    models: Play | None = None
    """What GET /models says; by default the one model."""
    left: threading.Event = field(default_factory=threading.Event)
    """Set when somebody hung up while an answer was under way."""
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def choice(self) -> str:
        """What FRONTDESK_MODEL says for it."""
        return f"{self.base_url}#{self.model}"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat/completions", self._chat),
            web.post("/v1/embeddings", self._embeddings),
            web.get("/v1/models", self._models),
        ]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except (ConnectionResetError, asyncio.CancelledError):
            self.left.set()
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = await self._heard(request)
        if (refusal := self._refusal(call)) is not None:
            return await refusal(request, call)
        if self.by_prompt is not None:
            return await self.by_prompt(call)(request, call)
        play = self.plays[0] if len(self.plays) == 1 else self.plays.pop(0)
        return await play(request, call)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.path, {key.lower(): value for key, value in request.headers.items()}, {})
        self.calls.append(call)
        if (refusal := self._unauthorised(call)) is not None:
            return await refusal(request, call)
        listed = {"object": "list", "data": [{"id": self.model, "object": "model", "created": 1, "owned_by": "me"}]}
        return await (self.models or answers(200, listed))(request, call)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        call = await self._heard(request)
        if (refusal := self._unauthorised(call)) is not None:
            return await refusal(request, call)
        texts = call.body["input"]
        assert call.body["encoding_format"] == "float"
        if not isinstance(texts, list) or len(texts) > 10:
            return await error(400, "batch size is invalid, it should not be larger than 10.")(request, call)
        data = [{"object": "embedding", "index": n, "embedding": self._vector(text)} for n, text in enumerate(texts)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "data": data, "model": self.model, "usage": usage})

    def _vector(self, text: str) -> list[float]:
        """Letters counted: texts with like letters are near each other."""
        counts = [1.0] * self.dimension
        for character in text.lower():
            counts[ord(character) % self.dimension] += 1
        return counts

    async def _heard(self, request: web.Request) -> Call:
        call = Call(request.path, {key.lower(): value for key, value in request.headers.items()}, await request.json())
        self.calls.append(call)
        return call

    def _unauthorised(self, call: Call) -> Play | None:
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, "Incorrect API key provided.", "invalid_api_key")
        return None

    def _refusal(self, call: Call) -> Play | None:
        """What the reference says is wrong with a request, if anything."""
        if (refusal := self._unauthorised(call)) is not None:
            return refusal
        body = call.body
        unknown = sorted(set(body) - KNOWN - self.accepts)
        if unknown:
            return error(400, f"Unrecognized request argument supplied: {unknown[0]}")
        if body.get("model") != self.model:
            return error(404, f"The model `{body.get('model')}` does not exist.", "model_not_found")
        if not body.get("stream") and "stream_options" in body:
            return error(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        if (wrong := wrong_messages(body.get("messages"))) is not None:
            return error(400, wrong)
        if not 0 <= body.get("temperature", 1) <= 2:
            return error(400, "temperature out of range")
        return None


def wrong_messages(messages: Any) -> str | None:
    """What is wrong with the messages of a request: text, or the user's pictures; results of tools behind their calls."""
    if not isinstance(messages, list) or not messages:
        return "[] is too short - 'messages'"
    called: set[str] = set()
    for message in messages:
        text, role = message.get("content"), message.get("role")
        calls = message.get("tool_calls", [])
        called |= {call["id"] for call in calls}
        known = role in ("system", "user", "assistant", "tool") and isinstance(text, str) and (text or calls)
        known = known or (role == "user" and isinstance(text, list) and text and all(map(_is_part, text)))
        own = {"tool": {"tool_call_id"}, "assistant": {"tool_calls"}}.get(role, set())
        if not known or set(message) - {"role", "content", "reasoning", "reasoning_content"} - own:
            return f"Invalid message: {json.dumps(message)[:80]}"
        if role == "tool" and message.get("tool_call_id") not in called:
            return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
        if any(type(json.loads(call["function"]["arguments"])) is not dict for call in calls):
            return "Invalid tool_calls: arguments"
    return None


_DATA_URL = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")


def _is_part(part: Any) -> bool:
    """Whether it is a part of a message as the reference has it: a text, or a picture as a data URL."""
    if not isinstance(part, dict):
        return False
    if part.get("type") == "text":
        return set(part) == {"type", "text"} and isinstance(part["text"], str) and bool(part["text"])
    url = part.get("image_url")
    return (
        set(part) == {"type", "image_url"}
        and isinstance(url, dict)
        and set(url) <= {"url", "detail"}
        and _DATA_URL.fullmatch(url.get("url", "")) is not None
    )
