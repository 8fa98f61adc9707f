"""Orders against the account: priced, judged, accepted, cancelled. Pure functions over whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from retainer.core.errors import InvalidInputError
from retainer.trading.kernel import layout
from retainer.trading.kernel.build import PLAIN
from retainer.trading.kernel.numbers import trail_level
from retainer.trading.kernel.orders import chain_orders
from retainer.trading.limits import Limits, Reason
from retainer.trading.packing import live_rules, order_id, pack
from retainer.trading.state import (
    ORDER_NUMBERS,
    ORDER_TYPES,
    SIDES,
    AccountState,
    Order,
    OrderType,
    ProposedOrder,
    Recent,
    Side,
)
from retainer.trading.units import MAX_QUANTITY, notional_cents

__all__ = ["apply_accept", "cancel", "cancel_where", "order_id", "price_order", "risk"]


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
    trail: int | None = None,
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
        trail=trail,
        price=price,
        notional=notional_cents(quantity, price) if whole else 0,
        increases_exposure=side != "sell",
    )


def apply_accept(state: AccountState, order: Order) -> AccountState:
    """The account with ``order`` resting, numbered and counted. Raises when its id rests already.

    A sale at the market takes back the protective exits of the shares it sells, now that it is certain.
    """
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
    if order.type == "trailing" and order.stop is None and order.symbol in state.marks:
        order = replace(order, stop=_first_level(order, state.marks[order.symbol].close))
    return replace(
        state,
        orders=(*_released(state, order), replace(order, seq=state.next_seq)),
        recent=(*state.recent, recent),
        next_seq=state.next_seq + 1,
    )


def _released(state: AccountState, order: Order) -> tuple[Order, ...]:
    """The resting orders, exits made smaller by what ``order`` sells: the oldest first, as the kernel does it.

    The strategy sells the shares that its exits guard; a person sells those first that no exit guards.
    """
    left = order.quantity if _sells_at_market(order) else 0
    if left and not order.strategy:
        left -= min(left, _unguarded(state, order.symbol))
    kept: list[Order] = []
    group, taken = 0, 0
    for resting in state.orders:
        if left + taken and resting.parent and resting.symbol == order.symbol and resting.side == order.side:
            if resting.parent != group:
                group, taken = resting.parent, min(resting.quantity, left)
                left -= taken
            if taken:
                if resting.quantity > taken:
                    kept.append(replace(resting, quantity=resting.quantity - taken))
                continue
        kept.append(resting)
    return tuple(kept)


def _sells_at_market(order: Order | ProposedOrder) -> bool:
    return order.side == "sell" and order.type in ("market", "on_close")


def _unguarded(state: AccountState, symbol: str) -> int:
    """Shares that neither an exit guards nor another order sells; orders that stand for the same shares count once."""
    sells = [order for order in state.orders if order.symbol == symbol and order.side == "sell"]
    grouped = {order.oco: order.quantity for order in reversed(sells) if order.oco}
    promised = sum(order.quantity for order in sells if not order.oco) + sum(grouped.values())
    return max(0, state.quantity(symbol) - promised)


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

    All reasons are found, not only the first. Sells are never held back by loss, rate or size limits. The checks are
    the kernel's (:mod:`retainer.trading.kernel.judge`), those of a backtest.
    """
    bits = _type_bits(order)
    if bits:
        return bits
    packed = pack(state, (order.symbol,), limits)
    f, w, rules = packed.f, packed.w, live_rules(None, limits)
    w[layout.AT] = at
    chain_orders(f, w)
    PLAIN.take_stock(f, w, rules)
    return PLAIN.judge(
        f,
        w,
        rules,
        packed.offset(order.symbol),
        1 if order.side == "buy" else -1,
        ORDER_NUMBERS[order.type],
        float(order.quantity),
        float(order.limit or 0),
        float(order.stop or 0),
        float(order.trail or 0),
        int(bool(order.strategy)),
        0 if _sells_at_market(order) else 1,
    )


def _type_bits(order: ProposedOrder) -> int:
    """Reasons for which an order cannot even be put into numbers: what is no order kind, no whole number."""
    bits = 0
    if order.side not in SIDES or order.type not in ORDER_TYPES:
        bits |= Reason.BAD_KIND
    numbers = (order.quantity, *(p for p in (order.limit, order.stop, order.trail) if p is not None))
    if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        return int(bits | Reason.BAD_NUMBER)
    if not 0 < order.quantity <= MAX_QUANTITY or any(n <= 0 for n in numbers):
        bits |= Reason.BAD_NUMBER
    return int(bits)


def _first_level(order: Order, last: int) -> int:
    return int(trail_level(live_rules(), 1 if order.side == "buy" else -1, float(last), float(order.trail or 0)))
