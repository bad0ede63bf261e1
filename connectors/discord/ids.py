"""The ids of messages and addresses in Discord. Pure."""

from __future__ import annotations

from agent.messages import Address

DIRECT = "dm"
"""The space of direct messages, which belong to no guild."""
_DIGITS = 20
"""Of the largest snowflake, 2**64 - 1 (docs.discord.com/developers/reference, Snowflakes)."""


def padded(snowflake: int | str) -> str:
    """A snowflake as text that sorts by time."""
    return str(snowflake).zfill(_DIGITS)


def message_id(address: Address, snowflake: int | str) -> str:
    """The id of a message in the channel of an address: `discord:G/C#01473118766652199044`."""
    return f"{address.channel}#{padded(snowflake)}"


def snowflake_of(message: str) -> int:
    """The snowflake in the id of a message or turn; 0 if it has none."""
    digits = message.rpartition("#")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def snowflake(text: object) -> int:
    """A snowflake as Discord writes it, text or number; 0 for anything else."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text if 0 < text < 2**64 else 0
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        return int(text)
    return 0


def private_thread(user: int | str) -> str:
    """The thread of the conversation in a channel that only one person sees."""
    return f"private-{user}"
