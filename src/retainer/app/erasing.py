"""``retainer erase``: people's words leave every file of the data folder, whether or not the service runs.

The order matters. While the records still have the words, all that only they can find is cleaned: exports, logs and
other loose files, memory files; a loose file that cannot be changed stops the rest. Then the records go, then what the
wish itself finds again: backups, and the bytes left behind in logs and free pages. At last every file is read through.
So whenever it was killed, erasing again completes it. The audit keeps that something was erased and when; its chains
hold salted digests, so they verify as before.
"""

from __future__ import annotations

import gzip
import html
import json
import os
import re
import sqlite3
import time
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations import backups, rewriting
from retainer.app.operations.drill import RESULT
from retainer.app.operations.restore import MARKER, rewrite_replaced
from retainer.app.store import database_url, open_outside
from retainer.core.clock import Clock, SystemClock
from retainer.core.protocols import Tx
from retainer.memory import erasing
from retainer.memory.erasing import SHORTEST, Found, Wish, says, spellings, verbatim
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
_CODINGS: Final = ("utf-8", "utf-16-le", "utf-16-be")
_LOGS: Final = ("-wal", "-shm", "-journal")
_NO_WORDS: Final = frozenset({backups.MANIFEST, MARKER, RESULT, "anchors.jsonl", "recorded.json", "service.lock"})


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
    clock, folder, kept = clock or SystemClock(), DataFolder(settings.data), backups.backup_folder(settings)
    texts = turns = shared = files = 0
    sources: set[str] = set()
    words: set[str] = set()
    reached: list[str] = []
    left: tuple[str, ...] = ()
    for number in range(ROUNDS):
        if number:
            time.sleep(1.0)
        now = clock.now()
        gone, said = _search(settings, wish)
        sources |= gone
        words |= said
        left = _loose(folder, kept, wish, sources, _needles(words, wish))
        if left:
            break
        turns += _forget(folder.memory, wish, sources)
        found = _records(settings, wish, now)
        texts += found.bodies
        shared = max(shared, found.shared)
        words |= found.words
        if not database_url(settings):
            compact(folder.database)
        sources |= found.sources
        change = _in_backup(wish, now, sources)
        places = dict.fromkeys((kept, folder.backups))  # an upgrade's copies are always in the second
        reached, failed = [], None
        for rewrite in (*(partial(rewriting.rewrite, place) for place in places), partial(rewrite_replaced, folder)):
            try:
                reached += rewrite(change, now=now)
            except StorageError as error:
                failed = failed or error
        turns += _forget(folder.memory, wish, sources)
        needles = _needles(words, wish)
        _loose(folder, kept, wish, sources, needles)
        if failed is not None:
            raise failed
        files, left = _look([folder.root, *rewriting.owned(kept)], needles)
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


def _search(settings: Settings, wish: Wish) -> tuple[set[str], set[str]]:
    """Sources of what will go, and the words to look for: as said, and as sentences that memory made of them."""
    with open_outside(settings) as store, store.view() as view:
        doomed = erasing.select(view, wish)
        sources = {source for _, source in doomed.sources}
        stated: dict[str, str] = {}
        for memory, gone in _memories(DataFolder(settings.data).memory, wish, sources):
            facts = [fact for fact in memory.facts(past=True) if gone is None or fact.source in gone]
            stated |= {fact.words: fact.value for fact in facts}
        said = erasing.still_said(view, {*doomed.words, *stated, *stated.values()}, but=doomed.bodies)
    sentences = {sentence for sentence, value in stated.items() if value not in said}
    return sources, (doomed.words | sentences) - (said - set(wish.texts))


def _in_backup(wish: Wish, now: datetime, sources: set[str]) -> Any:
    """The same erasure in a copy, which adds to ``sources``: what was lost in a restore stands only there.

    Its audit gets no entry, so that the anchors taken of it still hold.
    """

    def change(connection: sqlite3.Connection) -> None:
        connection.row_factory = _mapping
        tx = SqliteTx(connection)
        sources.update(erasing.erase(tx, wish, now).sources)
        tx.finish()

    return change


