"""``retainer erase``: people's words leave every file of the data folder, whether or not the service runs.

The order matters: first the records, then what is derived from them (memory files, backups), then the bytes that are
left behind in logs and free pages, and at last every file is read through. The audit keeps that something was erased
and when; its chains hold salted digests, so they verify as before.
"""

from __future__ import annotations

import gzip
import html
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations import backups
from retainer.app.operations.restore import rewrite_replaced
from retainer.app.store import database_url, open_outside
from retainer.core.clock import Clock, SystemClock
from retainer.core.protocols import Tx
from retainer.memory import erasing
from retainer.memory.erasing import SHORTEST, Found, Wish
from retainer.memory.person import PersonMemory
from retainer.runtime.migrate import connect
from retainer.runtime.sqlite import SqliteStore
from retainer.runtime.sqlite_session import SqliteTx
from retainer.runtime.store import StorageError
from retainer.safety import audit
from retainer.safety.redact import redact

ROUNDS: Final = 5
"""A running service may just be writing an answer down: what appears meanwhile is erased in the next round."""
PATIENCE_S: Final = 30.0
"""Seconds to wait until no reader holds on to the write-ahead log."""
_SQLITE: Final = b"SQLite format 3\x00"
_LOGS: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was erased, and what a look through every file found afterwards."""

    texts: int
    """Stored texts that were deleted."""
    turns: int
    """Turns that memory files forgot."""
    backups: tuple[str, ...]
    """Backups that were rewritten."""
    files: int
    """Files that were read through."""
    left: tuple[str, ...]
    """Files in which something can still be read; empty when all is well."""
    shared: int
    """Texts that somebody else said too; those stay in what the other one said."""


def erase(settings: Settings, wish: Wish, *, clock: Clock | None = None) -> Receipt:
    """Erase everything that ``wish`` names. Raises :class:`~retainer.core.errors.RetainerError` in words."""
    clock, folder = clock or SystemClock(), DataFolder(settings.data)
    texts = turns = shared = 0
    words: frozenset[str] = frozenset()
    reached: list[str] = []
    left: tuple[str, ...] = ()
    files = 0
    for number in range(ROUNDS):
        if number:
            time.sleep(1.0)
        now = clock.now()
        found = _records(settings, wish, now)
        texts += found.bodies
        shared = max(shared, found.shared)
        words |= found.words
        turns += _memories(folder.memory, found, wish)
        if not database_url(settings):
            compact(folder.database)
        kept = backups.backup_folder(settings)
        if number == 0 or found.bodies:
            reached = backups.rewrite(kept, _in_backup(wish, now), now=now) if kept.is_dir() else []
            reached += rewrite_replaced(folder, _in_backup(wish, now), now=now)
        needles = [needle for text in words if len(text) >= SHORTEST or text in wish.texts for needle in _forms(text)]
        places = [folder.root, kept]
        for path in _files(places):
            _overwrite(path, needles)
        files, left = _look(places, needles)
        if not left:
            break
    return Receipt(texts=texts, turns=turns, backups=tuple(reached), files=files, left=left, shared=shared)


def preview(settings: Settings, wish: Wish) -> int:
    """How many stored texts would be erased."""
    with open_outside(settings) as store, store.view() as view:
        return len(erasing.select(view, wish).bodies)


# --- records ---------------------------------------------------------------------------------------------------------
def _records(settings: Settings, wish: Wish, now: datetime) -> Found:
    def unit(tx: Tx) -> Found:
        found = erasing.erase(tx, wish, now)
        if found.bodies:
            named = [name for name in ("persons", "texts", "conversations", "before") if getattr(wish, name)]
            audit.append(tx, "safety", "erased", ",".join(named), {"texts": found.bodies, "by": "owner"}, now)
        return found

    with open_outside(settings) as store:
        found = store.write_now(unit)
        if not isinstance(store, SqliteStore):
            store.checkpoint()
        return found


def _in_backup(wish: Wish, now: datetime) -> Any:
    """The same erasure in a copy; its audit gets no entry, so that the anchors taken of it still hold."""

    def change(connection: sqlite3.Connection) -> None:
        connection.row_factory = _mapping
        tx = SqliteTx(connection)
        erasing.erase(tx, wish, now)
        tx.finish()

    return change


def _mapping(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def _memories(folder: Path, found: Found, wish: Wish) -> int:
    """Every person's file: others may have been told the same."""
    erased = 0
    everything = {f"{person}.db" for person in wish.persons}
    for path in sorted(folder.glob("*.db")):
        memory = PersonMemory(path, redact)
        try:
            doomed = memory.holding(found.sources, wish.texts)
            if path.name in everything:
                erased += memory.erase((), all_upto=2**62).messages
            elif doomed:
                erased += memory.erase(doomed, shrink=True).messages
        finally:
            memory.close()
    for path in folder.glob("*.damaged"):
        path.unlink()
    return erased


