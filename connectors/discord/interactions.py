"""Everything that people do with Discord's own means: commands, menus, buttons, forms."""

from __future__ import annotations

import logging
from typing import Any

import discord
from discord import app_commands

from connectors.discord.actions import Actions, dynamic_item
from connectors.discord.client import unconnected
from connectors.discord.commands import Support, Synced, about_message, sync_commands
from connectors.discord.desk import Desk
from connectors.discord.forms import Forms
from connectors.discord.invocation import TRY_AGAIN, Declined, Invocation

_log = logging.getLogger(__name__)


class Interactions:
    """`register` prepares a client for commands and buttons; `received` is told of every interaction, for the forms."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._actions = Actions(desk)
        self._forms = Forms(desk, self._actions)

    def register(self, client: discord.Client) -> app_commands.CommandTree[Any]:
        """Let a client that has not connected yet hear commands and buttons. Returns its commands."""
        tree = _Tree(self._desk, client)
        tree.add_command(Support(self._desk))
        tree.add_command(about_message(self._desk))
        client.add_dynamic_items(dynamic_item(self._actions))
        return tree

    async def received(self, interaction: discord.Interaction) -> None:
        """A form that was sent; the client itself has led commands and buttons on."""
        if interaction.type is discord.InteractionType.modal_submit:
            await self._forms.submitted(interaction)

    async def sync_commands(self) -> Synced:
        """Tell Discord of the commands, where it does not know them. Raises `Refused`, `Limited`, `Doubtful`, `DeliveryError`."""
        tree = self.register(unconnected())
        synced = await sync_commands(self._desk.rest, tree)
        if synced != Synced():
            _log.info("Discord was told of the commands: %s", synced)
        return synced


class _Tree(app_commands.CommandTree[Any]):
    """The commands of a client."""

    def __init__(self, desk: Desk, client: discord.Client) -> None:
        super().__init__(client)
        self._desk = desk

    async def on_error(self, interaction: discord.Interaction, error: app_commands.AppCommandError, /) -> None:
        """Somebody used a command that is not ours, or is not as it was when Discord was told of it."""
        if isinstance(error, app_commands.CommandNotFound):
            name = [*error.parents, error.name][0]
            if name != self._desk.settings.command:
                _log.info("another program of this application may know the command %s", name)
                return
        _log.warning("a command could not be understood: %s", error)
        async with Invocation(self._desk, interaction):
            raise Declined(TRY_AGAIN)
