"""Carrying out one order at one price: what can be filled, at what price and fee, and what follows from it."""

from __future__ import annotations

from retainer.trading.kernel.layout import (
    BAR_VOLUME,
    BOUGHT,
    CASH,
    COST,
    E_FEE,
    E_REALISED,
    E_REFERENCE,
    E_UNFILLED,
    FEES,
    FILLED,
    FILLS,
    FIRST,
    LEFT,
    LIMIT,
    LOTS,
    NEXT_GROUP,
    NO_CASH,
    NO_SHARES,
    O_ALIVE,
    O_AT,
    O_CHILD_TRAIL,
    O_GROUP,
    O_LIMIT,
    O_LOSS,
    O_NEXT,
    O_PARENT,
    O_PROFIT,
    O_PROTECTIVE,
    O_QUANTITY,
    O_RELATIVE,
    O_SEQ,
    O_SIDE,
    O_STRATEGY,
    O_STUCK,
    O_SYMBOL,
    O_TRAIL,
    O_TYPE,
    OWN,
    PARENT_CLOSED,
    PARTNER,
    PPM,
    QUANTITY,
    REALISED,
    ROUND,
    ROW,
    SETTLE,
    SHORT_ALLOWED,
    SHORTS,
    SLIPPAGE,
    STEP,
    STOP,
    TRAILING,
    TRIPS,
    UNIT,
    UNSETTLED,
    VOLUME_SHARE,
    Reals,
    Wholes,
)
from retainer.trading.kernel.numbers import (
    down,
    fee,
    half_even,
    market_price,
    money,
    slip_price,
    tick_down,
    tick_up,
    trail_level,
)
from retainer.trading.kernel.orders import add_order, cancel_order, end_order, link, order_event, reduce_order


def execute(f: Reals, w: Wholes, r: Reals, o: int, reference: float) -> None:
    """Fill the order at ``reference``, as far as volume, shares and cash reach.

    What the volume does not allow keeps resting; what cash or shares do not cover is cancelled.
    """
    p, side = w[o + O_SYMBOL], w[o + O_SIDE]
    wanted = f[o + O_QUANTITY]
    if r[VOLUME_SHARE] > 0.0 and wanted > f[p + LEFT]:
        wanted = f[p + LEFT]
        w[o + O_STUCK] = w[ROW] + 1
        if wanted <= 0.0:
            return
    price = paid(f, w, r, o, reference, wanted)
    quantity = possible(f, w, r, o, wanted, price)
    if quantity <= 0.0:
        cancel_order(f, w, o, NO_CASH if side > 0 and w[o + O_PARENT] == 0 else NO_SHARES)
        return
    cost = fee(r, side, quantity, price)
    realised, amount = book(f, r, p, side, quantity, price, w[o + O_STRATEGY])
    f[CASH] -= cost
    f[FEES] += cost
    f[REALISED] += realised
    f[SLIPPAGE] += abs(price - reference) * quantity / (r[UNIT] * r[LOTS])
    w[FILLS] += 1
    left, lacking = f[o + O_QUANTITY] - quantity, wanted - quantity
    e = order_event(f, w, FILLED, o, quantity, price, amount)
    f[e + E_REFERENCE] = reference
    f[e + E_FEE] = cost
    f[e + E_REALISED] = realised
    f[e + E_UNFILLED] = left if lacking > 0.0 else 0.0
    if r[VOLUME_SHARE] > 0.0:
        f[p + LEFT] -= quantity
    f[o + O_QUANTITY] = left
    if left <= 0.0 or lacking > 0.0:
        end_order(w, o)
    follow_up(f, w, r, o, quantity, price)


def paid(f: Reals, w: Wholes, r: Reals, o: int, reference: float, quantity: float) -> float:
    """The price after slippage, on the tick; never beyond the order's limit."""
    side, kind, limit = w[o + O_SIDE], w[o + O_TYPE], f[o + O_LIMIT]
    if kind == LIMIT:
        price = slip_price(r, side, reference, 0.0, 0.0)
    else:
        price = market_price(r, side, reference, quantity, f[w[o + O_SYMBOL] + BAR_VOLUME])
    if limit > 0.0:
        price = min(price, limit) if side > 0 else max(price, limit)
    return price


def possible(f: Reals, w: Wholes, r: Reals, o: int, quantity: float, price: float) -> float:
    """How much of ``quantity`` shares and cash cover. An exit never goes beyond the position it guards."""
    p = w[o + O_SYMBOL]
    if w[o + O_SIDE] > 0:
        short = max(0.0, -f[p + QUANTITY])
        if w[o + O_PARENT] != 0:
            return min(quantity, short)
        return quantity if quantity <= short else max(short, affordable(f, r, quantity, price))
    if r[SHORT_ALLOWED] > 0.0 and w[o + O_PARENT] == 0:
        return quantity
    return min(quantity, f[p + OWN] if w[o + O_STRATEGY] == 1 else f[p + QUANTITY])


def affordable(f: Reals, r: Reals, quantity: float, price: float) -> float:
    """The most, up to ``quantity``, whose value and fee the cash covers."""
    cash = spendable(f, r)
    cost = money(r, quantity, price) + fee(r, 1, quantity, price)
    if cost <= cash:
        return quantity
    if r[STEP] == 0.0:
        part = quantity * (cash / cost) if cash > 0.0 else 0.0
        while part > 0.0 and money(r, part, price) + fee(r, 1, part, price) > cash:
            part = part - part / PPM if part > 1.0 / PPM else 0.0
        return part
    low, high = 0.0, quantity
    while low < high:
        middle = down((low + high + 1.0) / 2.0)
        if money(r, middle, price) + fee(r, 1, middle, price) <= cash:
            low = middle
        else:
            high = middle - 1.0
    return low


