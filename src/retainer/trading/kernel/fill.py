"""``fill``: how the bars of one row act on the account. Corporate actions, resting orders, marks, day and peak."""

from __future__ import annotations

from retainer.trading.kernel.layout import (
    ACTION_DIVIDEND,
    ACTION_NEW,
    ACTION_OLD,
    ACTIONS,
    ALIVE_ORDERS,
    AT,
    BAR_VOLUME,
    BORROW_COST,
    BORROW_RATE,
    BORROWED,
    BOUGHT,
    CASH,
    CLOSE,
    COST,
    COUNTS,
    DAY,
    DAY_EQUITY,
    DAY_VOLUME,
    DIVIDEND,
    DIVIDENDS,
    E_REALISED,
    EQUITY,
    GROSS,
    HEADER,
    LEFT,
    LIMIT,
    LOTS,
    MARK,
    MEAN_VOLUME,
    O_ALIVE,
    O_LIMIT,
    O_LOSS,
    O_PROFIT,
    O_QUANTITY,
    O_RELATIVE,
    O_SIDE,
    O_STOP,
    O_SYMBOL,
    O_TYPE,
    ORDER_COLUMNS,
    ORDERS_END,
    OWN,
    PEAKS,
    PPM,
    QUANTITY,
    REALISED,
    RECENT_END,
    RECENT_FIRST,
    ROUND,
    ROW_DAY,
    SEEN,
    SESSION,
    SETTLE,
    SHORTS,
    SPLIT,
    SPLIT_AWAY,
    STEP,
    STOP_LIMIT,
    SYMBOL_COLUMNS,
    SYMBOLS_END,
    TICK,
    TRADING,
    TRIPS,
    UNIT,
    UNSETTLED,
    VALUE,
    VOLUME_SHARE,
    Reals,
    Wholes,
)
from retainer.trading.kernel.numbers import charge, down, half_even, tick_down
from retainer.trading.kernel.orders import cancel_order, chain_orders, event, prune_recent, push_peak
from retainer.trading.kernel.path import walk


def fill(f: Reals, w: Wholes, r: Reals) -> None:
    """Let the row's bars act on the account. The caller has set ``AT``, ``ROW_DAY``, ``TRADING`` and the bars."""
    open_row(f, w, r)
    if w[ACTIONS] > 0:
        act(f, w, r)
    if r[VOLUME_SHARE] > 0.0:
        allow_volumes(f, w, r)
    if w[ALIVE_ORDERS] > 0:
        chain_orders(f, w)
        if w[TRADING] == 1:
            walk(f, w, r)
    if w[RECENT_END] > w[RECENT_FIRST]:
        prune_recent(w)
    if r[COUNTS] > 0.0:
        count_volumes(f, w)
    close_row(f, w, r)


def open_row(f: Reals, w: Wholes, r: Reals) -> None:
    """Begin a new day where the row does."""
    if w[ROW_DAY] != w[DAY]:
        new_day(f, w, r)
        w[DAY] = w[ROW_DAY]
        f[DAY_EQUITY] = f[EQUITY]
    if r[SETTLE] > 0.0 and w[TRADING] == 1 and w[ROW_DAY] != w[SESSION]:
        settle(f, w)


def close_row(f: Reals, w: Wholes, r: Reals) -> None:
    """Value the account at the row's closes."""
    value_account(f, w, r)
    if r[PEAKS] > 0.0:
        push_peak(f, w)


def value_account(f: Reals, w: Wholes, r: Reals) -> None:
    """Mark the symbols at this row's closes; positions and equity at the last ones."""
    value, gross, shorts, at, end = 0.0, 0.0, 0.0, w[AT], w[SYMBOLS_END]
    p = HEADER
    while p < end:
        price = f[p + CLOSE]
        if price > 0.0:
            f[p + MARK] = price
            w[p + SEEN] = at
        else:
            price = f[p + MARK]
        worth = f[p + QUANTITY] * price
        value += worth
        gross += abs(worth)
        if worth < 0.0:
            shorts -= worth
        p += SYMBOL_COLUMNS
    f[VALUE] = value
    f[GROSS] = gross
    f[SHORTS] = shorts
    unit = r[UNIT] * r[LOTS]
    if r[ROUND] > 0.0:
        value = half_even(value, unit)
    elif unit != 1.0:
        value /= unit
    f[EQUITY] = f[CASH] + value


