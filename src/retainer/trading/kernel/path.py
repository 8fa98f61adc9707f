"""The path of a bar: open, adverse extreme, favourable extreme, close, and which orders the price meets on it.

The low comes first, unless the account is short of the symbol after the open. On each leg orders trigger in the order
in which the price meets them; at one price sells come before buys, older before newer.
"""

from __future__ import annotations

from retainer.trading.kernel.execute import execute
from retainer.trading.kernel.layout import (
    ALIVE_ORDERS,
    CLOSE,
    EXPIRED,
    FIRST,
    HEADER,
    HIGH,
    LIMIT,
    LOW,
    MARKET,
    O_ALIVE,
    O_EXPIRES,
    O_LIMIT,
    O_NEXT,
    O_SEQ,
    O_SIDE,
    O_STOP,
    O_STUCK,
    O_SYMBOL,
    O_TRAIL,
    O_TRIGGERED,
    O_TYPE,
    ON_CLOSE,
    OPEN,
    ORDER_COLUMNS,
    ORDERS_END,
    QUANTITY,
    ROW,
    ROW_DAY,
    STOP,
    STOP_LIMIT,
    SYMBOL_COLUMNS,
    SYMBOLS_END,
    TRAILING,
    Reals,
    Wholes,
)
from retainer.trading.kernel.numbers import trail_level
from retainer.trading.kernel.orders import cancel_order


def walk(f: Reals, w: Wholes, r: Reals) -> None:
    """Let the bars of this row meet the resting orders."""
    expire(f, w)
    at_open(f, w, r)
    if w[ALIVE_ORDERS] == 0:
        return
    for p in range(HEADER, w[SYMBOLS_END], SYMBOL_COLUMNS):
        if w[p + FIRST] > 0 and f[p + CLOSE] > 0.0:
            along(f, w, r, p)
    at_close(f, w, r)


def expire(f: Reals, w: Wholes) -> None:
    """Orders for one session: the session of their first bar is theirs, the next one ends them."""
    for o in range(w[SYMBOLS_END], w[ORDERS_END], ORDER_COLUMNS):
        ends = w[o + O_EXPIRES]
        if ends == 0 and f[w[o + O_SYMBOL] + CLOSE] > 0.0:
            w[o + O_EXPIRES] = w[ROW_DAY]
        elif 0 < ends < w[ROW_DAY]:
            cancel_order(f, w, o, EXPIRED)


def at_open(f: Reals, w: Wholes, r: Reals) -> None:
    """Market orders and what the open has passed, sells of all symbols first; then trailing levels follow the open."""
    end = w[ORDERS_END]
    for side in (-1, 1):
        for o in range(w[SYMBOLS_END], end, ORDER_COLUMNS):
            price = f[w[o + O_SYMBOL] + OPEN]
            if w[o + O_ALIVE] == 0 or w[o + O_SIDE] != side or price == 0.0:
                continue
            if takes_any(w, o):
                execute(f, w, r, o, price)
            elif passed(f, w, o, price):
                touch(f, w, r, o, price)
    for o in range(w[SYMBOLS_END], end, ORDER_COLUMNS):
        if w[o + O_TYPE] == TRAILING:
            follow(f, w, r, o, f[w[o + O_SYMBOL] + OPEN])


def along(f: Reals, w: Wholes, r: Reals, p: int) -> None:
    """From the open over both extremes to the close."""
    first, second = f[p + LOW], f[p + HIGH]
    if f[p + QUANTITY] < 0.0:
        first, second = second, first
    leg(f, w, r, p, f[p + OPEN], first)
    leg(f, w, r, p, first, second)
    leg(f, w, r, p, second, f[p + CLOSE])


