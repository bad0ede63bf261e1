"""Any server that speaks OpenAI's chat completions, through the `openai` package.

The package's types and errors stay in this module. Its defaults are made explicit, because several are wrong for a bot that
talks to many providers: a missing key would be filled from OPENAI_API_KEY, the time-out is per read and ten minutes long,
a stream that ends without `finish_reason` raises nothing, and a 200 that holds an error looks like an answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from agent.errors import ModelBroken, ModelError, ModelFiltered, ModelOverloaded, ModelRefused, ModelUnreachable
from agent.guard import mask
from agent.messages import Usage
from agent.models.base import Chunk, Prompt
from agent.models.presets import NO_KEY, Endpoint
from agent.models.thinking import ThinkingFilter

if TYPE_CHECKING:
    import openai
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import ChoiceDelta

CHARACTERS_PER_TOKEN = 4
"""For estimates when a server reports no usage; right within a third for English."""
_NOT_SENT = (
    "OpenAI-Organization",
    "OpenAI-Project",
    "X-Stainless-OS",
    "X-Stainless-Arch",
    "X-Stainless-Runtime-Version",
)
"""Headers of another provider's account, and of this machine, which are no server's business."""
LONGEST_ANSWER = 20_000
"""Characters. A server that ignores `max_tokens` is cut off here."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds until the first token, between two tokens, and for the whole answer."""

    first_token: float = 8.0
    idle: float = 15.0
    total: float = 30.0


def open_client(endpoint: Endpoint, *, retries: int = 0) -> AsyncOpenAI:
    """A client for one server that sends it nothing meant for another.

    The key is explicit; organisation and project headers from the environment are left out; a server on this machine is
    reached without a proxy.
    """
    import httpx2
    from openai import AsyncOpenAI, Omit

    return AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        organization="",
        project="",
        max_retries=retries,
        timeout=httpx2.Timeout(60.0, connect=5.0),
        # The type is too narrow: the package itself puts Omit() among its default headers.
        default_headers=cast("dict[str, str]", {name: Omit() for name in _NOT_SENT}),
        http_client=httpx2.AsyncClient(trust_env=not endpoint.local, follow_redirects=False),
    )


