"""Sessions of exchanges: which days they are open, from when to when, and which of them are half days.

The rules are exchange_calendars'. Loading it takes seconds, so what it says is kept in the cache folder, one file per
calendar and version of the package.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Ints

FIRST: Final = date(1990, 1, 1)
_REFUSED: Final = "Known are for example XNYS (New York), XLON, XETR, 24/7."


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Sessions of one exchange, oldest first; arrays of one length."""

    calendar: str
    day: NDArray[np.datetime64]
    """Dates (``datetime64[D]``) in the exchange's own zone."""
    open_ns: Ints
    """Nanoseconds UTC; daylight saving included."""
    close_ns: Ints
    half: NDArray[np.bool_]
    """Whether the session closes early."""

    def __len__(self) -> int:
        return int(self.day.size)

    def during(self, close_time: Ints) -> NDArray[np.bool_]:
        """Whether bars that closed at these instants lie within a session (its open excluded, its close included)."""
        if not len(self):
            return np.zeros(close_time.size, dtype=np.bool_)
        row = np.searchsorted(self.close_ns, close_time, side="left")
        there = row < len(self)
        inside: NDArray[np.bool_] = there & (close_time > self.open_ns[np.minimum(row, len(self) - 1)])
        return inside


def sessions_of(calendar: str, first: date, last: date) -> Sessions:
    """The sessions of ``calendar`` from ``first`` to ``last``, both included.

    Raises :class:`InvalidInputError` for a calendar that does not exist and for days it does not reach.
    """
    whole = _all(calendar)
    days = whole.day
    if first < FIRST or not len(whole) or np.datetime64(last, "D") > days[-1] + np.timedelta64(10, "D"):
        reach = f"{FIRST.isoformat()} to {days[-1]}" if len(whole) else "nothing"
        raise InvalidInputError(f"The calendar {calendar} reaches from {reach}, not {first} to {last}.")
    low = int(np.searchsorted(days, np.datetime64(first, "D"), side="left"))
    high = int(np.searchsorted(days, np.datetime64(last, "D"), side="right"))
    part = slice(low, high)
    return Sessions(calendar, days[part], whole.open_ns[part], whole.close_ns[part], whole.half[part])


@lru_cache(maxsize=8)
def _all(calendar: str) -> Sessions:
    kept = _read(_path(calendar), calendar)
    if kept is not None:
        return kept
    made = _make(calendar)
    _write(_path(calendar), made)
    return made


def _path(calendar: str) -> Path:
    from retainer.trading.samples import data_folder

    name = "".join(c if c.isalnum() else "_" for c in calendar)
    return data_folder() / f"sessions-{name}-{version('exchange_calendars')}-{date.today().year}.npz"  # noqa: DTZ011 names a cache file


def _make(calendar: str) -> Sessions:
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    try:
        found = exchange_calendars.get_calendar(calendar, start=FIRST.isoformat())
    except InvalidCalendarName as error:
        raise InvalidInputError(f"There is no exchange calendar {calendar!r}.", hint=_REFUSED) from error
    table = found.schedule
    opened = table["open"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[ns]")
    closed = table["close"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[ns]")
    days = table.index.to_numpy().astype("datetime64[D]")
    early = {np.datetime64(day, "D") for day in found.early_closes.to_numpy()}
    return Sessions(
        calendar,
        days,
        opened.astype(np.int64),
        closed.astype(np.int64),
        np.array([day in early for day in days], dtype=np.bool_),
    )


def _read(path: Path, calendar: str) -> Sessions | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return Sessions(
                calendar, kept["day"].astype("datetime64[D]"), kept["open_ns"], kept["close_ns"], kept["half"]
            )
    except (OSError, ValueError, KeyError, EOFError):
        return None  # not there, or damaged: it is made again


def _write(path: Path, made: Sessions) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as draft:
        np.savez(draft, day=made.day.astype(np.int64), open_ns=made.open_ns, close_ns=made.close_ns, half=made.half)
    os.replace(draft.name, path)
