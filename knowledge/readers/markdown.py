"""Markdown files, with or without front matter."""

from __future__ import annotations

import re

from knowledge.documents import Document
from knowledge.readers import Reader, SourceFile
from knowledge.readers.encoding import read_text
from knowledge.readers.front_matter import split
from knowledge.readers.markdown_text import tidy, without_title

_IMPORTS = re.compile(
    r"""(?:\s*^(?:import\s(?:[\w*{][^;'"]{0,2000}?\sfrom\s+)?(?:"[^"\n]+"|'[^'\n]+')"""
    r"""|export\s(?:const|let|default)\b[^\n]*);?[ \t]*$)+""",
    re.MULTILINE,
)
"""The imports (and one-line exports) that MDX files begin with."""


def read(file: SourceFile) -> list[Document]:
    """The one document of a Markdown file: its front matter, its title and its text, which stays Markdown."""
    fields, body = split(read_text(file.content))
    imports = _IMPORTS.match(body)
    body = tidy(body[imports.end() :] if imports else body)
    text, title = without_title(body, fields.title)
    return [fields.document(file, text.strip("\n").rstrip(), title or file.default_title)]


reader = Reader(suffixes=(".md", ".markdown", ".mdown"), read=read)
