"""Opening the state of record: one engine per URL, SQLite in WAL mode by default, migrated before use."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from pointsman.errors import DependencyDown, InputRefused

_MIGRATIONS = Path(__file__).with_name("migrations")
_MIGRATION_LOCK = 0x706F696E74736D61


def open_database(url: str, *, migrate: bool = True) -> sa.Engine:
    """Return an engine on `url` with the newest schema.

    Several processes may open the same SQLite file: WAL lets readers pass a writer, and a writer waits up to 30 s for
    another. Raises `InputRefused` for a URL that is no database URL and `DependencyDown` for one that cannot be opened.
    """
    try:
        parsed = sa.make_url(url)
        dialect = parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:  # ValueError: a port that is no number
        raise InputRefused(
            "POINTSMAN_DATABASE_URL", _hidden(url), "sqlite:///FILE or postgresql+psycopg://..."
        ) from error
    try:
        if dialect.name == "sqlite":
            if parsed.database in (None, "", ":memory:"):
                raise InputRefused("POINTSMAN_DATABASE_URL", url, "a file: several processes share it")
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
            # SQLite reads the whole schema when a connection opens, which takes longer than most transactions. Without
            # a bound of its own the pool never refuses a thread: how many there are is decided by those who start them.
            engine = sa.create_engine(
                parsed,
                poolclass=QueuePool,
                max_overflow=-1,
                connect_args={"timeout": 30, "check_same_thread": False},
            )
            sa.event.listen(engine, "connect", _prepare_sqlite)
            sa.event.listen(engine, "begin", _begin_immediate)
        else:
            engine = sa.create_engine(parsed, pool_pre_ping=True)
        try:
            if migrate:
                _migrate(engine)
            else:
                engine.connect().close()
        except BaseException:
            engine.dispose()
            raise
    except (DatabaseError, OSError, ImportError) as error:
        cause = getattr(error, "orig", None) or error
        raise DependencyDown(
            f"The database {_hidden(url)} cannot be opened: {cause}.",
            instruction="Check POINTSMAN_DATABASE_URL, the rights on its folder and whether the server is up; "
            "then run `pointsman doctor`.",
            code="database_unreachable",
        ) from error
    return engine


def _hidden(url: str) -> str:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        return "***" if "password" in url.lower() else url.split("@")[-1]
    hidden = {name: "***" for name in parsed.query if "password" in name.lower()}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None  # SQLAlchemy's own BEGIN below decides, not the driver's heuristics
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    # A deferred transaction that reads and then writes fails at once with "database is locked" when somebody else
    # wrote in between; taking the write lock first makes it wait instead.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def newest_revision() -> str:
    """The revision that this version of Pointsman migrates to."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def _migrate(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Of several processes that meet an empty database, one migrates and the others wait for it.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        if _revision(connection) != newest_revision():
            _upgrade(connection)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def _upgrade(connection: sa.Connection) -> None:
    # Alembic takes longer to import than every other part of opening a database that is up to date.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        url = connection.engine.url.render_as_string(hide_password=False)
        raise DependencyDown(
            f"The database {_hidden(url)} was migrated by another version of Pointsman: {error}.",
            instruction="Use the newest version that has opened this database, or name another POINTSMAN_DATABASE_URL.",
            code="database_newer",
        ) from error
