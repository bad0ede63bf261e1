"""Requests to the REST API: their limits, what is sent again, and what is said when it is not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from agent.errors import DeliveryError
from connectors.discord.errors import INVALID_FORM, UNKNOWN_CHANNEL, Doubtful, Limited, Refused
from connectors.discord.limits import Limits
from connectors.discord.rest import Rest
from tests.connectors.discord.waiting import settings_for
from tests.servers.discord import DiscordServer, Fault, serving

MESSAGES = "/channels/{channel_id}/messages"


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with serving(DiscordServer()) as server:
        yield server
        assert server.violations == []


@pytest.fixture
async def rest(discord: DiscordServer) -> AsyncIterator[Rest]:
    rest = Rest(settings_for(discord))
    yield rest
    await rest.close()


@pytest.fixture
def room(discord: DiscordServer) -> str:
    return discord.add_channel("help")


async def say(rest: Rest, room: str, text: str, nonce: str = "", **more: Any) -> Any:
    body: dict[str, Any] = {"content": text, "allowed_mentions": {"parse": []}}
    if nonce:
        body |= {"nonce": nonce, "enforce_nonce": True}
    return await rest.request("POST", MESSAGES, json=body, channel_id=room, **more)


def statuses(discord: DiscordServer, method: str = "POST") -> list[int]:
    return [call.status for call in discord.calls if call.method == method]


# --- who we are


async def test_who_we_are_is_asked_once(discord: DiscordServer, rest: Rest) -> None:
    await asyncio.gather(*(rest.open() for _ in range(10)))
    await rest.open()
    assert [call.path for call in discord.calls] == ["/users/@me", "/applications/@me"]
    assert (str(rest.user_id), rest.user_name) == (discord.bot.id, "frontdesk")
    assert str(rest.application_id) == discord.application_id
    assert rest.flags & 1 << 19


async def test_a_session_is_opened_again_after_it_was_closed(discord: DiscordServer, rest: Rest, room: str) -> None:
    await say(rest, room, "one")
    await rest.close()
    await rest.close()
    await say(rest, room, "two")
    assert [seen.content for seen in discord.ours(room)] == ["one", "two"]


# --- limits


async def test_many_at_once_keep_to_a_bucket(discord: DiscordServer, rest: Rest, room: str) -> None:
    discord.limits["create"] = (5, 0.3)
    other = discord.add_channel("other")
    await asyncio.gather(*(say(rest, where, f"{number}") for number in range(12) for where in (room, other)))
    assert set(statuses(discord)) == {200}
    assert sorted(int(seen.content) for seen in discord.ours(room)) == list(range(12))


async def test_what_is_sent_in_order_stays_in_order(discord: DiscordServer, rest: Rest, room: str) -> None:
    discord.limits["create"] = (3, 0.2)
    for number in range(9):
        await say(rest, room, f"{number}")
    assert [int(seen.content) for seen in discord.ours(room)] == list(range(9))


async def test_routes_of_one_bucket_share_it(discord: DiscordServer, rest: Rest, room: str) -> None:
    discord.limits["create"] = discord.limits["edit"] = (2, 0.3)
    posted = [await say(rest, room, f"{number}") for number in range(2)]
    await asyncio.gather(
        *(
            rest.request(
                "PATCH", MESSAGES + "/{message_id}", json={"content": "x"}, channel_id=room, message_id=one["id"]
            )
            for one in posted * 3
        )
    )
    assert set(statuses(discord, "PATCH")) == {200}


async def test_all_routes_together_keep_to_the_limit_of_the_bot(discord: DiscordServer) -> None:
    discord.rates.each_second = 20
    rooms = [discord.add_channel(f"help-{number}") for number in range(40)]
    rest = Rest(settings_for(discord), limits=Limits(each_second=20))
    try:
        await asyncio.gather(*(rest.request("GET", "/channels/{channel_id}", channel_id=room) for room in rooms))
    finally:
        await rest.close()
    assert statuses(discord, "GET") == [200] * 40


async def test_a_limit_is_waited_out_by_all_whom_it_concerns(discord: DiscordServer, rest: Rest, room: str) -> None:
    other = discord.add_channel("other")
    await asyncio.gather(say(rest, room, "first"), say(rest, other, "first"))
    discord.faults.append(Fault(method="POST", path=f"/channels/{room}/messages", status=429, retry_after=0.3))
    limited = asyncio.create_task(say(rest, room, "one"))
    await asyncio.to_thread(discord.wait_for, lambda: 429 in statuses(discord))
    later = asyncio.create_task(say(rest, room, "two"))
    await say(rest, other, "meanwhile")
    assert not limited.done()
    await asyncio.gather(limited, later)
    assert [seen.content for seen in discord.ours(other)] == ["first", "meanwhile"]
    assert sorted(seen.content for seen in discord.ours(room)) == ["first", "one", "two"]
    assert statuses(discord).count(429) == 1


@pytest.mark.parametrize("via", [True, False], ids=["for the bot", "by the shield"])
async def test_a_limit_for_everything(discord: DiscordServer, rest: Rest, room: str, via: bool) -> None:
    other = discord.add_channel("other")
    await asyncio.gather(say(rest, room, "first"), say(rest, other, "first"))
    discord.faults.append(Fault(path=".*", status=429, retry_after=1, is_global=via, via=via))
    limited = asyncio.create_task(say(rest, room, "one"))
    await asyncio.to_thread(discord.wait_for, lambda: 429 in statuses(discord))
    # The local Discord holds it against us when one of these comes too early.
    await asyncio.gather(limited, say(rest, other, "two"), rest.request("GET", "/users/@me"))
    assert len(discord.ours(room)) == len(discord.ours(other)) == 2


async def test_a_limit_of_the_bot_does_not_concern_who_pressed_a_button(
    discord: DiscordServer, rest: Rest, room: str
) -> None:
    discord.faults.append(Fault(method="GET", status=429, retry_after=30, is_global=True))
    with pytest.raises(Limited):
        await rest.request("GET", "/users/@me")
    names: dict[str, Any] = {"webhook_id": discord.snowflake(), "webhook_token": "none"}
    path = "/interactions/{webhook_id}/{webhook_token}/callback"
    with pytest.raises(Refused) as raised:
        await rest.request("POST", path, json={"type": 6}, patience=1, **names)
    assert raised.value.code == 10062


@pytest.mark.parametrize("via", [True, False])
async def test_a_long_limit_is_not_waited_for(discord: DiscordServer, rest: Rest, room: str, via: bool) -> None:
    await say(rest, room, "first")
    discord.faults.append(Fault(method="POST", status=429, retry_after=60, via=via))
    for _ in range(3):
        with pytest.raises(Limited) as raised:
            await say(rest, room, "one")
        assert 50 < raised.value.retry_after <= 60
    assert statuses(discord) == [200, 429]


async def test_the_slow_mode_of_a_channel(discord: DiscordServer, rest: Rest) -> None:
    slow = discord.add_channel("slow", slowmode=60)
    await say(rest, slow, "one")
    with pytest.raises(Limited) as raised:
        await say(rest, slow, "two")
    assert 50 < raised.value.retry_after <= 60


async def test_too_many_refusals_are_not_risked(
    discord: DiscordServer, room: str, caplog: pytest.LogCaptureFixture
) -> None:
    rest = Rest(settings_for(discord), limits=Limits(most_invalid=3))
    discord.faults.append(Fault(path=f"/channels/{room}/messages", status=403, code=50013, times=99))
    try:
        for _ in range(3):
            with pytest.raises(Refused):
                await say(rest, room, "one")
        for _ in range(3):
            with pytest.raises(Limited):
                await rest.request("GET", "/users/@me")
    finally:
        await rest.close()
    assert len(discord.calls) == 3
    assert caplog.text.count("lest it shuts us out") == 1


# --- what breaks


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("how", [{"status": 500}, {"status": 503}, {"cut": True}], ids=["500", "503", "cut"])
async def test_a_message_with_a_nonce_is_sent_again_and_stands_once(
    discord: DiscordServer, rest: Rest, room: str, how: dict[str, Any], after: bool
) -> None:
    discord.faults.append(Fault(method="POST", after=after, **how))
    posted = await say(rest, room, "one", nonce="n1")
    (seen,) = discord.ours(room)
    assert posted["id"] == seen.id
    assert len(statuses(discord)) == 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("how", [{"status": 502}, {"cut": True}], ids=["502", "cut"])
async def test_what_must_not_be_sent_twice_is_left_in_doubt(
    discord: DiscordServer, rest: Rest, room: str, how: dict[str, Any], after: bool
) -> None:
    discord.faults.append(Fault(method="POST", after=after, **how))
    with pytest.raises(Doubtful, match=r"POST /channels/\{channel_id\}/messages"):
        await say(rest, room, "one")
    assert len(statuses(discord)) == 1
    assert len(discord.ours(room)) == after


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_edits_and_deletions_are_sent_again(discord: DiscordServer, rest: Rest, room: str, after: bool) -> None:
    names = {"channel_id": room, "message_id": (await say(rest, room, "one"))["id"]}
    discord.faults.append(Fault(method="PATCH", status=500, after=after))
    await rest.request("PATCH", MESSAGES + "/{message_id}", json={"content": "two"}, **names)
    assert [seen.content for seen in discord.ours(room)] == ["two"]
    discord.faults.append(Fault(method="DELETE", cut=True))
    assert await rest.request("DELETE", MESSAGES + "/{message_id}", **names) is None
    assert discord.ours(room) == []


async def test_discord_that_stays_broken_is_given_up_in_time(discord: DiscordServer, rest: Rest) -> None:
    discord.faults.append(Fault(status=503, times=99))
    with pytest.raises(Doubtful, match="HTTP 503"):
        await rest.request("GET", "/users/@me", patience=1)
    assert len(discord.calls) >= 2


async def test_discord_that_does_not_answer_is_given_up_in_time(discord: DiscordServer, rest: Rest) -> None:
    discord.faults.append(Fault(slow=2, times=9))
    begun = time.monotonic()
    with pytest.raises(Doubtful):
        await rest.request("GET", "/users/@me", patience=0.3)
    assert time.monotonic() - begun < 1.5


async def test_discord_that_is_not_there(discord: DiscordServer, room: str) -> None:
    rest = Rest(replace(settings_for(discord), api_url="http://127.0.0.1:9/api/v10"))
    try:
        with pytest.raises(Doubtful, match="no connection"):
            await say(rest, room, "one", patience=0.5)
    finally:
        await rest.close()


async def test_those_who_stop_waiting_hold_nobody_up(discord: DiscordServer, rest: Rest, room: str) -> None:
    discord.limits["create"] = (1, 0.3)
    await say(rest, room, "one")
    waiting = [asyncio.create_task(say(rest, room, "never")) for _ in range(20)]
    await asyncio.sleep(0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await say(rest, room, "two", patience=2)
    assert [seen.content for seen in discord.ours(room)] == ["one", "two"]


# --- what is refused


async def test_a_refusal_says_what_is_wrong(rest: Rest, room: str) -> None:
    with pytest.raises(Refused) as raised:
        await say(rest, room, "x" * 2_001)
    assert (raised.value.status, raised.value.code, raised.value.gone) == (400, INVALID_FORM, False)
    assert "content: Must be 2000 or fewer" in raised.value.message


async def test_a_place_that_is_gone(discord: DiscordServer, rest: Rest, room: str) -> None:
    discord.delete_channel(room)
    with pytest.raises(Refused) as raised:
        await say(rest, room, "one")
    assert (raised.value.status, raised.value.code, raised.value.gone) == (404, UNKNOWN_CHANNEL, True)


async def test_a_refusal_by_the_shield_is_not_discords_word(discord: DiscordServer, rest: Rest, room: str) -> None:
    discord.faults.append(Fault(method="POST", status=403))
    with pytest.raises(Refused) as raised:
        await say(rest, room, "one")
    assert not raised.value.gone


async def test_the_token_is_named_when_it_is_refused_and_shown_nowhere(
    discord: DiscordServer, rest: Rest, room: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    discord.faults.append(Fault(path="/users/@me", status=401))
    with pytest.raises(DeliveryError) as raised:
        await rest.open()
    assert raised.value.token
    assert "DISCORD_TOKEN" in raised.value.hint
    # The token of a command is as secret.
    names: dict[str, Any] = {"webhook_id": discord.application_id, "webhook_token": "c2VjcmV0"}
    for fault in (Fault(cut=True), Fault(status=500), Fault(status=401, code=50027)):
        discord.faults.append(fault)
        with pytest.raises((Doubtful, Refused)) as told:
            await rest.request("POST", "/webhooks/{webhook_id}/{webhook_token}", json={"content": "x"}, **names)
        assert "c2VjcmV0" not in f"{told.value!r} {told.value.__cause__!r}"
    logged = "".join(one.getMessage() for one in caplog.records if one.name != "aiohttp.access")
    assert "GET /users/@me: 401" in logged
    assert discord.token not in logged + str(raised.value)
    assert "c2VjcmV0" not in logged
