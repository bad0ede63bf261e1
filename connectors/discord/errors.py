"""What can go wrong with a request to Discord."""

from __future__ import annotations

from agent.errors import DeliveryError

UNKNOWN_CHANNEL = 10003
UNKNOWN_GUILD = 10004
UNKNOWN_MESSAGE = 10008
UNKNOWN_WEBHOOK = 10015
UNKNOWN_INTERACTION = 10062
ALREADY_ACKNOWLEDGED = 40060
MISSING_ACCESS = 50001
CANNOT_MESSAGE_USER = 50007
NOT_FOR_MESSAGES = 50008
MISSING_PERMISSIONS = 50013
SYSTEM_MESSAGE = 50021
WRONG_KIND = 50024
EXPIRED_TOKEN = 50027
INVALID_FORM = 50035
ARCHIVED_THREAD = 50083
NO_HISTORY = 160002
THREAD_ALREADY_CREATED = 160004
THREAD_LOCKED = 160005
TOO_MANY_THREADS = 160006
"""JSON error codes, from docs.discord.com/developers/topics/opcodes-and-status-codes."""
_GONE = frozenset(
    [
        UNKNOWN_CHANNEL,
        UNKNOWN_GUILD,
        MISSING_ACCESS,
        CANNOT_MESSAGE_USER,
        NOT_FOR_MESSAGES,
        MISSING_PERMISSIONS,
        THREAD_LOCKED,
    ]
)


class Refused(Exception):
    """Discord said no: `status` is the HTTP status, `code` its JSON error code (0 if it gave none)."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    @property
    def gone(self) -> bool:
        """The place or the right to write there is gone, so that nothing else helps either.

        A 403 without a code is not Discord's word on it: its shield may refuse for a while.
        """
        return self.code in _GONE or (self.status in (403, 404) and self.code != 0)


class Limited(Exception):
    """A rate limit that lasts longer than one can wait: `retry_after` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"limited for {retry_after:.1f} s")
        self.retry_after = retry_after


class Doubtful(Exception):
    """Nobody knows whether a request took effect: a 5xx, or a connection that was cut."""


def delivery_error(doing: str, error: Refused | Limited | Doubtful) -> DeliveryError:
    """What a connector raises for it. `doing` completes "Discord did not ..."."""
    message = f"Discord did not {doing}: {error}."
    if not isinstance(error, Refused):
        return DeliveryError(message, "It is tried again later.")
    if error.code == CANNOT_MESSAGE_USER:
        return DeliveryError(message, "The person takes no direct messages from this app.", gone=True)
    if error.gone:
        hint = "See whether the channel still exists, and whether the app may see it and write there."
        return DeliveryError(message, hint, gone=True)
    return DeliveryError(message)
