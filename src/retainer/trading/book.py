"""The account as an event finds it: the stored state, with the orders that the broker accepted meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from retainer.core.protocols import View
from retainer.trading.kernels import open_account
from retainer.trading.limits import Fees, Limits
from retainer.trading.records import Change, load, waiting_orders
from retainer.trading.resting import apply_accept, cancel_where
from retainer.trading.settings import TradingSettings
from retainer.trading.state import AccountState, Order, Posting, equity
from retainer.trading.strategy import Strategy
from retainer.trading.units import cents_to_decimal, to_cents


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the trading of one account goes by; made once from the settings."""

    account: str
    cash: int
    """Cents deposited when the account opens."""
    limits: Limits
    fees: Fees
    strategy: Strategy
    notify: bool = False
    """Whether the strategy's own fills are told to paired people."""

    @staticmethod
    def of(settings: TradingSettings) -> Desk:
        """The desk that the settings describe."""
        return Desk(
            account=settings.account,
            cash=to_cents(settings.cash),
            limits=settings.to_limits(),
            fees=settings.to_fees(),
            strategy=settings.make_strategy(),
            notify=settings.notify,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A state that events build on, and what has to be written with it."""

    state: AccountState
    before: int | None
    taken: tuple[int, ...] = ()
    postings: tuple[Posting, ...] = ()
    ended: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def change(self) -> Change:
        """The change that writes this book and nothing more; the state's version is the next one."""
        return Change(
            before=self.before,
            state=self.state.bumped(),
            taken=self.taken,
            postings=self.postings,
            ended=self.ended,
        )


def open_book(view: View, desk: Desk, at: int) -> Book:
    """The account with every accepted order taken in; opened with its deposit, dated ``at`` (ns), if it is new."""
    stored = load(view, desk.account)
    if stored is None:
        state, deposit = open_account(desk.cash, desk.account, at)
        return Book(state=state, before=None, postings=(deposit,))
    state, taken, ended = stored, [], {}
    for seq, order in waiting_orders(view, desk.account):
        state = apply_accept(state, order)
        taken.append(seq)
        ended[order.id] = ("accepted", "")
    return Book(state=state, before=stored.version, taken=tuple(taken), ended=ended)


def cancel_orders(book: Book, *, everything: bool, reason: str) -> tuple[Book, tuple[Order, ...]]:
    """The book without resting orders that can increase exposure (buys), or without any; and those orders."""
    state, gone = cancel_where(book.state, lambda order: everything or (order.side == "buy" and not order.protective))
    ended = {**book.ended, **{order.id: ("cancelled", reason) for order in gone}}
    return replace(book, state=state, ended=ended), gone


def present(view: View, account: str) -> AccountState | None:
    """The account as people should see it now: accepted orders rest in it already. ``None`` before the first bar."""
    state = load(view, account)
    if state is None:
        return None
    for _, order in waiting_orders(view, account):
        state = apply_accept(state, order)
    return state


def equity_of(view: View, account: str) -> Decimal | None:
    """Equity in dollars at the last close, for mandates and limits; ``None`` before the first bar."""
    state = load(view, account)
    return None if state is None else cents_to_decimal(equity(state))
