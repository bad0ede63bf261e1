"""What servers say when they refuse, in the words they really use, and which error it becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from agent.errors import ModelError
from agent.models.base import Prompt, PromptMessage
from agent.models.openai_compatible import Deadlines, OpenAICompatible
from agent.models.presets import Catalogue, Endpoint, built_in
from agent.models.refusals import LONGEST_REASON, reason_of
from tests.servers.model_server import ModelServer, Play, answers, error, events, raw, serving

KEY = "sk-live-9876543210abcdefghij"
PROMPT = Prompt("answer", (PromptMessage("system", "Answer."), PromptMessage("user", "Hello?")), "Hello?")
LITELLM = "\n\nLiteLLM: model group 'm' failed with the error above. No fallback was attempted."
VALIDATION = (
    "1 validation error:\n  {'type': 'float_parsing', 'loc': ('body', 'top_p'), 'msg': 'Input should be a number'}"
)


def openai_form(message: str, kind: str | None = None, code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


BODIES: list[tuple[str, int, Any, str]] = [
    # Keys
    (
        "openai",
        401,
        openai_form("Incorrect API key provided: sk-l...", "invalid_request_error", "invalid_api_key"),
        "denied",
    ),
    (
        "alibaba",
        401,
        {**openai_form("Incorrect API key provided. ", code="invalid_api_key"), "request_id": "1"},
        "denied",
    ),
    ("vllm", 401, {"error": "Unauthorized"}, "denied"),
    ("llama-cpp-python", 401, {"detail": "Invalid API key"}, "denied"),
    ("aimock", 401, {"error": {"message": "Invalid API key", "type": "authentication_error"}}, "denied"),
    ("litellm without a database", 400, openai_form("No connected db.", "no_db_connection", "400"), "denied"),
    (
        "litellm's server",
        401,
        openai_form(
            "litellm.AuthenticationError: AuthenticationError: OpenAIException - Error code: 401 - "
            "{'detail': 'Invalid API key'}" + LITELLM,
            "authentication_error",
            "401",
        ),
        "denied",
    ),
    ("openrouter", 401, {"error": {"message": "No auth credentials found", "code": 401}}, "denied"),
    ("google", 400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}], "denied"),
    ("a page", 403, b"<html>Forbidden</html>", "denied"),
    # Money
    ("deepseek", 402, openai_form("Insufficient Balance", "unknown_error", "invalid_request_error"), "denied"),
    ("openrouter", 402, {"error": {"message": "Insufficient credits", "code": 402}}, "denied"),
    (
        "openai",
        429,
        openai_form(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        "denied",
    ),
    (
        "zai",
        429,
        {"error": {"code": "1113", "message": "Your account has no resource package. Please top up."}},
        "denied",
    ),
    (
        "moonshot",
        429,
        {
            "error": {
                "type": "exceeded_current_quota_error",
                "message": "Your account org-1 <ak-1> is suspended, please check your plan and billing details",
            }
        },
        "denied",
    ),
    (
        "alibaba",
        400,
        openai_form("Access denied, please make sure your account is in good standing.", code="Arrearage"),
        "denied",
    ),
    # Busy
    ("openai", 429, openai_form("Rate limit reached for requests", "requests", "rate_limit_exceeded"), "overloaded"),
    ("zai", 429, {"error": {"code": "1302", "message": "High concurrency usage of this API"}}, "overloaded"),
    (
        "litellm",
        429,
        openai_form("litellm.RateLimitError: slow down" + LITELLM, "throttling_error", "429"),
        "overloaded",
    ),
    (
        "litellm in cooldown",
        429,
        openai_form(
            "No deployments available for selected model, Try again in 5 seconds. All deployments for selected model are "
            "in cooldown. Passed model=m. pre-call-checks=False, cooldown_list=['1']",
            "all_deployments_in_cooldown",
            "429",
        ),
        "overloaded",
    ),
    ("litellm's time-out", 408, openai_form("litellm.Timeout: too slow" + LITELLM, code="408"), "overloaded"),
    (
        "litellm's dead server",
        500,
        openai_form("litellm.InternalServerError: OpenAIException - Connection error." + LITELLM, code="500"),
        "overloaded",
    ),
    (
        "moonshot",
        429,
        {"error": {"type": "engine_overloaded_error", "message": "The engine is currently overloaded"}},
        "overloaded",
    ),
    (
        "moonshot's rate limit",
        429,
        {
            "error": {
                "type": "rate_limit_reached_error",
                "message": "Your account org-1 request reached organization max RPM: 3, please try again after 1 seconds",
            }
        },
        "overloaded",
    ),
    ("transformers", 500, b"Internal Server Error", "overloaded"),
    ("anthropic", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
    ("openrouter", 502, {"error": {"code": 502, "message": "Provider returned error"}}, "overloaded"),
    ("openrouter", 503, {"error": {"code": 503, "message": "No instances available"}}, "overloaded"),
    ("aimock", 503, openai_form("Strict mode: no fixture matched", code="no_fixture_match"), "overloaded"),
    ("cloudflare", 524, b"<html>A timeout occurred</html>", "overloaded"),
    # Filters
    (
        "alibaba",
        400,
        {
            "error": {
                "code": "data_inspection_failed",
                "type": "data_inspection_failed",
                "param": None,
                "message": "Input data may contain inappropriate content. For details, see: https://help.example",
            },
            "id": "1",
            "request_id": "1",
        },
        "filtered",
    ),
    (
        "alibaba, newer",
        400,
        openai_form("<400> InternalError.Algo.DataInspectionFailed: Input text data may contain x.", code="invalid"),
        "filtered",
    ),
    (
        "moonshot",
        400,
        {
            "error": {
                "type": "content_filter",
                "message": "The request was rejected because it was considered high risk",
            }
        },
        "filtered",
    ),
    ("zai", 400, {"error": {"code": "1301", "message": "System detected potentially unsafe content"}}, "filtered"),
    (
        "openrouter",
        403,
        {"error": {"code": 403, "message": "Your chosen model requires moderation and your input was flagged"}},
        "filtered",
    ),
    (
        "azure",
        400,
        openai_form(
            "The response was filtered due to the prompt triggering content management policy", code="content_filter"
        ),
        "filtered",
    ),
    # Length
    (
        "openai and llama-cpp-python",
        400,
        openai_form(
            "This model's maximum context length is 16384 tokens. However, you requested 400027 tokens (400019 in the "
            "messages, 8 in the completion). Please reduce the length of the messages or completion.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        "too_long",
    ),
    (
        "litellm",
        400,
        openai_form(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: this is a mock context window exceeded error\n"
            "model=m. context_window_fallbacks=None. fallbacks=None." + LITELLM,
            code="400",
        ),
        "too_long",
    ),
    (
        "llama-server",
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
            }
        },
        "too_long",
    ),
    ("cerebras", 400, {"message": "Please reduce the length. Current length is 9000 while limit is 8192"}, "too_long"),
    (
        "moonshot",
        400,
        {"error": {"message": "Input token length too long", "type": "invalid_request_error"}},
        "too_long",
    ),
    ("moonshot", 400, openai_form("Your request exceeded model token limit : 262144"), "too_long"),
    (
        "alibaba",
        400,
        openai_form("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 991808]"),
        "too_long",
    ),
    ("a proxy", 413, b"Request Entity Too Large", "too_long"),
    # Models
    (
        "openai",
        404,
        openai_form("The model `m` does not exist or you do not have access to it.", code="model_not_found"),
        "denied",
    ),
    ("transformers", 400, {"detail": "Server is pinned to '/tmp/tiny-hf'; requested 'no-such-model'."}, "denied"),
    (
        "litellm",
        400,
        openai_form(
            "/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view models.", code="400"
        ),
        "denied",
    ),
    ("ollama", 404, openai_form('model "m" not found, try pulling it first'), "denied"),
    ("deepseek", 400, openai_form("Model Not Exist", "invalid_request_error", "invalid_request_error"), "denied"),
    ("zai", 400, {"error": {"code": "1211", "message": "Unknown Model, please check the model code."}}, "denied"),
    ("openrouter", 400, {"error": {"message": "m is not a valid model ID", "code": 400}}, "denied"),
    ("no such path", 404, {"detail": "Not Found"}, "denied"),
    # The request
    (
        "deepseek's range",
        400,
        openai_form("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        "refused",
    ),
    ("an unknown token", 400, openai_form("Unknown token in the template at line 3"), "refused"),
    ("openai", 400, openai_form("'messages' must be an array"), "refused"),
    ("fastapi", 422, {"detail": [{"type": "json_invalid", "loc": ["body", 1], "msg": "JSON decode error"}]}, "refused"),
    ("groq", 400, openai_form("'messages.0.name' : property 'name' is unsupported"), "refused"),
    ("a teapot", 418, b"I'm a teapot", "refused"),
    ("nothing", 400, b"", "refused"),
    ("null", 400, None, "refused"),
    ("a number", 400, 7, "refused"),
    ("an empty object", 400, {}, "refused"),
    ("an empty error", 400, {"error": {}}, "refused"),
    ("an error that is null", 400, {"error": None}, "refused"),
    ("nested deeply", 400, {"error": {"message": {"error": {"message": ["x"]}}}}, "refused"),
    ("a page", 302, b"", "refused"),
    # llama-cpp-python's 500s
    ("llama-cpp-python", 500, openai_form(VALIDATION, "internal_server_error"), "overloaded"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with serving(ModelServer()) as running:
        yield running


def at(server: ModelServer, key: str = KEY) -> Endpoint:
    where = Catalogue(built_in(), url_key=key).endpoint(server.choice)
    return replace(where, dialect=replace(where.dialect, thinking_off=()))


async def refused(server: ModelServer, play: Play, where: Endpoint | None = None) -> ModelError:
    server.plays = [play]
    backend = OpenAICompatible(where or at(server), Deadlines(5, 5, 10))
    try:
        with pytest.raises(ModelError) as caught:
            async with aclosing(backend.stream(PROMPT)) as chunks:
                _ = [chunk async for chunk in chunks]
    finally:
        await backend.close()
    return caught.value


def play_of(status: int, body: Any) -> Play:
    if isinstance(body, bytes):
        return raw(status, body, "text/html" if body.startswith(b"<") else "text/plain")
    return answers(status, body)


@pytest.mark.parametrize(
    ("status", "body", "kind"), [row[1:] for row in BODIES], ids=[f"{row[3]}: {row[0]}, {row[1]}" for row in BODIES]
)
async def test_what_a_refusal_means(server: ModelServer, status: int, body: Any, kind: str) -> None:
    found = await refused(server, play_of(status, body))
    assert found.kind == kind
    assert server.base_url in found.message, "it names the model"
    assert "\n" not in found.message, "a log line is one line"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
@pytest.mark.parametrize("form", ["error", "detail", "text", "page", "top"])
async def test_a_key_is_never_repeated(server: ModelServer, status: int, form: str) -> None:
    said = f"Incorrect API key provided: {KEY}. You can find yours at https://x.example/{KEY}"
    body: Any = {
        "error": openai_form(said),
        "detail": {"detail": said},
        "text": {"error": said},
        "top": {"message": said},
    }.get(form, f"<html>{said}</html>".encode())
    found = await refused(server, play_of(status, body))
    assert KEY not in f"{found} {found!r} {found.args}"
    assert KEY[3:] not in str(found)


async def test_a_key_is_not_repeated_that_comes_with_status_200(server: ModelServer) -> None:
    for play in (
        answers(200, {"error": f"bad key {KEY}"}),
        raw(200, f"<html>{KEY}</html>".encode(), "text/html"),
        events([{"error": {"message": f"bad key {KEY}", "code": 401}}]),
        events([{"choices": [], "error": f"bad key {KEY}"}]),
        raw(200, f"data: {{{KEY}\n\n".encode(), "text/event-stream"),
    ):
        assert KEY not in str(await refused(server, play))


async def test_another_secret_in_a_servers_words_is_masked(server: ModelServer) -> None:
    other = "sk-" + "a1B2c3D4e5F6g7H8" * 2
    found = await refused(server, error(400, f"the header was Bearer {other}, from anna@example.com"))
    assert other not in str(found)
    assert "anna@example.com" not in str(found)


async def test_long_words_are_cut(server: ModelServer) -> None:
    found = await refused(server, error(400, "no " * 10_000))
    assert len(found.message) < LONGEST_REASON + 200


async def test_hints_say_what_to_type(server: ModelServer) -> None:
    unauthorised = error(401, "no")
    assert "belongs to this server" in (await refused(server, unauthorised)).hint
    without = await refused(server, unauthorised, at(server, ""))
    assert without.hint == "It was sent no key: set FRONTDESK_MODEL_API_KEY."
    qwen = Catalogue(built_in(), {"DASHSCOPE_API_KEY": KEY}).endpoint("qwen:test-model")
    there = replace(qwen, base_url=server.base_url, dialect=at(server).dialect)
    assert "qwen_region" in (await refused(server, unauthorised, there)).hint
    assert (await refused(server, error(402, "no"))).hint == "Check the account's balance."
    assert (await refused(server, error(404, "no such model"))).hint == "Check FRONTDESK_MODEL."


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        ("3", 3, 3),
        ("0", 0, 0),
        ("0.5", 0.5, 0.5),
        ("-1", 0, 0),
        (100, 50, 101),
        (-100, 0, 0),
    ],
)
async def test_the_pause_that_a_server_asks_for(server: ModelServer, given: str | int, low: float, high: float) -> None:
    """A number of seconds, or a date: here that many seconds from now."""
    if isinstance(given, int):
        given = format_datetime(datetime.now(UTC) + timedelta(seconds=given), usegmt=True)
    found = await refused(server, error(429, "Slow down", **{"Retry-After": given}))
    assert found.retry_after is not None
    assert low <= found.retry_after <= high


@pytest.mark.parametrize("given", ["soon", "", "nan", "inf", "1e999", "3 seconds"])
async def test_a_pause_that_is_none_is_not_kept(server: ModelServer, given: str) -> None:
    found = await refused(server, error(429, "Slow down", **{"Retry-After": given}))
    assert found.retry_after is None


async def test_no_money_is_not_waited_for_but_a_rate_limit_that_speaks_of_a_balance_is(server: ModelServer) -> None:
    assert (await refused(server, error(429, "Insufficient balance"))).kind == "denied"
    limited = await refused(server, error(429, "Too fast for your balance tier", **{"Retry-After": "2"}))
    assert (limited.kind, limited.retry_after) == ("overloaded", 2.0)


@pytest.mark.parametrize(
    ("error_in_stream", "kind"),
    [
        ({"error": {"message": "The engine is on fire", "code": 500}}, "broken"),
        ({"error": {"code": 403, "message": "flagged by moderation"}}, "filtered"),
        (
            {"error": {"code": "data_inspection_failed", "message": "Output data may contain inappropriate content."}},
            "filtered",
        ),
        ({"error": {"type": "content_filter", "message": "high risk"}}, "filtered"),
        ({"id": "1", "choices": [], "error": {"code": 502, "message": "Provider disconnected"}}, "broken"),
        ({"error": "x"}, "broken"),
    ],
)
async def test_an_error_inside_a_stream(server: ModelServer, error_in_stream: dict[str, Any], kind: str) -> None:
    assert (await refused(server, events([error_in_stream]))).kind == kind


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"message": "a\n b"}}, "a b"),
        ({"error": "text"}, "text"),
        ({"detail": "text"}, "text"),
        ({"message": "flat", "code": 400}, "flat"),
        ({"detail": [{"msg": "x"}]}, "[{'msg': 'x'}]"),
        ("plain", "plain"),
    ],
)
def test_the_sentence_in_a_body(body: Any, reason: str) -> None:
    assert reason_of(body) == reason
    assert reason_of(json.loads(json.dumps(body))) == reason
