"""From the Markdown of a reply to what Slack shows. Pure.

Slack has no switch against mentions: `<!channel>`, `<@U1>`, `<#C1>` in a text notify or link, wherever they come from. So
nothing leaves in which a `<` could begin one: in mrkdwn every `&`, `<` and `>` of the text is escaped, which is Slack's own
rule for text (docs.slack.dev/messaging/formatting-message-text); in Markdown such a `<` becomes `&lt;`, and within code,
where an entity would be shown as it is written, an invisible U+2060 is put behind it. Bare `@here` notifies nobody unless a
post asks for `link_names` or `parse=full`: do not.

Every pattern here meets text from strangers: repeats are bounded or possessive, so that no text takes more than linear time.
"""

from __future__ import annotations

import html
import re

from connectors.markup import HEADING, INLINE, Fences, Tables, tables_as_text
from connectors.parts import LONGEST_CLUSTER, clusters_end, joins, split

LONGEST_MARKDOWN = 12_000
"""Characters of one `markdown_text`, and of all `markdown` blocks of a message (chat.appendStream, MarkdownBlock)."""
USUAL_MARKDOWN = 11_000
"""Characters of a part before it is made safe, which makes it a little longer."""

# Markdown -------------------------------------------------------------------------------------------------------------

_INVISIBLE = (
    r"\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff9-\ufffb\x00-\x1f\x7f-\x9f"
)
_LINE_BREAK = r"<br[ \t]{0,3}/?>"
_LESS = r"<|&(?:lt;?|\#0{0,5}60;?|\#x0{0,5}3c;?)"
_FILLER = rf"[{_INVISIBLE}*_~`\\\[(]|(?!{_LINE_BREAK})(?:{_LESS})"
_TAGS = (
    r"a|abbr|b|big|blockquote|body|br|button|center|cite|code|col|dd|del|details|div|dl|dt|em|font|footer|form|h[1-6]|head|"
    r"header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|object|ol|p|pre|q|s|samp|script|section|"
    r"select|small|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|title|tr|tt|u|ul|video"
)
_MENTION = re.compile(rf"(?:{_LESS})(?:{_FILLER}){{0,40}}+(?:[!@#&]|{_LINE_BREAK}|{_FILLER}|\Z)", re.IGNORECASE)
"""A `<` that may begin a mention, however it is written, in the next line or behind a lot of nothing too."""
_MENTION_IN_CODE = re.compile(
    rf"(?P<less>{_LESS})(?!\u2060)(?=(?:{_FILLER}){{0,40}}+"
    rf"(?:[@#]|!(?!--|doctype|\[cdata)|[{_INVISIBLE}]|&(?:\#|excl|commat|num)))",
    re.IGNORECASE,
)
_TAG = re.compile(rf"</?(?:{_TAGS})(?=[\s/>])", re.IGNORECASE)
_BREAK = re.compile(rf"{_LINE_BREAK}[ \t]{{0,20}}", re.IGNORECASE)
_ENTITY_OF_LESS = re.compile(r"&(?:lt;?|#0{0,5}60;?|#x0{0,5}3c;?)", re.IGNORECASE)
_TOKEN = re.compile(r"[`<&\[\\]")
_LONGEST_CODE = 1_000
_LONGEST_LINK = 1_400
_CHAIN = rf"(?:{_FILLER}){{0,41}}+(?:&[#\w]{{0,31}}|<?(?:b|br[ \t]{{0,3}}/?))?"
_OPEN = {
    "<": re.compile(rf"<(?:{_CHAIN}|br[ \t]{{0,3}}/?>[ \t]{{0,20}}`{{0,2}}|[^\s<>]{{0,300}})\Z", re.IGNORECASE),
    "&": re.compile(rf"&[#\w]{{0,31}}\Z|(?:{_LESS}){_CHAIN}\Z", re.IGNORECASE),
    "[": re.compile(
        r"\[(?:[^\[\]\n\\]|\\.|\[[^\[\]\n]{0,100}\]){0,300}+"
        r"(?:\\|\[[^\[\]\n]{0,100}|\](?:\((?:[^()\n]|\([^()\n]{0,200}\)){0,1000}+(?:\([^()\n]{0,200})?)?)?\Z"
    ),
    "\\": re.compile(rf"\\\Z|\\<(?:{_CHAIN}|/?[a-z]{{0,20}})\Z", re.IGNORECASE),
}
"""By its first character: what may still become something else when more comes."""
_OPEN_IN_CODE = re.compile(rf"(?:{_LESS}){_CHAIN}(?:!(?:--?|[a-z\[]{{0,8}})?)?\Z|&[#\w]{{0,31}}\Z", re.IGNORECASE)
_LONGEST_CHAIN = 400
_BEGINNING = re.compile(r"[ \t>]{0,40}+(?:[-*+]|\d{1,9}[.)]?)?[ \t]{0,4}(?:~{1,2}|`{1,2})?\Z|[ \t>]{0,40}+\|")
_FENCED = re.compile(r"[ \t>]{0,40}+(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,4}+)?(?:`{3}|~{3})")


