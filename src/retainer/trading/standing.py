"""Answers about where things stand: is it safe, what waits, what is held of one symbol, what happened, how many.

Everything is read from rows at the moment of the question; nothing is promised.
"""

from __future__ import annotations

from datetime import datetime

from retainer.core.capabilities import Answer
from retainer.core.protocols import View
from retainer.core.values import Json
from retainer.runtime import effects
from retainer.runtime.control import read_control
from retainer.safety import approvals
from retainer.safety import mandate as mandates
from retainer.safety.facts import is_live
from retainer.trading.answers import NOTHING_YET, answer_performance, answer_trades
from retainer.trading.book import Desk, present
from retainer.trading.explaining import answer_orders
from retainer.trading.limits import Limits
from retainer.trading.records import load, read_postings
from retainer.trading.risk import percent as bps
from retainer.trading.state import AccountState
from retainer.trading.units import cents_to_decimal, notional_cents, ns_to_datetime, units_to_decimal
from retainer.trading.wishes import how_many, tradable
from retainer.trading.words import count, day, listed, money

_CONTROL = {
    "running": "Trading runs; “stop” ends it at once, also while I talk",
    "paused": "Trading is paused: nothing new is bought until you say “resume”",
    "stopped": "Trading is STOPPED: no order goes out until you say “resume”",
}


def answer_safety(view: View, desk: Desk, now: datetime) -> Answer:
    """Whose money it is, what limits hold, what may happen unasked, and whether the books add up now."""
    control, account, limits = read_control(view), desk.account, desk.limits
    live = is_live(account)
    signed = mandates.in_force(view, now, account=account)
    lines = [
        "I can promise nothing about prices; these are the facts:",
        f"• {_whose(account, live=live)}",
        f"• {_CONTROL.get(control.state, control.state)}.",
        "• Every order that you or I word waits for your yes, and each yes counts once.",
        f"• {'By itself the bot may do this: ' + mandates.words(signed[0]) if signed else _unsigned(account)}",
        f"• {_limits(limits)}",
        f"• {books(view, account)}",
        "• Backups are not visible from here: `retainer doctor` on the machine checks the records.",
    ]
    return Answer("\n".join(lines), {"live": live, "control": control.state, "mandates": [one.id for one in signed]})


def _whose(account: str, *, live: bool) -> str:
    if live:
        return f"The account {account} trades REAL money. It can lose value."
    return f"The account {account} is a paper account: practice money, so none of your real money is in it."


def _unsigned(account: str) -> str:
    return f"No mandate is in force on {account}: the bot asks for every order."


def _limits(limits: Limits) -> str:
    return (
        f"Limits: a buy up to {bps(limits.order_bps)} of the account, a symbol up to {bps(limits.position_bps)}, all "
        f"positions up to {bps(limits.gross_bps)}. After a day's loss of {bps(limits.daily_loss_bps)}, or a fall of "
        f"{bps(limits.drawdown_bps)} from the highest value of 90 days, only sells go ahead."
    )


def books(view: View, account: str) -> str:
    """Compare cash and shares with the sum of the ledger, now."""
    state = load(view, account)
    if state is None:
        return NOTHING_YET
    postings = read_postings(view, account)
    cash = sum(posting.amount for posting in postings)
    shares: dict[str, int] = {}
    for posting in postings:
        if posting.symbol:
            shares[posting.symbol] = shares.get(posting.symbol, 0) + posting.quantity
    held = {symbol: position.quantity for symbol, position in state.positions.items()}
    if cash == state.cash and {symbol: each for symbol, each in shares.items() if each} == held:
        return (
            f"Books compared just now: cash {money(cents_to_decimal(cash))} and all shares equal the sum of "
            f"{count(len(postings), 'ledger line')}, to the cent (last close {day(ns_to_datetime(state.at))})."
        )
    return (
        f"THE BOOKS DO NOT ADD UP: the account says cash {money(cents_to_decimal(state.cash))}, its ledger "
        f"{money(cents_to_decimal(cash))}. Say “stop” and run `retainer doctor` on the machine."
    )


def answer_waiting(view: View, account: str) -> Answer:
    """Cards that wait for a yes, then orders that wait for the market."""
    found = [effects.find(view, approval.effect_key) for approval in approvals.pending(view, account=account)]
    cards = [effect.summary.split("\n", 1)[0].replace("*", "") for effect in found if effect is not None]
    orders = answer_orders(view, account)
    data: Json = {"cards": [*cards], "orders": orders.data}
    if not cards:
        return Answer(f"No card waits for your yes. {orders.text}", data)
    return Answer("\n".join(["Waiting for your yes or no:", *(f"• {card}" for card in cards), orders.text]), data)


def answer_holding(view: View, desk: Desk, symbol: str) -> Answer:
    """How many shares of one symbol are held, what they are worth and what they cost."""
    state = present(view, desk.account)
    if state is None:
        return Answer(NOTHING_YET)
    if symbol not in desk.limits.symbols:
        return Answer(f"The account does not trade {symbol}; it trades {tradable(desk.limits)}.")
    held = state.positions.get(symbol)
    if held is None:
        return Answer(f"You hold no {symbol}.{_on_order(state, symbol)}", {"symbol": symbol, "quantity": 0})
    mark = state.marks[symbol]
    value, cost = cents_to_decimal(notional_cents(held.quantity, mark.close)), cents_to_decimal(held.cost)
    text = (
        f"You hold {held.quantity:,} {symbol}, worth {money(value)} at the close of {day(ns_to_datetime(mark.at))} "
        f"({money(units_to_decimal(mark.close))} each). They cost {money(cost)}: {money(value - cost, sign=True)}."
    )
    own = f" {held.own:,} of them were bought by the bot." if held.own else ""
    data: dict[str, Json] = {"symbol": symbol, "quantity": held.quantity, "value": str(value), "cost": str(cost)}
    return Answer(f"{text}{own}{_on_order(state, symbol)}", data)


def _on_order(state: AccountState, symbol: str) -> str:
    waiting = [f"{order.side} {order.quantity:,}" for order in state.orders if order.symbol == symbol]
    return f" On order: {listed(waiting)}." if waiting else ""


def answer_digest(view: View, account: str, words: str) -> Answer:
    """What happened in a period: the result, then the trades."""
    made, trades = answer_performance(view, account, words), answer_trades(view, account, words)
    if made.data is None:
        return trades if trades.data is not None else made
    return Answer(f"{made.text}\n{trades.text}", {"performance": made.data, "trades": trades.data})


def answer_unsized(view: View, desk: Desk, side: str, symbol: str | None, quantity: str | None) -> Answer:
    """What an order still needs: how many, or of what."""
    state = present(view, desk.account)
    if state is None or not state.marks:
        return Answer(NOTHING_YET)
    if symbol is None:
        size = f"{quantity} " if quantity else ""
        return Answer(
            f"{side.capitalize()} {size}of what? I can trade {tradable(desk.limits)}. "
            f"Say for example “{side} {quantity or 5} {desk.limits.symbols[0]}”. Nothing was ordered."
        )
    return Answer(how_many(side, symbol, state))
