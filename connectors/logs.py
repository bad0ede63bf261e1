"""The log of a running frontdesk: to standard error, as lines for people or as JSON, never with a key in it."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable
from typing import Any

_KEYS = (
    (re.compile(r"\b(xox[a-z](?:\.xox[a-z])?|xapp)-[A-Za-z0-9_-]{4,}"), r"\1-***"),
    (re.compile(r"\b(Bearer|Basic|Bot)([ \t]+|%20)[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\b(sk|pk|rk)-[A-Za-z0-9_-]{8,}"), r"\1-***"),
    (re.compile(r"(://[^\s:/@]{0,100}):[^\s]{1,500}@"), r"\1:***@"),
)
_SHORTEST = 8
"""Characters. A shorter secret is no secret, and its stars would garble the log."""
_OURS = ("agent", "connectors", "knowledge")
_LOUD = ("slack_bolt", "slack_sdk", "aiohttp", "dbos", "httpx", "chromadb")


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with stars in the place of `secrets`, and of whatever looks like a key."""
    for secret in secrets:
        text = text.replace(secret, "***")
    for pattern, stars in _KEYS:
        text = pattern.sub(stars, text)
    return text


class _Redacting(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self.converter = time.gmtime
        self.default_time_format, self.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
        self._secrets = sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record), self._secrets)


class _Json(_Redacting):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage(), self._secrets),
        }
        if record.exc_info:
            line["error"] = redacted(self.formatException(record.exc_info), self._secrets)
        return json.dumps(line, ensure_ascii=False)


def set_up(form: str, secrets: Iterable[str] = ()) -> None:
    """Log to standard error from now on: what is ours from INFO, what is others' from WARNING."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json(secrets) if form == "json" else _Redacting(secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns at each start that a token of the environment, which is ours to read, is not read by it.
    logging.getLogger("connectors.slack.bolt").setLevel(logging.ERROR)
