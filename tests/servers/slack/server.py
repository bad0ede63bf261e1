"""The server: routes, the way of a call through checks and faults, OAuth, files and response_urls."""

from __future__ import annotations

import asyncio
import base64
import math
import random
import time
from urllib.parse import urlencode

from aiohttp import web

from tests.servers.slack import chat, conversations, surfaces
from tests.servers.slack.api import METHODS, READS, Args, Rates, check_call, given_token, read_arguments, team_of_token
from tests.servers.slack.interactions import Interactions
from tests.servers.slack.state import Call, Fault, Json, SlackError, Team
from tests.servers.slack.texts import LINK

_PARTS = (chat, conversations, surfaces)


class SlackServer(Interactions):
    """A Slack of its own, with one workspace where the app is installed."""

    def __init__(self) -> None:
        super().__init__()
        self._rates = Rates()
        self._dice = random.Random(self.chaos_seed)

    def routes(self) -> list[web.RouteDef]:
        self._begin()
        return [
            web.post("/api/{method}", self._call),
            web.get("/api/{method}", self._call),
            web.get("/link/", self._link),
            web.get("/oauth/v2/authorize", self._authorize),
            web.post("/response/{key}", self._respond),
            web.post("/upload/v1/{file}", self._upload),
            web.get("/files-pri/{file}/{rest:.*}", self._download),
        ]

    # Faults.

    def fail(self, method: str, kind: str, times: int = 1, retry_after: float = 1) -> None:
        """Let the next calls of a method fail; "*" is any method, "response_url" and "download" are not methods.

        Kinds: "429", "500_before", "500_after", "reset_before", "reset_after", "slow:SECONDS", or Slack's own error.
        """
        with self.lock:
            self.faults.setdefault(method, []).append(Fault(kind, times, retry_after))

    def chaos(self, share: float, kinds: list[str] | tuple[str, ...], seed: int = 7) -> None:
        """Let this share of all calls fail, each in one of these ways; 0 ends it. Calls that start the app are spared."""
        with self.lock:
            self.chaos_share, self.chaos_kinds, self._dice = share, list(kinds), random.Random(seed)

    def _fault(self, name: str) -> Fault | None:
        for key in (name, "*") if "." in name else (name,):
            for fault in self.faults.get(key, ()):
                if fault.times > 0:
                    fault.times -= 1
                    return fault
        spared = name in {"auth.test", "apps.connections.open"} or "." not in name
        if self.chaos_share and not spared and self._dice.random() < self.chaos_share:
            return Fault(self._dice.choice(self.chaos_kinds), 1, 1)
        return None

    # Calls.

    async def _call(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["method"]
        try:
            values = await read_arguments(request)
        except SlackError as error:
            self.violations.append(f"{name}: {error.error}")
            return _refusal(error)
        self.violations += [f"{name}: Slack's reference says POST"] * (request.method == "GET" and name not in READS)
        token = given_token(request, values)
        values.pop("token", None)
        if name == "oauth.v2.access":
            values = _with_basic(request, values)
        call = Call(name, values, time.monotonic(), token)
        with self.lock:
            self.calls.append(call)
            fault = self._fault(name)
        kind = fault.kind if fault else ""
        if kind.startswith("slow:"):
            await asyncio.sleep(float(kind.removeprefix("slow:")))
            kind = ""
        if kind in {"429", "ratelimited"}:
            pause = fault.retry_after if fault else 1
            return self._refused(call, SlackError("ratelimited", status=429, retry_after=pause))
        if kind == "500_before":
            return self._broken(call)
        if kind == "reset_before":
            return _reset(call, request)
        if kind and kind not in {"500_after", "reset_after"}:
            return self._refused(call, SlackError(kind))
        try:
            with self.lock:
                team = self._checked(call)
                call.answer = {"ok": True, **METHODS[name].handler(self, team, Args(values))}
                self._watch(call)
        except SlackError as error:
            response = self._refused(call, error)
        else:
            headers = {"X-OAuth-Scopes": ",".join(team.scopes), "X-Slack-Req-Id": "local"}
            response = web.json_response(call.answer, headers=headers)
        if kind == "500_after":
            return self._broken(call)
        if kind == "reset_after":
            return _reset(call, request)
        return response

    def _checked(self, call: Call) -> Team:
        if call.method not in METHODS:
            self.violations.append(f"{call.method}: unknown method")
            raise SlackError("unknown_method", req_method=call.method)
        team = team_of_token(self, call.token, METHODS[call.method].token)
        args = Args(call.args)
        self._rates.check(self, call.method, team, args)
        if call.method in {"chat.startStream", "chat.appendStream"} and self.no_streams.get("*") == "unknown_method":
            raise SlackError("unknown_method", req_method=call.method)
        check_call(self, call.method, team, args)
        channel = str(call.args.get("channel", ""))
        if call.method == "chat.postMessage" and channel in self.no_posts:
            raise SlackError(self.no_posts[channel])
        if channel in self.no_blocks and call.args.get("blocks"):
            raise SlackError("invalid_blocks")
        return team

    def _watch(self, call: Call) -> None:
        """Keep posts with links whose pages Slack would fetch."""
        args = Args(call.args)
        if call.method != "chat.postMessage" or not LINK.search(str(call.args)):
            return
        if args.flag("unfurl_links", True) or args.flag("unfurl_media", True):
            self.unfurled.append(call)

    def _refused(self, call: Call, error: SlackError) -> web.Response:
        call.error = error.error
        return _refusal(error)

    def _broken(self, call: Call) -> web.Response:
        call.error = call.error or "500"
        return web.Response(status=500, text="Internal Server Error")

    # Beside the Web API.

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        """Consent at once, for the workspace `team` names or the first one that is not installed."""
        query = request.query
        if query.get("client_id") != self.client_id:
            return web.json_response({"ok": False, "error": "invalid_client_id"})
        with self.lock:
            waiting = [team for team in self.teams.values() if not team.installed]
            team = self.teams.get(query.get("team", "")) or (waiting[0] if waiting else self.team)
            asked = [scope for scope in query.get("scope", "").split(",") if scope]
            team.scopes = asked or team.scopes
            code = self.new_id("code")
            self.codes[code] = team.id
        back = urlencode({"code": code, "state": query.get("state", "")})
        address = query.get("redirect_uri") or self.redirect_uri
        return web.Response(status=302, headers={"Location": f"{address}?{back}"})

    redirect_uri = "http://127.0.0.1/slack/oauth_redirect"

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        with self.lock:
            fault = self._fault("response_url")
        if fault is not None and fault.kind.startswith("slow:"):
            await asyncio.sleep(float(fault.kind.removeprefix("slow:")))
        elif fault is not None:
            return web.Response(status=429 if fault.kind == "429" else 500, text=fault.kind)
        try:
            body = await request.json()
            with self.lock:
                self.respond(request.match_info["key"], body)
        except SlackError as error:
            return web.json_response({"ok": False, "error": error.error}, status=error.status)
        except ValueError:
            return web.Response(status=400, text="invalid_payload")
        return web.Response(text="ok")

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        with self.lock:
            file = self.files.get(request.match_info["file"])
            if file is None or file["_state"] != "waiting" or len(content) != file["_length"]:
                return web.Response(status=400, text="bad upload")
            self.contents[file["id"]] = content
            file |= {"_state": "uploaded", "size": len(content)}
        return web.Response(text=f"OK - {len(content)}")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """The file for its workspace's bot token; anybody else gets the page to sign in, with status 200."""
        id_ = request.match_info["file"].partition("-")[2]
        with self.lock:
            file = self.files.get(id_)
            if file is None:
                return web.Response(status=404)
            try:
                team = team_of_token(self, given_token(request, {}), "bot")
                allowed = team.id == file["_team"] and "files:read" in team.scopes
            except SlackError:
                allowed = False
            fault = self._fault("download")
            if fault is not None and fault.kind.startswith("500"):
                return web.Response(status=500)
            if not allowed:
                return web.Response(text="<!DOCTYPE html><title>Sign in | Slack</title>", content_type="text/html")
            return web.Response(body=self.contents[id_], headers={"Content-Type": file["mimetype"]})


def _with_basic(request: web.Request, values: Json) -> Json:
    """Client id and secret may come as HTTP basic authorization."""
    header = request.headers.get("Authorization", "")
    if not header.startswith("Basic "):
        return values
    login, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
    return values | {"client_id": login, "client_secret": password}


def _refusal(error: SlackError) -> web.Response:
    body = {"ok": False, "error": error.error, **error.more}
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return web.json_response(body, status=error.status, headers=headers)


def _reset(call: Call, request: web.Request) -> web.Response:
    call.error = call.error or "reset"
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
