"""The Sharpe ratio after luck is taken out: how probable it is that a strategy is better than the best of many tries.

Bailey and Lopez de Prado, The Sharpe Ratio Efficient Frontier, Journal of Risk 15 (2012) and The Deflated Sharpe Ratio,
Journal of Portfolio Management 40 (2014). Ratios here are per bar, not per year.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist

from retainer.core.values import Json
from retainer.trading.bars import Floats
from retainer.trading.stats import kurtosis, sharpe_ratio, skewness

_NORMAL = NormalDist()
_EULER = 0.5772156649015329
"""The Euler-Mascheroni constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflated:
    """A Sharpe ratio beside what luck alone would give."""

    sharpe: float
    """Per bar."""
    expected: float
    """Sharpe ratio per bar that the best of ``trials`` tries without any skill is expected to have."""
    probability: float
    """That the true ratio is above ``expected``; NaN where it cannot be said."""
    trials: int
    bars: int

    def to_json(self) -> dict[str, Json]:
        """Plain JSON; what cannot be said is null."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def probabilistic_sharpe(sharpe: float, expected: float, bars: int, skew: float, kurt: float) -> float:
    """Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)); g3 skewness, g4 kurtosis (normal: 3)."""
    spread = 1.0 - skew * sharpe + (kurt - 1.0) / 4.0 * sharpe * sharpe
    if bars < 3 or not math.isfinite(sharpe) or not spread > 0:
        return math.nan
    return _NORMAL.cdf((sharpe - expected) * math.sqrt(bars - 1) / math.sqrt(spread))


def expected_best(trials: int, variance: float) -> float:
    """sqrt(V) ((1 - e) Phi^-1(1 - 1/N) + e Phi^-1(1 - 1/(N exp 1))): the best of N ratios whose true value is 0.

    V is the variance of the ratios tried, e the Euler-Mascheroni constant. 0 for fewer than two tries.
    """
    if trials < 2 or variance <= 0:
        return 0.0
    first = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    second = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - _EULER) * first + _EULER * second)


def deflated_sharpe(returns: Floats, trials: int, variance: float) -> Deflated:
    """The deflated Sharpe ratio of ``returns``, the best of ``trials`` tries whose ratios have ``variance``."""
    ratio = sharpe_ratio(returns, 1.0)
    return deflated_of(ratio, skewness(returns), kurtosis(returns), returns.size, trials, variance)


def deflated_of(sharpe: float, skew: float, kurt: float, bars: int, trials: int, variance: float) -> Deflated:
    """As :func:`deflated_sharpe`, from the moments of the returns."""
    expected = expected_best(trials, variance)
    probability = probabilistic_sharpe(sharpe, expected, bars, skew, kurt)
    return Deflated(sharpe=sharpe, expected=expected, probability=probability, trials=trials, bars=bars)
