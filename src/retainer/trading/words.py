"""Money, dates and shares in words short enough for a phone. Money always to the cent, dates always with their year."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

MARKET_ZONE = ZoneInfo("America/New_York")
"""Dates of US daily bars are dates there: a bar that closes at 21:00 UTC belongs to the same New York day."""

CENT = Decimal("0.01")


def money(amount: Decimal, *, sign: bool = False) -> str:
    """``$1,234.50``; negative ``-$1,234.50``; with ``sign`` a gain is ``+$1,234.50``."""
    rounded = amount.quantize(CENT, ROUND_HALF_EVEN)
    mark = "-" if rounded < 0 else "+" if sign and rounded > 0 else ""
    return f"{mark}${abs(rounded):,.2f}"


def percent(share: Decimal, *, sign: bool = True, places: int = 2) -> str:
    """``+1.25 %`` for ``Decimal("0.0125")``."""
    return f"{share * 100:{'+' if sign else ''}.{places}f} %"


def dollars(cents: int) -> Decimal:
    """Whole cents as exact dollars."""
    return Decimal(cents).scaleb(-2)


def market_date(instant: datetime) -> date:
    """The market's date of an instant."""
    return instant.astimezone(MARKET_ZONE).date()


def day(value: date | datetime) -> str:
    """``1 March 2013``; an instant is dated by the market."""
    when = market_date(value) if isinstance(value, datetime) else value
    return f"{when.day} {when:%B} {when.year}"


def span(start: date, end: date) -> str:
    """``on 1 March 2013`` or ``from 1 to 28 February 2013``, leaving out what both dates share."""
    if start == end:
        return f"on {day(start)}"
    if (start.year, start.month) == (end.year, end.month):
        return f"from {start.day} to {day(end)}"
    if start.year == end.year:
        return f"from {start.day} {start:%B} to {day(end)}"
    return f"from {day(start)} to {day(end)}"


def count(number: int, noun: str) -> str:
    """``1 trade``, ``2 trades``, ``no trades``."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def listed(items: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    names = list(items)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def did(side: str) -> str:
    """``bought`` or ``sold``."""
    return "bought" if side == "buy" else "sold"
