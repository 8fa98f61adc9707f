"""SQLite's side of the writer: its connection, its transactions, and what it can say about trouble."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from retainer.core.protocols import Row
from retainer.runtime.store import DamagedError, StorageError

log = structlog.get_logger(__name__)
T = TypeVar("T")

GROUP: Final = 256
"""At most this many units share one commit."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_HINTS = {
    sqlite3.SQLITE_FULL: "The disk is full. Free some space; work goes on by itself.",
    sqlite3.SQLITE_IOERR: "The disk reported an error. Check its free space and its health.",
    sqlite3.SQLITE_READONLY: "The folder or the file is read-only. Make it writable, or choose another data folder.",
    sqlite3.SQLITE_CANTOPEN: "The file cannot be opened. Check that the folder exists and may be written.",
    sqlite3.SQLITE_BUSY: "Another program holds the database. Close it and try again.",
    sqlite3.SQLITE_LOCKED: "Another program holds the database. Close it and try again.",
}


def storage_error(error: sqlite3.Error, path: str) -> StorageError | None:
    """``error`` in words if the storage is at fault; ``None`` if the statement is (a bug, a constraint)."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _DAMAGE:
        return damaged(path, str(error))
    hint = _HINTS.get(code)
    return None if hint is None else StorageError(f"The database {path} failed: {error}.", hint=hint)


def damaged(path: str, detail: str) -> DamagedError:
    """The error for a file that cannot be trusted any more."""
    return DamagedError(
        f"The database {path} is damaged ({' '.join(detail.split())}).",
        hint="Nothing was changed. Put a backup in its place: `retainer backup --list`, then `retainer restore`. "
        "What is readable is saved by: sqlite3 FILE .recover",
    )


class SqliteTx:
    """:class:`~retainer.core.protocols.Tx` over the writer's connection; usable only inside its unit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection

    def _run(self, sql: str, params: Sequence[Any]) -> sqlite3.Cursor:
        if self._connection is None:
            raise StorageError("This unit of work has ended.", hint="Do not keep a transaction beyond its unit.")
        return self._connection.execute(sql, params)

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        return self._run(sql, params).fetchall()

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        row: Row | None = self._run(sql, params).fetchone()
        return row

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        return max(0, self._run(sql, params).rowcount)

    def insert(self, sql: str, params: Sequence[Any] = ()) -> int:
        cursor = self._run(sql, params)
        return int(cursor.lastrowid or 0) if cursor.rowcount > 0 else 0

    def finish(self) -> None:
        """The unit is over."""
        self._connection = None


class SqliteSession:
    """:class:`~retainer.runtime.session.Session` over one connection in autocommit mode."""

    group = GROUP

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._folder = str(Path(path).parent)
        self._version = -1

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def ready(self) -> None:
        """A file is always there."""

    def begin(self, units: int) -> None:
        self._writable()
        self._connection.execute("BEGIN IMMEDIATE")

    def _writable(self) -> None:
        """Raise :class:`StorageError` if folder or file were made read-only: what is open would let us go on, but
        nobody else could write any more, nor could we after a restart."""
        for what, path in (("data folder", self._folder), ("database", self._path)):
            if not os.access(path, os.W_OK):
                gone = not os.path.exists(path)
                raise StorageError(
                    f"The {what} {path} {'is gone' if gone else 'cannot be written'}.",
                    hint=f"{'Put it back' if gone else 'Make it writable'}; work goes on by itself.",
                )

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def mark(self) -> None:
        self._connection.execute("SAVEPOINT unit")

    def undo(self) -> None:
        self._connection.execute("ROLLBACK TO unit")
        self._connection.execute("RELEASE unit")

    def keep(self) -> None:
        self._connection.execute("RELEASE unit")

    def tx(self) -> SqliteTx:
        return SqliteTx(self._connection)

    def worded(self, error: BaseException) -> BaseException:
        if not isinstance(error, sqlite3.Error):
            return error
        worded = storage_error(error, self._path)
        if worded is None:
            return error
        worded.__cause__ = error
        return worded

    def look(self) -> bool:
        before, self._version = (
            self._version,
            int(self._connection.execute("PRAGMA data_version").fetchone()["data_version"]),
        )
        return before != self._version

    def close(self) -> None:
        """Move the log into the file and close."""
        try:
            self._connection.execute("PRAGMA busy_timeout=500")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warning("checkpoint_failed", error=str(error))
        self._connection.close()


class SqliteReader:
    """:class:`~retainer.runtime.views.Reader` over a read-only connection."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: str) -> None:
        self._path = path
        try:
            self._connection = connect()
        except sqlite3.Error as error:
            raise storage_error(error, path) or error from error

    @property
    def usable(self) -> bool:
        return True

    def begin(self) -> None:
        self._worded(lambda: self._connection.execute("BEGIN"))

    def query(self, sql: str, params: Sequence[Any]) -> list[Row]:
        return self._worded(lambda: self._connection.execute(sql, params).fetchall())

    def one(self, sql: str, params: Sequence[Any]) -> Row | None:
        def first() -> Row | None:
            cursor = self._connection.execute(sql, params)
            row: Row | None = cursor.fetchone()
            cursor.close()
            return row

        return self._worded(first)

    def _worded(self, ask: Callable[[], T]) -> T:
        """Damage shows at the first statement or at any row."""
        try:
            return ask()
        except sqlite3.Error as error:
            worded = storage_error(error, self._path)
            if worded is None:
                raise
            raise worded from error

    def end(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()
