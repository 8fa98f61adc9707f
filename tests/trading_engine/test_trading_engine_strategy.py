"""Indicators, the shipped strategy, its reasons in words, the backtest, and the hunt for looks into the future."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retainer.core.errors import InvalidInputError
from retainer.trading.account_run import run_account
from retainer.trading.bars import Bars, Floats, bars_at, close_of, market_date, sessions
from retainer.trading.honesty import lookahead
from retainer.trading.kernels import apply_accept, fill, open_account, order_id, propose
from retainer.trading.limits import Fees, Limits
from retainer.trading.samples import SYMBOLS, load_samples
from retainer.trading.settings import TradingSettings
from retainer.trading.state import AccountState, Order
from retainer.trading.strategy import Signal, SmaTrend, Strategy, decide
from retainer.trading.technical import Signals, TechnicalAnalysis, indicator, sma
from retainer.trading.units import to_units

LIMITS = Limits(symbols=SYMBOLS)


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return load_samples()


def series(closes: list[float], factor: list[float] | None = None, symbol: str = "AAPL") -> Bars:
    prices = np.array(closes)
    return Bars(
        symbol=symbol,
        close_time=np.array([close_of(date(2013, 1, 7) + timedelta(days=i)) for i in range(len(closes))]),
        open=prices,
        high=prices,
        low=prices,
        close=prices,
        volume=np.zeros(len(closes), dtype=np.int64),
        factor=np.ones(len(closes)) if factor is None else np.array(factor),
    )


# --- indicators -------------------------------------------------------------------------------------------------------
def test_an_average_by_hand() -> None:
    values = sma(series([1, 2, 3, 6]), 3)
    assert np.isnan(values[:2]).all()
    assert values[2:].tolist() == [2.0, 11 / 3]


def test_raw_prices_are_averaged_exactly_on_whole_ticks(market: dict[str, Bars]) -> None:
    bars = market["IBM"]
    values = sma(bars, 20, adjusted=False)
    ticks = [to_units(float(c)) for c in bars.close]
    for row in range(19, len(bars)):
        assert values[row] == float(Fraction(sum(ticks[row - 19 : row + 1]), 20)) / 10_000


def test_signals_of_a_frame_and_of_bars_agree(market: dict[str, Bars]) -> None:
    bars = market["IBM"].upto(300)
    index = pd.DatetimeIndex([market_date(int(t)) for t in bars.close_time])
    columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume", "factor")}
    table = TechnicalAnalysis().generate_signals(pd.DataFrame(columns, index=index))
    signals = TechnicalAnalysis().generate_signals(bars)
    assert isinstance(signals, Signals)
    for name, values in signals.values.items():
        np.testing.assert_array_equal(table[name].to_numpy(), values)
    assert table["signal"].iloc[98] == 0
    assert set(table["signal"].iloc[99:]) <= {-1, 1}
    assert {"SMA(20)", "RSI(14)", "MACD.macd", "ATR(14)", "BBANDS(20).upperband"} <= set(table.columns)
    assert set(TechnicalAnalysis().generate_signals({"IBM": bars})) == {"IBM"}


@pytest.mark.parametrize("spec", ["FOO(3)", "SMA(0)", "SMA(2,3)", "MACD(1)", "no such thing", "SMA(-1)"])
def test_an_unknown_indicator_is_refused(spec: str) -> None:
    with pytest.raises(InvalidInputError):
        indicator(spec, series([1.0] * 50))


def test_too_few_bars_give_no_value() -> None:
    assert np.isnan(sma(series([1.0, 2.0]), 20)).all()


# --- the shipped strategy ---------------------------------------------------------------------------------------------
def test_the_first_decision_is_on_the_first_day_both_averages_exist() -> None:
    strategy = SmaTrend(fast=2, slow=4, symbols=("AAPL",))
    bars = series([10, 11, 12, 13, 14])
    targets = strategy.targets(bars, strategy.indicators(bars))
    assert np.isnan(targets[:3]).all()
    assert targets[3:].tolist() == [0.25, 0.25]


def test_reasons_name_values_and_relations() -> None:
    strategy = SmaTrend(fast=2, slow=3, symbols=("AAPL",))
    bars = series([10, 10, 10, 13, 13, 7, 6, 6])
    said = [decide(strategy, {"AAPL": bars}, int(at))[0] for at in bars.close_time]
    assert [d.signal for d in said] == [
        "fewer than 3 days of prices: no decision yet",
        "fewer than 3 days of prices: no decision yet",
        "2-day average 10.00 equals 3-day 10.00 on the first day both are known",
        "2-day average 11.50 rose above 3-day 11.00",
        "2-day average 13.00 is above 3-day 12.00",
        "2-day average 10.00 fell below 3-day 11.00",
        "2-day average 6.50 is below 3-day 8.67",
        "2-day average 6.00 is below 3-day 6.33",
    ]
    assert (said[3].target, said[3].previous, said[3].target_bps) == (0.25, 0.0, 2_500)
    assert (said[3].relation, said[3].previous_relation) == ("above", "equal")
    assert said[3].indicators == {"sma_2": 11.5, "sma_3": 11.0, "close": 13.0}
    assert (said[0].target, said[0].previous) == (None, None)


def test_averages_are_told_in_dollars_of_the_day_and_splits_are_no_signal() -> None:
    strategy = SmaTrend(fast=2, slow=3, symbols=("AAPL",))
    bars = series([20, 22, 24, 13, 14], factor=[0.25, 0.25, 0.25, 0.5, 0.5])
    first, after = (decide(strategy, {"AAPL": bars}, int(bars.close_time[row]))[0] for row in (2, 3))
    assert first.signal.startswith("2-day average 23.00 is above 3-day 22.00")
    assert after.signal == "2-day average 12.50 is above 3-day 12.00"


def test_a_missing_bar_is_no_decision(market: dict[str, Bars]) -> None:
    strategy = SmaTrend()
    early = int(market["IBM"].close_time[150])
    assert [d.symbol for d in decide(strategy, market, early)] == ["AAPL", "IBM", "MSFT"]
    assert decide(strategy, market, early + 1) == []
    outlook = strategy.outlook(market, early)
    assert outlook.targets.keys() == {"AAPL", "IBM", "MSFT"}
    assert outlook.values("GOOG") == {}
    assert outlook.signal("GOOG") == ""
    assert "20-day average" in outlook.signal("IBM")


@pytest.mark.parametrize(
    "wrong",
    [{"fast": 1}, {"fast": 100}, {"weight": 0}, {"weight": 1.1}, {"symbols": ()}, {"symbols": ("A", "A")}],
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        SmaTrend(**wrong)


# --- looks into the future --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Leaky(Strategy):
    """A strategy with a planted look into the future."""

    leak: str
    name: str = "leaky"
    symbols: tuple[str, ...] = ("IBM",)

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        close = bars.adjusted()
        if self.leak == "next bar":
            return {"x": np.r_[close[1:], close[-1]] - close}
        if self.leak == "whole series":
            return {"x": close.mean() - close}
        return {"x": np.convolve(close, np.ones(21) / 21, "same") - close}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        return np.where(indicators["x"] > 0, 1.0, 0.0)

    def explain(self, bars: Bars, indicators: Mapping[str, Floats], row: int) -> Signal:
        return Signal({}, "none", "none", self.leak)


@pytest.mark.parametrize("leak", ["next bar", "whole series", "centred window"])
def test_a_planted_look_into_the_future_is_found(market: dict[str, Bars], leak: str) -> None:
    assert lookahead(Leaky(leak), market)


def test_the_shipped_strategy_never_looks_ahead(market: dict[str, Bars]) -> None:
    assert lookahead(SmaTrend(), market, cuts=100) == ()


def test_reasons_of_a_prefix_equal_those_of_the_whole_history(market: dict[str, Bars]) -> None:
    bars, strategy = market["AAPL"], SmaTrend()
    whole = strategy.indicators(bars)
    for row in (150, 1_260, 3_000):
        prefix = bars.upto(row + 1)
        assert strategy.explain(prefix, strategy.indicators(prefix), row) == strategy.explain(bars, whole, row)


# --- backtest ---------------------------------------------------------------------------------------------------------
def test_a_backtest_is_the_live_loop_bit_for_bit(market: dict[str, Bars]) -> None:
    """Live sees one bar set at a time and decides on a prefix; the state is saved and loaded between any two."""
    start, end = close_of(date(2005, 1, 3)), close_of(date(2005, 12, 30))
    strategy, fees = SmaTrend(), Fees()
    result = run_account(strategy, market, cash=10_000_000, limits=LIMITS, fees=fees, start=start, end=end)
    times = [int(t) for t in sessions(market) if start <= t <= end]
    state, _ = open_account(10_000_000, at=times[0])
    accepted: list[Order] = []
    for at in times:
        state = AccountState.from_json(state.to_json())
        for order in accepted:
            state = apply_accept(state, order)
        state = fill(state, bars_at(market, at), at, fees).state
        proposal = propose(state, LIMITS, strategy.outlook(market, at).targets, at, strategy.name)
        accepted = [
            o.accepted(order_id("paper", strategy.name, o.symbol, o.side, at), at)
            for o in proposal.orders
            if o.bits == 0
        ]
        state = proposal.state.bumped()
    assert state.digest() == result.state.digest()
    assert state.version == 252
    assert len(result.fills) > 10


def test_a_backtest_over_the_split_loses_no_cent(market: dict[str, Bars]) -> None:
    settings = TradingSettings()
    result = run_account(
        settings.make_strategy(),
        market,
        cash=10_000_000,
        limits=settings.to_limits(),
        fees=settings.to_fees(),
        start=close_of(settings.replay.start),
    )
    state = result.state
    assert [p.quantity for p in result.postings if p.kind == "split"] == [316]  # 20,000 dollars at 63.29
    cost = sum(p.cost for p in state.positions.values())
    assert state.cash + cost == 10_000_000 + state.realised + state.dividends - state.fees
    assert sum(p.amount for p in result.postings) == state.cash
    assert len(result.at) == len(result.equity) == 2_054


def test_orders_of_the_last_close_are_reported_as_pending() -> None:
    bars = series([10, 10, 10, 13])
    strategy = SmaTrend(fast=2, slow=3, symbols=("AAPL",))
    result = run_account(strategy, {"AAPL": bars}, cash=1_000_000, limits=LIMITS, fees=Fees())
    assert result.fills == ()
    assert [(o.side, o.quantity) for o in result.pending] == [("buy", 192)]


def test_a_span_without_bars_is_refused(market: dict[str, Bars]) -> None:
    with pytest.raises(InvalidInputError, match="no bar"):
        run_account(SmaTrend(), market, cash=1, limits=LIMITS, fees=Fees(), end=close_of(date(1999, 1, 4)))
