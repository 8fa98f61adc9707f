"""The runtime: receives events, has agents handle them lane by lane, carries out what the guard lets pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog

from retainer.core.clock import Clock, to_epoch
from retainer.core.errors import InvalidInputError
from retainer.core.events import NewEvent, Receipt
from retainer.core.protocols import Adapter, Agent, Guard, Store, TransactionalAdapter, Tx
from retainer.runtime.auditing import Woken
from retainer.runtime.carrier import Carrier
from retainer.runtime.deliver import Deliverer
from retainer.runtime.explain import Depth, depth
from retainer.runtime.inbox import insert_event
from retainer.runtime.lanes import Claimed, Lanes
from retainer.runtime.outbox import Outbox
from retainer.runtime.placement import placement_of
from retainer.runtime.settings import RuntimeSettings
from retainer.runtime.store import StorageError
from retainer.runtime.timers import TimerLoop

log = structlog.get_logger(__name__)

_IDLE_LOOK = 0.25
_BUSY = (
    "SELECT 1 AS busy WHERE EXISTS (SELECT 1 FROM event WHERE state = 'waiting') OR EXISTS"
    " (SELECT 1 FROM effect WHERE state IN ('ready', 'sending') AND held <> 2 AND NOT (effect_class = 'communicate'"
    " AND queue IN (SELECT queue FROM effect WHERE state IN ('ready', 'sending') AND not_before > ?)))"
)
_BUSY_LANE = _BUSY.replace("state = 'waiting'", "state = 'waiting' AND lane = ?").replace(
    "AND held <> 2", "AND held <> 2 AND lane = ?"
)


class Runtime:
    """:class:`~retainer.core.protocols.RuntimeHandle` over one store. The caller opens and closes the store.

    Adding agents and adapters is allowed while it runs (an adapter for a phone that was just paired).
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        guard: Guard,
        *,
        settings: RuntimeSettings | None = None,
        approver: str = "chat",
    ) -> None:
        """``approver``: the agent that handles approval expiries."""
        self.store = store
        self.clock = clock
        self._settings = settings or RuntimeSettings()
        self._agents: dict[str, Agent] = {}
        self._adapters: dict[str, Any] = {}
        self._outbox = Outbox(guard, clock, self._adapters, approver)
        self._carrier = Carrier(store, self._outbox, self._settings, self._woken)
        self._delivers: Callable[[str], bool] | None = None
        self._lanes: Lanes | None = None
        self._deliverer: Deliverer | None = None
        self._timers: TimerLoop | None = None
        self._timer_task: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._placement = placement_of(store)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changes = asyncio.Event()

    # --- composition -------------------------------------------------------------------------------------------------
    def add_agent(self, agent: Agent) -> None:
        """Have ``agent`` handle the events that name it. Raises when the name is taken."""
        if agent.name in self._agents:
            raise InvalidInputError(f"Two agents are named {agent.name}.", hint="Give each its own name.")
        self._agents[agent.name] = agent

    def add_adapter(self, tool: str, adapter: Adapter | TransactionalAdapter) -> None:
        """Have ``adapter`` carry out the effects of ``tool`` (exact name). Replaces an earlier one."""
        self._adapters[tool] = adapter

    def serve_queues(self, delivers: Callable[[str], bool]) -> None:
        """Deliver only those queues of which ``delivers`` says so; another process on this database must do the rest.

        To be called before :meth:`start`.
        """
        self._delivers = delivers

    def on_trouble(self, call: Callable[[StorageError], None]) -> None:
        """Have ``call`` run, on the loop, whenever work has to wait because the storage failed."""
        self._carrier.trouble = call

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The agents, in the order they were added."""
        return tuple(self._agents.values())

    # --- life --------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Resume what was left unfinished and begin to handle events. Raises if it runs already."""
        if self._loop is not None:
            raise InvalidInputError("This runtime runs already.")
        self._loop = asyncio.get_running_loop()
        self._placement.on_lost(self._from_session)
        self._begin()
        watch = getattr(self.store, "on_change", None)
        if watch is not None:
            watch(self._from_writer)
        await self._carrier.write(lambda _tx, _now: None)
        self._look()

    def _begin(self) -> None:
        self._deliverer = Deliverer(
            self.store,
            self._carrier,
            self.clock,
            at_once=self._settings.deliveries,
            changed=self._changed,
            delivers=self._delivers,
        )
        self._lanes = Lanes(
            self.store, self._outbox, self._carrier, self._agents, self._deliverer, self._settings, self._changed
        )
        self._timers = TimerLoop(self.store, self.clock, self._outbox.settle, self._woken, self._trouble)
        self._timer_task = asyncio.create_task(self._timers.run(), name="timers")

    async def stop(self, grace: float = 10.0) -> None:
        """Claim no more, let running handlers and deliveries finish for up to ``grace`` seconds, cancel the rest.

        What is cancelled re-enters at the next start. The store stays open.
        """
        loop, self._loop = self._loop, None
        if loop is None:
            return
        watch = getattr(self.store, "on_change", None)
        if watch is not None:
            watch(None)
        self._placement.on_lost(None)
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
            self._recovery = None
        await self._halt(grace)

    async def _halt(self, grace: float) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + grace
        if self._lanes is not None:
            self._lanes.halt()
        if self._timer_task is not None:
            self._timer_task.cancel()
            await asyncio.gather(self._timer_task, return_exceptions=True)
        if self._lanes is not None:
            await self._lanes.stop(max(0.0, ends - loop.time()))
        if self._deliverer is not None:
            await self._deliverer.stop(max(0.0, ends - loop.time()))
        self._lanes = self._deliverer = self._timers = self._timer_task = None

    def _from_session(self) -> None:
        """On any thread: the locks of this process were lost, and with them its lanes."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._lost)
            except RuntimeError:
                log.debug("loop_closed")

    def _lost(self) -> None:
        if self._loop is not None and (self._recovery is None or self._recovery.done()):
            self._recovery = asyncio.create_task(self._recover(), name="recovery")

    async def _recover(self) -> None:
        """End what ran under the lost locks, without a moment's grace: others may be handling the same events by now.

        Only then may this process write again, and take what is free.
        """
        log.warning("place_lost", lanes=len(self._lanes.active) if self._lanes else 0)
        await self._halt(0.0)
        self._placement.resume()
        self._begin()
        self._look()

    # --- RuntimeHandle -----------------------------------------------------------------------------------------------
    async def receive(self, *events: NewEvent, also: Callable[[Tx], None] | None = None) -> list[Receipt]:
        """Store events; durable when it returns. ``also`` runs in the same transaction if one of them was new."""
        lanes = self._lanes
        idle = events[0].lane if len(events) == 1 and lanes is not None and lanes.reserve(events[0].lane) else None

        def unit(tx: Tx, now: datetime) -> tuple[list[Receipt], Claimed | None]:
            receipts = [insert_event(tx, event, now) for event in events]
            new = any(receipt.new for receipt in receipts)
            if also is not None and new:
                also(tx)
            return receipts, lanes.claim(tx, idle) if lanes is not None and idle is not None and new else None

        claimed: Claimed | None = None
        try:
            receipts, claimed = await self._carrier.write(unit)
        finally:
            if lanes is not None and idle is not None:
                lanes.begin(idle, claimed)
        return receipts

    def interrupt(self, lane: str) -> None:
        """Ask the handler running in ``lane`` to finish early."""
        if self._lanes is not None:
            self._lanes.interrupt(lane)

    async def idle(self, lane: str | None = None) -> None:
        """Wait until no event waits and no effect is ready or sending (in ``lane``, or anywhere).

        Messages that cannot be delivered at present (a channel is down, they back off) do not count.
        """
        while self._busy(lane):
            self._changes.clear()
            try:
                async with asyncio.timeout(_IDLE_LOOK):
                    await self._changes.wait()
            except TimeoutError:
                continue

    def _busy(self, lane: str | None) -> bool:
        if self._lanes is not None and self._lanes.handles(lane):
            return True
        if lane is None and self._deliverer is not None and self._deliverer.carrying:
            return True
        now = to_epoch(self.clock.now())
        row = self.store.view().one(
            _BUSY if lane is None else _BUSY_LANE, (now,) if lane is None else (lane, lane, now)
        )
        return row is not None

    def depth(self) -> Depth:
        """The figures for ``status``, with the lanes that are being handled now."""
        return depth(self.store.view(), self._lanes.active if self._lanes else ())

    def wake(self) -> None:
        """Look at once whether something is due (a clock was moved, rows were written past the runtime)."""
        self._look()

    # --- wake-ups ----------------------------------------------------------------------------------------------------
    def _woken(self, woken: Woken) -> None:
        if self._lanes is not None and woken.lanes:
            self._lanes.wake(woken.lanes)
        if self._deliverer is not None and woken.queues:
            self._deliverer.wake(woken.queues)
        if self._timers is not None:
            self._timers.wake()

    def _trouble(self, error: StorageError) -> None:
        self._carrier.trouble(error)

    def _changed(self) -> None:
        self._changes.set()

    def _from_writer(self) -> None:
        """On the writer's thread: somebody committed (this process or another one)."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._look)
            except RuntimeError:
                log.debug("loop_closed")

    def _look(self) -> None:
        if self._lanes is None or self._deliverer is None or self._timers is None:
            return
        try:
            self._lanes.scan()
            self._deliverer.scan()
        except StorageError as error:
            log.warning("look_failed", error=error.message)
            self._carrier.trouble(error)
        self._timers.wake()
        self._changed()
