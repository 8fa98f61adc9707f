"""Orders against the account: priced, judged, accepted, cancelled. Pure functions over whole numbers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

from retainer.core.errors import InvalidInputError
from retainer.trading.limits import Limits, Reason
from retainer.trading.state import (
    ORDER_TYPES,
    SIDES,
    AccountState,
    Order,
    OrderType,
    ProposedOrder,
    Recent,
    Side,
    equity,
    positions_units,
)
from retainer.trading.units import BPS, DAY_NS, MAX_QUANTITY, MINUTE_NS, UNITS_PER_CENT, notional_cents

_NAMESPACE = uuid.UUID("6f1b6d7e-6f0e-5c1e-9d0b-6a2d9c0f4e11")


def order_id(account: str, origin: str, symbol: str, side: str, at: int) -> str:
    """Client order id made from what wants the order (strategy name, effect key) and when: same wish, same id."""
    return str(uuid.uuid5(_NAMESPACE, f"{account}|{origin}|{symbol}|{side}|{at}"))


# --- orders ---------------------------------------------------------------------------------------------------------
def price_order(
    state: AccountState,
    symbol: str,
    side: Side,
    quantity: int,
    order_type: OrderType = "market",
    *,
    limit: int | None = None,
    stop: int | None = None,
    strategy: str = "",
) -> ProposedOrder:
    """An order with its reference price (last close) and notional; not judged yet (``bits`` 0)."""
    mark = state.marks.get(symbol)
    price = mark.close if mark else 0
    whole = isinstance(quantity, int)
    return ProposedOrder(
        symbol=symbol,
        side=side,
        quantity=quantity,
        type=order_type,
        limit=limit,
        stop=stop,
        strategy=strategy,
        price=price,
        notional=notional_cents(quantity, price) if whole else 0,
        increases_exposure=side != "sell",
    )


def apply_accept(state: AccountState, order: Order) -> AccountState:
    """The account with ``order`` resting, numbered and counted. Raises when its id rests already."""
    if any(resting.id == order.id for resting in state.orders):
        raise InvalidInputError(f"Order {order.id} was accepted already.", hint="Each client order id is used once.")
    recent = Recent(
        at=order.at,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        increases=order.side == "buy",
        id=order.id,
    )
    return replace(
        state,
        orders=(*state.orders, replace(order, seq=state.next_seq)),
        recent=(*state.recent, recent),
        next_seq=state.next_seq + 1,
    )


def cancel_where(state: AccountState, matches: Callable[[Order], bool]) -> tuple[AccountState, tuple[Order, ...]]:
    """The account without the resting orders that match, and those orders. They still count for the rate limits."""
    gone = tuple(order for order in state.orders if matches(order))
    if not gone:
        return state, ()
    ids = {order.id for order in gone}
    return (
        replace(
            state,
            orders=tuple(order for order in state.orders if order.id not in ids),
            recent=tuple(replace(r, quantity=0) if r.id in ids else r for r in state.recent),
        ),
        gone,
    )


def cancel(state: AccountState, order_id: str) -> tuple[AccountState, Order | None]:
    """The account without that resting order, and the order; ``None`` when it does not rest (any more)."""
    after, gone = cancel_where(state, lambda order: order.id == order_id)
    return after, gone[0] if gone else None


# --- risk -----------------------------------------------------------------------------------------------------------
def risk(order: ProposedOrder, state: AccountState, limits: Limits, at: int) -> int:
    """Reasons against ``order`` at ``at`` (ns, the account's clock), as :class:`Reason` bits; 0 is a yes.

    All reasons are found, not only the first. Sells are never held back by loss, rate or size limits.
    """
    bits = _shape_bits(order)
    if bits:
        return bits
    if order.symbol not in limits.symbols:
        bits |= Reason.SYMBOL
    if order.symbol in state.blocked:
        bits |= Reason.BLOCKED
    if any(
        r.quantity == order.quantity and r.symbol == order.symbol and r.side == order.side
        for r in state.recent
        if at - r.at < limits.duplicate_ns
    ):
        bits |= Reason.DUPLICATE
    mark = state.marks.get(order.symbol)
    if mark is None:
        return int(bits | Reason.NO_PRICE)
    if at - mark.at > limits.stale_ns:
        bits |= Reason.STALE
    if _beyond_collar(order, mark.close, limits.collar_bps):
        bits |= Reason.COLLAR
    bits |= _sell_bits(order, state) if order.side == "sell" else _buy_bits(order, state, limits, at)
    return int(bits)


def _shape_bits(order: ProposedOrder) -> int:
    bits = 0
    if order.side not in SIDES or order.type not in ORDER_TYPES:
        bits |= Reason.BAD_KIND
    if (
        isinstance(order.quantity, bool)
        or not isinstance(order.quantity, int)
        or not 0 < order.quantity <= MAX_QUANTITY
    ):
        bits |= Reason.BAD_NUMBER
    for wanted, price in (("limit", order.limit), ("stop", order.stop)):
        if order.type == wanted and not (isinstance(price, int) and price > 0):
            bits |= Reason.BAD_NUMBER
        if order.type != wanted and price is not None:
            bits |= Reason.BAD_KIND
    return int(bits)


def _beyond_collar(order: ProposedOrder, last: int, collar_bps: int) -> bool:
    if order.type != "limit" or order.limit is None:
        return False
    if order.side == "buy":
        return order.limit * BPS > last * (BPS + collar_bps)
    return order.limit * BPS < last * (BPS - collar_bps)


def _sell_bits(order: ProposedOrder, state: AccountState) -> int:
    position = state.positions.get(order.symbol)
    held = position.quantity if position else 0
    own = position.own if position else 0
    resting = [o for o in state.orders if o.symbol == order.symbol and o.side == "sell"]
    if order.quantity + sum(o.quantity for o in resting) > held:
        return int(Reason.SHORT)
    if order.strategy and order.quantity + sum(o.quantity for o in resting if o.strategy) > own:
        return int(Reason.SHORT)
    return 0


def _buy_bits(order: ProposedOrder, state: AccountState, limits: Limits, at: int) -> int:
    worth = equity(state)
    value = notional_cents(order.quantity, _cost_price(order, state))
    resting = resting_buys(state)
    promised = sum(resting.values())
    held = notional_cents(state.quantity(order.symbol), state.marks[order.symbol].close)
    checks = (
        (Reason.ORDER_VALUE, value * BPS > worth * limits.order_bps),
        (Reason.POSITION, (held + resting.get(order.symbol, 0) + value) * BPS > worth * limits.position_bps),
        (Reason.GROSS, (held_cents(state) + promised + value) * BPS > worth * limits.gross_bps),
        (Reason.CASH, promised + value > state.cash),
        (Reason.DAILY_LOSS, worth * BPS < state.day_equity * (BPS - limits.daily_loss_bps)),
        (Reason.DRAWDOWN, worth * BPS < state.peak * (BPS - limits.drawdown_bps)),
        (Reason.RATE_MINUTE, _buys_since(state, at - MINUTE_NS) >= limits.per_minute),
        (Reason.RATE_DAY, _buys_since(state, at - DAY_NS) >= limits.per_day),
        (Reason.OPEN_ORDERS, len(state.orders) >= limits.open_orders),
    )
    bits = 0
    for reason, broken in checks:
        if broken:
            bits |= reason
    return int(bits)


def _buys_since(state: AccountState, since: int) -> int:
    return sum(1 for r in state.recent if r.increases and r.at > since)


def _cost_price(order: ProposedOrder | Order, state: AccountState) -> int:
    """What a share may cost: the limit, the stop, or the last close."""
    mark = state.marks.get(order.symbol)
    return order.limit or order.stop or (mark.close if mark else 0)


def resting_buys(state: AccountState) -> dict[str, int]:
    """Cents promised to resting buys, by symbol."""
    promised: dict[str, int] = {}
    for order in state.orders:
        if order.side == "buy":
            cents = notional_cents(order.quantity, _cost_price(order, state))
            promised[order.symbol] = promised.get(order.symbol, 0) + cents
    return promised


def held_cents(state: AccountState) -> int:
    """Value of all positions at their last close, cents, rounded up."""
    return -(-positions_units(state) // UNITS_PER_CENT)
