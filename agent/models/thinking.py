"""Removes a model's thinking from a stream: `<think>...</think>`, also when the tags are split over chunks or never closed."""

from __future__ import annotations

_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>", "<tool_call>": "</tool_call>"}
_LONGEST = max(map(len, _TAGS))


class ThinkingFilter:
    """Feed it text as it comes; it gives back what may be shown, holding back only what may be the start of a tag."""

    def __init__(self) -> None:
        self._held = ""
        self._closing = ""
        self._shown = False

    def feed(self, text: str) -> str:
        """The next piece in, what can be shown out."""
        self._held += text
        visible: list[str] = []
        while self._held:
            if self._closing:
                _, closed, after = self._held.partition(self._closing)
                if not closed:
                    self._held = self._held[-(len(self._closing) - 1) :]
                    break
                self._closing, self._held = "", after
                continue
            position, tag = _first_tag(self._held)
            if tag:
                visible.append(self._held[:position])
                self._held = self._held[position + len(tag) :]
                self._closing = _TAGS[tag]
                continue
            keep = _possible_start(self._held)
            visible.append(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
            break
        return self._without_leading_space("".join(visible))

    def end(self) -> str:
        """What was held back, once nothing more comes. Thinking that was never closed stays hidden."""
        rest, self._held = ("" if self._closing else self._held), ""
        return self._without_leading_space(rest)

    def _without_leading_space(self, text: str) -> str:
        if not self._shown:
            text = text.lstrip()
            self._shown = bool(text)
        return text


def _first_tag(text: str) -> tuple[int, str]:
    found = [(position, tag) for tag in _TAGS if (position := text.find(tag)) >= 0]
    return min(found, default=(-1, ""))


def _possible_start(text: str) -> int:
    """How many characters at the end may be the beginning of a tag."""
    for length in range(min(_LONGEST - 1, len(text)), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in _TAGS):
            return length
    return 0
