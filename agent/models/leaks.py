"""What a model sends that no customer may see, taken out of its text as it comes. Pure.

Thinking, tool calls, special tokens of chat templates, and JSON in place of an answer all reach us as text when a server has
no parser for its model. What comes out does not depend on how the text was cut: a place is decided only when more text could
not change the decision. What is in code (`<think>`) is talked about, not used, and stays.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Set
from typing import Any, Literal

from agent.errors import ModelBroken

LONGEST_CALL = 4_000
"""Characters of JSON held back in the midst of an answer, where it may be a tool call."""
_Kind = Literal["text", "code", "fence"]
_LONGEST_UNIT, _SHORT_PIECE = 1_000, 32

_THOUGHTS = frozenset({"think", "thinking", "thought", "reasoning", "mm:think", "seed:think"})
"""Not `reflection`, `analysis` or `reason`: documents use them as placeholders, and models only inside other thinking."""
_CALLS = frozenset({"tool_call", "tool_calls", "function_call", "function_calls", "tool_response", "minimax:tool_call"})
_PIPED_CALL = re.compile(r"\|tool_calls?(?:_section)?(?:_begin|_start)?|\|python_tag|\|action_start")
_STRAY = ("s", "bos", "eos", "unk", "pad", "start_of_turn", "end_of_turn")
_OTHERS = frozenset({"|user", "|system", "|tool", "|observation"})
_HEADERS = frozenset({"|im_start", "|start", "|start_header_id", "|turn", "start_of_turn", "|channel", "|constrain"})
"""Tags behind which a role or the name of a channel follows."""
_STARTS = (_HEADERS - {"|constrain"}) | _OTHERS | {"|assistant"}
_ENDS = _STARTS | {"|end", "|return", "|call", "|im_end", "|eot_id", "|eom_id", "|endoftext", "|end_of_text", "/s"}
_ENDS |= {"|end_of_sentence", "|eot", "end_of_turn", "turn|"}


def _begun(word: str) -> str:
    """A pattern for `word` and every beginning of it."""
    return "(?:" + "(?:".join(map(re.escape, word)) + ")?" * len(word)


_WORDS = "|".join(map(re.escape, sorted(_THOUGHTS | _CALLS | set(_STRAY))))
_WORDS_BEGUN = "|".join(map(_begun, sorted(_THOUGHTS | _CALLS | {*_STRAY, "function", "invoke", "channel|", "turn|"})))
_DSML = r"(?:[|｜]DSML[|｜])?"  # noqa: RUF001
_ATTRIBUTE = r"\s{1,9}[\w:.-]{1,40}\s{0,3}=\s{0,3}(?:\"[^\"<>]{0,100}\"|'[^'<>]{0,100}'|[^\s\"'<>]{1,100})"
_TAG = re.compile(
    rf"</?{_DSML}(?:{_WORDS}|(?<=[/|｜])(?:function|invoke|parameter)|function(?==)|invoke(?=\s))"  # noqa: RUF001
    rf"(?:=[\"']?[\w.:/-]{{1,100}}[\"']?)?(?:{_ATTRIBUTE}){{0,3}}\s{{0,9}}/?>"
    r"|</?[|｜]/?[^\s<>|｜/]{2,40}[|｜]?>|<(?:channel|turn|tool_call)[|｜]>"  # noqa: RUF001
    r"|(?-i:\[/?(?:THINK|TOOL_CALLS|INST)\])|◁/?think▷",
    re.IGNORECASE,
)
_TAG_BEGUN = re.compile(
    rf"</?{_DSML}(?:(?:{_WORDS_BEGUN})|(?:(?:{_WORDS})[\s=/|｜]|function=|invoke\s)[^<>]{{0,600}})\Z"  # noqa: RUF001
    r"|</?[|｜][^\s<>|｜]{0,41}[|｜]?\Z"  # noqa: RUF001
    rf"|(?-i:\[/?(?:{_begun('THINK')}|{_begun('TOOL_CALLS')}|{_begun('INST')})\Z)|◁/?{_begun('think')}\Z",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"[ \n]{0,3}(?:(?P<role>assistant|model|user|system|developer|tool|ipython|functions\.[\w.:-]{1,80}"
    r"|analysis|commentary|final|thought|json)(?![a-z]))?(?:[ ]{0,2}to=(?P<to>[\w.:-]{1,100}))?(?:[ ]{1,2}json(?![a-z]))?\n?",
    re.IGNORECASE,
)
_HEADER_BEGUN = re.compile(r"[ \n]{0,3}[^\n<]{0,120}\Z")
_IN_TEXT, _IN_HIDDEN = re.compile(r"[<\[◁`~]"), re.compile(r"[<\[◁`]")
_SPECIAL = re.compile(r"[<\[◁`~{]")
_CODE = re.compile(r"(?P<run>`{1,20}+)[^\n]{1,200}?(?<!`)(?P=run)(?!`)")
_FENCE = re.compile(r"(?P<run>`{3,20}+|~{3,20}+)[^`~\n]{0,100}\n")
_CODE_BEGUN = re.compile(r"`[^\n]{0,260}\Z|~{1,2}\Z|~{3,20}[^`~\n]{0,100}\Z")
_RUN = re.compile(r"`{1,20}|~{1,20}")


class VisibleText:
    """Feed it a model's text as it comes; it gives back what a customer may see.

    `tools`: leaked tool calls are wanted in `tool_calls`, each as `{"name": ..., "arguments": ...}`; else they are dropped.
    `json`: JSON is what was asked for. It is not taken for a leak, and comes as one piece from `end`.
    """

    def __init__(self, *, tools: bool = False, json: bool = False) -> None:
        self.thought = False
        """Whether there was thinking (an empty `<think></think>` is none)."""
        self.tool_calls: list[str] = []
        self._tools, self._json = tools, json
        self._guard = _JsonGuard(self._found)
        self._pieces: list[tuple[str, _Kind, list[str]]] = []  # what was let through, and calls
        self._held = ""
        self._plain = self._shown = self._seen = False
        self._fence = ""  # the mark that opened a code block
        self._header = ""  # the tag whose header is awaited
        self._recipient = ""
        self._ends: Set[str] = frozenset()  # tags that end what is hidden; none: text is visible
        self._opener, self._depth, self._thinks = "", 0, False
        self._raw: list[str] | None = None

    def feed(self, text: str) -> str:
        """The next piece in, what can be shown out. Raises `ModelBroken` when what was shown turns out to be thinking."""
        if self._plain and not _SPECIAL.search(text):
            return text
        self._scan(text, final=False)
        shown = "" if self._json else self._passed()
        self._plain = self._shown and self._guard.idle and not (self._held or self._ends or self._fence or self._header)
        return shown

    def end(self) -> str:
        """What was held back, once nothing more comes. Raises `ModelBroken` when the answer is nothing but JSON."""
        self._scan("", final=True)
        self._stop_hiding()
        return self._passed() + ("" if self._json else self._without_leading_space(self._guard.end()))

    def _passed(self) -> str:
        pieces, self._pieces = self._pieces, []
        shown: list[str] = []
        for text, kind, calls in pieces:
            self._found(calls)
            shown.append(text if self._json else self._guard.feed(text, kind))
        return self._without_leading_space("".join(shown))

    def _without_leading_space(self, text: str) -> str:
        if not self._shown:
            text = text.lstrip()
            self._shown = bool(text)
        return text

    def _found(self, calls: list[str]) -> None:
        if self._tools:
            self.tool_calls += calls

    def _scan(self, text: str, *, final: bool) -> None:
        held, at, step = self._held + text, 0, 0
        while at < len(held):
            read = self._read_header if self._header else self._read_fence if self._fence else self._read
            step = read(held, at, final)
            if step < 0:  # more text may change what this is
                break
            at = step
        self._held = held[at:]

    def _say(self, text: str, kind: _Kind = "text") -> None:
        if not self._ends:
            self._pieces.append((text, kind, []))
        elif self._raw is not None:
            self._raw.append(text)
        elif self._thinks and text.strip():
            self.thought = True

    def _read(self, held: str, at: int, final: bool) -> int:
        start = (_IN_HIDDEN if self._ends else _IN_TEXT).search(held, at)
        begin = start.start() if start else len(held)
        if begin > at:
            self._say(held[at:begin])
            return begin
        if held[at] in "`~" and not self._ends:
            return self._read_code(held, at, final)
        # In thinking a lone backtick must not swallow the end, so only a tag that is quoted itself is skipped there.
        quoted = held[at] == "`"
        tag = _TAG.match(held, at + quoted)
        if tag is None:
            if not final and ((quoted and at + 1 == len(held)) or _TAG_BEGUN.match(held, at + quoted)):
                return -1
        elif not quoted:
            self._take(tag[0])
            return tag.end()
        elif tag.end() == len(held) and not final:
            return -1
        elif held[tag.end() : tag.end() + 1] == "`":
            self._say(held[at : tag.end() + 1])
            return tag.end() + 1
        self._say(held[at])
        return at + 1

    def _read_code(self, held: str, at: int, final: bool) -> int:
        if (fence := _FENCE.match(held, at)) is not None:
            self._fence = fence["run"]
            self._say(fence[0], "fence")
            return fence.end()
        span = _CODE.match(held, at)
        if span is not None and (final or span.end() < len(held)):
            self._say(span[0], "code")
            return span.end()
        if not final and _CODE_BEGUN.match(held, at):
            return -1
        run = _RUN.match(held, at)
        assert run is not None
        self._say(run[0])
        return run.end()

    def _read_fence(self, held: str, at: int, final: bool) -> int:
        mark = f"{self._fence[0]}{{%s{len(self._fence)}}}[ \\t]{{0,20}}"
        # A special token may follow on the same line, as the last thing a model writes.
        closed = re.compile(mark % "" + "(?:\n|(?=<[|｜/]))").search(held, at)  # noqa: RUF001
        begun = None if closed or final else re.compile(mark % "1," + r"<?\Z").search(held, max(at, len(held) - 41))
        end = closed.end() if closed else begun.start() if begun else len(held)
        self._fence = "" if closed else self._fence
        self._say(held[at:end], "code")
        return end if end > at else -1

    def _read_header(self, held: str, at: int, final: bool) -> int:
        """What stands behind `<|start|>` or `<|channel|>`: who speaks, and to whom. Only the final channel is an answer."""
        if not final and _HEADER_BEGUN.match(held, at):
            return -1
        header = _HEADER.match(held, at)
        assert header is not None
        opener, self._header = self._header, ""
        role = (header["role"] or "").lower()
        self._recipient = header["to"] or (self._recipient if opener in ("|channel", "|constrain") else "")
        if opener == "|channel" and role != "final":
            raw: list[str] | None = [] if self._recipient else None
            self._hide(_ENDS | {"channel|"}, raw=raw, thinks=role != "commentary")
        elif opener in _STARTS and role not in ("", "assistant", "model", "final"):
            self._hide(_STARTS)
        return header.end()

    def _take(self, tag: str) -> None:
        key = _key(tag)
        if self._ends:
            if key == self._opener:
                self._depth += 1
                return
            if key not in self._ends:
                self._say(tag)
                return
            self._depth -= 1
            if self._depth:
                return
            self._stop_hiding(tag)
            if key not in _STARTS:
                return
        if key in _THOUGHTS:
            self._hide({f"/{key}"}, opener=key, thinks=True)
        elif key.removeprefix("/") in _THOUGHTS or key == "channel|":
            self._take_back()
        elif key in _HEADERS:
            self._header = key
        elif key in _OTHERS:
            self._hide(_STARTS)
        elif key in _CALLS or key in ("function", "invoke"):
            self._hide(_ENDS | {f"/{key}"}, raw=[tag])
        elif _PIPED_CALL.fullmatch(key):
            many = {"|tool_calls_end", "|tool_calls_section_end"}
            one = {"|tool_call_end", "|/tool_call", "tool_call|", "|action_end"}
            self._hide(_ENDS | (many if "calls" in key else one), raw=[tag])
        # Anything else is a stray token, which simply vanishes.

    def _hide(self, ends: Set[str], *, opener: str = "", raw: list[str] | None = None, thinks: bool = False) -> None:
        self._ends, self._opener, self._depth, self._raw, self._thinks = ends, opener, 1, raw, thinks
        self._seen = self._seen or thinks

    def _stop_hiding(self, tag: str = "") -> None:
        if self._raw is not None:
            calls = _calls_in("".join(self._raw) + tag, self._recipient.removeprefix("functions."))
            self._pieces.append(("", "text", calls))
        self._ends, self._opener, self._raw, self._recipient = frozenset(), "", None, ""

    def _take_back(self) -> None:
        """What came before an end without a beginning was thinking, unless thinking has been seen already."""
        if self._seen:
            return
        if self._shown:
            raise ModelBroken(
                "The model sent its thinking as if it were its answer.",
                "Switch its thinking off, or start its server with a reasoning parser.",
            )
        self._seen = self.thought = True
        self._pieces.clear()
        self.tool_calls.clear()
        self._guard = _JsonGuard(self._found)


def _key(tag: str) -> str:
    """The bare name of a tag, with `/` before it if it closes, and a bar where it has one."""
    plain = tag.lower().replace("｜", "|").replace("▁", "_").replace("|dsml|", "")  # noqa: RUF001
    name = re.split(r"[\s=]", plain.strip("<>[]◁▷"))[0]
    return name.rstrip("|") if name.startswith("|") else name


# JSON -----------------------------------------------------------------------------------------------------------------

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


class _JsonGuard:
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

    def feed(self, text: str, kind: _Kind) -> str:
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

    def _begin(self, text: str, at: int, kind: _Kind, visible: list[str]) -> int:
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


def _calls_in(text: str, name: str = "") -> list[str]:
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


# Loops ----------------------------------------------------------------------------------------------------------------


class Loop:
    """Tells when a model goes round in circles: its text ends in one unit of up to 1,000 characters, again and again.

    The repetition must fill 400 characters and hold the unit four times, which no rule, table or refrain does.
    """

    def __init__(self) -> None:
        self._looping = False
        self._tail = ""
        self._length = 0
        self._runs: dict[int, int] = {}  # by how far back the same text stands: since where it is the same
        self._recent: dict[str, int] = {}  # where each short piece of text ended last
        self._older: dict[str, int] = {}

    def feed(self, text: str) -> bool:
        """The next piece in; True once the model is going round in circles."""
        joined = self._tail + text
        start = self._length - len(self._tail)
        for at in range(len(self._tail), len(joined)):
            if self._looping:
                break
            self._read(joined, at, start + at)
        self._tail = joined[-_LONGEST_UNIT - _SHORT_PIECE :]
        self._length += len(text)
        return self._looping

    def _read(self, text: str, at: int, place: int) -> None:
        if self._runs:
            self._runs = {unit: since for unit, since in self._runs.items() if text[at] == text[at - unit]}
            self._looping = any(place - since >= max(400, 4 * unit) for unit, since in self._runs.items())
        if at + 1 < _SHORT_PIECE:
            return
        piece = text[at + 1 - _SHORT_PIECE : at + 1]
        before = self._recent.get(piece, self._older.get(piece))
        if before is not None and (unit := place - before) <= _LONGEST_UNIT:
            self._runs.setdefault(unit, before - _SHORT_PIECE)
        self._recent[piece] = place
        if len(self._recent) > _LONGEST_UNIT:
            self._older, self._recent = self._recent, {}
