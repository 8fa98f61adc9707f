"""The two kernels as live calls them, on states as values: ``fill`` carries out orders, ``propose`` wants new ones.

The rules themselves are in :mod:`retainer.trading.kernel`, once: here a state is laid out for them, the plain twin
runs, and what happened is read back. A backtest runs the same functions over a whole history
(:mod:`retainer.trading.engine`).
No clock, no randomness, no input or output. The rules of time and price:

1. An order decided at the close of bar t is filled from bar t+1 on; market orders at its open, orders on the close at
   its close.
2. Within a bar: the open, then the low, then the high, then the close (the high first for a short). On the way orders
   trigger as the price meets them; at one price sells come before buys.
3. A stop fills at the worse of stop and open, a limit at the better of limit and open. A trailing stop follows the
   price only after the adverse extreme.
4. No bar, no fill: the order keeps resting. Orders of the last bar stay pending.
5. A split changes shares, resting orders and their prices before the open; a dividend is credited on its ex-date and
   lowers resting buy limits and sell stops.
6. Cash never goes below zero and shares never below zero: a fill is cut to what there is.
7. A filled entry sets up its exits; what fills of one order of a group is taken off the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from retainer.core.errors import InvalidInputError
from retainer.trading.actions import corporate_action
from retainer.trading.bars import Bar, market_date
from retainer.trading.fills import cancelled_of, fills_of, postings_of, proposals_of
from retainer.trading.kernel import layout
from retainer.trading.kernel.build import PLAIN
from retainer.trading.limits import Fees, Limits
from retainer.trading.packing import Packed, live_rules, pack, unpack
from retainer.trading.resting import apply_accept, cancel, cancel_where, order_id, price_order, risk
from retainer.trading.state import AccountState, Cancelled, Fill, Posting, ProposedOrder
from retainer.trading.strategy import Exits
from retainer.trading.units import ns_to_datetime

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
    """The account with the new targets recorded and overtaken entries cancelled. Protective exits of what is to be sold
    still rest: :func:`apply_accept` takes them back with the sale, so that one which is refused leaves nothing bare."""
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
    packed = pack(state, bars)
    packed.w[layout.AT] = at
    packed.w[layout.ROW_DAY] = market_date(at).toordinal()
    for bar in bars.values():
        _put(packed, bar)
    PLAIN.fill(packed.f, packed.w, live_rules(fees))
    return Filled(
        state=unpack(packed, {symbol: bar.factor for symbol, bar in bars.items()}),
        fills=fills_of(packed, at),
        postings=postings_of(packed, at),
        cancelled=cancelled_of(packed),
    )


def _put(packed: Packed, bar: Bar) -> None:
    f, p = packed.f, packed.offset(bar.symbol)
    f[p + layout.OPEN], f[p + layout.HIGH] = float(bar.open), float(bar.high)
    f[p + layout.LOW], f[p + layout.CLOSE] = float(bar.low), float(bar.close)
    f[p + layout.BAR_VOLUME] = float(bar.volume)
    mark = packed.state.marks.get(bar.symbol)
    action = corporate_action(mark.close, mark.factor, bar.factor) if mark else None
    if action is not None:
        f[p + layout.ACTION_NEW], f[p + layout.ACTION_OLD] = float(action.new), float(action.old)
        f[p + layout.ACTION_DIVIDEND] = float(action.dividend)
        packed.w[layout.ACTIONS] += 1


def propose(
    state: AccountState,
    limits: Limits,
    targets: Mapping[str, int],
    at: int,
    strategy: str,
    exits: Mapping[str, Exits] = MappingProxyType({}),
) -> Proposal:
    """Orders that bring the strategy's own shares to its targets (basis points of equity), sized in whole shares.

    An entry or a change of size is wanted when a target *changes*, so what the owner sold is not bought back; an exit
    is wanted as long as the target is 0 and own shares are left. The owner's shares are never touched. Entries are
    cut to the limits and to the cash there is; each order is judged as if those before it were accepted. ``exits``:
    what protects an entry once it has filled, by symbol.
    """
    packed = pack(state, targets, limits)
    packed.w[layout.AT] = at
    for symbol, target in targets.items():
        p = packed.offset(symbol)
        packed.f[p + layout.WISH] = float(target)
        if symbol in exits:
            own = exits[symbol]
            packed.f[p + layout.WISH_LOSS], packed.f[p + layout.WISH_PROFIT] = float(own.loss), float(own.profit)
            packed.f[p + layout.WISH_TRAIL] = float(own.trailing)
    PLAIN.propose(packed.f, packed.w, live_rules(None, limits))
    orders, skipped = proposals_of(packed, strategy)
    cancelled = tuple(one for one in cancelled_of(packed) if not one.order.parent)
    gone = {one.order.id for one in cancelled}
    return Proposal(
        state=replace(
            state,
            orders=tuple(order for order in state.orders if order.id not in gone),
            recent=tuple(replace(r, quantity=0) if r.id in gone else r for r in state.recent),
            targets={**state.targets, **targets},
        ),
        orders=orders,
        cancelled=cancelled,
        skipped=skipped,
    )
