"""Strategies: indicators and target weights over arrays of bars. They never see the future and never touch a broker.

A strategy is two functions. ``indicators`` turns a symbol's bars into named arrays; ``targets`` turns both into the
wanted weight of that symbol, row by row, from 0 (none) to 1 (the whole account); NaN while an indicator is not valid.
Row t may use rows up to t only: :func:`retainer.trading.backtest.lookahead` finds out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.core.values import Json
from retainer.trading.bars import Bars, Floats, Market
from retainer.trading.samples import SYMBOLS
from retainer.trading.technical import sma
from retainer.trading.units import BPS


@dataclass(frozen=True, slots=True)
class Signal:
    """What a strategy saw at one close, for the record and in words."""

    indicators: Mapping[str, float]
    """Values in dollars of that day."""
    relation: str
    """``above``, ``below``, ``equal``, or ``none`` while not valid."""
    previous_relation: str
    words: str


@dataclass(frozen=True, slots=True)
class Exits:
    """Protective exits that go with an entry: distances in millionths of its fill price; 0: none."""

    loss: int = 0
    profit: int = 0
    trailing: int = 0


NO_EXITS: Final = Exits()


@dataclass(frozen=True, slots=True)
class StrategyDecision:
    """A strategy's wish for one symbol at one close."""

    symbol: str
    at: int
    """Close time, nanoseconds UTC."""
    target: float | None
    """Wanted weight; ``None`` while an indicator is not valid."""
    previous: float | None
    """Wanted weight one bar earlier."""
    indicators: Mapping[str, float]
    signal: str
    """The reason in words."""
    relation: str
    previous_relation: str
    exits: Exits = NO_EXITS
    """Of an entry that this decision leads to."""

    @property
    def target_bps(self) -> int:
        """The weight in basis points of equity; 0 while there is none."""
        return 0 if self.target is None else round(self.target * BPS)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a strategy wishes for at one close, over all its symbols that have a bar then."""

    at: int
    decisions: tuple[StrategyDecision, ...]

    @property
    def targets(self) -> dict[str, int]:
        """Targets in basis points for :func:`~retainer.trading.kernels.propose`; those not valid yet are left out."""
        return {d.symbol: d.target_bps for d in self.decisions if d.target is not None}

    @property
    def exits(self) -> dict[str, Exits]:
        """Protective exits of entries, by symbol; those without any are left out."""
        return {d.symbol: d.exits for d in self.decisions if d.exits != NO_EXITS}

    def of(self, symbol: str) -> StrategyDecision | None:
        """The decision about ``symbol``, if there is one."""
        return next((d for d in self.decisions if d.symbol == symbol), None)

    def values(self, symbol: str) -> dict[str, float]:
        """Indicator values behind it, in dollars of that day; empty without a decision."""
        decision = self.of(symbol)
        return dict(decision.indicators) if decision else {}

    def signal(self, symbol: str) -> str:
        """The reason in words; empty without a decision."""
        decision = self.of(symbol)
        return decision.signal if decision else ""


class Strategy(ABC):
    """Base of strategies: pure functions of bars, with parameters fixed when it is made."""

    name: str
    symbols: tuple[str, ...]

    @abstractmethod
    def indicators(self, bars: Bars) -> dict[str, Floats]:
        """Named arrays, one value per bar; NaN where not valid yet."""

    @abstractmethod
    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        """Wanted weight in [0, 1] per bar; NaN where not valid yet."""

    @abstractmethod
    def explain(self, bars: Bars, indicators: Mapping[str, Floats], row: int) -> Signal:
        """Why the target of ``row`` is what it is."""

    @property
    def values(self) -> dict[str, Json]:
        """What makes this variant of it another one, by name."""
        return {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, int | float | str | bool) and name != "name"
        }

    def outlook(self, market: Market, at: int) -> Outlook:
        """The wishes at the close ``at`` (ns), from bars up to it alone.

        ``market`` must begin at the strategy's recorded first bar, so that every recomputation gives the same numbers.
        """
        return Outlook(at, tuple(decide(self, market, at)))


@dataclass(frozen=True)
class SmaTrend(Strategy):
    """Trend following: hold a symbol while its fast average of adjusted closes is above its slow one.

    20 and 100 days are the textbook month and five months, taken as they are and not fitted to any data; the account
    is split evenly. Honest expectation: smaller losses in long falls, smaller gains in long rises, many small losing
    trades between them. Source of the rule: Brock, Lakonishok, LeBaron, Journal of Finance 47 (1992), moving averages.
    """

    fast: int = 20
    slow: int = 100
    weight: float = 0.25
    symbols: tuple[str, ...] = SYMBOLS
    name: str = "sma-trend"

    def __post_init__(self) -> None:
        if not 2 <= self.fast < self.slow <= 1_000:
            raise InvalidInputError(
                f"Averages of {self.fast} and {self.slow} days do not fit.", hint="2 <= fast < slow <= 1000."
            )
        if not 0 < self.weight <= 1:
            raise InvalidInputError(
                f"A weight of {self.weight} is not a share of the account.", hint="0 < weight <= 1."
            )
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise InvalidInputError("The strategy needs symbols, each once.")

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        return {"fast": sma(bars, self.fast), "slow": sma(bars, self.slow)}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        fast, slow = indicators["fast"], indicators["slow"]
        held = np.where(fast > slow, self.weight, 0.0)
        return np.where(np.isnan(fast) | np.isnan(slow), np.nan, held)

    def explain(self, bars: Bars, indicators: Mapping[str, Floats], row: int) -> Signal:
        now, before = self._relation(indicators, row), self._relation(indicators, row - 1)
        if now == "none":
            return Signal({}, now, before, f"fewer than {self.slow} days of prices: no decision yet")
        scale = float(bars.factor[row])
        fast, slow = (float(indicators[name][row]) / scale for name in ("fast", "slow"))
        values = {f"sma_{self.fast}": fast, f"sma_{self.slow}": slow, "close": float(bars.close[row])}
        words = f"{self.fast}-day average {fast:.2f} {_verb(now, before)} {self.slow}-day {slow:.2f}"
        if before == "none":
            words += " on the first day both are known"
        return Signal(values, now, before, words)

    @staticmethod
    def _relation(indicators: Mapping[str, Floats], row: int) -> str:
        if row < 0:
            return "none"
        fast, slow = float(indicators["fast"][row]), float(indicators["slow"][row])
        if np.isnan(fast) or np.isnan(slow):
            return "none"
        return "above" if fast > slow else "below" if fast < slow else "equal"


def identity(strategy: Strategy) -> dict[str, Json]:
    """What makes this variant of a strategy another one: parameters and weight."""
    weight = getattr(strategy, "weight", 0.0)
    return {**strategy.values, **({"weight": weight} if weight else {})}


def _verb(now: str, before: str) -> str:
    changed = before not in {now, "none"}
    verbs = {
        ("above", True): "rose above",
        ("above", False): "is above",
        ("below", True): "fell below",
        ("below", False): "is below",
        ("equal", True): "came to equal",
        ("equal", False): "equals",
    }
    return verbs[now, changed]


def decision_at(
    strategy: Strategy,
    bars: Bars,
    indicators: Mapping[str, Floats],
    targets: Floats,
    row: int,
    exits: Exits = NO_EXITS,
) -> StrategyDecision:
    """The decision of one row, from arrays that may reach beyond it."""
    signal = strategy.explain(bars, indicators, row)
    return StrategyDecision(
        symbol=bars.symbol,
        at=int(bars.close_time[row]),
        target=_weight(targets, row),
        previous=_weight(targets, row - 1),
        indicators=signal.indicators,
        signal=signal.words,
        relation=signal.relation,
        previous_relation=signal.previous_relation,
        exits=exits,
    )


def decide(strategy: Strategy, market: Market, at: int) -> list[StrategyDecision]:
    """The strategy's wishes at the close ``at``, from bars up to it alone; symbols without a bar then have none."""
    decisions = []
    for symbol in strategy.symbols:
        bars = market[symbol].until(at) if symbol in market else None
        if bars is None or int(bars.close_time[-1]) != at:
            continue
        indicators = strategy.indicators(bars)
        decisions.append(decision_at(strategy, bars, indicators, strategy.targets(bars, indicators), len(bars) - 1))
    return decisions


def _weight(targets: Floats, row: int) -> float | None:
    if row < 0 or np.isnan(targets[row]):
        return None
    return float(targets[row])
