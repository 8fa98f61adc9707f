"""Statistics of an equity curve, each with its formula. Inputs are plain sequences; outputs are floats (no money)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Floats, Ints, Market, sessions


@dataclass(frozen=True, slots=True)
class Drawdown:
    """Deepest fall from a peak. Rows are positions in the curve; ``depth`` is 0.2 for a fall by a fifth."""

    depth: float
    peak: int
    trough: int


def total_return(equity: Sequence[float] | Floats) -> float:
    """E_end / E_start - 1 (simple return over the whole curve)."""
    curve = _curve(equity)
    return float(curve[-1] / curve[0] - 1.0)


def max_drawdown(equity: Sequence[float] | Floats) -> Drawdown:
    """max over t of 1 - E_t / max(E_s, s <= t); Magdon-Ismail and Atiya, Risk 17(10), 2004."""
    curve = _curve(equity)
    falls = 1.0 - curve / np.maximum.accumulate(curve)
    trough = int(np.argmax(falls))
    peak = int(np.argmax(curve[: trough + 1]))
    return Drawdown(float(falls[trough]), peak, trough)


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Buy and hold: value per session, in the unit of the starting value."""

    close_time: Ints
    value: Floats


def buy_and_hold(market: Market, value: float, start: int, end: int) -> Benchmark:
    """``value`` split evenly over the symbols at the close ``start`` and left alone until ``end`` (ns, both included).

    V_t = V_0 / n * sum over symbols of A_t / A_0, A being the adjusted close: dividends are reinvested, nothing is
    paid for trading, shares are fractional. So it is a little better than anybody could have done. A missing bar
    counts at the last known close; a symbol that begins later is left out. Raises :class:`InvalidInputError` when no
    symbol has a close at or before ``start``.
    """
    times = sessions(market)
    times = times[(times >= start) & (times <= end)]
    paths = []
    for bars in market.values():
        rows = np.searchsorted(bars.close_time, times, side="right") - 1
        if times.size and rows[0] >= 0:
            adjusted = bars.adjusted()[rows]
            paths.append(adjusted / adjusted[0])
    if not paths:
        raise InvalidInputError("No symbol has a price at the start of that period.")
    return Benchmark(times, value * np.mean(np.stack(paths), axis=0))


def _curve(equity: Sequence[float] | Floats) -> NDArray[np.float64]:
    curve = np.asarray(equity, dtype=np.float64)
    if curve.ndim != 1 or curve.size == 0:
        raise InvalidInputError("An equity curve needs at least one value.")
    if not np.isfinite(curve).all() or (curve <= 0).any():
        row = int(np.argmax(~(np.isfinite(curve) & (curve > 0))))
        raise InvalidInputError(f"The equity curve's row {row} is {curve[row]}, not a positive number.")
    return curve
