"""The store on SQLite: write-ahead log, fsync on every commit, one writer, any number of readers."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from retainer.core.protocols import Migration, Tx
from retainer.runtime.migrate import backup, connect, open_writer
from retainer.runtime.views import SqliteView, ViewPool
from retainer.runtime.writer import Unit, Writer

T = TypeVar("T")
log = structlog.get_logger(__name__)


class SqliteStore:
    """:class:`~retainer.core.protocols.Store` in one file."""

    def __init__(self, path: Path, writer: Writer, pool: ViewPool) -> None:
        self.path = path
        self._writer = writer
        self._pool = pool

    @classmethod
    def open(
        cls, path: Path | str, migrations: Sequence[Migration], *, owner: bool = True, tick: float = 0.25
    ) -> SqliteStore:
        """Open, check and (as ``owner``) migrate the database at ``path``.

        Commands beside a running service pass ``owner=False``: they neither create nor change the schema. ``tick``
        is how often, in seconds, commits of other processes are looked for. Raises
        :class:`~retainer.runtime.store.StorageError` or one of its kin, with the next step in its hint.
        """
        path = Path(path).absolute()
        connection = open_writer(path, migrations, owner=owner)
        pool = ViewPool(lambda: connect(path, reader=True), str(path))
        return cls(path, Writer(connection, str(path), tick=tick, on_tick=pool.sweep), pool)

    async def write(self, apply: Callable[[Tx], T]) -> T:
        """Run ``apply`` on the writer; durable when it returns. If it raises, only its own changes are undone.

        Cancelling the waiting task does not undo the unit.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(result: T, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._writer.submit(Unit(apply, tell, loop))
        return await future

    def write_now(self, apply: Callable[[Tx], T]) -> T:
        """:meth:`write` for code without an event loop (commands, library use). Blocks until durable."""
        return self._submit(apply, outside=False)

    def write_soon(self, apply: Callable[[Tx], Any]) -> None:
        """Queue ``apply`` without waiting; a failure is logged."""

        def tell(_result: Any, error: BaseException | None) -> None:
            if error is not None:
                log.warning("write_soon_failed", error=type(error).__name__)

        self._writer.submit(Unit(apply, tell))

    def _submit(self, apply: Callable[[Tx], T], *, outside: bool) -> T:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def tell(result: T, error: BaseException | None) -> None:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._writer.submit(Unit(apply, tell, outside=outside))
        return future.result()

    def view(self) -> SqliteView:
        """A read-only snapshot, from its first query until it is closed, forgotten, or 10 seconds old."""
        return SqliteView(self._pool)

    def checkpoint(self) -> None:
        """Move the log into the file and empty it: after an erase, no byte of it stays behind. Blocks."""
        self._pool.sweep(0.0)
        self._submit(lambda tx: tx.query("PRAGMA wal_checkpoint(TRUNCATE)"), outside=True)

    def backup(self, why: str) -> Path:
        """A compact copy in ``backups/`` beside the file; returns its path. Blocks."""
        connection = connect(self.path)
        try:
            return backup(connection, self.path, why)
        finally:
            connection.close()

    def on_change(self, call: Callable[[], None] | None) -> None:
        """Have ``call`` run (on the writer's thread, at most once a tick) after commits of any process."""
        self._writer.on_change = call

    def close(self) -> None:
        """Finish what is queued, checkpoint and close. Later calls raise."""
        self._pool.sweep(0.0)
        self._writer.close()
        self._pool.close()
