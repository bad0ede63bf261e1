"""Who people are: staff, who may set channels, and who is from outside. It never waits for longer than a moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING

import discord

from connectors.discord.desk import FAULTS
from connectors.discord.errors import Refused
from connectors.discord.ids import DIRECT, snowflake
from connectors.discord.rooms import Remembered, roles_in
from connectors.discord.settings import DiscordSettings

if TYPE_CHECKING:
    from connectors.discord.rest import Rest
    from connectors.discord.rooms import Rooms

_SECONDS = 300.0
_MOST = 5_000

_log = logging.getLogger(__name__)


class People:
    """What the settings and Discord say of people. What is named with a server, such as `discord:G/1`, holds in it alone."""

    def __init__(
        self, rest: Rest, rooms: Rooms, settings: DiscordSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rest, self._rooms, self._settings = rest, rooms, settings
        self._members: Remembered[tuple[int, int], tuple[int, ...] | None] = Remembered(_SECONDS, _MOST, clock)

    async def is_staff(self, space: str, user_id: int, role_ids: Collection[int] | None = None) -> bool:
        """Whether it is one of the staff; who is not known in time is not.

        `role_ids` are the person's roles in the server `space`, where a message or an interaction tells them; None: look them up.
        Staff are the people and the roles of the settings, and who sees the staff's channel if not everyone does. In a direct
        message it is enough to be staff in one of the servers that the settings name.
        """
        return await self._in_time(self._is_staff(space, user_id, role_ids))

    async def may_set(self, member: discord.Member) -> bool:
        """Whether a member may change the settings of channels: who may manage the server, and the admins of the settings.

        An interaction tells what a member may as it is now; of any other member, Discord is asked anew.
        """
        if _names(self._settings.admins, str(member.guild.id), member.id):
            return True
        found = member.resolved_permissions
        if found is not None:
            return found.manage_guild or found.administrator
        return await self._in_time(self._manages(member.guild.id, member.id))

    async def is_outside(self, space: str, user: int) -> bool:
        """Whether somebody is from outside the company: everybody but the staff, also who is not known in time."""
        return not await self.is_staff(space, user)

    async def _in_time(self, work: Awaitable[bool]) -> bool:
        try:
            return await asyncio.wait_for(work, self._settings.patience)
        except FAULTS as error:
            _log.info("Discord does not say who somebody is: %s", str(error) or type(error).__name__)
            return False

    async def _is_staff(self, space: str, user: int, given: Collection[int] | None) -> bool:
        if _names(self._settings.staff, space, user):
            return True
        channel_guild, channel = await self._staff_channel()
        guilds = [snowflake(space)]
        if space == DIRECT:
            guilds = [*map(_guild_of, self._settings.staff_roles), channel_guild]
            given = None
        for guild in filter(None, dict.fromkeys(guilds)):
            here = channel if guild == channel_guild else 0
            if await self._is_staff_in(guild, user, given, here):
                return True
        return False

    async def _is_staff_in(self, guild: int, user: int, given: Collection[int] | None, channel: int) -> bool:
        wanted = {_id_of(name) for name in self._settings.staff_roles if _guild_of(name) in (0, guild)}
        if not wanted and not channel:
            return False
        roles = await self._roles(guild, user) if given is None else given
        if roles is None:
            return False
        if not wanted.isdisjoint(roles):
            return True
        return bool(channel) and await self._rooms.is_among_few(guild, channel, user, roles)

    async def _staff_channel(self) -> tuple[int, int]:
        """The server and the id of the staff's channel, as far as there is one and it is known."""
        name = self._settings.staff_channel
        channel = _id_of(name)
        guild = _guild_of(name)
        if channel and not guild:
            try:
                guild = await self._rooms.guild_of(channel)
            except FAULTS as error:
                _log.warning("the staff's channel %s cannot be read: %s", name, error)
        return guild, channel

    async def _roles(self, guild: int, user: int, *, anew: bool = False) -> tuple[int, ...] | None:
        """The roles of a member; None for who is none."""

        async def look_up() -> tuple[int, ...] | None:
            path = "/guilds/{guild_id}/members/{user_id}"
            try:
                return roles_in(await self._rest.request("GET", path, guild_id=guild, user_id=user))
            except Refused as error:
                if error.status == 404:
                    return None
                raise

        return await self._members.get((guild, user), look_up, anew=anew)

    async def _manages(self, guild: int, user: int) -> bool:
        roles = await self._roles(guild, user, anew=True)
        if roles is None:
            return False
        found = await self._rooms.guild_permissions(guild, user, roles)
        return found.manage_guild or found.administrator


def _names(names: Iterable[str], space: str, user: int) -> bool:
    """Whether `123` or `discord:G/123` is among the names; in a direct message, of whichever server."""
    return any(_id_of(name) == user and (space == DIRECT or str(_guild_of(name) or space) == space) for name in names)


def _id_of(name: str) -> int:
    return snowflake(name.rpartition("/")[2].removeprefix("discord:").strip())


def _guild_of(name: str) -> int:
    """The server in `discord:G/123`, 0 in `123`."""
    return snowflake(name.rpartition("/")[0].removeprefix("discord:").strip())
