"""What the jail costs: the same files read in this process and in a child, and bombs until they are refused.

python -m benchmarks.reading [--files 10000]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Mapping

from knowledge.errors import ReaderError
from knowledge.readers import Reader, SourceFile, load_readers
from knowledge.readers.examination import examine
from knowledge.readers.jail import Jail
from tests.knowledge.docxs import docx, item, paragraph, table
from tests.knowledge.pdfs import Pdf, text
from tests.knowledge.pdfs import paragraph as lines
from tests.knowledge.test_document_faults import BOMBS

SENTENCE = "You can cancel a booking free of charge until five days before check-in, and half of it later. "


def markdown(number: int) -> bytes:
    return (f"# Article {number}\n\n{SENTENCE * 6}\n\n## Later\n\n- one\n- two\n\n{SENTENCE * 6}\n").encode()


def page(number: int) -> bytes:
    body = f"<h1>Article {number}</h1><p>{SENTENCE * 6}</p><ul><li>one<li>two</ul><h2>Later</h2><p>{SENTENCE * 6}</p>"
    return f"<html><body><nav>Menu</nav><main>{body}</main><footer>Imprint</footer></body></html>".encode()


def pdf(number: int) -> bytes:
    program = f"{text(f'Article {number}', 72, 740, 20)}\n{lines([SENTENCE] * 30, 700)}"
    return Pdf([program] * 3, packed=True).bytes()


def word(number: int) -> bytes:
    blocks = [
        paragraph(f"Article {number}", style="Title"),
        *[paragraph(SENTENCE * 6) for _ in range(10)],
        item("one", 1),
    ]
    return docx(*blocks, table(("a", "b"), ("c", "d")))


KINDS: dict[str, tuple[Callable[[int], bytes], int]] = {
    ".md": (markdown, 1),
    ".html": (page, 4),
    ".pdf": (pdf, 20),
    ".docx": (word, 20),
}


def each(files: list[SourceFile], read: Callable[[SourceFile], object]) -> list[float]:
    """Milliseconds for each file."""
    took = []
    for file in files:
        started = time.perf_counter()
        read(file)
        took.append((time.perf_counter() - started) * 1000)
    return took


def processor() -> float:
    """Milliseconds of processor time that this process and its ended children have used."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return (own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime) * 1000


def compare(suffix: str, files: list[SourceFile], readers: Mapping[str, Reader]) -> None:
    """Read the same files here and in a child, and print what each took."""
    examine(readers[suffix], files[0])
    began = processor()
    here = each(files, lambda file: examine(readers[suffix], file))
    worked_here = (processor() - began) / len(files)
    began = processor()
    with Jail(readers) as jail:
        jail.read(files[0])
        there = each(files, jail.read)
    worked_there = (processor() - began) / len(files)
    print(f"{suffix}: {len(files)} files of {len(files[0].content):,} bytes")
    print(f"    here:   p50 {statistics.median(here):.2f} ms, processor time {worked_here:.2f} ms a file")
    print(f"    jailed: p50 {statistics.median(there):.2f} ms, processor time {worked_there:.2f} ms a file")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    count = parser.parse_args().files
    readers = load_readers()
    started = time.perf_counter()
    with Jail(readers) as jail:
        jail.read(SourceFile("a.md", b"Words."))
        print(f"first file, with the start of its child: {(time.perf_counter() - started) * 1000:.0f} ms")
    for suffix, (make, share) in KINDS.items():
        compare(suffix, [SourceFile(f"a/{number}{suffix}", make(number)) for number in range(count // share)], readers)
    with Jail(readers) as jail:
        for name, make_bomb in BOMBS.items():
            content = make_bomb()
            started = time.perf_counter()
            try:
                jail.read(SourceFile(name, content))
                outcome = "read"
            except ReaderError as error:
                outcome = error.message
            print(f"{name}: {len(content) // 1024} KB, {time.perf_counter() - started:.1f} s: {outcome}")


if __name__ == "__main__":
    main()
