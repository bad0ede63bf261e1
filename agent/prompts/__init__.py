"""The words that models are sent, as Markdown files. A prompt's version is the hash of its file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A prompt as written. `version` is the first 12 hex digits of its SHA-256, recorded with each answer."""

    name: str
    text: str
    version: str

    def filled(self, **values: str) -> str:
        """The text with `{name}` replaced by each value."""
        text = self.text
        for name, value in values.items():
            text = text.replace("{" + name + "}", value)
        return text


@cache
def prompt_file(name: str) -> PromptFile:
    """Read `agent/prompts/NAME.md`."""
    text = files("agent.prompts").joinpath(f"{name}.md").read_text("utf-8")
    return PromptFile(name, text.strip(), hashlib.sha256(text.encode()).hexdigest()[:12])
