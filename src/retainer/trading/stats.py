"""Statistics of an equity curve, each with its formula. Inputs are plain sequences; outputs are floats (no money).

E is equity at each close, r_t = E_t / E_(t-1) - 1 its simple returns, P the number of bars in a year. A figure that
cannot be said (no spread, nothing lost) is NaN, never a large number that looks like a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Floats, Ints, Market, sessions
from retainer.trading.units import DAY_NS

_YEAR_NS: Final = 365.25 * DAY_NS
FLAT: Final = 1e-15
"""A standard deviation below this is rounding, not spread."""


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


def returns_of(equity: Sequence[float] | Floats) -> Floats:
    """r_t = E_t / E_(t-1) - 1, one fewer than values."""
    curve = _curve(equity)
    return curve[1:] / curve[:-1] - 1.0


def periods_per_year(at: Ints) -> float:
    """Bars in a year: 252 for daily, 52 for weekly, 12 for monthly bars; for shorter ones as many as there were.

    Daily means that most bars are more than 16 hours and less than 4 days apart. ``at``: close times, nanoseconds.
    """
    if at.size < 2:
        return 252.0
    gap = float(np.median(np.diff(at))) / DAY_NS
    for most, count in ((0.66, 0.0), (4.0, 252.0), (10.0, 52.0), (45.0, 12.0)):
        if gap <= most:
            return count or (at.size - 1) / (float(at[-1] - at[0]) / _YEAR_NS)
    return 365.25 / gap


def years_of(at: Ints) -> float:
    """Years between first and last close, 365.25 days each."""
    return float(at[-1] - at[0]) / _YEAR_NS if at.size else 0.0


def annual_return(equity: Sequence[float] | Floats, years: float) -> float:
    """(E_end / E_start)^(1 / years) - 1, the compound growth rate; NaN for less than a tenth of a year."""
    curve = _curve(equity)
    return float((curve[-1] / curve[0]) ** (1.0 / years) - 1.0) if years >= 0.1 else math.nan


def volatility(returns: Floats, per_year: float) -> float:
    """std(r, ddof=1) * sqrt(P)."""
    return float(np.std(returns, ddof=1)) * math.sqrt(per_year) if returns.size > 1 else math.nan


def sharpe_ratio(returns: Floats, per_year: float) -> float:
    """mean(r) / std(r, ddof=1) * sqrt(P), riskless rate 0; Sharpe, Journal of Portfolio Management 21 (1994)."""
    if returns.size < 2:
        return math.nan
    spread = float(np.std(returns, ddof=1))
    return float(np.mean(returns)) / spread * math.sqrt(per_year) if spread > FLAT else math.nan


def sortino_ratio(returns: Floats, per_year: float) -> float:
    """mean(r) / sqrt(mean(min(r, 0)^2)) * sqrt(P); Sortino and van der Meer, Journal of Portfolio Management 1991."""
    if returns.size < 2:
        return math.nan
    below = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    return float(np.mean(returns)) / below * math.sqrt(per_year) if below > FLAT else math.nan


def skewness(returns: Floats) -> float:
    """m3 / m2^(3/2), central moments with divisor n."""
    return _moment_ratio(returns, 3)


def kurtosis(returns: Floats) -> float:
    """m4 / m2^2, central moments with divisor n; 3 for a normal distribution."""
    return _moment_ratio(returns, 4)


def _moment_ratio(returns: Floats, power: int) -> float:
    if returns.size < 2:
        return math.nan
    centred = returns - returns.mean()
    squares = centred * centred
    spread = float(squares.mean())
    if math.sqrt(spread) <= FLAT:
        return math.nan
    top = float((squares * (centred if power == 3 else squares)).mean())
    return top / math.pow(spread, power / 2)


def beta_alpha(returns: Floats, benchmark: Floats, per_year: float) -> tuple[float, float]:
    """beta = cov(r, b) / var(b); alpha = (mean(r) - beta * mean(b)) * P; Jensen, Journal of Finance 23 (1968)."""
    if returns.size < 3 or float(np.std(benchmark)) <= FLAT:
        return math.nan, math.nan
    centred = benchmark - benchmark.mean()
    beta = float(centred @ (returns - returns.mean())) / float(centred @ centred)
    return beta, (float(returns.mean()) - beta * float(benchmark.mean())) * per_year


def drawdowns(equity: Sequence[float] | Floats) -> Floats:
    """1 - E_t / max(E_s, s <= t) at each close: 0.2 is a fifth below the highest so far."""
    curve = _curve(equity)
    return 1.0 - curve / np.maximum.accumulate(curve)


def longest_drawdown(equity: Sequence[float] | Floats) -> int:
    """Most bars from a peak to the next close as high or higher, or to the end of the curve."""
    curve = _curve(equity)
    peaks = np.flatnonzero(curve >= np.maximum.accumulate(curve))
    return int(np.diff(np.r_[peaks, curve.size - 1]).max(initial=0))


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
