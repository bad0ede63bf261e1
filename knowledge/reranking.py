"""A second opinion on what search found: `Reranker`, the one that asks any rerank server, and what spares a broken one.

Why it is optional, and how its scores are used, is in docs/decisions/search.md.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

from knowledge.errors import RerankerError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LONGEST_TEXT = 2_000
"""Characters of a text that are sent: about 500 tokens of English, and no script has 4,000 tokens, Alibaba's limit, in them.
llama-server by default refuses the whole call when question and text have more than 512 tokens."""
LONGEST_QUERY = 1_000
"""Characters of a question that are sent. It counts once for each text."""
AT_ONCE = 100_000
"""Characters in one call, the question counted for each text, as Alibaba counts: it takes 120,000 tokens, and in no common
script a character is more than one. 30 texts always fit."""
PAUSE = 30.0
"""Seconds for which a reranker that failed is left alone, so that not every question waits for its deadline."""

Style = Literal["cohere", "dashscope"]


class Reranker(Protocol):
    """Scores texts by how well each answers a question, reading both together; slower than search, and often better."""

    @property
    def name(self) -> str:
        """What staff know it by."""
        ...

    async def rerank(self, query: str, texts: Sequence[str], /) -> list[float]:
        """One score for each text, in their order; a higher one fits better. Raises `RerankerError`.

        Scores may be of any size (some models give logits), but of one scale within a call.
        """
        ...


class RemoteReranker:
    """Any server with a rerank path (Qwen's qwen3-rerank, vLLM, llama-server, SGLang, Cohere, Jina ...).

    `client` is built by the caller, who knows keys and hosts. `path` is added to its base URL, or is a whole address where
    rerank lives elsewhere; the client's key is sent there, too. `style` is the form of the request: "cohere", which nearly all
    understand, or "dashscope", Alibaba's native one (gte-rerank-v2). `most_texts` go into one call. `instruct` tells models
    that take it (qwen3-rerank) what fits. `seconds` is for all calls of one question together.
    """

    def __init__(
        self,
        client: AsyncOpenAI,
        model: str,
        *,
        path: str = "/rerank",
        style: Style = "cohere",
        most_texts: int = 500,
        instruct: str = "",
        seconds: float = 3.0,
    ) -> None:
        self._client = client
        self._model = model
        self._path = path
        self._style = style
        self._most_texts = most_texts
        self._instruct = instruct
        self._seconds = seconds

    @property
    def name(self) -> str:
        """Host and model."""
        return f"{urlsplit(self._path).hostname or self._client.base_url.host}/{self._model}"

    async def rerank(self, query: str, texts: Sequence[str], /) -> list[float]:
        """Score `texts`, in several calls when they are too many or too long for one. Raises `RerankerError`."""
        import openai

        asked = _cut(query, LONGEST_QUERY)
        scores: list[float] = []
        try:
            async with asyncio.timeout(self._seconds):
                for some in self._batches(asked, [_cut(text, LONGEST_TEXT) for text in texts]):
                    reply = await self._client.post(self._path, cast_to=object, body=self._body(asked, some))
                    scores += _scores(reply, len(some))
        # The last two: JSON that is nested without end, and a number of a thousand digits.
        except (openai.OpenAIError, TimeoutError, TypeError, ValueError, RecursionError, OverflowError) as error:
            raise RerankerError(
                f"The reranker {self.name} failed: {self._reason(error)}.",
                "Check `reranker` and its key with: frontdesk doctor",
            ) from error
        return scores

    def _batches(self, query: str, texts: list[str]) -> Iterator[list[str]]:
        some: list[str] = []
        size = 0
        for text in texts:
            length = len(query) + len(text)
            if some and (len(some) >= self._most_texts or size + length > AT_ONCE):
                yield some
                some, size = [], 0
            some.append(text)
            size += length
        if some:
            yield some

    def _body(self, query: str, texts: list[str]) -> dict[str, Any]:
        # All texts are asked for: some servers return only the best few unless told.
        wishes: dict[str, Any] = {"top_n": len(texts)}
        if self._instruct:
            wishes["instruct"] = self._instruct
        what = {"query": query, "documents": texts}
        if self._style == "dashscope":
            return {"model": self._model, "input": what, "parameters": {**wishes, "return_documents": False}}
        return {"model": self._model, **what, **wishes}

    def _reason(self, error: Exception) -> str:
        """What went wrong, in a few words and without the key, which some servers repeat."""
        import openai

        if isinstance(error, (TimeoutError, openai.APITimeoutError)):
            return f"no answer in {self._seconds:g} s"
        said = _said(getattr(error, "body", None)) or " ".join(str(error).split())
        if len(self._client.api_key) > 4:
            said = said.replace(self._client.api_key, "[key]")
        status = f"status {error.status_code}, " if isinstance(error, openai.APIStatusError) else ""
        return f"{status}{said[:200].rstrip(' .') or type(error).__name__}"


class Pausing:
    """A reranker held to its word: it is left alone for `seconds` after it failed, and odd scores are a failure.

    `clock` gives the seconds.
    """

    def __init__(
        self, reranker: Reranker, *, seconds: float = PAUSE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reranker = reranker
        self._seconds = seconds
        self._clock = clock
        self._until = -math.inf
        self._failure = RerankerError("")

    @property
    def name(self) -> str:
        """The reranker's own."""
        return self._reranker.name

    async def rerank(self, query: str, texts: Sequence[str], /) -> list[float]:
        """The reranker's scores. Raises `RerankerError`: a new one, or during the pause the one that began it."""
        if self._clock() < self._until:
            raise RerankerError(self._failure.message, self._failure.hint)
        try:
            scores = await self._reranker.rerank(query, texts)
            if len(scores) != len(texts) or not all(map(math.isfinite, scores)):
                raise RerankerError(
                    f"The reranker {self.name} failed: its scores for {len(texts)} texts are no scores."
                )
        except RerankerError as error:
            self._failure = error
            self._until = self._clock() + self._seconds
            raise
        return scores


def _cut(text: str, longest: int) -> str:
    # A lone surrogate cannot be sent: one strange question is no reason to give the reranker up.
    return text[:longest].encode("utf-8", "replace").decode("utf-8")


def _scores(reply: Any, expected: int) -> list[float]:
    """The scores in a server's answer, in the order of the texts. Raises `ValueError` unless each text has one."""
    results = _results(reply)
    if not isinstance(results, list):
        raise ValueError(f"it sent no scores: {_said(reply) or type(reply).__name__}")
    scores: dict[int, float] = {}
    for result in results:
        index, score = _indexed(result)
        if not 0 <= index < expected:
            raise ValueError(f"it scored text {index}, but the last one is {expected - 1}")
        if index in scores:
            raise ValueError(f"it scored text {index} twice")
        scores[index] = score
    if len(scores) < expected:
        raise ValueError(f"it scored {len(scores)} of {expected} texts")
    return [scores[index] for index in range(expected)]


def _results(reply: Any) -> Any:
    """Where servers put the list: `results` (most), `output.results` (Alibaba's native), `data`, or bare (SGLang)."""
    if not isinstance(reply, dict):
        return reply
    inner = reply["output"] if isinstance(reply.get("output"), dict) else reply
    return inner.get("results", inner.get("data"))


def _indexed(result: Any) -> tuple[int, float]:
    if not isinstance(result, dict):
        raise ValueError(f"a score is {type(result).__name__}, not an object")
    index: Any = result.get("index")
    score: Any = result.get("relevance_score", result.get("score"))
    if isinstance(index, bool) or not isinstance(index, int):
        raise ValueError("a score has no index")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"the score of text {index} is not a number")
    return index, float(score)


def _said(body: Any) -> str:
    """The message of an error in any of the forms that are about: OpenAI's, Alibaba's native, FastAPI's, or plain text."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        body = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
    return " ".join(body.split()) if isinstance(body, str) else ""
