"""JSON and tool calls that a model wrote into its text: found as the text comes, and read. Pure."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any, Literal

from agent.errors import ModelBroken

LONGEST_CALL = 4_000
"""Characters of JSON held back in the midst of an answer, where it may be a tool call."""
Kind = Literal["text", "code", "fence"]
"""What a piece of text is: plain, in code, or the opening line of a code block."""

_DECODER = json.JSONDecoder(strict=False)
_OPENING = re.compile(r"[{\[]")
_SPACE, _FENCED_SPACE = re.compile(r"[\s;,]*+"), re.compile(r"[\s;,`~]*+")
_OBJECT = re.compile(r"\[?\s*\{\s*\"")
_JSON_FENCE = re.compile(r"(?:`{3,20}|~{3,20})[ \t]*(?:json\w?|tool_calls?|tool_code)?[ \t]*\n", re.IGNORECASE)
_BLANK, _OUTSIDE = re.compile(r"\s*+"), re.compile(r"[\s,:\d.+\-Eaeflnrstu]*+")
_INSIDE = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_CALLED, _GIVEN = re.compile(r'"(?:name|function|tool)"\s*:'), re.compile(r'"(?:arguments|parameters|tool_calls)"\s*:')


class _Value:
    """Follows one JSON object, or a list of objects, to its end, however it is cut."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = self._depth = 0
        self._next = "{["  # what must come next, where only that may
        self._string = self._escaped = False

    @property
    def raw(self) -> str:
        return "".join(self._pieces)

    def take(self, text: str, at: int, most: int) -> tuple[int, bool | None]:
        """Read on. Returns where it stopped, and whether a value ends there: False if there is none, None if more must come."""
        stop, whole = self._read(text, at, min(len(text), at + most - self._length))
        self._pieces.append(text[at:stop])
        self._length += stop - at
        return stop, False if whole is None and self._length >= most else whole

    def _read(self, text: str, at: int, end: int) -> tuple[int, bool | None]:
        while at < end:
            if self._string:
                at = self._read_string(text, at, end)
                continue
            skip = (_BLANK if self._next else _OUTSIDE).match(text, at, end)
            if skip is None or (at := skip.end()) == end:
                break
            sign = text[at]
            if sign not in (self._next or '"{}[]'):
                return at, False
            self._next = {"[": "{", "{": '"}'}.get(sign, "") if self._next else ""
            self._string = sign == '"'
            self._depth += (sign in "{[") - (sign in "}]")
            at += 1
            if not self._depth:
                return at, True
        return at, None

    def _read_string(self, text: str, at: int, end: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        inside = _INSIDE.match(text, at, end)
        at = inside.end() if inside else at
        if at < end:
            self._escaped = self._string = text[at] != '"'
            at += 1
        return at


class JsonGuard:
    """Takes tool calls out of an answer, and withholds one that is nothing but JSON, in a code block or not."""

    def __init__(self, found: Callable[[list[str]], None]) -> None:
        self._found = found
        self._begins = True  # nothing but JSON has come yet
        self._pending: list[str] = []
        self._calls: list[str] = []  # in a code block at the beginning: an example, if an answer follows
        self._object = self._fenced = False
        self._value: _Value | None = None

    @property
    def idle(self) -> bool:
        """Whether text without a brace or a bracket would be passed on."""
        return not self._begins and self._value is None

    def feed(self, text: str, kind: Kind) -> str:
        """The next piece in; what may be shown now out."""
        visible: list[str] = []
        at = 0
        while at < len(text):
            if self._value is not None:
                at = self._follow(self._value, text, at, visible)
            elif self._begins:
                at = self._begin(text, at, kind, visible)
            elif kind != "text" or (opening := _OPENING.search(text, at)) is None:
                visible.append(text[at:])
                break
            else:
                visible.append(text[at : opening.start()])
                at, self._value = opening.start(), _Value()
        return "".join(visible)

    def end(self) -> str:
        """What was held back. Raises `ModelBroken` if all there was is JSON."""
        rest: list[str] = []
        raw = self._value.raw if self._value is not None else ""
        if raw and (self._fenced or not _is_like_a_call(raw)):
            self._object = self._object or bool(self._begins and _OBJECT.match(raw))
            (self._pending if self._begins else rest).append(raw)
        if self._object and self._begins:
            raise ModelBroken("The model sent JSON as if it were its answer.")
        if self._begins and self._calls:
            self._found(self._calls)
        elif self._begins and "".join(self._pending).strip("; ,\n"):
            rest += self._pending
        return "".join(rest)

    def _begin(self, text: str, at: int, kind: Kind, visible: list[str]) -> int:
        if kind == "fence" and _JSON_FENCE.fullmatch(text):
            self._fenced = True
            self._pending.append(text)
            return len(text)
        space = (_FENCED_SPACE if self._fenced else _SPACE).match(text, at)
        end = space.end() if space else at
        self._pending.append(text[at:end])
        if end < len(text):
            if text[end] in "{[" and (self._fenced or kind == "text"):
                self._value = _Value()
            else:
                self._release(visible)
        return end

    def _follow(self, value: _Value, text: str, at: int, visible: list[str]) -> int:
        at, whole = value.take(text, at, sys.maxsize if self._begins else LONGEST_CALL)
        if whole is None:
            return at
        self._value = None
        calls = _calls_in_json(value.raw) if whole else []
        if not self._fenced and (calls or (calls is None and _is_like_a_call(value.raw))):
            self._found(calls or [])
        elif not self._begins:
            visible.append(value.raw)
        else:
            self._pending.append(value.raw)
            self._calls += calls or []
            self._object = self._object or not calls
            if not whole:
                self._release(visible)
        return at

    def _release(self, visible: list[str]) -> None:
        """An answer has begun: what came before it is a part of it."""
        visible += self._pending
        self._begins = self._fenced = False
        self._pending.clear()
        self._calls.clear()


def _is_like_a_call(raw: str) -> bool:
    """Whether JSON that cannot be read, perhaps because it was cut, would be a tool call."""
    return '"tool_calls"' in raw or bool(_CALLED.search(raw) and _GIVEN.search(raw))


def _calls_in_json(raw: str) -> list[str] | None:
    try:
        return _calls_of(_DECODER.decode(raw))
    except (ValueError, RecursionError):
        return None


def _calls_of(value: Any) -> list[str]:
    """The tool calls that a JSON value consists of; none unless all of it is tool calls."""
    if isinstance(value, list):
        each = [_calls_of(one) for one in value]
        return [call for calls in each for call in calls] if all(each) else []
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("tool_calls"), list):
        return _calls_of(value["tool_calls"])
    wrapped = isinstance(value.get("function"), dict)
    body = value["function"] if wrapped else value
    name = next((body[key] for key in ("name", "function", "tool") if isinstance(body.get(key), str)), "")
    given: Any = next((body[key] for key in ("arguments", "parameters") if key in body), {} if wrapped else None)
    return [_call(name, given)] if name and given is not None else []