def _mapping(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


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
                if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                    hint = "Free some space or mend its disk, then erase again."
                    raise StorageError(f"The database could not be written anew: {error}.", hint=hint) from error
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


# --- copies ----------------------------------------------------------------------------------------------------------
def _forget(folder: Path, wish: Wish, sources: Collection[str]) -> int:
    """How many turns memory files forgot. Each is written anew: what was killed here left bytes, but no turns."""
    turns = 0
    for memory, gone in _memories(folder, wish, sources):
        turns += memory.erase(gone or (), all_upto=2**62 if gone is None else None, shrink=True).messages
    for path in folder.glob("*.damaged"):
        path.unlink()
    return turns


def _memories(
    folder: Path, wish: Wish, sources: Collection[str]
) -> Iterator[tuple[PersonMemory, Collection[str] | None]]:
    """Every person's file, others may have been told the same, and what it must forget; ``None``: everything."""
    for path in sorted(folder.glob("*.db")):
        with closing(PersonMemory(path, redact)) as memory:
            if path.stem in wish.persons:
                yield memory, None
                continue
            patterns = [spellings(text) for text in wish.texts]
            said = memory.turns() if patterns else ()
            spelled = {turn.source for turn in said if any(says(turn.text, each) for each in patterns)}
            yield memory, memory.holding({*sources, *spelled}, wish.texts)


def _loose(folder: DataFolder, kept: Path, wish: Wish, sources: Collection[str], needles: _Needles) -> tuple[str, ...]:
    """Erase from exports and all files that are no database; returns those that cannot be read or changed."""
    places = [folder.root, *rewriting.owned(kept)]
    work: list[tuple[Path, Callable[[Path], None]]] = [
        (path, lambda path: _cut(path, wish, sources)) for path in sorted(folder.exports.glob("export-*.jsonl*"))
    ]
    work += [(path, lambda path: _overwrite(path, needles)) for path in _files(places)]
    stuck = {}
    for path, clean in work:
        try:
            clean(path)
        except FileNotFoundError:  # a log that was just put away
            continue
        except OSError:
            stuck[str(path)] = True
    return tuple(stuck)


def _cut(path: Path, wish: Wish, sources: Collection[str]) -> None:
    """Take whole lines out of an export: each says where it comes from, however short its text is."""
    lines = _content(path).decode(errors="replace").split("\n")
    kept = _kept(lines, wish, sources)
    if kept != lines:
        _replace(path, "\n".join(kept).encode())


def _kept(lines: Sequence[str], wish: Wish, sources: Collection[str]) -> list[str]:
    """Those of ``lines`` that stay. One that was cut off says not what it belongs to, and goes."""
    read = [(line, _fields(line)) for line in lines]
    gone = {*sources, *(fields["source"] for _, fields in read if _fits(fields, wish))}
    return [line for line, fields in read if not line or (fields and fields.get("source") not in gone)]


def _fields(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


def _fits(line: Mapping[str, Any], wish: Wish) -> bool:
    """Whether a message of an export is one that ``wish`` names."""
    return line.get("type") == "message" and (
        line["conversation"] in wish.conversations
        or any(text in line["text"] or says(line["text"], spellings(text)) for text in wish.texts)
        or (wish.before is not None and datetime.fromisoformat(line["at"]) < wish.before)
    )


# --- bytes -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Needles:
    """What to look for in files: words as they were said, and what the wish names in any spelling."""

    exact: tuple[bytes, ...]
    """Longest first: what holds another one is masked whole."""
    spelled: tuple[re.Pattern[bytes], ...]
    in_databases: tuple[re.Pattern[bytes], ...]
    """A single plain word in its own case: in another one that may be the name of a table."""

    def found(self, data: bytes) -> list[bytes]:
        """As they stand in ``data``, longest first."""
        spelled = {match.group() for pattern in self.spelled for match in pattern.finditer(data)}
        return sorted({*(each for each in self.exact if each in data), *spelled}, key=len, reverse=True)

    def left(self, data: bytes) -> bool:
        """Whether any of it is in ``data``."""
        patterns = self.in_databases if data.startswith(_SQLITE) else self.spelled
        return any(each in data for each in self.exact) or any(pattern.search(data) for pattern in patterns)


def _needles(words: Iterable[str], wish: Wish) -> _Needles:
    found = {form for text in words if len(text) >= SHORTEST and text not in wish.texts for form in _forms(text)}
    spelled = [(text, coding) for text in wish.texts for coding in _CODINGS]
    return _Needles(
        tuple(sorted(found, key=len, reverse=True)),
        tuple(spellings(text, coding) for text, coding in spelled),
        tuple(
            verbatim(text, coding) if text.isascii() and len(text.split()) == 1 else spellings(text, coding)
            for text, coding in spelled
        ),
    )


def _forms(text: str) -> tuple[bytes, ...]:
    """``text`` as files may hold it: plain, in JSON, in HTML, in an address, and in both widths."""
    plain = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text)}
    for quoted in (quote(text), quote(text, safe=""), quote_plus(text)):
        plain |= {quoted, re.sub("%..", lambda match: match.group().lower(), quoted)}
    wide = {each.encode(coding) for each in (text,) for coding in ("utf-16-le", "utf-16-be")}
    return tuple(sorted({each.encode() for each in plain} | wide, key=lambda each: (-len(each), each)))


