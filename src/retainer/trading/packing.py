"""An account's state as the kernels' vectors and back, for the live path: plain lists, whole cents and units.

Nothing is lost or rounded on the way: every number of the state is whole and far below 2**53.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Final

from retainer.trading.kernel import layout as at
from retainer.trading.kernel import vectors
from retainer.trading.kernel.rules import rules_of
from retainer.trading.limits import Fees, Limits
from retainer.trading.state import ORDER_NUMBERS, ORDER_TYPES, AccountState, Mark, Order, Position, Side, equity

_FREE: Final = Fees()
_NAMESPACE = uuid.UUID("6f1b6d7e-6f0e-5c1e-9d0b-6a2d9c0f4e11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The vectors of a state, and what they cannot hold."""

    state: AccountState
    f: list[float]
    w: list[int]
    symbols: tuple[str, ...]
    groups: dict[str, int]

    def offset(self, symbol: str) -> int:
        """Where ``symbol`` lies."""
        return at.HEADER + self.symbols.index(symbol) * at.SYMBOL_COLUMNS

    def symbol(self, offset: int) -> str:
        """The symbol that lies there."""
        return self.symbols[(offset - at.HEADER) // at.SYMBOL_COLUMNS]


@lru_cache(maxsize=64)
def _rules(fees: Fees, limits: Limits | None) -> tuple[float, ...]:
    return tuple(rules_of(fees, limits or Limits(symbols=()), live=True))


def live_rules(fees: Fees | None = None, limits: Limits | None = None) -> list[float]:
    """The rules of a live account: rounded, whole shares, nothing short, fills from the next open on."""
    return list(_rules(fees or _FREE, limits))


def pack(state: AccountState, symbols: Iterable[str], limits: Limits | None = None) -> Packed:
    """The state as vectors that also know ``symbols``; what may be traded by ``limits``."""
    known = {*state.positions, *state.marks, *(order.symbol for order in state.orders), *symbols}
    names = tuple(sorted(known))
    count = len(names)
    room = vectors.Room(
        orders=3 * (len(state.orders) + count) + 1,
        recent=len(state.recent) + count + 1,
        peaks=len(state.peaks) + 2,
        events=12 * (len(state.orders) + count) + 4,
    )
    f, w = vectors.new_vectors(count, room, compiled=False)
    groups: dict[str, int] = {}
    for order in state.orders:
        if order.oco:
            groups.setdefault(order.oco, len(groups) + 1)
    packed = Packed(state=state, f=f, w=w, symbols=names, groups=groups)
    _pack_header(packed)
    for symbol in names:
        _pack_symbol(packed, symbol, limits)
    for number, order in enumerate(state.orders):
        _pack_order(packed, number, order)
    _pack_recent(packed)
    return packed


def _pack_header(packed: Packed) -> None:
    state, f, w = packed.state, packed.f, packed.w
    f[at.CASH], f[at.REALISED], f[at.DIVIDENDS] = float(state.cash), float(state.realised), float(state.dividends)
    f[at.FEES], f[at.DAY_EQUITY], f[at.EQUITY] = float(state.fees), float(state.day_equity), float(equity(state))
    f[at.UNSETTLED : at.UNSETTLED + 3] = [float(cents) for cents in state.unsettled]
    w[at.AT] = state.at
    w[at.DAY] = date.fromisoformat(state.day).toordinal() if state.day else 0
    w[at.SESSION] = w[at.DAY]
    w[at.NEXT_SEQ], w[at.NEXT_GROUP], w[at.TRADING] = state.next_seq, len(packed.groups) + 1, 1
    w[at.ALIVE_ORDERS] = len(state.orders)
    end = w[at.PEAK_FIRST]
    for when, cents in state.peaks:
        w[end], f[end] = when, float(cents)
        end += 1
    w[at.PEAK_END] = end


def _pack_symbol(packed: Packed, symbol: str, limits: Limits | None) -> None:
    state, f, w, p = packed.state, packed.f, packed.w, packed.offset(symbol)
    position, mark = state.positions.get(symbol), state.marks.get(symbol)
    if position:
        f[p + at.QUANTITY], f[p + at.COST] = float(position.quantity), float(position.cost)
        f[p + at.OWN] = float(position.own)
    if mark:
        f[p + at.MARK], w[p + at.SEEN] = float(mark.close), mark.at
        f[p + at.DAY_VOLUME], f[p + at.MEAN_VOLUME] = float(mark.day_volume), mark.mean_volume
        f[p + at.BOUGHT], f[p + at.TRIPS] = float(mark.bought), float(mark.trips)
        worth = f[p + at.QUANTITY] * f[p + at.MARK]
        f[at.VALUE] += worth
        f[at.GROSS] += abs(worth)
    f[p + at.TARGET] = float(state.targets.get(symbol, 0))
    f[p + at.WISH] = float("nan")
    w[p + at.ALLOWED] = int(limits is None or symbol in limits.symbols)
    w[p + at.BLOCKED] = int(symbol in state.blocked)


def _pack_order(packed: Packed, number: int, order: Order) -> None:
    f, w = packed.f, packed.w
    o = w[at.ORDERS_END]
    f[o + at.O_QUANTITY] = float(order.quantity)
    for column, value in (
        (at.O_LIMIT, order.limit),
        (at.O_STOP, order.stop),
        (at.O_TRAIL, order.trail),
        (at.O_LOSS, order.stop_loss),
        (at.O_PROFIT, order.take_profit),
        (at.O_CHILD_TRAIL, order.trail_exit),
    ):
        f[o + column] = float(value or 0)
    w[o + at.O_SYMBOL] = packed.offset(order.symbol)
    w[o + at.O_SIDE] = 1 if order.side == "buy" else -1
    w[o + at.O_TYPE], w[o + at.O_AT], w[o + at.O_SEQ] = ORDER_NUMBERS[order.type], order.at, order.seq
    w[o + at.O_STRATEGY], w[o + at.O_PROTECTIVE] = int(bool(order.strategy)), int(order.protective)
    w[o + at.O_TRIGGERED], w[o + at.O_GROUP] = int(order.triggered), packed.groups.get(order.oco, 0)
    w[o + at.O_PARENT], w[o + at.O_EXPIRES], w[o + at.O_REF] = order.parent, order.expires, number
    w[o + at.O_ALIVE], w[o + at.O_RELATIVE] = 1, int(order.relative)
    w[at.ORDERS_END] = o + at.ORDER_COLUMNS


def _pack_recent(packed: Packed) -> None:
    f, w = packed.f, packed.w
    numbers = {order.id: order.seq for order in packed.state.orders}
    for recent in packed.state.recent:
        offset = packed.offset(recent.symbol) if recent.symbol in packed.symbols else 0
        e = w[at.RECENT_END]
        f[e + at.R_QUANTITY] = float(recent.quantity)
        w[e + at.R_AT], w[e + at.R_SYMBOL] = recent.at, offset
        w[e + at.R_SIDE] = 1 if recent.side == "buy" else -1
        w[e + at.R_INCREASES], w[e + at.R_SEQ] = int(recent.increases), numbers.get(recent.id, -1)
        w[at.RECENT_END] = e + at.RECENT_COLUMNS


# --- and back
def unpack(packed: Packed, factors: dict[str, float]) -> AccountState:
    """The state that the vectors hold now. ``factors``: adjustment factors of the symbols that had a bar."""
    state, f, w = packed.state, packed.f, packed.w
    positions, marks = {}, dict(state.marks)
    for symbol in packed.symbols:
        p = packed.offset(symbol)
        if f[p + at.QUANTITY]:
            positions[symbol] = Position(
                symbol=symbol,
                quantity=int(f[p + at.QUANTITY]),
                cost=int(f[p + at.COST]),
                own=int(f[p + at.OWN]),
            )
        if symbol in factors:
            marks[symbol] = Mark(
                close=int(f[p + at.MARK]),
                factor=factors[symbol],
                at=w[p + at.SEEN],
                day_volume=int(f[p + at.DAY_VOLUME]),
                mean_volume=f[p + at.MEAN_VOLUME],
                bought=int(f[p + at.BOUGHT]),
                trips=int(f[p + at.TRIPS]),
            )
        elif symbol in marks:
            marks[symbol] = replace(
                marks[symbol],
                day_volume=int(f[p + at.DAY_VOLUME]),
                mean_volume=f[p + at.MEAN_VOLUME],
                bought=int(f[p + at.BOUGHT]),
                trips=int(f[p + at.TRIPS]),
            )
    pruned = (w[at.RECENT_END] - w[at.RECENT_FIRST]) // at.RECENT_COLUMNS
    return replace(
        state,
        at=w[at.AT],
        cash=int(f[at.CASH]),
        realised=int(f[at.REALISED]),
        dividends=int(f[at.DIVIDENDS]),
        fees=int(f[at.FEES]),
        positions=positions,
        orders=orders_of(packed),
        marks={symbol: marks[symbol] for symbol in sorted(marks)},
        recent=state.recent[len(state.recent) - pruned :],
        peaks=tuple((w[e], int(f[e])) for e in range(w[at.PEAK_FIRST], w[at.PEAK_END])),
        day=date.fromordinal(w[at.DAY]).isoformat() if w[at.DAY] else "",
        day_equity=int(f[at.DAY_EQUITY]),
        next_seq=w[at.NEXT_SEQ],
        unsettled=tuple(int(cents) for cents in f[at.UNSETTLED : at.UNSETTLED + 3]),
    )


def orders_of(packed: Packed) -> tuple[Order, ...]:
    """The orders that rest in the vectors; those that the kernels made have their entry's origin."""
    w = packed.w
    rows = range(w[at.SYMBOLS_END], w[at.ORDERS_END], at.ORDER_COLUMNS)
    return tuple(_order(packed, o) for o in rows if w[o + at.O_ALIVE])


def _order(packed: Packed, o: int) -> Order:
    f, w = packed.f, packed.w
    if w[o + at.O_REF] < 0:
        return exit_order(
            packed,
            seq=w[o + at.O_SEQ],
            parent=w[o + at.O_PARENT],
            offset=w[o + at.O_SYMBOL],
            side=w[o + at.O_SIDE],
            kind=w[o + at.O_TYPE],
            quantity=f[o + at.O_QUANTITY],
            limit=f[o + at.O_LIMIT],
            stop=f[o + at.O_STOP],
            trail=f[o + at.O_TRAIL],
            when=w[o + at.O_AT],
        )
    order = packed.state.orders[w[o + at.O_REF]]
    return replace(
        order,
        quantity=int(f[o + at.O_QUANTITY]),
        limit=_price(f[o + at.O_LIMIT], order.limit),
        stop=_price(f[o + at.O_STOP], order.stop),
        stop_loss=_price(f[o + at.O_LOSS], order.stop_loss),
        take_profit=_price(f[o + at.O_PROFIT], order.take_profit),
        triggered=bool(w[o + at.O_TRIGGERED]),
        expires=w[o + at.O_EXPIRES],
    )


def _price(value: float, before: int | None) -> int | None:
    return None if before is None and value == 0.0 else int(value)


def exit_order(
    packed: Packed,
    *,
    seq: int,
    parent: int,
    offset: int,
    side: int,
    kind: int,
    quantity: float,
    limit: float,
    stop: float,
    trail: float,
    when: int,
) -> Order:
    """An exit that a filled entry set up: its id follows from the entry's place in the account."""
    state, symbol = packed.state, packed.symbol(offset)
    entry = next((order for order in state.orders if order.seq == parent), None)
    side_name: Side = "buy" if side > 0 else "sell"
    return Order(
        id=order_id(state.account, f"exit:{parent}:{seq}", symbol, side_name, when),
        symbol=symbol,
        side=side_name,
        quantity=int(quantity),
        type=ORDER_TYPES[kind],
        limit=int(limit) or None,
        stop=int(stop) or None,
        trail=int(trail) or None,
        at=when,
        strategy=entry.strategy if entry else "",
        protective=True,
        seq=seq,
        reply_to=entry.reply_to if entry else "",
        oco=f"exits-{parent}",
        parent=parent,
    )


def order_id(account: str, origin: str, symbol: str, side: str, at: int) -> str:
    """Client order id made from what wants the order (strategy name, effect key) and when: same wish, same id."""
    return str(uuid.uuid5(_NAMESPACE, f"{account}|{origin}|{symbol}|{side}|{at}"))
