"""Whether a model goes round in circles, told from its text as it comes. Pure."""

from __future__ import annotations

_LONGEST_UNIT, _SHORT_PIECE = 1_000, 32


class Loop:
    """Tells when a model goes round in circles: its text ends in one unit of up to 1,000 characters, again and again.

    The repetition must fill 400 characters and hold the unit four times, which no rule, table or refrain does.
    """

    def __init__(self) -> None:
        self._looping = False
        self._tail = ""
        self._length = 0
        self._runs: dict[int, int] = {}  # by how far back the same text stands: since where it is the same
        self._recent: dict[str, int] = {}  # where each short piece of text ended last
        self._older: dict[str, int] = {}

    def feed(self, text: str) -> bool:
        """The next piece in; True once the model is going round in circles."""
        joined = self._tail + text
        start = self._length - len(self._tail)
        for at in range(len(self._tail), len(joined)):
            if self._looping:
                break
            self._read(joined, at, start + at)
        self._tail = joined[-_LONGEST_UNIT - _SHORT_PIECE :]
        self._length += len(text)
        return self._looping

    def _read(self, text: str, at: int, place: int) -> None:
        if self._runs:
            self._runs = {unit: since for unit, since in self._runs.items() if text[at] == text[at - unit]}
            self._looping = any(place - since >= max(400, 4 * unit) for unit, since in self._runs.items())
        if at + 1 < _SHORT_PIECE:
            return
        piece = text[at + 1 - _SHORT_PIECE : at + 1]
        before = self._recent.get(piece, self._older.get(piece))
        if before is not None and (unit := place - before) <= _LONGEST_UNIT:
            self._runs.setdefault(unit, before - _SHORT_PIECE)
        self._recent[piece] = place
        if len(self._recent) > _LONGEST_UNIT:
            self._older, self._recent = self._recent, {}
