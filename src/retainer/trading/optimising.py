"""Searching parameters instead of trying all: optuna proposes, the engine answers, every try is counted."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from retainer.core.errors import InvalidInputError, RetainerError
from retainer.trading.backtest import span_of
from retainer.trading.bars import Floats, Market
from retainer.trading.engine import EngineSettings
from retainer.trading.evaluation import evaluate
from retainer.trading.honesty.trials import Trials
from retainer.trading.rules import Rule
from retainer.trading.sweep import (
    OBJECTIVES,
    Progress,
    SweepCancelledError,
    SweepResult,
    Work,
    known_value,
    made,
    run_chunk,
    summed,
)


def optimise(
    strategy: Rule | type[Rule] | str,
    market: Market,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    settings: EngineSettings | None = None,
    *,
    tries: int = 100,
    symbols: Sequence[str] | None = None,
    start: int | None = None,
    end: int | None = None,
    objective: str = "sharpe",
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    trials: Trials | None = None,
    compiled: bool | None = None,
) -> SweepResult:
    """Search for good parameters instead of trying all: optuna's tree-structured Parzen estimator, from a seed.

    ``ranges``: parameter -> (low, high); by default every parameter over its declared range. Every set that is tried
    counts as a trial, however it was found. Without ``start`` it begins at the given strategy's own first decision.
    Raises :class:`RetainerError` when optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise RetainerError("optuna is not installed.", hint='Install it: pip install "retainer[sweep]".') from error
    base = made(strategy, market, symbols)
    if objective not in OBJECTIVES:
        raise InvalidInputError(f"There is no objective {objective}.", hint=f"There are: {', '.join(OBJECTIVES)}.")
    if tries < 1:
        raise InvalidInputError(f"{tries} tries find nothing.", hint="At least one.")
    known = {one.name: one for one in base.parameters()}
    bounds = {name: (one.range.low, one.range.high) for name, one in known.items()} if ranges is None else dict(ranges)
    for name, pair in bounds.items():
        if name not in known:
            base.changed({name: pair[0]})
        for value in pair:
            known_value(base, name, value)
    own = {symbol: market[symbol] for symbol in base.symbols if symbol in market}
    begin, until = span_of(own, evaluate(base, own), start, end)
    work = Work(own, settings or EngineSettings(), begin, until, compiled)
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    sets: list[dict[str, float]] = []
    parts: list[dict[str, Floats]] = []
    unfit = 0
    for number in range(tries):
        if cancel is not None and cancel():
            raise SweepCancelledError(f"The search was cancelled after {number:,} of {tries:,} tries.")
        asked = study.ask()
        values: dict[str, float] = {
            name: asked.suggest_int(name, int(low), int(high))
            if known[name].whole
            else asked.suggest_float(name, low, high)
            for name, (low, high) in bounds.items()
        }
        try:
            found = run_chunk(work, (base.changed(values),))
        except InvalidInputError:
            unfit += 1
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
            continue
        sets.append(values)
        parts.append(found)
        score = float(found[objective][0])
        study.tell(asked, score if math.isfinite(score) else -1e9)
        if progress is not None:
            progress(number + 1, tries)
    if not sets:
        raise InvalidInputError(f"None of the {tries:,} sets of {base.name} that were tried fits together.")
    figures = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return summed(base, sets, figures, work, objective, unfit, trials)


@contextmanager
def _quiet() -> Iterator[None]:
    """optuna announces every study on standard error; its results are told here."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
