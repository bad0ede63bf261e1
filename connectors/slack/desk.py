"""What the parts that hear Slack share: its clients, people, settings, and where what is heard goes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from agent.messages import Address
from connectors.connector import Receive
from connectors.slack.clients import Clients
from connectors.slack.events import identifier
from connectors.slack.people import FAULTS, People, within
from connectors.slack.settings import SlackSettings

GetChannel = Callable[[str], Awaitable[Mapping[str, str]]]
SetChannel = Callable[[str, Mapping[str, str], str], Awaitable[None]]
OpenTickets = Callable[[str], Awaitable[Sequence[tuple[str, str]]]]
AskerOf = Callable[[str], Awaitable[str]]
"""Who asked what a turn answers, `slack:T1/U1`; empty when that is not known."""

_Found = TypeVar("_Found")
_MOST_STAMPS = 10_000
_SECONDS_TO_RESPOND = 5

_log = logging.getLogger(__name__)


@dataclass
class Desk:
    """`is_installed` tells whether the app is in a workspace; `revoked` is told that it no longer is."""

    settings: SlackSettings
    clients: Clients
    people: People
    receive: Receive
    is_installed: Callable[[str], Awaitable[bool]]
    revoked: Callable[[str], Awaitable[None]]
    outsiders: Callable[[Address], Awaitable[bool]]
    get_channel: GetChannel | None = None
    set_channel: SetChannel | None = None
    open_tickets: OpenTickets | None = None
    asker_of: AskerOf | None = None
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _stamps: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _last_stamp: int = 0

    async def team_of(self, body: Mapping[str, Any]) -> str:
        """The installed workspace that a click, a command or a form belongs to; empty when there is none.

        In a channel shared with another company a body names several workspaces.
        """
        view, message = _mapping(body.get("view")), _mapping(body.get("message"))
        named = (
            view.get("app_installed_team_id"),
            _mapping(body.get("team")).get("id"),
            body.get("team_id"),
            message.get("team"),
            _mapping(message.get("bot_profile")).get("team_id"),
            view.get("team_id"),
            _mapping(body.get("user")).get("team_id"),
        )
        for team in dict.fromkeys(identifier(item) for item in named):
            if team and await self.is_installed(team):
                return team
        return ""

    async def author_is_outside(self, team: str, user: str, home: str) -> bool:
        """Whether somebody is a guest or of another company; who is unknown is."""
        if home not in ("", team):
            return True
        person = await self.people.person(team, user)
        return person is None or person.is_outside(team)

    async def outsiders_read(self, address: Address) -> bool:
        """Whether outsiders read at an address; they do when Slack does not say in time."""
        return await within(self.settings.patience, self.outsiders(address), True)

    def stamp(self, key: str) -> str:
        """A `ts` for something that Slack gives none: the time of its receipt, and the same when it comes again."""
        if key not in self._stamps:
            self._last_stamp = max(self._last_stamp + 1, time.time_ns() // 1_000)
            self._stamps[key] = f"{self._last_stamp // 1_000_000}.{self._last_stamp % 1_000_000:06d}"
            while len(self._stamps) > _MOST_STAMPS:
                self._stamps.popitem(last=False)
        return self._stamps[key]

    def later(self, work: Coroutine[Any, Any, object], what: str) -> None:
        """Do something that Slack does not have to wait for. `what` names it in the log when it fails."""

        async def done() -> None:
            try:
                await work
            except FAULTS as error:
                _log.warning("%s: %s", what, str(error) or type(error).__name__)

        self.start(done())

    def start(self, work: Coroutine[Any, Any, _Found]) -> asyncio.Task[_Found]:
        """A task that ends with the desk, if not before."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def respond(self, response_url: object, body: Mapping[str, Any]) -> None:
        """Post to the address that came with a click or a command, if it is one of Slack's."""
        if not isinstance(response_url, str) or not self.clients.trusts(response_url):
            return
        timeout = aiohttp.ClientTimeout(total=_SECONDS_TO_RESPOND)
        async with self.clients.session.post(response_url, json=dict(body), timeout=timeout) as answer:
            if answer.status >= 400:
                _log.info("Slack did not take a response: HTTP %d", answer.status)

    def note(self, response_url: object, text: str) -> None:
        """Tell one person something, later."""
        body = {"response_type": "ephemeral", "replace_original": False, "text": text}
        self.later(self.respond(response_url, body), "a note could not be shown")

    async def close(self) -> None:
        """End what is still to be done."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
