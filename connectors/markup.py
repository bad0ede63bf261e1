"""From Markdown to what a place can show. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from agent.messages import Citation

_FENCE = re.compile(r"[ \t>]{0,40}+(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,4}+)?(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]+|$)")
_INLINE = re.compile(
    r"`(?!`)(?P<code>[^`\n]{1,1000})`(?!`)|``(?!`)(?P<code2>(?:[^`\n]|`(?!`)){1,1000}+)``(?!`)"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|!?\[(?P<words>(?:[^\[\]\n\\]|\\.|\[[^\[\]\n]{0,100}\](?!\()){0,1000}+)\]"
    r"\([ \t]{0,3}<?(?P<target>(?:[^()\s<>]|\([^()\s<>]{0,200}\)){0,2000}+)>?(?:[ \t]{1,3}[\"'][^\"'\n]{0,300}[\"'])?[ \t]{0,3}\)"
    r"|<(?P<auto>(?:https?|mailto|tel):[^\s<>]{1,2000})>"
    r"|\*{3}(?=[^\s*])(?P<both>[^*\n]{1,1000}+)(?<=\S)\*{3}(?!\*)"
    r"|\*\*(?=[^\s*])(?P<strong>(?:[^*\n]|\*(?!\*)){1,1000}+)(?<=\S)\*\*(?!\*)"
    r"|(?<![\w*])\*(?=[^\s*])(?P<stressed>[^*\n]{1,1000}+)(?<=\S)\*(?![\w*])"
    r"|(?<!\w)__(?=\S)(?P<strong2>(?:[^_\n]|_(?!_)){1,1000}+)(?<=\S)__(?!\w)"
    r"|(?<!\w)_(?=[^\s_])(?P<stressed2>[^_\n]{1,1000}+)(?<=\S)_(?!\w)"
    r"|(?P<entity>&(?:\#\d{1,7}|\#x[\da-f]{1,6}|[a-z][a-z\d]{1,30});)",
    re.IGNORECASE,
)


def plain(markdown: str) -> str:
    """Markdown as text that reads well without rendering: `[words](address)` becomes `words (address)`.

    Lists, tables and code blocks stay as they are written; nothing inside a fenced code block is touched.
    """
    lines: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        found = _FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and not line[found.end() :].strip():
                fence = ""
        elif found and not (found[1][0] == "`" and "`" in line[found.end() :]):
            fence = found[1]
        else:
            heading = _HEADING.match(line)
            line = _inline(line[heading.end() :].rstrip().rstrip("#").rstrip() if heading else line)
        lines.append(line)
    return "\n".join(lines)


def _inline(text: str) -> str:
    return _INLINE.sub(_said, text)


def _said(match: re.Match[str]) -> str:
    """What one piece of markup reads as. Code is not read further, words are."""
    found = match.groupdict()
    if found["code"] or found["code2"]:
        return (found["code"] or match["code2"]).strip()
    if found["escaped"] or found["auto"]:
        return found["escaped"] or re.sub(r"^(?:mailto|tel):", "", match["auto"], flags=re.IGNORECASE)
    if found["entity"]:
        return html.unescape(match["entity"])
    if found["words"] is None:
        return _inline(
            found["both"] or found["strong"] or found["strong2"] or found["stressed"] or found["stressed2"] or ""
        )
    words, target = _inline(match["words"]), match["target"]
    address = re.sub(r"^(?:mailto|tel):", "", target, flags=re.IGNORECASE)
    # A picture is its description; an address that leads nowhere from here is not worth its room.
    if match[0].startswith("!") or not re.match(r"(?:https?|mailto|tel):", target, re.IGNORECASE):
        return words
    return address if words.strip() in ("", target, address) else f"{words} ({address})"


def source_lines(citations: Sequence[Citation]) -> list[str]:
    """One line for each citation: number, title, address (or the document's id), date."""
    return [
        f"[{citation.n}] {citation.title}"
        + f" - {citation.url or citation.document}"
        + (f" (updated {citation.updated})" if citation.updated else "")
        for citation in citations
    ]
