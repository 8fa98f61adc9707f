"""Orders as effects: what the guard sees, what the broker gets, what the approver reads."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from retainer.core.effects import Effect, EffectClass
from retainer.core.labels import OWNER, Label
from retainer.core.values import Json
from retainer.trading.brokers.paper import TOOL
from retainer.trading.state import AccountState, ProposedOrder, equity
from retainer.trading.units import cents_to_decimal, ns_to_datetime, units_to_decimal
from retainer.trading.words import day, money


def queue_of(account: str) -> str:
    """The effect queue, and the lane, of an account."""
    return f"account:{account}"


def order_args(order: ProposedOrder, account: str, order_id: str, at: int, worth: int) -> dict[str, Json]:
    """One order as JSON: prices and money are decimal text, ``at`` is the account's clock (ISO, UTC).

    ``equity`` is what the account was worth (``worth`` cents) when the order was judged: mandates are shares of it.
    """
    args: dict[str, Json] = {
        "account": account,
        "strategy": order.strategy,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity,
        "type": order.type,
        "price": str(units_to_decimal(order.price)),
        "notional": str(cents_to_decimal(order.notional)),
        "equity": str(cents_to_decimal(worth)),
        "at": ns_to_datetime(at).isoformat(),
        "increases_exposure": order.increases_exposure,
        "protective": False,
        "client_order_id": order_id,
    }
    if order.limit is not None:
        args["limit_price"] = str(units_to_decimal(order.limit))
    if order.stop is not None:
        args["stop_price"] = str(units_to_decimal(order.stop))
    for name, price in (("stop_loss", order.stop_loss), ("take_profit", order.take_profit)):
        if price is not None:
            args[f"{name}_ppm" if order.relative else f"{name}_price"] = (
                price if order.relative else str(units_to_decimal(price))
            )
    distances = {"trail_ppm": order.trail, "trail_exit_ppm": order.trail_exit}
    args.update({name: distance for name, distance in distances.items() if distance is not None})
    if order.oco:
        args["oco"] = order.oco
    if order.expires == 0:
        args["time_in_force"] = "day"
    return args


def order_effect(
    name: str,
    legs: Sequence[tuple[ProposedOrder, str]],
    state: AccountState,
    *,
    summary: str,
    label: Label = OWNER,
    reply_to: str | None = None,
) -> Effect:
    """The money effect of one order, or of several that stand or fall together. ``legs``: orders with their ids."""
    args = [order_args(order, state.account, order_id, state.at, equity(state)) for order, order_id in legs]
    whole: dict[str, Json] = dict(args[0])
    if len(args) > 1:
        total = sum((cents_to_decimal(order.notional) for order, _ in legs), Decimal(0))
        whole = {
            **{key: args[0][key] for key in ("account", "strategy", "side", "equity", "at", "protective")},
            "symbols": [order.symbol for order, _ in legs],
            "notional": str(total),
            "increases_exposure": any(order.increases_exposure for order, _ in legs),
            "legs": args,
        }
    return Effect(
        name=name,
        tool=TOOL,
        args=whole,
        effect_class=EffectClass.MONEY,
        queue=queue_of(state.account),
        label=label,
        summary=summary,
        reply_to=reply_to,
    )


def short(order: ProposedOrder) -> str:
    """``buy 5 AAPL``, with its limit or stop."""
    price = ""
    if order.limit is not None:
        price = f" at {money(units_to_decimal(order.limit))} or better"
    elif order.stop is not None:
        price = f" at the stop {money(units_to_decimal(order.stop))}"
    return f"{order.side} {order.quantity:,} {order.symbol}{price}"


def own_summary(order: ProposedOrder, account: str, at: int, signal: str) -> str:
    """What ``log`` shows for an order of the strategy's own."""
    price = money(units_to_decimal(order.price))
    why = f": {signal}" if signal else ""
    return f"{order.strategy} on {account}, {day(ns_to_datetime(at))}: {short(order)} near {price}{why}"


def card(order: ProposedOrder, state: AccountState, verdict: str, *, note: str = "") -> str:
    """The approval card of one order: side, quantity, price, cost, cash after, risk, and what a yes does.

    ``note``: how the person's words became this quantity, when they did not name it.
    """
    value = cents_to_decimal(order.notional)
    cash = cents_to_decimal(state.cash)
    buying = order.side == "buy"
    dated = day(ns_to_datetime(state.marks[order.symbol].at))
    held = state.quantity(order.symbol)
    title = short(order)
    lines = [
        f"*{title[:1].upper()}{title[1:]}* ({state.account} account)",
        *([note] if note else []),
        f"Price {money(units_to_decimal(order.price))}, the close of {dated}",
        f"{'Cost' if buying else 'Proceeds'} about {money(value)}",
        f"Cash {money(cash)}, after it about {money(cash - value if buying else cash + value)}",
        f"You hold {held:,} {order.symbol}, after it {held + (1 if buying else -1) * order.quantity:,}",
        f"Risk manager: {verdict}",
        _promise(order.type),
    ]
    return "\n".join(lines)


def sell_all_card(
    orders: Sequence[ProposedOrder], state: AccountState, verdict: str, *, symbol: str | None = None
) -> str:
    """The one card for selling every position, or all of one ``symbol``. What is being sold already is named."""
    total = sum((cents_to_decimal(order.notional) for order in orders), Decimal(0))
    cash = cents_to_decimal(state.cash)
    under_way = [
        order for order in state.orders if order.side == "sell" and not order.parent and symbol in {None, order.symbol}
    ]
    lines = [f"*Sell {f'all {symbol}' if symbol else 'everything'}* ({state.account} account)"]
    lines += [
        f"{order.quantity:,} {order.symbol} at {money(units_to_decimal(order.price))}: "
        f"about {money(cents_to_decimal(order.notional))}"
        for order in orders
    ]
    lines += [f"{order.quantity:,} {order.symbol}: being sold already, not part of this" for order in under_way]
    dated = day(ns_to_datetime(max(state.marks[order.symbol].at for order in orders)))
    lines += [
        f"Prices are the close of {dated}",
        f"Proceeds about {money(total)}; cash {money(cash)}, after it about {money(cash + total)}",
        f"Risk manager: {verdict}",
        _promise("market"),
    ]
    return "\n".join(lines)


def _promise(kind: str) -> str:
    how = (
        "fills at the next open, which can differ from this price"
        if kind == "market"
        else "fills when the market reaches that price, or rests"
    )
    return f"If you approve, it is sent once and {how}."
