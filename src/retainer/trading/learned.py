"""The trading model: a logistic regression on past-only features, judged walk-forward beside the constant.

It answers "will the adjusted close be higher five sessions from now?" with a probability. Nothing trades on it until it
beats the constant on rows it had not seen; both scores are in the artefact. ``python -m retainer.trading.learned``
trains in a process of its own, so that a service never carries scikit-learn.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError, RetainerError
from retainer.models.predictor import (
    LogisticPredictor,
    Scores,
    TrainedOn,
    load_predictor,
    logistic_predictor,
    save_predictor,
)
from retainer.trading.bars import Bars, Floats, Ints, Market
from retainer.trading.samples import data_folder, load_samples, sample_path
from retainer.trading.technical import indicator, sma
from retainer.trading.units import ns_to_datetime

NAME: Final = "trading-logistic"
HORIZON: Final = 5
"""Sessions ahead."""
FEATURES: Final = ("return_1", "return_5", "return_20", "rsi_14", "volatility_20", "gap_20", "gap_100")
FIRST_TRAIN: Final = 0.4
"""Share of the time span that is only ever trained on."""
FOLDS: Final = 6
_L2: Final = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Rows of all symbols, in order of time. ``known`` is when a row's outcome became known."""

    rows: Floats
    """(n, features)."""
    outcome: NDArray[np.bool_]
    at: Ints
    """Close at which the features were known, nanoseconds UTC."""
    known: Ints

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.outcome) == len(self.at) == len(self.known):
            raise InvalidInputError("Rows, outcomes and times of the samples have different lengths.")
        if (np.diff(self.at) < 0).any():
            raise InvalidInputError(
                "The samples are not in the order of time: a shuffled evaluation tells the future to the past.",
                hint="Sort them by 'at' and never shuffle.",
            )
        if (self.known <= self.at).any():
            raise InvalidInputError("An outcome is known no later than its features: that cannot be.")

    def __len__(self) -> int:
        return len(self.rows)


def features(bars: Bars) -> Floats:
    """(n, 7) features by :data:`FEATURES`; NaN where not valid yet. Row t uses bars up to t only.

    Returns over 1, 5 and 20 sessions, RSI(14) / 100, standard deviation of 20 daily log returns, and the distance of
    the close from its 20- and 100-day averages, all on adjusted closes.
    """
    close = bars.adjusted()
    log = np.log(close)
    daily = _back(log, 1)
    columns = (
        daily,
        _back(log, 5),
        _back(log, 20),
        indicator("RSI(14)", bars)["RSI(14)"] / 100.0,
        _rolling_std(daily, 20),
        close / sma(bars, 20) - 1.0,
        close / sma(bars, 100) - 1.0,
    )
    return np.column_stack(columns)


def build_samples(market: Market) -> Samples:
    """All complete rows of all symbols with their outcome, in order of time (then symbol)."""
    parts = [_samples_of(market[symbol]) for symbol in sorted(market)]
    rows, outcome, at, known = (np.concatenate([part[i] for part in parts]) for i in range(4))
    order = np.argsort(at, kind="stable")
    return Samples(rows[order], outcome[order], at[order], known[order])


def _samples_of(bars: Bars) -> tuple[Floats, NDArray[np.bool_], Ints, Ints]:
    table, close = features(bars), bars.adjusted()
    rows = np.flatnonzero(np.isfinite(table).all(axis=1))
    rows = rows[rows + HORIZON < len(bars)]
    return table[rows], close[rows + HORIZON] > close[rows], bars.close_time[rows], bars.close_time[rows + HORIZON]


@dataclass(frozen=True, slots=True)
class Fold:
    """One step of the walk: train on ``train`` rows, score on ``test`` rows, which all come later."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


def walk_forward(samples: Samples, *, folds: int = FOLDS, first_train: float = FIRST_TRAIN) -> Iterator[Fold]:
    """Growing training windows. A row trains only if its outcome was known before the first test row's close."""
    begin = int(len(samples) * first_train)
    edges = np.linspace(begin, len(samples), folds + 1).astype(int)
    for low, high in pairwise(edges):
        start = int(np.searchsorted(samples.at, samples.at[low], side="left"))
        stop = len(samples) if high == len(samples) else int(np.searchsorted(samples.at, samples.at[high], side="left"))
        train = np.flatnonzero(samples.known < samples.at[start])
        if stop > start and train.size:
            yield Fold(train, np.arange(start, stop))


