"""What a server's error means, for all the ways in which servers say it. Foreign errors become ours here, once."""

from __future__ import annotations

import email.utils
import math
import re
import time
from typing import TYPE_CHECKING, Any

from agent.errors import (
    ModelBroken,
    ModelDenied,
    ModelError,
    ModelFiltered,
    ModelOverloaded,
    ModelRefused,
    ModelTooLong,
    ModelUnreachable,
)
from agent.guard import mask
from agent.models.presets import NO_KEY, Endpoint
from knowledge.readers.encoding import clean

if TYPE_CHECKING:
    import openai

_FILTER = re.compile(
    r"data_?inspection_?failed|inappropriate content|content[ _-]?(?:filter|policy|management)|moderation|sensitive content"
    r"|\(1301\)|safety (?:system|filter)|responsible ai|content exists risk|input (?:was|is) flagged|flagged_input",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(?<![a-z])(?:invalid|incorrect|wrong|missing|no|expired|unauthori[sz]ed)[ _-]?(?:\w{1,20}[ _-]){0,2}"
    r"(?:api[ _-]?key|token|credentials)(?![a-z])"
    r"|api[ _-]?key.{0,30}(?:invalid|incorrect|not valid|expired|missing|required)|invalid_api_key|authentication"
    r"|no_db_connection|no connected db",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"insufficient|balance|arrear|overdue|recharge|current[ _]quota|(?:no|out of|enough) credit|payment required|\(1113\)",
    re.IGNORECASE,
)
"""Not "quota" or "billing" alone: notices of a rate limit speak of them, too."""
_LENGTH = re.compile(
    r"context[ _-]?(?:length|window|size)|exceed_context|maximum context|too (?:long|many tokens)|reduce the length"
    r"|current length is \d+ while limit|(?:prompt|input|request).{0,40}(?:exceeds?|longer than|larger than)"
    r"|range of input length|max_model_len|token limit",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model.{0,80}(?:not[ _]found|does not exist|not exist|unknown|not supported by|no longer|deprecated|retired|not available)"
    r"|(?:invalid|unknown|no such) model|model_not_found|invalid model name|pinned to|not a valid model",
    re.IGNORECASE,
)
_VALIDATOR = re.compile(
    r"validation error|unsupported|not supported|unexpected (?:field|key)|literal_error|extra_forbidden|input should be"
    r"|not permitted|unrecognized|unknown (?:parameter|argument|field|key)",
    re.IGNORECASE,
)
_UNROUTED = re.compile(r"no endpoints? (?:found|available) that (?:can handle|supports?)", re.IGNORECASE)
"""OpenRouter's words for a model of which no host knows all parameters; the status is 404."""
_ANY_KIND = ("invalid_request_error", "BadRequestError", "error")
"""Types of errors that say nothing beside the status."""
LONGEST_READ = 2_000
"""Characters of what a server says that are looked at, and"""
LONGEST_REASON = 300
"""that are told to staff."""