def for_markdown(text: str) -> str:
    """Markdown for `markdown_text` and `markdown` blocks: tables as text, no HTML, nothing that notifies or links a person."""
    writing = _Writing()
    return writing.take(text) + writing.end()


def messages(markdown: str, limit: int = USUAL_MARKDOWN) -> list[str]:
    """A finished reply as parts for one message each, ready to send; each has at most 12,000 characters."""
    parts: list[str] = []
    for part in split(markdown, limit):
        shown = for_markdown(part)
        parts += [shown] if len(shown) <= LONGEST_MARKDOWN else split(shown, limit)
    return parts


class _Writing:
    """Markdown in, in pieces of any size; Markdown for Slack out. What comes out does not depend on the pieces.

    `early`: the beginning of a line is written before its end is known. Only tables whose rows begin with a pipe are
    read as such then.
    """

    def __init__(self, *, early: bool = False) -> None:
        self._early = early
        self._tables = Tables(piped=early)
        self._fences = Fences()
        self._line = ""
        self._written = 0  # characters of the line that are out already
        self._begun = False  # whether anything of the line was looked at; then it is no table and no fence
        self._first = True

    def take(self, text: str) -> str:
        """The next piece in, what is decided out."""
        *whole, rest = text.split("\n")
        shown: list[str] = []
        for piece in whole:
            shown.append(self._whole(self._line + piece))
            self._line, self._written, self._begun = "", 0, False
        self._line += rest
        if rest and self._early:
            shown.append(self._beginning())
        return "".join(shown)

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        shown = self._whole(self._line)
        return shown + "".join(map(self._shown, self._tables.rest()))

    def _whole(self, line: str) -> str:
        """The rest of a line that is complete."""
        lines = self._tables.take(line)
        if not self._begun:
            return "".join(map(self._shown, lines))
        rest = line[self._written :]
        return _code(rest) if self._fences.inside(line) else _words(rest)[0]

    def _shown(self, line: str) -> str:
        start = "" if self._first else "\n"
        self._first = False
        return start + (_code(line) if self._fences.inside(line) else _words(line)[0])

    def _beginning(self) -> str:
        """What can be told of a line that is not complete."""
        shown = ""
        if not self._begun:
            if not self._fences.fence and (_BEGINNING.match(self._line) or _FENCED.match(self._line)):
                return ""
            self._begun = True
            shown = "".join(map(self._shown, self._tables.rest())) + ("" if self._first else "\n")
            self._first = False
        text = self._line[self._written :]
        if self._fences.fence:
            decided = _decided_code(text)
            said = _code(text[:decided])
        else:
            said, decided = _words(text, final=False)
        self._written += decided
        return shown + said


def _decided_code(code: str) -> int:
    """Where what may become a mention begins, in code that goes on."""
    end = _settled(code)
    found = _OPEN_IN_CODE.search(code, max(0, end - _LONGEST_CHAIN), end)
    return found.start() if found else end


def _settled(text: str) -> int:
    """Where the last character begins that what follows may change, like an accent on a letter; else the end."""
    end = len(text)
    while end and joins(text[end - 1]) and len(text) - end < LONGEST_CLUSTER:
        end -= 1
    if not end or (text[end - 1].isascii() and not text[end - 1].isalnum() and text[end - 1] not in "#*"):
        return end
    return clusters_end(text, end - 1)


def _code(line: str) -> str:
    return _MENTION_IN_CODE.sub("\\g<less>\u2060", line)


