"""What a row of the table of settings is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PREFIX = "FRONTDESK_"
_PORT = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
ADDRESS = rf"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):{_PORT}"
"""HOST:PORT; an IPv6 host in brackets."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `kind` is str, int, float, bool, Path or tuple (several names); `choices` limits a str.

    `per_channel`: it may be set anew for a channel, in the table `[channels."..."]` of `frontdesk.toml`.
    """

    name: str
    kind: type
    default: Any
    help: str
    example: str = ""
    choices: tuple[str, ...] = ()
    minimum: float = 0
    secret: bool = False
    per_channel: bool = False
    pattern: str = ""
    """What a str, or each of several names, has to look like, and"""
    form: str = ""
    """what that is in words."""
    variable: str = ""
    """Its name in `.env` and the environment: FRONTDESK_ and its name, if it has none that its users know already."""

    def __post_init__(self) -> None:
        if not self.variable:
            object.__setattr__(self, "variable", PREFIX + self.name.upper())
