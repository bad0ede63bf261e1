"""How fast Slack is called, for all turns of a workspace together, and how often again.

Calls per minute (docs.slack.dev/apis/web-api/rate-limits, and the page of each method): tier 2 is 20, tier 3 is 50, tier 4 is
100, for each method and workspace; chat.postMessage is about one a second and channel, with short bursts. Other processes
may use the same token, so what Slack says when it is too much counts for all who use the method. What Slack refuses for good
is not tried again for an hour, and what only accompanies a turn, its status and session, never keeps its words waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from agent.errors import DeliveryError
from connectors.showing import Clock, Patience
from connectors.slack.clients import Clients, Doubtful, Json, Limited, Refused

TIERS = {
    "chat.startStream": 20,
    "chat.appendStream": 100,
    "chat.stopStream": 20,
    "chat.update": 50,
    "chat.delete": 50,
}
_USUAL_TIER = 50
_POSTS, _POSTS_SECONDS = 5, 5.5
"""Posts into one channel: a burst of five, then about one a second."""
_APPENDS_AT_ONCE, _APPENDS = 20, 65
_EDITS_AT_ONCE, _EDITS = 10, 20
"""Drafts: how many at once, then how many a minute. They leave room in their tier for what finishes a turn."""
BETWEEN_APPENDS = 0.35
BETWEEN_EDITS = 1.2
"""Seconds between two looks of one stream, and of one channel. Slack asks for no more than about an edit a second."""
_FORGET_REFUSAL = 3600.0
_SURFACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """A channel of a workspace, and the thread in it, if any."""

    team: str
    channel: str
    thread: str

    @property
    def kind(self) -> str:
        """What kind of channel it is: the first letter of its id."""
        return self.channel[:1]


class Refusals:
    """What Slack would not do, for a workspace or a channel, so that it is not tried in vain. Forgotten after an hour."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, ...], float] = {}

    def remember(self, *key: str) -> None:
        """It was refused here."""
        if len(self._until) > 10_000:
            self._until.clear()
        self._until[key] = time.monotonic() + _FORGET_REFUSAL

    def has(self, *key: str) -> bool:
        """Whether it was refused here of late."""
        return self._until.get(key, 0.0) > time.monotonic()


class Window:
    """At most `most` calls in any `seconds`. Who books a call is told how long to wait."""

    def __init__(self, most: int, seconds: float, clock: Clock) -> None:
        self._booked: deque[float] = deque(maxlen=most)
        self._seconds = seconds
        self._clock = clock

    def wait(self) -> float:
        """Seconds until another call may be made."""
        if len(self._booked) < (self._booked.maxlen or 1):
            return 0.0
        return max(0.0, self._booked[0] + self._seconds - self._clock())

    def book(self) -> float:
        """Take the next call; it may be made after so many seconds."""
        wait = self.wait()
        self._booked.append(self._clock() + wait)
        return wait


class Steady:
    """Some calls at once, then one after the other in even steps: those who book wait in the order they came."""

    def __init__(self, at_once: int, a_minute: int, minute: float, clock: Clock) -> None:
        self._step = minute / a_minute
        self._slack = (at_once - 1) * self._step
        self._next = 0.0
        self._clock = clock

    def book(self) -> float:
        """Take the next call; it may be made after so many seconds."""
        now = self._clock()
        at = max(self._next, now)
        self._next = at + self._step
        return max(0.0, at - now - self._slack)

    def give_back(self) -> None:
        """A call that was booked is not made."""
        self._next -= self._step


