"""``judge``: the reasons against an order, as bits. The bits are those of :class:`retainer.trading.limits.Reason`.

All reasons are found, not only the first. What reduces a position is never held back by loss, rate or size limits.
"""

from __future__ import annotations

from retainer.trading.kernel.execute import spendable
from retainer.trading.kernel.layout import (
    ALIVE_ORDERS,
    ALLOWED,
    AT,
    BLOCKED,
    BPS,
    BUYS_DAY,
    BUYS_MINUTE,
    COLLAR_BPS,
    DAY_EQUITY,
    DAY_NS,
    DAY_VOLUME,
    DRAWDOWN_BPS,
    DUPLICATE_NS,
    EQUITY,
    FUTURE_NS,
    GROSS,
    GROSS_BPS,
    HEADER,
    LIMIT,
    LIMIT_ONLY,
    LOSS_BPS,
    LOTS,
    MARK,
    MARKET,
    MEAN_VOLUME,
    MINUTE_NS,
    O_ALIVE,
    O_LIMIT,
    O_PARENT,
    O_QUANTITY,
    O_SIDE,
    O_STOP,
    O_SYMBOL,
    ON_CLOSE,
    OPEN_LIMIT,
    ORDER_BPS,
    ORDER_COLUMNS,
    ORDER_MONEY,
    ORDERS_END,
    OWN,
    PEAK_END,
    PEAK_FIRST,
    PER_DAY,
    PER_MINUTE,
    POSITION_BPS,
    PPM,
    PROMISED,
    QUANTITY,
    R_AT,
    R_INCREASES,
    R_QUANTITY,
    R_SIDE,
    R_SYMBOL,
    RECENT_COLUMNS,
    RECENT_END,
    RECENT_FIRST,
    RESERVED,
    ROUND,
    SEEN,
    SHORT_ALLOWED,
    STALE_NS,
    STOP,
    STOP_LIMIT,
    SYMBOL_COLUMNS,
    SYMBOLS_END,
    TRADING,
    TRAILING,
    TRIPS,
    TRIPS_LIMIT,
    UNIT,
    VOLUME_PPM,
    Reals,
    Wholes,
)
from retainer.trading.kernel.numbers import money, up
from retainer.trading.kernel.orders import pending

BAD_NUMBER = 1
BAD_KIND = 1 << 1
BAD_SYMBOL = 1 << 2
NO_PRICE = 1 << 3
STALE = 1 << 4
HELD_UP = 1 << 5
COLLAR = 1 << 6
NOT_HELD = 1 << 7
ORDER_VALUE = 1 << 8
POSITION = 1 << 9
TOO_GROSS = 1 << 10
NOT_COVERED = 1 << 11
DAILY_LOSS = 1 << 12
DRAWDOWN = 1 << 13
RATE_MINUTE = 1 << 14
RATE_DAY = 1 << 15
DUPLICATE = 1 << 16
TOO_MANY = 1 << 17
ORDER_CAP = 1 << 18
CLOSED = 1 << 19
NOT_LIMIT = 1 << 20
FUTURE = 1 << 21
VOLUME = 1 << 22
ROUND_TRIPS = 1 << 23


def take_stock(f: Reals, w: Wholes, r: Reals) -> None:
    """What is promised to resting orders and how many buys were accepted lately; :func:`judge` reads it."""
    for p in range(HEADER, w[SYMBOLS_END], SYMBOL_COLUMNS):
        f[p + RESERVED] = 0.0
    f[PROMISED] = 0.0
    for o in range(w[SYMBOLS_END], w[ORDERS_END], ORDER_COLUMNS):
        if w[o + O_ALIVE] == 1 and w[o + O_PARENT] == 0:
            promise(f, w, r, o)
    minute, day = 0, 0
    for e in range(w[RECENT_FIRST], w[RECENT_END], RECENT_COLUMNS):
        if w[e + R_INCREASES] == 1:
            age = w[AT] - w[e + R_AT]
            minute += 1 if age < MINUTE_NS else 0
            day += 1 if age < DAY_NS else 0
    w[BUYS_MINUTE] = minute
    w[BUYS_DAY] = day


