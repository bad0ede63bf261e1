"""What may come in and what may leave. Pure functions, and the gate a stream passes on its way to a customer.

In: text without characters that nobody typed, not longer than is read, and with personal secrets masked before a model
sees it. Out: `[n]` only for passages that were retrieved, web addresses only from the cited documents.

Every pattern here meets text from strangers: repeats are bounded or possessive, so that no text takes more than linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from knowledge.readers.encoding import clean

LONGEST_MESSAGE = 8_000
"""Characters of one message that are read; the rest is left out, and the customer is told."""


# What comes in --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """A customer's text, ready for use. `shortened`: only its first part is here."""

    text: str
    shortened: bool = False


def receive(text: str) -> Received:
    """Clean a customer's text and keep its first 8,000 characters, up to the last whole word."""
    cleaned = clean(text).strip()
    return Received(shorten(cleaned, LONGEST_MESSAGE), shortened=len(cleaned) > LONGEST_MESSAGE)


def shorten(text: str, length: int) -> str:
    """At most about `length` characters, cut at a space where there is one, with dots for what is left out."""
    if len(text) <= length:
        return text
    head = text[:length]
    if not text[length].isspace():
        # The last word is not whole. Where words are not separated by spaces it is cut all the same.
        cut = max(head.rfind(" "), head.rfind("\n"))
        head = head[:cut] if cut > length // 2 else head
    return head.rstrip() + " ..."


_INSTRUCTIONS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\s+(?:\w+\s+){0,3}(?:instructions?|prompts?|rules|guidelines)\b"
    r"|^\W{0,3}(?:system|assistant|developer)\s?:"
    r"|\b(?:you\s+are|act\s+as)\s+(?:now\s+)?(?:an?\s+)?(?:ai|language\s+model|chat\s?bot|assistant)\b"
    r"|\b(?:tell|instruct|convince)\s+the\s+(?:customer|user)s?\s+(?:to|that)\b|\bsystem\s+prompt\b",
    re.IGNORECASE | re.MULTILINE,
)


def reads_like_instructions(text: str) -> bool:
    """Whether a text speaks to a machine ("ignore your instructions", "SYSTEM: ...") rather than to a reader."""
    return bool(_INSTRUCTIONS.search(text))


def says_something(text: str) -> bool:
    """Whether there is a letter or a digit in it, in any script."""
    return any(character.isalnum() for character in text)


_PASSWORD = re.compile(
    r"(?<![a-z])(pass ?(?:word|code|phrase|wort)|pwd|kennwort|mot de passe|contraseña|senha|wachtwoord|"
    r"密码|パスワード|(?:api|access|secret|private|client)[ _-]?(?:key|token|secret))"
    r"(\s{0,3}(?:[:=]|\b(?:is|was|ist|lautet|est|es|é|è)\b|是|は)[:=]?\s{0,3}[\"'“`]?)([^\s\"'“”`]{1,200})",
    re.IGNORECASE,
)
_NO_PASSWORD = re.compile(
    r"about|always|being|case|correct|denied|different|essential|expired|forgotten|gone|incorrect|invalid|locked|lost|"
    r"mandatory|missing|never|nowhere|only|optional|please|rejected|required|reset|right|same|secure|short|still|that|"
    r"there|this|unknown|unsafe|weak|what|when|where|which|working|wrong|"
    r"abgelaufen|falsch|nicht|ungültig|incorrecta|inválida|perdu|incorreta",
    re.IGNORECASE,
)
"""What follows "my password is" when it is told of, not told."""
_PIN = re.compile(
    r"\b((?:pin|cvv2?|cvc2?|security code|otp)(?: ?(?:code|number|no\.?))?(?: ?(?:is|ist|:|=))? ?)\d{3,8}\b", re.I
)
_KEY = re.compile(
    r"(?<![\w-])(?:(?:sk|pk|rk)[-_](?=[\w-]{0,80}\d)[\w-]{12,200}|(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abeprs]-|xapp-)"
    r"[\w-]{12,200}|AIza[\w-]{20,80}|A[KS]IA[A-Z0-9]{12,30}|eyJ[\w-]{10,2000}\.[\w-]{10,4000}\.?[\w-]{0,2000})"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:.{0,4000}?-----END [A-Z ]{0,30}KEY-----)?", re.S)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_GAP = r"[ \u00a0.-]{0,2}"
