"""Backups: whole or none, proven by their manifest, restored beside what was there, without what was erased."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import hashlib
import json
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.app.running import retainer

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations import backups as backups_module
from retainer.app.operations.backups import (
    DATABASE,
    MANIFEST,
    Backup,
    backup_folder,
    backups,
    find,
    make,
    verify,
)
from retainer.app.operations.check import account_problems
from retainer.app.operations.commands import run_backup
from retainer.app.operations.drill import last_drill, run_drill
from retainer.app.operations.nightly import Nightly, last_due
from retainer.app.operations.restore import MARKER, continue_numbers, finish_restore, loss, restore, rewrite_replaced
from retainer.app.operations.retention import prune, prune_copies, to_keep
from retainer.app.operations.rewriting import rewrite
from retainer.app.operations.settings import BackupSettings
from retainer.app.store import migrations
from retainer.core.clock import ManualClock
from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.core.events import NewEvent
from retainer.core.protocols import Tx
from retainer.runtime.inbox import insert_event
from retainer.runtime.lock import FolderLock, FolderTakenError
from retainer.runtime.safe_mode import read_safe_mode
from retainer.runtime.sqlite import SqliteStore
from retainer.runtime.store import DamagedError, StorageError
from retainer.safety import audit
from retainer.trading.kernels import open_account
from retainer.trading.records import Change, write

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SCHEMA = migrations()


def record(store: SqliteStore, *texts: str) -> None:
    """Messages arrive and are audited."""

    def unit(tx: Tx) -> None:
        for text in texts:
            event = NewEvent(
                source="terminal",
                external_id=text,
                agent="chat",
                lane="chat:terminal:local",
                kind="message",
                body={"text": text},
                sender="owner",
                reply_to="terminal:local",
                occurred_at=NOW,
            )
            receipt = insert_event(tx, event, NOW)
            audit.append(tx, "chat:terminal:local", "message", f"event:{receipt.seq}", {}, NOW)

    store.write_now(unit)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A folder with three messages, an account, a secret and a configuration."""
    settings = Settings(data=tmp_path / "data")
    folder = DataFolder(settings.data).make()
    (folder.secrets / "telegram").write_text("a secret")
    (folder.root / "personality.toml").write_text('name = "Ida"\n')
    store = SqliteStore.open(folder.database, SCHEMA)
    record(store, "one", "two", "three")
    state, deposit = open_account(10_000_00, "paper", 0)
    store.write_now(lambda tx: write(tx, 1, Change(before=None, state=state, postings=(deposit,))))
    store.close()
    return settings


def database(settings: Settings) -> SqliteStore:
    return SqliteStore.open(DataFolder(settings.data).database, SCHEMA)


def texts(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [json.loads(row[0]).get("text", "") for row in connection.execute("SELECT bytes FROM body ORDER BY id")]


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0xFF]))


# --- making and trusting ---------------------------------------------------------------------------------------------
def test_a_backup_says_what_it_holds_and_is_its_owners_alone(settings: Settings) -> None:
    backup = make(settings, why="manual", now=NOW)
    manifest = backup.manifest
    assert (manifest.last_event, manifest.counts["event"], manifest.counts["account"]) == (3, 3, 1)
    assert manifest.anchors["chat:terminal:local"].count == 3
    assert set(manifest.files) == {DATABASE, "files/personality.toml", "files/secrets/telegram"}
    assert verify(backup) == []
    assert all(path.stat().st_mode & 0o077 == 0 for path in backup.path.rglob("*"))
    assert [each.name for each in backups(backup_folder(settings))] == [backup.name]


def test_it_is_made_while_the_service_writes(settings: Settings) -> None:
    store = database(settings)
    try:
        record(store, "four")
        backup = make(settings, why="manual", now=NOW)
        record(store, "five")
    finally:
        store.close()
    assert texts(backup.database) == ["one", "two", "three", "four"]
    assert verify(backup) == []


def test_secrets_stay_out_when_that_is_wanted(settings: Settings) -> None:
    chosen = settings.model_copy(update={"backup": BackupSettings(secrets=False)})
    assert "files/secrets/telegram" not in make(chosen, why="manual", now=NOW).manifest.files


