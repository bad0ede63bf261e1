"""The app's manifest: what Slack is told of the app, with the scopes and events that are used and no others. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from agent.errors import SettingsError

SCOPES: dict[str, str] = {
    "app_mentions:read": "being asked by a mention",
    "assistant:write": "suggested questions and titles in the agent's own view",
    "channels:history": "following threads in public channels",
    "channels:read": "seeing who reads along in public channels, and who the staff are",
    "chat:write": "every reply",
    "commands": "slash commands and shortcuts",
    "files:read": "reading files that customers send",
    "groups:history": "following threads in private channels",
    "groups:read": "seeing who reads along in private channels, and who the staff are",
    "im:history": "direct messages",
    "im:read": "direct messages",
    "im:write": "opening a direct message from the App Home",
    "mpim:history": "messages in group conversations",
    "mpim:read": "seeing who reads along in group conversations",
    "users:read": "names, and knowing guests and admins",
}
"""The bot's scopes, and what does not work without each."""
_FOLLOWING = ("channels:history", "groups:history")

_EVENTS = ("app_home_opened", "app_mention", "app_uninstalled", "message.im", "message.mpim", "tokens_revoked")
_COMMANDS = {
    "/support": ("Ask the support agent", "[your question]"),
    "/handoff": ("Hand this conversation over to a person", "[reason]"),
}
ASK_ABOUT_MESSAGE, NEW_REQUEST = "ask_about_message", "new_request"
EVENTS_PATH, INSTALL_PATH, REDIRECT_PATH = "/slack/events", "/slack/install", "/slack/oauth_redirect"

_COMMAND = re.compile(r"/[^\s/A-Z]{1,31}")
_LONGEST_NAME, _LONGEST_DESCRIPTION, _LONGEST_AGENT_DESCRIPTION = 35, 140, 300
MOST_PROMPTS, _LONGEST_PROMPT_TITLE, _LONGEST_PROMPT = 4, 75, 300
_MOST_COMMANDS = 50


def scopes(*, follow: bool = True) -> tuple[str, ...]:
    """The bot's scopes; with `follow` it reads the channels it is in, else only what is said to it."""
    return tuple(scope for scope in SCOPES if follow or scope not in _FOLLOWING)


def manifest(
    mode: Literal["socket", "http"],
    *,
    name: str,
    url: str = "",
    commands: Sequence[str] = ("/support", "/handoff"),
    company: str = "",
    prompts: Sequence[tuple[str, str]] = (),
    legacy: bool = False,
    follow: bool = True,
    oauth: bool = False,
) -> dict[str, Any]:
    """The manifest to paste into Slack's page for a new app. Raises `SettingsError` for what Slack would not take.

    `url` is the public address of this server, which HTTP and `oauth` need. `legacy` is for apps with `assistant_view`.
    """
    _check(mode, name, url, commands, oauth)
    base = url.rstrip("/")
    request = {"request_url": base + EVENTS_PATH} if mode == "http" else {}
    made: dict[str, Any] = {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {
            "name": name,
            "description": _cut(f"Answers questions{_of(company)} and brings in a person.", _LONGEST_DESCRIPTION),
            "background_color": "#1d3557",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": name, "always_online": True},
            **_view(company, prompts, legacy),
            "slash_commands": [_command(place, command, base, mode) for place, command in enumerate(commands)],
            "shortcuts": [
                {
                    "name": "Ask support about this",
                    "type": "message",
                    "callback_id": ASK_ABOUT_MESSAGE,
                    "description": "Let the support agent answer this message",
                },
                {
                    "name": "New support request",
                    "type": "global",
                    "callback_id": NEW_REQUEST,
                    "description": "Open the support request form",
                },
            ],
        },
        "oauth_config": {"scopes": {"bot": list(scopes(follow=follow))}},
        "settings": {
            "event_subscriptions": {**request, "bot_events": _events(legacy=legacy, follow=follow)},
            "interactivity": {"is_enabled": True, **request},
            "org_deploy_enabled": False,
            "socket_mode_enabled": mode == "socket",
            "token_rotation_enabled": False,
        },
    }
    if oauth:
        made["oauth_config"]["redirect_urls"] = [base + REDIRECT_PATH]
    return made


def _view(company: str, prompts: Sequence[tuple[str, str]], legacy: bool) -> dict[str, Any]:
    words = f"Ask me anything{_about(company)}. I name my sources and can bring in a person at any time."
    described = _cut(words, _LONGEST_AGENT_DESCRIPTION)
    if legacy:
        return {"assistant_view": {"assistant_description": described}}
    suggested = [
        {"title": _cut(title or message, _LONGEST_PROMPT_TITLE), "message": _cut(message or title, _LONGEST_PROMPT)}
        for title, message in prompts[:MOST_PROMPTS]
    ]
    return {"agent_view": {"agent_description": described, **({"suggested_prompts": suggested} if suggested else {})}}


def _events(*, legacy: bool, follow: bool) -> list[str]:
    # Slack wants to tell a legacy assistant what its people look at as well.
    surface = ["assistant_thread_started", "assistant_thread_context_changed"] if legacy else ["agent_session_stopped"]
    return sorted([*_EVENTS, *surface] + (["message.channels", "message.groups"] if follow else []))


def _command(place: int, command: str, base: str, mode: str) -> dict[str, Any]:
    described, hint = list(_COMMANDS.values())[min(place, 1)]
    made = {"command": command, "description": described, "usage_hint": hint, "should_escape": True}
    return {**made, "url": base + EVENTS_PATH} if mode == "http" else made


def _check(mode: str, name: str, url: str, commands: Sequence[str], oauth: bool) -> None:
    if not 1 <= len(name) <= _LONGEST_NAME:
        raise SettingsError(f"the app's name has {len(name)} characters", f"Slack takes 1 to {_LONGEST_NAME}.")
    wrong = [command for command in commands if not _COMMAND.fullmatch(command)]
    if wrong or len(commands) > _MOST_COMMANDS or len(set(commands)) < len(commands):
        raise SettingsError(
            f"Slack does not take the commands {', '.join(wrong or commands)}",
            "A command is a slash and up to 31 small letters, each only once.",
        )
    if (mode == "http" or oauth) and not url.startswith("https://"):
        raise SettingsError(
            f"Slack cannot reach {url or 'a server without an address'}", "Give the server's public https:// address."
        )


def _of(company: str) -> str:
    return f" of {company.strip()}'s customers" if company.strip() else ""


def _about(company: str) -> str:
    return f" about {company.strip()}" if company.strip() else ""


def _cut(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