def _words(text: str, *, final: bool = True) -> tuple[str, int]:
    """Text within a line, made safe, and how much of it was decided: all of it if it is `final`."""
    closings = _closings(text)
    shown: list[str] = []
    at = 0
    while found := _TOKEN.search(text, at):
        start = found.start()
        shown.append(text[at:start])
        at = start
        if not final and _is_open(text, at, closings):
            break
        end, said = _piece(text, at, closings)
        shown.append(said)
        at = end
    else:
        end = len(text) if final else max(at, _settled(text))
        shown.append(text[at:end])
        at = end
    return "".join(shown), at


def _closings(text: str) -> dict[int, int]:
    """For each run of backticks that opens inline code, by where it begins, the end of that code."""
    runs = [match.span() for match in re.finditer(r"\\.|`+", text) if match[0][0] == "`"]
    ends: dict[int, int] = {}
    later: dict[int, tuple[int, int]] = {}
    for start, end in reversed(runs):
        closing = later.get(end - start)
        if closing and closing[0] - end <= _LONGEST_CODE:
            ends[start] = closing[1]
        later[end - start] = (start, end)
    return ends


def _is_open(text: str, at: int, closings: dict[int, int]) -> bool:
    """Whether what begins at `at` may become something else when more comes."""
    left = len(text) - at
    if text[at] == "`":
        run = len(text) - at - len(text[at:].lstrip("`")) if left <= 2 * _LONGEST_CODE else 0
        if at in closings:
            return closings[at] == len(text)
        return 0 < left <= _LONGEST_CODE + 2 * run
    return left <= _LONGEST_LINK and bool(_OPEN[text[at]].match(text, at))


def _piece(text: str, at: int, closings: dict[int, int]) -> tuple[int, str]:
    """Where what begins at `at` ends, and what is said instead."""
    if text[at] == "`":
        end = closings.get(at)
        if end:
            return end, _code(text[at:end])
        run = re.compile("`+").match(text, at)
        return (run.end(), run[0]) if run else (at + 1, "`")
    if text[at] == "[":
        return at + 1, "["
    if text[at] == "\\":
        if text[at + 1 : at + 2] == "<" and (_MENTION.match(text, at + 1) or _TAG.match(text, at + 1)):
            return at + 2, "&lt;"
        return at + 2, text[at : at + 2]
    if text[at] == "&":
        less = _ENTITY_OF_LESS.match(text, at)
        known = less and (less[0].endswith(";") or _MENTION.match(text, at))
        return (less.end(), "&lt;") if less and known else (at + 1, "&")
    if pause := _BREAK.match(text, at):
        behind = text[pause.end() : pause.end() + 3]
        # A fence, a table or a quotation must not begin where there was none.
        return (
            (at + 1, "&lt;") if behind[:1] in tuple("|>~") or behind == "```" else (pause.end(), "\n" if behind else "")
        )
    return at + 1, "&lt;" if _MENTION.match(text, at) or _TAG.match(text, at) else "<"


class Appending:
    """A draft that grows, as what to append to a native stream. Each time the whole draft so far comes in.

    The end of a draft that may still change its meaning is held back: a `<`, a link, a table that is not complete.
    """

    def __init__(self) -> None:
        self._writing = _Writing(early=True)
        self._draft = ""
        self._appended: list[str] = []
        self._changed = False

    @property
    def appended(self) -> str:
        """All that was given out to be appended."""
        return "".join(self._appended)

    def take(self, draft: str) -> str:
        """What to append now; nothing if the draft did not grow but change, then or ever after."""
        if self._changed or not draft.startswith(self._draft):
            self._changed = True
            return ""
        piece = self._writing.take(draft[len(self._draft) :])
        self._draft = draft
        self._appended.append(piece)
        return piece

    def finish(self, final: str) -> str | None:
        """The rest to append; `None` when what was appended is not how the final text begins, so it must be replaced."""
        shown, appended = for_markdown(final), self.appended
        if self._changed or not shown.startswith(appended):
            return None
        self._appended.append(shown[len(appended) :])
        return shown[len(appended) :]


# Mrkdwn ---------------------------------------------------------------------------------------------------------------

