"""Sweeps, searches and walk-forward: many sets on the same days, every one counted, chosen on the past alone."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.trading_leaks import Cheat

from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.trading.backtest import backtest
from retainer.trading.bars import Bars, sessions
from retainer.trading.engine import EngineSettings
from retainer.trading.honesty import MemoryTrials
from retainer.trading.honesty.deflated import deflated_sharpe
from retainer.trading.limits import Limits
from retainer.trading.optimising import optimise
from retainer.trading.samples import load_samples
from retainer.trading.stats import returns_of
from retainer.trading.strategies import SmaCross, make_strategy
from retainer.trading.sweep import METRICS, SweepCancelledError, sweep
from retainer.trading.walkforward import walk_forward, windows

GRID = {"fast": [5, 10, 20], "slow": [20, 50, 100]}


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return {symbol: bars.upto(min(1_300, len(bars))) for symbol, bars in load_samples().items()}


# --- sweeps ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "grid", "symbols"),
    [
        ("sma-cross", {"fast": [5, 20], "slow": [50, 100]}, ("IBM",)),
        ("donchian", {"enter": [20, 55]}, ("AAPL", "IBM")),
        ("momentum-rotation", {"lookback": [60, 120], "top": [1, 2]}, ("AAPL", "IBM", "MSFT")),
        ("breakout", {"multiple": [2.0, 3.0]}, ("IBM",)),
    ],
)
def test_every_set_is_the_backtest_of_that_set(
    market: dict[str, Bars], name: str, grid: dict[str, Any], symbols: tuple[str, ...]
) -> None:
    """Also with stops, several symbols and strategies that compare symbols."""
    found = sweep(name, market, grid, symbols=symbols, trials=MemoryTrials())
    for index, values in enumerate(found.sets):
        strategy = make_strategy(name, values, symbols=symbols)
        alone = backtest(strategy, market, start=found.start, end=found.end, trials=MemoryTrials())
        assert found.figures["final"][index] == pytest.approx(alone.run.final, abs=1e-6)
        assert found.figures["fills"][index] == len(alone.run.fills)
        assert found.figures["sharpe"][index] == pytest.approx(alone.statistics.sharpe, rel=1e-9)
        assert found.figures["drawdown"][index] == pytest.approx(alone.statistics.max_drawdown, rel=1e-9)


def test_sets_that_do_not_fit_are_left_out_and_counted(market: dict[str, Bars]) -> None:
    found = sweep("sma-cross", market, GRID, symbols=("IBM",), trials=MemoryTrials())
    assert (len(found.sets), found.unfit) == (8, 1)
    assert {"fast": 20, "slow": 20} not in found.sets
    table = found.table()
    scores = [row["sharpe"] for row in table]
    assert scores == sorted(scores, reverse=True)
    assert set(table[0]) == {*GRID, *METRICS}


def test_the_map_of_two_parameters(market: dict[str, Bars]) -> None:
    found = sweep("sma-cross", market, GRID, symbols=("IBM",), trials=MemoryTrials())
    heat = found.heat("fast", "slow", "return")
    assert (heat.x_values, heat.y_values) == ((5, 10, 20), (20, 50, 100))
    assert math.isnan(heat.values[0, 2])
    for index, values in enumerate(found.sets):
        row, column = heat.y_values.index(values["slow"]), heat.x_values.index(values["fast"])
        assert heat.values[row, column] == found.figures["return"][index]
    for wrong in (("fast", "speed", "return"), ("fast", "slow", "luck")):
        with pytest.raises(InvalidInputError):
            found.heat(*wrong)


def test_every_set_is_a_trial_and_the_best_is_judged_by_it(market: dict[str, Bars]) -> None:
    trials = MemoryTrials()
    found = sweep("sma-cross", market, GRID, symbols=("IBM",), trials=trials)
    assert found.deflated.trials == 8
    again = sweep("sma-cross", market, GRID, symbols=("IBM",), trials=trials)
    assert again.deflated.trials == 8
    best = backtest(
        make_strategy("sma-cross", found.sets[found.best], symbols=("IBM",)),
        market,
        start=found.start,
        end=found.end,
        trials=trials,
    )
    assert best.honesty.trials == 8
    family = trials.family("IBM|day")
    curve = np.r_[best.run.start_cash, best.run.equity]
    by_hand = deflated_sharpe(returns_of(curve), family.count, family.variance)
    assert found.deflated.probability == pytest.approx(by_hand.probability, rel=1e-9)
    assert "After 8 tries" in found.sentence()
    assert isinstance(found.to_json()["sets"], list)


def test_threads_processes_and_an_executor_of_ones_own_agree(market: dict[str, Bars]) -> None:
    grid = {"fast": [5, 10], "slow": [50]}
    runs = [sweep("sma-cross", market, grid, symbols=("IBM",), trials=MemoryTrials(), compiled=False, workers=1)]
    runs.append(
        sweep(
            "sma-cross",
            market,
            grid,
            symbols=("IBM",),
            trials=MemoryTrials(),
            compiled=False,
            executor="processes",
            workers=1,
        )
    )
    with ThreadPoolExecutor(1) as pool:
        runs.append(sweep("sma-cross", market, grid, symbols=("IBM",), trials=MemoryTrials(), executor=pool))
        assert pool.submit(int, "1").result() == 1  # left open: it is not ours
    for run in runs[1:]:
        for name in METRICS:
            np.testing.assert_array_equal(run.figures[name], runs[0].figures[name])


class InOrder(Executor):
    """Runs a task when it is asked for, so that the order is known."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_progress_is_told_and_a_sweep_can_be_cancelled(market: dict[str, Bars]) -> None:
    told: list[tuple[int, int]] = []
    grid = {"fast": list(range(5, 21)), "slow": [50]}
    sweep(
        "sma-cross",
        market,
        grid,
        symbols=("IBM",),
        executor=InOrder(),
        workers=1,
        trials=MemoryTrials(),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (16, 16)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 2
    trials = MemoryTrials()
    with pytest.raises(SweepCancelledError, match="of 16 sets"):
        sweep("sma-cross", market, grid, symbols=("IBM",), workers=1, trials=trials, cancel=lambda: True)
    assert trials.family("IBM|day").count == 0


@pytest.mark.parametrize(
    ("strategy", "grid", "said"),
    [
        ("sma-cross", {}, "nothing to vary"),
        ("sma-cross", {"fast": []}, "nothing to vary"),
        ("sma-cross", {"fast": [1]}, "sma-cross: fast is 1, out of its range"),
        ("sma-cross", {"speed": [1]}, "sma-cross has no parameter speed"),
        ("sma-cross", {"fast": [100], "slow": [50]}, "None of the 1 sets"),
        ("sma-cross", {"fast": range(2, 200), "slow": range(3, 400), "weight": [0.1] * 100}, "are too many"),
    ],
)
def test_impossible_grids_are_refused(market: dict[str, Bars], strategy: str, grid: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        sweep(strategy, market, grid, symbols=("IBM",))


def test_unknown_strategies_and_objectives_are_refused(market: dict[str, Bars]) -> None:
    with pytest.raises(NotFoundError):
        sweep("sma-crossing", market, GRID)
    with pytest.raises(InvalidInputError, match="no objective luck"):
        sweep("sma-cross", market, GRID, symbols=("IBM",), objective="luck")


def test_other_parameters_limits_and_spans_are_kept(market: dict[str, Bars]) -> None:
    base = SmaCross(symbols=("IBM",), slow=60, weight=0.5)
    axis = sessions({"IBM": market["IBM"]})
    settings = EngineSettings(limits=replace(Limits(symbols=("IBM",)), order_bps=2_500))
    found = sweep(
        base, market, {"fast": [5, 10]}, settings, start=int(axis[300]), end=int(axis[900]), trials=MemoryTrials()
    )
    assert (found.start, found.end, found.bars) == (int(axis[300]), int(axis[900]), 601)
    alone = backtest(
        base.changed({"fast": 5}), market, settings, start=found.start, end=found.end, trials=MemoryTrials()
    )
    assert found.figures["final"][0] == alone.run.final
    assert alone.run.exposure.max() < 0.4


# --- searching ------------------------------------------------------------------------------------------------------
def test_a_search_finds_repeatably_counts_every_try_and_says_nothing_by_itself(
    market: dict[str, Bars], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    trials = MemoryTrials()
    ranges = {"fast": (2.0, 40.0), "slow": (20.0, 120.0)}
    told: list[int] = []
    found = optimise(
        "sma-cross",
        market,
        ranges,
        symbols=("IBM",),
        tries=15,
        seed=3,
        trials=trials,
        compiled=False,
        progress=lambda done, total: told.append(done),
    )
    again = optimise("sma-cross", market, ranges, symbols=("IBM",), tries=15, seed=3, trials=trials, compiled=False)
    assert found.sets == again.sets
    assert len(found.sets) + found.unfit == 15
    assert trials.family("IBM|day").count == len({tuple(one.items()) for one in found.sets})
    for values in found.sets:
        assert 2 <= values["fast"] <= 40
        assert 20 <= values["slow"] <= 120
    assert told
    assert capfd.readouterr().err == ""
    assert logging.getLogger("optuna").level != logging.DEBUG


def test_impossible_searches_are_refused(market: dict[str, Bars]) -> None:
    with pytest.raises(InvalidInputError, match="fast is 1"):
        optimise("sma-cross", market, {"fast": (1, 5)}, symbols=("IBM",), tries=1)
    with pytest.raises(InvalidInputError, match="no parameter speed"):
        optimise("sma-cross", market, {"speed": (1, 5)}, symbols=("IBM",), tries=1)
    with pytest.raises(InvalidInputError, match="0 tries"):
        optimise("sma-cross", market, symbols=("IBM",), tries=0)
    with pytest.raises(SweepCancelledError):
        optimise("sma-cross", market, symbols=("IBM",), tries=5, cancel=lambda: True)


def test_without_optuna_it_says_what_to_install(market: dict[str, Bars], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RetainerError, match="optuna is not installed"):
        optimise("sma-cross", market, symbols=("IBM",), tries=1)


# --- walk-forward ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("count", "train", "test", "anchored", "expected"),
    [
        (100, 40, 30, False, [(0, 40, 70), (30, 70, 100)]),
        (110, 40, 30, False, [(0, 40, 70), (30, 70, 110)]),
        (100, 40, 30, True, [(0, 40, 70), (0, 70, 100)]),
        (60, 40, 30, False, [(0, 40, 60)]),
    ],
)
def test_windows(count: int, train: int, test: int, anchored: bool, expected: list[tuple[int, int, int]]) -> None:
    assert windows(count, train, test, anchored=anchored) == expected


def test_folds_are_chosen_on_the_past_and_traded_after_it(market: dict[str, Bars]) -> None:
    told: list[tuple[int, int]] = []
    found = walk_forward(
        "sma-cross",
        market,
        {"fast": [5, 20], "slow": [50, 80]},
        symbols=("IBM",),
        train=500,
        test=250,
        trials=MemoryTrials(),
        progress=lambda done, total: told.append((done, total)),
    )
    assert [one.test_start > one.train_end for one in found.folds] == [True] * len(found.folds)
    assert told[-1] == (len(found.folds), len(found.folds)) == (4, 4)
    assert found.result.start == found.folds[0].test_start
    assert found.result.end == found.folds[-1].test_end
    whole = np.prod([1 + fold.test_return for fold in found.folds]) - 1
    assert whole == pytest.approx(found.result.statistics.total_return, rel=1e-9)
    bars = market["IBM"]
    for fold in found.folds:
        strategy = make_strategy("sma-cross", fold.parameters, symbols=("IBM",))
        from retainer.trading.evaluation import evaluate

        alone = evaluate(strategy, {"IBM": bars})["IBM"].targets
        rows = [r for r in range(len(bars)) if fold.test_start <= bars.closed_at(r).date() <= fold.test_end]
        np.testing.assert_array_equal(found.result.targets["IBM"][rows], alone[rows])
    assert found.result.honesty.trials == 4
    assert "Chosen anew 4 times on past days only" in found.sentence()
    assert found.to_json()["folds"]


def test_later_bars_change_no_earlier_choice(market: dict[str, Bars]) -> None:
    grid = {"fast": [5, 20], "slow": [50, 80]}

    def folds(bars: Bars) -> Mapping[Any, Any]:
        found = walk_forward(
            "sma-cross", {"IBM": bars}, grid, symbols=("IBM",), train=500, test=200, trials=MemoryTrials()
        )
        return {fold.train_start: (fold.parameters, fold.train_score) for fold in found.folds}

    whole, shorter = folds(market["IBM"]), folds(market["IBM"].upto(950))
    assert shorter.items() <= whole.items()


def test_a_leak_is_found_in_a_walk_forward_too(market: dict[str, Bars]) -> None:
    def score(bars: Bars) -> Any:
        close = bars.adjusted()
        return np.r_[close[1:], close[-1]] - close

    cheat = Cheat(symbols=("IBM",), score=score)
    found = walk_forward(cheat, market, {"weight": [0.5, 1.0]}, train=500, test=300, trials=MemoryTrials())
    assert not found.result.honesty.clean
    assert "Do not believe it" in found.sentence()


@pytest.mark.parametrize(("train", "test"), [(10, 100), (100, 10), (2_000, 100)])
def test_folds_that_say_nothing_are_refused(market: dict[str, Bars], train: int, test: int) -> None:
    with pytest.raises(InvalidInputError):
        walk_forward("sma-cross", market, GRID, symbols=("IBM",), train=train, test=test)
