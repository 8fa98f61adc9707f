"""The service's pulse: proof that event loop, writer and disk make progress, for the watchdog and for whoever asks.

A loop that turns proves little while the writer hangs in a dead disk. So a beat is a unit of work that went through the
writer and came back to the loop in time; only then is the watchdog fed and the heartbeat file touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from retainer.app.operations.notify import Notifier
from retainer.core.protocols import Store, Tx
from retainer.runtime.store import DamagedError, StorageError

_log = structlog.get_logger(__name__)

BEAT_S: Final = 5.0
"""Seconds between two beats, unless the watchdog wants them sooner."""
LAG_S: Final = 0.5
"""Seconds between two looks at how late the loop is."""
WRITE_S: Final = 60.0
"""Seconds between two beats that really write while all is well; the others only pass through the writer."""
STALE_S: Final = 30.0
"""Seconds without a beat after which another process takes the service for dead."""


class Pulse:
    """Measures, and tells. :meth:`run` is one task of the service's loop."""

    def __init__(
        self,
        store: Store,
        heartbeat: Path,
        *,
        notifier: Notifier,
        on_damage: Callable[[DamagedError], None],
        beat: float = BEAT_S,
    ) -> None:
        self._store = store
        self._heartbeat = heartbeat
        self._notifier = notifier
        self._on_damage = on_damage
        watched = notifier.watchdog_seconds
        self._beat = min(beat, watched / 3) if watched else beat
        self.lag = 0.0
        """How late the loop was, in seconds, at the worst of the last ten seconds."""
        self.write_seconds = 0.0
        """How long the last beat took to come back from the writer."""
        self.error: StorageError | None = None
        """Why the last beat failed; ``None`` when it went through."""
        self._last = time.monotonic()
        self._written = -WRITE_S
        self._lags: list[tuple[float, float]] = []

    @property
    def age(self) -> float:
        """Seconds since the last beat that went through."""
        return time.monotonic() - self._last

    @property
    def period(self) -> float:
        """Seconds between two beats."""
        return self._beat

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_loop(), name="pulse:loop")
            group.create_task(self._watch_writer(), name="pulse:writer")

    async def _watch_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wanted = loop.time() + LAG_S
            await asyncio.sleep(LAG_S)
            now = loop.time()
            self._lags = [(at, lag) for at, lag in self._lags if at > now - 10.0]
            self._lags.append((now, max(0.0, now - wanted)))
            self.lag = max(lag for _, lag in self._lags)

    async def _watch_writer(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(self._beat)

    def note(self, error: StorageError) -> None:
        """Somebody else's write failed: from now on every beat tries whether the storage can be written again."""
        if self.error is None:
            self._failed(error)

    async def once(self) -> bool:
        """One beat; ``True`` when it went through."""
        began = time.monotonic()
        real = self.error is not None or began - self._written >= WRITE_S
        try:
            await self._store.write(_touch if real else _pass)
        except DamagedError as error:
            self._failed(error)
            self._on_damage(error)
            return False
        except StorageError as error:
            self._failed(error)
            # The loop and the writer's thread turn; only the disk refuses. Killing us would not give it space.
            self._notifier.alive()
            return False
        if self.error is not None:
            _log.info("storage_recovered")
            self._notifier.status("working")
        self.error = None
        self._last = time.monotonic()
        self._written = began if real else self._written
        self.write_seconds = self._last - began
        self._notifier.alive()
        with contextlib.suppress(OSError):
            os.utime(self._heartbeat)
        return True

    def _failed(self, error: StorageError) -> None:
        if self.error is None or self.error.message != error.message:
            _log.error("storage_failed", reason=error.message, hint=error.hint)
            self._notifier.status(error.message)
        self.error = error


def _pass(_tx: Tx) -> None:
    """Through the writer's queue and its transaction, with nothing to write."""


def _touch(tx: Tx) -> None:
    """A write that really reaches the disk, or fails like any other would."""
    tx.execute("DELETE FROM meta WHERE key = 'pulse'")
    tx.execute("INSERT INTO meta (key, value) VALUES ('pulse', ?)", (str(time.time()),))
