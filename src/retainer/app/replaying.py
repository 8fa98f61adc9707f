"""``retainer replay``: the account's lane folded again and its strategy asked again, against what was recorded."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retainer.app.config import Settings, load_settings
from retainer.app.store import open_view
from retainer.core.errors import InvalidInputError
from retainer.core.values import Json
from retainer.trading.parity import Decisions, FillReport, compare_fills, same_decisions
from retainer.trading.replaying import Replay, replay
from retainer.trading.state import SIDES, Fill, Side
from retainer.trading.units import (
    cents_to_decimal,
    ns_to_datetime,
    to_cents,
    to_units,
    units_to_decimal,
)
from retainer.trading.words import count, day, money


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Whether an account is what its events make of it, and whether its strategy would decide so again."""

    replayed: Replay
    decisions: Decisions
    broker: FillReport | None = None
    """A broker's fills beside those of the recorded bars, where they were given."""

    @property
    def equal(self) -> bool:
        """Whether nothing differs. A broker's fills may: they are reported, not judged."""
        return self.replayed.equal and self.decisions.equal

    @property
    def words(self) -> str:
        """The report for a person."""
        state = self.replayed.state
        held = ", ".join(f"{one.quantity:,} {one.symbol}" for _, one in sorted(state.positions.items()))
        lines = [
            f"Account {self.replayed.account}, {day(ns_to_datetime(self.replayed.first))} to "
            f"{day(ns_to_datetime(state.at))}: {'the same' if self.equal else 'NOT THE SAME'}.",
            self.replayed.words,
            self.decisions.words,
            f"It holds {money(cents_to_decimal(state.cash))} and {held or 'no shares'}; "
            f"{count(len(state.orders), 'order')} waiting. Digest {state.digest()[:16]}.",
        ]
        lines += [one.words for one in self.replayed.differences[1:]]
        return "\n".join([*lines, *(() if self.broker is None else _broker_words(self.broker))])

    def to_json(self) -> dict[str, Json]:
        """The report for programs."""
        found: dict[str, Json] = {
            "equal": self.equal,
            "replay": self.replayed.to_json(),
            "decisions": self.decisions.to_json(),
        }
        if self.broker is not None:
            found["broker"] = _broker_json(self.broker)
        return found


def check_replay(settings: Settings | None = None, account: str = "paper", broker: Path | None = None) -> Parity:
    """Replay ``account`` from its database, also beside a running service. ``broker``: a CSV file of a broker's fills
    (order_id, symbol, side, quantity, price, fee) to compare with the recorded ones.

    Raises :class:`~retainer.core.errors.RetainerError` when there is nothing to replay, or naming the row of a fill
    that cannot be.
    """
    settings = settings or load_settings()
    actual = None if broker is None else list(_read_fills(broker))
    with open_view(settings) as view:
        replayed = replay(view, account)
        decisions = same_decisions(view, settings.trading.make_strategy(), account)
    return Parity(
        replayed=replayed,
        decisions=decisions,
        broker=None if actual is None else compare_fills(replayed.fills, actual),
    )


def show_replay(settings: Settings, account: str, broker: Path | None, *, as_json: bool) -> int:
    """Print it; 1 when something differs."""
    found = check_replay(settings, account, broker)
    sys.stdout.write((json.dumps(found.to_json(), indent=1) if as_json else found.words) + "\n")
    return 0 if found.equal else 1


# --- a broker's fills -------------------------------------------------------------------------------------------------
_COLUMNS = ("order_id", "symbol", "side", "quantity", "price", "fee")


def _read_fills(path: Path) -> Iterator[Fill]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}.", hint="Give a CSV file in UTF-8.") from error
    rows = csv.DictReader(lines)
    if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
        raise InvalidInputError(f"{path.name} has no column {missing[0]}.", hint=f"It needs {', '.join(_COLUMNS)}.")
    for number, row in enumerate(rows, 2):
        yield _fill_of(row, f"{path.name}, line {number}")


def _fill_of(row: dict[str, str], where: str) -> Fill:
    side: Side | None = next((side for side in SIDES if side == (row["side"] or "").strip().lower()), None)
    try:
        quantity, price, fee = int(row["quantity"]), to_units(row["price"], "price"), to_cents(row["fee"] or "0")
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{where}: {error}.", hint="Whole shares, and dollars with a dot.") from error
    if side is None or quantity <= 0 or price <= 0 or fee < 0:
        raise InvalidInputError(f"{where}: side, quantity, price or fee cannot be.", hint="Sides are buy and sell.")
    return Fill(
        order_id=row["order_id"],
        symbol=row["symbol"],
        side=side,
        quantity=quantity,
        price=price,
        reference=price,
        at=0,
        fee=fee,
        realised=0,
    )


def _broker_words(found: FillReport) -> list[str]:
    cost = money(cents_to_decimal(abs(found.cost)))
    lines = [
        f"Broker: {found.same:,} of {count(found.orders, 'order')} filled as the bars allow; the others cost "
        f"{cost} {'more' if found.cost >= 0 else 'less'}; {count(len(found.missing), 'order')} filled only here, "
        f"{len(found.unexpected):,} only there."
    ]
    lines += [
        f"  {one.side} {one.symbol} ({one.order_id}): {one.expected:,} at "
        f"{money(units_to_decimal(one.expected_price))} here, {one.filled:,} at "
        f"{money(units_to_decimal(one.price))} there, {money(cents_to_decimal(one.cost), sign=True)} of cost"
        for one in found.differences
    ]
    return lines


def _broker_json(found: FillReport) -> dict[str, Json]:
    return {
        "orders": found.orders,
        "same": found.same,
        "cost": str(cents_to_decimal(found.cost)),
        "missing": list(found.missing),
        "unexpected": list(found.unexpected),
        "differences": [
            {
                "order_id": one.order_id,
                "symbol": one.symbol,
                "side": one.side,
                "quantity": [one.expected, one.filled],
                "price": [str(units_to_decimal(one.expected_price)), str(units_to_decimal(one.price))],
                "cost": str(cents_to_decimal(one.cost)),
            }
            for one in found.differences
        ],
    }
