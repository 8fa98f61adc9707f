"""Sessions of exchanges: market dates, opening and closing instants, half days; daylight saving included."""

from __future__ import annotations

import os
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Ints, new_york
from retainer.trading.units import NS, ns_to_datetime

_HOUR_NS = 3_600 * NS
_DAY_NS = 86_400 * NS
_FIRST_DAY = date(1970, 1, 1).toordinal()
_WEEKS: Final = 30
"""Sessions before and after one that say what is usual."""
_COLUMNS: Final = ("day", "open_ns", "close_ns", "half")
FIRST: Final = date(1990, 1, 1)
"""Sessions before this day are not kept; for some exchanges they begin later."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sessions:
    """The sessions of an exchange between two dates, one row each."""

    exchange: str
    day: Ints
    """Proleptic day number of the session's date (``date.toordinal``)."""
    open_ns: Ints
    close_ns: Ints
    """Instants, nanoseconds UTC."""
    half: NDArray[np.bool_]
    """Whether it closes early."""

    def __len__(self) -> int:
        return int(self.day.size)

    def trading(self, close_times: Ints, days: Ints) -> NDArray[np.bool_]:
        """Which bars belong to a session: they close after its open and not after its close.

        ``close_times`` are sorted. A daily bar stamped with the regular close belongs to its session also on a half
        day: no other bar of its day comes before it.
        """
        row = np.searchsorted(self.day, days)
        found = row < len(self)
        row = np.minimum(row, max(0, len(self) - 1))
        if not len(self):
            return np.zeros(close_times.shape, dtype=np.bool_)
        regular = np.where(self.half, self.close_ns + 12 * _HOUR_NS, self.close_ns)
        late = self.close_ns[row]
        inside = (close_times > self.open_ns[row]) & (close_times <= late)
        alone = np.diff(days, prepend=-1) != 0
        stamped = self.half[row] & alone & (close_times <= regular[row]) & (close_times == _regular_close(days))
        chosen: NDArray[np.bool_] = found & (self.day[row] == days) & (inside | stamped)
        return chosen


def sessions_of(exchange: str, first: date, last: date) -> Sessions:
    """Sessions of ``exchange`` (a code of exchange_calendars, e.g. ``XNYS``) from ``first`` to ``last``.

    Loading a calendar takes seconds, so what it says is kept in the cache folder, one file per exchange and version of
    the package. Raises :class:`InvalidInputError` for an exchange that is not known and for days before its
    first or later than the calendar reaches (about a year from now).
    """
    whole, least = _all(exchange), first_day(exchange)
    reach = date.fromordinal(int(whole.day[-1])) if len(whole) else least
    if first < least or last.toordinal() > reach.toordinal() + 10:
        raise InvalidInputError(f"The calendar {exchange} reaches from {least} to {reach}, not {first} to {last}.")
    part = slice(*np.searchsorted(whole.day, [first.toordinal(), last.toordinal() + 1]))
    return Sessions(
        exchange=exchange,
        day=whole.day[part],
        open_ns=whole.open_ns[part],
        close_ns=whole.close_ns[part],
        half=whole.half[part],
    )


def first_day(exchange: str) -> date:
    """First session of ``exchange`` that is known here."""
    whole = _all(exchange)
    return date.fromordinal(int(whole.day[0])) if len(whole) else FIRST


@lru_cache(maxsize=8)
def _all(exchange: str) -> Sessions:
    path = _path(exchange)
    kept = _read(path, exchange)
    if kept is None:
        kept = _make(exchange)
        _write(path, kept)
    return kept


def _path(exchange: str) -> Path:
    from retainer.trading.samples import data_folder

    name = "".join(c if c.isalnum() else "_" for c in exchange)
    year = datetime.now(UTC).year  # names a file: the package knows a calendar up to a year from now
    return data_folder() / f"calendar-{name}-{version('exchange_calendars')}-{year}.npz"


