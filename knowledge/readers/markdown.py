"""Markdown files, with or without front matter."""

from __future__ import annotations

import re

from knowledge.readers import Finding, Reader, Reading, SourceFile
from knowledge.readers.front_matter import split
from knowledge.readers.hidden import quoted, shown_text
from knowledge.readers.markdown_text import rewritten, tidy, without_title

_IMPORTS = re.compile(
    r"""(?:\s*^(?:import\s(?:[\w*{][^;'"]{0,2000}?\sfrom\s+)?(?:"[^"\n]+"|'[^'\n]+')"""
    r"""|export\s(?:const|let|default)\b[^\n]*);?[ \t]*$)+""",
    re.MULTILINE,
)
"""The imports (and one-line exports) that MDX files begin with."""


_REMARK = re.compile(r"^ {0,3}\[(?://|#|comment)\]:[ \t]+(?:#|<>)[ \t]*([(\"'][^\n]*)$", re.MULTILINE | re.IGNORECASE)
"""The definition of a link that no text uses: how people write a remark that is not shown."""


def read(file: SourceFile) -> Reading:
    """The one document of a Markdown file: its front matter, its title and its text, which stays Markdown."""
    hidden: list[Finding] = []
    fields, body = split(shown_text(file, hidden))
    imports = _IMPORTS.match(body)
    body = tidy(body[imports.end() :] if imports else body, hidden)
    body = rewritten(body, _REMARK, lambda remark: _remark(remark, hidden))
    text, title = without_title(body, fields.title)
    return Reading((fields.document(file, text.strip("\n").rstrip(), title or file.default_title),), tuple(hidden))


def _remark(remark: re.Match[str], hidden: list[Finding]) -> str:
    hidden.append(Finding(quoted(remark[1]), "a remark that is not shown"))
    return ""


reader = Reader(suffixes=(".md", ".markdown", ".mdown"), read=read)
