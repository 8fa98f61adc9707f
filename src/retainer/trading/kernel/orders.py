"""The order table and the log of events: adding, ending, chaining per symbol, remembering."""

from __future__ import annotations

from retainer.trading.kernel.layout import (
    ALIVE_ORDERS,
    AT,
    CANCELLED,
    DAY_NS,
    E_AMOUNT,
    E_BITS,
    E_DECIDED,
    E_KIND,
    E_PARENT,
    E_PRICE,
    E_QUANTITY,
    E_REF,
    E_REFERENCE,
    E_ROW,
    E_SEQ,
    E_SIDE,
    E_SYMBOL,
    E_TYPE,
    EQUITY,
    EVENT_COLUMNS,
    EVENTS_END,
    EXIT_ORDERED,
    FIRST,
    LAST,
    NEXT_SEQ,
    O_ALIVE,
    O_AT,
    O_EXPIRES,
    O_GROUP,
    O_LIMIT,
    O_NEXT,
    O_PARENT,
    O_QUANTITY,
    O_REF,
    O_SEQ,
    O_SIDE,
    O_STOP,
    O_STRATEGY,
    O_SYMBOL,
    O_TRAIL,
    O_TYPE,
    ORDER_COLUMNS,
    ORDERS_END,
    ORDERS_STOP,
    PEAK_END,
    PEAK_FIRST,
    PEAK_WINDOW,
    R_AT,
    R_INCREASES,
    R_QUANTITY,
    R_SEQ,
    R_SIDE,
    R_SYMBOL,
    RECENT_COLUMNS,
    RECENT_END,
    RECENT_FIRST,
    RECENT_STOP,
    REMEMBER,
    ROW,
    SYMBOLS_END,
    TRAILING,
    Reals,
    Wholes,
)
from retainer.trading.kernel.numbers import trail_level


def add_order(
    f: Reals, w: Wholes, p: int, side: int, kind: int, quantity: float, limit: float, stop: float, strategy: int
) -> int:
    """A new resting order, plain: no trailing, no exits, no group, no expiry. Its offset."""
    o = w[ORDERS_END]
    for c in range(ORDER_COLUMNS):
        f[o + c] = 0.0
        w[o + c] = 0
    f[o + O_QUANTITY] = quantity
    f[o + O_LIMIT] = limit
    f[o + O_STOP] = stop
    w[o + O_SYMBOL] = p
    w[o + O_SIDE] = side
    w[o + O_TYPE] = kind
    w[o + O_AT] = w[AT]
    w[o + O_SEQ] = w[NEXT_SEQ]
    w[o + O_STRATEGY] = strategy
    w[o + O_EXPIRES] = -1
    w[o + O_REF] = -1
    w[o + O_ALIVE] = 1
    w[NEXT_SEQ] += 1
    w[ORDERS_END] = o + ORDER_COLUMNS
    w[ALIVE_ORDERS] += 1
    return o


def start_trailing(f: Reals, w: Wholes, r: Reals, o: int, price: float) -> None:
    """Give a trailing order its level, from the market's price, unless it has one."""
    if w[o + O_TYPE] == TRAILING and f[o + O_STOP] == 0.0:
        f[o + O_STOP] = trail_level(r, w[o + O_SIDE], price, f[o + O_TRAIL])


def remember(f: Reals, w: Wholes, r: Reals, o: int, increases: int) -> None:
    """Keep the order in mind, for the rates and for duplicates."""
    if r[REMEMBER] == 0.0:
        return
    e = w[RECENT_END]
    f[e + R_QUANTITY] = f[o + O_QUANTITY]
    w[e + R_AT] = w[o + O_AT]
    w[e + R_SYMBOL] = w[o + O_SYMBOL]
    w[e + R_SIDE] = w[o + O_SIDE]
    w[e + R_INCREASES] = increases
    w[e + R_SEQ] = w[o + O_SEQ]
    w[RECENT_END] = e + RECENT_COLUMNS


def forget(f: Reals, w: Wholes, seq: int) -> None:
    """A cancelled order makes no later one a duplicate; it still counts for the rates."""
    for e in range(w[RECENT_FIRST], w[RECENT_END], RECENT_COLUMNS):
        if w[e + R_SEQ] == seq:
            f[e + R_QUANTITY] = 0.0


def prune_recent(w: Wholes) -> None:
    """Drop what is a day old, in order of age."""
    first, end = w[RECENT_FIRST], w[RECENT_END]
    while first < end and w[AT] - w[first + R_AT] >= DAY_NS:
        first += RECENT_COLUMNS
    if first == end:
        first = w[ORDERS_STOP]
        w[RECENT_END] = first
    w[RECENT_FIRST] = first


def push_peak(f: Reals, w: Wholes) -> None:
    """The account closed at its equity: peaks that can no longer be the highest of the window go."""
    first, end, at, equity = w[PEAK_FIRST], w[PEAK_END], w[AT], f[EQUITY]
    while end > first and f[end - 1] <= equity:
        end -= 1
    while first < end and at - w[first] > PEAK_WINDOW:
        first += 1
    if first == end:
        first = w[RECENT_STOP]
        end = first
    w[end] = at
    f[end] = equity
    w[PEAK_FIRST] = first
    w[PEAK_END] = end + 1


