"""Strategies as data: conditions that compile to arrays, errors that name the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.trading.bars import Bars
from retainer.trading.evaluation import evaluate
from retainer.trading.honesty import lookahead, origin
from retainer.trading.samples import load_samples
from retainer.trading.spec import SpecStrategy, load_spec
from retainer.trading.spec.expressions import compute, parse_condition
from retainer.trading.strategies import make_strategy
from retainer.trading.technical import indicator

TOML = """
name = "rsi2-dip"
symbols = ["IBM"]
buy_when = ["rsi < 10", "close > SMA(200)"]
sell_when = "rsi > 70"

[indicators]
rsi = "RSI(2)"

[stops]
loss = 0.05
"""


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return {"IBM": load_samples(("IBM",))["IBM"].upto(1200)}


def wanted(market: dict[str, Bars], **fields: Any) -> Any:
    spec = load_spec({"symbols": ["IBM"], **fields})
    return evaluate(SpecStrategy.of(spec), market)["IBM"]


# --- what it compiles to --------------------------------------------------------------------------------------------
def test_a_spec_gives_the_same_arrays_as_the_class(market: dict[str, Bars]) -> None:
    written = evaluate(SpecStrategy.of(load_spec(TOML)), market)["IBM"]
    coded = evaluate(make_strategy("rsi-reversion", symbols=("IBM",)), market)["IBM"]
    np.testing.assert_array_equal(written.targets, coded.targets)
    assert written.first == coded.first == 199
    assert written.loss is not None
    assert set(written.loss) == {0.05}


def test_a_spec_never_looks_ahead(market: dict[str, Bars]) -> None:
    strategy = SpecStrategy.of(load_spec(TOML))
    assert lookahead(strategy, market, cuts=40) == ()
    assert origin(strategy, market) == ()


@pytest.mark.parametrize(
    ("condition", "by_hand"),
    [
        ("close > close[1]", lambda c, s: np.r_[False, c[1:] > c[:-1]]),
        ("close / close[5] - 1 > 2%", lambda c, s: np.r_[np.zeros(5, bool), c[5:] / c[:-5] - 1 > 0.02]),
        ("not close <= SMA(10)", lambda c, s: ~(c <= s)),
        ("-close < -SMA(10)", lambda c, s: -c < -s),
        ("close > SMA(10) * 1.01 or close < SMA(10) * 0.99", lambda c, s: (c > s * 1.01) | (c < s * 0.99)),
        ("close > 1 and (close > SMA(10) or close < 2)", lambda c, s: (c > 1) & ((c > s) | (c < 2))),
        (
            "close crosses above SMA(10)",
            lambda c, s: np.r_[False, (c[1:] > s[1:]) & ~(c[:-1] > s[:-1]) & ~np.isnan(s[:-1])],
        ),
        (
            "close crosses below SMA(10)",
            lambda c, s: np.r_[False, (s[1:] > c[1:]) & ~(s[:-1] > c[:-1]) & ~np.isnan(s[:-1])],
        ),
    ],
)
def test_conditions_mean_what_they_say(market: dict[str, Bars], condition: str, by_hand: Any) -> None:
    bars = market["IBM"]
    close, average = bars.adjusted(), indicator("SMA(10)", bars)["SMA(10)"]
    node = parse_condition(condition, "buy_when", {})
    got = compute(node, {"close": close, "SMA(10)": average}, len(bars))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(got, by_hand(close, average))


def test_the_price_is_what_was_traded_and_the_close_is_adjusted(market: dict[str, Bars]) -> None:
    bars = market["IBM"]
    found = wanted(market, buy_when="price > 100", sell_when="price <= 100")
    np.testing.assert_array_equal(found.targets > 0, bars.close > 100)
    assert not np.array_equal(bars.close, bars.adjusted())


def test_a_position_ends_after_so_many_bars_or_when_it_is_told(market: dict[str, Bars]) -> None:
    held = wanted(market, buy_when="close > 0", stops={"bars": 3}).targets > 0
    assert held[:9].tolist() == [True, True, True, False, True, True, True, False, True]
    leave = wanted(market, buy_when="close > 0", sell_when="close < close[1]", stops={"bars": 50}).targets > 0
    close = market["IBM"].adjusted()
    assert not leave[1:][close[1:] < close[:-1]].any()


def test_sizing_by_volatility_holds_less_when_it_swings_more(market: dict[str, Bars]) -> None:
    found = wanted(market, buy_when="close > SMA(50)", sell_when="close < SMA(50)", size={"volatility": 0.1})
    sizes = found.targets[~np.isnan(found.targets)]
    assert 0 < sizes[sizes > 0].min() < sizes.max() <= 1.0
    entries = np.flatnonzero((found.targets[1:] > 0) & (found.targets[:-1] == 0)) + 1
    for row in entries:
        assert found.targets[row] == pytest.approx(min(1.0, 0.1 / found.indicators["volatility"][row]), abs=1e-4)


def test_nothing_is_decided_before_every_indicator_has_a_value(market: dict[str, Bars]) -> None:
    found = wanted(market, buy_when="RSI(2) < 90", sell_when="MACD.macd < 0")
    assert found.first == 33
    assert np.isnan(found.targets[:33]).all()


# --- reading and writing --------------------------------------------------------------------------------------------
def test_a_spec_survives_toml_and_json(tmp_path: Path) -> None:
    spec = load_spec(TOML)
    assert load_spec(spec.to_toml()) == spec
    assert load_spec(json.dumps(spec.to_json())) == spec
    for name, text in (("a.toml", spec.to_toml()), ("a.json", json.dumps(spec.to_json()))):
        (tmp_path / name).write_text(text)
        assert load_spec(tmp_path / name) == spec


BUY = 'symbols = ["IBM"]\nsell_when = "close < 1"\nbuy_when = '


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BUY + '"rsii < 3"', "buy_when: 'rsii' is not known (open, high, low, close, volume, price) at column 1"),
        (BUY + '"RSI(2) <"', "buy_when: something is missing at column 9"),
        (BUY + '"RSI(2)"', "buy_when: 'RSI(2)' is a number, not a condition"),
        (BUY + '["close > 1", "close[-1] > 2"]', "buy_when[1]: how many bars ago is wanted"),
        (BUY + '"close > 3 $"', "buy_when: '$' means nothing at column 11"),
        (BUY + '"BBANDS(20) > 3"', "write BBANDS(20).upperband"),
        (BUY + '"close > SMA(0)"', "buy_when: SMA(0)"),
        (BUY + '"(close > 3) + 2 > 1"', "'+' takes numbers, not conditions"),
        (BUY + '"close > 1 and 3"', "'and' joins conditions, not numbers"),
        (BUY + '"close crosses SMA(3)"', "'above' or 'below' is wanted after 'crosses'"),
        (BUY + '"(close > 1"', "')' is missing"),
        (BUY + '"close > 1 close"', "'close' does not belong at column 11"),
        (BUY + '""', "buy_when: something is missing"),
        (BUY + "[]", "buy_when"),
        (BUY + f'"{"(" * 60}close > 1"', "too many brackets"),
        (BUY + f'"close > {"1" * 3000}"', "characters are too many"),
        (BUY + '"close > 1"\nleverage = 3', "leverage: there is no such field"),
        (BUY + '"close > 1"\n[indicators]\nclose = "RSI(2)"', "indicators: 'close' cannot be a name"),
        (BUY + '"close > 1"\n[indicators]\nx = "RSX(2)"', "indicators: x: TA-Lib knows no RSX"),
        (BUY + '"close > 1"\n[stops]\nloss = 1.5', "stops.loss"),
        (BUY + '"close > 1"\n[stops]\nloss = 0.1\ntrailing = 0.1', "stops: loss and trailing cannot both be given"),
        (BUY + '"close > 1"\n[size]\nweight = 2', "size.weight"),
        ('symbols = ["IBM"]\nbuy_when = "close > 1"', "sell_when: nothing ever ends a position"),
        ('symbols = ["IBM", "IBM"]\nbuy_when = "close > 1"\nsell_when = "close < 1"', "symbols: names a symbol twice"),
        ('symbols = ["i b m"]\nbuy_when = "close > 1"\nsell_when = "close < 1"', "is not a ticker symbol"),
        ("symbols = []", "symbols"),
        ("a = = 3", "is not TOML"),
        ("{not json", "is not JSON"),
        ("[1, 2]", "is not TOML"),
    ],
)
def test_errors_name_the_field(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        load_spec(text)
    assert said in str(error.value)


def test_files_that_are_no_spec(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_spec(tmp_path / "nothing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="is no text"):
        load_spec(tmp_path / "binary.toml")
    (tmp_path / "large.toml").write_text("#" * 300_000)
    with pytest.raises(InvalidInputError, match="too large"):
        load_spec(tmp_path / "large.toml")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="close RSI(2)<>=+-*/[]. and or not crosses above 123%\n", max_size=60))
def test_any_text_is_a_condition_or_a_sentence_about_what_is_wrong(text: str) -> None:
    try:
        node = parse_condition(text, "buy_when", {})
    except InvalidInputError as error:
        assert str(error).startswith("buy_when: ")  # noqa: PT017  either outcome is right
    else:
        assert node.kind == "truth"
