"""The power fails: what was acknowledged is on the disk, and nothing is done beyond what its class allows."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.far_judge import rows
from tests.runtime.power import DATABASE, MOMENTS, copies, spoil
from tests.runtime.wal_file import half_written, look, strangers

COPIES = 4
ALL = "SELECT id, text FROM item ORDER BY id"


def test_copies_of_torn_disks_open_and_go_on(tmp_path: Path) -> None:
    failures = copies(tmp_path, COPIES, seed=1)
    assert len(failures) == COPIES
    assert len({failure.messages for failure in failures}) > 1, "it worked on between the failures"
    assert Counter(failure.moment for failure in failures) == dict.fromkeys(MOMENTS, COPIES // len(MOMENTS))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Some pages in the main file, and newer ones in the log."""
    connection = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT)")
    connection.execute("CREATE INDEX by_text ON item (text)")
    _fill(connection, 0, 300)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _fill(connection, 300, 600)
    connection.execute("UPDATE item SET text = 'new ' || text WHERE id % 7 = 0")
    connection.execute("DELETE FROM item WHERE id % 5 = 0")
    yield connection
    connection.close()


def _fill(connection: sqlite3.Connection, first: int, last: int) -> None:
    numbers = ((n, f"{n * 7919 % 1000} {'x' * 200}") for n in range(first, last))
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO item VALUES (?, ?)", numbers)
    connection.execute("COMMIT")


def _put(folder: Path, main: bytes, log: bytes) -> Path:
    """The files that a failure left."""
    folder.mkdir()
    path = folder / DATABASE
    path.write_bytes(main)
    Path(f"{path}-wal").write_bytes(log)
    Path(f"{path}-shm").write_bytes(bytes(32768))
    return path


def _sound(path: Path) -> list[Any] | None:
    """All rows; ``None`` if it is damaged."""
    try:
        return rows(path, ALL) if rows(path, "PRAGMA integrity_check") == [("ok",)] else None
    except sqlite3.DatabaseError:
        return None


def test_the_log_is_read_as_sqlite_reads_it(tmp_path: Path, database: sqlite3.Connection) -> None:
    before = look(tmp_path / DATABASE)
    before.check()
    assert len(before.commits()) == 3
    assert before.commits()[-1] == before.index.frames
    assert database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone() == (0, *[before.index.frames] * 2)

    after, pages = look(tmp_path / DATABASE), before.pages(before.index.frames)
    assert (after.index.written, after.index.checkpoint, after.commits()) == (before.index.frames, False, [])
    assert not [*strangers(after.main, before.main, pages)]
    size = after.index.page
    assert {n: after.main[(n - 1) * size : n * size] for n in pages} == pages
    assert len(pages) < before.index.frames, "some were written more than once: the last one counts"


def test_half_a_checkpoint_is_whole_beside_its_log_and_only_there(tmp_path: Path, database: sqlite3.Connection) -> None:
    now, wanted = look(tmp_path / DATABASE), database.execute(ALL).fetchall()
    alone = []
    for seed in range(20):
        chance = random.Random(seed)
        main, _, _ = half_written(now.main, now.pages(chance.choice(now.commits())), chance)
        assert _sound(_put(tmp_path / f"both{seed}", main, now.log)) == wanted
        alone.append(_sound(_put(tmp_path / f"alone{seed}", main, b"")))
    assert wanted not in alone
    assert alone.count(None) > len(alone) / 2, "the pages do damage by themselves"


def test_a_log_begun_anew_is_torn_in_its_first_frames(tmp_path: Path, database: sqlite3.Connection) -> None:
    database.execute("PRAGMA wal_checkpoint(PASSIVE)")
    before, wanted = look(tmp_path / DATABASE), database.execute(ALL).fetchall()
    database.execute("PRAGMA cache_size=2")  # pages of a transaction under way are written early
    database.execute("BEGIN")
    database.execute("UPDATE item SET text = 'lost ' || text")
    now = look(tmp_path / DATABASE)
    first, last = now.unsynced()
    assert (now.index.generation, now.index.frames, first) == (before.index.generation + 1, 0, 32)
    assert 32 < last <= len(now.log)

    found = set()
    for seed in range(30):
        path = _put(tmp_path / f"copy{seed}", now.main, now.log)
        found.add(spoil(path, before, now, "restart", random.Random(seed)).tear)
        assert _sound(path) == wanted
    assert len(found) == 4, "torn in each way"
