"""``retainer replay`` on the record of the real service: killed in the middle, traded with, stopped, tampered with."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.app.running import Service, chatting, retainer

from retainer.app.config import load_settings
from retainer.app.replaying import check_replay


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with half a year behind it: two kills, an order of the owner's, a pause and a stop."""
    service = Service(tmp_path_factory.mktemp("replay") / "data")
    service.start()
    service.next_bar()
    service.end(signal.SIGKILL)
    with service:
        service.caught_up()
        with chatting(service) as chat:
            code = chat.say("buy 3 AAPL", r"approve (\w+)")[1]
            chat.say(f"approve {code}", "Accepted: buy 3 AAPL")
            service.next_bar()
            chat.say("pause", "(?i)paused")
            service.next_bar()
            service.end(signal.SIGKILL)
    with service:
        service.next_bar()
        for command in ("stop", "resume"):
            assert retainer(service.folder, command).returncode == 0
            service.next_bar()
        beside = retainer(service.folder, "replay", "--json")  # the service writes on meanwhile
        assert (beside.returncode, json.loads(beside.stdout)["equal"]) == (0, True), beside.stdout
    return service.folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "data"))


def change(folder: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "retainer.db")) as database, database:
        assert database.execute(sql, values).rowcount > 0


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "retainer.db")) as database:
        return database.execute(sql).fetchall()


def test_the_whole_record_gives_the_same_account_and_the_same_decisions(folder: Path) -> None:
    done = retainer(folder, "replay")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same, bit for bit" in done.stdout
    assert "decisions of sma-trend compared with its backtest of the recorded bars: all the same." in done.stdout
    said = json.loads(retainer(folder, "replay", "--json").stdout)
    assert said["equal"]
    assert said["replay"]["bars"] == rows(folder, "SELECT COUNT(*) FROM equity")[0][0] > 110
    assert said["replay"]["fills"] == rows(folder, "SELECT COUNT(*) FROM fill")[0][0] > 3
    assert said["replay"]["ledger"] == rows(folder, "SELECT COUNT(*) FROM ledger")[0][0]
    assert said["replay"]["digest"] == rows(folder, "SELECT digest FROM account")[0][0]
    assert said["decisions"]["compared"] > 50


def test_it_is_two_lines_from_python(folder: Path) -> None:
    found = check_replay(load_settings(data=folder))
    assert found.equal
    assert found.words.startswith("Account paper, ")


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("UPDATE ledger SET amount = amount + 1 WHERE id = (SELECT MAX(id) FROM ledger)", "ledger"),
        ("UPDATE fill SET price = price - 100 WHERE id = 2", "fills"),
        ("DELETE FROM fill WHERE id = 2", "fills"),
        ("UPDATE equity SET equity = equity + 1 WHERE at = (SELECT MAX(at) FROM equity)", "close"),
        ("UPDATE bar SET low = low - 1 WHERE at = (SELECT MAX(at) FROM bar)", "bars"),
        (
            "UPDATE paper_order SET body = replace(body, '\"quantity\":3', '\"quantity\":4') WHERE quantity = 3",
            "orders",
        ),
        ("UPDATE decision SET quantity = quantity + 1 WHERE author LIKE 'strategy:%'", "decisions"),
        ("UPDATE account_step SET digest = 'x' WHERE version = 9", "state"),
        (
            "INSERT INTO ledger (account, event_seq, at, kind, symbol, quantity, price, amount, realised, order_id) "
            "SELECT account, 2, at, 'deposit', '', 0, 0, 100, 0, '' FROM ledger WHERE id = 1",
            "ledger",
        ),
    ],
)
def test_a_change_of_the_record_is_named_with_its_event(copy: Path, sql: str, what: str) -> None:
    change(copy, sql)
    done = retainer(copy, "replay")
    assert done.returncode == 1
    assert "NOT THE SAME" in done.stdout
    assert f"differs in its {what}" in done.stdout
    first = json.loads(retainer(copy, "replay", "--json").stdout)["replay"]["differences"][0]
    assert rows(copy, f"SELECT kind FROM event WHERE seq = {first['event']}")
    assert first["what"] == what


def test_another_target_than_the_backtest_s_is_a_different_decision(copy: Path) -> None:
    """The recorded wish of one symbol is changed together with nothing else: its step and the decision are named."""
    steps = rows(copy, "SELECT version, inputs FROM account_step ORDER BY version DESC")
    version, inputs = next((v, json.loads(i)) for v, i in steps if json.loads(i).get("targets"))
    symbol = min(inputs["targets"])
    inputs["targets"][symbol] = 1_234
    change(copy, "UPDATE account_step SET inputs = ? WHERE version = ?", json.dumps(inputs), version)
    done = retainer(copy, "replay", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert [(d["symbol"], d["then"]) for d in said["decisions"]["differences"]] == [(symbol, 1_234)]


def test_decisions_under_other_parameters_are_said_not_to_be_compared(folder: Path) -> None:
    done = retainer(folder, "replay", env={"RETAINER_TRADING__STRATEGY__FAST": "30"})
    assert done.returncode == 0
    assert "No decision of sma-trend to compare." in done.stdout
    assert "Not compared, for another strategy or other parameters made them" in done.stdout


def test_a_broker_s_fills_are_reported_beside_those_of_the_bars(folder: Path, tmp_path: Path) -> None:
    """The broker filled the owner's 3 shares 10 cents dearer each and charged a dollar: 1.30 in all."""
    order = rows(folder, "SELECT order_id, symbol, side, quantity, price, fee FROM fill WHERE quantity = 3")[0]
    report = tmp_path / "broker.csv"
    price = (order[4] + 1_000) / 10_000
    head = "order_id,symbol,side,quantity,price,fee\n"
    report.write_text(f"{head}{order[0]},{order[1]},{order[2]},3,{price},1.00\n")
    done = retainer(folder, "replay", "--broker", str(report))
    assert done.returncode == 0
    assert "the others cost $1.30 more" in done.stdout
    report.write_text(f"{head}{order[0]},{order[1]},{order[2]},3,nan,1.00\n")
    bad = retainer(folder, "replay", "--broker", str(report))
    assert bad.returncode == 2
    assert "broker.csv, line 2: price nan is not a finite number" in bad.stderr
    report.write_text("order_id,symbol\n")
    assert "has no column side" in retainer(folder, "replay", "--broker", str(report)).stderr


def test_an_account_without_a_record_is_an_error_in_words(folder: Path, tmp_path: Path) -> None:
    none = retainer(folder, "replay", "--account", "live")
    assert (none.returncode, none.stdout) == (2, "")
    assert "The account 'live' has recorded nothing yet." in none.stderr
    assert "There is nothing in" in retainer(tmp_path / "empty", "replay").stderr
