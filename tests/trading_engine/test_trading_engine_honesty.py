"""Honesty on by default: planted leaks are found, honest strategies are left alone, luck is counted."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.trading_leaks import LEAKS, Leak

from retainer.core.errors import InvalidInputError, RetainerError
from retainer.trading.backtest import backtest
from retainer.trading.bars import Bars, Floats
from retainer.trading.engine import EngineSettings
from retainer.trading.honesty import (
    Checks,
    KnownSeries,
    MemoryTrials,
    TrialStore,
    intervals,
    lookahead,
    origin,
    warmup,
)
from retainer.trading.honesty.bootstrap import automatic_length, block_length, block_sums
from retainer.trading.honesty.deflated import deflated_sharpe, expected_best, probabilistic_sharpe
from retainer.trading.honesty.trials import family_of, variant_of
from retainer.trading.rules import Rule
from retainer.trading.samples import SYMBOLS, load_samples
from retainer.trading.strategies import CATALOGUE, make_strategy
from retainer.trading.technical import sma

BARS = 900


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return {symbol: bars.upto(min(BARS, len(bars))) for symbol, bars in load_samples().items()}


# --- looks into the future and their kin ----------------------------------------------------------------------------
@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_every_way_of_cheating_is_found(market: dict[str, Bars], leak: Leak) -> None:
    bars = market["IBM"]
    result = backtest(leak.strategy("IBM", bars), {"IBM": bars}, leak.settings)
    assert not result.honesty.clean
    assert "Do not believe it" in result.sentence()


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_no_classic_is_suspected(market: dict[str, Bars], name: str) -> None:
    for symbols in (("IBM",), SYMBOLS):
        strategy = make_strategy(name, symbols=symbols)
        assert lookahead(strategy, market, cuts=30) == ()
        assert origin(strategy, market) == ()
        assert not warmup(strategy, market).never


def test_a_finding_says_what_where_and_how_much(market: dict[str, Bars]) -> None:
    leak = next(leak for leak in LEAKS if leak.name == "shift by one bar")
    bars = market["IBM"]
    first = lookahead(leak.strategy("IBM", bars), {"IBM": bars})[0]
    assert (first.kind, first.symbol, first.what) == ("future", "IBM", "target")
    assert "with the bars up to" in first.words
    assert "with later ones" in first.words
    again = lookahead(leak.strategy("IBM", bars), {"IBM": bars})
    assert again[0] == first


def test_a_leak_in_one_of_several_symbols_names_it(market: dict[str, Bars]) -> None:
    class Half(Rule):
        """Cheats on one symbol only."""

        def indicators(self, bars: Bars) -> dict[str, Floats]:
            close = bars.adjusted()
            return {"x": close - close.mean() if bars.symbol == "MSFT" else close - sma(bars, 5)}

        def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
            return self.hold(indicators["x"] > 0)

    found = lookahead(Half(name="half", symbols=("IBM", "MSFT")), market)
    assert {finding.symbol for finding in found} == {"MSFT"}


def test_a_strategy_that_fails_on_a_shorter_history_is_reported(market: dict[str, Bars]) -> None:
    class Needy(Rule):
        """Refuses histories that it does not like."""

        def indicators(self, bars: Bars) -> dict[str, Floats]:
            if 300 < len(bars) < 800:
                raise RuntimeError("no")
            return {"average": sma(bars, 10)}

        def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
            return self.hold(indicators["average"] > 0)

    found = lookahead(Needy(name="needy", symbols=("IBM",)), market)
    assert [finding.kind for finding in found] == ["unchecked"]
    assert "RuntimeError: no" in found[0].words


def test_a_calendar_rule_is_a_note_and_no_reason_for_distrust(market: dict[str, Bars]) -> None:
    class Halloween(Rule):
        """Holds from November to April."""

        def indicators(self, bars: Bars) -> dict[str, Floats]:
            months = bars.close_time.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64) % 12 + 1
            return {"month": months.astype(np.float64)}

        def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
            month = indicators["month"]
            return self.hold((month >= 11) | (month <= 4))

    result = backtest(Halloween(name="halloween", symbols=("IBM",)), market)
    assert [finding.kind for finding in result.honesty.findings] == ["calendar"]
    assert result.honesty.clean


def test_values_from_outside_need_the_instant_of_their_knowledge(market: dict[str, Bars]) -> None:
    bars = market["IBM"]
    day = 86_400 * 10**9
    about = bars.close_time[:100:10]
    series = KnownSeries(about, about + 3 * day, np.arange(10.0))
    on = series.on(bars)
    assert np.isnan(on[0])
    for row in range(1, 60):
        known = [value for value, when in zip(series.values, series.known, strict=True) if when <= bars.close_time[row]]
        assert on[row] == known[-1] if known else np.isnan(on[row])
    with pytest.raises(InvalidInputError, match="Row 3 of the series was known before it happened"):
        KnownSeries(about, np.where(np.arange(10) == 3, about - 1, about), np.arange(10.0))
    with pytest.raises(InvalidInputError, match="different lengths"):
        KnownSeries(about, about[:5], np.arange(10.0))


# --- warm-up --------------------------------------------------------------------------------------------------------
def test_recursive_indicators_settle_later_than_their_first_value(market: dict[str, Bars]) -> None:
    plain = warmup(make_strategy("sma-cross", symbols=("IBM",)), market)
    assert (plain.first, plain.settled, plain.differing) == (99, 99, 0.0)
    assert "does not matter" in plain.words
    recursive = warmup(make_strategy("ema-cross", {"fast": 20, "slow": 200}, symbols=("IBM",)), market)
    assert recursive.settled > recursive.first == 199


def test_a_strategy_that_never_forgets_its_first_day_is_named(market: dict[str, Bars]) -> None:
    class SinceStart(Rule):
        """Counts the weeks from the first day."""

        def indicators(self, bars: Bars) -> dict[str, Floats]:
            return {"week": np.arange(float(len(bars))) // 7 % 3}

        def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
            return self.hold(indicators["week"] == 0)

    found = warmup(SinceStart(name="since-start", symbols=("IBM",)), market)
    assert found.never
    assert "another first day is another strategy" in found.words


# --- the count of trials and the deflated Sharpe ratio --------------------------------------------------------------
def test_the_deflated_ratio_of_the_paper() -> None:
    """Bailey and Lopez de Prado (2014), the numerical example: 100 trials, variance 1/2, 5 years of days."""
    expected = expected_best(100, 0.5 / 250)
    assert expected == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(2.5 / math.sqrt(250), expected, 1250, -3, 10) == pytest.approx(0.9004, abs=5e-5)


def test_more_trials_leave_less_of_a_result() -> None:
    returns = np.random.default_rng(3).normal(0.0008, 0.01, 1_000)
    chances = [deflated_sharpe(returns, trials, 0.001).probability for trials in (1, 10, 100, 1000)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.9 > chances[-1]


def test_the_normal_approximation_agrees_with_scipy() -> None:
    from scipy import stats as scipy_stats

    returns = np.random.default_rng(1).standard_t(4, 500) * 0.01 + 0.0005
    ratio = returns.mean() / returns.std(ddof=1)
    spread = 1 - scipy_stats.skew(returns) * ratio + (scipy_stats.kurtosis(returns, fisher=False) - 1) / 4 * ratio**2
    by_scipy = scipy_stats.norm.cdf(ratio * math.sqrt(499) / math.sqrt(spread))
    assert deflated_sharpe(returns, 1, 0.0).probability == pytest.approx(by_scipy, rel=1e-9)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_trials_are_counted_per_data_and_once_per_variant(kind: str, tmp_path: Path, market: dict[str, Bars]) -> None:
    trials: Any = MemoryTrials() if kind == "memory" else TrialStore(tmp_path / "trials.db")
    for fast in (5, 10, 10, 20):
        backtest(make_strategy("sma-cross", {"fast": fast}, symbols=("IBM",)), market, trials=trials)
    result = backtest(make_strategy("donchian", symbols=("IBM",)), market, trials=trials)
    assert result.honesty.trials == 4
    assert "one of 4 variants" in result.sentence()
    other = backtest(make_strategy("donchian", symbols=("AAPL",)), market, trials=trials)
    assert other.honesty.trials == 1
    later = backtest(make_strategy("donchian", symbols=("IBM",)), {"IBM": market["IBM"].upto(700)}, trials=trials)
    assert later.honesty.trials == 4
    if isinstance(trials, TrialStore):
        trials.close()


def test_trials_survive_the_process_and_are_shared_by_threads(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "trials.db"

    def work(part: int) -> None:
        with TrialStore(path) as store:
            for number in range(20):
                store.record("IBM|day", {variant_of("x", {"n": number, "part": part}): 0.01 * number})

    with TrialStore(path):
        threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with TrialStore(path) as store:
        found = store.family("IBM|day")
    assert found.count == 80
    assert found.variance == pytest.approx(np.var(np.tile(np.arange(20) * 0.01, 4), ddof=1))


def test_a_file_that_is_no_count_is_told(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    path.write_bytes(b"this is no database, but long enough to look like one" * 20)
    with pytest.raises(RetainerError, match="cannot be read or written"):
        TrialStore(path)


def test_families_are_symbols_and_bar_size(market: dict[str, Bars]) -> None:
    assert family_of(market, ("MSFT", "IBM")) == "IBM,MSFT|day"
    assert variant_of("a", {"x": 1}) != variant_of("a", {"x": 2})


# --- intervals ------------------------------------------------------------------------------------------------------
def test_block_sums_are_the_sums_over_the_blocks() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 103))
    starts = rng.integers(0, 103, size=(11, 7))
    found = block_sums(values, starts, 10)
    for history in range(7):
        rows = [(start + step) % 103 for start in starts[:, history] for step in range(10)][:103]
        np.testing.assert_allclose(found[:, history], values[:, rows].sum(axis=1), rtol=1e-12, atol=1e-12)


def test_intervals_agree_with_an_independent_bootstrap() -> None:
    """The same statistic by arch's circular block bootstrap: the ends agree within the noise of resampling."""
    from arch.bootstrap import CircularBlockBootstrap

    rng = np.random.default_rng(5)
    returns = rng.standard_t(5, 1_500) * 0.008 + 0.0004
    benchmark = rng.normal(0.0003, 0.01, 1_500)

    def figures(one: Floats, other: Floats) -> Floats:
        sharpe = one.mean() / one.std(ddof=1) * math.sqrt(252)
        yearly, held = (np.exp(np.log1p(x).sum() / (x.size / 252)) - 1 for x in (one, other))
        return np.array([sharpe, yearly, yearly - held])

    theirs = CircularBlockBootstrap(15, returns, benchmark, seed=1)
    low, high = theirs.conf_int(figures, reps=2_000, method="percentile", size=0.9)
    ours = intervals(returns, benchmark, 252.0, resamples=4_000, block=15)
    for index, name in enumerate(("sharpe", "annual_return", "excess")):
        width = high[index] - low[index]
        assert ours[name].low == pytest.approx(low[index], abs=0.06 * width)
        assert ours[name].high == pytest.approx(high[index], abs=0.06 * width)


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.6, 0.9])
def test_the_block_length_agrees_with_an_independent_one(memory: float) -> None:
    """Same paper; the other library begins to count lags one later, so lengths differ by a little."""
    from arch.bootstrap import optimal_block_length

    rng = np.random.default_rng(0)
    noise = rng.normal(size=2_500)
    values = np.zeros(2_500)
    for row in range(1, 2_500):
        values[row] = memory * values[row - 1] + noise[row]
    theirs = float(optimal_block_length(values)["circular"].iloc[0])
    assert automatic_length(values) == pytest.approx(theirs, rel=0.1, abs=1.0)
    assert block_length(values) >= math.ceil(2_500 ** (1 / 3))


def test_too_short_or_flat_histories_have_no_interval() -> None:
    assert intervals(np.zeros(5), np.zeros(5), 252.0) == {}
    flat = intervals(np.zeros(100), np.zeros(100), 252.0)
    assert math.isnan(flat["sharpe"].low)
    assert flat["annual_return"].low == flat["annual_return"].high == 0.0


# --- nothing can be switched off ------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrong", [{"cuts": 0}, {"resamples": 1}, {"level": 0.1}, {"level": 1.0}])
def test_checks_cannot_be_switched_off(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Checks(**wrong)


def test_a_result_never_comes_alone(market: dict[str, Bars]) -> None:
    result = backtest(make_strategy("rsi-reversion", symbols=("IBM",)), market, EngineSettings())
    said = result.sentence()
    for part in ("IBM", "2000", "trades", "costs", "buying and holding", "deepest fall", "variants tried", "future"):
        assert part in said
    data: Any = result.to_json()
    assert set(data) >= {"start", "end", "costs", "statistics", "benchmark", "honesty", "sentence"}
    assert result.costs.total == pytest.approx(result.run.fees + result.run.slippage_cost)
    assert result.costs.total > 0
