"""The gateway: websockets with sessions, heartbeats, intents, shards and RESUME; and what a test can do to them."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from typing import Any

from aiohttp import WSMsgType, web

from tests.servers.discord import intents
from tests.servers.discord.greetings import application_flags, chunk_json, ready_json
from tests.servers.discord.payloads import Closed, identify_of, members_asked, payload_of, presence_of, resume_of
from tests.servers.discord.sessions import COMPRESSIONS, Connection, Identify, Session
from tests.servers.discord.shapes import Shapes
from tests.servers.discord.state import Json

_MOST_BYTES, _MOST_SENT, _SENT_SECONDS = 4096, 120, 60.0
_GOODBYE_SECONDS = 2.0
# After these the client has to start a new session.
_ENDING = {1000, 1001, 4004, 4007, 4009, 4010, 4011, 4012, 4013, 4014}
# What an app did wrong; the other codes are about settings.
_FAULTS = {4001, 4002, 4003, 4005, 4007, 4008, 4010, 4012, 4013}
_DOUBLED = {
    "MESSAGE_CREATE",
    "MESSAGE_UPDATE",
    "MESSAGE_DELETE",
    "THREAD_CREATE",
    "THREAD_UPDATE",
    "INTERACTION_CREATE",
}


class Gateway:
    """Takes the app's websockets. Tests use all that is public, from any thread."""

    def __init__(self, state: Shapes) -> None:
        self.state = state
        self.heartbeat_interval = 2000
        # So much later than the interval a heartbeat may come before it is a violation and the connection is closed.
        self.heartbeat_grace: float = 20
        # How long a session can be resumed, and how many events are kept for that.
        self.session_seconds: float = 120
        self.most_kept = 1000
        # The 5 seconds in which `max_concurrency` sessions may start; 0: not looked at.
        self.identify_seconds: float = 0
        self.sharding_required = False
        # The privileged intents besides State.message_content_allowed.
        self.members_allowed = self.presences_allowed = False
        # The share of events that come twice.
        self.duplicate = 0.0
        self.identifies: list[Identify] = []
        self.resumes: list[Identify] = []
        self.presences: list[Json] = []
        # Close codes with which the app ended connections.
        self.closes: list[int] = []
        self._sessions: dict[str, Session] = {}
        self._connections: list[Connection] = []
        self._numbers = itertools.count(1)
        self._chance = random.Random(11)
        self._deaf = False
        self._refusing = 0
        self._reset = False
        self._last_identify: dict[int, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        state.listeners.append(self.dispatch)

    # What a test sees and does.

    @property
    def connections(self) -> list[Connection]:
        """The websockets that are open."""
        with self.state.lock:
            return list(self._connections)

    @property
    def sessions(self) -> list[Session]:
        """The sessions that are connected or can be resumed."""
        with self.state.lock:
            self._expire()
            return list(self._sessions.values())

    def session_limit(self, total: int, remaining: int) -> None:
        """How many sessions may be started, of how many in a day; one more resets the token."""
        with self.state.lock:
            self.state.session_start |= {"total": total, "remaining": remaining}

    def drop(self, code: int = 1006, shard: int | None = None) -> int:
        """Close the connections (of one shard); 1006: without a word. How many there were."""
        with self.state.lock:
            found = [item for item in self._connections if shard is None or _shard(item) == shard]
            for connection in found:
                self._close(connection, code)
            return len(found)

    def invalidate(self, resumable: bool = False) -> None:
        """Tell each connected session that it is invalid (op 9)."""
        with self.state.lock:
            for connection in self._connections:
                session = connection.session
                if session is None:
                    continue
                self._lose(connection)
                connection.session = None
                if not resumable:
                    self._sessions.pop(session.id, None)
                self._send(connection, 9, resumable)

    def reconnect(self) -> None:
        """Ask each client to reconnect and resume (op 7)."""
        with self.state.lock:
            for connection in self._connections:
                self._send(connection, 7, None)

    def ask_heartbeat(self) -> None:
        """Ask each client for a heartbeat at once (op 1)."""
        with self.state.lock:
            for connection in self._connections:
                self._send(connection, 1, None)

    def zombie(self) -> int:
        """Let the connections that are open now stay so without a sign of life. How many there are."""
        with self.state.lock:
            for connection in self._connections:
                connection.silent = True
            return len(self._connections)

    def forget_sessions(self) -> None:
        """Let no session of now be resumed; those that are connected go on until they are not."""
        with self.state.lock:
            self._sessions.clear()

    def refuse(self, code: int = 0) -> None:
        """Answer each IDENTIFY and RESUME with this close code; 0 ends it."""
        with self.state.lock:
            self._refusing = code

    def deaf(self) -> None:
        """Take no connections; open ones stay."""
        with self.state.lock:
            self._deaf = True

    def hear(self) -> None:
        """Take connections again, and refuse nobody."""
        with self.state.lock:
            self._deaf, self._refusing = False, 0

    # Events.

    def dispatch(self, event: str, data: Json, guild: str | None) -> None:
        """Tell the sessions of an event. Called with the lock held."""
        self._expire()
        live = [connection.session for connection in self._connections if connection.session is not None]
        if event == "GUILD_CREATE":
            # A guild that the bot joins is not one that became available.
            data = {name: value for name, value in data.items() if name != "unavailable"}
        for session in dict.fromkeys([*self._sessions.values(), *live]):
            if not session.serves(guild):
                continue
            shown = self._shown(session, event, data, guild)
            if shown is None:
                continue
            times = 2 if event in _DOUBLED and self._chance.random() < self.duplicate else 1
            for _ in range(times):
                self._tell(session, event, shown)

    def _shown(self, session: Session, event: str, data: Json, guild: str | None) -> Json | None:
        """An event as the session gets it, or None."""
        readable = bool(session.intents & intents.MESSAGE_CONTENT) and self.state.message_content_allowed
        return intents.as_heard(session.intents, event, data, self.state.bot.id, guild is not None, readable)

    def _tell(self, session: Session, event: str, data: Any) -> None:
        text = session.dispatched(event, data)
        if session.connection is not None:
            self._put(session.connection, text)

    def _expire(self) -> None:
        since = time.monotonic() - self.session_seconds
        for session in list(self._sessions.values()):
            if session.lost_at is not None and session.lost_at < since:
                del self._sessions[session.id]

    # Connections.

    def routes(self) -> list[web.RouteDef]:
        """Where clients connect."""
        return [web.get("/gateway", self._link), web.get("/gateway/", self._link)]

    async def _link(self, request: web.Request) -> web.StreamResponse:
        self._loop = asyncio.get_running_loop()
        if self._deaf:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        query = request.query
        packing = COMPRESSIONS.get(query.get("compress", ""))
        socket = web.WebSocketResponse(compress=False, timeout=2, autoclose=False)
        await socket.prepare(request)
        connection = Connection(next(self._numbers), socket, request, (packing or COMPRESSIONS[""])())
        with self.state.lock:
            self._connections.append(connection)
            self._send(connection, 10, {"heartbeat_interval": self.heartbeat_interval, "_trace": ["local"]})
            if query.get("v") != "10":
                self._refused(connection, Closed(4012, f"version {query.get('v')} of the gateway"))
            elif query.get("encoding") != "json" or packing is None:
                self._refused(connection, Closed(4002, f"unknown encoding or compression: {request.query_string}"))
        writer, watcher = asyncio.create_task(self._write(connection)), asyncio.create_task(self._watch(connection))
        try:
            await self._read(connection)
        finally:
            with self.state.lock:
                self._over(connection)
            writer.cancel()
            watcher.cancel()
        return socket

    async def _write(self, connection: Connection) -> None:
        while True:
            item = await connection.outgoing.get()
            try:
                if isinstance(item, int):
                    # The reader goes on until the client has said goodbye: a socket that is closed earlier loses the code.
                    await connection.socket.send_frame(item.to_bytes(2, "big"), WSMsgType.CLOSE)
                    await asyncio.sleep(_GOODBYE_SECONDS)
                    _abort(connection)
                    return
                packed = connection.packing.pack(item)
                if isinstance(packed, bytes):
                    await connection.socket.send_bytes(packed)
                else:
                    await connection.socket.send_str(packed)
            except (ConnectionError, RuntimeError):
                # The client has gone; the reader notices, too.
                return

    async def _watch(self, connection: Connection) -> None:
        """Close a connection whose client sends no heartbeats."""
        while not connection.leaving:
            longest = self.heartbeat_interval / 1000 + self.heartbeat_grace
            left = connection.heard_at + longest - time.monotonic()
            if left > 0:
                await asyncio.sleep(min(left, 1.0))
                continue
            with self.state.lock:
                if not connection.silent and not connection.leaving:
                    self.state.violated("gateway: a heartbeat did not come in time")
                    self._close(connection, 4000)
            return

    async def _read(self, connection: Connection) -> None:
        async for message in connection.socket:
            if connection.silent or connection.leaving:
                continue
            with self.state.lock:
                try:
                    if message.type is not WSMsgType.TEXT:
                        raise Closed(4002, "not a text frame")
                    if connection.too_many(_MOST_SENT, _SENT_SECONDS):
                        raise Closed(4008, f"more than {_MOST_SENT} payloads in {_SENT_SECONDS:.0f} s")
                    if len(message.data.encode()) > _MOST_BYTES:
                        raise Closed(4002, f"a payload of more than {_MOST_BYTES} bytes")
                    self._heard(connection, *payload_of(message.data))
                except Closed as closed:
                    self._refused(connection, closed)

    def _over(self, connection: Connection) -> None:
        """The websocket is closed."""
        code = connection.socket.close_code
        session = connection.session
        self._lose(connection)
        if not connection.leaving and code is not None and code != 1006:
            self.closes.append(code)
            if code in {1000, 1001} and session is not None:
                self._sessions.pop(session.id, None)
        connection.leaving = True
        if connection in self._connections:
            self._connections.remove(connection)

    def _lose(self, connection: Connection) -> None:
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection, session.lost_at = None, time.monotonic()

    def _close(self, connection: Connection, code: int) -> None:
        """End a connection from this side, after what was already sent."""
        if connection.leaving:
            return
        session = connection.session
        self._lose(connection)
        if session is not None and code in _ENDING - {1000, 1001}:
            self._sessions.pop(session.id, None)
        connection.leaving = True
        if connection in self._connections:
            self._connections.remove(connection)
        if code == 1006:
            self._soon(_abort, connection)
        else:
            self._put(connection, code)

    def _refused(self, connection: Connection, closed: Closed) -> None:
        if closed.code in _FAULTS:
            self.state.violated(f"gateway: closed with {closed.code}: {closed.reason}")
        self._close(connection, closed.code)

    def _send(self, connection: Connection, op: int, data: Any) -> None:
        self._put(connection, json.dumps({"t": None, "s": None, "op": op, "d": data}))

    def _put(self, connection: Connection, item: str | int) -> None:
        if not connection.silent or isinstance(item, int):
            self._soon(connection.outgoing.put_nowait, item)

    def _soon(self, function: Any, *args: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    # What clients send.

    def _heard(self, connection: Connection, op: int, data: Any) -> None:
        if op == 1:
            if data is not None and (isinstance(data, bool) or not isinstance(data, int)):
                raise Closed(4002, "a heartbeat's d is a sequence or null")
            connection.heard_at = time.monotonic()
            connection.heartbeats += 1
            self._send(connection, 11, None)
        elif op == 2:
            if connection.session is not None:
                raise Closed(4005, "a second IDENTIFY")
            self._identify(connection, identify_of(data))
        elif op == 6:
            if connection.session is not None:
                raise Closed(4005, "a RESUME in a session")
            self._resume(connection, resume_of(data))
        elif op not in {3, 4, 8, 31}:
            raise Closed(4001, f"unknown opcode {op}")
        elif connection.session is None:
            raise Closed(4003, f"opcode {op} before IDENTIFY")
        elif op == 3:
            self.presences.append(presence_of(data))
        elif op == 8:
            self._members(connection.session, members_asked(data))

    def _identify(self, connection: Connection, data: Json) -> None:
        try:
            self._check_identify(data)
        except Closed:
            self.identifies.append(Identify(time.monotonic(), data, False))
            raise
        if not self._budget(data):
            self.identifies.append(Identify(time.monotonic(), data, False))
            self._send(connection, 9, False)
            return
        self.identifies.append(Identify(time.monotonic(), data, True))
        shard = tuple(data.get("shard") or (0, 1))
        session = Session(f"{self.state.snowflake()}local", (shard[0], shard[1]), data["intents"], self.most_kept)
        session.connection, connection.session = connection, session
        self._sessions[session.id] = session
        guilds = [guild for guild in self.state.guilds.values() if not guild.left and session.serves(guild.id)]
        flags = application_flags(self.state.message_content_allowed, self.members_allowed, self.presences_allowed)
        self._tell(session, "READY", ready_json(self.state, session, guilds, flags, data))
        if session.intents & intents.GUILDS:
            for guild in guilds:
                self._tell(session, "GUILD_CREATE", self.state.guild_create_json(guild))

    def _check_identify(self, data: Json) -> None:
        if self._refusing:
            raise Closed(self._refusing, "refused by the test")
        if data["token"] != self.state.token or self._reset:
            raise Closed(4004, "the token is wrong")
        number, of = data.get("shard") or (0, 1)
        if not 0 <= number < of:
            raise Closed(4010, f"shard {number} of {of}")
        guilds = [guild.id for guild in self.state.guilds.values() if not guild.left]
        if (self.sharding_required and of == 1) or sum((int(guild) >> 22) % of == number for guild in guilds) > 2500:
            raise Closed(4011, "sharding is required")
        wanted = data["intents"]
        if wanted < 0 or wanted & ~intents.ALL:
            raise Closed(4013, f"unknown intents {wanted}")
        allowed = intents.MESSAGE_CONTENT if self.state.message_content_allowed else 0
        allowed |= intents.GUILD_MEMBERS if self.members_allowed else 0
        allowed |= intents.GUILD_PRESENCES if self.presences_allowed else 0
        if wanted & intents.PRIVILEGED & ~allowed:
            raise Closed(4014, "a privileged intent is not switched on")

    def _budget(self, data: Json) -> bool:
        """Count a start of a session. False when the next one had to wait."""
        start, now = self.state.session_start, time.monotonic()
        if start["remaining"] <= 0:
            self._reset = True
            self.state.violated("gateway: more sessions started than a day allows: the token would be reset")
            for connection in list(self._connections):
                self._close(connection, 4004)
            raise Closed(4004, "the token was reset")
        start["remaining"] -= 1
        key = (data.get("shard") or (0, 1))[0] % start["max_concurrency"]
        last = self._last_identify.get(key)
        self._last_identify[key] = now
        if last is not None and now - last < self.identify_seconds:
            self.state.violated(f"gateway: IDENTIFY {now - last:.1f} s after another one")
            return False
        return True

    def _resume(self, connection: Connection, data: Json) -> None:
        if self._refusing:
            self.resumes.append(Identify(time.monotonic(), data, False))
            raise Closed(self._refusing, "refused by the test")
        self._expire()
        session = self._sessions.get(data["session_id"])
        wrong = data["token"] != self.state.token or self._reset
        beyond = session is not None and not 0 <= data["seq"] <= session.sequence
        missed = None if session is None or wrong or beyond else session.missed_since(data["seq"])
        self.resumes.append(Identify(time.monotonic(), data, missed is not None))
        if wrong:
            raise Closed(4004, "the token is wrong")
        if beyond:
            raise Closed(4007, f"the sequence {data['seq']} has not been sent")
        if session is None or missed is None:
            self._send(connection, 9, False)
            return
        if session.connection is not None:
            self._close(session.connection, 1006)
        session.connection, session.lost_at, connection.session = connection, None, session
        for text in missed:
            self._put(connection, text)
        self._tell(session, "RESUMED", {"_trace": ["local"]})

    def _members(self, session: Session, asked: Json) -> None:
        """Answer op 8 with one chunk."""
        guild = self.state.guilds.get(asked["guild_id"])
        if guild is None or guild.left or not session.serves(guild.id):
            return
        everybody = not asked.get("query") and not asked.get("user_ids")
        if everybody and not session.intents & intents.GUILD_MEMBERS:
            self.state.violated("gateway: all members asked for without the intent GUILD_MEMBERS")
            return
        self._tell(session, "GUILD_MEMBERS_CHUNK", chunk_json(self.state, guild, asked))


def _abort(connection: Connection) -> None:
    if connection.request.transport is not None:
        connection.request.transport.abort()


def _shard(connection: Connection) -> int | None:
    return connection.session.shard[0] if connection.session else None
