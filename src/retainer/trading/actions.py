"""Splits and dividends, read from jumps of the adjustment factor between two bars of one symbol."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final

from retainer.trading.bars import Bars, market_date
from retainer.trading.units import UNITS_PER_CENT, to_units

NOISE: Final = 2e-4
"""Relative change of the factor below which it is taken for rounding (smallest dividend in the samples: 1.1e-3)."""
SMALLEST_SPLIT: Final = 0.09
"""Ratios nearer to one than this are dividends: exchanges have no split smaller than 11 for 10."""
_LARGEST_TERM: Final = 20
_EXACT: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Action:
    """A split (``new`` shares for ``old``) or a cash ``dividend`` in cents per share; never both."""

    new: int = 1
    old: int = 1
    dividend: int = 0

    @property
    def is_split(self) -> bool:
        """Whether the number of shares changes."""
        return self.new != self.old


@dataclass(frozen=True, slots=True)
class DatedAction:
    """An action with its first date without the right (ex-date)."""

    symbol: str
    day: date
    action: Action


def corporate_action(previous_close: int, previous_factor: float, factor: float) -> Action | None:
    """What happened between two bars. ``previous_close`` in price units; the dividend is rounded to the cent.

    Raw prices times factor are continuous over an action, so the ratio of the factors is the split's ratio, or
    close / (close - dividend). A ratio is a split when it is a fraction of numbers up to 20 to within 1e-6. The
    dividend is what the publisher's factor implies: it can be a few cents off the declared one. A factor that falls
    without being a (reverse) split is a restatement, not an action.
    """
    ratio = factor / previous_factor
    if abs(ratio - 1) <= NOISE:
        return None
    if abs(ratio - 1) >= SMALLEST_SPLIT:
        fraction = (
            Fraction(ratio).limit_denominator(_LARGEST_TERM)
            if ratio > 1
            else 1 / Fraction(1 / ratio).limit_denominator(_LARGEST_TERM)
        )
        if abs(float(fraction) / ratio - 1) <= _EXACT:
            return Action(new=fraction.numerator, old=fraction.denominator)
    dividend = round(previous_close * (1 - 1 / ratio) / UNITS_PER_CENT)
    return Action(dividend=dividend) if dividend > 0 else None


def actions(bars: Bars) -> list[DatedAction]:
    """All actions in a history, oldest first."""
    found = []
    for row in range(1, len(bars)):
        before, after = float(bars.factor[row - 1]), float(bars.factor[row])
        if before == after:
            continue
        action = corporate_action(to_units(float(bars.close[row - 1])), before, after)
        if action is not None:
            found.append(DatedAction(bars.symbol, market_date(int(bars.close_time[row])), action))
    return found
