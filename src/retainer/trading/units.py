"""Whole numbers for money: prices in 1/10,000 dollar, cash in cents. No float ever holds money here.

Sub-cent prints are real (odd lots, averages), so prices keep four decimals; fills happen on the tick (one cent above a
dollar, Reg NMS rule 612), so cash stays in whole cents.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Final

from retainer.core.errors import InvalidInputError

PRICE_SCALE: Final = 10_000
"""Price units per dollar."""
UNITS_PER_CENT: Final = 100
"""Price units per cent."""
TICK: Final = 100
"""The tick of stocks at a dollar or more, in price units."""
BPS: Final = 10_000
"""Basis points in one."""
PPM: Final = 1_000_000
"""Millionths in one."""
NS: Final = 1_000_000_000
"""Nanoseconds per second."""
MINUTE_NS: Final = 60 * NS
DAY_NS: Final = 86_400 * NS
MAX_QUANTITY: Final = 1_000_000_000
"""More shares than any order can mean; a larger number is a mistake."""
MAX_PRICE: Final = 1_000_000_000
"""More dollars than any share costs; a larger price is a mistake."""
MAX_VOLUME: Final = 2**53
"""Up to here every volume is exact as a float."""
YEARS: Final = range(1700, 2200)
"""Years that nanoseconds since 1970 can name, and no market is older."""


def div_half_even(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` rounded to the nearest integer, ties to even; exact for any size."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient % 2):
        quotient += 1
    return quotient


def ceil_div(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` rounded up."""
    return -(-numerator // denominator)


def to_units(dollars: Decimal | str | float, what: str = "price") -> int:
    """Dollars as price units, ties to even. Floats go through their shortest repr, so 182.31 means 182.31.

    Raises :class:`InvalidInputError` for NaN, infinities and what is no number.
    """
    return _scaled(dollars, PRICE_SCALE, what)


def to_cents(dollars: Decimal | str | float, what: str = "amount") -> int:
    """Dollars as cents, ties to even. Raises :class:`InvalidInputError` as :func:`to_units`."""
    return _scaled(dollars, 100, what)


def _scaled(dollars: Decimal | str | float, scale: int, what: str) -> int:
    try:
        value = dollars if isinstance(dollars, Decimal) else Decimal(str(dollars))
    except InvalidOperation as error:
        raise InvalidInputError(f"{what} {dollars!r} is not a number.", hint="Write it like 182.31.") from error
    if not value.is_finite():
        raise InvalidInputError(f"{what} {dollars} is not a finite number.", hint="Write it like 182.31.")
    return int((value * scale).to_integral_value(rounding=ROUND_HALF_EVEN))


def units_to_decimal(units: int) -> Decimal:
    """Price units as dollars: at least two decimals, up to four where the price has them."""
    value = Decimal(units) / PRICE_SCALE
    return value.quantize(Decimal("0.01")) if units % UNITS_PER_CENT == 0 else value.quantize(Decimal("0.0001"))


def cents_to_decimal(cents: int) -> Decimal:
    """Cents as dollars with two decimals."""
    return (Decimal(cents) / 100).quantize(Decimal("0.01"))


def notional_cents(quantity: int, price: int) -> int:
    """Value of ``quantity`` shares at ``price`` units, in cents (exact when the price is on a tick)."""
    return div_half_even(quantity * price, UNITS_PER_CENT)


def ns_to_datetime(ns: int) -> datetime:
    """Nanoseconds since 1970 as an aware UTC instant (bars close on whole seconds)."""
    return datetime.fromtimestamp(ns / NS, UTC)


def datetime_to_ns(instant: datetime) -> int:
    """Aware instant as nanoseconds since 1970, exact to the microsecond. Raises for a naive one."""
    if instant.tzinfo is None:
        raise InvalidInputError(f"{instant.isoformat()} has no time zone.", hint="Attach one, e.g. tzinfo=UTC.")
    delta = instant.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000
