"""Files below one folder and nowhere else: no absolute path, no ``..``, no link of either kind, no device.

:func:`open_inside` walks folder by folder without following links, so what is checked is what is opened.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from retainer.core.errors import NotFoundError, RefusedError
from retainer.core.values import writable

MAX_DEPTH = 32


def check_path(root: Path, given: str) -> Path:
    """The file or folder that ``given`` names below ``root``; it need not exist yet.

    Raises :class:`RefusedError` for an absolute path, ``..``, a backslash or control character, a symbolic link
    anywhere below ``root``, and whatever is neither file nor folder (devices, pipes, sockets).
    """
    parts = _parts(given)
    path = Path(os.path.realpath(root))
    for part in parts:
        path = path / part
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RefusedError(f"{given!r} cannot be used: {error.strerror}.") from error
        _plain(mode, given)
    return path


def open_inside(root: Path, given: str, *, write: bool = False) -> BinaryIO:
    """Open a file below ``root``, for reading or as a new or emptied file, without ever following a link.

    Raises like :func:`check_path`, and :class:`~retainer.core.errors.NotFoundError` where nothing is.
    """
    *folders, name = _parts(given)
    held = _open_root(root)
    try:
        for folder in folders:
            inner = _open_at(folder, os.O_RDONLY | os.O_DIRECTORY, held, given)
            os.close(held)
            held = inner
        flags = os.O_WRONLY | os.O_CREAT if write else os.O_RDONLY
        fd = _open_at(name, flags | os.O_NONBLOCK, held, given)
    finally:
        os.close(held)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise RefusedError(f"{given!r} is not a plain file.")
        if found.st_nlink > 1:
            raise RefusedError(f"{given!r} is a second name of a file that may lie elsewhere.", hint="Copy it instead.")
        if write:
            os.ftruncate(fd, 0)
        return os.fdopen(fd, "wb" if write else "rb")
    except BaseException:
        os.close(fd)
        raise


def _open_root(root: Path) -> int:
    try:
        return os.open(os.path.realpath(root), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no folder {str(root)!r}.") from error
    except OSError as error:
        raise RefusedError(f"The folder {str(root)!r} cannot be used: {error.strerror}.") from error


def _open_at(name: str, flags: int, folder: int, given: str) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no {given!r} here.") from error
    except OSError as error:
        raise RefusedError(f"{given!r} cannot be used: {error.strerror}.") from error


def _parts(given: str) -> tuple[str, ...]:
    named = isinstance(given, str) and given and writable(given)
    if not named or "\\" in given or any(ord(ch) < 32 or ord(ch) == 127 for ch in given):
        raise RefusedError("That is not the name of a file here.")
    path = PurePosixPath(given)
    if path.is_absolute() or given.startswith("~") or (len(given) > 1 and given[1] == ":"):
        raise RefusedError(f"{given!r} is not below the folder.", hint="Name it from the folder on.")
    parts = tuple(part for part in given.split("/") if part not in {"", "."})
    if not parts or ".." in parts or len(parts) > MAX_DEPTH or any(len(part.encode()) > 255 for part in parts):
        raise RefusedError(f"{given!r} is not below the folder.", hint="Name it from the folder on, without '..'.")
    return parts


def _plain(mode: int, given: str) -> None:
    if stat.S_ISLNK(mode):
        raise RefusedError(f"{given!r} goes through a symbolic link.")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise RefusedError(f"{given!r} is neither a file nor a folder.")
