"""The single writer: one thread, one connection, units of work in savepoints, many units per commit."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from retainer.core.protocols import Row, Tx
from retainer.runtime.store import DamagedError, StorageError

log = structlog.get_logger(__name__)

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
    """The error for a file that cannot be trusted any more; its hint names the newest copy, if there is one."""
    folder = Path(path).parent / "backups"
    copies = sorted(folder.glob("*.db"), key=lambda copy: copy.stat().st_mtime) if folder.is_dir() else []
    if copies:
        hint = f"Nothing was changed. Move it away and put the newest copy in its place: {copies[-1]}"
    else:
        hint = (
            "Nothing was changed. Move it away, its -wal too, and put a copy of yours in its place or begin anew; "
            "what is readable is saved by: sqlite3 FILE .recover"
        )
    return DamagedError(f"The database {path} is damaged ({' '.join(detail.split())}).", hint=hint)


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


@dataclass(slots=True)
class Unit:
    """Queued work. ``tell`` gets result or error; on ``loop``'s thread if there is one, else on the writer's."""

    apply: Callable[[Tx], Any]
    tell: Callable[[Any, BaseException | None], None]
    loop: asyncio.AbstractEventLoop | None = None
    outside: bool = False
    """Runs alone and outside any transaction (checkpoint)."""


class Writer:
    """Owns the writing connection. ``on_change(foreign)`` is called on its thread, at most once a ``tick``, after
    commits of this or, with ``foreign``, of another process; ``on_tick`` at every tick."""

    def __init__(self, connection: sqlite3.Connection, path: str, *, tick: float, on_tick: Callable[[], None]) -> None:
        self._connection = connection
        self._path = path
        self._tick = tick
        self._on_tick = on_tick
        self.on_change: Callable[[], None] | None = None
        self._queue: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._committed = False
        self._version = -1
        self._next_tick = 0.0
        self._closed = False
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="retainer-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit) -> None:
        """Queue ``unit``. Raises :class:`StorageError` after :meth:`close`."""
        with self._guard:
            if self._closed:
                raise StorageError("The database is closed.", hint="Start the service again.")
            self._queue.put(unit)

    def close(self) -> None:
        """Finish what is queued, checkpoint, close the connection."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            try:
                group, open_ = self._gather()
                if group:
                    self._work(group)
                self._maybe_tick()
            except Exception:  # the last line of defence: the only writer must not die of a bug in one unit
                log.exception("writer_failed")
        try:
            self._connection.execute("PRAGMA busy_timeout=500")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warning("checkpoint_failed", error=str(error))
        self._connection.close()

    def _gather(self) -> tuple[list[Unit], bool]:
        """Wait for work up to a tick, then take what else is there. ``False``: the end was reached."""
        group: list[Unit] = []
        try:
            unit = self._queue.get(timeout=self._tick)
            while unit is not None:
                group.append(unit)
                if len(group) >= GROUP:
                    return group, True
                unit = self._queue.get_nowait()
        except queue.Empty:
            return group, True
        return group, False

    def _work(self, group: list[Unit]) -> None:
        inside: list[Unit] = []
        for unit in group:
            if unit.outside:
                self._commit(inside)
                inside = []
                self._alone(unit)
            else:
                inside.append(unit)
        self._commit(inside)

    def _alone(self, unit: Unit) -> None:
        tx = SqliteTx(self._connection)
        try:
            answer: tuple[Unit, Any, BaseException | None] = (unit, unit.apply(tx), None)
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            answer = (unit, None, self._worded(error))
        finally:
            tx.finish()
        _tell([answer])

    def _commit(self, units: list[Unit]) -> None:
        """One transaction for all; a unit that raises is undone alone, a failing commit fails them all."""
        while units:
            answers, units = self._transaction(units)
            _tell(answers)

    def _transaction(self, units: list[Unit]) -> tuple[list[tuple[Unit, Any, BaseException | None]], list[Unit]]:
        """Returns the answers, and the units still to do when SQLite gave the transaction up half way."""
        connection = self._connection
        done: list[tuple[Unit, Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for index, unit in enumerate(units):
                result, error = self._savepoint(unit)
                done.append((unit, result, error))
                if not connection.in_transaction:
                    lost = self._worded(error) if error else StorageError("The database gave the transaction up.")
                    return [(u, None, e or lost) for u, _, e in done], units[index + 1 :]
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = self._worded(error)
            told = {id(u) for u, _, e in done if e}
            return [*(a for a in done if a[2]), *((u, None, failure) for u in units if id(u) not in told)], []
        self._committed = True
        return done, []

    def _savepoint(self, unit: Unit) -> tuple[Any, BaseException | None]:
        connection = self._connection
        connection.execute("SAVEPOINT unit")
        tx = SqliteTx(connection)
        try:
            result = unit.apply(tx)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked, not to this thread
            if connection.in_transaction:
                connection.execute("ROLLBACK TO unit")
                connection.execute("RELEASE unit")
            return None, self._worded(error)
        finally:
            tx.finish()
        connection.execute("RELEASE unit")
        return result, None

    def _worded(self, error: BaseException) -> BaseException:
        if not isinstance(error, sqlite3.Error):
            return error
        worded = storage_error(error, self._path)
        if worded is None:
            return error
        worded.__cause__ = error
        return worded

    def _maybe_tick(self) -> None:
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + self._tick
        self._on_tick()
        version = self._connection.execute("PRAGMA data_version").fetchone()["data_version"]
        changed = self._committed or version != self._version
        self._committed, self._version = False, version
        if changed and self.on_change is not None:
            self.on_change()


def _tell(answers: list[tuple[Unit, Any, BaseException | None]]) -> None:
    """Answer every unit, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Unit, Any, BaseException | None]]] = defaultdict(list)
    for unit, result, error in answers:
        if unit.loop is None:
            unit.tell(result, error)
        else:
            by_loop[unit.loop].append((unit, result, error))
    for loop, batch in by_loop.items():
        try:
            loop.call_soon_threadsafe(_tell_here, batch)
        except RuntimeError:  # the loop was closed meanwhile: nobody waits there any more
            log.debug("loop_closed", units=len(batch))


def _tell_here(batch: list[tuple[Unit, Any, BaseException | None]]) -> None:
    for unit, result, error in batch:
        unit.tell(result, error)
