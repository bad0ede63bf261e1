"""A turn while it is told in Discord: what stands of it, the draft that grows by edits, and "is typing" before there is one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agent.errors import DeliveryError, FrontdeskError
from agent.messages import Address, Message
from connectors import showing
from connectors.connector import Posts
from connectors.discord.components import STOP, draft_components, parse
from connectors.discord.desk import FAULTS
from connectors.discord.errors import (
    ARCHIVED_THREAD,
    INVALID_FORM,
    MISSING_PERMISSIONS,
    NO_HISTORY,
    SYSTEM_MESSAGE,
    THREAD_ALREADY_CREATED,
    TOO_MANY_THREADS,
    UNKNOWN_CHANNEL,
    UNKNOWN_MESSAGE,
    WRONG_KIND,
    Doubtful,
    Limited,
    Refused,
)
from connectors.discord.ids import DIRECT, snowflake, snowflake_of
from connectors.discord.outgoing import LONGEST, draft
from connectors.discord.replies import Json, content_of
from connectors.discord.rest import Rest
from connectors.discord.rooms import Rooms
from connectors.showing import Patience

_NO_THREAD = frozenset([MISSING_PERMISSIONS, SYSTEM_MESSAGE, WRONG_KIND, TOO_MANY_THREADS])
"""A thread cannot be made from this message, or in this channel."""
_MESSAGES = "/channels/{channel_id}/messages"
_MESSAGE = _MESSAGES + "/{message_id}"
_SAID = (0, 19)
"""Types of messages with words of ours: ordinary ones, and replies."""
_LONGEST_NONCE = 25
_PAGE, _MOST_PAGES = 100, 3
LOOK_SECONDS = 3.0
"""A reply does not wait longer to know what its place is."""
_FIRST_PATIENCE, _DRAFT_PATIENCE = 6.0, 3.0
_TYPING_SECONDS = 8.0
"""Discord shows it for ten."""
_LONGEST_TYPING = 120.0
_MOST_PACES, _SLOWEST = 10_000, 8.0

_log = logging.getLogger(__name__)


@dataclass
class Place:
    """Where a reply goes. `guild` is 0 for a direct message; `channel` may be a thread that does not exist yet.

    `begins`: the thread is to be made from the message in `room` that has its id. `reply_to` is the message in the same channel
    that is answered, 0 for none.
    """

    guild: int
    room: int
    channel: int
    begins: bool = False
    reply_to: int = 0

    def __post_init__(self) -> None:
        self.in_room_perhaps = self.begins
        """It begins with this question. What was posted may stand in the room, because no thread could be made."""


def place_of(address: Address, question: Message | None, turn: str) -> Place:
    """Where the reply to a question goes; what is private to one person has no place."""
    room, guild = snowflake(address.room), 0 if address.space == DIRECT else snowflake(address.space)
    asked = snowflake_of(question.id if question is not None else turn)
    thread = snowflake(question.reply_in if question is not None and question.reply_in else address.thread)
    if not guild or thread in (0, room):
        return Place(guild, room, room, reply_to=asked if guild and thread == room else 0)
    place = Place(guild, room, thread, begins=thread == asked)
    place.in_room_perhaps = place.begins or question is None
    return place


class Standing(showing.Standing):
    """What stands in Discord for one turn.

    `asked` is the snowflake after which its posts come. `marked` is the turn that stands in the ids of their buttons. `title`
    is the name of the thread, if one is made. `recognised` tells the only part of what bears no mark.
    """

    def __init__(
        self,
        rest: Rest,
        posts: Posts,
        turn: str,
        place: Place,
        claimed: dict[tuple[str, str], str],
        *,
        asked: int,
        marked: str = "",
        title: str = "",
        recognised: Callable[[Mapping[str, Any]], bool] | None = None,
        rooms: Rooms | None = None,
    ) -> None:
        super().__init__(posts, turn, str(place.room), claimed)
        self.rest, self.place = rest, place
        self.marked = marked or turn
        self._asked, self._title, self._recognised = asked, title, recognised
        self._rooms, self._knowing = rooms, asyncio.Lock()
        self._where: dict[int, int] = {}
        self._unmarked: dict[str, str] = {}
        """Posts of ours that nothing marks, by their words."""

    def _can_change(self, post: str) -> bool:
        # What one person alone was shown is kept with a word before its number.
        return post.isdecimal()

    async def know_place(self) -> None:
        """Find out whether a thread has to be made at all: what was posted in a forum is one already."""
        async with self._knowing:
            place, rooms, self._rooms = self.place, self._rooms, None
            if not place.begins or rooms is None:
                return
            with suppress(*FAULTS):
                async with asyncio.timeout(LOOK_SECONDS):
                    kind = (await rooms.facts(place.room, place.guild)).kind
                if kind in ("forum", "media"):
                    place.begins = place.in_room_perhaps = False

    # What is there already.

    async def find(self, patience: Patience) -> None:
        """Look in Discord for posts of this turn, when some may not be known. Raises `Limited` and `Doubtful`."""
        await self.rest.open(patience.left)
        place = self.place
        for channel in dict.fromkeys((place.channel, place.room) if place.in_room_perhaps else (place.channel,)):
            try:
                async for message in self._own(channel, patience):
                    await self._sort(message, channel)
            except Refused as refused:
                # A thread that was not made yet; whatever else is refused will be refused the next time, too.
                if refused.code != UNKNOWN_CHANNEL:
                    _log.warning("Discord: posts of a turn could not be looked for: %s", refused)
        self.doubt = False

    async def _own(self, channel: int, patience: Patience) -> Any:
        after = self._asked
        for _ in range(_MOST_PAGES):
            params = {"after": str(after), "limit": _PAGE}
            page = await self.rest.request("GET", _MESSAGES, params=params, patience=patience.left, channel_id=channel)
            for message in sorted(page, key=lambda one: int(one["id"])):
                after = int(message["id"])
                if int(message["author"]["id"]) == self.rest.user_id and message.get("type") in _SAID:
                    yield message
            if len(page) < _PAGE:
                return

    async def _sort(self, message: Mapping[str, Any], channel: int) -> None:
        """Whether our message is a post of this turn: its buttons or what it replies to tell."""
        post = str(message["id"])
        if post in self.parts.values() or self._owner(post) not in ("", self.turn):
            return
        marks = [found for one in _custom_ids(message.get("components")) if (found := parse(one))]
        if any(turn == self.marked for _, turn in marks):
            # Below a draft is one button to stop it; below a reply the others, and its parts before are known, but for one.
            part = 0 if marks[0][0] == STOP else min(set(range(len(self.parts) + 1)) - self.parts.keys())
        elif marks:
            return
        elif self._replies_to_question(message) or (self._recognised is not None and self._recognised(message)):
            part = 0
        else:
            if message.get("content"):
                self._unmarked[str(message["content"])] = post
            return
        if part not in self.parts:
            self._where[part] = channel
            await self.keep(part, post)

    def _replies_to_question(self, message: Mapping[str, Any]) -> bool:
        reference = message.get("message_reference") or {}
        wanted = self.place.reply_to or (self.place.channel if self.place.in_room_perhaps else 0)
        return bool(wanted) and snowflake(reference.get("message_id")) == wanted

    # Posts.

    async def put(self, part: int, content: Json, patience: Patience) -> Json | None:
        """Show a part, in its old place if it has one. Returns the message; None when somebody deleted it there.

        Raises `Refused`, `Limited`, `Doubtful` and `DeliveryError`.
        """
        if part not in self.parts and self.doubt:
            try:
                await self.find(patience)
            except (Limited, Doubtful) as error:
                raise DeliveryError(
                    f"Discord does not tell whether a reply is there already: {error}.", "It is tried again later."
                ) from None
        if part not in self.parts and (same := self._unmarked.pop(str(content["content"]), "")):
            await self.keep(part, same)
        if part in self.parts:
            message = await self.change(part, content, patience)
            self.deleted = self.deleted or message is None
            return message
        message = await self._create(part, content, patience)
        if message is None:
            self.deleted = True
            return None
        self._where[part] = self.place.channel
        await self.keep(part, str(message["id"]))
        return message

    async def _create(self, part: int, content: Json, patience: Patience) -> Json | None:
        place, body, is_there = self.place, dict(content), True
        await self.know_place()
        if place.begins:
            is_there = await self._begin_thread(patience)
        if part == 0 and place.reply_to:
            body["message_reference"] = {"message_id": str(place.reply_to), "fail_if_not_exists": False}
        try:
            return await self._post(part, body, patience)
        except Refused as refused:
            if refused.code in (NO_HISTORY, INVALID_FORM) and body.pop("message_reference", None):
                place.reply_to = 0
            elif refused.code != UNKNOWN_CHANNEL or place.channel == place.room:
                raise
            elif not is_there:
                return None
            elif not await self._begin_thread(patience):
                # It was a thread once.
                raise
        return await self._post(part, body, patience)

    async def _post(self, part: int, body: Json, patience: Patience) -> Json:
        channel = self.place.channel
        nonce = nonce_of(self.turn, part, channel, again=part in self.gone)
        whole = {**body, "nonce": nonce, "enforce_nonce": True}
        posted: Json = await self.rest.request(
            "POST", _MESSAGES, json=whole, patience=patience.left, channel_id=channel
        )
        return posted

    async def _begin_thread(self, patience: Patience) -> bool:
        """Make the thread from its message, or answer in the channel where none can be made. False: there is no such message."""
        place = self.place
        place.begins = False
        try:
            await self.rest.request(
                "POST",
                _MESSAGE + "/threads",
                json={"name": self._title},
                patience=patience.left,
                repeat=True,
                channel_id=place.room,
                message_id=place.channel,
            )
        except Refused as refused:
            if refused.code == UNKNOWN_MESSAGE:
                return False
            if refused.code in _NO_THREAD:
                _log.info("a question is answered in its channel, because no thread could be made: %s", refused)
                place.reply_to, place.channel, place.in_room_perhaps = place.channel, place.room, True
            elif refused.code != THREAD_ALREADY_CREATED:
                place.begins = True
                raise
        return True

    async def change(self, part: int, content: Json, patience: Patience) -> Json | None:
        """Change what is named of a part. Returns the message; None when somebody deleted it."""
        place, post = self.place, self.parts[part]
        known = self._where.get(part, place.channel)
        perhaps = (known, place.channel, place.room) if place.in_room_perhaps else (known,)
        first: Refused | None = None
        for channel in dict.fromkeys(perhaps):
            try:
                found: Json = await self._changed("PATCH", channel, post, patience, content)
            except Refused as refused:
                if refused.code not in (UNKNOWN_MESSAGE, UNKNOWN_CHANNEL):
                    raise
                first = first or refused
            else:
                self._where[part] = channel
                return found
        if first is not None and first.code == UNKNOWN_CHANNEL and not place.begins:
            raise first
        return None

    async def remove(self, part: int, patience: Patience) -> None:
        """Take a part away."""
        place = self.place
        known = self._where.get(part, place.channel)
        for channel in dict.fromkeys((known, place.room) if place.in_room_perhaps else (known,)):
            try:
                await self._changed("DELETE", channel, self.parts[part], patience)
            except Refused as refused:
                if refused.code not in (UNKNOWN_MESSAGE, UNKNOWN_CHANNEL):
                    raise
            else:
                break
        await self.keep_gone(part)

    async def _changed(
        self, method: str, channel: int, post: str, patience: Patience, content: Json | None = None
    ) -> Any:
        names: Json = {"channel_id": channel, "message_id": post}
        try:
            return await self.rest.request(method, _MESSAGE, json=content, patience=patience.left, **names)
        except Refused as refused:
            if refused.code != ARCHIVED_THREAD:
                raise
        await self.rest.request(
            "PATCH", "/channels/{channel_id}", json={"archived": False}, patience=patience.left, channel_id=channel
        )
        return await self.rest.request(method, _MESSAGE, json=content, patience=patience.left, **names)


def nonce_of(turn: str, part: int, channel: int, *, again: bool = False) -> str:
    """What Discord knows a post by for some minutes, so that one that is sent again is the same message."""
    whole = f"{turn} {part} {channel}{' again' if again else ''}"
    return hashlib.sha256(whole.encode()).hexdigest()[:_LONGEST_NONCE]


def _custom_ids(components: object) -> Iterator[str]:
    for one in components if isinstance(components, list) else ():
        if isinstance(one, Mapping):
            if isinstance(one.get("custom_id"), str):
                yield one["custom_id"]
            yield from _custom_ids(one.get("components"))


# Drafts ---------------------------------------------------------------------------------------------------------------


class Pace:
    """When drafts may be shown: an edit of a channel every `seconds`, more seldom while Discord limits them."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._next: dict[int, float] = {}
        self._factor: defaultdict[int, float] = defaultdict(lambda: 1.0)

    def book(self, channel: int) -> float:
        """Take the next edit of a channel; it may be made after so many seconds."""
        now = self._clock()
        at = max(now, self._next.get(channel, 0.0))
        if len(self._next) > _MOST_PACES:
            self._next = {one: until for one, until in self._next.items() if until > now}
            self._factor.clear()
        self._next[channel] = at + self._seconds * self._factor[channel]
        return at - now

    def limited(self, channel: int) -> None:
        """It was too much."""
        self._factor[channel] = min(_SLOWEST, self._factor[channel] * 2)

    def taken(self, channel: int) -> None:
        """It was not."""
        self._factor[channel] = max(1.0, self._factor[channel] * 0.8)


