"""Parity: a strategy decides today as it did then, and a broker's fills are compared with those the bars allow.

The account's lane folded again is :func:`retainer.trading.replaying.replay`. :func:`same_decisions` asks whether the
strategy wants on the recorded bars what it wanted live, :func:`compare_fills` how a real broker's fills differ from
those that the market's bars allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import View
from retainer.core.values import Json
from retainer.trading.bars import Bar, Bars
from retainer.trading.evaluation import evaluate
from retainer.trading.records import read_bars
from retainer.trading.state import Fill
from retainer.trading.steps import Step, read_steps
from retainer.trading.strategy import Strategy, identity
from retainer.trading.units import BPS, notional_cents, ns_to_datetime
from retainer.trading.words import count, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What the strategy wanted live, against what it wants on the recorded bars."""

    strategy: str
    compared: int
    differences: tuple[tuple[int, str, int | None, int | None], ...]
    """(close time, symbol, target then, target now), basis points; ``None``: no decision."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Decisions of other strategies and of other parameters, by name: they were not compared."""
    failed: str = ""
    """Why the strategy cannot decide on the recorded bars."""

    @property
    def equal(self) -> bool:
        """Whether no decision differs."""
        return not self.differences and not self.failed

    @property
    def words(self) -> str:
        """A sentence or two for a person."""
        said = (
            f"{count(self.compared, 'decision')} of {self.strategy} compared with its backtest of the recorded bars: "
        )
        if not self.compared and not self.failed:
            said = f"No decision of {self.strategy} to compare."
        elif self.failed:
            said += f"it fails there. {self.failed}"
        elif self.differences:
            at, symbol, then, now = self.differences[0]
            said += (
                f"{len(self.differences):,} NOT the same, first {symbol} at {ns_to_datetime(at):%Y-%m-%d %H:%M} UTC: "
                f"{_target(then)} then, {_target(now)} now."
            )
        else:
            said += "all the same."
        if self.others:
            named = listed(f"{number:,} of {name}" for name, number in sorted(self.others.items()))
            said += f" Not compared, for another strategy or other parameters made them: {named}."
        return said

    def to_json(self) -> dict[str, Json]:
        """As plain JSON."""
        return {
            "strategy": self.strategy,
            "equal": self.equal,
            "compared": self.compared,
            "not_compared": dict(self.others),
            "failed": self.failed,
            "differences": [
                {"at": ns_to_datetime(at).isoformat(), "symbol": symbol, "then": then, "now": now}
                for at, symbol, then, now in self.differences
            ],
        }


def _target(bps: int | None) -> str:
    return "no decision" if bps is None else f"{bps / 100:g} %"


def same_decisions(view: View, strategy: Strategy, account: str = "paper") -> Decisions:
    """The strategy over the recorded bars at once, as a backtest runs it, against every recorded target.

    While trading was paused or stopped, targets that would have added were not recorded and are not compared.
    """
    own, others = _own_steps(view, strategy, account)
    try:
        now = _wanted(view, strategy, account)
    except InvalidInputError as error:
        return Decisions(strategy=strategy.name, compared=0, differences=(), others=others, failed=error.message)
    compared, differences = 0, []
    for step in own:
        then = {symbol: int(target) for symbol, target in step.inputs["targets"].items()}
        whole = step.inputs.get("control") == "running" and not step.inputs.get("failed")
        for symbol in sorted({*then, *(now.get(step.at, {}) if whole else ())}):
            compared += 1
            wanted = now.get(step.at, {}).get(symbol)
            if then.get(symbol) != wanted:
                differences.append((step.at, symbol, then.get(symbol), wanted))
    return Decisions(strategy=strategy.name, compared=compared, differences=tuple(differences), others=others)


def _own_steps(view: View, strategy: Strategy, account: str) -> tuple[list[Step], dict[str, int]]:
    """The bar sets that ``strategy`` decided on, and how many decisions others made."""
    own, others = [], Counter[str]()
    present = {"name": strategy.name, "parameters": identity(strategy)}
    for step in read_steps(view, account):
        if step.inputs["kind"] != "bar":
            continue
        maker = step.inputs.get("strategy", present)
        if maker == present:
            own.append(step)
        else:
            others[maker["name"]] += len(step.inputs["targets"])
    return own, {name: number for name, number in others.items() if number}


def _wanted(view: View, strategy: Strategy, account: str) -> dict[int, dict[str, int]]:
    """Targets by close and symbol, basis points, from all the recorded bars at once."""
    rows: dict[str, list[Bar]] = {}
    for bar in read_bars(view, account):
        rows.setdefault(bar.symbol, []).append(bar)
    market = {symbol: Bars.from_bars(found) for symbol, found in rows.items()}
    wanted: dict[int, dict[str, int]] = {}
    for symbol, found in evaluate(strategy, market).items():
        for at, target in zip(market[symbol].close_time, found.targets, strict=True):
            if not np.isnan(target):
                wanted.setdefault(int(at), {})[symbol] = round(float(target) * BPS)
    return wanted


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
