"""What to keep of a long text that a customer attached, and how to name it: its head, its errors, its end. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.guard import says_something, shorten
from knowledge.readers.encoding import clean

LONGEST_LINE = 600
"""Characters of one line that are kept when a text is cut."""
LONGEST_NAME = 80
_HEAD, _TELLING = 0.2, 0.35
"""Shares of what is kept of a log; the end has the rest."""
_ROUGH = 40
"""Characters that a line about left out lines takes."""
_SUFFIXES = (".log", ".out", ".err", ".trace", ".stacktrace", ".jsonl", ".ndjson", ".syslog", ".dmp")
_LOGGED = re.compile(
    r"^\W{0,3}(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\d\d:\d\d:\d\d|\d\d?[/.]\w{2,3}[/.]\d{2,4}[ :]\d\d:\d\d"
    r"|[A-Z][a-z]{2} +\d\d? \d\d:\d\d:\d\d|(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|FATAL|CRITICAL)\b)"
    r"|^Traceback \(most recent|^\s+at [\w$.<>]{1,200}\(",
)
_TELLS = re.compile(
    r"\b(?:error|errno|exception|fatal|critical|panic|failed|failure|fehler|erreur|errore|denied|refused|unauthorized|forbidden"
    r"|timed out|time-?out|not found|cannot|can't|could not|unable to|invalid|abort(?:ed)?|segfault|segmentation fault)\b"
    r"|\w(?:Error|Exception|Failure)\b|\b[A-Z]{2,6}[-_]\d{2,5}\b|(?:status|code|http)\D{0,6}[45]\d\d\b",
    re.IGNORECASE,
)
_TELLS_MOST = re.compile(
    r"\w(?:Error|Exception)\b|\b(?:fatal|panic|critical)\b|^\s{0,3}(?:error|fatal)\b", re.IGNORECASE
)
_HARMLESS = re.compile(
    r"\b(?:0|no|without|zero) (?:errors?|failures?|warnings?)\b|\berrors?\s?[:=]\s?(?:0|none|null|false)\b", re.I
)
_VARYING = re.compile(r"\d+|0x[0-9a-f]+", re.IGNORECASE)
_STAMP = re.compile(
    r"^[\s\[(]{0,4}(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?[\])]?[\s:|-]{0,4}"
)
_MARKUP = re.compile(r"[^\w .,()+-]+")


def reads_like_log(text: str, name: str = "") -> bool:
    """Whether a text is a log or a trace: by its file's name, or by how its lines begin."""
    if name.lower().endswith(_SUFFIXES):
        return True
    lines = [line[:120] for line in text[:20_000].split("\n") if line.strip()][:60]
    return len(lines) >= 3 and sum(bool(_LOGGED.match(line)) for line in lines) * 3 >= len(lines)


def excerpt(text: str, length: int, *, log: bool) -> str:
    """At most about `length` characters of a text, in its order, with a word on what is left out.

    Of a log that is some of its head, the lines that tell of errors, and more of its end; of other texts the beginning.
    """
    if len(text) <= length:
        return text
    if length < 4 * _ROUGH:
        return shorten(text, max(1, length))
    lines = [_line(line) for line in text.split("\n")]
    if not log or len(lines) < 4:
        told = f"\n[... the rest is left out: {len(text) - length:,} characters of {len(text):,}]"
        return shorten(text, length - len(told) - len(" ...")) + told
    return _with_gaps(lines, _kept(lines, length))


def _line(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else shorten(line, LONGEST_LINE)


def _kept(lines: Sequence[str], length: int) -> set[int]:
    """Which lines of a log to keep."""
    kept: set[int] = set()

    def keep(numbers: Sequence[int] | range, room: int, *, in_a_row: bool) -> int:
        for number in numbers:
            cost = 0 if number in kept else len(lines[number]) + 1 + (0 if in_a_row else _ROUGH)
            if cost > room:
                if in_a_row:
                    break
                continue
            kept.add(number)
            room -= cost
        return room

    head, telling = int(length * _HEAD), int(length * _TELLING)
    # What one does not use, the next may.
    left = keep(range(len(lines)), head, in_a_row=True)
    left = keep(_telling(lines), left + telling, in_a_row=False)
    keep(range(len(lines) - 1, -1, -1), left + length - head - telling - 2 * _ROUGH, in_a_row=True)
    return kept


def _with_gaps(lines: Sequence[str], kept: set[int]) -> str:
    written: list[str] = []
    last = -1
    for number in sorted(kept):
        if gap := number - last - 1:
            written.append(f"[... {gap:,} lines left out]")
        written.append(lines[number])
        last = number
    if gap := len(lines) - last - 1:
        written.append(f"[... {gap:,} lines left out]")
    return "\n".join(written)


def _telling(lines: Sequence[str]) -> list[int]:
    """The numbers of lines that tell of an error, each kind once, the most telling and then the latest first."""
    seen: set[str] = set()
    found: list[tuple[bool, int]] = []
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if not _TELLS.search(line) or _HARMLESS.search(line):
            continue
        kind = _VARYING.sub("#", _STAMP.sub("", line))[:120]
        if kind not in seen:
            seen.add(kind)
            found.append((not _TELLS_MOST.search(line), number))
    return [number for _, number in sorted(found, key=lambda one: one[0])]


def telling_lines(text: str, *, most: int = 3, length: int = 300) -> str:
    """What to look a text up by: the lines that tell of errors; its first words when there are none."""
    lines = [_line(line) for line in text.split("\n")]
    chosen = [_STAMP.sub("", lines[number]).strip() for number in _telling(lines)[:most]]
    if not chosen:
        chosen = [line.strip() for line in lines if says_something(line)][:most]
    return shorten("\n".join(chosen), length)


def plain_name(name: str) -> str:
    """A file's name that can stand in a sentence or a prompt: one line, no markup, at most 80 characters."""
    plain = " ".join(_MARKUP.sub(" ", clean(name[:1_000]).replace("\n", " ")).split())
    if len(plain) > LONGEST_NAME:
        _, dot, suffix = plain.rpartition(".")
        end = f".{suffix}" if dot and len(suffix) <= 10 else ""
        plain = f"{plain[: LONGEST_NAME - len(end) - 1].rstrip()}…{end}"
    return plain if says_something(plain) else "a file"
