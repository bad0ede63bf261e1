"""`frontdesk discord invite`, and what `doctor` finds out about Discord."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from agent.errors import DeliveryError, SettingsError
from agent.settings import Settings
from connectors.channels import address_of
from connectors.commands.findings import Finding
from connectors.commands.options import Options
from connectors.composition import build_ledger, read_settings
from connectors.discord.errors import Doubtful, Limited, Refused
from connectors.discord.permissions import USED, Permission, invite_link
from connectors.places.discord import discord_settings
from knowledge.errors import FrontdeskError

if TYPE_CHECKING:
    from connectors.discord.rest import Rest
    from connectors.discord.settings import DiscordSettings

PORTAL = "https://discord.com/developers/applications"
_HEARING = ("every-question", "only-when-sure")
_FAULTS = (Refused, Limited, Doubtful, FrontdeskError)
_PAGE = 200
"""Servers that Discord tells at once."""
_CONTENT = 1 << 18 | 1 << 19
"""GATEWAY_MESSAGE_CONTENT, and its form for applications in few servers (resources/application, Application Flags)."""
_SHOWN = ("view_channel", "send_messages", "embed_links", "read_message_history")
_ANSWERING = ("view_channel", "read_message_history", "embed_links")


# The invite -----------------------------------------------------------------------------------------------------------


async def invite(options: Options, *, application: str) -> None:
    """Print the link by which a server is given the bot, what it may do there, and which intents to switch on.

    `application` is the id of the application; without one Discord is asked. Raises `SettingsError`, `DeliveryError`.
    """
    settings = read_settings(options.config, options.data)
    flags: int | None = None
    if not application:
        if not settings["discord_token"]:
            raise SettingsError(
                "Nobody knows yet which application it is: DISCORD_TOKEN is not set.",
                f"Put it into .env ({PORTAL}, the app, Bot), or type: frontdesk discord invite --application ID",
            )
        application, flags = await _who(discord_settings(settings))
    print("\n".join(_invitation(application, flags)))  # noqa: T201


async def _who(settings: DiscordSettings) -> tuple[str, int]:
    from connectors.discord.rest import Rest

    rest = Rest(settings)
    try:
        await rest.open()
    except (Refused, Limited, Doubtful) as error:
        raise DeliveryError(
            f"Discord does not tell which application it is: {error}",
            "Or type: frontdesk discord invite --application ID",
        ) from None
    finally:
        await rest.close()
    return str(rest.application_id), rest.flags


def _invitation(application: str, flags: int | None) -> list[str]:
    width = max(len(one.label) for one in USED.values())
    known = "" if flags is None else " (it is switched on)" if flags & _CONTENT else " (it is switched off)"
    return [
        invite_link(application),
        "",
        "Open it, choose a server, and the bot may do this there, and nothing else:",
        *(f"  {one.label:{width}}  {one.why}" for one in USED.values()),
        "",
        f"Privileged intents, at {PORTAL}/{application}/bot:",
        f"  Message Content Intent{known}: for follow-ups without a mention, posts of forums, and channels in which every",
        "    question is answered. Direct messages, mentions, commands and menus work without it.",
        "  Server Members Intent, Presence Intent: not used. Leave them off.",
        "",
        "Anybody who has the link can bring the bot into a server of theirs, unless Public Bot is switched off on the same page.",
    ]


# Doctor ---------------------------------------------------------------------------------------------------------------


async def findings(settings: Settings) -> AsyncGenerator[Finding]:
    """Whether Discord takes the token, what is switched on for the application, and whether the bot may do what it has to."""
    if not settings["discord_token"]:
        yield Finding("Discord", True, "not set up; docs/discord.md says how")
        return
    from connectors.discord.rest import Rest

    try:
        told = discord_settings(settings)
    except SettingsError as error:
        yield Finding("Discord", False, error.message, error.hint)
        return
    rest = Rest(told)
    try:
        who = await _known(rest)
        yield who
        if not who.ok:
            return
        yield await _gateway(rest)
        yield _content(settings, rest, await _modes(settings))
        yield await _commands(rest, told)
        async with aclosing(_channels(settings, rest)) as found:
            async for finding in found:
                yield finding
    finally:
        await rest.close()


async def _known(rest: Rest) -> Finding:
    try:
        await rest.open()
        servers = await rest.request("GET", "/users/@me/guilds", params={"limit": _PAGE})
    except DeliveryError as error:
        return Finding("Discord", False, error.message, error.hint)
    except (Refused, Limited, Doubtful) as error:
        return Finding("Discord", False, f"cannot be reached: {error}", "Look at DISCORD_API_URL and the network.")
    number = (
        f"{len(servers)}{' or more' if len(servers) >= _PAGE else ''} {'server' if len(servers) == 1 else 'servers'}"
    )
    hint = "" if servers else "Bring it into one: frontdesk discord invite"
    return Finding("Discord", True, f"application {rest.application_id}, as @{rest.user_name}, in {number}", hint)


async def _gateway(rest: Rest) -> Finding:
    try:
        told = await rest.request("GET", "/gateway/bot")
        limit = told["session_start_limit"]
        left, total = int(limit["remaining"]), int(limit["total"])
    except _FAULTS as error:
        return Finding(
            "Discord gateway", False, f"Discord does not tell where it is: {error}", "Try again in a minute."
        )
    except (KeyError, TypeError, ValueError):
        return Finding("Discord gateway", False, "Discord tells nothing that can be read.", "Look at DISCORD_API_URL.")
    message = (
        f"{told['shards']} {'shard' if told['shards'] == 1 else 'shards'}, {left} of {total} sessions are left today"
    )
    if left * 20 < total:
        hint = "Something starts it again and again; see its log. No session is started before Discord allows new ones."
        return Finding("Discord gateway", False, message, hint)
    return Finding("Discord gateway", True, message)


async def _modes(settings: Settings) -> dict[str, str]:
    """When it answers in each of Discord's channels that have a mode of their own, and everywhere else."""
    found = {"everywhere": str(settings["answering"])}
    changed: Mapping[str, Mapping[str, Any]] = {}
    ledger = build_ledger(settings)
    try:
        changed = await ledger.channel_settings()
    except FrontdeskError:
        pass  # the finding of the database tells of it
    finally:
        await ledger.close()
    for channels in (settings.channels, changed):
        for channel, own in channels.items():
            if (channel == "discord" or channel.startswith("discord:")) and own.get("answering"):
                found[channel] = str(own["answering"])
    return found


