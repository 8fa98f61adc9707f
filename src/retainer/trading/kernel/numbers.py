"""Rounding, prices and fees of one fill. Basic IEEE operations on whole numbers in float64 (see ``layout``)."""

from __future__ import annotations

import math

from retainer.trading.kernel.layout import (
    COMMISSION,
    IMPACT_PPM,
    LOTS,
    MINIMUM,
    PER_SHARE,
    PPM,
    ROUND,
    SELL_CAP,
    SELL_MICRO,
    SELL_PPM,
    SLIP_PPM,
    SLIP_UNITS,
    STEP,
    TICK,
    TO_CENTS,
    UNIT,
    Reals,
)


def down(x: float) -> float:
    """The whole number at or below ``x``."""
    return float(math.floor(x))


def up(x: float) -> float:
    """The whole number at or above ``x``."""
    return float(math.ceil(x))


def half_even(numerator: float, denominator: float) -> float:
    """``numerator / denominator`` to the nearest whole number, ties to even; exact for whole numbers below 2**53."""
    quotient = float(math.floor(numerator / denominator))
    rest = numerator - quotient * denominator
    twice = rest + rest
    if twice > denominator or (twice == denominator and quotient % 2.0 == 1.0):
        quotient += 1.0
    return quotient


def in_cents(dollars: float) -> float:
    """Dollars as whole cents, halves up."""
    scaled = dollars * 100.0
    base = float(math.floor(scaled))
    return base + 1.0 if scaled - base >= 0.5 else base


def cents(dollars: float) -> float:
    """Dollars to the nearest cent, halves up."""
    return in_cents(dollars) / 100.0


def money(r: Reals, quantity: float, price: float) -> float:
    """Value of a quantity at a price, in money."""
    if r[ROUND] > 0.0:
        return half_even(quantity * price, r[UNIT] * r[LOTS])
    value = quantity * price / (r[UNIT] * r[LOTS])
    return cents(value) if r[TO_CENTS] > 0.0 else value


def whole(r: Reals, quantity: float) -> float:
    """The quantity cut to what can be traded."""
    return float(math.floor(quantity)) if r[STEP] > 0.0 else quantity


def charge(r: Reals, quantity: float, per_share: float, value: float, ppm: float) -> float:
    """``per_share`` units per share plus ``ppm`` of ``value`` (units), in money, rounded up.

    Where dollars are rounded to cents, it is a share of the rounded value, and is rounded to the nearest cent itself.
    """
    if r[ROUND] == 0.0:
        if r[TO_CENTS] > 0.0:
            return cents(quantity * per_share + in_cents(value) * ppm / (100.0 * PPM))
        return (quantity * per_share / r[LOTS] + value * ppm / PPM) / r[UNIT]
    high = float(math.floor(value / PPM))
    low = (value - high * PPM) * ppm
    part = float(math.floor(low / PPM))
    total = quantity * per_share / r[LOTS] + high * ppm + part
    amount = float(math.floor(total / r[UNIT]))
    if total - amount * r[UNIT] > 0.0 or low - part * PPM > 0.0:
        amount += 1.0
    return amount


def fee(r: Reals, side: int, quantity: float, price: float) -> float:
    """Commission and, on sells, regulatory fees of one fill, each rounded up to the cent."""
    value = quantity * price / r[LOTS]
    commission = 0.0
    if r[PER_SHARE] > 0.0 or r[COMMISSION] > 0.0:
        commission = charge(r, quantity, r[PER_SHARE], value, r[COMMISSION])
    commission = max(commission, r[MINIMUM])
    if side > 0:
        return commission
    if r[SELL_PPM] > 0.0:
        commission += charge(r, quantity, 0.0, value, r[SELL_PPM])
    if r[SELL_MICRO] > 0.0:
        activity = r[SELL_MICRO] * quantity / r[LOTS] * (r[UNIT] / PPM)
        if r[ROUND] > 0.0:
            activity = float(math.ceil(r[SELL_MICRO] * quantity / r[LOTS] / 10_000.0))
        if r[SELL_CAP] > 0.0 and activity > r[SELL_CAP]:
            activity = r[SELL_CAP]
        commission += activity
    return commission


def slip_price(r: Reals, side: int, reference: float, ppm: float, extra: float) -> float:
    """The reference made worse by ``ppm`` of it and ``extra`` units, rounded to the tick against the account."""
    tick = r[TICK]
    if side > 0:
        if tick > 0.0:
            return float(math.ceil((reference * (PPM + ppm) + extra * PPM) / (PPM * tick))) * tick
        return reference + reference * ppm / PPM + extra
    if tick > 0.0:
        price = float(math.floor((reference * (PPM - ppm) - extra * PPM) / (PPM * tick))) * tick
        return price if price > tick else tick
    price = reference - reference * ppm / PPM - extra
    return price if price > 0.0 else reference


def market_price(r: Reals, side: int, reference: float, quantity: float, volume: float) -> float:
    """What a market or stop order pays or gets: proportional, fixed and volume-dependent slippage.

    The volume-dependent part is linear in the share of the bar's volume taken (temporary impact, Almgren and Chriss,
    Journal of Risk 3 (2001)).
    """
    ppm = r[SLIP_PPM]
    if r[IMPACT_PPM] > 0.0 and volume > 0.0:
        ppm += r[IMPACT_PPM] * (quantity / r[LOTS] / volume)
        if r[ROUND] > 0.0:
            ppm = float(math.ceil(ppm))
    return slip_price(r, side, reference, ppm, r[SLIP_UNITS])


def tick_down(r: Reals, price: float) -> float:
    """The price on the tick at or below; at least a tick."""
    tick = r[TICK]
    if tick == 0.0:
        return price
    on = float(math.floor(price / tick)) * tick
    return on if on > tick else tick


def tick_up(r: Reals, price: float) -> float:
    """The price on the tick at or above."""
    tick = r[TICK]
    return price if tick == 0.0 else float(math.ceil(price / tick)) * tick


def trail_level(r: Reals, side: int, price: float, trail: float) -> float:
    """Where a trailing order triggers when the market is at ``price``: sells below it, buys above it."""
    if side < 0:
        return tick_down(r, price * (PPM - trail) / PPM)
    return tick_up(r, price * (PPM + trail) / PPM)
