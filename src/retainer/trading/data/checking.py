"""Checks of bars before they become :class:`~retainer.trading.bars.Bars`: every bad row is named, none is mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import PRICE_FIELDS, Floats, Ints
from retainer.trading.units import MAX_PRICE, MAX_VOLUME, NS, PRICE_SCALE

SHOWN: Final = 5
"""Bad rows named in an error; the rest is counted."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """One value that cannot be right."""

    row: int
    """Counted from 0 in the source, without its header."""
    field: str
    value: str
    what: str
    """What is wrong with it."""

    def __str__(self) -> str:
        return f"row {self.row}: {self.field} {self.value} {self.what}"


class BadRowsError(InvalidInputError):
    """The data was refused. ``rows`` has every bad row, the message the first few."""

    def __init__(self, symbol: str, rows: Sequence[BadRow], total: int) -> None:
        self.rows = tuple(rows)
        shown = "; ".join(str(row) for row in rows[:SHOWN])
        more = f"; and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        plural = "s do" if len(rows) != 1 else " does"
        super().__init__(
            f"{symbol}: {len(rows)} value{plural} not fit in {total:,} rows. {shown}{more}.",
            hint="Repair or drop those rows in the source; nothing was taken over.",
        )


def find_bad_rows(
    close_time: Ints, prices: Mapping[str, Floats], volume: Floats, factor: Floats, *, row: Ints | None = None
) -> list[BadRow]:
    """Every value that cannot be right, in row order.

    ``close_time``: nanoseconds UTC; prices in dollars by field; ``row`` gives the source's row numbers when rows were
    picked from a larger table. Checked: finite, above zero (rounded to 1/10,000 dollar), high and low around the
    others and below a billion, volume not negative and below 2**53, times rising and each once.
    """
    numbers = np.arange(close_time.size, dtype=np.int64) if row is None else row
    found: list[BadRow] = []

    def note(bad: NDArray[np.bool_], field: str, values: NDArray[np.generic], what: str) -> None:
        found.extend(BadRow(int(numbers[i]), field, str(values[i]), what) for i in np.flatnonzero(bad))

    sound = np.ones(close_time.size, dtype=np.bool_)
    for name in (*PRICE_FIELDS, "factor"):
        values = factor if name == "factor" else prices[name]
        finite = np.isfinite(values)
        positive = values > 0 if name == "factor" else values * PRICE_SCALE > 0.5
        note(~finite, name, values, "is not a finite number")
        note(finite & ~positive, name, values, "is not above zero")
        sound &= finite & positive
    low, high = prices["low"], prices["high"]
    note(np.isfinite(high) & (high > MAX_PRICE), "high", high, "is more than any share costs")
    note(sound & (high < np.maximum(np.maximum(prices["open"], prices["close"]), low)), "high", high, _TOO_LOW)
    note(sound & (low > np.minimum(prices["open"], prices["close"])), "low", low, "is above another price of its row")
    note(~np.isfinite(volume), "volume", volume, "is not a finite number")
    note(np.isfinite(volume) & (volume < 0), "volume", volume, "is negative")
    note(np.isfinite(volume) & (volume > MAX_VOLUME), "volume", volume, "is more than was ever traded")
    times = close_time.astype("datetime64[ns]").astype("datetime64[s]") if close_time.size else close_time
    steps = np.diff(close_time)
    note(np.r_[False, steps == 0][: close_time.size], "time", times, "appears twice")
    note(np.r_[False, steps < 0][: close_time.size], "time", times, "is earlier than the row before it")
    return sorted(found, key=lambda bad: bad.row)


_TOO_LOW: Final = "is below another price of its row"

_NAMED: Final = {60: "1min", 300: "5min", 900: "15min", 1_800: "30min", 3_600: "1h", 14_400: "4h"}
_SECONDS: Final = {name: seconds for seconds, name in _NAMED.items()}


def infer_interval(close_time: Ints) -> str:
    """The usual distance of two bars: ``1min``, ``5min``, ..., ``1d``. One bar alone counts as a day's.

    Raises :class:`InvalidInputError` when it is none of those.
    """
    if close_time.size < 2:
        return "1d"
    steps, counts = np.unique(np.diff(close_time) // NS, return_counts=True)
    usual = int(steps[np.argmax(counts)])
    if usual >= 79_200:
        return "1d"
    if usual not in _NAMED:
        raise InvalidInputError(
            f"The bars are usually {usual} seconds apart, which is no interval known here.",
            hint=f"Known: {', '.join(_NAMED.values())}, 1d.",
        )
    return _NAMED[usual]


def interval_ns(interval: str) -> int:
    """Length of an intraday interval in nanoseconds. Raises :class:`InvalidInputError` for another word."""
    if interval not in _SECONDS:
        raise InvalidInputError(
            f"{interval!r} is not an interval of the day.", hint=f"One of {', '.join(_SECONDS)} (or 1d for days)."
        )
    return _SECONDS[interval] * NS


def check_interval(interval: str) -> str:
    """``interval`` itself when it is known. Raises :class:`InvalidInputError` otherwise."""
    if interval != "1d":
        interval_ns(interval)
    return interval
