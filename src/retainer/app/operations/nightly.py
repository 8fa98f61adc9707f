"""The running service's own backups: every night one, then the drill, then what need not be kept goes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from retainer.app.config import Settings
from retainer.app.operations.backups import Backup, backup_folder, backups, make
from retainer.app.operations.drill import Drill, last_drill
from retainer.app.operations.retention import settle
from retainer.core.clock import Clock
from retainer.core.errors import RetainerError
from retainer.core.protocols import Migration

_log = structlog.get_logger(__name__)

LOOK_S: Final = 30.0
"""Seconds between two looks at the clock, which may be set and may sleep."""
RETRY: Final = timedelta(hours=1)
"""Pause after a backup that failed."""
SETTLE_S: Final = 20.0
"""Seconds after the start before a missed backup is made up for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupState:
    """How the backups stand, for people and metrics."""

    count: int
    newest: str = ""
    made_at: datetime | None = None
    size: int = 0
    """Bytes of the newest."""
    drill: Drill | None = None
    error: str = ""
    """Why the last try failed, or the backups cannot be read; empty when all is well."""


def last_due(now: datetime, at: str, zone: ZoneInfo) -> datetime:
    """The latest instant, not after ``now``, at which a backup was due."""
    hour, minute = map(int, at.split(":"))
    local = now.astimezone(zone)
    due = datetime.combine(local.date(), time(hour, minute), zone)
    if due > local:
        due = datetime.combine(local.date() - timedelta(days=1), time(hour, minute), zone)
    return due


def look(folder: Path) -> BackupState:
    """How the backups in ``folder`` stand."""
    try:
        there = backups(folder)
    except RetainerError as error:
        return BackupState(count=0, error=error.message)
    if not there:
        return BackupState(count=0, drill=last_drill(folder))
    newest = there[0]
    return BackupState(
        count=len(there),
        newest=newest.name,
        made_at=newest.manifest.made_at,
        size=newest.size,
        drill=last_drill(folder),
    )


class Nightly:
    """Makes a backup whenever one is due and none was made since."""

    def __init__(self, settings: Settings, schema: Sequence[Migration], clock: Clock) -> None:
        self._settings = settings
        self._schema = schema
        self._clock = clock
        self._folder = backup_folder(settings)
        self._retry_after: datetime | None = None
        self.error = ""
        """Why the last try failed; empty when it went well."""

    def state(self) -> BackupState:
        """How the backups stand. Reads the manifests."""
        found = look(self._folder)
        return BackupState(
            count=found.count,
            newest=found.newest,
            made_at=found.made_at,
            size=found.size,
            drill=found.drill,
            error=self.error or found.error,
        )

    def due(self) -> bool:
        """Whether a backup should be made now."""
        now = self._clock.now()
        if self._retry_after is not None and now < self._retry_after:
            return False
        zone = self._settings.chat.zone()
        due = last_due(now, self._settings.backup.at, ZoneInfo(str(zone)))
        latest = now + timedelta(seconds=LOOK_S)  # one from the future was made while the clock was wrong
        return not any(due <= backup.manifest.made_at <= latest for backup in backups(self._folder))

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(SETTLE_S)
        while True:
            try:
                if await asyncio.to_thread(self.due):
                    await self.once("nightly")
            except Exception as error:  # noqa: BLE001 - whatever it was, later nights get their backup
                self._failed(error, self._clock.now())
            await asyncio.sleep(LOOK_S)

    async def once(self, why: str) -> Backup | None:
        """One backup with everything that belongs to it; a failure is logged and kept in :attr:`error`."""
        now = self._clock.now()
        try:
            backup, drill = await asyncio.to_thread(self._work, why, now)
        except (RetainerError, OSError) as error:
            self._failed(error, now)
            return None
        self._retry_after = None
        self.error = "" if drill is None or drill.ok else drill.words
        _log.info("backup_made", backup=backup.name, bytes=backup.size, drilled=drill.ok if drill else None)
        return backup

    def _failed(self, error: Exception, now: datetime) -> None:
        self.error, self._retry_after = str(error) or repr(error), now + RETRY
        _log.error("backup_failed", reason=error.message if isinstance(error, RetainerError) else self.error)

    def _work(self, why: str, now: datetime) -> tuple[Backup, Drill | None]:
        backup = make(self._settings, why=why, now=now)
        return backup, settle(self._settings, backup, self._schema, now=now).drill
