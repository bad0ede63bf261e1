"""Bringing the agent's tables from the version that a database has to the newest one."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from agent.ledger.tables import VERSION_TABLE


def upgrade(connection: Connection, to: str = "head") -> None:
    """Change the tables, in the transaction that `connection` is in: half of it leaves nothing behind."""
    # Here and not above: only a database that is not up to date needs it.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    environment = EnvironmentContext(config, script, fn=lambda found, _: script._upgrade_revs(to, found))
    environment.configure(connection=connection, version_table=VERSION_TABLE, transactional_ddl=True)
    environment.run_migrations()