@pytest.mark.parametrize("what", ["database", "secret", "missing", "manifest"])
def test_a_backup_that_was_changed_is_not_trusted(settings: Settings, what: str) -> None:
    backup = make(settings, why="manual", now=NOW)
    if what == "database":
        flip(backup.database, backup.database.stat().st_size // 2)
    elif what == "secret":
        (backup.path / "files/secrets/telegram").write_text("b secret")
    elif what == "missing":
        (backup.path / "files/personality.toml").unlink()
    else:
        (backup.path / MANIFEST).write_text("{")
        assert backups(backup_folder(settings)) == []
        return
    assert verify(backup)
    with pytest.raises(StorageError, match="Nothing was changed"):
        restore(DataFolder(settings.data), backup, SCHEMA, now=NOW)
    assert texts(DataFolder(settings.data).database) == ["one", "two", "three"]


def test_records_that_do_not_hold_are_found_though_every_byte_is_as_the_manifest_says(settings: Settings) -> None:
    """A forger who also rewrites the digests: the audit chain and the ledger still speak."""
    backup = make(settings, why="manual", now=NOW)
    with closing(sqlite3.connect(backup.database)) as connection, connection:
        connection.execute("UPDATE audit SET kind = 'forged' WHERE n = 2")
        connection.execute("UPDATE ledger SET amount = amount + 1")
    plain = json.loads((backup.path / MANIFEST).read_text())
    size, digest = backup.database.stat().st_size, backups_module.digest_of(backup.database)
    plain["files"][DATABASE] = {"sha256": digest, "size": size}
    (backup.path / MANIFEST).write_text(json.dumps(plain))
    problems = " ".join(verify(find(backup_folder(settings), "latest")))
    assert "entry 2 does not match" in problems
    assert "cash is 10000.00, its ledger adds up to 10000.01" in problems


def rewritten(backup: Backup, **changes: object) -> None:
    """The manifest says something else."""
    path = backup.path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": []},
        {"counts": {"event": -1}},
        {"files": ["a"]},
        {"files": {DATABASE: {"sha256": "", "size": "1"}}},
        {"anchors": {"control": [1]}},
        {"schema": "runtime/001"},
        {"made_at": "2026-03-02T12:00:00"},
        {"made_at": "0001-01-01T00:00:00+23:59"},
        {"made_at": 5},
        {"last_event": 99999999999999999999},
        {"last_event": True},
        {"name": "../../elsewhere"},
        {"name": "\x1b[2J"},
        {"format": 2},
    ],
)
def test_a_folder_whose_manifest_is_wrong_is_no_backup_and_hides_none(
    settings: Settings, capsys: pytest.CaptureFixture[str], changes: dict[str, object]
) -> None:
    good = make(settings, why="manual", now=NOW)
    wrong = make(settings, why="nightly", now=NOW + timedelta(days=1))
    rewritten(wrong, **changes)
    folder = backup_folder(settings)
    assert backups(folder) == [good]
    assert find(folder, "latest") == good
    assert Nightly(settings, SCHEMA, ManualClock(NOW)).state().count == 1
    assert run_backup(settings, show=True, drill=False, as_json=False) == 0
    assert f"{wrong.path.name} is no backup: its manifest.json cannot be read." in capsys.readouterr().out
    with pytest.raises(StorageError, match="cannot be read"):
        find(folder, str(wrong.path))


def test_a_manifest_of_endless_depth_is_none(settings: Settings) -> None:
    backup = make(settings, why="manual", now=NOW)
    (backup.path / MANIFEST).write_text("[" * 100_000)
    assert backups(backup_folder(settings)) == []


@pytest.mark.parametrize(
    "name",
    [
        *("files//{outside}", "files/../../{inside}", "../{inside}", "{outside}", "files/retainer.db", ""),
        *("files/secrets/../x", "files/secrets/a/b", "files/secrets/", "files/secrets/..", "files/secrets/a\nb"),
        "files/service.json",
    ],
)
def test_a_backup_that_names_a_file_which_none_has_is_refused(settings: Settings, tmp_path: Path, name: str) -> None:
    """Whoever can write into the folder of backups must not be able to write anywhere else."""
    outside = tmp_path / "pwned.txt"
    name = name.format(outside=outside, inside=outside.name)
    backup = make(settings, why="manual", now=NOW)
    bytes_ = b"from the backup"
    path = backup.path / name.replace(f"/{outside}", str(outside))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_)
    files = json.loads((backup.path / MANIFEST).read_text())["files"]
    file = {"sha256": hashlib.sha256(bytes_).hexdigest(), "size": len(bytes_)}
    rewritten(backup, files=files | {name: file})
    outside.unlink(missing_ok=True)
    with pytest.raises(StorageError, match=r"is no file of a backup\. Nothing was changed"):
        restore(DataFolder(settings.data), find(backup_folder(settings), "latest"), SCHEMA, now=NOW)
    assert not outside.exists()


