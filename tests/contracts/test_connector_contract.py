"""What every connector must do: the terminal, and the shipped fake."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from rich.console import Console

from agent.messages import Answer, Citation, Delivery, Draft, Handoff, Inbound, Message, Status, Withdrawn
from agent.testing import MemoryConnector
from connectors.connector import Connector
from connectors.terminal import Terminal


class Place:
    """A connector in which `lines` were typed, and what its customer sees at the end."""

    def __init__(self, connector: Connector, seen: Callable[[], str]) -> None:
        self.connector = connector
        self.seen = seen


LINES = ["Are dogs welcome?", "And cats? \U0001f408"]


def in_terminal(*, live: bool) -> Place:
    out = io.StringIO()
    typed = iter([*LINES, None])
    console = Console(file=out, force_terminal=live, width=100)
    return Place(Terminal(console, lambda: next(typed)), out.getvalue)


def in_memory() -> Place:
    terminal = Terminal(Console(file=io.StringIO()), lambda: None)
    connector = MemoryConnector([terminal.message(line) for line in LINES])

    def seen() -> str:
        events = [delivery.event for delivery in connector.shown.values()]
        return "\n".join(event.text for event in events if not isinstance(event, Withdrawn))

    return Place(connector, seen)


@pytest.fixture(params=["terminal", "piped", "memory"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "memory":
        return in_memory()
    return in_terminal(live=request.param == "terminal")


async def heard(connector: Connector) -> list[Inbound]:
    got: list[Inbound] = []

    async def receive(inbound: Inbound) -> None:
        got.append(inbound)

    await connector.listen(receive)
    return got


async def test_what_people_say_arrives_as_they_said_it(place: Place) -> None:
    messages = [one for one in await heard(place.connector) if isinstance(one, Message)]
    assert [message.text for message in messages] == LINES
    assert {message.role for message in messages} == {"customer"}
    assert len({message.id for message in messages}) == len(LINES)
    assert len({str(message.address) for message in messages}) == 1
    assert all(message.sent_at.tzinfo is not None for message in messages)


async def test_the_answer_replaces_its_drafts(place: Place) -> None:
    first = (await heard(place.connector))[0]
    assert isinstance(first, Message)
    cited = Citation(1, "pets", "Pets", "https://help.example/pets", "Dogs are welcome.", "2026-01-01")
    events: list[Status | Draft | Answer | Handoff] = [
        Status("Looking ..."),
        Draft("Dogs are"),
        Draft("Dogs are welcome. [1]"),
        Answer("Dogs are welcome. [1]", (cited,)),
    ]
    for event in events:
        await place.connector.deliver(Delivery(first.address, first.id, event))
    assert place.seen().rstrip().count("Dogs are welcome. [1]") >= 1


async def test_a_handoff_replaces_the_draft(place: Place) -> None:
    first = (await heard(place.connector))[0]
    assert isinstance(first, Message)
    for event in (Draft("Dogs may be"), Handoff("unsure", "I don't know. A person will answer.", "summary for staff")):
        await place.connector.deliver(Delivery(first.address, first.id, event))
    assert "A person will answer." in place.seen()
    assert "summary for staff" not in place.seen()


async def test_sources_are_shown() -> None:
    place = in_terminal(live=False)
    first = (await heard(place.connector))[0]
    assert isinstance(first, Message)
    cited = Citation(1, "pets", "Pets", "https://help.example/pets", "Dogs are welcome.", "2026-01-01")
    await place.connector.deliver(Delivery(first.address, first.id, Answer("Dogs are **welcome**. [1]", (cited,))))
    assert place.seen().splitlines()[:3] == [
        "Dogs are welcome. [1]",
        "",
        "[1] Pets - https://help.example/pets (updated 2026-01-01)",
    ]


def test_a_message_is_pure_data() -> None:
    import dataclasses
    import json

    message = in_terminal(live=False).connector.message("hello")  # type: ignore[attr-defined]
    as_data = json.dumps(dataclasses.asdict(message), default=lambda value: value.isoformat())
    assert json.loads(as_data)["text"] == "hello"
    assert datetime.fromisoformat(json.loads(as_data)["sent_at"]).tzinfo == UTC
