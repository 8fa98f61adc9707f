"""The store on PostgreSQL: one writer per process, any number of readers, any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Migration
from retainer.runtime.base import BaseStore
from retainer.runtime.postgres.migrate import prepare
from retainer.runtime.postgres.placement import PostgresPlacement
from retainer.runtime.postgres.reader import PostgresReader
from retainer.runtime.postgres.session import PostgresSession
from retainer.runtime.views import ViewPool
from retainer.runtime.writer import Unit, Writer

T = TypeVar("T")

IDLE_SECONDS: Final = 3.0
"""Seconds of silence after which the server takes a process for frozen and frees its lanes."""


class PostgresStore(BaseStore):
    """:class:`~retainer.core.protocols.Store` in one schema of one database."""

    def __init__(self, session: PostgresSession, writer: Writer, pool: ViewPool) -> None:
        super().__init__(writer, pool)
        self.name = session.name
        self._session = session
        self.placement = PostgresPlacement(session, self._ask_session, self._tell_session)

    @classmethod
    def open(
        cls,
        url: str,
        migrations: Sequence[Migration],
        *,
        owner: bool = True,
        tick: float = 0.25,
        idle_seconds: float = IDLE_SECONDS,
    ) -> PostgresStore:
        """Connect to ``url`` (``postgresql://...``) and, as ``owner``, bring the schema up to date.

        Commands beside a running service pass ``owner=False``: they neither create nor change the schema. ``tick`` is
        how often, in seconds, the session speaks to the server and hears of others' commits; ``idle_seconds`` is after
        how much silence the server ends it. Raises :class:`~retainer.runtime.store.StorageError` or one of its kin.
        """
        names = [m.name for m in migrations]
        if len(set(names)) != len(names):
            raise InvalidInputError("Two migrations share a name.", hint="Give each a unique one.")
        if idle_seconds < 4 * tick:
            raise InvalidInputError(
                f"A session that speaks every {tick} s must not be ended after {idle_seconds} s.",
                hint="Allow at least four times as long.",
            )
        session = PostgresSession(url, idle_seconds)
        try:
            prepare(session, migrations, owner=owner)
            pool = ViewPool(lambda: PostgresReader(url))
        except BaseException:
            session.close()
            raise
        return cls(session, Writer(session, tick=tick, on_tick=pool.sweep), pool)

    async def _ask_session(self, call: Callable[[], T]) -> T:
        return await self._ask(lambda _tx: call(), outside=True)

    def _tell_session(self, call: Callable[[], Any]) -> None:
        self._writer.submit(Unit(lambda _tx: call(), _ignore, outside=True))

    def checkpoint(self) -> None:
        """After an erase: write the texts' table anew, so that no erased byte stays in its files. Blocks.

        The server's own log and its backups are beyond reach from here; see ``docs/scaling.md``.
        """
        self._pool.sweep(0.0)
        self._submit(lambda _tx: self._rewrite(), outside=True)

    def _rewrite(self) -> None:
        for table in ("body",):
            row = self._session.run("SELECT to_regclass(?) IS NOT NULL AS there", (table,)).fetchone()
            if row is not None and row["there"]:
                self._session.run(f"VACUUM FULL {table}", ())


def _ignore(_result: Any, _error: BaseException | None) -> None:
    """A lock that could not be let go of is free all the same: its session is gone."""