def _content(settings: Settings, rest: Rest, modes: Mapping[str, str]) -> Finding:
    """Whether what mentions nobody can be read, where it is to be answered."""
    name, wanted = "Discord message content", settings["discord_message_content"]
    switched_on = bool(rest.flags & _CONTENT)
    hint = f"Switch Message Content Intent on at {PORTAL}/{rest.application_id}/bot, and start frontdesk again."
    if wanted == "off" and switched_on:
        hint = "Set FRONTDESK_DISCORD_MESSAGE_CONTENT=auto, or leave it out."
    if switched_on and wanted != "off":
        return Finding(name, True, "switched on: what mentions nobody is read, too")
    why = "is not switched on for the app" if not switched_on else "is not asked for (discord_message_content is off)"
    needing = [f"{channel} ({mode})" for channel, mode in modes.items() if mode in _HEARING]
    if needing:
        return Finding(
            name, False, f"it {why}, and is needed to answer what mentions nobody: {', '.join(needing)}", hint
        )
    if wanted == "on":
        return Finding(name, False, f"it {why}, and discord_message_content is on", hint)
    message = f"it {why}: mentions, direct messages and commands are answered, follow-ups need a mention"
    return Finding(name, True, message, hint if wanted == "auto" else "")


async def _commands(rest: Rest, settings: DiscordSettings) -> Finding:
    """Whether Discord knows the commands as they are now. Nothing is changed."""
    from connectors.discord.desk import Desk
    from connectors.discord.interactions import Interactions
    from connectors.discord.people import People
    from connectors.discord.rest import Rest
    from connectors.discord.rooms import Rooms

    class Reading(Rest):
        """Asks, and changes nothing."""

        async def request(self, method: str, path: str, **more: Any) -> Any:
            return await super().request(method, path, **more) if method == "GET" else {}

    async def hears_nothing(_: object) -> None:
        return

    reading = Reading(settings)
    rooms = Rooms(reading)
    desk = Desk(settings, reading, rooms, People(reading, rooms, settings), hears_nothing, lambda _: False)
    try:
        await reading.open()
        synced = await Interactions(desk).sync_commands()
    except _FAULTS as error:
        return Finding("Discord commands", False, f"Discord does not tell them: {error}", "Try again in a minute.")
    finally:
        await reading.close()
    missing = [*synced.created, *synced.changed, *synced.deleted]
    if missing:
        return Finding(
            "Discord commands",
            True,
            f"Discord does not know them as they are now: {', '.join(missing)}",
            "`frontdesk run` tells it when it starts.",
        )
    return Finding("Discord commands", True, f"/{settings.command} and the menu of messages are known")


