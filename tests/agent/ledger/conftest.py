"""The ledger on each database: a file of SQLite, and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from agent.ledger import Ledger
from agent.ledger.tables import metadata
from tests.databases import Postgres


@pytest.fixture(scope="session")
def postgres_with_tables(postgres: Postgres) -> Iterator[str]:
    """The URL of a database that has the tables."""

    async def make(url: str) -> None:
        ledger = Ledger(url)
        await ledger.counts()
        await ledger.close()

    with postgres.database() as url:
        asyncio.run(make(url))
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database without any rows."""
    if request.param == "sqlite":
        return tmp_path / "data"
    # Emptied rather than made anew: that takes a third of a second.
    url: str = request.getfixturevalue("postgres_with_tables")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY".encode())
    return url


@pytest.fixture
async def ledger(source: Path | str) -> AsyncIterator[Ledger]:
    """A ledger in it."""
    one = Ledger(source)
    yield one
    await one.close()