def compact(database: Path) -> None:
    """Write the database anew, without its free pages, and empty its log. Raises :class:`StorageError` if it is held.

    Deleted content is overwritten at once, but a page that was split or moved before may still hold an old copy.
    """
    connection = connect(database)
    try:
        ends = time.monotonic() + PATIENCE_S
        while True:
            try:
                connection.execute("VACUUM")
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()["busy"]
            except sqlite3.OperationalError as error:
                if time.monotonic() > ends:
                    raise StorageError(f"The database is in use: {error}.", hint="Erase again in a minute.") from error
                busy = 1
            if not busy:
                return
            if time.monotonic() > ends:
                raise StorageError(
                    "Another program reads the database and keeps its log.", hint="End it, or erase again in a minute."
                )
            time.sleep(0.2)
    finally:
        connection.close()


# --- bytes -----------------------------------------------------------------------------------------------------------
def _forms(text: str) -> tuple[bytes, ...]:
    """``text`` as files may hold it: plain, in JSON, in HTML, in an address, and each in both widths."""
    plain = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text), quote(text)}
    wide = {each.encode(coding) for each in (text,) for coding in ("utf-16-le", "utf-16-be")}
    return tuple(sorted({each.encode() for each in plain} | wide, key=lambda each: (-len(each), each)))


def _files(places: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else ():
            if path.is_file() and not path.is_symlink() and path.resolve() not in seen:
                seen.add(path.resolve())
                yield path


def _content(path: Path) -> bytes:
    """The bytes, unpacked where they are packed."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        try:
            return gzip.decompress(data)
        except (OSError, EOFError):
            return data
    return data


def _overwrite(path: Path, needles: Iterable[bytes]) -> None:
    """Mask ``needles`` where they stand; the file keeps its length and its place, for whoever is writing to it."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
        if head == _SQLITE or path.name.endswith(_LOGS):
            return
        data = _content(path)
    except FileNotFoundError:  # a log that was just put away
        return
    found = [needle for needle in needles if needle in data]
    if not found:
        return
    if head.startswith(b"\x1f\x8b"):
        for needle in found:
            data = data.replace(needle, b"*" * len(needle))
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(gzip.compress(data))
        os.replace(fresh, path)
        return
    with path.open("r+b") as file:
        for needle in found:
            at = data.find(needle)
            while at >= 0:
                file.seek(at)
                file.write(b"*" * len(needle))
                at = data.find(needle, at + len(needle))
        file.flush()
        os.fsync(file.fileno())


def _look(places: Iterable[Path], needles: Iterable[bytes]) -> tuple[int, tuple[str, ...]]:
    """How many files were read, and those that still hold any of ``needles``."""
    looked, left, wanted = 0, [], list(needles)
    for path in _files(places):
        try:
            data = _content(path)
        except FileNotFoundError:
            continue
        looked += 1
        if any(needle in data for needle in wanted):
            left.append(str(path))
    return looked, tuple(left)
