from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.connectors.discord.delivering import Desk, delivering
from tests.servers.discord import DiscordServer, serving


@pytest.fixture
def server() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as running:
        yield running
        assert running.violations == []
        assert running.notified == []
        assert running.unfurled == []


@pytest.fixture
async def desk(server: DiscordServer) -> AsyncIterator[Desk]:
    async with delivering(server) as found:
        yield found
