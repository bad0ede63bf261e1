"""The agent's tables, version by version: `agent.ledger.database` runs what a database has not had."""
