"""Everything of operations that runs inside the service: pulse, nightly backups, monitoring pages, service manager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations.backups import backup_folder
from retainer.app.operations.nightly import BackupState, Nightly
from retainer.app.operations.notify import Notifier
from retainer.app.operations.pages import TEXT, Page, Pages, json_page
from retainer.app.operations.pulse import Pulse
from retainer.core.clock import Clock
from retainer.core.protocols import Migration, Store
from retainer.runtime.safe_mode import read_safe_mode
from retainer.runtime.store import DamagedError, StorageError

_log = structlog.get_logger(__name__)


class Watch:
    """Started last and stopped first; what it does must never keep the service from its work."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        schema: Sequence[Migration],
        *,
        clock: Clock,
        model_phase: Callable[[], str],
        bridges: Callable[[], Mapping[str, Mapping[str, Any]]],
        feeds: Callable[[], Mapping[str, Mapping[str, Any]]],
        on_damage: Callable[[DamagedError], None],
        notifier: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._model_phase = model_phase
        self._bridges = bridges
        self._feeds = feeds
        self.notifier = notifier or Notifier()
        self.nightly = Nightly(settings, schema, clock)
        heartbeat = DataFolder(settings.data).service_file
        self.pulse = Pulse(store, heartbeat, notifier=self.notifier, on_damage=on_damage)
        self._pages: Pages | None = None
        self.port = 0
        """Where the pages are, 0 when there are none."""
        self._tasks: list[asyncio.Task[None]] = []
        self._backups: tuple[int, BackupState] | None = None

    async def open(self) -> None:
        """Open the pages if a port is set. Raises :class:`~retainer.core.errors.RetainerError` if it is taken."""
        if self._settings.monitor.port:
            await self._open_pages(self._settings.monitor.port)

    async def start(self) -> None:
        """Everything else runs: begin to watch it, and say so."""
        await self.pulse.once()
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self.pulse.run(), name="pulse"))
        if self._settings.backup.enabled and not self._settings.store.url.get_secret_value():
            self._tasks.append(loop.create_task(self.nightly.run(), name="backups"))
        self.notifier.ready()

    async def stop(self) -> None:
        """End; a backup that is being made is abandoned and swept away by the next one."""
        if self._tasks:
            self.notifier.stopping()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._pages is not None:
            await self._pages.stop()
            self._pages = None

    async def _open_pages(self, port: int) -> None:
        from retainer.app.operations.metrics import Metrics, Sources

        metrics = Metrics(
            Sources(
                store=self._store,
                pulse=self.pulse,
                now=self._clock.now,
                model_phase=self._model_phase,
                bridges=self._bridges,
                feeds=self._feeds,
                backups=self.backups,
            )
        )
        self._pages = Pages(
            {"/live": self._live, "/ready": self._ready, "/metrics": lambda: (200, TEXT, metrics.page())}
        )
        self.port = await self._pages.start(port)
        _log.info("monitor_listens", port=self.port)

    # --- what they say -----------------------------------------------------------------------------------------------
    def _live(self) -> Page:
        """Loop and writer turn. A full disk is no reason to be killed."""
        limit = self._settings.monitor.lag_seconds
        stuck = self.pulse.error is None and self.pulse.age > 2 * self.pulse.period + 10 * limit
        ok = self.pulse.lag <= limit and not stuck
        return json_page({"live": ok, "loop_lag": self.pulse.lag, "beat_age": self.pulse.age}, ok=ok)

    def _ready(self) -> Page:
        """Messages can be taken and answered now."""
        said = self.readiness()
        return json_page(said, ok=bool(said["ready"]))

    def readiness(self) -> dict[str, Any]:
        """Whether work can be done, and if not, why."""
        error = self.pulse.error
        trading = ""
        if error is None:
            try:
                trading = "safe mode" if read_safe_mode(self._store.view()) is not None else ""
            except StorageError as failed:
                error = failed
        return {
            "ready": error is None,
            "storage": "working" if error is None else str(error),
            "model": self._model_phase(),
            "bridges": {name: bool(state.get("ok")) for name, state in self._bridges().items()},
            "trading": trading or "as its owner left it",
        }

    def backups(self) -> BackupState:
        """How the backups stand; the manifests are read again when the folder has changed."""
        try:
            changed = backup_folder(self._settings).stat().st_mtime_ns
        except OSError:
            changed = 0
        if self._backups is None or self._backups[0] != changed or self._backups[1].error != self.nightly.error:
            self._backups = (changed, self.nightly.state())
        return self._backups[1]

    def words(self) -> dict[str, Any]:
        """For commands in other processes."""
        error = self.pulse.error
        return {
            "storage": "" if error is None else str(error),
            "backup_error": self.nightly.error,
            "monitor_port": self.port,
        }
