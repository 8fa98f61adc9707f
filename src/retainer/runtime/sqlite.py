"""The store on SQLite: write-ahead log, fsync on every commit, one writer, any number of readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retainer.core.protocols import Migration
from retainer.runtime.base import BaseStore
from retainer.runtime.migrate import backup, connect, open_writer
from retainer.runtime.sqlite_session import SqliteReader, SqliteSession
from retainer.runtime.views import ViewPool
from retainer.runtime.writer import Writer


class SqliteStore(BaseStore):
    """:class:`~retainer.core.protocols.Store` in one file."""

    def __init__(self, path: Path, writer: Writer, pool: ViewPool) -> None:
        super().__init__(writer, pool)
        self.path = path

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
        pool = ViewPool(lambda: SqliteReader(lambda: connect(path, reader=True), str(path)))
        return cls(path, Writer(SqliteSession(connection, str(path)), tick=tick, on_tick=pool.sweep), pool)

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
