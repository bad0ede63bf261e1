"""What channels are: looked up in Discord, or in what a gateway knows of them, and remembered for a minute."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import discord

from agent.messages import Address
from connectors.discord.desk import FAULTS
from connectors.discord.errors import Doubtful
from connectors.discord.ids import DIRECT, snowflake

if TYPE_CHECKING:
    from connectors.discord.rest import Rest

_SECONDS = 60.0
_MOST_CHANNELS = 5_000
_MOST_GUILDS = 1_000
_KINDS = {
    **{0: "text", 1: "dm", 2: "voice", 3: "group", 4: "category", 5: "news", 10: "news_thread", 11: "public_thread"},
    **{12: "private_thread", 13: "stage", 15: "forum", 16: "media"},
}
"""Types of channels (docs.discord.com/developers/resources/channel)."""
_THREADS = (10, 11, 12)
_NOT_WITHOUT_SENDING = discord.Permissions(
    send_tts_messages=True, mention_everyone=True, embed_links=True, attach_files=True, send_polls=True
).value
"""What has no effect for who may not send (topics/permissions, Implicit Permissions)."""
_IN_DIRECT = discord.Permissions(
    **{"view_channel": True, "send_messages": True, "read_message_history": True, "embed_links": True},
    **{"attach_files": True, "add_reactions": True, "use_external_emojis": True},
)

_log = logging.getLogger(__name__)
_Key = TypeVar("_Key", bound=Hashable)
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """A channel, thread or direct message. `space`, `room` and `thread` are those of its address.

    `kind`: text, news, voice, stage, forum, media, category, dm, group, public_thread, private_thread, news_thread, or other.
    Of a thread, `parent_kind` is its channel's kind (empty when that is not known), `owner` who started it, and of a forum's
    post `applied_tags` are the ids of its tags, `topics` their names. `everyone_sees`: each member of the server may
    see it; in a private thread, its channel, because whoever sees that can be brought into the thread.
    """

    space: str
    room: str
    thread: str = ""
    kind: str = "text"
    name: str = ""
    topics: tuple[str, ...] = ()
    applied_tags: tuple[str, ...] = ()
    everyone_sees: bool = True
    parent_kind: str = ""
    archived: bool = False
    locked: bool = False
    owner: str = ""

    @property
    def is_post(self) -> bool:
        """Whether it is a post of a forum."""
        return self.parent_kind in ("forum", "media")

    @property
    def address(self) -> Address:
        """The address of what is said in it; in a channel, without a thread."""
        return Address("discord", self.space, self.room, self.thread)


@dataclass(frozen=True, slots=True)
class Overwrite:
    """What a role or a member may or may not do in one channel, as bits."""

    id: int
    allow: int
    deny: int


@dataclass(frozen=True, slots=True)
class Guild:
    """Who owns a server, what its roles may do, and which of them is the bot's own (0: none)."""

    id: int
    owner: int
    roles: Mapping[int, int]
    own_role: int = 0


@dataclass(frozen=True, slots=True)
class _Channel:
    id: int
    type: int
    guild: int
    parent: int
    name: str
    overwrites: tuple[Overwrite, ...] = ()
    tags: tuple[tuple[int, str], ...] = ()
    applied: tuple[int, ...] = ()
    owner: int = 0
    archived: bool = False
    locked: bool = False


def everyone_sees(guild_id: int, everyone_role_permissions: int, overwrites: Iterable[Overwrite]) -> bool:
    """Whether @everyone, the role with the id of the server, may see a channel with these overwrites."""
    found = discord.Permissions(everyone_role_permissions)
    if found.administrator:
        return True
    for one in overwrites:
        if one.id == guild_id:
            found.handle_overwrite(one.allow, one.deny)
    return found.view_channel


def permissions_in(guild: Guild, user: int, roles: Collection[int], overwrites: Iterable[Overwrite] = ()) -> int:
    """What a member may in a channel; without overwrites, in the server as a whole."""
    found = guild.roles.get(guild.id, 0)
    for role in roles:
        found |= guild.roles.get(role, 0)
    if user == guild.owner or discord.Permissions(found).administrator:
        return discord.Permissions.all().value
    by_id = {one.id: one for one in overwrites}
    nothing = Overwrite(0, 0, 0)
    everyone, own = by_id.get(guild.id, nothing), by_id.get(user, nothing)
    found = found & ~everyone.deny | everyone.allow
    allow = deny = 0
    for role in set(roles) - {guild.id}:
        one = by_id.get(role, nothing)
        allow, deny = allow | one.allow, deny | one.deny
    found = found & ~deny | allow
    return found & ~own.deny | own.allow


