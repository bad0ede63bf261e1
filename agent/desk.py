"""The desk where people take over: staff are told of tickets. Claiming them, and relaying what is said, belongs here, too."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from agent.errors import DeliveryError
from agent.ledger import Ledger, Ticket
from agent.messages import Address, Attachment, Delivery, Message
from agent.rooms import Rooms

_log = logging.getLogger(__name__)


class Places(Protocol):
    """The side of a connector that turns use (`connectors/connector.py` says what each has to do)."""

    async def deliver(self, delivery: Delivery, /) -> None:
        """Show it."""
        ...

    async def fetch(self, address: Address, attachment: Attachment, most_bytes: int, /) -> bytes:
        """Read a file."""
        ...

    async def outsiders(self, address: Address, /) -> bool:
        """Whether people from outside read there."""
        ...

    async def said_since(self, message: Message, /) -> Sequence[Message]:
        """What its author said after it in its thread."""
        ...

    async def notify(self, room: Address, ticket: Ticket, /) -> str:
        """Tell staff of a ticket."""
        ...


class StaffDesk:
    """Tells staff of what waits for them."""

    def __init__(self, ledger: Ledger, connectors: Mapping[str, Places], rooms: Rooms) -> None:
        self._ledger = ledger
        self._connectors = connectors
        self._rooms = rooms

    async def tell_all(self) -> None:
        """Tell staff of open tickets that they could not be told of before. Raises `StoreError`."""
        for ticket in await self._ledger.tickets("open"):
            if not ticket.staff_post:
                await self.tell(ticket.number)

    async def tell_of(self, turn: str) -> None:
        """Tell staff of the ticket that a turn led to, if it did. Raises `StoreError`."""
        ticket = await self._ledger.ticket_of(turn)
        if ticket is not None:
            await self.tell(ticket)

    async def tell(self, number: int) -> None:
        """Tell staff of a ticket, once. What cannot be told now is told by `tell_all`. Raises `StoreError`."""
        ticket = await self._ledger.ticket(number)
        if ticket is None or ticket.staff_post or ticket.status != "open":
            return
        room = self._rooms(ticket.conversation).staff
        if room is None or room.connector not in self._connectors:
            return
        try:
            post = await self._connectors[room.connector].notify(room, ticket)
        except DeliveryError as error:
            _log.error("Staff could not be told of ticket %s: %s", number, error)
            return
        await self._ledger.ticket_posted(number, post)