def new_day(f: Reals, w: Wholes, r: Reals) -> None:
    """A day began: borrowed shares cost, the counts of the day start again."""
    nights = float(w[ROW_DAY] - w[DAY]) if w[DAY] > 0 else 0.0
    if r[COUNTS] == 0.0 and r[BORROW_RATE] == 0.0:
        return
    for p in range(HEADER, w[SYMBOLS_END], SYMBOL_COLUMNS):
        volume = f[p + DAY_VOLUME]
        if volume > 0.0:
            mean = f[p + MEAN_VOLUME]
            f[p + MEAN_VOLUME] = volume if mean == 0.0 else mean + (volume - mean) / 20.0
        f[p + DAY_VOLUME] = 0.0
        f[p + BOUGHT] = 0.0
        f[p + TRIPS] = 0.0
        if f[p + QUANTITY] < 0.0 and nights > 0.0 and r[BORROW_RATE] > 0.0:
            worth = -f[p + QUANTITY] * f[p + MARK] / r[LOTS]
            cost = charge(r, 0.0, 0.0, worth, r[BORROW_RATE] * nights / 365.0)
            f[CASH] -= cost
            f[BORROWED] += cost
            event(f, w, BORROW_COST, p, 0.0, 0.0, -cost)


def settle(f: Reals, w: Wholes) -> None:
    """A session began: the proceeds of sales are a session older. Days without one settle nothing."""
    f[UNSETTLED + 2] = f[UNSETTLED + 1]
    f[UNSETTLED + 1] = f[UNSETTLED]
    f[UNSETTLED] = 0.0
    w[SESSION] = w[ROW_DAY]


def allow_volumes(f: Reals, w: Wholes, r: Reals) -> None:
    """What fills may take of the row's volumes."""
    for p in range(HEADER, w[SYMBOLS_END], SYMBOL_COLUMNS):
        most = f[p + BAR_VOLUME] * r[LOTS] * r[VOLUME_SHARE] / PPM
        f[p + LEFT] = down(most) if r[STEP] > 0.0 else most


def count_volumes(f: Reals, w: Wholes) -> None:
    """Add the row's volumes to their sessions'."""
    for p in range(HEADER, w[SYMBOLS_END], SYMBOL_COLUMNS):
        if f[p + CLOSE] > 0.0:
            f[p + DAY_VOLUME] += f[p + BAR_VOLUME]


# --- corporate actions
def act(f: Reals, w: Wholes, r: Reals) -> None:
    """Splits and dividends of this row, once."""
    for p in range(HEADER, w[SYMBOLS_END], SYMBOL_COLUMNS):
        if f[p + ACTION_NEW] > 0.0:
            if f[p + ACTION_NEW] != f[p + ACTION_OLD]:
                split(f, w, r, p, f[p + ACTION_NEW], f[p + ACTION_OLD])
            else:
                dividend(f, w, r, p, f[p + ACTION_DIVIDEND])
            f[p + ACTION_NEW] = 0.0
    w[ACTIONS] = 0