class OpenAICompatible:
    """One model on one server. Parameters that a server refuses are left out from then on."""

    generative = True

    def __init__(self, endpoint: Endpoint, deadlines: Deadlines | None = None) -> None:
        self._endpoint = endpoint
        self._deadlines = deadlines or Deadlines()
        self._client: AsyncOpenAI | None = None
        self._plain = False

    @property
    def name(self) -> str:
        """What settings call it, such as `qwen:qwen3.8-flash`."""
        return self._endpoint.name

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Stream the answer. Raises `ModelError` for anything that is not a whole answer."""
        if self._client is None:
            # Importing the package takes most of a second, which must not stall other conversations.
            self._client = await asyncio.to_thread(open_client, self._endpoint)
        answer = _AnswerSoFar(self._endpoint, prompt)
        async with aclosing(self._raw_chunks(prompt)) as raw:
            async for chunk in raw:
                try:
                    text = answer.take(chunk)
                except (AttributeError, TypeError, IndexError) as error:  # the package does not check what it parses
                    raise self._no_stream(error) from error
                if text:
                    yield Chunk(text=text, model=self.name)
        rest, last = answer.end()
        if rest:
            yield Chunk(text=rest, model=self.name)
        yield last

    async def _raw_chunks(self, prompt: Prompt) -> AsyncGenerator[ChatCompletionChunk]:
        """The server's chunks, within the deadlines; foreign errors become ours here."""
        import openai

        now = asyncio.get_running_loop().time
        end = now() + self._deadlines.total
        deadline = min(now() + self._deadlines.first_token, end)
        try:
            async with asyncio.timeout_at(deadline):
                stream = await self._request(prompt)
            async with stream:
                await self._require_stream(stream, deadline)
                iterator = aiter(stream)
                while True:
                    async with asyncio.timeout_at(deadline):
                        chunk = await anext(iterator, None)
                    if chunk is None:
                        return
                    yield chunk
                    if _has_content(chunk):
                        # Keep-alives and chunks without content do not move a deadline.
                        deadline = min(now() + self._deadlines.idle, end)
        except TimeoutError as error:
            limit = "finish" if deadline == end else "go on"
            raise ModelUnreachable(f"{self.name} was too slow: it did not {limit} in time.") from error
        except openai.OpenAIError as error:
            raise self._translated(error) from error
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError, KeyError) as error:
            raise self._no_stream(error) from error

    async def _require_stream(self, stream: openai.AsyncStream[ChatCompletionChunk], deadline: float) -> None:
        """Raise what a server says that answers with status 200 and a page or an object instead of a stream."""
        kind = stream.response.headers.get("content-type", "")
        if "json" not in kind and "html" not in kind:
            return
        async with asyncio.timeout_at(deadline):
            body = (await stream.response.aread())[:20_000].decode("utf-8", "replace")
        try:
            said = _text_of(json.loads(body))
        except ValueError:
            said = " ".join(body.split())[:200]
        raise ModelBroken(f"{self.name} answered with {kind or 'something else'} instead of a stream: {mask(said)}")

    def _no_stream(self, error: Exception) -> ModelBroken:
        return ModelBroken(f"{self.name} sent something that is not a chat completion stream: {str(error)[:200]}")

    async def _request(self, prompt: Prompt) -> openai.AsyncStream[ChatCompletionChunk]:
        import openai

        assert self._client is not None
        try:
            return await self._create(self._client, prompt)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if self._plain or _is_about_content(error):
                raise
            # Some servers refuse parameters they do not know. Asked once more with the plainest request there is.
            self._plain = True
            try:
                return await self._create(self._client, prompt)
            except openai.APIStatusError:
                self._plain = False
                raise

    async def _create(self, client: AsyncOpenAI, prompt: Prompt) -> openai.AsyncStream[ChatCompletionChunk]:
        endpoint = self._endpoint
        request: dict[str, Any] = {
            "model": endpoint.model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "stream": True,
            endpoint.max_tokens_field: prompt.max_tokens,
        }
        if not self._plain:
            if endpoint.temperature:
                request["temperature"] = prompt.temperature
            if endpoint.stream_usage:
                request["stream_options"] = {"include_usage": True}
            if endpoint.body:
                request["extra_body"] = dict(endpoint.body)
        stream: openai.AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(**request)
        return stream

    def _translated(self, error: openai.OpenAIError) -> ModelError:
        import openai

        if isinstance(error, openai.APIConnectionError):
            slow = isinstance(error, openai.APITimeoutError)
            reason = "did not answer in time" if slow else "cannot be reached"
            return ModelUnreachable(
                f"{self.name} {reason} ({self._endpoint.host}: {_root_cause(error)}).",
                "Check it with: frontdesk doctor",
            )
        status = getattr(error, "status_code", None)
        reason = mask(self._without_key(_reason(error)))
        if _is_filter(reason):
            return ModelFiltered(f"{self.name} would not answer: its provider's content filter stopped it.")
        if status in (401, 403):
            missing = "It was sent no key: set FRONTDESK_MODEL_API_KEY." if self._endpoint.api_key == NO_KEY else ""
            hint = missing or self._endpoint.hint_401 or "Check that the key is right and belongs to this server."
            return ModelRefused(f"{self.name} does not accept the key: {reason}", hint)
        if status == 402 or (status == 429 and any(word in reason.lower() for word in ("balance", "quota", "billing"))):
            return ModelRefused(f"{self.name} says the account has no money or quota left: {reason}")
        if status == 404:
            return ModelRefused(
                f"{self.name} is not known to {self._endpoint.host}: {reason}", "Check FRONTDESK_MODEL."
            )
        if status in (408, 409, 425, 429) or (status is not None and status >= 500):
            return ModelOverloaded(
                f"{self.name} is busy or broken (status {status}): {reason}", retry_after=_retry_after(error)
            )
        if status is not None:
            return ModelRefused(f"{self.name} refused the request (status {status}): {reason}")
        return ModelBroken(f"{self.name} broke off with an error: {reason}")

    def _without_key(self, text: str) -> str:
        key = self._endpoint.api_key
        return text.replace(key, "[key]") if len(key) > 4 else text


