"""Round trips: fills joined into trades, from nothing held to nothing held, splits in between included."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retainer.trading.actions import SMALLEST_SPLIT, corporate_action
from retainer.trading.bars import Bars, Ints, Market
from retainer.trading.units import to_units

_NOTHING: Final = 1e-9
"""Shares below this are rounding of fractions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One round trip in one symbol. Amounts in dollars; instants in nanoseconds UTC."""

    symbol: str
    side: str
    """``long`` or ``short``."""
    quantity: float
    """Most shares held during the trade, in shares of its last day."""
    entered: int
    entry: float
    """Average price paid (received, when short), per share of the trade's last day: splits divide it."""
    exited: int | None
    """``None`` while the position is still open."""
    exit: float
    """Average price received; the last close while open."""
    profit: float
    """After fees, without dividends; at the last close while open."""
    share: float
    """Profit as a share of what was paid."""
    fees: float
    bars: int
    """Bars held."""
    reason: str
    """What ended it: ``target``, ``stop``, ``profit``, ``trailing``, ``open``."""


@dataclass(slots=True)
class _Open:
    """A trade that is not over."""

    side: int
    entered: int
    row: int
    held: float = 0.0
    most: float = 0.0
    in_value: float = 0.0
    in_shares: float = 0.0
    out_value: float = 0.0
    out_shares: float = 0.0
    fees: float = 0.0

    def split(self, ratio: float, fractional: bool) -> None:
        """Shares become ``ratio`` times as many; earlier prices are those of the new shares."""
        held = self.held * ratio
        self.held = held if fractional else float(math.floor(held + _NOTHING))
        self.most *= ratio
        self.in_shares *= ratio
        self.out_shares *= ratio

    def take(self, side: int, shares: float, price: float, fee: float) -> None:
        """One more fill."""
        self.fees += fee
        if side == self.side:
            self.held += shares
            self.in_shares += shares
            self.in_value += shares * price
        else:
            self.held -= shares
            self.out_shares += shares
            self.out_value += shares * price
        self.most = max(self.most, self.held)

    def ended(self, symbol: str, at: int | None, close: float, bars: int, reason: str) -> Trade:
        """As a trade; what is still held counts at ``close``."""
        left = self.held if at is None else 0.0
        out_value, out_shares = self.out_value + left * close, self.out_shares + left
        profit = self.side * (out_value - self.in_value) - self.fees
        return Trade(
            symbol=symbol,
            side="long" if self.side > 0 else "short",
            quantity=self.most,
            entered=self.entered,
            entry=self.in_value / self.in_shares,
            exited=at,
            exit=out_value / out_shares if out_shares else close,
            profit=profit,
            share=profit / self.in_value,
            fees=self.fees,
            bars=bars,
            reason=reason,
        )


def trades_of(
    fills: NDArray[Any],
    symbols: Sequence[str],
    market: Market,
    at: Ints,
    reasons: Mapping[int, str],
    *,
    fractional: bool = False,
) -> tuple[Trade, ...]:
    """Trades of a run's ``fills`` (the engine's dtype), oldest entry first.

    ``symbols``: what the fills' column ``symbol`` counts; ``at``: close times of the run; ``reasons``: what the fills'
    ``kind`` means; ``fractional``: whether a split may leave parts of a share.
    """
    found: list[Trade] = []
    for index, symbol in enumerate(symbols):
        own = fills[fills["symbol"] == index]
        if own.size:
            found.extend(_of_symbol(symbol, own, market[symbol], at, reasons, fractional))
    return tuple(sorted(found, key=lambda trade: (trade.entered, trade.symbol)))


def _of_symbol(
    symbol: str, fills: NDArray[Any], bars: Bars, at: Ints, reasons: Mapping[int, str], fractional: bool
) -> list[Trade]:
    found: list[Trade] = []
    splits = split_rows(bars)
    current: _Open | None = None
    last = 0
    columns = (fills[name].tolist() for name in ("at", "side", "quantity", "price", "fee", "kind"))
    for when, side, shares, price, fee, kind in zip(*columns, strict=True):
        row = int(np.searchsorted(at, when))
        if current is not None:
            _split_between(current, splits, last, when, fractional)
        last = when
        current = current or _Open(side, when, row)
        current.take(side, shares, price, fee)
        if current.held <= _NOTHING * max(1.0, current.most):
            found.append(current.ended(symbol, when, price, row - current.row, reasons.get(kind, "target")))
            current = None
    if current is not None:
        end = int(at[-1])
        _split_between(current, splits, last, end, fractional)
        row = int(np.searchsorted(bars.close_time, end, side="right")) - 1
        found.append(current.ended(symbol, None, float(bars.close[row]), at.size - 1 - current.row, "open"))
    return found


def _split_between(
    current: _Open, splits: Sequence[tuple[int, float]], after: int, until: int, fractional: bool
) -> None:
    for when, ratio in splits:
        if after < when <= until:
            current.split(ratio, fractional)


def split_rows(bars: Bars) -> list[tuple[int, float]]:
    """Close time of the first bar after each split, and new shares for one old share."""
    if not len(bars) or bars.factor[0] == bars.factor[-1]:
        return []
    jumps = np.abs(bars.factor[1:] / bars.factor[:-1] - 1.0) >= SMALLEST_SPLIT
    found = []
    for row in np.flatnonzero(jumps) + 1:
        action = corporate_action(
            to_units(float(bars.close[row - 1])), float(bars.factor[row - 1]), float(bars.factor[row])
        )
        if action is not None and action.is_split:
            found.append((int(bars.close_time[row]), action.new / action.old))
    return found
