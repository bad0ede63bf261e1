"""Makes a keyword index in a process of its own: `python -m knowledge.keywords.child FOLDER`.

It is long work in Python for many passages, and whoever answers customers would stand still beside it. It reads frames with
ids and texts, and one with the language at the end.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from knowledge.documents import IndexEntry
from knowledge.index import keywords_of
from knowledge.vectors.frames import read_frame


def main() -> None:
    """Read, build, save."""
    with suppress(OSError, AttributeError):
        os.nice(5)
    entries: list[IndexEntry] = []
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        facts, _ = frame
        entries += (IndexEntry(one, text, "", "") for one, text in zip(facts["ids"], facts["texts"], strict=True))
        if (language := facts.get("language")) is not None:
            keywords_of(entries, language).save(Path(sys.argv[1]))
            return
    # Whoever asked is gone.
    sys.exit(1)


if __name__ == "__main__":
    main()
