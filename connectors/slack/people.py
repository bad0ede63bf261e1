"""Who people are: looked up in Slack, remembered for minutes, and never waited for longer than a moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp

from agent.errors import DeliveryError, EngineError, SettingsError
from connectors.slack.clients import Clients, Doubtful, Limited, Refused
from connectors.slack.events import Person, RoomFacts, author_team_of, channel_kind, identifier, team_of
from connectors.slack.incoming import mentioned_channels, mentioned_people

_MOST_REMEMBERED = 5_000
_MOST_NAMES = 10
_MOST_STAFF_PAGES = 10
_SECONDS_UNKNOWN = 15.0
"""How long a person who could not be looked up is not asked for again."""

FAULTS = (
    *(Refused, Limited, Doubtful, DeliveryError, SettingsError, EngineError),
    *(aiohttp.ClientError, OSError, TimeoutError, AttributeError, KeyError, TypeError, ValueError),
)
"""What a call of Slack's may meet."""

_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")


class People:
    """Names, guests and staff. `staff` are ids (`U1`, `slack:T1/U1`), `staff_channel` a channel whose members are staff."""

    def __init__(
        self,
        clients: Clients,
        *,
        staff: tuple[str, ...] = (),
        staff_channel: str = "",
        patience: float = 1.0,
        remembered: float = 600.0,
        staff_remembered: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._staff = frozenset(staff)
        self._staff_space, self._staff_channel = _split(staff_channel)
        self._patience = patience
        self._remembered, self._staff_remembered = remembered, staff_remembered
        self._clock = clock
        self._people: OrderedDict[tuple[str, str], tuple[float, Person | None]] = OrderedDict()
        self._rooms: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._members: dict[str, tuple[float, frozenset[str]]] = {}
        self._running: dict[tuple[str, ...], asyncio.Task[Any]] = {}

    async def facts(self, body: Mapping[str, Any], team: str) -> RoomFacts:
        """What `hear` needs to know of an event, and no more. It takes at most `patience` seconds."""
        bot_user, bot_id = await self._clients.bot_user(team), await self._clients.bot_id(team)
        event = body.get("event")
        if not isinstance(event, Mapping) or team_of(body) != team:
            return RoomFacts(team, bot_user, bot_id)
        changed = event.get("message") if event.get("subtype") == "message_changed" else None
        said = changed if isinstance(changed, Mapping) else event
        others = [user for user in mentioned_people(said)[:_MOST_NAMES] if user != bot_user and identifier(user)]
        rooms = [room for room in mentioned_channels(said)[:_MOST_NAMES] if identifier(room)]
        names = asyncio.gather(
            asyncio.gather(*(self.person(team, user) for user in others)),
            asyncio.gather(*(self.room_name(team, room) for room in rooms)),
        )
        author = identifier(event.get("user"))
        if not author or author == bot_user or event.get("bot_id") or changed is not None:
            return RoomFacts(team, bot_user, bot_id, names=_names(*await names, rooms))
        direct = channel_kind(event) == "im"
        person, staff, found = await asyncio.gather(
            self.person(team, author), _no() if direct else self._is_listed(team, author), names
        )
        outside = person is None or person.is_outside(team) or author_team_of(event) not in ("", team)
        return RoomFacts(team, bot_user, bot_id, person, staff and not outside, _names(*found, rooms))

    async def person(self, team: str, user: str) -> Person | None:
        """Who it is, or None when Slack does not say in time."""
        kept = self._people.get((team, user))
        if kept is not None and kept[0] > self._clock():
            self._people.move_to_end((team, user))
            return kept[1]
        return await self._soon(("user", team, user), self._look_up(team, user))

    async def room_name(self, team: str, room: str) -> str:
        """What a channel is called; empty when Slack does not say in time, or to the app."""
        kept = self._rooms.get((team, room))
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        return await self._soon(("room", team, room), self._look_up_room(team, room)) or ""

    async def is_staff(self, team: str, user: str) -> bool:
        """Whether it is one of the staff; guests and people of other workspaces never are."""
        if not await self._is_listed(team, user):
            return False
        person = await self.person(team, user)
        return person is not None and not person.is_outside(team)

    async def may_set(self, team: str, user: str, admins: tuple[str, ...]) -> bool:
        """Whether somebody may change the settings of channels: an admin of the workspace, or one of `admins`.

        Slack is asked anew, so that a right that was taken away is gone.
        """
        person = await self._soon(("right", team, user), self._look_up(team, user))
        if person is None or person.is_outside(team):
            return False
        return person.admin or not {user, f"slack:{team}/{user}"}.isdisjoint(admins)

    async def _is_listed(self, team: str, user: str) -> bool:
        if user in self._staff or f"slack:{team}/{user}" in self._staff:
            return True
        if not self._staff_channel or self._staff_space not in ("", team):
            return False
        kept = self._members.get(team)
        if kept is None:
            return user in (await self._soon(("staff", team), self._look_up_staff(team)) or ())
        if kept[0] <= self._clock():
            # What was known is good enough for this message; the next one knows better.
            self._start(("staff", team), self._look_up_staff(team))
        return user in kept[1]

    async def _look_up(self, team: str, user: str) -> Person | None:
        found, until = None, self._clock() + _SECONDS_UNKNOWN
        try:
            answer = await self._clients.request(team, "users.info", {"user": user})
            found, until = _person(user, answer.get("user"), team), self._clock() + self._remembered
        except FAULTS as error:
            _log.info("Slack does not say who %s is: %s", user, error)
        self._people[team, user] = (until, found)
        self._people.move_to_end((team, user))
        while len(self._people) > _MOST_REMEMBERED:
            self._people.popitem(last=False)
        return found

    async def _look_up_room(self, team: str, room: str) -> str:
        name, until = "", self._clock() + self._remembered
        try:
            answer = await self._clients.request(team, "conversations.info", {"channel": room})
            name = str(answer["channel"].get("name") or "")
        except FAULTS as error:
            _log.info("Slack does not say what %s is called: %s", room, error)
        self._rooms[team, room] = (until, name)
        while len(self._rooms) > _MOST_REMEMBERED:
            self._rooms.popitem(last=False)
        return name

    async def _look_up_staff(self, team: str) -> frozenset[str]:
        members: set[str] = set()
        cursor = ""
        seconds = self._staff_remembered
        try:
            for _ in range(_MOST_STAFF_PAGES):
                asked = {"channel": self._staff_channel, "limit": 200, "cursor": cursor or None}
                page = await self._clients.request(team, "conversations.members", asked)
                members.update(page.get("members") or ())
                cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
                if not cursor:
                    break
        except FAULTS as error:
            # Without the list, nobody new is staff.
            _log.warning("the members of the staff's channel %s cannot be read: %s", self._staff_channel, error)
            kept = self._members.get(team)
            members, seconds = set(kept[1] if kept else ()), min(seconds, _SECONDS_UNKNOWN)
        found = frozenset(members)
        self._members[team] = (self._clock() + seconds, found)
        return found

    def _start(self, key: tuple[str, ...], work: Coroutine[Any, Any, _Found]) -> asyncio.Task[_Found]:
        """One task for each thing that is looked up, however many wait for it."""
        running = self._running.get(key)
        if running is not None:
            work.close()
            return running
        task = self._running[key] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._running.pop(key, None))
        return task

    async def _soon(self, key: tuple[str, ...], work: Coroutine[Any, Any, _Found]) -> _Found | None:
        """What comes within `patience`; the search goes on for the next one who asks."""
        task = self._start(key, work)
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._patience)
        except TimeoutError:
            return None

    async def close(self) -> None:
        """End what is still being looked up."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def within(seconds: float, work: Awaitable[_Found], otherwise: _Found) -> _Found:
    """What comes in time and without an error, else `otherwise`."""
    try:
        return await asyncio.wait_for(work, seconds)
    except FAULTS as error:
        _log.info("not known in time: %s", error or type(error).__name__)
        return otherwise


async def _no() -> bool:
    return False


def _names(people: Sequence[Person | None], names: Sequence[str], rooms: Sequence[str]) -> dict[str, str]:
    named = {room: name for room, name in zip(rooms, names, strict=True) if name}
    return named | {person.id: person.name for person in people if person is not None and person.name}


def _person(user: str, found: object, team: str) -> Person:
    known = found if isinstance(found, Mapping) else {}
    given = known.get("profile")
    profile = given if isinstance(given, Mapping) else {}
    names = (profile.get("display_name"), profile.get("real_name"), known.get("real_name"), known.get("name"))
    home = identifier(known.get("team_id"))
    organisation = known.get("enterprise_user")
    if isinstance(organisation, Mapping) and team in (organisation.get("teams") or ()):
        home = team
    return Person(
        id=user,
        name=next((name for name in names if isinstance(name, str) and name), ""),
        team=home,
        guest=bool(known.get("is_restricted") or known.get("is_ultra_restricted")),
        stranger=bool(known.get("is_stranger")),
        bot=bool(known.get("is_bot")),
        admin=bool(known.get("is_admin") or known.get("is_owner") or known.get("is_primary_owner")),
    )


def _split(channel: str) -> tuple[str, str]:
    """Workspace and channel of `slack:T1/C1`, or of `C1`."""
    space, _, room = channel.removeprefix("slack:").rpartition("/")
    return space, room
