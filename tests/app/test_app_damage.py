"""Records that break under the real service: it refuses, says what is missing and what to do, and comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from tests.app.running import Service, chatting, until
from tests.app.servers import SlowModel, serving

pytestmark = pytest.mark.timeout(300)  # a dozen processes one after another, on a machine that does other things too
STEADY = {"RETAINER_BACKUP__ENABLED": "false", "RETAINER_TRADING__REPLAY__START": "2007-01-03"}
LIMIT_S = 10.0
"""Seconds within which an end that was asked for is over."""


def spoil(path: Path) -> None:
    """Every page of the database but the first is overwritten."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


ONCE_EACH = (
    "SELECT event_seq, COUNT(*) AS n FROM effect WHERE tool = 'terminal.reply' AND state = 'done' GROUP BY event_seq"
)


# --- a damaged file --------------------------------------------------------------------------------------------------
def test_damage_under_the_running_service_ends_it_and_the_named_backup_brings_it_back(tmp_path: Path) -> None:
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        with chatting(service) as chat:
            chat.say("my name is Ana", r"\n")
        name = service.json("backup")["name"]
        assert service.json("backup", "--drill")["ok"]
        spoil(service.folder / "retainer.db")
        assert service.process is not None
        assert service.process.wait(60) == 2
        said = service.output.read_text()
        assert "is damaged" in said
        assert "Nothing is traded and nothing is sent." in said
        assert f"retainer restore {name} (its restore drill passed)" in said
        assert "will be missing" in said

        again = service.run("up")  # it does not start over a damaged file, and says the same
        assert again.returncode == 2
        assert f"retainer restore {name}" in again.stderr
        assert {finding["level"] for finding in json.loads(service.run("doctor", "--json").stdout)} >= {"fail"}

        asked = service.run("restore", name)
        assert asked.returncode == 2
        assert "--yes" in asked.stderr  # nobody is there to be asked
        done = service.run("restore", name, "--yes")
        assert done.returncode == 0, done.stderr
        assert "cannot be read; whatever came after the backup is missing" in done.stdout
        service.start()
        assert "SAFE MODE" in service.run("status").stdout
        with chatting(service) as chat:
            chat.say("what do you know about me", r"Ana")
            chat.say("buy 1 IBM", r"nothing is traded until you confirm")
        before = service.clock()
        told = service.run("restore").stdout
        assert f"restored from {name}" in told
        assert "terminal local admin" in told
        confirmed = service.run("restore", "--confirm", "--yes")
        assert confirmed.returncode == 0, confirmed.stdout
        assert "The account equals its ledger" in confirmed.stdout
        until(lambda: service.clock() > before)
        assert service.json("status")["safe_mode"] is None
        assert service.json("status")["parked"] == 0


def test_an_account_that_is_not_what_its_ledger_says_is_not_confirmed(tmp_path: Path) -> None:
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        name = service.json("backup")["name"]
        assert service.end() == 0
        assert service.run("restore", name, "--yes").returncode == 0
        with closing(sqlite3.connect(service.folder / "retainer.db")) as connection, connection:
            connection.execute("UPDATE ledger SET amount = amount - 1 WHERE id = 1")
        refused = service.run("restore", "--confirm", "--yes")
        assert refused.returncode == 1
        assert "its ledger adds up to" in refused.stdout
        assert service.json("status")["safe_mode"] == name


def test_a_log_that_lost_its_end_is_noticed_and_nothing_is_traded_on_it(tmp_path: Path) -> None:
    """SQLite takes what is whole and forgets the rest without a word; the service noted how far its records went."""
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        log = service.folder / "retainer.db-wal"

        def noted() -> int:
            found: int = json.loads((service.folder / "recorded.json").read_text())["events"]
            return found

        [row] = service.query("SELECT MAX(seq) AS n FROM event")  # a command empties the log when it leaves
        until(lambda: noted() > row["n"])
        psutil.Process(service.pid).suspend()
        assert log.stat().st_size > 32
        service.end(signal.SIGKILL)
        os.truncate(log, 32)  # its header is all that is left
        settings = service.folder / "retainer.toml"
        present = settings.read_bytes() if settings.exists() else b""
        settings.write_bytes(present + b'\n[agents.nobody]\nentry = "nowhere:Nobody"\n')
        assert service.run("up").returncode != 0  # a start that fails leaves the note to the next one
        settings.write_bytes(present)
        service.start()
        assert service.json("status")["safe_mode"] == "records that lost their end"
        with chatting(service) as chat:
            chat.say("buy 1 IBM", r"nothing is traded until you confirm")
        [lost] = service.query("SELECT data FROM audit WHERE kind = 'records.lost'")
        assert "events" in lost["data"]
        assert service.query("SELECT MAX(seq) AS n FROM event")[0]["n"] > 1_000_000  # no number comes twice
        before = service.clock()
        assert service.run("restore", "--confirm", "--yes").returncode == 0
        until(lambda: service.clock() > before)


