"""The contract of every connector: a place where customers write and read.

To write one, start from `connectors/terminal.py`, which is short. Keep to this:

- `listen` turns what the platform sends into `Inbound`: pure data, with the platform's own identity of the message as
  `id`, so that a redelivered event is the same message. It awaits `receive` before it acknowledges anything to
  the platform: what was received is safe. When `receive` raises, it does not acknowledge. It returns when the platform is
  left, and may be cancelled at any time.
- `deliver` shows a `Delivery` at its address. Deliveries of one turn replace each other: a status, drafts (each the whole
  text so far), at last an answer, a hand-off, or nothing (`Withdrawn`). A connector that is told the same delivery again,
  also after a restart, shows it once. It never sends what `Answer` and `Handoff` do not contain. It raises
  `DeliveryError` for what could not be shown in the end; whatever a status or a draft meets is its own affair.
- What it posted it keeps in `Posts`, as soon as it has its id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from agent.ledger import Ticket
from agent.messages import Address, Attachment, Delivery, Inbound, Message, Post

Receive = Callable[[Inbound], Awaitable[None]]


class Connector(Protocol):
    """A place where customers write and read. `name` is the first part of its addresses."""

    name: str

    async def listen(self, receive: Receive, /) -> None:
        """Hear people until the platform is left."""
        ...

    async def deliver(self, delivery: Delivery, /) -> None:
        """Show a status, a draft or a reply at `delivery.address`. Raises `DeliveryError`."""
        ...


class Reaches(Protocol):
    """What a connector of a platform, on which others read along and files are shared, can do besides."""

    async def fetch(self, address: Address, attachment: Attachment, most_bytes: int, /) -> bytes:
        """The first `most_bytes` bytes of a file that came with a message at `address`. Raises `DeliveryError`."""
        ...

    async def outsiders(self, address: Address, /) -> bool:
        """Whether people from outside the company read at `address` now: guests, a channel shared with another company.

        It asks the platform anew; when that fails, they do.
        """
        ...

    async def said_since(self, message: Message, /) -> Sequence[Message]:
        """What its author said after it in its thread, as far as the platform tells; it never fails."""
        ...

    async def notify(self, room: Address, ticket: Ticket, /) -> str:
        """Tell the staff of a ticket in their room, once. Returns the id of the post. Raises `DeliveryError`."""
        ...


class Posts(Protocol):
    """Where a connector keeps what it posted, so that another process finds it."""

    async def posts(self, turn: str, /) -> Sequence[Post]:
        """What was posted for a turn, in the order of its parts."""
        ...

    async def keep_post(self, post: Post, /) -> None:
        """Remember a post, in the place of an earlier one of the same turn and part."""
        ...
