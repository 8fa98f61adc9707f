"""The restore drill: a backup is put into a temporary place, opened as a service would open it, and checked.

A backup that was never restored is a hope. The drill proves the files' digests, brings the copy's schema up to date,
and checks pages, audit chains against the manifest's anchors, row counts, and every account against its ledger.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from retainer.app.folder import write_json
from retainer.app.operations.backups import DATABASE, TRIAL, Backup, verify
from retainer.app.operations.check import check_pages, check_view
from retainer.core.errors import RetainerError
from retainer.core.protocols import Migration
from retainer.runtime.sqlite import SqliteStore

RESULT: Final = "drill.json"
"""In the folder of backups: how the last drill went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """How a drill went."""

    backup: str
    at: str
    """When, ISO 8601."""
    ok: bool
    problems: tuple[str, ...]
    events: int
    seconds: float

    @property
    def words(self) -> str:
        """One line for people."""
        if self.ok:
            return f"{self.backup} was restored and checked in {self.seconds:.1f} s, up to event {self.events}"
        return f"{self.backup} does not restore: {self.problems[0]}"


_WRITTEN: Final = TypeAdapter(Drill)


def run_drill(backup: Backup, schema: Sequence[Migration], *, now: datetime) -> Drill:
    """Restore ``backup`` into a temporary folder, check it, and write the result beside the backups. Blocks."""
    began = time.monotonic()
    events = 0
    try:
        problems = verify(backup)
        if not problems:
            problems, events = _restore_and_check(backup, schema)
    except (RetainerError, OSError, sqlite3.Error) as error:
        problems = [str(error)]
    drill = Drill(
        backup=backup.name,
        at=now.isoformat(),
        ok=not problems,
        problems=tuple(problems),
        events=events,
        seconds=round(time.monotonic() - began, 3),
    )
    write_json(backup.path.parent / RESULT, asdict(drill))
    return drill


def _restore_and_check(backup: Backup, schema: Sequence[Migration]) -> tuple[list[str], int]:
    with tempfile.TemporaryDirectory(prefix=TRIAL, dir=backup.path.parent) as folder:
        copy = Path(folder) / DATABASE
        shutil.copyfile(backup.database, copy)
        copy.chmod(0o600)
        store = SqliteStore.open(copy, schema)
        try:
            with store.view() as view:
                checked = check_view(view, backup.manifest.anchors)
                problems = list(checked.problems)
                for table, count in backup.manifest.counts.items():
                    if table == "migration":
                        continue  # the copy was brought up to date
                    row = view.one(f'SELECT COUNT(*) AS n FROM "{table}"')  # noqa: S608 - a name of the manifest
                    found = int(row["n"]) if row else 0
                    if found != count:
                        problems.append(f"table {table} has {found} rows, the manifest says {count}")
        finally:
            store.close()
        return problems + check_pages(copy), checked.events


def last_drill(folder: Path) -> Drill | None:
    """How the last drill went; ``None`` if there was none, or what is written says nothing that can be shown."""
    try:
        drill = _WRITTEN.validate_json((folder / RESULT).read_bytes(), strict=True)
    except (OSError, ValidationError):
        return None
    told = [drill.backup, drill.at, *drill.problems]
    return drill if (drill.ok or drill.problems) and all(each.isprintable() for each in told) else None
