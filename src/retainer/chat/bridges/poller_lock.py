"""One poller per bot: two of them on one token steal each other's messages."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retainer.core.errors import RefusedError


def lock_path(token: str, folder: Path | None = None) -> Path:
    """The lock file for ``token``; its name holds a digest, never the token."""
    name = hashlib.sha256(token.encode()).hexdigest()[:24]
    return (folder or Path(tempfile.gettempdir())) / f"retainer-{os.getuid()}-{name}.lock"


@contextmanager
def one_poller(token: str, folder: Path | None = None) -> Iterator[None]:
    """Hold the lock for ``token`` on this machine; freed by the system when the process ends, however it ends.

    Raises :class:`RefusedError` when another process holds it.
    """
    descriptor = os.open(lock_path(token, folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RefusedError(
                "Another process on this machine already listens with this bot's token.",
                hint="Stop the other one, or give this one its own bot.",
            ) from error
        yield
    finally:
        os.close(descriptor)
