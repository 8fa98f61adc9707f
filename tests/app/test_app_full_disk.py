"""A disk that takes nothing more under the real service: nothing is traded, it says why, and it goes on by itself.

A full disk is a limit of the system on the size of the service's files, so that no test needs a disk of its own. Where
the tests run as root, the service has lost the right to write past a file's permissions.
"""

from __future__ import annotations

import ctypes
import json
import random
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.app.running import Service, chatting, retainer, until

from retainer.app.config import load_settings
from retainer.app.operations.check import check_view
from retainer.app.store import open_view
from retainer.runtime.sqlite_session import storage_error
from retainer.trading.answers import ledger_rows

pytestmark = pytest.mark.timeout(300)  # a dozen processes one after another, on a machine that does other things too
STEADY = {"RETAINER_BACKUP__ENABLED": "false", "RETAINER_TRADING__REPLAY__START": "2007-01-03"}
FULL = 500
"""Bytes of a file that a full disk still takes: less than the first page of anything."""
FRAME = 4120
"""Bytes that one changed page takes in SQLite's log."""
OWNED = "SELECT id, quantity, effect_key FROM paper_order WHERE strategy = '' ORDER BY seq"
TOLD = (
    "SELECT b.bytes FROM effect e JOIN body b ON b.id = e.args_id"
    " WHERE e.tool = 'terminal.reply' AND e.state = 'done' ORDER BY e.id"
)
ONCE_EACH = (
    "SELECT event_seq, COUNT(*) AS n FROM effect WHERE tool = 'terminal.reply' AND state = 'done' GROUP BY event_seq"
)
SAID = (
    "SELECT b.bytes FROM event e JOIN body b ON b.id = e.body_id WHERE e.kind IN ('message', 'command') ORDER BY e.seq"
)


def texts(service: Service, sql: str) -> list[str]:
    return [str(json.loads(row["bytes"])["text"]) for row in service.query(sql)]


@contextmanager
def watched(folder: Path, **options: Any) -> Iterator[tuple[Service, int]]:
    """A running service, and the port of its pages."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    with Service(folder, {**STEADY, "RETAINER_MONITOR__PORT": str(port)}, **options) as service:
        service.caught_up()
        yield service, port


def ready(port: int) -> tuple[int, dict[str, str]]:
    """The page ``/ready``."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def room(service: Service, size: int | None) -> None:
    """No file of the running service may grow beyond ``size`` bytes; ``None``: the disk has room again."""
    process = psutil.Process(service.pid)
    _, hard = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def beside(service: Service, sql: str) -> list[Mapping[str, Any]]:
    """Rows of its database, read without a trace: no log is emptied, so no room is made on a full disk."""
    with closing(sqlite3.connect(f"{(service.folder / 'retainer.db').as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


# --- a full disk -----------------------------------------------------------------------------------------------------
def test_a_disk_that_fills_up_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Again and again it takes nothing more; people go on writing."""
    rng = random.Random(7)
    with Service(tmp_path / "data", STEADY) as service:
        service.caught_up()
        said = 0
        with chatting(service) as chat:
            for _ in range(4):
                time.sleep(rng.uniform(0.0, 0.6))
                room(service, FULL)
                chat.write(f"what is {said} + {said}?")
                said += 1
                time.sleep(rng.uniform(0.2, 1.5))
                room(service, None)
                chat.expect(rf"\b{2 * (said - 1)}\b")
        assert service.process is not None
        assert service.process.poll() is None
        asked = [text for text in texts(service, SAID) if text.startswith("what is")]
        assert asked == [f"what is {n} + {n}?" for n in range(said)]
        assert {row["n"] for row in service.query(ONCE_EACH)} == {1}
        service.next_bar()
        figures = service.json("status")
        assert (figures["dead"], figures["parked"], figures["effects"]["unknown"]) == (0, 0, 0)
        days = [row["external_id"] for row in service.query("SELECT external_id FROM event WHERE kind = 'bar'")]
        assert len(days) == len(set(days))


@pytest.mark.parametrize("seed", [3, 4])
def test_orders_on_a_disk_that_fills_up_at_random_commits_are_accepted_once_and_told(tmp_path: Path, seed: int) -> None:
    """It fills up after any number of pages while an order is asked for, and again while it is approved and sent.

    Then it has room again, or the service is started again where it has: ended in order, or killed.
    """
    rng = random.Random(seed)
    with watched(tmp_path / "data") as (service, port):
        log = service.folder / "retainer.db-wal"
        ends = rng.sample([None, signal.SIGKILL, signal.SIGTERM], 3)
        with chatting(service) as chat:
            for shares, end in enumerate(ends, 1):
                room(service, log.stat().st_size + rng.randrange(40) * FRAME)
                chat.write(f"buy {shares} AAPL")
                time.sleep(rng.uniform(0.3, 1.0))
                room(service, None)
                code = chat.expect(rf"\*Buy {shares} AAPL\*.*?approve ([0-9a-z]{{8}})\)")[1]

                room(service, log.stat().st_size + rng.randrange(40) * FRAME)
                chat.write(f"approve {code}")
                until(lambda: ready(port)[0] == 503)  # bars come in after the yes, so it fills up in any case
                assert "The database" in ready(port)[1]["storage"]
                before = recorded(service)
                time.sleep(1.0)
                assert recorded(service) == before
                if end is None:
                    room(service, None)
                else:
                    service.end(end)
                    service.start()
                chat.expect(rf"Accepted: buy {shares} AAPL")
        until(lambda: ready(port)[0] == 200)
        wanted = list(range(1, len(ends) + 1))
        until(lambda: sorted(filled(service)) == wanted)
        assert [row["quantity"] for row in service.query(OWNED)] == wanted
        told = re.findall(r"(Accepted|Filled): (?:buy|bought) (\d) AAPL", "\n".join(texts(service, TOLD)))
        assert sorted(told) == [(word, str(n)) for word in ("Accepted", "Filled") for n in wanted]
        figures = service.json("status")
        assert (figures["dead"], figures["parked"], figures["effects"]["unknown"]) == (0, 0, 0)
        with open_view(load_settings(data=service.folder)) as view:
            assert check_view(view).problems == ()  # the account equals its ledger, to the cent


def recorded(service: Service) -> tuple[str, list[str]]:
    """The account's clock and the owner's accepted orders; each has the record that it was approved and sent."""
    [bar] = beside(service, "SELECT MAX(external_id) AS id FROM event WHERE kind = 'bar' AND state = 'done'")
    accepted = {row["effect_key"] for row in beside(service, OWNED)}
    sent = beside(
        service,
        "SELECT e.key FROM effect e JOIN approval a ON a.effect_key = e.key"
        " WHERE e.tool = 'paper.order' AND e.state = 'done' AND a.state = 'approved'",
    )
    assert accepted <= {row["key"] for row in sent}
    return str(bar["id"]), sorted(accepted)


def filled(service: Service) -> list[int]:
    """Shares of every fill of an order of the owner's."""
    owned = {row["id"] for row in service.query(OWNED)}
    with open_view(load_settings(data=service.folder)) as view:
        fills: Any = ledger_rows(view, "paper")["fills"]
    return [fill["quantity"] for fill in fills if fill["order_id"] in owned]


def test_while_the_disk_is_full_it_says_so_and_afterwards_all_is_well(tmp_path: Path) -> None:
    with watched(tmp_path / "data") as (service, port):
        assert ready(port)[0] == 200
        room(service, FULL)
        until(lambda: ready(port)[0] == 503)
        assert "The database" in ready(port)[1]["storage"]
        until(lambda: service.run("health").returncode == 1)  # other processes are told within two seconds
        assert "STORAGE: The database" in service.run("status").stdout
        room(service, None)
        until(lambda: ready(port)[0] == 200)
        service.next_bar()
        until(lambda: service.run("health").returncode == 0)


def test_a_disk_that_is_full_at_the_start_is_worth_another_try(tmp_path: Path) -> None:
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, resource.RLIM_INFINITY))

    done = retainer(tmp_path / "data", "up", preexec_fn=full)
    assert done.returncode == 1  # 2 would keep a service manager from trying again
    assert "The database" in done.stderr
    assert "Traceback" not in done.stderr


