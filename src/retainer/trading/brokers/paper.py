"""The paper broker: its far side is our own database, so an order is accepted exactly once or not at all.

It accepts in the very transaction that marks the order's effect done; fills come from the market's bars by the kernels'
rules, never from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from retainer.core.effects import EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.errors import InvalidInputError, RefusedError, RejectedError
from retainer.core.protocols import Tx
from retainer.core.values import Json
from retainer.trading.limits import Limits
from retainer.trading.records import accept_row, load, waiting_orders
from retainer.trading.resting import apply_accept, price_order, risk
from retainer.trading.risk import words_of
from retainer.trading.state import AccountState, Order, OrderType, Side
from retainer.trading.units import datetime_to_ns, to_units

TOOL = "paper.order"


class PaperBroker:
    """Adapter of :data:`TOOL`. A repeated key finds its orders accepted already and changes nothing (*enforced*).

    ``effect.args``: one order, or ``legs``, a list of orders that are accepted together or not at all. ``limits`` are
    checked once more on what the account is *now*: another order may have come in between.
    """

    repeat = RepeatClass.ENFORCED
    effect_class = EffectClass.MONEY

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def apply(self, tx: Tx, effect: StoredEffect, permit: Permit) -> Json:
        """Accept the order or orders. Raises :class:`RejectedError` with the reasons in words."""
        if not permit.covers(effect):
            raise RefusedError("The permit was made for another order.")
        account = str(effect.args.get("account"))
        if effect.args.get("action") is not None:
            raise RejectedError("The paper broker takes orders only; waiting ones are cancelled by their account.")
        legs = _legs(effect.args)
        known = {row["id"] for leg in legs for row in tx.query("SELECT id FROM paper_order WHERE id = ?", (leg.id,))}
        if known:
            return _result(legs)
        state = _present(tx, account)
        for leg in legs:
            leg_order = replace(leg, reply_to=effect.reply_to or "")
            judged = judge_now(state, leg_order, self._limits)
            if judged:
                raise RejectedError(f"The paper broker refuses it: {' '.join(words_of(judged, self._limits))}")
            state = apply_accept(state, leg_order)
            accept_row(tx, account, leg_order, effect.key)
        return _result(legs)


def _present(tx: Tx, account: str) -> AccountState:
    state = load(tx, account)
    if state is None:
        raise RejectedError(f"There is no account '{account}' yet.", hint="Wait for its first bar.")
    for _, order in waiting_orders(tx, account):
        state = apply_accept(state, order)
    return state


def judge_now(state: AccountState, order: Order, limits: Limits) -> int:
    """Reasons against accepting ``order`` on the account as it is now; 0 is a yes."""
    proposed = price_order(
        state,
        order.symbol,
        order.side,
        order.quantity,
        order.type,
        limit=order.limit,
        stop=order.stop,
        strategy=order.strategy,
        trail=order.trail,
    )
    # A bar may have closed between the question and the yes: the account's clock is what counts.
    return risk(proposed, state, limits, max(order.at, state.at))


def _legs(args: Mapping[str, Any]) -> list[Order]:
    raw = args.get("legs") or [args]
    try:
        return [order_from_args(leg) for leg in raw]
    except (KeyError, TypeError, ValueError, InvalidInputError) as error:
        raise RejectedError(f"The order cannot be read: {error}.") from error


def order_from_args(args: Mapping[str, Any]) -> Order:
    """The order that an effect's arguments describe. Raises ``KeyError`` or ``ValueError`` for what is not one."""
    return Order(
        id=str(args["client_order_id"]),
        symbol=str(args["symbol"]),
        side=cast("Side", args["side"]),
        quantity=int(args["quantity"]),
        type=cast("OrderType", args.get("type", "market")),
        limit=_price(args, "limit_price"),
        stop=_price(args, "stop_price"),
        trail=_distance(args, "trail_ppm"),
        stop_loss=_price(args, "stop_loss_price") or _distance(args, "stop_loss_ppm"),
        take_profit=_price(args, "take_profit_price") or _distance(args, "take_profit_ppm"),
        trail_exit=_distance(args, "trail_exit_ppm"),
        relative=any(args.get(f"{name}_ppm") is not None for name in ("stop_loss", "take_profit", "trail_exit")),
        oco=str(args.get("oco") or ""),
        expires=0 if args.get("time_in_force") == "day" else -1,
        at=datetime_to_ns(datetime.fromisoformat(args["at"])),
        strategy=str(args.get("strategy") or ""),
        protective=bool(args.get("protective", False)),
    )


def _price(args: Mapping[str, Any], name: str) -> int | None:
    return None if args.get(name) is None else to_units(args[name])


def _distance(args: Mapping[str, Any], name: str) -> int | None:
    """Millionths of the price."""
    return None if args.get(name) is None else int(args[name])


def _result(legs: list[Order]) -> Json:
    return {"state": "accepted", "orders": [leg.id for leg in legs]}
