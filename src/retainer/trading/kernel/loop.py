"""The loops: ``fill`` and ``propose`` over many rows, for one plan or for many sets of targets.

A tape is ``x`` and ``y``. ``x`` has floats per cell (the bar of one symbol in one row): the closes of all cells first,
which every row needs, then four columns per cell that are needed where orders rest: open, high, low and volume. ``y``
has close time, day number and whether the exchange trades, one column after the other. ``g`` holds a target per cell,
``exits`` three columns per cell or nothing.
"""

from __future__ import annotations

from retainer.trading.kernel.fill import close_row, fill, open_row, value_account
from retainer.trading.kernel.judge import take_stock
from retainer.trading.kernel.layout import (
    ACTION_COLUMNS,
    ACTION_DIVIDEND,
    ACTION_NEW,
    ACTION_OLD,
    ACTIONS,
    ALIVE_ORDERS,
    AT,
    BAR_COLUMNS,
    BAR_VOLUME,
    BORROW_RATE,
    CASH,
    CLOSE,
    COUNTS,
    DAY,
    EQUITY,
    EVENTS_END,
    EVENTS_STOP,
    EXIT_COLUMNS,
    FILL_ON,
    FIRST,
    GROSS,
    HEADER,
    HIGH,
    LOW,
    NEXT_ACTION,
    NEXT_PLANNED,
    O_CHILD_TRAIL,
    O_EXPIRES,
    O_GROUP,
    O_LIMIT,
    O_LOSS,
    O_QUANTITY,
    O_REF,
    O_SIDE,
    O_STOP,
    O_TRAIL,
    O_TYPE,
    OPEN,
    ORDER_COLUMNS,
    ORDERS_END,
    ORDERS_STOP,
    PEAK_END,
    PEAK_STOP,
    RECENT_END,
    RECENT_FIRST,
    RECENT_STOP,
    ROW,
    ROW_DAY,
    SAME_CLOSE,
    SETTLE,
    SYMBOL_COLUMNS,
    SYMBOLS,
    SYMBOLS_END,
    TRADING,
    WISH,
    WISH_LOSS,
    WISH_PROFIT,
    WISH_TRAIL,
    Reals,
    Wholes,
)
from retainer.trading.kernel.orders import chain_orders
from retainer.trading.kernel.path import at_close
from retainer.trading.kernel.propose import place, propose, stirs


def trade(
    f: Reals,
    w: Wholes,
    r: Reals,
    x: Reals,
    y: Wholes,
    actions: Reals,
    action_cells: Wholes,
    g: Reals,
    exits: Reals,
    planned: Reals,
    planned_wholes: Wholes,
    planned_cells: Wholes,
    base: int,
    curves: Reals,
    first: int,
    stride: int,
    row: int,
    rows: int,
) -> int:
    """Trade the rows from ``row`` on. Stops early, and says where, when the account has no room for one more row.

    ``base`` is where the set of targets begins in ``g``. ``curves`` takes equity from ``first`` on, a value per row;
    with a ``stride`` also cash and gross value (price units times quantity units), that far behind one another.
    """
    while row < rows:
        row = idle(f, w, r, x, y, action_cells, g, planned_cells, base, curves, first, stride, row, rows)
        if row == rows or not has_room(w, planned_cells, row):
            return row
        load(f, w, r, x, y, actions, action_cells, g, exits, base, row, rows)
        fill(f, w, r)
        if w[NEXT_PLANNED] < len(planned_cells):
            place_planned(f, w, r, planned, planned_wholes, planned_cells)
        propose(f, w, r)
        if r[FILL_ON] == SAME_CLOSE:
            fill_now(f, w, r)
        note(f, curves, first + row, stride)
        row += 1
    return row


