"""Parity: the account's lane folded again gives its state bit for bit, and a strategy decides today as it did then.

Three questions, three functions: :func:`replay` (is the stored state what its events make of it?),
:func:`same_decisions` (does the strategy want on the recorded bars what it wanted live?) and :func:`compare_fills` (how
do a real broker's fills differ from those the market's bars allow?).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from retainer.core.errors import NotFoundError
from retainer.core.protocols import View
from retainer.trading.bars import Bar, Bars
from retainer.trading.kernels import apply_accept, cancel_where, fill, open_account, propose
from retainer.trading.records import load, read_bars
from retainer.trading.state import AccountState, Fill, Order
from retainer.trading.steps import Step, read_steps, rules_in, taken_orders
from retainer.trading.strategy import Strategy
from retainer.trading.units import BPS, notional_cents, ns_to_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What folding an account's recorded events gave."""

    account: str
    steps: int
    bars: int
    """Bar sets among them."""
    orders: int
    fills: tuple[Fill, ...]
    state: AccountState
    equal: bool
    """Whether every version, the last one included, has the digest that was recorded."""
    difference: str = ""
    """The first version that has not, in words."""

    @property
    def words(self) -> str:
        """One sentence for a person."""
        what = f"{self.steps:,} steps with {self.bars:,} bar sets, {self.orders:,} orders and {len(self.fills):,} fills"
        if self.equal:
            return f"Replayed {what}: the state of the account '{self.account}' is the same, bit for bit."
        return f"Replayed {what}: NOT the same. {self.difference}"


def replay(view: View, account: str = "paper") -> Replay:
    """Fold everything the account's lane has recorded. Raises :class:`NotFoundError` when there is nothing."""
    steps, taken = read_steps(view, account), taken_orders(view, account)
    stored = load(view, account)
    if not steps or stored is None:
        raise NotFoundError(f"The account '{account}' has recorded nothing yet.", hint="Wait for its first bar.")
    sets = _bar_sets(read_bars(view, account))
    state, difference = _start(steps[0], account, _cash(view, account)), ""
    fills: list[Fill] = []
    for step in steps:
        if step.inputs["kind"] == "start":
            state = AccountState.from_json(step.inputs["state"])
        else:
            state, done = _fold(state, step, taken.get(step.event_seq, []), sets.get(step.at, {}))
            fills += done
        if state.digest() != step.digest and not difference:
            difference = (
                f"Version {step.version} (event {step.event_seq}, {ns_to_datetime(step.at).isoformat()}, "
                f"{step.inputs['kind']}) has another digest than was recorded."
            )
    if state.digest() != stored.digest() and not difference:
        difference = "The stored state is not the one of the last recorded step."
    return Replay(
        account=account,
        steps=len(steps),
        bars=sum(1 for step in steps if step.inputs["kind"] == "bar"),
        orders=sum(len(orders) for orders in taken.values()),
        fills=tuple(fills),
        state=state,
        equal=not difference,
        difference=difference,
    )


def _cash(view: View, account: str) -> int:
    row = view.one("SELECT amount FROM ledger WHERE account = ? AND kind = 'deposit' ORDER BY id LIMIT 1", (account,))
    return int(row["amount"]) if row else 0


def _start(first: Step, account: str, cash: int) -> AccountState:
    if first.inputs["kind"] == "start":
        return AccountState.from_json(first.inputs["state"])
    return open_account(cash, account)[0]


def _bar_sets(bars: Sequence[Bar]) -> dict[int, dict[str, Bar]]:
    sets: dict[int, dict[str, Bar]] = {}
    for bar in bars:
        sets.setdefault(bar.close_time, {})[bar.symbol] = bar
    return sets


