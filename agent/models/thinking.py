"""Removes a model's thinking from a stream: `<think>...</think>` and its like, also when split over chunks or never closed.

Some servers keep the opening tag to themselves and send only `</think>`: then all that came before was thinking. What has
not been shown yet is dropped. What has been cannot be taken back here, so the answer is given up (`ModelBroken`), lest a
customer reads it as one; staff are told how to mend the server.
"""

from __future__ import annotations

import re

from agent.errors import ModelBroken

# A tag in code (`<think>`) is talked about, not used.
_TAG = re.compile(
    r"(?<!`)(?:<(?P<end>/?)(?P<name>think|thinking|thought|reasoning|tool_call)>|\[(?P<end2>/?)(?P<name2>THINK)\]"
    r"|◁(?P<end3>/?)(?P<name3>think)▷)",
    re.IGNORECASE,
)
_TAG_BEGUN = re.compile(r"(?:<[a-z_/]{0,12}|\[/?(?:T(?:H(?:I(?:NK?)?)?)?)?|◁/?[a-z]{0,5})\Z", re.IGNORECASE)


class ThinkingFilter:
    """Feed it text as it comes; it gives back what may be shown, holding back only what may be the start of a tag."""

    def __init__(self) -> None:
        self._held = ""
        self._before = ""  # the last character that was passed on, to know whether a tag stands in code
        self._inside = ""  # the name of the tag whose end is awaited
        self._thought = False
        self._shown = False

    def feed(self, text: str) -> str:
        """The next piece in, what can be shown out. Raises `ModelBroken` when what was shown turns out to be thinking."""
        held, self._held = self._before + self._held + text, ""
        at = len(self._before)
        visible: list[str] = []
        while (tag := _TAG.search(held, at)) is not None:
            name = (tag["name"] or tag["name2"] or tag["name3"]).lower()
            closes = bool(tag["end"] or tag["end2"] or tag["end3"])
            if not self._inside:
                visible.append(held[at : tag.start()])
                if closes:
                    self._take_back(visible)
                else:
                    self._inside, self._thought = name, True
            elif closes and name == self._inside:
                self._inside = ""
            at = tag.end()
        begun = _TAG_BEGUN.search(held, max(at, len(held) - 14))
        end = begun.start() if begun else len(held)
        self._before, self._held = held[:end][-1:], held[end:]
        if not self._inside:
            visible.append(held[at:end])
        return self._without_leading_space("".join(visible))

    def end(self) -> str:
        """What was held back, once nothing more comes. Thinking that was never closed stays hidden."""
        rest, self._held = ("" if self._inside else self._held), ""
        return self._without_leading_space(rest)

    def _take_back(self, visible: list[str]) -> None:
        """What came before an end without a beginning was thinking, unless an end has been seen already."""
        if self._thought:
            return
        if self._shown:
            raise ModelBroken(
                "The model sent its thinking as if it were its answer.",
                "Switch its thinking off, or start its server with a reasoning parser.",
            )
        self._thought = True
        visible.clear()

    def _without_leading_space(self, text: str) -> str:
        if not self._shown:
            text = text.lstrip()
            self._shown = bool(text)
        return text
