"""The single writer: one thread, one connection, units of work in savepoints, many units per commit."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from retainer.core.protocols import Tx
from retainer.runtime.session import Session
from retainer.runtime.store import StorageError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Unit:
    """Queued work. ``tell`` gets result or error; on ``loop``'s thread if there is one, else on the writer's."""

    apply: Callable[[Tx], Any]
    tell: Callable[[Any, BaseException | None], None]
    loop: asyncio.AbstractEventLoop | None = None
    outside: bool = False
    """Runs alone and outside any transaction (checkpoint)."""


class Writer:
    """Owns the writing session. ``on_change()`` is called on its thread, at most once a ``tick``, after commits of
    this or of another process; ``on_tick`` at every tick."""

    def __init__(self, session: Session, *, tick: float, on_tick: Callable[[], None]) -> None:
        self._session = session
        self._tick = tick
        self._on_tick = on_tick
        self.on_change: Callable[[], None] | None = None
        self._queue: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._committed = False
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
        """Finish what is queued and close the session."""
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
        self._session.close()

    def _gather(self) -> tuple[list[Unit], bool]:
        """Wait for work up to a tick, then take what else is there. ``False``: the end was reached."""
        group: list[Unit] = []
        try:
            unit = self._queue.get(timeout=self._tick)
            while unit is not None:
                group.append(unit)
                if len(group) >= self._session.group:
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
        tx = self._session.tx()
        try:
            self._session.ready()
            answer: tuple[Unit, Any, BaseException | None] = (unit, unit.apply(tx), None)
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            answer = (unit, None, self._session.worded(error))
        finally:
            tx.finish()
        _tell([answer])

    def _commit(self, units: list[Unit]) -> None:
        """One transaction for all; a unit that raises is undone alone, a failing commit fails them all."""
        while units:
            answers, units = self._transaction(units)
            _tell(answers)

    def _transaction(self, units: list[Unit]) -> tuple[list[tuple[Unit, Any, BaseException | None]], list[Unit]]:
        """Returns the answers, and the units still to do when the database gave the transaction up half way."""
        session = self._session
        done: list[tuple[Unit, Any, BaseException | None]] = []
        try:
            session.begin(len(units))
            alone = len(units) == 1
            for index, unit in enumerate(units):
                result, error = self._savepoint(unit, alone=alone)
                done.append((unit, result, error))
                if not session.in_transaction:
                    lost = error or StorageError("The database gave the transaction up.")
                    return [(u, None, e or lost) for u, _, e in done], units[index + 1 :]
                if error is not None and alone:
                    session.rollback()
                    return done, []
            session.commit()
        except Exception as error:  # noqa: BLE001 - whatever it was: nothing of this transaction was kept
            session.rollback()
            failure = session.worded(error)
            told = {id(u) for u, _, e in done if e}
            return [*(a for a in done if a[2]), *((u, None, failure) for u in units if id(u) not in told)], []
        self._committed = True
        return done, []

    def _savepoint(self, unit: Unit, *, alone: bool) -> tuple[Any, BaseException | None]:
        """Run ``unit`` so that it can be undone by itself; one that is ``alone`` is undone with its transaction."""
        session = self._session
        if not alone:
            session.mark()
        tx = session.tx()
        try:
            result = unit.apply(tx)
            if not alone:
                session.keep()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked, not to this thread
            if session.in_transaction and not alone:
                session.undo()
            return None, session.worded(error)
        finally:
            tx.finish()
        return result, None

    def _maybe_tick(self) -> None:
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + self._tick
        self._on_tick()
        changed = self._session.look() or self._committed
        self._committed = False
        if changed and self.on_change is not None:
            self.on_change()


def _tell(answers: list[tuple[Unit, Any, BaseException | None]]) -> None:
    """Answer every unit, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Unit, Any, BaseException | None]]] = {}
    for answer in answers:
        unit, result, error = answer
        if unit.loop is None:
            unit.tell(result, error)
        else:
            by_loop.setdefault(unit.loop, []).append(answer)
    for loop, batch in by_loop.items():
        try:
            loop.call_soon_threadsafe(_tell_here, batch)
        except RuntimeError:  # the loop was closed meanwhile: nobody waits there any more
            log.debug("loop_closed", units=len(batch))


def _tell_here(batch: list[tuple[Unit, Any, BaseException | None]]) -> None:
    for unit, result, error in batch:
        unit.tell(result, error)
