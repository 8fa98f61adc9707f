"""Opening a PostgreSQL database: the schema, forward only, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from retainer.core.errors import NotFoundError
from retainer.core.protocols import Migration
from retainer.runtime.migrate import missing, statements
from retainer.runtime.postgres.session import PostgresSession
from retainer.runtime.postgres.sql import ddl
from retainer.runtime.store import StorageError

_APPLIED = "CREATE TABLE migration (name TEXT PRIMARY KEY, applied_at REAL NOT NULL)"


def prepare(session: PostgresSession, migrations: Sequence[Migration], *, owner: bool) -> None:
    """Bring the schema up to date as ``owner``, else only see that it is. Raises :class:`StorageError` in words."""
    try:
        session.begin(1)
        applied = _applied(session)
        if applied is None and not owner:
            raise NotFoundError(f"There is nothing in {session.name} yet.", hint="Start with: retainer up")
        todo = missing(applied, migrations, session.name)
        if todo and not owner:
            raise StorageError(
                f"The database {session.name} needs {len(todo)} changes first.",
                hint="Restart the service: `retainer up`.",
            )
        if applied is None:
            session.run(ddl(_APPLIED), ())
        for migration in todo:
            _apply(session, migration)
        session.commit()
    except BaseException as error:
        session.rollback()
        worded = session.worded(error)
        if worded is error or not isinstance(error, psycopg.Error):
            if isinstance(error, psycopg.Error):
                raise StorageError(f"The database {session.name} cannot be prepared: {error}.") from error
            raise
        raise worded from error


def _applied(session: PostgresSession) -> set[str] | None:
    """Names of the migrations that were applied; ``None`` where there is no schema."""
    row = session.run("SELECT to_regclass('migration') IS NOT NULL AS there", ()).fetchone()
    if row is None or not row["there"]:
        return None
    return {str(row["name"]) for row in session.run("SELECT name FROM migration", ()).fetchall()}


def _apply(session: PostgresSession, migration: Migration) -> None:
    for statement in statements(migration.sql):
        session.run(ddl(statement), ())
    if migration.run is not None:
        migration.run(session.tx())
    session.run(
        "INSERT INTO migration (name, applied_at) VALUES (?, ?)", (migration.name, datetime.now(UTC).timestamp())
    )
