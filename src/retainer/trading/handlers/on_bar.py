"""A bar set closed: fill what rests, look, decide, order within the mandate; all of it written together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from retainer.core.errors import InvalidInputError, RetainerError
from retainer.core.events import Event
from retainer.core.protocols import Context
from retainer.runtime.control import read_control
from retainer.safety.people import addresses
from retainer.trading.bars import Bar, Bars
from retainer.trading.book import Book, Desk, cancel_orders, open_book
from retainer.trading.handlers.say import say
from retainer.trading.history import History
from retainer.trading.kernels import Filled, Proposal, fill, propose
from retainer.trading.order_effects import order_effect, own_summary
from retainer.trading.records import EXIT_AUTHOR, Change, DecisionRecord, Evaluation, write
from retainer.trading.resting import order_id
from retainer.trading.risk import verdict_words
from retainer.trading.state import AccountState, Fill, ProposedOrder
from retainer.trading.steps import bar_inputs, failing
from retainer.trading.strategy import Outlook, identity
from retainer.trading.units import cents_to_decimal, datetime_to_ns, notional_cents, ns_to_datetime, units_to_decimal
from retainer.trading.words import day, did, money

_log = structlog.get_logger(__name__)


def read_bar_event(body: Mapping[str, Any]) -> tuple[int, dict[str, Bar]]:
    """Close time (ns) and bars of a ``bar`` event. Raises :class:`InvalidInputError` naming what does not fit."""
    try:
        at = datetime_to_ns(datetime.fromisoformat(str(body["at"])))
        raw = body["bars"]
        items = sorted(raw.items())
    except (KeyError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"This is not a bar event: {error}.", hint="It needs 'at' and 'bars'.") from error
    return at, {symbol: Bar.from_body(symbol, at, fields) for symbol, fields in items}


async def on_bar(desk: Desk, history: History, ctx: Context, event: Event) -> None:
    """Handle one bar set. A set that is not after the account's last one is left alone: it was handled already."""
    at, bars = read_bar_event(event.body)
    book = open_book(ctx.view, desk, at)
    if at <= book.state.at:
        _log.info("bar ignored", account=desk.account, at=event.body["at"], why="not after the last one")
        return
    control = read_control(ctx.view)
    if control.stopped:
        book, _ = cancel_orders(book, everything=False, reason="trading is stopped")
    stored_at = book.state.at
    filled = fill(book.state, bars, at, desk.fees)
    market = history.with_bars(ctx.view, stored_at, bars)
    outlook, failed = _look(desk, market, at)
    proposal = Proposal(state=filled.state)
    wanted: Mapping[str, int] = {}
    if not control.stopped and outlook.targets:
        wanted = _exits_only(outlook.targets, filled.state) if control.paused else outlook.targets
        proposal = propose(filled.state, desk.limits, wanted, at, desk.strategy.name, outlook.exits)
    ids = {o.symbol + o.side: order_id(desk.account, o.strategy, o.symbol, o.side, at) for o in proposal.orders}
    for order in proposal.orders:
        if order.bits == 0:
            _order(ctx, desk, order, ids[order.symbol + order.side], proposal.state, outlook)
    _tell_fills(ctx, desk, filled, proposal.state)
    change = _change(desk, book, filled, proposal, outlook, bars, ids)
    _tell_failure(ctx, desk, failed)
    own = {"name": desk.strategy.name, "parameters": identity(desk.strategy)}
    inputs = bar_inputs(desk.limits, desk.fees, wanted, control.state, own, failed)
    change = replace(change, inputs=inputs)
    ctx.apply(lambda tx: write(tx, event.seq, change))
    history.keep(market, at)


def _look(desk: Desk, market: Mapping[str, Bars], at: int) -> tuple[Outlook, str]:
    """The strategy's wishes; none, and why, when its own code fails or asks for what this account cannot do."""
    try:
        outlook = desk.strategy.outlook(market, at)
    except RetainerError as error:
        _log.error("strategy failed", account=desk.account, strategy=desk.strategy.name, why=error.message)
        return Outlook(at, ()), error.message
    for symbol, target in outlook.targets.items():
        if target < 0:
            why = f"{desk.strategy.name} wants to sell {symbol} short, which this account cannot do."
            return Outlook(at, ()), why
    return outlook, ""


def _tell_failure(ctx: Context, desk: Desk, failed: str) -> None:
    """Say that the strategy fails, on the first bar on which it does."""
    if not failed or failing(ctx.view, desk.account):
        return
    text = f"The strategy could not decide, so nothing new is ordered: {failed} What rests at the market stays."
    for number, address in enumerate(_people(ctx)):
        say(ctx, address, text, name=f"failed:{number}")


def _exits_only(targets: Mapping[str, int], state: AccountState) -> dict[str, int]:
    """Targets that do not add: while paused an entry stays a wish of the strategy, taken up again on resume."""
    return {symbol: target for symbol, target in targets.items() if target <= state.targets.get(symbol, 0)}