# --- read-only -------------------------------------------------------------------------------------------------------
def bound() -> None:
    """From the next program on, permissions bind root like anybody else."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose permissions bind the service; they are mended at the end."""
    probe = tmp_path / "probe"
    probe.mkdir(mode=0o500)
    if not subprocess.run(["touch", probe / "x"], preexec_fn=bound, capture_output=True, check=False).returncode:
        pytest.skip("permissions do not bind here")
    folder = tmp_path / "data"
    yield folder
    for path in (folder, folder / "retainer.db"):
        path.chmod(0o700)


@pytest.mark.parametrize("name", ["", "retainer.db"])
def test_what_turns_read_only_is_named_and_nothing_is_traded_until_it_is_writable_again(
    folder: Path, name: str
) -> None:
    """Of the folder or of its database the owner takes the right to write, under the running service."""
    target = folder / name
    with watched(folder, preexec_fn=bound) as (service, port):
        mode = target.stat().st_mode
        with chatting(service) as chat:
            code = chat.say("buy 3 AAPL", r"approve ([0-9a-z]{8})\)")[1]
            target.chmod(mode & ~0o222)
            until(lambda: ready(port)[0] == 503)
            assert f"{target} cannot be written" in ready(port)[1]["storage"]
            chat.say(f"approve {code}", rf"{re.escape(str(target))} cannot be written.*Make it writable")
        assert beside(service, OWNED) == []
        until(lambda: str(target) in (said := service.run("status")).stdout + said.stderr)
        assert service.run("health").returncode == 1
        target.chmod(mode)
        until(lambda: ready(port)[0] == 200)
        with chatting(service) as chat:
            chat.say(f"approve {code}", r"Accepted: buy 3 AAPL")
            chat.expect(r"Filled: bought 3 AAPL")
        now = service.clock()
        target.chmod(mode & ~0o222)
        until(lambda: ready(port)[0] == 503)
        assert service.end() == 0
        assert "Traceback" not in service.output.read_text()

        refused = service.run("up")
        assert refused.returncode in {1, 2}
        assert str(target) in refused.stderr
        assert "Traceback" not in refused.stderr
        target.chmod(mode)
        service.start()
        until(lambda: service.clock() > now)
        assert [row["quantity"] for row in service.query(OWNED)] == [3]


def test_a_folder_on_a_read_only_disk_is_named(tmp_path: Path) -> None:
    """``/proc`` is one that not even root may write to."""
    done = retainer(Path("/proc/retainer/data"), "up", cwd=tmp_path)
    assert done.returncode == 2
    assert "/proc/retainer" in done.stderr
    assert "RETAINER_DATA" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_became_read_only_is_named(tmp_path: Path) -> None:
    database = tmp_path / "retainer.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with (
        closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection,
        pytest.raises(sqlite3.OperationalError) as refused,
    ):
        connection.execute("INSERT INTO t VALUES (1)")
    worded = storage_error(refused.value, str(database))
    assert worded is not None
    assert "Make it writable" in worded.hint
