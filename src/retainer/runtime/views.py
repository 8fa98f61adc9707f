"""Read-only snapshots over a small pool of connections."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol

from retainer.core.protocols import Row
from retainer.runtime.store import StorageError

MAX_AGE: Final = 10.0
"""Seconds after which a snapshot is let go (the next query takes a new one), so that no view pins the log."""
_KEEP: Final = 4


class Reader(Protocol):
    """A reading connection; used by one view at a time. Errors of the storage come out in words."""

    @property
    def usable(self) -> bool:
        """Whether it can be handed to another view."""
        ...

    def begin(self) -> None:
        """From here on, one snapshot."""
        ...

    def query(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """All rows."""
        ...

    def one(self, sql: str, params: Sequence[Any]) -> Row | None:
        """The first row."""
        ...

    def end(self) -> None:
        """Let go of the snapshot; never raises."""
        ...

    def close(self) -> None:
        """Close the connection; never raises."""
        ...


class ViewPool:
    """Reading connections, handed to one view at a time."""

    def __init__(self, connect: Callable[[], Reader]) -> None:
        self._connect = connect
        self._idle: list[Reader] = []
        self._open: dict[int, weakref.ref[SnapshotView]] = {}
        self._lent: dict[int, Reader] = {}
        """Held here too: so a forgotten view gives its connection back, instead of being collected together with it."""
        self._lock = threading.RLock()
        self._closed = False

    def take(self, view: SnapshotView) -> Reader:
        """A connection for ``view``. Raises :class:`StorageError` once closed."""
        with self._lock:
            if self._closed:
                raise StorageError("The database is closed.", hint="Start the service again.")
            reader = self._idle.pop() if self._idle else None
            self._open[id(view)] = weakref.ref(view)
        reader = reader or self._connect()
        self._lent[id(view)] = reader
        return reader

    def give(self, view_id: int, reader: Reader) -> None:
        """Take a connection back."""
        with self._lock:
            self._open.pop(view_id, None)
            self._lent.pop(view_id, None)
            if not self._closed and len(self._idle) < _KEEP and reader.usable:
                self._idle.append(reader)
                return
        reader.close()

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
        for reader in idle:
            reader.close()


class SnapshotView:
    """:class:`~retainer.core.protocols.View`: one snapshot from its first query on.

    The snapshot ends when the view is closed, left (``with``), forgotten by its holder, or 10 seconds old; a later
    query takes a fresh one. Safe to use from any thread.
    """

    def __init__(self, pool: ViewPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._since = 0.0

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        with self._lock:
            return self._ready().query(sql, params)

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        with self._lock:
            return self._ready().one(sql, params)

    def _ready(self) -> Reader:
        if self._reader is not None and time.monotonic() - self._since > MAX_AGE:
            self._release()
        if self._reader is None:
            self._reader = self._pool.take(self)
            self._since = time.monotonic()
            try:
                self._reader.begin()
            except BaseException:
                self._release()
                raise
        return self._reader

    def _release(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.end()
            self._pool.give(id(self), reader)

    def expire(self, max_age: float) -> None:
        """End the snapshot if it is older than ``max_age`` seconds and no query is running."""
        if self._lock.acquire(blocking=False):
            try:
                if self._reader is not None and time.monotonic() - self._since >= max_age:
                    self._release()
            finally:
                self._lock.release()

    def close(self) -> None:
        """End the snapshot."""
        with self._lock:
            self._release()

    def __enter__(self) -> SnapshotView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._reader is not None:
            self._release()
