"""Sweeps: one strategy with many parameter sets, in threads, processes or on Dask workers, every set counted as a try.

All sets trade the same days, so that they can be compared. The best of a thousand sets is mostly the luckiest: its
deflated Sharpe ratio says how much of it is left, and every set is remembered as a trial on this data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np

from retainer.core.errors import InvalidInputError, RetainerError
from retainer.core.values import Json
from retainer.runtime.executors import cores, get_executor
from retainer.trading import stats
from retainer.trading.backtest import plan_of, span_of
from retainer.trading.bars import Floats, Ints, Market, sessions
from retainer.trading.engine import EngineSettings, prepare, simulate, simulate_many
from retainer.trading.evaluation import Wanted, evaluate
from retainer.trading.honesty.deflated import Deflated, deflated_of
from retainer.trading.honesty.trials import Trials, family_of, session_trials, variant_of
from retainer.trading.rules import Rule
from retainer.trading.strategies import strategy_class
from retainer.trading.strategy import identity
from retainer.trading.technical import remembered

METRICS: Final = ("final", "return", "sharpe", "drawdown", "fills", "fees")
"""Of every set: dollars at the end, total return, yearly Sharpe ratio, deepest fall, number of fills, fees paid."""
OBJECTIVES: Final = ("sharpe", "return", "final")
MOST_SETS: Final = 1_000_000
_CHUNK: Final = 64
_CORNERS: Final = 64

Progress = Callable[[int, int], None]
"""Told how many sets are done, of how many."""


class SweepCancelledError(RetainerError):
    """A sweep was ended before all of its sets were done."""


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """Two parameters against each other; other parameters are taken at their median result."""

    x: str
    y: str
    metric: str
    x_values: tuple[float, ...]
    y_values: tuple[float, ...]
    values: Floats
    """[y, x]; NaN where there is no set."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SweepResult:
    """Every set with its figures, and what the best one is worth after luck."""

    name: str
    symbols: tuple[str, ...]
    names: tuple[str, ...]
    """Parameters that were varied."""
    sets: tuple[dict[str, float], ...]
    figures: Mapping[str, Floats]
    """By metric (:data:`METRICS`), one value per set."""
    unfit: int
    """Sets left out because their parameters do not fit together (fast above slow)."""
    objective: str
    start: int
    end: int
    bars: int
    deflated: Deflated
    """Of the best set, among all tries on this data."""

    @property
    def best(self) -> int:
        """Index of the set with the highest objective; the first of equals."""
        values = self.figures[self.objective]
        return int(np.nanargmax(values)) if np.isfinite(values).any() else 0

    def heat(self, x: str, y: str, metric: str = "sharpe") -> Heat:
        """The sets as a map. Raises :class:`InvalidInputError` for a parameter or metric that there is not."""
        for name in (x, y):
            if name not in self.names:
                raise InvalidInputError(f"{name} was not varied.", hint=f"These were: {', '.join(self.names)}.")
        if metric not in self.figures:
            raise InvalidInputError(f"There is no metric {metric}.", hint=f"There are: {', '.join(METRICS)}.")
        xs, ys = (tuple(sorted({one[name] for one in self.sets})) for name in (x, y))
        cells: dict[tuple[int, int], list[float]] = {}
        for one, value in zip(self.sets, self.figures[metric], strict=True):
            cells.setdefault((ys.index(one[y]), xs.index(one[x])), []).append(float(value))
        values = np.full((len(ys), len(xs)), np.nan)
        for place, found in cells.items():
            known = [value for value in found if math.isfinite(value)]
            values[place] = float(np.median(known)) if known else math.nan
        return Heat(x, y, metric, xs, ys, values)

    def table(self) -> list[dict[str, float]]:
        """One row per set, best first."""
        order = np.argsort(-np.nan_to_num(self.figures[self.objective], nan=-np.inf), kind="stable")
        return [{**self.sets[i], **{name: float(self.figures[name][i]) for name in METRICS}} for i in order.tolist()]

    def sentence(self) -> str:
        """The best set and how far it may be believed."""
        best = self.best
        said = ", ".join(f"{name} {value:g}" for name, value in self.sets[best].items())
        chance = self.deflated.probability
        luck = "cannot be told" if math.isnan(chance) else f"is {chance:.0%}".replace("%", " %")
        return (
            f"The best of {len(self.sets):,} sets is {said}: return {self.figures['return'][best]:+.2%}, Sharpe ratio "
            f"{self.figures['sharpe'][best]:.2f}. After {self.deflated.trials:,} tries on this data the chance that it "
            f"is better than luck {luck}; walk-forward shows what choosing like this would have earned."
        )

    def to_json(self) -> dict[str, Json]:
        """Plain JSON."""
        rows: list[Json] = [
            {key: value if math.isfinite(value) else None for key, value in row.items()} for row in self.table()
        ]
        return {
            "name": self.name,
            "symbols": list(self.symbols),
            "objective": self.objective,
            "bars": self.bars,
            "unfit": self.unfit,
            "deflated": self.deflated.to_json(),
            "sets": rows,
            "sentence": self.sentence(),
        }


