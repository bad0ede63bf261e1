"""The bytes of a file that came with a message."""

from __future__ import annotations

import aiohttp

from agent.errors import DeliveryError
from agent.messages import Attachment

_CHUNK = 64 * 1024


async def first_bytes(response: aiohttp.ClientResponse, attachment: Attachment, most_bytes: int) -> bytes:
    """The first `most_bytes` bytes of a file that is being answered. Raises `DeliveryError`, `gone` when there is none."""
    if response.status != 200:
        raise DeliveryError(
            f"The file {attachment.name!r} could not be fetched: HTTP {response.status}.",
            gone=response.status in (404, 410),
        )
    found = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        found += chunk
        if len(found) >= most_bytes:
            break
    return bytes(found[:most_bytes])