_CARD = re.compile(
    rf"(?<![\w-])(?:[2-6]\d{{3}}(?:{_GAP}\d{{4}}){{3}}(?:{_GAP}\d{{3}})?|3\d{{3}}{_GAP}\d{{6}}{_GAP}\d{{4,5}}|[2-6]\d{{12,18}})(?!\w)"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ \u00a0-]?[A-Z0-9]{4}){2,7}(?:[ \u00a0-]?[A-Z0-9]{1,3})?(?!\w)", re.I)

_PHONE = re.compile(
    r"(?:(?P<plus>\+\d(?:[ \u00a0()./-]{0,2}\d){6,14})|(?<![\w.,/#-])(?:"
    r"00[1-9](?:[ \u00a0()./-]{0,2}\d){7,14}"
    r"|\(\d{2,5}\)[ /-]{0,2}\d{2,8}(?:[ -]\d{2,8}){0,4}"
    r"|0\d{1,5}(?:[ /-]{1,2}\d{2,8}){1,5}"
    r"|0[1-9]\d{8,9}"
    r"|(?:1[ .-])?[2-9]\d{2}(?P<sep>[ .-])\d{3}(?P=sep)\d{4}"
    r"))(?![\w€$£%])"
)
_CALL = re.compile(
    r"\b((?:(?:tele)?phone|mobile|cell|tel|telefon|handy|whatsapp|teléfono|telefone|téléphone|telefono)"
    r"(?: ?(?:number|no|nr|nummer))?(?: ?(?:is|ist|at|on|:|=|\.)){0,2} ?)\d(?:[ ./-]?\d){5,14}(?!\w)",
    re.IGNORECASE,
)
_NO_PHONE_BEFORE = re.compile(
    r"(?:order|booking|reservation|confirmation|reference|ref|invoice|ticket|case|code|error|tracking|transaction|"
    r"bestell\w{0,10}|buchung\w{0,10}|rechnung\w{0,10}|commande|réservation|pedido|reserva|factura|#)"
    r"\W{0,3}(?:(?:number|no|nr|id|is|code|nummer)\W{0,3}){0,2}\Z",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"[0-3]?\d(?P<sep>[/-])[01]?\d(?P=sep)(?:19|20)?\d\d(?!(?P=sep)?\d)|(?:[0-3]?\d )?[01]?\d[ /-](?:19|20)\d\d(?!\d)"
)


def mask(text: str) -> str:
    """Replace card and account numbers, keys, passwords, e-mail addresses and phone numbers by what they are."""
    text = _CARD.sub(lambda match: _masked(match[0], _is_card, "[card number]"), text)
    text = _PRIVATE_KEY.sub("[secret key]", text)
    text = _PASSWORD.sub(_masked_password, text)
    text = _PIN.sub(r"\1[secret]", text)
    text = _KEY.sub("[secret key]", text)
    text = _EMAIL.sub("[e-mail address]", text)
    text = _IBAN.sub(lambda match: _masked(match[0], _is_iban, "[bank account]"), text)
    text = _CALL.sub(r"\1[phone number]", text)
    return _PHONE.sub(_masked_phone, text)


def _masked_password(match: re.Match[str]) -> str:
    value = match[3].rstrip(".,;!?)")
    if len(value) < 4 or _NO_PASSWORD.fullmatch(value) or value.startswith("["):
        return match[0]
    return f"{match[1]}{match[2]}[secret]{match[3][len(value) :]}"


def _masked_phone(match: re.Match[str]) -> str:
    digits = sum(character.isdigit() for character in match[0])
    before = match.string[max(0, match.start() - 40) : match.start()]
    if not 7 <= digits <= 15 or (not match["plus"] and _NO_PHONE_BEFORE.search(before)):
        return match[0]
    if not match["plus"] and (_DATE.match(match[0]) or digits < 9):
        return match[0]
    return "[phone number]"


def _masked(found: str, is_number: Callable[[str], bool], name: str) -> str:
    end = len(found)
    while end > 0:
        if is_number(found[:end]):
            return name + found[end:]
        # What follows, a security code or the next word, may look like one more group of it.
        end = max(found.rfind(gap, 0, end) for gap in " \u00a0.-")
    return found


