"""Erasing from what is kept: every backup and copy is changed, compacted and described anew, or removed and named."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from retainer.app.operations.backups import (
    DATABASE,
    MANIFEST,
    PART,
    TRIAL,
    describe,
    is_there,
    manifest_of,
    sync_file,
    sync_folder,
    write,
)
from retainer.core.errors import RetainerError
from retainer.runtime.store import StorageError

_PASSING: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
"""What says nothing about the file: the disk is full, or its folder read-only."""


def rewrite(folder: Path, change: Callable[[sqlite3.Connection], None], *, now: datetime) -> list[str]:
    """Apply ``change`` (an erasure) to every database kept in ``folder`` and below; returns the names it reached.

    Each is changed in a copy, compacted, described anew and put in place of the old one. One that cannot be changed
    (damaged, or of a schema that ``change`` does not fit) is removed: what was erased must not survive. One that just
    now cannot be read or written stays, and :class:`StorageError` names it at the end. Whatever else is in ``folder``,
    which may be a whole disk, is left alone.
    """
    reached: list[str] = []
    if not folder.is_dir():
        return reached
    stuck: list[str] = []
    for path in sorted(folder.iterdir()):
        try:
            if path.name.startswith((PART, TRIAL)):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file() and path.match("retainer*.db"):
                reached.append(_told(path, kept=_rewrite_file(path, change)))
            elif is_there(path / DATABASE) and is_there(path / MANIFEST):
                reached.append(_told(path, kept=_rewrite_backup(path, change, now)))
        except OSError as error:
            stuck.append(f"{error.filename or path} ({error.strerror or error})")
    if stuck:
        raise StorageError(
            f"Words may be left in what cannot be rewritten: {', '.join(stuck)}.",
            hint="Free some space, mend its permissions or remove it, then erase again.",
        )
    sync_folder(folder)
    return reached


def _told(path: Path, *, kept: bool) -> str:
    return path.name if kept else f"{path.name} (removed: it was damaged)"


def owned(folder: Path) -> list[Path]:
    """Files and folders in ``folder``, which may be a whole disk, that hold records of ours; of a copy that is no
    backup, too: it is not changed, but what is still readable in it is told.
    """
    return [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if path.name.startswith((PART, TRIAL))
        or (path.is_file() and path.match("retainer*.db"))
        or is_there(path / DATABASE)
    ]


def _rewrite_backup(path: Path, change: Callable[[sqlite3.Connection], None], now: datetime) -> bool:
    """``False``: it could not be changed and was removed."""
    (path / MANIFEST).read_bytes()  # one that we may not read is not a damaged one
    manifest = manifest_of(path)
    database = path / DATABASE
    (path / f"{MANIFEST}.new").unlink(missing_ok=True)  # of one that was killed
    if manifest is None or not _rewrite_file(database, change):
        shutil.rmtree(path)
        return False
    try:
        fresh = describe(path, name=manifest.name, why=manifest.why, now=manifest.made_at)
    except RetainerError:
        shutil.rmtree(path)
        return False
    plain = fresh.to_json() | {"version": manifest.version, "rewritten_at": now.isoformat()}
    write(path / MANIFEST, json.dumps(plain, indent=1, sort_keys=True).encode())
    return True


def _rewrite_file(path: Path, change: Callable[[sqlite3.Connection], None]) -> bool:
    """``False``: it could not be changed and was removed."""
    work, fresh = path.with_name(f".{path.name}.work"), path.with_name(f".{path.name}.fresh")
    _drop_work(path)  # of one that was killed
    try:
        shutil.copyfile(path, work)
        work.chmod(0o600)
        connection = sqlite3.connect(work, isolation_level=None)
        try:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            change(connection)
            connection.execute("COMMIT")
            connection.execute("VACUUM INTO ?", (str(fresh),))
        finally:
            connection.close()
        fresh.chmod(0o600)
        sync_file(fresh)
        os.replace(fresh, path)
    except sqlite3.Error as error:
        if passing(error):
            raise OSError(str(error)) from error
        path.unlink(missing_ok=True)
        return False
    finally:
        _drop_work(path)
    return True


def passing(error: sqlite3.Error) -> bool:
    """Whether ``error`` says nothing about the file itself."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _PASSING


def _drop_work(path: Path) -> None:
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