def evaluate(samples: Samples) -> Scores:
    """Mean log-loss (nats) out of sample of the model and of the base rate of each fold's training rows."""
    losses: list[Floats] = []
    constants: list[Floats] = []
    for fold in walk_forward(samples):
        coef, intercept, mean, scale = fit(samples.rows[fold.train], samples.outcome[fold.train])
        scores = ((samples.rows[fold.test] - mean) / scale) @ coef + intercept
        truth = samples.outcome[fold.test]
        losses.append(_log_loss(1.0 / (1.0 + np.exp(-scores)), truth))
        constants.append(_log_loss(np.full(truth.size, samples.outcome[fold.train].mean()), truth))
    if not losses:
        raise InvalidInputError("There are too few bars to evaluate a model.", hint="At least about 300 per symbol.")
    loss, constant = np.concatenate(losses), np.concatenate(constants)
    return Scores(rows=int(loss.size), log_loss=float(loss.mean()), constant_log_loss=float(constant.mean()))


def fit(rows: Floats, outcome: NDArray[np.bool_]) -> tuple[Floats, float, Floats, Floats]:
    """Coefficients, intercept, mean and scale of an L2 logistic regression on standardised rows (deterministic)."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    model = LogisticRegression(C=_L2, solver="lbfgs", max_iter=1_000, tol=1e-8)
    model.fit((rows - mean) / scale, outcome)
    return np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0]), mean, scale


def train(market: Market) -> LogisticPredictor:
    """Evaluate walk-forward, then fit on all rows whose outcome is known. Same bars, same artefact."""
    samples = build_samples(market)
    scores = evaluate(samples)
    coef, intercept, mean, scale = fit(samples.rows, samples.outcome)
    return logistic_predictor(
        name=NAME,
        features=FEATURES,
        coef=np.round(coef, 12),
        intercept=round(intercept, 12),
        mean=mean,
        scale=scale,
        trained_on=TrainedOn(
            first=ns_to_datetime(int(samples.at[0])).isoformat(),
            last=ns_to_datetime(int(samples.known.max())).isoformat(),
            rows=len(samples),
            symbols=tuple(sorted(market)),
        ),
        scores=scores,
    )


def artefact_path() -> Path:
    """Where the trained model is kept."""
    return data_folder().parent / "predictors" / f"{NAME}.json"


def train_default() -> LogisticPredictor:
    """The model trained on the sample bars: loaded when it is there, else trained once in a child process and kept.

    A damaged file, and one that was trained on other features, is replaced. Raises
    :class:`~retainer.core.errors.NotFoundError` when the sample bars were not fetched, :class:`RetainerError` when the
    child fails.
    """
    kept = _kept()
    if kept is not None:
        return kept
    if not sample_path().is_file():
        load_samples()
    command = [sys.executable, "-m", "retainer.trading.learned"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603 fixed argv
    kept = _kept()
    if kept is None:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RetainerError(
            f"Training the trading model failed: {last}", hint="Run: python -m retainer.trading.learned"
        )
    return kept


def _kept() -> LogisticPredictor | None:
    try:
        kept = load_predictor(artefact_path())
    except (RetainerError, OSError):
        return None
    return kept if isinstance(kept, LogisticPredictor) and kept.features == FEATURES else None


def main() -> int:
    """Train the default model in this process, keep it, and say what it scored."""
    predictor = train(load_samples())
    path = save_predictor(predictor, artefact_path().parent)
    scores = predictor.artefact.scores
    gain = scores.constant_log_loss - scores.log_loss
    sys.stdout.write(
        f"{predictor.name}: log-loss {scores.log_loss:.5f} out of sample on {scores.rows} rows, constant "
        f"{scores.constant_log_loss:.5f}: gain {gain:+.5f} nats. {path}\n"
    )
    return 0


def _back(log: Floats, steps: int) -> Floats:
    out = np.full(log.size, np.nan)
    out[steps:] = log[steps:] - log[:-steps] if steps < log.size else np.nan
    return out


def _rolling_std(values: Floats, window: int) -> Floats:
    out = np.full(values.size, np.nan)
    if values.size >= window:
        out[window - 1 :] = np.lib.stride_tricks.sliding_window_view(values, window).std(axis=1)
    return out


def _log_loss(p: Floats, truth: NDArray[np.bool_]) -> Floats:
    tiny = 1e-15
    right = np.clip(np.where(truth, p, 1.0 - p), tiny, 1.0)
    return np.asarray(-np.log(right), dtype=np.float64)


if __name__ == "__main__":
    raise SystemExit(main())
