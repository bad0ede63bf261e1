"""Connections of Socket Mode: lost, refreshed, refused, and left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest

from connectors.slack.connector import SlackConnector, SlackSettings
from tests.connectors.slack.test_listening import Heard, Kept, listening, settings_for, until
from tests.servers.slack import SlackServer, serving


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server
        assert server.violations == []
        assert server.bad_acks == []


async def test_the_next_connection_after_a_cut_a_silence_and_a_refresh(slack: SlackServer) -> None:
    slack.ack_seconds, slack.retry_after = 0.5, (0.3, 1)
    ann = slack.add_user("ann")
    room = slack.dm(ann)
    async with listening(slack) as (connector, heard):
        slack.cut()
        await until(lambda: len(slack.called("apps.connections.open")) == 2 and connector.connected)
        slack.say(ann, room, "After the cut")
        await heard.count(1)
        slack.silence()
        slack.say(ann, room, "Into the void")
        await heard.count(2)
        assert len(slack.called("apps.connections.open")) == 3
        slack.fail("apps.connections.open", "500_before", times=2)
        slack.disconnect()
        await until(lambda: len(slack.called("apps.connections.open")) == 6 and connector.connected)
        slack.say(ann, room, "After the refresh")
        # What is acknowledged late, as on a busy machine, comes again.
        await until(lambda: len({message.id for message in heard.messages}) == 3)


async def test_the_eleventh_connection_is_told_why_it_is_none(slack: SlackServer) -> None:
    ann = slack.add_user("ann")
    room = slack.dm(ann)
    async with aiohttp.ClientSession() as session:
        links = [await session.ws_connect(slack.new_ticket()) for _ in range(10)]
        heard = Heard()
        heard.open.set()
        connector = SlackConnector(settings_for(slack), Kept())
        task = asyncio.create_task(connector.listen(heard.receive))
        try:
            await until(lambda: "run fewer processes" in connector.problem)
            assert not connector.connected
            for link in links:
                await link.close()
            await until(lambda: connector.connected)
            slack.say(ann, room, "Hello")
            await heard.count(1)
        finally:
            await connector.close()
            await asyncio.wait_for(task, 5)


async def test_slack_that_cannot_be_reached_at_first(slack: SlackServer) -> None:
    slack.fail("auth.test", "500_before", times=2)
    ann = slack.add_user("ann")
    async with listening(slack) as (_, heard):
        slack.say(ann, slack.dm(ann), "Hello")
        await heard.count(1)


async def test_leaving_while_slack_cannot_be_reached() -> None:
    settings = SlackSettings(
        bot_token="xoxb-1", app_token="xapp-1", api_url="http://127.0.0.1:9/api/", backoff=(30, 60)
    )
    connector = SlackConnector(settings, Kept())
    task = asyncio.create_task(connector.listen(Heard().receive))
    await until(lambda: "cannot be reached" in connector.problem)
    await connector.close()
    await asyncio.wait_for(task, 1)
    assert not connector.connected
