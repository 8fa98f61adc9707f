"""PostgreSQL's side of the writer: one session that writes, and holds the locks of this process's lanes.

All processes write one after another, as with SQLite: every transaction begins by taking one lock of the database. So
ids are given in the order of commits, limits hold across lanes, and each audit chain has one end. Lanes are advisory
locks of the session itself. The server ends the session when the process dies, and, by ``idle_session_timeout``, when
it is frozen: its locks are free then, and nothing it still wants to write can arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
import structlog
from psycopg.pq import TransactionStatus

from retainer.core.protocols import Row
from retainer.runtime.placement import PlaceLostError
from retainer.runtime.postgres.connect import Connection, connect, where, worded
from retainer.runtime.postgres.sql import lock_key, numbered, target
from retainer.runtime.store import StorageError

log = structlog.get_logger(__name__)

GROUP: Final = 60
"""At most this many units share one commit: the server keeps 64 subtransactions of a session at hand."""
_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""Linux has the first one, macOS the second one, which counts a sleep there; Windows has neither."""
_AGAIN: Final = 0.5
"""Seconds between attempts to connect anew."""
_OPEN = {TransactionStatus.INTRANS, TransactionStatus.INERROR, TransactionStatus.ACTIVE}
_HELD = (
    "SELECT classid::bigint AS high, objid::bigint AS low FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
    " AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class PostgresTx:
    """:class:`~retainer.core.protocols.Tx` over the writer's connection; usable only inside its unit."""

    def __init__(self, session: PostgresSession) -> None:
        self._session: PostgresSession | None = session

    def _run(self, sql: str, params: Sequence[Any]) -> psycopg.RawCursor[dict[str, Any]]:
        if self._session is None:
            raise StorageError("This unit of work has ended.", hint="Do not keep a transaction beyond its unit.")
        return self._session.run(sql, params)

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        found = self._run(sql, params)
        return list(found.fetchall()) if found.description is not None else []

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        return self._run(sql, params).fetchone()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        count = max(0, self._run(sql, params).rowcount)
        if self._session is not None and count:
            self._session.wrote = True
        return count

    def insert(self, sql: str, params: Sequence[Any] = ()) -> int:
        if self._session is None:
            raise StorageError("This unit of work has ended.", hint="Do not keep a transaction beyond its unit.")
        self._session.wrote = True
        column = self._session.identity(target(sql))
        row = self._run(f"{sql} RETURNING {column} AS key", params).fetchone()
        return 0 if row is None else int(row["key"])

    def finish(self) -> None:
        """The unit is over."""
        self._session = None


class PostgresSession:
    """:class:`~retainer.runtime.session.Session`. Everything but :meth:`fresh` belongs to the writer's thread."""

    group = GROUP

    def __init__(self, url: str, idle: float) -> None:
        """``idle``: seconds of silence after which the server ends the session."""
        self.name = where(url)
        self.wrote = False
        self.lost: Callable[[], None] | None = None
        """Called when the session ended while it held locks."""
        self.gone = False
        """It ended while it held locks; nothing is written until whoever used them has ended too."""
        self.elsewhere: set[str] = set()
        """Names that another process had when they were last asked for."""
        self._url = url
        self._idle = idle
        self._connection: Connection | None = None
        self._cursor: psycopg.RawCursor[dict[str, Any]] | None = None
        self._held: set[str] = set()
        self._identity: dict[str, str] = {}
        self._scope = ""
        self._write_lock = 0
        self._told = False
        self._alone = False
        self._asked = 0.0
        self._next_try = 0.0

    # --- connection --------------------------------------------------------------------------------------------------
    def open(self) -> Connection:
        """Connect. Raises :class:`StorageError`."""
        milliseconds = str(int(self._idle * 1000))
        asked = _seconds()
        connection = connect(
            self._url,
            {
                "idle_session_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                "lock_timeout": "10000",
                "jit": "off",
            },
        )
        row = connection.execute("SELECT current_schema() AS scope").fetchone()
        self._scope = str(row["scope"]) if row else ""
        self._write_lock = lock_key(self._scope, "write")
        connection.add_notify_handler(self._on_notify)
        connection.execute(f"LISTEN {self._channel}")
        self._connection, self._cursor = connection, connection.cursor()  # type: ignore[assignment]
        self._asked = asked
        self._told = True  # whatever was committed while we were away
        return connection

    @property
    def _channel(self) -> str:
        return f"retainer_{lock_key(self._scope, 'changes') & 0xFFFFFFFF:x}"

    def _on_notify(self, notify: psycopg.Notify) -> None:
        if self._connection is not None and notify.pid != self._connection.info.backend_pid:
            self._told = True

    def ready(self) -> None:
        if self._connection is not None:
            return
        if self.gone:
            raise PlaceLostError(
                f"The session on {self.name} was ended; another process may have taken over.",
                hint="Work goes on by itself in a moment.",
            )
        if time.monotonic() < self._next_try:
            raise StorageError(f"The database {self.name} cannot be reached.", hint="It is tried again all the time.")
        self._next_try = time.monotonic() + _AGAIN
        self.open()
        self._next_try = 0.0

    def fresh(self) -> bool:
        """Whether the server was heard so recently that it cannot have ended the session. Any thread may ask.

        What was answered is as old as its question: who was frozen in between reads the answer only on waking.
        """
        return self._connection is not None and _seconds() - self._asked < self._idle / 2

    def _drop(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is None:
            return
        connection.close()
        self.elsewhere.clear()
        if self._held:
            self._held.clear()
            self.gone = True
            log.warning("session_lost", database=self.name)
            if self.lost is not None:
                self.lost()

    # --- transactions ------------------------------------------------------------------------------------------------
    def run(self, sql: str, params: Sequence[Any]) -> psycopg.RawCursor[dict[str, Any]]:
        """Execute a statement of the shared subset."""
        cursor = self._cursor
        if cursor is None:
            raise StorageError(f"The connection to the database {self.name} was lost.")
        asked = _seconds()
        if params:
            cursor.execute(numbered(sql), params)
        else:
            cursor.execute(sql)
        self._asked = asked
        return cursor

    @property
    def in_transaction(self) -> bool:
        return self._connection is not None and self._connection.info.transaction_status in _OPEN

    def begin(self, units: int) -> None:
        self.ready()
        self.wrote, self._alone = False, units == 1
        self.run(f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({self._write_lock})", ())

    def commit(self) -> None:
        self.run(f"NOTIFY {self._channel}; COMMIT" if self.wrote else "COMMIT", ())

    def rollback(self) -> None:
        if self.in_transaction:
            try:
                self.run("ROLLBACK", ())
            except psycopg.Error as error:
                self.worded(error)

    def mark(self) -> None:
        if not self._alone:  # with a single unit, the transaction is its savepoint
            self.run("SAVEPOINT unit", ())

    def undo(self) -> None:
        try:
            self.run("ROLLBACK" if self._alone else "ROLLBACK TO unit; RELEASE unit", ())
        except psycopg.Error as error:
            self.worded(error)

    def keep(self) -> None:
        if self._connection is not None and self._connection.info.transaction_status is TransactionStatus.INERROR:
            raise StorageError("A statement failed and its error was ignored.", hint="Put it into a savepoint.")
        if not self._alone:
            self.run("RELEASE unit", ())

    def tx(self) -> PostgresTx:
        return PostgresTx(self)

    def worded(self, error: BaseException) -> BaseException:
        if not isinstance(error, psycopg.Error):
            return error
        found = worded(error, self.name)
        if self._connection is not None and self._connection.closed:
            held = bool(self._held)
            self._drop()
            if held:
                found = PlaceLostError(
                    f"The session on {self.name} was ended: {' '.join(str(error).split())}.",
                    hint="Another process may have taken over; work goes on by itself in a moment.",
                )
        if found is None:
            return error
        found.__cause__ = error
        return found

    def identity(self, table: str) -> str:
        """The column of ``table`` that numbers its rows."""
        known = self._identity.get(table)
        if known is None:
            row = self.run(
                "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(?) AND attidentity <> ''", (table,)
            ).fetchone()
            if row is None:
                raise StorageError(f"The table {table} does not number its rows.", hint="Use execute() instead.")
            known = self._identity[table] = str(row["attname"])
        return known

    # --- locks -------------------------------------------------------------------------------------------------------
    def take(self, name: str) -> bool:
        """Lock ``name`` for this session; ``False`` if another one has it."""
        if name in self._held:
            return True
        row = self.run("SELECT pg_try_advisory_lock(?) AS got", (lock_key(self._scope, name),)).fetchone()
        got = row is not None and bool(row["got"])
        (self._held if got else self.elsewhere).add(name)
        if got:
            self.elsewhere.discard(name)
        return got

    def leave(self, name: str) -> None:
        """Unlock ``name``."""
        if name in self._held:
            self._held.discard(name)
            self.run("SELECT pg_advisory_unlock(?)", (lock_key(self._scope, name),))

    def look(self) -> bool:
        """Say a word, so that the session is not idle; hear who committed; see which locks became free."""
        try:
            self.ready()
            freed = self._freed() if self.elsewhere else False
            if not freed:
                self.run("SELECT 1", ())
        except StorageError:  # not back yet; whoever writes meanwhile is told
            return False
        except psycopg.Error as error:
            log.warning("database_away", error=str(self.worded(error)))
            return False
        told, self._told = self._told, False
        return told or freed

    def _freed(self) -> bool:
        held = {_signed(row["high"], row["low"]) for row in self.run(_HELD, ()).fetchall()}
        free = {name for name in self.elsewhere if lock_key(self._scope, name) not in held}
        self.elsewhere -= free
        return bool(free)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._held.clear()
        if connection is not None:
            connection.close()


def _seconds() -> float:
    """A clock that nobody sets and that goes on while the machine sleeps, which ``time.monotonic`` need not do."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def _signed(high: int, low: int) -> int:
    key = (high << 32) | low
    return key - (1 << 64) if key >= 1 << 63 else key
