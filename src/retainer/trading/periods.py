"""Periods of time as people name them, on the account's own clock."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta

from retainer.core.errors import InvalidInputError

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_MONTHS |= {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_ALL = {"all", "ever", "overall", "so far", "all time", "since the start", "since the beginning", "in total", "total"}
_WORDS = {"so far", "for", "in", "over", "during", "the"}


@dataclass(frozen=True, slots=True)
class Period:
    """Market dates from ``start`` to ``end``, both included. ``name`` is how people call it: ``this month``."""

    name: str
    start: date
    end: date


def parse_period(text: str, today: date, opened: date) -> Period:
    """The period that ``text`` names, seen from ``today``: the date of the account's clock.

    Known: today, yesterday, this/last week, month, quarter, year, ``last 30 days``, a year (``2012``), a month
    (``March``, ``March 2012``, ``2012-03``), a date (``2012-03-01``), all. Empty means all. An account's history
    begins on ``opened``; nothing before it is ever in a period's figures. Raises :class:`InvalidInputError`.
    """
    words = " ".join(text.lower().replace("?", " ").split()) or "all"
    if words in _ALL:
        return Period("since the start", opened, today)
    words = " ".join(word for word in words.removesuffix(" so far").split() if word not in _WORDS)
    for found in (_relative(words, today), _dated(words, today), _last_days(words, today)):
        if found is not None:
            return found
    raise InvalidInputError(
        f"I do not know the period '{text[:40]}'.", hint="Try: today, this month, last week, March 2012, all."
    )


def _relative(words: str, today: date) -> Period | None:
    if words == "today":
        return Period("today", today, today)
    if words == "yesterday":
        return Period("yesterday", today - timedelta(days=1), today - timedelta(days=1))
    which, _, unit = words.partition(" ")
    if which in {"current"}:
        which = "this"
    if which in {"previous"}:
        which = "last"
    if which not in {"this", "last"} or unit not in _UNITS:
        return None
    start = _UNITS[unit](today)
    if which == "this":
        return Period(words, start, today)
    end = start - timedelta(days=1)
    return Period(words, _UNITS[unit](end), end)


def _week(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _month(day: date) -> date:
    return day.replace(day=1)


def _quarter(day: date) -> date:
    return day.replace(month=3 * ((day.month - 1) // 3) + 1, day=1)


def _year(day: date) -> date:
    return day.replace(month=1, day=1)


_UNITS = {"week": _week, "month": _month, "quarter": _quarter, "year": _year}


def _dated(words: str, today: date) -> Period | None:
    if match := re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", words):
        exact = _date(int(match[1]), int(match[2]), int(match[3]))
        return Period(words, exact, exact)
    if match := re.fullmatch(r"(\d{4})-(\d{2})", words):
        return _whole_month(int(match[1]), int(match[2]), words)
    if re.fullmatch(r"(19|20)\d{2}", words):
        return Period(words, date(int(words), 1, 1), date(int(words), 12, 31))
    name, _, year = words.partition(" ")
    month = _MONTHS.get(name)
    if month is None or (year and not re.fullmatch(r"(19|20)\d{2}", year)):
        return None
    when = int(year) if year else today.year - (1 if month > today.month else 0)
    return _whole_month(when, month, f"{calendar.month_name[month]} {when}")


def _whole_month(year: int, month: int, name: str) -> Period:
    first = _date(year, month, 1)
    return Period(name, first, first.replace(day=calendar.monthrange(year, month)[1]))


def _date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError as error:
        raise InvalidInputError(f"{year}-{month:02}-{day:02} is not a date.") from error


def _last_days(words: str, today: date) -> Period | None:
    match = re.fullmatch(r"(?:last|past) (\d{1,4}) days?", words)
    if match is None:
        return None
    if int(match[1]) == 0:
        raise InvalidInputError("A period of 0 days holds nothing.")
    return Period(f"the last {int(match[1])} days", today - timedelta(days=int(match[1]) - 1), today)
