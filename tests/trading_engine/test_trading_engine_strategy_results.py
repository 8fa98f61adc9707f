"""Results: figures by formula and by independent libraries, round trips over splits, months, costs."""

from __future__ import annotations

import math
import warnings
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from retainer.core.errors import InvalidInputError
from retainer.trading import stats
from retainer.trading.backtest import BacktestResult, backtest
from retainer.trading.bars import Bars, close_of
from retainer.trading.engine import EngineSettings
from retainer.trading.honesty import MemoryTrials
from retainer.trading.limits import NO_FEES, Fees
from retainer.trading.samples import load_samples
from retainer.trading.strategies import make_strategy


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return {symbol: bars.upto(min(1_500, len(bars))) for symbol, bars in load_samples().items()}


@pytest.fixture(scope="module")
def result(market: dict[str, Bars]) -> BacktestResult:
    return backtest(make_strategy("sma-cross", {"fast": 10, "slow": 40}, symbols=("IBM",)), market)


def series(closes: list[float], factor: list[float] | None = None) -> Bars:
    prices = np.array(closes)
    return Bars(
        symbol="AAPL",
        close_time=np.array([close_of(date(2013, 1, 7) + timedelta(days=i)) for i in range(len(closes))]),
        open=prices,
        high=prices,
        low=prices,
        close=prices,
        volume=np.full(len(closes), 10_000),
        factor=np.ones(len(closes)) if factor is None else np.array(factor),
    )


# --- statistics -----------------------------------------------------------------------------------------------------
def test_ratios_agree_with_independent_libraries() -> None:
    rng = np.random.default_rng(7)
    returns, other = rng.standard_t(4, 700) * 0.01, rng.normal(0.0003, 0.012, 700)
    frame = pd.Series(returns)
    assert stats.volatility(returns, 252) == pytest.approx(frame.std() * math.sqrt(252), rel=1e-12)
    assert stats.sharpe_ratio(returns, 252) == pytest.approx(frame.mean() / frame.std() * math.sqrt(252), rel=1e-12)
    assert stats.skewness(returns) == pytest.approx(scipy_stats.skew(returns), rel=1e-12)
    assert stats.kurtosis(returns) == pytest.approx(scipy_stats.kurtosis(returns, fisher=False), rel=1e-12)
    line = scipy_stats.linregress(other, returns)
    beta, alpha = stats.beta_alpha(returns, other, 252)
    assert beta == pytest.approx(line.slope, rel=1e-9)
    assert alpha == pytest.approx(line.intercept * 252, rel=1e-9, abs=1e-12)