class Pace:
    """The budgets of all workspaces. `minute` is shorter in tests."""

    def __init__(self, clock: Clock = time.monotonic, *, minute: float = 60.0) -> None:
        self.clock = clock
        self.minute = minute
        self._windows: dict[tuple[str, str, str], Window] = {}
        self._steady: dict[tuple[str, str], Steady] = {}
        self._held: dict[tuple[str, str], float] = {}
        self._edited: dict[tuple[str, str], float] = {}

    def hold(self, team: str, method: str, seconds: float) -> None:
        """Slack wants nobody to use the method for so long."""
        key = (team, method)
        self._held[key] = max(self._held.get(key, 0.0), self.clock() + seconds)

    def wait(self, team: str, method: str, channel: str = "") -> float:
        """Seconds until the method may be used, without booking it."""
        held = self._held.get((team, method), 0.0) - self.clock()
        window = self._window(team, method, channel)
        return max(0.0, held, window.wait() if window else 0.0)

    def book(self, team: str, method: str, channel: str = "") -> float:
        """Book a call. After a pause that Slack asked for, those who waited go one after the other."""
        window = self._window(team, method, channel)
        wait = window.book() if window else 0.0
        key, now = (team, method), self.clock()
        held = self._held.get(key, 0.0)
        if held <= now:
            self._held.pop(key, None)
            return wait
        self._held[key] = held + self.minute / TIERS.get(method, _USUAL_TIER)
        return max(wait, held - now)

    def book_append(self, team: str) -> float:
        """Book a piece of a draft: seconds until it may be appended."""
        return self._drafts(team, "chat.appendStream", _APPENDS_AT_ONCE, _APPENDS).book()

    def book_edit(self, team: str, channel: str) -> float:
        """Book an edit that shows a draft: seconds until it may be made."""
        wait = self._drafts(team, "chat.update", _EDITS_AT_ONCE, _EDITS).book()
        now, key = self.clock(), (team, channel)
        at = max(now + wait, self._edited.get(key, 0.0) + BETWEEN_EDITS)
        self._edited[key] = at
        if len(self._edited) > 10_000:
            self._edited = {key: at for key, at in self._edited.items() if at > now - BETWEEN_EDITS}
        return at - now

    def give_back(self, team: str, method: str) -> None:
        """A draft that was booked is not shown."""
        self._steady[team, method].give_back()

    def _drafts(self, team: str, method: str, at_once: int, a_minute: int) -> Steady:
        found = self._steady.get((team, method))
        if found is None:
            found = self._steady[team, method] = Steady(at_once, a_minute, self.minute, self.clock)
        return found

    def _window(self, team: str, method: str, channel: str) -> Window | None:
        """What may be posted and begun. What ends a turn is not held back here: Slack mostly takes more than it promises."""
        if method not in ("chat.postMessage", "chat.startStream"):
            return None
        key = (team, method, channel if method == "chat.postMessage" else "")
        found = self._windows.get(key)
        if found is None:
            if len(self._windows) > 10_000:
                self._windows = {key: window for key, window in self._windows.items() if window.wait() > 0}
            if method == "chat.postMessage":
                found = Window(_POSTS, _POSTS_SECONDS * self.minute / 60, self.clock)
            else:
                found = Window(TIERS[method], self.minute, self.clock)
            self._windows[key] = found
        return found


class Calls:
    """The calls of one workspace, in pace, and again after what passes."""

    def __init__(self, clients: Clients, pace: Pace, team: str) -> None:
        self.clients = clients
        self.pace = pace
        self.team = team

    async def once(self, method: str, args: Mapping[str, object]) -> Json:
        """One try. What Slack says about the rate is remembered. Raises `Refused`, `Limited` or `Doubtful`."""
        try:
            return await self.clients.request(self.team, method, args)
        except Limited as limited:
            self.pace.hold(self.team, method, limited.seconds)
            raise

    async def surely(
        self,
        method: str,
        args: Mapping[str, object],
        patience: Patience,
        *,
        repeat: bool = True,
        channel: str = "",
        eager: bool = False,
    ) -> Json:
        """Call until it is done or refused. Without `repeat` it raises `Doubtful` when it may have taken place.

        Raises `Refused`, `DeliveryError` when patience ends, and `Limited` when it would have to wait though it is `eager`.
        """
        doubted = False
        while True:
            if eager and (wait := self.pace.wait(self.team, method, channel)):
                raise Limited(wait)
            await patience.wait(self.pace.book(self.team, method, channel))
            try:
                return await self.once(method, args)
            except Refused as refused:
                refused.after_doubt = doubted
                raise
            except Limited:
                continue
            except Doubtful as doubt:
                if doubt.sent and not repeat:
                    raise
                doubted = doubted or doubt.sent
                await patience.again(str(doubt))


