"""The two kernels and what they share: ``fill`` carries out orders, ``propose`` wants new ones, ``risk`` judges.

Plain functions over whole numbers; no clock, no randomness, no input or output. A backtest loops them, live calls them
once per bar set. The rules of time and price:

1. An order decided at the close of bar t is filled from bar t+1 on; market orders at its open.
2. Within a bar: the open, then the low, then the high (the account is never short, so the low is the adverse extreme).
   At the low, triggers are met from the highest down, at the high from the lowest up; at the open sells come first.
3. A stop fills at the worse of stop and open, a limit at the better of limit and open.
4. No bar, no fill: the order keeps resting. Orders of the last bar stay pending.
5. A split changes shares, resting orders and their prices before the open; a dividend is credited on its ex-date.
6. Cash never goes below zero and shares never below zero: a fill is cut to what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bar, market_date
from retainer.trading.fills import Work
from retainer.trading.limits import Fees, Limits
from retainer.trading.resting import (
    apply_accept,
    cancel,
    cancel_where,
    held_cents,
    order_id,
    price_order,
    resting_buys,
    risk,
)
from retainer.trading.state import (
    AccountState,
    Cancelled,
    Fill,
    Mark,
    Posting,
    ProposedOrder,
    Side,
    equity,
)
from retainer.trading.units import BPS, DAY_NS, UNITS_PER_CENT, notional_cents, ns_to_datetime

__all__ = [
    "Filled",
    "Proposal",
    "apply_accept",
    "cancel",
    "cancel_where",
    "fill",
    "open_account",
    "order_id",
    "price_order",
    "propose",
    "risk",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a bar set did to the account."""

    state: AccountState
    fills: tuple[Fill, ...] = ()
    postings: tuple[Posting, ...] = ()
    cancelled: tuple[Cancelled, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What the strategy's targets lead to."""

    state: AccountState
    """The account with the new targets recorded and overtaken entries cancelled."""
    orders: tuple[ProposedOrder, ...] = ()
    """Sells first. Those with ``bits`` 0 may go ahead; the others are refused, for the record."""
    cancelled: tuple[Cancelled, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Symbols whose target changed without an order, and why, in words."""


def open_account(cash: int, account: str = "paper", at: int = 0) -> tuple[AccountState, Posting]:
    """A new account with ``cash`` cents, and the deposit's ledger line. Raises for an amount that is not positive."""
    if cash <= 0:
        raise InvalidInputError(f"An account cannot open with {cash} cents.", hint="Set trading.cash above zero.")
    return AccountState.opened(cash, account), Posting(at=at, kind="deposit", amount=cash)


# --- fill -----------------------------------------------------------------------------------------------------------
def fill(state: AccountState, bars: Mapping[str, Bar], at: int, fees: Fees) -> Filled:
    """Let the bar set that closed at ``at`` act on the account.

    Corporate actions first, then resting orders by the rules above, then marks, day and peak. Raises
    :class:`InvalidInputError` when ``at`` is not after the last set or a bar closed at another time.
    """
    if at <= state.at:
        raise InvalidInputError(
            f"The bar set of {ns_to_datetime(at).isoformat()} is not after the account's last one.",
            hint="Each bar set acts once, in order.",
        )
    for symbol, bar in bars.items():
        if bar.close_time != at or bar.symbol != symbol:
            raise InvalidInputError(f"The bar under {symbol} is of {bar.symbol} and another time.")
    before = equity(state)
    work = Work(state, at, fees)
    for symbol in sorted(bars):
        work.corporate_action(bars[symbol])
    work.at_open(bars)
    for symbol in sorted(bars):
        work.at_low(bars[symbol])
        work.at_high(bars[symbol])
    marks = dict(state.marks)
    marks.update({s: Mark(close=bar.close, factor=bar.factor, at=at) for s, bar in sorted(bars.items())})
    day = market_date(at).isoformat()
    after = replace(
        work.account(),
        at=at,
        marks=marks,
        recent=tuple(r for r in state.recent if at - r.at < DAY_NS),
        day=day,
        day_equity=before if day != state.day else state.day_equity,
    )
    after = after.with_equity(equity(after))
    return Filled(state=after, fills=tuple(work.fills), postings=tuple(work.postings), cancelled=tuple(work.cancelled))


# --- propose --------------------------------------------------------------------------------------------------------
def propose(state: AccountState, limits: Limits, targets: Mapping[str, int], at: int, strategy: str) -> Proposal:
    """Orders that bring the strategy's own shares to its targets (basis points of equity), sized in whole shares.

    An entry or a change of size is wanted when a target *changes*, so what the owner sold is not bought back; an exit
    is wanted as long as the target is 0 and own shares are left. The owner's shares are never touched. Entries are
    cut to the limits and to the cash there is; each order is judged as if those before it were accepted.
    """
    overtaken = {
        o.id for o in state.orders if o.strategy == strategy and o.side == "buy" and targets.get(o.symbol) == 0
    }
    current, gone = cancel_where(state, lambda order: order.id in overtaken)
    wanted = _wanted_sells(current, targets, strategy)
    orders: list[ProposedOrder] = []
    skipped: dict[str, str] = {}
    trial = current
    for symbol, shares in wanted.items():
        trial = _judge(price_order(trial, symbol, "sell", shares, strategy=strategy), trial, limits, at, orders)
    for symbol in sorted(targets):
        shares = _wanted_buy(trial, targets, symbol, strategy)
        if shares <= 0:
            continue
        room = _room(trial, limits, symbol)
        if min(shares, room) <= 0:
            skipped[symbol] = "the limits and the cash leave no room for a whole share"
            continue
        order = price_order(trial, symbol, "buy", min(shares, room), strategy=strategy)
        trial = _judge(order, trial, limits, at, orders)
    return Proposal(
        state=replace(current, targets={**state.targets, **targets}),
        orders=tuple(orders),
        cancelled=tuple(Cancelled(order=o, reason="the strategy changed its mind before it was filled") for o in gone),
        skipped=skipped,
    )


def _judge(
    order: ProposedOrder, trial: AccountState, limits: Limits, at: int, orders: list[ProposedOrder]
) -> AccountState:
    judged = replace(order, bits=risk(order, trial, limits, at))
    orders.append(judged)
    return apply_accept(trial, judged.accepted(f"trial-{len(orders)}", at)) if judged.bits == 0 else trial


def _pending(state: AccountState, symbol: str, side: Side, strategy: str) -> int:
    return sum(o.quantity for o in state.orders if o.symbol == symbol and o.side == side and o.strategy == strategy)


def _own(state: AccountState, symbol: str) -> int:
    position = state.positions.get(symbol)
    return position.own if position else 0


def _desired(state: AccountState, symbol: str, target: int) -> int:
    mark = state.marks.get(symbol)
    return equity(state) * target * UNITS_PER_CENT // (BPS * mark.close) if mark else 0


def _wanted_sells(state: AccountState, targets: Mapping[str, int], strategy: str) -> dict[str, int]:
    wanted = {}
    for symbol in sorted(targets):
        target, before = targets[symbol], state.targets.get(symbol, 0)
        left = _own(state, symbol) - _pending(state, symbol, "sell", strategy)
        if target == 0:
            shares = left
        elif target < before:
            shares = left - _desired(state, symbol, target)
        else:
            shares = 0
        if shares > 0:
            wanted[symbol] = shares
    return wanted


def _wanted_buy(state: AccountState, targets: Mapping[str, int], symbol: str, strategy: str) -> int:
    if targets[symbol] <= state.targets.get(symbol, 0) or symbol not in state.marks:
        return 0
    have = _own(state, symbol) + _pending(state, symbol, "buy", strategy)
    return _desired(state, symbol, targets[symbol]) - have


def _room(state: AccountState, limits: Limits, symbol: str) -> int:
    """Whole shares of ``symbol`` that the size limits and the unpromised cash allow."""
    worth, price = equity(state), state.marks[symbol].close
    resting = resting_buys(state)
    promised = sum(resting.values())
    held = notional_cents(state.quantity(symbol), price)
    rooms = (
        worth * limits.order_bps // BPS,
        worth * limits.position_bps // BPS - held - resting.get(symbol, 0),
        worth * limits.gross_bps // BPS - held_cents(state) - promised,
        (state.cash - promised) * (BPS - limits.reserve_bps) // BPS,
    )
    return max(0, min(rooms) * UNITS_PER_CENT // price)
