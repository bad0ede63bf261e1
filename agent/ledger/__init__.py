"""What has to outlive the process: what was said, what is to be answered and was, tickets, and what models cost.

    Ledger = Transcript (what people say) + Replies (turns and posts) + Desk (tickets, feedback, settings of channels)
             + Listening (what was heard) + Erasure (forgetting) + Calls (model calls)

It is kept beside the library in its SQLite file, or in PostgreSQL. Each verb is one transaction, in a thread: a process that is
killed leaves every verb done or undone.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from agent.ledger.calls import ABANDONED, KEYS, Calls, Key, UsageRow, percentile
from agent.ledger.database import Database
from agent.ledger.desk import Desk
from agent.ledger.erasure import Erasure
from agent.ledger.listening import Listening
from agent.ledger.records import (
    FINAL,
    Accepted,
    Begun,
    Change,
    Counts,
    Decided,
    Ended,
    Erased,
    ErasedAnswers,
    Ticket,
    TurnRow,
    UnfinishedTurn,
)
from agent.ledger.replies import Replies
from agent.ledger.tables import model_calls
from agent.ledger.transcript import JOIN_SECONDS, Transcript
from knowledge.database import POOL_SIZE

__all__ = [
    "ABANDONED",
    "FINAL",
    "JOIN_SECONDS",
    "KEYS",
    "Accepted",
    "Begun",
    "Change",
    "Counts",
    "Decided",
    "Ended",
    "Erased",
    "ErasedAnswers",
    "Key",
    "Ledger",
    "Ticket",
    "TurnRow",
    "UnfinishedTurn",
    "UsageRow",
    "model_calls",
    "percentile",
]


class Ledger(Transcript, Replies, Desk, Listening, Erasure, Calls):
    """The verbs over the tables. `source` is the data directory, or the URL of a PostgreSQL database, or an engine.

    An engine is the caller's to dispose of. Nothing is opened before it is first used.
    """

    def __init__(self, source: Engine | Path | str, *, pool_size: int = POOL_SIZE) -> None:
        Calls.__init__(self)
        self._database = Database(source, pool_size)
