"""Bars: what the market did, one row per session, stamped by the close. Missing sessions stay missing.

:class:`Bars` is one symbol's history as arrays for indicators; :class:`Bar` is one row in whole numbers for the
kernels and for events. Prices are raw (as traded); ``factor`` turns them into adjusted ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.trading.units import (
    MAX_PRICE,
    MAX_VOLUME,
    NS,
    PRICE_SCALE,
    datetime_to_ns,
    ns_to_datetime,
    to_units,
    units_to_decimal,
)

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRICE_FIELDS = ("open", "high", "low", "close")
US_CLOSE = time(16, 0)
"""Regular close of the US exchanges, New York time; half days keep this stamp (only their order matters here)."""
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./-]{0,14}")
_BODY_FIELDS = frozenset({*PRICE_FIELDS, "volume", "factor"})


@lru_cache(maxsize=1)
def new_york() -> ZoneInfo:
    """The zone of the US exchanges."""
    return ZoneInfo("America/New_York")


def close_of(day: date) -> int:
    """The US close of ``day`` as nanoseconds UTC; daylight saving included."""
    return datetime_to_ns(datetime.combine(day, US_CLOSE, new_york()))


@lru_cache(maxsize=8192)
def market_date(ns: int) -> date:
    """The New York date on which a bar closed."""
    return ns_to_datetime(ns).astimezone(new_york()).date()


def check_symbol(symbol: str) -> str:
    """``symbol`` itself. Raises :class:`InvalidInputError` when it is no ticker."""
    if not _SYMBOL.fullmatch(symbol):
        raise InvalidInputError(f"{symbol[:24]!r} is not a ticker symbol.", hint="Write it like AAPL.")
    return symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar in whole numbers: prices in 1/10,000 dollar, ``close_time`` in nanoseconds UTC."""

    symbol: str
    close_time: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    factor: float = 1.0
    """Adjusted price = raw price * factor. Only ratios between bars of one series mean anything."""

    def __post_init__(self) -> None:
        where = f"bar of {self.symbol} closing {ns_to_datetime(self.close_time).isoformat()}"
        if not 0 < self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise InvalidInputError(
                f"{where}: open {self.open}, high {self.high}, low {self.low}, close {self.close} "
                f"(1/{PRICE_SCALE} dollar) do not fit together.",
                hint="Prices must be positive, low the least and high the greatest.",
            )
        if self.high > MAX_PRICE * PRICE_SCALE:
            raise InvalidInputError(f"{where}: high {self.high} (1/{PRICE_SCALE} dollar) is more than any share costs.")
        if not 0 <= self.volume <= MAX_VOLUME or not 0 < self.factor < float("inf"):
            raise InvalidInputError(f"{where}: volume {self.volume} or factor {self.factor} is out of range.")

    def to_body(self) -> dict[str, str | int]:
        """The bar as JSON of a ``bar`` event; :meth:`from_body` gives back an equal bar."""
        prices: dict[str, str | int] = {name: str(units_to_decimal(getattr(self, name))) for name in PRICE_FIELDS}
        return {**prices, "volume": self.volume, "factor": repr(self.factor)}

    @staticmethod
    def from_body(symbol: str, close_time: int, body: Mapping[str, Any]) -> Bar:
        """Inverse of :meth:`to_body`. Raises :class:`InvalidInputError` naming the field that does not fit."""
        if unknown := sorted(set(body) - _BODY_FIELDS):
            raise InvalidInputError(f"bar of {symbol} has unknown fields: {', '.join(unknown)}.")
        if missing := sorted(set(PRICE_FIELDS) - set(body)):
            raise InvalidInputError(f"bar of {symbol} lacks {', '.join(missing)}.")
        prices = {name: to_units(body[name], f"{name} of {symbol}") for name in PRICE_FIELDS}
        try:
            volume, factor = int(body.get("volume", 0)), float(body.get("factor", 1.0))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"bar of {symbol}: volume or factor is not a number ({error}).") from error
        return Bar(symbol=check_symbol(symbol), close_time=close_time, volume=volume, factor=factor, **prices)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bars:
    """One symbol's history. Arrays of one length, read-only, sorted by close; checked when made.

    Raises :class:`InvalidInputError` naming row and field for NaN, infinite, zero or negative prices, a high below or a
    low above the others, unsorted or repeated times, negative volume and unequal lengths.
    """

    symbol: str
    close_time: Ints
    """Nanoseconds since 1970, UTC."""
    open: Floats
    """Dollars, raw, as are ``high``, ``low`` and ``close``."""
    high: Floats
    low: Floats
    close: Floats
    volume: Ints
    factor: Floats

    def __post_init__(self) -> None:
        check_symbol(self.symbol)
        for name in ("close_time", "volume"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.int64, self.symbol, name))
        for name in (*PRICE_FIELDS, "factor"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.float64, self.symbol, name))
        _check(self)

    def __len__(self) -> int:
        return int(self.close_time.size)

    def adjusted(self) -> Floats:
        """Close times factor: comparable across splits and dividends."""
        return self.close * self.factor

    def upto(self, count: int) -> Bars:
        """The first ``count`` bars (at least one)."""
        return self._slice(slice(0, count))

    def until(self, close_time: int) -> Bars | None:
        """Bars that closed at or before ``close_time`` (ns); ``None`` if there is none."""
        count = int(np.searchsorted(self.close_time, close_time, side="right"))
        return self.upto(count) if count else None

    def since(self, close_time: int) -> Bars | None:
        """Bars that closed at or after ``close_time`` (ns); ``None`` if there is none."""
        first = int(np.searchsorted(self.close_time, close_time, side="left"))
        return self._slice(slice(first, None)) if first < len(self) else None

    def index_of(self, close_time: int) -> int | None:
        """Row that closed exactly at ``close_time``; ``None`` when the bar is missing."""
        at = int(np.searchsorted(self.close_time, close_time, side="left"))
        return at if at < len(self) and int(self.close_time[at]) == close_time else None

    def bar(self, index: int) -> Bar:
        """Row ``index`` in whole numbers; sub-unit digits are rounded to 1/10,000 dollar, ties to even."""
        return Bar(
            symbol=self.symbol,
            close_time=int(self.close_time[index]),
            open=to_units(float(self.open[index])),
            high=to_units(float(self.high[index])),
            low=to_units(float(self.low[index])),
            close=to_units(float(self.close[index])),
            volume=int(self.volume[index]),
            factor=float(self.factor[index]),
        )

    def closed_at(self, index: int) -> datetime:
        """Close of row ``index``, aware UTC."""
        return ns_to_datetime(int(self.close_time[index])).astimezone(UTC)

    @staticmethod
    def from_bars(bars: Sequence[Bar]) -> Bars:
        """Bars of one symbol, oldest first, as arrays. Prices are exact: each is the nearest double of its decimal."""
        if not bars:
            raise InvalidInputError("There are no bars.", hint="Pass at least one.")
        if len({bar.symbol for bar in bars}) != 1:
            raise InvalidInputError("Bars of several symbols cannot make one series.", hint="Group them by symbol.")
        prices = {name: np.array([getattr(b, name) / PRICE_SCALE for b in bars]) for name in PRICE_FIELDS}
        return Bars(
            symbol=bars[0].symbol,
            close_time=np.array([b.close_time for b in bars], dtype=np.int64),
            volume=np.array([b.volume for b in bars], dtype=np.int64),
            factor=np.array([b.factor for b in bars]),
            **prices,
        )

    def _slice(self, part: slice) -> Bars:
        """Rows that were checked as a whole need no second check: views, no copies."""
        if not range(*part.indices(len(self))):
            raise InvalidInputError(f"{self.symbol}: there are no bars.", hint="Pass at least one row.")
        found = object.__new__(Bars)
        object.__setattr__(found, "symbol", self.symbol)
        for name in ("close_time", "volume", *PRICE_FIELDS, "factor"):
            object.__setattr__(found, name, getattr(self, name)[part])
        return found