class LiveDraft(showing.DraftWriter):
    """The draft of a turn, which is edited as it grows."""

    def __init__(self, standing: Standing, pace: Pace) -> None:
        super().__init__(standing)
        self._standing, self._pace = standing, pace
        self._shown = self._full = ""

    async def _write(self) -> None:
        standing = self._standing
        try:
            if standing.doubt:
                await standing.recall()
            if standing.doubt and not standing.parts:
                await standing.find(Patience(_FIRST_PATIENCE, "look for an earlier draft"))
            while self._newest is not None and not self._final.is_set() and not self._ended:
                await self._next()
        except (FrontdeskError, Refused, Limited, Doubtful) as error:
            # Whatever a draft meets, the final reply shows all.
            _log.debug("Discord: a draft was not shown: %s", error)

    async def _next(self) -> None:
        standing, channel = self._standing, self._standing.place.channel
        if await self._pause(self._pace.book(channel)):
            return
        text, self._newest = self._newest or "", None
        if self._full and text.startswith(self._full):
            # A message takes no more, and to find that out anew costs more than all the rest.
            return
        shown = draft(text)
        self._full = text if len(text) > LONGEST and shown.endswith("…") else ""
        if not shown.strip() or shown == self._shown:
            return
        seconds = _DRAFT_PATIENCE if standing.parts else _FIRST_PATIENCE
        try:
            message = await standing.put(0, draft_content(shown, standing.marked), Patience(seconds, "show a draft"))
        except Limited:
            self._pace.limited(channel)
            self._newest = text if self._newest is None else self._newest
        except Doubtful:
            standing.doubt = standing.doubt or not standing.parts
            self._ended = standing.doubt
        except (Refused, DeliveryError):
            # The next draft would be refused, too.
            self._ended = True
            raise
        else:
            self._shown = shown
            self._pace.taken(channel)
            self._ended = message is None


def draft_content(shown: str, turn: str) -> Json:
    """A message that is still being written."""
    return content_of(shown, components=draft_components(turn))


class Typing:
    """Discord's "is typing", from the first status to the first words. It may fail."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._until = 0.0
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def show(self, text: str) -> asyncio.Task[None] | None:
        """The agent does something. Returns the task that shows it."""
        self._until = time.monotonic() + _LONGEST_TYPING
        self._over.clear()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._type())
        return self._task

    def over(self, *, resumed: bool) -> asyncio.Task[None] | None:
        """The turn is over."""
        self._over.set()
        return None

    async def _type(self) -> None:
        standing, place = self._standing, self._standing.place
        await standing.know_place()
        while not self._over.is_set() and not standing.parts and time.monotonic() < self._until:
            channel = place.room if place.begins else place.channel
            try:
                await standing.rest.request(
                    "POST", "/channels/{channel_id}/typing", patience=_DRAFT_PATIENCE, channel_id=channel
                )
            except (Limited, Doubtful):
                pass
            except (Refused, FrontdeskError) as error:
                _log.debug("Discord: it could not be shown that an answer is written: %s", error)
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_TYPING_SECONDS):
                    await self._over.wait()
