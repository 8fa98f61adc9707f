"""A spec as a strategy: the same arrays as one written in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retainer.core.values import Json
from retainer.trading.bars import Bars, Floats
from retainer.trading.rules import Rule, Stops, Truths, between, held_from, rolling_deviation
from retainer.trading.spec.expressions import Node, compute
from retainer.trading.spec.model import StrategySpec
from retainer.trading.technical import indicator

_SERIES = ("open", "high", "low", "close")


@dataclass(frozen=True, kw_only=True)
class SpecStrategy(Rule):
    """A strategy that a :class:`StrategySpec` describes; make it with :meth:`of`."""

    name: str = "idea"
    spec: StrategySpec
    _parsed: tuple[tuple[Node, ...], tuple[Node, ...]] = field(init=False, repr=False, compare=False)

    @classmethod
    def of(cls, spec: StrategySpec) -> SpecStrategy:
        """The strategy of ``spec``."""
        return cls(name=spec.name, symbols=spec.symbols, weight=spec.size.weight, spec=spec)

    def check(self) -> None:
        object.__setattr__(self, "_parsed", self.spec.conditions())

    @property
    def title(self) -> str:
        """The rule itself, in the words of the spec."""
        spec = self.spec
        if spec.about:
            return spec.about
        said = f"Buy when {' and '.join(spec.buy_when)}"
        said += f", sell when {' or '.join(spec.sell_when)}" if spec.sell_when else ""
        stops = spec.stops
        for share, name in ((stops.loss, "a stop"), (stops.trailing, "a trailing stop"), (stops.profit, "a target")):
            said += f", with {name} of {share * 100:g} %" if share is not None else ""
        return said + (f", for at most {stops.bars} bars." if stops.bars is not None else ".")

    @property
    def values(self) -> dict[str, Json]:
        """The spec itself: what makes this variant another one."""
        return {key: value for key, value in self.spec.to_json().items() if key not in ("name", "about", "symbols")}

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        names = set().union(*(node.names() for nodes in self._parsed for node in nodes))
        found: dict[str, Floats] = {}
        for name in sorted(names):
            found[name] = _series(name, bars)
        if self.spec.size.volatility is not None:
            found["volatility"] = _volatility(bars, self.spec.size.window, self.spec.size.per_year)
        return found

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        buy, sell = self._parsed
        count = len(bars)
        enter: Truths = np.ones(count, dtype=bool)
        for node in buy:
            enter = enter & compute(node, indicators, count).astype(bool)
        leave: Truths = np.zeros(count, dtype=bool)
        for node in sell:
            leave = leave | compute(node, indicators, count).astype(bool)
        first = _first_known(indicators, count)
        enter[:first] = False
        limit = self.spec.stops.bars
        held = between(enter, leave) if limit is None else _limited(enter, leave, limit)
        if self.spec.size.volatility is None:
            return self.hold(held)
        begins = held & ~np.r_[False, held[:-1]]
        size = self.share * np.minimum(1.0, self.spec.size.volatility / np.maximum(indicators["volatility"], 1e-9))
        return np.where(held, held_from(begins, np.round(size, 4)), 0.0)

    def stops(self, bars: Bars, indicators: Mapping[str, Any]) -> Stops:
        del bars, indicators
        own = self.spec.stops
        return Stops(loss=own.loss, profit=own.profit, trailing=own.trailing)


def _series(name: str, bars: Bars) -> Floats:
    if name == "price":
        return bars.close
    if name == "volume":
        return bars.volume.astype(np.float64)
    if name in _SERIES:
        prices: Floats = getattr(bars, name) * bars.factor
        return prices
    spec, dot, output = name.rpartition(".")
    if dot and output.isidentifier():
        return indicator(spec, bars)[name]
    return indicator(name, bars)[name]


def _volatility(bars: Bars, window: int, per_year: int) -> Floats:
    returns = np.r_[np.nan, np.diff(np.log(bars.adjusted()))]
    yearly: Floats = rolling_deviation(returns, window) * np.sqrt(per_year)
    return yearly


def _first_known(indicators: Mapping[str, Floats], count: int) -> int:
    """First row on which everything the conditions use has a value: nothing is bought before."""
    known = np.ones(count, dtype=bool)
    for values in indicators.values():
        known &= ~np.isnan(values)
    return int(np.argmax(known)) if known.any() else count


def _limited(enter: Truths, leave: Truths, most: int) -> Truths:
    """Held from an entry to the first bar that says leave, or for ``most`` bars, whichever is earlier."""
    held = np.zeros(enter.size, dtype=bool)
    begins, ends = np.flatnonzero(enter & ~leave), np.flatnonzero(leave)
    at = 0
    while (index := int(np.searchsorted(begins, at))) < begins.size:
        begin = int(begins[index])
        after = int(np.searchsorted(ends, begin, side="right"))
        end = min(begin + most, int(ends[after]) if after < ends.size else enter.size)
        held[begin:end] = True
        at = end + 1
    return held
