"""The contract of every connector: a place where customers write and read.

To write one, start from `connectors/terminal.py`, which is short. Keep to this:

- `listen` turns what the platform sends into `Message` and `Feedback`: pure data, with the platform's own identity of the
  message as `id`, so that a redelivered event is the same message. It awaits `receive` before it acknowledges anything to
  the platform: what was received is safe. It returns when the platform is left, and may be cancelled at any time.
- `deliver` shows a `Delivery` at its address. Deliveries of one turn replace each other: a status, drafts (each the whole
  text so far), at last an answer or a hand-off. A connector that is told the same delivery again, also after a restart,
  shows it once. It never sends what `Answer` and `Handoff` do not contain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from agent.messages import Delivery, Inbound

Receive = Callable[[Inbound], Awaitable[None]]


class Connector(Protocol):
    """A place where customers write and read. `name` is the first part of its addresses."""

    name: str

    async def listen(self, receive: Receive, /) -> None:
        """Hear people until the platform is left."""
        ...

    async def deliver(self, delivery: Delivery, /) -> None:
        """Show a status, a draft or a reply at `delivery.address`."""
        ...
