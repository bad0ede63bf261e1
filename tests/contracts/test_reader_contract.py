"""What every reader must do, whoever wrote it: whatever the bytes, it makes documents or raises `ReaderError`.

A package that adds a reader tests it the same way: give `check` its files, and bytes at random.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import Reader, Reading, SourceFile, load_readers, wire
from knowledge.readers.examination import examine
from tests.knowledge.docxs import docx, item, paragraph, run, table
from tests.knowledge.pdfs import Pdf, text

READERS = load_readers()

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
    "pdf": Pdf([text("Refunds", 72, 720, 20) + text("Take five days.", 72, 690)], title="Refunds").bytes(),
    "docx": docx(
        paragraph("Refunds", style="Heading1"),
        item("a", 1),
        table(("b", "c"), ("d", "e")),
        paragraph(run("f", "<w:vanish/>")),
    ),
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
    """A sentence for people: something, on one line, without the names of Python."""
    return bool(message.strip()) and "\n" not in message and "Error" not in message and "<class" not in message


def check(reader: Reader, suffix: str, content: bytes) -> Reading | None:
    """What the reader makes of some bytes, held to what every reader promises; `None` when it refuses them."""
    file = SourceFile(f"a/b{suffix}", content)
    try:
        reading = reader.read(file)
    except ReaderError as error:
        if not is_plain(error.message):
            raise
        return None
    assert reading.documents
    for document in reading.documents:
        assert isinstance(document, Document)
        assert document.id.strip()
        assert document.title.strip()
        assert document.text.strip()
        assert document.audience == document.audience.strip().lower() != ""
        assert document.source == file.path
        f"{document.id}{document.title}{document.text}{document.tags}".encode()
    assert len({document.id for document in reading.documents}) == len(reading.documents)
    for finding in (*reading.hidden, *reading.suspicious):
        assert finding.why.strip()
        assert is_plain(str(finding)) or finding.text
        assert len(finding.text) < 1000
    examined = examine(reader, file)
    assert wire.from_value(json.loads(json.dumps(wire.as_value(examined))), file.path) == examined
    return reading


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_a_reader_can_be_named_to_another_process(suffix: str) -> None:
    module, _, name = READERS[suffix].entry.partition(":")
    assert module
    assert name


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_nothing_is_no_document(suffix: str) -> None:
    for content in (b"", b"\n", b" \t\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\0"):
        assert check(READERS[suffix], suffix, content) is None


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_what_is_something_else_is_refused(suffix: str) -> None:
    foreign = {
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "a program": b"\x7fELF\x02\x01\x01" + bytes(200),
        "an old Office document": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "random bytes": bytes((71 * n * n + 13 * n) % 256 for n in range(3000)),
    }
    for content in foreign.values():
        assert check(READERS[suffix], suffix, content) is None


@pytest.mark.parametrize("kind", sorted(VALID))
def test_reading_twice_gives_the_same(kind: str) -> None:
    suffix = f".{kind}"
    first, second = (check(READERS[suffix], suffix, VALID[kind]) for _ in range(2))
    assert first is not None
    assert first == second


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_random_bytes(suffix: str) -> None:
    @settings(deadline=None, max_examples=25)
    @given(st.binary(max_size=300))
    def run(content: bytes) -> None:
        check(READERS[suffix], suffix, content)

    run()


@pytest.mark.parametrize("suffix", [".md", ".html", ".txt", ".csv", ".json", ".jsonl"])
def test_random_text(suffix: str) -> None:
    @settings(deadline=None, max_examples=60)
    @given(st.text(max_size=200), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
    def run(content: str, encoding: str) -> None:
        check(READERS[suffix], suffix, content.encode(encoding))

    run()


@pytest.mark.parametrize("suffix", [".md", ".html", ".txt", ".csv", ".json", ".jsonl", ".pdf", ".docx"])
@pytest.mark.parametrize("kind", sorted(VALID))
def test_mutated_files(kind: str, suffix: str) -> None:
    """Valid files of every kind under every name, with pieces cut out of them and put into them."""

    is_own = suffix == f".{kind}"

    @settings(deadline=None, max_examples=40 if is_own else 8, suppress_health_check=[HealthCheck.too_slow])
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
        check(READERS[suffix], suffix, content)

    run()


@pytest.mark.parametrize("kind", ["pdf", "docx"])
def test_every_beginning_of_a_file(kind: str) -> None:
    content = VALID[kind]
    for end in range(0, len(content), max(1, len(content) // 60)):
        assert check(READERS[f".{kind}"], f".{kind}", content[:end]) is None
