"""``propose``: orders that bring the strategy's shares to its targets, sized, judged and accepted.

An entry or a change of size is wanted when a target *changes*, so what the owner sold is not bought back; an exit is
wanted as long as the target is 0 and own shares are left. The owner's shares are never touched. Entries are cut to the
limits and to the cash there is; each order is judged as if those before it were accepted.
"""

from __future__ import annotations

from retainer.trading.kernel.execute import spendable
from retainer.trading.kernel.judge import held_money, judge, promise, take_stock
from retainer.trading.kernel.layout import (
    BPS,
    BUYS_DAY,
    BUYS_MINUTE,
    E_BITS,
    E_SIDE,
    E_TYPE,
    EQUITY,
    FILL_ON,
    FIRST,
    GROSS_BPS,
    HEADER,
    IN_SHARES,
    LOTS,
    MARK,
    MARKET,
    NEXT_OPEN,
    O_ALIVE,
    O_CHILD_TRAIL,
    O_LOSS,
    O_NEXT,
    O_PARENT,
    O_PROFIT,
    O_RELATIVE,
    O_SEQ,
    O_SIDE,
    O_STRATEGY,
    O_TRAIL,
    ON_CLOSE,
    ORDER_BPS,
    ORDER_MONEY,
    OVERTAKEN,
    OWN,
    POSITION_BPS,
    PROMISED,
    QUANTITY,
    REFUSALS,
    REFUSED,
    RESERVE_BPS,
    RESERVED,
    ROUND,
    SHORT_ALLOWED,
    SKIPPED,
    SKIPS,
    SYMBOL_COLUMNS,
    SYMBOLS_END,
    TARGET,
    UNIT,
    WANTED,
    WISH,
    WISH_LOSS,
    WISH_PROFIT,
    WISH_TRAIL,
    WISHES,
    Reals,
    Wholes,
)
from retainer.trading.kernel.numbers import down, money, whole
from retainer.trading.kernel.orders import (
    add_order,
    cancel_order,
    chain_orders,
    event,
    forget,
    link,
    order_event,
    pending,
    release,
    remember,
    start_trailing,
)


def propose(f: Reals, w: Wholes, r: Reals) -> None:
    """Turn the wishes of this row into orders; their events are ``REFUSED`` and, live, ``WANTED`` and ``SKIPPED``."""
    p, end = HEADER, w[SYMBOLS_END]
    while p < end:
        if stirs(f, p, f[p + WISH]):
            rebalance(f, w, r, p)
            return
        p += SYMBOL_COLUMNS


def stirs(f: Reals, p: int, wish: float) -> bool:
    """Whether the wish may want an order: it is another one than before, or 0 while own shares are left.

    One branch for the caller: which of many symbols are held cannot be foretold by a processor.
    """
    return (wish == wish) & ((wish != f[p + TARGET]) | ((wish == 0.0) & (f[p + OWN] != 0.0)))  # noqa: PLR0124  NaN


def rebalance(f: Reals, w: Wholes, r: Reals, first: int) -> None:
    """Give up what is overtaken, then sell, then buy; sells of all symbols first. ``first``: the first that stirs."""
    chain_orders(f, w)
    give_up(f, w)
    take_stock(f, w, r)
    for side in (-1, 1):
        for p in range(first, w[SYMBOLS_END], SYMBOL_COLUMNS):
            if stirs(f, p, f[p + WISH]):
                quantity = wanted(f, w, r, p, side)
                if quantity > 0.0:
                    offer(f, w, r, p, side, quantity)
    for p in range(first, w[SYMBOLS_END], SYMBOL_COLUMNS):
        if f[p + WISH] == f[p + WISH]:
            f[p + TARGET] = f[p + WISH]


def give_up(f: Reals, w: Wholes) -> None:
    """Cancel entries that still rest in symbols whose target is 0 now."""
    for p in range(HEADER, w[SYMBOLS_END], SYMBOL_COLUMNS):
        if w[p + FIRST] == 0 or f[p + WISH] != 0.0:
            continue
        entry = 1 if f[p + OWN] >= 0.0 else -1
        o = w[p + FIRST]
        while o > 0:
            if (
                w[o + O_ALIVE] == 1
                and w[o + O_STRATEGY] == 1
                and w[o + O_PARENT] == 0
                and (w[o + O_SIDE] == entry or f[p + OWN] == 0.0)
            ):
                forget(f, w, w[o + O_SEQ])
                cancel_order(f, w, o, OVERTAKEN)
            o = w[o + O_NEXT]


