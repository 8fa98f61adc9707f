"""Damage: what a damaged database means for its owner, and how lost or restored records are noticed.

A torn write-ahead log is no error to SQLite: it takes what is whole and forgets the rest. Nor is a file that somebody
emptied, or put an older copy in the place of. So the service notes beside the database how far its records go; a start
that finds less has lost something it had promised to keep.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from retainer.app.config import Settings
from retainer.app.folder import DataFolder, read_json, write_json
from retainer.app.operations.backups import backup_folder, backups, in_server
from retainer.app.operations.drill import last_drill
from retainer.app.operations.restore import GAP, continue_numbers, loss
from retainer.core.clock import Clock, from_epoch
from retainer.core.protocols import Tx, View
from retainer.core.values import Json
from retainer.runtime.base import BaseStore
from retainer.runtime.recovery import enter
from retainer.runtime.safe_mode import read_safe_mode
from retainer.runtime.store import DamagedError, StorageError
from retainer.safety import audit

_FAR: Final = {
    "events": "SELECT MAX(seq) AS n FROM event",
    "effects": "SELECT MAX(id) AS n FROM effect",
    "audit entries": "SELECT MAX(rowid) AS n FROM audit",
}
_LARGEST: Final = 1 << 53
"""A number noted beyond this is none that was ever given."""
_NUMBERED: Final = {"event": "seq", "effect": "id", "body": "id"}
"""Tables whose numbers are in keys and records elsewhere, and the column."""


def how_far(view: View) -> dict[str, int]:
    """How far the records go: numbers that only ever grow."""
    found: dict[str, int] = {}
    for name, sql in _FAR.items():
        row = view.one(sql)
        found[name] = int(row["n"] or 0) if row else 0
    return found


def vanished(settings: Settings) -> DamagedError | None:
    """What to say where this folder had records and the file that held them is gone or empty."""
    folder = DataFolder(settings.data)
    if in_server(settings) or not _had_records(folder) or (_size(folder.database) and not _bare(folder.database)):
        return None
    what = "is empty" if folder.database.exists() else "is gone"
    return DamagedError(
        f"The database {folder.database} {what}, and there were records in it.",
        hint="Put the file back if you have it; to begin anew, set RETAINER_DATA to another folder.",
    )


def _bare(database: Path) -> bool:
    """Whether a sound file has no table of ours; one that cannot be read says so itself when it is opened."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migration'").fetchone() is None
    except sqlite3.Error:
        return False


def _had_records(folder: DataFolder) -> bool:
    return _number(read_json(folder.recorded), "events") > 0 or _size(folder.anchors) > 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def notice_lost_records(folder: DataFolder, store: BaseStore, clock: Clock) -> list[str]:
    """If records were lost, go into safe mode: the world is ahead of them. Returns what is missing, in words."""
    noted = read_json(folder.recorded)
    with store.view() as view:
        have = how_far(view)
        known = read_safe_mode(view) is not None
    gone = _beyond(noted, have)
    if not gone:
        return []
    now = clock.now()

    def unit(tx: Tx) -> None:
        row = tx.one("SELECT MAX(received_at) AS at FROM event")
        at = from_epoch(row["at"]) if row and row["at"] is not None else now
        enter(tx, backup="records that lost their end", made_at=at, now=now)
        continue_numbers(tx, {"event": _number(noted, "events"), "effect": _number(noted, "effects")})
        data: dict[str, Json] = {"missing": list(gone)}
        audit.append(tx, "control", "records.lost", "retainer.db", data, now)

    if not known:
        store.write_now(unit)
    write_json(folder.recorded, {})  # safe mode holds: what was noted has served, and new numbers lie beyond it
    return gone


def notice_older_records(folder: DataFolder, store: BaseStore, clock: Clock) -> list[str]:
    """On a server: if the records were put back from a dump, or end before what this folder remembers of them, go into
    safe mode: the world is ahead of them. Returns what speaks for it, in words.
    """
    from retainer.runtime.postgres.dump import continue_numbers as continue_on_server
    from retainer.runtime.postgres.dump import moved, place_of

    noted = read_json(folder.recorded)
    with store.view() as view:
        if noted.get("place") != place_of(view):  # of other records
            noted = {}
    now = clock.now()

    def unit(tx: Tx) -> list[str]:
        elsewhere = moved(tx)
        have = _numbers(tx)
        gone = _beyond(noted, have)
        reasons = ["they were put back from a dump"] if elsewhere else []
        reasons += [f"{words} are missing" for words in gone]
        if not reasons or read_safe_mode(tx) is not None:
            return reasons
        row = tx.one("SELECT MAX(received_at) AS at FROM event")
        at = from_epoch(row["at"]) if row and row["at"] is not None else now
        enter(tx, backup="a dump of the server", made_at=at, now=now)
        used = {"event": _number(noted, "events"), "effect": _number(noted, "effects")}
        continue_on_server(tx, _NUMBERED, used, gap=GAP)
        data: dict[str, Json] = {"found": list(reasons)}
        audit.append(tx, "control", "records.older", "server", data, now)
        return reasons

    reasons = store.write_now(unit)
    if reasons:  # safe mode holds: what was remembered has served, and new numbers lie beyond it
        write_json(folder.recorded, {})
    return reasons


def far_on_server(view: View) -> dict[str, Json]:
    """Where the records in a server are and how far they go, for the folder to remember."""
    from retainer.runtime.postgres.dump import place_of

    return {"place": place_of(view), **_numbers(view)}


def _numbers(view: View) -> dict[str, int]:
    return {name: int((view.one(_FAR[name]) or {"n": 0})["n"] or 0) for name in ("events", "effects")}


def _beyond(noted: Mapping[str, Any], have: Mapping[str, int]) -> list[str]:
    """What was noted and is not there, in words."""
    return [f"{name} {have[name] + 1} to {noted[name]}" for name in have if _number(noted, name) > have[name]]


def _number(noted: Mapping[str, Any], name: str) -> int:
    found = noted.get(name)
    return found if isinstance(found, int) and found < _LARGEST else 0


def with_advice(settings: Settings, error: DamagedError) -> DamagedError:
    """``error`` with what can be done here and what would be lost."""
    folder, place = DataFolder(settings.data), backup_folder(settings)
    drill, without = last_drill(place), f"There is no backup in {place}."
    try:
        there = backups(place)
    except StorageError as unread:
        there, without = [], unread.message
    if not there:
        return DamagedError(f"{error.message} Nothing is traded and nothing is sent.", hint=f"{without} {error.hint}")
    newest = there[0]
    drilled = " (its restore drill passed)" if drill is not None and drill.ok and drill.backup == newest.name else ""
    lost = loss(folder, newest)
    if not lost.readable or not folder.database.exists():
        missing = f"What came after {newest.manifest.made_at:%d %B %Y %H:%M} UTC will be missing."
    elif lost.events:
        missing = f"{lost.events} later events, the last of {lost.newest}, will be missing."
    else:
        missing = "No event has arrived since."
    aside = " The damaged file is kept aside." if _size(folder.database) else ""
    return DamagedError(
        f"{error.message} Nothing is traded and nothing is sent.",
        hint=f"retainer restore {newest.name}{drilled}. {missing}{aside}",
    )