def _fold(
    state: AccountState, step: Step, taken: Sequence[Order], bars: Mapping[str, Bar]
) -> tuple[AccountState, tuple[Fill, ...]]:
    for order in taken:
        state = apply_accept(state, order)
    inputs = step.inputs
    if inputs["kind"] == "change":
        kept = set(inputs["kept"])
        state, _ = cancel_where(state, lambda order: order.id not in kept)
        return replace(state, blocked=tuple(inputs["blocked"])).bumped(), ()
    if inputs["stopped"]:
        state, _ = cancel_where(state, lambda order: order.side == "buy" and not order.protective)
    limits, fees = rules_in(inputs)
    filled = fill(state, bars, step.at, fees)
    state = filled.state
    if inputs["targets"]:
        state = propose(state, limits, inputs["targets"], step.at, "").state
    return state.bumped(), filled.fills


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What the strategy wanted live, against what it wants on the recorded bars."""

    compared: int
    differences: tuple[tuple[int, str, int, int | None], ...]
    """(close time, symbol, target then, target now), basis points."""

    @property
    def equal(self) -> bool:
        """Whether no decision differs."""
        return not self.differences


def same_decisions(view: View, strategy: Strategy, account: str = "paper") -> Decisions:
    """The strategy over the recorded bars at once, as a backtest runs it, against every recorded target.

    While trading was paused or stopped the targets that would have added are not recorded and not compared.
    """
    market: dict[str, list[Bar]] = {}
    for bar in read_bars(view, account):
        market.setdefault(bar.symbol, []).append(bar)
    now: dict[tuple[int, str], int | None] = {}
    for symbol in strategy.symbols:
        if symbol not in market:
            continue
        bars = Bars.from_bars(market[symbol])
        targets = strategy.targets(bars, strategy.indicators(bars))
        for row, target in enumerate(targets):
            now[int(bars.close_time[row]), symbol] = None if np.isnan(target) else round(float(target) * BPS)
    recorded = [
        (step.at, symbol, int(target))
        for step in read_steps(view, account)
        if step.inputs["kind"] == "bar"
        for symbol, target in sorted(step.inputs["targets"].items())
    ]
    return Decisions(
        compared=len(recorded),
        differences=tuple(
            (at, symbol, target, now.get((at, symbol)))
            for at, symbol, target in recorded
            if now.get((at, symbol)) != target
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FillDifference:
    """One order as the bars allow it, and as the broker did it."""

    order_id: str
    symbol: str
    side: str
    expected: int
    """Shares."""
    filled: int
    expected_price: int
    """Price units, average over the parts."""
    price: int
    cost: int
    """Cents by which the broker's fill was worse (negative: better), fees included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillReport:
    """A real broker's fills beside those of the market's bars."""

    orders: int
    same: int
    """Orders filled with the same shares at the same price and fee."""
    differences: tuple[FillDifference, ...]
    cost: int
    """Cents by which the broker's fills were worse in all."""
    missing: tuple[str, ...] = field(default=())
    """Orders that the bars fill and the broker did not."""
    unexpected: tuple[str, ...] = field(default=())
    """Orders that the broker filled and the bars do not."""


def compare_fills(expected: Sequence[Fill], actual: Sequence[Fill]) -> FillReport:
    """Order by order: shares, average price, and what the difference cost. Parts of one order are taken together."""
    ours, theirs = _by_order(expected), _by_order(actual)
    differences, same = [], 0
    for order_id in (one for one in ours if one in theirs):
        left, right = ours[order_id], theirs[order_id]
        sign = 1 if left["side"] == "buy" else -1
        per_share = (right["price"] - left["price"]) * sign
        cost = notional_cents(min(left["quantity"], right["quantity"]), abs(per_share)) * (1 if per_share >= 0 else -1)
        cost += right["fee"] - left["fee"]
        if left == right:
            same += 1
            continue
        differences.append(
            FillDifference(
                order_id=order_id,
                symbol=left["symbol"],
                side=left["side"],
                expected=left["quantity"],
                filled=right["quantity"],
                expected_price=left["price"],
                price=right["price"],
                cost=cost,
            )
        )
    return FillReport(
        orders=len({*ours, *theirs}),
        same=same,
        differences=tuple(differences),
        cost=sum(one.cost for one in differences),
        missing=tuple(one for one in ours if one not in theirs),
        unexpected=tuple(one for one in theirs if one not in ours),
    )


def _by_order(fills: Sequence[Fill]) -> dict[str, dict[str, Any]]:
    orders: dict[str, dict[str, Any]] = {}
    for one in fills:
        row = orders.setdefault(
            one.order_id, {"symbol": one.symbol, "side": one.side, "quantity": 0, "worth": 0, "fee": 0}
        )
        row["quantity"] += one.quantity
        row["worth"] += one.quantity * one.price
        row["fee"] += one.fee
    for row in orders.values():
        row["price"] = round(row.pop("worth") / row["quantity"])
    return orders
