"""Classics that decide how much of what: buying and holding, rotation by momentum, volatility as the measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retainer.trading.bars import Bars, Floats
from retainer.trading.rules import Panel, PortfolioRule, Rule, held_from, new_month, parameter, rolling_deviation
from retainer.trading.technical import indicator


@dataclass(frozen=True, kw_only=True)
class BuyAndHold(Rule):
    """Buy on the first day and do nothing more: what every idea has to beat.

    Source: Sharpe, The Arithmetic of Active Management, Financial Analysts Journal 47 (1991).
    """

    name: str = "buy-and-hold"

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        del bars
        return {}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        del indicators
        return np.full(len(bars), self.share)


@dataclass(frozen=True, kw_only=True)
class MomentumRotation(PortfolioRule):
    """Each month hold the symbols that rose most over the months before, and only those that rose.

    Source: Jegadeesh and Titman, Returns to Buying Winners and Selling Losers, Journal of Finance 48 (1993).
    """

    name: str = "momentum-rotation"
    lookback: int = parameter(126, low=5, high=400, about="Bars over which the rise is measured.")
    top: int = parameter(2, low=1, high=50, about="How many symbols are held, the account split evenly.")

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        return {"rise": next(iter(indicator(f"ROCP({self.lookback})", bars).values()))}

    def allocate(self, panel: Panel) -> Floats:
        rise = panel.indicators["rise"]
        known = ~np.isnan(rise)
        order = np.argsort(np.where(known, -rise, np.inf), axis=1, kind="stable")
        rank = np.argsort(order, axis=1, kind="stable")
        chosen = known & (rank < self.top) & (rise > 0)
        share = self.weight or 1.0 / min(self.top, len(panel.symbols))
        weights = np.where(chosen, share, 0.0)
        weights[~known.any(axis=1)] = np.nan
        return held_from(new_month(panel.at), weights)


@dataclass(frozen=True, kw_only=True)
class VolatilityTarget(Rule):
    """Hold less when the market swings more, so that the expected swing stays the same; looked at monthly.

    Source: Moreira and Muir, Volatility-Managed Portfolios, Journal of Finance 72 (2017).
    """

    name: str = "volatility-target"
    target: float = parameter(0.15, low=0.01, high=1, about="Yearly volatility wanted; 0.15 is 15 %.")
    window: int = parameter(21, low=5, high=250, about="Bars over which volatility is measured.")
    per_year: int = parameter(252, low=1, high=200_000, about="Bars in a year.")

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        returns = np.diff(np.log(bars.adjusted()), prepend=np.nan)
        return {"volatility": rolling_deviation(returns, self.window) * np.sqrt(self.per_year)}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        volatility = np.maximum(indicators["volatility"], 1e-9)
        wanted = self.share * np.minimum(1.0, self.target / volatility)
        return held_from(new_month(bars.close_time), np.round(wanted, 4))
