"""How the agent behaves in a channel, set from Slack by who may."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.errors import SettingsError
from connectors.slack.desk import Desk
from connectors.slack.events import identifier
from connectors.slack.views import settings_of, settings_view
from connectors.wording import SAVED, SETTING_NAMES, no_settings, refused_settings

REFUSED = refused_settings("the workspace's admins, and those whom they name,")
NOT_HERE = no_settings("Slack")
_LONGEST_ERROR = 250


async def settings_form(desk: Desk, team: str, user: str, body: Mapping[str, Any]) -> Mapping[str, Any] | str:
    """The form with what holds now, or why there is none."""
    if not await desk.people.may_set(team, user, desk.settings.admins):
        return REFUSED
    if desk.get_channel is None or desk.set_channel is None:
        return NOT_HERE
    room = identifier(body.get("channel_id"))
    try:
        current = await desk.get_channel(f"slack:{team}/{room}")
    except SettingsError as error:
        return error.message
    kept = {"room": room, "response_url": str(body.get("response_url") or "")}
    return settings_view(str(body.get("channel_name") or room), current, private_metadata=json.dumps(kept))


async def save_settings(
    desk: Desk, team: str, user: str, kept: Mapping[str, str], state: Mapping[str, Any]
) -> dict[str, Any]:
    """Save what was put into the form. What comes back answers the submission: nothing, or what is wrong with it."""
    if desk.set_channel is None or not identifier(kept.get("room")):
        return _wrong("mode", NOT_HERE)
    if not await desk.people.may_set(team, user, desk.settings.admins):
        return _wrong("mode", REFUSED)
    try:
        await desk.set_channel(f"slack:{team}/{kept['room']}", settings_of(state), f"slack:{team}/{user}")
    except SettingsError as error:
        message = error.message
        return _wrong(next((name for name in SETTING_NAMES if name in message.lower()), "mode"), message)
    desk.note(kept.get("response_url"), SAVED)
    return {}


def _wrong(name: str, message: str) -> dict[str, Any]:
    return {"response_action": "errors", "errors": {name: message[:_LONGEST_ERROR]}}
