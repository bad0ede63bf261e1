"""The web server for Slack: signed deliveries, and the pages that install the app in a workspace."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from agent.errors import SettingsError
from connectors.slack.manifest import INSTALL_PATH, REDIRECT_PATH
from connectors.slack.oauth import Installations

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
    from slack_bolt.response import BoltResponse

LONGEST_BODY = 1024 * 1024
"""Bytes of a delivery. Slack's are far smaller."""

_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(
    app: AsyncApp | None, installations: Installations | None, *, host: str, port: int, path: str, signing_secret: str
) -> AsyncIterator[int]:
    """Serve on `port` (0: any), which is yielded: deliveries to `app`, and OAuth's pages for `installations`.

    Raises `SettingsError` when the port is not to be had.
    """
    server = web.Application(client_max_size=LONGEST_BODY)
    if app is not None:
        server.router.add_post(path, _Deliveries(app, signing_secret).hear)
    if installations is not None:
        pages = _Pages(installations)
        server.router.add_get(INSTALL_PATH, pages.install)
        server.router.add_get(REDIRECT_PATH, pages.installed)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=3)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"slack_http_address: {host}:{port} cannot be listened on: {error.strerror or error}.",
                "Stop what listens there, or choose another: FRONTDESK_SLACK_HTTP_ADDRESS=0.0.0.0:3001",
            ) from error
        bound = int(runner.addresses[0][1])
        _log.info("listening for Slack on port %d", bound)
        yield bound
    finally:
        await runner.cleanup()


class _Deliveries:
    def __init__(self, app: AsyncApp, signing_secret: str) -> None:
        self._app = app
        self._signatures = SignatureVerifier(signing_secret)

    async def hear(self, request: web.Request) -> web.Response:
        """One delivery. Of what Slack has not signed nothing is read."""
        from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request

        body = await request.read()
        if request.content_type == "application/x-www-form-urlencoded" and b"ssl_check=1" in body.split(b"&"):
            # Slack looks at the certificate now and then, without a signature. Nothing is done for it.
            return web.Response()
        signed = _SECONDS.fullmatch(request.headers.get("X-Slack-Request-Timestamp", ""))
        try:
            if not signed or not self._signatures.is_valid_request(body, dict(request.headers)):
                return web.Response(status=401, text="The signature is not Slack's.")
            told = json.loads(body) if request.content_type == "application/json" else {}
            if not isinstance(told, dict):
                return web.Response(status=400)
            if told.get("type") == "app_rate_limited":
                _log.error(
                    "Slack holds events of the workspace %s back: more than 30,000 in an hour", told.get("team_id")
                )
                return web.Response()
            delivered = await to_bolt_request(request)
        except (ValueError, LookupError, RecursionError):
            # Not UTF-8, or no JSON: Slack sends no such thing.
            return web.Response(status=400)
        return await to_aiohttp_response(await self._app.async_dispatch(delivered))


class _Pages:
    def __init__(self, installations: Installations) -> None:
        self._installations = installations

    async def install(self, request: web.Request) -> web.Response:
        """The page with the button "Add to Slack"."""
        return await self._page(request, self._installations.flow.handle_installation)

    async def installed(self, request: web.Request) -> web.Response:
        """Where Slack sends people back to."""
        return await self._page(request, self._installations.flow.handle_callback)

    async def _page(
        self, request: web.Request, page: Callable[[AsyncBoltRequest], Awaitable[BoltResponse]]
    ) -> web.Response:
        from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request

        await self._installations.open()
        return await to_aiohttp_response(await page(await to_bolt_request(request)))
