"""Restoring a backup: verified first, the present records put aside, nothing pending sent before the owner agrees.

The restored database is made ready in a staging folder and only then exchanged. A marker file is written before the
exchange, so that one that was cut off is finished by the next start instead of leaving an empty folder behind.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from retainer.app.folder import DataFolder, read_json, write_json
from retainer.app.operations.backups import DATABASE, Backup, sync_folder, verify
from retainer.app.operations.rewriting import passing, rewrite
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Migration, Tx
from retainer.runtime.lock import FolderLock, FolderTakenError
from retainer.runtime.recovery import enter
from retainer.runtime.sqlite import SqliteStore
from retainer.runtime.store import StorageError
from retainer.safety import audit

MARKER: Final = "restoring.json"
ASIDE: Final = "replaced-"
"""Folders in the data folder that hold what a restore replaced."""
_STAGING: Final = ".restoring"
GAP: Final = 1_000_000
"""How far numbers given after a restore lie beyond those of before, at least."""
_LIVE: Final = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "memory")
"""What is exchanged. Memory files are made from the database again."""
_COUNTED: Final = ("event", "effect", "body")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What the present records have and the backup has not."""

    readable: bool
    """Whether the present database could be read at all."""
    events: int = 0
    newest: str = ""
    """When the newest of them arrived, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did."""

    backup: str
    aside: Path | None
    """Where the former records are, if there were any."""


def loss(folder: DataFolder, backup: Backup) -> Loss:
    """What would be missing after restoring ``backup``."""
    if not folder.database.exists():
        return Loss(readable=True)
    try:
        with closing(sqlite3.connect(f"{folder.database.as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            count, newest = connection.execute(
                "SELECT COUNT(*), MAX(received_at) FROM event WHERE seq > ?", (backup.manifest.last_event,)
            ).fetchone()
    except sqlite3.Error:
        return Loss(readable=False)
    when = datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds") if newest else ""
    return Loss(readable=True, events=int(count), newest=when)


def restore(folder: DataFolder, backup: Backup, schema: Sequence[Migration], *, now: datetime) -> Restored:
    """Put ``backup`` in the place of the present records, which are kept in a folder beside it.

    Raises :class:`~retainer.runtime.lock.FolderTakenError` while a service runs, :class:`StorageError` when the backup
    does not hold (nothing is changed then). Files of the owner (configuration, secrets) are only put where none is.
    """
    folder.make()
    lock = FolderLock.acquire(folder.root)
    try:
        return _restore(folder, backup, schema, now)
    except OSError as error:
        raise StorageError(
            f"The backup could not be put into {folder.root}: {error.strerror or error}.",
            hint="Free some space or mend its permissions, then restore again; an exchange that was begun goes on.",
        ) from error
    finally:
        _sweep(folder)
        lock.release()


def _restore(folder: DataFolder, backup: Backup, schema: Sequence[Migration], now: datetime) -> Restored:
    finish_restore(folder)
    problems = verify(backup)
    if problems:
        raise StorageError(
            f"The backup {backup.name} is not whole: {'; '.join(problems[:3])}. Nothing was changed.",
            hint="Choose another one: retainer backup --list",
        )
    staging = folder.root / _STAGING
    staging.mkdir(mode=0o700)
    _stage(staging / DATABASE, folder, backup, schema, now)
    _files(folder, backup)  # before the exchange, which the next start finishes by itself
    aside = _free(folder.root / f"{ASIDE}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    write_json(folder.root / MARKER, {"aside": aside.name, "backup": backup.name}, durable=True)
    sync_folder(folder.root)
    had = folder.database.exists()
    finish_restore(folder)
    return Restored(backup=backup.name, aside=aside if had else None)


def _free(aside: Path) -> Path:
    """``aside``, or a name like it that no other restore has put records under."""
    names = (aside.with_name(f"{aside.name}-{number}") for number in range(2, 1000))
    return aside if not aside.exists() else next(each for each in names if not each.exists())


def _stage(copy: Path, folder: DataFolder, backup: Backup, schema: Sequence[Migration], now: datetime) -> None:
    """The backup's database, up to date, in safe mode, with numbers that nobody has seen yet."""
    shutil.copyfile(backup.database, copy)
    copy.chmod(0o600)
    used = _used_numbers(folder.database, now)
    store = SqliteStore.open(copy, schema)
    try:

        def unit(tx: Tx) -> None:
            enter(tx, backup=backup.name, made_at=backup.manifest.made_at, now=now)
            continue_numbers(tx, used)
            data = {"backup": backup.name, "made_at": backup.manifest.made_at.isoformat()}
            audit.append(tx, "control", "restore.done", backup.name, data, now)

        store.write_now(unit)
    finally:
        store.close()
    shutil.rmtree(copy.parent / "backups", ignore_errors=True)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(copy.parent)


def _used_numbers(database: Path, now: datetime) -> dict[str, int]:
    """The greatest numbers given so far, by table. Keys of orders are made of them: none may come twice."""
    if not database.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            return dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    except sqlite3.Error:  # unreadable: the clock is ahead of every number
        return dict.fromkeys(_COUNTED, int(now.timestamp()))


def continue_numbers(tx: Tx, used: Mapping[str, int]) -> None:
    """Give events, effects and texts numbers that nobody has seen, also if some beyond ``used`` were lost."""
    for table in _COUNTED:
        _continue_after(tx, table, used.get(table, 0))


def _continue_after(tx: Tx, table: str, used: int) -> None:
    row = tx.one("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
    highest = max(used, int(row["seq"]) if row else 0)
    fresh = (highest // GAP + 2) * GAP  # at least a whole gap higher
    if row is None:
        tx.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, fresh))
    else:
        tx.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (fresh, table))


def finish_restore(folder: DataFolder) -> bool:
    """Finish an exchange that was begun; ``False`` if there is none. Call it with the folder's lock held."""
    marker = folder.root / MARKER
    if _sweep(folder):
        return False
    name = str(read_json(marker).get("aside", ""))
    if not name.startswith(ASIDE) or "/" in name:
        raise InvalidInputError(f"{marker} is not one of ours.", hint="Remove it and restore again.")
    staging, aside = folder.root / _STAGING, folder.root / name
    if (staging / DATABASE).exists():
        aside.mkdir(mode=0o700, exist_ok=True)
        for part in _LIVE:
            live = folder.root / part
            if live.exists() and not (aside / part).exists():
                live.rename(aside / part)
        os.replace(staging / DATABASE, folder.database)
        sync_folder(folder.root)
        if not any(aside.iterdir()):
            aside.rmdir()
    for said in (folder.service_file, folder.recorded):  # of the former records
        said.unlink(missing_ok=True)
    marker.unlink()
    shutil.rmtree(staging, ignore_errors=True)
    folder.memory.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.root)
    return True


