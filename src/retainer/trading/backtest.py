"""A backtest: the live kernels in a loop, with the look-ahead check on. What it does live does, bar for bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bars, Floats, Market, bars_at, sessions
from retainer.trading.kernels import Filled, Proposal, apply_accept, fill, open_account, order_id, propose
from retainer.trading.limits import Fees, Limits
from retainer.trading.state import AccountState, Fill, Order, Posting, ProposedOrder, equity
from retainer.trading.strategy import Outlook, Strategy, StrategyDecision, decision_at

PROBES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestResult:
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
    lookahead: tuple[str, ...]
    """Where the strategy's past changed when later bars were added: must be empty."""


@dataclass(frozen=True, slots=True)
class _Signals:
    bars: Bars
    indicators: dict[str, Floats]
    targets: Floats


def backtest(
    strategy: Strategy,
    market: Market,
    *,
    cash: int,
    limits: Limits,
    fees: Fees,
    account: str = "paper",
    start: int | None = None,
    end: int | None = None,
    probes: int = PROBES,
) -> BacktestResult:
    """Trade ``market`` from ``start`` to ``end`` (ns; bars before ``start`` feed indicators only).

    Each bar set: orders accepted since the last one enter, ``fill``, then ``propose``. Raises
    :class:`InvalidInputError` when there is no bar in that span.
    """
    signals = {symbol: _signals(strategy, market[symbol]) for symbol in strategy.symbols if symbol in market}
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
        wishes = _wishes(strategy, signals, at)
        proposal = propose(filled.state, limits, Outlook(at, tuple(wishes)).targets, at, strategy.name)
        accepted = [
            o.accepted(order_id(account, strategy.name, o.symbol, o.side, at), at)
            for o in proposal.orders
            if not o.bits
        ]
        state = proposal.state.bumped()
        log.add(filled, proposal, wishes)
    return BacktestResult(
        state=state,
        at=tuple(times),
        equity=tuple(log.equity),
        fills=tuple(log.fills),
        postings=tuple(log.postings),
        decisions=tuple(log.decisions),
        refused=tuple(log.refused),
        pending=(*state.orders, *accepted),
        lookahead=tuple(f"{s} row {row}" for s in signals for row in lookahead(strategy, market[s], probes=probes)),
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


def _signals(strategy: Strategy, bars: Bars) -> _Signals:
    indicators = strategy.indicators(bars)
    return _Signals(bars, indicators, strategy.targets(bars, indicators))


def _wishes(strategy: Strategy, signals: dict[str, _Signals], at: int) -> list[StrategyDecision]:
    wishes = []
    for signal in signals.values():
        row = signal.bars.index_of(at)
        if row is not None:
            wishes.append(decision_at(strategy, signal.bars, signal.indicators, signal.targets, row))
    return wishes


def lookahead(strategy: Strategy, bars: Bars, *, probes: int = PROBES, seed: int = 0) -> list[int]:
    """Rows whose target is another one when the bars after them are cut off: each is a look into the future.

    Evaluates the strategy on ``probes`` prefixes, chosen evenly with a seeded jitter, and compares the last target of
    each with the whole run's, bit for bit. A clean strategy gives an empty list.
    """
    whole = strategy.targets(bars, strategy.indicators(bars))
    return [row for row in probe_rows(len(bars), probes, seed) if _differs(strategy, bars, whole, row)]


def probe_rows(count: int, probes: int, seed: int) -> Sequence[int]:
    """Rows to cut at: spread over the history, reproducible."""
    edges = np.linspace(0, count, min(probes, count) + 1).astype(np.int64)
    rng = np.random.default_rng(seed)
    return sorted({int(rng.integers(low, high)) for low, high in pairwise(edges) if high > low})


def _differs(strategy: Strategy, bars: Bars, whole: Floats, row: int) -> bool:
    prefix = bars.upto(row + 1)
    value = strategy.targets(prefix, strategy.indicators(prefix))[-1]
    return not (value == whole[row] or (np.isnan(value) and np.isnan(whole[row])))
