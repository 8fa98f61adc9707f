"""The safety tables without a service: an in-memory database behind plain, synchronous calls."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from retainer.core.protocols import Row, Tx, View
from retainer.runtime.wal import write_ahead
from retainer.safety.schema import MIGRATIONS

T = TypeVar("T")
_WAIT_SECONDS = 5.0


class SyncStore(Protocol):
    """The rows of this room, used without an event loop."""

    def view(self) -> View:
        """A read-only view."""
        ...

    def write_now(self, apply: Callable[[Tx], T]) -> T:
        """Run ``apply`` in a transaction of its own; it is undone when it raises."""
        ...


class _LocalTx:
    """A :class:`~retainer.core.protocols.Tx` on one connection, closed with it; calls are serialised."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock) -> None:
        self._connection = connection
        self._lock = lock
        self.close = weakref.finalize(self, connection.close)

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        with self._lock:
            return [dict(row) for row in self._connection.execute(sql, tuple(params))]

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        rows = self.query(sql, params)
        return rows[0] if rows else None

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        with self._lock:
            return self._connection.execute(sql, tuple(params)).rowcount

    def insert(self, sql: str, params: Sequence[Any] = ()) -> int:
        with self._lock:
            cursor = self._connection.execute(sql, tuple(params))
            return cursor.lastrowid or 0 if cursor.rowcount > 0 else 0


def _migrate(tx: Tx) -> None:
    """Bring the tables to this version; what is there stays."""
    tx.execute("CREATE TABLE IF NOT EXISTS local_schema (name TEXT PRIMARY KEY)")
    for migration in MIGRATIONS:
        if tx.execute("INSERT INTO local_schema (name) VALUES (?) ON CONFLICT DO NOTHING", (migration.name,)):
            for statement in migration.sql.split(";"):
                if statement.strip():
                    tx.execute(statement)


class LocalStore:
    """:class:`SyncStore` in memory, gone with the object and its views, or in ``file``, durable after every write.

    Safe to use from several threads, and, in a file, from several processes.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            file or ":memory:", timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        self._tx = _LocalTx(self._connection, self._lock)
        write_ahead(self._connection, _WAIT_SECONDS)
        self._connection.execute("PRAGMA synchronous = FULL")
        self.write_now(_migrate)

    def view(self) -> View:
        """The rows as they are now."""
        return self._tx

    def write_now(self, apply: Callable[[Tx], T]) -> T:
        """Run ``apply`` in a transaction; all of it or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = apply(self._tx)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            return result

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._tx.close()
