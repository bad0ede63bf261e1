"""Shows replies in Discord."""

from __future__ import annotations

from agent.errors import DeliveryError
from agent.ledger import Ticket
from agent.messages import Address, Attachment, Delivery
from connectors.connector import Posts
from connectors.discord.people import People
from connectors.discord.rest import Rest
from connectors.discord.rooms import Rooms
from connectors.discord.settings import DiscordSettings


class DiscordDelivery:
    """Delivers."""

    def __init__(self, rest: Rest, rooms: Rooms, people: People, posts: Posts, settings: DiscordSettings) -> None:
        self._rest, self._rooms, self._people, self._posts, self._settings = rest, rooms, people, posts, settings

    async def deliver(self, delivery: Delivery) -> None:
        """Show."""
        raise DeliveryError("not yet")

    async def notify(self, room: Address, ticket: Ticket) -> str:
        """Tell."""
        raise DeliveryError("not yet")

    async def outsiders(self, address: Address) -> bool:
        """Whether."""
        raise DeliveryError("not yet")

    async def fetch(self, address: Address, attachment: Attachment, most_bytes: int) -> bytes:
        """Fetch."""
        raise DeliveryError("not yet")

    async def close(self) -> None:
        """Close."""
