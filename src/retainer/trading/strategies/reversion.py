"""Classics that buy weakness and sell strength."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bars, Floats
from retainer.trading.rules import Rule, parameter
from retainer.trading.technical import indicator, sma


@dataclass(frozen=True, kw_only=True)
class RsiReversion(Rule):
    """Buy a short fall within a long rise: RSI very low while the close is above its long average.

    Source: Connors and Alvarez, Short Term Trading Strategies That Work (2008), the 2-period RSI.
    """

    name: str = "rsi-reversion"
    period: int = parameter(2, low=2, high=50, about="Bars of the RSI.")
    enter: float = parameter(10, low=1, high=50, about="RSI below which it is bought.")
    leave: float = parameter(70, low=30, high=99, about="RSI above which it is sold.")
    average: int = parameter(200, low=5, high=400, about="Bars of the average that the close must be above.")

    def check(self) -> None:
        if self.enter >= self.leave:
            raise InvalidInputError(f"{self.name}: enter ({self.enter:g}) must be below leave ({self.leave:g}).")

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        rsi = indicator(f"RSI({self.period})", bars)
        return {"close": bars.adjusted(), "rsi": next(iter(rsi.values())), "average": sma(bars, self.average)}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        rsi = indicators["rsi"]
        weak = (rsi < self.enter) & (indicators["close"] > indicators["average"])
        return self.hold_between(weak, rsi > self.leave)


@dataclass(frozen=True, kw_only=True)
class BollingerReversion(Rule):
    """Buy a close below the lower band, sell one above the middle of the bands.

    Source: Bollinger, Bollinger on Bollinger Bands (2001), bands of 20 bars and 2 standard deviations.
    """

    name: str = "bollinger"
    period: int = parameter(20, low=5, high=200, about="Bars of the bands.")
    width: float = parameter(2.0, low=0.5, high=5, about="Standard deviations between middle and band.")

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        spec = f"BBANDS({self.period},{self.width:g})"
        found = indicator(spec, bars)
        return {
            "close": bars.adjusted(),
            "lower": found[f"{spec}.lowerband"],
            "middle": found[f"{spec}.middleband"],
        }

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        close = indicators["close"]
        return self.hold_between(close < indicators["lower"], close > indicators["middle"])