def sweep(
    strategy: Rule | type[Rule] | str,
    market: Market,
    grid: Mapping[str, Sequence[float]],
    settings: EngineSettings | None = None,
    *,
    symbols: Sequence[str] | None = None,
    start: int | None = None,
    end: int | None = None,
    objective: str = "sharpe",
    executor: Executor | str = "threads",
    workers: int | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    trials: Trials | None = None,
    compiled: bool | None = None,
) -> SweepResult:
    """Trade every combination of ``grid`` (parameter -> values).

    ``strategy``: a classic's name, a class, or one made already whose other parameters stay. ``executor``: ``threads``,
    ``processes``, a Dask scheduler's address, or an executor of yours. ``cancel`` is asked between chunks; the sweep
    then raises :class:`SweepCancelledError`. Without ``start`` every set begins where the slowest one has its first
    decision. Raises :class:`InvalidInputError` naming parameter and value that do not fit.
    """
    base = made(strategy, market, symbols)
    if objective not in OBJECTIVES:
        raise InvalidInputError(f"There is no objective {objective}.", hint=f"There are: {', '.join(OBJECTIVES)}.")
    rules, sets, unfit = variants(base, grid)
    own = {symbol: market[symbol] for symbol in base.symbols if symbol in market}
    begin, until = common_span(rules, own, start, end)
    work = Work(own, settings or EngineSettings(), begin, until, compiled)
    figures = _run(work, rules, executor, workers, progress, cancel)
    return summed(base, sets, figures, work, objective, unfit, trials)


def made(strategy: Rule | type[Rule] | str, market: Market, symbols: Sequence[str] | None) -> Rule:
    """The strategy to vary: given, or of the class or name with default parameters for ``symbols``."""
    if isinstance(strategy, Rule):
        return strategy
    kind = strategy_class(strategy) if isinstance(strategy, str) else strategy
    return kind(symbols=tuple(symbols if symbols is not None else sorted(market)))


def variants(base: Rule, grid: Mapping[str, Sequence[float]]) -> tuple[list[Rule], list[dict[str, float]], int]:
    """Every fitting combination as a strategy and as values, and how many do not fit."""
    if not grid or not all(len(values) for values in grid.values()):
        raise InvalidInputError("There is nothing to vary.", hint='Give values: {"fast": [5, 10, 20]}.')
    count = math.prod(len(values) for values in grid.values())
    if count > MOST_SETS:
        raise InvalidInputError(f"{count:,} sets are too many.", hint=f"At most {MOST_SETS:,}.")
    for name, values in grid.items():
        for value in values:
            known_value(base, name, value)
    rules: list[Rule] = []
    sets: list[dict[str, float]] = []
    unfit = 0
    for combination in itertools.product(*grid.values()):
        one = dict(zip(grid, combination, strict=True))
        try:
            rules.append(base.changed(one))
        except InvalidInputError:
            unfit += 1
            continue
        sets.append(one)
    if not rules:
        raise InvalidInputError(f"None of the {count:,} sets of {base.name} fits together.")
    return rules, sets, unfit


