"""What `frontdesk doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`: what was checked, whether it works, and what to type when it does not, or not fully."""

    check: str
    ok: bool
    message: str
    hint: str = ""
