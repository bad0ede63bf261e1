"""Where a turn is, for whoever follows one: a log line at each point, switched off unless the logger is set to DEBUG."""

from __future__ import annotations

import logging

POINTS = (
    *("heard", "stored", "queued", "acknowledged", "begun", "drafting", "shown", "posted", "kept"),
    *("written", "decided", "delivered", "finished"),
)
"""In the order in which a turn comes by, except that a post is kept, and a delivery acknowledged, beside what goes on."""
LOGGER = "agent.turns.points"
_log = logging.getLogger(LOGGER)


def point(name: str, turn: str) -> None:
    """Tell that a turn has come to this point."""
    _log.debug("%s %s", name, turn)
