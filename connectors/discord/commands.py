"""The slash commands and the command of a message's menu, and how Discord is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands

from agent.messages import Address, Message
from connectors.discord.channel_settings import settings_form
from connectors.discord.components import ask_modal
from connectors.discord.desk import Desk
from connectors.discord.ids import DIRECT, message_id
from connectors.discord.incoming import attachment_of, files_of, text_of
from connectors.discord.invocation import Declined, Invocation
from connectors.wording import NOTHING_TO_READ, PERSON_TEXT

if TYPE_CHECKING:
    from connectors.discord.rest import Rest

ASK_ABOUT = "Ask support about this"
DESCRIPTION = "Ask support, or talk to a person"
ANSWER_FOLLOWS = "I am looking into it. The answer comes here, where everybody can read it."

_CONTEXTS = app_commands.AppCommandContext(guild=True, dm_channel=True)
_INSTALLS = app_commands.AppInstallationType(guild=True)


class Support(app_commands.Group):
    """`/support`, by whatever name. What it shows is for one person only."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(
            name=desk.settings.command,
            description=DESCRIPTION,
            allowed_contexts=_CONTEXTS,
            allowed_installs=_INSTALLS,
        )
        self._desk = desk

    @app_commands.command(name="ask", description="Ask a question; only you see the answer")
    @app_commands.describe(
        question="Your question; leave it out to write a longer one", attachment="A file that shows what you mean"
    )
    async def ask(
        self, interaction: discord.Interaction, question: str = "", attachment: discord.Attachment | None = None
    ) -> None:
        """Ask, or open a form for a longer question."""
        async with Invocation(self._desk, interaction) as use:
            words = question.strip()
            if not words and attachment is None:
                await use.form(ask_modal(use.room))
                return
            files = [attachment_of(attachment)] if attachment is not None else []
            await self._desk.receive(await use.asks(words, files))
            await use.think()

    @app_commands.command(name="person", description="Talk to a person")
    @app_commands.describe(reason="What it is about")
    async def person(self, interaction: discord.Interaction, reason: str = "") -> None:
        """Be handed over."""
        async with Invocation(self._desk, interaction) as use:
            await self._desk.receive(await use.asks(reason.strip() or PERSON_TEXT, wants_person=True))
            await use.think()

    @app_commands.command(name="settings", description="How I behave in this channel, for who may manage the server")
    async def settings(self, interaction: discord.Interaction) -> None:
        """Open the form of the channel's settings."""
        async with Invocation(self._desk, interaction) as use:
            await settings_form(use, self._desk)

    @app_commands.command(name="help", description="What I can do")
    async def help(self, interaction: discord.Interaction) -> None:
        """Say what there is."""
        async with Invocation(self._desk, interaction) as use:
            await use.note(help_text(self.name))


def about_message(desk: Desk) -> app_commands.ContextMenu:
    """The command in the menu of a message: what it says is the question."""

    async def asked_about(interaction: discord.Interaction, message: discord.Message) -> None:
        async with Invocation(desk, interaction) as use:
            question = await _about(use, desk, message)
            await desk.receive(question)
            await (use.think() if question.private_reply else use.note(ANSWER_FOLLOWS))

    return app_commands.ContextMenu(
        name=ASK_ABOUT, callback=asked_about, allowed_contexts=_CONTEXTS, allowed_installs=_INSTALLS
    )


async def _about(use: Invocation, desk: Desk, said: discord.Message) -> Message:
    """The question about a message; all see the answer where the app may write, else only who asks. Raises `Declined`."""
    thread = use.interaction.channel
    # A forum's post begins with its title.
    title = thread.name if isinstance(thread, discord.Thread) and thread.id == said.id else ""
    text, files = text_of(said, desk.rest.user_id, named=title), files_of(said)
    if not text and not files:
        raise Declined(NOTHING_TO_READ)
    root = use.thread or await desk.conversation_of(use.channel, said.id) or str(said.id)
    in_place = not use.thread and (
        root != str(said.id) or desk.answers_in_place(use.channel) or not _may_start_thread(use.interaction, said)
    )
    if not _may_answer(use, in_place):
        return await use.asks(text, files)
    address = Address("discord", use.space, use.room, root)
    return Message(
        id=message_id(address, use.interaction.id),
        address=address,
        author=use.user,
        role="customer",
        text=text,
        sent_at=use.at,
        attachments=files,
        outsiders=await use.outsiders_read(),
        reply_in=use.room if in_place else "",
    )


