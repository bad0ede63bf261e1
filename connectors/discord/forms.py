"""The forms: to ask a longer question, to say why an answer did not help, to set a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import discord

from connectors.discord import components
from connectors.discord.actions import OURS, Actions
from connectors.discord.channel_settings import save_settings
from connectors.discord.desk import Desk
from connectors.discord.invocation import Declined, Invocation
from connectors.wording import EXPIRED

EMPTY = "There was nothing in the form."


class Forms:
    """What people send with a form."""

    def __init__(self, desk: Desk, actions: Actions) -> None:
        self._desk, self._actions = desk, actions

    async def submitted(self, interaction: discord.Interaction) -> None:
        """A form that was sent; one of another app does nothing."""
        found = OURS.fullmatch(interaction.custom_id or "")
        if found is None:
            return
        data: Mapping[str, Any] = dict(interaction.data or {})
        async with Invocation(self._desk, interaction) as use:
            values = components.values_of(data)
            match found["action"]:
                case components.ASK:
                    await self._asked(use, values.get("question", ""))
                case components.REASON:
                    await self._actions.told_why(use, found["turn"], values.get("reason", ""))
                case components.SETTINGS:
                    await save_settings(use, self._desk, found["turn"], values)
                case _:
                    raise Declined(EXPIRED)

    async def _asked(self, use: Invocation, question: str) -> None:
        if not question:
            raise Declined(EMPTY)
        await self._desk.receive(await use.asks(question))
        await use.think()