class Remembered(Generic[_Key, _Found]):
    """What was looked up, for some seconds; what several want at once is looked up once, and errors are not kept."""

    def __init__(self, seconds: float, most: int, clock: Callable[[], float]) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._kept: OrderedDict[_Key, tuple[float, _Found]] = OrderedDict()
        self._running: dict[_Key, asyncio.Task[_Found]] = {}

    async def get(self, key: _Key, look_up: Callable[[], Awaitable[_Found]], *, anew: bool = False) -> _Found:
        """What is known, or is found now. Who no longer waits for it finds it the next time."""
        if anew:
            self.forget(key)
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock():
            self._kept.move_to_end(key)
            return kept[1]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._look_up(key, look_up))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _look_up(self, key: _Key, look_up: Callable[[], Awaitable[_Found]]) -> _Found:
        mine = asyncio.current_task()
        try:
            found = await look_up()
            if self._running.get(key) is mine:
                self._kept[key] = (self._clock() + self._seconds, found)
                self._kept.move_to_end(key)
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            return found
        finally:
            if self._running.get(key) is mine:
                del self._running[key]

    def known(self, key: _Key) -> _Found | None:
        """What was found, however long ago."""
        kept = self._kept.get(key)
        return None if kept is None else kept[1]

    def forget(self, key: _Key) -> None:
        """It may not hold any more, nor may what is being looked up."""
        self._kept.pop(key, None)
        self._running.pop(key, None)


