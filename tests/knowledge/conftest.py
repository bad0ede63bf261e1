"""What the tests of the knowledge base share."""

from tests.knowledge.libraries import database, postgres_library, postgres_with_library

__all__ = ["database", "postgres_library", "postgres_with_library"]
