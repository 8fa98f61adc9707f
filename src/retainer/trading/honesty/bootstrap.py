"""Intervals from resampled histories: blocks of days are drawn with replacement, so that streaks stay streaks.

Circular block bootstrap: Politis and Romano, in Exploring the Limits of Bootstrap (1992). Block length: Politis and
White, Econometric Reviews 23 (2004), corrected by Patton, Politis and White, Econometric Reviews 28 (2009), and never
shorter than n^(1/3). Intervals are percentiles. Sums over blocks are looked up, not added up, so a thousand histories
of ten years take a few milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retainer.core.values import Json
from retainer.trading.bars import Floats

_FEWEST = 20
"""Returns below which an interval says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a figure lies in most of the resampled histories."""

    low: float
    high: float
    level: float
    """Share of the resampled histories between the two."""

    def to_json(self) -> dict[str, Json]:
        """Plain JSON; what cannot be said is null."""
        return {k: None if not math.isfinite(v) else v for k, v in asdict(self).items()}


def intervals(
    returns: Floats,
    benchmark: Floats,
    per_year: float,
    *,
    resamples: int = 1_000,
    level: float = 0.9,
    seed: int = 0,
    block: int | None = None,
) -> Mapping[str, Interval]:
    """Intervals of ``sharpe`` (per year), ``annual_return`` and ``excess`` (annual return minus the benchmark's).

    ``block``: length of the blocks; chosen from the returns when not given. Empty for fewer than 20 returns.
    """
    count = returns.size
    if count < _FEWEST:
        return MappingProxyType({})
    length = min(block or block_length(returns), count)
    columns = np.stack([returns, returns * returns, np.log1p(returns), np.log1p(benchmark)])
    blocks = np.random.default_rng(seed).integers(0, count, (math.ceil(count / length), resamples), dtype=np.int32)
    total = block_sums(columns, blocks, length)
    mean = total[0] / count
    spread = np.sqrt(np.maximum(total[1] - count * mean * mean, 0.0) / (count - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpe = np.where(spread > 0, mean / spread, np.nan) * math.sqrt(per_year)
    years = count / per_year
    yearly, other = np.exp(total[2] / years) - 1.0, np.exp(total[3] / years) - 1.0
    figures = {"sharpe": sharpe, "annual_return": yearly, "excess": yearly - other}
    return MappingProxyType({name: _interval(values, level) for name, values in figures.items()})


def block_sums(columns: Floats, starts: NDArray[np.integer[Any]], length: int) -> Floats:
    """Sums [C, R] of ``columns`` [C, n] over the rows that blocks of ``length`` at ``starts`` [B, R] cover.

    Blocks run around the end and on from the beginning; the last block is cut so that n rows are covered.
    """
    count = columns.shape[1]
    last = count - (starts.shape[0] - 1) * length
    running = np.zeros((columns.shape[0], count + length + 1))
    np.cumsum(np.concatenate([columns, columns[:, :length]], axis=1), axis=1, out=running[:, 1:])
    whole = np.ascontiguousarray((running[:, length : length + count] - running[:, :count]).T)
    part = np.ascontiguousarray((running[:, last : last + count] - running[:, :count]).T)
    sums = part.take(starts[-1], axis=0)
    for row in starts[:-1]:
        sums += whole.take(row, axis=0)
    total: Floats = sums.T
    return total


def block_length(returns: Floats) -> int:
    """Block length for the circular bootstrap of ``returns``, at least n^(1/3)."""
    count = returns.size
    least = math.ceil(math.pow(count, 1 / 3))
    best = automatic_length(returns)
    return max(least, min(math.ceil(best), math.ceil(min(3 * math.sqrt(count), count / 3)))) if best > 0 else least


def automatic_length(returns: Floats) -> float:
    """(2 G^2 / D)^(1/3) n^(1/3), D = 4/3 g(0)^2, from the flat-top window of the autocovariances; 0 for a constant."""
    count = returns.size
    centred = returns - returns.mean()
    most = math.ceil(math.sqrt(count))
    run = max(5, math.ceil(math.log10(count)))
    lags = min(count - 1, most + run)
    covariance = np.array([float(centred[lag:] @ centred[: count - lag]) for lag in range(lags + 1)]) / count
    if covariance[0] <= 0:
        return 0.0
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(count) / count)
    last = _last_correlated(small, run, most)
    window = min(2 * last, lags)
    lag = np.arange(-window, window + 1)
    weight = np.minimum(1.0, 2.0 * (1.0 - np.abs(lag) / window)) if window else np.ones(1)
    both = covariance[np.abs(lag)]
    g = float((weight * np.abs(lag) * both).sum())
    spectrum = float((weight * both).sum())
    if spectrum == 0:
        return 0.0
    return math.pow(2.0 * g * g / (4.0 / 3.0 * spectrum * spectrum), 1 / 3) * math.pow(count, 1 / 3)


def _last_correlated(small: NDArray[np.bool_], run: int, most: int) -> int:
    """The lag after which ``run`` autocorrelations in a row say nothing; where there is none, the last that does."""
    for lag in range(min(most, small.size - run) + 1):
        if small[lag : lag + run].all():
            return max(lag, 1)
    loud = np.flatnonzero(~small[:most])
    return int(loud[-1]) + 1 if loud.size else 1


def _interval(values: Floats, level: float) -> Interval:
    known = values[np.isfinite(values)]
    if known.size < values.size // 2:
        return Interval(low=math.nan, high=math.nan, level=level)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), level=level)
