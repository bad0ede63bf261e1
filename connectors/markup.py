"""From Markdown to what a place can show. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.messages import Citation

_LINK = re.compile(r"\[([^\[\]\n]+)\]\((https?://[^\s()]+(?:\([^\s()]*\)[^\s()]*)?)\)")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


def plain(markdown: str) -> str:
    """Markdown as text that reads well without rendering: `[words](address)` becomes `words (address)`.

    Lists, tables and code blocks stay as they are written; nothing inside a fenced code block is touched.
    """
    parts = re.split(r"(^```.*?^```[^\n]*$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _plain(part) for part in parts)


def _plain(text: str) -> str:
    text = _LINK.sub(lambda match: match[2] if match[1] == match[2] else f"{match[1]} ({match[2]})", text)
    text = _STRONG.sub(r"\2", text)
    text = _CODE.sub(r"\1", text)
    return _HEADING.sub(r"\1", text)


def source_lines(citations: Sequence[Citation]) -> list[str]:
    """One line for each citation: number, title, address (or the document's id), date."""
    return [
        f"[{citation.n}] {citation.title}"
        + f" - {citation.url or citation.document}"
        + (f" (updated {citation.updated})" if citation.updated else "")
        for citation in citations
    ]
