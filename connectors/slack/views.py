"""Modals and the App Home: views out, and what people put into them back in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors import wording
from connectors.slack.blocks import LONGEST_HEADER, LONGEST_SECTION, Block, button, mrkdwn, plain_text, shortened, shown
from connectors.slack.outgoing import link
from connectors.wording import SETTING_NAMES

REASON = "frontdesk_reason"
ASK = "frontdesk_ask"
SETTINGS = "frontdesk_settings"
PROMPT = "frontdesk_prompt_"

LONGEST_TITLE = 24
LONGEST_METADATA = 3_000
LONGEST_INPUT = 3_000
LONGEST_OPTION = 75
MOST_PROMPTS = 20
MOST_REQUESTS = 40


# Modals ---------------------------------------------------------------------------------------------------------------


def reason_view(turn: str) -> dict[str, Any]:
    """Asks why an answer did not help. `turn` comes back as `private_metadata`."""
    words = _input("reason", wording.REASON_QUESTION, multiline=True)
    return _modal(REASON, wording.REASON_TITLE, wording.REASON_SEND, [words], turn)


def ask_view(question: str = "", private_metadata: str = "") -> dict[str, Any]:
    """Asks for a question."""
    words = _input("question", wording.ASK_QUESTION, multiline=True, value=question)
    return _modal(ASK, wording.ASK_TITLE, wording.ASK_SEND, [words], private_metadata)


def settings_view(channel_name: str, current: Mapping[str, str], *, private_metadata: str) -> dict[str, Any]:
    """How the agent behaves in one channel, as it is now."""
    options = [{"text": plain_text(words, LONGEST_OPTION), "value": value} for value, words in wording.MODES]
    select: Block = {"type": "static_select", "action_id": "mode", "options": options}
    chosen = [option for option in options if option["value"] == current.get("mode", wording.MODES[0][0])]
    if chosen:
        select["initial_option"] = chosen[0]
    blocks: list[Block] = [
        {"type": "section", "text": mrkdwn(f"*#{shown(channel_name.lstrip('#'), 200)}*")},
        {"type": "input", "block_id": "mode", "label": plain_text(wording.MODE_LABEL, 2000), "element": select},
        *(
            _input(name, label, value=current.get(name, ""), hint=hint, optional=True)
            for name, label, hint in wording.SETTING_WORDS
        ),
    ]
    return _modal(SETTINGS, wording.SETTINGS_TITLE, wording.SETTINGS_SAVE, blocks, private_metadata)


def settings_of(view_state: Mapping[str, Any]) -> dict[str, str]:
    """What was chosen, by name; a field that was left empty is empty. `view_state` is the `state` of the submitted view."""
    return {name: _value(view_state, name) for name in SETTING_NAMES}


def reason_of(state: Mapping[str, Any]) -> str:
    """What was written into `reason_view`."""
    return _value(state, "reason")


def question_of(state: Mapping[str, Any]) -> str:
    """What was written into `ask_view`."""
    return _value(state, "question")


def _modal(callback: str, title: str, submit: str, blocks: list[Block], private_metadata: str) -> dict[str, Any]:
    return {
        "type": "modal",
        "callback_id": callback,
        "title": plain_text(title, LONGEST_TITLE),
        "submit": plain_text(submit, LONGEST_TITLE),
        "close": plain_text("Cancel", LONGEST_TITLE),
        "private_metadata": private_metadata[:LONGEST_METADATA],
        "blocks": blocks,
    }


def _input(
    name: str, label: str, *, value: str = "", hint: str = "", multiline: bool = False, optional: bool = False
) -> Block:
    element: Block = {
        "type": "plain_text_input",
        "action_id": name,
        "max_length": LONGEST_INPUT,
        "multiline": multiline,
    }
    if value:
        element["initial_value"] = shortened(value, LONGEST_INPUT)
    made: Block = {"type": "input", "block_id": name, "label": plain_text(label, 2000), "element": element}
    if hint:
        made["hint"] = plain_text(hint, 2000)
    return {**made, "optional": True} if optional else made


def _value(state: Mapping[str, Any], name: str) -> str:
    """The value of the only element in block `name`, or empty, whatever the shape."""
    found: object = state
    for key in ("values", name, name):
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return ""
    option = found.get("selected_option")
    value = option.get("value") if isinstance(option, Mapping) else found.get("value")
    return value.strip()[:LONGEST_INPUT] if isinstance(value, str) else ""


# The App Home ---------------------------------------------------------------------------------------------------------


def home_view(
    company: str, prompts: Sequence[tuple[str, str]], open_tickets: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The agent's front page for one person. `prompts` are titles and questions, `open_tickets` titles and links."""
    name = company.strip()
    blocks: list[Block] = [
        {"type": "header", "text": plain_text(f"Welcome to {name} support" if name else "Welcome", LONGEST_HEADER)},
        _section(
            "Ask me anything in the *Messages* tab, or mention me in a channel. I look it up in the help articles, say "
            "where I found it, and bring in a person whenever you like."
        ),
    ]
    if prompts:
        blocks.append(
            {
                "type": "actions",
                "elements": [
                    button(title or question, f"{PROMPT}{place}", question or title)
                    for place, (title, question) in enumerate(prompts[:MOST_PROMPTS])
                ],
            }
        )
    blocks += [{"type": "divider"}, _section("*Your open requests*")]
    for title, address in open_tickets[:MOST_REQUESTS]:
        blocks.append(_section(_request(title, address)))
    if not open_tickets:
        blocks.append(_section("None at the moment."))
    elif len(open_tickets) > MOST_REQUESTS:
        blocks.append(_section(f"… and {len(open_tickets) - MOST_REQUESTS} more."))
    return {"type": "home", "blocks": blocks}


def _request(title: str, address: str) -> str:
    return "• " + link(address if len(address) <= 2_000 else None, shortened(title, 300) or "Request")


def _section(text: str) -> Block:
    return {"type": "section", "text": mrkdwn(text[:LONGEST_SECTION])}
