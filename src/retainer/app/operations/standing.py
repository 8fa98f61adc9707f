"""How backups and storage stand, in the words of ``status`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from retainer.app.config import Settings
from retainer.app.folder import DataFolder, read_json
from retainer.app.operations.backups import backup_folder
from retainer.app.operations.nightly import BackupState, look
from retainer.app.operations.restore import MARKER
from retainer.core.clock import SystemClock
from retainer.core.protocols import View
from retainer.runtime.safe_mode import SafeMode, read_safe_mode

Level = Literal["ok", "warn", "fail"]
OLD_S: Final = 36 * 3600.0
"""Seconds after which the newest backup is called old: a night was missed."""
YOUNG: Final = 200
"""A service with fewer events than this has little to lose yet: no backup is no warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Storage, safe mode and backups at this moment."""

    safe_mode: SafeMode | None
    storage: str
    """What is wrong with it, as the running service says; empty when nothing is."""
    backups: BackupState
    now: datetime

    @property
    def lines(self) -> list[str]:
        """For ``retainer status``; what is as it should be takes one line."""
        found = []
        if self.storage:
            found.append(f"STORAGE: {self.storage}")
        if self.safe_mode is not None:
            found.append(
                f"SAFE MODE: restored from {self.safe_mode.backup}; nothing is traded and nothing pending is sent."
                " Look around, then: retainer restore --confirm"
            )
        return [*found, f"Backup: {self.backup_words}"]

    @property
    def backup_words(self) -> str:
        """The newest backup, and whether it restores."""
        state = self.backups
        if state.made_at is None:
            words = "none yet"
        else:
            words = f"{age_words(state.made_at, self.now)} ({state.newest}), {state.count} kept"
        if state.drill is not None:
            words += (
                "; the last restore drill passed" if state.drill.ok else f"; RESTORE DRILL FAILED: {state.drill.words}"
            )
        return f"{words}; the last try failed: {state.error}" if state.error else words

    def to_json(self) -> dict[str, Any]:
        """For ``status --json``."""
        drill = self.backups.drill
        return {
            "storage": self.storage,
            "safe_mode": self.safe_mode.backup if self.safe_mode else None,
            "backup": {
                "newest": self.backups.newest or None,
                "made_at": self.backups.made_at.isoformat() if self.backups.made_at else None,
                "count": self.backups.count,
                "drill": drill.ok if drill else None,
                "error": self.backups.error,
            },
        }


def standing(settings: Settings, view: View, said: Mapping[str, Any]) -> Standing:
    """How things stand; ``said`` is what the running service says of itself."""
    state = look(backup_folder(settings))
    return Standing(
        safe_mode=read_safe_mode(view),
        storage=str(said.get("storage") or ""),
        backups=BackupState(
            count=state.count,
            newest=state.newest,
            made_at=state.made_at,
            size=state.size,
            drill=state.drill,
            error=str(said.get("backup_error") or "") or state.error,
        ),
        now=SystemClock().now(),
    )


def findings(settings: Settings, folder: DataFolder) -> Iterator[tuple[Level, str, str, str]]:
    """For ``retainer doctor``: level, subject, finding, fix."""
    said = read_json(folder.service_file)
    if said.get("storage"):
        yield "fail", "storage", str(said["storage"]), "Free some space or mend the disk; work goes on by itself."
    if (folder.root / MARKER).exists():
        yield "warn", "restore", "A restore was cut off.", "It is finished at the next start: retainer up"
    if not folder.database.exists():
        return
    place = backup_folder(settings)
    state, now = look(place), SystemClock().now()
    if state.error:
        yield "fail", "backups", state.error, "Mend its permissions or its disk, or set backup.folder."
    elif state.made_at is None:
        level: Level = "warn" if _grown(folder) else "ok"
        yield level, "backups", f"none yet in {place}", "retainer backup" if level == "warn" else ""
    else:
        old = (now - state.made_at).total_seconds() > OLD_S
        words = f"{state.count} in {place}, the newest made {age_words(state.made_at, now)}"
        yield (
            ("warn" if old else "ok"),
            "backups",
            words,
            "retainer backup, or leave the service running" if old else "",
        )
    if said.get("backup_error"):
        yield "fail", "nightly backup", str(said["backup_error"]), "retainer backup"
    if state.drill is not None:
        fix = "" if state.drill.ok else "Make a new one and try it: retainer backup; retainer backup --drill"
        yield ("ok" if state.drill.ok else "fail"), "restore drill", state.drill.words, fix


def _grown(folder: DataFolder) -> bool:
    from retainer.runtime.migrate import connect

    connection = connect(folder.database, reader=True)
    try:
        return int(connection.execute("SELECT COALESCE(MAX(seq), 0) AS n FROM event").fetchone()["n"]) > YOUNG
    finally:
        connection.close()


def age_words(instant: datetime, now: datetime) -> str:
    """``3 hours ago`` and the like."""
    seconds = max(0.0, (now - instant).total_seconds())
    for size, name in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count != 1 else ''} ago"
    return "just now"
