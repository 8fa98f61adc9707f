"""Several that begin one SQLite file at the same moment: each gets its write-ahead log, none is refused."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from retainer.runtime.wal import write_ahead


def test_all_who_begin_a_file_at_once_get_it(tmp_path: Path) -> None:
    """SQLite refuses one of two that switch at once, whatever its timeout."""
    modes: list[str] = []
    for number in range(20):
        start = threading.Barrier(8)

        def begin(path: Path = tmp_path / f"{number}.db", start: threading.Barrier = start) -> None:
            with closing(sqlite3.connect(path, timeout=10.0)) as connection:
                start.wait()
                write_ahead(connection, 10.0)
                connection.execute("CREATE TABLE IF NOT EXISTS t (k)")
                modes.append(connection.execute("PRAGMA journal_mode").fetchone()[0])

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert modes == ["wal"] * 160


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as holder,
        closing(sqlite3.connect(tmp_path / "x.db", timeout=0.0)) as other,
    ):
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write_ahead(other, 0.05)
