"""Many sets of targets over the same bars: what a sweep calls, without the interpreter's lock when compiled."""

from __future__ import annotations

from retainer.trading.kernel.layout import (
    CASH,
    DAY_EQUITY,
    EQUITY,
    EVENTS_END,
    FEES,
    FILLS,
    FIRST,
    HEADER,
    LAST,
    NEXT_GROUP,
    NEXT_SEQ,
    ORDERS_END,
    ORDERS_STOP,
    PEAK_END,
    PEAK_FIRST,
    PEAK_STOP,
    RECENT_END,
    RECENT_FIRST,
    RECENT_STOP,
    REFUSALS,
    SEEN,
    SYMBOL_COLUMNS,
    SYMBOLS,
    SYMBOLS_END,
    Reals,
    Wholes,
)
from retainer.trading.kernel.loop import trade


def begin(f: Reals, w: Wholes, cash: float) -> None:
    """A new account with ``cash``, in vectors that may have been used before; what may be traded stays as it is."""
    for n in range(HEADER):
        f[n] = 0.0
    for n in range(SYMBOLS_END):
        w[n] = 0
    for p in range(HEADER, w[SYMBOLS_END], SYMBOL_COLUMNS):
        for c in range(SYMBOL_COLUMNS):
            f[p + c] = 0.0
        w[p + SEEN] = 0
        w[p + FIRST] = 0
        w[p + LAST] = 0
    f[CASH] = cash
    f[EQUITY] = cash
    f[DAY_EQUITY] = cash
    w[NEXT_SEQ] = 1
    w[NEXT_GROUP] = 1
    w[ORDERS_END] = w[SYMBOLS_END]
    w[RECENT_FIRST] = w[ORDERS_STOP]
    w[RECENT_END] = w[ORDERS_STOP]
    w[PEAK_FIRST] = w[RECENT_STOP]
    w[PEAK_END] = w[RECENT_STOP]
    w[EVENTS_END] = w[PEAK_STOP]


def sweep(
    f: Reals,
    w: Wholes,
    r: Reals,
    x: Reals,
    y: Wholes,
    actions: Reals,
    action_cells: Wholes,
    targets: Reals,
    nothing: Reals,
    none: Wholes,
    cash: float,
    rows: int,
    figures: Reals,
    counts: Wholes,
    curves: Reals,
    first: int,
    sets: int,
) -> int:
    """Trade every set of ``targets`` on an account of its own. Stops early, and says where, when there is no room.

    ``figures``: final equity, fees and largest drawdown (share of the highest equity) per set; ``counts``: fills and
    refusals; ``curves``: equity per row, of every set or of one after the other; ``nothing`` and ``none`` are empty.
    """
    cells = rows * w[SYMBOLS]
    for k in range(first, sets):
        begin(f, w, cash)
        at = k * rows if len(curves) > rows else 0
        row = 0
        while row < rows:
            w[EVENTS_END] = w[PEAK_STOP]
            reached = trade(
                f,
                w,
                r,
                x,
                y,
                actions,
                action_cells,
                targets,
                nothing,
                nothing,
                none,
                none,
                k * cells,
                curves,
                at,
                0,
                row,
                rows,
            )
            if reached == row:
                return k
            row = reached
        figures[3 * k] = f[EQUITY]
        figures[3 * k + 1] = f[FEES]
        figures[3 * k + 2] = deepest(curves, at, rows, cash)
        counts[2 * k] = w[FILLS]
        counts[2 * k + 1] = w[REFUSALS]
    return sets


def deepest(curves: Reals, first: int, rows: int, cash: float) -> float:
    """The largest fall from the highest equity so far, as a share of it, of the ``rows`` values from ``first`` on."""
    top, worst = cash, 0.0
    for n in range(first, first + rows):
        top = max(top, curves[n])
        worst = max(worst, (top - curves[n]) / top)
    return worst
