"""The connector for Slack: one workspace by a bot token, or many by OAuth; Socket Mode, or signed HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from agent.errors import DeliveryError, SettingsError
from agent.ledger import Ticket
from agent.messages import Address, Attachment, Delivery, Message
from connectors.connector import Posts, Receive
from connectors.slack.clients import Clients, Doubtful, Limited, Refused
from connectors.slack.delivery import SlackDelivery
from connectors.slack.desk import AskerOf, Desk, GetChannel, OpenTickets, SetChannel
from connectors.slack.events import LOOK_UP_FILE, files_of, hear
from connectors.slack.listening import Listening
from connectors.slack.manifest import SCOPES, scopes
from connectors.slack.oauth import Installations
from connectors.slack.pages import serving
from connectors.slack.people import People
from connectors.slack.settings import SlackSettings as SlackSettings
from connectors.slack.socket_mode import SocketMode, code_of

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

_REFUSED = (
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "not_allowed_token_type",
)

_MOST_SAID = 20
"""Messages of a thread that are caught up with."""
_SECONDS_TO_LEAVE = 5.0
SECONDS_BETWEEN_LOOKS = 60.0
"""How often it is looked whether a token that was refused is accepted again."""

_log = logging.getLogger(__name__)


class SlackConnector:
    """A place where customers write and read. See `connectors.connector.Connector` and `Reaches`.

    `connected` and `problem` tell whether Slack is heard now, and why not. `port` is where it listens, once it does.
    """

    name = "slack"

    def __init__(
        self,
        settings: SlackSettings,
        posts: Posts,
        *,
        delivery: SlackDelivery | None = None,
        installations: Installations | None = None,
        get_channel: GetChannel | None = None,
        set_channel: SetChannel | None = None,
        open_tickets: OpenTickets | None = None,
        asker_of: AskerOf | None = None,
    ) -> None:
        settings.check()
        self._asker_of = asker_of
        self._watching: asyncio.Task[None] | None = None
        self._settings = settings
        self._get_channel, self._set_channel, self._open_tickets = get_channel, set_channel, open_tickets
        self._installations = installations
        if installations is None and not settings.bot_token:
            self._installations = _installations(settings)
        self._home, self._everywhere = "", False
        self._revoked: set[str] = set()
        self._trouble = "not connected yet"
        self._link_up = False
        self._closed, self._left = asyncio.Event(), asyncio.Event()
        self._left.set()
        self.port = 0
        self.clients = Clients(self._token_for, base_url=settings.api_url)
        self.people = People(
            self.clients, staff=settings.staff, staff_channel=settings.staff_channel, patience=settings.patience
        )
        self._delivery = delivery or SlackDelivery(self.clients, posts)

    @property
    def connected(self) -> bool:
        """Whether Slack is heard now."""
        return self._link_up and not self.problem

    @property
    def problem(self) -> str:
        """Why Slack is not heard, for who runs this; empty when it is."""
        if self._settings.bot_token and self._revoked:
            return "Slack revoked SLACK_BOT_TOKEN: install the app again, and set its new token"
        return self._trouble

    # Hearing.

    async def listen(self, receive: Receive, /) -> None:
        """Hear people until the connector is closed. Raises `SettingsError` for tokens that Slack refuses."""
        self._left.clear()
        desk = self._desk(receive)
        try:
            if self._settings.bot_token:
                await self._check_token()
            if self._installations is not None:
                await self._installations.open()
            async with AsyncExitStack() as stack:
                app = Listening(desk).app()
                self.port = await stack.enter_async_context(self._serving(app)) if self._serves() else 0
                if self._settings.app_token:
                    await self._until_closed(app)
                else:
                    self._told(True, "")
                    await self._closed.wait()
        finally:
            self._told(False, "not connected")
            await desk.close()
            self._left.set()

    def _desk(self, receive: Receive) -> Desk:
        return Desk(
            self._settings,
            self.clients,
            self.people,
            receive,
            self._is_installed,
            self._forget,
            self.outsiders,
            self._get_channel,
            self._set_channel,
            self._open_tickets,
            self._asker_of,
        )

    def _serves(self) -> bool:
        return not self._settings.app_token or self._installations is not None

    def _serving(self, app: AsyncApp) -> AbstractAsyncContextManager[int]:
        settings = self._settings
        return serving(
            app if settings.signing_secret else None,
            self._installations,
            host=settings.host,
            port=settings.port,
            path=settings.path,
            signing_secret=settings.signing_secret,
        )

    async def _until_closed(self, app: AsyncApp) -> None:
        settings = self._settings
        client = AsyncWebClient(settings.app_token, settings.api_url)
        client.proxy = None
        socket = SocketMode(
            app, client, changed=self._told, ping_seconds=settings.ping_seconds, backoff=settings.backoff
        )
        running = asyncio.create_task(socket.run())
        closing = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait({running, closing}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            closing.cancel()
            running.cancel()
            await asyncio.gather(running, closing, return_exceptions=True)

    def _told(self, connected: bool, problem: str) -> None:
        self._link_up, self._trouble = connected, problem

    async def _check_token(self) -> None:
        """Ask Slack who we are, as long as it takes to reach it, and say which scopes are missing."""
        pause, most = self._settings.backoff
        client = AsyncWebClient(self._settings.bot_token, self._settings.api_url)
        client.proxy = None
        while not self._closed.is_set():
            try:
                answer = await client.auth_test()
            except SlackApiError as error:
                code = code_of(error)
                if code in _REFUSED:
                    raise SettingsError(
                        f"Slack refused SLACK_BOT_TOKEN: {code}",
                        "Copy the Bot User OAuth Token from OAuth & Permissions; install the app again if it was removed.",
                    ) from None
                self._trouble = f"Slack did not accept auth.test: {code}"
            except (aiohttp.ClientError, OSError, TimeoutError, AttributeError) as error:
                self._trouble = f"Slack cannot be reached: {str(error) or type(error).__name__}"
            else:
                self._home = str(answer.get("team_id"))
                # Installed in a whole organisation, the token is good for all workspaces that it was added to.
                self._everywhere = bool(answer.get("is_enterprise_install"))
                self.clients.know(self._home, str(answer.get("user_id") or ""), str(answer.get("bot_id") or ""))
                self._revoked.discard(self._home)
                self._tell_missing(_header(answer.headers, "x-oauth-scopes"))
                return
            _log.warning("%s", self._trouble)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), pause)
            pause = min(most, pause * 2)

    def _tell_missing(self, granted: str) -> None:
        for scope in missing_scopes(granted, follow=self._settings.follow):
            _log.warning(
                "the app has no scope %s, which it needs for %s: add it and install again", scope, SCOPES[scope]
            )

    async def _token_for(self, team: str) -> str | None:
        if self._settings.bot_token:
            return self._settings.bot_token if self._everywhere or self._home in ("", team) else None
        return await self._installations.token_for(team) if self._installations is not None else None

    async def _is_installed(self, team: str) -> bool:
        if self._settings.bot_token:
            return self._everywhere or team == self._home
        return await self._token_for(team) is not None

    async def _forget(self, team: str) -> None:
        """The app was removed from a workspace, or its token revoked."""
        if not await self._is_installed(team):
            return
        try:
            await self.clients.request(team, "auth.test", {})
        except (Refused, DeliveryError):
            pass
        else:
            _log.info("a token of the Slack workspace %s was revoked, but not the one in use", team)
            return
        _log.error("the app was removed from the Slack workspace %s: nothing more is heard or shown there", team)
        self._revoked.add(team)
        if self._installations is None:
            self._watching = asyncio.get_running_loop().create_task(self._until_accepted(team))
        else:
            await self._installations.remove(team)

    # Showing.

    async def deliver(self, delivery: Delivery, /) -> None:
        """Show a status, a draft or a reply. Raises `DeliveryError`."""
        with self._noting_lost_tokens(delivery.address.space):
            await self._delivery.deliver(delivery)

    @contextmanager
    def _noting_lost_tokens(self, team: str) -> Iterator[None]:
        """A token that is refused here is refused everywhere, until somebody mends it."""
        try:
            yield
        except DeliveryError as error:
            if error.token and team not in self._revoked:
                _log.critical("Slack refuses the token of the workspace %s: %s", team, error)
                self._revoked.add(team)
                self._watching = asyncio.get_running_loop().create_task(self._until_accepted(team))
            raise

    async def _until_accepted(self, team: str) -> None:
        while team in self._revoked:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            with suppress(Refused, Limited, Doubtful, DeliveryError):
                await self.clients.request(team, "auth.test", {})
                self._revoked.discard(team)
                _log.warning("Slack accepts the token of the workspace %s again.", team)

    async def fetch(self, address: Address, attachment: Attachment, most_bytes: int, /) -> bytes:
        """The first bytes of a file. Raises `DeliveryError`."""
        if attachment.source.startswith(LOOK_UP_FILE):
            attachment = await self._looked_up(address, attachment)
        return await self._delivery.fetch(address, attachment, most_bytes)

    async def _looked_up(self, address: Address, attachment: Attachment) -> Attachment:
        client = await self.clients.for_space(address.space)
        try:
            answer = await client.files_info(file=attachment.source.removeprefix(LOOK_UP_FILE))
        except (SlackApiError, aiohttp.ClientError, OSError, TimeoutError, AttributeError) as error:
            raise DeliveryError(
                f"Slack did not tell where the file {attachment.name} is: {type(error).__name__}"
            ) from None
        (found,) = files_of({"files": [answer.get("file")]}) or (attachment,)
        if not found.source or found.source.startswith(LOOK_UP_FILE):
            raise DeliveryError(f"The file {attachment.name} cannot be read: {found.unread}", gone=True)
        return found

    async def outsiders(self, address: Address, /) -> bool:
        """Whether guests or people of other companies read at an address now."""
        return await self._delivery.outsiders(address)

    async def said_since(self, message: Message, /) -> Sequence[Message]:
        """What its author said after it in its thread; nothing where Slack does not tell at once."""
        team, thread = message.address.space, message.address.thread
        since = message.id.rpartition("#")[2]
        args = {"channel": message.address.room, "ts": thread, "oldest": since, "limit": _MOST_SAID}
        try:
            told = await self.clients.request(team, "conversations.replies", args)
            heard: list[Message] = []
            for said in told.get("messages") or ():
                if not isinstance(said, Mapping) or said.get("user") != message.author or said.get("ts") == since:
                    continue
                event = {"type": "message", **said, "channel": message.address.room, "channel_type": "channel"}
                body = {"team_id": team, "event": event}
                inbound = hear(body, await self.people.facts(body, team))
                if isinstance(inbound, Message):
                    heard.append(inbound)
            return heard
        except (Refused, Limited, Doubtful, DeliveryError):
            return ()

    async def notify(self, room: Address, ticket: Ticket, /) -> str:
        """Tell the staff of a ticket in their room, once."""
        with self._noting_lost_tokens(room.space):
            return await self._delivery.notify(room, ticket)

    async def close(self) -> None:
        """Leave Slack: `listen` returns."""
        self._closed.set()
        if self._watching is not None:
            self._watching.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._left.wait(), _SECONDS_TO_LEAVE)
        await self._delivery.close()
        await self.people.close()
        await self.clients.close()
        if self._installations is not None:
            await self._installations.close()


def missing_scopes(granted: str, *, follow: bool = True) -> Sequence[str]:
    """The scopes that the app should have, and has not, by the header that Slack answers with."""
    given = {scope.strip() for scope in granted.split(",") if scope.strip()}
    return [scope for scope in scopes(follow=follow) if scope not in given] if given else []


def _header(headers: object, name: str) -> str:
    items = headers.items() if hasattr(headers, "items") else ()
    return next((str(value) for key, value in items if str(key).lower() == name), "")


def _installations(settings: SlackSettings) -> Installations:
    base = settings.public_url.rstrip("/")
    return Installations(
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        database=settings.database,
        encryption_key=settings.encryption_key,
        scopes=scopes(follow=settings.follow),
        api_url=settings.api_url,
        redirect_url=f"{base}/slack/oauth_redirect" if base else "",
    )
