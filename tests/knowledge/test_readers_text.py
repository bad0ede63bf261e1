"""Plain text files."""

from __future__ import annotations

from datetime import date

import pytest

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import SourceFile
from knowledge.readers.text import reader


def read(text: str | bytes, path: str = "desk/opening_hours.txt") -> Document:
    [document] = reader.read(SourceFile(path, text if isinstance(text, bytes) else text.encode())).documents
    return document


@pytest.mark.parametrize(
    ("written", "title", "text"),
    [
        ("Opening times\n\nWe open at nine.\n", "Opening times", "We open at nine."),
        ("\n\nOpening times\n=============\nWe open at nine.", "Opening times", "We open at nine."),
        ("Opening times\n---\n\nWe open.\n\nAnd close.", "Opening times", "We open.\n\nAnd close."),
        ("When do you open?\n\nAt nine.", "When do you open?", "At nine."),
        ("# Opening times\n\nWe open.", "Opening times", "We open."),
        ("We open at nine.", "Opening hours", "We open at nine."),
        ("We open at nine\nand close at five.", "Opening hours", "We open at nine\nand close at five."),
        ("Dear guest,\n\nwe open at nine.", "Opening hours", "Dear guest,\n\nwe open at nine."),
        ("- nine\n\n- five", "Opening hours", "- nine\n\n- five"),
        ("1. nine\n\n2. five", "Opening hours", "1. nine\n\n2. five"),
        ("All there is\n\n", "Opening hours", "All there is"),
        ("x" * 101 + "\n\nWe open.", "Opening hours", "x" * 101 + "\n\nWe open."),
        (
            "*stars* <tags> `ticks` # stay\n  indented too  \nas is",
            "Opening hours",
            "*stars* <tags> `ticks` # stay\n  indented too  \nas is",
        ),
    ],
)
def test_title_and_text(written: str, title: str, text: str) -> None:
    document = read(written)
    assert (document.title, document.text) == (title, text)


def test_front_matter() -> None:
    document = read("---\nid: hours\ntitle: Hours\naudience: internal\nupdated: 2025-01-31\n---\nWe open at nine.\n")
    assert document == Document(
        "hours", "Hours", "We open at nine.", "desk/opening_hours.txt", audience="internal", updated=date(2025, 1, 31)
    )


def test_a_title_in_front_matter_leaves_another_first_line_in_the_text() -> None:
    assert read("---\ntitle: Hours\n---\nOpening times\n\nNine.").text == "Opening times\n\nNine."
    assert read("---\ntitle: Hours\n---\nHours\n\nNine.").text == "Nine."


def test_windows_text() -> None:
    assert read("Gebühren\r\n\r\nEin Café kostet 5 €.\r\n".encode("cp1252")).text == "Ein Café kostet 5 €."


@pytest.mark.parametrize("written", ["", " \n\t\n", "---\nid: a\n---\n", "\u200b\u200b", "...\n---\n"])
def test_no_text(written: str) -> None:
    with pytest.raises(ReaderError, match=r"^it has no text$"):
        read(written)


def test_binary_content_is_refused() -> None:
    with pytest.raises(ReaderError, match="this is not a text file"):
        read(b"\x00\x01\x02")
