"""What `frontdesk run` does when listening to a platform breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from agent.errors import DeliveryError, SettingsError
from agent.settings import load
from agent.turns import Turns
from connectors.commands import run
from connectors.places import Place


class Breaking:
    """A platform whose `listen` ends as it is told, one time after the other; then it goes on."""

    connected = False
    problem = ""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends = list(ends)
        self.tries = 0

    async def listen(self, receive: Callable[[Any], Awaitable[None]], /) -> None:
        self.tries += 1
        if self._ends:
            error = self._ends.pop(0)
            if error is not None:
                raise error
            return
        await asyncio.Event().wait()


class NoTurns:
    async def receive(self, inbound: object) -> None: ...


async def listened(tmp_path: Path, place: Breaking, *, alone: bool = False, heard: bool = True) -> dict[str, str]:
    """Listen for a moment; the problems there are then."""
    service = run._Service(load(tmp_path, {}), AsyncExitStack(), listening=True)
    if heard:
        service._heard.add("memory")
    task = asyncio.create_task(service._listen("memory", cast("Place", place), cast("Turns", NoTurns()), alone=alone))
    done, _ = await asyncio.wait({task}, timeout=0.5)
    problems = dict(service._problems)
    if done:
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return problems


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FIRST_PAUSE_SECONDS", 0.05)


async def test_what_breaks_is_told_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Breaking(RuntimeError("the socket burst"), None, OSError("no route"))
    assert "memory" not in await listened(tmp_path, place)
    assert place.tries == 4
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "RuntimeError: the socket burst" in told[0]
    assert "it ended" in told[1]
    assert "tried again in 0 s: OSError: no route" in told[2]


async def test_the_pauses_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FIRST_PAUSE_SECONDS", 0.2)
    place = Breaking(*[OSError("no route")] * 9)
    problems = await listened(tmp_path, place)
    assert place.tries == 2
    assert problems["memory"] == "the connection is lost (OSError: no route) and tried again"


@pytest.mark.parametrize("error", [SettingsError("It was revoked."), DeliveryError("It was revoked.", token=True)])
async def test_a_key_that_is_refused_is_not_tried_again(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    place = Breaking(error)
    assert (await listened(tmp_path, place, alone=True))["memory"] == "It was revoked."
    assert place.tries == 1
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)


async def test_a_key_that_never_worked_ends_all_when_there_is_no_other_place(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        await listened(tmp_path, Breaking(SettingsError("No.")), alone=True, heard=False)
    assert (await listened(tmp_path, Breaking(SettingsError("No.")), alone=False, heard=False))["memory"] == "No."
