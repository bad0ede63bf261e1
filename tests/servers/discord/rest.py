"""The REST API: how a request comes in, is limited, disturbed by faults, answered; and the CDN."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from aiohttp import hdrs, web

from tests.servers.discord.limits import Limits, Verdict
from tests.servers.discord.state import Call, DiscordError, Fault, Interaction, Json
from tests.servers.discord.writing import Upload, Writing

MOST_BYTES = 25 * 1024 * 1024
_SNOWFLAKE = re.compile(r"\d{15,20}")


@dataclass(frozen=True)
class Ask:
    """A request as a handler gets it."""

    parts: dict[str, str]
    body: Any
    files: list[Upload]
    query: dict[str, str]
    reason: str = ""

    def __getitem__(self, name: str) -> str:
        return self.parts[name]


@dataclass(frozen=True)
class Answered:
    """An answer with another status than 200 (or 204 for nothing)."""

    status: int
    body: Any = None


Handler = Callable[[Any, Ask], Any]


@dataclass(frozen=True)
class Route:
    """`path` has {names}; `bucket` names its rate limit; `open` ones carry their token in the path."""

    method: str
    path: str
    handler: Handler
    bucket: str = ""
    open: bool = False
    pattern: re.Pattern[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        object.__setattr__(self, "pattern", re.compile(pattern))

    @property
    def limit(self) -> str:
        """The name of its bucket."""
        return self.bucket or f"{self.method} {self.path}"


class Rest(Writing, ABC):
    """Answers the REST API."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = Limits()
        # Buckets by name: "create", "edit", "delete", "reaction", "webhook", or "METHOD /path"; (requests, seconds).
        self.limits = self.rates.limits
        # The routes of which a client has heard which bucket they have.
        self._known_routes: set[str] = set()
        # How often webhooks were asked for that are not there.
        self.lost: Counter[str] = Counter()

    @abstractmethod
    def respond(self, interaction: Interaction, body: Json, files: list[Upload]) -> Json | None:
        """Take the first response to an interaction; what the app gets with ?with_response=true."""

    def routes_of(self) -> list[Route]:
        """The table of the API."""
        raise NotImplementedError

    def rest_routes(self) -> list[web.RouteDef]:
        """For aiohttp."""
        return [
            web.route("*", "/api/{version}/{path:.*}", self._call),
            web.get("/{folder:attachments|ephemeral-attachments}/{channel}/{id}/{name}", self._download),
        ]

    # A call.

    async def _call(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["path"]
        call = Call(time.monotonic(), request.method, path, None, query=dict(request.query))
        with self.lock:
            self.calls.append(call)
            fault = self._fault(request.method, path)
        if fault is not None and fault.slow:
            await asyncio.sleep(fault.slow)
        if fault is not None and not fault.after and (fault.status or fault.cut):
            await request.read()
            return self._disturbed(request, call, fault)
        response = await self._answer(request, call, path)
        if fault is not None and fault.after and (fault.status or fault.cut):
            return self._disturbed(request, call, fault)
        return response

    async def _answer(self, request: web.Request, call: Call, path: str) -> web.Response:
        headers: dict[str, str] = {}
        files: list[Upload] = []
        try:
            self._check_client(request, path)
            call.json, files = await _read(request)
            with self.lock:
                route, parts = self._route(request.method, path)
                self._check_token(request, route)
                verdict = self._limited(request, route, parts)
                headers = verdict.headers
                if verdict.retry_after is not None:
                    return self._too_many(call, verdict)
                reason = request.headers.get("X-Audit-Log-Reason", "")
                found = route.handler(self, Ask(parts, call.json, files, call.query, reason))
        except DiscordError as error:
            return self._refused(call, error, headers)
        if isinstance(found, Answered):
            call.status, call.answer = found.status, found.body
        else:
            call.status, call.answer = (204, None) if found is None else (200, found)
        return _json(call.status, call.answer, headers)

    def _check_client(self, request: web.Request, path: str) -> None:
        agent = request.headers.get(hdrs.USER_AGENT, "")
        opened = path.startswith(("/interactions/", "/webhooks/"))
        if not agent or not (opened or agent.startswith("DiscordBot (")):
            self.violated(f"{request.method} {path}: not a valid User-Agent: {agent!r}")
        if request.match_info["version"] != "v10":
            self.violated(f"{request.method} {path}: version {request.match_info['version']} of the API")

    def _route(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        fits = [(route, found) for route in self.routes_of() if (found := route.pattern.fullmatch(path))]
        for route, found in fits:
            if route.method == method:
                parts = {name: part for name, part in found.groupdict().items() if part is not None}
                _check_ids(parts)
                return route, parts
        self.violated(f"{method} {path}: there is no such endpoint")
        if fits:
            raise DiscordError(405, 0, "405: Method Not Allowed")
        raise DiscordError(404, 0, "404: Not Found")

    def _check_token(self, request: web.Request, route: Route) -> None:
        if not route.open and request.headers.get(hdrs.AUTHORIZATION) != f"Bot {self.token}":
            raise DiscordError(401, 0, "401: Unauthorized")

    # Limits and faults.

    def _limited(self, request: web.Request, route: Route, parts: dict[str, str]) -> Verdict:
        if route.path.startswith("/interactions/"):
            return Verdict({})
        verdict = self.rates.take(route.limit, _major(parts), self._connection(request), free=route.open)
        known = f"{route.method} {route.path}"
        if verdict.knew and known in self._known_routes:
            self.violated(f"{request.method} {request.path}: sent before its rate limit was over")
        self._known_routes.add(known)
        return verdict

    def _connection(self, request: web.Request) -> int:
        """A number for the TCP connection: its port on the client's side."""
        peer = request.transport.get_extra_info("peername") if request.transport else None
        return int(peer[1]) if peer else 0

    def _too_many(self, call: Call, verdict: Verdict) -> web.Response:
        seconds = verdict.retry_after or 0.0
        self._count_invalid()
        call.status = 429
        call.answer = {"message": "You are being rate limited.", "retry_after": math.ceil(seconds * 1000) / 1000}
        call.answer["global"] = verdict.is_global
        headers = verdict.headers | {"Retry-After": str(math.ceil(seconds)), "Via": "1.1 google"}
        return _json(429, call.answer, headers)

    def _count_invalid(self) -> None:
        if self.rates.invalid():
            self.violated(f"more than {self.rates.most_invalid} invalid requests in {self.rates.invalid_seconds:.0f} s")

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.fullmatch(fault.method, method) and re.fullmatch(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _disturbed(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        if fault.cut:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        call.status, call.answer = fault.status, None
        if fault.status == 429:
            return self._fault_429(request, call, fault)
        with self.lock:
            if fault.status in {401, 403}:
                self._count_invalid()
        usual = "401: Unauthorized" if fault.status == 401 else f"{fault.status}: a fault of the test"
        call.answer = {"message": fault.message or usual, "code": fault.code}
        return _json(fault.status, call.answer, {"Via": "1.1 google"})

    def _fault_429(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        seconds = 1.0 if fault.retry_after is None else fault.retry_after
        with self.lock:
            if fault.scope != "shared":
                self._count_invalid()
            path = "/" + request.match_info["path"]
            try:
                route, parts = self._route(request.method, path)
            except DiscordError:
                pass
            else:
                connection = self._connection(request)
                if fault.is_global or not fault.via:
                    self.rates.exhaust("", "", connection, seconds, everything=True)
                else:
                    self.rates.exhaust(route.limit, _major(parts), connection, seconds, everything=False)
        headers = {"Retry-After": str(math.ceil(seconds))}
        if not fault.via:
            return web.Response(status=429, text="error code: 1015", headers=headers)
        headers |= {"Via": "1.1 google", "X-RateLimit-Scope": "global" if fault.is_global else fault.scope}
        if fault.is_global:
            headers["X-RateLimit-Global"] = "true"
        call.answer = {"message": "You are being rate limited.", "retry_after": seconds, "global": fault.is_global}
        return _json(429, call.answer, headers)

    def _refused(self, call: Call, error: DiscordError, headers: dict[str, str]) -> web.Response:
        with self.lock:
            if error.status in {401, 403}:
                self._count_invalid()
        call.status = error.status
        call.answer = {"message": error.message, "code": error.code, **error.more}
        if error.errors is not None:
            call.answer["errors"] = error.errors
        return _json(error.status, call.answer, headers)

    # The CDN.

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """A file whose url is signed and not expired; otherwise 404."""
        parts, query = request.match_info, request.query
        signature = self.signature(request.rel_url.raw_path, query.get("ex", ""), query.get("is", ""))
        try:
            alive = int(query.get("ex", "0"), 16) / 1000 > time.time()
        except ValueError:
            alive = False
        with self.lock:
            content = self.contents.get(parts["id"])
            fault = self._fault("GET", request.path)
        if fault is not None and fault.slow:
            await asyncio.sleep(fault.slow)
        if fault is not None and fault.status:
            return web.Response(status=fault.status)
        if content is None or not alive or query.get("hm") != signature:
            return web.Response(status=404, text="This content is no longer available.")
        return web.Response(body=content, content_type="application/octet-stream")


def _major(parts: dict[str, str]) -> str:
    if "webhook" in parts:
        return f"{parts['webhook']}/{parts['token']}"
    return parts.get("channel") or parts.get("guild") or ""


def _check_ids(parts: dict[str, str]) -> None:
    for name, part in parts.items():
        if name in {"token", "emoji", "kind"} or part == "@original":
            continue
        if not _SNOWFLAKE.fullmatch(part):
            said = {"code": "NUMBER_TYPE_COERCE", "message": f'Value "{part}" is not snowflake.'}
            raise DiscordError(400, 50035, "Invalid Form Body", errors={f"{name}_id": {"_errors": [said]}})


async def _read(request: web.Request) -> tuple[Any, list[Upload]]:
    """The JSON of a request, and the files of one with several parts."""
    if not request.can_read_body:
        return None, []
    if (request.content_length or 0) > MOST_BYTES:
        raise DiscordError(413, 40005, "Request entity too large")
    try:
        if request.content_type == "multipart/form-data":
            return await _read_parts(request)
        content = await request.read()
        if not content:
            return None, []
        if request.content_type != "application/json":
            _not_json()
        return json.loads(content), []
    except ValueError:
        _not_json()


async def _read_parts(request: web.Request) -> tuple[Any, list[Upload]]:
    form = await request.post()
    payload = form.get("payload_json")
    files = []
    for name, part in form.items():
        found = re.fullmatch(r"files\[(\d+)\]", name)
        if found and isinstance(part, web.FileField):
            files.append(Upload(int(found[1]), part.filename, part.file.read(), part.content_type))
    return json.loads(payload) if isinstance(payload, str) else {}, files


def _not_json() -> NoReturn:
    raise DiscordError(400, 50109, "The request body contains invalid JSON.")


def _json(status: int, body: Any, headers: dict[str, str]) -> web.Response:
    """Without a charset in the type, as Discord says it: clients compare the whole header."""
    if status == 204:
        return web.Response(status=204, headers=headers)
    text = json.dumps(body).encode()
    return web.Response(status=status, body=text, headers=headers | {"Content-Type": "application/json"})
