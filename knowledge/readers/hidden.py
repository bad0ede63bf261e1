"""What a page hides from its readers by style."""

from __future__ import annotations

import re

_INVISIBLE = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|(?:font-size|opacity)\s*:\s*0*\.?0+(?![.\d])"
    r"|(?:left|top|text-indent)\s*:\s*-\d{3})",
    re.IGNORECASE,
)


def is_invisible(style: str) -> bool:
    """Whether an inline CSS style hides the text of its element."""
    return _INVISIBLE.search(style) is not None
