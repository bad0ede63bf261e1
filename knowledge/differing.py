"""What two revisions of a document say differently, as a unified diff of their files."""

from __future__ import annotations

import difflib

from knowledge import article
from knowledge.documents import Stored


def differences(old: Stored, new: Stored) -> list[str]:
    """The lines of the diff, without line ends; none when the two say the same."""
    before, after = (article.written(one.document).splitlines() for one in (old, new))
    return list(difflib.unified_diff(before, after, _named(old), _named(new), lineterm=""))


def _named(one: Stored) -> str:
    return f"{one.document.id}, revision {one.revision} ({one.author}, {one.at:%Y-%m-%d %H:%M} UTC)"