def spendable(f: Reals, r: Reals) -> float:
    """Cash less what has not settled and less what shorts would cost to buy back at their last closes."""
    cash = f[CASH]
    if r[SETTLE] > 0.0:
        for n in range(int(r[SETTLE])):
            cash -= f[UNSETTLED + n]
    if f[SHORTS] > 0.0:
        cash -= f[SHORTS] / (r[UNIT] * r[LOTS])
    return cash


def book(f: Reals, r: Reals, p: int, side: int, quantity: float, price: float, strategy: int) -> tuple[float, float]:
    """Move cash, shares and cost; the realised profit and the change of cash before fees.

    Cost is what the shares cost, negative for a short (what it brought in). What closes a position realises the
    difference to its average cost; what is left over opens the other side.
    """
    held, cost = f[p + QUANTITY], f[p + COST]
    amount = money(r, quantity, price)
    realised = 0.0
    if held == 0.0 or (held > 0.0) == (side > 0):
        f[p + COST] = cost + (amount if side > 0 else -amount)
    else:
        size = abs(held)
        closing = min(quantity, size)
        back = amount if closing == quantity else money(r, closing, price)
        part = abs(cost)
        if closing < size:
            part = part * closing / size if r[ROUND] == 0.0 else half_even(part * closing, size)
        realised = back - part if side < 0 else part - back
        if quantity > size:
            f[p + COST] = amount - back if side > 0 else back - amount
        elif quantity == size:
            f[p + COST] = 0.0
        else:
            f[p + COST] = cost - part if held > 0.0 else cost + part
    owners = held - f[p + OWN]
    signed = quantity if side > 0 else -quantity
    f[p + QUANTITY] = held + signed
    if strategy == 1:
        f[p + OWN] += signed
    elif side < 0 and quantity > owners:
        f[p + OWN] += owners - quantity
    change = -amount if side > 0 else amount
    f[CASH] += change
    if side > 0:
        f[p + BOUGHT] += quantity
        return realised, change
    if r[SETTLE] > 0.0:
        f[UNSETTLED] += amount
    if f[p + BOUGHT] > 0.0:
        f[p + TRIPS] += 1.0
        f[p + BOUGHT] = max(0.0, f[p + BOUGHT] - quantity)
    return realised, change


def follow_up(f: Reals, w: Wholes, r: Reals, o: int, quantity: float, price: float) -> None:
    """Partners of a filled order shrink, an exit ends what is left of its entry, an entry sets up its exits."""
    group, parent = w[o + O_GROUP], w[o + O_PARENT]
    if group != 0 or parent != 0:
        j = w[w[o + O_SYMBOL] + FIRST]
        while j > 0:
            if w[j + O_ALIVE] == 1 and j != o:
                if group != 0 and w[j + O_GROUP] == group:
                    reduce_order(f, w, j, quantity, PARTNER)
                elif parent != 0 and w[j + O_SEQ] == parent:
                    cancel_order(f, w, j, PARENT_CLOSED)
            j = w[j + O_NEXT]
    if f[o + O_LOSS] > 0.0 or f[o + O_PROFIT] > 0.0 or f[o + O_CHILD_TRAIL] > 0.0:
        guard(f, w, r, o, quantity, price)


def guard(f: Reals, w: Wholes, r: Reals, o: int, quantity: float, price: float) -> None:
    """Exits for what an entry has just bought (sold short); a later part of it enlarges them."""
    seq, side = w[o + O_SEQ], w[o + O_SIDE]
    grown = 0
    j = w[w[o + O_SYMBOL] + FIRST]
    while j > 0:
        if w[j + O_ALIVE] == 1 and w[j + O_PARENT] == seq:
            f[j + O_QUANTITY] += quantity
            grown = 1
        j = w[j + O_NEXT]
    if grown == 1:
        return
    loss, profit, trail = f[o + O_LOSS], f[o + O_PROFIT], f[o + O_CHILD_TRAIL]
    if w[o + O_RELATIVE] == 1:
        loss = away(r, price, loss, side) if loss > 0.0 else 0.0
        profit = away(r, price, profit, -side) if profit > 0.0 else 0.0
    group = w[NEXT_GROUP]
    w[NEXT_GROUP] = group + 1
    if trail > 0.0:
        child = exit_order(f, w, o, quantity, TRAILING, 0.0, trail_level(r, -side, price, trail), group)
        f[child + O_TRAIL] = trail
    elif loss > 0.0:
        exit_order(f, w, o, quantity, STOP, 0.0, loss, group)
    if profit > 0.0:
        exit_order(f, w, o, quantity, LIMIT, profit, 0.0, group)


def away(r: Reals, price: float, ppm: float, side: int) -> float:
    """A price ``ppm`` below (``side`` 1) or above (-1), on the tick that is nearer to ``price``."""
    if side > 0:
        return tick_up(r, price * (PPM - ppm) / PPM)
    return tick_down(r, price * (PPM + ppm) / PPM)


def exit_order(f: Reals, w: Wholes, o: int, quantity: float, kind: int, limit: float, stop: float, group: int) -> int:
    """One exit of the entry ``o``, resting from now on."""
    child = add_order(f, w, w[o + O_SYMBOL], -w[o + O_SIDE], kind, quantity, limit, stop, w[o + O_STRATEGY])
    w[child + O_AT] = w[o + O_AT]
    w[child + O_PROTECTIVE] = 1
    w[child + O_GROUP] = group
    w[child + O_PARENT] = w[o + O_SEQ]
    link(w, child)
    return child
