"""Which backups are kept: the newest of each day, then of each week, then of each month."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from retainer.app.operations.backups import Backup, backups, sync_folder
from retainer.app.operations.settings import BackupSettings

COPIES: Final = 3
"""How many copies from before a change of the schema are kept."""


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


def prune(folder: Path, settings: BackupSettings) -> list[str]:
    """Remove what need not be kept; returns the names. A backup somebody asked for counts like any other."""
    there = backups(folder)
    kept = to_keep([backup.manifest.made_at for backup in there], settings)
    gone = [backup for backup in there if backup.manifest.made_at not in kept]
    for backup in gone:
        _remove(backup)
    if gone:
        sync_folder(folder)
    return [backup.name for backup in gone]


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
