"""``retainer data | strategies | backtest | sweep | walkforward`` as they are typed, on sample and imported bars."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.app.running import PATIENCE, RETAINER, environment, retainer

from retainer.app.backtesting.running import run_sweep, run_walkforward
from retainer.app.backtesting.typed import (
    Account,
    Span,
    Wish,
    default_grid,
    first_instant,
    read_grid,
    read_parameters,
    read_strategy,
)
from retainer.app.config import load_settings
from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.trading.bars import close_of
from retainer.trading.settings import TradingSettings

SENTENCE = (
    "buy AAPL when RSI(2) is under 10 and price is above the 200-day average, sell when RSI is over 70, since 2010"
)


def table(days: int = 300, seed: int = 1, **more: Any) -> pd.DataFrame:
    """Daily bars on weekdays from 2 January 2012: a seeded random walk."""
    rng = np.random.default_rng(seed)
    close = np.round(50 * np.exp(np.cumsum(rng.normal(0.0005, 0.01, days))), 2)
    dates = [day for n in range(2 * days) if (day := date(2012, 1, 2) + timedelta(days=n)).weekday() < 5][:days]
    return pd.DataFrame(
        {"date": dates, "open": close, "high": close + 0.5, "low": close - 0.5, "close": close, "volume": 1000, **more}
    )


def done(folder: Path, *arguments: str, code: int = 0) -> str:
    """Output of a command that ends with ``code``; what it says to people when that is not 0."""
    found = retainer(folder, *arguments, cwd=folder)
    assert found.returncode == code, found.stderr or found.stdout
    assert "Traceback" not in found.stderr
    return found.stderr if code else found.stdout


def files(folder: Path) -> set[str]:
    """Every file below ``folder``."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- data -------------------------------------------------------------------------------------------------------------
def test_bars_go_in_are_listed_checked_tested_and_removed(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "abc.csv", index=False)
    table(seed=2, symbol="XYZ").to_parquet(tmp_path / "other.parquet")
    said = done(tmp_path, "data", "import", "abc.csv", "other.parquet")
    assert "ABC 1d: 300 bars, 2012-01-02 to" in said
    assert "note:" in said, "2 January 2012 was no session, and weekdays hold more holidays"
    listed = json.loads(done(tmp_path, "data", "list", "--json"))
    assert [(each["symbol"], each["rows"]) for each in listed] == [("ABC", 300), ("XYZ", 300)]
    result = json.loads(done(tmp_path, "backtest", "sma-cross", "-s", "ABC,XYZ", "--set", "fast=5", "--json"))
    assert result["symbols"] == ["ABC", "XYZ"]
    assert result["parameters"] == {"fast": 5, "slow": 100}
    assert any("outside the sessions of XNYS" in note for note in result["data"])
    done(tmp_path, "data", "remove", "abc")
    broken = next((tmp_path / "market").glob("XYZ*"))
    broken.write_bytes(broken.read_bytes()[:-40])
    assert "is damaged" in retainer(tmp_path, "data", "check").stdout
    assert "damaged" in done(tmp_path, "backtest", "sma-cross", "-s", "XYZ", code=2)


def test_one_bad_row_keeps_every_file_of_the_import_out(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "good.csv", index=False)
    bad = table()
    bad.loc[7, "close"] = -1.0
    bad.to_csv(tmp_path / "bad.csv", index=False)
    before = files(tmp_path)
    said = done(tmp_path, "data", "import", "good.csv", "bad.csv", code=2)
    assert "row 7: close -1.0 is not above zero" in said
    assert files(tmp_path) == before


def test_a_symbol_twice_in_one_import_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    table(symbol="ABC").to_csv(tmp_path / "one.csv", index=False)
    table(symbol="ABC", seed=2).to_csv(tmp_path / "two.csv", index=False)
    before = files(tmp_path)
    assert "two.csv and one.csv both hold ABC 1d" in done(tmp_path, "data", "import", "one.csv", "two.csv", code=2)
    assert files(tmp_path) == before


def test_later_bars_are_appended_and_the_notes_are_those_of_the_whole(tmp_path: Path) -> None:
    whole = table()
    whole[:200].to_csv(tmp_path / "abc.csv", index=False)
    done(tmp_path, "data", "import", "abc.csv")
    whole[150:].to_csv(tmp_path / "abc.csv", index=False)
    assert "in the store already" in done(tmp_path, "data", "import", "abc.csv", code=2)
    done(tmp_path, "data", "import", "abc.csv", "--append")
    entry = json.loads(done(tmp_path, "data", "list", "--json"))[0]
    assert entry["rows"] == 300
    assert "bars outside the sessions" in entry["notes"][0]


# --- backtest ---------------------------------------------------------------------------------------------------------
def test_a_sentence_is_tested_with_page_and_picture(tmp_path: Path) -> None:
    said = done(tmp_path, "backtest", SENTENCE, "--html", "deep/report.html", "--png", "report.png")
    assert "Buy when RSI(2) < 10 and close > SMA(200), sell when RSI(2) > 70." in said
    assert "buying and holding" in said
    assert "of costs" in said
    assert "the first variant tried on this data" in said
    assert "No look into the future was found." in said
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert not [name for name in files(tmp_path) if ".retainer-" in name]


