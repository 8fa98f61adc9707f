"""Somebody asks for an order, for selling everything, or to stop: judged here, approved elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from retainer.core.events import Event
from retainer.core.protocols import Context
from retainer.runtime.control import read_control
from retainer.trading.arguments import (
    CancelArguments,
    OrderArguments,
    SellAllArguments,
    StopArguments,
    explain_arguments,
)
from retainer.trading.book import Book, Desk, cancel_orders, open_book
from retainer.trading.handlers.say import say
from retainer.trading.order_effects import card, order_effect, sell_all_card, short
from retainer.trading.records import DecisionRecord, write
from retainer.trading.resting import apply_accept, cancel_where, order_id, price_order
from retainer.trading.risk import LiveFacts, RiskManager, RiskVerdict
from retainer.trading.state import AccountState, Order, ProposedOrder
from retainer.trading.units import datetime_to_ns
from retainer.trading.wishes import read_wish
from retainer.trading.words import count, day, listed


async def on_request(desk: Desk, risk_manager: RiskManager, ctx: Context, event: Event) -> None:
    """Handle one request. What is refused is answered in words at once; what may go ahead becomes an asked effect."""
    capability = str(event.body.get("capability"))
    given = event.body.get("args")
    args: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    book = open_book(ctx.view, desk, datetime_to_ns(event.occurred_at))
    try:
        if capability == "trading.stop":
            _stop(ctx, event, book, StopArguments.model_validate(dict(args)))
        elif book.before is None or not book.state.marks:
            say(ctx, event.reply_to, "There are no prices yet: the first bar has not arrived. Try again in a moment.")
        elif capability == "trading.order":
            _order(desk, risk_manager, ctx, book, OrderArguments.model_validate(dict(args)))
        elif capability == "trading.sell_all":
            _sell_all(desk, risk_manager, ctx, book, SellAllArguments.model_validate(dict(args)))
        elif capability == "trading.cancel":
            _cancel(ctx, event, book, CancelArguments.model_validate(dict(args)))
        else:
            say(ctx, event.reply_to, f"I do not know how to do '{capability}'.")
    except ValidationError as error:
        say(ctx, event.reply_to, explain_arguments(error))


def _stop(ctx: Context, event: Event, book: Book, args: StopArguments) -> None:
    """Cancel what rests; the orders that waited for an answer were refused when *stop* was heard."""
    if book.before is None:
        say(ctx, event.reply_to, "Nothing was on order.")
        return
    book, gone = cancel_orders(book, everything=args.all, reason="trading was stopped")
    ctx.apply(lambda tx: write(tx, event.seq, book.change()))
    kept = book.state.orders
    text = f"Cancelled: {_named(gone)}." if gone else "No resting order had to be cancelled."
    if kept:
        text += f" Kept, because it can only lower what is at risk: {_named(kept)} (“stop all” cancels that too)."
    say(ctx, event.reply_to, text)


def _cancel(ctx: Context, event: Event, book: Book, args: CancelArguments) -> None:
    """Cancel resting orders that a person placed; the strategy's own are left to *stop*."""
    own = [order for order in book.state.orders if not order.strategy]
    meant = [order for order in own if args.symbol in {None, order.symbol}]
    if not meant:
        of = f" for {args.symbol}" if args.symbol else ""
        others = len(book.state.orders) - len(own)
        bots = f" The bot has {count(others, 'order')} of its own waiting; “stop” cancels what buys." if others else ""
        say(ctx, event.reply_to, f"You have no order waiting{of}, so nothing was cancelled.{bots}")
        return
    if len(meant) > 1 and args.which is None and args.symbol is None:
        say(
            ctx,
            event.reply_to,
            f"You have {count(len(meant), 'order')} waiting: {_named(meant)}. Say “cancel the {meant[0].symbol} order” "
            "or “cancel all my orders”. Nothing was cancelled.",
        )
        return
    ids = {order.id for order in meant}
    state, gone = cancel_where(book.state, lambda order: order.id in ids)
    ended = {**book.ended, **{order.id: ("cancelled", "you cancelled it") for order in gone}}
    cancelled = replace(book, state=state, ended=ended)
    ctx.apply(lambda tx: write(tx, event.seq, cancelled.change()))
    say(ctx, event.reply_to, f"Cancelled: {_named(gone)}. Nothing of it was filled.")


def _named(orders: Sequence[Order]) -> str:
    return listed(f"{order.side} {order.quantity:,} {order.symbol}" for order in orders)


