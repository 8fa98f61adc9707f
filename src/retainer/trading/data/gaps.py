"""Bars against an exchange's calendar: sessions without a bar, bars outside every session. Found, named, not mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retainer.trading.bars import Bars, market_date
from retainer.trading.calendar import sessions_of

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Gaps:
    """What the calendar says of a series."""

    calendar: str
    missing: tuple[str, ...]
    """Sessions (ISO dates) between the first and the last bar that have none."""
    outside: int
    """Bars that lie in no session: before the open, after the close, or on a day without one."""

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
        return tuple(found)


def find_gaps(bars: Bars, interval: str, calendar: str) -> Gaps:
    """Compare ``bars`` with the sessions of ``calendar``. Missing bars stay missing: nothing is filled in.

    Daily bars are compared by date, others by their instant. Raises
    :class:`~retainer.core.errors.InvalidInputError` for an unknown calendar.
    """
    days = [market_date(int(ns)) for ns in bars.close_time]
    sessions = sessions_of(calendar, days[0], days[-1])
    have = np.array(days, dtype="datetime64[D]")
    missing = np.setdiff1d(sessions.day, have)
    if interval == "1d":
        outside = int((~np.isin(have, sessions.day)).sum())
    else:
        outside = int((~sessions.during(bars.close_time)).sum())
    return Gaps(calendar, tuple(str(day) for day in missing), outside)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' if number != 1 else ''}"


def _some(values: Sequence[str]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more
