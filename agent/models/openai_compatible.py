"""Any server that speaks OpenAI's chat completions, through the `openai` package.

The package's types and errors stay here and in `refusals`. Its defaults are made explicit, because several are wrong for a
bot that talks to many providers: a missing key would be filled from OPENAI_API_KEY, the time-out is per read and ten
minutes long, a stream that ends without `finish_reason` raises nothing, and a 200 that holds an error looks like an answer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agent.errors import ModelBroken, ModelDenied, ModelError, ModelFiltered, ModelRefused, ModelUnreachable
from agent.guard import mask
from agent.messages import Usage
from agent.models.answer import AnswerSoFar, has_content, has_finish, tokens_asked
from agent.models.base import Chunk, Prompt, PromptMessage
from agent.models.capabilities import SLACK, Abilities, Capabilities
from agent.models.event_stream import Incoming
from agent.models.pool import Pool
from agent.models.presets import Endpoint
from agent.models.refusals import is_about_parameters, is_explained, reason_of, refusal, translated, without_key
from agent.models.structured import parsed

if TYPE_CHECKING:
    import openai
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionChunk


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds until the first token, between two tokens, and for the whole answer."""

    first_token: float = 8.0
    idle: float = 15.0
    total: float = 30.0


class OpenAICompatible:
    """One model on one server. What the server does not understand is learned, and left out from then on.

    `pool` holds the connections of all models; without one it has connections of its own.
    """

    generative = True

    def __init__(self, endpoint: Endpoint, deadlines: Deadlines | None = None, pool: Pool | None = None) -> None:
        self._endpoint = endpoint
        self._deadlines = deadlines or Deadlines()
        self._pool = pool or Pool()
        self._owns_pool = pool is None
        self._capabilities = Capabilities(endpoint.dialect)
        self._model = endpoint.model

    @property
    def name(self) -> str:
        """What settings call it, such as `qwen:qwen3.8-flash`."""
        return self._endpoint.name

    @property
    def endpoint(self) -> Endpoint:
        """The server it talks to."""
        return self._endpoint

    def estimate(self, prompt: Prompt, completion_tokens: int, /) -> Usage:
        """Tokens counted from the text, at the price of the table."""
        usage = Usage(tokens_asked(prompt), completion_tokens, None, estimated=True)
        return replace(usage, cost_usd=self._endpoint.price.cost(usage))

    async def close(self) -> None:
        """Close the connections, unless they are shared."""
        if self._owns_pool:
            await self._pool.close()

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Chunk]:
        """Stream the answer. Raises `ModelError` for anything that is not a whole answer."""
        now = asyncio.get_running_loop().time
        end = now() + min(self._deadlines.total, prompt.seconds or self._deadlines.total)
        if prompt.schema is None:
            async with aclosing(self._once(prompt, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        spent = Usage()
        while True:
            # Structured output goes down the ladder: a server that does not keep to a rung is asked on the next one.
            rung = self._capabilities.rung(self._capabilities.now)
            try:
                chunk = await self._structured(prompt, end)
            except ModelError as error:
                error.usage = spent + error.usage
                if not isinstance(error, _NoJson) or not self._capabilities.ignored_schema(rung):
                    raise
                spent = error.usage
                continue
            yield Chunk(text=chunk.text, model=self.name)
            yield replace(chunk, text="", usage=spent + chunk.usage)
            return

    async def _structured(self, prompt: Prompt, end: float) -> Chunk:
        """The last chunk of an answer that is JSON, with its text and what was parsed."""
        assert prompt.schema is not None
        text, last = "", Chunk()
        async with aclosing(self._once(prompt, end)) as chunks:
            async for chunk in chunks:
                text += chunk.text
                last = chunk
        try:
            return replace(last, text=text, parsed=parsed(text, prompt.schema))
        except ModelBroken as error:
            cut = " It was cut at the limit of its length." if last.finish == "length" else ""
            failed = _NoJson(f"{self.name}: {error.message}{cut}")
            failed.usage = last.usage
            raise failed from None

    async def _once(self, prompt: Prompt, end: float) -> AsyncGenerator[Chunk]:
        """One request and its answer."""
        answer = AnswerSoFar(self._endpoint, prompt, self.name)
        abilities = self._capabilities.now
        try:
            async with aclosing(self._raw_chunks(prompt, end)) as raw:
                async for chunks in raw:
                    try:
                        text = "".join(answer.take(chunk) for chunk in chunks if not answer.too_long)
                    except (AttributeError, TypeError, LookupError, ValueError, OverflowError) as error:
                        # Nobody has checked what is in them.
                        raise self._no_stream(error) from error
                    if text:
                        yield Chunk(text=text, model=self.name)
                    if answer.too_long:
                        break
            rest, last = answer.end()
        except ModelError as error:
            error.usage = answer.usage_so_far() or error.usage
            if isinstance(error, ModelBroken) and error.usage == Usage():
                # It answered, if not with an answer: it has read the prompt, and that is billed.
                error.usage = self.estimate(prompt, 0)
            raise
        finally:
            self._learn(answer, abilities, prompt)
        if rest:
            yield Chunk(text=rest, model=self.name)
        yield last

    def _learn(self, answer: AnswerSoFar, sent: Abilities, prompt: Prompt) -> None:
        """Notice what the server ignored."""
        if answer.thought and sent.thinking == self._capabilities.now.thinking:
            self._capabilities.thought()
        if answer.finished and answer.reported is None and self._capabilities.now.stream_usage:
            self._capabilities.ignored_usage()
        if answer.visible_tokens > SLACK * prompt.max_tokens + 50:
            self._capabilities.ignored_length(sent.max_tokens_field)

    async def _raw_chunks(self, prompt: Prompt, end: float) -> AsyncGenerator[list[Any]]:
        """The server's chunks, within the deadlines, those together that came together; foreign errors become ours here."""
        # Outside the deadlines: loading the package, once in a process, is not the server's time.
        client = await self._client()
        now = asyncio.get_running_loop().time
        deadline = min(now() + self._deadlines.first_token, end)
        import httpx2
        import openai

        finished = False
        try:
            async with asyncio.timeout_at(deadline):
                stream = await self._request(client, prompt)
            async with stream:
                await self._require_stream(stream, deadline)
                incoming = Incoming(aiter(stream.response.aiter_bytes()))
                with self._pool.reading():
                    while not incoming.over:
                        async with asyncio.timeout_at(deadline):
                            chunks = await incoming.read()
                        _raise_told(chunks, stream)
                        yield chunks
                        if any(map(has_finish, chunks)):
                            # The answer is there. What may still come is the usage; some servers then leave the line open.
                            finished = True
                            deadline = min(now() + AFTER_FINISH_SECONDS, end)
                        elif any(map(has_content, chunks)) and not finished:
                            # Keep-alives and chunks without content do not move a deadline.
                            deadline = min(now() + self._deadlines.idle, end)
                            await self._pool.pause(stream.response)
        except TimeoutError as error:
            if finished:
                return
            raise self._too_slow(prompt, whole=deadline == end) from error
        except openai.OpenAIError as error:
            raise self._translated(error) from error
        except httpx2.TimeoutException as error:
            raise self._too_slow(prompt, whole=False) from error
        except httpx2.HTTPError as error:
            if finished:
                return
            raise self._cut() from error
        # ValueError: bad JSON, bad UTF-8, and a number with thousands of digits.
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError) as error:
            raise self._no_stream(error) from error

    def _translated(self, error: openai.OpenAIError) -> ModelError:
        return translated(error, self._endpoint, self.name)

    async def _client(self) -> AsyncOpenAI:
        try:
            return await self._pool.client(self._endpoint)
        except (ImportError, ValueError, OSError) as error:
            raise ModelUnreachable(
                f"{self.name} cannot be reached: no connections can be opened ({str(error)[:200]}).",
                "Check the proxy variables of the environment (HTTPS_PROXY, ALL_PROXY) and SSL_CERT_FILE.",
            ) from error

    def _too_slow(self, prompt: Prompt, *, whole: bool) -> ModelUnreachable:
        error = ModelUnreachable(f"{self.name} was too slow: it did not {'finish' if whole else 'go on'} in time.")
        # It may have read the prompt, and that is billed.
        error.usage = self.estimate(prompt, 0)
        return error

    def _cut(self) -> ModelBroken:
        return ModelBroken(f"{self.name} broke off in the middle of its answer: the connection was cut.")

    async def _require_stream(self, stream: openai.AsyncStream[ChatCompletionChunk], deadline: float) -> None:
        """Raise what a server says that answers with status 200 and a page or an object instead of a stream."""
        kind = stream.response.headers.get("content-type", "")
        if "json" not in kind and "html" not in kind:
            return
        async with asyncio.timeout_at(deadline):
            body = (await stream.response.aread())[:20_000].decode("utf-8", "replace")
        try:
            said = reason_of(json.loads(body))
        except (ValueError, RecursionError):
            said = reason_of(body)
        told = mask(without_key(said, self._endpoint))[:200]
        raise ModelBroken(f"{self.name} answered with {kind[:60]} instead of a stream: {told}")

    def _no_stream(self, error: Exception) -> ModelBroken:
        told = without_key(str(error), self._endpoint)[:200]
        return ModelBroken(f"{self.name} sent something that is not a chat completion stream: {told}")

    async def _request(self, client: AsyncOpenAI, prompt: Prompt) -> openai.AsyncStream[ChatCompletionChunk]:
        """Send the request; when a parameter is refused, without it, and remember that."""
        if not self._model:
            self._model = await self._first_model(client)
        known = self._capabilities
        abilities = known.now
        result = await self._tried(client, prompt, abilities)
        for _ in range(_MOST_COMPLAINTS):
            if not isinstance(result, Exception):
                return result
            complaint = refusal(result)
            sent, explained = known.request(self._model, prompt, abilities), is_explained(result)
            for less in known.less(complaint if explained else None, sent, abilities):
                further = await self._tried(client, prompt, less)
                if not isinstance(further, Exception):
                    known.now = less if explained else known.now
                    return further
                if not _is_same(refusal(further), complaint):
                    # This complaint is settled; the next one is taken up from here.
                    abilities, result = less, further
                    break
            else:
                raise result
        assert isinstance(result, Exception)
        raise result

    async def _tried(
        self, client: AsyncOpenAI, prompt: Prompt, abilities: Abilities
    ) -> openai.AsyncStream[ChatCompletionChunk] | openai.APIStatusError:
        """The stream, or a refusal that may be about a parameter. Raises every other error."""
        import openai

        request = self._capabilities.request(self._model, prompt, abilities)
        seen = any(message.images for message in prompt.messages)
        if seen:
            request["messages"] = _with_images(request["messages"], prompt.messages)
        try:
            stream: openai.AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(**request)
        except openai.APIStatusError as error:
            if seen and _is_about_images(error) and not isinstance(self._translated(error), ModelFiltered):
                # Whatever else is left out of the request, it would not help.
                raise ModelRefused(
                    f"{self.name} cannot see pictures: {mask(without_key(refusal(error), self._endpoint))[:200]}",
                    "Set model_vision to a model that can, or to nothing.",
                ) from error
            if not is_about_parameters(error, structured="response_format" in request):
                raise
            return error
        return stream

    async def _first_model(self, client: AsyncOpenAI) -> str:
        """The model of a server that holds one. Raises `ModelDenied` when it does not tell."""
        import openai

        names: list[str] = []
        reason = ""
        try:
            page = await client.models.list()
            names = [model.id for model in page.data if isinstance(getattr(model, "id", None), str)]
        except openai.APIConnectionError:
            raise
        except openai.OpenAIError as error:
            reason = f": {mask(without_key(refusal(error), self._endpoint))[:100]}"
        except (TypeError, AttributeError, ValueError):
            pass  # it says nothing that could be told
        if not names:
            raise ModelDenied(
                f"{self.name} does not tell which models it has{reason}.",
                f"Name the model: FRONTDESK_MODEL={self._endpoint.vendor}:MODEL",
            )
        return names[0]


AFTER_FINISH_SECONDS = 2.0
"""How long a finished stream may take to tell its usage and to end."""
_MOST_COMPLAINTS = 8
"""About one request, that are answered by leaving something out."""


_NO_IMAGES = re.compile(
    r"image|picture|vision|multi-?modal|modalit|content.{0,40}(?:must be|should be|expected|valid).{0,20}(?:a )?string"
    r"|mmproj",
    re.IGNORECASE | re.DOTALL,
)
"""In what servers say of a picture that their model, or they, cannot read."""


def _is_about_images(error: openai.APIStatusError) -> bool:
    return error.status_code in (400, 404, 415, 422, 500, 501) and _NO_IMAGES.search(refusal(error)) is not None


def _with_images(written: Sequence[dict[str, Any]], messages: Sequence[PromptMessage]) -> list[dict[str, Any]]:
    """The messages on the wire, those with pictures as lists of parts: the text, then data URLs."""
    others = [message for message in messages if message.role != "system"]
    made = [*written]
    for number, message in enumerate(others, len(made) - len(others)):
        if message.images:
            parts: list[dict[str, Any]] = [{"type": "text", "text": message.content}] if message.content else []
            for image in message.images:
                url = f"data:{image.media_type};base64,{base64.b64encode(image.content).decode()}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            made[number] = {**made[number], "content": parts}
    return made


def _is_same(complaint: str, other: str) -> bool:
    """Whether two refusals say the same, request ids and other numbers aside."""
    return re.sub(r"\S*\d\S*", "", complaint) == re.sub(r"\S*\d\S*", "", other)


def _raise_told(chunks: Sequence[Any], stream: openai.AsyncStream[ChatCompletionChunk]) -> None:
    """Raise an error that a server tells in its stream, as the package would."""
    import openai

    for chunk in chunks:
        if isinstance(chunk, dict) and chunk.get("error"):
            raise openai.APIError(reason_of(chunk), stream.response.request, body=chunk["error"])


class _NoJson(ModelBroken):
    """The whole answer came, and it is not the JSON that was asked for."""
