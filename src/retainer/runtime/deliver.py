"""Delivery of *ready* effects: one after another within a queue, queues side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from retainer.core.clock import Clock, to_epoch
from retainer.core.errors import RetainerError
from retainer.core.protocols import Row, Store
from retainer.runtime.carrier import Carrier, Started
from retainer.runtime.placement import ALONE, placement_of
from retainer.runtime.store import StorageError
from retainer.runtime.trace import cause_number, tracing

log = structlog.get_logger(__name__)

_DOZE: Final = 1.0
"""Longest sleep, in seconds, of a queue that is backing off: the clock may be set."""
_QUEUES = "SELECT DISTINCT queue FROM effect WHERE state IN ('ready', 'sending') AND held = 0"
_HEAD = (
    "SELECT key, not_before, updated_at FROM effect WHERE state IN ('ready', 'sending') AND queue = ? AND held = 0"
    " ORDER BY id LIMIT 1"
)


class Deliverer:
    """A worker task per queue with work; it ends when the queue is empty."""

    def __init__(
        self,
        store: Store,
        carrier: Carrier,
        clock: Clock,
        *,
        at_once: int,
        changed: Callable[[], None],
        delivers: Callable[[str], bool] | None = None,
    ) -> None:
        self._store = store
        self._placement = placement_of(store)
        self._carrier = carrier
        self._clock = clock
        self._room = asyncio.Semaphore(at_once)
        self._changed = changed
        self._delivers = delivers
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._again: dict[str, asyncio.Event] = {}
        self._carrying = 0
        self._stopping = False

    @property
    def carrying(self) -> bool:
        """Whether an effect is being carried out now."""
        return self._carrying > 0

    def scan(self) -> None:
        """Wake every queue that has work."""
        self.wake(row["queue"] for row in self._store.view().query(_QUEUES))

    def wake(self, queues: Iterable[str]) -> None:
        """There may be work in ``queues``."""
        if self._stopping:
            return
        for queue in queues:
            if queue in self._again:
                self._again[queue].set()
            elif self._may(queue):
                self._again[queue] = asyncio.Event()
                self._start(queue, None)

    def reserve(self, queue: str) -> bool:
        """Keep an idle queue for an effect that is about to be begun; undone by :meth:`begin`."""
        busy = self._stopping or queue in self._again or self._room.locked()
        if busy or self._placement is not ALONE or not self._may(queue):
            return False
        self._again[queue] = asyncio.Event()
        return True

    def begin(self, queue: str, begun: Started | None) -> None:
        """Carry out what was begun in a reserved queue; ``None``: nothing was, the queue is let go."""
        if begun is not None:
            self._start(queue, begun)
        elif self._again.pop(queue).is_set():
            self.wake([queue])

    def _start(self, queue: str, begun: Started | None) -> None:
        self._workers[queue] = asyncio.create_task(self._work(queue, begun), name=f"deliver:{queue}")

    def _may(self, queue: str) -> bool:
        served = self._delivers is None or self._delivers(queue)
        return served and not self._placement.elsewhere(f"queue:{queue}")

    async def stop(self, grace: float) -> None:
        """Finish what is being sent, for up to ``grace`` seconds; the rest is resolved at the next start."""
        self._stopping = True
        for again in self._again.values():
            again.set()
        tasks = list(self._workers.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, queue: str, begun: Started | None) -> None:
        again = self._again[queue]
        try:
            if begun is not None:
                await self._deliver(queue, begun.effect.key, begun)
                if not again.is_set():
                    return
            while not self._stopping:
                again.clear()
                head = self._head(queue)
                if head is None:
                    return
                now = to_epoch(self._clock.now())
                wait = head["not_before"] - now
                if wait > 0 and head["updated_at"] <= now:  # else the clock was set back: it waits no longer
                    await _doze(again, wait)
                    continue
                if not await self._deliver(queue, head["key"]):
                    return
        finally:
            del self._workers[queue], self._again[queue]
            if again.is_set() and not self._stopping:
                self.wake([queue])
            self._changed()

    def _head(self, queue: str) -> Row | None:
        try:
            return self._store.view().one(_HEAD, (queue,))
        except StorageError as error:
            log.warning("delivery_waits", error=error.message)
            self._carrier.trouble(error)
            now = to_epoch(self._clock.now())
            return {"key": "", "not_before": now + _DOZE, "updated_at": now}

    async def _deliver(self, queue: str, key: str, begun: Started | None = None) -> bool:
        """One attempt (the rest of one that was ``begun``); ``False`` if another process delivers this queue."""
        self._carrying += 1
        try:
            async with self._room:
                if not await self._placement.take(f"queue:{queue}"):
                    return False
                try:
                    async with self._carrier.lock(queue):
                        with tracing(self._store, cause_number(key), key=key):
                            await (self._carrier.attempt(key) if begun is None else self._carrier.go_on(begun))
                finally:
                    self._placement.leave(f"queue:{queue}")
        except RetainerError as error:
            log.warning("delivery_failed", key=key, error=error.message)
            if isinstance(error, StorageError):
                self._carrier.trouble(error)
            await asyncio.sleep(_DOZE)
        except Exception:  # a guard or adapter bug: the other queues go on, this one tries again
            log.exception("delivery_failed", key=key)
            await asyncio.sleep(_DOZE)
        finally:
            self._carrying -= 1
        self._changed()
        return True


async def _doze(again: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(min(seconds, _DOZE)):
            await again.wait()
    except TimeoutError:
        return