def _sweep(folder: DataFolder) -> bool:
    """Remove what a restore left that was cut off before its exchange began; ``False`` if one was begun."""
    marker = folder.root / MARKER
    if marker.exists():
        return False
    shutil.rmtree(folder.root / _STAGING, ignore_errors=True)
    with suppress(OSError):
        marker.with_suffix(".tmp").unlink()
    return True


def rewrite_replaced(folder: DataFolder, change: Callable[[sqlite3.Connection], None], *, now: datetime) -> list[str]:
    """Apply ``change`` (an erasure) to the records that restores put aside; returns the names of their folders.

    Their memory files go: they were made from the records. Records that cannot be read go too, and so does what is left
    of a restore that was killed.
    """
    with suppress(FolderTakenError):  # a service swept at its start, and a restore that goes on needs its copy
        lock = FolderLock.acquire(folder.root)
        _sweep(folder)
        lock.release()
    reached = []
    for aside in sorted(folder.root.glob(f"{ASIDE}*")):
        shutil.rmtree(aside / "memory", ignore_errors=True)
        database = aside / DATABASE
        try:
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=DELETE").fetchall()  # what its log held is in the file now
        except sqlite3.Error as error:
            if passing(error) and database.exists():
                raise StorageError(
                    f"{database} cannot be changed: {error}.", hint="Erase again when it can."
                ) from error
            database.unlink(missing_ok=True)
        for log in ("-wal", "-shm"):
            (aside / (DATABASE + log)).unlink(missing_ok=True)
        rewrite(aside, change, now=now)
        reached.append(aside.name)
    return reached


def _files(folder: DataFolder, backup: Backup) -> None:
    for name in set(backup.manifest.files) - {DATABASE}:
        target = folder.root / name.removeprefix("files/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(backup.path / name, target)
            target.chmod(0o600)
