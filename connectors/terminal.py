"""The terminal as a connector: the shortest whole one. Read it first when you write your own."""

from __future__ import annotations

import asyncio
import getpass
import itertools
import socket
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from agent import wording
from agent.messages import Address, Answer, Delivery, Handoff, Message, Status, Withdrawn
from connectors.connector import Receive
from connectors.markup import plain, source_lines

PROMPT = "You: "


class Terminal:
    """One customer at this terminal. `read` gives the next line they type, `None` at the end.

    On a terminal replies are drawn while they come; when the output goes elsewhere only the final text is written.
    """

    name = "terminal"

    def __init__(self, console: Console, read: Callable[[], str | None], notes: Console | None = None) -> None:
        self._console = console
        self._notes = notes
        self._noted: set[str] = set()
        self._read = read
        self._live: Live | None = None
        self._finished = ("", "")
        self._numbers = itertools.count(1)
        self._author = getpass.getuser()
        self.address = Address(self.name, socket.gethostname() or "local", self._author)

    async def listen(self, receive: Receive, /) -> None:
        """Read lines until the end of input or `exit`."""
        while (line := await asyncio.to_thread(self._read)) is not None:
            if line.strip().lower() in ("exit", "quit", ":q"):
                return
            if line.strip():
                await receive(self.message(line))

    def message(self, text: str) -> Message:
        """`text` as the customer's next message."""
        number = next(self._numbers)
        return Message(f"{self.address}#{number}", self.address, self._author, "customer", text, datetime.now(UTC))

    async def deliver(self, delivery: Delivery, /) -> None:
        """Show the reply: drawn anew at each delivery, and left standing at the last."""
        event = delivery.event
        if isinstance(event, Answer | Handoff):
            if self._finished == (delivery.turn, event.text):
                return
            self._finished = delivery.turn, event.text
            self._finish(event)
            self._tell_notes(event)
        elif isinstance(event, Withdrawn):
            self._leave_draft()
        elif self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, transient=True, refresh_per_second=12)
                self._live.start()
            self._live.update(
                Spinner("dots", text=event.text, style="dim") if isinstance(event, Status) else _drawn(event.text)
            )

    def _leave_draft(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _finish(self, event: Answer | Handoff) -> None:
        self._leave_draft()
        lines = source_lines(event.citations) if isinstance(event, Answer) else []
        note = f"(hand-off to a person, because {wording.REASONS[event.reason]})" if isinstance(event, Handoff) else ""
        if not self._console.is_terminal:
            text = "\n".join(part for part in (plain(event.text), "", *lines, note) if part or lines)
            self._console.print(Text(text.rstrip()), soft_wrap=True)
            self._console.print()
            return
        below: list[RenderableType] = [Text(line, style="dim", overflow="fold") for line in lines]
        if note:
            below.append(Text(note, style="yellow"))
        if below:
            below.insert(0, Text())
        self._console.print(Group(_drawn(event.text), *(Padding(line, (0, 0, 0, 2)) for line in below)))
        self._console.print()

    def _tell_notes(self, event: Answer | Handoff) -> None:
        """What the operator should know, each thing once."""
        for note in event.provenance.notes:
            if self._notes is not None and note not in self._noted:
                self._noted.add(note)
                self._notes.print(Text(f"Note: {note}", style="dim"), soft_wrap=True)


def _drawn(markdown: str) -> RenderableType:
    return Padding(Markdown(markdown, hyperlinks=False), (0, 2, 0, 2))
