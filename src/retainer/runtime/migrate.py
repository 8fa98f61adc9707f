"""Opening a database: permissions, damage, schema. Forward only, with a copy beside the file before any change."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.protocols import Migration
from retainer.runtime.sqlite_session import SqliteTx, damaged, storage_error
from retainer.runtime.store import DamagedError, NewerDatabaseError, StorageError

_APPLIED = "CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, applied_at REAL NOT NULL)"

FURTHER = "agents/"
"""Migrations of further agents begin with this; those of one that was taken out of the configuration do no harm."""
_CHECKED_ALWAYS = 64 << 20
"""Databases up to this size (bytes; about 0.1 s) are checked at every start, larger ones after an unclean end."""
_CHECKED_WHOLE = 8 << 20
"""Up to this size (also about 0.1 s), that check compares every index with its table, too."""


def connect(path: Path, *, reader: bool = False) -> sqlite3.Connection:
    """A connection with the house's settings; any thread may use it, one at a time."""
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    connection.row_factory = _dict_row
    try:
        for pragma in ("foreign_keys=ON", "secure_delete=ON", "synchronous=FULL", "cache_size=-1024"):
            connection.execute(f"PRAGMA {pragma}")
        if reader:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:  # a file that is no database shows at the first statement
        connection.close()
        raise
    return connection


def _dict_row(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def open_writer(path: Path, migrations: Sequence[Migration], *, owner: bool) -> sqlite3.Connection:
    """The writing connection, on a checked and migrated database.

    ``owner`` is the service that holds the folder: it creates, repairs (replays the log), checks and migrates.
    Other commands only join a database that is up to date.
    """
    names = [m.name for m in migrations]
    if len(set(names)) != len(names):
        raise InvalidInputError("Two migrations share a name.", hint="Give each a unique one.")
    unclean = _touch(path, owner=owner)
    try:
        connection = connect(path)
    except sqlite3.Error as error:
        raise _opening(error, path) from error
    try:
        _prepare(connection, path, migrations, owner=owner, unclean=unclean)
    except sqlite3.Error as error:
        connection.close()
        raise _opening(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _touch(path: Path, *, owner: bool) -> bool:
    """Make folder and file private to this user; returns whether a log was left behind by an unclean end."""
    if not path.exists() and not owner:
        raise NotFoundError(f"There is no database at {path}.", hint="Start the service once: `retainer up`.")
    if path.is_dir():
        raise InvalidInputError(f"There is a folder in the place of the database {path}.", hint="Move it away.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StorageError(
            f"{error.filename or path} cannot be used: {error.strerror}.",
            hint="Make it writable, or set RETAINER_DATA to another one.",
        ) from error
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    for beside in (log, index):
        if beside.exists() and not os.access(beside, os.W_OK):
            with contextlib.suppress(OSError):  # SQLite gave it the mode of a database that was read-only meanwhile
                beside.chmod(0o600)
    return log.exists() and log.stat().st_size > 0


def _opening(error: sqlite3.Error, path: Path) -> StorageError:
    return storage_error(error, str(path)) or DamagedError(
        f"The database {path} is not as retainer wrote it: {error}.",
        hint="Nothing was changed. Put a backup in its place: `retainer backup --list`, then `retainer restore`.",
    )


def _prepare(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], *, owner: bool, unclean: bool
) -> None:
    if owner:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()["journal_mode"]
        if mode != "wal":
            raise StorageError(f"The database {path} cannot use a write-ahead log.", hint="Use a local disk.")
        connection.execute("PRAGMA journal_size_limit=16777216")
        if unclean or path.stat().st_size <= _CHECKED_ALWAYS:
            _check(connection, path)
    todo = _missing(connection, path, migrations)
    if todo and not owner:
        raise StorageError(
            f"The database {path} needs {len(todo)} changes first.", hint="Restart the service: `retainer up`."
        )
    if todo:
        _migrate(connection, path, todo)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    check = "integrity" if path.stat().st_size <= _CHECKED_WHOLE else "quick"
    found = [next(iter(row.values())) for row in connection.execute(f"PRAGMA {check}_check(3)")]
    if found != ["ok"]:
        raise damaged(str(path), "; ".join(str(line) for line in found))


def _missing(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> list[Migration]:
    tables = {r["name"] for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "migration" not in tables:
        return list(migrations)
    applied = {r["name"] for r in connection.execute("SELECT name FROM migration")}
    return missing(applied, migrations, str(path))


def missing(applied: set[str] | None, migrations: Sequence[Migration], where: str) -> list[Migration]:
    """Those of ``migrations`` that the database ``where`` lacks. Raises :class:`NewerDatabaseError`."""
    if applied is None:
        return list(migrations)
    unknown = sorted(name for name in applied - {m.name for m in migrations} if not name.startswith(FURTHER))
    if unknown:
        raise NewerDatabaseError(
            f"The database {where} was written by a newer version (it has {', '.join(unknown)}).",
            hint="Install that version again. A copy from before the upgrade in its place starts in safe mode.",
        )
    return [m for m in migrations if m.name not in applied]


def _migrate(connection: sqlite3.Connection, path: Path, todo: Sequence[Migration]) -> None:
    used = connection.execute("SELECT COUNT(*) AS n FROM sqlite_master WHERE type = 'table'").fetchone()["n"]
    if used:
        backup(connection, path, "before-" + todo[-1].name.replace("/", "-"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_APPLIED)
        for migration in todo:
            for statement in statements(migration.sql):
                connection.execute(statement)
            if migration.run is not None:
                migration.run(SqliteTx(connection))
            connection.execute(
                "INSERT INTO migration (name, applied_at) VALUES (?, ?)",
                (migration.name, datetime.now(UTC).timestamp()),
            )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def backup(connection: sqlite3.Connection, path: Path, why: str) -> Path:
    """A compact copy in ``backups/`` beside the file; returns its path."""
    folder = path.parent / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    copy = folder / f"{path.stem}-{stamp}-{why}{path.suffix}"
    for left in folder.glob(f"{path.stem}-*{path.suffix}.part"):  # of one that was cut short
        left.unlink(missing_ok=True)
    part = copy.with_name(copy.name + ".part")
    try:
        connection.execute("VACUUM INTO ?", (str(part),))
        part.chmod(0o600)
        part.rename(copy)
    finally:
        part.unlink(missing_ok=True)
    return copy


def statements(sql: str) -> Iterator[str]:
    """The single statements of ``sql``; a statement ends with a line that ends with its semicolon."""
    pending = ""
    for line in sql.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending
