"""Lanes: one event at a time within a lane, lanes side by side.

A lane has two tracks. An event whose handler steps aside, because it needs something slow such as a model, goes on in
the second one, again one at a time and in order; the first track goes on with what comes after it.
"""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

import structlog

from retainer.core.clock import to_epoch
from retainer.core.errors import NotFoundError
from retainer.core.events import Event
from retainer.core.protocols import Agent, Store, Tx
from retainer.core.values import digest
from retainer.runtime.carrier import Carrier, Started
from retainer.runtime.context import TurnContext
from retainer.runtime.deliver import Deliverer
from retainer.runtime.inbox import end_event, leave_unfinished, next_of_lane, retry_event, set_running, step_aside
from retainer.runtime.journal import Journal, load_journal
from retainer.runtime.outbox import Outbox, failure_words
from retainer.runtime.placement import ALONE, placement_of
from retainer.runtime.settings import RuntimeSettings
from retainer.runtime.store import StorageError
from retainer.runtime.trace import tracing

log = structlog.get_logger(__name__)

CONTROL: Final = "control"
"""The lane that never waits for room."""
_DOZE: Final = 1.0
_LANES = "SELECT DISTINCT lane, aside FROM event WHERE state = 'waiting'"
_Track: TypeAlias = tuple[str, bool]
"""A lane's name, and whether those that stepped aside are meant."""
Claimed: TypeAlias = tuple[Journal | None, float]
"""The next event with its records, or how many seconds to wait for it (negative: none waits)."""


@dataclass(slots=True)
class _Lane:
    """A track of a lane with work."""

    again: asyncio.Event
    task: asyncio.Task[None] | None = None
    context: TurnContext | None = None
    claimed: Claimed | None = None
    """What the transaction that stored the event claimed at once."""


class Lanes:
    """A task per lane with waiting events; it ends when none waits."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        carrier: Carrier,
        agents: Mapping[str, Agent],
        deliverer: Deliverer,
        settings: RuntimeSettings,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._placement = placement_of(store)
        self._outbox = outbox
        self._carrier = carrier
        self._deliverer = deliverer
        self._agents = agents
        self._settings = settings
        self._changed = changed
        self._room = asyncio.Semaphore(settings.lanes)
        self._lanes: dict[_Track, _Lane] = {}
        self._run = secrets.token_hex(8)
        self._suspects = {False: asyncio.Lock(), True: asyncio.Lock()}
        """By track: what stepped aside may take minutes, and nobody else is to wait for it."""
        self._stopping = False

    @property
    def active(self) -> tuple[str, ...]:
        """Lanes that are being handled now."""
        return tuple(sorted({name for (name, _), lane in self._lanes.items() if lane.context is not None}))

    def handles(self, name: str | None) -> bool:
        """Whether an event is being handled now, in that lane or in any."""
        return any(lane.context is not None for (each, _), lane in self._lanes.items() if name is None or each == name)

    def scan(self) -> None:
        """Wake every lane that has waiting events."""
        self._wake((row["lane"], bool(row["aside"])) for row in self._store.view().query(_LANES))

    def wake(self, lanes: Iterable[str]) -> None:
        """There may be new events in ``lanes``."""
        self._wake((name, False) for name in lanes)

    def _wake(self, tracks: Iterable[_Track]) -> None:
        if self._stopping:
            return
        for track in tracks:
            lane = self._lanes.get(track)
            if lane is None:
                if self._placement.elsewhere(f"lane:{track[0]}"):
                    continue
                lane = self._lanes[track] = _Lane(asyncio.Event())
                lane.task = asyncio.create_task(self._work(track, lane), name=f"lane:{track[0]}")
            lane.again.set()

    # --- stored and claimed in one transaction -----------------------------------------------------------------------
    def reserve(self, name: str) -> bool:
        """Keep an idle lane for an event that is about to be stored; undone by :meth:`begin`."""
        track = (name, False)
        full = name != CONTROL and self._room.locked()
        if self._stopping or full or track in self._lanes or self._placement is not ALONE:
            return False
        self._lanes[track] = _Lane(asyncio.Event())
        return True

    def claim(self, tx: Tx, name: str) -> Claimed:
        """In the transaction that stores the event: claim what comes next in the reserved lane."""
        return self._claim(tx, (name, False))

    def begin(self, name: str, claimed: Claimed | None) -> None:
        """Handle what was claimed; ``None``: nothing was, the lane is let go."""
        track = (name, False)
        lane = self._lanes[track]
        if claimed is not None and not self._stopping:
            lane.claimed = claimed
            lane.task = asyncio.create_task(self._work(track, lane), name=f"lane:{name}")
            return
        del self._lanes[track]
        if lane.again.is_set():
            self._wake([track])

    def interrupt(self, name: str) -> None:
        """Ask the handlers running in the lane to finish early; nothing happens if none runs."""
        for aside in (False, True):
            lane = self._lanes.get((name, aside))
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
        try:
            await self._store.write(lambda tx: leave_unfinished(tx, self._run))
        except StorageError as error:
            log.warning("lanes_left", error=error.message)

    async def _work(self, track: _Track, lane: _Lane) -> None:
        try:
            while not self._stopping:
                lane.again.clear()
                wait = await self._turn(track, lane)
                self._changed()
                if wait < 0 and not lane.again.is_set():
                    return
                if wait > 0:
                    await _doze(lane.again, wait)
        finally:
            del self._lanes[track]
            self._changed()

    async def _turn(self, track: _Track, lane: _Lane) -> float:
        """Handle the next event. Returns seconds to wait before looking again, negative when the lane is empty."""
        try:
            if track[0] == CONTROL:
                return await self._here(track, lane)
            async with self._room:
                return await self._here(track, lane)
        except StorageError as error:
            log.warning("lane_waits", lane=track[0], error=error.message)
            self._carrier.trouble(error)
            return _DOZE
        finally:
            lane.context = None

    async def _here(self, track: _Track, lane: _Lane) -> float:
        """The same, unless another process handles this lane."""
        place = f"lane:{track[0]}"
        if not await self._placement.take(place):
            return -1.0
        try:
            return await self._next(track, lane)
        finally:
            self._placement.leave(place)

    async def _next(self, track: _Track, lane: _Lane) -> float:
        if self._stopping:
            return -1.0
        claimed, lane.claimed = lane.claimed, None
        if claimed is None:
            claimed = await self._store.write(lambda tx: self._claim(tx, track))
        journal, wait = claimed
        while journal is not None:
            context = lane.context = TurnContext(self._store, self._outbox, self._carrier, journal, aside=track[1])
            with tracing(self._store, journal.event.seq, cause=journal.event.cause):
                if journal.deaths:
                    journal, wait = await self._handle_alone(context, journal)
                else:
                    journal, wait = await self._handle(context, journal)
                _tell(context.event)
            self._changed()
        return wait

    def _claim(self, tx: Tx, track: _Track) -> Claimed:
        while True:
            now = self._outbox.clock.now()
            row, wait = next_of_lane(tx, track[0], to_epoch(now), aside=track[1], run=self._run)
            journal = None if row is None else load_journal(tx, row)
            if journal is None or not journal.deaths:
                return journal, wait
            if journal.deaths < self._settings.crashes:
                set_running(tx, journal.event.seq, "")
                return journal, wait
            words = f"this program ended {journal.deaths} times in the middle of it"
            log.error("event_parked", seq=journal.event.seq, agent=journal.event.agent, deaths=journal.deaths)
            self._end(tx, journal.event, "parked", words, words, now)

    async def _handle_alone(self, context: TurnContext, journal: Journal) -> Claimed:
        """The service ended in the middle of this event: one such event at a time, so that only the one at fault is
        there when it happens again."""
        async with self._suspects[context.aside]:
            await self._store.write(lambda tx: set_running(tx, context.event.seq, self._run))
            log.info("event_reentered", agent=context.event.agent, deaths=journal.deaths)
            return await self._handle(context, journal)

    async def _handle(self, context: TurnContext, journal: Journal) -> Claimed:
        """Handle one event and close it; the closing transaction claims the next one too."""
        event = context.event
        try:
            agent = self._agents.get(event.agent)
            if agent is None:
                raise NotFoundError(f"There is no agent named {event.agent}.", hint="Check the configuration.")
            await agent.handle(context, event)
            if context.parked is None and context.leaves:
                following = await self._carrier.write(lambda tx, _now: self._leave(tx, event))
                self._wake([(event.lane, True)])
                return following
            if context.parked is None:
                return await self._finish(context)
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

    async def _finish(self, context: TurnContext) -> Claimed:
        """Close the event; where that may be, its reply is begun in the same transaction and carried out after it."""
        queue = context.event.reply_to
        if queue is None or not self._deliverer.reserve(queue):
            return (await self._carrier.write(lambda tx, now: self._close(tx, now, context)))[0]
        begun: Started | None = None
        try:
            following, begun = await self._carrier.write(lambda tx, now: self._close(tx, now, context, queue))
        finally:
            self._deliverer.begin(queue, begun)
        return following

    def _close(
        self, tx: Tx, now: datetime, context: TurnContext, queue: str | None = None
    ) -> tuple[Claimed, Started | None]:
        placed = context.close(tx, now)
        begun = None if queue is None else self._carrier.begin_reply(tx, queue, placed, now)
        return self._following(tx, (context.event.lane, context.aside)), begun

    def _leave(self, tx: Tx, event: Event) -> Claimed:
        step_aside(tx, event.seq)
        return self._following(tx, (event.lane, False))

    def _following(self, tx: Tx, track: _Track) -> Claimed:
        if self._stopping or self._room.locked():  # others wait for room: go to the end of the queue
            return None, 0.0
        return self._claim(tx, track)

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
        self._outbox.guard.record(tx, event.lane, f"event.{state}", event.name, {"reason": digest(words)}, now)
        told = "I could not handle that" if state == "dead" else "I stopped before doing anything twice"
        text = f"{told}: {words.rstrip('. ')}; `explain {event.seq}` has the details."
        self._outbox.notice(tx, event, state, text, now)
        self._outbox.release(tx, event, text, now)


def _tell(event: Event) -> None:
    """A line for what people sent and for what was taken up again; bars and timers would drown them."""
    level = log.info if event.sender or event.attempts > 1 else log.debug
    level(
        "event_handled", agent=event.agent, kind=event.kind, lane=event.lane.partition(":")[0], attempts=event.attempts
    )


async def _doze(again: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(min(seconds, _DOZE)):
            await again.wait()
    except TimeoutError:
        return
