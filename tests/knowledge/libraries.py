"""The library on each database: a file of SQLite, and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from knowledge.database import Source, open_database
from knowledge.library.tables import SCHEMA, metadata
from tests.databases import Postgres


@pytest.fixture(scope="session")
def postgres_with_library(postgres: Postgres) -> Iterator[str]:
    """The URL of a database that has the tables."""
    with postgres.database() as url:
        open_database(url, SCHEMA).dispose()
        yield url


@pytest.fixture
def postgres_library(postgres_with_library: str) -> str:
    """The URL of a database of PostgreSQL without any documents."""
    # Emptied rather than made anew: that takes a third of a second.
    with psycopg.connect(postgres_with_library, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY CASCADE".encode())
        connection.execute(b"INSERT INTO state (key, value) VALUES ('schema', '2'), ('edition', '0')")
    return postgres_with_library


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """A database without any documents: that of the data directory `data`, or one of PostgreSQL."""
    if request.param == "sqlite":
        return tmp_path / "data"
    url: str = request.getfixturevalue("postgres_library")
    return url