def known_value(base: Rule, name: str, value: float) -> None:
    """Refuse a value out of its own range: that is a mistake, not a combination to leave out."""
    known = next((one for one in base.parameters() if one.name == name), None)
    if known is None:
        base.changed({name: value})
        return
    if not known.range.low <= value <= known.range.high:
        raise InvalidInputError(
            f"{base.name}: {name} is {value:g}, out of its range.",
            hint=f"From {known.range.low:g} to {known.range.high:g}.",
        )


def common_span(rules: Sequence[Rule], market: Market, start: int | None, end: int | None) -> tuple[int, int]:
    """First and last close that all sets trade."""
    if start is not None:
        return span_of(market, evaluate(rules[0], market), start, end)
    step = max(1, len(rules) // _CORNERS)
    firsts = [span_of(market, evaluate(rule, market), None, end) for rule in [*rules[::step], rules[-1]]]
    return max(first for first, _ in firsts), firsts[0][1]


@dataclass(frozen=True, slots=True)
class Work:
    """What every chunk needs wherever it runs: picklable."""

    market: Market
    settings: EngineSettings
    start: int
    end: int
    compiled: bool | None


def _run(
    work: Work,
    rules: Sequence[Rule],
    executor: Executor | str,
    workers: int | None,
    progress: Progress | None,
    cancel: Callable[[], bool] | None,
) -> dict[str, Floats]:
    total = len(rules)
    size = max(1, min(_CHUNK, math.ceil(total / (4 * (workers or cores())))))
    found: dict[str, Floats] = {name: np.full(total, np.nan) for name in (*METRICS, "skew", "kurtosis")}
    with ExitStack() as stack:
        pool = (
            executor if isinstance(executor, Executor) else stack.enter_context(get_executor(executor, workers=workers))
        )
        futures: dict[Future[dict[str, Floats]], slice] = {}
        try:
            for at in range(0, total, size):
                part = slice(at, min(at + size, total))
                futures[pool.submit(run_chunk, work, tuple(rules[part]))] = part
            done = 0
            for future in as_completed(futures):
                part = futures[future]
                for name, values in future.result().items():
                    found[name][part] = values
                done += part.stop - part.start
                if progress is not None:
                    progress(done, total)
                if cancel is not None and done < total and cancel():
                    raise SweepCancelledError(f"The sweep was cancelled after {done:,} of {total:,} sets.")
        except CancelledError as error:
            raise SweepCancelledError("The sweep's workers were shut down.") from error
        finally:
            for future in futures:
                future.cancel()
    return found


def run_chunk(work: Work, rules: Sequence[Rule]) -> dict[str, Floats]:
    """Figures of some sets; what a worker does."""
    with remembered():
        wanted = [evaluate(rule, work.market) for rule in rules]
    equity, fills, fees = _curves(work, wanted)
    start_cash = float(work.settings.cash)
    curves = np.concatenate([np.full((len(rules), 1), start_cash), equity], axis=1)
    returns = curves[:, 1:] / curves[:, :-1] - 1.0
    peaks = np.maximum.accumulate(curves, axis=1)
    sharpe, skew, kurt = _moments(returns, stats.periods_per_year(_axis(work)))
    return {
        "final": curves[:, -1],
        "return": curves[:, -1] / start_cash - 1.0,
        "sharpe": sharpe,
        "drawdown": (1.0 - curves / peaks).max(axis=1),
        "fills": fills,
        "fees": fees,
        "skew": skew,
        "kurtosis": kurt,
    }


def _moments(returns: Floats, per_year: float) -> tuple[Floats, Floats, Floats]:
    """Yearly Sharpe ratio, skewness and kurtosis of each row: the formulas of ``stats``, many rows at once."""
    count = returns.shape[1]
    mean = returns.mean(axis=1)
    centred = returns - mean[:, np.newaxis]
    squares = centred * centred
    second = squares.mean(axis=1)
    flat = np.sqrt(second) <= stats.FLAT
    safe = np.where(flat, 1.0, second)
    sharpe = mean / np.sqrt(safe * count / max(1, count - 1)) * math.sqrt(per_year)
    skew = np.einsum("ij,ij->i", squares, centred) / count / safe**1.5
    kurt = np.einsum("ij,ij->i", squares, squares) / count / safe**2
    return (np.where(flat, np.nan, sharpe), np.where(flat, np.nan, skew), np.where(flat, np.nan, kurt))


def _curves(work: Work, wanted: Sequence[Mapping[str, Wanted]]) -> tuple[Floats, Floats, Floats]:
    if any(
        one.loss is not None or one.profit is not None or one.trailing is not None
        for each in wanted
        for one in each.values()
    ):
        runs = [
            simulate(work.market, plan_of(each, work.start, work.end), work.settings, compiled=work.compiled)
            for each in wanted
        ]
        fills = np.array([float(len(run.fills)) for run in runs])
        return np.stack([run.equity for run in runs]), fills, np.array([run.fees for run in runs])
    prepared = prepare(_until(work.market, work.end), work.settings, start=work.start)
    symbols, at = sorted(work.market), prepared.at
    targets = np.full((len(wanted), at.size, len(symbols)), np.nan)
    for column, symbol in enumerate(symbols):
        times = work.market[symbol].close_time
        inside = (times >= at[0]) & (times <= at[-1])
        rows = np.searchsorted(at, times[inside])
        for index, each in enumerate(wanted):
            targets[index, rows, column] = np.clip(each[symbol].targets[inside], -1.0, 1.0)
    many = simulate_many(
        prepared,
        targets[:, :, 0] if len(symbols) == 1 else targets,
        work.settings,
        curves=True,
        compiled=work.compiled,
    )
    if many.equity is None:
        raise InvalidInputError("The engine gave no curves.")
    return many.equity, many.fills.astype(np.float64), many.fees


def _until(market: Market, end: int) -> Market:
    return {symbol: part for symbol, bars in market.items() if (part := bars.until(end)) is not None}


def _axis(work: Work) -> Ints:
    axis = sessions(work.market)
    return axis[(axis >= work.start) & (axis <= work.end)]


def summed(
    base: Rule,
    sets: Sequence[dict[str, float]],
    figures: Mapping[str, Floats],
    work: Work,
    objective: str,
    unfit: int,
    trials: Trials | None,
) -> SweepResult:
    """The result of a sweep, its sets remembered as trials."""
    axis = _axis(work)
    per_bar = figures["sharpe"] / math.sqrt(stats.periods_per_year(axis))
    memory = session_trials() if trials is None else trials
    family = family_of(work.market, base.symbols)
    own = identity(base)
    memory.record(
        family,
        {variant_of(base.name, {**own, **one}): float(value) for one, value in zip(sets, per_bar, strict=True)},
    )
    tried = memory.family(family)
    values = figures[objective]
    best = int(np.nanargmax(values)) if np.isfinite(values).any() else 0
    return SweepResult(
        name=base.name,
        symbols=base.symbols,
        names=tuple(sets[0]),
        sets=tuple(sets),
        figures={name: figures[name] for name in METRICS},
        unfit=unfit,
        objective=objective,
        start=work.start,
        end=work.end,
        bars=int(axis.size),
        deflated=deflated_of(
            float(per_bar[best]),
            float(figures["skew"][best]),
            float(figures["kurtosis"][best]),
            int(axis.size),
            tried.count,
            tried.variance,
        ),
    )
