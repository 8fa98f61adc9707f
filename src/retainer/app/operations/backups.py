"""Backups: a folder each, with a compact copy of the database, the owner's files, and a manifest that proves them.

Made while the service runs or not, by reading a snapshot; published whole by one rename. A backup that is not listed in
a manifest with the right digests is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from retainer import __version__
from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations.check import FileView, check_pages, check_view
from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.runtime.store import DamagedError, StorageError
from retainer.safety.audit import Anchor

FORMAT: Final = 1
DATABASE: Final = "retainer.db"
MANIFEST: Final = "manifest.json"
_OWNERS: Final = ("retainer.toml", "personality.toml", "anchors.jsonl")
_SECRETS: Final = "files/secrets/"
PART: Final = ".part-"
"""How the folder of a backup being made is called; a killed one stays."""
TRIAL: Final = ".drill-"
"""How the folder of a drill under way is called; a killed one stays."""
_NAMED: Final = re.compile(r"\d{8}T\d{6}Z-")
_SPARE: Final = 64 << 20
"""Bytes that must stay free on the disk after a backup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself; written last, checked before it is trusted."""

    name: str
    made_at: datetime
    why: str
    """``nightly``, ``manual``, ``erased`` ..."""
    version: str
    schema: tuple[str, ...]
    """Names of the migrations that the database has."""
    last_event: int
    counts: Mapping[str, int]
    """Rows by table."""
    anchors: Mapping[str, Anchor]
    """Length and head of every audit chain."""
    files: Mapping[str, tuple[str, int]]
    """SHA-256 and size by path inside the backup."""

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        plain = asdict(self) | {"format": FORMAT, "made_at": self.made_at.isoformat()}
        plain["anchors"] = {lane: [anchor.count, anchor.head] for lane, anchor in self.anchors.items()}
        plain["files"] = {path: {"sha256": digest, "size": size} for path, (digest, size) in self.files.items()}
        return plain

    @staticmethod
    def from_json(text: bytes) -> Manifest:
        """Inverse of :meth:`to_json`, from the file's bytes. Raises ``ValueError`` for anything else."""
        written = _Written.model_validate_json(text)
        return Manifest(
            name=written.name,
            made_at=written.made_at.astimezone(UTC),
            why=written.why,
            version=written.version,
            schema=written.migrations,
            last_event=written.last_event,
            counts=written.counts,
            anchors={lane: Anchor(count, head) for lane, (count, head) in written.anchors.items()},
            files={path: (file.sha256, file.size) for path, file in written.files.items()},
        )


def _is_plain(name: str) -> bool:
    """Whether ``name`` names a file in one folder and can be shown."""
    return name.isprintable() and "/" not in name and name not in {"", ".", ".."}


def _plain(name: str) -> str:
    if not _is_plain(name):
        raise ValueError("not a plain name")
    return name


_Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class _WrittenFile(BaseModel):
    model_config = ConfigDict(strict=True)

    sha256: str
    size: _Count


class _Written(BaseModel):
    """A manifest as its file has it: every shape and range."""

    model_config = ConfigDict(strict=True)

    format: Literal[1]
    name: Annotated[str, AfterValidator(_plain)]
    made_at: Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 2, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))]
    why: str
    version: str
    migrations: tuple[str, ...] = Field(alias="schema")
    last_event: _Count
    counts: dict[str, _Count]
    anchors: dict[str, tuple[_Count, str]]
    files: dict[str, _WrittenFile]


