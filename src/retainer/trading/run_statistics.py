"""The figures of one run, computed together from its equity, exposure and trades; formulas are in ``stats``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from retainer.core.values import Json
from retainer.trading import stats
from retainer.trading.bars import Floats, Ints
from retainer.trading.trades import Trade


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What one run did. Shares and ratios are plain numbers (0.05 is 5 %); NaN where there is nothing to say."""

    start_value: float
    """Dollars at the beginning."""
    end_value: float
    total_return: float
    annual_return: float
    volatility: float
    sharpe: float
    """Yearly, riskless rate 0."""
    sortino: float
    max_drawdown: float
    drawdown_bars: int
    """Longest time below an earlier peak, bars."""
    calmar: float
    """annual_return / max_drawdown; Young, Futures 20 (1991)."""
    skew: float
    kurtosis: float
    exposure: float
    """Mean of |positions| / equity at the closes."""
    turnover: float
    """Value traded in a year / mean equity."""
    trades: int
    """Round trips that ended."""
    win_rate: float
    """Trades that ended with a profit after fees / trades."""
    profit_factor: float
    """Sum of profits / sum of losses."""
    expectancy: float
    """Mean return of a trade, after fees."""
    best: float
    worst: float
    average_bars: float
    """Mean bars a trade lasted."""
    beta: float
    """Against the benchmark."""
    alpha: float
    """Yearly, against the benchmark."""
    periods_per_year: float

    def to_json(self) -> dict[str, Json]:
        """Plain JSON; figures that cannot be said are null."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}

    def rows(self) -> list[tuple[str, str]]:
        """Label and text for a table."""
        return [
            ("Return", _share(self.total_return)),
            ("Per year", _share(self.annual_return)),
            ("Volatility, per year", _share(self.volatility)),
            ("Sharpe ratio", _number(self.sharpe)),
            ("Sortino ratio", _number(self.sortino)),
            ("Deepest fall", _share(self.max_drawdown)),
            ("Longest time below a peak", f"{self.drawdown_bars:,} bars"),
            ("Calmar ratio", _number(self.calmar)),
            ("Invested on average", _share(self.exposure)),
            ("Turnover per year", _number(self.turnover)),
            ("Trades", f"{self.trades:,}"),
            ("Trades that won", _share(self.win_rate)),
            ("Profit factor", _number(self.profit_factor)),
            ("Mean trade", _share(self.expectancy)),
            ("Best, worst trade", f"{_share(self.best)}, {_share(self.worst)}"),
            ("Bars in a trade", _number(self.average_bars)),
            ("Beta, alpha", f"{_number(self.beta)}, {_share(self.alpha)}"),
        ]


def statistics_of(
    at: Ints,
    equity: Floats,
    exposure: Floats,
    traded: float,
    trades: Sequence[Trade],
    *,
    start_value: float,
    benchmark: Floats | None = None,
) -> Statistics:
    """Figures of one run.

    ``equity`` and ``exposure`` at the closes ``at``; ``traded``: value of all fills, dollars; ``start_value``: cash
    before the first bar; ``benchmark``: the other curve's equity at the same closes.
    """
    curve = np.r_[start_value, equity]
    returns = stats.returns_of(curve)
    per_year, years = stats.periods_per_year(at), stats.years_of(at)
    deepest = float(stats.drawdowns(curve).max())
    yearly = stats.annual_return(curve, years)
    beta, alpha = math.nan, math.nan
    if benchmark is not None:
        beta, alpha = stats.beta_alpha(returns, stats.returns_of(np.r_[start_value, benchmark]), per_year)
    ended = [trade for trade in trades if trade.exited is not None]
    shares = np.array([trade.share for trade in ended])
    profits = np.array([trade.profit for trade in ended])
    lost = -float(profits[profits < 0].sum())
    return Statistics(
        start_value=start_value,
        end_value=float(equity[-1]),
        total_return=stats.total_return(curve),
        annual_return=yearly,
        volatility=stats.volatility(returns, per_year),
        sharpe=stats.sharpe_ratio(returns, per_year),
        sortino=stats.sortino_ratio(returns, per_year),
        max_drawdown=deepest,
        drawdown_bars=stats.longest_drawdown(curve),
        calmar=yearly / deepest if deepest > 0 else math.nan,
        skew=stats.skewness(returns),
        kurtosis=stats.kurtosis(returns),
        exposure=float(np.mean(exposure)),
        turnover=traded / float(np.mean(equity)) / years if years >= 0.1 else math.nan,
        trades=len(ended),
        win_rate=float(np.mean(profits > 0)) if ended else math.nan,
        profit_factor=float(profits[profits > 0].sum()) / lost if lost > 0 else math.nan,
        expectancy=float(shares.mean()) if ended else math.nan,
        best=float(shares.max()) if ended else math.nan,
        worst=float(shares.min()) if ended else math.nan,
        average_bars=float(np.mean([trade.bars for trade in ended])) if ended else math.nan,
        beta=beta,
        alpha=alpha,
        periods_per_year=per_year,
    )


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value * 100:,.2f} %"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.2f}"
