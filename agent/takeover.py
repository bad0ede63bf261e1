"""Taking over, on Postgres, what a process that died was running.

Each process holds an advisory lock on its executor id for as long as it lives; whoever finds the lock of another free, twice,
has what that one ran queued again.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from knowledge.database import postgres_url

_log = logging.getLogger(__name__)

SWEEP_SECONDS = 3.0
"""How often a process looks for dead ones. Their runs are taken over at the second look."""


class Takeover:
    """On Postgres: shows that this process lives, and finds those that no longer do."""

    def __init__(self, url: str, executor: str, recover: Callable[[str], None]) -> None:
        self._executor = executor
        self._recover = recover
        self._engine = create_engine(
            postgres_url(url),
            pool_size=2,
            connect_args={"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3},
        )
        self._held: Connection | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._suspects: set[str] = set()

    def hold(self) -> None:
        """Take the lock that says that this process lives."""
        self._held = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._held.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _key(self._executor)})

    def start(self) -> None:
        """Look for dead processes from now on, in a thread."""
        self._thread = threading.Thread(target=self._sweep, name="takeover", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and let others know that this process ends."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
        if self._held is not None:
            with suppress(SQLAlchemyError):
                self._held.close()
        self._engine.dispose()

    def _sweep(self) -> None:
        while not self._stop.wait(SWEEP_SECONDS):
            try:
                self._look()
            except SQLAlchemyError as error:
                _log.warning("Dead processes cannot be looked for: %s", getattr(error, "orig", None) or error)
                self._hold_again()

    def _hold_again(self) -> None:
        """After a restart of the database the lock is gone, and others believe that this process is."""
        with suppress(SQLAlchemyError):
            if self._held is not None:
                self._held.close()
            self.hold()

    def _look(self) -> None:
        assert self._held is not None
        # Also says whether our own lock still stands.
        self._held.execute(text("SELECT 1"))
        found: set[str] = set()
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            statuses = text(
                "SELECT DISTINCT executor_id FROM dbos.workflow_status WHERE status = 'PENDING' AND executor_id <> :own"
            )
            for executor in connection.execute(statuses, {"own": self._executor}).scalars():
                with _free(connection, executor) as free:
                    if not free:
                        continue
                    found.add(executor)
                    if executor in self._suspects:
                        self._recover(executor)
        self._suspects = found


@contextmanager
def _free(connection: Connection, executor: str) -> Iterator[bool]:
    """Whether nobody holds the lock of this executor; it is held meanwhile, so that one process takes over."""
    key = {"key": _key(executor)}
    free = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar())
    try:
        yield free
    finally:
        if free:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


def _key(executor: str) -> int:
    """The lock of an executor: 64 bits, signed, as Postgres has them."""
    return int.from_bytes(hashlib.blake2b(f"frontdesk:{executor}".encode(), digest_size=8).digest(), signed=True)
