"""The words within a line as Discord shows them. Pure.

What only Discord would read as markup is escaped. Nothing leaves that looks like a mention, a command, an emoji of a server
or an invitation: an invisible U+2060 stands in it. `allowed_mentions` alone keeps from notifying; this keeps from looking as
if. Addresses stand in `<>`, so that nothing is previewed.

As in `connectors.markup`, no text takes more than linear time.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from urllib.parse import quote

from connectors.markup import INLINE
from connectors.parts import clusters_end

LONGEST_ADDRESS = 1_500
JOINER = "\u2060"

_DROPPED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LONE = re.compile("[\ud800-\udfff]")

MARKUP = re.compile(
    r"(?P<bare>https?://[^\s<>\"`|*]{1,2000}+)|(?P<pause><br[ \t]{0,3}/?>[ \t]{0,20})"
    r"|```(?!`)(?P<code3>(?:[^`\n]|`{1,2}(?!`)){1,1000}+)```(?!`)"
    rf"|~~(?=\S)(?P<struck>[^~\n]{{1,1000}}+)(?<=\S)~~|{INLINE.pattern}",
    re.IGNORECASE,
)
_BARE = re.compile(r"https?://[^\s<>\"`|*\\]{1,2000}+", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s/?#@:]", re.IGNORECASE)
_INVITATION = re.compile(
    r"(?:https?://)?(?:www\.)?(?:discord(?:app)?\.(?:gg|com/invite)|discord\.(?:new|gift|me|li))/(?=[\w-])",
    re.IGNORECASE,
)
_LIKE_ADDRESS = re.compile(
    r"://|\bwww\.|[\w-]\.[a-z]{2,24}/|[\w-]\.(?:com|net|org|info|biz|io|co|gg|app|dev|ai|me|eu|de|uk|us|fr|ru|cn|example)\b",
    re.IGNORECASE,
)
_GUARDED = re.compile(
    r"(?P<kept>\\[\\`]|``(?!`)(?:[^`\n]|`(?!`))++``|`[^`\n]++`|<https?://[^\s<>]++>)"
    r"|@(?=everyone|here)"
    r"|<(?=[@#/:!&$+]|(?:a|t|id|sound):|[^\s<>]{0,64}:/|[^\s<>@]{1,64}@)"
    r"|(?:discord(?:app)?\.(?:gg|com/invite)|discord\.(?:new|gift|me|li))/(?=[\w-])",
    re.IGNORECASE,
)
"""What is left as it is, and what must not be followed by what follows it."""
_ESCAPED = re.compile(
    r"`|\\(?![0-9A-Za-z\s])|(?<!\s)\*|\*(?!\s)|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|~(?=~)|(?<=~)~|\|(?=\|)|(?<=\|)\||(?<=\])\("
)
_BEGINS = re.compile(r"(?P<space>[ \t]*+)(?:(?P<number>\d{1,9}+)(?=\.(?:\s|\Z))|(?=[#>]|[-+*](?:\s|\Z)|-#))")
_EMOJI = re.compile(r":(?=[\w+~-]{1,40}:)")
_STRONG = ("strong", "strong2")
_STRESSED = ("stressed", "stressed2")


def units(text: str) -> int:
    """The length of a text in UTF-16: an emoji counts two."""
    return len(text) + sum(character > "\uffff" for character in text) if not text.isascii() else len(text)


def shortened(text: str, limit: int) -> str:
    """At most `limit` units, with "…" for what is left out."""
    if units(text) <= limit:
        return text
    end = min(len(text), limit)
    while end and units(text[:end]) > limit - 1:
        end -= max(1, (units(text[:end]) - limit) // 2)
    return text[: clusters_end(text, end) or end].rstrip() + "…"


def escape(text: str) -> str:
    """Plain words, such as a name or a title, to be shown exactly as they are, in one line."""
    shown = _literal(_plain(" ".join(clean(text).split())), start=True, brackets=True)
    return guarded(_EMOJI.sub(r"\\:", shown))


def link(url: str | None, words: str) -> str:
    """A link that shows plain words; the words alone when the address does not lead to the web."""
    shown = " ".join(clean(words).split())
    address = _address(url or "")
    if not address:
        return escape(shown)
    return guarded(_linked(address, shown, _literal(shown, start=False, brackets=True)))


# Words ----------------------------------------------------------------------------------------------------------------


class _Words:
    """What stands in a line, piece by piece. Text is escaped once all of it is known that hangs together."""

    def __init__(self, *, start: bool, brackets: bool) -> None:
        self._shown: list[str] = []
        self._run = ""
        self._start = start
        self._brackets = brackets

    @property
    def start(self) -> bool:
        """Whether what comes next begins a line."""
        return self._start and not self._run.strip()

    def text(self, text: str) -> None:
        """Words as they are meant."""
        self._run += text

    def made(self, markup: str, *, start: bool = False) -> None:
        """Something that Discord is to read as markup. `start`: a line begins behind it."""
        self._flush()
        self._put(markup)
        self._start = start or (self._start and not markup)

    def end(self) -> str:
        """All of it."""
        self._flush()
        return "".join(self._shown)

    def _flush(self) -> None:
        if self._run:
            self._put(_literal(self._run, start=self._start, brackets=self._brackets))
            self._start = self.start
            self._run = ""

    def _put(self, piece: str) -> None:
        last = self._shown[-1][-1:] if self._shown else ""
        if piece and last == piece[0] and last in "*_~|`":
            # Side by side they would be one mark.
            self._shown.append(JOINER)
        if piece:
            self._shown.append(piece)


def inline(
    text: str,
    *,
    start: bool = True,
    pause: str = "\n",
    bold: bool = False,
    stressed: bool = False,
    brackets: bool = False,
) -> str:
    """The words of a line with what marks them. `pause` stands for a line break, `bold` and `stressed` tell what they are in."""
    words = _Words(start=start, brackets=brackets)
    at = 0
    for found in MARKUP.finditer(text):
        words.text(text[at : found.start()])
        at = found.end()
        kind = found.lastgroup or ""
        if kind in _PIECES:
            _PIECES[kind](words, found)
        elif kind == "pause":
            words.made(pause, start="\n" in pause)
        else:
            strong = kind == "both" or kind in _STRONG
            inner = inline(
                found[kind],
                start=words.start,
                pause=pause,
                bold=bold or strong,
                stressed=stressed or kind == "both" or kind in _STRESSED,
                brackets=brackets,
            )
            words.made(_marked(inner, kind, bold=bold, stressed=stressed))
    words.text(text[at:])
    return words.end()


def _marked(inner: str, kind: str, *, bold: bool, stressed: bool) -> str:
    """Words that are stressed, bold or struck through; plain where they are that already or Discord could not tell."""
    if not inner.strip() or "\n" in inner:
        return inner
    if kind == "struck":
        return f"~~{inner}~~"
    if (kind in _STRESSED or kind == "both") and not stressed:
        # Discord knows no escape within `*`.
        mark = "*" if "*" not in inner else "_" if "_" not in inner else ""
        inner = mark + inner + mark
    return f"**{inner}**" if (kind in _STRONG or kind == "both") and not bold else inner


def _say_code(words: _Words, found: re.Match[str]) -> None:
    code = (found[found.lastgroup or 0] or "").strip().replace("``", f"`{JOINER}`")
    if not code.strip("`" + JOINER):
        words.text(code.replace(JOINER, ""))
    else:
        words.made(f"`` {code} ``" if "`" in code else f"`{code}`")


def _say_escaped(words: _Words, found: re.Match[str]) -> None:
    words.made(found[0])


def _say_entity(words: _Words, found: re.Match[str]) -> None:
    words.text(clean(html.unescape(found[0])))


def _say_bare(words: _Words, found: re.Match[str]) -> None:
    address, behind = _ended(found[0])
    words.made(f"<{_address(address)}>") if _address(address) else words.text(_plain(address))
    words.text(behind)


def _say_auto(words: _Words, found: re.Match[str]) -> None:
    if address := _address(found["auto"]):
        words.made(f"<{address}>")
    else:
        words.text(_plain(_contact(found["auto"])))


def _say_link(words: _Words, found: re.Match[str]) -> None:
    target = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", html.unescape(found["target"]))
    shown = clean(html.unescape(INLINE.sub(_unmarked, found["words"])))
    if address := _address(target):
        words.made(_linked(address, shown, inline(found["words"], start=False, pause=" ", brackets=True)))
        return
    words.text(_plain(shown))
    contact = _contact(target)
    if contact != target and contact not in shown:
        words.text(f" ({contact})" if shown.strip() else contact)
    elif _INVITATION.match(target) and not shown.strip():
        words.text(_plain(target))


_PIECES: dict[str, Callable[[_Words, re.Match[str]], None]] = {
    **{"code": _say_code, "code2": _say_code, "code3": _say_code, "escaped": _say_escaped, "entity": _say_entity},
    **{"bare": _say_bare, "auto": _say_auto, "target": _say_link},
}


def _unmarked(match: re.Match[str]) -> str:
    """The words of a piece of markup, without it."""
    kind = match.lastgroup or ""
    return match[0] if kind in ("target", "auto", "entity") else match[kind]


def _linked(address: str, shown: str, words: str) -> str:
    """A link with words, of which `shown` is what is read. No words that look like another address than they lead to."""
    if not shown.strip() or _same(shown, address):
        return f"<{address}>"
    if _LIKE_ADDRESS.search(shown):
        return f"{_literal(_plain(shown), start=False, brackets=True)} (<{address}>)"
    return f"[{words}](<{quote(address, safe=_KEPT_IN_LINKS)}>)"


def _same(shown: str, address: str) -> bool:
    first, second = (
        re.sub(r"\A(?:https?://)?(?:www\.)?", "", text.strip().lower()).rstrip("/") for text in (shown, address)
    )
    return first == second


def _contact(address: str) -> str:
    """A mailbox or telephone number without what makes it a link."""
    return re.sub(r"\A(?:mailto|tel):", "", address, flags=re.IGNORECASE)


_KEPT = "%!#$&'()*+,/:;=?@[]~|"
_KEPT_IN_LINKS = "%!#$&'+,/:;=?@~"


def _address(url: str) -> str:
    """An address of the web as it can stand in `<>`; empty for any other, for one that is too long, and for an invitation."""
    if not _ADDRESS.match(url) or _INVITATION.match(url) or re.search(r"\s", url):
        return ""
    address = quote(_LONE.sub("", url), safe=_KEPT) if not url.isascii() or re.search(r"[<>\"`\\^{}]", url) else url
    return re.sub("@(?=everyone|here)", "%40", address) if len(address) <= LONGEST_ADDRESS else ""


def _plain(text: str) -> str:
    """Text in which no address is one for Discord."""
    return re.sub(
        r"(?<=\w):(?=//)", f":{JOINER}", _INVITATION.sub(lambda found: found[0].partition("://")[2] or found[0], text)
    )


def _ended(address: str) -> tuple[str, str]:
    """An address in a text, and what of it belongs to the sentence."""
    end = len(address)
    while end and (address[end - 1] in ".,;:!?'_~" or (address[end - 1] in ")]" and _unopened(address[:end]))):
        end -= 1
    return address[:end], address[end:]


def _unopened(address: str) -> bool:
    closing = address[-1]
    return address.count(closing) > address.count("(" if closing == ")" else "[")


def _literal(text: str, *, start: bool, brackets: bool) -> str:
    """Words as Discord shows them unchanged. `brackets`: they stand in a link."""
    shown: list[str] = []
    at = 0
    for found in _BARE.finditer(text):
        address, _ = _ended(found[0])
        if known := _address(address):
            shown += (_escaped(text[at : found.start()], start=start and not at, brackets=brackets), f"<{known}>")
            at = found.start() + len(address)
    return "".join(shown) + _escaped(_plain(text[at:]), start=start and not at, brackets=brackets)


def _escaped(text: str, *, start: bool, brackets: bool) -> str:
    begins = _BEGINS.match(text) if start else None
    head = text[: begins.end()] if begins else ""
    rest = _ESCAPED.sub(r"\\\g<0>", text[len(head) :])
    if brackets:
        rest = re.sub(r"(?<!\\)[\[\]]", r"\\\g<0>", rest)
    return head + ("\\" if begins and not rest.startswith("\\") else "") + rest


def guarded(text: str) -> str:
    """Text for Discord in which nothing mentions or invites."""
    return _GUARDED.sub(lambda found: found[0] if found["kept"] else found[0] + JOINER, text)


def clean(text: str) -> str:
    """Text without what Discord would not take."""
    return _LONE.sub("\ufffd", _DROPPED.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
