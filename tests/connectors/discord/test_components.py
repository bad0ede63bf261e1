"""Buttons, embeds and forms: what they say, and Discord's limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Citation
from connectors.discord.components import (
    SETTING_NAMES,
    answer_components,
    ask_modal,
    custom_id,
    draft_components,
    handoff_components,
    parse,
    private_components,
    reason_modal,
    settings_modal,
    sources_embed,
    sources_text,
    ticket_components,
    ticket_embed,
    values_of,
)
from connectors.discord.outgoing import units
from tests.servers.discord.checks import check_message
from tests.servers.discord.modals import check_modal, filled

TURN = "discord:1473118766652199044/1473118766652199045#01473118766652199046"
FEES = Citation(1, "fees", "Fees & prices", "https://help.example/fees?a=1&b=2", "...", "2026-03-03")
BOOKING = Citation(2, "booking", "How to [book] *now*", None, "...")
LONG = "word " * 5_000
HOSTILE = "@everyone <@12> <#13> [a](javascript:x) **b** https://evil.example\n# c\n> d"


def check(*, components: list[dict[str, Any]] | None = None, embed: dict[str, Any] | None = None) -> None:
    body: dict[str, Any] = {"components": components} if components is not None else {}
    check_message({**body, **({"embeds": [embed]} if embed else {})}, v2=False)
    for text in [part for part in _texts(embed or {}) if isinstance(part, str)]:
        assert "@everyone" not in text
        assert "<@12>" not in text
        assert "](javascript" not in text
    json.dumps(body)


def _texts(embed: dict[str, Any]) -> list[Any]:
    fields = embed.get("fields", [])
    texts = [embed.get("title"), embed.get("description"), *(field["value"] for field in fields)]
    assert sum(units(text) for text in texts if text) + sum(units(field["name"]) for field in fields) <= 6_000
    assert units(embed.get("description") or "") <= 4_096
    assert all(units(field["value"]) <= 1_024 for field in fields)
    return texts


def buttons(components: list[dict[str, Any]]) -> list[tuple[str, str]]:
    (row,) = components
    assert row["type"] == 1
    return [(item["label"], item["custom_id"]) for item in row["components"]]


# Buttons --------------------------------------------------------------------------------------------------------------


def test_what_stands_below_a_reply() -> None:
    assert buttons(answer_components(TURN)) == [
        ("Helpful", f"fd:helpful:{TURN}"),
        ("Not helpful", f"fd:unhelpful:{TURN}"),
        ("Talk to a person", f"fd:person:{TURN}"),
        ("Solved", f"fd:solved:{TURN}"),
    ]
    assert buttons(handoff_components(TURN)) == [("Solved", f"fd:solved:{TURN}")]
    assert buttons(draft_components(TURN)) == [("Stop", f"fd:stop:{TURN}")]
    assert buttons(private_components(TURN)) == [
        ("Share with the channel", f"fd:share:{TURN}"),
        ("Talk to a person", f"fd:person:{TURN}"),
        ("Helpful", f"fd:helpful:{TURN}"),
        ("Not helpful", f"fd:unhelpful:{TURN}"),
    ]
    for make in (answer_components, handoff_components, draft_components, private_components):
        check(components=make(TURN))
        check(components=make("t" * 200))
        assert all(item["emoji"]["name"] for item in make(TURN)[0]["components"])


def test_the_id_of_a_button_is_read_again() -> None:
    assert parse(custom_id("unhelpful", TURN)) == ("unhelpful", TURN)
    assert len(custom_id("unhelpful", "discord:" + "9" * 20 + "/" + "9" * 20 + "#" + "9" * 20)) <= 100
    for other in ("", "fd:", "fd:helpful", "fd:helpful:", "fd::x", "x:helpful:t", "fd:Helpful:t", " fd:helpful:t"):
        assert parse(other) is None
    assert parse("fd:helpful:a:b") == ("helpful", "a:b")


# Sources --------------------------------------------------------------------------------------------------------------


def test_sources() -> None:
    assert sources_embed([FEES, BOOKING]) == {
        "description": "[1] [Fees & prices](<https://help.example/fees?a=1&b=2>) · 3 Mar 2026\n[2] How to \\[book\\] \\*now\\*"
    }
    assert sources_text([FEES, BOOKING]) == (
        "-# [1] [Fees & prices](<https://help.example/fees?a=1&b=2>) · 3 Mar 2026\n-# [2] How to \\[book\\] \\*now\\*"
    )
    check(embed=sources_embed([FEES, BOOKING]))
    assert sources_embed([]) == {}
    assert sources_text([]) == ""


@pytest.mark.parametrize(
    "url",
    ["javascript:x", "discord://-/x", "file:///x", "", "https://", "https://x.example/a b", "https://x/" + "a" * 4_000],
)
def test_only_web_addresses_are_linked(url: str) -> None:
    assert sources_text([Citation(1, "d", "T", url, "")]) == "-# [1] T"


def test_a_title_is_never_another_address() -> None:
    source = Citation(1, "d", "https://bank.example", "https://evil.example", "", "spring 2026")
    assert sources_text([source]) == "-# [1] https:\u2060//bank.example (<https://evil.example>) · spring 2026"
    assert sources_text([Citation(1, "d", "", "https://x.example", "")]) == "-# [1] [d](<https://x.example>)"
    assert sources_text([Citation(1, "d", " \n", None, "")]) == "-# [1] d"


def test_many_sources() -> None:
    many = [
        Citation(n, "d", f"Title {n} @everyone <@12> {LONG}", f"https://x.example/{'a' * 300}", "")
        for n in range(1, 60)
    ]
    embed = sources_embed(many)
    check(embed=embed)
    lines = embed["description"].split("\n")
    assert lines[-1] == "…"
    assert len(lines) > 8
    text = sources_text(many)
    assert units(text) <= 2_000
    assert all(line.startswith("-# ") for line in text.split("\n"))
    assert len(sources_text([FEES] * 9, limit=300).split("\n")) == 5


# Tickets --------------------------------------------------------------------------------------------------------------


def test_a_ticket() -> None:
    link = "https://discord.com/channels/1/2/3"
    embed = ticket_embed(
        number=12,
        customer="ann_*b* <@12>",
        reason="asked",
        question="Help!\n\n# Now *please* @everyone",
        summary="They want help.",
        link=link,
        status="open",
    )
    check(embed=embed, components=ticket_components(link))
    assert embed["title"] == "Ticket #12: Help! # Now \\*please\\* @\u2060everyone"
    assert embed["url"] == link
    assert embed["description"] == "> Help!\n> \n> \\# Now \\*please\\* @\u2060everyone"
    assert [(field["name"], field["value"]) for field in embed["fields"]] == [
        ("Customer", "ann\\_\\*b\\* <\u2060@12>"),
        ("Reason", "asked"),
        ("Status", "open"),
        ("Summary", "They want help."),
    ]
    (row,) = ticket_components(link)
    assert row["components"] == [{"type": 2, "style": 5, "label": "Open the conversation", "url": link}]


def test_a_ticket_without_anything() -> None:
    nothing = ticket_embed(number=1, customer="", reason="", question=" ", summary="", link=None, status="")
    assert nothing == {"title": "Ticket #1: no words"}
    check(embed=nothing)
    assert (
        ticket_components(None)
        == ticket_components("javascript:x")
        == ticket_components("https://x/" + "a" * 600)
        == []
    )


@settings(deadline=None, max_examples=100)
@given(st.text() | st.sampled_from([LONG, HOSTILE, "\n" * 500 + "a", "*" * 9_000, "😀" * 5_000, "a\n" * 3_000]))
def test_limits_are_kept(text: str) -> None:
    citations = [Citation(n, text or "d", text, text or None, text, text or None) for n in (1, 2)]
    if embed := sources_embed(citations):
        check(embed=embed)
    assert units(sources_text(citations)) <= 2_000
    check(
        embed=ticket_embed(
            number=1, customer=text, reason=text, question=text, summary=text, link="https://x.example", status=text
        )
    )
    check_modal(ask_modal("1", text))
    check_modal(settings_modal(text, dict.fromkeys(SETTING_NAMES, text), "1"))


# Forms ----------------------------------------------------------------------------------------------------------------


def test_a_form_that_asks_why() -> None:
    modal = reason_modal(TURN)
    check_modal(modal)
    assert modal["custom_id"] == f"fd:reason:{TURN}"
    assert modal["title"] == "Your feedback"
    assert values_of({"components": filled(modal, {"reason": " It is wrong\n"})}) == {"reason": "It is wrong"}


def test_a_form_for_a_question() -> None:
    modal = ask_modal("123", "How?")
    check_modal(modal)
    assert modal["custom_id"] == "fd:ask:123"
    assert values_of({"components": filled(modal, {})}) == {"question": "How?"}
    assert values_of({"components": filled(ask_modal(), {"question": "Why?"})}) == {"question": "Why?"}


def test_the_settings_of_a_channel() -> None:
    current = {"mode": "every-question", "audience": "public", "persona": "Short\nand kind"}
    modal = settings_modal("#general", current, "123")
    check_modal(modal)
    assert modal["custom_id"] == "fd:settings:123"
    assert modal["title"] == "Settings of #general"
    assert [item["type"] for item in modal["components"]] == [18] * 5
    assert values_of({"components": filled(modal, {})}) == {
        "mode": "every-question",
        "audience": "public",
        "language": "",
        "model": "",
        "persona": "Short and kind",
    }
    changed = values_of({"components": filled(modal, {"mode": "off", "Voice": "", "Model": "small"})})
    assert (changed["mode"], changed["persona"], changed["model"]) == ("off", "", "small")


def test_a_mode_that_is_not_known_is_not_chosen() -> None:
    def chosen(current: dict[str, str]) -> list[str]:
        select = settings_modal("general", current, "1")["components"][0]["component"]
        return [option["value"] for option in select["options"] if option.get("default")]

    assert chosen({}) == ["mention"]
    assert chosen({"mode": "sometimes"}) == []


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ({"components": [{"type": 1, "components": [{"custom_id": "a", "value": "x"}]}]}, {"a": "x"}),
        ({"components": [{"type": 18, "component": {"custom_id": "a", "values": ["x", "y"]}}]}, {"a": "x"}),
        ({"components": [{"type": 18, "component": {"custom_id": "a", "values": []}}]}, {"a": ""}),
        ({"components": [{"type": 18, "component": {"custom_id": "a", "value": None}}]}, {}),
        ({"components": [{"type": 18, "component": {"custom_id": 1, "value": "x"}}]}, {}),
        ({"components": [{"type": 18, "component": {"custom_id": "a", "value": 1}}]}, {}),
        ({"components": [{"type": 18, "component": "x"}, None, 3, "abc", [[]]]}, {}),
        ({"components": {"custom_id": "a", "value": "x"}}, {"a": "x"}),
        ({"components": "abc"}, {}),
        ({"components": None}, {}),
        ({}, {}),
    ],
)
def test_values_of_any_shape(data: dict[str, Any], values: dict[str, str]) -> None:
    assert values_of(data) == values


def test_values_are_not_too_deep_or_too_long() -> None:
    nested: dict[str, Any] = {"custom_id": "a", "value": "x"}
    for _ in range(10_000):
        nested = {"components": [nested]}
    assert values_of(nested) == {}
    assert len(values_of({"components": [{"custom_id": "a", "value": "x" * 9_000}]})["a"]) == 3_000