class Surface:
    """What Slack shows of a turn besides posts: the status below the thread, and the session with its Stop button.

    All of it happens in the background, one call after the other, and may fail. `words` is true once something is posted.
    `session` is what a session is made with; `None` where the app is no agent.
    """

    def __init__(
        self, calls: Calls, place: Place, refusals: Refusals, words: Mapping[int, str], session: Json | None
    ) -> None:
        self._calls = calls
        self._place = place
        self._refusals = refusals
        self._words = words
        self._session = session
        self._status: str | None = None
        self._is_set = False
        self._wanted = ""
        self._told = ""
        self._over = False
        self._task: asyncio.Task[None] | None = None

    def show(self, text: str) -> asyncio.Task[None] | None:
        """Say what the agent does. Returns the task that does it."""
        if not self._place.thread:
            return None
        self._over = False
        self._status = text
        if self._session is not None and self._told != "processing":
            self._wanted = "processing"
        return self._keep()

    def active(self) -> Json:
        """What ends the session together with a stream."""
        refused = self._refusals.has("session", self._place.team, self._place.kind)
        return {} if self._session is None or refused else {"session_status": "active"}

    def ended(self) -> None:
        """The session was ended together with a stream."""
        self._told = "active"

    def over(self, *, resumed: bool) -> asyncio.Task[None] | None:
        """The turn is over: no status, and no Stop button. `resumed`: another process may have begun the session."""
        self._over = True
        running = self._task is not None and not self._task.done()
        self._status = "" if self._is_set and not self._words else None
        began = self._told == "processing" or running or (resumed and self._told != "active")
        self._wanted = "active" if self._session is not None and self._place.thread and began else ""
        return self._keep() if self._wanted or self._status is not None else None

    def _keep(self) -> asyncio.Task[None]:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell_all())
        return self._task

    async def _tell_all(self) -> None:
        where = {"channel_id": self._place.channel, "thread_ts": self._place.thread}
        while self._status is not None or self._wanted:
            text, self._status = self._status, None
            if text == "" or (text and not self._late):
                args: Json = {**where, "status": text} | ({"loading_messages": [text]} if text else {})
                self._is_set = await self._tell("status", "assistant.threads.setStatus", args) and bool(text)
                if self._is_set and self._late and self._status is None:
                    # The words were faster: Slack would show the status below them for two minutes.
                    self._status = ""
            wanted, self._wanted = self._wanted, ""
            if wanted == "active" or (wanted and not self._over):
                args = {**where, "status": wanted} | ((self._session or {}) if wanted == "processing" else {})
                self._told = wanted
                await self._tell("session", "agents.sessions.setStatus", args, tries=8 if wanted == "active" else 1)

    @property
    def _late(self) -> bool:
        return self._over or bool(self._words)

    async def _tell(self, what: str, method: str, args: Json, tries: int = 1) -> bool:
        """A call that may fail. Where Slack will not have it, it is not tried again for a while."""
        patience = Patience(_SURFACE_SECONDS, "show what the agent does", self._calls.pace.clock)
        place = self._place
        for _ in range(tries):
            if self._refusals.has(what, place.team, place.kind):
                return False
            try:
                await patience.wait(self._calls.pace.wait(place.team, method))
                await self._calls.once(method, args)
                return True
            except Refused as refused:
                if not refused.final:
                    self._refusals.remember(what, place.team, place.kind)
                return False
            except Limited:
                continue
            except Doubtful as doubt:
                if tries == 1:
                    return False
                await patience.again(str(doubt))
            except DeliveryError:
                return False
        return False