async def _channels(settings: Settings, rest: Rest) -> AsyncGenerator[Finding]:
    """Whether the bot may write to the staff, and answer in the channels that are set."""
    staff = settings["staff_channel"]
    written = staff.removeprefix("discord:")
    if staff and (staff.startswith("discord:") or (":" not in staff and not settings["slack_bot_token"])):
        yield await _channel(rest, "staff channel", written, _SHOWN, is_staff=True)
    for channel, own in settings.channels.items():
        address = address_of(channel)
        if address.connector == "discord" and address.room and own.get("answering") != "off":
            in_place = own.get("discord_answer_in", settings["discord_answer_in"]) == "channel"
            yield await _channel(rest, "channel", f"{address.space}/{address.room}", _ANSWERING, in_place=in_place)


async def _channel(
    rest: Rest, name: str, written: str, needed: tuple[str, ...], *, in_place: bool = False, is_staff: bool = False
) -> Finding:
    from connectors.discord.rooms import Rooms

    rooms = Rooms(rest)
    server, _, channel = written.rpartition("/")
    where = f"discord:{written}"
    try:
        guild = int(server) if server else await rooms.guild_of(int(channel))
        where = f"discord:{guild}/{channel}"
        facts = await rooms.facts(int(channel), guild)
        may = await rooms.permissions(guild, int(channel))
    except ValueError:
        return Finding(
            name, False, f"{written} is no channel of Discord", "Copy its id: discord:SERVER/CHANNEL (docs/discord.md)"
        )
    except _FAULTS as error:
        hint = "Bring the bot into that server (frontdesk discord invite), and look at the id."
        if isinstance(error, Refused) and error.status == 403:
            hint = _allow([USED["view_channel"]])
        return Finding(name, False, f"{where}: {error}", hint)
    if not is_staff:
        place = ("send_messages",) if in_place else ("create_public_threads", "send_messages_in_threads")
        needed = (
            *needed,
            *(place if facts.kind in ("text", "news") else ("send_messages_in_threads", "manage_threads")),
        )
    missing: list[Permission] = [USED[one] for one in needed if not getattr(may, one)]
    if missing:
        labels = ", ".join(one.label for one in missing)
        return Finding(name, False, f"{where} (#{facts.name}): the bot may not: {labels}", _allow(missing))
    if is_staff and facts.everyone_sees:
        message = f"{where} (#{facts.name}); everyone in the server reads the tickets, so nobody is staff by it"
        return Finding(name, True, message, "Take View Channel from @everyone there: then who sees it is staff.")
    hint = (
        "" if server else f"Write it with its server, so that this one counts as yours: FRONTDESK_STAFF_CHANNEL={where}"
    )
    return Finding(name, True, f"{where} (#{facts.name})", hint)


def _allow(missing: list[Permission]) -> str:
    return f"Edit Channel, Permissions, the bot's role: allow {', '.join(one.label for one in missing)}"
