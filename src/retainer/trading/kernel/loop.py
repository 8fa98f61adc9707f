"""The loops: ``fill`` and ``propose`` over many rows, for one plan or for many sets of targets.

A tape is ``x`` (floats, five columns per cell: the bar of one symbol in one row) and ``y`` (three columns per row);
``g`` holds a target per cell, ``exits`` three columns per cell or nothing.
"""

from __future__ import annotations

from retainer.trading.kernel.fill import fill, value_account
from retainer.trading.kernel.judge import take_stock
from retainer.trading.kernel.layout import (
    ACTION_COLUMNS,
    ACTION_DIVIDEND,
    ACTION_NEW,
    ACTION_OLD,
    ALIVE_ORDERS,
    AT,
    BAR_VOLUME,
    CASH,
    CELL_COLUMNS,
    CLOSE,
    EQUITY,
    EVENTS_END,
    EVENTS_STOP,
    EXIT_COLUMNS,
    FILL_ON,
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
    RECENT_STOP,
    ROW,
    ROW_COLUMNS,
    ROW_DAY,
    SAME_CLOSE,
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
from retainer.trading.kernel.propose import place, propose


def run(
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
    curves: Reals,
    row: int,
    rows: int,
) -> int:
    """Trade the rows from ``row`` on. Stops early, and says where, when the account has no room for one more row.

    ``curves`` takes equity, then cash, then gross value (price units times quantity units), a value per row each.
    """
    while row < rows:
        if not has_room(w, planned_cells, row):
            return row
        load(f, w, x, y, actions, action_cells, row)
        wish(f, w, g, exits, row, 0)
        fill(f, w, r)
        place_planned(f, w, r, planned, planned_wholes, planned_cells)
        propose(f, w, r)
        if r[FILL_ON] == SAME_CLOSE:
            fill_now(f, w, r)
        curves[row] = f[EQUITY]
        curves[rows + row] = f[CASH]
        curves[2 * rows + row] = f[GROSS]
        row += 1
    return row


def load(f: Reals, w: Wholes, x: Reals, y: Wholes, actions: Reals, action_cells: Wholes, row: int) -> None:
    """Put a row of the tape into the account: time, bars, splits and dividends."""
    w[ROW] = row
    w[AT] = y[row * ROW_COLUMNS]
    w[ROW_DAY] = y[row * ROW_COLUMNS + 1]
    w[TRADING] = y[row * ROW_COLUMNS + 2]
    cell = row * w[SYMBOLS]
    n = w[NEXT_ACTION]
    p = HEADER
    while p < w[SYMBOLS_END]:
        c = cell * CELL_COLUMNS
        f[p + OPEN] = x[c]
        f[p + HIGH] = x[c + 1]
        f[p + LOW] = x[c + 2]
        f[p + CLOSE] = x[c + 3]
        f[p + BAR_VOLUME] = x[c + 4]
        f[p + ACTION_NEW] = 0.0
        if n < len(action_cells) and action_cells[n] == cell:
            f[p + ACTION_NEW] = actions[n * ACTION_COLUMNS]
            f[p + ACTION_OLD] = actions[n * ACTION_COLUMNS + 1]
            f[p + ACTION_DIVIDEND] = actions[n * ACTION_COLUMNS + 2]
            n += 1
        cell += 1
        p += SYMBOL_COLUMNS
    w[NEXT_ACTION] = n


def wish(f: Reals, w: Wholes, g: Reals, exits: Reals, row: int, base: int) -> None:
    """Put the targets of a row into the account; ``base`` is where the set of targets begins."""
    cell = row * w[SYMBOLS]
    p = HEADER
    while p < w[SYMBOLS_END]:
        f[p + WISH] = g[base + cell]
        if len(exits) > 0:
            f[p + WISH_LOSS] = exits[cell * EXIT_COLUMNS]
            f[p + WISH_PROFIT] = exits[cell * EXIT_COLUMNS + 1]
            f[p + WISH_TRAIL] = exits[cell * EXIT_COLUMNS + 2]
        cell += 1
        p += SYMBOL_COLUMNS


def fill_now(f: Reals, w: Wholes, r: Reals) -> None:
    """Fill what was just decided at the very close of the decision: for comparison with engines that do so."""
    if w[ALIVE_ORDERS] > 0:
        at_close(f, w, r)
        value_account(f, w, r)


def place_planned(f: Reals, w: Wholes, r: Reals, planned: Reals, planned_wholes: Wholes, planned_cells: Wholes) -> None:
    """Orders that the plan itself places at this close; columns as the order table's."""
    n = w[NEXT_PLANNED]
    symbols = w[SYMBOLS]
    start, end = w[ROW] * symbols, (w[ROW] + 1) * symbols
    if n >= len(planned_cells) or planned_cells[n] >= end:
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