def test_a_backup_whose_manifest_leaves_the_database_out_is_refused(settings: Settings) -> None:
    backup = make(settings, why="manual", now=NOW)
    rewritten(backup, files={})
    with pytest.raises(StorageError, match=r"does not name retainer\.db\. Nothing was changed"):
        restore(DataFolder(settings.data), find(backup_folder(settings), "latest"), SCHEMA, now=NOW)


def test_a_backup_whose_database_is_none_of_ours_is_refused_in_words(settings: Settings) -> None:
    backup = make(settings, why="manual", now=NOW)
    with closing(sqlite3.connect(backup.database)) as connection, connection:
        connection.execute("DROP TABLE account")
    size, digest = backup.database.stat().st_size, backups_module.digest_of(backup.database)
    rewritten(backup, files={DATABASE: {"sha256": digest, "size": size}})
    changed = find(backup_folder(settings), "latest")
    with pytest.raises(StorageError, match=r"no such table: account"):
        restore(DataFolder(settings.data), changed, SCHEMA, now=NOW)
    assert not run_drill(changed, SCHEMA, now=NOW).ok


def test_a_manifest_that_counts_a_table_which_is_not_there_fails_the_drill(settings: Settings) -> None:
    backup = make(settings, why="manual", now=NOW)
    rewritten(backup, counts={"nowhere": 1})
    drill = run_drill(find(backup_folder(settings), "latest"), SCHEMA, now=NOW)
    assert "no such table: nowhere" in drill.words


def test_a_file_that_somebody_put_into_a_backup_is_no_part_of_it(settings: Settings) -> None:
    backup = make(settings, why="manual", now=NOW)
    (backup.path / ".DS_Store").write_bytes(b"")
    rewrite(backup_folder(settings), lambda connection: None, now=NOW)
    [after] = backups(backup_folder(settings))
    assert after.manifest.files.keys() == backup.manifest.files.keys()
    assert verify(after) == []


def test_a_damaged_database_displaces_no_good_backup(settings: Settings) -> None:
    good = make(settings, why="nightly", now=NOW)
    flip_pages(DataFolder(settings.data).database)
    with pytest.raises(DamagedError):
        make(settings, why="nightly", now=NOW + timedelta(days=1))
    assert [backup.name for backup in backups(backup_folder(settings))] == [good.name]
    assert [path.name for path in backup_folder(settings).iterdir()] == [good.name]


def flip_pages(path: Path) -> None:
    """Every page but the first is overwritten."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xde\xad\xbe\xef" * ((path.stat().st_size - 4096) // 4))


def test_without_room_it_says_how_much_is_needed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups_module, "_SPARE", 1 << 62)
    with pytest.raises(StorageError, match=r"needs \d+ MiB .* are free"):
        make(settings, why="manual", now=NOW)
    assert list(backup_folder(settings).iterdir()) == []


def test_what_a_killed_backup_left_is_swept_away_and_never_listed(settings: Settings) -> None:
    left = backup_folder(settings) / ".part-20260101T000000Z-nightly"
    left.mkdir(parents=True)
    (left / DATABASE).write_bytes(b"half")
    assert backups(backup_folder(settings)) == []
    make(settings, why="manual", now=NOW)
    assert not left.exists()


# --- keeping ---------------------------------------------------------------------------------------------------------
def test_seven_days_and_four_weeks_are_kept() -> None:
    made = [NOW - timedelta(days=days) for days in range(60)]
    kept = sorted(to_keep(made, BackupSettings()), reverse=True)
    assert kept[:7] == made[:7]
    weeks = [at.isocalendar()[:2] for at in kept[7:]]
    assert len(weeks) == len(set(weeks)) == 4
    assert kept[7] < kept[6]
    assert (NOW - kept[-1]).days <= 42


def test_of_a_day_the_newest_is_kept_and_the_newest_of_all_always() -> None:
    made = [NOW - timedelta(hours=hours) for hours in (0, 1, 2, 30)]
    assert to_keep(made, BackupSettings(daily=1, weekly=0)) == {made[0]}
    assert to_keep(made, BackupSettings(daily=2, weekly=0)) == {made[0], made[3]}
    assert to_keep([], BackupSettings()) == set()


def test_what_is_too_old_goes(settings: Settings) -> None:
    chosen = settings.model_copy(update={"backup": BackupSettings(daily=2, weekly=0)})
    made = [make(chosen, why="nightly", now=NOW + timedelta(days=days)) for days in range(4)]
    gone = prune(backup_folder(chosen), chosen.backup, made[3])
    assert {each.name for each in gone} == {made[0].name, made[1].name}
    assert [each.name for each in backups(backup_folder(chosen))] == [made[3].name, made[2].name]


def test_what_goes_on_further_than_the_newest_is_never_let_go_of(settings: Settings) -> None:
    """The data folder was emptied: the only backup of what was in it is of the same day."""
    full = make(settings, why="nightly", now=NOW)
    DataFolder(settings.data).database.unlink()
    database(settings).close()
    almost_empty = make(settings, why="manual", now=NOW + timedelta(hours=1))
    assert prune(backup_folder(settings), BackupSettings(daily=1, weekly=0), almost_empty) == []
    assert full.path.exists()


def test_backups_from_a_clock_that_was_ahead_do_not_displace_the_one_just_made(settings: Settings) -> None:
    chosen = BackupSettings(daily=1, weekly=0)
    make(settings, why="nightly", now=NOW + timedelta(days=365))
    made = make(settings, why="nightly", now=NOW)
    assert prune(backup_folder(settings), chosen, made) == []


@pytest.mark.parametrize(
    "change",
    [
        {"ok": "no"},
        {"ok": False},
        {"problems": "none"},
        {"backup": "20261101\x1b[2J"},
        {"seconds": "soon"},
        {"at": None},
    ],
)
def test_a_record_of_a_drill_that_somebody_wrote_over_says_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    said = {"backup": "20261101", "at": NOW.isoformat(), "ok": True, "problems": [], "events": 3, "seconds": 1}
    (tmp_path / "drill.json").write_text(json.dumps(said))
    assert last_drill(tmp_path) is not None
    (tmp_path / "drill.json").write_text(json.dumps(said | change))
    assert last_drill(tmp_path) is None


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands by hand are given at ``NOW``."""
    monkeypatch.setattr("retainer.app.operations.commands.SystemClock", lambda: ManualClock(NOW))