def promise(f: Reals, w: Wholes, r: Reals, o: int) -> None:
    """Count what a resting order adds to exposure when it fills."""
    p = w[o + O_SYMBOL]
    adding = added(f, r, p, w[o + O_SIDE], f[o + O_QUANTITY])
    if adding > 0.0:
        value = money(r, adding, cost_price(f, p, f[o + O_LIMIT], f[o + O_STOP]))
        f[PROMISED] += value
        f[p + RESERVED] += value


def added(f: Reals, r: Reals, p: int, side: int, quantity: float) -> float:
    """The part of an order that adds exposure: beyond buying back a short, beyond selling what is held."""
    if r[SHORT_ALLOWED] == 0.0:
        return quantity if side > 0 else 0.0
    held = f[p + QUANTITY]
    return max(0.0, quantity - max(0.0, -held if side > 0 else held))


def cost_price(f: Reals, p: int, limit: float, stop: float) -> float:
    """What a share may cost: the limit, the stop, or the last close."""
    if limit > 0.0:
        return limit
    return stop if stop > 0.0 else f[p + MARK]


def fits(wanted: bool, price: float) -> int:
    """Whether a price that the kind of order needs (or does not) is there and is one."""
    if wanted:
        return 0 if 0.0 < price < 1e15 else BAD_NUMBER
    return 0 if price == 0.0 else BAD_KIND


def shape(kind: int, side: int, quantity: float, limit: float, stop: float, trail: float) -> int:
    """Reasons against what the order is, whatever the account."""
    if kind < MARKET or kind > ON_CLOSE or side not in (-1, 1):
        return BAD_KIND
    bits = 0 if 0.0 < quantity < 1e15 else BAD_NUMBER
    bits |= fits(kind in (LIMIT, STOP_LIMIT), limit)
    bits |= fits(kind == TRAILING, trail)
    if kind != TRAILING:
        bits |= fits(kind in (STOP, STOP_LIMIT), stop)
    elif trail >= PPM or not 0.0 <= stop < 1e15:
        bits |= BAD_NUMBER
    return bits


def judge(
    f: Reals,
    w: Wholes,
    r: Reals,
    p: int,
    side: int,
    kind: int,
    quantity: float,
    limit: float,
    stop: float,
    trail: float,
    strategy: int,
    guards: int,
) -> int:
    """Reasons against an order in the symbol at ``p``, at the time ``AT``; 0 is a yes.

    :func:`take_stock` must have been called since the account last changed. ``guards`` 0: exits that guard the position
    are not counted against a sale, for they are taken back when it is accepted.
    """
    bits = shape(kind, side, quantity, limit, stop, trail)
    if bits != 0:
        return bits
    bits = permission_bits(f, w, r, p, kind)
    if is_duplicate(f, w, r, p, side, quantity):
        bits |= DUPLICATE
    if w[p + SEEN] == 0:
        return bits | NO_PRICE
    if w[AT] - w[p + SEEN] > r[STALE_NS]:
        bits |= STALE
    if w[p + SEEN] - w[AT] > r[FUTURE_NS]:
        bits |= FUTURE
    if kind in (LIMIT, STOP_LIMIT):
        base = stop if kind == STOP_LIMIT else f[p + MARK]
        if beyond(side, limit, base, r[COLLAR_BPS]):
            bits |= COLLAR
    if side < 0 and r[SHORT_ALLOWED] == 0.0:
        if quantity + pending(f, w, p, -1, 0, guards) > f[p + QUANTITY]:
            return bits | NOT_HELD
        if strategy == 1 and quantity + pending(f, w, p, -1, 1, guards) > f[p + OWN]:
            return bits | NOT_HELD
    adding = added(f, r, p, side, quantity)
    if adding > 0.0:
        value = money(r, adding, cost_price(f, p, limit, stop))
        bits |= size_bits(f, r, p, side, value) | state_bits(f, w, r, p, adding)
    return bits


