"""What the bot may do in a server: exactly what is used, each with what for. Pure; it needs no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

INVITE = "https://discord.com/oauth2/authorize"
SCOPES = ("bot", "applications.commands")


@dataclass(frozen=True, slots=True)
class Permission:
    """`bit`, as Discord counts (docs.discord.com/developers/topics/permissions), its name in Discord, and what for."""

    bit: int
    label: str
    why: str


USED: Mapping[str, Permission] = {
    "view_channel": Permission(10, "View Channels", "to hear questions"),
    "send_messages": Permission(11, "Send Messages", "to answer, and to tell the staff of tickets"),
    "create_public_threads": Permission(35, "Create Public Threads", "to answer a question in a thread of its own"),
    "send_messages_in_threads": Permission(38, "Send Messages in Threads", "to answer there, and in posts of forums"),
    "embed_links": Permission(14, "Embed Links", "to show the sources of an answer"),
    "read_message_history": Permission(16, "Read Message History", "to find what was said while nobody listened"),
    "manage_threads": Permission(34, "Manage Threads", "to tag posts of forums: answered, needs a person, resolved"),
}
"""By the library's names of them."""


def bits(names: Mapping[str, Permission] = USED) -> int:
    """All of them, as the number that Discord takes."""
    return sum(1 << one.bit for one in names.values())


def invite_link(application: int | str) -> str:
    """The link by which a server is given the bot, with these permissions and no others."""
    query = {"client_id": application, "scope": " ".join(SCOPES), "permissions": bits()}
    return f"{INVITE}?{urlencode(query)}"