def _is_card(number: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1)."""
    digits = [int(character) for character in reversed(number) if character.isdigit()]
    total = sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(digits) > 12 and total % 10 == 0


def _is_iban(number: str) -> bool:
    """The check of ISO 13616: letters as numbers from 10, the whole modulo 97."""
    bare = re.sub(r"[\W_]", "", number).upper()
    return len(bare) > 14 and bare.isascii() and int("".join(str(int(c, 36)) for c in bare[4:] + bare[:4])) % 97 == 1


# What leaves ----------------------------------------------------------------------------------------------------------

_IN_URL = r"[^\s<>\"'`|\\^{}\[\]]"
_ADDRESS = re.compile(
    rf"https?://{_IN_URL}{{1,1000}}+"
    rf"|(?<![a-z0-9@])(?:www\.{_IN_URL}{{1,1000}}+|(?:[a-z0-9-]{{1,63}}\.){{1,5}}[a-z]{{2,24}}(?::\d{{1,5}})?/{_IN_URL}{{0,1000}}+)",
    re.IGNORECASE,
)
"""A web address in running text: with a scheme, with www, or a bare domain with a path."""
_TRAILING = ".,;:!?)]}'\"*_»”’。，、；：！？）】」』"  # noqa: RUF001
_TARGET = (
    r"\([ \t]{0,3}(?:<(?P<angled>[^<>\n]{0,1000})>|(?P<target>(?:[^()\s<>\\]|\\.|\([^()\s<>]{0,200}\)){0,1000}+))"
    r"(?:[ \t]{1,3}(?:\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'|\([^()\n]{0,200}\)))?[ \t]{0,3}\)"
)
_DEFINED = r":[ \t]{0,3}<?(?P<defined>[a-z][a-z0-9+.-]{1,30}:[^\s<>]{1,1000}+)>?"
_NUMBERS = (
    r"[ ]{0,2}(?:(?:passages?|sources?)[ ]?)?\^?\d{1,3}(?:[ ]{0,2}(?:[,;&–-]|and)[ ]{0,2}\^?\d{1,3}){0,20}[ ]{0,2}"  # noqa: RUF001
)
_CITATION = re.compile(
    rf"(?:\[\[(?P<double>{_NUMBERS})\]\]|\[(?P<single>{_NUMBERS})\]|［(?P<wide>{_NUMBERS})］"  # noqa: RUF001
    rf"|【(?P<lens>{_NUMBERS})(?:†[^】\n]{{0,80}})?】)(?P<behind>{_TARGET}|{_DEFINED})?",
    re.IGNORECASE,
)
_LINK = re.compile(
    rf"!?\[(?P<words>(?:[^\[\]\n\\]|\\.){{0,300}}+)\](?:{_TARGET}|{_DEFINED}|\[(?P<label>[^\[\]\n]{{0,100}})\])",
    re.IGNORECASE,
)
_DANGLING = re.compile(rf"\](?:{_TARGET}|{_DEFINED})", re.IGNORECASE)
_ANCHOR = re.compile(
    r"<(?:a(?=[\s>])(?P<inside>[^<>]{0,1000})>(?:(?P<words>[^<>\n]{0,300})</a>)?|/a\s?>|img(?=[\s/>])(?P<image>[^<>]{0,1000})>)",
    re.IGNORECASE,
)
_AUTOLINK = re.compile(
    r"<(?P<target>(?:[a-z][a-z0-9+.-]{1,30}:|www\.)[^\s<>|]{1,1000}+)(?:\|(?P<words>[^<>\n]{0,300}))?>", re.IGNORECASE
)
_ATTRIBUTE = re.compile(
    r"(?:^|\s)(?:href|alt)\s{0,3}=\s{0,3}(?:\"([^\"]{0,1000})\"|'([^']{0,1000})'|([^\s\"'>]{1,1000}))", re.IGNORECASE
)
_CODE = re.compile(r"`(?!`)[^`\n]{1,300}`(?!`)|``(?!`)(?:[^`\n]|`(?!`)){1,300}``(?!`)")
_FENCE = re.compile(r"(`{3,20}|~{3,20})[^`~\n]{0,100}(?=\n|\Z)")

_START = re.compile(
    r"[\[\]<`~\\【［]|!(?=\[|\Z)|h(?:ttp|tt?\Z|\Z)|(?<![a-z0-9@])[a-z0-9]",  # noqa: RUF001
    re.IGNORECASE,
)
"""Where something may begin that is not simply passed on."""
_TARGET_BEGUN = (
    r"\([ \t]{0,3}(?:<[^<>\n]{0,1000}>?|(?:[^()\s<>\\]|\\.|\([^()\s<>]{0,200}\)){0,1000}+(?:\\|\([^()\s<>]{0,200})?)"
    r"(?:[ \t]{1,3}(?:[\"'(][^\n]{0,202})?)?[ \t]{0,3}"
)
_BEHIND_BEGUN = rf"(?:{_TARGET_BEGUN}|:[ \t]{{0,3}}<?[^\s<>]{{0,1040}})"
_BRACKET_BEGUN = rf"\[\[?(?:[^\[\]\n\\]|\\.){{0,300}}+(?:\\|\]{{1,2}}(?:{_BEHIND_BEGUN}|\[[^\[\]\n]{{0,100}})?)?"
_BEGUN = {
    "\\": re.compile(r"\\\Z"),
    "!": re.compile(rf"!(?:{_BRACKET_BEGUN})?\Z"),
    "[": re.compile(rf"{_BRACKET_BEGUN}\Z"),
    "]": re.compile(rf"\]{_BEHIND_BEGUN}?\Z"),
    "<": re.compile(
        r"<(?:/?(?:a(?:\s[^<>]{0,1000})?)?|a(?:\s[^<>]{0,1000})?>[^<>\n]{0,300}(?:</?a?)?|img?(?:[\s/][^<>]{0,1000})?"
        r"|[a-z][a-z0-9+.-]{0,30}(?::[^\s<>|]{0,1000}(?:\|[^<>\n]{0,300})?)?"
        r"|www\.[^\s<>|]{0,1000}(?:\|[^<>\n]{0,300})?)\Z",
        re.IGNORECASE,
    ),
    "`": re.compile(r"`+[^`\n]{0,300}`*\Z|``(?!`)(?:[^`\n]|`(?!`)){0,300}`{0,2}\Z"),
    "~": re.compile(r"~{1,2}\Z|~{3,}[^`~\n]{0,100}\Z"),
    "【": re.compile(rf"[【［][^】］\n]{{0,300}}(?:[】］]{_BEHIND_BEGUN}?)?\Z"),  # noqa: RUF001
    "a": re.compile(
        rf"(?:https?(?::(?:/(?:/{_IN_URL}{{0,1000}})?)?)?|www\.{_IN_URL}{{0,1000}}"
        rf"|[a-z0-9-]{{1,63}}(?:\.[a-z0-9-]{{0,63}}){{0,6}}(?::\d{{0,5}})?(?:/{_IN_URL}{{0,1000}})?)\Z",
        re.IGNORECASE,
    ),
}
"""By its first character: what may still become something else when more comes."""
_LONGEST = 2_600
"""Characters. More than any of the patterns above can match, so whatever is longer is decided."""
_VANISHED = None
_ENDS = frozenset(" \t\n.,;:!?)]}。，、；：！？")  # noqa: RUF001


def urls_in(text: str) -> set[str]:
    """The addresses in `text`, without the punctuation behind them: of the web, and to write to or to call."""
    found = {_bare(match[0]) for match in _ADDRESS.finditer(text)}
    for match in _LINK.finditer(text):
        target = _target(match)
        if target.lower().startswith(("http://", "https://", "mailto:", "tel:")):
            found.add(target)
    return found


def _target(match: re.Match[str]) -> str:
    found = match.groupdict()
    return found["angled"] or found["target"] or found["defined"] or ""


def _bare(url: str) -> str:
    """An address without the punctuation of the sentence it stands in."""
    bare = url.rstrip(_TRAILING)
    if url[len(bare) :].startswith(")") and bare.count("(") > bare.count(")"):
        bare += ")"
    return bare


def _key(url: str) -> str:
    """What makes two addresses the same: the host's case, the last slash and a missing scheme do not matter."""
    host, slash, rest = re.sub(r"^https?://", "", url, flags=re.IGNORECASE).partition("/")
    return (host.lower() + slash + rest).rstrip("/")


