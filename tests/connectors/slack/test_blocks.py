"""Block Kit, modals and the App Home: what they say, and Slack's limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Citation
from connectors.slack.blocks import (
    Block,
    answer_blocks,
    closing_blocks,
    controls_blocks,
    gone_blocks,
    handoff_blocks,
    note_blocks,
    plain_fallback,
    private_blocks,
    sources_mrkdwn,
    ticket_blocks,
)
from connectors.slack.views import ask_view, home_view, question_of, reason_of, reason_view, settings_of, settings_view

FEES = Citation(1, "fees", "Fees & prices", "https://help.example/fees?a=1&b=2", "...", "2026-10-01")
BOOKING = Citation(2, "booking", "How to <book>", None, "...")
LONG = "word " * 5_000
HOSTILE = "<!channel> <@U1|x> &lt;!here&gt; <https://x.example|y> *b*"


# Slack's limits -------------------------------------------------------------------------------------------------------


def check_text(text: Block, limit: int) -> None:
    assert text["type"] in ("plain_text", "mrkdwn")
    assert 0 < len(text["text"]) <= limit
    if text["type"] == "mrkdwn":
        assert "<!" not in text["text"]
        assert "<@" not in text["text"]
        assert "<#" not in text["text"]


def check_option(option: Block) -> None:
    check_text(option["text"], 75)
    assert 0 < len(option["value"]) <= 150


def check_element(element: Block) -> None:
    kind = element["type"]
    assert 0 < len(element.get("action_id", "x")) <= 255
    if kind == "button":
        assert element["text"]["type"] == "plain_text"
        check_text(element["text"], 75)
        assert len(element.get("value", "")) <= 2000
        assert len(element.get("url", "")) <= 3000
    elif kind == "feedback_buttons":
        for name in ("positive_button", "negative_button"):
            check_text(element[name]["text"], 75)
            assert 0 < len(element[name]["value"]) <= 2000
            assert len(element[name]["accessibility_label"]) <= 75
    elif kind == "static_select":
        assert 0 < len(element["options"]) <= 100
        for option in element["options"]:
            check_option(option)
        assert element.get("initial_option", element["options"][0]) in element["options"]
    else:
        assert kind == "plain_text_input"
        assert 0 < element["max_length"] <= 3000
        assert len(element.get("initial_value", "")) <= element["max_length"]


def check_block(block: Block) -> None:
    kind = block["type"]
    assert 0 < len(block.get("block_id", "x")) <= 255
    if kind == "markdown":
        assert 0 < len(block["text"]) <= 12_000
    elif kind == "header":
        assert block["text"]["type"] == "plain_text"
        check_text(block["text"], 150)
    elif kind == "section":
        assert "text" in block or block["fields"]
        check_text(block.get("text", {"type": "mrkdwn", "text": "x"}), 3000)
        assert len(block.get("fields", [])) <= 10
        for field in block.get("fields", []):
            check_text(field, 2000)
    elif kind == "context":
        assert 0 < len(block["elements"]) <= 10
        for element in block["elements"]:
            check_text(element, 3000)
    elif kind in ("actions", "context_actions"):
        assert 0 < len(block["elements"]) <= (25 if kind == "actions" else 5)
        identities = [element["action_id"] for element in block["elements"]]
        assert len(set(identities)) == len(identities)
        for element in block["elements"]:
            check_element(element)
    elif kind == "input":
        check_text(block["label"], 2000)
        check_text(block.get("hint", {"type": "plain_text", "text": "x"}), 2000)
        check_element(block["element"])
    else:
        assert kind == "divider"


def check(blocks: list[Block], most: int = 50) -> None:
    json.dumps(blocks)
    assert len(blocks) <= most
    assert sum(len(block["text"]) for block in blocks if block["type"] == "markdown") <= 12_000
    identities = [block["block_id"] for block in blocks if "block_id" in block]
    assert len(set(identities)) == len(identities)
    for block in blocks:
        check_block(block)


def check_view(view: dict[str, Any]) -> None:
    check(view["blocks"], 100)
    if view["type"] == "modal":
        for name in ("title", "submit", "close"):
            assert view[name]["type"] == "plain_text"
            check_text(view[name], 24)
        assert len(view["private_metadata"]) <= 3000
        assert 0 < len(view["callback_id"]) <= 255
    else:
        assert view["type"] == "home"


# Answers --------------------------------------------------------------------------------------------------------------


def test_an_answer() -> None:
    blocks = answer_blocks("It costs **5 €** [1]. <!here>", [FEES, BOOKING], "T1/1.2")
    check(blocks)
    assert [block["type"] for block in blocks] == ["markdown", "context", "context_actions", "actions"]
    assert blocks[0]["text"] == "It costs **5 €** [1]. &lt;!here>"
    assert [element["text"] for element in blocks[1]["elements"]] == [
        "[1] <https://help.example/fees?a=1&amp;b=2|Fees &amp; prices> · updated 2026-10-01",
        "[2] How to &lt;book&gt;",
    ]
    feedback = blocks[2]["elements"][0]
    assert feedback["action_id"] == "frontdesk_feedback"
    assert (feedback["positive_button"]["value"], feedback["negative_button"]["value"]) == (
        "helpful|T1/1.2",
        "unhelpful|T1/1.2",
    )
    assert [(each["action_id"], each["value"], each["text"]["text"]) for each in blocks[3]["elements"]] == [
        ("frontdesk_person", "T1/1.2", "Talk to a person"),
        ("frontdesk_solved", "T1/1.2", "Solved"),
    ]
    assert closing_blocks([FEES, BOOKING], "T1/1.2") == blocks[1:]
    assert controls_blocks("T1/1.2") == blocks[2:]


def test_parts_of_an_answer() -> None:
    assert [block["type"] for block in answer_blocks("a", [FEES], "t", final_part=False)] == ["markdown"]
    assert [block["type"] for block in answer_blocks("a", [FEES], "t", controls=False)] == ["markdown", "context"]
    assert [block["type"] for block in answer_blocks(" ", [], "t", controls=False)] == []


def test_only_web_addresses_are_linked() -> None:
    for url in ("javascript:x", "slack://user?id=U1", "file:///x", "", "https://x.example/" + "a" * 4_000):
        assert sources_mrkdwn([Citation(1, "d", "T", url, "")]) == "[1] T"
    assert sources_mrkdwn([Citation(1, "d", "", None, ""), BOOKING]) == "[1] d\n[2] How to &lt;book&gt;"
    assert sources_mrkdwn([]) == ""


def test_many_citations() -> None:
    many = [Citation(n, "d", f"Title {n}", f"https://x.example/{n}", "") for n in range(1, 26)]
    blocks = answer_blocks("a", many, "t")
    check(blocks)
    shown = "\n".join(element["text"] for element in blocks[1]["elements"])
    assert [f"[{n}] " in shown for n in range(1, 26)] == [True] * 25
    assert len(blocks[1]["elements"]) == 10


def test_a_private_answer() -> None:
    blocks = private_blocks("a", [FEES], "t1")
    check(blocks)
    assert [
        (element["action_id"], element["value"], element["text"]["text"]) for element in blocks[-1]["elements"]
    ] == [
        ("frontdesk_share", "t1", "Share with the channel"),
        ("frontdesk_person", "t1", "Talk to a person"),
    ]
    assert not any(block["type"] == "context_actions" for block in blocks)


def test_the_fallback() -> None:
    assert plain_fallback("It is **5 €** [1].", [FEES]) == (
        "It is *5 €* [1].\n\n[1] <https://help.example/fees?a=1&amp;b=2|Fees &amp; prices> · updated 2026-10-01"
    )
    assert plain_fallback("", []) == "…"
    long = plain_fallback(LONG, [FEES])
    assert 3_000 < len(long) <= 3_900
    assert "word\n…\n\n[1] <https" in long


# People ---------------------------------------------------------------------------------------------------------------


def test_a_handoff() -> None:
    blocks = handoff_blocks("Of course. <@U1> is **here**.", "t1")
    check(blocks)
    assert blocks[0]["text"] == "Of course. &lt;@U1> is **here**."
    assert [(each["action_id"], each["value"]) for each in blocks[1]["elements"]] == [("frontdesk_solved", "t1")]
    check(handoff_blocks("", "t" * 5_000))


def test_a_ticket() -> None:
    blocks = ticket_blocks(
        number=12,
        customer="Ann <ann@x.example>",
        reason="asked",
        question=f"Help!\n{HOSTILE}",
        summary="They want *help*",
        link="https://x.slack.com/archives/C1/p1",
        status="open",
    )
    check(blocks)
    assert blocks[0]["text"]["text"].startswith("Ticket #12: Help! ")
    assert [field["text"] for field in blocks[1]["fields"]] == [
        "*Customer*\nAnn &lt;ann@x.example&gt;",
        "*Reason*\nasked",
        "*Status*\nopen",
    ]
    assert blocks[2]["text"]["text"] == (
        "> Help!\n> &lt;!channel&gt; &lt;@U1|x&gt; &amp;lt;!here&amp;gt; &lt;https://x.example|y&gt; *b*"
    )
    assert blocks[3]["text"]["text"] == "*Summary*\nThey want *help*"
    opens = blocks[4]["elements"][0]
    assert (opens["action_id"], opens["url"]) == ("frontdesk_open", "https://x.slack.com/archives/C1/p1")


def test_a_ticket_of_nothing() -> None:
    blocks = ticket_blocks(number=1, customer="", reason="", question="", summary="", link=None, status="")
    check(blocks)
    assert [block["type"] for block in blocks] == ["header"]


def test_notes() -> None:
    assert gone_blocks()[0]["elements"][0]["text"] == "This answer was withdrawn because the question was deleted."
    check(note_blocks(HOSTILE))
    check(note_blocks(""))


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "<" * 20_000,
        "&" * 20_000,
        "\n" * 20_000,
        "> a\n" * 9_000,
        HOSTILE * 500,
        "👩‍👧" * 5_000,
        "`" * 20_000,
        "|" * 9_000,
    ],
)
def test_limits(text: str) -> None:
    citations = [Citation(n, text, text, f"https://x.example/{text}", text, text) for n in range(30)]
    check(answer_blocks(text, citations, text))
    check(closing_blocks(citations, text))
    check(private_blocks(text, citations, text))
    check(handoff_blocks(text, text))
    check(note_blocks(text))
    assert len(plain_fallback(text, citations)) <= 3_900
    check(
        ticket_blocks(
            number=text,
            customer=text,
            reason=text,
            question=text,
            summary=text,
            link="https://x.example/" + text,
            status=text,
        )
    )
    check_view(reason_view(text))
    check_view(ask_view(text, text))
    check_view(
        settings_view(text, {"mode": text, "audience": text, "language": text, "model": text}, private_metadata=text)
    )
    check_view(home_view(text, [(text, text)] * 100, [(text, "https://x.example/" + text)] * 100))


@settings(deadline=None, max_examples=200)
@given(st.text() | st.text(st.sampled_from("<>!@#|&;*_`~ \nabc")), st.integers(1, 3))
def test_any_words(text: str, n: int) -> None:
    citations = [Citation(n, text, text, text, text, text)]
    check(answer_blocks(text, citations, text))
    check(ticket_blocks(number=n, customer=text, reason=text, question=text, summary=text, link=text, status=text))
    check_view(home_view(text, [(text, text)], [(text, text)]))
    check_view(settings_view(text, {"mode": text, "persona": text}, private_metadata=text))
    assert len(plain_fallback(text, citations)) <= 3_900


# Modals and the App Home ----------------------------------------------------------------------------------------------


def state(**values: Any) -> dict[str, Any]:
    return {"values": {name: {name: value} for name, value in values.items()}}


def test_the_reason() -> None:
    view = reason_view("T1/1.2")
    check_view(view)
    assert (view["callback_id"], view["private_metadata"]) == ("frontdesk_reason", "T1/1.2")
    asked = view["blocks"][0]
    assert asked["label"]["text"] == "What was wrong or missing?"
    assert asked["element"]["multiline"] is True
    given_back = {
        "values": {
            asked["block_id"]: {asked["element"]["action_id"]: {"type": "plain_text_input", "value": " Wrong price "}}
        }
    }
    assert reason_of(given_back) == "Wrong price"


def test_the_question() -> None:
    view = ask_view("How much?", "meta")
    check_view(view)
    assert view["callback_id"] == "frontdesk_ask"
    assert view["blocks"][0]["element"]["initial_value"] == "How much?"
    assert "initial_value" not in ask_view()["blocks"][0]["element"]
    assert question_of(state(question={"type": "plain_text_input", "value": "How much?"})) == "How much?"


def test_the_settings() -> None:
    current = {
        "mode": "only-when-sure",
        "audience": "public, partners",
        "language": "de",
        "model": "m",
        "persona": "Larkstay",
    }
    view = settings_view("general", current, private_metadata="C1")
    check_view(view)
    assert view["callback_id"] == "frontdesk_settings"
    submitted: dict[str, Any] = {"values": {}}
    for block in view["blocks"]:
        if block["type"] == "input":
            element = block["element"]
            value: dict[str, Any] = (
                {"type": "static_select", "selected_option": element["initial_option"]}
                if element["type"] == "static_select"
                else {"type": "plain_text_input", "value": element.get("initial_value")}
            )
            submitted["values"][block["block_id"]] = {element["action_id"]: value}
    assert settings_of(submitted) == current
    modes = view["blocks"][1]["element"]["options"]
    assert [option["value"] for option in modes] == ["mention", "every-question", "only-when-sure", "off"]
    assert settings_view("x", {}, private_metadata="")["blocks"][1]["element"]["initial_option"]["value"] == "mention"


@pytest.mark.parametrize(
    "hostile",
    [
        {},
        {"values": None},
        {"values": {"mode": 3}},
        {"values": {"reason": {"reason": {"value": None}}}},
        {"values": []},
    ],
)
def test_states_of_any_shape(hostile: dict[str, Any]) -> None:
    assert settings_of(hostile) == {"mode": "", "audience": "", "language": "", "model": "", "persona": ""}
    assert (reason_of(hostile), question_of(hostile)) == ("", "")


def test_the_home() -> None:
    view = home_view(
        "Larkstay",
        [("Fees", "What are the fees?"), ("A person", "Talk to a person")],
        [("#12 Refund <!here>", "https://x.slack.com/archives/C1/p1"), ("#13 Other", "")],
    )
    check_view(view)
    assert view["blocks"][0]["text"]["text"] == "Welcome to Larkstay support"
    buttons = next(block for block in view["blocks"] if block["type"] == "actions")["elements"]
    assert [(one["action_id"], one["text"]["text"], one["value"]) for one in buttons] == [
        ("frontdesk_prompt_0", "Fees", "What are the fees?"),
        ("frontdesk_prompt_1", "A person", "Talk to a person"),
    ]
    assert [block["text"]["text"] for block in view["blocks"][-2:]] == [
        "• <https://x.slack.com/archives/C1/p1|#12 Refund &lt;!here&gt;>",
        "• #13 Other",
    ]
    assert "None at the moment." in json.dumps(home_view("", [], []))
