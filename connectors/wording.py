"""What the agent says around its answers, in the same words on every platform: buttons, forms, notes."""

from __future__ import annotations

# Buttons --------------------------------------------------------------------------------------------------------------

HELPFUL = "Helpful"
UNHELPFUL = "Not helpful"
PERSON = "Talk to a person"
SOLVED = "Solved"
STOP = "Stop"
SHARE = "Share with the channel"
OPEN = "Open the conversation"

PERSON_TEXT = "I would like to talk to a person."
"""What who presses `PERSON` says with it."""

# Notes for one person -------------------------------------------------------------------------------------------------

EXPIRED = "This button has expired."
NOT_YOURS = "Only who asked can do this."
ASK_YOURSELF = "Somebody else asked this. To talk to a person about something of yours, send me a message of your own."
GLAD = "Glad it helped. I have marked this as solved; just write again if there is more."
NOTHING_TO_READ = "There is nothing in this message that I can read."
SAVED = "Saved. This holds from the next message on."

# Forms ----------------------------------------------------------------------------------------------------------------

REASON_TITLE, REASON_QUESTION, REASON_SEND = "Your feedback", "What was wrong or missing?", "Send"
ASK_TITLE, ASK_QUESTION, ASK_SEND = "Ask a question", "What can we help you with?", "Ask"
SETTINGS_TITLE, SETTINGS_SAVE = "Settings", "Save"

MODE_LABEL = "Answer"
MODES: tuple[tuple[str, str], ...] = (
    ("mention", "When I am mentioned"),
    ("every-question", "Every question"),
    ("only-when-sure", "Only when I am sure"),
    ("off", "Never"),
)
"""When the agent answers in a channel: the value, and how people read it."""
SETTING_WORDS: tuple[tuple[str, str, str], ...] = (
    ("audience", "Audiences", "Whose documents may be used here, separated by commas, e.g. public, partners"),
    ("language", "Language", "The language of the replies, e.g. de; empty: the customer's"),
    ("model", "Model", "The model that answers here; empty: the usual one"),
    ("persona", "Voice", "How the agent sounds here, in a sentence"),
)
"""What else is set for a channel: the name, its label, and a hint."""
SETTING_NAMES = ("mode", *(name for name, _, _ in SETTING_WORDS))


def refused_settings(who: str) -> str:
    """Why somebody may not change the settings; `who` may, in the platform's own words."""
    return f"Only {who} can change my settings. Please ask one of them."


def no_settings(platform: str) -> str:
    """Why there is no form for the settings."""
    return f"My settings cannot be changed from {platform} here."
