"""What the operator sets for Discord."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agent.errors import SettingsError

API_URL = "https://discord.com/api/v10"

Content = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class DiscordSettings:
    """How Discord is reached, and who is who there."""

    token: str = field(default="", repr=False)
    api_url: str = API_URL
    gateway_url: str = ""
    """Where the gateway is, when it is not where Discord says (GET /gateway/bot)."""
    message_content: Content = "auto"
    """Whether the privileged intent for message content is asked for; "auto": if it is switched on for the application."""
    staff: tuple[str, ...] = ()
    """Ids of people: `123` or `discord:G/123`."""
    staff_roles: tuple[str, ...] = ()
    """Ids of roles: `456` or `discord:G/456`."""
    staff_channel: str = ""
    """A channel whose readers are staff, if not everyone may see it: `789` or `discord:G/789`."""
    admins: tuple[str, ...] = ()
    """Who may set channels besides those who may manage the server."""
    command: str = "support"
    tags: tuple[str, str, str] = ("answered", "needs a person", "resolved")
    """The names of a forum's tags for a post that was answered, waits for a person, is solved."""
    company: str = ""
    patience: float = 1.0
    """Seconds that Discord has to say who somebody is, or what a channel is."""
    backfill_seconds: float = 24 * 3600.0
    """How far back it is looked for what was said while nobody listened."""
    backoff: tuple[float, float] = (1.0, 300.0)
    """Seconds between attempts to connect, the first and the longest."""
    edit_seconds: float = 1.2
    """Between two edits of a draft."""

    def check(self) -> None:
        """Raise `SettingsError` when it is not enough to reach Discord."""
        if not self.token:
            raise SettingsError("no token for Discord", "Set DISCORD_TOKEN: discord.com/developers/applications, Bot.")
        if self.token.lower().startswith("bot "):
            raise SettingsError("DISCORD_TOKEN begins with 'Bot '", "Leave that word out.")
