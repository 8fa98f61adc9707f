"""How long decisions depend on where the history happens to begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from retainer.core.errors import RetainerError
from retainer.core.values import Json
from retainer.trading.bars import Market, sessions
from retainer.trading.evaluation import Wanted, evaluate
from retainer.trading.strategy import Strategy

_NOISE = 1e-3
_STARTS = (0.2, 0.45)
"""Shares of the history that are left out."""
_TAIL = 0.1
"""A difference in this last share of the rows means that the start is never forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """Bars before decisions may be trusted. Recursive indicators (EMA, RSI, ATR) remember where they began."""

    first: int
    """Bars before the first decision."""
    settled: int
    """Bars after which decisions no longer depend on where the history begins; at least ``first``."""
    never: bool
    """Whether they still did at the end."""
    differing: float
    """Share of the decisions compared that differ."""

    def to_json(self) -> dict[str, Json]:
        """Plain JSON."""
        return dict(asdict(self))

    @property
    def words(self) -> str:
        """A sentence for people."""
        if self.never:
            return (
                f"Decisions depend on where the history begins, to the end ({self.differing:.1%} differ): another "
                "first day is another strategy."
            )
        if self.settled > self.first:
            return f"Decisions depend on where the history begins for {self.settled:,} bars, then no more."
        return f"First decision after {self.first:,} bars; it does not matter where the history begins."


def warmup(strategy: Strategy, market: Market, *, whole: Mapping[str, Wanted] | None = None) -> WarmUp:
    """Compare the strategy's targets with those it has when the history begins later."""
    own = {symbol: market[symbol] for symbol in strategy.symbols if symbol in market}
    known = whole if whole is not None else evaluate(strategy, own)
    axis = sessions(own)
    first = max(wanted.first for wanted in known.values())
    settled, never, compared, differing = first, False, 0, 0
    for share in _STARTS:
        begin = int(axis[int(axis.size * share)])
        later = {symbol: part for symbol, bars in own.items() if (part := bars.since(begin)) is not None}
        try:
            again = evaluate(strategy, later)
        except RetainerError:
            continue
        for symbol, bars in later.items():
            count = len(bars)
            one, other = known[symbol].targets[-count:], again[symbol].targets
            rows = np.flatnonzero(~np.isnan(other))
            if rows.size == 0:
                continue
            compared += rows.size
            apart = rows[~(np.abs(one[rows] - other[rows]) <= _NOISE)]
            differing += apart.size
            if apart.size:
                last = int(apart[-1]) + 1
                settled = max(settled, last)
                never = never or last > count * (1 - _TAIL)
    return WarmUp(first=first, settled=settled, never=never, differing=differing / compared if compared else 0.0)
