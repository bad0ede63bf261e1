"""What holds in each channel: the settings of the files, and on top of them what admins changed while frontdesk runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from agent.errors import SettingsError
from agent.graph import Persona
from agent.messages import Address
from agent.rooms import Answering, Room
from agent.settings import FILE, Settings, channel_values

if TYPE_CHECKING:
    from agent.ledger import Ledger

_MOST_CHANNELS = 10_000
"""Whose settings are kept in memory, ready made."""
FORM = {
    "mode": "answering",
    "audience": "audience",
    "language": "answer_language",
    "model": "model",
    "persona": "persona",
}
"""What admins can change from a platform, by the names in its form."""
_STAFF = ("staff_channel", "staff_members", "staff_roles", "staff_admins")
_OURS_ALONE = ("audience", "model")
"""Where others install the app in workspaces of their own, their admins decide neither who reads what nor who is sent it."""
_ANYBODYS, _DIRECT = "discord", "dm"
"""A platform on which whoever knows a bot may bring it into a server of their own; and its direct messages."""


def address_of(channel: str) -> Address:
    """The channel that settings name: `slack:T1/C1`, `slack:T1` or `slack`."""
    connector, _, rest = channel.partition(":")
    space, _, room = rest.partition("/")
    return Address(connector, space, room)


class Channels:
    """Answers at once, from memory; `refresh` reads what was changed, also by other processes."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._files = settings
        self._ledger = ledger
        self._changed: Mapping[str, Mapping[str, str]] = {}
        self._settings = settings
        self._by_channel: dict[str, Settings] = {}
        staff = [one for name in _STAFF for one in _several(settings[name])]
        named = [one for one in (*settings.channels, *staff) if one.startswith(f"{_ANYBODYS}:")]
        self._servers = frozenset(address_of(one).space for one in named)

    def settings(self, address: Address) -> Settings:
        """The settings in force at this address."""
        if address.channel not in self._by_channel:
            if len(self._by_channel) >= _MOST_CHANNELS:
                self._by_channel.clear()
            self._by_channel[address.channel] = self._settings.in_channel(address)
        return self._by_channel[address.channel]

    def room(self, address: Address) -> Room:
        """What is set for the room at this address."""
        here = self.settings(address)
        return Room(
            cast("Answering", here["answering"]),
            frozenset(here["audience"]) if self.is_ours(address) else Room().audiences,
            here["handoff_message"],
            staff_room(here["staff_channel"], address),
        )

    def is_ours(self, address: Address) -> bool:
        """Whether it is not in a server that somebody else may have brought the bot into: one that no setting names."""
        return address.connector != _ANYBODYS or address.space == _DIRECT or address.space in self._servers

    def persona(self, address: Address) -> Persona:
        """Who the agent speaks for there, and how."""
        here = self.settings(address)
        return Persona(here["company"], here["handoff_message"], here["persona"], here["answer_language"])

    async def refresh(self) -> None:
        """Take over what was changed in the ledger. Raises `StoreError`."""
        changed = await self._ledger.channel_settings()
        if changed != self._changed:
            self._changed = changed
            self._settings = self._files.with_channels(
                {channel: self._readable(channel, values) for channel, values in changed.items()}
            )
            self._by_channel.clear()

    def form(self, address: Address) -> dict[str, str]:
        """What holds in the channel at this address, by the names of `FORM`."""
        here = self.settings(address)
        return {word: _written(here[name]) for word, name in FORM.items()}

    async def set(self, address: Address, values: Mapping[str, str], by: str, try_model: Callable[[str], None]) -> None:
        """Change settings of the channel at this address, by their own names or those of `FORM`. `by` is the person's id.

        An empty value goes back to that of the files. `try_model` raises for a model that cannot be used. Raises
        `SettingsError`, `StoreError`.
        """
        here = self.settings(address)
        named = {FORM.get(word, word): (word, value.strip()) for word, value in values.items()}
        wanted: dict[str, str] = {}
        for name, (word, value) in named.items():
            if value:
                converted = channel_values({word if word == "mode" else name: value}, f"channel {address.channel}")
                value = _written(converted[name])
            if name not in here.values or value != _written(here[name]):
                wanted[name] = value
        self._check(address, wanted, by)
        if wanted.get("model"):
            try_model(wanted["model"])
        for name, value in wanted.items():
            await self._ledger.set_channel(address.channel, name, value or None, by)
        await self.refresh()

    def _check(self, address: Address, wanted: Mapping[str, str], by: str) -> None:
        """Raises `SettingsError` for what is settled in files only."""
        if "://" in wanted.get("model", ""):
            raise SettingsError(
                "model: a server's address is set by the operator.", f"Write it into {FILE}, or choose a preset here."
            )
        admins = self._files["staff_admins"]
        others = not self.is_ours(address) or (self._files["slack_client_id"] and address.connector == "slack")
        if others and by not in admins and by.rpartition("/")[2] not in admins:
            refused = [name for name in _OURS_ALONE if name in wanted]
            if refused:
                raise SettingsError(
                    f"{refused[0]} is set by the operator.", f"Write it into {FILE}, or into [staff] admins."
                )

    def _readable(self, channel: str, values: Mapping[str, str]) -> Mapping[str, object]:
        """What another version wrote and this one does not know is left out."""
        known: dict[str, object] = {}
        for name, value in values.items():
            try:
                known.update(channel_values({name: value}, f"channel {channel}"))
            except SettingsError:
                continue
        return known


def staff_room(written: str, address: Address) -> Address | None:
    """The staff's channel as it is set, seen from a conversation: `C9` is one of its own workspace."""
    if not written:
        return None
    return address_of(written) if ":" in written else Address(address.connector, address.space, written)


def _several(value: object) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (str(value),)


def _written(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
