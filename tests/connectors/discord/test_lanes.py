"""In order per channel, many channels at once, and again until it is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from connectors.discord.lanes import Lanes
from tests.connectors.discord.waiting import until


@pytest.fixture
async def lanes() -> AsyncIterator[Lanes]:
    lanes = Lanes(most=20, pause=(0.01, 0.02))
    yield lanes
    await lanes.close()


class Doing:
    """Notes what was done. `fails` counts down what fails; `opened` lets it go on."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.fails = 0
        self.opened = asyncio.Event()
        self.opened.set()

    def work(self, snowflake: int) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            await self.opened.wait()
            if self.fails:
                self.fails -= 1
                raise RuntimeError("the store is down")
            self.done.append(snowflake)

        return do


async def test_the_order_within_a_channel(lanes: Lanes) -> None:
    doing = Doing()
    for snowflake in (3, 1, 2):
        lanes.put(7, snowflake, doing.work(snowflake))
    assert (lanes.waiting, lanes.oldest) == (3, 1)
    await until(lambda: not lanes.waiting)
    assert doing.done == [1, 2, 3]
    assert lanes.oldest == 0


async def test_a_channel_does_not_wait_for_another(lanes: Lanes) -> None:
    slow, quick = Doing(), Doing()
    slow.opened.clear()
    lanes.put(7, 1, slow.work(1))
    lanes.put(8, 2, quick.work(2))
    await until(lambda: quick.done)
    assert lanes.oldest == 1
    slow.opened.set()
    await until(lambda: not lanes.waiting)


async def test_what_is_older_goes_first_after_a_hold(lanes: Lanes) -> None:
    doing = Doing()
    async with lanes.hold(7):
        lanes.put(7, 5, doing.work(5))
        lanes.put(7, 2, doing.work(2))
        lanes.put(8, 9, doing.work(9))
        await until(lambda: doing.done)
    await until(lambda: not lanes.waiting)
    assert doing.done == [9, 2, 5]
    async with lanes.hold(7):
        pass
    assert lanes.waiting == 0


async def test_what_fails_is_tried_again_in_its_place(lanes: Lanes, caplog: pytest.LogCaptureFixture) -> None:
    doing = Doing()
    doing.fails = 4
    lanes.put(7, 1, doing.work(1))
    lanes.put(7, 2, doing.work(2))
    await until(lambda: not lanes.waiting)
    assert doing.done == [1, 2]
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1
    assert "the store is down" in told[0].getMessage()
    assert "stored again" in caplog.text


async def test_what_can_never_be_done_is_left_out_when_others_are_done(
    lanes: Lanes, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Doing(), Doing()
    bad.fails = 1_000
    lanes.put(7, 1, bad.work(1))
    await until(lambda: bad.fails < 980)
    assert lanes.waiting == 1
    for snowflake in range(2, 12):
        lanes.put(8, snowflake, good.work(snowflake))
    await until(lambda: not lanes.waiting)
    assert bad.done == []
    assert "left out" in caplog.text


async def test_what_there_is_no_room_for_is_noted(lanes: Lanes) -> None:
    doing = Doing()
    doing.opened.clear()
    assert all(lanes.put(7, snowflake, doing.work(snowflake)) for snowflake in range(100, 120))
    assert not lanes.put(7, 120, doing.work(120))
    assert not lanes.put(8, 50, doing.work(50))
    assert (lanes.lost, lanes.oldest) == (50, 50)
    doing.opened.set()
    await until(lambda: not lanes.waiting)
    assert lanes.oldest == 50