def event(f: Reals, w: Wholes, kind: int, p: int, quantity: float, price: float, amount: float) -> int:
    """A line in the log; the columns not passed are 0. Its offset."""
    e = w[EVENTS_END]
    for c in range(EVENT_COLUMNS):
        f[e + c] = 0.0
        w[e + c] = 0
    f[e + E_QUANTITY] = quantity
    f[e + E_PRICE] = price
    f[e + E_AMOUNT] = amount
    w[e + E_KIND] = kind
    w[e + E_ROW] = w[ROW]
    w[e + E_SYMBOL] = p
    w[e + E_DECIDED] = w[AT]
    w[e + E_REF] = -1
    w[EVENTS_END] = e + EVENT_COLUMNS
    return e


def order_event(f: Reals, w: Wholes, kind: int, o: int, quantity: float, price: float, amount: float) -> int:
    """A line in the log about an order of the table."""
    e = event(f, w, kind, w[o + O_SYMBOL], quantity, price, amount)
    w[e + E_SIDE] = w[o + O_SIDE]
    w[e + E_SEQ] = w[o + O_SEQ]
    w[e + E_TYPE] = w[o + O_TYPE]
    w[e + E_DECIDED] = w[o + O_AT]
    w[e + E_REF] = w[o + O_REF]
    w[e + E_PARENT] = w[o + O_PARENT]
    return e


def end_order(w: Wholes, o: int) -> None:
    """The order rests no more."""
    if w[o + O_ALIVE] == 1:
        w[o + O_ALIVE] = 0
        w[ALIVE_ORDERS] -= 1


def cancel_order(f: Reals, w: Wholes, o: int, reason: int) -> None:
    """End an order without (the rest of) its fill. The log keeps what was left of it, its limit and its stop."""
    e = order_event(f, w, CANCELLED, o, f[o + O_QUANTITY], f[o + O_LIMIT], 0.0)
    f[e + E_REFERENCE] = f[o + O_STOP]
    w[e + E_BITS] = reason
    end_order(w, o)


def chain_orders(f: Reals, w: Wholes) -> None:
    """Close the gaps of ended orders and link each symbol's orders, oldest first."""
    for o in range(w[SYMBOLS_END], w[ORDERS_END], ORDER_COLUMNS):
        w[w[o + O_SYMBOL] + FIRST] = 0
        w[w[o + O_SYMBOL] + LAST] = 0
    kept = w[SYMBOLS_END]
    for o in range(w[SYMBOLS_END], w[ORDERS_END], ORDER_COLUMNS):
        if w[o + O_ALIVE] == 0:
            continue
        if kept != o:
            for c in range(ORDER_COLUMNS):
                f[kept + c] = f[o + c]
                w[kept + c] = w[o + c]
        link(w, kept)
        kept += ORDER_COLUMNS
    w[ORDERS_END] = kept


def link(w: Wholes, o: int) -> None:
    """Append the order to its symbol's chain."""
    p = w[o + O_SYMBOL]
    w[o + O_NEXT] = 0
    if w[p + FIRST] == 0:
        w[p + FIRST] = o
    else:
        w[w[p + LAST] + O_NEXT] = o
    w[p + LAST] = o


def pending(f: Reals, w: Wholes, p: int, side: int, strategy_only: int, guards: int) -> float:
    """Quantity in the resting orders of a side; those of one group count once. ``guards`` 0 leaves exits out."""
    total = 0.0
    o = w[p + FIRST]
    while o > 0:
        if (
            w[o + O_ALIVE] == 1
            and w[o + O_SIDE] == side
            and (strategy_only == 0 or w[o + O_STRATEGY] == 1)
            and (guards == 1 or w[o + O_PARENT] == 0)
            and not counted_before(w, p, o)
        ):
            total += f[o + O_QUANTITY]
        o = w[o + O_NEXT]
    return total


def counted_before(w: Wholes, p: int, o: int) -> bool:
    """Whether an older order of the same group and side rests: both stand for the same shares."""
    if w[o + O_GROUP] == 0:
        return False
    j = w[p + FIRST]
    while j != o and j > 0:
        if w[j + O_ALIVE] == 1 and w[j + O_GROUP] == w[o + O_GROUP] and w[j + O_SIDE] == w[o + O_SIDE]:
            return True
        j = w[j + O_NEXT]
    return False


def release(f: Reals, w: Wholes, p: int, side: int, quantity: float) -> None:
    """Take ``quantity`` off a symbol's exits of one side, the oldest first: another order trades it."""
    group, left, taken = 0, quantity, 0.0
    o = w[p + FIRST]
    while o > 0:
        if w[o + O_ALIVE] == 1 and w[o + O_PARENT] != 0 and w[o + O_SIDE] == side:
            if group == 0 or w[o + O_GROUP] != group:
                taken = min(f[o + O_QUANTITY], left)
                left -= taken
                group = w[o + O_GROUP]
            if taken > 0.0:
                reduce_order(f, w, o, taken, EXIT_ORDERED)
        o = w[o + O_NEXT]


def reduce_order(f: Reals, w: Wholes, o: int, quantity: float, reason: int) -> None:
    """Make an order smaller; one with nothing left is cancelled."""
    if f[o + O_QUANTITY] <= quantity:
        cancel_order(f, w, o, reason)
    else:
        f[o + O_QUANTITY] -= quantity
