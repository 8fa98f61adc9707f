"""Strategies as traders write them: the classics, typed parameters, pandas or NumPy, one or many symbols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.trading.bars import Bars, Floats, sessions
from retainer.trading.evaluation import evaluate
from retainer.trading.rules import (
    PortfolioRule,
    Rule,
    Stops,
    between,
    crossed_above,
    frame_of,
    held_from,
    new_month,
    parameter,
    rolling_deviation,
    shifted,
)
from retainer.trading.samples import SYMBOLS, load_samples
from retainer.trading.strategies import CATALOGUE, SmaCross, make_strategy, strategy_class
from retainer.trading.technical import indicator, sma


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return {symbol: bars.upto(min(1_100, len(bars))) for symbol, bars in load_samples().items()}


# --- the classics ---------------------------------------------------------------------------------------------------
def test_there_are_at_least_eight_classics_each_with_its_source() -> None:
    assert len(CATALOGUE) >= 8
    for name, kind in CATALOGUE.items():
        strategy = make_strategy(name, symbols=("IBM",))
        assert strategy.name == name
        assert len(kind.about()) > 20
        assert any(char.isdigit() for char in kind.source()), name
        for known in kind.parameters():
            assert known.range.low <= known.default <= known.range.high
            assert known.range.about


def test_rules_by_hand(market: dict[str, Bars]) -> None:
    """Each rule again in plain loops, on one symbol."""
    bars = market["IBM"]
    close = bars.adjusted()

    def targets(name: str, **values: Any) -> Floats:
        return evaluate(make_strategy(name, values, symbols=("IBM",)), market)["IBM"].targets

    cross = targets("sma-cross", fast=5, slow=20)
    for row in range(19, 300):
        assert cross[row] == float(close[row - 4 : row + 1].mean() > close[row - 19 : row + 1].mean())
    assert np.isnan(cross[:19]).all()

    high, low = bars.high * bars.factor, bars.low * bars.factor
    donchian, held = targets("donchian", enter=20, leave=10), False
    for row in range(20, 300):
        held = (held or close[row] > high[row - 20 : row].max()) and not close[row] < low[row - 10 : row].min()
        assert donchian[row] == float(held)

    rsi = indicator("RSI(2)", bars)["RSI(2)"]
    reversion, held = targets("rsi-reversion", average=50), False
    for row in range(49, 300):
        held = (held or (rsi[row] < 10 and close[row] > close[row - 49 : row + 1].mean())) and not rsi[row] > 70
        assert reversion[row] == float(held)

    bands, held = targets("bollinger", period=20, width=2.0), False
    for row in range(19, 300):
        part = close[row - 19 : row + 1]
        held = (held or close[row] < part.mean() - 2 * part.std()) and not close[row] > part.mean()
        assert bands[row] == float(held)


def test_rotation_holds_the_strongest_and_only_what_rose(market: dict[str, Bars]) -> None:
    strategy = make_strategy("momentum-rotation", {"lookback": 60, "top": 1}, symbols=("AAPL", "IBM", "MSFT"))
    found = evaluate(strategy, market)
    at = market["IBM"].close_time
    rise = {s: market[s].adjusted()[60:] / market[s].adjusted()[:-60] - 1 for s in strategy.symbols}
    months = new_month(at)
    checked = 0
    for row in range(61, 1_000):
        weights = {symbol: found[symbol].targets[row] for symbol in strategy.symbols}
        if months[row]:
            best = max(rise, key=lambda symbol: rise[symbol][row - 60])
            expected = {s: float(s == best and rise[s][row - 60] > 0) for s in strategy.symbols}
            assert weights == expected
            checked += 1
        elif not np.isnan(weights["IBM"]):
            assert weights == {symbol: found[symbol].targets[row - 1] for symbol in strategy.symbols}
    assert checked > 40


def test_volatility_targeting_holds_less_in_a_storm(market: dict[str, Bars]) -> None:
    found = evaluate(make_strategy("volatility-target", {"target": 0.2}, symbols=("IBM",)), market)["IBM"]
    returns = np.diff(np.log(market["IBM"].adjusted()))
    for row in np.flatnonzero(new_month(market["IBM"].close_time)):
        if row > 30:
            swing = returns[row - 21 : row].std(ddof=1) * np.sqrt(252)
            assert found.targets[row] == pytest.approx(min(1.0, 0.2 / swing), abs=1e-4)


def test_a_breakout_trails_by_its_range(market: dict[str, Bars]) -> None:
    found = evaluate(make_strategy("breakout", symbols=("IBM",)), market)["IBM"]
    assert found.trailing is not None
    known = found.trailing[~np.isnan(found.trailing)]
    assert ((known > 0) & (known <= 0.9)).all()


def test_live_and_backtest_want_the_same(market: dict[str, Bars]) -> None:
    """The wish at a close, from bars up to it alone, is the row of the whole history; for portfolios, too."""
    for name in ("donchian", "rsi-reversion", "momentum-rotation"):
        strategy = make_strategy(name, symbols=("AAPL", "IBM"))
        whole = evaluate(strategy, market)
        for at in sessions(market)[300:1_000:97]:
            outlook = strategy.outlook(market, int(at))
            for decision in outlook.decisions:
                row = market[decision.symbol].index_of(int(at))
                assert row is not None
                expected = whole[decision.symbol].targets[row]
                assert decision.target == expected or (decision.target is None and np.isnan(expected))
                assert decision.signal
    assert strategy.outlook(market, int(sessions(market)[300]) + 1).decisions == ()


# --- parameters -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fast": 1}, "sma-cross: fast is 1, out of its range. From 2 to 250"),
        ({"fast": 2.5}, "sma-cross: fast is 2.5, not a whole number"),
        ({"fast": "5"}, "sma-cross: fast is '5', not a whole number"),
        ({"fast": True}, "sma-cross: fast is True, not a whole number"),
        ({"fast": float("nan")}, "fast is nan"),
        ({"fast": 50, "slow": 20}, "sma-cross: fast (50) must be smaller than slow (20)"),
        ({"speed": 3}, "sma-cross has no parameter speed"),
        ({"weight": 1.5}, "sma-cross: weight is 1.5, not a share"),
    ],
)
def test_parameters_that_do_not_fit_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        make_strategy("sma-cross", values, symbols=("IBM",))
    assert said in str(error.value)


@pytest.mark.parametrize("symbols", [(), ("IBM", "IBM"), ("i b m",), "IBM"])
def test_symbols_that_do_not_fit_are_refused(symbols: Any) -> None:
    with pytest.raises(InvalidInputError):
        SmaCross(symbols=symbols)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(NotFoundError, match="Did you mean sma-cross"):
        strategy_class("sma-crosss")
    with pytest.raises(InvalidInputError, match="has no parameter slw"):
        make_strategy("sma-cross", symbols=("IBM",)).changed({"slw": 3})


# --- written by a trader --------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class PandasTrend(Rule):
    """A rule in pandas."""

    name: str = "pandas-trend"
    days: int = parameter(20, low=2, high=200, about="Days of the average.")

    def indicators(self, bars: Bars) -> dict[str, Any]:
        close = frame_of(bars)["close"]
        return {"close": close, "average": close.rolling(self.days).mean()}

    def targets(self, bars: Bars, indicators: Mapping[str, Any]) -> Any:
        assert isinstance(indicators["average"], pd.Series)
        return (indicators["close"] > indicators["average"]) * self.share


def test_pandas_and_numpy_say_the_same(market: dict[str, Bars]) -> None:
    found = evaluate(PandasTrend(symbols=("IBM",)), market)["IBM"]
    close = market["IBM"].adjusted()
    assert found.first == 19
    np.testing.assert_array_equal(found.targets[19:], (close > sma(market["IBM"], 20))[19:].astype(float))


@dataclass(frozen=True, kw_only=True)
class Broken(Rule):
    """Gives whatever it is told to."""

    name: str = "broken"
    gives: Any = None
    shows: Any = None
    stop: Any = None

    def indicators(self, bars: Bars) -> Any:
        return {"x": np.ones(len(bars))} if self.shows is None else self.shows(bars)

    def targets(self, bars: Bars, indicators: Mapping[str, Any]) -> Any:
        return np.ones(len(bars)) if self.gives is None else self.gives(bars)

    def stops(self, bars: Bars, indicators: Mapping[str, Any]) -> Stops:
        return Stops(loss=self.stop)


def spoiled(count: int, row: int, value: float) -> Floats:
    values = np.zeros(count)
    values[row] = value
    return values


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ({"gives": lambda bars: np.ones(3)}, "broken, IBM: targets has the shape (3,)"),
        ({"gives": lambda bars: np.ones((len(bars), 2))}, "targets has the shape"),
        ({"gives": lambda bars: ["buy"] * len(bars)}, "targets holds no numbers"),
        ({"gives": lambda bars: spoiled(len(bars), 7, 1.5)}, "row 7 (2000-03-10): the target 1.5 is not a share"),
        ({"gives": lambda bars: spoiled(len(bars), 7, np.inf)}, "row 7 (2000-03-10): the target inf"),
        ({"gives": lambda bars: 1 / 0}, "targets of IBM failed with ZeroDivisionError"),
        ({"shows": lambda bars: [1, 2]}, "indicators gives list, not arrays by name"),
        ({"shows": lambda bars: {"x": np.ones(2)}}, "indicator x has the shape (2,)"),
        ({"shows": lambda bars: indicator("RSX(2)", bars)}, "TA-Lib knows no RSX"),
        ({"stop": 1.5}, "row 0: the loss stop's distance 1.5 is not a share of the price"),
        ({"stop": -0.1}, "the loss stop's distance -0.1"),
    ],
)
def test_what_a_strategy_gets_wrong_is_named(market: dict[str, Bars], strategy: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        evaluate(Broken(symbols=("IBM",), **strategy), market)
    assert said in str(error.value)


def test_a_portfolio_of_the_wrong_shape_and_a_market_without_the_symbol(market: dict[str, Bars]) -> None:
    class Wrong(PortfolioRule):
        """Forgets a column."""

        def indicators(self, bars: Bars) -> dict[str, Floats]:
            return {"x": bars.adjusted()}

        def allocate(self, panel: Any) -> Floats:
            return np.zeros((panel.at.size, 1))

    with pytest.raises(InvalidInputError, match="one row per bar, one column per symbol"):
        evaluate(Wrong(name="wrong", symbols=SYMBOLS), market)
    with pytest.raises(InvalidInputError, match="there are no bars of TSLA"):
        evaluate(make_strategy("sma-cross", symbols=("TSLA",)), market)


# --- building blocks ------------------------------------------------------------------------------------------------
def test_building_blocks_by_hand() -> None:
    enter = np.array([0, 1, 0, 0, 1, 1, 0, 1], dtype=bool)
    leave = np.array([0, 0, 0, 1, 0, 1, 0, 0], dtype=bool)
    assert between(enter, leave).tolist() == [False, True, True, False, True, False, False, True]
    one, other = np.array([1.0, 3, 2, np.nan, 3, 4]), np.array([2.0, 2, 2, 2, 2, 2])
    assert crossed_above(one, other).tolist() == [False, True, False, False, False, False]
    np.testing.assert_array_equal(shifted([1.0, 2, 3], 1), [np.nan, 1, 2])
    with pytest.raises(InvalidInputError, match="look into the future"):
        shifted([1.0], -1)
    change = np.array([False, True, False, True])
    np.testing.assert_array_equal(held_from(change, np.array([1.0, 2, 3, 4])), [np.nan, 2, 2, 4])
    values = np.random.default_rng(0).normal(size=50)
    np.testing.assert_allclose(
        rolling_deviation(values, 7)[6:], pd.Series(values).rolling(7).std().to_numpy()[6:], rtol=1e-12
    )
