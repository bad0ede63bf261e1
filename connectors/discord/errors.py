"""What can go wrong with a request to Discord."""

from __future__ import annotations

from agent.errors import DeliveryError

UNKNOWN_CHANNEL = 10003
UNKNOWN_MESSAGE = 10008
UNKNOWN_WEBHOOK = 10015
UNKNOWN_INTERACTION = 10062
ALREADY_ACKNOWLEDGED = 40060
MISSING_ACCESS = 50001
CANNOT_MESSAGE_USER = 50007
MISSING_PERMISSIONS = 50013
INVALID_FORM = 50035
ARCHIVED_THREAD = 50083
THREAD_ALREADY_CREATED = 160004
THREAD_LOCKED = 160005
"""JSON error codes, from docs.discord.com/developers/topics/opcodes-and-status-codes."""


class Refused(Exception):
    """Discord said no: `status` is the HTTP status, `code` its JSON error code (0 if it gave none)."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    @property
    def gone(self) -> bool:
        """The channel or the right to it is gone, so that nothing else helps either."""
        return self.status in (403, 404) or self.code in (UNKNOWN_CHANNEL, MISSING_ACCESS, MISSING_PERMISSIONS)


class Limited(Exception):
    """A rate limit that lasts longer than one can wait: `retry_after` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"limited for {retry_after:.1f} s")
        self.retry_after = retry_after


class Doubtful(Exception):
    """Nobody knows whether a request took effect: a 5xx, or a connection that was cut."""


def delivery_error(doing: str, error: Refused | Limited | Doubtful) -> DeliveryError:
    """What a connector raises for it."""
    return DeliveryError(f"Discord did not {doing}: {error}", gone=isinstance(error, Refused) and error.gone)
