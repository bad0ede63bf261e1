"""Deliveries to the app: over Socket Mode's websockets or as signed HTTP requests, acknowledged or sent again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from aiohttp import WSMsgType, web

from tests.servers.slack.state import Channel, Json
from tests.servers.slack.watching import Watching

_MOST_CONNECTIONS = 10
_SUBSCRIPTION = {"channel": "message.channels", "group": "message.groups", "im": "message.im", "mpim": "message.mpim"}


@dataclass(eq=False)
class Delivery:
    """One event, command or interaction on its way to the app. Times are monotonic."""

    id: str
    kind: str
    payload: Json
    accepts_response: bool = False
    sent_at: list[float] = field(default_factory=list)
    acked_at: float | None = None
    reasons: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    response: Any = None
    given_up: bool = False
    # What happens with the body of the app's first acknowledgement.
    answered: Callable[[Any], None] | None = None
    settled: threading.Event = field(default_factory=threading.Event)

    @property
    def first_sent_at(self) -> float | None:
        return self.sent_at[0] if self.sent_at else None

    @property
    def event(self) -> Json:
        """The inner event of an events_api delivery."""
        found: Json = self.payload.get("event", {})
        return found


@dataclass(eq=False)
class Connection:
    """A websocket of Socket Mode."""

    number: int
    socket: web.WebSocketResponse
    request: web.Request
    outgoing: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    # A zombie: it stays open, but nothing comes from it and nothing reaches it.
    silent: bool = False
    # Slack has asked the app to go; nothing new is sent here.
    leaving: bool = False


class Deliveries(Watching):
    """Sends, waits for the acknowledgement and sends again."""

    def __init__(self) -> None:
        super().__init__()
        # Where signed requests go; with "" everything goes over Socket Mode.
        self.request_url = ""
        self.ack_seconds: float = 3
        # Seconds to the second and the third retry; the first is sent at once.
        self.retry_after: tuple[float, ...] = (60, 300)
        # The share of acknowledged events that come again, as when an acknowledgement is lost.
        self.double_deliveries = 0.0
        # Holds each event back until the next one has been sent, at most for `out_of_order_seconds`.
        self.out_of_order = False
        self.out_of_order_seconds: float = 0.2
        self.deliveries: list[Delivery] = []
        self.connections: list[Connection] = []
        self.bad_acks: list[str] = []
        self._by_id: dict[str, Delivery] = {}
        self._held: Delivery | None = None
        self._turn = itertools.count()
        self._connection_numbers = itertools.count(1)
        self._tickets: set[str] = set()
        self._chance = random.Random(11)

    # What other parts and tests call, from any thread.

    def emit(self, event: Json, *, team: str, channel: Channel | None = None) -> Delivery | None:
        """Deliver an event that the app subscribes to. None when it does not."""
        name = event["type"]
        if name == "message" and channel is not None:
            name = _SUBSCRIPTION[channel.kind]
        home = self.teams[team]
        legacy = not self.agent_view and name.startswith("assistant_thread_")
        if name not in self.events and not legacy:
            return None
        if not home.installed and name not in {"app_uninstalled", "tokens_revoked"}:
            return None
        id_ = self.new_id("Ev")
        authorization = {
            "enterprise_id": home.organisation or None,
            "team_id": None if home.organisation else team,
            "user_id": home.bot_user,
            "is_bot": True,
            "is_enterprise_install": bool(home.organisation),
        }
        context = json.dumps({"et": event["type"], "tid": team, "aid": self.app_id, "cid": event.get("channel", "")})
        payload = {
            "token": self.verification_token,
            "team_id": team,
            "context_team_id": team,
            "context_enterprise_id": home.organisation or None,
            "api_app_id": self.app_id,
            "event": event,
            "type": "event_callback",
            "event_id": id_,
            "event_time": int(float(event.get("event_ts") or time.time())),
            "authorizations": [authorization],
            "is_ext_shared_channel": channel is not None and channel.shared,
            "event_context": "4-" + base64.urlsafe_b64encode(context.encode()).decode().rstrip("="),
        }
        return self._deliver(Delivery(id_, "events_api", payload))

    def interact(self, payload: Json, *, accepts_response: bool = False) -> Delivery:
        """Deliver a click, a shortcut or a submission; it is not sent again."""
        return self._deliver(Delivery(self.new_id("Ex"), "interactive", payload, accepts_response))

    def command(self, payload: Json, answered: Callable[[Any], None]) -> Delivery:
        """Deliver a slash command; it is not sent again."""
        return self._deliver(Delivery(self.new_id("Ex"), "slash_commands", payload, True, answered=answered))

    def redeliver_unacknowledged(self) -> int:
        """Send every event that was not acknowledged again, now. How many there were."""
        with self.lock:
            waiting = [item for item in self.deliveries if item.acked_at is None and item.kind == "events_api"]
            for delivery in waiting:
                self._later(0, delivery, "timeout", forced=True)
            return len(waiting)

    def redeliver(self, delivery: Delivery) -> None:
        """Send one event again, acknowledged or not, as Slack does when an acknowledgement is lost."""
        self._later(0, delivery, "timeout", forced=True)

    def sent(self, kind: str) -> list[Delivery]:
        """The deliveries of events of this type, or of commands or interactions ("slash_commands", "interactive")."""
        with self.lock:
            return [item for item in self.deliveries if kind in (item.kind, item.event.get("type"))]

    @property
    def unacknowledged(self) -> list[Delivery]:
        with self.lock:
            return [delivery for delivery in self.deliveries if delivery.acked_at is None]

    def disconnect(self, reason: str = "refresh_requested") -> None:
        """Tell each connection that it will be closed: "warning", "refresh_requested" or "link_disabled"."""
        with self.lock:
            for connection in self.connections:
                message = {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-local"}}
                connection.leaving = connection.leaving or reason != "warning"
                self._soon(connection.outgoing.put_nowait, json.dumps(message))

    def silence(self) -> int:
        """Make the connections that are open now zombies. How many there are."""
        with self.lock:
            for connection in self.connections:
                connection.silent = True
            return len(self.connections)

    def cut(self) -> int:
        """Break the connections that are open now, without a word. How many there were."""
        with self.lock:
            cut = list(self.connections)
            for connection in cut:
                transport = connection.request.transport
                if transport is not None:
                    self._soon(transport.abort)
            return len(cut)

    def new_ticket(self) -> str:
        """The address of a websocket that can be opened once."""
        ticket = self.new_id("W")
        self._tickets.add(ticket)
        return f"ws://127.0.0.1:{self.port}/link/?ticket={ticket}&app_id={self.app_id}"

    def verify_url(self, challenge: str = "challenge-1") -> tuple[int, bytes]:
        """Send url_verification to the request_url and return what came back."""
        body = {"token": self.verification_token, "challenge": challenge, "type": "url_verification"}
        status, answer, _ = self._post("application/json", json.dumps(body).encode(), {})
        return status, answer

    # Sending, in the server's loop.

    def _begin(self) -> None:
        """Send what was said before the server ran."""
        with self.lock:
            self.loop = asyncio.get_running_loop()
            for delivery in self.deliveries:
                if not delivery.sent_at:
                    self._soon(self._send, delivery, "")

    def _soon(self, function: Any, *args: Any) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(function, *args)

    def _deliver(self, delivery: Delivery) -> Delivery:
        with self.lock:
            self.deliveries.append(delivery)
            self._by_id[delivery.id] = delivery
            held, self._held = self._held, None
            if self.out_of_order and held is None and delivery.kind == "events_api":
                self._held = delivery
                self._soon(lambda: self._call_later(self.out_of_order_seconds, self._release, delivery))
                return delivery
            self._soon(self._send, delivery, "")
            if held is not None:
                self._soon(self._send, held, "")
        return delivery

    def _call_later(self, seconds: float, function: Any, *args: Any) -> None:
        if self.loop is not None:
            self.loop.call_later(seconds, function, *args)

    def _release(self, delivery: Delivery) -> None:
        with self.lock:
            if self._held is not delivery:
                return
            self._held = None
        self._send(delivery, "")

    def _later(self, seconds: float, delivery: Delivery, reason: str, forced: bool = False) -> None:
        self._soon(lambda: self._call_later(seconds, self._again, delivery, reason, forced))

    def _again(self, delivery: Delivery, reason: str, forced: bool) -> None:
        if forced or delivery.acked_at is None:
            self._send(delivery, reason)

    def _send(self, delivery: Delivery, reason: str) -> None:
        with self.lock:
            attempt = len(delivery.sent_at)
            delivery.sent_at.append(time.monotonic())
            if self.request_url and reason == "timeout":
                reason = "http_timeout"
            if reason:
                delivery.reasons.append(reason)
            if self.request_url:
                thread = threading.Thread(target=self._send_http, args=(delivery, attempt, reason), daemon=True)
                thread.start()
                return
            connection = self._next_connection()
            if connection is None:
                self._failed(delivery, attempt, "connection_failed")
                return
            envelope: Json = {
                "envelope_id": f"{delivery.id}-{attempt}",
                "payload": delivery.payload,
                "type": delivery.kind,
                "accepts_response_payload": delivery.accepts_response,
            }
            if delivery.kind == "events_api":
                envelope |= {"retry_attempt": attempt, "retry_reason": reason}
            if not connection.silent:
                connection.outgoing.put_nowait(json.dumps(envelope))
            self._call_later(self.ack_seconds, self._timed_out, delivery, attempt)

    def _next_connection(self) -> Connection | None:
        usable = [item for item in self.connections if not item.leaving] or self.connections
        return usable[next(self._turn) % len(usable)] if usable else None

    def _timed_out(self, delivery: Delivery, attempt: int) -> None:
        with self.lock:
            if delivery.acked_at is None and len(delivery.sent_at) == attempt + 1:
                self._failed(delivery, attempt, "timeout")

    def _failed(self, delivery: Delivery, attempt: int, reason: str, retry: bool = True) -> None:
        pauses = (0.0, *self.retry_after)[:3]
        if delivery.kind != "events_api" or attempt >= len(pauses) or not retry:
            delivery.given_up = True
            delivery.settled.set()
            return
        self._later(pauses[attempt], delivery, reason)

    def _acked(self, delivery: Delivery, response: Any) -> None:
        with self.lock:
            again = delivery.acked_at is None and self._chance.random() < self.double_deliveries
            if delivery.acked_at is None:
                delivery.acked_at = time.monotonic()
                delivery.response = response
                if delivery.answered is not None and response:
                    delivery.answered(response)
            delivery.settled.set()
            if again and delivery.kind == "events_api":
                self._later(0.01, delivery, "timeout", forced=True)

    # Signed HTTP.

    def _send_http(self, delivery: Delivery, attempt: int, reason: str) -> None:
        headers = {}
        if attempt:
            headers = {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason or "http_timeout"}
        kind, body = "application/json", json.dumps(delivery.payload)
        if delivery.kind != "events_api":
            kind = "application/x-www-form-urlencoded"
            form = {"payload": body} if delivery.kind == "interactive" else delivery.payload
            body = urlencode(form)
        try:
            status, answer, no_retry = self._post(kind, body.encode(), headers)
        except TimeoutError:
            problem, status, answer, no_retry = "http_timeout", 0, b"", False
        except (OSError, http.client.HTTPException):
            problem, status, answer, no_retry = "connection_failed", 0, b"", False
        else:
            problem = "" if 200 <= status < 300 else "http_error"
        with self.lock:
            delivery.statuses.append(status)
            if not problem:
                self._acked(delivery, _parsed(answer))
            elif delivery.acked_at is None:
                self._failed(delivery, attempt, problem, retry=not no_retry)

    def _post(self, kind: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, bool]:
        """Status, body, and whether the app refuses retries."""
        at = str(int(time.time()))
        digest = hmac.new(self.signing_secret.encode(), b"v0:" + at.encode() + b":" + body, hashlib.sha256)
        headers = {
            "Content-Type": kind,
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": at,
            "X-Slack-Signature": "v0=" + digest.hexdigest(),
            **headers,
        }
        address = urlsplit(self.request_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=self.ack_seconds)
        try:
            connection.request("POST", address.path or "/", body, headers)
            response = connection.getresponse()
            return response.status, response.read(), response.getheader("x-slack-no-retry") == "1"
        finally:
            connection.close()

    # Socket Mode.

    async def _link(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("ticket") not in self._tickets:
            return web.Response(status=401, text="unknown ticket")
        self._tickets.discard(request.query["ticket"])
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        connection = Connection(next(self._connection_numbers), socket, request)
        with self.lock:
            full = len(self.connections) >= _MOST_CONNECTIONS
            if not full:
                self.connections.append(connection)
            count = len(self.connections)
        if full:
            await socket.send_json({"type": "disconnect", "reason": "too_many_websockets", "debug_info": {}})
            await socket.close()
            return socket
        hello = {
            "type": "hello",
            "num_connections": count,
            "debug_info": {"host": "applink-local", "build_number": 1, "approximate_connection_time": 18060},
            "connection_info": {"app_id": self.app_id},
        }
        await socket.send_json(hello)
        writer = asyncio.create_task(self._write(connection))
        try:
            await self._read(connection)
        finally:
            with self.lock:
                self.connections.remove(connection)
            writer.cancel()
        return socket

    async def _write(self, connection: Connection) -> None:
        while True:
            message = await connection.outgoing.get()
            if connection.silent or connection.socket.closed:
                continue
            try:
                await connection.socket.send_str(message)
            except ConnectionError:
                return

    async def _read(self, connection: Connection) -> None:
        socket = connection.socket
        async for message in socket:
            if connection.silent:
                continue
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._heard(json.loads(message.data))

    def _heard(self, message: Json) -> None:
        name, _, _ = str(message.get("envelope_id", "")).rpartition("-")
        delivery = self._by_id.get(name)
        unknown = message.keys() - {"envelope_id", "payload", "type"}
        if delivery is None or unknown:
            self.bad_acks.append(json.dumps(message))
            self.violations.append(f"socket mode: not an acknowledgement: {json.dumps(message)[:200]}")
            return
        if message.get("payload") and not delivery.accepts_response and delivery.kind != "events_api":
            self.bad_acks.append(json.dumps(message))
        self._acked(delivery, message.get("payload"))


def _parsed(answer: bytes) -> Any:
    """The JSON of an answer, or its text as Slack takes it."""
    if not answer:
        return None
    try:
        return json.loads(answer)
    except ValueError:
        return {"text": answer.decode(errors="replace")}
