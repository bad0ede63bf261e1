"""What is heard is stored in order per channel, many channels at once, and again and again until it is stored."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Work = Callable[[], Awaitable[None]]

_MOST_TRIES = 8
"""After as many, and as many other things done meanwhile, it is the thing itself that cannot be done."""

_log = logging.getLogger(__name__)


@dataclass
class _Lane:
    waiting: list[tuple[int, int, Work]] = field(default_factory=list)
    current: int = 0
    held: int = 0
    task: asyncio.Task[None] | None = None


class Lanes:
    """Does what it is given, the smallest snowflake of a channel first. What fails is tried again.

    It keeps `most` things. `lost` is the snowflake of the first that it had no room for; 0 when there is none.
    """

    def __init__(self, *, most: int = 10_000, pause: tuple[float, float] = (0.2, 10.0)) -> None:
        self._most, self._pause = most, pause
        self._lanes: dict[int, _Lane] = {}
        self._count = self._number = self._done = 0
        self._failing = False
        self.lost = 0

    def put(self, channel: int, snowflake: int, work: Work) -> bool:
        """Do it after all of the channel that is older. False when there is no room for it."""
        if self._count >= self._most:
            if not self.lost:
                _log.error("%d messages wait to be stored: what else is said now is looked up later", self._count)
            self.lost = min(self.lost or snowflake, snowflake)
            return False
        lane = self._lanes.setdefault(channel, _Lane())
        self._count += 1
        self._number += 1
        heapq.heappush(lane.waiting, (snowflake, self._number, work))
        self._start(channel, lane)
        return True

    @asynccontextmanager
    async def hold(self, channel: int) -> AsyncIterator[None]:
        """Begin nothing of the channel meanwhile."""
        lane = self._lanes.setdefault(channel, _Lane())
        lane.held += 1
        try:
            yield
        finally:
            lane.held -= 1
            self._start(channel, lane)

    @property
    def waiting(self) -> int:
        """How many things are not done."""
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether what was lost may be given once more."""
        return self._count * 2 < self._most

    @property
    def oldest(self) -> int:
        """The snowflake of the oldest thing that is not done, 0 when there is none."""
        undone = [lane.current for lane in self._lanes.values() if lane.current]
        undone += [lane.waiting[0][0] for lane in self._lanes.values() if lane.waiting]
        undone += [self.lost] if self.lost else []
        return min(undone, default=0)

    async def close(self) -> None:
        """Leave the rest undone."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, channel: int, lane: _Lane) -> None:
        if lane.held or lane.task is not None:
            return
        if lane.waiting:
            lane.task = asyncio.get_running_loop().create_task(self._run(channel, lane))
        else:
            self._lanes.pop(channel, None)

    async def _run(self, channel: int, lane: _Lane) -> None:
        while lane.waiting and not lane.held:
            lane.current, _, work = heapq.heappop(lane.waiting)
            await self._do(work)
            lane.current = 0
            self._count -= 1
        lane.task = None
        self._start(channel, lane)

    async def _do(self, work: Work) -> None:
        pause, most = self._pause
        tries, before = 0, self._done
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001
                tries += 1
                if tries >= _MOST_TRIES and self._done - before >= _MOST_TRIES:
                    _log.error("a message could not be stored, others could: it is left out", exc_info=error)
                    return
                self._failed(error)
            else:
                self._done += 1
                if self._failing:
                    self._failing = False
                    _log.warning("What is heard in Discord is stored again; %d messages wait.", self._count - 1)
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(most, pause * 2)

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            _log.error("What is heard in Discord cannot be stored, and is tried again: %s", error, exc_info=error)
