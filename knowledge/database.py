"""Opening the database that everything is kept in, a file of SQLite or PostgreSQL, with its tables brought up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, DateTime, Dialect, Engine, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from knowledge.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Source = Path | str
"""Where the database is: the data directory, or the URL of a PostgreSQL database."""

RESTORE = (
    "Stop frontdesk and put frontdesk.sqlite3 back into the data directory from a backup. Without one, save what can still be "
    "read: sqlite3 frontdesk.sqlite3 .recover | sqlite3 saved.sqlite3, and put that in its place."
)
"""What to do with a file of SQLite that is damaged."""

BUSY_SECONDS = 5.0
POOL_SIZE = 5
_MIGRATION_LOCK = 0x66726F6E74  # "front"
_MIGRATION_SECONDS = 60.0
_SCHEMES = ("postgresql+psycopg://", "postgresql://", "postgres://")
# A connection that a firewall dropped is noticed in a minute rather than in hours.
_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_WHICH = """SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database())
            FROM pg_control_system()"""
_CONNECT_SECONDS = 10
_VACUUM_SECONDS = 10
"""How long a table of PostgreSQL is waited for; whoever asks for it next waits behind."""
_DEADLOCKS = ("40P01", "40001")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment. It is kept in UTC, because SQLite drops the time zone of what it is given."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC."""
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With its time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables that belong together, and how a database gets them.

    `version_table` holds the version that a database has, `versions` are those that this frontdesk knows, oldest first, and
    `scripts` is the folder of the Alembic migrations that lead from each to the next.
    """

    version_table: str
    versions: tuple[str, ...]
    scripts: Path

    def upgrade(self, connection: Connection, to: str = "head") -> None:
        """Change the tables, in the transaction that `connection` is in: half of it leaves nothing behind."""
        # Here and not above: only a database that is not up to date needs it.
        from alembic.config import Config
        from alembic.runtime.environment import EnvironmentContext
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(self.scripts).replace("%", "%%"))
        script = ScriptDirectory.from_config(config)
        environment = EnvironmentContext(config, script, fn=lambda found, _: script._upgrade_revs(to, found))
        environment.configure(connection=connection, version_table=self.version_table, transactional_ddl=True)
        environment.run_migrations()


def open_database(source: Engine | Source, schema: Schema, pool_size: int = POOL_SIZE) -> Engine:
    """The database, with the tables of `schema` as this version knows them. An engine is taken as it is.

    Raises `StoreError` when it cannot be used, or was written by a newer version.
    """
    if isinstance(source, Engine):
        with told_as_ours():
            _migrate(source, schema)
        return source
    if isinstance(source, str):
        return _open_postgres(source, schema, pool_size)
    return _open_file(database_file(source), schema, pool_size)


def database_file(data: Path) -> Path:
    """The database's file; the directory is made. Raises `StoreError` when it cannot be."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        if not data.is_dir():
            raise NotADirectoryError(f"{data} is not a directory")
    except OSError as error:
        raise StoreError(
            f"The data directory {data} cannot be used: {error.strerror or error}.",
            "Choose another with --data DIR or FRONTDESK_DATA.",
        ) from error
    return data / "frontdesk.sqlite3"