@pytest.mark.usefixtures("noon")
def test_a_backup_by_hand_is_tried_out_and_says_why_older_ones_go(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings.model_copy(update={"backup": BackupSettings(daily=1, weekly=0)})
    morning = make(chosen, why="nightly", now=NOW - timedelta(hours=8))
    yesterday = make(chosen, why="nightly", now=NOW - timedelta(days=1))
    assert run_backup(chosen, show=False, drill=False, as_json=False) == 0
    said = capsys.readouterr().out
    assert f"removed {morning.name}, replaced by this one" in said
    assert f"removed {yesterday.name}, too old" in said
    drill = last_drill(backup_folder(chosen))
    assert drill is not None
    assert drill.ok
    assert [each.name for each in backups(backup_folder(chosen))] == [drill.backup]


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize("as_json", [False, True])
def test_a_backup_by_hand_that_does_not_restore_displaces_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    good = make(settings, why="nightly", now=NOW - timedelta(hours=8))

    def torn(*args: Any, **named: Any) -> Backup:
        backup = make(*args, **named)
        flip(backup.database, backup.database.stat().st_size // 2)
        return backup

    monkeypatch.setattr("retainer.app.operations.commands.make", torn)
    assert run_backup(settings, show=False, drill=False, as_json=as_json) == 1
    said = capsys.readouterr().out
    if as_json:
        assert (json.loads(said)["drill"], json.loads(said)["removed"]) == (False, [])
    else:
        assert "does not restore" in said
        assert "No earlier backup was removed." in said
    assert verify(good) == []


def test_a_disk_that_fills_up_after_a_backup_is_told_in_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("retainer.app.operations.drill.write_json", full)
    with pytest.raises(StorageError, match=r"-manual is made, but .* No space left on device"):
        run_backup(settings, show=False, drill=False, as_json=False)


def test_of_the_copies_before_schema_changes_three_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"retainer-{number}.db").write_bytes(b"")
        (tmp_path / f"retainer-{number}.db").touch()
        import os

        os.utime(tmp_path / f"retainer-{number}.db", (number, number))
    assert sorted(prune_copies(tmp_path)) == ["retainer-0.db", "retainer-1.db"]


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-03-02T12:00+00:00", "2026-03-02T03:15+01:00"),
        ("2026-03-02T01:00+00:00", "2026-03-01T03:15+01:00"),
        ("2026-03-29T01:30+00:00", "2026-03-29T03:15+02:00"),  # the clock went forward over 02:00
        ("2026-10-25T03:00+00:00", "2026-10-25T03:15+01:00"),  # and back
    ],
)
def test_when_a_backup_was_due(now: str, due: str) -> None:
    from zoneinfo import ZoneInfo

    assert last_due(datetime.fromisoformat(now), "03:15", ZoneInfo("Europe/Oslo")) == datetime.fromisoformat(due)


