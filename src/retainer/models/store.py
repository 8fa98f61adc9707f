"""The store of model files: named by their content, verified, read-only, shared by all processes of this user."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from retainer.models.catalogue import Entry
from retainer.models.errors import DamagedFileError, FetchError
from retainer.models.progress import size_words

_CHUNK = 4 << 20
_RESERVE = 256 << 20
_log = structlog.get_logger(__name__)


def cache_root() -> Path:
    """Where everything that can be fetched again is kept: ``RETAINER_CACHE``, else the platform's cache folder."""
    given = os.environ.get("RETAINER_CACHE")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("retainer", appauthor=False))


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of the store. ``present`` means whole and verified, now or earlier and untouched since."""

    path: Path
    present: bool
    partial: int
    """Bytes of it that have arrived, while it is not present."""


class ModelStore:
    """Files under ``<root>/models``: ``blobs/<sha256>`` (mode 0444), ``<sha256>.part`` while they arrive.

    A verified file is hashed once; after that its size, modification time and inode are trusted, until
    :meth:`verify` is asked for the full check. A file that is not what its name says is moved to ``damaged``.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or cache_root()) / "models"
        self.blobs = self.root / "blobs"

    def part(self, entry: Entry) -> Path:
        """The file being fetched: always a prefix of the whole."""
        return self.blobs / f"{entry.sha256}.part"

    def staging(self, entry: Entry) -> Path:
        """Folder for the pieces on their way; belongs to who holds the lock."""
        return self.root / "staging" / entry.sha256[:16]

    def look(self, entry: Entry) -> Stored:
        """What is there, at the price of a ``stat`` (of a hash, for a file never verified by this store)."""
        path = self.blobs / entry.sha256
        if self.verify(entry):
            return Stored(path, True, entry.bytes)
        part = self.part(entry)
        return Stored(path, False, min(part.stat().st_size, entry.bytes) if part.exists() else 0)

    def seems_present(self, entry: Entry) -> bool:
        """Whether a file of the right size is there: at the price of one ``stat``, for status lines."""
        try:
            return (self.blobs / entry.sha256).stat().st_size == entry.bytes
        except OSError:
            return False

    def path(self, entry: Entry) -> Path:
        """The verified file. Raises :class:`FetchError` when it has not been fetched."""
        stored = self.look(entry)
        if not stored.present:
            raise FetchError(f"{entry.title} is not fetched yet.", hint=f"Run: retainer fetch {entry.id}")
        return stored.path

    def verify(self, entry: Entry, *, full: bool = False) -> bool:
        """Whether the file is there and right; ``full`` hashes it again. A wrong one is moved aside."""
        path = self.blobs / entry.sha256
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        if not full and self._stamp(entry) == stamp:
            return True
        if stat.st_size == entry.bytes and hash_file(path) == entry.sha256:
            self._set_stamp(entry, stamp)
            return True
        self._move_aside(entry, path)
        return False

    def demand_whole(self, entry: Entry) -> None:
        """Full check. Raises :class:`DamagedFileError` if the file is not (or no longer) right."""
        if not self.verify(entry, full=True):
            raise DamagedFileError(
                f"The model file of {entry.title} was damaged and has been moved aside.",
                hint=f"It is fetched again by: retainer fetch {entry.id}",
            )

    def need_space(self, entry: Entry, missing: int) -> None:
        """Raises :class:`FetchError` with the figures when ``missing`` bytes do not fit on the disk."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.blobs).free
        if free < missing + _RESERVE:
            raise FetchError(
                f"{entry.title} needs {size_words(missing + _RESERVE)} on the disk of {self.root}, "
                f"{size_words(free)} is free.",
                hint="Make room, or set RETAINER_CACHE to a folder on another disk.",
            )

    def accept(self, entry: Entry) -> Path:
        """Turn the finished part into the file: hash, flush to disk, rename, write-protect.

        Raises :class:`DamagedFileError` when the bytes are not the file's; the part is then moved aside.
        """
        part = self.part(entry)
        size = part.stat().st_size
        if size != entry.bytes or hash_file(part) != entry.sha256:
            self._move_aside(entry, part)
            raise DamagedFileError(
                f"What was fetched for {entry.title} is not the right file ({size} bytes).",
                hint="Try again; if it happens again, the source has changed: choose another model.",
            )
        return self._keep(entry, part)

    @contextmanager
    def lock(self, entry: Entry) -> Iterator[bool]:
        """Try to be the one who fetches this file; yields whether we are. Freed by the kernel if we die."""
        import fcntl

        self.blobs.mkdir(parents=True, exist_ok=True)
        with (self.blobs / f"{entry.sha256}.lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _keep(self, entry: Entry, part: Path) -> Path:
        path = self.blobs / entry.sha256
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o444)
        part.replace(path)
        _sync_folder(self.blobs)
        stat = path.stat()
        self._set_stamp(entry, [stat.st_size, stat.st_mtime_ns, stat.st_ino])
        return path

    def _stamp_file(self, entry: Entry) -> Path:
        return self.root / "refs" / f"{entry.id}.json"

    def _stamp(self, entry: Entry) -> list[int] | None:
        try:
            ref = json.loads(self._stamp_file(entry).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return ref.get("stamp") if isinstance(ref, dict) and ref.get("sha256") == entry.sha256 else None

    def _set_stamp(self, entry: Entry, stamp: list[int]) -> None:
        target = self._stamp_file(entry)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(f".{os.getpid()}.tmp")
        body = {"sha256": entry.sha256, "stamp": stamp, "title": entry.title, "licence": entry.licence}
        draft.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        draft.replace(target)

    def _move_aside(self, entry: Entry, path: Path) -> None:
        aside = self.root / "damaged"
        aside.mkdir(parents=True, exist_ok=True)
        for old in aside.glob(f"{entry.sha256}.*"):  # one is enough to look at; more would fill the disk
            old.unlink(missing_ok=True)
        path.replace(aside / f"{entry.sha256}.{int(time.time())}")
        self._stamp_file(entry).unlink(missing_ok=True)
        _log.warning("model_file_damaged", model=entry.id, moved_to=str(aside))


def hash_file(path: Path, tick: Callable[[int], None] | None = None) -> str:
    """SHA-256 in hex; ``tick`` is told the bytes read so far."""
    sha = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
            done += len(chunk)
            if tick:
                tick(done)
    return sha.hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