Market = Mapping[str, Bars]
"""Several symbols' histories."""


def from_frame(frame: pd.DataFrame, symbol: str | None = None) -> dict[str, Bars]:
    """A pandas frame as bars, by symbol. See :func:`retainer.trading.frames.read_frame`."""
    from retainer.trading.frames import read_frame

    return read_frame(frame, symbol)


def sessions(market: Market) -> Ints:
    """All close times of all symbols, sorted, each once."""
    times = [bars.close_time for bars in market.values()]
    if len(times) == 1:
        return times[0]
    return np.unique(np.concatenate(times)) if times else np.array([], dtype=np.int64)


def bars_at(market: Market, close_time: int) -> dict[str, Bar]:
    """The bar set closing at ``close_time``: symbols whose bar is missing are not in it."""
    rows = {symbol: bars.index_of(close_time) for symbol, bars in market.items()}
    return {symbol: market[symbol].bar(row) for symbol, row in sorted(rows.items()) if row is not None}


def _frozen(values: Any, kind: type[Any], symbol: str, name: str) -> NDArray[Any]:
    array = np.ascontiguousarray(values, dtype=kind)
    if array.ndim != 1:
        raise InvalidInputError(f"{symbol}: {name} has {array.ndim} dimensions; a plain list of numbers is wanted.")
    if array.flags.writeable:
        array = array.copy() if array is values else array
        array.setflags(write=False)
    return array


def _check(bars: Bars) -> None:
    count = len(bars)
    if count == 0:
        raise InvalidInputError(f"{bars.symbol}: there are no bars.", hint="Pass at least one row.")
    for name in ("volume", *PRICE_FIELDS, "factor"):
        if getattr(bars, name).size != count:
            raise InvalidInputError(
                f"{bars.symbol}: {name} has {getattr(bars, name).size} rows, close_time has {count}."
            )
    for name in (*PRICE_FIELDS, "factor"):
        values = getattr(bars, name)
        _first_bad(bars, ~np.isfinite(values), name, "is not a finite number")
        _first_bad(bars, values * PRICE_SCALE <= 0.5 if name != "factor" else values <= 0, name, "is not above zero")
    others = np.stack([bars.open, bars.close])
    _first_bad(bars, bars.high < np.maximum(others.max(axis=0), bars.low), "high", "is below another price of its row")
    _first_bad(bars, bars.low > others.min(axis=0), "low", "is above another price of its row")
    _first_bad(bars, bars.high > MAX_PRICE, "high", "is more than any share costs")
    _first_bad(bars, bars.volume < 0, "volume", "is negative")
    _first_bad(bars, bars.volume > MAX_VOLUME, "volume", "is more than was ever traded")
    steps = np.diff(bars.close_time)
    _first_bad(bars, np.r_[False, steps == 0], "close_time", "appears twice")
    _first_bad(bars, np.r_[False, steps < 0], "close_time", "is earlier than the row before it")


def _first_bad(bars: Bars, bad: NDArray[np.bool_], name: str, what: str) -> None:
    if not bad.any():
        return
    row = int(np.argmax(bad))
    value = getattr(bars, name)[row]
    shown = ns_to_datetime(int(value)).isoformat() if name == "close_time" else str(value)
    raise InvalidInputError(
        f"{bars.symbol}, row {row} ({np.datetime64(int(bars.close_time[row]) // NS, 's')}): {name} {shown} {what}.",
        hint="Repair or drop that row; a guessed bar would be traded on.",
    )
