"""`frontdesk slack manifest`, and what `doctor` finds out about Slack."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from agent.errors import SettingsError
from agent.messages import Address
from agent.settings import Settings
from connectors.channels import staff_room
from connectors.commands.findings import Finding
from connectors.commands.options import Options
from connectors.composition import read_settings
from connectors.places.slack import prompts_of, slack_mode

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient


def manifest(options: Options, *, url: str, name: str, legacy: bool, oauth: bool) -> None:
    """Print the manifest of the Slack app: what it may do, and where its events go."""
    from connectors.slack.manifest import manifest

    settings = read_settings(options.config, options.data)
    made = manifest(
        "http" if url else "socket",
        name=name or settings["company"][:35] or "frontdesk",
        url=url,
        commands=settings["slack_commands"],
        company=settings["company"],
        prompts=prompts_of(settings),
        legacy=legacy,
        oauth=oauth,
    )
    print(json.dumps(made, ensure_ascii=False, indent=2))  # noqa: T201


async def findings(settings: Settings) -> AsyncGenerator[Finding]:
    """Whether Slack takes the tokens, what the app may not do, and whether the staff's channel can be written to."""
    try:
        mode = slack_mode(settings)
    except SettingsError as error:
        yield Finding("Slack", False, error.message, error.hint)
        return
    if not mode:
        yield Finding("Slack", True, "not set up; docs/slack.md says how")
        return
    from slack_sdk.web.async_client import AsyncWebClient

    team = ""
    if settings["slack_bot_token"]:
        client = AsyncWebClient(settings["slack_bot_token"], settings["slack_api_url"], timeout=_SECONDS)
        answer, problem = await _asked(client, "auth.test", post=True)
        if problem and client.base_url in problem:
            yield Finding("Slack", False, problem, _REACH)
            return
        if problem:
            yield Finding("Slack", False, f"SLACK_BOT_TOKEN: {problem}", _HINTS.get(problem, _INSTALL))
        else:
            team = str(answer.get("team_id", ""))
            yield _allowed(f"workspace {team} ({answer.get('team')}), as @{answer.get('user')}", answer)
    else:
        yield Finding("Slack", True, "to be installed into many workspaces, by OAuth")
    if mode == "socket":
        app = AsyncWebClient(settings["slack_app_token"], settings["slack_api_url"], timeout=_SECONDS)
        _, problem = await _asked(app, "apps.connections.open", post=True)
        hint = "Make one under Basic Information, App-Level Tokens, with the scope connections:write."
        yield Finding("Slack app token", not problem, problem or "opens a connection", hint if problem else "")
    else:
        where = settings["slack_http_address"]
        yield Finding("Slack over HTTP", True, f"`frontdesk run` listens at {where}; Slack has to reach it by https://")
    room = staff_room(settings["staff_channel"], Address("slack", team, ""))
    if team and room is not None and room.connector == "slack":
        yield await _staff(client, room, team)


def _allowed(who: str, answer: dict[str, Any]) -> Finding:
    from connectors.slack.connector import missing_scopes
    from connectors.slack.manifest import SCOPES

    missing = missing_scopes(answer[_GRANTED])
    if not missing:
        return Finding("Slack", True, who)
    named = "; ".join(f"{scope} ({SCOPES[scope]})" for scope in missing)
    hint = "Add them under OAuth & Permissions, or paste `frontdesk slack manifest`; then install the app again."
    return Finding("Slack", True, f"{who}; without the scopes {named}", hint)


async def _staff(client: AsyncWebClient, room: Address, team: str) -> Finding:
    if room.space != team:
        return Finding("staff channel", True, f"{room.channel} is of another workspace, and was not looked at")
    answer, problem = await _asked(client, "conversations.info", channel=room.room)
    found = answer.get("channel", {})
    if not problem and found.get("is_archived"):
        problem = "it is archived"
    if not problem and not found.get("is_member"):
        problem = "the app is no member of it"
    if problem:
        return Finding(
            "staff channel", False, f"{room.channel}: {problem}", "Type in that channel: /invite @ and the app's name"
        )
    return Finding("staff channel", True, f"{room.channel} (#{found.get('name', '')})")


async def _asked(
    client: AsyncWebClient, method: str, *, post: bool = False, **arguments: str
) -> tuple[dict[str, Any], str]:
    """What Slack answers, with the scopes that it names in a header; and the problem in words, if there is one."""
    import aiohttp
    from slack_sdk.errors import SlackApiError

    try:
        if post:
            response = await client.api_call(method, json=arguments)
        else:
            response = await client.api_call(method, http_verb="GET", params=arguments)
    except SlackApiError as error:
        return {}, str(error.response.get("error") or "refused")
    except (aiohttp.ClientError, OSError, TimeoutError, AttributeError) as error:
        reason = getattr(getattr(error, "os_error", None), "strerror", None) or str(error) or type(error).__name__
        return {}, f"{client.base_url} cannot be reached: {reason}"
    granted = next((str(value) for key, value in response.headers.items() if key.lower() == "x-oauth-scopes"), "")
    data = response.data if isinstance(response.data, dict) else {}
    return {**data, _GRANTED: granted}, ""


_GRANTED = "granted scopes"
_SECONDS = 10
_REACH = "Look at the network of this machine, and at SLACK_API_URL if you set it."
_INSTALL = "Copy the Bot User OAuth Token from OAuth & Permissions on api.slack.com/apps again."
_HINTS = {
    "account_inactive": "The app was removed from the workspace: install it again, and copy its new token.",
    "token_revoked": "The token was revoked: install the app again, and copy its new token.",
}
