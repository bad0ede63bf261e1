"""The connections to all model servers: one pool, opened when first used, closed once at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from agent.models.presets import Endpoint

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

_NOT_SENT = (
    "OpenAI-Organization",
    "OpenAI-Project",
    "X-Stainless-OS",
    "X-Stainless-Arch",
    "X-Stainless-Runtime-Version",
)
"""Headers of another provider's account, and of this machine, which are no server's business."""
_THIS_MACHINE = ("all://localhost", "all://127.0.0.0/8", "all://0.0.0.0", "all://[::1]")
"""Where no proxy of the environment has any business."""
_CONNECTIONS = 1_000
_KEPT_ALIVE = 50
PAUSE_SECONDS, LONGEST_PAUSE = 0.003, 0.15
"""Between two reads of an answer: for each that is read at the same time, and at most."""
LONGEST_RESPONSE = 32_000_000
"""Bytes of a response that are read; a long answer with all its thinking has a few million."""
LONGEST_ERROR = 64_000
"""Bytes of an error, and of what is sent packed though it was asked not to be: it may be a thousand times as long unpacked."""


@cache
def _bounded_client() -> type[httpx2.AsyncClient]:
    """A client that reads no more of a response than any answer has; made when it is needed, as the import is slow.

    Over aiohttp, which takes a third of the time for each piece of an answer.
    """
    import httpx2
    from openai import DefaultAioHttpClient

    class BoundedStream(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
            self._stream = stream
            self._left = most

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with _as_httpx2():
                async for part in self._stream:
                    yield part[: self._left]
                    self._left -= len(part)
                    if self._left <= 0:
                        return

        async def aclose(self) -> None:
            await self._stream.aclose()

    class BoundedClient(DefaultAioHttpClient):
        # aiohttp knows proxies of HTTP only.
        _init_proxy_transport = httpx2.AsyncClient._init_proxy_transport

        async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
            with _as_httpx2():
                response = await super().send(request, stream=True, **options)
            packed = response.headers.get("content-encoding", "identity") != "identity"
            most = LONGEST_ERROR if response.is_error or packed else LONGEST_RESPONSE
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = BoundedStream(response.stream, most)
            if not stream:
                await response.aread()
            return response

    return BoundedClient


@contextmanager
def _as_httpx2() -> Iterator[None]:
    """What aiohttp raises is an error of httpx2: the package's bridge lets some through, and calls lost connections slow."""
    import aiohttp
    import httpx2
    from aiohttp.http_exceptions import HttpProcessingError

    try:
        yield
    except httpx2.TimeoutException as error:
        if isinstance(error.__cause__, TimeoutError):
            raise
        raise httpx2.ConnectError(str(error)) from error.__cause__
    except (aiohttp.ClientError, HttpProcessingError) as error:
        raise httpx2.RemoteProtocolError(str(error)) from error


@contextmanager
def _without_custom_headers() -> Iterator[None]:
    """The package would read this variable and send its headers, keys among them, to every provider alike."""
    given = os.environ.pop("OPENAI_CUSTOM_HEADERS", None)
    try:
        yield
    finally:
        if given is not None:
            os.environ["OPENAI_CUSTOM_HEADERS"] = given


class Pool:
    """Hands out clients that share connections. Only the pool is closed: closing a client would close them for all."""

    def __init__(self) -> None:
        self._http: httpx2.AsyncClient | None = None
        self._direct: httpx2.AsyncClient | None = None
        self._clients: dict[tuple[str, str, int], AsyncOpenAI] = {}
        self._streams = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While an answer is read as it comes."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def pause(self, response: httpx2.Response) -> None:
        """Wait a moment before more of an answer is read: the more are read at once, the longer, so that more comes together.

        To read and pass on one piece takes as long as for ten.
        """
        # httpx2's own connections, which lead through proxies, give each piece by itself, however many have come.
        if "network_stream" not in response.extensions:
            await asyncio.sleep(min(LONGEST_PAUSE, PAUSE_SECONDS * self._streams))

    async def client(self, endpoint: Endpoint, *, retries: int = 0) -> AsyncOpenAI:
        """A client for one server that sends it nothing meant for another; it comes without delay to other work.

        The key is explicit; organisation and project headers from the environment are left out; a server on this machine
        is reached without a proxy.
        """
        if self._http is None:
            # Importing the package takes most of a second, which must not stall other conversations.
            await asyncio.to_thread(__import__, "openai")
        return self.open(endpoint, retries=retries)

    def open(self, endpoint: Endpoint, *, retries: int = 0) -> AsyncOpenAI:
        """The same, at once."""
        import httpx2
        from openai import AsyncOpenAI, Omit

        key = (endpoint.base_url, endpoint.api_key, retries)
        if key not in self._clients:
            with _without_custom_headers():
                self._clients[key] = AsyncOpenAI(
                    base_url=endpoint.base_url,
                    api_key=endpoint.api_key,
                    admin_api_key="",
                    organization="",
                    project="",
                    max_retries=retries,
                    timeout=httpx2.Timeout(60.0, connect=5.0),
                    # The type is too narrow: the package itself puts Omit() among its default headers.
                    default_headers=cast("dict[str, str]", {name: Omit() for name in _NOT_SENT}),
                    http_client=self._connections(endpoint),
                )
        return self._clients[key]

    def _connections(self, endpoint: Endpoint) -> httpx2.AsyncClient:
        if self._http is None:
            try:
                self._http = _open(trust_env=True)
            except (ImportError, ValueError, OSError):
                # A proxy or a certificate file in the environment that cannot be used: no matter on this machine.
                if not endpoint.local:
                    raise
                self._direct = self._direct or _open(trust_env=False)
                return self._direct
        return self._http

    async def close(self) -> None:
        """Close the connections of every client."""
        for http in (self._http, self._direct):
            if http is not None:
                await http.aclose()
        self._http = self._direct = None
        self._clients.clear()


def _open(*, trust_env: bool) -> httpx2.AsyncClient:
    import httpx2

    return _bounded_client()(
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_KEPT_ALIVE),
        mounts=dict.fromkeys(_THIS_MACHINE),
        headers={"Accept-Encoding": "identity"},
        trust_env=trust_env,
    )
