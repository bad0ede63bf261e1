"""Whatever the bytes, a reader returns documents or raises `ReaderError`: nothing else escapes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import SourceFile
from knowledge.readers.faq import reader as faq
from knowledge.readers.html import reader as html
from knowledge.readers.markdown import reader as markdown
from knowledge.readers.text import reader as text

READERS = {suffix: reader for reader in (markdown, html, text, faq) for suffix in reader.suffixes}

VALID = {
    "md": b'---\nid: a\ntitle: "Caf\\u00e9 \\ud83d\\ude00"\ntags: [x, y]\nupdated: 2025-01-31\n---\n# H\n\n'
    b"```\n<!-- x -->\n```\n![a](b) <div hidden>c</div>\n",
    "html": "<!doctype html><html lang=de><head><meta charset=utf-8>"
    "<meta name='frontdesk:id' content=a><title>T</title></head>"
    "<body><main><h1>Spät</h1><ol start=2><li>a<pre>b</pre></ol><table><tr><th rowspan=2>c<td colspan=2>d<tr><td>e</table>"
    "<a href='/x?y=1&amp;z'>f</a><p style='display:none'>g</p></main></body></html>".encode(),
    "txt": "Öffnungszeiten\n==============\n\nVon neun bis fünf, 5 €.\n".encode("cp1252"),
    "csv": 'Question;Answer;audience;id\r\n"A ""b""?";"c\nd";internal;\r\nE?;<p>f</p>;;7\r\n'.encode("utf-16"),
    "json": b'{"audience": "internal", "faqs": [{"q": "a", "a": "<p>b</p>", "id": 1.5}, {"name": "c", "text": ["d"]}]}',
    "jsonl": b'{"id": "a", "title": "b", "text": "# b\\n\\nc"}\n{"q": "d \\ud83d", "a": "e"}\n',
}

PIECES = [
    b"---\n",
    b"\n\n",
    b"\r",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"<!--",
    b"-->",
    b"```",
    b"<",
    b">",
    b"&",
    b'"',
    b"'",
    b"{",
    b"}",
]
PIECES += [
    b"[",
    b"]",
    b":",
    b",",
    b";",
    b"\t",
    b"|",
    b"\\",
    b"\xe9",
    b"\x80",
    "\u202e😀".encode(),
    b"null",
    b"1e9",
    b"*a",
    b"&a",
    b"\\ud83d",
    b"</",
]


def is_plain(message: str) -> bool:
    return bool(message.strip()) and "\n" not in message


def check(suffix: str, content: bytes) -> None:
    file = SourceFile(f"a/b{suffix}", content)
    try:
        documents = READERS[suffix].read(file).documents
    except ReaderError as error:
        if not is_plain(error.message):
            raise
        return
    assert documents
    for document in documents:
        assert isinstance(document, Document)
        assert document.id.strip()
        assert document.title.strip()
        assert document.text.strip()
        assert document.audience == document.audience.strip().lower() != ""
        assert document.source == file.path
        f"{document.id}{document.title}{document.text}{document.tags}".encode()
    assert len({document.id for document in documents}) == len(documents)


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_random_bytes(suffix: str) -> None:
    @settings(deadline=None, max_examples=25)
    @given(st.binary(max_size=300))
    def run(content: bytes) -> None:
        check(suffix, content)

    run()


@pytest.mark.parametrize("suffix", [".md", ".html", ".txt", ".csv", ".json", ".jsonl"])
def test_random_text(suffix: str) -> None:
    @settings(deadline=None, max_examples=60)
    @given(st.text(max_size=200), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
    def run(content: str, encoding: str) -> None:
        check(suffix, content.encode(encoding))

    run()


@pytest.mark.parametrize("suffix", [".md", ".html", ".txt", ".csv", ".tsv", ".json", ".jsonl"])
@pytest.mark.parametrize("kind", sorted(VALID))
def test_mutated_files(kind: str, suffix: str) -> None:
    """Valid files of every kind under every name, with pieces cut out of them and put into them."""

    @settings(deadline=None, max_examples=20)
    @given(
        st.lists(
            st.tuples(st.floats(0, 1), st.integers(0, 30), st.sampled_from(PIECES) | st.binary(max_size=4)), max_size=6
        )
    )
    def run(mutations: list[tuple[float, int, bytes]]) -> None:
        content = VALID[kind]
        for where, cut, piece in mutations:
            position = int(where * len(content))
            content = content[:position] + piece + content[position + cut :]
        check(suffix, content)

    run()


@pytest.mark.parametrize("kind", sorted(VALID))
def test_the_valid_files_are_valid(kind: str) -> None:
    assert READERS[f".{kind}"].read(SourceFile(f"x.{kind}", VALID[kind]))
