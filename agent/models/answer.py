"""One answer as it comes over the wire: visible text, usage, tool calls, how it ended, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.errors import ModelBroken, ModelFiltered
from agent.messages import Usage
from agent.models.base import Chunk, Finish, Prompt, ToolCall
from agent.models.leaks import VisibleText
from agent.models.loops import Loop
from agent.models.presets import Endpoint
from agent.models.pricing import estimated_prompt_tokens, estimated_tokens
from agent.models.refusals import reason_of

LONGEST_ANSWER = 20_000
"""Characters of visible text, and"""
LONGEST_STREAM = 400_000
"""of all that is received, thinking too. A server that ignores `max_tokens` is cut off here."""
_FILTERED = ("content_filter", "sensitive")
_BROKEN = ("error", "network_error", "insufficient_system_resource", "abort")
_LENGTH = ("length", "max_tokens", "model_context_window_exceeded")
"""How servers call the end of an answer that was stopped, was cut by a fault of theirs, or is at a limit."""
MOST_TOKENS, MOST_USD = 100_000_000, 1_000
"""More than any call can take or cost. A figure beyond is a mistake, and would use up every budget of the day."""
_UNSEEN = dict.fromkeys(
    [
        *(code for code in range(32) if chr(code) not in "\n\t"),
        *range(0x7F, 0xA0),
        0x200B,
        0x2060,
        0xFEFF,
        *range(0x202A, 0x202F),
        *range(0xE0000, 0xE0080),
    ]
)
"""Characters that control a terminal, turn the direction of text, or hide in it: nobody is meant to see them do so."""
IMAGE_TOKENS = 1_000
"""What a picture counts, about: servers have it scaled down to some hundred tokens, or to a thousand and a half."""
_WATCHED_AT_ONCE = 200
"""Characters that are looked through for a loop at once: one by one takes ten times as long."""
_REASONING = ("reasoning_content", "reasoning", "reasoning_text", "thinking")


class AnswerSoFar:
    """Collects one stream, and judges at its end whether it was a whole answer."""

    def __init__(self, endpoint: Endpoint, prompt: Prompt, name: str) -> None:
        self._endpoint = endpoint
        self._prompt = prompt
        self._name = name
        self._visible_text = VisibleText(tools=bool(prompt.tools), json=prompt.schema is not None)
        self._loop = Loop()
        self._unwatched = ""
        self._visible = ""
        self._reasoning: list[str] = []
        self._received: list[str] = []
        self._length = 0
        self._calls: dict[int, dict[str, str]] = {}
        self._finish: str | None = None
        self._started = False
        self.reported: Any = None
        """The usage that the server told, as it came."""

    @property
    def thought(self) -> bool:
        """Whether the model was seen to think."""
        return bool("".join(self._reasoning).strip()) or self._visible_text.thought

    @property
    def finished(self) -> bool:
        """Whether the server said that the answer is at its end."""
        return self._finish is not None

    @property
    def too_long(self) -> bool:
        """Whether it has to be cut off because the server does not."""
        return len(self._visible) > min(LONGEST_ANSWER, 40 * self._prompt.max_tokens)

    @property
    def visible_tokens(self) -> int:
        """About how many tokens of answer there are."""
        return estimated_tokens(self._visible)

    def take(self, chunk: Mapping[str, Any]) -> str:
        """The visible text of one chunk. Raises `ModelError` when the chunk is an error in disguise.

        Also `AttributeError`, `TypeError`, `LookupError` and `ValueError`: nobody has checked what is in it.
        """
        self._started = True
        if (error := chunk.get("error")) is not None:
            raise self._disguised(error)
        if chunk.get("usage") is not None:
            self.reported = chunk["usage"]
        if not chunk.get("choices"):
            return ""
        choice = chunk["choices"][0]
        ended = self._finish is not None
        self._finish = choice.get("finish_reason") or self._finish
        delta = choice.get("delta")
        # Some servers send no delta. A second answer beside the first, and what comes behind its end, are not the answer.
        if not delta or choice.get("index") or ended:
            return ""
        for field in _REASONING:
            if isinstance(thought := delta.get(field), str):
                self._reasoning.append(thought)
                self._count(thought)
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            raise ModelFiltered(f"{self._name} refused: {refusal[:200]}")
        for call in delta.get("tool_calls") or ():
            self._take_call(call)
        content = delta.get("content")
        if not isinstance(content, str):
            return ""
        self._received.append(content)
        self._count(content)
        return self._shown(self._visible_text.feed(content.translate(_UNSEEN)))

    def end(self) -> tuple[str, Chunk]:
        """What was held back, and the last chunk. Raises `ModelError` unless the answer is whole."""
        rest = self._shown(self._visible_text.end())
        if self._finish in _FILTERED:
            raise ModelFiltered(f"{self._name} stopped: its provider's content filter.")
        if self._finish is None and not self.too_long:
            raise ModelBroken(f"{self._name} broke off in the middle of its answer (no finish_reason).")
        if self._finish in _BROKEN:
            raise ModelBroken(f"{self._name} broke off in the middle of its answer (finish_reason {self._finish}).")
        calls = self._tool_calls()
        if not self._visible.strip() and not calls:
            raise ModelBroken(f"{self._name} gave an empty answer (finish_reason {self._finish}).")
        finish: Finish = "tools" if calls else "length" if self._finish in _LENGTH or self.too_long else "stop"
        return rest, Chunk(
            finish=finish,
            usage=self._usage(),
            model=self._name,
            tool_calls=calls,
            reasoning="".join(self._reasoning) if calls else "",
        )

    def usage_so_far(self) -> Usage | None:
        """What a call that failed cost; `None` when the server had not begun to answer."""
        return self._usage() if self._started else None

    # Parts ------------------------------------------------------------------------------------------------------------

    def _disguised(self, error: Any) -> ModelBroken | ModelFiltered:
        said = reason_of(error)[:200]
        if "filter" in said.lower() or "moderation" in said.lower() or "inspection" in said.lower():
            return ModelFiltered(f"{self._name} would not answer: its provider's content filter stopped it.")
        return ModelBroken(f"{self._name} sent an error inside its answer: {said}")

    def _count(self, text: str) -> None:
        self._length += len(text)
        if self._length > LONGEST_STREAM:
            raise ModelBroken(f"{self._name} did not stop talking; it was cut off.")

    def _shown(self, text: str) -> str:
        self._visible += text
        self._unwatched += text
        if len(self._unwatched) < _WATCHED_AT_ONCE:
            return text
        watched, self._unwatched = self._unwatched, ""
        if self._loop.feed(watched):
            raise ModelBroken(f"{self._name} went round in circles; it was cut off.")
        return text

    def _take_call(self, call: Mapping[str, Any]) -> None:
        """A piece of a tool call; its parts come with the first piece, its arguments in many."""
        index = call.get("index")
        index = index if isinstance(index, int) else len(self._calls)
        known = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        known["id"] = call.get("id") or known["id"]
        function = call.get("function")
        if function is not None:
            known["name"] = function.get("name") or known["name"]
            given = function.get("arguments")
            known["arguments"] += given if isinstance(given, str) else json.dumps(given) if given else ""
            self._count(known["arguments"][-200:])

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of tools that the prompt has; others, and what is no JSON object, are ignored."""
        known = {tool.name for tool in self._prompt.tools}
        made = [(call["id"], call["name"], call["arguments"]) for _, call in sorted(self._calls.items())]
        for raw in self._visible_text.tool_calls:
            leaked = json.loads(raw)
            made.append(("", leaked["name"], json.dumps(leaked["arguments"])))
        calls = []
        for number, (identity, name, arguments) in enumerate(made):
            try:
                given = json.loads(arguments or "{}")
            except (ValueError, RecursionError):
                continue
            if name in known and isinstance(given, Mapping):
                calls.append(ToolCall(identity or f"call_{number}", name, dict(given)))
        return tuple(calls)

    def _usage(self) -> Usage:
        usage = self._reported()
        if usage is None:
            asked = tokens_asked(self._prompt)
            thought = estimated_tokens("".join(self._reasoning))
            usage = Usage(asked, thought + estimated_tokens("".join(self._received)), None, estimated=True)
            usage = replace(usage, reasoning_tokens=thought)
        cost = _inside(self.reported, "cost")
        if isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost <= MOST_USD:
            return replace(usage, cost_usd=float(cost))
        return replace(usage, cost_usd=self._endpoint.price.cost(usage))

    def _reported(self) -> Usage | None:
        """The server's own count, under the names that servers have for it; `None` if there is none to use."""
        told = self.reported
        prompt, completion = _tokens(told, "prompt_tokens"), _tokens(told, "completion_tokens")
        if prompt is None or completion is None or (prompt == 0 and completion == 0):
            return None
        within = _inside(told, "prompt_tokens_details")
        cached = _tokens(within, "cached_tokens") or _tokens(told, "prompt_cache_hit_tokens")
        cached = cached or _tokens(told, "cached_tokens") or 0
        written = _tokens(within, "cache_write_tokens") or _tokens(within, "cache_creation_input_tokens") or 0
        thought = _tokens(_inside(told, "completion_tokens_details"), "reasoning_tokens") or 0
        return Usage(
            prompt, completion, None, False, min(cached, prompt), min(written, prompt), min(thought, completion)
        )


def tokens_asked(prompt: Prompt) -> int:
    """How many tokens a prompt is, about, its pictures too."""
    images = sum(len(message.images) for message in prompt.messages)
    return estimated_prompt_tokens(message.content for message in prompt.messages) + images * IMAGE_TOKENS


def has_finish(chunk: Mapping[str, Any]) -> bool:
    """Whether a chunk says that the answer is at its end."""
    return bool(chunk.get("choices")) and chunk["choices"][0].get("finish_reason") is not None


def has_content(chunk: Mapping[str, Any]) -> bool:
    """Whether a chunk is progress: text, a tool call, or thinking, which is never shown but is work."""
    # Some servers send no delta.
    delta: Any = chunk["choices"][0].get("delta") if chunk.get("choices") else None
    return bool(delta) and any(delta.get(field) for field in ("content", "tool_calls", *_REASONING))


def _inside(told: Any, name: str) -> Any:
    return told.get(name) if isinstance(told, Mapping) else None


def _tokens(told: Any, name: str) -> int | None:
    value = _inside(told, name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None
