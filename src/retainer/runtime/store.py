"""What can go wrong with the store, in words, and a savepoint inside a unit of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from retainer.core.errors import RetainerError
from retainer.core.protocols import Tx


class StorageError(RetainerError):
    """The database could not be read or written; nothing of the failed unit was kept."""


class DamagedError(StorageError):
    """The database file is damaged or is no database."""


class NewerDatabaseError(StorageError):
    """The database was written by a newer version."""


@contextmanager
def savepoint(tx: Tx, name: str = "part") -> Iterator[None]:
    """Undo only what happens inside when it raises; the surrounding unit goes on."""
    tx.execute(f"SAVEPOINT {name}")
    try:
        yield
    except BaseException:
        tx.execute(f"ROLLBACK TO {name}")
        tx.execute(f"RELEASE {name}")
        raise
    tx.execute(f"RELEASE {name}")
