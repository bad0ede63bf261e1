"""The buttons under replies. What is said with them is received before it is acknowledged."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import discord

from agent.messages import Address, Feedback, Message, Shared, Solved, Stopped
from connectors.discord.channel_settings import form_again
from connectors.discord.components import HELPFUL, PERSON, SETTINGS, SHARE, SOLVED, STOP, UNHELPFUL, reason_modal
from connectors.discord.desk import Desk
from connectors.discord.ids import DIRECT, message_id, private_thread, snowflake_of
from connectors.discord.invocation import THINKING, UPDATING, Declined, Invocation
from connectors.wording import ASK_YOURSELF, EXPIRED, GLAD, NOT_YOURS, PERSON_TEXT

OURS = re.compile(r"fd:(?P<action>[^:]*):?(?P<turn>.*)", re.DOTALL)
"""Every custom id of ours, also of versions that are no more."""
THANKS = "Thank you for telling us."
NOT_SHOWN_HERE = "I may not write here, so only you can see this answer."


@dataclass(frozen=True, slots=True)
class Click:
    """A button under a reply, and the conversation that it stands in. `turn` is what the reply answers.

    `private`: only who pressed it sees the reply. `at_hand`: the conversation is the one in which the button stands, rather
    than one that is guessed by its room.
    """

    use: Invocation
    turn: str
    address: Address
    asker: str
    private: bool
    at_hand: bool

    @property
    def reply_in(self) -> str:
        """Where a reply goes, if it is not the address's thread."""
        return "" if self.private or self.use.thread else self.use.room

    @property
    def is_askers(self) -> bool:
        """Whether it was pressed by who asked."""
        return not self.asker or self.asker.rpartition("/")[2] == self.use.user


