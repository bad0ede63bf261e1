"""A proxy that lets nobody through without a token, as people put one before a Chroma server, which has no password."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import ClientSession, web

_OURS = {"host", "content-length", "authorization", "x-chroma-token"}


class TokenProxy:
    """Passes to `behind` what carries `token`. `refused` are the paths that were asked for without it."""

    port = 0

    def __init__(self, behind: str, token: str) -> None:
        self._behind = behind
        self.token = token
        self.refused: list[str] = []
        self.passed: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.route("*", "/{path:.*}", self._serve)]

    async def _serve(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            self.refused.append(request.path)
            return web.Response(status=401, text="<h1>401 Authorization Required</h1>", content_type="text/html")
        self.passed.append(request.path)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
        async with (
            ClientSession() as session,
            session.request(
                request.method, f"{self._behind}{request.path_qs}", data=await request.read(), headers=headers
            ) as answer,
        ):
            kind = answer.headers.get("Content-Type", "application/json")
            return web.Response(status=answer.status, body=await answer.read(), headers={"Content-Type": kind})
