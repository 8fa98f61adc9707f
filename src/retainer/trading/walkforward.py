"""Walk-forward: choose on the past, trade the days after, move on. What choosing would have earned, in one call.

Each fold sweeps the grid over its training days, takes the best set and trades it on the test days that follow, which
no choice has seen. The test days are joined into one run with one account, so that changing the parameters costs what
the change of positions costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.core.values import Json
from retainer.trading import stats
from retainer.trading.backtest import BacktestResult, assemble, flattering, hold, plan_of
from retainer.trading.bars import Floats, Ints, Market, market_date, sessions
from retainer.trading.engine import EngineSettings, simulate
from retainer.trading.evaluation import Wanted, evaluate
from retainer.trading.honesty.bootstrap import intervals
from retainer.trading.honesty.deflated import deflated_sharpe
from retainer.trading.honesty.findings import Checks, Finding
from retainer.trading.honesty.lookahead import lookahead
from retainer.trading.honesty.origin import origin
from retainer.trading.honesty.trials import Trials, family_of, session_trials
from retainer.trading.honesty.verdict import Honesty
from retainer.trading.honesty.warmup import warmup
from retainer.trading.rules import Rule
from retainer.trading.sweep import Progress, made, sweep

_FEWEST = 20
"""Bars below which a training or a test says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One step: chosen on the training days, traded on the test days."""

    train_start: date
    train_end: date
    test_start: date
    test_end: date
    parameters: Mapping[str, float]
    train_score: float
    """Yearly Sharpe ratio of the chosen set on the training days."""
    test_score: float
    """Yearly Sharpe ratio of the joined run on the test days."""
    test_return: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WalkForwardResult:
    """The folds and the run of all test days."""

    folds: tuple[Fold, ...]
    result: BacktestResult
    """Of the test days alone; its honesty counts every set that was tried."""

    @property
    def efficiency(self) -> float:
        """Mean test score / mean training score: how much of what was chosen for came true; NaN without a gain."""
        train = float(np.nanmean([fold.train_score for fold in self.folds]))
        test = float(np.nanmean([fold.test_score for fold in self.folds]))
        return test / train if train > 0 else math.nan

    def sentence(self) -> str:
        """The result in words."""
        kept = (
            "" if math.isnan(self.efficiency) else f" {self.efficiency:.0%} of the Sharpe ratio chosen for came true."
        )
        return f"Chosen anew {len(self.folds)} times on past days only.{kept} {self.result.sentence()}"

    def to_json(self) -> dict[str, Json]:
        """Plain JSON."""
        return {
            "folds": [_fold_json(fold) for fold in self.folds],
            "efficiency": None if math.isnan(self.efficiency) else self.efficiency,
            "result": self.result.to_json(),
            "sentence": self.sentence(),
        }


def walk_forward(
    strategy: Rule | type[Rule] | str,
    market: Market,
    grid: Mapping[str, Sequence[float]],
    settings: EngineSettings | None = None,
    *,
    symbols: Sequence[str] | None = None,
    train: int = 750,
    test: int = 250,
    anchored: bool = False,
    start: int | None = None,
    end: int | None = None,
    objective: str = "sharpe",
    executor: Executor | str = "threads",
    workers: int | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    trials: Trials | None = None,
    checks: Checks | None = None,
    compiled: bool | None = None,
) -> WalkForwardResult:
    """Choose from ``grid`` on ``train`` bars, trade the next ``test`` bars, and so on to the end.

    ``anchored``: training always begins at the first day instead of moving along. ``progress`` is told folds; the other
    arguments are those of :func:`~retainer.trading.sweep.sweep`. Raises :class:`InvalidInputError` when there are too
    few bars.
    """
    base = made(strategy, market, symbols)
    settings, checks = settings or EngineSettings(), checks or Checks()
    memory: Trials = session_trials() if trials is None else trials
    own = {symbol: market[symbol] for symbol in base.symbols if symbol in market}
    axis = sessions(own)
    axis = axis[(axis >= (axis[0] if start is None else start)) & (axis <= (axis[-1] if end is None else end))]
    spans = windows(axis.size, train, test, anchored=anchored)
    chosen: list[Rule] = []
    scores: list[float] = []
    for index, (begin, middle, _) in enumerate(spans):
        found = sweep(
            base,
            own,
            grid,
            settings,
            start=int(axis[begin]),
            end=int(axis[middle - 1]),
            objective=objective,
            executor=executor,
            workers=workers,
            cancel=cancel,
            trials=memory,
            compiled=compiled,
        )
        chosen.append(base.changed(found.sets[found.best]))
        scores.append(float(found.figures["sharpe"][found.best]))
        if progress is not None:
            progress(index + 1, len(spans))
    result = _joined(chosen, own, axis, spans, settings, checks, memory, compiled)
    folds = tuple(_folds(chosen, scores, grid, axis, spans, result))
    return WalkForwardResult(folds=folds, result=result)


def windows(count: int, train: int, test: int, *, anchored: bool) -> list[tuple[int, int, int]]:
    """(first training bar, first test bar, bar after the last test bar) of each fold; the last may be shorter.

    A rest of fewer than 20 bars is joined to the fold before. Raises :class:`InvalidInputError` for too few bars.
    """
    if train < _FEWEST or test < _FEWEST:
        raise InvalidInputError(f"Folds of {train} and {test} bars say nothing.", hint=f"At least {_FEWEST} each.")
    if count < train + _FEWEST:
        raise InvalidInputError(
            f"{count} bars are too few to train on {train} and test on {test}.", hint="Give more history."
        )
    edges = [*range(train, count - _FEWEST + 1, test), count]
    return [(0 if anchored else middle - train, middle, after) for middle, after in pairwise(edges)]


def _joined(
    chosen: Sequence[Rule],
    market: Market,
    axis: Ints,
    spans: Sequence[tuple[int, int, int]],
    settings: EngineSettings,
    checks: Checks,
    trials: Trials,
    compiled: bool | None,
) -> BacktestResult:
    """One run over all test days, each fold with what its parameters want."""
    parts = [evaluate(rule, market) for rule in chosen]
    begin, until = int(axis[spans[0][1]]), int(axis[-1])
    wanted = {symbol: _stitched(symbol, market, axis, spans, parts) for symbol in market}
    run = simulate(market, plan_of(wanted, begin, until), settings, compiled=compiled)
    held = hold(market, settings, begin, until, compiled=compiled)
    returns = stats.returns_of(np.r_[run.start_cash, run.equity])
    tried = trials.family(family_of(market, chosen[0].symbols))
    last = chosen[-1]
    honesty = Honesty(
        findings=(*_findings(chosen, market, checks), *flattering(settings)),
        warmup=warmup(last, market, whole=parts[-1]),
        deflated=deflated_sharpe(returns, max(1, tried.count), tried.variance),
        intervals=intervals(
            returns,
            stats.returns_of(np.r_[held.start_cash, held.equity]),
            stats.periods_per_year(run.at),
            resamples=checks.resamples,
            level=checks.level,
            seed=checks.seed,
        ),
    )
    return assemble(last, market, run, held, honesty, {symbol: one.targets for symbol, one in wanted.items()})


def _findings(chosen: Sequence[Rule], market: Market, checks: Checks) -> list[Finding]:
    found: dict[tuple[str, str, str], Finding] = {}
    for rule in {repr(rule): rule for rule in chosen}.values():
        for finding in (*lookahead(rule, market, cuts=checks.cuts, seed=checks.seed), *origin(rule, market)):
            found.setdefault((finding.kind, finding.symbol, finding.what), finding)
    return list(found.values())


def _stitched(
    symbol: str,
    market: Market,
    axis: Ints,
    spans: Sequence[tuple[int, int, int]],
    parts: Sequence[Mapping[str, Wanted]],
) -> Wanted:
    times = market[symbol].close_time

    def joined(name: str) -> Floats | None:
        arrays = [getattr(part[symbol], name) for part in parts]
        if all(array is None for array in arrays):
            return None
        values = np.full(times.size, np.nan)
        for (_, middle, after), array in zip(spans, arrays, strict=True):
            rows = (times >= axis[middle]) & (times <= axis[after - 1])
            if array is not None:
                values[rows] = array[rows]
        return values

    targets = joined("targets")
    return Wanted(
        {},
        np.full(times.size, np.nan) if targets is None else targets,
        joined("loss"),
        joined("profit"),
        joined("trailing"),
    )


def _folds(
    chosen: Sequence[Rule],
    scores: Sequence[float],
    grid: Mapping[str, Sequence[float]],
    axis: Ints,
    spans: Sequence[tuple[int, int, int]],
    result: BacktestResult,
) -> list[Fold]:
    curve = np.r_[result.run.start_cash, result.run.equity]
    per_year = stats.periods_per_year(result.run.at)
    first = spans[0][1]
    found = []
    for rule, score, (begin, middle, after) in zip(chosen, scores, spans, strict=True):
        part = curve[middle - first : after - first + 1]
        found.append(
            Fold(
                train_start=market_date(int(axis[begin])),
                train_end=market_date(int(axis[middle - 1])),
                test_start=market_date(int(axis[middle])),
                test_end=market_date(int(axis[after - 1])),
                parameters={name: getattr(rule, name) for name in grid},
                train_score=score,
                test_score=stats.sharpe_ratio(stats.returns_of(part), per_year),
                test_return=stats.total_return(part),
            )
        )
    return found


def _fold_json(fold: Fold) -> dict[str, Json]:
    return {
        "train": [fold.train_start.isoformat(), fold.train_end.isoformat()],
        "test": [fold.test_start.isoformat(), fold.test_end.isoformat()],
        "parameters": dict(fold.parameters),
        "train_score": fold.train_score if math.isfinite(fold.train_score) else None,
        "test_score": fold.test_score if math.isfinite(fold.test_score) else None,
        "test_return": fold.test_return,
    }