def _call(name: str, given: Any) -> str:
    """A tool call as one JSON object, whichever way it was written."""
    return json.dumps({"name": name, "arguments": _value_of(given)}, ensure_ascii=False)


def _value_of(given: Any) -> Any:
    """What an argument is that may have been written as text: JSON where it can be read as such."""
    if not isinstance(given, str):
        return given
    try:
        return _DECODER.decode(given.strip())
    except (ValueError, RecursionError):
        return given.strip()


# A model's own way to write a tool call: as JSON, as JSON behind the tool's name, or as tags.
_NAMED = re.compile(
    r"(?:[>=\]\"\s.]|^)([\w-]{1,100})"
    r"(?:\"?\s?>|:\d+|\s|\[ARGS\]|\[CALL_ID\]\w{1,40}|<[|｜][^<>|｜]{1,40}[|｜]>|```(?:json)?){0,9}\Z"  # noqa: RUF001
)
_FUNCTION = re.compile(
    r"<(?:function=|invoke\s{1,9}name=|tool_call>(?=[^<>]{1,120}<arg_key>))[\s\"']{0,9}([\w.-]{1,100})(.*?)"
    r"(?:</(?:function|invoke|tool_call)>|(?=<(?:function=|invoke\s|tool_call>)))",
    re.DOTALL | re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"<(?:parameter(?:=|\s{1,9}name=)[\"']?|arg_key>\s{0,9})([\w.-]{1,100})(?:</arg_key>\s{0,9}<arg_value>|[^<>]{0,100}>)"
    r"(.*?)(?:</(?:parameter|arg_value)>|(?=<parameter|<arg_key)|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_MOST_CALLS = 100


def calls_in(text: str, name: str = "") -> list[str]:
    """The tool calls in what stood between the tags of one. What cannot be read, or was cut, is none: nobody may guess."""
    text = re.sub(r"(</?)[|｜]DSML[|｜]", r"\1", text)  # noqa: RUF001
    found: list[str] = []
    if not name and ("{" not in text or re.search("<parameter|<arg_key", text)):
        for function in _FUNCTION.finditer(text):
            found.append(_call(function[1], {key: _value_of(text) for key, text in _PARAMETER.findall(function[2])}))
        return found
    at = before = 0
    for _ in range(_MOST_CALLS):
        if (opening := _OPENING.search(text, at)) is None:
            break
        try:
            value, at = _DECODER.raw_decode(text, opening.start())
            calls = _calls_of(value)
        except (ValueError, RecursionError):
            at = opening.end()
            continue
        named = _NAMED.search(text[max(before, opening.start() - 200) : opening.start()])
        called = name or (named[1] if named and not calls else "")
        found += [_call(called, value)] if called and isinstance(value, dict) else calls
        before = at
    return found