class _AnswerSoFar:
    """Collects one stream: visible text, usage, how it ended; judges at the end whether it was a whole answer."""

    def __init__(self, endpoint: Endpoint, prompt: Prompt) -> None:
        self._endpoint = endpoint
        self._prompt = prompt
        self._thinking = ThinkingFilter()
        self._visible = False
        self._length = 0
        self._received = 0
        self._finish: str | None = None
        self._usage: Any = None

    def take(self, chunk: ChatCompletionChunk) -> str:
        """The visible text of one chunk. Raises `ModelError` when the chunk is an error in disguise."""
        if (error := (chunk.model_extra or {}).get("error")) is not None:
            raise ModelBroken(f"{self._endpoint.name} sent an error inside its answer: {_text_of(error)}")
        if getattr(chunk, "usage", None) is not None:
            self._usage = chunk.usage
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        self._finish = choice.finish_reason or self._finish
        content = choice.delta.content if choice.delta else None
        if not isinstance(content, str):
            return ""
        self._received += len(content)
        return self._counted(self._thinking.feed(content))

    def end(self) -> tuple[str, Chunk]:
        """What was held back, and the last chunk. Raises `ModelBroken` unless the answer is whole."""
        rest = self._counted(self._thinking.end())
        name = self._endpoint.name
        if self._finish == "content_filter":
            raise ModelFiltered(f"{name} stopped: its provider's content filter.")
        if self._finish is None:
            raise ModelBroken(f"{name} broke off in the middle of its answer (no finish_reason).")
        if not self._visible:
            raise ModelBroken(f"{name} gave an empty answer (finish_reason {self._finish}).")
        finish: Any = "length" if self._finish == "length" else "stop"
        return rest, Chunk(finish=finish, usage=self._total(), model=name)

    def _counted(self, text: str) -> str:
        self._length += len(text)
        self._visible = self._visible or bool(text.strip())
        if self._length > LONGEST_ANSWER:
            raise ModelBroken(f"{self._endpoint.name} did not stop talking; it was cut off.")
        return text

    def _total(self) -> Usage:
        prompt = getattr(self._usage, "prompt_tokens", None)
        completion = getattr(self._usage, "completion_tokens", None)
        if not isinstance(prompt, int) or not isinstance(completion, int):
            asked = sum(len(message.content) for message in self._prompt.messages)
            prompt, completion = _estimate(asked), _estimate(self._received)
            return Usage(prompt, completion, self._endpoint.cost(prompt, completion), estimated=True)
        extra = getattr(self._usage, "model_extra", None) or {}
        details = getattr(self._usage, "prompt_tokens_details", None)
        cached = getattr(details, "cached_tokens", None) or extra.get("prompt_cache_hit_tokens") or 0
        cost = extra.get("cost")
        if not isinstance(cost, int | float):
            cost = self._endpoint.cost(prompt, completion, min(int(cached), prompt))
        return Usage(prompt, completion, cost)


def _has_content(chunk: ChatCompletionChunk) -> bool:
    """Whether a chunk is progress: text, or thinking, which is never shown but is work."""
    if not chunk.choices:
        return False
    delta: ChoiceDelta | None = chunk.choices[0].delta
    if delta is None:  # some servers send none
        return False
    extra = delta.model_extra or {}
    return bool(delta.content or extra.get("reasoning_content") or extra.get("reasoning"))


def _estimate(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def _text_of(body: Any) -> str:
    if isinstance(body, dict):
        inner = body.get("error", body)
        body = inner.get("message") or inner.get("detail") or inner if isinstance(inner, dict) else inner
    return " ".join(str(body).split())[:300]


def _reason(error: openai.OpenAIError) -> str:
    body = getattr(error, "body", None)
    return _text_of(body) if body else " ".join(str(error).split())[:300]


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)[:160] or type(error).__name__


def _is_filter(reason: str) -> bool:
    lower = reason.lower()
    return any(
        word in lower for word in ("datainspection", "data_inspection", "inappropriate content", "content_filter")
    )


def _is_about_content(error: openai.APIStatusError) -> bool:
    lower = _reason(error).lower()
    return _is_filter(lower) or "context" in lower or "too long" in lower or "api key" in lower or "model" in lower


def _retry_after(error: openai.OpenAIError) -> float | None:
    response = getattr(error, "response", None)
    try:
        return float(response.headers["retry-after"]) if response is not None else None
    except (KeyError, ValueError):
        return None