def permission_bits(f: Reals, w: Wholes, r: Reals, p: int, kind: int) -> int:
    """Reasons that no size changes."""
    bits = 0
    if w[p + ALLOWED] == 0:
        bits |= BAD_SYMBOL
    if w[p + BLOCKED] == 1:
        bits |= HELD_UP
    if w[TRADING] == 0:
        bits |= CLOSED
    if r[LIMIT_ONLY] > 0.0 and kind not in (LIMIT, STOP_LIMIT):
        bits |= NOT_LIMIT
    return bits


def beyond(side: int, limit: float, base: float, collar: float) -> bool:
    """Whether a limit is too far on the wrong side of a price."""
    if side > 0:
        return limit * BPS > base * (BPS + collar)
    return limit * BPS < base * (BPS - collar)


def is_duplicate(f: Reals, w: Wholes, r: Reals, p: int, side: int, quantity: float) -> bool:
    """Whether the same order was accepted a moment ago."""
    e = w[RECENT_END] - RECENT_COLUMNS
    while e >= w[RECENT_FIRST]:
        if (
            f[e + R_QUANTITY] == quantity
            and w[e + R_SYMBOL] == p
            and w[e + R_SIDE] == side
            and w[AT] - w[e + R_AT] < r[DUPLICATE_NS]
        ):
            return True
        e -= RECENT_COLUMNS
    return False


def size_bits(f: Reals, r: Reals, p: int, side: int, value: float) -> int:
    """Reasons against adding exposure of this value."""
    worth = f[EQUITY]
    bits = 0
    if value * BPS > worth * r[ORDER_BPS]:
        bits |= ORDER_VALUE
    if r[ORDER_MONEY] > 0.0 and value > r[ORDER_MONEY]:
        bits |= ORDER_CAP
    held = money(r, abs(f[p + QUANTITY]), f[p + MARK])
    if (held + f[p + RESERVED] + value) * BPS > worth * r[POSITION_BPS]:
        bits |= POSITION
    if (held_money(f, r) + f[PROMISED] + value) * BPS > worth * r[GROSS_BPS]:
        bits |= TOO_GROSS
    if side > 0 and f[PROMISED] + value > spendable(f, r):
        bits |= NOT_COVERED
    return bits


def state_bits(f: Reals, w: Wholes, r: Reals, p: int, adding: float) -> int:
    """Reasons against adding any exposure now."""
    worth = f[EQUITY]
    bits = 0
    if worth * BPS < f[DAY_EQUITY] * (BPS - r[LOSS_BPS]):
        bits |= DAILY_LOSS
    if w[PEAK_END] > w[PEAK_FIRST] and worth * BPS < f[w[PEAK_FIRST]] * (BPS - r[DRAWDOWN_BPS]):
        bits |= DRAWDOWN
    if w[BUYS_MINUTE] >= r[PER_MINUTE]:
        bits |= RATE_MINUTE
    if w[BUYS_DAY] >= r[PER_DAY]:
        bits |= RATE_DAY
    if w[ALIVE_ORDERS] >= r[OPEN_LIMIT]:
        bits |= TOO_MANY
    if r[VOLUME_PPM] > 0.0:
        usual = max(f[p + MEAN_VOLUME], f[p + DAY_VOLUME])
        if usual > 0.0 and adding * PPM > usual * r[LOTS] * r[VOLUME_PPM]:
            bits |= VOLUME
    if r[TRIPS_LIMIT] > 0.0 and f[p + TRIPS] >= r[TRIPS_LIMIT]:
        bits |= ROUND_TRIPS
    return bits


def held_money(f: Reals, r: Reals) -> float:
    """Value of all positions at their last close, in money, rounded up; shorts count positive."""
    value = f[GROSS] / (r[UNIT] * r[LOTS])
    return up(value) if r[ROUND] > 0.0 else value