async def test_a_night_slept_through_is_made_up_for_once_and_drilled(settings: Settings) -> None:
    clock = ManualClock(NOW)
    nightly = Nightly(settings, SCHEMA, clock)
    assert nightly.due()
    assert await nightly.once("nightly") is not None
    assert not nightly.due()
    clock.advance(hours=10)
    assert not nightly.due()
    clock.advance(days=3)
    assert nightly.due()
    state = nightly.state()
    assert state.count == 1
    assert state.drill is not None
    assert state.drill.ok
    assert state.error == ""


async def test_a_backup_made_while_the_clock_was_ahead_does_not_count(settings: Settings) -> None:
    clock = ManualClock(NOW + timedelta(days=365))
    nightly = Nightly(settings, SCHEMA, clock)
    assert await nightly.once("nightly") is not None
    clock.set(NOW)
    assert nightly.due()
    assert await nightly.once("nightly") is not None
    assert not nightly.due()


def test_two_backups_at_once_wait_for_each_other(settings: Settings) -> None:
    whys = ("nightly", "manual", "before")
    with ThreadPoolExecutor(len(whys)) as pool:
        made = list(pool.map(lambda why: make(settings, why=why, now=NOW), whys))
    assert all(verify(backup) == [] for backup in made)
    assert {path.name for path in backup_folder(settings).iterdir()} == {backup.name for backup in made}


