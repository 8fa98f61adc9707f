"""Read-only snapshots over a small pool of connections."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final

from retainer.core.protocols import Row
from retainer.runtime.store import StorageError
from retainer.runtime.writer import storage_error

MAX_AGE: Final = 10.0
"""Seconds after which a snapshot is let go (the next query takes a new one), so that no view pins the log."""
_KEEP: Final = 4


class ViewPool:
    """Reading connections, handed to one view at a time."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: str) -> None:
        self._connect = connect
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._open: dict[int, weakref.ref[SqliteView]] = {}
        self._lock = threading.RLock()
        self._closed = False

    def take(self, view: SqliteView) -> sqlite3.Connection:
        """A connection for ``view``. Raises :class:`StorageError` once closed."""
        with self._lock:
            if self._closed:
                raise StorageError("The database is closed.", hint="Start the service again.")
            connection = self._idle.pop() if self._idle else None
            self._open[id(view)] = weakref.ref(view)
        return connection or self._connect()

    def give(self, view_id: int, connection: sqlite3.Connection) -> None:
        """Take a connection back."""
        with self._lock:
            self._open.pop(view_id, None)
            if not self._closed and len(self._idle) < _KEEP:
                self._idle.append(connection)
                return
        connection.close()

    def sweep(self, max_age: float = MAX_AGE) -> None:
        """Let go of snapshots older than ``max_age`` seconds that nobody is reading at this moment."""
        if not self._open:
            return
        with self._lock:
            views = [ref() for ref in self._open.values()]
        for view in views:
            if view is not None:
                view.expire(max_age)

    def close(self) -> None:
        """Close every connection; later queries raise."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        self.sweep(0.0)
        for connection in idle:
            connection.close()


class SqliteView:
    """:class:`~retainer.core.protocols.View`: one snapshot from its first query on.

    The snapshot ends when the view is closed, left (``with``), forgotten by its holder, or 10 seconds old; a later
    query takes a fresh one. Safe to use from any thread.
    """

    def __init__(self, pool: ViewPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._since = 0.0

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        with self._lock:
            return self._run(sql, params).fetchall()

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        with self._lock:
            cursor = self._run(sql, params)
            row: Row | None = cursor.fetchone()
            cursor.close()
            return row

    def _run(self, sql: str, params: Sequence[Any]) -> sqlite3.Cursor:
        if self._connection is not None and time.monotonic() - self._since > MAX_AGE:
            self._release()
        try:
            if self._connection is None:
                self._connection = self._pool.take(self)
                self._connection.execute("BEGIN")
                self._since = time.monotonic()
            return self._connection.execute(sql, params)
        except sqlite3.Error as error:
            worded = storage_error(error, self._pool.path)
            if worded is None:
                raise
            raise worded from error

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._pool.give(id(self), connection)

    def expire(self, max_age: float) -> None:
        """End the snapshot if it is older than ``max_age`` seconds and no query is running."""
        if self._lock.acquire(blocking=False):
            try:
                if self._connection is not None and time.monotonic() - self._since >= max_age:
                    self._release()
            finally:
                self._lock.release()

    def close(self) -> None:
        """End the snapshot."""
        with self._lock:
            self._release()

    def __enter__(self) -> SqliteView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._connection is not None:
            self._release()
