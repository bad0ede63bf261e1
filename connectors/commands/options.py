"""What every command takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Options:
    """What was given on the command line; `None`: not given."""

    data: Path | None = None
    config: Path | None = None
    debug: bool = False