def wanted(f: Reals, w: Wholes, r: Reals, p: int, side: int) -> float:
    """Quantity to sell (``side`` -1) or buy (1) for the wish; 0 or less: none."""
    wish, before, own = f[p + WISH], f[p + TARGET], f[p + OWN]
    if side < 0:
        if wish == 0.0:
            return own - pending(f, w, p, -1, 1, 0)
        if wish < before and f[p + MARK] > 0.0:
            return own - pending(f, w, p, -1, 1, 0) - goal(f, r, p, wish)
        return 0.0
    if wish == 0.0:
        return -own - pending(f, w, p, 1, 1, 0) if own < 0.0 else 0.0
    if wish > before and f[p + MARK] > 0.0:
        return goal(f, r, p, wish) - own - pending(f, w, p, 1, 1, 0)
    return 0.0


def goal(f: Reals, r: Reals, p: int, wish: float) -> float:
    """The position that the wish means, towards zero."""
    if r[IN_SHARES] > 0.0:
        return wish
    quantity = whole(r, f[EQUITY] * abs(wish) * r[UNIT] * r[LOTS] / (BPS * f[p + MARK]))
    return quantity if wish > 0.0 else -quantity


def room(f: Reals, r: Reals, p: int, side: int, quantity: float) -> float:
    """What the size limits and the unpromised cash leave of a quantity; what closes a position is not cut."""
    if side < 0 and r[SHORT_ALLOWED] == 0.0:
        return quantity
    held = f[p + QUANTITY]
    closing = max(0.0, held if side < 0 else -held)
    if quantity <= closing:
        return quantity
    worth, price = f[EQUITY], f[p + MARK]
    value = share(r, worth, r[ORDER_BPS])
    value = min(value, share(r, worth, r[POSITION_BPS]) - money(r, abs(held), price) - f[p + RESERVED])
    value = min(value, share(r, worth, r[GROSS_BPS]) - held_money(f, r) - f[PROMISED])
    if r[ORDER_MONEY] > 0.0:
        value = min(value, r[ORDER_MONEY])
    if side > 0:
        value = min(value, share(r, spendable(f, r) - f[PROMISED], BPS - r[RESERVE_BPS]))
    if value <= 0.0:
        return closing
    return min(quantity, closing + whole(r, value * r[UNIT] * r[LOTS] / price))


def share(r: Reals, amount: float, bps: float) -> float:
    """Basis points of an amount, rounded down to whole money."""
    return down(amount * bps / BPS) if r[ROUND] > 0.0 else amount * bps / BPS


def offer(f: Reals, w: Wholes, r: Reals, p: int, side: int, quantity: float) -> None:
    """One order of the strategy: cut to the limits, judged, and resting if nothing speaks against it."""
    cut = room(f, r, p, side, quantity)
    if cut <= 0.0:
        w[SKIPS] += 1
        if r[WISHES] > 0.0:
            e = event(f, w, SKIPPED, p, quantity, f[p + MARK], 0.0)
            w[e + E_SIDE] = side
        return
    own = f[p + OWN]
    kind = MARKET if r[FILL_ON] == NEXT_OPEN else ON_CLOSE
    o = place(f, w, r, p, side, kind, cut, 0.0, 0.0, 0.0, 1, 0)
    if o == 0:
        return
    if (own > 0.0) if side < 0 else (own < 0.0):
        release(f, w, p, side, cut)
    if (own >= 0.0) if side > 0 else (own <= 0.0):
        f[o + O_LOSS] = f[p + WISH_LOSS]
        f[o + O_PROFIT] = f[p + WISH_PROFIT]
        f[o + O_CHILD_TRAIL] = f[p + WISH_TRAIL]
        w[o + O_RELATIVE] = 1


def place(
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
    """Judge an order and let it rest; its offset, or 0 when it is refused. Needs :func:`take_stock`, as ``judge``."""
    bits = judge(f, w, r, p, side, kind, quantity, limit, stop, trail, strategy, guards)
    if bits != 0:
        e = event(f, w, REFUSED, p, quantity, f[p + MARK], 0.0)
        w[e + E_SIDE] = side
        w[e + E_TYPE] = kind
        w[e + E_BITS] = bits
        w[REFUSALS] += 1
        return 0
    o = add_order(f, w, p, side, kind, quantity, limit, stop, strategy)
    f[o + O_TRAIL] = trail
    start_trailing(f, w, r, o, f[p + MARK])
    link(w, o)
    increases = 1 if side > 0 else 0
    remember(f, w, r, o, increases)
    promise(f, w, r, o)
    w[BUYS_MINUTE] += increases
    w[BUYS_DAY] += increases
    if r[WISHES] > 0.0:
        order_event(f, w, WANTED, o, quantity, f[p + MARK], 0.0)
    return o