def idle(
    f: Reals,
    w: Wholes,
    r: Reals,
    x: Reals,
    y: Wholes,
    action_cells: Wholes,
    g: Reals,
    planned_cells: Wholes,
    base: int,
    curves: Reals,
    first: int,
    stride: int,
    row: int,
    rows: int,
) -> int:
    """Pass the rows that only move prices, and return the first one that may do more.

    Nothing rests or is remembered, no corporate action, no order of the plan, no target that may want an order, nothing
    that is counted by the day. To such rows ``load``, ``fill`` and ``propose`` do what is done here.
    """
    if w[ALIVE_ORDERS] > 0 or w[RECENT_END] > w[RECENT_FIRST] or r[COUNTS] > 0.0:
        return row
    symbols, end = w[SYMBOLS], w[SYMBOLS_END]
    days = rows
    if w[NEXT_ACTION] < len(action_cells):
        rows = min(rows, action_cells[w[NEXT_ACTION]] // symbols)
    if w[NEXT_PLANNED] < len(planned_cells):
        rows = min(rows, planned_cells[w[NEXT_PLANNED]] // symbols)
    while row < rows:
        cell = row * symbols
        p = HEADER
        while p < end:
            if stirs(f, p, g[base + cell]):
                return row
            f[p + CLOSE] = x[cell]
            cell += 1
            p += SYMBOL_COLUMNS
        if w[PEAK_END] >= w[PEAK_STOP]:
            return row
        w[AT] = y[row]
        if y[days + row] != w[DAY] or r[SETTLE] > 0.0:
            if y[days + row] != w[DAY] and r[BORROW_RATE] > 0.0:
                return row
            w[ROW_DAY] = y[days + row]
            w[TRADING] = y[2 * days + row]
            open_row(f, w, r)
        close_row(f, w, r)
        note(f, curves, first + row, stride)
        row += 1
    return row


def note(f: Reals, curves: Reals, at: int, stride: int) -> None:
    """Write the row's equity down, and cash and gross value where they are wanted."""
    curves[at] = f[EQUITY]
    if stride > 0:
        curves[at + stride] = f[CASH]
        curves[at + 2 * stride] = f[GROSS]


def load(
    f: Reals,
    w: Wholes,
    r: Reals,
    x: Reals,
    y: Wholes,
    actions: Reals,
    action_cells: Wholes,
    g: Reals,
    exits: Reals,
    base: int,
    row: int,
    rows: int,
) -> None:
    """Put a row into the account: time, bars, splits and dividends, targets (of the set that begins at ``base``)."""
    w[ROW] = row
    w[AT] = y[row]
    w[ROW_DAY] = y[rows + row]
    w[TRADING] = y[2 * rows + row]
    cells, cell, end = rows * w[SYMBOLS], row * w[SYMBOLS], w[SYMBOLS_END]
    everything = r[COUNTS] > 0.0 or r[FILL_ON] == SAME_CLOSE
    p = HEADER
    while p < end:
        f[p + CLOSE] = x[cell]
        if everything or w[p + FIRST] > 0:
            c = cells + cell * BAR_COLUMNS
            f[p + OPEN] = x[c]
            f[p + HIGH] = x[c + 1]
            f[p + LOW] = x[c + 2]
            f[p + BAR_VOLUME] = x[c + 3]
        f[p + WISH] = g[base + cell]
        if len(exits) > 0:
            f[p + WISH_LOSS] = exits[cell * EXIT_COLUMNS]
            f[p + WISH_PROFIT] = exits[cell * EXIT_COLUMNS + 1]
            f[p + WISH_TRAIL] = exits[cell * EXIT_COLUMNS + 2]
        cell += 1
        p += SYMBOL_COLUMNS
    if w[NEXT_ACTION] < len(action_cells) and action_cells[w[NEXT_ACTION]] < cell:
        load_actions(f, w, actions, action_cells, cell)


def load_actions(f: Reals, w: Wholes, actions: Reals, action_cells: Wholes, end: int) -> None:
    """The splits and dividends of the row whose cells end before ``end``."""
    n, start = w[NEXT_ACTION], end - w[SYMBOLS]
    while n < len(action_cells) and action_cells[n] < end:
        p = HEADER + (action_cells[n] - start) * SYMBOL_COLUMNS
        f[p + ACTION_NEW] = actions[n * ACTION_COLUMNS]
        f[p + ACTION_OLD] = actions[n * ACTION_COLUMNS + 1]
        f[p + ACTION_DIVIDEND] = actions[n * ACTION_COLUMNS + 2]
        w[ACTIONS] += 1
        n += 1
    w[NEXT_ACTION] = n


def fill_now(f: Reals, w: Wholes, r: Reals) -> None:
    """Fill what was just decided at the very close of the decision: for comparison with engines that do so."""
    if w[ALIVE_ORDERS] > 0 and w[TRADING] == 1:
        at_close(f, w, r)
        value_account(f, w, r)


def place_planned(f: Reals, w: Wholes, r: Reals, planned: Reals, planned_wholes: Wholes, planned_cells: Wholes) -> None:
    """Orders that the plan itself places at this close; columns as the order table's."""
    n = w[NEXT_PLANNED]
    symbols = w[SYMBOLS]
    start, end = w[ROW] * symbols, (w[ROW] + 1) * symbols
    if planned_cells[n] >= end:
        return
    chain_orders(f, w)
    take_stock(f, w, r)
    while n < len(planned_cells) and planned_cells[n] < end:
        c = n * ORDER_COLUMNS
        o = place(
            f,
            w,
            r,
            HEADER + (planned_cells[n] - start) * SYMBOL_COLUMNS,
            planned_wholes[c + O_SIDE],
            planned_wholes[c + O_TYPE],
            planned[c + O_QUANTITY],
            planned[c + O_LIMIT],
            planned[c + O_STOP],
            planned[c + O_TRAIL],
            1,
            1,
        )
        if o > 0:
            for column in range(O_LOSS, O_CHILD_TRAIL + 1):
                f[o + column] = planned[c + column]
            w[o + O_GROUP] = planned_wholes[c + O_GROUP]
            w[o + O_EXPIRES] = planned_wholes[c + O_EXPIRES]
            w[o + O_REF] = planned_wholes[c + O_REF]
        n += 1
    w[NEXT_PLANNED] = n


def has_room(w: Wholes, planned_cells: Wholes, row: int) -> bool:
    """Whether the account can take what one more row can add to it at most: an entry with two exits per symbol.

    Counted in columns, generously: no other row is wider than a symbol's.
    """
    fresh = w[SYMBOLS_END] - HEADER
    if len(planned_cells) > 0:
        n, end = w[NEXT_PLANNED], (row + 1) * w[SYMBOLS]
        while n < len(planned_cells) and planned_cells[n] < end:
            n += 1
        fresh += (n - w[NEXT_PLANNED]) * SYMBOL_COLUMNS
    used = w[ORDERS_END] - w[SYMBOLS_END]
    orders = 2 * used + 3 * fresh
    return (
        w[ORDERS_END] + orders <= w[ORDERS_STOP]
        and w[RECENT_END] + fresh <= w[RECENT_STOP]
        and w[PEAK_END] + 1 <= w[PEAK_STOP]
        and w[EVENTS_END] + 4 * (used + orders) <= w[EVENTS_STOP]
    )