class Rooms:
    """Facts of channels. What a lookup meets that decides nothing else is raised: `Refused`, `Limited`, `Doubtful`."""

    def __init__(self, rest: Rest, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest = rest
        self._client: discord.Client | None = None
        self._channels: Remembered[int, _Channel] = Remembered(_SECONDS, _MOST_CHANNELS, clock)
        self._guilds: Remembered[int, Guild] = Remembered(_SECONDS, _MOST_GUILDS, clock)
        self._own_roles: Remembered[int, tuple[int, ...]] = Remembered(_SECONDS, _MOST_GUILDS, clock)

    def use(self, client: discord.Client | None) -> None:
        """Ask the cache of a gateway's client first, while its gateway is connected; None: no longer."""
        self._client = client

    async def facts(self, channel: int, guild: int | None = None) -> RoomFacts:
        """What a channel or thread is. `guild` is None for a direct message."""
        if guild is None:
            known = self._client.get_channel(channel) if self._client is not None else None
            kind = "group" if isinstance(known, discord.GroupChannel) else "dm"
            return RoomFacts(DIRECT, str(channel), kind=kind, everyone_sees=False)
        found = await self._channel(channel, guild)
        if found.type not in _THREADS:
            return _facts(found, None, everyone=await self._is_open(found))
        parent = await self._parent(found)
        return _facts(found, parent, everyone=parent is None or await self._is_open(parent))

    async def everyone_sees(self, guild: int | None, channel: int) -> bool:
        """Whether all members of the server see a channel: asked anew of Discord, and true when it does not tell."""
        if guild is None:
            return False
        try:
            found = await self._asked_channel(channel, guild, anew=True)
            if found.type in _THREADS:
                found = await self._asked_channel(found.parent, guild, anew=True)
            rights = (await self._asked_guild(guild, anew=True)).roles.get(guild)
        except FAULTS as error:
            _log.info("Discord does not say who sees the channel %d: %s", channel, error)
            return True
        return rights is None or everyone_sees(guild, rights, found.overwrites)

    async def permissions(self, guild: int | None, channel: int) -> discord.Permissions:
        """What the bot may in a channel or thread."""
        if guild is None:
            return discord.Permissions(_IN_DIRECT.value)
        place = await self._channel(channel, guild)
        home = await self._home(place)
        bits = permissions_in(await self._guild(guild), self._rest.user_id, await self._roles(guild), home.overwrites)
        found = discord.Permissions(bits)
        if not found.view_channel:
            return discord.Permissions.none()
        if not (found.send_messages_in_threads if place.type in _THREADS else found.send_messages):
            found.value &= ~_NOT_WITHOUT_SENDING
        return found

    async def may(self, guild: int | None, channel: int, **wanted: bool) -> bool:
        """Whether the bot may do all this in a channel: `may(guild, channel, embed_links=True)`."""
        return discord.Permissions(**wanted) <= await self.permissions(guild, channel)

    async def guild_permissions(self, guild: int, user: int, roles: Collection[int]) -> discord.Permissions:
        """What a member with these roles may in the server as a whole."""
        return discord.Permissions(permissions_in(await self._guild(guild), user, roles))

    async def is_among_few(self, guild: int, channel: int, user: int, roles: Collection[int]) -> bool:
        """Whether a member with these roles sees a channel that not everyone sees."""
        home = await self._home(await self._channel(channel, guild))
        if home.guild != guild or await self._is_open(home):
            return False
        return discord.Permissions(permissions_in(await self._guild(guild), user, roles, home.overwrites)).view_channel

    async def guild_of(self, channel: int) -> int:
        """The server that a channel belongs to, 0 for none."""
        known = self._client.get_channel(channel) if self._client is not None else None
        if isinstance(known, discord.abc.GuildChannel | discord.Thread):
            return known.guild.id
        return (await self._asked_channel(channel, 0)).guild

    async def own_role(self, guild: int) -> int:
        """The bot's own role in a server, by which it can be mentioned; 0 when it has none, or that is not known."""
        try:
            return (await self._guild(guild)).own_role
        except FAULTS as error:
            _log.info("Discord does not tell the roles of the server %d: %s", guild, error)
            return 0

    def forget(self, channel: int) -> None:
        """What is known of a channel, and of the roles of its server, may not hold any more."""
        known = self._channels.known(channel)
        self._channels.forget(channel)
        if known is not None:
            self._guilds.forget(known.guild)
            self._own_roles.forget(known.guild)

    # Lookups: in the gateway's cache, else remembered, else asked.

    async def _channel(self, channel: int, guild: int) -> _Channel:
        home = self._cached(guild)
        known = home.get_channel_or_thread(channel) if home is not None else None
        return await self._asked_channel(channel, guild) if known is None else _from_cache(known)

    async def _guild(self, guild: int) -> Guild:
        known = self._cached(guild)
        if known is None:
            return await self._asked_guild(guild)
        own = known.self_role
        roles = {role.id: role.permissions.value for role in known.roles}
        return Guild(known.id, known.owner_id or 0, roles, own.id if own is not None else 0)

    async def _roles(self, guild: int) -> tuple[int, ...]:
        """The bot's roles in a server."""
        known = self._cached(guild)
        me = known.get_member(self._rest.user_id) if known is not None else None
        if me is not None:
            return tuple(role.id for role in me.roles)

        async def look_up() -> tuple[int, ...]:
            path = "/guilds/{guild_id}/members/{user_id}"
            return roles_in(await self._rest.request("GET", path, guild_id=guild, user_id=self._rest.user_id))

        return await self._own_roles.get(guild, look_up)

    def _cached(self, guild: int) -> discord.Guild | None:
        known = self._client.get_guild(guild) if self._client is not None else None
        return None if known is None or known.unavailable else known

    async def _asked_channel(self, channel: int, guild: int, *, anew: bool = False) -> _Channel:
        async def look_up() -> _Channel:
            return _from_wire(await self._rest.request("GET", "/channels/{channel_id}", channel_id=channel), guild)

        return await self._channels.get(channel, look_up, anew=anew)

    async def _asked_guild(self, guild: int, *, anew: bool = False) -> Guild:
        async def look_up() -> Guild:
            found = await self._rest.request("GET", "/guilds/{guild_id}", guild_id=guild)
            return _guild_from_wire(found, self._rest.user_id)

        return await self._guilds.get(guild, look_up, anew=anew)

    async def _home(self, found: _Channel) -> _Channel:
        """The channel whose overwrites count: a thread has none of its own."""
        return await self._channel(found.parent, found.guild) if found.type in _THREADS else found

    async def _parent(self, found: _Channel) -> _Channel | None:
        try:
            return await self._home(found)
        except FAULTS as error:
            _log.info("Discord does not tell the channel of the thread %d: %s", found.id, error)
            return None

    async def _is_open(self, found: _Channel) -> bool:
        """Whether everyone sees a channel; true when that is not known."""
        try:
            rights = (await self._guild(found.guild)).roles.get(found.guild)
        except FAULTS as error:
            _log.info("Discord does not tell the roles of the server %d: %s", found.guild, error)
            return True
        return rights is None or everyone_sees(found.guild, rights, found.overwrites)


def roles_in(member: object) -> tuple[int, ...]:
    """The roles of a member as Discord tells of one."""
    roles = member.get("roles") if isinstance(member, Mapping) else None
    return tuple(filter(None, map(snowflake, roles))) if isinstance(roles, list) else ()


def _facts(found: _Channel, parent: _Channel | None, *, everyone: bool) -> RoomFacts:
    thread = found.type in _THREADS
    names = dict(parent.tags) if parent is not None else {}
    return RoomFacts(
        space=str(found.guild),
        room=str(found.parent if thread else found.id),
        thread=str(found.id) if thread else "",
        kind=_KINDS.get(found.type, "other"),
        name=found.name,
        topics=tuple(names[tag] for tag in found.applied if tag in names),
        applied_tags=tuple(str(tag) for tag in found.applied),
        everyone_sees=everyone,
        parent_kind=_KINDS.get(parent.type, "other") if parent is not None else "",
        archived=found.archived,
        locked=found.locked,
        owner=str(found.owner or ""),
    )


def _from_cache(found: discord.abc.GuildChannel | discord.Thread) -> _Channel:
    kind = found.type.value
    if isinstance(found, discord.Thread):
        # Not `applied_tags`, which leaves out those that the forum does not have in the cache.
        applied = tuple(found._applied_tags)
        thread = (found.owner_id, found.archived, found.locked)
        return _Channel(found.id, kind, found.guild.id, found.parent_id, found.name, (), (), applied, *thread)
    tags = tuple((tag.id, tag.name) for tag in found.available_tags) if isinstance(found, discord.ForumChannel) else ()
    pairs = ((target.id, rights.pair()) for target, rights in found.overwrites.items())
    overwrites = tuple(Overwrite(id_, allow.value, deny.value) for id_, (allow, deny) in pairs)
    return _Channel(found.id, kind, found.guild.id, found.category_id or 0, found.name, overwrites, tags)


def _from_wire(data: Any, guild: int) -> _Channel:
    """A channel as the REST API tells it. Raises `Doubtful` for what is none."""
    if not isinstance(data, Mapping) or not snowflake(data.get("id")):
        raise Doubtful("Discord told of no channel")
    about = data.get("thread_metadata") or {}
    return _Channel(
        id=snowflake(data["id"]),
        type=int(data.get("type", -1)),
        guild=snowflake(data.get("guild_id")) or guild,
        parent=snowflake(data.get("parent_id")),
        name=str(data.get("name") or ""),
        overwrites=tuple(
            Overwrite(snowflake(one["id"]), int(one["allow"]), int(one["deny"]))
            for one in data.get("permission_overwrites") or ()
        ),
        tags=tuple((snowflake(one["id"]), str(one["name"])) for one in data.get("available_tags") or ()),
        applied=tuple(snowflake(one) for one in data.get("applied_tags") or ()),
        owner=snowflake(data.get("owner_id")),
        archived=bool(about.get("archived")),
        locked=bool(about.get("locked")),
    )


def _guild_from_wire(data: Any, me: int) -> Guild:
    """A server as the REST API tells it, to the bot `me`. Raises `Doubtful` for what is none."""
    if not isinstance(data, Mapping) or not snowflake(data.get("id")):
        raise Doubtful("Discord told of no server")
    roles = [one for one in data.get("roles") or () if isinstance(one, Mapping)]
    own = [snowflake(one["id"]) for one in roles if snowflake((one.get("tags") or {}).get("bot_id")) == me]
    return Guild(
        id=snowflake(data["id"]),
        owner=snowflake(data.get("owner_id")),
        roles={snowflake(one["id"]): int(one["permissions"]) for one in roles},
        own_role=own[0] if own else 0,
    )
