"""What the tests of the knowledge base share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.knowledge.libraries import database, postgres_library, postgres_with_library
from tests.servers.chroma_server import RunningChroma, running_chroma

__all__ = ["database", "postgres_library", "postgres_with_library"]


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningChroma]:
    """A Chroma server. Each library has collections of its own there."""
    with running_chroma(tmp_path_factory.mktemp("server") / "chroma") as server:
        yield server
