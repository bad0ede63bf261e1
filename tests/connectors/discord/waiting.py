"""What tests of Discord's gateway wait for, and how they reach the local Discord."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from connectors.discord.client import Pauses
from connectors.discord.settings import DiscordSettings
from tests.servers.discord import DiscordServer

QUICK = Pauses(identify=0.05, heartbeat=20.0, guilds=0.05)
"""A gateway's pauses that no test has to wait for."""


async def until(holds: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait until it holds; what it returned then."""
    ends = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < ends, f"not within {seconds} s"
        await asyncio.sleep(0.01)
    return found


def settings_for(discord: DiscordServer) -> DiscordSettings:
    """How a connector reaches the local Discord."""
    return DiscordSettings(
        token=discord.token,
        api_url=discord.api_url,
        gateway_url=discord.gateway_url,
        backoff=(0.05, 0.2),
        company="Acme",
    )
