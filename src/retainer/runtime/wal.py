"""Switching a SQLite file to a write-ahead log."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

_PAUSE: Final = 0.005
_TAKEN: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def write_ahead(connection: sqlite3.Connection, seconds: float) -> None:
    """Use a write-ahead log from now on; where others just do the same, or write, wait for them up to ``seconds``.

    SQLite does not wait for this switch itself, whatever its timeout: it refuses one of two at once.
    """
    ends = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _TAKEN or time.monotonic() > ends:
                raise
            time.sleep(_PAUSE)
        else:
            return
