"""What every file goes through once its reader is done, whoever wrote the reader."""

from __future__ import annotations

from dataclasses import replace

from knowledge.errors import ReaderError
from knowledge.readers import Finding, Reader, Reading, SourceFile
from knowledge.readers.hidden import without_invisible
from knowledge.readers.instructions import find_instructions

MAX_FINDINGS = 50


def examine(reader: Reader, file: SourceFile) -> Reading:
    """Read `file`, take invisible messages out of its documents, and note what reads like instructions to a machine.

    Raises `ReaderError` as the reader does, and when there is no document in the file.
    """
    reading = reader.read(file)
    if not reading.documents:
        raise ReaderError("it has no text")
    hidden = list(reading.hidden)
    suspicious: list[Finding] = list(reading.suspicious)
    documents = []
    for document in reading.documents:
        title = without_invisible(document.title, hidden)
        text = without_invisible(document.text, hidden)
        if title != document.title or text != document.text:
            document = replace(document, title=title, text=text)
        documents.append(document)
        suspicious += find_instructions(f"{title}\n\n{text}")
    return replace(
        reading,
        documents=tuple(documents),
        hidden=tuple(dict.fromkeys(hidden))[:MAX_FINDINGS],
        suspicious=tuple(dict.fromkeys(suspicious))[:MAX_FINDINGS],
    )
