"""What a model sends that no customer may see, taken out of its text as it comes. Pure.

Thinking, tool calls, special tokens of chat templates, and JSON in place of an answer all reach us as text when a server has
no parser for its model. What comes out does not depend on how the text was cut: a place is decided only when more text could
not change the decision. What is in code (`<think>`) is talked about, not used, and stays.
"""

from __future__ import annotations

import re
from collections.abc import Set

from agent.errors import ModelBroken
from agent.models.leaked_json import JsonGuard, Kind, calls_in

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
        self._guard = JsonGuard(self._found)
        self._pieces: list[tuple[str, Kind, list[str]]] = []  # what was let through, and calls
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

    def _say(self, text: str, kind: Kind = "text") -> None:
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
            calls = calls_in("".join(self._raw) + tag, self._recipient.removeprefix("functions."))
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
        self._guard = JsonGuard(self._found)


def _key(tag: str) -> str:
    """The bare name of a tag, with `/` before it if it closes, and a bar where it has one."""
    plain = tag.lower().replace("｜", "|").replace("▁", "_").replace("|dsml|", "")  # noqa: RUF001
    name = re.split(r"[\s=]", plain.strip("<>[]◁▷"))[0]
    return name.rstrip("|") if name.startswith("|") else name
