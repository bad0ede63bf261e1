"""How the agent behaves in a channel, set from Discord by who may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import discord

from agent.errors import SettingsError
from connectors.discord.components import SETTINGS, custom_id, settings_modal
from connectors.discord.desk import Desk
from connectors.discord.ids import DIRECT
from connectors.discord.invocation import LONGEST_NOTE, Declined, Invocation
from connectors.discord.outgoing import shortened
from connectors.wording import SAVED, SETTING_NAMES, no_settings, refused_settings

REFUSED = refused_settings("people who may manage this server, and those whom its staff name,")
NOT_HERE = no_settings("Discord")
ONLY_CHANNELS = "My settings are those of a channel: please use this command in one."
NOT_SAVED = "Nothing was saved:"
AGAIN = "Change it again"
_BUTTON, _ROW, _PRIMARY = 2, 1, 1
_FENCE = "```"


async def settings_form(use: Invocation, desk: Desk, typed: Mapping[str, str] | None = None) -> None:
    """Open the form with what holds now, or with what was typed before. Raises `Declined`."""
    await _check(use, desk)
    if desk.get_channel is None:
        raise Declined(NOT_HERE)
    try:
        current = typed or await desk.get_channel(use.channel)
    except SettingsError as error:
        raise Declined(error.message) from None
    await use.form(settings_modal(_name_of(use), current, use.room))


async def form_again(use: Invocation, desk: Desk, note: str) -> None:
    """Open the form with what was typed, as the note about what was wrong with it says. Raises `Declined`."""
    await settings_form(use, desk, typed_of(note))


async def save_settings(use: Invocation, desk: Desk, room: str, values: Mapping[str, str]) -> None:
    """Save what was put into the form, and say so, or what is wrong with it. Raises `Declined`."""
    await _check(use, desk)
    if desk.set_channel is None or room != use.room:
        raise Declined(NOT_HERE)
    chosen = {name: values.get(name, "") for name in SETTING_NAMES}
    try:
        await desk.set_channel(use.channel, chosen, f"discord:{use.space}/{use.user}")
    except SettingsError as error:
        await use.note(note_of(error.message, chosen), _button(room))
        return
    await use.note(SAVED)


def note_of(mistake: str, typed: Mapping[str, str]) -> str:
    """What was wrong, and what was typed: a form that was sent is gone, and Discord opens none in answer to one."""
    lines = "\n".join(f"{name}: {_in_a_line(value)}" for name, value in typed.items() if value)
    head = shortened(f"{NOT_SAVED} {mistake}", 500)
    return f"{head}\n{_FENCE}\n{shortened(lines, LONGEST_NOTE - 520)}\n{_FENCE}"


def typed_of(note: str) -> dict[str, str]:
    """What was typed, out of such a note; empty when it is none."""
    _, _, rest = note.partition(f"{_FENCE}\n")
    pairs = (line.partition(": ") for line in rest.split(f"\n{_FENCE}")[0].split("\n"))
    return {name: value for name, _, value in pairs if name in SETTING_NAMES and value}


async def _check(use: Invocation, desk: Desk) -> None:
    member = use.interaction.user
    if use.space == DIRECT or not isinstance(member, discord.Member):
        raise Declined(ONLY_CHANNELS)
    if not await desk.soon(desk.people.may_set(member), False):
        raise Declined(REFUSED)
    if not use.room:
        raise Declined(NOT_HERE)


def _name_of(use: Invocation) -> str:
    channel = use.interaction.channel
    named = channel.parent if isinstance(channel, discord.Thread) else channel
    return str(getattr(named, "name", None) or use.room)


def _button(room: str) -> list[dict[str, Any]]:
    again = {"type": _BUTTON, "style": _PRIMARY, "label": AGAIN, "custom_id": custom_id(SETTINGS, room)}
    return [{"type": _ROW, "components": [again]}]


def _in_a_line(value: str) -> str:
    return " ".join(value.split()).replace("`", "'")