def test_a_spec_is_tested_and_the_second_variant_is_counted(tmp_path: Path) -> None:
    spec = tmp_path / "dip.toml"
    spec.write_text('name = "dip"\nsymbols = ["IBM"]\nbuy_when = "RSI(2) < 10"\nsell_when = "RSI(2) > 70"\n')
    first = json.loads(done(tmp_path, "backtest", "dip.toml", "--start", "2008-01-02", "--end", "2009-12-31", "--json"))
    assert (first["name"], first["start"], first["end"]) == ("dip", "2008-01-02", "2009-12-31")
    assert first["honesty"]["trials"] == 1
    spec.write_text(spec.read_text().replace("70", "60"))
    again = json.loads(done(tmp_path, "backtest", "dip.toml", "--start", "2008-01-02", "--json"))
    assert again["honesty"]["trials"] == 2


def test_an_impossible_spec_names_its_field_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('symbols = ["IBM"]\nbuy_when = "RSI(2) <"\nsell_when = "RSI(2) > 70"\n')
    before = files(tmp_path)
    assert "buy_when" in done(tmp_path, "backtest", "bad.toml", "--html", "report.html", code=2)
    assert files(tmp_path) == before


# --- sweep and walk-forward -------------------------------------------------------------------------------------------
def test_a_sweep_shows_the_best_and_draws_the_map(tmp_path: Path) -> None:
    grid = ("--grid", "fast=5:20:5", "--grid", "slow=20,60")
    said = done(tmp_path, "sweep", "sma-cross", "-s", "IBM", *grid, "--start", "2008-01-02", "--png", "map.png")
    assert "The best of 7 sets is" in said
    assert "1 sets were left out" in said
    assert "After 7 tries on this data" in said
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_walk_forward_shows_every_choice_and_counts_only_unseen_days(tmp_path: Path) -> None:
    folds = ("--train", "500", "--test", "250", "--start", "2007-01-03")
    grid = ("--grid", "fast=5,10", "--grid", "slow=50")
    found = json.loads(
        done(tmp_path, "walkforward", "sma-cross", "-s", "IBM", *grid, *folds, "--html", "wf.html", "--json")
    )
    assert len(found["folds"]) >= 4
    assert found["result"]["start"] == found["folds"][0]["test"][0]
    assert found["result"]["honesty"]["trials"] == 2
    assert "Chosen on the past, tested on what followed" in (tmp_path / "wf.html").read_text(encoding="utf-8")


def test_ctrl_c_ends_a_sweep_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    grid = ("--grid", "fast=2:200", "--grid", "slow=201:500")
    arguments = ("sweep", "sma-cross", "-s", "IBM", *grid, "--start", "2012-06-01", "--png", "c.png")
    with subprocess.Popen(
        [str(RETAINER), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(tmp_path),
        cwd=tmp_path,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - as a shell in the foreground does
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while b"/59700" not in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown):
                shown += os.read(ours, 4096)
            os.killpg(process.pid, signal.SIGINT)
            said, _ = process.communicate(timeout=PATIENCE)
        finally:
            os.close(ours)
    assert process.returncode == 130
    assert said == b""
    assert b"Traceback" not in shown
    assert not (tmp_path / "c.png").exists()


# --- strategies -------------------------------------------------------------------------------------------------------
def test_strategies_are_listed_with_parameters_ranges_and_sources(tmp_path: Path) -> None:
    listed = json.loads(done(tmp_path, "strategies", "--json"))
    assert len(listed) >= 8
    for each in listed:
        assert each["about"]
        assert re.search(r"\b(19|20)\d\d\b", each["source"]), each["name"]
        for known in each["parameters"]:
            assert known["low"] <= known["default"] <= known["high"]
    said = done(tmp_path, "strategies", "sma-cross")
    assert "2 to 250" in said
    assert "Source: Brock" in said
    assert "Did you mean" in done(tmp_path, "strategies", "smacross", code=2)


# --- what is typed ----------------------------------------------------------------------------------------------------
def test_what_does_not_fit_is_said_in_words_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    before = files(tmp_path)
    assert "Which symbols" in done(tmp_path, "backtest", "sma-cross", code=2)
    assert files(tmp_path) == before
    wrong = ("backtest", "sma-cross", "-s", "IBM", "--html", "taken/report.html")
    assert "cannot be written" in done(tmp_path, *wrong, code=2)
    assert not [name for name in files(tmp_path) if name.endswith(".html")]


@pytest.mark.parametrize(
    ("changes", "grid", "how", "message"),
    [
        ({"symbols": "NOPE"}, (), {}, "no 1d bars of NOPE"),
        ({"interval": "1min"}, (), {}, "no 1min bars of IBM"),
        ({"parameters": ["fast=1000"]}, (), {}, "fast is 1000, out of its range"),
        ({}, ("fast=1:5",), {}, "fast is 1, out of its range"),
        ({}, ("pace=1:5",), {}, "no parameter pace"),
        ({}, ("fast=5",), {"png": Path("map.png")}, "needs two parameters"),
        ({}, ("fast=5,10",), {"executor": "gpu"}, "no executor 'gpu'"),
        ({}, ("fast=5,10",), {"objective": "luck"}, "no objective luck"),
        ({"start": "2030-01-02"}, ("fast=5,10",), {}, "not two bars in that span"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], grid: Sequence[str], how: dict[str, Any], message: str
) -> None:
    wish = Wish(**{"strategy": "sma-cross", "symbols": "IBM", **changes})
    plain: dict[str, Any] = {"objective": "sharpe", "executor": "threads", "workers": 1, "png": None, "as_json": True}
    with pytest.raises(RetainerError, match=message):
        run_sweep(load_settings(data=tmp_path), wish, grid or ("fast=5,10",), **{**plain, **how})
    assert not [name for name in files(tmp_path) if name != "trials.db"]


def test_a_walk_forward_without_enough_bars_is_refused(tmp_path: Path) -> None:
    wish = Wish(strategy="sma-cross", symbols="IBM", start="2013-01-02")
    with pytest.raises(InvalidInputError, match="bars are too few to train on 100 and test on 50"):
        run_walkforward(
            load_settings(data=tmp_path), wish, ("fast=5,10",), train=100, test=50, anchored=False, html=None,
            png=None, as_json=True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["fast=5,10"], {"fast": [5, 10]}),
        (["fast=5:20:5"], {"fast": [5, 10, 15, 20]}),
        (["fast=5:7", "slow=50"], {"fast": [5, 6, 7], "slow": [50]}),
        (["width=0.1:0.3:0.1"], {"width": [0.1, 0.2, 0.3]}),
    ],
)
def test_a_grid_is_a_list_or_a_range(texts: Sequence[str], values: dict[str, list[float]]) -> None:
    assert read_grid(texts, "sma-cross") == values


