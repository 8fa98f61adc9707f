"""Lanes: one event at a time within a lane, lanes side by side."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from retainer.core.clock import to_epoch
from retainer.core.errors import NotFoundError
from retainer.core.events import Event
from retainer.core.protocols import Agent, Store, Tx
from retainer.runtime.carrier import Carrier
from retainer.runtime.context import TurnContext
from retainer.runtime.inbox import end_event, next_of_lane, retry_event
from retainer.runtime.journal import Journal, load_journal
from retainer.runtime.outbox import Outbox, failure_words
from retainer.runtime.settings import RuntimeSettings
from retainer.runtime.store import StorageError

log = structlog.get_logger(__name__)

CONTROL: Final = "control"
"""The lane that never waits for room."""
_DOZE: Final = 1.0
_LANES = "SELECT DISTINCT lane FROM event WHERE state = 'waiting'"


@dataclass(slots=True)
class _Lane:
    """A lane with work."""

    again: asyncio.Event
    task: asyncio.Task[None] | None = None
    context: TurnContext | None = None


class Lanes:
    """A task per lane with waiting events; it ends when none waits."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        carrier: Carrier,
        agents: Mapping[str, Agent],
        settings: RuntimeSettings,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._carrier = carrier
        self._agents = agents
        self._settings = settings
        self._changed = changed
        self._room = asyncio.Semaphore(settings.lanes)
        self._lanes: dict[str, _Lane] = {}
        self._stopping = False

    @property
    def active(self) -> tuple[str, ...]:
        """Lanes that are being handled now."""
        return tuple(sorted(name for name, lane in self._lanes.items() if lane.context is not None))

    def scan(self) -> None:
        """Wake every lane that has waiting events."""
        self.wake(row["lane"] for row in self._store.view().query(_LANES))

    def wake(self, lanes: Iterable[str]) -> None:
        """There may be events in ``lanes``."""
        if self._stopping:
            return
        for name in lanes:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = _Lane(asyncio.Event())
                lane.task = asyncio.create_task(self._work(name, lane), name=f"lane:{name}")
            lane.again.set()

    def interrupt(self, name: str) -> None:
        """Ask the handler running in the lane to finish early; nothing happens if none runs."""
        lane = self._lanes.get(name)
        if lane is not None and lane.context is not None:
            lane.context.interrupt()

    def halt(self) -> None:
        """Claim no more."""
        self._stopping = True
        for lane in self._lanes.values():
            lane.again.set()

    async def stop(self, grace: float) -> None:
        """Let running handlers finish for ``grace`` seconds, then cancel them (they re-enter later)."""
        self.halt()
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, name: str, lane: _Lane) -> None:
        try:
            while not self._stopping:
                lane.again.clear()
                wait = await self._turn(name, lane)
                self._changed()
                if wait < 0 and not lane.again.is_set():
                    return
                if wait > 0:
                    await _doze(lane.again, wait)
        finally:
            del self._lanes[name]
            self._changed()

    async def _turn(self, name: str, lane: _Lane) -> float:
        """Handle the next event. Returns seconds to wait before looking again, negative when the lane is empty."""
        try:
            if name == CONTROL:
                return await self._next(name, lane)
            async with self._room:
                return await self._next(name, lane)
        except StorageError as error:
            log.warning("lane_waits", lane=name, error=error.message)
            return _DOZE
        finally:
            lane.context = None

    async def _next(self, name: str, lane: _Lane) -> float:
        if self._stopping:
            return -1.0
        journal, wait = await self._store.write(lambda tx: self._claim(tx, name))
        while journal is not None:
            context = lane.context = TurnContext(self._store, self._outbox, self._carrier, journal)
            journal, wait = await self._handle(context, journal)
            self._changed()
        return wait

    def _claim(self, tx: Tx, lane: str) -> tuple[Journal | None, float]:
        """The next event with its records, or how long to wait for it (negative: none waits)."""
        row, wait = next_of_lane(tx, lane, to_epoch(self._outbox.clock.now()))
        return (None if row is None else load_journal(tx, row)), wait

    async def _handle(self, context: TurnContext, journal: Journal) -> tuple[Journal | None, float]:
        """Handle one event and close it; the closing transaction claims the next one too."""
        event = context.event
        try:
            agent = self._agents.get(event.agent)
            if agent is None:
                raise NotFoundError(f"There is no agent named {event.agent}.", hint="Check the configuration.")
            await agent.handle(context, event)
            if context.parked is None:
                return await self._carrier.write(lambda tx, now: self._close(tx, now, context))
        except StorageError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self._cancelled():
                raise
            if context.parked is None:
                log.warning("handler_failed", seq=event.seq, agent=event.agent, kind=type(error).__name__)
                await self._failed(journal, error)
                return None, 0.0
        reason = context.parked or ""
        log.warning("event_parked", seq=event.seq, agent=event.agent)
        await self._carrier.write(lambda tx, now: self._end(tx, event, "parked", reason, reason, now))
        return None, 0.0

    def _close(self, tx: Tx, now: datetime, context: TurnContext) -> tuple[Journal | None, float]:
        context.close(tx, now)
        if self._stopping or self._room.locked():  # others wait for room: go to the end of the queue
            return None, 0.0
        return self._claim(tx, context.event.lane)

    def _cancelled(self) -> bool:
        """Whether it is this lane that is being cancelled, not something its handler waited for."""
        task = asyncio.current_task()
        return self._stopping or (task is not None and task.cancelling() > 0)

    async def _failed(self, journal: Journal, error: BaseException) -> None:
        """Try again after a pause, or give the event up and say so."""
        event, words = journal.event, failure_words(error)
        detail = "".join(traceback.format_exception(error, limit=-8))[-8000:]

        def unit(tx: Tx, now: datetime) -> None:
            if journal.failures + 1 < self._settings.tries:
                pause = self._settings.retry_seconds * 2**journal.failures
                retry_event(tx, event.seq, to_epoch(now) + pause, detail)
            else:
                self._end(tx, event, "dead", detail, words, now)

        await self._carrier.write(unit)

    def _end(self, tx: Tx, event: Event, state: str, detail: str, words: str, now: datetime) -> None:
        end_event(tx, event.seq, state, to_epoch(now), detail)
        self._outbox.guard.record(tx, event.lane, f"event.{state}", event.name, {"reason": words}, now)
        told = "I could not handle that" if state == "dead" else "I stopped before doing anything twice"
        text = f"{told}: {words.rstrip('. ')}; `explain {event.seq}` has the details."
        self._outbox.notice(tx, event, state, text, now)
        self._outbox.release(tx, event, text, now)


async def _doze(again: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(min(seconds, _DOZE)):
            await again.wait()
    except TimeoutError:
        return
