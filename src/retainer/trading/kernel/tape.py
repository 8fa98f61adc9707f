"""Markets as the kernels read them: bars of several symbols on one time line, in the numbers of the rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.trading.actions import NOISE, corporate_action
from retainer.trading.bars import Bars, Floats, Ints, Market, sessions
from retainer.trading.calendar import market_days, sessions_of
from retainer.trading.kernel import layout as at
from retainer.trading.units import PRICE_SCALE, to_units

_NEAR_TIE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A market ready to be traded on, many times if need be."""

    symbols: tuple[str, ...]
    """Sorted."""
    at: Ints
    """Close time per row, nanoseconds UTC."""
    rows: tuple[Ints, ...]
    """Per symbol: the row of each of its bars in the span."""
    first: tuple[int, ...]
    """Per symbol: its first bar in the span."""
    exact: bool
    cells: Floats
    """The closes of all cells (symbols within rows), then open, high, low and volume of each."""
    days: Ints
    """Close time, day number and whether the exchange trades of every row, one column after the other."""
    actions: Floats
    action_cells: Ints

    @property
    def count(self) -> int:
        """Rows."""
        return int(self.at.size)


def prepare_tape(
    market: Market,
    *,
    exact: bool = False,
    calendar: str | None = None,
    start: int | None = None,
    end: int | None = None,
) -> Prepared:
    """Align the bars of ``market`` from ``start`` to ``end`` (ns, both included).

    Raises :class:`InvalidInputError` when there is no bar in that span.
    """
    symbols = tuple(sorted(market))
    times = next(iter(market.values())).close_time if len(market) == 1 else sessions(market)
    if start is not None:
        times = times[np.searchsorted(times, start, side="left") :]
    if end is not None:
        times = times[: np.searchsorted(times, end, side="right")]
    if not times.size:
        raise InvalidInputError("There is no bar in that span.", hint="Widen start and end.")
    width = len(symbols)
    closes, rest = np.zeros((times.size, width)), np.zeros((times.size, width, at.BAR_COLUMNS))
    rows, firsts, actions = [], [], []
    for s, symbol in enumerate(symbols):
        bars = market[symbol]
        low = int(np.searchsorted(bars.close_time, times[0], side="left"))
        high = int(np.searchsorted(bars.close_time, times[-1], side="right"))
        own: Ints = np.arange(high - low) if width == 1 else np.searchsorted(times, bars.close_time[low:high])
        there = slice(None) if own.size == times.size else own
        closes[there, s] = bars.close[low:high] if exact else as_units(bars.close[low:high])
        for column, values in enumerate((bars.open, bars.high, bars.low)):
            rest[there, s, column] = values[low:high] if exact else as_units(values[low:high])
        rest[there, s, 3] = bars.volume[low:high]
        actions += [(int(own[row - low]) * width + s, *what) for row, what in _actions(bars, low, high, exact=exact)]
        rows.append(own)
        firsts.append(low)
    actions.sort()
    days = market_days(times)
    trading = np.ones(times.size, dtype=np.int64)
    if calendar is not None:
        known = sessions_of(calendar, date.fromordinal(int(days[0])), date.fromordinal(int(days[-1])))
        trading = known.trading(times, days).astype(np.int64)
    return Prepared(
        symbols=symbols,
        at=times,
        rows=tuple(rows),
        first=tuple(firsts),
        exact=exact,
        cells=np.concatenate([closes.ravel(), rest.ravel()]),
        days=np.concatenate([times, days, trading]),
        actions=np.array([what for _, *what in actions], dtype=np.float64).ravel(),
        action_cells=np.array([cell for cell, *_ in actions], dtype=np.int64),
    )


def as_units(dollars: Floats) -> Floats:
    """Prices as whole 1/10,000 dollars, ties to even of the decimal that is meant: what ``Bars.bar`` gives."""
    scaled = dollars * PRICE_SCALE
    whole = np.rint(scaled)
    doubtful = np.flatnonzero(np.abs(np.abs(scaled - whole) - 0.5) < _NEAR_TIE * np.maximum(1.0, scaled * 1e-9))
    for row in doubtful:
        whole[row] = to_units(float(dollars[row]))
    return whole


def _actions(bars: Bars, low: int, high: int, *, exact: bool) -> list[tuple[int, tuple[float, float, float]]]:
    """Rows at whose open a split or a dividend has happened, and (new, old, money per share)."""
    found: list[tuple[int, tuple[float, float, float]]] = []
    factor = bars.factor[low:high]
    for step in np.flatnonzero(np.abs(factor[1:] / factor[:-1] - 1.0) > NOISE / 2):
        row = low + int(step) + 1
        before, after = float(bars.factor[row - 1]), float(bars.factor[row])
        action = corporate_action(to_units(float(bars.close[row - 1])), before, after)
        if action is None:
            continue
        dividend = float(action.dividend)
        if exact and dividend > 0:
            dividend = float(bars.close[row - 1]) * (1.0 - before / after)
        found.append((row, (float(action.new), float(action.old), dividend)))
    return found


def as_lists(*vectors: Any) -> tuple[list[Any], ...]:
    """Arrays as lists, for the plain twin."""
    return tuple(vector.tolist() for vector in vectors)