def _same_settings(path: Path, data: bytes, found: Iterable[bytes]) -> bool:
    """Whether a TOML file says the same once that is masked: in comments, and in the texts of a personality."""
    masked = data
    for needle in found:
        masked = masked.replace(needle, b"*" * len(needle))
    try:
        before, after = tomllib.loads(data.decode()), tomllib.loads(masked.decode())
    except ValueError:
        return False
    if path.name == "personality.toml":
        return bool(_shape(before) == _shape(after))
    return bool(before == after)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    return [_shape(inner) for inner in value] if isinstance(value, list) else "" if isinstance(value, str) else value


def _may_hold_words(path: Path) -> bool:
    """Whether a file, by its path below the data folder or a backup, does not just hold numbers, digests, bars or keys
    of ours: masked, those would be lost.
    """
    return path.name not in _NO_WORDS and path.parts[:1] != ("market",) and "secrets" not in path.parts[:-1]


def _is_file(path: Path) -> bool:
    """Also ``True`` where the folder does not let us look."""
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:
        return True


def _within(place: Path, shut: list[Path]) -> list[Path]:
    """All files below ``place``, and the folders that nobody may look into, which are added to ``shut``."""

    def refused(error: OSError) -> None:
        shut.append(Path(error.filename))

    walked = os.walk(place, onerror=refused)
    return sorted([*(Path(folder) / name for folder, _, names in walked for name in names), *shut])


def _files(places: Iterable[Path]) -> Iterator[Path]:
    """What there is to read; a folder that nobody may look into counts as a file that cannot be read."""
    seen: set[Path] = set()
    for place in places:
        shut: list[Path] = []
        for path in _within(place, shut) if place.is_dir() else [place]:
            if not _may_hold_words(path.relative_to(place)):
                continue
            if path in shut or (_is_file(path) and path.resolve() not in seen):
                seen.add(path.resolve())
                yield path


def _packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _content(path: Path) -> bytes:
    """The bytes, unpacked where they are packed."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        try:
            return gzip.decompress(data)
        except (OSError, EOFError):
            return data
    return data


def _replace(path: Path, data: bytes) -> None:
    """Packed again where it was packed."""
    backups.write(path, gzip.compress(data) if _packed(path) else data)


def _overwrite(path: Path, needles: _Needles) -> None:
    """Mask ``needles`` where they stand; the file keeps its length and its place, for whoever is writing to it."""
    with path.open("rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE or path.name.endswith(_LOGS):
            return
    data = _content(path)
    found = needles.found(data)
    if not found or (path.suffix == ".toml" and not _same_settings(path, data, found)):
        return
    if _packed(path):
        for needle in found:
            data = data.replace(needle, b"*" * len(needle))
        _replace(path, data)
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


def _look(places: Iterable[Path], needles: _Needles) -> tuple[int, tuple[str, ...]]:
    """How many files were read, and those that still hold any of ``needles``."""
    looked, left = 0, []
    for path in _files(places):
        try:
            data = _content(path)
        except FileNotFoundError:
            continue
        except OSError:
            left.append(str(path))
            continue
        looked += 1
        if needles.left(data):
            left.append(str(path))
    return looked, tuple(left)