def postgres_url(url: str) -> str:
    """The URL as SQLAlchemy takes it. Raises `StoreError` for one that is not PostgreSQL's."""
    for scheme in _SCHEMES:
        if url.startswith(scheme):
            return _SCHEMES[0] + url.removeprefix(scheme)
    raise StoreError(
        f"The database URL begins with {url.split('://')[0][:40]!r}, which is not a database that frontdesk knows.",
        "Set DATABASE_URL=postgresql://user:password@host/name, or leave it out to use the data directory.",
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection to read by. What goes wrong is a `StoreError`."""
    with told_as_ours(), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that is written at the end. What goes wrong is a `StoreError`."""
    with told_as_ours(), engine.begin() as connection:
        begin_writing(connection)
        yield connection


@contextmanager
def told_as_ours() -> Iterator[None]:
    """What goes wrong inside is a `StoreError`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise unusable(reason(error)) from error


def unusable(what: str) -> StoreError:
    """The error for a database that cannot be used for this reason."""
    hint = RESTORE if _is_damage(what) else "Look at the database: frontdesk doctor"
    return StoreError(f"The database cannot be used: {what}.", hint)


def damage(data: Path, most_bytes: int | None = None) -> str:
    """What is damaged in the database's file, as far as a look through it tells; "" when nothing is, or there is no file.

    One that is larger than `most_bytes` is not looked through: that takes a second for some hundred MB.
    """
    file = data / "frontdesk.sqlite3"
    if not file.exists() or (most_bytes is not None and file.stat().st_size > most_bytes):
        return ""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return reason(error) if _is_damage(reason(error)) else ""
    return "" if found == "ok" else " ".join(found.removeprefix("*** in database main ***").split())[:200]


def _is_damage(what: str) -> bool:
    return "malformed" in what or "not a database" in what


def reason(error: BaseException) -> str:
    """What went wrong, without the statement and its values."""
    if isinstance(error, StoreError):
        return error.message.rstrip(".")
    return str(getattr(error, "orig", None) or error).strip()


def in_the_way(error: StoreError) -> bool:
    """Whether it only went wrong because two transactions of PostgreSQL got into each other's way."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and str(getattr(cause.orig, "sqlstate", "")) in _DEADLOCKS


def begin_writing(connection: Connection) -> None:
    """Begin to write at once: on SQLite a transaction that reads first may fail at its first write."""
    # The driver begins nothing by itself before the first change. An engine of the caller's may have begun already.
    begun = getattr(connection.connection.dbapi_connection, "in_transaction", False)
    if connection.dialect.name == "sqlite" and not begun:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def inserting(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that may say what is done with rows that are there, in the words of this database."""
    if connection.dialect.name != "postgresql":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert whole rows, in place of those that have the same primary keys."""
    new = inserting(connection, table)
    keys = [column.name for column in table.primary_key.columns]
    others = {column.name: new.excluded[column.name] for column in table.columns if column.name not in keys}
    connection.execute(new.on_conflict_do_update(index_elements=keys, set_=others), list(rows))


def written_anew(engine: Engine, tables: Collection[str] = ()) -> str:
    """Write the database's files anew, so that what was deleted is nowhere in them: SQLite's file, or `tables` of PostgreSQL.

    Returns why that was not possible just now, or "". The rows are gone either way.
    """
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if engine.dialect.name == "sqlite":
                # `secure_delete` overwrites rows that go, and not the copies that are left where pages were split.
                connection.exec_driver_sql("VACUUM")
                busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
                return "the file is in use" if busy else ""
            connection.exec_driver_sql(f"SET lock_timeout = '{_VACUUM_SECONDS}s'")
            try:
                for table in tables:
                    connection.exec_driver_sql(f"VACUUM FULL {table}")
            finally:
                connection.exec_driver_sql("RESET lock_timeout")
    except (SQLAlchemyError, sqlite3.Error) as error:
        return reason(error)
    return ""


def whereabouts(engine: Engine) -> str:
    """What tells a database from a copy of it: the file's number in its file system, or the server's and the database's."""
    if engine.dialect.name == "sqlite":
        return f"file {os.stat(engine.url.database or '').st_ino}"
    try:
        with engine.connect() as connection:
            return "server {} {}".format(*connection.execute(text(_WHICH)).one())
    except SQLAlchemyError:
        # Not every service lets one ask.
        return "server"


def _open_postgres(url: str, schema: Schema, pool_size: int) -> Engine:
    try:
        engine = create_engine(
            postgres_url(url),
            pool_size=pool_size,
            pool_pre_ping=True,
            connect_args={**_KEEPALIVE, "connect_timeout": _CONNECT_SECONDS},
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            "PostgreSQL needs a driver that is not installed.", "Install it: pip install 'psycopg[binary]'"
        ) from error
    except (ArgumentError, ValueError) as error:
        # Without the URL: there is a password in it.
        raise StoreError(
            "The database URL cannot be read.", "Set DATABASE_URL=postgresql://user:password@host/name"
        ) from error
    try:
        _migrate(engine, schema)
    except SQLAlchemyError as error:
        engine.dispose()
        raise StoreError(
            f"The database {engine.url.render_as_string(hide_password=True)} cannot be used: {reason(error)}.",
            "Look at DATABASE_URL, and whether the server is up.",
        ) from error
    except StoreError:
        engine.dispose()
        raise
    return engine


def _open_file(file: Path, schema: Schema, pool_size: int) -> Engine:
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_SECONDS}, pool_size=pool_size)
    event.listen(engine, "connect", _set_up_file)
    try:
        _migrate(engine, schema)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        engine.dispose()
        raise StoreError(
            f"The database {file} cannot be used: {reason(error)}.",
            RESTORE if _is_damage(reason(error)) else "If it is read-only, choose another with --data DIR.",
        ) from error
    except StoreError:
        engine.dispose()
        raise
    return engine


def _set_up_file(connection: Any, _: ConnectionPoolEntry) -> None:
    # FULL: what was accepted has to outlive a power cut, its platform will not send it again.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _migrate(engine: Engine, schema: Schema) -> None:
    """Bring the tables to the newest version, if they are not. Raises `StoreError` when they are of a newer one."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    # Several processes that make a new database at once would stumble over each other's tables.
    lock = FileLock(f"{file}.lock", timeout=_MIGRATION_SECONDS) if file and file != ":memory:" else nullcontext()
    try:
        with lock:
            with engine.connect() as connection:
                if _version(connection, schema) == schema.versions[-1]:
                    return
            with engine.begin() as connection:
                begin_writing(connection)
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                if _version(connection, schema) != schema.versions[-1]:
                    schema.upgrade(connection)
    except Timeout:
        raise StoreError(
            f"Another process has been making the tables in {file} for {_MIGRATION_SECONDS:.0f} seconds.",
            "Wait until it is done, or end it.",
        ) from None


def _version(connection: Connection, schema: Schema) -> str | None:
    """The version of the tables, `None` before the first. Raises `StoreError` for one that is not known."""
    if not inspect(connection).has_table(schema.version_table):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {schema.version_table}")).scalar()
    if found is not None and found not in schema.versions:
        newest = schema.versions[-1]
        raise StoreError(
            f"The database was written by a newer version of frontdesk (tables {found}, this one knows {newest}).",
            "Use the version that wrote it: pip install --upgrade frontdesk",
        )
    return None if found is None else str(found)