class Gate:
    """What a draft passes on its way out, piece by piece.

    Citations are renumbered in the order they appear and unknown ones dropped; links to addresses that are not allowed
    lose the address and keep their words; in code only addresses are looked at. `passages` is how many were retrieved:
    `[1]` to `[passages]` are known. `allowed` are the addresses of their documents.

    What comes out does not depend on how the text was cut: a place where something may begin (`_START`) is decided only
    when more text could not change the decision (`_BEGUN`), which is so after a bounded number of characters.
    """

    def __init__(self, passages: int, allowed: Iterable[str]) -> None:
        self._passages = passages
        self._allowed = frozenset(map(_key, allowed))
        self._numbers: dict[int, int] = {}
        self._text = ""
        self._line = ""  # the beginning of the line so far, to know where a fence may stand
        self._last = ""  # the last character that was passed on or dropped
        self._fence = ""
        self._gap = ""  # spaces (and one parenthesis) that go with what follows if that vanishes
        self._vanished = False

    @property
    def cited(self) -> Sequence[int]:
        """The retrieved passages that were cited, as the model numbered them, in the order of their new numbers."""
        return list(self._numbers)

    def feed(self, text: str) -> str:
        """The next piece in, what may be shown out."""
        self._text += text
        return self._pass(final=False)

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        shown = self._pass(final=True) + ("" if self._vanished else self._gap)
        self._gap, self._vanished = "", False
        return shown

    def _pass(self, *, final: bool) -> str:
        # One character before is kept in front, so that the patterns can look back at it.
        text, at = self._last + self._text, len(self._last)
        shown: list[str] = []
        while (found := _START.search(text, at)) is not None:
            start = found.start()
            shown.append(self._say(text[at:start]))
            self._pass_over(text[at:start])
            at = start
            begun = _BEGUN.get(text[at], _BEGUN["【" if text[at] == "［" else "a"])  # noqa: RUF001
            if not final and len(text) - at < _LONGEST and begun.match(text, at):
                break
            end, said = self._read(text, at)
            shown.append(self._say(said))
            self._pass_over(text[at:end])
            at = end
        else:
            shown.append(self._say(text[at:]))
            self._pass_over(text[at:])
            at = len(text)
        self._text = text[at:]
        return "".join(shown)

    def _pass_over(self, text: str) -> None:
        _, newline, line = text.rpartition("\n")
        self._line = line[:20] if newline else (self._line + text)[:20]
        self._last = text[-1:] or self._last

    def _read(self, text: str, at: int) -> tuple[int, str | None]:
        """Where what begins at `at` ends, and what is said instead; `None` when it vanishes."""
        character = text[at]
        if (
            character in "`~"
            and len(self._line) < 20
            and not self._line.strip(" \t>")
            and (fence := self._at_fence(text, at))
        ):
            return fence
        if self._fence:
            # A citation or a link within code is code; an address stays an address.
            return self._read_address(text, at) if character.isalnum() else (at + 1, character)
        if character == "\\":
            return min(at + 2, len(text)), text[at : at + 2]
        if character == "`" and (code := _CODE.match(text, at)):
            inside = self._filtered(code[0])
            return code.end(), inside if inside.strip("` ") else _VANISHED
        if character in "[【［" and (citation := _CITATION.match(text, at)):  # noqa: RUF001
            return self._citation(citation)
        if character == "!" and _CITATION.match(text, at + 1):
            return at + 1, "!"
        if character in "![" and (link := _LINK.match(text, at)):
            return self._link(link)
        if character == "]" and (dangling := _DANGLING.match(text, at)):
            return dangling.end(), dangling[0] if self._allows(_target(dangling)) else "]"
        if character == "<":
            return self._tag(text, at)
        return self._read_address(text, at) if character.isalnum() else (at + 1, character)

    def _read_address(self, text: str, at: int) -> tuple[int, str | None]:
        address = _ADDRESS.match(text, at)
        return self._address(address) if address else (at + 1, text[at])

    def _at_fence(self, text: str, at: int) -> tuple[int, str] | None:
        fence = _FENCE.match(text, at)
        if fence is None:
            return None
        if not self._fence:
            self._fence = fence[1]
        elif fence[1].startswith(self._fence) and fence[0].strip() == fence[1]:
            self._fence = ""
        return fence.end(), fence[0]

    def _citation(self, match: re.Match[str]) -> tuple[int, str | None]:
        behind = _target(match)
        # "[1](https://...)" is a citation that the model made a link of; "[1](only)" is a citation and a remark.
        end = match.end() if behind and re.search(r"[:/#.]", behind) else match.end() - len(match["behind"] or "")
        inside = match["double"] or match["single"] or match["wide"] or match["lens"]
        numbers: list[int] = []
        for first, last in re.findall(r"(\d+)(?: {0,2}[–-] {0,2}\^?(\d+))?", inside):  # noqa: RUF001
            numbers += range(int(first), min(int(last), self._passages) + 1) if last else [int(first)]
        known = [number for number in dict.fromkeys(numbers) if 1 <= number <= self._passages]
        for number in known:
            self._numbers.setdefault(number, len(self._numbers) + 1)
        return end, "".join(f"[{self._numbers[number]}]" for number in known) or _VANISHED

    def _link(self, match: re.Match[str]) -> tuple[int, str | None]:
        label = match["label"]
        if label is not None and re.fullmatch(_NUMBERS, label):
            # "[words][1]": words with a citation behind.
            return match.start("label") - 1, self._words(match["words"])
        words, target = self._words(match["words"]), _target(match)
        if match[0].startswith("!") or not self._allows(target):
            return match.end(), words
        return match.end(), f"[{words or target}]" + match.string[match.end("words") + 1 : match.end()]

    def _tag(self, text: str, at: int) -> tuple[int, str | None]:
        if auto := _AUTOLINK.match(text, at):
            allowed = self._allows(auto["target"])
            return auto.end(), auto[0] if allowed else self._words(auto["words"] or "")
        anchor = _ANCHOR.match(text, at)
        if anchor is None:
            return at + 1, "<"
        attribute = _ATTRIBUTE.search(anchor["inside"] or anchor["image"] or "")
        value = next(filter(None, attribute.groups()), "") if attribute else ""
        if anchor["image"]:
            return anchor.end(), self._words(value)
        words = self._words(anchor["words"] or "")
        return anchor.end(), f"[{words}]({value})" if words and self._allows(value) else words

    def _words(self, words: str) -> str | None:
        """The words of a link, without addresses that are not allowed."""
        return self._filtered(words).strip() or _VANISHED

    def _filtered(self, text: str) -> str:
        """`text` without addresses that are not allowed."""
        parts: list[str] = []
        at = 0
        while (found := _ADDRESS.search(text, at)) is not None:
            end, said = self._address(found)
            parts += [text[at : found.start()], said or ""]
            at = end
        return "".join((*parts, text[at:]))

    def _address(self, match: re.Match[str]) -> tuple[int, str | None]:
        """Where an address ends, and itself if it is allowed. What stands right behind it is no part of it."""
        url = match[0]
        # In Chinese or Japanese the sentence goes on without a space.
        ascii_only = re.split(r"[^!-~]", url, maxsplit=1)[0]
        for part in (url, _bare(url), ascii_only, _bare(ascii_only)):
            if self._allows(part):
                return match.start() + len(part), part
        return match.start() + len(_bare(ascii_only)), _VANISHED

    def _allows(self, url: str) -> bool:
        return bool(url) and _key(url) in self._allowed

    def _say(self, text: str | None) -> str:
        """`text`, behind the spaces that were held back, unless what stood between them has vanished."""
        if text is None:
            self._vanished = True
            return ""
        if not text:
            return ""
        gap = self._gap
        if self._vanished:
            if "(" in gap and text[0] == ")":
                gap, text = "", text[1:]
            elif "(" not in gap and text[0] in _ENDS:
                gap = ""
            self._vanished = False
        text = gap + text
        head, tail = text[:-20], text[-20:]
        body = tail.rstrip(" \t")
        if body.endswith("("):
            body = body[:-1].rstrip(" \t")
        self._gap = tail[len(body) :]
        return head + body