def _order(desk: Desk, risk_manager: RiskManager, ctx: Context, book: Book, args: OrderArguments) -> None:
    wish = read_wish(args, book.state, desk.limits)
    if wish.order is None:
        say(ctx, ctx.event.reply_to, wish.say)
        return
    order = wish.order
    client_id = _id(desk, ctx.event, order)
    verdict = _judge(risk_manager, ctx, desk, order, book.state, client_id)
    ok = verdict.ok and not _held_back(ctx, increases=order.increases_exposure)
    text = _words(ctx, verdict, increases=order.increases_exposure)
    if ok:
        summary = card(order, book.state, text, note=wish.note)
        _ask(ctx, [(order, client_id)], book.state, summary)
    else:
        say(ctx, ctx.event.reply_to, " ".join(filter(None, [wish.note, f"I cannot {short(order)}.", text])))
    _write(ctx, book, [_record(ctx, order, client_id, book.state, "asked" if ok else "refused", text)])


def _sell_all(desk: Desk, risk_manager: RiskManager, ctx: Context, book: Book, args: SellAllArguments) -> None:
    """One card and one effect for all positions. Resting sells are left out of what is offered: they are under way."""
    state = book.state
    legs: list[tuple[ProposedOrder, str]] = []
    trial, texts = state, []
    for symbol in sorted(s for s in state.positions if args.symbol in {None, s}):
        promised = sum(o.quantity for o in state.orders if o.symbol == symbol and o.side == "sell" and not o.parent)
        quantity = state.quantity(symbol) - promised
        if quantity <= 0:
            continue
        order = price_order(state, symbol, "sell", quantity)
        client_id = _id(desk, ctx.event, order)
        verdict = _judge(risk_manager, ctx, desk, order, trial, client_id)
        if not verdict.ok:
            say(ctx, ctx.event.reply_to, f"I cannot {short(order)}, so nothing is sold. {' '.join(verdict.words)}")
            return
        trial = apply_accept(trial, order.accepted(client_id, state.at))
        legs.append((order, client_id))
        texts = list(verdict.words)
    if not legs:
        has = state.quantity(args.symbol) > 0 if args.symbol else bool(state.positions)
        nothing = f"the account holds no {args.symbol}" if args.symbol else "the account holds only cash"
        why = "all of it is already being sold" if has else nothing
        say(ctx, ctx.event.reply_to, f"There is nothing to sell: {why}.")
        return
    if held := _held_back(ctx, increases=False):
        say(ctx, ctx.event.reply_to, f"I cannot sell everything. {held}")
        return
    text = " ".join(texts) if len(legs) == 1 else "Within limits: every order only sells what is held."
    orders = [order for order, _ in legs]
    _ask(ctx, legs, state, sell_all_card(orders, state, text, symbol=args.symbol))
    _write(ctx, book, [_record(ctx, order, client_id, state, "asked", text) for order, client_id in legs])


def _judge(
    risk_manager: RiskManager, ctx: Context, desk: Desk, order: ProposedOrder, state: AccountState, client_id: str
) -> RiskVerdict:
    known = ctx.view.one("SELECT id FROM paper_order WHERE id = ?", (client_id,)) is not None
    facts = LiveFacts(client_id=client_id, client_id_known=known)
    return risk_manager.validate_risk(order, state, desk.limits, at=state.at, facts=facts)


def _held_back(ctx: Context, *, increases: bool) -> str:
    """What the owner said that forbids it now; empty when nothing does. The guard decides it again."""
    control = read_control(ctx.view)
    if control.stopped:
        return "Trading is stopped: say 'resume' first."
    return "Trading is paused, so nothing new is bought: say 'resume' first." if control.paused and increases else ""


def _words(ctx: Context, verdict: RiskVerdict, *, increases: bool) -> str:
    held = _held_back(ctx, increases=increases)
    return " ".join([*(() if held and verdict.ok else verdict.words), held]).strip()


def _id(desk: Desk, event: Event, order: ProposedOrder) -> str:
    return order_id(desk.account, event.name, order.symbol, order.side, datetime_to_ns(event.occurred_at))


def _ask(ctx: Context, legs: Sequence[tuple[ProposedOrder, str]], state: AccountState, summary: str) -> None:
    effect = order_effect("order", legs, state, summary=summary, label=ctx.event.label, reply_to=ctx.event.reply_to)
    ctx.send(effect)


def _record(
    ctx: Context, order: ProposedOrder, client_id: str, state: AccountState, outcome: str, risk: str
) -> DecisionRecord:
    return DecisionRecord(
        at=state.at,
        author=ctx.event.sender or "somebody",
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        price=order.price,
        order_id=client_id,
        state=outcome,
        risk=risk,
        reason=f"asked for on {day(ctx.event.occurred_at)}",
    )


def _write(ctx: Context, book: Book, decisions: Sequence[DecisionRecord]) -> None:
    change = replace(book.change(), decisions=tuple(decisions))
    ctx.apply(lambda tx: write(tx, ctx.event.seq, change))