def leg(f: Reals, w: Wholes, r: Reals, p: int, start: float, end: float) -> None:
    """The price moves from ``start`` to ``end``: orders trigger as it meets them; trailing levels follow it."""
    falls = end < start
    price = start
    while True:
        best, nearest = 0, 0.0
        o = w[p + FIRST]
        while o > 0:
            if w[o + O_ALIVE] == 1 and w[o + O_STUCK] != w[ROW] + 1 and reacts(f, w, o, falls):
                level = trigger(f, w, o)
                if (level >= end) if falls else (level <= end):
                    met = min(price, level) if falls else max(price, level)
                    if best == 0 or sooner(w, o, met, best, nearest, falls):
                        best, nearest = o, met
            o = w[o + O_NEXT]
        if best == 0:
            break
        price = nearest
        touch(f, w, r, best, price)
    o = w[p + FIRST]
    while o > 0:
        if w[o + O_TYPE] == TRAILING:
            follow(f, w, r, o, end)
        o = w[o + O_NEXT]


def sooner(w: Wholes, o: int, met: float, best: int, nearest: float, falls: bool) -> bool:
    """Whether order ``o`` (met at ``met``) is met before ``best``."""
    if met != nearest:
        return met > nearest if falls else met < nearest
    if w[o + O_SIDE] != w[best + O_SIDE]:
        return w[o + O_SIDE] < w[best + O_SIDE]
    return w[o + O_SEQ] < w[best + O_SEQ]


def takes_any(w: Wholes, o: int) -> bool:
    """Whether the order takes any price: a market order, or a stop that was triggered and is not done."""
    kind = w[o + O_TYPE]
    return kind == MARKET or (w[o + O_TRIGGERED] == 1 and (kind in (STOP, TRAILING)))


def waits_for_limit(w: Wholes, o: int) -> bool:
    """Whether the limit is what the order waits for."""
    kind = w[o + O_TYPE]
    return kind == LIMIT or (kind == STOP_LIMIT and w[o + O_TRIGGERED] == 1)


def trigger(f: Reals, w: Wholes, o: int) -> float:
    """The price the order waits for."""
    return f[o + O_LIMIT] if waits_for_limit(w, o) else f[o + O_STOP]


def reacts(f: Reals, w: Wholes, o: int, falls: bool) -> bool:
    """Whether a falling (rising) price triggers the order: buy limits and sell stops react to falls."""
    if takes_any(w, o) or w[o + O_TYPE] == ON_CLOSE or trigger(f, w, o) == 0.0:
        return False
    return (waits_for_limit(w, o) == (w[o + O_SIDE] > 0)) == falls


def passed(f: Reals, w: Wholes, o: int, price: float) -> bool:
    """Whether ``price`` is at or beyond what the order waits for."""
    if reacts(f, w, o, True):
        return price <= trigger(f, w, o)
    return price >= trigger(f, w, o) if reacts(f, w, o, False) else False


def touch(f: Reals, w: Wholes, r: Reals, o: int, price: float) -> None:
    """The price met the order: a stop-limit becomes a limit (filled at once where the price allows), others fill."""
    if w[o + O_TYPE] == STOP_LIMIT and w[o + O_TRIGGERED] == 0:
        w[o + O_TRIGGERED] = 1
        if (price > f[o + O_LIMIT]) if w[o + O_SIDE] > 0 else (price < f[o + O_LIMIT]):
            return
    elif not waits_for_limit(w, o):
        w[o + O_TRIGGERED] = 1
    execute(f, w, r, o, price)


def follow(f: Reals, w: Wholes, r: Reals, o: int, price: float) -> None:
    """A trailing level moves with a price that goes the position's way, never back."""
    if w[o + O_ALIVE] == 0 or w[o + O_TRIGGERED] == 1 or price == 0.0:
        return
    side = w[o + O_SIDE]
    level, now = trail_level(r, side, price, f[o + O_TRAIL]), f[o + O_STOP]
    if now == 0.0 or ((level > now) if side < 0 else (level < now)):
        f[o + O_STOP] = level


def at_close(f: Reals, w: Wholes, r: Reals) -> None:
    """Orders on the close, sells of all symbols first."""
    end = w[ORDERS_END]
    for side in (-1, 1):
        for o in range(w[SYMBOLS_END], end, ORDER_COLUMNS):
            if w[o + O_TYPE] == ON_CLOSE and w[o + O_ALIVE] == 1 and w[o + O_SIDE] == side:
                price = f[w[o + O_SYMBOL] + CLOSE]
                if price > 0.0:
                    execute(f, w, r, o, price)