def _make(exchange: str) -> Sessions:
    import exchange_calendars

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what the package asks of pandas is not ours to mend
        try:
            schedule: Any = exchange_calendars.get_calendar(exchange, start=FIRST.isoformat()).schedule
        except exchange_calendars.errors.InvalidCalendarName as error:
            raise InvalidInputError(
                f"{exchange!r} is no exchange calendar.", hint="Write it like XNYS, XNAS, XLON or 24/7."
            ) from error
        except ValueError:  # the package knows this exchange for a shorter time: by default the last 20 years
            schedule = exchange_calendars.get_calendar(exchange).schedule
    opened, closed = _instants(schedule["open"]), _instants(schedule["close"])
    return Sessions(
        exchange=exchange,
        day=schedule.index.to_numpy(dtype="datetime64[D]").astype(np.int64) + _FIRST_DAY,
        open_ns=opened,
        close_ns=closed,
        half=_shorter(closed - opened),
    )


def _shorter(length: Ints) -> NDArray[np.bool_]:
    """Which sessions are shorter than is usual in the weeks around them; hours change over the decades."""
    if not length.size:
        return np.zeros(0, dtype=np.bool_)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(length, _WEEKS, mode="edge"), 2 * _WEEKS + 1)
    short: NDArray[np.bool_] = length < np.median(around, axis=1)
    return short


def _instants(column: Any) -> Ints:
    """A column of instants as nanoseconds UTC."""
    utc: Ints = column.dt.tz_convert(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
    return utc


def _read(path: Path, exchange: str) -> Sessions | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return Sessions(exchange=exchange, **{name: kept[name] for name in _COLUMNS})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # not there, or damaged: it is made again


def _write(path: Path, made: Sessions) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as draft:
        np.savez(draft, allow_pickle=False, **{name: getattr(made, name) for name in _COLUMNS})
    os.replace(draft.name, path)


def market_days(close_times: Ints) -> Ints:
    """New York date of each instant as a day number (``date.toordinal``); daylight saving by the zone's own rules."""
    if close_times.size == 0:
        return np.zeros(0, dtype=np.int64)
    years = range(ns_to_datetime(int(close_times.min())).year - 1, ns_to_datetime(int(close_times.max())).year + 1)
    starts, offsets = _offsets(years.start, years.stop)
    local = close_times + offsets[np.searchsorted(starts, close_times, side="right") - 1]
    return local // _DAY_NS + _FIRST_DAY


def _regular_close(days: Ints) -> Ints:
    """16:00 New York of each day, nanoseconds UTC."""
    from retainer.trading.bars import close_of

    unique, place = np.unique(days, return_inverse=True)
    stamps = np.array([close_of(date.fromordinal(int(day))) for day in unique], dtype=np.int64)
    return stamps[place] if unique.size else np.zeros(0, dtype=np.int64)


@lru_cache(maxsize=8)
def _offsets(first: int, last: int) -> tuple[Ints, Ints]:
    """Instants at which New York's offset from UTC changes, and the offset from then on, for years in between."""
    zone = new_york()

    def offset(hour: int) -> int:
        delta = datetime.fromtimestamp(hour * 3_600, UTC).astimezone(zone).utcoffset()
        assert delta is not None
        return int(delta.total_seconds()) * NS

    begin = int(datetime(first, 1, 1, tzinfo=UTC).timestamp()) // 3_600
    end = int(datetime(last + 1, 1, 1, tzinfo=UTC).timestamp()) // 3_600
    starts, offsets = [begin], [offset(begin)]
    step = 24 * 14
    for low in range(begin, end, step):
        high = min(low + step, end)
        if offset(low) == offset(high):
            continue
        before, after = low, high
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if offset(middle) == offset(low) else (before, middle)
        starts.append(after)
        offsets.append(offset(after))
    return np.array(starts, dtype=np.int64) * _HOUR_NS, np.array(offsets, dtype=np.int64)
