"""The library on each database: a file of SQLite, and PostgreSQL. The index in a folder, and on a Chroma server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from knowledge.database import Source, open_database
from knowledge.tables import SCHEMA, metadata
from tests.databases import Postgres
from tests.servers.chroma_server import RunningChroma, running_chroma


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


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningChroma]:
    """A Chroma server. Each library has collections of its own there."""
    with running_chroma(tmp_path_factory.mktemp("server") / "chroma") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """A database without any documents: that of the data directory `data`, or one of PostgreSQL."""
    if request.param == "sqlite":
        return tmp_path / "data"
    url: str = request.getfixturevalue("postgres_library")
    return url