@dataclass(frozen=True, slots=True)
class Backup:
    """A published backup."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def database(self) -> Path:
        return self.path / DATABASE

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.manifest.files.values())


def backup_folder(settings: Settings) -> Path:
    """Where this service keeps its backups."""
    given = settings.backup.folder
    return given.expanduser().absolute() if given is not None else DataFolder(settings.data).backups


def in_server(settings: Settings) -> bool:
    """Whether the records are in a database server, whose own tools back them up."""
    return bool(settings.store.url.get_secret_value())


# --- making ----------------------------------------------------------------------------------------------------------
def make(settings: Settings, *, why: str, now: datetime) -> Backup:
    """Back the data folder up; returns the published backup. Blocks for as long as the copy takes.

    Raises :class:`NotFoundError` when there is nothing yet, :class:`StorageError` when it cannot be written or the
    database is damaged: a damaged database never displaces a good backup.
    """
    source, target = DataFolder(settings.data), backup_folder(settings)
    if in_server(settings):
        raise InvalidInputError(
            "These records are in PostgreSQL, which is backed up by its own tools.",
            hint="pg_dump --format=custom, every night; see docs/operations.md",
        )
    if not source.database.exists():
        raise NotFoundError(f"There is nothing in {source.root} yet.", hint="Start with: retainer up")
    name = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{why}"
    part = target / f"{PART}{name}"
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(target):
            _sweep(target)
            _room(source.database, target)
            part.mkdir(mode=0o700)
            _copy_database(source.database, part / DATABASE)
            _copy_files(source, part, secrets=settings.backup.secrets)
            manifest = describe(part, name=name, why=why, now=now)
            write(part / MANIFEST, json.dumps(manifest.to_json(), indent=1, sort_keys=True).encode())
            _publish(part, target / name)
    except OSError as error:
        raise StorageError(
            f"The backup could not be written to {target}: {error.strerror or error}.",
            hint="Free some space, mend its permissions, or set backup.folder to another place.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Backup(target / name, manifest)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One backup at a time: the nightly one and one by hand wait for each other, where the disk can lock folders."""
    import fcntl

    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(target: Path) -> None:
    """Remove what a killed backup left behind."""
    for left in target.glob(f"{PART}*"):
        shutil.rmtree(left, ignore_errors=True)


def _room(database: Path, target: Path) -> None:
    needed = database.stat().st_size + _SPARE
    free = shutil.disk_usage(target).free
    if free < needed:
        raise StorageError(
            f"A backup needs {needed >> 20} MiB in {target}, {free >> 20} MiB are free.",
            hint="Free some space, keep fewer backups (backup.daily, backup.weekly), or set backup.folder.",
        )


