"""What the stores of all databases share: handing units of work to the writer, views, being told of changes."""

from __future__ import annotations

import asyncio
import concurrent.futures
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from retainer.core.protocols import Tx
from retainer.runtime.views import SnapshotView, ViewPool
from retainer.runtime.writer import Unit, Writer

T = TypeVar("T")
log = structlog.get_logger(__name__)


class BaseStore(ABC):
    """:class:`~retainer.core.protocols.Store` over a writer and a pool of readers."""

    def __init__(self, writer: Writer, pool: ViewPool) -> None:
        self._writer = writer
        self._pool = pool

    async def write(self, apply: Callable[[Tx], T]) -> T:
        """Run ``apply`` on the writer; durable when it returns. If it raises, only its own changes are undone.

        Cancelling the waiting task does not undo the unit.
        """
        return await self._ask(apply, outside=False)

    def write_now(self, apply: Callable[[Tx], T]) -> T:
        """:meth:`write` for code without an event loop (commands, library use). Blocks until durable."""
        return self._submit(apply, outside=False)

    def write_soon(self, apply: Callable[[Tx], Any]) -> None:
        """Queue ``apply`` without waiting; a failure is logged."""
        self._writer.submit(Unit(apply, _log_failure))

    async def _ask(self, apply: Callable[[Tx], T], *, outside: bool) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(result: T, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._writer.submit(Unit(apply, tell, loop, outside))
        return await future

    def _submit(self, apply: Callable[[Tx], T], *, outside: bool) -> T:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def tell(result: T, error: BaseException | None) -> None:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._writer.submit(Unit(apply, tell, outside=outside))
        return future.result()

    def view(self) -> SnapshotView:
        """A read-only snapshot, from its first query until it is closed, forgotten, or 10 seconds old."""
        return SnapshotView(self._pool)

    def on_change(self, call: Callable[[], None] | None) -> None:
        """Have ``call`` run (on the writer's thread, at most once a tick) after commits of any process."""
        self._writer.on_change = call

    @abstractmethod
    def checkpoint(self) -> None:
        """After an erase: leave no erased byte in the database's files. Blocks."""

    def close(self) -> None:
        """Finish what is queued and close. Later calls raise."""
        self._pool.sweep(0.0)
        self._writer.close()
        self._pool.close()


def _log_failure(_result: Any, error: BaseException | None) -> None:
    if error is not None:
        log.warning("write_soon_failed", error=type(error).__name__)
