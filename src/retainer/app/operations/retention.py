"""Which backups are kept: the newest of each day, then of each week, then of each month.

A new one displaces none before it was tried out, and never one that holds more events than it does itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations.backups import Backup, backup_folder, backups, sync_folder
from retainer.app.operations.drill import Drill, run_drill
from retainer.app.operations.settings import BackupSettings
from retainer.core.protocols import Migration
from retainer.runtime.store import StorageError

COPIES: Final = 3
"""How many copies from before a change of the schema are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of a new backup."""

    drill: Drill | None
    """``None`` where drills are switched off."""
    gone: tuple[Backup, ...]
    """What it displaced."""


def settle(settings: Settings, made: Backup, schema: Sequence[Migration], *, now: datetime) -> Settled:
    """Try ``made`` out, then let go of what need not be kept. One that does not restore displaces none that did."""
    folder = backup_folder(settings)
    try:
        drill = run_drill(made, schema, now=now) if settings.backup.drill else None
        if drill is not None and not drill.ok:
            return Settled(drill=drill, gone=())
        gone = prune(folder, settings.backup, made)
        prune_copies(DataFolder(settings.data).backups)
    except OSError as error:
        raise StorageError(
            f"{made.name} is made, but {folder} could not be tidied: {error.strerror or error}.",
            hint="Free some space or mend its permissions.",
        ) from error
    return Settled(drill=drill, gone=tuple(gone))


def to_keep(made: Sequence[datetime], settings: BackupSettings) -> set[datetime]:
    """Of the instants ``made``, those whose backups stay. The newest always does."""
    newest_first = sorted(made, reverse=True)
    kept = set(newest_first[:1])
    rules: tuple[tuple[int, Callable[[datetime], tuple[int, ...]]], ...] = (
        (settings.daily, lambda at: (at.year, at.month, at.day)),
        (settings.weekly, lambda at: at.isocalendar()[:2]),
        (settings.monthly, lambda at: (at.year, at.month)),
    )
    counted = 1  # the newest is the first of the days
    for count, period in rules:
        oldest = min(kept, default=None)
        seen = {period(at) for at in kept}
        wanted, counted = len(seen) + count - counted, 0
        for at in newest_first:
            if len(seen) >= wanted:
                break
            if period(at) not in seen and oldest is not None and at <= oldest:
                seen.add(period(at))
                kept.add(at)
    return kept


def prune(folder: Path, settings: BackupSettings, made: Backup) -> list[Backup]:
    """Remove what need not be kept beside ``made``, and return it. A backup somebody asked for counts like any other.

    What goes on further than ``made`` stays: the data folder may have been emptied or set back since.
    """
    there = backups(folder)
    kept = to_keep([backup.manifest.made_at for backup in there], settings)
    gone = [
        backup
        for backup in there
        if backup.manifest.made_at not in kept
        and backup.manifest.last_event <= made.manifest.last_event
        and backup.name != made.name
    ]
    for backup in gone:
        _remove(backup)
    if gone:
        sync_folder(folder)
    return gone


def prune_copies(folder: Path) -> list[str]:
    """Remove all but the newest copies that were made before changes of the schema; returns the names."""
    copies = sorted(folder.glob("*.db"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in copies[COPIES:]:
        path.unlink()
    return [path.name for path in copies[COPIES:]]


def _remove(backup: Backup) -> None:
    """First out of the list by one rename, then bit by bit."""
    away = backup.path.with_name(f".part-{backup.path.name}")
    backup.path.rename(away)
    shutil.rmtree(away)