def _copy_database(source: Path, copy: Path) -> None:
    """``VACUUM INTO``: one snapshot, compacted, so no byte of what was erased comes along. The writer goes on."""
    try:
        with closing(sqlite3.connect(source, timeout=30.0, isolation_level=None)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.DatabaseError as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise DamagedError(
                f"The database {source} is damaged ({error}); it was not backed up, earlier backups are untouched.",
                hint="retainer doctor",
            ) from error
        raise StorageError(f"The database {source} could not be copied: {error}.", hint="retainer doctor") from error
    copy.chmod(0o600)
    sync_file(copy)


def _copy_files(source: DataFolder, part: Path, *, secrets: bool) -> None:
    wanted = [source.root / name for name in _OWNERS]
    if secrets and source.secrets.is_dir():
        wanted += sorted(path for path in source.secrets.iterdir() if not path.is_symlink() and _is_plain(path.name))
    for path in wanted:
        if path.is_file():
            copy = part / "files" / path.relative_to(source.root)
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write(copy, path.read_bytes())


def describe(part: Path, *, name: str, why: str, now: datetime) -> Manifest:
    """Read back what was written; the figures are those of the copy, not of the moving original."""
    problems = check_pages(part / DATABASE)
    if problems:
        raise DamagedError(f"The copy is not sound: {'; '.join(problems)}.", hint="retainer doctor")
    with FileView(part / DATABASE) as view:
        checked = check_view(view)
        tables = [
            row["name"]
            for row in view.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        ]
        counts = {table: _count(view, table) for table in sorted(tables)}
        schema = tuple(row["name"] for row in view.query("SELECT name FROM migration ORDER BY applied_at, name"))
    if checked.problems:
        raise DamagedError(f"The records do not hold: {'; '.join(checked.problems)}.", hint="retainer doctor")
    names = {path.relative_to(part).as_posix(): path for path in sorted(part.rglob("*")) if path.is_file()}
    return Manifest(
        name=name,
        made_at=now,
        why=why,
        version=__version__,
        schema=schema,
        last_event=checked.events,
        counts=counts,
        anchors=checked.anchors,
        files={name: (digest_of(path), path.stat().st_size) for name, path in names.items() if _belongs(name)},
    )


def _belongs(name: str) -> bool:
    """Whether a backup may hold a file of this name; no other is looked at, or put anywhere."""
    owners = name.startswith("files/") and name.removeprefix("files/") in _OWNERS
    return name == DATABASE or owners or (name.startswith(_SECRETS) and _is_plain(name.removeprefix(_SECRETS)))


def _count(view: FileView, table: str) -> int:
    row = view.one(f'SELECT COUNT(*) AS n FROM "{table}"')  # noqa: S608 - a table's own name
    return int(row["n"]) if row else 0


def _publish(part: Path, final: Path) -> None:
    if final.exists():
        raise StorageError(f"There is a backup {final.name} already.", hint="Wait a second and try again.")
    part.rename(final)
    sync_folder(final.parent)


# --- finding and trusting --------------------------------------------------------------------------------------------
def backups(folder: Path) -> list[Backup]:
    """Every backup in ``folder``, newest first; folders without a readable manifest are none.

    Raises :class:`StorageError` when ``folder`` itself cannot be read.
    """
    found = [Backup(path, manifest) for path, manifest in _published(folder) if manifest is not None]
    return sorted(found, key=lambda backup: (backup.manifest.made_at, backup.name), reverse=True)


def unreadable(folder: Path) -> list[str]:
    """Names of what would be a backup if its manifest could be read."""
    return sorted(path.name for path, manifest in _published(folder) if manifest is None)


def _published(folder: Path) -> Iterator[tuple[Path, Manifest | None]]:
    try:
        there = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise StorageError(
            f"The backups in {folder} cannot be read: {error.strerror or error}.",
            hint="Mend its permissions or its disk, or set backup.folder to another place.",
        ) from error
    for path in there:
        if not path.name.startswith(".") and is_there(path / MANIFEST):
            yield path, manifest_of(path)


def is_there(path: Path) -> bool:
    """Whether it is a file; also ``True`` where a folder named like a backup does not let us look."""
    try:
        return path.is_file()
    except OSError:
        return _NAMED.match(path.parent.name) is not None


def manifest_of(path: Path) -> Manifest | None:
    """What the backup in ``path`` says of itself, or ``None`` where that cannot be read."""
    try:
        return Manifest.from_json((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def find(folder: Path, wanted: str) -> Backup:
    """The backup called ``wanted``: its name, a path to it, or ``latest``. Raises :class:`NotFoundError`."""
    there = backups(folder)
    if wanted == "latest" and there:
        return there[0]
    for backup in there:
        if wanted == backup.name:
            return backup
    path = Path(wanted).expanduser()
    if (path / MANIFEST).is_file():
        manifest = manifest_of(path)
        if manifest is None:
            raise StorageError(f"The manifest of {path} cannot be read.", hint="Take another backup.")
        return Backup(path.absolute(), manifest)
    raise NotFoundError(f"There is no backup {wanted!r} in {folder}.", hint="`retainer backup --list` shows them.")


def verify(backup: Backup) -> list[str]:
    """What is wrong with ``backup``: files, pages, audit chains against their anchors, accounts. Changes nothing."""
    problems = [f"{name!r} is no file of a backup" for name in backup.manifest.files if not _belongs(name)]
    if DATABASE not in backup.manifest.files:
        problems.append(f"the manifest does not name {DATABASE}")
    if problems:
        return problems
    for name, (digest, size) in backup.manifest.files.items():
        path = backup.path / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != size or digest_of(path) != digest:
            problems.append(f"{name} is not what the manifest says")
    if problems:
        return problems
    return check_pages(backup.database) or _record_problems(backup)


def _record_problems(backup: Backup) -> list[str]:
    try:
        with FileView(backup.database) as view:
            return list(check_view(view, backup.manifest.anchors).problems)
    except sqlite3.Error as error:
        return [f"its records cannot be read: {error}"]


# --- bytes -----------------------------------------------------------------------------------------------------------
def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step, readable by the owner only, durable."""
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def sync_file(path: Path) -> None:
    """Make what was written to ``path`` durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
