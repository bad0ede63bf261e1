"""Socket Mode: deliveries over a websocket. An envelope is acknowledged when Bolt says 200, and never before.

Slack ends each connection after some hours and says so; then the next one is opened before the old one is left. A connection
that is cut or falls silent is replaced, with pauses that grow while Slack cannot be reached.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from agent.errors import SettingsError
from agent.tracing import point

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp
    from slack_bolt.response import BoltResponse

_KINDS = ("events_api", "interactive", "slash_commands")
_REFUSED = {
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "not_allowed_token_type",
    "missing_scope",
    "no_permission",
}
_WHY = {
    "too_many_websockets": "as many connections as Slack takes of one app (ten) are open: run fewer processes, or use HTTP",
    "link_disabled": "Socket Mode is switched off in the app's settings: switch it on, or use HTTP",
}
"""Why Slack ends a connection before it begins."""
_SECONDS_TO_GREET = 15.0
_SECONDS_TO_LEAVE = 10.0

_log = logging.getLogger(__name__)


class SocketMode:
    """Hears over websockets until it is cancelled. `changed` is told whether it is connected, and what the problem is."""

    def __init__(
        self,
        app: AsyncApp,
        client: AsyncWebClient,
        *,
        changed: Callable[[bool, str], None],
        ping_seconds: float = 10.0,
        backoff: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        self._app, self._client, self._changed = app, client, changed
        self._ping, self._backoff = ping_seconds, backoff
        self._current: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._was_connected = False

    async def run(self) -> None:
        """Keep a connection. Raises `SettingsError` when the app's token is refused from the start."""
        pause, most = self._backoff
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS_TO_GREET)
        try:
            async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
                while True:
                    since = time.monotonic()
                    ended = await self._once(session)
                    if time.monotonic() - since >= most:
                        pause = self._backoff[0]
                    if ended != "refresh" or time.monotonic() - since < pause:
                        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                        pause = min(most, pause * 2)
        finally:
            self._changed(False, "")
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _once(self, session: aiohttp.ClientSession) -> str:
        """One connection: "refresh" when Slack asked for the next one, "lost" after it was up, "" when it never was."""
        socket: aiohttp.ClientWebSocketResponse | None = None
        try:
            address = str((await self._client.apps_connections_open(app_token=self._client.token or ""))["url"])
            socket = await session.ws_connect(address, heartbeat=self._ping, max_msg_size=16 * 1024 * 1024)
            greeting = await asyncio.wait_for(socket.receive(), _SECONDS_TO_GREET)
            told = _parsed(greeting)
            if told.get("type") != "hello":
                raise ConnectionError(
                    _WHY.get(str(told.get("reason")), f"Slack greeted with {str(greeting.data)[:100]}")
                )
        except SlackApiError as error:
            self._refused(code_of(error))
        except (aiohttp.ClientError, OSError, TimeoutError, AttributeError) as error:
            # The SDK reads `.get` of an answer that is no JSON, which is an AttributeError.
            self._changed(False, f"Slack cannot be reached: {error or type(error).__name__}")
            _log.warning("no connection to Slack: %s", error or type(error).__name__)
        else:
            return await self._stay(socket)
        if socket is not None:
            await socket.close()
        return ""

    def _refused(self, error: str) -> None:
        problem = f"Slack refused the app-level token: {error}"
        if error in _REFUSED and not self._was_connected:
            raise SettingsError(
                problem, "SLACK_APP_TOKEN is an app-level token (xapp-...) with the scope connections:write."
            )
        self._changed(False, problem)
        _log.error("%s", problem)

    async def _stay(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        self._current, self._was_connected = socket, True
        self._changed(True, "")
        _log.info("connected to Slack")
        leave = asyncio.Event()
        reader = self._spawn(self._read(socket, leave))
        asked = self._spawn(leave.wait())
        await asyncio.wait({reader, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if leave.is_set():
            self._spawn(self._retire(socket, reader))
            return "refresh"
        self._changed(False, "the connection to Slack was lost")
        _log.warning("the connection to Slack was lost (%s)", socket.exception() or socket.close_code)
        await socket.close()
        return "lost"

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, leave: asyncio.Event) -> None:
        async for received in socket:
            message = _parsed(received)
            if message.get("type") in _KINDS and isinstance(message.get("payload"), dict):
                self._spawn(self._hear(socket, message))
            elif message.get("type") == "disconnect" and message.get("reason") != "warning":
                if message.get("reason") == "link_disabled":
                    _log.error("Socket Mode was switched off in the app's settings")
                    return
                leave.set()

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse, message: Mapping[str, Any]) -> None:
        from slack_bolt.async_app import AsyncBoltRequest

        headers: dict[str, str | Sequence[str]] = {
            name: [str(message[key])]
            for name, key in (("x-slack-retry-num", "retry_attempt"), ("x-slack-retry-reason", "retry_reason"))
            if message.get(key)
        }
        request = AsyncBoltRequest(mode="socket_mode", body=message["payload"], headers=headers)
        response = await self._app.async_dispatch(request)
        if response.status != 200:
            return
        answer: dict[str, Any] = {"envelope_id": message.get("envelope_id")}
        payload = _payload_of(response)
        if payload and message.get("accepts_response_payload"):
            answer["payload"] = payload
        target = self._current if socket.closed and self._current is not None else socket
        try:
            await target.send_json(answer)
            point("acknowledged", str(message.get("envelope_id")))
        except (aiohttp.ClientError, ConnectionError) as error:
            _log.info("an acknowledgement did not reach Slack, which will deliver again: %s", error)

    async def _retire(self, socket: aiohttp.ClientWebSocketResponse, reader: asyncio.Task[Any]) -> None:
        await asyncio.wait({reader}, timeout=_SECONDS_TO_LEAVE)
        await socket.close()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("Socket Mode: %s", task.exception(), exc_info=task.exception())


def code_of(error: SlackApiError) -> str:
    """Slack's word for what is wrong, also where its answer was a page of a proxy."""
    told = getattr(error.response, "data", None)
    return str(told.get("error")) if isinstance(told, dict) else "an answer that is not Slack's"


def _parsed(message: aiohttp.WSMessage) -> dict[str, Any]:
    if message.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        found = json.loads(message.data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _payload_of(response: BoltResponse) -> Any:
    """What the app answers with the acknowledgement: a form's errors, or a command's text."""
    if not response.body:
        return None
    kind = response.headers.get("content-type", [""])[0]
    return json.loads(response.body) if kind.startswith("application/json") else {"text": response.body}
