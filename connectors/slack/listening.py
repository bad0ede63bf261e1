"""Bolt's listeners: one for each kind of delivery. Nothing is acknowledged before it is received."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from slack_sdk.web.async_client import AsyncWebClient

from agent.messages import Message
from connectors.slack.actions import Actions
from connectors.slack.blocks import shortened
from connectors.slack.commands import Commands
from connectors.slack.desk import Desk
from connectors.slack.events import hear, identifier, team_of, timestamp
from connectors.slack.manifest import MOST_PROMPTS
from connectors.slack.threads import Threads
from connectors.slack.views import home_view

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp
    from slack_bolt.authorization import AuthorizeResult

_ANY = re.compile(r"(?s).*")
_SECONDS_OF_A_DAY = 24 * 60 * 60
_MOST_GREETED = 20_000
_MOST_UNTITLED = 2_000
_LONGEST_TITLE = 100

_log = logging.getLogger(__name__)


class Listening:
    """Hears events; buttons, forms and commands go to `Actions` and `Commands`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._threads = Threads(desk)
        self._greeted: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._untitled: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def app(self) -> AsyncApp:
        """Bolt's app. It answers 500, which is no acknowledgement, when a listener raises."""
        from slack_bolt.async_app import AsyncApp

        desk = self._desk

        async def authorize(enterprise_id: str | None, team_id: str | None, user_id: str | None) -> AuthorizeResult:
            return await self._authorize(enterprise_id, team_id, user_id)

        app = AsyncApp(
            name="frontdesk",
            logger=logging.getLogger("connectors.slack.bolt"),
            client=AsyncWebClient(base_url=desk.clients.base_url),
            signing_secret=desk.settings.signing_secret,
            authorize=authorize,
            process_before_response=True,
            attaching_conversation_kwargs_enabled=False,
            attaching_function_token_enabled=False,
        )
        actions, commands = Actions(desk), Commands(desk)
        app.event(_ANY)(self._event)
        app.action(_ANY)(actions.clicked)
        app.shortcut(_ANY)(actions.shortcut)
        app.view_submission(_ANY)(actions.submitted)
        app.view_closed(_ANY)(_acknowledge)
        app.options(_ANY)(_acknowledge)
        app.command(_ANY)(commands.called)
        return app

    async def _authorize(self, enterprise_id: str | None, team_id: str | None, user_id: str | None) -> AuthorizeResult:
        """Who the app is there. Of workspaces without the app nothing is heard; that is seen to where they are known."""
        from slack_bolt.authorization import AuthorizeResult

        team, clients = identifier(team_id), self._desk.clients
        if not team or not await self._desk.is_installed(team):
            return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, user_id=user_id)
        return AuthorizeResult(
            enterprise_id=enterprise_id,
            team_id=team,
            user_id=user_id,
            bot_user_id=await clients.bot_user(team),
            bot_id=await clients.bot_id(team),
        )

    async def _event(self, body: dict[str, Any]) -> None:
        """An event; Bolt acknowledges it when this returns."""
        event, team = body.get("event"), team_of(body)
        if not isinstance(event, Mapping) or not team:
            return
        kind = event.get("type")
        if kind == "app_uninstalled" or (kind == "tokens_revoked" and _mapping(event.get("tokens")).get("bot")):
            await self._desk.revoked(team)
        elif not await self._desk.is_installed(team):
            _log.info("an event of the workspace %s, where the app is not installed", team)
        elif kind == "app_home_opened":
            self._opened(team, event)
        elif kind == "assistant_thread_started":
            self._started(team, _mapping(event.get("assistant_thread")))
        else:
            await self._heard(team, body, event)

    async def _heard(self, team: str, body: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        # What is said in one channel is received in the order in which it came, however long a look-up takes.
        place = (team, str(event.get("channel")))
        lock = self._locks.get(place)
        if lock is None:
            lock = self._locks[place] = asyncio.Lock()
        async with lock:
            inbound = hear(body, await self._desk.people.facts(body, team))
            if isinstance(inbound, Message):
                inbound = await self._threads.asked(inbound)
        if inbound is not None:
            await self._desk.receive(inbound)
        if isinstance(inbound, Message):
            self._title(inbound)

    def _started(self, team: str, thread: Mapping[str, Any]) -> None:
        """A thread of the legacy assistant, which begins empty."""
        channel, ts = identifier(thread.get("channel_id")), timestamp(thread.get("thread_ts"))
        self._untitled[team, channel, ts] = None
        while len(self._untitled) > _MOST_UNTITLED:
            self._untitled.popitem(last=False)
        self._suggest(team, channel, ts)

    def _title(self, message: Message) -> None:
        """Name a thread of the legacy assistant by its first question. In the agent's own view its session has the title."""
        address = message.address
        key, title = (address.space, address.room, address.thread), " ".join(message.text.split())
        if not title or key not in self._untitled:
            return
        del self._untitled[key]
        where = {"channel_id": address.room, "thread_ts": address.thread}
        args = where | {"title": shortened(title, _LONGEST_TITLE)}
        call = self._desk.clients.request(address.space, "assistant.threads.setTitle", args)
        self._desk.later(call, "a thread could not be named")

    def _opened(self, team: str, event: Mapping[str, Any]) -> None:
        user, channel = identifier(event.get("user")), identifier(event.get("channel"))
        if event.get("tab") == "home" and user:
            self._desk.later(self._show_home(team, user), "the App Home could not be shown")
        elif event.get("tab") == "messages" and user and self._is_new_today(team, user):
            self._suggest(team, channel, "")

    def _is_new_today(self, team: str, user: str) -> bool:
        now = time.monotonic()
        if now - self._greeted.get((team, user), -float(_SECONDS_OF_A_DAY)) < _SECONDS_OF_A_DAY:
            return False
        self._greeted[team, user] = now
        self._greeted.move_to_end((team, user))
        while len(self._greeted) > _MOST_GREETED:
            self._greeted.popitem(last=False)
        return True

    def _suggest(self, team: str, channel: str, thread: str) -> None:
        """Suggest questions: in the agent's own view without a thread, for with one Slack shows nothing."""
        prompts = [{"title": title, "message": words} for title, words in self._desk.settings.prompts[:MOST_PROMPTS]]
        if not prompts or not channel:
            return
        args = {"channel_id": channel, "prompts": prompts, "thread_ts": thread or None}
        call = self._desk.clients.request(team, "assistant.threads.setSuggestedPrompts", args)
        self._desk.later(call, "questions could not be suggested")

    async def _show_home(self, team: str, user: str) -> None:
        desk = self._desk
        tickets = await desk.open_tickets(f"slack:{team}/{user}") if desk.open_tickets is not None else ()
        view = home_view(desk.settings.company, desk.settings.prompts, tickets)
        await desk.clients.request(team, "views.publish", {"user_id": user, "view": view})


async def _acknowledge(ack: AsyncAck) -> None:
    await ack()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
