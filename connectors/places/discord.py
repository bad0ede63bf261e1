"""Discord, from the settings to its connector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from agent.errors import SettingsError
from agent.messages import Address
from agent.settings import Settings

if TYPE_CHECKING:
    from connectors.composition import Desk
    from connectors.connector import Connector
    from connectors.discord.connector import DiscordConnector
    from connectors.discord.settings import DiscordSettings

NAME = "discord"
_GOES_ON = timedelta(days=14)
"""So long after its last message it is looked, after a time in which nothing was heard, whether a conversation went on."""


def discord_settings(settings: Settings) -> DiscordSettings:
    """What the connector for Discord is told. Raises `SettingsError`."""
    from connectors.discord.settings import DiscordSettings

    tags = settings["discord_tags"]
    if len(tags) != 3:
        raise SettingsError(
            f"{settings.sources['discord_tags']}: discord_tags are three, and {len(tags)} are set.",
            'For example: discord_tags = ["answered", "needs a person", "resolved"]',
        )
    answered, waits, resolved = tags
    return DiscordSettings(
        token=settings["discord_token"],
        api_url=settings["discord_api_url"],
        gateway_url=settings["discord_gateway_url"],
        message_content=settings["discord_message_content"],
        staff=_of_discord(settings["staff_members"]),
        staff_roles=settings["staff_roles"],
        staff_channel=next(iter(_of_discord([settings["staff_channel"]])), ""),
        admins=_of_discord(settings["staff_admins"]),
        command=settings["discord_command"],
        tags=(answered, waits, resolved),
        company=settings["company"],
        backfill_seconds=settings["discord_backfill_hours"] * 3600.0,
    )


def connector(desk: Desk) -> DiscordConnector:
    """The connector for Discord."""
    from connectors.discord.connector import DiscordConnector
    from connectors.discord.ids import DIRECT

    ledger = desk.ledger

    async def get_channel(address: Address) -> Mapping[str, str]:
        return desk.channels.form(address)

    async def open_conversations() -> Sequence[tuple[Address, str]]:
        found = await ledger.open_conversations(NAME, datetime.now(UTC) - _GOES_ON)
        # In a direct message only the last of its conversations goes on.
        newest: dict[str, tuple[Address, str]] = {}
        for address, last in found:
            newest.setdefault(address.channel if address.space == DIRECT else str(address), (address, last))
        return list(newest.values())

    async def get_mark() -> datetime | None:
        return await ledger.mark(NAME)

    async def set_mark(at: datetime) -> None:
        await ledger.set_mark(NAME, at)

    return DiscordConnector(
        discord_settings(desk.settings),
        ledger,
        get_channel=get_channel,
        set_channel=desk.set_channel,
        asker_of=ledger.asker_of,
        thread_of=ledger.thread_of,
        open_conversations=open_conversations,
        get_mark=get_mark,
        set_mark=set_mark,
        answers_in_place=lambda address: desk.channels.settings(address)["discord_answer_in"] == "channel",
    )


def described(settings: Settings) -> str:
    """How Discord is reached, in a few words."""
    return f"the gateway{' at ' + settings['discord_gateway_url'] if settings['discord_gateway_url'] else ''}"


def servers(place: Connector) -> str:
    """Under which name it is connected, and to how many servers."""
    here = cast("DiscordConnector", place)
    number = here.servers
    return f"as @{here.rest.user_name}, in {number} {'server' if number == 1 else 'servers'}"


def _of_discord(ids: Sequence[str]) -> tuple[str, ...]:
    """Those that are Discord's, or of no platform in particular."""
    return tuple(one for one in ids if one and (":" not in one or one.startswith(f"{NAME}:")))
