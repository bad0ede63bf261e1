"""A small HTTP server for those who watch over frontdesk: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.errors import SettingsError
from agent.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from aiohttp import web

_log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[str]]
"""Says in words why a part does not work; empty when it does."""
OFF = "off"
CHECK_SECONDS = 3.0
STALL_SECONDS = 1.0
"""The event loop is held up for longer: somewhere a call blocks, and nobody is answered meanwhile."""
UNREADY_SECONDS = 10.0
"""After a stall."""
_LOOK_SECONDS = 0.25


def host_and_port(address: str) -> tuple[str, int]:
    """The two halves of HOST:PORT; an IPv6 host loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class LoopWatch:
    """Sees when the event loop was held up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._longest = 0.0
        self._stall = 0.0
        self._stalled_at = -math.inf

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            before = self._clock()
            await asyncio.sleep(_LOOK_SECONDS)
            self.looked(self._clock() - before - _LOOK_SECONDS)

    def looked(self, late: float) -> None:
        """A look came so many seconds late."""
        self._longest = max(self._longest, late)
        if late > STALL_SECONDS:
            self._stall, self._stalled_at = late, self._clock()
            _log.warning("The event loop was held up for %.1f s: nobody was answered meanwhile.", late)

    def take_longest(self) -> float:
        """The longest hold-up since this was last asked."""
        longest, self._longest = max(0.0, self._longest), 0.0
        return longest

    def forget(self) -> None:
        """Count from now on."""
        self._longest, self._stalled_at = 0.0, -math.inf

    async def check(self) -> str:
        """Whether it was held up a moment ago."""
        ago = self._clock() - self._stalled_at
        return f"was held up for {self._stall:.1f} s, {ago:.0f} s ago" if ago < UNREADY_SECONDS else ""


class Health:
    """The server. `checks` may be filled while it runs; `counts` is asked for the gauges at each scrape.

    `address` is HOST:PORT, or `off`: then only the event loop is watched.
    """

    def __init__(self, address: str, metrics: Metrics, counts: Callable[[], Awaitable[Mapping[str, float]]]) -> None:
        self._address = address
        self._metrics = metrics
        self._counts = counts
        self._runner: web.AppRunner | None = None
        self._watch = LoopWatch()
        self._watching: asyncio.Task[None] | None = None
        self.checks: dict[str, Check] = {"event loop": self._watch.check}
        """By the name of the part."""

    @property
    def url(self) -> str:
        """Where it answers; empty when it is off."""
        if self._runner is None:
            return ""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen. Raises `SettingsError` when the address cannot be used."""
        self._watching = asyncio.create_task(self._watch.run())
        if self._address == OFF:
            return
        from aiohttp import web

        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._scrape)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            host, port = host_and_port(self._address)
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise SettingsError(
                f"health_address: {self._address} cannot be listened on: {error.strerror or error}.",
                "Choose another, such as FRONTDESK_HEALTH_ADDRESS=127.0.0.1:0 (any port that is free), or switch it off: "
                "FRONTDESK_HEALTH_ADDRESS=off",
            ) from error
        self._runner = runner

    def begin_anew(self) -> None:
        """All is started: what held up the event loop until now does not count."""
        self._watch.forget()

    async def close(self) -> None:
        """Stop listening."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def ready(self) -> dict[str, str]:
        """The parts that do not work, each with the reason."""
        names = list(self.checks)
        reasons = await asyncio.gather(*(self._checked(self.checks[name]) for name in names))
        return {name: reason for name, reason in zip(names, reasons, strict=True) if reason}

    async def _checked(self, check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await check()
        except TimeoutError:
            return f"no answer in {CHECK_SECONDS:.0f} s"

    async def _healthz(self, _: web.Request) -> web.Response:
        from aiohttp import web

        return web.json_response({"ok": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        from aiohttp import web

        failing = await self.ready()
        parts = {name: failing.get(name, "ok") for name in self.checks}
        return web.json_response({"ready": not failing, "parts": parts}, status=503 if failing else 200)

    async def _scrape(self, _: web.Request) -> web.Response:
        from aiohttp import web

        values = {"loop_lag_seconds": self._watch.take_longest()}
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                values.update(await self._counts())
        self._metrics.gauges(values)
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})
