"""Classics that follow a trend: crossings of averages and breakouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bars, Floats
from retainer.trading.rules import Rule, Stops, parameter, shifted
from retainer.trading.technical import indicator, sma


@dataclass(frozen=True, kw_only=True)
class SmaCross(Rule):
    """Hold while the fast simple average of closes is above the slow one.

    Source: Brock, Lakonishok, LeBaron, Simple Technical Trading Rules, Journal of Finance 47 (1992).
    """

    name: str = "sma-cross"
    fast: int = parameter(20, low=2, high=250, about="Bars of the fast average.")
    slow: int = parameter(100, low=3, high=500, about="Bars of the slow average.")

    def check(self) -> None:
        _ordered(self.name, "fast", self.fast, "slow", self.slow)

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        return {"fast": sma(bars, self.fast), "slow": sma(bars, self.slow)}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        return self.hold(indicators["fast"] > indicators["slow"])


@dataclass(frozen=True, kw_only=True)
class EmaCross(Rule):
    """Hold while the fast exponential average of closes is above the slow one.

    Source: Murphy, Technical Analysis of the Financial Markets (1999), chapter 9.
    """

    name: str = "ema-cross"
    fast: int = parameter(12, low=2, high=250, about="Bars of the fast average.")
    slow: int = parameter(50, low=3, high=500, about="Bars of the slow average.")

    def check(self) -> None:
        _ordered(self.name, "fast", self.fast, "slow", self.slow)

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        return {"fast": _one(f"EMA({self.fast})", bars), "slow": _one(f"EMA({self.slow})", bars)}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        return self.hold(indicators["fast"] > indicators["slow"])


@dataclass(frozen=True, kw_only=True)
class MacdCross(Rule):
    """Hold while MACD is above its signal line.

    Source: Appel, Technical Analysis: Power Tools for Active Investors (2005), chapter 8.
    """

    name: str = "macd-cross"
    fast: int = parameter(12, low=2, high=100, about="Bars of the fast average.")
    slow: int = parameter(26, low=3, high=200, about="Bars of the slow average.")
    signal: int = parameter(9, low=2, high=50, about="Bars of the signal line.")

    def check(self) -> None:
        _ordered(self.name, "fast", self.fast, "slow", self.slow)

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        spec = f"MACD({self.fast},{self.slow},{self.signal})"
        found = indicator(spec, bars)
        return {"macd": found[f"{spec}.macd"], "signal": found[f"{spec}.macdsignal"]}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        return self.hold(indicators["macd"] > indicators["signal"])


@dataclass(frozen=True, kw_only=True)
class Donchian(Rule):
    """Buy a close above the highest high of the days before, leave on one below the lowest low.

    Source: Donchian, Trend-Following Methods in Commodity Price Analysis (1957); 20 and 10 days: the Turtles' system 1.
    """

    name: str = "donchian"
    enter: int = parameter(20, low=2, high=250, about="Bars whose highest high must be passed.")
    leave: int = parameter(10, low=2, high=250, about="Bars whose lowest low ends it.")

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        return {
            "close": bars.adjusted(),
            "highest": shifted(_one(f"MAX(high,{self.enter})", bars), 1),
            "lowest": shifted(_one(f"MIN(low,{self.leave})", bars), 1),
        }

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        close = indicators["close"]
        return self.hold_between(close > indicators["highest"], close < indicators["lowest"])


@dataclass(frozen=True, kw_only=True)
class Breakout(Rule):
    """Buy a new high and protect it with a stop that trails by a multiple of the average true range.

    Source: LeBeau and Lucas, Computer Analysis of the Futures Market (1992), chandelier exit; 55 days: the Turtles'
    system 2. A breakout that falls back below the average is given up without waiting for the stop.
    """

    name: str = "breakout"
    enter: int = parameter(55, low=5, high=250, about="Bars whose highest close must be passed.")
    atr: int = parameter(22, low=2, high=100, about="Bars of the average true range.")
    multiple: float = parameter(3.0, low=0.5, high=10, about="Ranges between price and trailing stop.")
    average: int = parameter(100, low=5, high=400, about="Bars of the average below which it is given up.")

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        return {
            "close": bars.adjusted(),
            "highest": shifted(_one(f"MAX({self.enter})", bars), 1),
            "average": sma(bars, self.average),
            "range": _one(f"ATR({self.atr})", bars),
        }

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        close = indicators["close"]
        return self.hold_between(close > indicators["highest"], close < indicators["average"])

    def stops(self, bars: Bars, indicators: Mapping[str, Floats]) -> Stops:
        return Stops(trailing=np.minimum(self.multiple * indicators["range"] / indicators["close"], 0.9))


def _one(spec: str, bars: Bars) -> Floats:
    return next(iter(indicator(spec, bars).values()))


def _ordered(strategy: str, small: str, low: int, large: str, high: int) -> None:
    if low >= high:
        raise InvalidInputError(f"{strategy}: {small} ({low}) must be smaller than {large} ({high}).")
