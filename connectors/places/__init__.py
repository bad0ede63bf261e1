"""The places where customers write, built from the tokens that are set. Their libraries are imported only then."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

from agent.errors import SettingsError
from agent.settings import Settings
from connectors.connector import Connector, Reaches
from connectors.places import discord, slack

if TYPE_CHECKING:
    from connectors.composition import Desk


class Place(Connector, Reaches, Protocol):
    """A connector of a platform, as a running frontdesk needs it."""

    @property
    def connected(self) -> bool:
        """Whether the platform is heard now."""
        ...

    @property
    def problem(self) -> str:
        """Why it is not, in words; empty when it is."""
        ...

    async def close(self) -> None:
        """Leave the platform: `listen` returns."""
        ...


def load_libraries(settings: Settings) -> None:
    """Import what the platforms that have tokens need, which takes seconds: in a thread, so that the event loop goes on."""
    if slack.slack_mode(settings):
        importlib.import_module("connectors.slack.connector")
    if settings["discord_token"]:
        importlib.import_module("connectors.discord.connector")


def build_connectors(desk: Desk) -> dict[str, Place]:
    """Every connector that has its tokens, by name. Raises `SettingsError` for half a set of tokens, or when there is none."""
    settings = desk.settings
    built: dict[str, Place] = {}
    if slack.slack_mode(settings):
        built["slack"] = slack.connector(desk)
    if settings["discord_token"]:
        built["discord"] = discord.connector(desk)
    if not built:
        raise SettingsError(
            "There is no place to listen to: no tokens are set.",
            "For Slack put SLACK_BOT_TOKEN and SLACK_APP_TOKEN into .env, for Discord DISCORD_TOKEN; docs/slack.md and "
            "docs/discord.md say how to get them. Without either: frontdesk chat",
        )
    check_staff_channel(settings)
    return built


def check_staff_channel(settings: Settings) -> None:
    """Raises `SettingsError` when the staff's channel may be one of Slack or of Discord."""
    written = settings["staff_channel"]
    if written and ":" not in written and settings["discord_token"] and slack.slack_mode(settings):
        raise SettingsError(
            f"{settings.sources['staff_channel']}: {written} may be a channel of Slack or of Discord, and both are set up.",
            "Write it with its place: slack:T.../C... or discord:SERVER/CHANNEL.",
        )


def described(name: str, settings: Settings) -> str:
    """How a place is reached, in a few words."""
    return {"slack": slack.described, "discord": discord.described}[name](settings)


async def whereabouts(name: str, place: Place, settings: Settings) -> str:
    """Where it is connected to, and under which name, as far as it says so."""
    return await slack.workspace(settings) if name == "slack" else discord.servers(place)