def reason_of(body: Any) -> str:
    """The sentence in an error body: OpenAI's form, FastAPI's, a plain string, or whatever it is."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        body = inner.get("message") or inner.get("detail") or inner if isinstance(inner, dict) else inner
    try:
        # Cut before anything looks at it: patterns on a text without end take their time.
        return " ".join(clean(str(body)[: 2 * LONGEST_READ]).split())[:LONGEST_READ]
    except RecursionError:
        return "something that is nested without end"


def refusal(error: openai.OpenAIError) -> str:
    """All that a server said, as one line, with the code it gave."""
    body = getattr(error, "body", None)
    said = reason_of(body or str(error))
    known = (*_ANY_KIND, "", str(getattr(error, "status_code", "")))
    # Moonshot tells a filter and an empty account by the type alone.
    for kind in (body.get("code"), body.get("type")) if isinstance(body, dict) else ():
        kind = kind[:100] if isinstance(kind, str) else kind
        if isinstance(kind, str | int) and str(kind) not in known and str(kind) not in said:
            said += f" ({kind})"
    return said


def is_about_parameters(error: openai.APIStatusError, *, structured: bool) -> bool:
    """Whether a refusal may be about a parameter that can be left out, and not about the content, the key or the model.

    A 500 is, when it says so in the words of a validator, or when JSON was asked for: llama-cpp-python answers in this way.
    """
    said = refusal(error)
    if error.status_code in (400, 422):
        return not any(pattern.search(said) for pattern in (_FILTER, _KEY, _LENGTH, _MODEL, _MONEY))
    if error.status_code == 404:
        return _UNROUTED.search(said) is not None
    if error.status_code == 500:
        return structured or _VALIDATOR.search(said) is not None
    return False


def is_explained(error: openai.APIStatusError) -> bool:
    """Whether a refusal says what it is about. A bare 500 may be a passing fault: nothing is learned from it."""
    return error.status_code != 500 or _VALIDATOR.search(refusal(error)) is not None


def translated(error: openai.OpenAIError, endpoint: Endpoint, name: str) -> ModelError:
    """The `ModelError` for what the openai package raised."""
    import openai

    if isinstance(error, openai.APIConnectionError):
        slow = isinstance(error, openai.APITimeoutError)
        reason = "did not answer in time" if slow else "cannot be reached"
        return ModelUnreachable(
            f"{name} {reason} ({endpoint.host}: {_root_cause(error)}).",
            "Is the server running, and is its address right? Try: frontdesk models check",
        )
    status = getattr(error, "status_code", None)
    said = refusal(error)
    told = mask(without_key(said, endpoint))[:LONGEST_REASON]
    if _FILTER.search(said) and status not in (401, 402, 404):
        return ModelFiltered(f"{name} would not answer: its provider's content filter stopped it.")
    if status is None:
        return ModelBroken(f"{name} broke off with an error: {told}")
    return _by_status(status, said, told, error, endpoint, name)


def _by_status(
    status: int, said: str, told: str, error: openai.OpenAIError, endpoint: Endpoint, name: str
) -> ModelError:
    if status in (401, 403) or (status == 400 and _KEY.search(said)):
        missing = "It was sent no key: set FRONTDESK_MODEL_API_KEY." if endpoint.api_key == NO_KEY else ""
        hint = missing or endpoint.hint_401 or "Check that the key is right and belongs to this server."
        return ModelDenied(f"{name} does not accept the key: {told}", hint)
    waits = _retry_after(error)
    if status == 402 or (status in (400, 429) and waits is None and _MONEY.search(said) and not _LENGTH.search(said)):
        return ModelDenied(
            f"{name} says the account has no money or quota left: {told}", "Check the account's balance."
        )
    if status == 413 or (status in (400, 422, 500) and _LENGTH.search(said)):
        return ModelTooLong(f"The question and its documents are too long for {name}: {told}")
    if status == 404 or (status in (400, 422) and _MODEL.search(said)):
        return ModelDenied(f"{name} is not known to {endpoint.host}: {told}", "Check FRONTDESK_MODEL.")
    if status in (408, 409, 425, 429) or status >= 500:
        return ModelOverloaded(f"{name} is busy or broken (status {status}): {told}", retry_after=waits)
    return ModelRefused(f"{name} refused the request (status {status}): {told}")


def without_key(text: str, endpoint: Endpoint) -> str:
    """A server's words without the key, which some repeat."""
    key = endpoint.api_key
    return text.replace(key, "[key]") if len(key) > 4 else text


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)[:160] or type(error).__name__


def _retry_after(error: openai.OpenAIError) -> float | None:
    """Seconds, from `Retry-After` as a number or a date (RFC 9110, 10.2.3)."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    given = str(headers.get("retry-after", "")).strip()
    try:
        seconds = float(given)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
