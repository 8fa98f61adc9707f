"""What the kernels' log says, as values: fills, ledger lines, cancellations, proposals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from retainer.trading.kernel import layout as at
from retainer.trading.packing import Packed, exit_order
from retainer.trading.state import ORDER_TYPES, Cancelled, Fill, Order, Posting, ProposedOrder, Side
from retainer.trading.units import notional_cents

REASONS: Final = {
    at.NO_CASH: "the cash did not reach for one share",
    at.NO_SHARES: "the shares were gone before it could be filled",
    at.SPLIT_AWAY: "a split left less than one share",
    at.PARTNER: "its partner was filled",
    at.OVERTAKEN: "the strategy changed its mind before it was filled",
    at.EXPIRED: "its session ended",
    at.PARENT_CLOSED: "its exit was filled first",
    at.EXIT_ORDERED: "the position it guarded is being sold",
}
"""Why an order ended without (all of) its fill, in words, by the kernels' number."""


def events(packed: Packed) -> Iterator[int]:
    """Offsets of the log's lines, in order."""
    return iter(range(packed.w[at.PEAK_STOP], packed.w[at.EVENTS_END], at.EVENT_COLUMNS))


def fills_of(packed: Packed, when: int) -> tuple[Fill, ...]:
    """Every fill, in order."""
    return tuple(_fill(packed, e, when) for e in events(packed) if packed.w[e + at.E_KIND] == at.FILLED)


def _fill(packed: Packed, e: int, when: int) -> Fill:
    f, order = packed.f, _order(packed, e)
    return Fill(
        order_id=order.id,
        symbol=order.symbol,
        side=order.side,
        quantity=int(f[e + at.E_QUANTITY]),
        price=int(f[e + at.E_PRICE]),
        reference=int(f[e + at.E_REFERENCE]),
        at=when,
        fee=int(f[e + at.E_FEE]),
        realised=int(f[e + at.E_REALISED]),
        strategy=order.strategy,
        reply_to=order.reply_to,
        unfilled=int(f[e + at.E_UNFILLED]),
    )


def postings_of(packed: Packed, when: int) -> tuple[Posting, ...]:
    """The ledger lines, in order: a fee stands behind its fill."""
    return tuple(line for e in events(packed) for line in _postings(packed, e, when))


def _postings(packed: Packed, e: int, when: int) -> Iterator[Posting]:
    f, w = packed.f, packed.w
    symbol, kind = packed.symbol(w[e + at.E_SYMBOL]), w[e + at.E_KIND]
    quantity, price, amount = int(f[e + at.E_QUANTITY]), int(f[e + at.E_PRICE]), int(f[e + at.E_AMOUNT])
    realised = int(f[e + at.E_REALISED])
    if kind == at.FILLED:
        order = _order(packed, e)
        yield Posting(
            at=when,
            kind="fill",
            symbol=symbol,
            quantity=quantity if order.side == "buy" else -quantity,
            price=price,
            amount=amount,
            realised=realised,
            order_id=order.id,
        )
        if f[e + at.E_FEE]:
            yield Posting(at=when, kind="fee", symbol=symbol, amount=-int(f[e + at.E_FEE]), order_id=order.id)
    elif kind == at.DIVIDEND:
        yield Posting(at=when, kind="dividend", symbol=symbol, price=price, amount=amount)
    elif kind == at.SPLIT:
        yield Posting(
            at=when, kind="split", symbol=symbol, quantity=quantity, price=price, amount=amount, realised=realised
        )


def cancelled_of(packed: Packed) -> tuple[Cancelled, ...]:
    """Orders that ended without (all of) their fill, as they stood, in order."""
    w = packed.w
    return tuple(
        Cancelled(order=_order(packed, e), reason=REASONS[w[e + at.E_BITS]])
        for e in events(packed)
        if w[e + at.E_KIND] == at.CANCELLED
    )


def _order(packed: Packed, e: int) -> Order:
    """The order that a line is about, as large as the line says."""
    f, w = packed.f, packed.w
    quantity = f[e + at.E_QUANTITY]
    if w[e + at.E_REF] >= 0:
        order = packed.state.orders[w[e + at.E_REF]]
        return replace(order, quantity=int(quantity))
    cancelled = w[e + at.E_KIND] == at.CANCELLED
    return exit_order(
        packed,
        seq=w[e + at.E_SEQ],
        parent=w[e + at.E_PARENT],
        offset=w[e + at.E_SYMBOL],
        side=w[e + at.E_SIDE],
        kind=w[e + at.E_TYPE],
        quantity=quantity,
        limit=f[e + at.E_PRICE] if cancelled else 0.0,
        stop=f[e + at.E_REFERENCE] if cancelled else 0.0,
        trail=0.0,
        when=w[e + at.E_DECIDED],
    )


def proposals_of(packed: Packed, strategy: str) -> tuple[tuple[ProposedOrder, ...], dict[str, str]]:
    """The strategy's orders with their verdicts, and the symbols for which there was no room."""
    f, w = packed.f, packed.w
    orders, skipped = [], {}
    for e in events(packed):
        kind, symbol = w[e + at.E_KIND], packed.symbol(w[e + at.E_SYMBOL])
        if kind == at.SKIPPED:
            skipped[symbol] = "the limits and the cash leave no room for a whole share"
        if kind not in (at.WANTED, at.REFUSED):
            continue
        side: Side = "buy" if w[e + at.E_SIDE] > 0 else "sell"
        quantity, price = int(f[e + at.E_QUANTITY]), int(f[e + at.E_PRICE])
        loss, profit, trail = _exits(packed, w[e + at.E_SEQ]) if kind == at.WANTED else (None, None, None)
        orders.append(
            ProposedOrder(
                symbol=symbol,
                side=side,
                quantity=quantity,
                type=ORDER_TYPES[w[e + at.E_TYPE]],
                strategy=strategy,
                price=price,
                notional=notional_cents(quantity, price),
                increases_exposure=side == "buy",
                bits=w[e + at.E_BITS],
                stop_loss=loss,
                take_profit=profit,
                trail_exit=trail,
                relative=any((loss, profit, trail)),
            )
        )
    return tuple(orders), skipped


def _exits(packed: Packed, seq: int) -> tuple[int | None, int | None, int | None]:
    """Distances of the exits that go with a new order, millionths of its fill price."""
    f, w = packed.f, packed.w
    rows = range(w[at.SYMBOLS_END], w[at.ORDERS_END], at.ORDER_COLUMNS)
    o = next(o for o in rows if w[o + at.O_SEQ] == seq)
    return int(f[o + at.O_LOSS]) or None, int(f[o + at.O_PROFIT]) or None, int(f[o + at.O_CHILD_TRAIL]) or None