def test_the_curve_agrees_with_backtesting_py() -> None:
    """Same equity curve, the other library's own statistics (it warns of its own use of pandas)."""
    from backtesting._stats import compute_stats

    rng = np.random.default_rng(11)
    equity = 100_000 * np.exp(np.cumsum(rng.normal(0.0004, 0.011, 756)))
    index = pd.bdate_range("2010-01-04", periods=756)
    data = pd.DataFrame(dict.fromkeys(("Open", "High", "Low", "Close"), equity), index=index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = compute_stats(trades=[], equity=equity, ohlc_data=data, strategy_instance=None)
    assert stats.total_return(equity) * 100 == pytest.approx(theirs["Return [%]"], rel=1e-9)
    assert -stats.max_drawdown(equity).depth * 100 == pytest.approx(theirs["Max. Drawdown [%]"], rel=1e-9)
    days = np.array([close_of(day.date()) for day in index])
    assert stats.periods_per_year(days) == 252
    deepest = np.flatnonzero(stats.drawdowns(equity) == 0)
    assert stats.longest_drawdown(equity) == np.diff(np.r_[deepest, equity.size - 1]).max()


def test_figures_by_hand() -> None:
    curve = [100.0, 110.0, 99.0, 120.0]
    returns = stats.returns_of(curve)
    np.testing.assert_allclose(returns, [0.1, -0.1, 0.2121212121], rtol=1e-9)
    assert stats.annual_return(curve, 2.0) == pytest.approx(math.sqrt(1.2) - 1)
    assert math.isnan(stats.annual_return(curve, 0.01))
    assert stats.sortino_ratio(np.array([0.1, -0.1]), 1.0) == 0.0
    assert stats.longest_drawdown(curve) == 2
    flat = np.zeros(10)
    assert math.isnan(stats.sharpe_ratio(flat, 252))
    assert math.isnan(stats.sortino_ratio(np.full(5, 0.1), 252))
    assert math.isnan(stats.skewness(flat))


@pytest.mark.parametrize(
    ("gap", "per_year"), [(timedelta(days=1), 252), (timedelta(days=7), 52), (timedelta(days=30), 12)]
)
def test_bars_in_a_year(gap: timedelta, per_year: float) -> None:
    at = np.array([close_of(date(2010, 1, 4) + gap * step) for step in range(30)])
    assert stats.periods_per_year(at) == per_year


def test_minutes_count_as_many_as_there_were() -> None:
    at = np.arange(100_000, dtype=np.int64) * 60 * 10**9
    assert stats.periods_per_year(at) == pytest.approx(365.25 * 24 * 60, rel=1e-4)


# --- the run and its parts ------------------------------------------------------------------------------------------
def test_trades_add_up_to_the_run(result: BacktestResult) -> None:
    """Profits after fees, and dividends, are what the account made."""
    run = result.run
    made = sum(trade.profit for trade in result.trades)
    assert run.final - run.start_cash == pytest.approx(made + run.dividends, abs=0.02)
    assert sum(trade.fees for trade in result.trades) == pytest.approx(run.fees, abs=1e-6)
    own = result.statistics
    ended = [trade for trade in result.trades if trade.exited is not None]
    assert own.trades == len(ended) > 5
    assert own.win_rate == pytest.approx(np.mean([trade.profit > 0 for trade in ended]))
    assert own.best == max(trade.share for trade in ended)
    assert own.end_value == run.final


def test_months_multiply_to_the_whole(result: BacktestResult) -> None:
    months = result.monthly()
    whole = np.prod([1 + value for year in months.values() for month, value in year.items() if month])
    years = np.prod([1 + year[0] for year in months.values()])
    assert whole - 1 == pytest.approx(result.statistics.total_return, rel=1e-9)
    assert years - 1 == pytest.approx(result.statistics.total_return, rel=1e-9)


def test_the_benchmark_is_held_over_the_same_days_at_the_same_costs(result: BacktestResult) -> None:
    assert np.array_equal(result.benchmark.at, result.at)
    assert len(result.benchmark.fills) == 1
    assert result.benchmark.slippage_cost > 0
    assert result.benchmark_statistics.exposure > 0.95
    assert result.start.isoformat() == "2000-04-26"


def test_costs_are_on_and_named(market: dict[str, Bars]) -> None:
    strategy = make_strategy("sma-cross", {"fast": 10, "slow": 40}, symbols=("IBM",))
    dear = EngineSettings(fees=Fees(commission_ppm=2_000, minimum=100))
    cheap, costly = (backtest(strategy, market, settings) for settings in (EngineSettings(), dear))
    assert costly.costs.fees > 0
    assert costly.costs.total > cheap.costs.total > 0
    assert costly.statistics.end_value < cheap.statistics.end_value
    free = backtest(strategy, market, EngineSettings(fees=NO_FEES))
    assert [finding.kind for finding in free.honesty.findings] == ["costs"]


def test_a_trade_over_a_split_is_one_trade() -> None:
    """99 shares bought at 101 dollars, two for one, 198 sold at 40: bought once, sold once, a fifth lost."""
    closes = [90.0, 80, 100, 100, 101, 60, 70, 60, 40, 40]
    bars = series(closes, factor=[0.5] * 5 + [1.0] * 5)
    strategy = make_strategy("sma-cross", {"fast": 2, "slow": 3}, symbols=("AAPL",))
    found = backtest(strategy, {"AAPL": bars}, EngineSettings(cash=Decimal(10_000), fees=NO_FEES))
    (trade,) = found.trades
    assert (trade.entry, trade.exit) == (50.5, 40.0)
    assert trade.quantity == 198
    assert trade.reason == "target"
    assert found.run.final - 10_000 == pytest.approx(trade.profit)


def test_stops_end_trades_and_are_named() -> None:
    from retainer.trading.spec import SpecStrategy, load_spec

    closes = [100.0, 101, 102, 103, 104, 90, 91, 92, 93, 94]
    spec = load_spec({"symbols": ["AAPL"], "buy_when": "close > close[1]", "stops": {"loss": 0.05}})
    found = backtest(SpecStrategy.of(spec), {"AAPL": series(closes)}, EngineSettings(fees=NO_FEES))
    assert [trade.reason for trade in found.trades][:1] == ["stop"]
    assert found.trades[0].exit == 90.0  # the gap: the open is worse than the stop


def test_a_span_and_a_history_that_do_not_reach_are_refused(market: dict[str, Bars]) -> None:
    strategy = make_strategy("sma-cross", symbols=("IBM",))
    with pytest.raises(InvalidInputError, match="too few bars for a first decision"):
        backtest(strategy, {"IBM": market["IBM"].upto(50)})
    with pytest.raises(InvalidInputError, match="not two bars"):
        backtest(strategy, market, start=close_of(date(2030, 1, 2)))


def test_compiled_and_plain_give_one_result(market: dict[str, Bars]) -> None:
    strategy = make_strategy("breakout", symbols=("IBM", "AAPL"))
    plain, compiled = (
        backtest(strategy, market, trials=MemoryTrials(), compiled=compiled) for compiled in (False, True)
    )
    assert plain.run.digest() == compiled.run.digest()
    assert plain.to_json() == compiled.to_json()