_ANY = re.compile(
    rf"(?P<bare>https?://[^\s<>\"`|*]{{1,2000}}+)|~~(?=\S)(?P<struck>[^~\n]{{1,1000}}+)(?<=\S)~~|{INLINE.pattern}", re.I
)
_BULLET = re.compile(r"(?P<before>[ \t]{0,40}+)[-*+][ \t]{1,4}(?P<task>\[[ xX]\][ \t])?")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}+|(?:-[ \t]*){3,}+|(?:_[ \t]*){3,}+)\Z")
_QUOTE = re.compile(r"(?: {0,3}>){1,20}+ ?")
_LINKED = re.compile(r"(?:https?://|mailto:|tel:)[^\s<>]", re.IGNORECASE)


def for_mrkdwn(text: str) -> str:
    """Markdown as Slack's mrkdwn, for `text` and for section and context blocks.

    Nothing of the text is a mention: `&`, `<` and `>` are escaped, so only the links made here begin with a `<`. A `*`, `_`
    or `~` that is meant as such stays as it is, because mrkdwn has no escape for it.
    """
    lines: list[str] = []
    fences = Fences()
    for line in tables_as_text(text).split("\n"):
        within = fences.fence
        if not fences.inside(line):
            lines.append(_mrkdwn_line(line))
        elif within and fences.fence:
            lines.append(escape(line))
        else:
            before = re.match(r"[ \t>]*", line)
            lines.append((before[0] if before else "") + "```")
    if fences.fence:
        lines.append("```")
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text as it stands, for mrkdwn: `&`, `<` and `>` escaped, so that nothing in it links or notifies."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link(url: str | None, words: str) -> str:
    """A link in mrkdwn; the words alone when the address does not lead to the web, a mailbox or a telephone."""
    label = escape(" ".join(words.split())).replace("|", "¦")
    if not url or not _LINKED.match(url) or re.search(r"\s", url):
        return label
    address = url.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")
    return f"<{address}|{label}>" if label and label != address else f"<{address}>"


def _mrkdwn_line(line: str) -> str:
    quote = _QUOTE.match(line)
    before = "> " * line[: quote.end()].count(">") if quote else ""
    line = line[quote.end() :] if quote else line
    if heading := HEADING.match(line):
        title = _inline(line[heading.end() :].rstrip().rstrip("#").rstrip(), plainly=True)
        return before + (f"*{title}*" if title.strip() and "*" not in title else title)
    if _RULE.match(line):
        return before + "———"
    if bullet := _BULLET.match(line):
        task = bullet["task"]
        before += bullet["before"] + "• " + ("" if not task else "☐ " if task[1] == " " else "☑ ")
        line = line[bullet.end() :]
    return before + _inline(_BREAK.sub("\n", line))


def _inline(text: str, *, plainly: bool = False) -> str:
    """The words of a line; `plainly`: without bold and the like."""
    shown: list[str] = []
    at = 0
    for found in _ANY.finditer(text):
        shown.append(escape(text[at : found.start()]))
        shown.append(_said(found, plainly=plainly))
        at = found.end()
    return "".join(shown) + escape(text[at:])


_MARKS = {"both": "*_", "strong": "*", "strong2": "*", "stressed": "_", "stressed2": "_", "struck": "~"}


def _said(match: re.Match[str], *, plainly: bool) -> str:
    """What one piece of markup is in mrkdwn. Code is not read further, words are."""
    found = match.groupdict()
    kind = match.lastgroup or ""
    if kind in ("code", "code2"):
        code = escape((found[kind] or "").strip())
        return code if "`" in code or not code else f"`{code}`"
    if kind == "entity":
        return escape(html.unescape(match[0]))
    if kind in ("bare", "escaped"):
        return escape(found[kind] or "")
    if kind == "auto":
        return link(match["auto"], "")
    if kind == "target":
        words = html.unescape(_unmarked(match["words"]))
        return link(None if match[0].startswith("!") else match["target"], words)
    inner = _inline(found[kind] or "", plainly=plainly)
    marks = _MARKS[kind]
    joined = _is_word(match.string[: match.start()][-1:]) or _is_word(match.string[match.end() : match.end() + 1])
    if plainly or joined or any(mark in inner for mark in marks) or not inner.strip():
        return inner
    return marks + inner + marks[::-1]


def _unmarked(words: str) -> str:
    """The words of a link without markup: mrkdwn shows them as they are."""
    return INLINE.sub(lambda match: _unmarked(match[match.lastgroup]) if match.lastgroup in _MARKS else match[0], words)


def _is_word(character: str) -> bool:
    return character.isalnum()
