"""The library's tables, version by version: `knowledge.library.tables.SCHEMA` runs what a database has not had."""
