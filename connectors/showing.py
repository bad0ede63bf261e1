"""How a reply is shown on a platform where posts can be edited: what stands of it, its draft, and all turns that are told.

A platform says how a post is made, changed and found; that each is made once, and in which order, is the same everywhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from agent.errors import DeliveryError
from agent.messages import Answer, Delivery, Draft, Handoff, Message, Post, Shown, Status, Withdrawn
from agent.tracing import point
from connectors.connector import Posts

Clock = Callable[[], float]

FINAL_SECONDS = 90.0
"""How long a final reply is tried, unless told otherwise."""
_MOST_TURNS = 2_000
_MOST_CLAIMED = 20_000
_SECONDS_TO_END = 2.0

_log = logging.getLogger(__name__)


class Patience:
    """How long something is tried: again after 1, 2, 4, 8 ... seconds until the time is over."""

    def __init__(self, seconds: float, doing: str, clock: Clock = time.monotonic) -> None:
        self._ends = clock() + seconds
        self._doing = doing
        self._pause = 1.0
        self._clock = clock

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return max(0.0, self._ends - self._clock())

    async def wait(self, seconds: float, why: str = "rate limited") -> None:
        """Wait, if there is time. Raises `DeliveryError` at once if there is not."""
        if seconds <= 0:
            return
        if self._clock() + seconds > self._ends:
            raise DeliveryError(f"There was not enough time to {self._doing}: {why}.", "It is tried again later.")
        await asyncio.sleep(seconds)

    async def again(self, why: str) -> None:
        """Wait before the next try, longer each time."""
        pause, self._pause = self._pause, min(16.0, self._pause * 2)
        await self.wait(pause, why)


class Standing:
    """What stands on the platform for one turn, by its parts: the ids of posts.

    `channel` is where they are, `claimed` has the posts of all turns of this process. `doubt`: something may have been
    posted that is not known. `gone`: the parts that were taken away again.
    """

    def __init__(self, posts: Posts, turn: str, channel: str, claimed: dict[tuple[str, str], str]) -> None:
        self.turn = turn
        self.parts: dict[int, str] = {}
        self.gone: set[int] = set()
        self.doubt = False
        self.deleted = False
        """Somebody deleted a part: nothing of it is posted again."""
        self.stopped = False
        """The customer pressed Stop: what is shown of the answer is all that is to be shown."""
        self._posts = posts
        self._channel = channel
        self._claimed = claimed
        self._read: asyncio.Task[None] | None = None

    async def recall(self) -> None:
        """Read once what was kept of this turn."""
        if self._read is None or (self._read.done() and (self._read.cancelled() or self._read.exception())):
            self._read = asyncio.create_task(self._recall())
        await asyncio.shield(self._read)

    async def _recall(self) -> None:
        for post in await self._posts.posts(self.turn):
            if not post.id:
                self.gone.add(post.part)
            elif self._can_change(post.id):
                self._claim(post.part, post.id)

    def _can_change(self, post: str) -> bool:
        """Whether a post is one that can be changed."""
        return True

    def _claim(self, part: int, post: str) -> None:
        self.parts[part] = post
        self._claimed[self._channel, post] = self.turn

    def _owner(self, post: str) -> str:
        """The turn that a post belongs to, as far as this process knows."""
        return self._claimed.get((self._channel, post), "")

    def disown(self, part: int) -> None:
        """It is a post of this turn no longer, whatever becomes of it."""
        self._claimed.pop((self._channel, self.parts.pop(part)), None)

    async def keep(self, part: int, post: str) -> None:
        """Remember a post, here and for other processes."""
        self._claim(part, post)
        point("posted", self.turn)
        await self._posts.keep_post(Post(self.turn, part, post))
        point("kept", self.turn)

    async def keep_gone(self, part: int) -> None:
        """A part was taken away. That it was one is kept as a post without id."""
        self.disown(part)
        self.gone.add(part)
        await self._posts.keep_post(Post(self.turn, part, ""))


class DraftWriter(ABC):
    """The draft of a turn, written by a task that lives as long as there is something to write.

    What comes faster than it may be written is merged: `_newest` is the whole text to be shown, `None` when it is shown.
    """

    def __init__(self, standing: Standing) -> None:
        self._kept = standing
        self._newest: str | None = None
        self._ended = False
        self._final = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def show(self, text: str) -> None:
        """Write this draft as soon as may be; it returns at once."""
        if self._ended:
            return
        self._newest = text
        self._final.clear()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())

    async def settle(self, seconds: float | None = None) -> None:
        """Let nothing more of the draft be written, and wait for what is being written; after `seconds` end it."""
        self._final.set()
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=seconds)
            if not self._writer.done():
                self._writer.cancel()
                await asyncio.wait([self._writer])
            error = None if self._writer.cancelled() else self._writer.exception()
            if error or self._writer.cancelled():
                _log.error("A draft could not be written.", exc_info=error)
                self._kept.doubt = True
            self._writer = None
        self._newest = None

    async def _pause(self, seconds: float) -> bool:
        """Wait; true when the final reply came meanwhile."""
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._final.wait()
            except TimeoutError:
                pass
        return self._final.is_set()

    @abstractmethod
    async def _write(self) -> None:
        """Show drafts as long as there is a `_newest`, and neither `_final` nor `_ended`. What it meets is its own affair."""


class Surface(Protocol):
    """What is shown of a turn besides posts. It happens in the background, and may fail."""

    def show(self, text: str) -> asyncio.Task[None] | None:
        """Say what the agent does. Returns the task that does it."""
        ...

    def over(self, *, resumed: bool) -> asyncio.Task[None] | None:
        """The turn is over. `resumed`: another process may have begun to show something."""
        ...


S = TypeVar("S", bound=Standing)
D = TypeVar("D", bound=DraftWriter)
F = TypeVar("F", bound=Surface)


@dataclass
class Turn(Generic[S, D, F]):
    """A turn that this process tells."""

    standing: S
    draft: D
    surface: F
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    seen: float = 0.0


class Showing(ABC, Generic[S, D, F]):
    """Takes deliveries, and tells each turn. `final_seconds` is how long a final reply is tried."""

    def __init__(self, *, clock: Clock = time.monotonic, final_seconds: float = FINAL_SECONDS) -> None:
        self._clock = clock
        self._final_seconds = final_seconds
        self._turns: dict[str, Turn[S, D, F]] = {}
        self._claimed: dict[tuple[str, str], str] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def deliver(self, delivery: Delivery) -> None:
        """Show a status, a draft or a final reply. Raises `DeliveryError` for a final one that could not be shown."""
        question, event = delivery.question, delivery.event
        if question is not None and question.private_reply:
            await self._whisper(delivery, question, event)
            return
        turn = self._turn(delivery)
        if isinstance(event, Status):
            self._leave(turn.surface.show(event.text))
        elif isinstance(event, Draft):
            turn.draft.show(event.text)
        else:
            async with turn.lock:
                await self._finish(turn, delivery, event)

    async def close(self) -> None:
        """Wait a moment for what runs in the background, and end it. What it calls with is closed by who made it."""
        await asyncio.gather(*(turn.draft.settle(_SECONDS_TO_END) for turn in self._turns.values()))
        if self._background:
            _, pending = await asyncio.wait(self._background, timeout=_SECONDS_TO_END)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        self._turns.clear()

    @abstractmethod
    def _begin(self, delivery: Delivery) -> Turn[S, D, F]:
        """A turn that this process has not told yet."""

    @abstractmethod
    async def _conclude(self, turn: Turn[S, D, F], delivery: Delivery, event: Answer | Handoff | Withdrawn) -> None:
        """Show a final reply, now that nothing else is written. Raises `DeliveryError`."""

    @abstractmethod
    async def _whisper(self, delivery: Delivery, question: Message, event: Shown) -> None:
        """Show something that only who asked may see. Raises `DeliveryError`."""

    async def _finish(self, turn: Turn[S, D, F], delivery: Delivery, event: Answer | Handoff | Withdrawn) -> None:
        await turn.draft.settle()
        done = False
        try:
            await turn.standing.recall()
            await self._conclude(turn, delivery, event)
            done = True
        finally:
            turn.standing.doubt = turn.standing.doubt or not done
            self._leave(turn.surface.over(resumed=delivery.resumed))
        self._turns.pop(delivery.turn, None)

    def _turn(self, delivery: Delivery) -> Turn[S, D, F]:
        turn = self._turns.get(delivery.turn)
        if turn is None:
            turn = self._turns[delivery.turn] = self._begin(delivery)
            self._forget_oldest()
        turn.seen = self._clock()
        if delivery.resumed and not turn.standing.parts:
            turn.standing.doubt = True
        return turn

    def _forget_oldest(self) -> None:
        """Turns that never came to an end here are told elsewhere, or not at all."""
        if len(self._turns) > _MOST_TURNS:
            old = self._clock() - 3600
            # One that was just begun was not seen before.
            for name in [name for name, turn in self._turns.items() if 0 < turn.seen < old]:
                del self._turns[name]
        if len(self._claimed) > _MOST_CLAIMED:
            self._claimed.clear()

    def _patience(self, doing: str, seconds: float | None = None) -> Patience:
        return Patience(min(seconds or self._final_seconds, self._final_seconds), doing, self._clock)

    def _leave(self, task: asyncio.Task[None] | None) -> None:
        """Let a task run in the background until it is done or this is closed."""
        if task is not None and task not in self._background:
            self._background.add(task)
            task.add_done_callback(self._background.discard)
