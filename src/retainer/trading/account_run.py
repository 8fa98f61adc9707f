"""The live loop over a whole history: the account's own kernels, bar set by bar set, as the service runs them.

A backtest of an idea is :func:`retainer.trading.backtest.backtest`. This is the exact twin of the account's lane: it
gives the account state itself, digest and all, which is what parity is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Market, bars_at, sessions
from retainer.trading.evaluation import Wanted, evaluate
from retainer.trading.kernels import Filled, Proposal, apply_accept, fill, open_account, order_id, propose
from retainer.trading.limits import Fees, Limits
from retainer.trading.state import AccountState, Fill, Order, Posting, ProposedOrder, equity
from retainer.trading.strategy import Outlook, Strategy, StrategyDecision, decision_at


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRun:
    """What happened. ``pending`` are orders wanted at the last close, which no bar has filled."""

    state: AccountState
    at: tuple[int, ...]
    equity: tuple[int, ...]
    """Cents at each close."""
    fills: tuple[Fill, ...]
    postings: tuple[Posting, ...]
    decisions: tuple[StrategyDecision, ...]
    """Those that changed the target, or were the first."""
    refused: tuple[ProposedOrder, ...]
    pending: tuple[Order, ...]


def run_account(
    strategy: Strategy,
    market: Market,
    *,
    cash: int,
    limits: Limits,
    fees: Fees,
    account: str = "paper",
    start: int | None = None,
    end: int | None = None,
) -> AccountRun:
    """Trade ``market`` from ``start`` to ``end`` (ns; bars before ``start`` feed indicators only).

    Each bar set: orders accepted since the last one enter, ``fill``, then ``propose``. Raises
    :class:`InvalidInputError` when there is no bar in that span.
    """
    signals = evaluate(strategy, market)
    times = [int(t) for t in sessions(market) if (start is None or t >= start) and (end is None or t <= end)]
    if not times:
        raise InvalidInputError("There is no bar in that span.", hint="Widen start and end.")
    state, deposit = open_account(cash, account, times[0])
    log = _Log(postings=[deposit])
    accepted: list[Order] = []
    for at in times:
        for order in accepted:
            state = apply_accept(state, order)
        filled = fill(state, bars_at(market, at), at, fees)
        wishes = _wishes(strategy, market, signals, at)
        outlook = Outlook(at, tuple(wishes))
        proposal = propose(filled.state, limits, outlook.targets, at, strategy.name, outlook.exits)
        accepted = [
            o.accepted(order_id(account, strategy.name, o.symbol, o.side, at), at)
            for o in proposal.orders
            if not o.bits
        ]
        state = proposal.state.bumped()
        log.add(filled, proposal, wishes)
    return AccountRun(
        state=state,
        at=tuple(times),
        equity=tuple(log.equity),
        fills=tuple(log.fills),
        postings=tuple(log.postings),
        decisions=tuple(log.decisions),
        refused=tuple(log.refused),
        pending=(*state.orders, *accepted),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Log:
    """What a run leaves behind."""

    postings: list[Posting]
    equity: list[int] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    decisions: list[StrategyDecision] = field(default_factory=list)
    refused: list[ProposedOrder] = field(default_factory=list)

    def add(self, filled: Filled, proposal: Proposal, wishes: Sequence[StrategyDecision]) -> None:
        self.equity.append(equity(proposal.state))
        self.fills.extend(filled.fills)
        self.postings.extend(filled.postings)
        self.decisions.extend(wish for wish in wishes if wish.target != wish.previous)
        self.refused.extend(order for order in proposal.orders if order.bits)


def _wishes(strategy: Strategy, market: Market, signals: Mapping[str, Wanted], at: int) -> list[StrategyDecision]:
    wishes = []
    for symbol, found in signals.items():
        row = market[symbol].index_of(at)
        if row is not None:
            wishes.append(decision_at(strategy, market[symbol], found.indicators, found.targets, row, found.exits(row)))
    return wishes
