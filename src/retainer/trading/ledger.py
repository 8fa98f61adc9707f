"""The ledger: every cent and every share that moved, and what it adds up to. Exact decimals, pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.trading.bars import market_date
from retainer.trading.periods import Period
from retainer.trading.state import Posting, PostingKind
from retainer.trading.units import cents_to_decimal, datetime_to_ns, ns_to_datetime, units_to_decimal

KINDS: tuple[PostingKind, ...] = ("deposit", "fill", "fee", "dividend", "split")
ZERO = Decimal("0.00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line. Cash is the sum of all ``amount``, shares the sum of all ``quantity`` of a symbol."""

    at: datetime
    """Close of the bar that caused it."""
    kind: PostingKind
    symbol: str = ""
    quantity: int = 0
    """Signed change of shares."""
    price: Decimal = ZERO
    """Dollars per share: of the fill, the dividend, or after the split."""
    amount: Decimal = ZERO
    """Signed change of cash, dollars, whole cents."""
    realised: Decimal = ZERO
    """Profit booked by this line against the average cost of the shares, before fees."""
    order_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Exact strings; :meth:`from_json` is the inverse."""
        return {
            "at": self.at.isoformat(),
            "kind": self.kind,
            "symbol": self.symbol,
            "quantity": self.quantity,
            "price": str(self.price),
            "amount": str(self.amount),
            "realised": str(self.realised),
            "order_id": self.order_id,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Entry:
        """Inverse of :meth:`to_json`. Raises :class:`InvalidInputError` for anything else."""
        if data.get("kind") not in KINDS:
            raise InvalidInputError(f"A ledger line of kind {data.get('kind')!r} is unknown.")
        try:
            return Entry(
                at=datetime.fromisoformat(data["at"]),
                kind=data["kind"],
                symbol=data["symbol"],
                quantity=int(data["quantity"]),
                price=Decimal(data["price"]),
                amount=Decimal(data["amount"]),
                realised=Decimal(data["realised"]),
                order_id=data["order_id"],
            )
        except (KeyError, ValueError, ArithmeticError) as error:
            raise InvalidInputError(f"A ledger line is damaged: {error}.") from error


def entry(posting: Posting) -> Entry:
    """A kernel's posting as a ledger line."""
    return Entry(
        at=ns_to_datetime(posting.at),
        kind=posting.kind,
        symbol=posting.symbol,
        quantity=posting.quantity,
        price=units_to_decimal(posting.price),
        amount=cents_to_decimal(posting.amount),
        realised=cents_to_decimal(posting.realised),
        order_id=posting.order_id,
    )


@dataclass(frozen=True, slots=True)
class EquityMark:
    """What the account was worth at one close, dollars."""

    at: datetime
    equity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Figures of a period. ``profit = realised + unrealised + dividends - fees = end - start - deposits``."""

    period: str
    start: date
    """Session whose close ``start_equity`` is, or the opening day for an account that began in the period."""
    end: date
    """Last session of the period with a bar."""
    start_equity: Decimal
    end_equity: Decimal
    profit: Decimal
    realised: Decimal
    unrealised: Decimal
    """Change of the unrealised profit of positions."""
    dividends: Decimal
    fees: Decimal
    deposits: Decimal
    """Paid in during the period, the opening deposit not counted."""
    trades: int
    """Fills."""
    sessions: int


def balance(entries: Iterable[Entry]) -> Decimal:
    """Cash in dollars."""
    return sum((line.amount for line in entries), ZERO)


def holdings(entries: Iterable[Entry]) -> dict[str, int]:
    """Shares by symbol; symbols with none are left out."""
    held: dict[str, int] = {}
    for line in entries:
        held[line.symbol] = held.get(line.symbol, 0) + line.quantity
    return {symbol: shares for symbol, shares in sorted(held.items()) if shares and symbol}


def session_of(instant: datetime) -> date:
    """Market date (New York) of an instant."""
    return market_date(datetime_to_ns(instant))


def performance(entries: Sequence[Entry], marks: Sequence[EquityMark], period: Period) -> Performance:
    """What the account made in ``period`` (market dates, both included), to the cent.

    Counts from the last close before the period to its last close. An account that opened within the period starts
    from its opening deposit. Raises :class:`NotFoundError` when the period has no session.
    """
    dated = [(session_of(mark.at), mark.equity) for mark in marks]
    inside = [mark for mark in dated if period.start <= mark[0] <= period.end]
    if not inside:
        last = f"The last one is {dated[-1][0].isoformat()}." if dated else "No bar has arrived yet."
        raise NotFoundError(f"There is no market day in {period.name} ({period.start} to {period.end}).", hint=last)
    before = [mark for mark in dated if mark[0] < period.start]
    end_day, end_equity = inside[-1]
    lines = [(session_of(line.at), line) for line in entries]
    opening = before[-1][0] if before else inside[0][0]
    if before:
        start_equity = before[-1][1]
    else:
        start_equity = sum((ln.amount for day, ln in lines if ln.kind == "deposit" and day <= opening), ZERO)
    within = [line for day, line in lines if (day > opening if before else True) and day <= end_day]
    late = [ln for day, ln in lines if ln.kind == "deposit" and opening < day <= end_day]
    deposits = sum((line.amount for line in late), ZERO)
    realised = sum((line.realised for line in within), ZERO)
    dividends = sum((line.amount for line in within if line.kind == "dividend"), ZERO)
    fees = -sum((line.amount for line in within if line.kind == "fee"), ZERO)
    profit = end_equity - start_equity - deposits
    return Performance(
        period=period.name,
        start=opening,
        end=end_day,
        start_equity=start_equity,
        end_equity=end_equity,
        profit=profit,
        realised=realised,
        unrealised=profit - realised - dividends + fees,
        dividends=dividends,
        fees=fees,
        deposits=deposits,
        trades=sum(1 for line in within if line.kind == "fill"),
        sessions=len(inside),
    )
