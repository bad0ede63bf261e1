"""Runs a test's server on a real socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from aiohttp import web


class Server(Protocol):
    """What can be run: it tells its routes, and is told its port."""

    port: int

    def routes(self) -> Iterable[web.RouteDef]: ...


AnyServer = TypeVar("AnyServer", bound=Server)


@contextmanager
def serving(server: AnyServer) -> Iterator[AnyServer]:
    """Run the server on a free port of 127.0.0.1, in a thread of its own."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_routes(server.routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            server.port = runner.addresses[0][1]
            ready.set()
            await over.wait()
        finally:
            server_side = runner.server
            assert server_side is not None
            # A connection forgets its transport when it is told to close, which who does not read may keep from closing.
            open_ones = [connection.transport for connection in server_side.connections]
            await runner.cleanup()
            # Whoever was being accepted just then has a connection only now.
            await asyncio.sleep(0.01)
            for transport in (*open_ones, *(connection.transport for connection in server_side.connections)):
                if transport is not None:
                    transport.abort()
            await asyncio.sleep(0.01)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        # An event that is set before anybody waits for it ends the wait, too: a test may be over before this loop goes on.
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        assert not thread.is_alive()
