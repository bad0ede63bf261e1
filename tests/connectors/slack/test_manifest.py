from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.errors import SettingsError
from connectors.slack.connector import missing_scopes
from connectors.slack.manifest import SCOPES, manifest, scopes

URL = "https://support.example.com/"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, str):
        yield value


def test_socket_mode_names_no_address() -> None:
    made = manifest("socket", name="Support")
    assert made["settings"]["socket_mode_enabled"] is True
    assert not any("http" in text for text in _strings(made))
    assert "request_url" not in json.dumps(made)
    assert made["features"]["agent_view"]["agent_description"]
    assert "agent_session_stopped" in made["settings"]["event_subscriptions"]["bot_events"]


def test_http_names_its_address_everywhere() -> None:
    made = manifest("http", name="Support", url=URL, oauth=True)
    address = "https://support.example.com/slack/events"
    assert made["settings"]["socket_mode_enabled"] is False
    assert made["settings"]["event_subscriptions"]["request_url"] == address
    assert made["settings"]["interactivity"]["request_url"] == address
    assert {command["url"] for command in made["features"]["slash_commands"]} == {address}
    assert made["oauth_config"]["redirect_urls"] == ["https://support.example.com/slack/oauth_redirect"]


def test_only_what_is_used_is_asked_for() -> None:
    follows, listens = manifest("socket", name="A"), manifest("socket", name="A", follow=False)
    assert follows["oauth_config"]["scopes"]["bot"] == list(scopes())
    assert {"message.channels", "message.groups"} < set(follows["settings"]["event_subscriptions"]["bot_events"])
    assert not {"message.channels", "message.groups"} & set(listens["settings"]["event_subscriptions"]["bot_events"])
    assert not {"channels:history", "groups:history"} & set(listens["oauth_config"]["scopes"]["bot"])


def test_a_legacy_app() -> None:
    made = manifest("socket", name="A", legacy=True)
    assert "agent_view" not in made["features"]
    assert made["features"]["assistant_view"]["assistant_description"]
    events = made["settings"]["event_subscriptions"]["bot_events"]
    assert {"assistant_thread_started", "assistant_thread_context_changed", "message.im"} <= set(events)
    assert "agent_session_stopped" not in events


def test_slacks_limits() -> None:
    made = manifest(
        "socket", name="A", company="Acme " * 100, prompts=[(f"{n} " * 60, "words " * 90) for n in range(9)]
    )
    prompts = made["features"]["agent_view"]["suggested_prompts"]
    assert len(prompts) == 4
    assert all(len(prompt["title"]) <= 75 for prompt in prompts)
    assert len(made["features"]["agent_view"]["agent_description"]) <= 300
    assert len(made["display_information"]["description"]) <= 140


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "A" * 36},
        {"commands": ("support", "/handoff")},
        {"commands": ("/Support", "/handoff")},
        {"commands": ("/support", "/support")},
        {"commands": ("/" + "a" * 32, "/handoff")},
        {"mode": "http"},
        {"mode": "http", "url": "http://support.example.com"},
        {"oauth": True},
    ],
)
def test_what_slack_would_not_take(wrong: dict[str, Any]) -> None:
    given = {"mode": "socket", "name": "A"} | wrong
    with pytest.raises(SettingsError):
        manifest(given.pop("mode"), **given)


def test_missing_scopes() -> None:
    granted = ",".join(scope for scope in SCOPES if scope not in ("users:read", "channels:history"))
    assert list(missing_scopes(granted)) == ["channels:history", "users:read"]
    assert list(missing_scopes(granted, follow=False)) == ["users:read"]
    assert list(missing_scopes("")) == []