def dividend(f: Reals, w: Wholes, r: Reals, p: int, per_share: float) -> None:
    """Credit (a short: debit) ``per_share`` of money, and lower resting buy limits and sell stops by it.

    The change of the orders is FINRA rule 5330(a): by the dividend, to the next lower tick.
    """
    quantity = f[p + QUANTITY]
    units = per_share * r[UNIT]
    if quantity != 0.0:
        amount = quantity * per_share / r[LOTS]
        if r[ROUND] > 0.0:
            amount = half_even(quantity * per_share, r[LOTS])
        f[CASH] += amount
        f[DIVIDENDS] += amount
        event(f, w, DIVIDEND, p, 0.0, units, amount)
    for o in range(w[SYMBOLS_END], w[ORDERS_END], ORDER_COLUMNS):
        if w[o + O_SYMBOL] != p or w[o + O_ALIVE] == 0:
            continue
        buys = w[o + O_SIDE] > 0
        if (buys and w[o + O_TYPE] == LIMIT) or (not buys and w[o + O_TYPE] == STOP_LIMIT):
            f[o + O_LIMIT] = tick_down(r, f[o + O_LIMIT] - units)
        if not buys and f[o + O_STOP] > 0.0:
            f[o + O_STOP] = tick_down(r, f[o + O_STOP] - units)


def split(f: Reals, w: Wholes, r: Reals, p: int, new: float, old: float) -> None:
    """``new`` shares for ``old``: positions, resting orders and their prices; fractions are paid in cash."""
    for o in range(w[SYMBOLS_END], w[ORDERS_END], ORDER_COLUMNS):
        if w[o + O_SYMBOL] == p and w[o + O_ALIVE] == 1:
            split_order(f, w, r, o, new, old)
    f[p + DAY_VOLUME] = f[p + DAY_VOLUME] * new / old
    f[p + MEAN_VOLUME] = f[p + MEAN_VOLUME] * new / old
    close, quantity = f[p + MARK], f[p + QUANTITY]
    f[p + MARK] = close * old / new
    if quantity == 0.0:
        return
    shares, rest = quantity * new / old, 0.0
    own = f[p + OWN] * new / old
    if r[STEP] > 0.0:
        shares = down(shares)
        rest = quantity * new - shares * old
        own = down(own)
    unit = new * r[UNIT] * r[LOTS]
    price, lieu, part = close * old / new, rest * close / unit, f[p + COST] * rest / (quantity * new)
    if r[ROUND] > 0.0:
        price = half_even(close * old, new)
        lieu = half_even(rest * close, unit)
        part = half_even(f[p + COST] * rest, quantity * new) if quantity > 0.0 else 0.0
    if quantity > 0.0:
        own = min(own, shares)
    else:
        part = lieu
    f[CASH] += lieu
    f[REALISED] += lieu - part
    f[p + QUANTITY] = shares
    f[p + OWN] = own
    f[p + COST] -= part
    if shares == 0.0:
        f[p + COST] = 0.0
    e = event(f, w, SPLIT, p, shares - quantity, price, lieu)
    f[e + E_REALISED] = lieu - part


def split_order(f: Reals, w: Wholes, r: Reals, o: int, new: float, old: float) -> None:
    """A resting order after a split; one of less than a share is cancelled."""
    quantity = f[o + O_QUANTITY] * new / old
    if r[STEP] > 0.0:
        quantity = down(quantity)
    if quantity == 0.0:
        cancel_order(f, w, o, SPLIT_AWAY)
        return
    f[o + O_QUANTITY] = quantity
    f[o + O_LIMIT] = split_price(r, f[o + O_LIMIT], new, old)
    f[o + O_STOP] = split_price(r, f[o + O_STOP], new, old)
    if w[o + O_RELATIVE] == 0:
        f[o + O_LOSS] = split_price(r, f[o + O_LOSS], new, old)
        f[o + O_PROFIT] = split_price(r, f[o + O_PROFIT], new, old)


def split_price(r: Reals, price: float, new: float, old: float) -> float:
    """A price after a split, on the nearest tick; at least a tick. 0 (no price) stays 0."""
    if price == 0.0:
        return 0.0
    tick = r[TICK]
    if tick == 0.0:
        return price * old / new
    on = half_even(price * old, new * tick) * tick
    return on if on > tick else tick