@pytest.mark.parametrize("how", ["removed", "emptied", "emptied while it ran"])
def test_records_that_vanished_are_not_begun_anew(tmp_path: Path, how: str) -> None:
    """A missing or empty file looks like a first start: numbers would come twice, and the account begin again."""
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        name = service.json("backup")["name"]
        database = service.folder / "retainer.db"
        if how == "emptied while it ran":
            os.truncate(database, 0)
            assert service.process is not None
            assert service.process.wait(60) == 2, service.output.read_text()
        else:
            assert service.end() == 0
            database.unlink() if how == "removed" else os.truncate(database, 0)
        for command in ("up", "status"):
            refused = service.run(command)
            assert refused.returncode == 2
            assert f"is {'gone' if how == 'removed' else 'empty'}, and there were records in it" in refused.stderr
            assert f"retainer restore {name}" in refused.stderr
        findings = json.loads(service.run("doctor", "--json").stdout)
        assert [each["level"] for each in findings if each["what"] == "database"] == ["fail"]
        assert not database.exists() or not database.stat().st_size
        assert service.run("restore", name, "--yes").returncode == 0
        service.start()
        assert service.json("status")["safe_mode"] == name


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("CREATE TABLE other (x)", "is empty, and there were records in it"),
        ("CREATE TABLE migration (x)", "is not as retainer wrote it"),
    ],
)
def test_another_database_in_the_place_of_the_records_is_left_alone(tmp_path: Path, sql: str, words: str) -> None:
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        name = service.json("backup")["name"]
        assert service.end() == 0
        database = service.folder / "retainer.db"
        database.unlink()
        with closing(sqlite3.connect(database)) as connection:
            connection.execute(sql)
        refused = service.run("up")
        assert refused.returncode == 2
        assert words in refused.stderr
        assert f"retainer restore {name}" in refused.stderr
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (1,)


def test_a_number_that_was_never_given_is_not_believed(tmp_path: Path) -> None:
    with Service(tmp_path / "data", STEADY) as service:
        assert service.end() == 0
        (service.folder / "recorded.json").write_text('{"events": 9223372036854775807, "effects": -1}')
        service.start()
        assert service.json("status")["safe_mode"] is None


def test_an_index_that_lost_a_row_is_found(tmp_path: Path) -> None:
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        assert service.end() == 0
        database = service.folder / "retainer.db"
        name = "event_waiting"
        for statements in (
            ("CREATE TABLE kept AS SELECT * FROM sqlite_master WHERE name = 'event_waiting'",),
            ("PRAGMA writable_schema=ON", f"DELETE FROM sqlite_master WHERE name = '{name}'"),
            ("UPDATE event SET state = 'waiting' WHERE seq = 1",),
            ("PRAGMA writable_schema=ON", "INSERT INTO sqlite_master SELECT * FROM kept"),
            ("DROP TABLE kept",),
        ):
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                for statement in statements:
                    connection.execute(statement)
        refused = service.run("up")
        assert refused.returncode == 2
        assert f"missing from index {name}" in refused.stderr
        findings = json.loads(service.run("doctor", "--json").stdout)
        assert [each["level"] for each in findings if each["what"] == "database"] == ["fail"]


def test_an_older_copy_in_the_place_of_the_records_is_noticed(tmp_path: Path) -> None:
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        assert service.end() == 0
        database, copy = service.folder / "retainer.db", tmp_path / "copy.db"
        shutil.copyfile(database, copy)
        service.start()
        service.next_bar()
        assert service.end() == 0
        shutil.copyfile(copy, database)
        service.start()
        assert service.json("status")["safe_mode"] == "records that lost their end"
        assert service.run("restore", "--confirm", "--yes").returncode == 0
        assert service.end() == 0
        service.start()
        assert service.json("status")["safe_mode"] is None  # it is said once


def test_a_folder_in_the_place_of_the_database_is_named(tmp_path: Path) -> None:
    with Service(tmp_path / "data", STEADY) as service:
        assert service.end() == 0
        (service.folder / "retainer.db").unlink()
        (service.folder / "retainer.db").mkdir()
        refused = service.run("up")
        assert refused.returncode == 2
        assert "There is a folder in the place of the database" in refused.stderr


def test_an_unclean_end_that_lost_nothing_is_none_of_that(tmp_path: Path) -> None:
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        service.end(signal.SIGKILL)
        service.start()
        assert service.json("status")["safe_mode"] is None
        service.next_bar()


# --- an end that was asked for ---------------------------------------------------------------------------------------
@contextmanager
def hanging() -> Iterator[str]:
    """A far side that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for each in taken:
                each.close()
    thread.join(5)


def test_sigterm_under_load_ends_in_time_though_the_model_talks_and_telegram_hangs(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serving(SlowModel) as model, hanging() as telegram:
        env = {
            **STEADY,
            "RETAINER_MODEL": "default",
            "RETAINER_MODELS__BASE_URL": f"{model}/v1",
            "RETAINER_MODELS__OFFLINE": "1",
            "RETAINER_TELEGRAM__BASE_URL": telegram,
            "RETAINER_SECRET_TELEGRAM": "123456789:" + "A" * 35,
            "RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "0.05",
        }
        with Service(folder, env) as service:
            until(lambda: str(service.json("status")["model"]).endswith("ready"))
            with chatting(service) as chat:
                chat.write("tell me a long story about the sea")
                for number in range(15):
                    chat.write(f"what is {number} + 1?")
                until(lambda: service.query("SELECT seq FROM event WHERE kind = 'message' AND attempts > 0"))
                began = time.monotonic()
                code = service.end(signal.SIGTERM)
                took = time.monotonic() - began
                assert code == 0
                assert took < LIMIT_S, f"{took:.1f} s"
                service.env["RETAINER_MODEL"] = "none"
                service.start()
                until(lambda: not service.query("SELECT seq FROM event WHERE lane LIKE 'chat:%' AND state = 'waiting'"))
            assert service.json("status")["parked"] == service.json("status")["dead"] == 0
            assert {row["n"] for row in service.query(ONCE_EACH)} == {1}
            assert len(service.query(ONCE_EACH)) == 16
