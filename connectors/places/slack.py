"""Slack, from the settings to its connector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from agent.errors import SettingsError
from agent.messages import Address
from agent.settings import Settings
from connectors.channels import address_of
from connectors.health import host_and_port

if TYPE_CHECKING:
    from connectors.composition import Desk
    from connectors.slack.connector import SlackConnector
    from connectors.slack.settings import SlackSettings

_LONGEST_TITLE = 80
_SECONDS = 10


SlackMode = Literal["", "socket", "http"]


def slack_mode(settings: Settings) -> SlackMode:
    """How Slack is reached by the tokens that are set; empty when none is. Raises `SettingsError` for half a set."""
    bot, app, signing = (settings[f"slack_{name}"] for name in ("bot_token", "app_token", "signing_secret"))
    client, secret = settings["slack_client_id"], settings["slack_client_secret"]
    if not (bot or app or signing or client or secret):
        return ""
    missing = ""
    if bool(client) != bool(secret):
        missing = "SLACK_CLIENT_SECRET" if client else "SLACK_CLIENT_ID"
    elif not (bot or client):
        missing = "SLACK_BOT_TOKEN"
    elif not (app or signing):
        missing = "SLACK_APP_TOKEN" if bot else "SLACK_SIGNING_SECRET"
    if missing:
        given = [name for name in _SLACK_SECRETS if settings[name.lower()]]
        raise SettingsError(
            f"Slack is half set up: {' and '.join(given)} {'is' if len(given) == 1 else 'are'} set, {missing} is not.",
            "Socket Mode takes SLACK_BOT_TOKEN and SLACK_APP_TOKEN, HTTP takes SLACK_BOT_TOKEN and SLACK_SIGNING_SECRET, "
            "many workspaces take SLACK_CLIENT_ID, SLACK_CLIENT_SECRET and SLACK_SIGNING_SECRET (docs/slack.md).",
        )
    return "socket" if app else "http"


_SLACK_SECRETS = (
    "SLACK_BOT_TOKEN",
    "SLACK_APP_TOKEN",
    "SLACK_SIGNING_SECRET",
    "SLACK_CLIENT_ID",
    "SLACK_CLIENT_SECRET",
)


def described(settings: Settings) -> str:
    """How Slack is reached, in a few words."""
    if slack_mode(settings) == "socket":
        return "Socket Mode"
    return f"signed HTTP at {settings['slack_http_address']}{_EVENTS_PATH}"


async def workspace(settings: Settings) -> str:
    """Which workspace it is connected to, as far as there is one and it says so."""
    if not settings["slack_bot_token"]:
        return ""
    import aiohttp
    from slack_sdk.errors import SlackApiError
    from slack_sdk.web.async_client import AsyncWebClient

    client = AsyncWebClient(settings["slack_bot_token"], settings["slack_api_url"], timeout=_SECONDS)
    try:
        told = await client.auth_test()
    except (SlackApiError, aiohttp.ClientError, OSError, TimeoutError, AttributeError):
        # Nothing is heard less for that. (The SDK reads `.get` of a body of text.)
        return ""
    return f"workspace {told.get('team_id', '')} ({told.get('team', '')}), as @{told.get('user', '')}"


def prompts_of(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The questions that are suggested, each with its title."""
    return tuple((one[:_LONGEST_TITLE], one) for one in settings["prompts"])


def slack_settings(settings: Settings, database: Path | str) -> SlackSettings:
    """What the connector for Slack is told."""
    from connectors.slack.settings import SlackSettings

    host, port = host_and_port(settings["slack_http_address"])
    ask, hand_over = (*settings["slack_commands"], "/handoff")[:2]
    return SlackSettings(
        bot_token=settings["slack_bot_token"],
        app_token=settings["slack_app_token"],
        signing_secret=settings["slack_signing_secret"],
        client_id=settings["slack_client_id"],
        client_secret=settings["slack_client_secret"],
        encryption_key=settings["encryption_key"],
        database=f"sqlite:///{database / _DATABASE_FILE}" if isinstance(database, Path) else database,
        public_url=settings["slack_public_url"],
        api_url=settings["slack_api_url"],
        host=host,
        port=port,
        staff=_of_slack(settings["staff_members"]),
        staff_channel=next(iter(_of_slack([settings["staff_channel"]])), ""),
        admins=_of_slack(settings["staff_admins"]),
        commands=(ask, hand_over),
        company=settings["company"],
        prompts=prompts_of(settings),
    )


def connector(desk: Desk) -> SlackConnector:
    """The connector for Slack."""
    from connectors.slack.connector import SlackConnector

    async def get_channel(channel: str) -> Mapping[str, str]:
        return desk.channels.form(address_of(channel))

    async def set_channel(channel: str, values: Mapping[str, str], by: str) -> None:
        await desk.set_channel(address_of(channel), values, by)

    async def open_tickets(person: str) -> Sequence[tuple[str, str]]:
        found = await desk.ledger.tickets("open", 1_000)
        return [
            (
                f"{one.number}: {' '.join(one.question.split())[:_LONGEST_TITLE]}",
                client_link(desk.settings, one.conversation),
            )
            for one in found
            if one.customer == person
        ]

    return SlackConnector(
        slack_settings(desk.settings, desk.database),
        desk.ledger,
        get_channel=get_channel,
        set_channel=set_channel,
        open_tickets=open_tickets,
        asker_of=desk.ledger.asker_of,
    )


def client_link(settings: Settings, address: Address) -> str:
    """Where a room is read in a browser."""
    return f"https://app.{_slack_domain(settings)}/client/{address.space}/{address.room}"


def _slack_domain(settings: Settings) -> str:
    """Of GovSlack, where the API is there; else the usual one, also behind a proxy."""
    host = urlsplit(settings["slack_api_url"]).hostname or ""
    return "slack-gov.com" if f".{host}".endswith(".slack-gov.com") else "slack.com"


def _of_slack(ids: Sequence[str]) -> tuple[str, ...]:
    """Those that are Slack's, or of no platform in particular."""
    return tuple(one for one in ids if one and (":" not in one or one.startswith("slack:")))


_DATABASE_FILE = "frontdesk.sqlite3"
"""Where everything is kept: what is installed stands beside it."""
_EVENTS_PATH = "/slack/events"
