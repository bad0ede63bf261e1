"""What the parts that hear Discord share: its REST client, rooms, people, settings, and where what is heard goes."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from agent.errors import FrontdeskError
from agent.messages import Address
from connectors.connector import Receive
from connectors.discord.errors import Doubtful, Limited, Refused
from connectors.discord.settings import DiscordSettings

if TYPE_CHECKING:
    from connectors.discord.people import People
    from connectors.discord.rest import Rest
    from connectors.discord.rooms import Rooms

GetChannel = Callable[[Address], Awaitable[Mapping[str, str]]]
SetChannel = Callable[[Address, Mapping[str, str], str], Awaitable[None]]
AskerOf = Callable[[str], Awaitable[str]]
"""Who asked what a turn answers, `discord:G/U`; empty when that is not known."""
ThreadOf = Callable[[str, str], Awaitable[str]]
"""The thread of the conversation that a message or a post belongs to, by its channel (`discord:G/C`) and its snowflake; empty
when it is not known."""

FAULTS = (Refused, Limited, Doubtful, FrontdeskError, OSError, TimeoutError)
"""What a request to Discord may end with."""

_MOMENT = 60_000 << 22
"""A minute between two snowflakes, whose milliseconds stand above 22 bits."""
_MOST_DONE = 10_000
_Found = TypeVar("_Found")

_log = logging.getLogger(__name__)


@dataclass
class Desk:
    """`answers_in_place` tells whether a room's questions are answered there, rather than in a thread."""

    settings: DiscordSettings
    rest: Rest
    rooms: Rooms
    people: People
    receive: Receive
    answers_in_place: Callable[[Address], bool]
    get_channel: GetChannel | None = None
    set_channel: SetChannel | None = None
    asker_of: AskerOf | None = None
    thread_of: ThreadOf | None = None
    solved: Callable[[Address], Awaitable[None]] | None = None
    """Told where something was solved, for the tags of a forum."""
    answer_seconds: float = 2.0
    """After as long a use of a command or button is answered in any case: Discord waits for three seconds."""
    _tasks: set[asyncio.Future[Any]] = field(default_factory=set)
    _done: OrderedDict[str, int] = field(default_factory=OrderedDict)

    async def conversation_of(self, channel: Address, snowflake: int) -> str:
        """The thread of the conversation that a message or a post belongs to, if all may read it; else empty."""
        found = await self.thread_of(channel.channel, str(snowflake)) if self.thread_of is not None else ""
        return found if found.isdecimal() else ""

    def once(self, key: str, snowflake: int) -> int:
        """The snowflake of the first of several that mean the same and come within a minute of each other."""
        first = self._done.get(key)
        if first is not None and abs(snowflake - first) < _MOMENT:
            return first
        self._done[key] = snowflake
        self._done.move_to_end(key)
        while len(self._done) > _MOST_DONE:
            self._done.popitem(last=False)
        return snowflake

    def later(self, work: Awaitable[object], what: str) -> None:
        """Do something that nobody has to wait for. `what` names it in the log when it fails."""

        def done(task: asyncio.Future[object]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                unknown = None if isinstance(error, FAULTS) else error
                _log.warning("%s: %s", what, str(error) or type(error).__name__, exc_info=unknown)

        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(done)

    async def soon(self, work: Awaitable[_Found], otherwise: _Found) -> _Found:
        """What is known within `settings.patience` and without an error, else `otherwise`."""
        try:
            return await asyncio.wait_for(work, self.settings.patience)
        except FAULTS as error:
            _log.info("not known in time: %s", str(error) or type(error).__name__)
            return otherwise

    async def close(self) -> None:
        """End what is still to be done."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