@pytest.mark.parametrize(
    "text",
    [
        "fast",
        "=5",
        "fast=",
        "fast=a,b",
        "fast=5:1",
        "fast=5:9:0",
        "fast=1:2:3:4",
        "fast=0:2000000",
        "fast=nan",
        "a=inf",
    ],
)
def test_what_is_no_grid_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        read_grid([text], "sma-cross")
    with pytest.raises(InvalidInputError, match="twice"):
        read_grid(["fast=5", "fast=6"], "sma-cross")


def test_without_a_grid_values_around_the_defaults_are_tried_within_their_ranges() -> None:
    assert default_grid("sma-cross") == {"fast": [10, 15, 20, 30, 40], "slow": [50, 75, 100, 150, 200]}
    assert min(default_grid("rsi-reversion")["period"]) == 2
    with pytest.raises(InvalidInputError, match="no parameters"):
        default_grid("buy-and-hold")


def test_days_become_instants_and_options_come_before_the_sentence(tmp_path: Path) -> None:
    rule, span = read_strategy(Wish(strategy=SENTENCE, symbols="IBM", start="2011-03-01"), tmp_path)
    assert rule.symbols == ("IBM",)
    assert span.start == first_instant(date(2011, 3, 1)) == close_of(date(2011, 2, 28)) + 1
    rule, span = read_strategy(Wish(strategy="the donchian channel on Apple over the last 3 years"), tmp_path)
    assert (rule.name, rule.symbols) == ("donchian", ("AAPL",))
    assert span.begun(close_of(date(2013, 3, 1))) == first_instant(date(2010, 3, 1))
    assert Span(5).begun(9) == 5


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (Wish(strategy="sma-cros", symbols="IBM"), NotFoundError),
        (Wish(strategy="none.toml"), NotFoundError),
        (Wish(strategy="buy the moon when it is full"), InvalidInputError),
        (Wish(strategy=SENTENCE, parameters=["fast=5"]), InvalidInputError),
        (Wish(strategy="sma-cross", symbols="I BM"), InvalidInputError),
        (Wish(strategy="sma-cross", symbols="IBM", parameters=["fast"]), InvalidInputError),
        (Wish(strategy="sma-cross", symbols="IBM", start="yesterday"), InvalidInputError),
        (Wish(strategy="sma-cross", symbols="IBM", start="2011-01-02", end="2010-01-02"), InvalidInputError),
    ],
)
def test_a_wish_that_cannot_be_read_is_refused(wish: Wish, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        read_strategy(wish, tmp_path)


def test_costs_are_those_configured_unless_typed() -> None:
    trading = TradingSettings()
    assert Account().settings(trading).fees == trading.to_fees()
    typed = Account(cash=5_000.5, slippage=2.5, fractional=True).settings(trading)
    assert typed.fees.slippage_ppm == 250
    assert str(typed.cash) == "5000.50"
    assert typed.fractional
    assert read_parameters(["width=2.5", "fast = 7"]) == {"width": 2.5, "fast": 7}