@pytest.mark.parametrize(("number", "kind"), [(errno.EROFS, StorageError), (errno.EACCES, RetainerError)])
def test_a_folder_that_cannot_be_written_is_worth_another_try_where_that_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[RetainerError]
) -> None:
    def refuses(**_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("retainer.app.folder.tempfile.TemporaryFile", refuses)
    with pytest.raises(RetainerError, match="cannot be written") as refused:
        DataFolder(tmp_path).make()
    assert type(refused.value) is kind


def test_a_restore_without_room_is_told_in_words_and_changes_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = make(settings, why="manual", now=NOW)
    folder = DataFolder(settings.data)
    before = folder.database.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("retainer.app.operations.restore.shutil.copyfile", full)
        with pytest.raises(StorageError, match="No space left on device"):
            restore(folder, backup, SCHEMA, now=NOW)
    assert folder.database.read_bytes() == before
    assert not [path for path in folder.root.iterdir() if "restoring" in path.name]
    restore(folder, backup, SCHEMA, now=NOW)


async def test_a_backup_that_fails_is_told_and_tried_again_an_hour_later(settings: Settings) -> None:
    clock = ManualClock(NOW)
    nightly = Nightly(settings, SCHEMA, clock)
    flip_pages(DataFolder(settings.data).database)
    assert await nightly.once("nightly") is None
    assert "damaged" in nightly.error
    assert not nightly.due()
    clock.advance(minutes=61)
    assert nightly.due()


async def test_a_disk_of_backups_that_is_gone_ends_no_further_night(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(NOW)
    nightly = Nightly(settings, SCHEMA, clock)

    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("retainer.app.operations.retention.prune", gone)
        assert await nightly.once("nightly") is None
    assert "Input/output error" in nightly.error
    assert nightly.state().error
    clock.advance(days=1, minutes=61)
    assert nightly.due()
    assert await nightly.once("nightly") is not None
    assert nightly.error == ""


async def test_the_nights_go_on_after_a_look_that_failed_in_a_way_nobody_thought_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(NOW)
    nightly, due = Nightly(settings, SCHEMA, clock), Nightly.due
    monkeypatch.setattr("retainer.app.operations.nightly.SETTLE_S", 0)
    monkeypatch.setattr("retainer.app.operations.nightly.LOOK_S", 0.01)

    def fails(_: Nightly) -> bool:
        raise TypeError("what nobody thought of")

    monkeypatch.setattr(Nightly, "due", fails)
    task = asyncio.create_task(nightly.run())
    try:
        async with asyncio.timeout(20):
            while not nightly.error:
                await asyncio.sleep(0.01)
            assert nightly.state().error == "what nobody thought of"
            monkeypatch.setattr(Nightly, "due", due)
            await asyncio.sleep(0.05)
            assert nightly.state().count == 0
            clock.advance(minutes=61)
            while nightly.error or not nightly.state().count:
                await asyncio.sleep(0.01)
        assert not task.done()
    finally:
        task.cancel()


@pytest.mark.parametrize("highest", [0, 1, 999_990, 1_000_000, 1_999_999])
def test_numbers_go_on_at_least_a_million_higher(settings: Settings, highest: int) -> None:
    store = SqliteStore.open(DataFolder(settings.data).database, SCHEMA)

    def continued(tx: Tx) -> int:
        tx.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'event'", (highest,))
        continue_numbers(tx, {})
        row = tx.one("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        assert row is not None
        return int(row["seq"])

    try:
        assert 1_000_000 <= store.write_now(continued) - highest <= 2_000_000
    finally:
        store.close()


def test_records_in_a_server_are_restored_by_its_own_tools(tmp_path: Path) -> None:
    done = retainer(
        tmp_path, "restore", "latest", "--yes", env={"RETAINER_STORE__URL": "postgresql://nobody@[::1]:1/no"}
    )
    assert done.returncode == 2
    assert "restored by its own tools" in done.stderr
    assert "pg_restore" in done.stderr


# --- trying out ------------------------------------------------------------------------------------------------------
def test_the_drill_restores_and_checks_and_leaves_nothing_behind(settings: Settings) -> None:
    backup = make(settings, why="nightly", now=NOW)
    drill = run_drill(backup, SCHEMA, now=NOW)
    assert drill.ok
    assert drill.events == 3
    assert last_drill(backup_folder(settings)) == drill
    assert sorted(path.name for path in backup_folder(settings).iterdir()) == [backup.name, "drill.json"]


def test_a_backup_of_an_older_version_is_brought_up_to_date_in_the_drill(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    older = tuple(step for step in SCHEMA if not step.name.startswith("runtime/00") or step.name == "runtime/001")
    folder = DataFolder(settings.data).make()
    SqliteStore.open(folder.database, older).close()
    backup = make(settings, why="nightly", now=NOW)
    assert run_drill(backup, SCHEMA, now=NOW).ok


def test_a_failed_drill_is_told_and_removes_nothing(settings: Settings) -> None:
    first = make(settings, why="nightly", now=NOW)
    flip(first.database, first.database.stat().st_size // 2)
    drill = run_drill(first, SCHEMA, now=NOW)
    assert not drill.ok
    assert "not what the manifest says" in drill.words
    assert [each.name for each in backups(backup_folder(settings))] == [first.name]


# --- restoring -------------------------------------------------------------------------------------------------------
@pytest.fixture
def later(settings: Settings) -> Backup:
    """A backup, after which two more messages arrived."""
    backup = make(settings, why="nightly", now=NOW)
    store = database(settings)
    record(store, "four", "five")
    store.close()
    return backup


def test_a_restore_keeps_the_former_records_and_begins_in_safe_mode(settings: Settings, later: Backup) -> None:
    folder = DataFolder(settings.data)
    (folder.memory / "owner.db").write_bytes(b"from the future")
    assert loss(folder, later).events == 2
    done = restore(folder, later, SCHEMA, now=NOW)
    assert texts(folder.database) == ["one", "two", "three"]
    assert done.aside is not None
    assert texts(done.aside / DATABASE) == ["one", "two", "three", "four", "five"]
    assert (done.aside / "memory" / "owner.db").exists()
    assert list(folder.memory.iterdir()) == []
    store = database(settings)
    try:
        with store.view() as view:
            mode = read_safe_mode(view)
            assert mode is not None
            assert mode.backup == later.name
            assert account_problems(view, "paper") == []
            assert audit.verify(view, later.manifest.anchors).ok
            assert audit.entries(view, "control")[0].kind == "restore.done"
    finally:
        store.close()


def test_no_number_comes_twice_however_often_one_restores(settings: Settings, later: Backup) -> None:
    """Keys of orders are made of event numbers; a broker would take a second order of that name for the first."""
    folder, seen = DataFolder(settings.data), {1, 2, 3, 4, 5}
    for again in range(2):
        restore(folder, later, SCHEMA, now=NOW + timedelta(seconds=again))
        store = database(settings)
        record(store, "new one", "new two")
        fresh = {row["seq"] for row in store.view().query("SELECT seq FROM event WHERE seq > 3")}
        store.close()
        assert len(fresh) == 2
        assert not fresh & seen
        seen |= fresh


def test_a_restore_over_an_unreadable_database_uses_numbers_beyond_every_older_one(
    settings: Settings, later: Backup
) -> None:
    folder = DataFolder(settings.data)
    folder.database.write_bytes(b"no database at all" * 1000)
    assert not loss(folder, later).readable
    restore(folder, later, SCHEMA, now=NOW)
    store = database(settings)
    record(store, "new")
    newest = store.view().one("SELECT MAX(seq) AS n FROM event")
    store.close()
    assert newest is not None
    assert newest["n"] > NOW.timestamp()


def test_nothing_is_restored_under_a_running_service(settings: Settings, later: Backup) -> None:
    lock = FolderLock.acquire(settings.data)
    try:
        with pytest.raises(FolderTakenError):
            restore(DataFolder(settings.data), later, SCHEMA, now=NOW)
    finally:
        lock.release()


def test_onto_a_new_machine_the_owners_files_come_along_but_replace_none(settings: Settings, later: Backup) -> None:
    target = DataFolder(settings.data.with_name("new")).make()
    (target.root / "personality.toml").write_text("mine")
    done = restore(target, later, SCHEMA, now=NOW)
    assert done.aside is None
    assert (target.root / "personality.toml").read_text() == "mine"
    assert (target.secrets / "telegram").read_text() == "a secret"
    assert (target.secrets / "telegram").stat().st_mode & 0o077 == 0
    assert texts(target.database) == ["one", "two", "three"]


@pytest.mark.parametrize("moves", range(5))
def test_an_exchange_that_was_cut_off_is_finished_by_the_next_start(
    settings: Settings, later: Backup, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real, left = DataFolder(settings.data), Path.rename, moves

    class Cut(BaseException):
        """The power goes."""

    def rename(self: Path, target: Path) -> Path:
        nonlocal left
        if target.parent.name.startswith("replaced-"):
            if not left:
                raise Cut
            left -= 1
        return real(self, target)

    (folder.root / "retainer.db-wal").write_bytes(b"")
    monkeypatch.setattr(Path, "rename", rename)
    cut = False
    try:
        restore(folder, later, SCHEMA, now=NOW)
    except Cut:
        cut = (folder.root / MARKER).exists()
    assert cut or moves >= 2
    monkeypatch.undo()
    finish_restore(folder)
    assert not finish_restore(folder)
    assert texts(folder.database) == ["one", "two", "three"]
    assert not (folder.root / MARKER).exists()


@pytest.mark.parametrize("at", ["start", "erasing"])
def test_what_a_restore_left_that_was_killed_before_its_exchange_goes(settings: Settings, at: str) -> None:
    folder = DataFolder(settings.data)
    staging, half = folder.root / ".restoring", folder.root / "restoring.tmp"
    staging.mkdir()
    (staging / DATABASE).write_bytes(b"a copy of everything")
    half.write_text("{")
    if at == "start":
        assert not finish_restore(folder)
    else:
        assert rewrite_replaced(folder, lambda connection: None, now=NOW) == []
    assert not staging.exists()
    assert not half.exists()
    assert texts(folder.database) == ["one", "two", "three"]


def test_a_restore_that_goes_on_keeps_its_copy_while_words_are_erased(settings: Settings) -> None:
    folder = DataFolder(settings.data)
    (folder.root / ".restoring").mkdir()
    lock = FolderLock.acquire(folder.root)
    try:
        rewrite_replaced(folder, lambda connection: None, now=NOW)
    finally:
        lock.release()
    assert (folder.root / ".restoring").exists()


def test_a_marker_that_cannot_be_read_is_named_and_what_it_stands_for_is_left(settings: Settings) -> None:
    folder = DataFolder(settings.data)
    (folder.root / ".restoring").mkdir()
    (folder.root / MARKER).write_text("{")
    with pytest.raises(InvalidInputError, match="is not one of ours"):
        finish_restore(folder)
    assert (folder.root / ".restoring").exists()


def test_an_unknown_backup_is_named(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="no backup 'latest'"):
        find(backup_folder(settings), "latest")


# --- forgetting ------------------------------------------------------------------------------------------------------
def test_what_is_erased_leaves_every_backup_and_copy_too(settings: Settings) -> None:
    first = make(settings, why="nightly", now=NOW)
    second = make(settings, why="nightly", now=NOW + timedelta(days=1))
    plain = backup_folder(settings) / "retainer-before-runtime-002.db"
    plain.write_bytes(first.database.read_bytes())
    broken = backup_folder(settings) / "retainer-broken.db"
    broken.write_bytes(b"two" * 2000)

    def erase(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM body WHERE id = 2")

    reached = rewrite(backup_folder(settings), erase, now=NOW)
    assert {first.name, second.name, plain.name} <= set(reached)
    assert not broken.exists()
    for path in backup_folder(settings).rglob("*"):
        if path.is_file():
            assert b'"two"' not in path.read_bytes(), path
    there = backups(backup_folder(settings))
    assert [backup.name for backup in there] == [second.name, first.name]
    assert all(verify(backup) == [] for backup in there)
    assert texts(plain) == ["one", "three"]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN])
def test_no_backup_is_lost_because_the_disk_is_full_while_words_are_erased(settings: Settings, code: int) -> None:
    made = make(settings, why="nightly", now=NOW)

    def erase(connection: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = code
        raise error

    with pytest.raises(StorageError, match="cannot be rewritten") as caught:
        rewrite(backup_folder(settings), erase, now=NOW)
    assert "erase again" in caught.value.hint
    assert verify(find(backup_folder(settings), "latest")) == []
    assert sorted(path.name for path in made.path.iterdir()) == ["files", MANIFEST, DATABASE]


def test_a_backup_that_is_removed_because_it_is_damaged_is_told_so(settings: Settings) -> None:
    made = make(settings, why="nightly", now=NOW)
    (made.path / MANIFEST).write_text("{")
    assert rewrite(backup_folder(settings), lambda connection: None, now=NOW) == [
        f"{made.name} (removed: it was damaged)"
    ]


def bound() -> None:
    """From the next program on, permissions bind root like anybody else."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize(
    ("shut", "mode"),
    [
        ("", 0),
        ("", 0o500),
        ("one", 0),
        ("one", 0o500),
        (f"one/{MANIFEST}", 0),
        (f"one/{DATABASE}", 0),
        ("../memory", 0),
    ],
)
def test_backups_that_may_not_be_read_or_written_are_named_and_none_is_lost(
    settings: Settings, tmp_path: Path, shut: str, mode: int
) -> None:
    made = make(settings, why="nightly", now=NOW)
    path = backup_folder(settings) / shut.replace("one", made.name)
    probe = tmp_path / "probe"
    probe.mkdir(mode=0)
    if not subprocess.run(["ls", probe], preexec_fn=bound, capture_output=True, check=False).returncode:
        pytest.skip("permissions do not bind here")
    usual = path.stat().st_mode
    path.chmod(mode)
    data = DataFolder(settings.data).root
    try:
        for words in ("status", "backup --list", "backup --drill", "erase --text three --yes", "doctor"):
            done = retainer(data, *words.split(), preexec_fn=bound)
            assert "Traceback" not in done.stderr, words
            if words.startswith("erase"):
                assert done.returncode, done.stdout
                assert "nothing of it is left" not in done.stdout
                assert path.name in done.stdout + done.stderr
    finally:
        path.chmod(usual)
    assert verify(find(backup_folder(settings), made.name)) == []


def test_two_restores_in_one_second_keep_what_each_of_them_replaced(settings: Settings) -> None:
    folder, made = DataFolder(settings.data), make(settings, why="nightly", now=NOW)
    first = restore(folder, made, SCHEMA, now=NOW).aside
    second = restore(folder, made, SCHEMA, now=NOW).aside
    assert first is not None
    assert second is not None
    assert first != second
    assert all((aside / DATABASE).is_file() for aside in (first, second))


def test_erasing_leaves_alone_what_else_is_on_the_disk_of_the_backups(settings: Settings) -> None:
    make(settings, why="nightly", now=NOW)
    disk = backup_folder(settings)
    (disk / "photos").mkdir()
    others = [disk / "photos" / "manifest.json", disk / "accounts.db"]
    for path in others:
        path.write_text("of somebody else")
    rewrite(disk, lambda connection: None, now=NOW)
    assert [path.read_text() for path in others] == ["of somebody else"] * 2


def test_what_is_erased_leaves_the_records_that_a_restore_put_aside(settings: Settings, later: Backup) -> None:
    folder = DataFolder(settings.data)
    (folder.memory / "owner.db").write_bytes(b"five")
    done = restore(folder, later, SCHEMA, now=NOW)
    assert done.aside is not None

    def erase(connection: sqlite3.Connection) -> None:
        connection.execute("""DELETE FROM body WHERE bytes LIKE '%"five"%'""")

    assert rewrite_replaced(folder, erase, now=NOW) == [done.aside.name]
    assert texts(done.aside / DATABASE) == ["one", "two", "three", "four"]
    for path in done.aside.rglob("*"):
        assert not path.is_file() or b'"five"' not in path.read_bytes(), path


def test_records_in_a_server_are_left_to_its_own_tools(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data": tmp_path / "data", "store": {"url": "postgresql://nowhere/retainer"}})
    with pytest.raises(InvalidInputError, match="PostgreSQL") as refused:
        make(settings, why="manual", now=NOW)
    assert "pg_dump" in refused.value.hint


def test_bodies_are_told_apart_by_salt_so_numbers_given_twice_harm_nobody(settings: Settings) -> None:
    store = database(settings)
    salt = store.view().query("SELECT salt FROM body WHERE id = 2")[0]["salt"]
    store.close()
    backup = make(settings, why="nightly", now=NOW)

    def erase(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM body WHERE salt = ?", (salt,))

    rewrite(backup_folder(settings), erase, now=NOW)
    assert texts(backup.database) == ["one", "three"]
    with closing(sqlite3.connect(backup.database)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM event").fetchone()[0] == 3