class Actions:
    """What people do with the buttons."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._handlers: dict[str, Callable[[Click], Awaitable[None]]] = {
            HELPFUL: self._helped,
            UNHELPFUL: self._did_not_help,
            PERSON: self._wants_person,
            STOP: self._stops,
            SOLVED: self._solved,
            SHARE: self._shares,
        }

    async def pressed(self, interaction: discord.Interaction, action: str, turn: str) -> None:
        """A button of ours. One that means nothing any more says so."""
        private = _is_private(interaction)
        late = THINKING if action == PERSON and private else UPDATING
        async with Invocation(self._desk, interaction, late=late) as use:
            if action == SETTINGS:
                await form_again(use, self._desk, interaction.message.content if interaction.message else "")
                return
            handler = self._handlers.get(action)
            if handler is None:
                raise Declined(EXPIRED)
            await handler(await self.click(use, turn))

    async def click(self, use: Invocation, turn: str) -> Click:
        """Which conversation a button or its form belongs to. Raises `Declined` when that is not known any more."""
        channel = turn.partition("#")[0]
        if not snowflake_of(turn) or not channel.startswith("discord:"):
            raise Declined(EXPIRED)
        asker = ""
        if self._desk.asker_of is not None:
            asker = await self._desk.asker_of(turn)
            if not asker:
                raise Declined(EXPIRED)
        if channel != use.channel.channel:
            return _elsewhere(use, turn, channel, asker)
        if _is_private(use.interaction):
            return Click(use, turn, use.private, asker, private=True, at_hand=True)
        if use.thread:
            return Click(use, turn, use.public, asker, private=False, at_hand=True)
        thread = await self._thread_of(use, turn)
        address = Address("discord", use.space, use.room, thread or str(snowflake_of(turn)))
        return Click(use, turn, address, asker, private=False, at_hand=bool(thread))

    async def _thread_of(self, use: Invocation, turn: str) -> str:
        """The thread of a conversation that takes place in a room without threads."""
        message = use.interaction.message
        found = await self._desk.conversation_of(use.channel, snowflake_of(turn))
        return found or (await self._desk.conversation_of(use.channel, message.id) if message is not None else "")

    # What each of them does.

    async def _helped(self, click: Click) -> None:
        await self._desk.receive(Feedback(click.address, click.turn, click.use.user, True, click.use.at))
        await click.use.note(THANKS)

    async def _did_not_help(self, click: Click) -> None:
        await self._desk.receive(Feedback(click.address, click.turn, click.use.user, False, click.use.at))
        # Whether or not they say why, it is known that it did not help.
        await click.use.form(reason_modal(click.turn))

    async def _wants_person(self, click: Click) -> None:
        use = click.use
        await _only_askers(click, ASK_YOURSELF)
        message = Message(
            # Pressed twice in a moment, it is wanted once.
            id=message_id(click.address, self._desk.once(f"person {click.turn} {use.user}", use.interaction.id)),
            address=click.address,
            author=use.user,
            role="customer",
            text=PERSON_TEXT,
            sent_at=use.at,
            wants_person=True,
            outsiders=await use.outsiders_read(privately=click.private),
            joins=use.space == DIRECT and not click.private and not click.at_hand,
            reply_in=click.reply_in,
            private_reply=use.private_reply if click.private else "",
        )
        await self._desk.receive(message)
        # The reply is a message of its own; where only they see it, it takes the place of "thinking".
        await (use.think() if click.private else use.update())

    async def _stops(self, click: Click) -> None:
        await _only_askers(click, NOT_YOURS)
        await self._desk.receive(Stopped(click.address, click.use.user, click.use.at))
        await click.use.update()

    async def _solved(self, click: Click) -> None:
        await _only_askers(click, NOT_YOURS)
        await self._desk.receive(Solved(click.address, click.turn, click.use.user, click.use.at))
        if self._desk.solved is not None:
            self._desk.later(self._desk.solved(click.address), "a post was not marked as solved")
        await click.use.note(GLAD)

    async def _shares(self, click: Click) -> None:
        if not click.private or not click.is_askers:
            # Only the asker is shown this button, and only in a message that only they see.
            raise Declined(NOT_YOURS)
        use = click.use
        if use.space != DIRECT and not (use.is_member and _may_write(use.interaction)):
            raise Declined(NOT_SHOWN_HERE)
        asked_here = click.address == use.private
        # In a thread for those who read it: others read in its channel, and nobody in a forum.
        there = use.public if asked_here else Address("discord", click.address.space, click.address.room)
        await self._desk.receive(Shared(click.turn, there, use.user, use.at))
        await use.remove()

    # The form that asks why.

    async def told_why(self, use: Invocation, turn: str, reason: str) -> None:
        """Why an answer did not help."""
        click = await self.click(use, turn)
        if reason:
            await self._desk.receive(Feedback(click.address, turn, use.user, False, datetime.now(UTC), reason))
        await use.note(THANKS)


def dynamic_item(actions: Actions) -> type[discord.ui.DynamicItem[discord.ui.Button[Any]]]:
    """What tells the library that the buttons are ours, whichever process made them."""

    class Pressed(discord.ui.DynamicItem[discord.ui.Button[Any]], template=OURS):
        def __init__(self, item: discord.ui.Button[Any], action: str, turn: str) -> None:
            super().__init__(item)
            self.action, self.turn = action, turn

        @classmethod
        async def from_custom_id(
            cls, _: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
        ) -> Pressed:
            assert isinstance(item, discord.ui.Button)
            return cls(item, match["action"], match["turn"])

        async def callback(self, interaction: discord.Interaction) -> None:
            await actions.pressed(interaction, self.action, self.turn)

    return Pressed


async def _only_askers(click: Click, refusal: str) -> None:
    if not click.is_askers and not await click.use.is_staff():
        raise Declined(refusal)


def _elsewhere(use: Invocation, turn: str, channel: str, asker: str) -> Click:
    """A private answer that was delivered by direct message, because nothing else led to the person."""
    space, _, room = channel.removeprefix("discord:").partition("/")
    if use.space != DIRECT or not space or not room:
        raise Declined(EXPIRED)
    return Click(
        use, turn, Address("discord", space, room, private_thread(use.user)), asker, private=True, at_hand=True
    )


def _is_private(interaction: discord.Interaction) -> bool:
    return interaction.message is not None and interaction.message.flags.ephemeral


def _may_write(interaction: discord.Interaction) -> bool:
    may = interaction.app_permissions
    in_thread = isinstance(interaction.channel, discord.Thread)
    return may.view_channel and (may.send_messages_in_threads if in_thread else may.send_messages)