def _may_answer(use: Invocation, in_place: bool) -> bool:
    """Whether the app may answer where all see it."""
    if use.space == DIRECT or not use.is_member:
        return False
    may, channel = use.interaction.app_permissions, use.interaction.channel
    if isinstance(channel, discord.Thread) and channel.locked and not may.manage_threads:
        return False
    return may.view_channel and (may.send_messages if in_place else may.send_messages_in_threads)


def _may_start_thread(interaction: discord.Interaction, said: discord.Message) -> bool:
    may = interaction.app_permissions
    return said.flags.has_thread or (isinstance(interaction.channel, discord.TextChannel) and may.create_public_threads)


def help_text(command: str) -> str:
    """What there is, for `/support help`."""
    return (
        f"`/{command} ask` with your question: I answer, and only you see it\n"
        f"`/{command} ask` alone: a form for a longer question\n"
        f"`/{command} person`: talk to a person\n"
        f"`/{command} settings`: how I behave in this channel, for who may manage the server\n"
        f"Or mention me, write me a direct message, or choose Apps, {ASK_ABOUT} in the menu of a message."
    )


# Telling Discord ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Synced:
    """The names of the commands that Discord was told of; nothing when it knew them all."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


async def sync_commands(rest: Rest, tree: app_commands.CommandTree[Any]) -> Synced:
    """Tell Discord of the commands that it does not know as they are now.

    Discord allows 200 new commands a day, so those that it knows are left alone. Each is told by itself, because telling all
    at once would remove what else the application has; of that only our own command under an earlier name is removed.
    Raises `Refused`, `Limited`, `Doubtful`, `DeliveryError`.
    """
    path, application = "/applications/{application_id}/commands", rest.application_id
    found = await rest.request("GET", path, application_id=application)
    known: dict[tuple[int, str], Mapping[str, Any]] = {(int(one.get("type", 1)), one["name"]): one for one in found}
    wanted = {(int(one["type"]), one["name"]): one for one in (c.to_dict(tree) for c in tree.get_commands(type=None))}
    created, changed, deleted = [], [], []
    for key, command in wanted.items():
        registered = known.get(key)
        if registered is None:
            await rest.request("POST", path, json=command, application_id=application)
            created.append(key[1])
        elif normalised(registered) != normalised(command):
            body = {name: value for name, value in command.items() if name != "type"}
            one = {"application_id": application, "command_id": registered["id"]}
            await rest.request("PATCH", path + "/{command_id}", json=body, **one)
            changed.append(key[1])
    for key, registered in known.items():
        if key not in wanted and _was_ours(registered):
            one = {"application_id": application, "command_id": registered["id"]}
            await rest.request("DELETE", path + "/{command_id}", **one)
            deleted.append(key[1])
    return Synced(tuple(created), tuple(changed), tuple(deleted))


_COMPARED: Mapping[str, Any] = {
    **{"type": 1, "name": "", "description": "", "default_member_permissions": None, "nsfw": False, "required": False},
    **{"contexts": (), "integration_types": (), "min_length": None, "max_length": None, "autocomplete": False},
}
"""What makes a command or option, and what it is when it is left out."""


def normalised(command: Mapping[str, Any]) -> dict[str, Any]:
    """A command or option as it can be compared, whether Discord tells of it or Discord is told."""
    plain: dict[str, Any] = {}
    for name, otherwise in _COMPARED.items():
        value = command.get(name)
        plain[name] = otherwise if value is None else value
    for name in ("contexts", "integration_types"):
        plain[name] = sorted(plain[name])
    plain["options"] = [normalised(option) for option in command.get("options") or ()]
    return plain


def _was_ours(command: Mapping[str, Any]) -> bool:
    """Whether it is our command under a name that it had before."""
    options: Sequence[Mapping[str, Any]] = command.get("options") or ()
    return command.get("description") == DESCRIPTION and {"ask", "person"} <= {str(one.get("name")) for one in options}
