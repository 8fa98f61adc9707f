"""One service per data folder."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from retainer.core.errors import RetainerError
from retainer.runtime.store import StorageError

_LOOKS: Final = 5


class FolderTakenError(RetainerError):
    """Another service runs on this data folder. ``pid`` is its process, 0 when unknown."""

    def __init__(self, folder: Path, pid: int) -> None:
        who = f" (process {pid})" if pid else ""
        super().__init__(
            f"Another retainer{who} is running on {folder}.",
            hint="Use that one (`retainer chat`, `retainer status`), end it, or set RETAINER_DATA to another one.",
        )
        self.pid = pid


class FolderLock:
    """Held for as long as the service runs; the system lets go of it when the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, folder: Path | str) -> FolderLock:
        """Take the folder, or raise :class:`FolderTakenError` naming the process that has it."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(folder / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"The data folder {folder} cannot be used: {error.strerror}.",
                hint="Make it writable, or set RETAINER_DATA to another one.",
            ) from error
        try:
            _take(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise FolderTakenError(folder, holder(folder)) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(descriptor)
            raise StorageError(
                f"The data folder {folder} cannot be written: {error.strerror}.", hint="Free some space on its disk."
            ) from error
        return cls(descriptor)

    def release(self) -> None:
        """Let go; harmless when done twice."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # a disk that became read-only; the system lets go all the same
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def _take(descriptor: int) -> None:
    """Lock it; whoever only looks (:func:`holder`) has it for a moment, and is waited for."""
    import fcntl

    for left in reversed(range(_LOOKS)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not left:
                raise
            time.sleep(0.02)
        else:
            return


def holder(folder: Path | str) -> int:
    """Process id of the service running on ``folder``, 0 if none is."""
    import fcntl

    try:
        descriptor = os.open(Path(folder) / "service.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return 0
