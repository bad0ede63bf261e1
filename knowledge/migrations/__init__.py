"""The library's tables, version by version: `knowledge.tables.SCHEMA` runs what a database has not had."""
