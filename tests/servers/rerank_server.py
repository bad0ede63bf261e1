"""A server that speaks Cohere's rerank and Alibaba's native one on a real socket, as strictly as Alibaba's reference says.

Whatever the reference does not know is refused, in the form of error of the path that was asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.servers.model_server import Call, Play
from tests.servers.running import serving as serving

COHERE, ALIBABA = "/v1/rerank", "/compatible-api/v1/reranks"
NATIVE = "/api/v1/services/rerank/text-rerank/text-rerank"
MOST_TEXTS, MOST_TOKENS_OF_TEXT, MOST_TOKENS = 500, 4_000, 120_000


def fit(query: str, text: str) -> float:
    """The share of the query's words that the text has: the score of this server, and of fakes beside it."""
    words = set(re.findall(r"\w+", query.lower()))
    return len(words & set(re.findall(r"\w+", text.lower()))) / (len(words) or 1)


def answers(body: Any) -> Play:
    """Any JSON with status 200, NaN and all."""

    async def play(request: web.Request, call: Call) -> web.StreamResponse:
        return web.json_response(body)

    return play


@dataclass
class RerankServer:
    """The server. `play` answers in its place whatever passes its checks."""

    key: str = ""
    model: str = "test-reranker"
    play: Play | None = None
    calls: list[Call] = field(default_factory=list)
    port: int = 0

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def documents(self) -> list[str]:
        """All texts that were sent, call after call."""
        return [text for call in self.calls for text in (call.body.get("input") or call.body)["documents"]]

    def routes(self) -> list[web.RouteDef]:
        return [web.post(path, self._rerank) for path in (COHERE, ALIBABA, NATIVE)]

    async def _rerank(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.path, {key.lower(): value for key, value in request.headers.items()}, await request.json())
        self.calls.append(call)
        refusal = self._refusal(call)
        if refusal is not None:
            return _error(call.path, *refusal)
        if self.play is not None:
            return await self.play(request, call)
        asked = call.body["input"] if call.path == NATIVE else call.body
        wishes = call.body["parameters"] if call.path == NATIVE else call.body
        scored = [(fit(asked["query"], text), index) for index, text in enumerate(asked["documents"])]
        best = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[: wishes.get("top_n", len(scored))]
        results = [{"index": index, "relevance_score": score} for score, index in best]
        usage = {"total_tokens": 1}
        if call.path == NATIVE:
            return web.json_response({"output": {"results": results}, "usage": usage, "request_id": "r-1"})
        return web.json_response(
            {"object": "list", "id": "r-1", "model": self.model, "results": results, "usage": usage}
        )

    def _refusal(self, call: Call) -> tuple[int, str, str] | None:
        """Status, code and message of what is wrong with a request, if anything is."""
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            sent = call.headers.get("authorization", "").removeprefix("Bearer ")
            return 401, "invalid_api_key", f"Incorrect API key provided: {sent}."
        body = call.body
        if body.get("model") != self.model:
            return 404, "model_not_found", f"The model `{body.get('model')}` does not exist."
        native = call.path == NATIVE
        if native and body.keys() != {"model", "input", "parameters"}:
            return _invalid(f"unknown or missing fields: {sorted(body)}")
        asked = body["input"] if native else {key: body[key] for key in ("query", "documents") if key in body}
        wishes = body["parameters"] if native else {key: body[key] for key in body.keys() - asked.keys() - {"model"}}
        if asked.keys() != {"query", "documents"} or wishes.keys() - {"top_n", "return_documents", "instruct"}:
            return _invalid(f"unknown or missing fields: {sorted({*asked, *wishes})}")
        return _wrong_values(**asked, **wishes)


def _wrong_values(
    query: Any, documents: Any, top_n: Any = 1, return_documents: Any = False, instruct: Any = "x"
) -> tuple[int, str, str] | None:
    texts = documents if isinstance(documents, list) else [None]
    if not all(isinstance(text, str) for text in (query, instruct, *texts)) or not query or not instruct:
        return _invalid("query, documents and instruct must be strings")
    if type(top_n) is not int or top_n < 1 or not isinstance(return_documents, bool):
        return _invalid("top_n or return_documents is of the wrong type")
    if not 1 <= len(texts) <= MOST_TEXTS:
        return _invalid(f"the number of documents is {len(texts)}, but must be 1 to {MOST_TEXTS}")
    # As if each character were a token, which is about the worst there is.
    if (
        max(map(len, (query, *texts))) > MOST_TOKENS_OF_TEXT
        or len(query) * len(texts) + sum(map(len, texts)) > MOST_TOKENS
    ):
        return _invalid("Range of input length should be [1, 4000], and of a request [1, 120000]")
    return None


def _invalid(message: str) -> tuple[int, str, str]:
    return 400, "InvalidParameter", message


def _error(path: str, status: int, code: str, message: str) -> web.Response:
    if path == NATIVE:
        return web.json_response({"code": code, "message": message, "request_id": "r-1"}, status=status)
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return web.json_response(body, status=status)
