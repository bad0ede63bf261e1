"""One use of a command, a button or a form: who, where and when, and the ways to answer it.

Discord takes the first answer for three seconds; after it others may follow for a quarter of an hour. What takes longer is
announced in time: nobody reads "This interaction failed" because something here was slow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import discord

from agent.messages import Address, Attachment, Message
from connectors.discord.desk import FAULTS, Desk
from connectors.discord.errors import ALREADY_ACKNOWLEDGED, UNKNOWN_INTERACTION, Refused
from connectors.discord.ids import DIRECT, message_id, private_thread

NOTE, THINKING, UPDATING, FORM = 4, 5, 6, 9
"""Types of the first answer (docs.discord.com/developers/interactions/receiving-and-responding)."""
EPHEMERAL = 1 << 6
LONGEST_NOTE = 2_000
NO_MENTIONS = {"parse": [], "replied_user": False}

TRY_AGAIN = "Sorry, that did not work just now. Please try again in a moment."
TOO_SLOW = "Sorry, that took too long. Please do it once more."
UNKNOWN_PLACE = "I cannot be used in a place like this."

_SECONDS_TO_ANSWER = 2.5
_CALLBACK = "/interactions/{webhook_id}/{webhook_token}/callback"
_FOLLOW_UP = "/webhooks/{webhook_id}/{webhook_token}"

_log = logging.getLogger(__name__)


class Declined(Exception):
    """It is not done, and its text tells the person why."""


class Invocation:
    """Used as `async with`: whatever goes wrong inside, the person is told. `late` announces what is not answered in time."""

    def __init__(self, desk: Desk, interaction: discord.Interaction, *, late: int = THINKING) -> None:
        self._desk, self.interaction, self._late = desk, interaction, late
        self.user = str(interaction.user.id)
        self.at = interaction.created_at
        self.space = str(interaction.guild_id or DIRECT)
        self.room, self.thread = _place_of(interaction.channel)
        self._lock = asyncio.Lock()
        self._given = 0
        self._elsewhere = False
        self._watch: asyncio.Task[None] | None = None

    # Who and where.

    @property
    def channel(self) -> Address:
        """Where it was used, without the thread: what settings are made for."""
        return self._address("")

    @property
    def public(self) -> Address:
        """Where all see it who see where it was used."""
        return self._address(self.thread)

    @property
    def private(self) -> Address:
        """The conversation that only this person sees."""
        return self._address(private_thread(self.user))

    def _address(self, thread: str) -> Address:
        if not self.room:
            raise Declined(UNKNOWN_PLACE)
        return Address("discord", self.space, self.room, thread)

    @property
    def private_reply(self) -> str:
        """The way back to this person alone."""
        return f"interaction:{self.interaction.application_id}/{self.interaction.token}"

    @property
    def is_member(self) -> bool:
        """Whether the app's bot is in this server, rather than its commands alone."""
        guild = self.interaction.client.get_guild(self.interaction.guild_id or 0)
        return guild is not None and not guild.unavailable

    async def is_staff(self) -> bool:
        """Whether it is one of the staff; who is not known in time is not."""
        user = self.interaction.user
        roles = [role.id for role in user.roles if role is not None] if isinstance(user, discord.Member) else []
        return await self._desk.soon(self._desk.people.is_staff(self.space, int(self.user), roles), False)

    async def outsiders_read(self, *, privately: bool = False) -> bool:
        """Whether people from outside read an answer here; when that is not known in time, they do.

        `privately`: only this person does, who is from outside where everybody may read, unless it is one of the staff.
        """
        if self.space == DIRECT:
            return not await self.is_staff()
        facts = await self._desk.soon(self._desk.rooms.facts(int(self.thread or self.room), int(self.space)), None)
        is_open = facts is None or facts.everyone_sees
        return is_open and not (privately and await self.is_staff())

    async def asks(self, text: str, files: Sequence[Attachment] = (), *, wants_person: bool = False) -> Message:
        """What is asked so that nobody else sees it: always as a customer."""
        return Message(
            id=message_id(self.private, self.interaction.id),
            address=self.private,
            author=self.user,
            role="customer",
            text=text,
            sent_at=self.at,
            attachments=tuple(files),
            wants_person=wants_person,
            outsiders=await self.outsiders_read(privately=True),
            private_reply=self.private_reply,
        )

    # Answers.

    async def note(self, text: str, components: Sequence[Mapping[str, Any]] = ()) -> None:
        """Tell this person something that nobody else sees."""
        body: dict[str, Any] = {"content": text[:LONGEST_NOTE], "flags": EPHEMERAL, "allowed_mentions": NO_MENTIONS}
        if components:
            body["components"] = list(components)
        if not await self._first(NOTE, body):
            await self._afterwards("POST", _FOLLOW_UP, body)

    async def think(self) -> None:
        """Show this person that an answer comes, which nobody else sees."""
        await self._first(THINKING, {"flags": EPHEMERAL})

    async def update(self) -> None:
        """Show nothing: what the message with the button shows is enough."""
        await self._first(UPDATING)

    async def form(self, modal: Mapping[str, Any]) -> None:
        """Open a form; only the first answer can."""
        if not await self._first(FORM, modal):
            await self.note(TOO_SLOW)

    async def remove(self) -> None:
        """Take away the message with the button, which only this person sees."""
        await self._first(UPDATING)
        await self._afterwards("DELETE", _FOLLOW_UP + "/messages/@original")

    async def _first(self, kind: int, data: Mapping[str, Any] | None = None) -> bool:
        """Whether this was the first answer."""
        async with self._lock:
            if self._given:
                return False
            self._given = kind
            body = {"type": kind} if data is None else {"type": kind, "data": data}
            await self._request("POST", _CALLBACK, self.interaction.id, body)
            return True

    async def _afterwards(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        if not self._elsewhere:
            await self._request(method, path, self.interaction.application_id, body)

    async def _request(self, method: str, path: str, owner: int, body: Mapping[str, Any] | None) -> None:
        # Named after a webhook, so that every interaction has limits of its own.
        names: dict[str, Any] = {"webhook_id": owner, "webhook_token": self.interaction.token}
        try:
            await self._desk.rest.request(method, path, json=body, patience=_SECONDS_TO_ANSWER, **names)
        except Refused as error:
            if error.code not in (ALREADY_ACKNOWLEDGED, UNKNOWN_INTERACTION):
                _log.warning("a use of a command or button was not answered: %s", error)
                return
            # Another process hears the same and was faster, or it is too late.
            self._elsewhere = True
            _log.info("a use of a command or button is answered by another process, or too late: %s", error)
        except FAULTS as error:
            _log.warning("a use of a command or button was not answered: %s", str(error) or type(error).__name__)

    # The three seconds.

    async def __aenter__(self) -> Invocation:
        self._watch = asyncio.get_running_loop().create_task(self._in_time())
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            if isinstance(error, Declined):
                await self.note(str(error))
            elif isinstance(error, Exception):
                known = isinstance(error, FAULTS)
                _log.error(
                    "a use of a command or button was not taken in: %s", error, exc_info=None if known else error
                )
                await self.note(TRY_AGAIN)
            elif error is None:
                await self._announce()
        finally:
            if self._watch is not None:
                self._watch.cancel()
        return isinstance(error, Exception)

    async def _in_time(self) -> None:
        await asyncio.sleep(self._desk.answer_seconds)
        await self._announce()

    async def _announce(self) -> None:
        await self._first(self._late, {"flags": EPHEMERAL} if self._late == THINKING else None)


def _place_of(channel: object) -> tuple[str, str]:
    """The room and the thread of a channel."""
    if isinstance(channel, discord.Thread):
        return str(channel.parent_id), str(channel.id)
    found = getattr(channel, "id", None)
    return (str(found) if isinstance(found, int) else ""), ""
