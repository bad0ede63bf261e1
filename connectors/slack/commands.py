"""The slash commands: to ask without anybody seeing it, to be handed over, and to set the channel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.messages import Address
from connectors.slack.actions import asked, open_view, private_thread
from connectors.slack.channel_settings import settings_form
from connectors.slack.desk import Desk
from connectors.slack.events import identifier
from connectors.slack.incoming import text_of
from connectors.slack.views import ask_view
from connectors.wording import PERSON_TEXT

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck


class Commands:
    """`/support` and `/handoff`, by whatever names."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def called(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """A slash command. Its answers are for one person only."""
        desk = self._desk
        team, user = await desk.team_of(body), identifier(body.get("user_id"))
        room, words = identifier(body.get("channel_id")), text_of({"text": body.get("text")})
        asking, handing_over = desk.settings.commands
        if not (team and user and room) or body.get("command") not in (asking, handing_over):
            await ack()
        elif body.get("command") == handing_over:
            await self._ask(team, user, body, words or PERSON_TEXT, wants_person=True)
            await ack()
        elif words.lower() in ("person", "human"):
            await self._ask(team, user, body, PERSON_TEXT, wants_person=True)
            await ack()
        elif words.lower() == "help":
            await ack(text=_help(asking, handing_over))
        elif words.lower() == "settings":
            await self._settings(team, user, body, ack)
        elif words:
            await self._ask(team, user, body, words)
            await ack()
        else:
            kept = {"room": room, "response_url": str(body.get("response_url") or "")}
            open_view(desk, team, body, ask_view(private_metadata=json.dumps(kept)))
            await ack()

    async def _ask(self, team: str, user: str, body: dict[str, Any], text: str, *, wants_person: bool = False) -> None:
        desk = self._desk
        ts = desk.stamp(str(body.get("trigger_id") or body.get("response_url")))
        address = Address("slack", team, identifier(body.get("channel_id")), private_thread(user))
        outside = await desk.author_is_outside(team, user, "")
        reply = str(body.get("response_url") or "")
        await desk.receive(
            asked(address, ts, user, "", text, outsiders=outside, private_reply=reply, wants_person=wants_person)
        )

    async def _settings(self, team: str, user: str, body: dict[str, Any], ack: AsyncAck) -> None:
        form = await settings_form(self._desk, team, user, body)
        if isinstance(form, str):
            await ack(text=form)
            return
        open_view(self._desk, team, body, form)
        await ack()


def _help(asking: str, handing_over: str) -> str:
    return (
        f"`{asking} your question`: I answer, and only you see it\n"
        f"`{asking}`: a form for a longer question\n"
        f"`{asking} person` or `{handing_over} reason`: talk to a person\n"
        f"`{asking} settings`: how I behave in this channel, for admins"
    )
