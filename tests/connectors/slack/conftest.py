from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from connectors.slack.clients import Clients
from connectors.slack.delivery import SlackDelivery
from tests.connectors.slack.delivering import Desk, KeptPosts
from tests.servers.slack import SlackServer, serving


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with serving(SlackServer()) as slack:
        yield slack
        assert slack.violations == []
        assert slack.notified == []
        assert slack.unfurled == []


@pytest.fixture
async def desk(server: SlackServer) -> AsyncIterator[Desk]:
    async def token_for(team: str) -> str | None:
        return server.teams[team].bot_token

    customer = server.add_user("ana")
    channel = server.add_channel("help", [customer])
    posts = KeptPosts()
    clients = Clients(token_for, base_url=server.api_url.rstrip("/"))
    delivery = SlackDelivery(clients, posts, final_seconds=12)
    yield Desk(server, posts, clients, delivery, customer, channel)
    await delivery.close()
    await clients.close()
