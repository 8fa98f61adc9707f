"""Bars against an exchange's calendar: sessions without a bar, bars outside every session. Found, named, not mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from retainer.trading.bars import Bars
from retainer.trading.calendar import first_day, market_days, sessions_of

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Gaps:
    """What the calendar says of a series."""

    calendar: str
    missing: tuple[str, ...]
    """Sessions (ISO dates) between the first and the last bar that have none."""
    outside: int
    """Bars that lie in no session: before the open, after the close, or on a day without one."""
    unknown: int = 0
    """Bars before the calendar's first day, which were not compared."""
    known_from: date = date.min
    """The calendar's first session."""

    @property
    def words(self) -> tuple[str, ...]:
        """Sentences; empty when everything is there."""
        found = []
        if self.missing:
            found.append(
                f"{_count(len(self.missing), 'session')} of {self.calendar} without a bar: {_some(self.missing)}"
            )
        if self.outside:
            found.append(f"{_count(self.outside, 'bar')} outside the sessions of {self.calendar}")
        if self.unknown:
            found.append(f"{_count(self.unknown, 'bar')} before {self.known_from}, where {self.calendar} begins here")
        return tuple(found)


def find_gaps(bars: Bars, interval: str, calendar: str) -> Gaps:
    """Compare ``bars`` with the sessions of ``calendar``. Missing bars stay missing: nothing is filled in.

    Daily bars are compared by date, others by their instant. Raises
    :class:`~retainer.core.errors.InvalidInputError` for an unknown calendar.
    """
    days = market_days(bars.close_time)
    known_from = first_day(calendar)
    unknown = int(np.searchsorted(days, known_from.toordinal()))
    if unknown == days.size:
        return Gaps(calendar, (), 0, unknown, known_from)
    times, days = bars.close_time[unknown:], days[unknown:]
    sessions = sessions_of(calendar, date.fromordinal(int(days[0])), date.fromordinal(int(days[-1])))
    missing = np.setdiff1d(sessions.day, days)
    inside = np.isin(days, sessions.day) if interval == "1d" else sessions.trading(times, days)
    names = tuple(date.fromordinal(int(day)).isoformat() for day in missing)
    return Gaps(calendar, names, int((~inside).sum()), unknown, known_from)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' if number != 1 else ''}"


def _some(values: Sequence[str]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more
