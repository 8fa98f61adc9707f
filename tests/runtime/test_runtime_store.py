"""The store: durable groups, a failing unit alone undone, consistent views, and trouble told in words."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.protocols import Migration, Tx
from retainer.runtime import bodies
from retainer.runtime.lock import FolderLock, FolderTakenError, holder
from retainer.runtime.migrate import connect
from retainer.runtime.sqlite import SqliteStore
from retainer.runtime.store import DamagedError, NewerDatabaseError, StorageError, savepoint

ONE = (Migration("a/001", "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT);\nCREATE INDEX t_v ON t (v);"),)
TWO = (*ONE, Migration("a/002", "CREATE TABLE u (k INTEGER PRIMARY KEY);"))
BODY = (Migration("b/001", "CREATE TABLE body (id INTEGER PRIMARY KEY AUTOINCREMENT, salt TEXT, bytes TEXT);"),)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore.open(tmp_path / "r.db", ONE, tick=0.05)
    yield made
    made.close()


def put(store: SqliteStore, key: int, value: str = "x") -> int:
    return store.write_now(lambda tx: tx.execute("INSERT INTO t (k, v) VALUES (?, ?)", (key, value)))


def keys(store: SqliteStore) -> list[int]:
    return [row["k"] for row in store.view().query("SELECT k FROM t ORDER BY k")]


async def test_many_units_share_a_commit_and_each_is_answered(store: SqliteStore) -> None:
    def unit(tx: Tx, key: int) -> int:
        if key % 7 == 3:
            tx.execute("INSERT INTO t (k, v) VALUES (?, 'half')", (key,))
            raise ValueError(str(key))
        return tx.insert("INSERT INTO t (k, v) VALUES (?, 'x')", (key,))

    found = await asyncio.gather(
        *(store.write(lambda tx, k=k: unit(tx, k)) for k in range(200)),  # type: ignore[misc]  # bound default
        return_exceptions=True,
    )
    good = [k for k in range(200) if k % 7 != 3]
    assert keys(store) == good
    assert [f for f in found if isinstance(f, int)] == good
    assert {str(f) for f in found if isinstance(f, ValueError)} == {str(k) for k in range(200) if k % 7 == 3}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=30))
def test_a_failing_unit_takes_nothing_else_with_it(units: list[tuple[int, bool]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "r.db", ONE)
        model: set[int] = set()

        async def run() -> list[Any]:
            return await asyncio.gather(*(store.write(_unit(key, fail)) for key, fail in units), return_exceptions=True)

        answers = asyncio.run(run())
        for (key, fail), answer in zip(units, answers, strict=True):
            if fail or key in model:
                assert isinstance(answer, sqlite3.IntegrityError if key in model else ValueError)
            else:
                model.add(key)
        assert set(keys(store)) == model
        store.close()


def _unit(key: int, fail: bool) -> Any:
    def unit(tx: Tx) -> None:
        tx.execute("INSERT INTO t (k) VALUES (?)", (key,))
        if fail:
            raise ValueError("no")

    return unit


def test_insert_tells_the_new_key_and_zero_when_ignored(store: SqliteStore) -> None:
    sql = "INSERT INTO t (k, v) VALUES (?, 'x') ON CONFLICT DO NOTHING"
    assert store.write_now(lambda tx: (tx.insert(sql, (5,)), tx.insert(sql, (5,)))) == (5, 0)


def test_a_transaction_is_over_when_its_unit_is(store: SqliteStore) -> None:
    kept: list[Tx] = []
    store.write_now(kept.append)
    with pytest.raises(StorageError, match="has ended"):
        kept[0].query("SELECT 1")


def test_a_savepoint_undoes_only_itself(store: SqliteStore) -> None:
    def unit(tx: Tx) -> None:
        tx.execute("INSERT INTO t (k) VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError), savepoint(tx):
            tx.query("INSERT INTO t (k) VALUES (2), (1) RETURNING k")
        with savepoint(tx):
            tx.execute("INSERT INTO t (k) VALUES (3)")

    store.write_now(unit)
    assert keys(store) == [1, 3]


def test_write_soon_does_not_wait_and_survives_a_failure(store: SqliteStore) -> None:
    store.write_soon(lambda tx: tx.execute("INSERT INTO nowhere VALUES (1)"))
    store.write_soon(lambda tx: tx.execute("INSERT INTO t (k) VALUES (1)"))
    put(store, 2)
    assert keys(store) == [1, 2]


def test_a_view_is_one_snapshot_and_a_new_one_sees_more(store: SqliteStore) -> None:
    put(store, 1)
    first = store.view()
    assert first.one("SELECT COUNT(*) AS n FROM t") == {"n": 1}
    put(store, 2)
    second = store.view()
    assert second.one("SELECT COUNT(*) AS n FROM t") == {"n": 2}
    assert first.one("SELECT COUNT(*) AS n FROM t") == {"n": 1}
    first.close()
    assert first.one("SELECT COUNT(*) AS n FROM t") == {"n": 2}
    with store.view() as view:
        assert view.one("SELECT k FROM t WHERE k = 9") is None


def test_views_cannot_write_and_old_ones_let_go(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError):
        store.view().query("INSERT INTO t (k) VALUES (1)")
    held = store.view()
    assert held.query("SELECT * FROM t") == []
    put(store, 1)
    monkeypatch.setattr("retainer.runtime.views.MAX_AGE", 0.0)
    assert held.one("SELECT COUNT(*) AS n FROM t") == {"n": 1}


def test_a_forgotten_view_gives_its_connection_back(store: SqliteStore) -> None:
    for _ in range(50):
        store.view().query("SELECT 1 AS one")
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < 200
    store.checkpoint()
    assert (store.path.parent / "r.db-wal").stat().st_size == 0


def test_erased_bytes_are_gone_from_every_file(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "r.db", BODY)
    secret = "the-combination-is-" + "7" * 30
    body_id = store.write_now(lambda tx: bodies.put(tx, {"text": secret}))
    assert bodies.get(store.view(), body_id) == {"text": secret}
    row = store.view().one("SELECT salt, bytes FROM body WHERE id = ?", (body_id,))
    assert row is not None
    assert len(bodies.salted(row["salt"], row["bytes"])) == 64
    assert store.write_now(lambda tx: bodies.erase(tx, body_id))
    store.checkpoint()
    assert bodies.get(store.view(), body_id) is None
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(InvalidInputError):
        store.write_now(lambda tx: bodies.put(tx, float("nan")))
    store.close()


def test_a_full_disk_fails_the_unit_with_words_and_work_goes_on_once_there_is_space(store: SqliteStore) -> None:
    put(store, 1)
    pages = store.write_now(lambda tx: tx.query("PRAGMA page_count"))[0]["page_count"]
    store.write_now(lambda tx: tx.query(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StorageError, match="disk is full"):
        put(store, 2, "y" * 1_000_000)
    assert keys(store) == [1]
    store.write_now(lambda tx: tx.query("PRAGMA max_page_count = 1000000"))
    put(store, 3, "y" * 1_000_000)
    assert keys(store) == [1, 3]


def test_files_are_private_and_settings_are_strict(store: SqliteStore) -> None:
    assert store.path.stat().st_mode & 0o077 == 0
    found = store.write_now(
        lambda tx: [
            next(iter(tx.query(f"PRAGMA {p}")[0].values()))
            for p in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        ]
    )
    assert found == ["wal", 2, 1, 1]


def test_migrations_run_once_forward_and_leave_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    first = SqliteStore.open(path, ONE)
    put(first, 1)
    first.close()
    assert not (tmp_path / "backups").exists()
    SqliteStore.open(path, TWO).close()
    again = SqliteStore.open(path, TWO)
    assert [r["name"] for r in again.view().query("SELECT name FROM migration ORDER BY name")] == ["a/001", "a/002"]
    assert keys(again) == [1]
    again.close()
    [copy] = (tmp_path / "backups").iterdir()
    assert copy.name.endswith("before-a-002.db")
    with pytest.raises(NewerDatabaseError, match=r"newer version \(it has a/002\)"):
        SqliteStore.open(path, ONE)
    old = SqliteStore.open(copy, ONE)
    assert keys(old) == [1]
    old.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    SqliteStore.open(path, ONE).close()
    broken = (*ONE, Migration("a/002", "CREATE TABLE u (k INTEGER);\nCREATE TABLE t (k INTEGER);"))
    with pytest.raises(StorageError, match="already exists"):
        SqliteStore.open(path, broken)
    store = SqliteStore.open(path, ONE)
    assert store.view().query("SELECT name FROM sqlite_master WHERE name = 'u'") == []
    store.close()


def test_commands_beside_the_service_neither_create_nor_change_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with pytest.raises(NotFoundError, match="retainer up"):
        SqliteStore.open(path, ONE, owner=False)
    SqliteStore.open(path, ONE).close()
    with pytest.raises(StorageError, match="Restart the service"):
        SqliteStore.open(path, TWO, owner=False)


def test_a_file_that_is_no_database_is_damaged_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    path.write_bytes(b"these are my holiday plans " * 100)
    with pytest.raises(DamagedError, match=r"Nothing was changed\. Put a backup"):
        SqliteStore.open(path, ONE)
    assert path.read_bytes().startswith(b"these are")


@pytest.mark.parametrize("reader", [pytest.param(False, id="the writer"), pytest.param(True, id="a reader")])
def test_a_file_that_is_no_database_is_not_held_open(tmp_path: Path, reader: bool) -> None:
    path = tmp_path / "r.db"
    path.write_bytes(b"these are my holiday plans " * 100)
    with pytest.raises(sqlite3.DatabaseError) as refused:
        connect(path, reader=reader)
    assert str(path) not in {file.path for file in psutil.Process().open_files()}, refused.value


def test_a_damaged_page_is_found_after_an_unclean_end(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    store = SqliteStore.open(path, ONE)
    store.write_now(lambda tx: [tx.execute("INSERT INTO t (k, v) VALUES (?, ?)", (k, "v" * 500)) for k in range(500)])
    store.close()
    data = bytearray(path.read_bytes())
    for page in range(2, 12):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(bytes(data))
    (tmp_path / "r.db-wal").write_bytes(b"torn")
    with pytest.raises(DamagedError):
        SqliteStore.open(path, ONE)


def test_a_torn_log_is_replayed_as_far_as_it_is_whole(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "r.db", ONE)
    for key in range(5):
        put(store, key)
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "r.db").write_bytes((tmp_path / "r.db").read_bytes())
    log = (tmp_path / "r.db-wal").read_bytes()
    (torn / "r.db-wal").write_bytes(log[:-100])
    store.close()
    again = SqliteStore.open(torn / "r.db", ONE)
    assert keys(again) == [0, 1, 2, 3]
    again.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be used"):
        SqliteStore.open(tmp_path / "file" / "r.db", ONE)
    with pytest.raises(StorageError, match="cannot be used"):
        FolderLock.acquire(tmp_path / "file")


def test_a_folder_that_is_taken_away_takes_nothing_until_it_is_back(tmp_path: Path) -> None:
    """What is open could still be written, but nobody would find it there. A read-only folder is the same to it."""
    store = SqliteStore.open(tmp_path / "data" / "r.db", ONE)
    put(store, 1)
    (tmp_path / "data").rename(tmp_path / "away")
    with pytest.raises(StorageError, match="data is gone") as refused:
        put(store, 2)
    assert "Put it back" in refused.value.hint
    (tmp_path / "away").rename(tmp_path / "data")
    put(store, 3)
    assert keys(store) == [1, 3]
    store.close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "r.db", ONE)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        put(store, 1)
    with pytest.raises(StorageError, match="closed"):
        store.view().query("SELECT 1")
    assert not (tmp_path / "r.db-wal").exists()


def test_a_backup_is_a_whole_database(store: SqliteStore) -> None:
    put(store, 1)
    copy = store.backup("daily")
    other = SqliteStore.open(copy, ONE)
    assert keys(other) == [1]
    other.close()


def test_a_copy_that_was_cut_short_or_has_no_room_leaves_nothing_behind(store: SqliteStore) -> None:
    put(store, 1, "y" * 200_000)
    folder = store.path.parent / "backups"
    folder.mkdir()
    (folder / f"{store.path.stem}-20260101T000000000000-daily.db.part").write_bytes(b"half")
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom retainer.runtime.migrate import backup, connect\n"
        "path = Path(sys.argv[1])\nconnection = connect(path)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
        "backup(connection, path, 'daily')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=False)
    assert "OperationalError" in done.stderr
    assert list(folder.iterdir()) == []
    copy = store.backup("daily")
    assert list(folder.iterdir()) == [copy]


def test_whoever_only_looks_at_the_lock_keeps_nobody_out(tmp_path: Path) -> None:
    FolderLock.acquire(tmp_path).release()
    with (tmp_path / "service.lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.03, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        FolderLock.acquire(tmp_path).release()


def test_one_service_per_folder_and_the_other_is_named(tmp_path: Path) -> None:
    lock = FolderLock.acquire(tmp_path)
    with pytest.raises(FolderTakenError, match=rf"process {os.getpid()}"):
        FolderLock.acquire(tmp_path)
    assert holder(tmp_path) == os.getpid()
    lock.release()
    lock.release()
    assert holder(tmp_path) == 0
    code = (
        "import sys, os\nfrom retainer.runtime.lock import FolderLock\n"
        f"lock = FolderLock.acquire({str(tmp_path)!r})\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(FolderTakenError) as caught:
            FolderLock.acquire(tmp_path)
        assert caught.value.pid == child.pid
        child.kill()
    FolderLock.acquire(tmp_path).release()