def _order(
    ctx: Context, desk: Desk, order: ProposedOrder, client_id: str, state: AccountState, outlook: Outlook
) -> None:
    signal = outlook.signal(order.symbol)
    ctx.send(
        order_effect(
            f"order:{order.symbol}:{order.side}",
            [(order, client_id)],
            state,
            summary=own_summary(order, desk.account, state.at, signal),
            label=ctx.event.label,
        )
    )


def _change(
    desk: Desk,
    book: Book,
    filled: Filled,
    proposal: Proposal,
    outlook: Outlook,
    bars: Mapping[str, Bar],
    ids: Mapping[str, str],
) -> Change:
    ended = dict(book.ended)
    for cancelled in (*filled.cancelled, *proposal.cancelled):
        ended[cancelled.order.id] = ("cancelled", cancelled.reason)
    for done in filled.fills:
        ended[done.order_id] = ("filled", "")
    return replace(
        book.change(),
        state=proposal.state.bumped(),
        bars=tuple(bars.values()),
        fills=filled.fills,
        postings=(*book.postings, *filled.postings),
        ended=ended,
        decisions=(
            *(_exit(done, at=proposal.state.at) for done in filled.fills if done.order_id not in _ordered(book)),
            *(_decision(desk, o, ids[o.symbol + o.side], proposal.state, outlook) for o in proposal.orders),
        ),
        evaluations=tuple(
            Evaluation(
                symbol=symbol,
                at=proposal.state.at,
                target=target,
                indicators=outlook.values(symbol),
                signal=outlook.signal(symbol),
            )
            for symbol, target in sorted(outlook.targets.items())
        ),
        mark=True,
    )


def _ordered(book: Book) -> set[str]:
    """Orders that somebody or the strategy placed; what else is filled are exits that came with an entry."""
    return {order.id for order in book.state.orders if not order.parent}


def _exit(done: Fill, *, at: int) -> DecisionRecord:
    return DecisionRecord(
        at=at,
        author=f"{EXIT_AUTHOR}{done.strategy}",
        symbol=done.symbol,
        side=done.side,
        quantity=done.quantity,
        price=done.reference,
        order_id=done.order_id,
        state="filled",
        signal="the price reached an exit that was set when the entry was filled",
        risk="Exits of what is held are never held back.",
        reason="a protective exit",
    )


def _decision(
    desk: Desk, order: ProposedOrder, client_id: str, state: AccountState, outlook: Outlook
) -> DecisionRecord:
    target = outlook.targets.get(order.symbol, 0)
    return DecisionRecord(
        at=state.at,
        author=f"strategy:{order.strategy}",
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        price=order.price,
        order_id=client_id,
        state="proposed" if order.bits == 0 else "refused",
        indicators=outlook.values(order.symbol),
        signal=outlook.signal(order.symbol),
        risk=verdict_words(order.bits, desk.limits),
        reason=f"target weight {target / 100:g} % of equity",
    )


def _tell_fills(ctx: Context, desk: Desk, filled: Filled, after: AccountState) -> None:
    told: dict[str, list[Fill]] = {}
    for done in filled.fills:
        for address in [done.reply_to] if done.reply_to else _people(ctx) if desk.notify else []:
            told.setdefault(address, []).append(done)
    for address, fills in told.items():
        say(ctx, address, fills_words(fills, after), name=f"filled:{address}")
    for cancelled in filled.cancelled:
        order = cancelled.order
        text = f"Not filled: {order.side} {order.quantity:,} {order.symbol}, because {cancelled.reason}."
        say(ctx, order.reply_to or None, text, name=f"cancelled:{order.id}")


def _people(ctx: Context) -> Sequence[str]:
    return list(addresses(ctx.view))


def fills_words(fills: Sequence[Fill], after: AccountState) -> str:
    """``Filled: bought 5 AAPL at $192.01 on 4 March 2013 ...``, a line for each fill, the cash at the end."""
    lines = [fill_words(done, after) for done in fills]
    return "\n".join([*lines, f"Cash {money(cents_to_decimal(after.cash))}."])


def fill_words(done: Fill, after: AccountState) -> str:
    """One fill in words, and what is held of its symbol now."""
    price = money(units_to_decimal(done.price))
    value = money(cents_to_decimal(notional_cents(done.quantity, done.price)))
    text = f"Filled: {did(done.side)} {done.quantity:,} {done.symbol} at {price} on {day(ns_to_datetime(done.at))}"
    text += f", {value} in all"
    if done.fee:
        text += f" and {money(cents_to_decimal(done.fee))} in fees"
    text += "."
    if done.side == "sell":
        text += f" Realised {money(cents_to_decimal(done.realised), sign=True)}."
    if done.unfilled:
        text += f" {done.unfilled:,} were cancelled: there was not enough left."
    held = after.quantity(done.symbol)
    return f"{text} You now hold {f'{held:,}' if held else 'no'} {done.symbol}."
